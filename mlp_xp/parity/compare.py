"""Compare several backends, step by step, with NumPy in float64."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import BackendFailure, open_backend, reported
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job, layer_sizes
from mlp_xp.core.library import Backend
from mlp_xp.core.plan import ceil_divide
from mlp_xp.core.training import DivergenceError, Event, trajectory
from mlp_xp.declared import ConfigError, check_range
from mlp_xp.errors import DatasetError, MlpXpError, with_colon
from mlp_xp.parity import notebook
from mlp_xp.parity.rounding import rounding_at_random

SAFETY = 10
# Runs with random rounding, as many as stochastic arithmetic usually takes, and how many times their deviation is
# allowed.
ROUNDING_RUNS, MARGIN = 3, 10
Series = tuple[np.ndarray, np.ndarray]
"""Some steps, counted from 1 with the first of the warm-up, and a number for each."""


class Trajectory(NamedTuple):
    """What is compared of one run, on the host.

    losses: of every step, warm-up included, float64 (steps,). weights: the final weights and bias of each layer, in
    order, float64. report_steps: the number of steps done at every report, int64 (reports,). accuracies, test_losses:
    on the test set at every report; the notebook has no losses. logits: of all test images at every report and at the
    end, float64 (reports + 1, n, classes). predictions: the final ones for all test images by the library's own argmax,
    int64 (n,). accuracy: the final one on the test set.
    """

    backend: str
    version: str
    device: str
    dtype: str
    losses: np.ndarray
    weights: tuple[np.ndarray, ...]
    report_steps: np.ndarray
    accuracies: tuple[float, ...]
    test_losses: tuple[float, ...]
    logits: np.ndarray
    predictions: np.ndarray
    accuracy: float


class Quantity(NamedTuple):
    """The deviation of one quantity from the reference, compared with its tolerance."""

    largest: float
    """The largest deviation: relative, or a number of test images for the accuracy and the predictions."""
    head_room: float
    """The smallest ratio of tolerance to deviation. Below 1 is a mismatch; without deviation it is infinite."""
    first_step: int | None
    """The first step with a deviation above the tolerance; None if there is none."""


class Comparison(NamedTuple):
    """The comparison of one run with the reference."""

    trajectory: Trajectory
    quantities: dict[str, Quantity]
    """Everything that must be within its tolerance: loss, logits, weights, test_loss, test_accuracy, predictions. The
    last two count test images: by which the accuracy deviates beyond those whose prediction may change (see
    `in_doubt`), and whose prediction changed although it may not."""
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
    def head_room(self) -> float:
        """The smallest ratio of tolerance to deviation of all quantities; infinite without deviation."""
        return min(quantity.head_room for quantity in self.quantities.values())

    @property
    def compared_steps(self) -> int:
        """The number of steps, warm-up included, up to which less than 1 is allowed: beyond, nothing is proved."""
        return int(np.argmax(np.append(self.allowed, 1) >= 1))

    @property
    def agrees(self) -> bool:
        """Whether every quantity is within its tolerance."""
        return all(quantity.first_step is None for quantity in self.quantities.values())


class Failure(NamedTuple):
    """A backend that failed, so that there is nothing to compare."""

    backend: Backend
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


def longest_dot_product(config: TrainConfig, dataset: Dataset) -> int:
    """Return the number of terms of the longest sum in a step: the largest number of inputs, or the batch size."""
    return max(*layer_sizes(config, dataset)[:-1], config.batch_size)


def place_dataset(dataset: Dataset, backend: Backend) -> Dataset:
    """Copy a data set from the host to the backend's device, its floats in the backend's dtype."""

    def place(array: np.ndarray | None) -> Any:
        return array if array is None else backend.asarray(array, backend.dtype if array.dtype.kind == "f" else None)

    prepare = dataset.prepare._replace(fitted=tuple(map(place, dataset.prepare.fitted)))
    scaling = tuple(map(place, dataset.scaling))
    arrays = dict(zip(Dataset._fields[:4], map(place, dataset[:4]), strict=True))
    return dataset._replace(**arrays, prepare=prepare, scaling=scaling)


def start(config: TrainConfig, dataset: Dataset, backend: Backend, steps: int) -> tuple[Job, Iterator[Event]]:
    """Return a job, and the events of its first `steps` steps after the warm-up.

    dataset: arrays on the host. Raises ConfigError for fewer than one step, and what `Job` and `trajectory` raise.
    """
    check_range("steps", steps)
    config.check_fits(dataset.train_inputs.shape[0])
    # The number of epochs follows from the steps, not from the configuration.
    epoch_steps = ceil_divide(dataset.train_inputs.shape[0] - config.validation, config.batch_size)
    config = replace(config, epochs=ceil_divide(steps, epoch_steps), patience=0)
    job = Job(config, place_dataset(dataset, backend), backend)
    events = trajectory(job, stop_after=config.warm_up_steps + steps)
    return job, (event for event in events if not event.closing)


def record(config: TrainConfig, dataset: Dataset, backend: Backend, steps: int) -> Trajectory:
    """Train for `steps` steps after the warm-up and record what is compared. Arguments and errors: see `start`."""
    job, events = start(config, dataset, backend, steps)
    losses, looks, reports = [], [], []
    for event in events:
        losses.append(event.losses)
        network = event.position.state.network
        if event.report and event.report.test:
            reports.append((event.position.step, event.report.test.score, event.report.test.loss))
            looks.append(backend.to_numpy(event.report.model.logits(job.dataset.test_inputs)))
    last = job.model(network).logits(job.dataset.test_inputs)
    predictions = backend.to_numpy(backend.xp.argmax(last, axis=1)).astype(np.int64)
    report_steps, accuracies, test_losses = zip(*reports, strict=True) if reports else ((), (), ())
    weights = tuple(backend.to_numpy(array).astype(np.float64) for layer in network for array in layer)
    return Trajectory(
        backend.name, backend.version, backend.device_name or "default", backend.dtype_name, np.concatenate(losses),
        weights, np.array(report_steps, np.int64), accuracies, test_losses,
        np.stack([*looks, backend.to_numpy(last)]).astype(np.float64), predictions,
        float(np.mean(predictions == dataset.test_labels)),
    )  # fmt: skip


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
        input_size=data.train_inputs.shape[1], hidden_size=config.hidden[0], output_size=len(dataset.class_names),
        learning_rate=config.learning_rate, seed=config.seed, textbook=config.update_order == "simultaneous",
    )  # fmt: skip
    accuracies, looks, report_steps = [], [], []
    epoch_steps = ceil_divide(data.train_inputs.shape[0], config.batch_size)

    def report(epoch: int, sample: int, loss: float) -> None:
        layers = network.forward(data.test_inputs)
        accuracies.append(notebook.verify(layers.output, data.test_labels))
        looks.append(layers.output_input)
        report_steps.append(config.warm_up_steps + epoch * epoch_steps + sample // config.batch_size + 1)

    losses = notebook.trajectory(
        network, data.train_inputs, data.train_labels, steps, batch_size=config.batch_size,
        warm_up=config.warm_up_steps, report_every=config.report_every, on_report=report,
    )  # fmt: skip
    logits = network.forward(data.test_inputs).output_input
    hidden = network.weights_input_hidden, network.bias_input_hidden
    weights = (*hidden, network.weights_hidden_output, network.bias_hidden_output)
    predictions = np.argmax(logits, axis=1)
    return Trajectory(
        "notebook", np.__version__, "cpu", "float64", np.concatenate(losses), weights,
        np.array(report_steps, np.int64), tuple(accuracies), (), np.stack([*looks, logits]), predictions,
        float(np.mean(predictions == dataset.test_labels)),
    )  # fmt: skip


def in_doubt(logits: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return for which images a relative deviation of the logits by `allowed` may change the prediction, (looks, n).

    Each of the two largest logits may move by that much, so their difference by twice as much. logits: (looks, n,
    classes). allowed: (looks,), relative to the largest logit of a look.
    """
    second, first = np.moveaxis(np.partition(logits, -2, axis=2)[..., -2:], 2, 0)
    largest = np.max(np.abs(logits), axis=(1, 2))
    with np.errstate(over="ignore"):  # whoever allows that much allows everything
        doubt: np.ndarray = first - second <= (2 * allowed * largest)[:, None]
    return doubt


