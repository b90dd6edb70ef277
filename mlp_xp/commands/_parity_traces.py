"""The traces of `parity --trace`, in lines and tables."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlp_xp.commands.process import print_line
from mlp_xp.core.backend import Backend
from mlp_xp.core.training import DivergenceError
from mlp_xp.errors import MlpXpError, one_line, with_colon
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.tracing import ProbeTracer, StepTracer
from mlp_xp.show.console import plain_console, print_table, say

_TRACE_COLUMNS = ("operation", "calls", "deviation in eps", "/ bound", "deviate")
WORST_FIRST = (1, 3, 2, 0)  # exit codes


class TraceReport:
    """The report of a backend's traces."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.code = 0
        """The exit code: 1 if an operation deviates, else 3 (or 2) if a run fails."""
        self._start = with_colon(backend.name)
        self._console = plain_console()
        self._tables: list[tuple[str, StepTracer]] = []
        self._shown: set[str] = set()

    def add(self, about: str, tracer: StepTracer, folder: Path) -> None:
        """Print the verdict of a run, and its operations that are new in this report.

        A reproducer of the first new operation is written to the folder.
        """
        self._print_verdict(about, tracer)
        deviating = tracer.deviating.values()
        new = [each for each in deviating if each.name not in self._shown]
        self._print_deviating([each.report for each in new])
        raised = tracer.raised
        if raised is None or raised.name not in self._shown:
            self._print_failure(tracer.failure)
            if raised:
                new.append(raised)
        if new:
            self._shown |= {each.name for each in new}
            said = write_reproducer(self.backend, new[0], folder)
            say(self._console, f"reproducer: {said}")

    def _print_verdict(self, about: str, tracer: StepTracer) -> None:
        title = f"{about}: {tracer.calls} operations"
        if tracer.steps:
            title += f" in {tracer.steps} steps, warm-up included"
        verdict, code = "no operation deviates", 0
        if tracer.deviating:
            verdict, code = f"deviating: {', '.join(tracer.deviating)}", 1
        elif tracer.failure:
            verdict, code = "it fails", getattr(tracer.failure, "exit_code", 3)
        say(self._console, f"{title}; {verdict}")
        if isinstance(tracer, ProbeTracer) and tracer.refused:
            calls = ", ".join(f"`{call}`" for call in tracer.refused)
            count = len(tracer.refused)
            say(self._console, f"optional calls that it refuses: {count}: {calls}")
        self._tables.append((title, tracer))
        self.code = min(self.code, code, key=WORST_FIRST.index)

    def _print_deviating(self, reports: Sequence[str]) -> None:
        """Print the first report as the fault, and the other reports below it."""
        lines = [f"{self._start} {report}" for report in reports]
        if lines:
            print_line("deviates", lines[0])
        for line in lines[1:]:
            say(self._console, f"also deviates: {line}")

    def _print_failure(self, failure: BaseException | None) -> None:
        if failure is None:
            return
        if isinstance(failure, DivergenceError):
            failure.remedy = ""  # useless for a library with wrong results
        said = f"backend {self._start} {one_line(failure)}"
        if isinstance(failure, MlpXpError):
            said = str(failure)
        print_line("error", said)

    def print_tables(self) -> None:
        """Print a table of all operations for each run."""
        for title, tracer in self._tables:
            say(self._console, f"\n{title}")
            print_table(_TRACE_COLUMNS, rows_of(tracer), self._console)


def rows_of(tracer: StepTracer) -> Iterator[tuple[str, ...]]:
    """Yield the cells for _TRACE_COLUMNS of each operation, the most frequent first."""
    operations = sorted(tracer.verdicts.items(), key=lambda item: -len(item[1]))
    for name, verdicts in operations:
        largest = max(each.deviation for each in verdicts)
        used = max(each.deviation / (each.bound or math.inf) for each in verdicts)
        deviating = sum(each.deviates for each in verdicts)
        yield (
            name,
            str(len(verdicts)),
            f"{largest:.3g}",
            f"{used:.2g}" if used else "",
            str(deviating or ""),
        )
