"""Compare several backends, step by step, with NumPy in float64."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from mlp_xp.backends.opening import Backend, BackendFailure, open_backend
from mlp_xp.core.config import ConfigError, TrainConfig, check_range
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.device import place_dataset
from mlp_xp.core.functional import Array
from mlp_xp.core.job import Job, layer_sizes
from mlp_xp.core.library import ADVICE
from mlp_xp.core.model import model_of
from mlp_xp.core.network import Network
from mlp_xp.core.plan import ceil_divide
from mlp_xp.core.training import DivergenceError, Event, Report, trajectory
from mlp_xp.errors import DatasetError, MlpXpError, with_colon
from mlp_xp.parity import notebook
from mlp_xp.parity.rounding import rounding_at_random

SAFETY = 10
# Runs with random rounding, as many as stochastic arithmetic usually takes, and how many times their deviation is
# allowed.
ROUNDING_RUNS, MARGIN = 3, 10


class Trajectory(NamedTuple):
    """The data of one run that is compared, on the host."""

    backend: str
    version: str
    device: str
    dtype: str
    losses: np.ndarray
    """The loss of every step, warm-up included, float64 (steps,)."""
    weights: tuple[np.ndarray, ...]
    """The final weights and bias of each layer, in order, float64."""
    report_steps: np.ndarray
    """The number of steps done at every report, int64 (reports,)."""
    accuracies: tuple[float, ...]
    """Test accuracy at every report."""
    test_losses: tuple[float, ...]
    """Test loss at every report; empty where it is not known."""
    logits: np.ndarray
    """Logits of all test images at every report and at the end, float64 (reports + 1, n, classes)."""
    predictions: np.ndarray
    """Final predictions for all test images by the library's own argmax, int64 (n,)."""
    accuracy: float
    """Final test accuracy."""


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
    allowed: np.ndarray
    """What is allowed for them, float64 (steps,)."""
    amplified: bool
    """Whether that is more than the derived tolerance somewhere, because this training amplifies rounding."""
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
    def head_room(self) -> float:
        """The smallest ratio of tolerance to deviation of all quantities; infinite without deviation."""
        return min(quantity.head_room for quantity in self.all_quantities)

    @property
    def compared_steps(self) -> int:
        """The number of steps, warm-up included, up to which less than 1 is allowed: beyond, nothing is proved."""
        return int(np.argmax(self.allowed >= 1)) if (self.allowed >= 1).any() else len(self.allowed)

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

    The rounding error of a dot product of `length` terms, relative to the sum of their absolute values, is at most
    length * eps. It grows with sqrt(length) * eps if the errors are independent with mean zero (Higham and Mary, 2019,
    A new approach to probabilistic rounding error analysis; their factor lambda, here SAFETY, sets the probability of a
    larger error: 10 makes it negligible). Libraries sum in different orders, so one step may cause that deviation
    between two of them. Where training neither amplifies nor damps deviations, independent ones add up as sqrt(steps).
    A different computation gives a deviation that does not shrink with eps: in float64 it is larger by orders of
    magnitude. Where training amplifies deviations, as with a high learning rate, see `amplification`.

    length: see `longest_dot_product`.
    """
    return SAFETY * float(np.finfo(dtype).eps) * np.sqrt(length * np.asarray(steps, dtype=np.float64))


def start(config: TrainConfig, dataset: Dataset, backend: Backend, steps: int) -> tuple[Dataset, Iterator[Event]]:
    """Return the data set on the device, and the events of a training run of `steps` steps after the warm-up.

    dataset: arrays on the host. Raises ConfigError for fewer than one step, and what `trajectory` raises.
    """
    on_device = place_dataset(dataset, backend)
    check_range("steps", steps)
    config.check_fits(dataset.train_inputs.shape[0])
    # The number of epochs follows from the steps, not from the configuration.
    epoch_steps = ceil_divide(dataset.train_inputs.shape[0] - config.validation, config.batch_size)
    config = replace(config, epochs=ceil_divide(steps, epoch_steps), patience=0)
    events = trajectory(Job(config, on_device, backend), stop_after=config.warm_up_steps + steps)
    return on_device, (event for event in events if not event.closing)


def record(config: TrainConfig, dataset: Dataset, backend: Backend, steps: int) -> Trajectory:
    """Train for `steps` steps after the warm-up and record the data to compare.

    dataset: arrays on the host. Raises ConfigError for fewer than one step, and what `trajectory` raises.
    """
    on_device, events = start(config, dataset, backend, steps)
    losses: list[np.ndarray] = []
    reports: list[tuple[int, Report]] = []
    looks: list[np.ndarray] = []

    def logits(network: Network) -> Array:
        return model_of(network, config.activation, on_device, backend).logits(on_device.test_inputs)

    for event in events:
        losses.append(event.losses)
        network = event.position.state.network
        if event.report:
            reports.append((event.position.step, event.report))
            looks.append(backend.to_numpy(logits(network)))
    last = logits(network)
    predictions = backend.to_numpy(backend.xp.argmax(last, axis=1)).astype(np.int64)
    return Trajectory(
        backend.name,
        backend.version,
        backend.device_name or "default",
        backend.dtype_name,
        np.concatenate(losses),
        tuple(backend.to_numpy(array).astype(np.float64) for layer in network for array in layer),
        np.array([step for step, _ in reports], np.int64),
        tuple(report.test.score for _, report in reports if report.test),
        tuple(report.test.loss for _, report in reports if report.test),
        np.stack([*looks, backend.to_numpy(last)]).astype(np.float64),
        predictions,
        float(np.mean(predictions == dataset.test_labels)),
    )


def relative_margins(logits: np.ndarray) -> np.ndarray:
    """Return by how much the largest logit of each image exceeds the second, relative to the largest of all: (n,).

    logits: (n, classes). With a single class there is no second, and the margin is infinite.
    """
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


def record_notebook(config: TrainConfig, dataset: Dataset, steps: int) -> Trajectory:
    """Record the same run with the notebook's plain NumPy code in `parity.notebook`.

    Raises ConfigError for a setting that the notebook does not have.
    """
    if len(config.hidden) != 1:
        raise ConfigError(f"the notebook has one hidden layer, not {len(config.hidden)}", setting="hidden")
    for name in ("activation", "init", "optimizer", "schedule", "weight_decay", "clip_norm", "dropout"):
        if (value := getattr(config, name)) != (own := getattr(TrainConfig(), name)):
            raise ConfigError(f"the notebook has {own!r}, not {value!r}", setting=name)
    data = notebook.prepared(dataset)
    network = notebook.Notebook(
        input_size=data.train_inputs.shape[1],
        hidden_size=config.hidden[0],
        output_size=len(dataset.class_names),
        learning_rate=config.learning_rate,
        seed=config.seed,
        textbook=config.update_order == "simultaneous",
    )
    accuracies: list[float] = []
    looks: list[np.ndarray] = []
    report_steps: list[int] = []
    epoch_steps = ceil_divide(data.train_inputs.shape[0], config.batch_size)

    def report(epoch: int, sample: int, loss: float) -> None:
        layers = network.forward(data.test_inputs)
        accuracies.append(notebook.verify(layers.output, data.test_labels))
        looks.append(layers.output_input)
        report_steps.append(config.warm_up_steps + epoch * epoch_steps + sample // config.batch_size + 1)

    warm_up, losses = notebook.trajectory(
        network,
        data.train_inputs,
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
    logits = network.forward(data.test_inputs).output_input
    predictions = np.argmax(logits, axis=1)
    return Trajectory(
        "notebook", np.__version__, "cpu", "float64", np.concatenate([warm_up, losses]), weights,
        np.array(report_steps, np.int64), tuple(accuracies), (), np.stack([*looks, logits]), predictions,
        float(np.mean(predictions == dataset.test_labels)),
    )  # fmt: skip


class Deviations(NamedTuple):
    """The relative deviations of a run from the reference, each as the steps of its values, and the values."""

    loss: tuple[np.ndarray, np.ndarray]
    logits: tuple[np.ndarray, np.ndarray]
    weights: tuple[np.ndarray, np.ndarray]
    test_loss: tuple[np.ndarray, np.ndarray]


def measure(run: Trajectory, reference: Trajectory) -> Deviations:
    """Return the deviations of a run from the reference; infinite where they are not finite.

    The deviation of a loss is relative to the reference loss, or to 1 if that is larger: a loss is -log p of the
    logits, whose rounding errors do not shrink with it. Deviations of logits and weights are relative to the largest
    element.
    """

    def of_losses(losses: np.ndarray, expected: np.ndarray) -> np.ndarray:
        return np.abs(losses - expected) / np.maximum(1, np.abs(expected))

    def of_arrays(array: np.ndarray, expected: np.ndarray) -> np.ndarray:
        if array.shape != expected.shape:
            return np.asarray(np.inf)
        return np.max(np.abs(array - expected)) / (np.max(np.abs(expected)) or 1)

    steps = np.arange(1, len(reference.losses) + 1)
    logits = [*map(of_arrays, run.logits, reference.logits)]
    weights = np.max([*map(of_arrays, run.weights, reference.weights)])  # NaN if any is, unlike Python's max
    tested = min(len(run.test_losses), len(reference.test_losses))
    test_losses = of_losses(np.array(run.test_losses[:tested]), np.array(reference.test_losses[:tested]))
    found = (
        (steps, of_losses(run.losses, reference.losses)),
        (np.append(reference.report_steps, steps[-1]), np.array(logits)),
        (steps[-1:], np.array([weights])),
        (reference.report_steps[:tested], test_losses),
    )
    return Deviations(*((at, np.where(np.isnan(values), np.inf, values)) for at, values in found))


def updates_before(name: str, steps: np.ndarray) -> np.ndarray:
    """Return after how many updates a quantity of these steps is computed: a loss comes before the step's own."""
    return steps - 1 if name == "loss" else steps


