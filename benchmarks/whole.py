"""The contestants of whole programs.

They are the notebook's first epoch with its reports, and scikit-learn's `fit`.

Each round is a new process. `__init__` imports, loads and builds; `train` does all the
rest, compilation included.
"""

from typing import Any

from benchmarks.contestants import (
    CONTESTANTS,
    LAYERWISE,
    REFERENCES,
    Contestant,
    Layers,
    MlpXp,
    Program,
    Rows,
    import_or_unavailable,
    is_foreign,
    layers_of,
    on_host,
)
from benchmarks.workloads import EPOCH, FIT, STEPS, Job
from mlp_xp import TrainConfig, load_dataset, open_backend, train
from mlp_xp.parity import notebook

WARM = "mlp_xp-jax-warm"


class NotebookEpoch(Program):
    """An epoch of the notebook's own loop, with its reports."""

    def __init__(self, job: Job) -> None:
        self.job = job
        data = load_dataset(job.data_dir)
        assert data.test is not None
        self.training = notebook.prepared(data.train)
        self.testing = notebook.prepared(data.test)
        self.samples = len(self.training)
        self.model = notebook.Notebook()

    def train(self, start: int, steps: int) -> None:
        train, test, model = self.training, self.testing, self.model

        def report(*_: object) -> None:
            notebook.accuracy(model, test.inputs, test.labels)

        notebook.trajectory(
            model, train.inputs, train.labels, self.samples, on_report=report
        )

    def network(self) -> Layers:
        return layers_of(self.model)


class MlpXpEpoch(Program):
    """The same with `train`, the generator of the package."""

    def __init__(self, job: Job, backend: str) -> None:
        self.job = job
        self.backend = open_backend(backend, "cpu" if backend == "jax" else None)
        self.dataset = load_dataset(job.data_dir, self.backend)
        self.samples = len(self.dataset.train)

    def train(self, start: int, steps: int) -> None:
        *_, self.last = train(TrainConfig(epochs=1), self.dataset, self.backend)

    def network(self) -> Layers:
        return on_host(self.last.model.network, self.backend)


class Fit(Rows):
    """`MLPClassifier(random_state=0).fit`, with the same defaults.

    It is that of scikit-learn, or of `mlp_xp` on a backend.
    """

    def __init__(self, job: Job, backend: str | None = None) -> None:
        options: dict[str, Any] = {"random_state": 0}
        # opened here, so that the time to import its library is not that of `fit`
        if backend:
            options["backend"] = open_backend(backend, None, job.workload.dtype).name
        module = import_or_unavailable(
            "mlp_xp.estimator" if backend else "sklearn.neural_network"
        )
        self.model: Any = module.MLPClassifier(**options)
        super().__init__(job)

    shuffle = Program.shuffle  # `fit` shuffles

    def train(self, start: int, steps: int) -> Any:
        self.model.fit(self.images, self.labels)

    def loss(self) -> float:
        """Return the last training loss."""
        return float(self.model.loss_)


EPOCHS = {
    "notebook": Contestant("notebook's loop", LAYERWISE, NotebookEpoch),
    "mlp_xp-numpy": Contestant("mlp_xp, NumPy", LAYERWISE, MlpXpEpoch, ("numpy",)),
    "mlp_xp-jax": Contestant("mlp_xp, JAX", LAYERWISE, MlpXpEpoch, ("jax",)),
    # `measure` keeps the cache of what JAX compiled from round to round for this one,
    # and empties it for the others.
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
    """Return a contestant of a kind of workload.

    `module:namespace` is `mlp_xp` on any array API namespace.

    Raises KeyError if there is none.
    """
    known = ALL[kind] | (REFERENCES if kind == STEPS else {})
    if name not in known and is_foreign(name):
        return Contestant(f"mlp_xp, {name}", LAYERWISE, FOREIGN[kind], (name,))
    return known[name]


def make_contestant(job: Job) -> Program:
    """Create the contestant of a job. Raises MlpXpError if it cannot run here."""
    contestant = contestant_of(job.contestant, job.workload.kind)
    return contestant.make(job, *contestant.arguments)