def measure(run: Trajectory, reference: Trajectory) -> dict[str, Series]:
    """Return the relative deviations of a run from the reference, by quantity; infinite where they are not finite.

    The deviation of a loss is relative to the reference loss, or to 1 if that is larger: a loss is -log p of the
    logits, whose rounding errors do not shrink with it. Deviations of logits and weights are relative to the largest
    element.
    """

    def of_losses(losses: Any, expected: Any) -> np.ndarray:
        tested = min(len(losses), len(expected))
        x, y = np.array(losses[:tested]), np.array(expected[:tested])
        return np.abs(x - y) / np.maximum(1, np.abs(y))

    def of_arrays(array: np.ndarray, expected: np.ndarray) -> np.ndarray:
        if array.shape != expected.shape:
            return np.asarray(np.inf)
        return np.max(np.abs(array - expected)) / (np.max(np.abs(expected)) or 1)

    steps, reports = np.arange(1, len(reference.losses) + 1), reference.report_steps
    test_losses = of_losses(run.test_losses, reference.test_losses)
    found = {
        "loss": (steps, of_losses(run.losses, reference.losses)),
        "logits": (np.append(reports, steps[-1]), np.array([*map(of_arrays, run.logits, reference.logits)])),
        "weights": (steps[-1:], np.max([*map(of_arrays, run.weights, reference.weights)], keepdims=True)),
        "test_loss": (reports[: len(test_losses)], test_losses),
    }
    return {name: (at, np.where(np.isnan(values), np.inf, values)) for name, (at, values) in found.items()}


