"""What `parity --trace` prints, and the command line that asks for it."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from mlp_xp.commands.process import print_error, print_line
from mlp_xp.commands.tables import Column, print_table
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.core.training import DivergenceError
from mlp_xp.errors import described, with_colon
from mlp_xp.parity.compare import Comparison, Failure
from mlp_xp.parity.reproducer import write_reproducer
from mlp_xp.parity.small_runs import small_runs
from mlp_xp.parity.trace import Operation, Tracer, expression, trace
from mlp_xp.show.terminal import say
from mlp_xp.show.width import plain_console

FOLDER = Path("reproducers")
UNSHOWN = (
    "; the fault may depend on earlier calls, on chance, or on an array's layout in memory, of which the script keeps "
    "only C's and Fortran's"
)
COLUMNS = ("operation", "calls", "in a step", "deviation in eps", "/ bound", "deviate")


def trace_backends(
    config: TrainConfig,
    dataset: Dataset,
    backends: Sequence[Backend],
    steps: int,
    folder: Path | None,
    all_operations: bool = False,
) -> int:
    """Trace a run on each backend, and print the results. folder: for the reproducers; FOLDER if None.

    all_operations: whether to trace `small_runs` too. Returns 1 if an operation deviates, 3 if none does but a library
    raises (2: it is out of memory), else 0.
    """
    console = plain_console()
    codes = []
    for backend in backends:
        run = trace(config, dataset, backend, steps)
        where = f"{backend.name} {backend.version} on {backend.device_name or 'its default device'}"
        say(console, f"{where}, {backend.dtype_name}: {run.calls} operations in {run.steps} steps, warm-up included")
        if run.last_step:
            say(console, f"the {len(run.last_step)} operations of the last step:")
            _print_rows(console, [(str(each.number), str(each), each.place) for each in run.last_step])
        _print_rows(console, _rows(run), COLUMNS)
        codes.append(_print_findings(console, backend, run, folder or FOLDER))
        for name, run in small_runs(backend) if all_operations else ():
            say(console, f"{name}: {run.calls} operations in {run.steps} steps")
            codes.append(_print_findings(console, backend, run, (folder or FOLDER) / name.replace(" ", "-")))
    return 1 if 1 in codes else max(codes)


def _print_findings(console: Console, backend: Backend, run: Tracer, folder: Path) -> int:
    """Print what a trace has found, and write a reproducer; return the exit code."""
    try:
        if operation := run.first or run.raised:
            name = re.sub(r"\W+", "-", f"{backend.name}-{backend.dtype_name}-{operation.name}")
            made = write_reproducer(backend, operation, folder / name)
            if isinstance(made, str):
                say(console, f"reproducer: none, because {made}")
            else:
                shows = "shows" if made.shows else "does NOT show"
                why = "" if made.shows else UNSHOWN
                script = shlex.quote(str(made.script))
                say(console, f"reproducer: python {script} {shows} it in a process of its own: {made.said}{why}")
    finally:  # the finding is not lost if the reproducer cannot be written
        if run.first:
            for other in (totals.first for totals in run.totals.values()):
                if other and other is not run.first:
                    say(console, f"also deviates: {deviation_line(backend, other)}")
            print_line("deviates", deviation_line(backend, run.first))
        elif not run.failure:
            say(console, "no operation deviates")
        if run.failure:
            # The advice about a run that diverges is of no use to a library that computed something wrong.
            said = getattr(run.failure, "text", f"backend {with_colon(backend.name)} {described(run.failure)}")
            print_error(said.partition(";")[0] if isinstance(run.failure, DivergenceError) else said)
    return 1 if run.first else getattr(run.failure, "exit_code", 0)


def deviation_line(backend: Backend, operation: Operation) -> str:
    """Return the line about an operation that deviates."""
    return (
        f"{with_colon(backend.name)} operation {operation.number}, {operation.when}: {operation} on "
        f"{', '.join(dict.fromkeys(operation.devices)) or 'the host'} {operation.what}; called at {operation.place}: "
        f"{operation.source}"
    )


def to_trace(
    comparisons: Sequence[Comparison],
    failures: Sequence[Failure],
    backends: Sequence[Backend],
    config: TrainConfig,
    steps: int,
) -> Iterator[tuple[str, int]]:
    """Yield the name of each backend that deviates or fails, and the number of steps that show it."""
    names = [backend.name for backend in backends]  # the notebook's loop is none
    for comparison in comparisons:
        firsts = [quantity.first_step for quantity in comparison.all_quantities if quantity.first_step is not None]
        if firsts and comparison.trajectory.backend in names:
            yield comparison.trajectory.backend, max(1, min(firsts) - config.warm_up_steps)
    for failure in failures:
        yield failure.backend, steps


def _rows(run: Tracer) -> list[tuple[str, ...]]:
    """Return the cells for COLUMNS of each operation, the most frequent first."""
    in_step = Counter(operation.name for operation in run.last_step)
    return [
        (
            _shown(name),
            str(totals.calls),
            str(in_step[name]),
            f"{totals.deviation:.3g}",
            f"{totals.used:.2g}" if totals.used else "",
            str(totals.deviating or ""),
        )
        for name, totals in sorted(run.totals.items(), key=lambda item: -item[1].calls)
    ]


def _print_rows(console: Console, rows: list[tuple[str, ...]], heads: tuple[str, ...] = ("", "", "")) -> None:
    columns = zip(heads, zip(*rows, strict=True), strict=True)
    print_table([Column(head, [*cells], not (head and i)) for i, (head, cells) in enumerate(columns)], console)


def _shown(name: str) -> str:
    """Return an operation's name as in source: `a @ b`, `a[...]`, `a.T`, or the name of a function."""
    a, b = np.zeros(1), np.zeros(2)
    text = expression(name, (a, ... if name == "getitem" else b), {}, lambda x: "a" if x is a else "b")
    return name if text.startswith("xp.") else text
