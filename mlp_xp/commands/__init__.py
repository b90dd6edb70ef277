"""The entry point of all commands: `mlp-xp`, `python -m mlp_xp` and the scripts.

Everything else is imported inside `run`, so that an interrupt or a missing library during the imports is also reported
in one line.
"""

import importlib
import sys
from collections.abc import Callable
from typing import Any

from mlp_xp.commands.process import run

COMMANDS = {
    "train": "train the network",
    "sweep": "train many networks: every combination of settings, or samples",
    "evaluate": "evaluate a run, or an ensemble of several, on the test set",
    "predict": "classify your own pictures with a trained network, or an ensemble",
    "plot": "draw the pictures of a run or a sweep, or the curves of several runs",
    "runs": "compare runs in a table, or their settings over all seeds",
    "parity": "check that all backends give the same trajectory",
    "completion": "print the completion script of a shell: bash, zsh or fish",
}


def main(name: str | None = None) -> None:
    """Run a command with the arguments of this process, and exit.

    name: the command to run. Without it, the first command-line argument names the command.
    """
    run(lambda: call([*([name] if name else []), *sys.argv[1:]]))


def call(words: list[str]) -> int | None:
    """Run the command that the words name, and return its exit code."""
    from mlp_xp.commands import options

    if "--no-compile-cache" in words:
        from mlp_xp.backends.opening import compile_afresh

        compile_afresh()
    words = [word for word in words if word not in ("--debug", "--no-compile-cache")]  # see `process.run` for --debug
    code: int | None = options.call(options.make_app(COMMANDS, load, words[:1]), words)
    return code


def load(name: str) -> Callable[..., Any]:
    """Return the function of a command."""
    command: Callable[..., Any] = getattr(importlib.import_module(f"mlp_xp.commands.{name}"), name)
    return command
