"""Print the completion script of a shell: `mlp-xp completion bash`."""

from typing import Literal

from mlp_xp.commands.options import make_app


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that completes commands, options and paths in a shell.

    Write the script to the file from which your shell reads completions.

        mlp-xp completion bash > ~/.local/share/bash-completion/completions/mlp-xp

    Args:
        shell: bash, zsh or fish.
    """
    print(make_app().generate_completion(shell=shell))
