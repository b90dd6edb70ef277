"""The one root of every error that a user can cause; scripts print its message as one line and exit with its code."""


class MlpXpError(Exception):
    """A fault in input or usage, told in one line: what is wrong, where, and what to do."""

    exit_code = 2
