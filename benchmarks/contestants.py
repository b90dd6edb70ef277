"""The contestants that take training steps.

They are `mlp_xp`, and the same network as the users of other libraries write it.

All contestants start from the same weights and see the same samples in the same order.
Only `train` is timed.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.workloads import Job
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import choose_threads
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.job import Job as TrainingJob
from mlp_xp.core.network import count_parameters, initial_layers
from mlp_xp.core.plan import chunk_lengths, cut
from mlp_xp.core.step import initial_state
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.parity import notebook

INPUTS, CLASSES = 784, 10
LAYERWISE, SIMULTANEOUS = "layerwise", "simultaneous"
CHECK_SAMPLES = 1000

Layers = list[tuple[np.ndarray, np.ndarray]]
"""The weights (inputs, outputs) and bias (outputs,) of each layer, on the host."""


class UnavailableError(MlpXpError):
    """The reason why a contestant cannot run on this machine."""


def import_or_unavailable(name: str) -> Any:
    """Return the module. Raises UnavailableError with the reason."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnavailableError(f"{error}; install the bench extra") from error


def set_torch_threads(threads: int) -> Any:
    """Import PyTorch and set its number of threads.

    Its environment variables are not enough in every build.
    """
    torch = import_or_unavailable("torch")
    torch.set_num_threads(threads)
    return torch


def initial_network(job: Job) -> tuple[Layers, np.random.RandomState]:
    """Return the initial layers, and the random generator, which then shuffles.

    The layers have the workload's dtype.
    """
    random = np.random.RandomState(0)
    layers = initial_layers(
        (INPUTS, *job.workload.hidden, CLASSES), random, job.workload.init
    )
    return [
        (weights.astype(job.dtype), bias.astype(job.dtype)) for weights, bias in layers
    ], random


class Program:
    """A contestant.

    `__init__` loads the data and builds the network. It raises MlpXpError if it cannot
    run here.
    """

    job: Job
    samples: int
    """The number of training samples, n."""

    def shuffle(self, permutation: np.ndarray) -> None:
        """Start an epoch.

        The permutation, int64 (n,), applies to the order of the previous epoch.
        """

    def train(self, start: int, steps: int) -> Any:
        """Take `steps` steps from sample `start` of the epoch.

        Return the losses (steps,).
        """
        raise NotImplementedError

    def network(self) -> Any:
        """Return the layers, on the host."""
        raise NotImplementedError

    def loss(self) -> float:
        """Return the mean cross-entropy on the first test images, in float64.

        The network has sigmoids.
        """
        test = load_dataset(self.job.data_dir).test
        assert test is not None
        labels = np.asarray(test.labels[:CHECK_SAMPLES]).astype(np.int64)
        x = np.asarray(test.inputs[:CHECK_SAMPLES]).reshape(len(labels), -1) / 255
        *hidden, (weights, bias) = (
            [array.astype(np.float64) for array in layer] for layer in self.network()
        )
        for inner, shift in hidden:
            x = 1 / (1 + np.exp(-(x @ inner + shift)))
        logits = x @ weights + bias
        logits -= logits.max(axis=1, keepdims=True)
        return float(
            (
                np.log(np.exp(logits).sum(axis=1))
                - logits[np.arange(len(labels)), labels]
            ).mean()
        )


def on_host(network: Any, backend: Backend) -> Layers:
    """Return the layers of a network of `mlp_xp`."""
    return [
        (backend.to_numpy(weights), backend.to_numpy(bias)) for weights, bias in network
    ]


