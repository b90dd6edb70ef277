"""The entry point of all commands: `mlp-xp`, `python -m mlp_xp` and the scripts.

Everything else is imported inside `call`, so that an interrupt or a missing library
during the imports is also reported in one line.
"""

import sys

from mlp_xp.commands.names import COMMANDS as COMMANDS
from mlp_xp.commands.process import run_command


def main(name: str | None = None) -> None:
    """Run a command with the arguments of this process, and exit.

    Without a name, the first command-line argument names the command.
    """
    words = sys.argv[1:]
    if name:
        words.insert(0, name)
    run_command(lambda: call(words))


def call(words: list[str]) -> int | None:
    """Run the command that the words name, and return its exit code."""
    from mlp_xp.commands import options

    if "--no-compile-cache" in words:
        from mlp_xp.backends.opening import compile_afresh

        compile_afresh()
    # see `process.run_command` for --debug
    words = [word for word in words if word not in ("--debug", "--no-compile-cache")]
    code: int | None = options.call(options.make_app(words[:1]), words)
    return code
