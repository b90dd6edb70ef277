"""Stop a training where it can be resumed: after a signal, or where its output cannot
be written.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from mlp_xp.commands.process import BROKEN_PIPE, ended, silence_output
from mlp_xp.errors import MlpXpError
from mlp_xp.show.console import say
from mlp_xp.system import is_closed_pipe

# Seconds after which a second Ctrl-C does not wait for the end of the chunk.
PATIENCE = 1.0


class Stop:
    """Why training is to stop at the next chunk: the first signal, or else the first
    error of the output.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.signal, self.since = console, 0, 0.0
        self.error: OSError | None = None

    def __bool__(self) -> bool:
        return bool(self.signal or self.error)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Keep the number of the first signal. SIGINT after PATIENCE seconds stops at
        once, without saving.

        Other signals do not, and not SIGINT at the same time: a terminal that closes
        may send SIGHUP twice, a batch system SIGTERM and SIGHUP, and people press
        Ctrl-C twice.
        """
        if (
            self.signal
            and number == signal.SIGINT
            and time.monotonic() > self.since + PATIENCE
        ):
            raise KeyboardInterrupt
        if not self.signal:
            self.signal, self.since = number, time.monotonic()

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Keep an error of the output, such as a pipe that its reader closed, and
        discard all further output.
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

    def error_at(self, place: str) -> MlpXpError:
        """Return the error that ends the command. place: where training stopped and
        what to do.
        """
        if self.signal or self.error is None:
            # it is what was asked for
            return ended(f"interrupted {place}", 128 + self.signal, kind="")
        if is_closed_pipe(self.error):
            return ended(
                f"the reader of the output closed the pipe {place}", BROKEN_PIPE
            )
        return ended(
            f"the output cannot be written ({self.error.strerror or self.error}) {place}",
            1,
        )

    @contextlib.contextmanager
    def catching_signals(self) -> Iterator[None]:
        """Note Ctrl-C, SIGTERM, SIGHUP, and on Windows Ctrl-Break and a closed window,
        instead of ending at once.

        One that is ignored stays so: SIGHUP under nohup, and SIGINT in a background job
            of a shell script.
        """
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]
        old = {number: signal.getsignal(number) for number in known}
        for number in (number for number in known if old[number] is not signal.SIG_IGN):
            signal.signal(number, self.handle)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