def quantity_of(series: Series, allowed: np.ndarray) -> Quantity:
    """Compare deviations with what is allowed for each."""
    steps, deviations = series
    beyond, is_some = deviations > allowed, deviations > 0
    with np.errstate(over="ignore"):  # a large tolerance that was given
        ratios = allowed[is_some] / deviations[is_some]
    first = int(steps[np.argmax(beyond)]) if beyond.any() else None
    return Quantity(float(np.max(deviations, initial=0)), float(np.min(ratios, initial=math.inf)), first)


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
    prediction may differ only for an image `in_doubt`, and an accuracy by the number of these. length: as in
    `tolerance`. fixed_tolerance: replaces `tolerance`. amplified: factors of it, see `amplification`.
    """
    found, images, reports = measure(run, reference), len(reference.predictions), reference.report_steps
    coarser = max((run.dtype, reference.dtype), key=lambda dtype: np.finfo(dtype).eps)

    def allowed(name: str, steps: np.ndarray) -> np.ndarray:
        if fixed_tolerance is not None:
            return np.full(steps.shape, fixed_tolerance)
        derived = tolerance(steps, coarser, max(length, images) if name == "test_loss" else length)
        return derived if amplified is None else amplified[updates_before(name, steps)] * derived

    bounds = {name: allowed(name, steps) for name, (steps, _) in found.items()}
    close = in_doubt(reference.logits, bounds["logits"])
    moved = np.abs(np.rint(images * (np.array(run.accuracies) - np.array(reference.accuracies))))
    flipped = run.predictions != reference.predictions
    beyond = moved - close[:-1].sum(axis=1)
    found["test_accuracy"] = reports, np.where(np.isnan(beyond), np.inf, np.maximum(beyond, 0))
    found["predictions"] = found["weights"][0], np.array([(flipped & ~close[-1]).sum()])
    bounds |= {"test_accuracy": np.zeros(reports.shape), "predictions": np.zeros(1)}
    return Comparison(
        run,
        {name: quantity_of(found[name], bounds[name]) for name in found},
        deviations=found["loss"][1],
        allowed=bounds["loss"],
        amplified=amplified is not None and bool(np.any(amplified > 1)),
        accuracies_differ=sum(a != b for a, b in zip(run.accuracies, reference.accuracies, strict=True)),
        predictions_differ=int(np.sum(flipped)),
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
                f"rounding alone makes this training diverge in {dtype}, so that nothing can be compared",
                remedy="use fewer steps, a lower learning rate, or float64",
                setting="dtype",
            ) from error
        for name, (steps, values) in measure(run, reference).items():
            derived = tolerance(steps, dtype, max(length, images) if name == "test_loss" else length)
            np.maximum.at(factors, updates_before(name, steps), MARGIN * values / derived)
    return np.maximum.accumulate(factors)


def check(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    fixed_tolerance: float | None = None,
) -> Iterator[Comparison | Failure]:
    """Compare every backend, in its own dtype, with NumPy in float64; first the reference with itself.

    dataset: arrays on the host. A backend that fails, or has a loss that is not finite where the reference is finite,
    gives a Failure. One that deviates by more than the derived tolerance is compared again with what rounding does to
    this training (see `amplification`). Raises what `record` raises for the reference, such as DivergenceError, and
    what `amplification` does.
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
        try:
            run = record(config, dataset, backend, steps)
        except DivergenceError:
            if fixed_tolerance is None:
                amplified(backend.dtype_name)  # raises an error if rounding alone makes the training diverge
            raise
        result = compare(run, reference, length, fixed_tolerance)
        if result.agrees or fixed_tolerance is not None:
            return result
        result = compare(run, reference, length, None, amplified(backend.dtype_name))
        if result.agrees and result.compared_steps <= config.warm_up_steps:
            raise ConfigError(
                f"rounding alone changes this training so much that in {backend.dtype_name} nothing can be compared "
                f"from step {result.compared_steps + 1} on",
                remedy="use a lower learning rate, or float64",
                setting="dtype",
            )
        return result

    for backend in backends:
        try:
            # A foreign namespace may also fail at what is done with the arrays that it returned.
            yield reported(backend, compare_one, "a comparison")(backend)
        except ConfigError:
            raise
        except MlpXpError as error:
            # The remedies are of no use: NumPy is the other backend, and with the same settings it is fine.
            error.remedy = ""
            reason = error.text + ", where the reference is finite" * isinstance(error, DivergenceError)
            if not isinstance(error, BackendFailure):
                reason = f"backend {with_colon(backend.name)} {reason}"
            yield Failure(backend, reason)
