"""Compare several backends, step by step, with NumPy in float64."""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from numbers import Integral
from typing import NamedTuple

import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.opening import as_backend, open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import layer_sizes
from mlp_xp.core.training import DivergenceError
from mlp_xp.declared import ConfigError
from mlp_xp.errors import DatasetError, MlpXpError, check_type, with_colon
from mlp_xp.parity._trajectory import Trajectory, measure, record, record_notebook
from mlp_xp.parity.tolerances import MARGIN, amplification, tolerance


class Quantity(NamedTuple):
    """The deviation of one quantity from the reference, compared with its tolerance."""

    largest: float
    """The largest relative deviation."""
    head_room: float
    """The smallest ratio of tolerance to deviation.

    A ratio below 1 is a mismatch. Without a deviation, the ratio is infinite.
    """
    first_step: int | None
    """The first step with a deviation above the tolerance; None if there is none."""


class Comparison(NamedTuple):
    """The comparison of one run with the reference."""

    trajectory: Trajectory
    quantities: dict[str, Quantity]
    """The quantities to be within their tolerance: see `measure`."""
    deviations: np.ndarray
    """Relative deviations of the losses, float64 (steps,)."""
    allowed: np.ndarray
    """The allowed relative deviation at each step, float64 (steps,)."""
    accuracies_differ: int
    """The number of reports with a different test accuracy."""
    predictions_differ: int
    """The number of test images with a different final prediction."""
    amplified: bool = False
    """Whether more than the derived tolerance is allowed, because of rounding."""

    @property
    def head_room(self) -> float:
        """The smallest head-room of all quantities."""
        return min(quantity.head_room for quantity in self.quantities.values())

    @property
    def compared_steps(self) -> int:
        """The number of steps, warm-up included, before a deviation of 1 is allowed.

        Later steps prove nothing.
        """
        return int(np.argmax(np.append(self.allowed, 1) >= 1))

    @property
    def agrees(self) -> bool:
        """Whether all quantities are within tolerance."""
        return all(each.first_step is None for each in self.quantities.values())

    def __repr__(self) -> str:
        return (
            f"Comparison({self.trajectory!r}, agrees={self.agrees}, "
            f"head_room={self.head_room:.3g})"
        )

    def __str__(self) -> str:
        """Return the accuracy, and how many predictions and accuracies differ.

        For example, `jax: accuracy 93.07 %; 0 of 10000 predictions and 0 of 30 reported
        accuracies differ`. If training amplifies rounding, the line adds the tolerance.
        """
        run = self.trajectory
        accuracy, reports = run.accuracies[-1], len(run.report_steps)
        line = (
            f"{with_colon(run.backend.name)} accuracy {100 * accuracy:.2f} %; "
            f"{self.predictions_differ} of {len(run.predictions)} predictions and "
            f"{self.accuracies_differ} of {reports} reported accuracies differ"
        )
        if self.amplified:
            line += (
                f"; this training amplifies rounding: allowed are {MARGIN} times the "
                "deviations of NumPy with random rounding, up to "
                f"{self.allowed[-1]:.1e}"
            )
        return line

    def mismatches(self) -> Iterator[str]:
        """Yield a line, with the backend, for each quantity above its tolerance."""
        backend = with_colon(self.trajectory.backend.name)
        for name, (largest, head_room, first_step) in self.quantities.items():
            if first_step is not None:
                times = 1 / head_room if head_room else math.inf
                yield (
                    f"{backend} {name} above the tolerance, first at step "
                    f"{first_step}, warm-up included; largest relative deviation "
                    f"{largest:.2e}, {times:.3g} times the allowed deviation"
                )


class Failure(NamedTuple):
    """A backend that failed, with nothing to compare."""

    backend: Backend
    reason: str
    """In one line, with the backend's name."""


def compare(run: Trajectory, reference: Trajectory, allowed: np.ndarray) -> Comparison:
    """Compare a run with the reference. `allowed` is as in `Comparison`."""
    measured = measure(run, reference)
    quantities = {}
    for name, (steps, deviations) in measured.items():
        tolerances = allowed[steps - 1]
        nonzero = deviations > 0
        with np.errstate(over="ignore"):  # from a large tolerance of the user
            ratios = tolerances[nonzero] / deviations[nonzero]
        above = steps[deviations > tolerances]
        quantities[name] = Quantity(
            largest=float(np.max(deviations)),
            head_room=float(np.min(ratios, initial=math.inf)),
            first_step=int(above[0]) if len(above) else None,
        )
    differ = run.accuracies[:-1] != reference.accuracies[:-1]
    return Comparison(
        trajectory=run,
        quantities=quantities,
        deviations=measured["loss"].values,
        allowed=allowed,
        accuracies_differ=int(np.sum(differ)),
        predictions_differ=int(np.sum(run.predictions != reference.predictions)),
    )


