"""The base class of all errors that a user can cause. Commands print the message as one line and exit with its code."""

import difflib
import re
import shlex
import sys
from collections.abc import Iterable


class MlpXpError(Exception):
    """An error in input or usage, reported in one line: what is wrong, where, and what to do.

    text: the line. setting: the Python name of the wrong argument, if a single argument is wrong. The message of the
    exception starts with this name, as in `learning_rate: -1 is out of range`. A front end that uses other names for
    the settings reads `setting` and `text` separately.
    """

    exit_code = 2
    kind = "error"
    """What a command prints before the line and a colon."""

    def __init__(self, text: str, *, setting: str | None = None) -> None:
        """Keep the text and the setting apart, so that each front end can name the setting in its own way."""
        super().__init__(text)
        self.text = text
        self.setting = setting

    def __str__(self) -> str:
        """Return the message with the Python name of the setting."""
        return f"{self.setting}: {self.text}" if self.setting else self.text

    def on_command_line(self) -> str:
        """Return the message with the setting named as an option: `--learning-rate: -1 is out of range`."""
        text = for_command_line(self.text)
        return f"--{self.setting.replace('_', '-')}: {text}" if self.setting else text


class MlpXpWarning(UserWarning):
    """Something that runs, but probably not as intended. Commands print the message as one line and continue."""


class DatasetError(MlpXpError):
    """Files or arrays that do not form a valid data set."""


class DatasetWarning(MlpXpWarning):
    """A data set that can be used for training, but is probably not what was intended."""


def for_command_line(text: str) -> str:
    """Return a message with arguments of Python as options: `task="classes"` as `--task classes`."""
    text = text.replace("test=None", "--test-fraction 0")
    return re.sub(r"""\b([a-z]+)=(["'])(.+?)\2""", lambda found: f"--{found[1]} {shlex.quote(found[3])}", text)


def printable(text: str) -> str:
    """Return text with the characters that control a terminal, and others that it cannot show, written as escapes."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def not_installed(requirement: str) -> str:
    """Return the end of a message about a missing library, with the install command for the running Python."""
    return f"is not installed; install it with: {sys.executable} -m pip install {requirement}"


def described(error: BaseException) -> str:
    """Return the type and the message of an exception in one line; another library's may raise when it is read."""
    try:
        message = str(error)
    except Exception:
        message = "its message cannot be read"
    return " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'numpy'?)"` for the known word closest to a mistyped one, or an empty string."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def with_colon(name: str) -> str:
    """Return the start of a message about a backend: `module:` has its colon already."""
    return name if name.endswith(":") else f"{name}:"


def without_comment(source: str) -> str:
    """Return a line of source without the comment at its end."""
    return source.partition("  # ")[0].strip()
