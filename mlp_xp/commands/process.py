"""Run a command as a process, with one line for each error and an exit code for each
way to end.
"""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from mlp_xp.errors import (
    Argument,
    MlpXpError,
    MlpXpWarning,
    escaped,
    not_installed,
    quoted,
)
from mlp_xp.system import WINDOWS, command_line, is_closed_pipe, python

BROKEN_PIPE = 128 + 13  # the exit code of a program that SIGPIPE ends
# Modules that only some commands need, and what to install for each.
_EXTRAS = {each: each for each in ("scipy", "optuna")}
_EXTRAS |= {"joblib": "joblib psutil", "pooch": "pooch[progress]"}
_EXTRAS |= {"PIL": "pillow", "distributed": "dask[distributed]", "ray": "ray[client]"}


def run_command(main: Callable[[], int | None]) -> None:
    r"""Run a command's main function and exit with the code that it returns, or 0 for None.

    An error that a user or the machine caused is printed as one line and gives its own
    exit code: see `_fault_of`. Every
    other exception is a bug and keeps its traceback. With --debug, the traceback of each is printed first.

    If the reader of the output or of the errors has closed the pipe, as `head` does, the code is 141 and nothing more
    is printed. Output that the caller has closed, as in `>&-`, is discarded. What the encoding of the output cannot
    express is printed as an escape such as \xe9.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)
        # captured output, as in a test, has no such method
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding_of(stream), errors="backslashreplace")
    try:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", MlpXpWarning)
                warnings.showwarning = _show_warning
                code = main() or 0
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            fault = _fault_of(error)
            if fault is None:
                raise
            if "--debug" in sys.argv:
                traceback.print_exception(error)
            print_line(fault.kind, fault.worded(as_option))
            code = fault.exit_code
        sys.stderr.flush()
    except OSError as error:  # on a full disk, the error cannot be printed
        code = BROKEN_PIPE if is_closed_pipe(error) else 1
    finally:
        silence_output()
    sys.exit(code)


def encoding_of(stream: TextIO) -> str:
    """Return the encoding for an output stream: on Windows, UTF-8 for files and pipes.

    Python would take the code page of the system there, which lacks many characters,
    and in which `--data-dir` reads no table. A terminal, and what the user has chosen,
    stay.
    """
    chosen = os.environ.get("PYTHONIOENCODING")
    return (
        "utf-8" if WINDOWS and not chosen and not stream.isatty() else stream.encoding
    )


def _fault_of(error: BaseException) -> MlpXpError | None:
    """Return what to say about an exception; None for a bug and for a closed pipe."""
    match error:
        case MlpXpError():
            return error
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] != "mlp_xp":
            clone = Path(__file__).resolve().parents[2]
            own = (
                command_line(["-e", str(clone)])
                if (clone / "pyproject.toml").exists()
                else name
            )
            return MlpXpError(
                f"{name} {not_installed(_EXTRAS.get(name.partition('.')[0], own))}"
            )
        case KeyboardInterrupt():
            return ended("interrupted", 130, kind="")
        case OSError() if not is_closed_pipe(error):
            place = (
                "the output"
                if error.filename is None
                else quoted(os.fspath(error.filename))
            )
            return ended(
                f"{place}: {error.strerror or error}; fix the file or folder, or use another one",
                1,
            )
        case MemoryError():
            return MlpXpError(
                f"out of memory: {str(error) or 'the sizes are too large'}; choose smaller sizes"
            )
    return None


def ended(text: str, code: int, kind: str = "error") -> MlpXpError:
    """Return an error that ends a command with an exit code. kind: what is printed
    before the text.
    """
    error = MlpXpError(text)
    error.exit_code, error.kind = code, kind
    return error


def as_option(argument: Argument) -> str:
    """Name a setting as the command line does: `--task classes`, or `--learning-rate`."""
    # What Python's functions call `data` may also be a `Dataset`.
    option = (
        "--data-dir"
        if argument.name == "data"
        else f"--{argument.name.replace('_', '-')}"
    )
    return (
        option
        if argument.value is None
        else command_line([option, str(argument.value)])
    )


def end_with(faults: Iterable[object]) -> int:
    """Print errors below all output, and return the exit code: 1 if there are any, or
    else 0.
    """
    lines = [*map(str, faults)]
    sys.stdout.flush()
    for line in lines:
        print_line("error", line)
    return 1 if lines else 0


def print_line(kind: str, text: str) -> None:
    """Print `kind: text`, or `text` if the kind is empty, as one line on stderr.

    The line is not wrapped, so that a command in it can be copied from a terminal.
    Control characters are shown as escapes.
    """
    print(f"{kind}{': ' if kind else ''}{escaped(text)}", file=sys.stderr)


def _show_warning(
    message: Warning | str, category: type[Warning], *place: Any, **others: Any
) -> None:
    """Print one of the package's own warnings as one line on stderr; all others as
    Python does.
    """
    if isinstance(message, MlpXpWarning):
        print_line("warning", message.worded(as_option))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def silence_output() -> None:
    """Discard output that cannot be written: Python would flush it again at exit, and
    report the same error again.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # captured output, as in a test, has no file descriptor
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def called(name: str, *words: object) -> str:
    """Return the command line of another command, which works in any folder."""
    start = python() if WINDOWS else command_line(sys.orig_argv[:1])
    return f"{start} {command_line(['-m', 'mlp_xp', name, *map(str, words)])}"
