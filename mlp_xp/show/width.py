"""The size of the output: of the terminal, or as the variables COLUMNS and LINES say, within sensible bounds."""

import os
import shutil

# In fewer columns, tables and help are unreadable, and a terminal breaks the lines itself. A line of a thousand is as
# good as one that is never broken, while libraries fill lines of a million with spaces.
COLUMNS = (40, 1000)
LINES = (5, 1000)


def terminal_size() -> os.terminal_size:
    """Return columns and lines: COLUMNS and LINES, else the size of the terminal, else 80 x 24, within the bounds.

    A variable that is not a positive integer counts as not set.
    """
    columns, lines = shutil.get_terminal_size()
    return os.terminal_size((_within(columns, COLUMNS), _within(lines, LINES)))


def terminal_width() -> int:
    """Return the columns of `terminal_size`."""
    return terminal_size().columns


def _within(number: int, bounds: tuple[int, int]) -> int:
    return min(max(number, bounds[0]), bounds[1])
