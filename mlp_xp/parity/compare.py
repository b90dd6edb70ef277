"""Compare several backends, step by step, with NumPy in float64: `check`, and as an
assertion `assert_parity`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.numpy_backend import NumpyBackend
from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import layer_sizes
from mlp_xp.core.training import DivergenceError
from mlp_xp.data.datasets import load_dataset
from mlp_xp.declared import ConfigError
from mlp_xp.errors import DatasetError, MlpXpError, with_colon
from mlp_xp.parity import notebook
from mlp_xp.parity._steps import start
from mlp_xp.parity.rounding import RandomRounding
from mlp_xp.parity.tracing import probe, trace

SAFETY = 10
# Runs with random rounding, as many as stochastic arithmetic usually takes, and how
# many times their deviation is allowed.
ROUNDING_RUNS, MARGIN = 3, 10


class Trajectory(NamedTuple):
    """What is compared of one run, on the host."""

    backend: Backend
    losses: np.ndarray
    """The loss of every step, warm-up included, float64 (steps,)."""
    weights: Sequence[np.ndarray]
    """The final weights and bias of each layer, in order."""
    report_steps: np.ndarray
    """The number of steps done at every report, int64 (reports,)."""
    logits: np.ndarray
    """The logits of all test images at every report and at the end, (reports + 1, n,
    classes).
    """
    predictions: np.ndarray
    """The final predictions for all test images by the library's own argmax, whole
    numbers (n,).
    """
    labels: np.ndarray
    """The true classes of the test images, (n,)."""

    @property
    def accuracies(self) -> np.ndarray:
        """The test accuracy at every report and at the end, from the logits, float64
        (reports + 1,).
        """
        return np.mean(np.argmax(self.logits, axis=2) == self.labels, axis=1)


class _Quantity(NamedTuple):
    """The deviation of one quantity from the reference, compared with its tolerance."""

    largest: float
    """The largest relative deviation."""
    head_room: float
    """The smallest ratio of tolerance to deviation. Below 1 is a mismatch; without
    deviation it is infinite.
    """
    first_step: int | None
    """The first step with a deviation above the tolerance; None if there is none."""


class Comparison(NamedTuple):
    """The comparison of one run with the reference."""

    trajectory: Trajectory
    quantities: dict[str, _Quantity]
    """Everything that must be within its tolerance: loss, logits, weights and
    predictions (see `measure`).
    """
    deviations: np.ndarray
    """Relative deviations of the losses, float64 (steps,)."""
    allowed: np.ndarray
    """The relative deviation that is allowed at each step, float64 (steps,)."""
    accuracies_differ: int
    """The number of reports with a different test accuracy."""
    predictions_differ: int
    """The number of test images with a different final prediction."""
    deviating: tuple[str, ...] = ()
    """The operations that deviate or raise in the probe (see `trace.probe`), a line
    with the backend's name each.
    """
    amplified: bool = False
    """Whether more than the derived tolerance is allowed somewhere, because this
    training amplifies rounding.
    """

    @property
    def head_room(self) -> float:
        """The smallest ratio of tolerance to deviation of all quantities; infinite
        without deviation.
        """
        return min(quantity.head_room for quantity in self.quantities.values())

    @property
    def compared_steps(self) -> int:
        """The number of steps, warm-up included, up to which less than 1 is allowed:
        beyond, nothing is proved.
        """
        return int(np.argmax(np.append(self.allowed, 1) >= 1))

    @property
    def agrees(self) -> bool:
        """Whether every quantity is within its tolerance, and no operation of the probe
        deviates.
        """
        return not self.deviating and all(
            each.first_step is None for each in self.quantities.values()
        )

    def __str__(self) -> str:
        """Return the results that are not deviations in one line, and what was allowed
        if training amplifies rounding.

        Such as `jax: accuracy 93.07 %; 0 of 10000 predictions and 0 of 30 reported
            accuracies differ`.
        """
        run = self.trajectory
        said = (
            f"{with_colon(run.backend.name)} accuracy {100 * run.accuracies[-1]:.2f} %; "
            f"{self.predictions_differ} of {len(run.predictions)} predictions and "
            f"{self.accuracies_differ} of {len(run.report_steps)} reported accuracies differ"
        )
        if self.amplified:
            said += f"; this training amplifies rounding: allowed are {MARGIN} times the deviations of NumPy with "
            said += f"random rounding, up to {self.allowed[-1]:.1e}"
        return said

    def mismatches(self) -> Iterator[str]:
        """Yield one line, with the backend, for each operation that deviates and each
        quantity above its tolerance.
        """
        yield from self.deviating
        for name, (largest, head_room, first_step) in self.quantities.items():
            if first_step is not None:
                times = 1 / head_room if head_room else math.inf
                yield (
                    f"{with_colon(self.trajectory.backend.name)} {name} above the tolerance, first at step "
                    f"{first_step}, warm-up included; largest relative deviation {largest:.2e}, {times:.3g} times "
                    "what is allowed"
                )


class Failure(NamedTuple):
    """A backend that failed, so that there is nothing to compare."""

    backend: Backend
    reason: str
    """In one line, with the backend's name."""
    deviating: tuple[str, ...] = ()
    """As in `Comparison`."""


