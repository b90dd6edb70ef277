"""Start a command from a script: every fault before it runs ends in one line."""

import os
import sys
from types import TracebackType


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an exception that nothing caught. An interrupt during imports ends in one line, as it does later."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, trace)


def start(command: str) -> None:
    """Run a command with this process' arguments, and exit."""
    sys.excepthook = show
    try:
        from mlp_xp.commands import main
    except ModuleNotFoundError as error:
        sys.exit(
            f"error: {error.name} is not installed for {sys.executable}; type: {sys.executable} -m pip install -e ."
        )
    sys.argv[1:1] = [command]
    main()
