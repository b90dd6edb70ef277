"""Start processes as people do: with the usual effect of signals, on a terminal."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 60  # seconds, for an action without delay
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Python code to make the input the terminal of a process, and to run a command."""


@contextlib.contextmanager
def not_ignored() -> Iterator[None]:
    """Give SIGINT and SIGHUP their usual effect, also in new processes.

    `nohup make test &` runs with both ignored.
    """
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def popen(command: list[str], **options: Any) -> subprocess.Popen:
    """Start a process with the usual effect of SIGINT and SIGHUP."""
    with not_ignored():
        return subprocess.Popen(command, **options)


def run_on_a_terminal(
    command: list[str],
    *,
    interrupt_after: bytes = b"",
    wait: float = 0,
    patience: float = PATIENCE,
    columns: int = 80,
    env: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> tuple[int, bytes]:
    """Run a command on a terminal. Return its exit code and its output.

    interrupt_after: press Ctrl-C `wait` seconds after this was printed.
    """
    import pty  # on POSIX systems only
    import select

    terminal = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "24"}
    ours, its = pty.openpty()
    process = popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        env={**env, **terminal},
        cwd=cwd,
    )
    os.close(its)
    said = b""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # on Linux: the other side is closed
                break
            if not piece:
                break
            said += piece
        elif process.poll() is not None:  # its children may keep the terminal open
            break
        if interrupt_after and interrupt_after in said:
            time.sleep(wait)
            os.write(ours, b"\x03")  # Ctrl-C
            interrupt_after = b""
    process.wait(PATIENCE)
    os.close(ours)
    return process.returncode, said
