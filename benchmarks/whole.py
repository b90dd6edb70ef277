"""The contestants of whole programs: the notebook's first epoch with its reports, and scikit-learn's `fit`.

Each round is a new process. `__init__` imports, loads and builds; `train` does all the rest, compilation included.
"""

from typing import Any

import numpy as np

from benchmarks.contestants import (
    CONTESTANTS,
    LAYERWISE,
    REFERENCES,
    Contestant,
    MlpXp,
    Unavailable,
    import_or_unavailable,
    is_foreign,
    loss_of,
)
from benchmarks.workloads import EPOCH, FIT, STEPS, Job
from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.backends.opening import BackendError
from mlp_xp.parity import notebook

WARM = "mlp_xp-jax-warm"


class Whole:
    """A program that is run once: a single sample is all there is to train on, as far as `measure` sees."""

    samples = 1

    def shuffle(self, permutation: np.ndarray) -> None:
        """Do nothing: the program shuffles."""


class NotebookEpoch(Whole):
    """An epoch of the notebook's own loop, with its reports."""

    def __init__(self, job: Job) -> None:
        """Load the data and build the network."""
        self.job = job
        self.data = notebook.prepared(load_dataset(job.data_dir))
        self.model = notebook.Notebook()

    def train(self, start: int, steps: int) -> None:
        """Train an epoch."""
        data, model = self.data, self.model

        def report(*_: object) -> None:
            notebook.accuracy(model, data.test_inputs, data.test_labels)

        notebook.trajectory(model, data.train_inputs, data.train_labels, len(data.train_inputs), on_report=report)

    def loss(self) -> float:
        """Return the loss on the first test images."""
        model = self.model
        layers = [
            (model.weights_input_hidden, model.bias_input_hidden),
            (model.weights_hidden_output, model.bias_hidden_output),
        ]
        return loss_of(layers, self.job.data_dir)


class MlpXpEpoch(Whole):
    """The same with `train`, the generator of the package."""

    def __init__(self, job: Job, backend: str) -> None:
        """Load the data and open the backend."""
        self.job = job
        try:
            self.backend = open_backend(backend, "cpu" if backend == "jax" else None)
        except BackendError as error:
            raise Unavailable(str(error)) from error
        self.dataset = load_dataset(job.data_dir, self.backend)

    def train(self, start: int, steps: int) -> None:
        """Train an epoch."""
        *_, self.last = train(TrainConfig(epochs=1), self.dataset, self.backend)

    def loss(self) -> float:
        """Return the loss on the first test images."""
        to_numpy = self.backend.to_numpy
        layers = [(to_numpy(weights), to_numpy(bias)) for weights, bias in self.last.model.network]
        return loss_of(layers, self.job.data_dir)


class Fit(Whole):
    """`MLPClassifier(random_state=0).fit` of scikit-learn, or of `mlp_xp` on a backend, with the same defaults."""

    def __init__(self, job: Job, backend: str | None = None) -> None:
        """Load the data, and open the backend, so that the time to import its library is not that of `fit`."""
        import_or_unavailable("sklearn")
        options: dict[str, Any] = {"random_state": 0}
        if backend is None:
            from sklearn.neural_network import MLPClassifier
        else:
            from mlp_xp.estimator import MLPClassifier

            try:
                options["backend"] = open_backend(backend, None, job.workload.dtype).name
            except BackendError as error:
                raise Unavailable(str(error)) from error
        self.model: Any = MLPClassifier(**options)
        data = load_dataset(job.data_dir)
        self.images = data.train_inputs.reshape(len(data.train_inputs), -1).astype(job.dtype) / job.dtype(255)
        self.labels = data.train_labels

    def train(self, start: int, steps: int) -> None:
        """Train until the loss does not get better."""
        self.model.fit(self.images, self.labels)

    def loss(self) -> float:
        """Return the last training loss."""
        return float(self.model.loss_)


EPOCHS = {
    "notebook": Contestant("notebook's loop", LAYERWISE, NotebookEpoch),
    "mlp_xp-numpy": Contestant("mlp_xp, NumPy", LAYERWISE, MlpXpEpoch, ("numpy",)),
    "mlp_xp-jax": Contestant("mlp_xp, JAX", LAYERWISE, MlpXpEpoch, ("jax",)),
    # `measure` keeps the cache of what JAX compiled from round to round for this one, and empties it for the others.
    WARM: Contestant("mlp_xp, JAX, warm cache", LAYERWISE, MlpXpEpoch, ("jax",)),
}
FITS = {
    "scikit-learn": Contestant("scikit-learn", LAYERWISE, Fit),
    "mlp_xp-numpy": Contestant("mlp_xp, NumPy", LAYERWISE, Fit, ("numpy",)),
    "mlp_xp-jax": Contestant("mlp_xp, JAX", LAYERWISE, Fit, ("jax",)),
}
ALL = {STEPS: CONTESTANTS, EPOCH: EPOCHS, FIT: FITS}
FOREIGN = {STEPS: MlpXp, EPOCH: MlpXpEpoch, FIT: Fit}


def contestant_of(name: str, kind: str) -> Contestant:
    """Return a contestant of a kind of workload; `module:namespace` is `mlp_xp` on any array API namespace.

    Raises KeyError if there is none.
    """
    known = ALL[kind] | (REFERENCES if kind == STEPS else {})
    if name not in known and is_foreign(name):
        return Contestant(f"mlp_xp, {name}", LAYERWISE, FOREIGN[kind], (name,))
    return known[name]


def make_contestant(job: Job) -> Any:
    """Create the contestant of a job. Raises Unavailable."""
    contestant = contestant_of(job.contestant, job.workload.kind)
    return contestant.make(job, *contestant.arguments)
