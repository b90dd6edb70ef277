"""The traces of `parity --trace`, in lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mlp_xp.commands.process import print_line
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.errors import with_colon
from mlp_xp.parity.tracing import small_runs, trace
from mlp_xp.show.console import plain_console, say

if TYPE_CHECKING:
    from array_lockstep import Run

WORST_FIRST = (1, 3, 2, 0)  # exit codes


def print_traces(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    steps: int,
    folder: Path,
    all_operations: bool,
) -> int:
    """Trace training on a backend, print what is found, and return the exit code.

    The folder is for reproducers. `all_operations` adds the `small_runs`.
    """
    console, start, code = plain_console(), with_colon(backend.name), 0
    place = backend.device_name or "its default device"
    about = f"{backend.name} {backend.version} on {place}, {backend.dtype_name}"
    shown: set[str] = set()
    for name, run in _runs(config, dataset, backend, steps, folder, all_operations):
        say(console, f"{name or about}: {run.operations} operations; {_verdict(run)}")
        new = [each for each in run.deviations if each.name not in shown]
        shown |= {each.name for each in new}
        for number, each in enumerate(new):
            if number == 0:
                print_line("deviates", f"{start} {each}")
            else:
                say(console, f"also deviates: {start} {each}")
        if run.error:
            print_line("error", f"backend {start} {run.error}")
        if run.reproducer and (new or run.error):
            say(console, f"reproducer: {run.reproducer}")
        found = 1 if run.deviations else 3 if run.error else 0
        code = min(code, found, key=WORST_FIRST.index)
    return code


def _runs(
    config: TrainConfig,
    dataset: Dataset,
    backend: Backend,
    steps: int,
    folder: Path,
    all_operations: bool,
) -> Iterator[tuple[str, Run]]:
    yield "", trace(config, dataset, backend, steps, folder)
    if all_operations:
        yield from small_runs(backend, folder)


def _verdict(run: Run) -> str:
    if run.deviations:
        return f"deviating: {', '.join(each.name for each in run.deviations)}"
    return "it fails" if run.error else "no operation deviates"