def compare(
    run: Trajectory,
    reference: Trajectory,
    length: int,
    fixed_tolerance: float | None = None,
    amplified: np.ndarray | None = None,
) -> Comparison:
    """Compare a run with the reference, step by step.

    See `measure` for the deviations. The test loss is a mean over the test images, and so also a sum of that length. A
    prediction may differ only for an image in `close_calls`, and an accuracy by the number of these. length: as in
    `tolerance`. fixed_tolerance: replaces `tolerance`. amplified: factors of it, see `amplification`.
    """
    found, images = measure(run, reference), len(reference.predictions)
    coarser = max((run.dtype, reference.dtype), key=lambda dtype: np.finfo(dtype).eps)

    def allowed(name: str, steps: np.ndarray) -> np.ndarray:
        if fixed_tolerance is not None:
            return np.full(steps.shape, fixed_tolerance)
        derived = tolerance(steps, coarser, max(length, images) if name == "test_loss" else length)
        return derived if amplified is None else amplified[updates_before(name, steps)] * derived

    def quantity(name: str) -> Quantity:
        steps, deviations = getattr(found, name)
        bounds = allowed(name, steps)
        beyond = deviations > bounds
        with np.errstate(over="ignore"):  # a large tolerance that was given
            ratios = bounds[deviations > 0] / deviations[deviations > 0]
        return Quantity(
            name.replace("_", " "),
            float(np.max(deviations, initial=0)),
            float(np.min(ratios, initial=math.inf)),
            int(steps[np.argmax(beyond)]) if beyond.any() else None,
        )

    reports, last = reference.report_steps, found.loss[0][-1:]
    margins = np.array([*map(relative_margins, reference.logits)])
    close = close_calls(margins[:-1], allowed("logits", reports)[:, None]).sum(axis=1)
    moved = np.abs(np.rint(images * (np.array(run.accuracies) - np.array(reference.accuracies))))
    flipped = (run.predictions != reference.predictions) & ~close_calls(margins[-1], allowed("logits", last))
    return Comparison(
        run,
        quantity("loss"),
        quantity("logits"),
        quantity("weights"),
        quantity("test_loss"),
        _count("test accuracy", moved - close, reports),
        _count("predictions", np.array([flipped.sum()]), last),
        found.loss[1],
        allowed("loss", found.loss[0]),
        amplified is not None and bool(np.any(amplified > 1)),
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


def amplification(config: TrainConfig, dataset: Dataset, dtype: str, reference: Trajectory, length: int) -> np.ndarray:
    """Return the factors, at least 1, by which 0, 1, ... updates amplify rounding errors: float64 (steps + 1,).

    They are MARGIN times the largest ratio, so far and in any quantity, of what runs of NumPy with random rounding (see
    `rounding`) deviate from the reference to what `tolerance` allows. Raises ConfigError if rounding alone makes such a
    run diverge.
    """
    total, images = len(reference.losses), len(reference.predictions)
    factors = np.ones(total + 1)
    for seed in range(ROUNDING_RUNS):
        try:
            run = record(config, dataset, rounding_at_random(dtype, seed), total - config.warm_up_steps)
        except DivergenceError as error:
            raise ConfigError(
                f"rounding alone makes this training diverge in {dtype}, so that nothing can be compared; use fewer "
                "steps, a lower learning rate, or float64",
                setting="dtype",
            ) from error
        for name, (steps, values) in measure(run, reference)._asdict().items():
            derived = tolerance(steps, dtype, max(length, images) if name == "test_loss" else length)
            np.maximum.at(factors, updates_before(name, steps), MARGIN * values / derived)
    return np.maximum.accumulate(factors)


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
    fails, or has a loss that is not finite where the reference is finite, gives a Failure. One that deviates by more
    than the derived tolerance is compared again with what rounding does to this training (see `amplification`). Raises
    what `record` raises for the reference, such as DivergenceError, and what `amplification` does.
    """
    if not dataset.task.exclusive or dataset.test_inputs is None:
        raise DatasetError("the parity check compares predicted classes of a test set; give data with both")
    length = longest_dot_product(config, dataset)
    reference = record(config, dataset, open_backend("numpy"), steps)
    yield compare(reference, reference, length, fixed_tolerance)

    @cache
    def amplified(dtype: str) -> np.ndarray:
        return amplification(config, dataset, dtype, reference, length)

    def compare_one(backend: Backend) -> Comparison:
        run = record(config, dataset, backend, steps)
        result = compare(run, reference, length, fixed_tolerance)
        if result.agrees or fixed_tolerance is not None:
            return result
        result = compare(run, reference, length, None, amplified(backend.dtype_name))
        if result.agrees and result.compared_steps <= config.warm_up_steps:
            raise ConfigError(
                f"rounding alone changes this training so much that in {backend.dtype_name} nothing can be compared "
                f"from step {result.compared_steps + 1} on; use a lower learning rate, or float64",
                setting="dtype",
            )
        return result

    for backend in backends:
        try:
            # A foreign namespace may also fail at what is done with the arrays that it returned.
            result: Comparison | Failure = backend.reported(compare_one, "a comparison")(backend)
        except ConfigError:
            raise
        except MlpXpError as error:
            # The advice is of no use: NumPy is the other backend.
            reason = error.text.removesuffix(ADVICE)
            if isinstance(error, DivergenceError):
                if fixed_tolerance is None:
                    amplified(backend.dtype_name)  # raises an error if rounding alone makes the training diverge
                what, _, _ = reason.partition(";")  # the advice is of no use: with the same settings NumPy is fine
                reason = f"{what}, where the reference is finite"
            if not isinstance(error, BackendFailure):
                reason = f"backend {with_colon(backend.name)} {reason}"
            place = backend.device_name or "default"
            result = Failure(backend.name, backend.version, place, backend.dtype_name, reason)
        yield result
