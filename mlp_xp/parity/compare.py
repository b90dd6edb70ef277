"""Compare several backends, step by step, with NumPy in float64."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend, BackendFailure, open_backend
from mlp_xp.config import ConfigError, TrainConfig, check_range
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import Array
from mlp_xp.metrics import predict_logits
from mlp_xp.network import Network
from mlp_xp.parity import notebook
from mlp_xp.plan import ceil_divide
from mlp_xp.training import DivergenceError, layer_sizes, trajectory

PROBES = 100
SAFETY = 10


class Trajectory(NamedTuple):
    """The data of one run that is compared, on the host."""

    backend: str
    version: str
    device: str
    dtype: str
    losses: np.ndarray
    """The loss of every step, warm-up included, float64 (steps,)."""
    probe_steps: np.ndarray
    """The number of steps done when the logits in `probes` were recorded, int64 (looks,)."""
    probes: np.ndarray
    """Logits of the first test images after `probe_steps` steps, float64 (looks, PROBES, classes)."""
    weights: tuple[np.ndarray, ...]
    """The final weights and bias of each layer, in order, float64."""
    accuracies: tuple[float, ...]
    """Test accuracy at every report."""
    predictions: np.ndarray
    """Final predictions for all test images, int64 (n,)."""
    accuracy: float
    """Final test accuracy."""
    seconds: float


class Quantity(NamedTuple):
    """The deviation of one quantity from the reference, compared with the tolerance."""

    name: str
    largest: float
    """Largest relative deviation."""
    head_room: float
    """The smallest ratio of tolerance to deviation. Below 1 is a mismatch; without deviation it is infinite."""
    first_step: int | None
    """The first step, counted from 1, with a deviation above the tolerance; None if there is none."""


class Comparison(NamedTuple):
    """The comparison of one backend with the reference."""

    trajectory: Trajectory
    loss: Quantity
    logits: Quantity
    weights: Quantity
    deviations: np.ndarray
    """Relative deviations of the losses, float64 (steps,)."""
    accuracies_differ: int
    """The number of reports with a different test accuracy."""
    predictions_differ: int
    """The number of test images with a different final prediction."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities that have a tolerance."""
        return (self.loss, self.logits, self.weights)

    @property
    def agrees(self) -> bool:
        """Whether every quantity is within its tolerance."""
        return all(quantity.first_step is None for quantity in self.quantities)


class Failure(NamedTuple):
    """A backend that failed, so that there is nothing to compare."""

    backend: str
    version: str
    device: str
    dtype: str
    reason: str
    """In one line, with the backend's name."""


def tolerance(steps: np.ndarray, dtype: str, length: int) -> np.ndarray:
    """Return the relative deviation that rounding may cause after `steps` (n,): SAFETY eps sqrt(length steps).

    The relative rounding error of a dot product of `length` terms is at most length * eps. It grows with
    sqrt(length) * eps if the errors are independent with mean zero (Higham and Mary, 2019, A new approach to
    probabilistic rounding error analysis; their factor lambda, here SAFETY, sets the probability of a larger error: 10
    makes it negligible). Libraries sum in different orders, so one step may cause that deviation between two of them.
    Training does not amplify deviations, so independent deviations add up as sqrt(steps). A different computation gives
    a deviation that does not shrink with eps: in float64 it is larger by orders of magnitude.

    length: see `longest_dot_product`.
    """
    return SAFETY * float(np.finfo(dtype).eps) * np.sqrt(length * np.asarray(steps, dtype=np.float64))


def record(config: TrainConfig, dataset: Dataset, backend: Backend, steps: int) -> Trajectory:
    """Train for `steps` steps after the warm-up and record the data to compare.

    dataset: arrays on the host. Raises ConfigError for fewer than one step, and what `trajectory` raises.
    """
    on_device = dataset._replace(
        **{name: backend.asarray(array) for name, array in dataset._asdict().items() if isinstance(array, np.ndarray)}
    )
    check_range("steps", steps)
    config.check_fits(dataset.train_images.shape[0])
    # The number of epochs follows from the steps, not from the configuration.
    epoch_steps = ceil_divide(dataset.train_images.shape[0] - config.validation, config.batch_size)
    config = replace(config, epochs=ceil_divide(steps, epoch_steps), patience=0)
    probed = on_device.test_images[: min(PROBES, dataset.test_images.shape[0]), ...]
    losses: list[np.ndarray] = []
    looks: list[tuple[int, np.ndarray]] = []
    accuracies = []

    def logits(network: Network, images: Array) -> np.ndarray:
        return backend.to_numpy(
            predict_logits(network, images, activation=config.activation, backend=backend, prepare=dataset.prepare)
        )

    for event in trajectory(config, on_device, backend, stop_after=config.warm_up_steps + steps):
        if event.closing:
            break
        losses.append(event.losses)
        network = event.position.state.network
        looks.append((event.position.step, logits(network, probed)))
        if event.report:
            accuracies.append(event.report.accuracy)
    predictions = np.argmax(logits(network, on_device.test_images), axis=1)
    return Trajectory(
        backend.name,
        backend.version,
        backend.device_name or "default",
        backend.dtype_name,
        np.concatenate(losses),
        np.array([step for step, _ in looks]),
        np.stack([values for _, values in looks]).astype(np.float64),
        tuple(backend.to_numpy(array).astype(np.float64) for layer in network for array in layer),
        tuple(accuracies),
        predictions,
        float(np.mean(predictions == dataset.test_labels)),
        event.position.seconds,
    )


