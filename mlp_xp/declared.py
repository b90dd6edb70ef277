"""How a setting is declared and checked.

What is known about a setting stands with its field. The checks, the command line and
its help, the files of a run and its resume are all made from these declarations. This
file imports no array library, so that `--help` is quick.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import field, fields
from functools import cache
from numbers import Integral, Real
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from mlp_xp.errors import MlpXpError, nearest

# Whole numbers below 2**31 fit an int32, and the product of two of them, such as the
# steps of a run, an int64.
_MOST = 2**31 - 1
# At a factor of 1 a running mean would keep its first value forever; closer to 1,
# float32 holds few factors.
BELOW_ONE = 0.999999
# What is accepted for each kind of setting, and its name.
KINDS: dict[type, tuple[Any, str]] = {
    int: (Integral, "a whole number"), float: (Real, "a number"), bool: (bool, "true or false"), str: (str, "a string"),
    tuple: (Iterable, "a list of whole numbers"),
}  # fmt: skip


class ConfigError(MlpXpError):
    """A setting of the wrong type or out of its range."""


class Setting(NamedTuple):
    """A setting, declared as a field of a dataclass by `setting`."""

    name: str
    kind: type
    """int, float, bool, str, or tuple for several whole numbers."""
    or_else: tuple[type, ...]
    """What it may be instead: None, or an object that only Python has."""
    default: Any
    least: float = 0
    most: float = _MOST
    choices: tuple[str, ...] = ()
    compiled_in: bool = True
    """Whether it is a constant of a compiled training step: see
    `TrainConfig.compiled_settings`.
    """
    may_change: bool = False
    """Whether a run may be resumed with another value."""
    by_ratio: bool = False
    """Whether a sweep draws it log-uniformly, because values act by their ratio."""
    is_path: bool = False
    is_share_or_count: bool = False
    """Whether a number below 1 is a share, and any other one a count, which must be
    whole.
    """
    names_columns: bool = False
    """Whether a value may name several columns, as in a,b."""
    aliases: tuple[str, ...] = ()
    """Other names on the command line, which other programs use."""


def setting(default: Any, **facts: Any) -> Any:
    """Declare a field of a dataclass by its default and other fields of `Setting`.

    The docstring below the field is its help: it is written for someone who reads
        `--help` for the first time.
    """
    return field(default=default, metadata={"facts": facts})


@cache
def declared(kind: type) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name, with those of the
    dataclasses that it contains.
    """
    hints, found = get_type_hints(kind), dict[str, Setting]()
    for each in fields(kind):
        hint = hints[each.name]
        if "facts" not in each.metadata:
            found |= declared(hint)
            continue
        types = (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
        plain = next(one for one in types if one in KINDS)
        or_else = tuple(one for one in types if one is not plain)
        found[each.name] = Setting(
            each.name, plain, or_else, each.default, **each.metadata["facts"]
        )
    return found


def check_settings(settings: Any) -> None:
    """Check the settings that a dataclass declares itself, and make them plain Python
    values. Raises ConfigError.
    """
    known = declared(settings.__class__)
    for name in vars(settings).keys() & known.keys():
        object.__setattr__(
            settings, name, checked(known[name], getattr(settings, name))
        )


def checked(setting: Setting, value: Any) -> Any:
    """Return a value as a plain Python value of the setting. Raises ConfigError if it
    cannot be one.

    NumPy's numbers are accepted, whole numbers where a float is wanted, and any
    sequence of whole numbers.
    """
    if isinstance(value, setting.or_else):
        return value
    name, kind, (accepted, wanted) = setting.name, setting.kind, KINDS[setting.kind]
    if getattr(value, "shape", None) == ():  # a scalar of NumPy, such as np.bool_
        value = value.item()
    if setting.is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    # A bool is a whole number too, and a string a sequence.
    if isinstance(value, accepted) and (
        kind in (bool, str) or not isinstance(value, bool | str)
    ):
        # too large for a float; an array without axes
        with suppress(OverflowError, TypeError):
            if kind is tuple:
                return tuple(
                    checked(setting._replace(kind=int), unit) for unit in value
                )
            plain = kind(value)
            if plain == "":
                raise ConfigError(
                    "is an empty string",
                    remedy="give a name or leave it out",
                    setting=name,
                )
            if setting.choices:
                check_choice(name, plain, setting.choices)
            if kind is not str:
                check_range(name, plain, setting.least, setting.most)
            if setting.is_share_or_count and not 0 < plain < 1:
                if plain != int(plain):
                    raise out_of_range(
                        name, plain, "a whole number, or a share below 1"
                    )
                return int(plain)
            return plain
    raise ConfigError(f"{value!r:.80} is not {wanted}", setting=name)


def check_range(name: str, value: float, least: float = 1, most: float = _MOST) -> None:
    """Raise ConfigError unless a number is from `least` to `most`."""
    if not least <= value <= most:
        # A lower limit such as 1e-30 keeps digits; whoever meets it has given 0 or
        # less.
        wanted = (
            f"at most {most}"
            if value > most
            else "above 0"
            if 0 < least < 1
            else f"at least {least}"
        )
        raise out_of_range(name, value, wanted)


def out_of_range(name: str, value: Any, wanted: str) -> ConfigError:
    """Return the error for a value that is not as wanted, such as "at least 1"."""
    return ConfigError(
        f"{value!r:.80} is out of range; it must be {wanted}", setting=name
    )


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise ConfigError, with the closest known name, unless the value is one of the
    choices.
    """
    if value not in choices:
        fault = f"{value!r} is not known{nearest(value, choices)}"
        raise ConfigError(
            fault, remedy=f"choose one of {', '.join(choices)}", setting=name
        )
