"""The base class of all errors that a user can cause, and how a front end words them.

An error holds what is wrong, where, and what to do about it, each for itself. Python
and the command line name settings differently (`task="classes"` and `--task classes`),
so the line is worded only when it is shown.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mlp_xp.system import python


class Argument(NamedTuple):
    """A setting that a message mentions, with the value to give it; None mentions the
    name alone.
    """

    name: str
    value: Any = None


# A text, or its parts where it mentions settings: `("give ", Argument("task",
# "classes"), " for classes")`.
Words = str | tuple[str | Argument, ...]


def _in_python(argument: Argument) -> str:
    """Name a setting as Python code does: `task="classes"`, or `learning_rate`."""
    name, value = argument
    return (
        name
        if value is None
        else f'{name}="{value}"'
        if isinstance(value, str)
        else f"{name}={value}"
    )


class Fault(Exception):  # noqa: N818  (the base of warnings too)
    """What an error or a warning says.

    fault: what is wrong. remedy: what to do about it. setting: the Python name of the
    wrong argument, if a single argument is wrong. file, line, row, column: where the
    fault is; a row of an array counts from 0, a row or line of a table from 1. notes:
    what else to say, such as what has been saved. Each may be changed until the line is
    shown.
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
        """Return the line: `setting: 'file', line 3, column 'a': what is wrong; what to
        do; notes`.

        name: how the front end names a setting.
        """

        def joined(words: Words) -> str:
            return "".join(
                name(word) if isinstance(word, Argument) else word for word in words
            )

        setting = name(Argument(self.setting)) if self.setting else ""
        file = "" if self.file is None else quoted(self.file)
        numbers = [
            f"{kind} {value}"
            for kind, value in (("line", self.line), ("row", self.row))
            if value is not None
        ]
        column = "" if self.column is None else f"column {self.column!r}"
        place = ", ".join(filter(None, (file, *numbers, column)))
        said = "; ".join(
            joined(words) for words in (self.fault, self.remedy, *self.notes) if words
        )
        return ": ".join(filter(None, (setting, place, said)))

    def __str__(self) -> str:
        """Return the line with settings named as in Python: `learning_rate: -1 is out
        of range`.
        """
        return self.worded(_in_python)


class MlpXpError(Fault):
    """An error in input or usage, which ends a command with one line and an exit code.

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
    """What a command prints before the line and a colon."""


class MlpXpWarning(Fault, UserWarning):
    """Something that runs, but probably not as intended.

    Commands print it as one line and continue.

    Examples:
        >>> import warnings
        >>> warnings.simplefilter("error", MlpXpWarning)
    """


class DatasetError(MlpXpError):
    """Files or arrays that do not form a valid data set."""


def quoted(path: object) -> str:
    """Return a path in quotes, as messages show it: control characters are escapes, but
    a backslash is itself.
    """
    return repr(str(path)).replace("\\\\", "\\")


def escaped(text: str) -> str:
    """Return text with the characters that control a terminal, and others that it
    cannot show, written as escapes.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def not_installed(requirement: str) -> str:
    """Return the end of a message about a missing library, with the install command for
    the running Python.
    """
    return f"is not installed; install it with: {python()} -m pip install {requirement}"


def one_line(error: BaseException) -> str:
    """Return the type and the message of an exception in one line; another library's
    may raise when it is read.
    """
    try:
        message = str(error)
    except Exception:
        message = "its message cannot be read"
    return " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'numpy'?)"` for the known word closest to a mistyped one,
    or an empty string.
    """
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f" (did you mean {names[close[0]]!r}?)" if close else ""


def some(names: Sequence[Any], most: int = 12) -> str:
    """Return the first of several names or values, for a message."""
    return ", ".join(f"{name!r:.60}" for name in names[:most]) + more(names, most)


def more(names: Sequence[Any], most: int) -> str:
    """Return how many names a message leaves out, or an empty string."""
    return f" and {len(names) - most} more" if len(names) > most else ""


def with_colon(name: str) -> str:
    """Return the start of a message about a backend: `module:` has its colon already."""
    return name if name.endswith(":") else f"{name}:"


def first_difference(facts: Iterable[tuple[str, Any, Any]]) -> str:
    """Describe the first fact that differs, as in `columns a, b, not c`. Empty if none
    does.

    Args:
        facts: Of each fact its name, its value here, and its value there.
    """
    for name, here, there in facts:
        if here != there:
            said, other = _in_words(here), _in_words(there)
            return f"{name.replace('_', ' ')} {said:.80}, not {other:.80}"
    return ""


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
