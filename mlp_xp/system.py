"""What differs between Windows and POSIX systems: processes, signals, pipes, shells."""

import contextlib
import errno
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

WINDOWS = sys.platform == "win32"


def command_line(words: Iterable[str]) -> str:
    """Return words as one line that a shell of this system splits into the same words."""
    return subprocess.list2cmdline(list(words)) if WINDOWS else shlex.join(words)


def exists(process: int) -> bool:
    """Return whether this machine has a process of this number, of any user."""
    import psutil  # on Windows, os.kill with the signal 0 would send Ctrl-C

    return psutil.pid_exists(process)


def has_lost(parent: int) -> bool:
    """Return whether the process that started this one has ended.

    Args:
        parent: The number of that process. On Windows it stays the parent's number
            after its end, and may become another process's.
    """
    if WINDOWS:
        process = multiprocessing.parent_process()
        return process is not None and not process.is_alive()
    return os.getppid() != parent


@contextlib.contextmanager
def starting_without_signals() -> Iterator[None]:
    """Keep Ctrl-C, and requests to end, from processes that are started in this
    context.

    A terminal sends Ctrl-C to all of its processes. A process inherits the signals that
    the process that starts it has blocked.
    """
    if sys.platform == "win32":
        import ctypes

        console = ctypes.windll.kernel32
        console.SetConsoleCtrlHandler(None, True)  # ignores Ctrl-C
        try:
            yield
        finally:
            console.SetConsoleCtrlHandler(None, False)
    else:
        blocked = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_closed_pipe(error: OSError) -> bool:
    """Return whether an error says that the reader of the output has closed the pipe."""
    if WINDOWS and error.errno == errno.EINVAL and error.filename is None:
        return True
    return isinstance(error, BrokenPipeError)
