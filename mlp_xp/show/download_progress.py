"""Show the progress of downloads: one bar per file, on a terminal or in a notebook; nothing elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Column

from mlp_xp.data.downloads import Progress


@contextmanager
def show_downloads(console: Console) -> Iterator[Progress]:
    """Yield a `progress` for `load_dataset`. Its bars are drawn in the `with` block and removed at its end."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(Column(no_wrap=True)),
        TimeRemainingColumn(),
    )
    seen = console.is_terminal or console.is_jupyter
    with Bars(*columns, console=console, transient=True, disable=not seen) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(file: str, done: int, expected: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file)
            bars.update(tasks[file], completed=done, total=expected or None)

        yield progress
