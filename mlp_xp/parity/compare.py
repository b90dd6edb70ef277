"""Compare several backends, step by step, with NumPy in float64."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend, BackendFailure, open_backend
from mlp_xp.checks import DatasetError
from mlp_xp.config import ConfigError, TrainConfig, check_range
from mlp_xp.dataset import Dataset
from mlp_xp.device import place_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import Array
from mlp_xp.metrics import predict_logits
from mlp_xp.network import Network
from mlp_xp.parity import notebook
from mlp_xp.plan import ceil_divide
from mlp_xp.training import WARM_UP_EPOCH, DivergenceError, Report, Tally, layer_sizes, trajectory

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
    report_steps: np.ndarray
    """The number of steps done at every report, int64 (reports,)."""
    accuracies: tuple[float, ...]
    """Test accuracy at every report."""
    test_losses: tuple[float, ...]
    """Test loss at every report; empty where it is not known."""
    margins: np.ndarray
    """At every report, for all test images, how far the two largest logits are apart, relative to the largest logit of
    all: float64 (reports, n)."""
    logits: np.ndarray
    """Final logits of all test images, float64 (n, classes)."""
    predictions: np.ndarray
    """Final predictions for all test images by the library's own argmax, int64 (n,)."""
    accuracy: float
    """Final test accuracy."""
    seconds: float
    microseconds: float = math.nan
    """Of a training step, without evaluation and compilation; NaN if that was not measured."""


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
    test_loss: Quantity
    accuracy: Quantity
    """Its deviation is a number of test images, beyond those whose prediction may change (see `close_calls`)."""
    predictions: Quantity
    """Its deviation is the number of test images whose prediction changed although it may not."""
    deviations: np.ndarray
    """Relative deviations of the losses, float64 (steps,)."""
    accuracies_differ: int
    """The number of reports with a different test accuracy."""
    predictions_differ: int
    """The number of test images with a different final prediction."""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The quantities that have a relative tolerance at every step, and are shown in the table."""
        return (self.loss, self.logits, self.weights)

    @property
    def all_quantities(self) -> tuple[Quantity, ...]:
        """Everything that must be within its tolerance."""
        return (*self.quantities, self.test_loss, self.accuracy, self.predictions)

    @property
    def agrees(self) -> bool:
        """Whether every quantity is within its tolerance."""
        return all(quantity.first_step is None for quantity in self.all_quantities)


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
    on_device = place_dataset(dataset, backend)
    check_range("steps", steps)
    config.check_fits(dataset.train_images.shape[0])
    # The number of epochs follows from the steps, not from the configuration.
    epoch_steps = ceil_divide(dataset.train_images.shape[0] - config.validation, config.batch_size)
    config = replace(config, epochs=ceil_divide(steps, epoch_steps), patience=0)
    probed = on_device.test_images[: min(PROBES, dataset.test_images.shape[0]), ...]
    losses: list[np.ndarray] = []
    looks: list[tuple[int, np.ndarray]] = []
    reports: list[tuple[int, Report]] = []
    margins = []
    chunks: list[tuple[int, float]] = []
    tally = Tally()

    def logits(network: Network, images: Array) -> Array:
        return predict_logits(network, images, activation=config.activation, backend=backend, prepare=on_device.prepare)

    for event in trajectory(config, on_device, backend, stop_after=config.warm_up_steps + steps):
        if event.closing:
            break
        losses.append(event.losses)
        chunks.append((len(event.losses), event.position.tally.seconds - tally.seconds))
        tally = Tally() if event.report or event.position.epoch == WARM_UP_EPOCH else event.position.tally
        network = event.position.state.network
        looks.append((event.position.step, backend.to_numpy(logits(network, probed))))
        if event.report:
            reports.append((event.position.step, event.report))
            margins.append(relative_margins(backend.to_numpy(logits(network, on_device.test_images))))
    last_logits = logits(network, on_device.test_images)
    predictions = backend.to_numpy(backend.xp.argmax(last_logits, axis=1)).astype(np.int64)
    return Trajectory(
        backend.name,
        backend.version,
        backend.device_name or "default",
        backend.dtype_name,
        np.concatenate(losses),
        np.array([step for step, _ in looks]),
        np.stack([values for _, values in looks]).astype(np.float64),
        tuple(backend.to_numpy(array).astype(np.float64) for layer in network for array in layer),
        np.array([step for step, _ in reports], np.int64),
        tuple(report.accuracy or 0.0 for _, report in reports),
        tuple(report.test_loss or 0.0 for _, report in reports),
        np.array(margins).reshape(len(reports), len(predictions)),
        backend.to_numpy(last_logits).astype(np.float64),
        predictions,
        float(np.mean(predictions == dataset.test_labels)),
        event.position.seconds,
        1e6 * seconds_per_step(chunks),
    )


def relative_margins(logits: np.ndarray) -> np.ndarray:
    """Return by how much the largest logit of each image exceeds the second, relative to the largest of all: (n,).

    logits: (n, classes). With a single class there is no second, and the margin is infinite.
    """
    logits = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return np.full(logits.shape[0], np.inf)
    second, first = np.moveaxis(np.partition(logits, -2, axis=1)[:, -2:], 1, 0)
    return (first - second) / (np.max(np.abs(logits)) or 1)


def close_calls(margins: np.ndarray, allowed: np.ndarray | float) -> np.ndarray:
    """Return for which images a relative deviation of the logits by `allowed` may change the prediction.

    Each of the two largest logits may move by that much, so the margin by twice as much.
    """
    with np.errstate(over="ignore"):  # whoever allows that much allows everything
        return margins <= 2 * allowed


def seconds_per_step(chunks: Sequence[tuple[int, float]]) -> float:
    """Return the median time of a step over the longest chunks, (steps, seconds) each.

    Without the first of them if there are others: in that one a library may have compiled.
    """
    longest = max(steps for steps, _ in chunks)
    times = [seconds / steps for steps, seconds in chunks if steps == longest]
    return float(np.median(times[1:] or times))


def record_notebook(config: TrainConfig, dataset: Dataset, steps: int) -> Trajectory:
    """Record the same run with the notebook's plain NumPy code in `parity.notebook`.

    Raises ConfigError for a setting that the notebook does not have.
    """
    if len(config.hidden) != 1:
        raise ConfigError(f"the notebook has one hidden layer, not {len(config.hidden)}", setting="hidden")
    for name in ("activation", "init", "optimizer", "schedule", "weight_decay", "clip_norm", "dropout"):
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
    accuracies: list[float] = []
    report_steps: list[int] = []
    epoch_steps = ceil_divide(data.train_images.shape[0], config.batch_size)

    def report(epoch: int, sample: int, loss: float) -> None:
        accuracies.append(notebook.accuracy(network, data.test_images, data.test_labels))
        report_steps.append(config.warm_up_steps + epoch * epoch_steps + sample // config.batch_size + 1)

    warm_up, losses = notebook.trajectory(
        network,
        data.train_images,
        data.train_labels,
        steps,
        batch_size=config.batch_size,
        warm_up=config.warm_up_steps,
        report_every=config.report_every,
        on_report=report,
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
        np.array([config.warm_up_steps + steps]), logits[None, :PROBES], weights, np.array(report_steps, np.int64),
        tuple(accuracies), (), np.empty((0, 0)), logits, predictions,
        float(np.mean(predictions == dataset.test_labels)), math.nan,
    )  # fmt: skip


def compare(
    run: Trajectory,
    reference: Trajectory,
    length: int,
    fixed_tolerance: float | None = None,
    amplified: float = 1.0,
) -> Comparison:
    """Compare a run with the reference, step by step.

    The deviation of a loss is relative to the reference loss, or to 1 if that is larger: a loss is -log p, so that its
    rounding error is of the order of eps even if the loss is small. Deviations of logits and weights are relative to
    the largest element. The test loss is a mean over the test images, and so also a sum of that length. A prediction
    may differ only for an image in `close_calls`, and an accuracy by the number of these. length: as in `tolerance`.
    fixed_tolerance: replaces `tolerance`. amplified: see `amplification`.
    """

    def allowed(steps: np.ndarray, terms: int = length) -> np.ndarray:
        if fixed_tolerance is not None:
            return np.full(steps.shape, fixed_tolerance)
        coarser = max((run.dtype, reference.dtype), key=lambda dtype: np.finfo(dtype).eps)
        return amplified * tolerance(steps, coarser, terms)

    def quantity(name: str, deviations: np.ndarray, steps: np.ndarray, terms: int = length) -> Quantity:
        if not len(deviations):
            return Quantity(name, 0.0, math.inf, None)
        bounds = allowed(steps, terms)
        deviations = np.where(np.isnan(deviations), np.inf, deviations)
        beyond = deviations > bounds
        with np.errstate(over="ignore"):  # a large tolerance that was given
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
    last = np.max(np.abs(run.logits - reference.logits)) / (np.max(np.abs(reference.logits)) or 1)
    images = len(reference.predictions)
    tested = min(len(run.test_losses), len(reference.test_losses))
    run_losses, test_losses = np.array(run.test_losses[:tested]), np.array(reference.test_losses[:tested])
    reports = reference.report_steps
    close = close_calls(reference.margins, allowed(reports)[:, None]).sum(axis=1)
    moved = np.abs(np.rint(images * (np.array(run.accuracies) - np.array(reference.accuracies))))
    flipped = (run.predictions != reference.predictions) & ~close_calls(
        relative_margins(reference.logits), allowed(steps[-1:])
    )
    return Comparison(
        run,
        quantity("loss", deviations, steps),
        quantity("logits", np.append(probes, last), np.append(looks, steps[-1])),
        quantity("weights", np.array([max(weights)]), steps[-1:]),
        quantity(
            "test loss",
            np.abs(run_losses - test_losses) / np.maximum(1, np.abs(test_losses)),
            reports[:tested],
            max(length, images),
        ),
        _count("test accuracy", moved - close, reports),
        _count("predictions", np.array([flipped.sum()]), steps[-1:]),
        deviations,
        sum(a != b for a, b in zip(run.accuracies, reference.accuracies, strict=True)),
        int(np.sum(run.predictions != reference.predictions)),
    )


def _count(name: str, beyond: np.ndarray, steps: np.ndarray) -> Quantity:
    """Return the quantity for numbers of test images (n,) beyond those that may differ; anything above 0 is a fault."""
    wrong = ~(beyond <= 0)
    return Quantity(
        name,
        float(np.max(beyond[wrong], initial=0)),
        0.0 if wrong.any() else math.inf,
        int(steps[np.argmax(wrong)]) if wrong.any() else None,
    )


def amplification(config: TrainConfig) -> float:
    """Return by how much an optimiser may amplify the rounding of a gradient, compared with gradient descent.

    Adam's update is rate m / (sqrt(v) + epsilon), whose derivative by the gradient is at most rate / epsilon.
    """
    return max(1.0, config.learning_rate / config.epsilon) if config.optimizer in ("adam", "adamw") else 1.0


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
    if dataset.task != "classes" or dataset.test_images is None:
        raise DatasetError("the parity check compares predicted classes of a test set; give data with both")
    length = longest_dot_product(config, dataset)
    amplified = amplification(config)
    for backend in backends if fixed_tolerance is None and amplified > 1 else ():
        if amplified * tolerance(np.array(steps), backend.dtype_name, length) >= 1:
            raise ConfigError(
                f"rounding may change {config.optimizer}'s weights in {backend.dtype_name} by any amount; use float64, "
                "another optimiser, or a tolerance of your own",
                setting="optimizer",
            )
    reference = record(config, dataset, open_backend("numpy"), steps)
    yield compare(reference, reference, length, fixed_tolerance, amplified)

    def compare_one(backend: Backend) -> Comparison:
        return compare(record(config, dataset, backend, steps), reference, length, fixed_tolerance, amplified)

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
