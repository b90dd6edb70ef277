"""The entry point of all commands: `mlp-xp`, `python -m mlp_xp` and the scripts.

Each command is imported inside `run`, so that an interrupt or a missing library during its imports is also reported in
one line.
"""

import argparse
import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

from mlp_xp import __version__
from mlp_xp.commands.command_line import UsageError, add_options, run
from mlp_xp.errors import MlpXpError, not_installed

# The help text of each command, and the name of the dataclass in its module that defines its options.
COMMANDS = {
    "train": ("train the network", "Arguments"),
    "sweep": ("train many networks: every combination of settings, or samples", "Arguments"),
    "evaluate": ("evaluate a run, or an ensemble of several, on the test set", "Arguments"),
    "predict": ("classify your own pictures with a trained network, or an ensemble", "Arguments"),
    "plot": ("draw the pictures of a run or a sweep, or the curves of several runs", "Arguments"),
    "runs": ("compare runs in a table, or their settings over all seeds", "Arguments"),
    "parity": ("check that all backends give the same trajectory", "Arguments"),
}
OTHERS = {"completion": "print the completion script of a shell: bash, zsh or tcsh", "--version": "print the version"}
FOOTER = "COMMAND --help lists its options, COMMAND --debug shows tracebacks."
SHELLS = ("bash", "zsh", "tcsh")


def main(name: str | None = None) -> None:
    """Run a command and exit.

    name: the command to run. Without it, the first command-line argument names the command.
    """
    if name is not None:
        run(lambda: load(name))
    if Path(sys.argv[0]).name == "__main__.py":
        sys.argv[0] = "python -m mlp_xp"
    run(choose)


def load(name: str) -> int | None:
    """Import a command, run it with the arguments of this process, and return its exit code."""
    command: int | None = module_of(name).main()
    return command


def module_of(name: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"mlp_xp.commands.{name.replace('-', '_')}")


def choose() -> int | None:
    """Run the command that the first argument names. Raises UsageError for an unknown command."""
    first, *arguments = sys.argv[1:] or ["--help"]
    if first in COMMANDS:
        sys.argv = [f"{sys.argv[0]} {first}", *arguments]
        return load(first)
    if first == "completion":
        print(completion(arguments))
    elif first == "--version":
        print(f"mlp-xp {__version__}")
    elif first in ("-h", "--help"):
        rows = {**{name: text for name, (text, _) in COMMANDS.items()}, **OTHERS}
        lines = "\n".join(f"  {name:13} {text}" for name, text in rows.items())
        print(f"usage: {Path(sys.argv[0]).name} COMMAND [OPTIONS]\n\n{lines}\n\n{FOOTER}")
    else:
        near = difflib.get_close_matches(first, [*COMMANDS, *OTHERS], n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UsageError(f"{first}: is not a command{hint}; --help lists all commands")
    return None


def completion(arguments: list[str]) -> str:
    """Return the completion script of a shell for all commands and options. Raises UsageError for an unknown shell."""
    if arguments in (["-h"], ["--help"]):
        return f"usage: mlp-xp completion SHELL\n\n{OTHERS['completion']}"
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise UsageError(f"completion: give one of {', '.join(SHELLS)}")
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise MlpXpError(f"completion: shtab {not_installed('shtab')}") from error
    parser = argparse.ArgumentParser(prog="mlp-xp")
    parser.add_argument("--version", action="store_true", help="Show the version and exit.")
    commands = parser.add_subparsers()
    for name, (text, options) in COMMANDS.items():
        kind = getattr(module_of(name), options)
        add_options(commands.add_parser(name, help=text), kind, complete=shtab.FILE)
    commands.add_parser("completion", help=OTHERS["completion"]).add_argument("shell", choices=SHELLS)
    return str(shtab.complete(parser, shell=arguments[0]))
