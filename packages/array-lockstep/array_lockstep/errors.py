"""Errors of usage, and parts of messages."""

from typing import Any


class LockstepError(Exception):
    """An error in input or usage, told in one line."""


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception in one line."""
    # The message of another library's exception may raise an exception of its own.
    try:
        message = str(error)
    except Exception:
        message = "its message cannot be read"
    return " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")


def kind_of(value: Any) -> str:
    """Return the class of a value with its article, such as `an object`."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def check_type(value: Any, kind: Any, name: str, remedy: str) -> None:
    """Raise LockstepError unless the argument `name` is of a class."""
    if not isinstance(value, kind):
        raise LockstepError(f"{name}: is {kind_of(value)}; {remedy}")


def escaped(text: str) -> str:
    """Return text with escapes for all characters that a terminal should not get."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
