"""The console that commands print on, as wide as the terminal, or as the variable COLUMNS says."""

import threading
from typing import Any

from rich.console import Console
from rich.text import Text

from mlp_xp.errors import escaped

# In fewer columns, tables and help are unreadable, and a terminal breaks the lines itself. Libraries fill lines of a
# million columns with spaces.
NARROWEST, WIDEST = 40, 1000


class _Console(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        """Show control characters as escapes: a name from a file may have some, which would act on the terminal."""
        return super().render_str("\n".join(map(escaped, text.split("\n"))), **options)

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command, which ends with the exit code for it; rich would exit with 1.

        In the thread that redraws a progress bar, nobody could catch the error; the command's next line raises it.
        """
        if threading.current_thread() is threading.main_thread():
            raise  # noqa: PLE0704  (rich calls this while it handles the BrokenPipeError)
        del self._buffer[:]


def plain_console(**options: Any) -> Console:
    """Return a console that prints text unchanged: no markup, no `:emoji:` names, no highlighting."""
    console = _Console(highlight=False, markup=False, emoji=False, **options)
    if not NARROWEST <= console.width <= WIDEST:
        console.width = min(max(console.width, NARROWEST), WIDEST)
    return console
