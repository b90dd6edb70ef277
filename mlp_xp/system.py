"""What differs between Windows and POSIX systems: processes, signals, pipes, shells."""

import contextlib
import errno
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

WINDOWS = sys.platform == "win32"
CACHE_VARIABLE = "MLP_XP_CACHE"
GROUPS = Path("/sys/fs/cgroup")
# Numbers of Windows: an access right for a process, an exit code, and an error.
QUERY_LIMITED_INFORMATION, STILL_ACTIVE, ACCESS_DENIED = 0x1000, 259, 5
_PLAIN_WORD = re.compile(r"[\w./\\:=+-][\w./\\:=+~-]*")


def command_line(words: Iterable[str]) -> str:
    """Return words as one line that a shell of this system splits into the same words.

    On Windows, this holds in PowerShell and cmd for usual names. PowerShell splits a
    word with a quotation mark, and both expand `%NAME%` or `$name` if a variable has
    this name.
    """
    if WINDOWS:
        return " ".join(map(_quoted_on_windows, words))
    return shlex.join(words)


def _quoted_on_windows(word: str) -> str:
    if _PLAIN_WORD.fullmatch(word):
        return word
    # A program halves the backslashes before a quotation mark.
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def python() -> str:
    """Return a word that starts this Python in a shell.

    PowerShell cannot start a program by a quoted path. So on Windows, the result is
    `python` if this word starts this Python.
    """
    if WINDOWS:
        import shutil  # here, so that `--help` is quick

        found = shutil.which("python")
        if found and Path(found).resolve() == Path(sys.executable).resolve():
            return "python"
    return command_line([sys.executable])


def exists(process: int) -> bool:
    """Return whether this machine has a process of this number, of any user."""
    if WINDOWS:  # There os.kill would send Ctrl-C.
        return process < 2**32 and _exists_on_windows(process)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # No process has so large a number.
        return False
    except PermissionError:  # It belongs to another user.
        pass
    return True


def _exists_on_windows(process: int) -> bool:
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(QUERY_LIMITED_INFORMATION, False, process)
    if not handle:
        # It may belong to another user.
        return bool(kernel.GetLastError() == ACCESS_DENIED)
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == STILL_ACTIVE


def cache_folder() -> Path:
    """Return the folder for files that can be made or fetched again.

    This is MLP_XP_CACHE, or else `mlp_xp` in the system's cache folder for the user. It
    need not exist.

    Raises:
        RuntimeError: The user has no home folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    if WINDOWS:
        place = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        place = Path.home() / "Library" / "Caches"
    else:
        place = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(place).absolute() / "mlp_xp"


def has_lost(parent: int) -> bool:
    """Return whether the process that started this one has ended.

    `parent` is the number of that process.
    """
    # On Windows, the number of the parent does not change after its end, and another
    # process may get this number.
    if WINDOWS:
        import multiprocessing

        process = multiprocessing.parent_process()
        return process is not None and not process.is_alive()
    return os.getppid() != parent


@contextlib.contextmanager
def starting_without_signals() -> Iterator[None]:
    """Keep Ctrl-C, and requests to end, from processes started in this context.

    A terminal sends Ctrl-C to all of its processes. A new process blocks the signals
    that are blocked in the process that starts it. On Windows, only Ctrl-C can be kept
    in this way: see `ignore_ctrl_break`.
    """
    if sys.platform == "win32":
        import ctypes

        console = ctypes.windll.kernel32
        console.SetConsoleCtrlHandler(None, True)  # Ignore Ctrl-C.
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


def ignore_ctrl_break() -> None:
    """Let this process ignore Ctrl-Break, if it has it: only Windows does.

    A console sends Ctrl-Break to all of its processes.
    """
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)


def is_closed_pipe(error: OSError) -> bool:
    """Return whether an error means that the reader of the output closed the pipe."""
    if isinstance(error, BrokenPipeError):
        return True
    # The C library of Windows reports EINVAL. Errors of Windows itself have a number in
    # `winerror`.
    return (
        WINDOWS
        and error.errno == errno.EINVAL
        and error.filename is None
        and getattr(error, "winerror", None) is None
    )


def control_groups() -> list[Path]:
    """Return the folders of the Linux control groups of this process, inner first.

    A container is a control group. Its limits hold for the groups within it too.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8")
    except OSError:
        return []
    folder = GROUPS / lines.rpartition("0::")[2].strip().lstrip("/")
    return [folder, *folder.parents]
