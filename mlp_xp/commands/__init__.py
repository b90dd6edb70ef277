"""The commands: parse, call, show. `python -m mlp_xp`, `mlp-xp` and the scripts all come here."""

import importlib
import sys

from mlp_xp.commands.command_line import run

COMMANDS = {
    "train": "train the network",
    "evaluate": "evaluate a run on the test set",
    "predict": "classify your own pictures",
    "plot": "draw the pictures of a run, or the curves of several",
    "parity": "check that all backends give the same trajectory",
    "bench": "time a training step against other libraries",
    "bench-curves": "time and memory against batch size, width, data and chunk length",
    "gpu": "tests, parity check and benchmark on an NVIDIA card, written to docs/gpu.md",
}


def main() -> None:
    """Run the command that the first argument names, and exit."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        rows = "\n".join(f"  {command:13} {text}" for command, text in COMMANDS.items())
        print(f"usage: mlp-xp COMMAND [OPTIONS]\n\n{rows}")
        sys.exit(0 if name in ("-h", "--help") else 2)
    sys.argv = [f"{sys.argv[0]} {name}", *arguments]
    run(importlib.import_module(f"mlp_xp.commands.{name.replace('-', '_')}").main)