def tolerance(steps: np.ndarray, dtype: str, length: int) -> np.ndarray:
    """Return the relative deviation that rounding may cause after `steps` (n,): SAFETY
    eps sqrt(length steps).

    The rounding error of a dot product of `length` terms, relative to the sum of their
    absolute values, is at most length * eps. It grows with sqrt(length) * eps if the
    errors are independent with mean zero (Higham and Mary, 2019, A new approach to
    probabilistic rounding error analysis; their factor lambda, here SAFETY, sets the
    probability of a larger error: 10 makes it negligible). Libraries sum in different
    orders, so one step may cause that deviation between two of them. Where training
    neither amplifies nor damps deviations, independent ones add up as sqrt(steps). A
    different computation gives a deviation that does not shrink with eps: in float64 it
    is larger by orders of magnitude. Where training amplifies deviations, as with a
    high learning rate, see `amplification`.

    Deformed images need no term of their own. Positions in an image are rounded by some
    eps times its side, and a feature changes by at most 1 from one pixel to the next,
    hence by as much; and of n features, the side is sqrt(n).

    length: the number of terms of the longest sum in a step, which is the largest
        number of inputs or the batch size.
    """
    return (
        SAFETY
        * float(np.finfo(dtype).eps)
        * np.sqrt(length * np.asarray(steps, dtype=np.float64))
    )


