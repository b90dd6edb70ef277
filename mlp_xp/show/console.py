"""Print lines of text, tables and CSV."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from mlp_xp.errors import escaped, escaped_lines

_GAP = "  "  # between the columns of a table
# In fewer columns, help is unreadable, and a terminal breaks the lines itself.
_NARROWEST = 40


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command, which has an exit code for it.

        The console of rich would exit with 1.
        """
        raise  # noqa: PLE0704  (rich calls this while it handles the BrokenPipeError)


def plain_console(**options: Any) -> Console:
    """Return a console as wide as the terminal, or as COLUMNS says.

    It prints text unchanged: no markup, no `:emoji:` names, no highlighting.
    """
    console = _Console(highlight=False, markup=False, emoji=False, **options)
    console.width = max(console.width, _NARROWEST)
    return console


def say(console: Console, text: str) -> None:
    """Print text in whole lines, with control characters as escapes.

    A terminal wraps lines itself, and copies a wrapped path as one word. A name from a
    file may have control characters, which would act on the terminal.
    """
    console.print(escaped_lines(text), soft_wrap=True)


def print_table(
    heads: Iterable[str],
    rows: Iterable[Sequence[str]],
    console: Console,
    *,
    left: int = 1,
) -> None:
    """Print a table. `left` is the number of columns aligned to the left.

    The lines are not wrapped, so a table may be wider than the terminal.
    """
    lines = [[escaped(cell) for cell in line] for line in [[*heads], *rows]]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
            padding = " " * (width - cell_len(cell))
            cells.append(cell + padding if i < left else padding + cell)
        say(console, _GAP.join(cells))


def print_csv(lines: Iterable[Iterable[Any]]) -> None:
    """Print the lines of a table as CSV."""
    csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