class _Judge:
    """A reference run, to judge other runs."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        steps: int,
        fixed_tolerance: float | None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.steps = steps
        self.fixed_tolerance = fixed_tolerance
        self.reference = record(config, dataset, open_backend("numpy"), steps)
        self.amplified = cache(self._amplified)

    def allowed(self, dtype: str) -> np.ndarray:
        """Return the deviation to allow at each step, float64 (steps,)."""
        steps = np.arange(1, len(self.reference.losses) + 1)
        if self.fixed_tolerance is not None:
            return np.full(len(steps), self.fixed_tolerance, np.float64)
        sizes = layer_sizes(self.config, self.dataset.signature)
        return tolerance(steps, dtype, max(*sizes[:-1], self.config.batch_size))

    def _amplified(self, dtype: str) -> np.ndarray:
        """Return `allowed`, or more if this training amplifies rounding."""
        allowed = self.allowed(dtype)
        if self.fixed_tolerance is not None:
            return allowed
        return amplification(self.config, self.dataset, dtype, self.reference, allowed)

    def judge_backend(self, backend: Backend) -> Comparison | Failure:
        """Train on a backend, and compare."""
        try:
            # The arrays of a foreign namespace may also fail later, in the functions
            # that compare.
            with backend.reporting("a comparison"):
                run = record(self.config, self.dataset, backend, self.steps)
                return self.judge_run(run, backend.dtype_name)
        except ConfigError:
            raise
        except MlpXpError as error:
            # Its remedy concerns settings, but NumPy trains with the same settings.
            error.remedy = ""
            reason = str(error)
            if isinstance(error, DivergenceError):
                # raises ConfigError if rounding alone makes training diverge
                self.amplified(backend.dtype_name)
                reason += ", where the reference is finite"
            if not isinstance(error, BackendFailure):
                reason = f"backend {with_colon(backend.name)} {reason}"
            return Failure(backend, reason)

    def judge_run(self, run: Trajectory, dtype: str) -> Comparison:
        """Compare a run. Allow more than the derived tolerance only if necessary."""
        allowed = self.allowed(dtype)
        result = compare(run, self.reference, allowed)
        if result.agrees:
            return result
        amplified = self.amplified(dtype)
        is_amplified = bool((amplified > allowed).any())
        result = compare(run, self.reference, amplified)
        if result.agrees and result.compared_steps <= self.config.warm_up_steps:
            step = result.compared_steps + 1
            raise ConfigError(
                f"rounding alone changes this training so much that in {dtype} nothing "
                f"can be compared from step {step} on",
                remedy="use a lower learning rate, or float64",
                setting="dtype",
            )
        return result._replace(amplified=is_amplified)


def check(
    config: TrainConfig,
    dataset: Dataset,
    backends: Backend | str | Sequence[Backend | str],
    steps: int,
    fixed_tolerance: float | None = None,
    *,
    with_notebook: bool = False,
) -> Iterator[Comparison | Failure]:
    """Compare backends, each in its own dtype, with NumPy in float64.

    Args:
        config: The settings of training.
        dataset: The data, with arrays on the host, with classes and a test set.
        backends: The backends to compare, or the names of libraries.
        steps: The number of steps after the warm-up.
        fixed_tolerance: The relative deviation to allow instead of the derived
            tolerance. By default, a backend beyond the
            derived tolerance is compared again. The second comparison allows for the
            effect of rounding on this training (see `tolerances.amplification`).
        with_notebook: Whether to compare the notebook's own loop too, at the end.

    Yields:
        The comparison of the reference with itself, and then the result for each
        backend. A result is a `Failure` if the backend fails, or if its loss is not
        finite where the reference is finite.

    Raises:
        DatasetError: The data have no classes or no test set.
        DivergenceError: The reference diverges.
        ConfigError: Rounding alone changes this training too much for a comparison, or
            the notebook does not have a setting.

    Examples:
        >>> from mlp_xp.parity import check
        >>> backends = [open_backend("numpy", dtype="float32")]
        >>> itself, single = check(TrainConfig(), dataset, backends, steps=20)
        >>> single.agrees
        True
    """
    check_type(config, TrainConfig, "config", "give a TrainConfig")
    check_type(dataset, Dataset, "dataset", "make a Dataset by from_arrays")
    check_type(steps, Integral, "steps", "give a number of steps")
    if isinstance(backends, Backend | str):
        backends = [backends]
    check_type(backends, Sequence, "backends", "give a list of names or backends")
    opened = [as_backend(backend) for backend in backends]
    if not dataset.signature.task.exclusive or dataset.test is None:
        raise DatasetError(
            "the parity check compares predicted classes of a test set; give data with "
            "both"
        )
    judge = _Judge(config, dataset, steps, fixed_tolerance)
    reference = judge.reference
    yield compare(reference, reference, judge.allowed("float64"))
    for backend in opened:
        yield judge.judge_backend(backend)
    if with_notebook:
        run = record_notebook(config, dataset, steps)
        yield judge.judge_run(run, "float64")
