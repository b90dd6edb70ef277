"""The results of `parity`, as a table and as files."""

import json
import math
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.commands.process import print_line
from mlp_xp.core.backend import Backend
from mlp_xp.files import file_errors, write_whole
from mlp_xp.parity.compare import Comparison, Failure
from mlp_xp.show.console import print_table, say
from mlp_xp.system import command_line
from mlp_xp.version import __version__

QUANTITIES = ("loss", "logits", "weights")
COLUMNS = ("backend", "verdict", *QUANTITIES, "head-room", "version", "device")
_FACTS = (
    "head_room",
    "compared_steps",
    "accuracies_differ",
    "predictions_differ",
    "amplified",
)


class Results:
    """The results of a check: comparisons, the reference first, and failures."""

    def __init__(self, results: Iterable[Comparison | Failure]) -> None:
        found = list(results)
        self.comparisons = [each for each in found if isinstance(each, Comparison)]
        self.failures = [each for each in found if isinstance(each, Failure)]
        self.reference, *self.others = self.comparisons
        reference = {**_comparison_record(self.reference), "verdict": "reference"}
        self._compared = [reference, *map(_comparison_record, self.others)]
        self._failed = [_failure_record(each) for each in self.failures]
        self._mismatches: list[str] = []
        for comparison in self.comparisons:
            self._mismatches += comparison.mismatches()

    @property
    def exit_code(self) -> int:
        """1 if a comparison differs, 3 if a backend failed, else 0."""
        if not all(each.agrees for each in self.comparisons):
            return 1
        return 3 if self.failures else 0

    def print(self, about: str, console: Console) -> None:
        """Print a table, a line for each comparison, and a line for each fault."""
        say(console, f"{about}: largest relative deviations from NumPy in float64")
        records = self._compared + self._failed
        rows = [list(cells(each)) for each in records]
        print_table(COLUMNS, rows, console, left=2)
        for comparison in self.others:
            say(console, str(comparison))
        unexplained = []
        for each in records:
            is_wrong = each["verdict"] in ("DIFFERS", "FAILED")
            if is_wrong and each["backend"] != "notebook":
                unexplained.append(each["backend"])
        if unexplained:
            more = command_line(["--trace", "--backends", *unexplained])
            say(console, f"to find the first operation that deviates, add: {more}")
        for mismatch in self._mismatches:
            print_line("mismatch", mismatch)
        for failure in self.failures:
            print_line("error", failure.reason)

    def write(self, folder: Path, arguments: dict[str, Any]) -> None:
        """Write parity.json and parity.png. Raises FileError."""
        from mlp_xp.show.plots import draw_deviations, save

        record = {
            "arguments": arguments,
            "versions": {"mlp_xp": __version__, "python": platform.python_version()},
            "backends": self._compared,
            "failures": self._failed,
            "mismatches": self._mismatches,
        }
        with file_errors(folder, "create"):
            folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=2, default=str)
        write_whole(folder / "parity.json", f"{text}\n".encode())
        curves = {}
        for comparison in self.others:
            backend = comparison.trajectory.backend
            name = f"{backend.name}, {backend.dtype_name}"
            curves[name] = comparison.deviations
        largest = max(
            (each.allowed for each in self.comparisons),
            key=lambda allowed: float(allowed[-1]),
        )
        save(draw_deviations(curves, tolerance=largest), folder / "parity.png")


def _comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data, without the trajectory."""
    verdict = "DIFFERS"
    if comparison.agrees:
        verdict = "agrees"
        if comparison.compared_steps < len(comparison.allowed):
            verdict += f" to step {comparison.compared_steps}"
    record = _about(comparison.trajectory.backend, verdict)
    record["accuracy"] = float(comparison.trajectory.accuracies[-1])
    for name, quantity in comparison.quantities.items():
        record[name] = _finite(quantity._asdict())
    facts = {name: getattr(comparison, name) for name in _FACTS}
    return record | _finite(facts)


def _failure_record(failure: Failure) -> dict[str, Any]:
    """Return a failure as JSON data."""
    return _about(failure.backend, "FAILED") | {"reason": failure.reason}


def _about(backend: Backend, verdict: str) -> dict[str, Any]:
    return {
        "backend": backend.name,
        "version": backend.version,
        "device": backend.device_name or "default",
        "dtype": backend.dtype_name,
        "verdict": verdict,
    }


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """Replace infinity and NaN, which JSON lacks, by None."""
    finite = dict(numbers)
    for name, value in numbers.items():
        if isinstance(value, float) and not math.isfinite(value):
            finite[name] = None
    return finite


def cells(record: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of a row for COLUMNS."""
    for name in COLUMNS:
        value = record.get(name, "")
        if name in QUANTITIES and value:
            largest = math.inf if value["largest"] is None else value["largest"]
            yield f"{largest:.1e}" if largest else "0"
        elif name == "head-room":
            head_room = record.get("head_room")
            yield "" if head_room is None else f"{head_room:.3g} x"
        else:
            yield value
