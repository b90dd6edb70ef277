"""The console that commands print on, as wide as the terminal, or as the variable COLUMNS says."""

import os
import shutil
import threading
from typing import Any

from rich.console import Console

# In fewer columns, tables and help are unreadable, and a terminal breaks the lines itself. A line of a thousand is as
# good as one that is never broken, while libraries fill lines of a million with spaces.
NARROWEST, WIDEST = 40, 1000


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

    It is as wide as COLUMNS says, or else as the terminal, which it follows when that is resized.
    """
    if "COLUMNS" in os.environ:
        columns = shutil.get_terminal_size().columns
        options.setdefault("width", min(max(columns, NARROWEST), WIDEST))
    console = _Console(highlight=False, markup=False, emoji=False, **options)
    if "width" not in options and console.width < NARROWEST:
        console.width = NARROWEST
    return console