class MlpXp(Program):
    """`mlp_xp`, which runs steps in chunks like `mlp_xp.core.training.trajectory`."""

    def __init__(
        self,
        job: Job,
        backend: str,
        device: str | None = None,
        order: str = LAYERWISE,
        dtype: str | None = None,
    ) -> None:
        self.job = job
        if backend == "torch":
            set_torch_threads(job.threads)
        workload = job.workload
        self.backend = open_backend(backend, device, dtype or workload.dtype)
        # As in a run with one report per round.
        samples = (workload.steps + 1) * workload.batch_size
        config = TrainConfig(
            batch_size=workload.batch_size,
            learning_rate=workload.learning_rate,
            hidden=tuple(workload.hidden),
            init=workload.init,
            update_order=order,
            report_every=samples,
            warm_up_steps=0,
        )
        self.dataset = load_dataset(job.data_dir, self.backend)
        self.samples = len(self.dataset.train)
        self.order = np.arange(self.samples)
        sizes = (INPUTS, *workload.hidden, CLASSES)
        drawn = initial_layers(sizes, np.random.RandomState(config.seed), config.init)
        self.state = initial_state(config, drawn, self.backend)
        self.training = TrainingJob(config, self.dataset, self.backend)
        self.training.backend = choose_threads(self.backend, self.training.work)
        self.lengths = chunk_lengths(
            workload.batch_size, count_parameters(sizes), samples
        )

    def shuffle(self, permutation: np.ndarray) -> None:
        self.order = self.order[permutation]

    def train(self, start: int, steps: int) -> np.ndarray:
        batch_size, parts = self.job.workload.batch_size, []
        for length in cut(steps, self.lengths):
            stop = start + length * batch_size
            samples = self.order[start:stop].reshape(length, batch_size)
            self.state, losses = self.training.run(self.state, samples, 0)
            parts.append(losses[:, 0])
            start = stop
        return np.concatenate(parts)

    def network(self) -> Layers:
        return on_host(self.state.network, self.backend)


class Rows(Program):
    """A contestant with its own rows in [0, 1] of the workload's dtype.

    They are shuffled by copying. There is one call per step.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        dataset = load_dataset(job.data_dir)
        self.images: Any = dataset.train.inputs.reshape(
            len(dataset.train.inputs), -1
        ).astype(job.dtype)
        self.images /= 255
        self.labels: Any = dataset.train.labels.astype(np.int64)
        self.samples = len(self.labels)

    def shuffle(self, permutation: np.ndarray) -> None:
        self.images, self.labels = self.images[permutation], self.labels[permutation]

    def train(self, start: int, steps: int) -> np.ndarray:
        size = self.job.workload.batch_size
        starts = range(start, start + steps * size, size)
        return self.stacked(
            [
                self.step(self.images[i : i + size], self.labels[i : i + size])
                for i in starts
            ]
        )

    def step(self, x: Any, y: Any) -> Any:
        """Take a step on a batch, and return its loss."""
        raise NotImplementedError

    def stacked(self, losses: list[Any]) -> np.ndarray:
        """Copy the losses to the host, after the last step."""
        return np.array(losses)


def check_one_hidden_layer(job: Job) -> None:
    """Raise UnavailableError unless the workload's network has one hidden layer."""
    if len(job.workload.hidden) != 1:
        raise UnavailableError("written for one hidden layer")


def layers_of(model: notebook.Notebook) -> Layers:
    """Return the layers of the notebook's network."""
    hidden = (model.weights_input_hidden, model.bias_input_hidden)
    return [hidden, (model.weights_hidden_output, model.bias_hidden_output)]


class Notebook(Rows):
    """The notebook's loop in plain NumPy: the reference of the tests.

    It is that of `parity.notebook`.
    """

    def __init__(self, job: Job) -> None:
        check_one_hidden_layer(job)
        self.job = job
        # as float64, like the notebook
        train = notebook.prepared(load_dataset(job.data_dir).train)
        self.images = train.inputs.astype(job.dtype, copy=False)
        self.labels = train.labels.astype(job.dtype, copy=False)
        self.samples = len(self.labels)
        self.model = notebook.Notebook(
            hidden_size=job.workload.hidden[0],
            learning_rate=job.workload.learning_rate,
            dtype=job.dtype,
        )
        (
            (
                (self.model.weights_input_hidden, _),
                (self.model.weights_hidden_output, _),
            ),
            _,
        ) = initial_network(job)

    def step(self, x: Any, y: Any) -> Any:
        return self.model.train_step(x, y).mean()

    def network(self) -> Layers:
        return layers_of(self.model)


