"""Report the results of a parity check: cells of a table, sentences and JSON."""

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
from mlp_xp.parity.compare import MARGIN, Comparison, Failure

COLUMNS = ("backend", "version", "device", "loss", "logits", "weights", "head-room", "verdict")
ABOUT = ("backend", "version", "device", "dtype")


def verdict(comparison: Comparison, position: int) -> str:
    """Return the verdict in a word, or, where rounding changes everything later, in a few."""
    if not comparison.agrees:
        return "DIFFERS"
    if position == 0:
        return "reference"
    steps = comparison.compared_steps
    return "agrees" if steps == len(comparison.allowed) else f"agrees to step {steps}"


def rows(
    comparisons: Sequence[Comparison], failures: Sequence[Failure], unusable: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    """Yield the cells for COLUMNS: of the comparisons, of backends that failed, and of those that cannot be used."""
    for i, each in enumerate(comparisons):
        shown = [each.quantities[name] for name in COLUMNS[3:6]]
        deviations = [f"{quantity.largest:.1e}" if quantity.largest else "0" for quantity in shown]
        head_room = "" if math.isinf(each.head_room) else f"{each.head_room:.3g} x"
        yield (*each.trajectory[:3], *deviations, head_room, verdict(each, i))
    for backend, _ in failures:
        yield (backend.name, backend.version, backend.device_name or "default", *[""] * 4, "FAILED")
    for name in unusable:
        yield (name, *[""] * 6, "not run")


def mismatches(comparison: Comparison, config: TrainConfig) -> Iterator[str]:
    """Yield one line, with backend, step and quantity, for every quantity above its tolerance."""
    name, images = with_colon(comparison.trajectory.backend), len(comparison.trajectory.predictions)
    for key, quantity in comparison.quantities.items():
        if quantity.first_step is None:
            continue
        after = quantity.first_step - config.warm_up_steps
        place = f"step {after} after the warm-up" if after > 0 else f"step {quantity.first_step} of the warm-up"
        start, count = f"{name} the {key.replace('_', ' ')}", f"{quantity.largest:.0f} of {images} test images"
        if key == "predictions":
            yield f"{start} after {place} differ for {count}, where the logits leave no doubt"
        elif key == "test_accuracy":
            yield f"{start} after {place} differs by {count} more than can be in doubt"
        else:
            are, its = ("are", "their") if key in ("logits", "weights") else ("is", "its")
            times = 1 / quantity.head_room if quantity.head_room else math.inf
            yield (
                f"{start} of {place} {are} the first above {its} tolerance; "
                f"largest relative deviation {quantity.largest:.2e}, {times:.3g} times what is allowed"
            )


def also(comparison: Comparison) -> str:
    """Return the results that are not in the table, in one line."""
    run = comparison.trajectory
    return (
        f"{with_colon(run.backend)} accuracy {100 * run.accuracy:.2f} %; "
        f"{comparison.predictions_differ} of {len(run.predictions)} predictions and "
        f"{comparison.accuracies_differ} of {len(run.accuracies)} reported accuracies differ"
    )


def about_rounding(comparisons: Sequence[Comparison]) -> str:
    """Return what is allowed where training amplifies rounding, in one line; empty where it does not."""
    amplified = [each for each in comparisons if each.amplified]
    if not amplified:
        return ""
    first, names = amplified[0], ", ".join(each.trajectory.backend for each in amplified)
    later = first.compared_steps + 1
    proves = f", which proves nothing from step {later} on, warm-up included" if later <= len(first.allowed) else ""
    return (
        f"this training amplifies rounding, by more than the derived tolerance for {names}: allowed are {MARGIN} times "
        f"the deviations of NumPy with random rounding, up to {first.allowed[-1]:.1e} for a loss{proves}"
    )


def json_record(
    comparisons: Sequence[Comparison],
    failures: Sequence[Failure],
    unusable: Mapping[str, str],
    arguments: Mapping[str, Any],
    faults: list[str],
) -> dict[str, Any]:
    """Return all results as JSON data, without the trajectories."""

    def about(comparison: Comparison) -> dict[str, Any]:
        quantities = {
            name: {word: None if value == math.inf else value for word, value in quantity._asdict().items()}
            for name, quantity in comparison.quantities.items()
        }
        facts = ("amplified", "compared_steps", "accuracies_differ", "predictions_differ")
        return quantities | {name: getattr(comparison, name) for name in facts}

    versions = {"mlp_xp": __version__, "python": platform.python_version(), "numpy": np.__version__}
    return {
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in arguments.items()},
        "when": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "versions": versions | {"array-api-compat": version("array-api-compat")},
        "machine": f"{platform.system()} {platform.machine()}",
        "threads": threads_chosen(),
        "backends": [
            dict(zip(ABOUT, each.trajectory, strict=False))
            | {"verdict": verdict(each, i), "accuracy": each.trajectory.accuracy}
            | about(each)
            for i, each in enumerate(comparisons)
        ],
        "failures": [
            {"backend": it.name, "version": it.version, "device": it.device_name, "dtype": it.dtype_name, "reason": why}
            for it, why in failures
        ],
        "unusable": dict(unusable),
        "mismatches": faults,
    }