def record(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> Trajectory:
    """Train for `steps` steps after the warm-up and record what is compared. Arguments
    and errors: see `start`.
    """
    job, events = start(config, dataset, backend, steps)
    test = job.dataset.test
    assert test is not None
    assert dataset.test is not None
    losses, looks, report_steps = [], [], []
    for event in events:
        losses.append(event.losses)
        network = event.position.state.network
        if event.report:
            report_steps.append(event.position.step)
            looks.append(backend.to_numpy(event.report.model.logits(test.inputs)))
    last = job.model(network).logits(test.inputs)
    predictions, logits = (
        backend.to_numpy(backend.xp.argmax(last, axis=1)),
        [*looks, backend.to_numpy(last)],
    )
    weights = [backend.to_numpy(array) for layer in network for array in layer]
    steps_done, labels = np.array(report_steps, np.int64), dataset.test.labels
    return Trajectory(
        backend,
        np.concatenate(losses),
        weights,
        steps_done,
        np.stack(logits),
        predictions,
        labels,
    )


class NotebookBackend(NumpyBackend):
    """NumPy as the notebook uses it, under its name in reports."""

    def __init__(self) -> None:
        super().__init__("cpu", "float64")
        self.name = "notebook"


def record_notebook(config: TrainConfig, dataset: Dataset, steps: int) -> Trajectory:
    """Record the same run with the notebook's plain NumPy code in `parity.notebook`.

    Raises ConfigError for a setting that the notebook does not have.
    """
    if len(config.hidden) != 1:
        raise ConfigError(
            f"the notebook has one hidden layer, not {len(config.hidden)}",
            setting="hidden",
        )
    for name in (
        "activation",
        "init",
        "optimizer",
        "schedule",
        "weight_decay",
        "clip_norm",
        "dropout",
        "deform",
    ):
        if (value := getattr(config, name)) != (own := getattr(TrainConfig(), name)):
            raise ConfigError(f"the notebook has {own!r}, not {value!r}", setting=name)
    assert dataset.test is not None
    train = notebook.prepared(dataset.train)
    test = notebook.prepared(dataset.test)
    network = notebook.Notebook(
        input_size=train.inputs.shape[1], hidden_size=config.hidden[0], output_size=len(dataset.signature.outputs),
        learning_rate=config.learning_rate, seed=config.seed, textbook=config.update_order == "simultaneous",
    )  # fmt: skip
    looks, report_steps = [], []
    epoch_steps = math.ceil(len(train) / config.batch_size)

    def report(epoch: int, sample: int, loss: float) -> None:
        looks.append(network.forward(test.inputs).output_input)
        report_steps.append(
            config.warm_up_steps + epoch * epoch_steps + sample // config.batch_size + 1
        )

    losses = notebook.trajectory(
        network, train.inputs, train.labels, steps, batch_size=config.batch_size,
        warm_up=config.warm_up_steps, report_every=config.report_every, on_report=report,
    )  # fmt: skip
    logits = np.stack([*looks, network.forward(test.inputs).output_input])
    hidden = network.weights_input_hidden, network.bias_input_hidden
    weights = (*hidden, network.weights_hidden_output, network.bias_hidden_output)
    predictions = np.argmax(logits[-1], axis=1)
    steps_done, labels = np.array(report_steps, np.int64), dataset.test.labels
    return Trajectory(
        NotebookBackend(),
        np.concatenate(losses),
        weights,
        steps_done,
        logits,
        predictions,
        labels,
    )


def measure(
    run: Trajectory, reference: Trajectory
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by quantity some steps, counted from 1, and the relative deviations of a
    run from the reference there.

    Deviations are infinite where they are not finite. That of a loss is relative to the
    reference's loss, or to 1 if that is larger: a loss is -log p of the logits, whose
    rounding errors do not shrink with it. Those of logits and weights are relative to
    the largest element. A changed prediction has at least the deviation of the logits
    that changes it: half of what the logit of its class lies below the largest one.
    """

    def of_arrays(array: np.ndarray, expected: np.ndarray) -> Any:
        if array.shape != expected.shape:
            return np.inf
        return np.max(np.abs(array - expected)) / (np.max(np.abs(expected)) or 1)

    x, y, last = run.losses, reference.losses, reference.logits[-1]
    chosen = run.predictions[:, None] == np.arange(last.shape[1])
    below = np.max(last, axis=1) - np.max(last, axis=1, where=chosen, initial=-np.inf)
    steps = np.arange(1, len(y) + 1)
    found = {
        "loss": (steps, np.abs(x - y) / np.maximum(1, np.abs(y))),
        "logits": (
            np.append(reference.report_steps, steps[-1]),
            [*map(of_arrays, run.logits, reference.logits)],
        ),
        "weights": (
            steps[-1:],
            [np.max([*map(of_arrays, run.weights, reference.weights)])],
        ),
        "predictions": (steps[-1:], [np.max(below) / 2 / (np.max(np.abs(last)) or 1)]),
    }
    return {
        name: (at, np.where(np.isnan(values), np.inf, values))
        for name, (at, values) in found.items()
    }


def compare(run: Trajectory, reference: Trajectory, allowed: np.ndarray) -> Comparison:
    """Compare a run with the reference. allowed: see `Comparison`."""
    found = measure(run, reference)
    quantities = {}
    for name, (steps, deviations) in found.items():
        there, is_some = allowed[steps - 1], deviations > 0
        with np.errstate(over="ignore"):  # a large tolerance that was given
            head_room = float(
                np.min(there[is_some] / deviations[is_some], initial=math.inf)
            )
        first = next(iter(steps[deviations > there].tolist()), None)
        quantities[name] = _Quantity(float(np.max(deviations)), head_room, first)
    accuracies_differ = int(np.sum(run.accuracies[:-1] != reference.accuracies[:-1]))
    predictions_differ = int(np.sum(run.predictions != reference.predictions))
    return Comparison(
        run,
        quantities,
        found["loss"][1],
        allowed,
        accuracies_differ,
        predictions_differ,
    )


def amplification(
    config: TrainConfig,
    dataset: Dataset,
    dtype: str,
    reference: Trajectory,
    derived: np.ndarray,
) -> np.ndarray:
    """Return what is allowed at each step where training may amplify rounding errors,
    float64 (steps,).

    It is the derived tolerance, or more where runs of NumPy with random rounding (see
    `rounding`) deviate more: MARGIN times their largest ratio of deviation to derived
    tolerance, so far and in any quantity. Raises ConfigError if rounding alone makes
    such a run diverge.
    """
    factors = np.ones(derived.shape)
    for seed in range(ROUNDING_RUNS):
        try:
            run = record(
                config,
                dataset,
                RandomRounding(dtype, seed),
                len(derived) - config.warm_up_steps,
            )
        except DivergenceError as error:
            raise ConfigError(
                f"rounding alone makes this training diverge in {dtype}, so that nothing can be compared",
                remedy="use fewer steps, a lower learning rate, or float64",
                setting="dtype",
            ) from error
        for steps, values in measure(run, reference).values():
            np.maximum.at(factors, steps - 1, MARGIN * values / derived[steps - 1])
    return np.maximum.accumulate(factors) * derived


def check(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    fixed_tolerance: float | None = None,
    *,
    with_notebook: bool = False,
) -> Iterator[Comparison | Failure]:
    """Compare backends, each in its own dtype, with NumPy in float64.

    Args:
        config: The settings of training.
        dataset: The data, with arrays on the host: classes, with a test set.
        backends: The backends to compare.
        steps: The number of steps after the warm-up.
        fixed_tolerance: The relative deviation to allow, instead of the derived
            tolerance and without the probe. A backend that deviates by more than the
            derived tolerance is compared again with the effect of rounding on this
            training; see `amplification`.
        with_notebook: Whether to compare the notebook's own loop too, at the end.

    Yields:
        The comparison of the reference with itself, and then the result for each
        backend: a `Failure` if it fails, or has a loss that is not finite where the
        reference is finite.

    Raises:
        DatasetError: The data have no classes or no test set.
        DivergenceError: The reference diverges.
        ConfigError: Rounding alone changes this training so much that nothing can be
            compared, or the notebook does not have a setting.

    Examples:
        >>> from mlp_xp.parity import check
        >>> backends = [open_backend("numpy", dtype="float32")]
        >>> itself, single = check(TrainConfig(), dataset, backends, steps=20)
        >>> single.agrees
        True
    """
    if not dataset.signature.task.exclusive or dataset.test is None:
        raise DatasetError(
            "the parity check compares predicted classes of a test set; give data with both"
        )
    length = max(*layer_sizes(config, dataset.signature)[:-1], config.batch_size)
    reference = record(config, dataset, open_backend("numpy"), steps)
    numbers = np.arange(1, len(reference.losses) + 1)

    def allowed(dtype: str) -> np.ndarray:
        derived = tolerance(numbers, dtype, length)
        return (
            derived
            if fixed_tolerance is None
            else np.full_like(derived, fixed_tolerance)
        )

    @cache
    def amplified(dtype: str) -> np.ndarray:
        derived = allowed(dtype)
        return (
            derived
            if fixed_tolerance
            else amplification(config, dataset, dtype, reference, derived)
        )

    def probe_one(backend: Backend) -> tuple[str, ...]:
        found, name = probe(backend), with_colon(backend.name)
        return tuple(
            f"{name} {each.report}"
            for each in (*found.deviating.values(), found.raised)
            if each
        )

    def compare_one(backend: Backend, deviating: tuple[str, ...]) -> Comparison:
        try:
            run = record(config, dataset, backend, steps)
        except DivergenceError:
            if not deviating:
                # raises an error if rounding alone makes the training diverge
                amplified(backend.dtype_name)
            raise
        return judge(run, backend.dtype_name, deviating)

    def judge(
        run: Trajectory, dtype: str, deviating: tuple[str, ...] = ()
    ) -> Comparison:
        result = compare(run, reference, allowed(dtype))
        # an operation that deviates says more than what rounding may do
        if result.agrees or deviating:
            return result._replace(deviating=deviating)
        is_amplified = bool((amplified(dtype) > allowed(dtype)).any())
        result = compare(run, reference, amplified(dtype))._replace(
            amplified=is_amplified
        )
        if result.agrees and result.compared_steps <= config.warm_up_steps:
            raise ConfigError(
                f"rounding alone changes this training so much that in {dtype} nothing can be compared from step "
                f"{result.compared_steps + 1} on",
                remedy="use a lower learning rate, or float64",
                setting="dtype",
            )
        return result

    yield compare(reference, reference, allowed("float64"))
    for backend in backends:
        deviating: tuple[str, ...] = ()
        try:
            # A foreign namespace may also fail at what is done with the arrays that it
            # returned.
            if not fixed_tolerance:
                with backend.reporting("the probe"):
                    deviating = probe_one(backend)
            with backend.reporting("a comparison"):
                comparison = compare_one(backend, deviating)
            yield comparison
        except ConfigError:
            raise
        except MlpXpError as error:
            # The remedies are of no use: NumPy is the other backend, and with the same
            # settings it is fine.
            error.remedy = ""
            reason = str(error) + ", where the reference is finite" * isinstance(
                error, DivergenceError
            )
            if not isinstance(error, BackendFailure):
                reason = f"backend {with_colon(backend.name)} {reason}"
            yield Failure(backend, reason, deviating)
    if with_notebook:
        yield judge(record_notebook(config, dataset, steps), "float64")


def assert_parity(
    library: Any,
    *,
    dtype: str = "float64",
    steps: int = 200,
    config: TrainConfig | None = None,
    dataset: Dataset | None = None,
) -> None:
    """Train on an array library and on NumPy, and assert that every step agrees.

    Args:
        library: An array namespace, a hook (see docs/libraries.md), a name for
            `open_backend` such as "my_library:xp", or a backend, which has its own
            dtype.
        dtype: "float64" or "float32".
        steps: The number of steps after the warm-up, at least 1.
        config: The settings of training; by default the notebook's network, with
            batches of one.
        dataset: The data, with arrays on the host; by default the first images of
            MNIST.

    Raises:
        AssertionError: A step does not agree. The error names the operations that
            deviate, found by a trace up to the first step that does, then each quantity
            and its first step; or the library's own error.
        BackendError: The library lacks something.
        ConfigError: The settings do not fit the data.

    Examples:
        >>> import array_api_compat.numpy
        >>> assert_parity(array_api_compat.numpy, steps=20)
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    if isinstance(library, Backend):
        backend = library
    else:
        backend = (
            open_backend(library, None, dtype)
            if isinstance(library, str)
            else open_namespace(library, dtype)
        )
    config = config or TrainConfig(report_every=100)
    if dataset is None:  # enough for reports in which every class occurs
        mnist = load_dataset()
        host = open_backend()
        train = mnist.train.take(np.arange(2000), host)
        test = mnist.test and mnist.test.take(np.arange(500), host)
        dataset = replace(mnist, train=train, test=test)
    _, result = check(config, dataset, [backend], steps)
    if isinstance(result, Failure):
        cause = _find_operations(config, dataset, backend, steps)
        raise AssertionError("\n".join([cause, *result.deviating, result.reason]))
    if not result.agrees:
        firsts = [
            each.first_step for each in result.quantities.values() if each.first_step
        ]
        wanted = max(1, min(firsts) - config.warm_up_steps) if firsts else 0
        causes = [_find_operations(config, dataset, backend, wanted)] if firsts else []
        raise AssertionError("\n".join([*causes, *result.mismatches(), str(result)]))


def _find_operations(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> str:
    """Trace a run, and return a line for each operation that deviates or raises.
    Arguments: see `steps.start`.
    """
    name, why = (
        with_colon(backend.name),
        "the fault may be in compiled code, or depend on earlier calls",
    )
    try:
        run = trace(config, dataset, backend, steps)
    # such as a loss that is not finite, from operations that are right
    except MlpXpError as error:
        return f"{name} the trace ends, and no operation deviates: {error}"
    lines = [f"{name} {each.report}" for each in run.deviating.values()]
    lines += [str(run.failure)] * (run.raised is not None)
    return (
        "\n".join(lines)
        or f"{name} no operation deviates in a trace of the first steps; {why}"
    )