class PyTorch(Rows):
    """PyTorch as it is usually written: modules, autograd, an optimiser."""

    def __init__(
        self, job: Job, compile_mode: str | None = None, device: str = "cpu"
    ) -> None:
        """Build the modules.

        compile_mode: the mode of `torch.compile`; "reduce-overhead" replays forward and
        backward pass as CUDA graphs. With None the model is not compiled.
        """
        torch = self.torch = set_torch_threads(job.threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise UnavailableError(f"PyTorch {torch.__version__} finds no usable GPU")
        super().__init__(job)
        self.images, self.labels = (
            torch.from_numpy(array).to(device) for array in (self.images, self.labels)
        )
        nn = torch.nn
        layers, _ = initial_network(job)
        modules: list[Any] = []
        for weights, bias in layers:
            linear = nn.Linear(*weights.shape, dtype=getattr(torch, job.workload.dtype))
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(weights.T.copy()))
                linear.bias.copy_(torch.tensor(bias))
            modules += [linear, nn.Sigmoid()]
        self.model = nn.Sequential(*modules[:-1]).to(device)
        self.predict = (
            torch.compile(self.model, mode=compile_mode) if compile_mode else self.model
        )
        self.cross_entropy = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=job.workload.learning_rate
        )

    def shuffle(self, permutation: np.ndarray) -> None:
        super().shuffle(self.torch.from_numpy(permutation).to(self.images.device))
        if self.images.is_cuda:
            # otherwise the next timed round would include the copy
            self.torch.cuda.synchronize()

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = self.cross_entropy(self.predict(x), y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def stacked(self, losses: list[Any]) -> np.ndarray:
        return np.array(self.torch.stack(losses).cpu().numpy())

    def network(self) -> Layers:
        linears = [module for module in self.model if hasattr(module, "weight")]
        return [
            (x.weight.detach().cpu().numpy().T, x.bias.detach().cpu().numpy())
            for x in linears
        ]


class ScikitLearn(Rows):
    """scikit-learn's MLPClassifier, with one partial fit per batch."""

    def __init__(self, job: Job) -> None:
        neural_network = import_or_unavailable("sklearn.neural_network")
        super().__init__(job)
        size, rate = job.workload.batch_size, job.workload.learning_rate
        options = {
            "activation": "logistic",
            "solver": "sgd",
            "alpha": 0,
            "momentum": 0,
            "nesterovs_momentum": False,
        }
        self.model = neural_network.MLPClassifier(
            job.workload.hidden,
            batch_size=size,
            learning_rate_init=rate,
            shuffle=False,
            **options,
        )
        # The first fit creates the weights. The optimiser keeps these arrays, so they
        # are overwritten in place.
        self.model.partial_fit(
            self.images[:size], self.labels[:size], classes=range(CLASSES)
        )
        layers, _ = initial_network(job)
        for own, first in zip(self.network(), layers, strict=True):
            for array, values in zip(own, first, strict=True):
                array[...] = values

    def step(self, x: Any, y: Any) -> Any:
        self.model.partial_fit(x, y)
        return self.model.loss_

    def network(self) -> Layers:
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


class Keras(Rows):
    """Keras 3 on JAX: a model and a jitted training step.

    The step is from Keras' guide to custom training loops in JAX.

    `train_on_batch` computes the same and takes ten times as long with batches of one.
    """

    def __init__(self, job: Job) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        jax = import_or_unavailable("jax")
        jax.config.update("jax_enable_x64", job.workload.dtype == "float64")
        keras = import_or_unavailable("keras")
        super().__init__(job)
        keras.config.set_floatx(job.workload.dtype)
        layers, _ = initial_network(job)
        hidden = [
            keras.layers.Dense(units, activation="sigmoid")
            for units in job.workload.hidden
        ]
        model = keras.Sequential(
            [keras.Input((INPUTS,)), *hidden, keras.layers.Dense(CLASSES)]
        )
        model.set_weights([array for layer in layers for array in layer])
        optimizer = keras.optimizers.SGD(job.workload.learning_rate)
        optimizer.build(model.trainable_variables)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

        def loss_and_updates(trainable: Any, non_trainable: Any, x: Any, y: Any) -> Any:
            predictions, non_trainable = model.stateless_call(
                trainable, non_trainable, x, training=True
            )
            return cross_entropy(y, predictions), non_trainable

        loss_and_gradient = jax.value_and_grad(loss_and_updates, has_aux=True)

        def train_step(state: Any, x: Any, y: Any) -> Any:
            trainable, non_trainable, kept = state
            (loss, non_trainable), gradients = loss_and_gradient(
                trainable, non_trainable, x, y
            )
            trainable, kept = optimizer.stateless_apply(kept, gradients, trainable)
            return (trainable, non_trainable, kept), loss

        self.train_step = jax.jit(train_step, donate_argnums=0)
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables,
        )
        self.state: Any = tuple(
            [variable.value for variable in part] for part in variables
        )

    def step(self, x: Any, y: Any) -> Any:
        self.state, loss = self.train_step(self.state, x, y)
        return loss

    def network(self) -> Layers:
        arrays = [np.array(array) for array in self.state[0]]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


