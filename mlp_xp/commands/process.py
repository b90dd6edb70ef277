"""Run a command as a process: an error is one line, and every end has an exit code."""

import codecs
import contextlib
import os
import re
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
_PACKAGES = {
    "scipy": "scipy",
    "optuna": "optuna",
    "joblib": "joblib psutil",
    "pooch": "pooch[progress]",
    "PIL": "pillow",
    "distributed": "dask[distributed]",
}
"""Modules for only some commands, with the packages to install for them."""


def run_command(main: Callable[[], int | None]) -> None:
    r"""Run a command's main function and exit with its return value, or 0 for None.

    An error caused by the user or the machine is printed as one line and has its own
    exit code: see `_fault_of`. Every other exception is a bug and keeps its traceback.
    With --debug, every traceback is printed, before the line.

    If the reader of the output or of the errors has closed the pipe, as `head` does,
    the code is 141 and nothing more is printed. Output closed by the caller, as in
    `>&-`, is discarded. Characters missing from the encoding of the output are printed
    as escapes such as \xe9, except that R² becomes R2.
    """
    _prepare_output()
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


def _prepare_output() -> None:
    """Let output and errors take every character, even if the caller closed them."""
    codecs.register_error("escaped", _without_character)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
        # captured output, as in a test, has no such method
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding=encoding_of(stream), errors="escaped")


def _without_character(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return a replacement for characters missing from an encoding.

    Many messages contain R², and Chinese encodings lack the square.
    """
    if isinstance(error, UnicodeEncodeError) and error.object[error.start] == "²":
        return "2", error.start + 1
    return codecs.backslashreplace_errors(error)


def encoding_of(stream: TextIO) -> str:
    """Return the encoding for an output stream: on Windows, UTF-8 for files and pipes.

    Python would take the code page of Windows. It lacks many characters, and
    `--data-dir` reads no table in it. The encoding of a terminal does not change, nor
    does an encoding chosen by the user.
    """
    chosen = os.environ.get("PYTHONIOENCODING")
    if WINDOWS and not chosen and not stream.isatty():
        return "utf-8"
    return stream.encoding


def _fault_of(error: BaseException) -> MlpXpError | None:
    """Return the error to print for an exception; None for a bug or a closed pipe."""
    match error:
        case MlpXpError():
            return error
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] != "mlp_xp":
            return _missing(name)
        case KeyboardInterrupt():
            return error_with_code("interrupted", 130, kind="")
        case OSError() if not is_closed_pipe(error):
            file = "the output"
            if error.filename is not None:
                file = quoted(os.fspath(error.filename))
            text = f"{file}: {error.strerror or error}"
            return error_with_code(
                f"{text}; fix the file or folder, or use another one", 1
            )
        case MemoryError():
            text = str(error) or "the sizes are too large"
            return MlpXpError(f"out of memory: {text}; choose smaller sizes")
    return None


def _missing(module: str) -> MlpXpError:
    """Return the error for a module that cannot be imported.

    A required module is missing if a clone is used without an installation. The remedy
    is then to install the clone.
    """
    name = module.partition(".")[0]
    packages = _PACKAGES.get(name, module)
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.exists():
        import tomllib

        facts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        required = [re.split("[^a-z-]", each)[0] for each in facts["dependencies"]]
        if name.replace("_", "-") in required:
            packages = command_line(["-e", str(project.parent)])
    return MlpXpError(f"{module} {not_installed(packages)}")


def error_with_code(text: str, code: int, kind: str = "error") -> MlpXpError:
    """Return an error that ends a command with an exit code.

    The kind is the word to print before the text.
    """
    error = MlpXpError(text)
    error.exit_code, error.kind = code, kind
    return error


def as_option(argument: Argument) -> str:
    """Name a setting as on the command line: `--task classes`, `--learning-rate`."""
    option = f"--{argument.name.replace('_', '-')}"
    # the argument `data` of Python's functions may also be a `Dataset`
    if argument.name == "data":
        option = "--data-dir"
    if argument.value in (None, True):
        return option
    return command_line([option, str(argument.value)])


def print_errors(faults: Iterable[object]) -> int:
    """Print errors below all output, and return the exit code: 1 if there are any."""
    lines = [str(fault) for fault in faults]
    sys.stdout.flush()
    for line in lines:
        print_line("error", line)
    return 1 if lines else 0


def print_line(kind: str, text: str) -> None:
    """Print `kind: text`, or `text` if the kind is empty, as one line on stderr.

    The line is not wrapped, so that a command in it can be copied from a terminal.
    Control characters are shown as escapes.
    """
    line = escaped(text)
    if kind:
        line = f"{kind}: {line}"
    print(line, file=sys.stderr)


def _show_warning(
    message: Warning | str, category: type[Warning], *place: Any, **others: Any
) -> None:
    """Print a warning of this package as one line, and all others as Python does."""
    if isinstance(message, MlpXpWarning):
        print_line("warning", message.worded(as_option))
    else:
        sys.stderr.write(warnings.formatwarning(message, category, *place[:2]))


def silence_output() -> None:
    """Discard output that cannot be written.

    Otherwise Python would flush it again at exit, and report the same error again.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # captured output, as in a test, has no file descriptor
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def shell_command(name: str, *words: object) -> str:
    """Return the command line of another command."""
    start = command_line(sys.orig_argv[:1])
    if WINDOWS:
        start = python()
    return f"{start} {command_line(['-m', 'mlp_xp', name, *map(str, words)])}"
