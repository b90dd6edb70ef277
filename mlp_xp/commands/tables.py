"""Tables as wide as the terminal, or narrower: of runs, backends and operations."""

import sys
from collections.abc import Collection, Iterable
from csv import writer
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table

from mlp_xp.show.terminal import GLUE, say

LONGEST, DOTS = 24, "..."  # characters of a text that is cut, and what stands for its start


class Column(NamedTuple):
    """A column of a table."""

    head: str
    cells: list[str]
    left: bool = False
    """Whether it is aligned to the left; numbers are aligned to the right."""


def print_csv(lines: Iterable[Iterable[Any]]) -> None:
    """Print the lines of a table as CSV."""
    writer(sys.stdout, lineterminator="\n").writerows(lines)


def print_table(columns: Iterable[Column], console: Console, gap: int = 2) -> None:
    """Print a table, or a paragraph for each row where it is wider than the terminal. gap: between columns.

    A cell that is empty, or a point, is left out of a paragraph.
    """
    columns = [*columns]
    if width(columns, gap) > console.width:
        first, *others = columns
        for i, name in enumerate(first.cells):
            pairs = [f"{each.head} {each.cells[i]}".strip() for each in others if each.cells[i] not in ("", ".")]
            say(console, f"{name}: {', '.join(pair.replace(' ', GLUE) for pair in pairs)}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), show_header=any(each.head for each in columns))
    line = [each._replace(head=each.head.replace(" ", GLUE)) for each in columns]
    separator = " " if width(line, gap) <= console.width else "\n"
    for each in columns:
        justify: JustifyMethod = "left" if each.left else "right"
        table.add_column(each.head.replace(" ", separator), justify=justify, vertical="bottom", no_wrap=True)
    for cells in zip(*(each.cells for each in columns), strict=True):
        table.add_row(*cells)
    console.print(table)


def print_squeezed(columns: dict[str, Column], console: Console, cut: Iterable[str], spared: Iterable[str]) -> None:
    """Print a table as narrow as the terminal, if that is possible, and name the columns that are left out.

    cut: columns whose long texts lose their starts, unless different ones would become the same. spared: columns to
    leave out then, the first one first.
    """
    for name in cut:
        cells = [cell if len(cell) <= LONGEST else DOTS + cell[len(DOTS) - LONGEST :] for cell in columns[name].cells]
        if width(columns.values()) > console.width and len({*cells}) == len({*columns[name].cells}):
            columns[name] = columns[name]._replace(cells=cells)
    left_out = []
    for name in spared:
        if name in columns and width(columns.values()) > console.width:
            left_out.append(columns.pop(name).head)
    print_table(columns.values(), console)
    if left_out:
        say(console, f"no room for: {', '.join(left_out)}; --csv has all", wrap=True)


def width(columns: Collection[Column], gap: int = 2) -> int:
    """Return the least width of a table, whose heads may be broken between words."""
    widths = [max(map(cell_len, [*each.head.split(" "), *each.cells])) for each in columns]
    return sum(widths) + gap * (len(widths) - 1)
