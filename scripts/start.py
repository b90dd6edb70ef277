"""Start a command from a script, and report errors before it runs in one line."""

import importlib
import sys
from typing import Any, NoReturn


def start(command: str) -> None:
    """Run a command with the arguments of this process, and exit."""
    imported("mlp_xp.commands").main(command)


def imported(module: str) -> Any:
    """Import a module, or exit with an error in one line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "mlp_xp":
            raise
        message = f"mlp_xp is not installed for {sys.executable}"
        end(f"error: {message}; install it with: {install_command()}", 2)
    except KeyboardInterrupt:
        end("interrupted", 130)


def end(line: str, code: int) -> NoReturn:
    """Print a line on stderr, unless the caller has closed it, and exit.

    `print` would take the standard output.
    """
    if sys.stderr is not None:
        print(line, file=sys.stderr)
    sys.exit(code)


def install_command() -> str:
    """Return the command that installs this clone for this Python."""
    import shlex
    import subprocess
    from pathlib import Path

    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-e",
        str(Path(__file__).resolve().parent.parent),
    ]
    return (
        subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
    )