def record_notebook(config: TrainConfig, dataset: Dataset, steps: int) -> Trajectory:
    """Record the same run with the notebook's plain NumPy code in `parity.notebook`.

    Raises ConfigError for a setting that the notebook does not have.
    """
    if len(config.hidden) != 1:
        raise ConfigError(f"the notebook has one hidden layer, not {len(config.hidden)}", setting="hidden")
    for name in ("activation", "init", "optimizer", "schedule", "weight_decay"):
        if (value := getattr(config, name)) != (own := getattr(TrainConfig(), name)):
            raise ConfigError(f"the notebook has {own!r}, not {value!r}", setting=name)
    data = notebook.Data(
        notebook.flat(dataset.train_images),
        notebook.one_hot(dataset.train_labels),
        notebook.flat(dataset.test_images),
        notebook.one_hot(dataset.test_labels),
    )
    network = notebook.Notebook(
        input_size=data.train_images.shape[1],
        hidden_size=config.hidden[0],
        output_size=len(dataset.class_names),
        learning_rate=config.learning_rate,
        seed=config.seed,
        textbook=config.update_order == "simultaneous",
    )
    accuracies = []
    warm_up, losses = notebook.trajectory(
        network,
        data.train_images,
        data.train_labels,
        steps,
        batch_size=config.batch_size,
        warm_up=config.warm_up_steps,
        report_every=config.report_every,
        on_report=lambda *_: accuracies.append(notebook.accuracy(network, data.test_images, data.test_labels)),
    )
    weights = (
        network.weights_input_hidden,
        network.bias_input_hidden,
        network.weights_hidden_output,
        network.bias_hidden_output,
    )
    logits = network.forward(data.test_images).output_input
    predictions = np.argmax(logits, axis=1)
    return Trajectory(
        "notebook", np.__version__, "cpu", "float64", np.concatenate([warm_up, losses]),
        np.array([config.warm_up_steps + steps]), logits[None, :PROBES], weights, tuple(accuracies), predictions,
        float(np.mean(predictions == dataset.test_labels)), math.nan,
    )  # fmt: skip


def compare(run: Trajectory, reference: Trajectory, length: int, fixed_tolerance: float | None = None) -> Comparison:
    """Compare a run with the reference, step by step.

    The deviation of a loss is relative to the reference loss, or to 1 if that is larger: a loss is -log p, so that its
    rounding error is of the order of eps even if the loss is small. Deviations of logits and weights are relative to
    the largest element. length: as in `tolerance`. fixed_tolerance: replaces `tolerance`.
    """

    def allowed(steps: np.ndarray) -> np.ndarray:
        if fixed_tolerance is not None:
            return np.full(steps.shape, fixed_tolerance)
        coarser = max((run.dtype, reference.dtype), key=lambda dtype: np.finfo(dtype).eps)
        return tolerance(steps, coarser, length)

    def quantity(name: str, deviations: np.ndarray, steps: np.ndarray) -> Quantity:
        bounds = allowed(steps)
        deviations = np.where(np.isnan(deviations), np.inf, deviations)
        beyond = deviations > bounds
        ratios = bounds[deviations > 0] / deviations[deviations > 0]
        return Quantity(
            name,
            float(np.max(deviations)),
            float(np.min(ratios)) if ratios.size else math.inf,
            int(steps[np.argmax(beyond)]) if beyond.any() else None,
        )

    steps = np.arange(1, len(reference.losses) + 1)
    deviations = np.abs(run.losses - reference.losses) / np.maximum(1, np.abs(reference.losses))
    looks, i, j = np.intersect1d(run.probe_steps, reference.probe_steps, return_indices=True)
    expected = reference.probes[j]
    probes = np.max(np.abs(run.probes[i] - expected), axis=(1, 2)) / np.max(np.abs(expected), axis=(1, 2))
    weights = [
        np.max(np.abs(a - b)) / (np.max(np.abs(b)) or 1) for a, b in zip(run.weights, reference.weights, strict=True)
    ]
    return Comparison(
        run,
        quantity("loss", deviations, steps),
        quantity("logits", probes, looks),
        quantity("weights", np.array([max(weights)]), steps[-1:]),
        deviations,
        sum(a != b for a, b in zip(run.accuracies, reference.accuracies, strict=True)),
        int(np.sum(run.predictions != reference.predictions)),
    )


def longest_dot_product(config: TrainConfig, dataset: Dataset) -> int:
    """Return the number of terms of the longest sum in a step: the largest number of inputs, or the batch size."""
    return max(*layer_sizes(config, dataset)[:-1], config.batch_size)


def check(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    fixed_tolerance: float | None = None,
) -> Iterator[Comparison | Failure]:
    """Compare every backend, in its own dtype, with NumPy in float64; first the reference with itself.

    dataset: arrays on the host. Any array library can be compared if it is opened as `module:namespace`. A backend that
    fails, or has a loss that is not finite where the reference is finite, gives a Failure. Raises what `record` raises
    for the reference, such as DivergenceError.
    """
    length = longest_dot_product(config, dataset)
    reference = record(config, dataset, open_backend("numpy"), steps)
    yield compare(reference, reference, length, fixed_tolerance)

    def compare_one(backend: Backend) -> Comparison:
        return compare(record(config, dataset, backend, steps), reference, length, fixed_tolerance)

    for backend in backends:
        try:
            # A foreign namespace may also fail at what is done with the arrays that it returned.
            result: Comparison | Failure = backend.reported(compare_one, "a comparison")(backend)
        except MlpXpError as error:
            reason = error.text
            if isinstance(error, DivergenceError):
                what, _, _ = reason.partition(";")  # the advice is of no use: with the same settings NumPy is fine
                reason = f"{what}, where the reference is finite"
            if not isinstance(error, BackendFailure):
                reason = f"backend {backend.name}: {reason}"
            place = backend.device_name or "default"
            result = Failure(backend.name, backend.version, place, backend.dtype_name, reason)
        yield result
