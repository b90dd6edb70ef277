"""The console that commands print on, and its size: of the terminal, or as the variables COLUMNS and LINES say."""

import os
import shutil
import threading
from typing import Any

from rich.console import Console

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


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command, which ends with the exit code for it; rich would exit with 1.

        In the thread that redraws a progress bar, nobody could catch the error; the command's next line raises it.
        """
        if threading.current_thread() is threading.main_thread():
            raise  # noqa: PLE0704  (rich calls this while it handles the BrokenPipeError)
        del self._buffer[:]


def plain_console(**options: Any) -> Console:
    """Return a console that prints text unchanged: no markup, no `:emoji:` names, no highlighting.

    Its size is that of `terminal_size`. It follows a terminal that is resized, unless COLUMNS or LINES are set.
    """
    size = terminal_size()
    if "COLUMNS" in os.environ:
        options.setdefault("width", size.columns)
    if "LINES" in os.environ:
        options.setdefault("height", size.lines)
    console = _Console(highlight=False, markup=False, emoji=False, **options)
    if "width" not in options and console.width < COLUMNS[0]:
        console.width = COLUMNS[0]
    return console
