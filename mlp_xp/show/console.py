"""What commands print on: a console as wide as the terminal, lines of text, tables, and
CSV.
"""

import sys
from collections.abc import Iterable, Sequence
from csv import writer
from typing import Any

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from mlp_xp.errors import escaped

_GAP = 2  # between the columns of a table
# in fewer columns, help is unreadable, and a terminal breaks the lines itself
_NARROWEST = 40


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command, which ends with the exit code for it;
        rich would exit with 1.
        """
        raise  # noqa: PLE0704  (rich calls this while it handles the BrokenPipeError)


def plain_console(**options: Any) -> Console:
    """Return a console as wide as the terminal, or as COLUMNS says, but at least
    _NARROWEST.

    It prints text unchanged: no markup, no `:emoji:` names, no highlighting.
    """
    console = _Console(highlight=False, markup=False, emoji=False, **options)
    console.width = max(console.width, _NARROWEST)
    return console


def say(console: Console, text: str) -> None:
    """Print text in whole lines. A terminal wraps them itself, and copies a wrapped
    path as one word.

    Control characters are shown as escapes: a name from a file may have some, which
        would act on the terminal.
    """
    console.print("\n".join(map(escaped, text.split("\n"))), soft_wrap=True)


def print_table(
    heads: Iterable[str],
    rows: Iterable[Sequence[str]],
    console: Console,
    *,
    left: int = 1,
) -> None:
    """Print a table.

    On a terminal, the words of heads stand below each other. If it is too narrow, the
    first column takes half of it at most, or its longest word, and the columns that do
    not fit are left out, which a line below the table names.

    left: how many columns, the first ones, are aligned to the left.
    """
    rows, heads = [[*map(escaped, row)] for row in rows], [*map(escaped, heads)]
    width, separator = (
        (console.width, "\n") if console.is_terminal else (sys.maxsize, " ")
    )
    lines = [head.replace(" ", separator) for head in heads]
    columns = (
        [*head.split("\n"), *cells] for head, *cells in zip(lines, *rows, strict=True)
    )
    first, *others = (max(map(cell_len, column)) + _GAP for column in columns)
    longest = max(
        (cell_len(word) for row in rows for word in row[0].split()), default=0
    )
    fitting, end = [0], min(first, max(width // 2, width - sum(others), longest + _GAP))
    for i, more in enumerate(others, 1):
        if end + more - _GAP <= width:
            fitting, end = [*fitting, i], end + more
    look: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, _GAP, 0, 0)}
    table = Table(width=end - _GAP, **look)
    for i in fitting:
        justify: JustifyMethod = "left" if i < left else "right"
        table.add_column(
            lines[i], justify=justify, vertical="bottom", no_wrap=i > 0, overflow="fold"
        )
    for row in rows:
        table.add_row(*(row[i] for i in fitting))
    console.print(table, soft_wrap=True)
    if len(fitting) < len(heads):
        say(
            console,
            f"no room for: {', '.join(head for i, head in enumerate(heads) if i not in fitting)}",
        )


def print_csv(lines: Iterable[Iterable[Any]]) -> None:
    """Print the lines of a table as CSV."""
    writer(sys.stdout, lineterminator="\n").writerows(lines)
