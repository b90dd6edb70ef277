"""Report the results of a parity check: as a table, sentences and JSON."""

import datetime as dt
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp import __version__
from mlp_xp.backends.threads import threads_chosen
from mlp_xp.core.config import TrainConfig
from mlp_xp.errors import with_colon
from mlp_xp.parity.compare import MARGIN, Comparison, Failure, Quantity

COLUMNS = ("backend", "version", "device", "loss", "logits", "weights", "head-room", "verdict")


def verdict(comparison: Comparison, position: int) -> str:
    """Return the verdict in a word, or, where rounding changes everything later, in a few."""
    if not comparison.agrees:
        return "DIFFERS"
    if position == 0:
        return "reference"
    steps = comparison.compared_steps
    return "agrees" if steps == len(comparison.allowed) else f"agrees to step {steps}"


def row(comparison: Comparison, position: int) -> tuple[str, ...]:
    """Return the table cells for COLUMNS."""
    trajectory = comparison.trajectory
    head_room = comparison.head_room
    return (
        trajectory.backend,
        trajectory.version,
        trajectory.device,
        *(f"{quantity.largest:.1e}" if quantity.largest else "0" for quantity in comparison.quantities),
        "" if math.isinf(head_room) else f"{head_room:.3g} x",
        verdict(comparison, position),
    )


def rows_without_numbers(failures: list[Failure], unusable: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield the table cells of backends that failed, and of those that cannot be used."""
    for failure in failures:
        yield (failure.backend, failure.version, failure.device, *[""] * 4, "FAILED")
    for name in unusable:
        yield (name, *[""] * 6, "not run")


def mismatches(comparison: Comparison, config: TrainConfig) -> Iterator[str]:
    """Yield one line, with backend, step and quantity, for every quantity above its tolerance."""
    for quantity in comparison.all_quantities:
        if quantity.first_step is not None:
            times = 1 / quantity.head_room if quantity.head_room else math.inf
            after = quantity.first_step - config.warm_up_steps
            place = f"step {after} after the warm-up" if after > 0 else f"step {quantity.first_step} of the warm-up"
            name, images = with_colon(comparison.trajectory.backend), len(comparison.trajectory.predictions)
            count = f"{quantity.largest:.0f} of {images} test images"
            if quantity is comparison.predictions:
                yield f"{name} the predictions after {place} differ for {count}, where the logits leave no doubt"
            elif quantity is comparison.accuracy:
                yield f"{name} the test accuracy after {place} differs by {count} more than can be in doubt"
            else:
                are, its = ("are", "their") if quantity.name in ("logits", "weights") else ("is", "its")
                yield (
                    f"{name} the {quantity.name} of {place} {are} the first above {its} tolerance; "
                    f"largest relative deviation {quantity.largest:.2e}, {times:.3g} times what is allowed"
                )


def also(comparison: Comparison) -> str:
    """Return the results that are not in the table, in one line."""
    trajectory = comparison.trajectory
    reports = len(trajectory.accuracies)
    return (
        f"{with_colon(trajectory.backend)} accuracy {100 * trajectory.accuracy:.2f} %; "
        f"{comparison.predictions_differ} of {len(trajectory.predictions)} predictions and "
        f"{comparison.accuracies_differ} of {reports} reported accuracies differ"
    )


def about_rounding(comparisons: Sequence[Comparison]) -> str:
    """Return what is allowed where training amplifies rounding, in one line; empty where it does not."""
    amplified = [each for each in comparisons if each.amplified]
    if not amplified:
        return ""
    first, names = amplified[0], ", ".join(each.trajectory.backend for each in amplified)
    said = (
        f"this training amplifies rounding, by more than the derived tolerance for {names}: allowed are {MARGIN} times "
        f"the deviations of NumPy with random rounding, up to {first.allowed[-1]:.1e} for a loss"
    )
    if first.compared_steps == len(first.allowed):
        return said
    return f"{said}, which proves nothing from step {first.compared_steps + 1} on, warm-up included"


def json_record(
    comparisons: list[Comparison],
    failures: list[Failure],
    unusable: dict[str, str],
    arguments: Mapping[str, Any],
    faults: list[str],
) -> dict[str, Any]:
    """Return all results as JSON data, without the trajectories."""

    def finite(quantity: Quantity) -> dict[str, Any]:
        values = quantity._asdict()
        return {name: None if value == math.inf else value for name, value in values.items()}

    return {
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in arguments.items()},
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "versions": {
            "mlp_xp": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "array-api-compat": version("array-api-compat"),
        },
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": threads_chosen(),
        "backends": [
            {
                **{name: getattr(each.trajectory, name) for name in ("backend", "version", "device", "dtype")},
                "verdict": verdict(each, i),
                **{quantity.name.replace(" ", "_"): finite(quantity) for quantity in each.all_quantities},
                "amplified": each.amplified,
                "compared_steps": each.compared_steps,
                "accuracy": each.trajectory.accuracy,
                "accuracies_differ": each.accuracies_differ,
                "predictions_differ": each.predictions_differ,
            }
            for i, each in enumerate(comparisons)
        ],
        "failures": [failure._asdict() for failure in failures],
        "unusable": unusable,
        "mismatches": faults,
    }
