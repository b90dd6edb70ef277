"""How settings are declared and checked.

A setting is a field of a dataclass, with all facts about it. From these declarations
come the checks, the command line and its help, and the files of runs. This file imports
no array library, so that `--help` is quick.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import field, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from mlp_xp.errors import MlpXpError, check_type, nearest

# Whole numbers below 2**31 fit an int32. The product of two, such as the number of
# steps of a run, fits an int64.
_MOST = 2**31 - 1
# With a factor of 1, a running mean would keep its first value forever. Even closer to
# 1, float32 has few numbers.
BELOW_ONE = 0.999999
# The values accepted for each kind of setting, and their name.
KINDS: dict[type, tuple[Any, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "a string"),
    tuple: (Iterable, "a list of whole numbers"),
}


AUTO: Any = "auto"
"""The value of a setting that follows from the data, by the rule in its help. Its type
is Any, because a job replaces it by a number.
"""


class ConfigError(MlpXpError):
    """A setting of the wrong type or out of its range."""


class Setting(NamedTuple):
    """A setting, which `setting` declares as a field of a dataclass."""

    name: str
    kind: type
    """int, float, bool, str, or tuple for several whole numbers."""
    or_else: tuple[type, ...]
    """Other types of values, for None or for objects that only Python has."""
    default: Any
    least: float = 0
    most: float = _MOST
    choices: tuple[str, ...] = ()
    compiled_in: bool = True
    """Whether it is a constant of a compiled training step, for
    `TrainConfig.compiled_settings`.
    """
    may_change: bool = False
    """Whether a run may be resumed with another value."""
    by_ratio: bool = False
    """Whether a sweep draws it log-uniformly, because its values act by their ratio."""
    is_path: bool = False
    is_share_or_count: bool = False
    """Whether a number below 1 is a share. Any other number is a count, and whole."""
    auto: bool = False
    """Whether it may be AUTO."""
    names_columns: bool = False
    """Whether a value may name several columns, as in a,b."""
    aliases: tuple[str, ...] = ()
    """Other names on the command line, as used by other programs."""
    group: str = ""
    """The heading above its option in the help."""


def setting(default: Any, **facts: Any) -> Any:
    """Declare a field of a dataclass by its default and other fields of `Setting`.

    The docstring below the field is its help. Write it for someone who reads `--help`
    for the first time.
    """
    return field(default=default, metadata={"facts": facts})


@cache
def declared(kind: type) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name.

    A field that is a dataclass itself contributes its own settings.
    """
    hints, found = get_type_hints(kind), dict[str, Setting]()
    for each in fields(kind):
        hint = hints[each.name]
        if "facts" not in each.metadata:
            found |= declared(hint)
            continue
        types = get_args(hint) or (hint,)
        if get_origin(hint) is tuple:
            types = (tuple,)
        plain = next(one for one in types if one in KINDS)
        or_else = tuple(one for one in types if one is not plain)
        found[each.name] = Setting(
            each.name, plain, or_else, each.default, **each.metadata["facts"]
        )
    return found


def check_settings(settings: Any) -> None:
    """Check the settings of a dataclass, and make them plain Python values.

    Settings of dataclasses within it are left out, because these check their own.

    Raises:
        ConfigError: A value cannot be a value of its setting.
    """
    known = declared(settings.__class__)
    hints = get_type_hints(settings.__class__)
    for name, value in vars(settings).items():
        if name in known:
            value = checked(known[name], value)
            object.__setattr__(settings, name, value)  # The dataclass is frozen.
        else:
            kind = hints[name]
            remedy = f"give a {kind.__name__}"
            check_type(value, kind, name, remedy, ConfigError)


def checked(setting: Setting, value: Any) -> Any:
    """Return a value as a plain Python value of the setting.

    NumPy's numbers are accepted, whole numbers for a float, and any sequence of whole
    numbers for a tuple.

    Raises:
        ConfigError: The value cannot be a value of the setting.
    """
    if isinstance(value, setting.or_else):
        return value
    if setting.auto and isinstance(value, str) and value == AUTO:
        return value
    if getattr(value, "shape", None) == ():  # A scalar of NumPy, such as np.bool_.
        value = value.item()
    if setting.is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    accepted, wanted = KINDS[setting.kind]
    fits = isinstance(value, accepted)
    # A bool is a whole number too, and a string is a sequence.
    if isinstance(value, bool | str) and setting.kind not in (bool, str):
        fits = False
    if fits:
        with suppress(OverflowError):  # a number too large for a float
            if setting.kind is tuple:
                unit = setting._replace(kind=int)
                return tuple(checked(unit, each) for each in value)
            return _in_range(setting, setting.kind(value))
    raise ConfigError(f"{value!r:.80} is not {wanted}", setting=setting.name)


def parse(setting: Setting, word: str) -> Any:
    """Return the value of a setting from a word, as on the command line.

    Raises:
        ConfigError: The word is not a value of the setting.
    """
    readers: dict[type, Callable[[str], Any]] = {
        bool: {"true": True, "false": False}.__getitem__,
        tuple: lambda word: tuple(map(int, word.split(","))),
    }
    value: Any = word
    with suppress(ValueError, KeyError):
        value = readers.get(setting.kind, setting.kind)(word)
    return checked(setting, value)


def _in_range(setting: Setting, value: Any) -> Any:
    """Return a plain value of the setting's kind, as a whole number if it is a count.

    Raises:
        ConfigError: The value is not allowed.
    """
    name = setting.name
    if value == "":
        raise ConfigError(
            "is an empty string", remedy="give a name or leave it out", setting=name
        )
    if setting.choices:
        check_choice(name, value, setting.choices)
    if setting.kind is not str:
        check_range(name, value, setting.least, setting.most)
    is_count = setting.is_share_or_count and not 0 < value < 1
    if not is_count:
        return value
    if value != int(value):
        raise out_of_range(name, value, "a whole number, or a share below 1")
    return int(value)


def check_range(name: str, value: float, least: float = 1, most: float = _MOST) -> None:
    """Check that a number is from `least` to `most`. Raises ConfigError."""
    if value > most:
        raise out_of_range(name, value, f"at most {most}")
    # Not `value < least`, because NaN must not pass.
    if not value >= least:
        # Small limits such as 1e-30 only keep digits. Whoever meets one has given 0 or
        # less.
        wanted = "above 0" if 0 < least < 1 else f"at least {least}"
        raise out_of_range(name, value, wanted)


def out_of_range(name: str, value: Any, wanted: str) -> ConfigError:
    """Return the error for a value that is not as wanted, such as "at least 1"."""
    fault = f"{value!r:.80} is out of range; it must be {wanted}"
    return ConfigError(fault, setting=name)


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Check that a value is one of the choices.

    Raises:
        ConfigError: It is not. The error has the closest choice.
    """
    if value not in choices:
        suggestion = nearest(value, choices) if isinstance(value, str) else ""
        fault = f"{value!r:.80} is not known{suggestion}"
        remedy = f"choose one of {', '.join(choices)}"
        raise ConfigError(fault, remedy=remedy, setting=name)
