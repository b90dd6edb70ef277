"""Run a command as a process: one line for each error, an exit code for each way to end."""

import contextlib
import errno
import os
import shlex
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlp_xp.errors import Argument, MlpXpError, MlpXpWarning, for_command_line, not_installed, printable

BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends
# Errors caused by the machine: no space, no permission, a limit reached. Any other OSError that reaches `run` is
# a bug, because the code that reads or writes a file reports a missing or invalid file itself.
SYSTEM_FAULTS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.EMFILE, errno.ENFILE),
}


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and exit with the code that it returns, or 0 for None.

    An MlpXpError is printed as one line and gives its own exit code. A missing library, running out of memory, the
    package's warnings, and SYSTEM_FAULTS that were not turned into an MlpXpError are also reported in one line. Every
    other exception is a bug and keeps its traceback. With --debug, the traceback with all causes is printed first.

    If the reader of the output or of the errors has closed the pipe, as `head` does, the code is 141 and nothing more
    is printed. Output that the caller has closed, as in `>&-`, is discarded.
    """
    _open_streams()
    try:
        code = _end(main)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    except OSError as error:
        if error.errno not in SYSTEM_FAULTS:
            raise
        code = 1  # the errors cannot be printed, because their file is on a full disk
    finally:
        silence_output()
    sys.exit(code)


def _end(main: Callable[[], int | None]) -> int:
    """Run a command's main function, print the error that ends it, and return the exit code."""
    try:
        with _warnings_as_lines():
            code = main() or 0
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        told = _told(error)
        if told is None:
            raise
        if "--debug" in sys.argv:
            _show_traceback(error)
        code, kind, text = told
        print_line(kind, text)
        return code


def _told(error: BaseException) -> tuple[int, str, str] | None:
    """Return the exit code, kind and line of an error; None for a bug and a closed pipe."""
    match error:
        case MlpXpError():
            return error.exit_code, error.kind, for_command_line(error.worded(as_option))
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] != "mlp_xp":
            return 2, "error", f"{name} {not_installed(_requirement(name))}"
        case KeyboardInterrupt():
            return 130, "", "interrupted"
        case OSError() if error.errno in SYSTEM_FAULTS:
            place = "the output" if error.filename is None else repr(os.fspath(error.filename))
            text = f"{place}: {error.strerror or error}; fix the file or folder, or use another one"
            return 2 if error.errno == errno.ENAMETOOLONG else 1, "error", text
        case MemoryError():
            return 2, "error", f"out of memory: {str(error) or 'the sizes are too large'}; choose smaller sizes"
    return None


def as_option(argument: Argument) -> str:
    """Name a setting as the command line does: `--task classes`, or `--learning-rate`."""
    option = f"--{argument.name.replace('_', '-')}"
    return option if argument.value is None else f"{option} {shlex.quote(str(argument.value))}"


def print_error(text: str) -> None:
    """Print an error as `print_line` does."""
    print_line("error", text)


def print_line(kind: str, text: str) -> None:
    """Print `kind: text`, or `text` if the kind is empty, as one line on stderr. Raises BrokenPipeError.

    The line is not wrapped, so that a command in it can be copied from a terminal. Control characters are shown as
    escapes.
    """
    try:
        print(f"{kind}{': ' if kind else ''}{printable(text)}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:
        silence_output()


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print each of the package's own warnings once, as one line on stderr; leave all others to Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", MlpXpWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if issubclass(category, MlpXpWarning):
                assert isinstance(message, MlpXpWarning)
                print_line("warning", for_command_line(message.worded(as_option)))
            else:
                show(message, category, *place, **others)

        warnings.showwarning = show_line
        yield


def _show_traceback(error: BaseException) -> None:
    """Print the traceback of an exception, including causes that `from None` hides."""
    link: BaseException | None = error
    while link is not None:
        link.__suppress_context__ = link.__cause__ is not None
        link = link.__cause__ or link.__context__
    traceback.print_exception(error)


def _requirement(module: str) -> str:
    """Return what pip must install for a missing module: in a clone this package, elsewhere the module."""
    clone = Path(__file__).resolve().parent.parent.parent
    return f"-e {shlex.quote(str(clone))}" if (clone / "pyproject.toml").exists() else module.partition(".")[0]


def _open_streams() -> None:
    r"""Make standard input, output and error usable where the caller has closed them, and for every character.

    A closed one becomes the null device, also as a file descriptor: the next file that is opened would get its number,
    and what a library writes to the standard output would end up in that file. A character that the encoding of the
    output lacks, and a byte of a file's name that is no character, is printed as an escape such as \xe9.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        stream = getattr(sys, name)
        if stream is None:
            # Python closes no such stream at its end; a warning about that would be a line of output.
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        elif mode == "w" and hasattr(stream, "reconfigure"):  # not so where a test captures the output
            stream.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Discard output that cannot be written: Python would flush it again at exit, and report the same error again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):  # captured output, as in a test, has no file descriptor
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def called(name: str) -> str:
    """Return the command line of another command, started like this one: script, `mlp-xp` or `python -m mlp_xp`."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{_python()} -m mlp_xp {name}"
    if program.suffix == ".py":
        return f"{_python()} {shlex.quote(str(program.with_name(f'{name}.py')))}"
    return f"{program.name} {name}"


def _python() -> str:
    """Return the running Python as the caller can type it: `python` if that is the same one, or else its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    return shlex.quote(sys.executable)


def as_argument(path: Path) -> str:
    """Return a path as a word of a command line, which is not taken as an option."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))