class Numba(Rows):
    """The limit of the machine: the notebook's step as one compiled loop.

    It is compiled without `fastmath`.
    """

    def __init__(self, job: Job) -> None:
        check_one_hidden_layer(job)
        numba = import_or_unavailable("numba")
        import_or_unavailable("scipy")  # Numba takes BLAS from SciPy
        super().__init__(job)
        loop = train_single_samples if job.workload.batch_size == 1 else train_batches
        self.loop = numba.njit(error_model="numpy")(loop)
        self.layers, _ = initial_network(job)

    def train(self, start: int, steps: int) -> np.ndarray:
        rows = slice(start, start + steps * self.job.workload.batch_size)
        losses = np.empty(steps, self.job.dtype)
        rate, one = self.job.dtype(self.job.workload.learning_rate), self.job.dtype(1)
        (w0, b0), (w1, b1) = self.layers
        self.loop(
            self.images[rows], self.labels[rows], w0, b0, w1, b1, rate, one, losses
        )
        return losses

    def network(self) -> Layers:
        return self.layers


# For Numba. `one` has the dtype of the arrays, because a Python 1 would make float32
# arithmetic float64.


def train_single_samples(
    x: Any,
    labels: Any,
    w0: Any,
    b0: Any,
    w1: Any,
    b1: Any,
    rate: Any,
    one: Any,
    losses: Any,
) -> None:
    """Take one step per row of x and write the losses into `losses`.

    The number of inputs is a multiple of 4.
    """
    inputs, hidden = w0.shape
    outputs = w1.shape[1]
    a, error, e = np.empty_like(b0), np.empty_like(b0), np.empty_like(b1)
    for s in range(x.shape[0]):
        row = x[s]
        for j in range(hidden):
            a[j] = b0[j]
        # Four rows of weights per pass, so that `a` is loaded and stored a quarter as
        # often.
        for i in range(0, inputs, 4):
            x_0, x_1, x_2, x_3 = row[i], row[i + 1], row[i + 2], row[i + 3]
            w_0, w_1, w_2, w_3 = w0[i], w0[i + 1], w0[i + 2], w0[i + 3]
            for j in range(hidden):
                a[j] += (x_0 * w_0[j] + x_1 * w_1[j]) + (x_2 * w_2[j] + x_3 * w_3[j])
        for j in range(hidden):
            a[j] = one / (one + np.exp(-a[j]))
        for k in range(outputs):
            e[k] = b1[k]
        for j in range(hidden):
            for k in range(outputs):
                e[k] += a[j] * w1[j, k]
        top = e.max()
        total = one - one
        for k in range(outputs):
            e[k] = np.exp(e[k] - top)
            total += e[k]
        for k in range(outputs):
            e[k] /= total
        losses[s] = -np.log(e[labels[s]])
        e[labels[s]] -= one
        for k in range(outputs):
            e[k] *= rate
            b1[k] -= e[k]
        for j in range(hidden):
            back = one - one
            for k in range(outputs):
                w1[j, k] -= a[j] * e[k]
                back += w1[j, k] * e[k]
            error[j] = back * a[j] * (one - a[j])
            b0[j] -= error[j]
        for i in range(inputs):
            x_i, w_i = row[i], w0[i]
            for j in range(hidden):
                w_i[j] -= x_i * error[j]


