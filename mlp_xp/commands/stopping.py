"""Stop training after a signal or an error of the output.

Training stops at a place from which it can be resumed.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from mlp_xp.commands.process import BROKEN_PIPE, error_with_code, silence_output
from mlp_xp.errors import MlpXpError
from mlp_xp.show.console import say
from mlp_xp.system import is_closed_pipe

PATIENCE = 1.0
"""Seconds after which a second Ctrl-C does not wait for the end of the chunk."""


class Stop:
    """The reason to stop training at the next chunk, if any.

    An instance is true if there is a reason: the first signal, or else the first error
    of the output.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.signal = 0
        self.since = 0.0
        self.error: OSError | None = None

    def __bool__(self) -> bool:
        return bool(self.signal or self.error)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Keep the first signal. SIGINT after PATIENCE seconds stops at once, unsaved.

        Other signals, or an earlier SIGINT, do not stop at once. A closing terminal may
        send SIGHUP twice, a batch system sends SIGTERM and SIGHUP, and people press
        Ctrl-C twice.
        """
        now = time.monotonic()
        if not self.signal:
            self.signal = number
            self.since = now
        elif number == signal.SIGINT and now > self.since + PATIENCE:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Keep the first error of the output, and discard all further output.

        The usual error is a pipe closed by its reader.
        """
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            silence_output()

    def say(self, text: str) -> None:
        """Print text in whole lines."""
        with self.printing():
            say(self.console, text)

    def error_at(self, progress: str) -> MlpXpError:
        """Return the error that ends the command.

        Args:
            progress: Where the training stopped, and how to continue.
        """
        if self.signal or self.error is None:
            # the user asked for this end, so it is not an error
            return error_with_code(
                f"interrupted {progress}", 128 + self.signal, kind=""
            )
        if is_closed_pipe(self.error):
            fault = f"the reader of the output closed the pipe {progress}"
            return error_with_code(fault, BROKEN_PIPE)
        reason = self.error.strerror or self.error
        return error_with_code(f"the output cannot be written ({reason}) {progress}", 1)

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Keep signals that would end the program: Ctrl-C, SIGTERM and SIGHUP.

        On Windows, Ctrl-Break is kept too. When the window is closed, Windows ends the
        process before it can save. An ignored signal stays ignored: SIGHUP under nohup,
        and SIGINT in a background job of a shell script.
        """
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]
        old = {number: signal.getsignal(number) for number in known}
        for number, handler in old.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self.handle)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
