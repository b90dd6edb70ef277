"""Report the results of a parity check: cells of a table, sentences and JSON."""

import math
import platform
from collections.abc import Iterator, Sequence
from typing import Any

from mlp_xp import __version__
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.library import Backend
from mlp_xp.errors import with_colon
from mlp_xp.parity.compare import MARGIN, Comparison, Failure

COLUMNS = ("backend", "version", "device", "loss", "logits", "weights", "head-room", "verdict")


def verdict(comparison: Comparison, position: int) -> str:
    """Return the verdict in a word, or, where rounding changes everything later, in a few."""
    if not comparison.agrees:
        return "DIFFERS"
    if position == 0:
        return "reference"
    steps = comparison.compared_steps
    return "agrees" if steps == len(comparison.allowed) else f"agrees to step {steps}"


def rows(comparisons: Sequence[Comparison], failures: Sequence[Failure]) -> Iterator[tuple[str, ...]]:
    """Yield the cells for COLUMNS: of the comparisons, and of the backends that failed."""
    for i, each in enumerate(comparisons):
        shown = [each.quantities[name] for name in COLUMNS[3:6]]
        deviations = [f"{quantity.largest:.1e}" if quantity.largest else "0" for quantity in shown]
        head_room = "" if math.isinf(each.head_room) else f"{each.head_room:.3g} x"
        yield (*list(_about(each.trajectory.backend).values())[:3], *deviations, head_room, verdict(each, i))
    for backend, _ in failures:
        yield (*list(_about(backend).values())[:3], *[""] * 4, "FAILED")


def mismatches(comparison: Comparison, config: TrainConfig) -> Iterator[str]:
    """Yield one line, with backend, step and quantity, for every quantity above its tolerance."""
    for name, (largest, head_room, first_step) in comparison.quantities.items():
        if first_step is None:
            continue
        after = first_step - config.warm_up_steps
        place = f"step {after} after the warm-up" if after > 0 else f"step {first_step} of the warm-up"
        are, its = ("is", "its") if name == "loss" else ("are", "their")
        times = 1 / head_room if head_room else math.inf
        yield (
            f"{with_colon(comparison.trajectory.backend.name)} the {name} of {place} {are} the first above {its} "
            f"tolerance; largest relative deviation {largest:.2e}, {times:.3g} times what is allowed"
        )


def also(comparison: Comparison) -> str:
    """Return the results that are not in the table, in one line."""
    run = comparison.trajectory
    return (
        f"{with_colon(run.backend.name)} accuracy {100 * run.accuracies[-1]:.2f} %; "
        f"{comparison.predictions_differ} of {len(run.predictions)} predictions and "
        f"{comparison.accuracies_differ} of {len(run.report_steps)} reported accuracies differ"
    )


def about_rounding(comparisons: Sequence[Comparison]) -> str:
    """Return what is allowed where training amplifies rounding, in one line; empty where it does not."""
    amplified = [each for each in comparisons if each.amplified]
    if not amplified:
        return ""
    first, names = amplified[0], ", ".join(each.trajectory.backend.name for each in amplified)
    later = first.compared_steps + 1
    proves = f", which proves nothing from step {later} on, warm-up included" if later <= len(first.allowed) else ""
    return (
        f"this training amplifies rounding, by more than the derived tolerance for {names}: allowed are {MARGIN} times "
        f"the deviations of NumPy with random rounding, up to {first.allowed[-1]:.1e}{proves}"
    )


def json_record(comparisons: Sequence[Comparison], failures: Sequence[Failure]) -> dict[str, Any]:
    """Return all results as JSON data, without the trajectories. What is infinite is None."""

    def finite(numbers: dict[str, Any]) -> dict[str, Any]:
        return {name: None if value == math.inf else value for name, value in numbers.items()}

    facts = ("amplified", "compared_steps", "accuracies_differ", "predictions_differ")
    return {
        "versions": {"mlp_xp": __version__, "python": platform.python_version()},
        "backends": [
            _about(each.trajectory.backend)
            | {"verdict": verdict(each, i), "accuracy": float(each.trajectory.accuracies[-1])}
            | {name: finite(quantity._asdict()) for name, quantity in each.quantities.items()}
            | {name: getattr(each, name) for name in facts}
            for i, each in enumerate(comparisons)
        ],
        "failures": [_about(backend) | {"reason": reason} for backend, reason in failures],
    }


def _about(backend: Backend) -> dict[str, str]:
    device = backend.device_name or "default"
    return {"backend": backend.name, "version": backend.version, "device": device, "dtype": backend.dtype_name}
