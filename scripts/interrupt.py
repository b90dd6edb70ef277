"""Imported before all else by every script: Ctrl-C while it still imports ends it in one line, as it does later."""

import os
import sys
from types import TracebackType


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an exception that nothing caught; of an interrupt say what `mlp_xp.cli.run` says, and exit as it does."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(130)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = show
