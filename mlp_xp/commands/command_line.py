"""What the scripts share: parse the command line, run, and turn every fault into one line and an exit code."""

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from mlp_xp.errors import MlpXpError, MlpXpWarning


def parse(kind: Any, *, default: Any = None, args: list[str] | None = None, some: bool = False) -> Any:
    """Parse the command line into a dataclass, from whose fields and docstrings help, defaults and types are made.

    some: look only for the options of this dataclass, and leave the others and --help for later. Raises SystemExit(0)
    after --help, MlpXpError for a command line that does not fit.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            if some:
                return tyro.cli(kind, args=args, return_unknown_args=True, add_help=False)[0]
            given = {} if default is None else {"default": default}
            return tyro.cli(kind, args=args, config=(tyro.conf.FlagCreatePairsOff,), **given)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise MlpXpError(_first_fault(said.getvalue())) from None


def _first_fault(box: str) -> str:
    """The message in the box that the parser draws around it, as one line, with the option that it suggests.

    The box is drawn with lines, or with hyphens where the output's encoding has no lines; on a terminal in colours.
    """
    box = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()[1:]]
    rows = " ".join(lines)
    message = next(filter(None, map(str.strip, re.split(r"[─-]{3,}", rows))), rows).rstrip(".")
    message = re.sub(r"^Missing from \S+: (\S+) (.*?)\.? \(required\)", r"\1 is missing: \2", message)
    close = re.search(r"Perhaps you meant: *(--[\w-]+)", rows)
    hint = f" (did you mean {close[1]}?)" if close else ""
    return f"{message}{hint}; --help lists what there is"


def _silence_output() -> None:
    """Let Python, which flushes its output once more at exit, find no fault with it then."""
    with contextlib.suppress(OSError):  # an output without a descriptor, as in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print the package's own warnings as one line each on stderr, once; leave all others to Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", MlpXpWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **others: Any) -> None:
            if issubclass(category, MlpXpWarning):
                print(f"warning: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **others)

        warnings.showwarning = show_line
        yield


def run(main: Callable[[], int | None]) -> None:
    """Run a script's main and exit: 0 or the code that it returns; for an MlpXpError its code, after one line.

    The system's errors about files, want of memory and the package's warnings are told in one line too.
    """
    try:
        with _warnings_as_lines():
            code = main() or 0
        sys.stdout.flush()
    except MlpXpError as error:
        print(f"error: {error.on_command_line()}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python would complain once more when it flushes at exit.
        _silence_output()
        code = 141
    except OSError as error:
        # What no other place foresaw: a folder that may not be entered, a name too long, a full disk behind the output.
        place = "the output" if error.filename is None else repr(os.fspath(error.filename))
        print(f"error: {place}: {error.strerror or error}; mend the file or folder, or name another", file=sys.stderr)
        _silence_output()
        code = 1
    except MemoryError as error:
        print(f"error: not enough memory: {str(error) or 'for these sizes'}; choose smaller ones", file=sys.stderr)
        code = 2
    sys.exit(code)