def train_batches(
    x: Any,
    labels: Any,
    w0: Any,
    b0: Any,
    w1: Any,
    b1: Any,
    rate: Any,
    one: Any,
    losses: Any,
) -> None:
    """Take one step per batch, with BLAS for matrix products.

    x and labels hold `losses.size` batches in order.
    """
    size = labels.size // losses.size
    a, error = np.empty((size, b0.size), x.dtype), np.empty((size, b0.size), x.dtype)
    e, g0, g1 = np.empty((size, b1.size), x.dtype), np.empty_like(w0), np.empty_like(w1)
    for step in range(losses.size):
        rows = x[step * size : (step + 1) * size]
        np.dot(rows, w0, a)
        a[:] = one / (one + np.exp(-(a + b0)))
        np.dot(a, w1, e)
        e += b1
        loss = one - one
        for s in range(size):
            row, label = e[s], labels[step * size + s]
            row[:] = np.exp(row - row.max())
            row /= row.sum()
            loss -= np.log(row[label])
            row[label] -= one
        losses[step] = loss / size
        e *= rate / size
        np.dot(a.T, e, g1)
        w1 -= g1
        np.dot(e, w1.T, error)
        error *= a * (one - a)
        np.dot(rows.T, error, g0)
        w0 -= g0
        b1 -= e.sum(axis=0)
        b0 -= error.sum(axis=0)


class Contestant(NamedTuple):
    """How to create a contestant, and its update order: a key of REFERENCES."""

    title: str
    order: str
    make: Callable[..., Any]
    """Called with a job and `arguments`."""
    arguments: tuple[Any, ...] = ()
    gpu: bool = False
    """Whether it computes on a GPU."""


CONTESTANTS = {
    "notebook": Contestant("notebook's loop", LAYERWISE, Notebook),
    "mlp_xp-numpy": Contestant("mlp_xp, NumPy", LAYERWISE, MlpXp, ("numpy",)),
    "mlp_xp-jax": Contestant("mlp_xp, JAX", LAYERWISE, MlpXp, ("jax", "cpu")),
    "mlp_xp-torch": Contestant("mlp_xp, PyTorch", LAYERWISE, MlpXp, ("torch", "cpu")),
    "mlp_xp-cupy": Contestant("mlp_xp, CuPy", LAYERWISE, MlpXp, ("cupy",), True),
    "mlp_xp-jax-gpu": Contestant(
        "mlp_xp, JAX, GPU", LAYERWISE, MlpXp, ("jax", "gpu"), True
    ),
    "mlp_xp-torch-gpu": Contestant(
        "mlp_xp, PyTorch, GPU", LAYERWISE, MlpXp, ("torch", "cuda"), True
    ),
    "pytorch": Contestant("PyTorch", SIMULTANEOUS, PyTorch),
    "pytorch-compile": Contestant(
        "PyTorch, compiled", SIMULTANEOUS, PyTorch, ("default",)
    ),
    "pytorch-gpu": Contestant(
        "PyTorch, GPU", SIMULTANEOUS, PyTorch, (None, "cuda"), True
    ),
    "pytorch-gpu-graphs": Contestant(
        "PyTorch, CUDA graphs", SIMULTANEOUS, PyTorch, ("reduce-overhead", "cuda"), True
    ),
    "scikit-learn": Contestant("scikit-learn", SIMULTANEOUS, ScikitLearn),
    "keras-jax": Contestant("Keras on JAX", SIMULTANEOUS, Keras),
    "numba": Contestant("Numba loop: limit", LAYERWISE, Numba),
}
# Each contestant must have the loss of one of these. They compute in float64 for every
# workload and are not timed.
REFERENCES = {
    order: Contestant(
        f"reference, {order}", order, MlpXp, ("numpy", None, order, "float64")
    )
    for order in (LAYERWISE, SIMULTANEOUS)
}


def is_foreign(name: str) -> bool:
    """Return whether a name is that of an array API namespace.

    It is `module:namespace`, or a name that a package offers.
    """
    return ":" in name or name in known_hooks()
