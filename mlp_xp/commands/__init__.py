"""The entry point of all commands: `mlp-xp`, `python -m mlp_xp` and the scripts.

Everything else is imported inside `run`, so that an interrupt or a missing library
during the imports is also reported in one line.
"""

import sys

from mlp_xp.commands.process import run

COMMANDS = {
    "train": "Train a network with hand-written backpropagation, on any array library.",
    "sweep": "Train a network for every combination of settings, several at once.",
    "evaluate": "Evaluate a run's network, or an ensemble of several, on the test set.",
    "predict": "Predict classes, labels or numbers from pictures, or from the rows of a table.",
    "export": "Write a run's network, or an ensemble of several, to an ONNX file, which other programs read.",
    "plot": "Draw the pictures of a run or a sweep, or the curves of several runs.",
    "page": "Write a web page to draw in, or to move sliders, with the network of a run.",
    "runs": "Compare runs in a table, or their settings over all seeds.",
    "parity": "Train on several array libraries, and compare each, step by step, with NumPy.",
    "completion": "Print a script with which a shell completes commands, options and paths.",
}
"""Each command, with its line in the help."""


def main(name: str | None = None) -> None:
    """Run a command with the arguments of this process, and exit.

    name: the command to run. Without it, the first command-line argument names the
        command.
    """
    run(lambda: call([*([name] if name else []), *sys.argv[1:]]))


def call(words: list[str]) -> int | None:
    """Run the command that the words name, and return its exit code."""
    from mlp_xp.commands import options

    if "--no-compile-cache" in words:
        from mlp_xp.backends.opening import compile_afresh

        compile_afresh()
    # see `process.run` for --debug
    words = [word for word in words if word not in ("--debug", "--no-compile-cache")]
    code: int | None = options.call(options.make_app(words[:1]), words)
    return code
