"""Print lines of text, tables and CSV, on a console as wide as the terminal."""

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from mlp_xp.errors import escaped, escaped_lines

_GAP = 2  # between the columns of a table
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
    narrow: Sequence[Any] = (),
) -> None:
    """Print a table. `left` is the number of columns aligned to the left.

    On a terminal, the words of a head stand below each other. Columns that do not fit
    into the terminal are left out, and a line below the table names them. If `narrow`
    has heads and rows, they are printed instead, with a hint at --json.
    """
    names = [escaped(head) for head in heads]
    cells = [[escaped(cell) for cell in row] for row in rows]
    room, separator = sys.maxsize, " "
    if console.is_terminal:
        room, separator = console.width, "\n"
    titles = [name.replace(" ", separator) for name in names]
    shown, width = _fitting(titles, cells, room)
    if narrow and len(shown) < len(names):
        heads, rows = narrow
        print_table(heads, rows, console, left=2)
        say(console, "no room for all columns: see --json")
        return
    table = Table(width=width, box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for i in shown:
        justify: JustifyMethod = "left" if i < left else "right"
        table.add_column(
            titles[i],
            justify=justify,
            vertical="bottom",
            no_wrap=i > 0,
            overflow="fold",
        )
    for row in cells:
        table.add_row(*[row[i] for i in shown])
    console.print(table, soft_wrap=True)
    left_out = [name for i, name in enumerate(names) if i not in shown]
    if left_out:
        say(console, f"no room for: {', '.join(left_out)}")


def _fitting(
    titles: Sequence[str], rows: Sequence[Sequence[str]], room: int
) -> tuple[list[int], int]:
    """Return the columns of a table that fit into a width, and the table's own width.

    If the room is short, the first column takes half of the room, or its longest word.
    """
    widths = []
    for column in zip(titles, *rows, strict=True):
        lines = [line for cell in column for line in cell.split("\n")]
        widths.append(max(map(cell_len, lines)) + _GAP)
    first, *others = widths
    words = [word for row in rows for word in row[0].split()]
    longest_word = max(map(cell_len, words), default=0)
    limit = max(room // 2, room - sum(others), longest_word + _GAP)
    shown, end = [0], min(first, limit)
    for i, width in enumerate(others, 1):
        if end + width - _GAP <= room:
            shown.append(i)
            end += width
    return shown, end - _GAP


def print_csv(lines: Iterable[Iterable[Any]]) -> None:
    """Print the lines of a table as CSV."""
    csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
