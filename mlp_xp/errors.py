"""Errors and warnings that a user can cause, and parts of their messages.

An error keeps the fault, its place and the remedy apart. Python and the command line
name settings differently (`task="classes"` and `--task classes`), so the message is put
together only when it is shown.
"""

import difflib
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from mlp_xp.system import python

# Packages between a warning and the user's code: this one, contextlib, which runs the
# generators of its `with` statements, and scikit-learn, which calls the steps of a
# pipeline. Python 3.12 has `skip_file_prefixes` for it.
_INTERNAL = ("mlp_xp", "contextlib", "sklearn")


class Argument(NamedTuple):
    """A setting in a message, perhaps with the value to give it."""

    name: str
    value: Any = None


# A text, or the parts of a text with settings: `("give ", Argument("task", "classes"),
# " for classes")`.
Words = str | tuple[str | Argument, ...]


def _in_python(argument: Argument) -> str:
    """Name a setting as Python code does: `task="classes"`, or `learning_rate`."""
    name, value = argument
    if value is None:
        return name
    if isinstance(value, str) and '"' not in value:
        return f'{name}="{value}"'
    return f"{name}={value!r}"


def _joined(words: Words, name: Callable[[Argument], str]) -> str:
    """Return a text, with a name for each setting."""
    return "".join(name(word) if isinstance(word, Argument) else word for word in words)


class Fault(Exception):  # noqa: N818  (the base of warnings too)
    """The content of an error or a warning.

    Each attribute may be changed until the message is shown.

    Args:
        fault: What is wrong.
        remedy: What to do about it.
        setting: The Python name of the wrong argument, if a single argument is wrong.
        file: The file or folder with the fault.
        line: The line of a file, from 1.
        row: The row of a table, from 1, or of an array, from 0.
        column: The name or number of a column.

    Attributes:
        notes: Further sentences, such as what has been saved.
    """

    def __init__(
        self,
        fault: Words,
        *,
        remedy: Words = "",
        setting: str | None = None,
        file: object = None,
        line: int | None = None,
        row: int | None = None,
        column: str | int | None = None,
    ) -> None:
        super().__init__(fault)
        self.fault, self.remedy, self.setting = fault, remedy, setting
        self.file, self.line, self.row, self.column = file, line, row, column
        self.notes: list[Words] = []

    def worded(self, name: Callable[[Argument], str]) -> str:
        """Return the message as one line, with names for settings from a front end.

        A full message is `setting: 'file', line 3, column 'a': fault; remedy; notes`.
        """
        setting = name(Argument(self.setting)) if self.setting else ""
        place = []
        if self.file is not None:
            place.append(quoted(self.file))
        if self.line is not None:
            place.append(f"line {self.line}")
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            place.append(f"column {self.column!r}")
        texts = (_joined(each, name) for each in (self.fault, self.remedy, *self.notes))
        parts = (setting, ", ".join(place), "; ".join(filter(None, texts)))
        return ": ".join(filter(None, parts))

    def __str__(self) -> str:
        """Return the message, with settings named as in Python: `task="classes"`."""
        return self.worded(_in_python)


class MlpXpError(Fault):
    """An error in input or usage. It ends a command with one line and an exit code.

    Examples:
        >>> try:
        ...     load_dataset("minst")
        ... except MlpXpError as error:
        ...     print(error)
        dataset: 'minst': no such folder, file or data set (did you mean 'mnist'?); ...
    """

    exit_code = 2
    """The exit code."""
    kind = "error"
    """A command prints this word and a colon before the line."""


class MlpXpWarning(Fault, UserWarning):
    """A warning of something that runs, but probably not as intended.

    Commands print it as one line and continue.

    Examples:
        >>> import warnings
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", MlpXpWarning)
        ...     result = evaluate("runs/digits").result
    """


class DatasetError(MlpXpError):
    """Files or arrays that do not form a valid data set."""


def warn(warning: MlpXpWarning) -> None:
    """Give a warning at the line of the user's code that called this package."""
    frame, level = inspect.currentframe(), 1  # 1 stands for this function
    while frame is not None and _package_of(frame) in _INTERNAL:
        frame, level = frame.f_back, level + 1
    warnings.warn(warning, stacklevel=level)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


def quoted(path: object) -> str:
    """Return a path in quotes, for a message.

    Control characters are escaped, but a backslash stays a single backslash.
    """
    return repr(str(path)).replace("\\\\", "\\")


def escaped(text: str) -> str:
    """Return text with escapes for all characters that a terminal should not get.

    These are characters that control it, or that it cannot show.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def escaped_lines(text: str) -> str:
    """Return a text of several lines with its control characters as escapes."""
    return "\n".join(map(escaped, text.split("\n")))


def not_installed(requirement: str) -> str:
    """Return the end of a message about a missing library.

    It contains the command to install the library for the running Python.
    """
    return f"is not installed; install it with: {python()} -m pip install {requirement}"


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception in one line."""
    # The message of another library's exception may raise an exception of its own.
    try:
        message = str(error)
    except Exception:
        message = "its message cannot be read"
    return " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'numpy'?)"` for a mistyped word.

    The result is empty if no known word is close.
    """
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def check_type(
    value: Any,
    kind: Any,
    setting: str,
    remedy: str,
    error: type[MlpXpError] = MlpXpError,
) -> None:
    """Raise an error unless an argument is an instance of a class.

    Args:
        value: The argument.
        kind: The class, or a union of classes.
        setting: The name of the argument.
        remedy: The advice for the user.
        error: The class of the error.
    """
    if isinstance(value, kind):
        return
    given = kind_of(value)
    if isinstance(value, int | float | str | None):
        given = repr(value)
    raise error(f"is {given:.80}", remedy=remedy, setting=setting)


def kind_of(value: Any) -> str:
    """Return the class of a value with its article, such as `an object`."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def as_path(value: Any, setting: str, remedy: str = "give a path") -> Path:
    """Return an argument as a path. Raises MlpXpError if it cannot be a path."""
    check_type(value, str | os.PathLike, setting, remedy)
    return Path(value)


def some(names: Sequence[Any], most: int = 12) -> str:
    """Return the first few of several names or values, for a message."""
    return ", ".join(f"{name!r:.60}" for name in names[:most]) + more(names, most)


def more(names: Sequence[Any], most: int) -> str:
    """Return how many names a message leaves out, or an empty string."""
    left_out = len(names) - most
    return f" and {left_out} more" if left_out > 0 else ""


def with_colon(name: str) -> str:
    """Return a backend's name with a colon, which a name like `module:` has already."""
    return name if name.endswith(":") else f"{name}:"


def first_difference(facts: Iterable[tuple[str, Any, Any]]) -> str:
    """Describe the first fact that differs, as in `columns a, b, not c`.

    A fact is its name, its value here, and its value there. The result is empty if no
    fact differs.
    """
    for name, here, there in facts:
        if here != there:
            name = name.replace("_", " ")
            return f"{name} {_in_words(here):.80}, not {_in_words(there):.80}"
    return ""


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
