"""Print the completion script of a shell: `mlp-xp completion bash`."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script with which a shell completes commands, options and paths.

    Args:
        shell: bash, zsh or fish.
    """
    from mlp_xp.commands import COMMANDS, load
    from mlp_xp.commands.options import make_app

    print(make_app(COMMANDS, load, [*COMMANDS]).generate_completion(shell=shell))
