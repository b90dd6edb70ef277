"""The one root of every error that a user can cause; scripts print its message as one line and exit with its code."""

import sys


class MlpXpError(Exception):
    """A fault in input or usage, told in one line: what is wrong, where, and what to do."""

    exit_code = 2


class MlpXpWarning(UserWarning):
    """Something that runs, but probably not as intended; commands print its message as one line and go on."""


def not_installed(requirement: str) -> str:
    """What to do about a library that is not there, for the end of a message: the command for this very Python."""
    return f"is not installed; install it with: {sys.executable} -m pip install {requirement}"
