"""The settings of a training run, `TrainConfig`; above it, how a setting is declared and checked: skip that at first.

What is known about a setting stands with its field. The checks, the command line and its help, the files of a run and
its resume are all made from these declarations. This file imports no array library, so that `--help` is quick.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from mlp_xp.core.functional import ACTIVATIONS, Activation
from mlp_xp.errors import Argument, MlpXpError, Words, nearest

# Whole numbers below 2**31 fit an int32, and the product of two of them, such as the steps of a run, an int64.
MOST = 2**31 - 1
# At a factor of 1 a running mean would keep its first value forever; closer to 1, float32 holds few factors.
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
    most: float = MOST
    choices: tuple[str, ...] = ()
    in_steps: bool = True
    """Whether a training step depends on it."""
    may_change: bool = False
    """Whether a run may be resumed with another value."""
    by_ratio: bool = False
    """Whether a sweep draws it log-uniformly, because values act by their ratio."""
    is_path: bool = False
    names_columns: bool = False
    """Whether a value may name several columns, as in a,b."""
    aliases: tuple[str, ...] = ()
    """Other names on the command line, which other programs use."""


def setting(default: Any, **facts: Any) -> Any:
    """Declare a field of a dataclass by its default and other fields of `Setting`.

    The docstring below the field is its help: it is written for someone who reads `--help` for the first time.
    """
    return field(default=default, metadata={"facts": facts})


@cache
def declared(kind: type) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name, with those of the dataclasses that it contains."""
    hints, found = get_type_hints(kind), dict[str, Setting]()
    for each in fields(kind):
        hint = hints[each.name]
        if "facts" not in each.metadata:
            found |= declared(hint)
            continue
        types = (tuple,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
        (plain,) = (one for one in types if one not in (NoneType, Activation))
        or_else = tuple(one for one in types if one is not plain)
        found[each.name] = Setting(each.name, plain, or_else, each.default, **each.metadata["facts"])
    return found


def check_settings(settings: Any) -> None:
    """Check the settings that a dataclass declares itself, and make them plain Python values. Raises ConfigError."""
    known = declared(settings.__class__)
    for name in vars(settings).keys() & known.keys():
        object.__setattr__(settings, name, checked(known[name], getattr(settings, name)))


def checked(setting: Setting, value: Any) -> Any:
    """Return a value as a plain Python value of the setting. Raises ConfigError if it cannot be one."""
    if isinstance(value, setting.or_else):
        return value
    if setting.is_path and isinstance(value, os.PathLike):
        value = os.fspath(value)
    value = as_kind(setting.name, value, setting.kind)
    if value == "":
        raise ConfigError("is an empty string", remedy="give a name or leave it out", setting=setting.name)
    if setting.choices:
        check_choice(setting.name, value, setting.choices)
    if setting.kind in (int, float, tuple):
        check_range(setting.name, value, setting.least, setting.most)
    return value


def as_kind(name: str, value: Any, kind: type) -> Any:
    """Return a value as a plain Python `kind`: int, float, bool, str, or a tuple of int. Raises ConfigError.

    NumPy's numbers are accepted, whole numbers where a float is wanted, and any sequence of whole numbers.
    """
    accepted, wanted = KINDS[kind]
    # A bool is a whole number too, and a string a sequence.
    if isinstance(value, accepted) and (kind in (bool, str) or not isinstance(value, bool | str)):
        with suppress(OverflowError, TypeError):  # too large for a float; an array without axes
            return tuple(as_kind(name, unit, int) for unit in value) if kind is tuple else kind(value)
    raise ConfigError(f"{value!r:.80} is not {wanted}", setting=name)


def check_range(name: str, value: float | tuple[int, ...], least: float = 1, most: float = MOST) -> None:
    """Raise ConfigError unless a number, or each of several, is from `least` to `most`."""
    for number in value if isinstance(value, tuple) else (value,):
        if not least <= number <= most:
            # A lower limit such as 1e-30 keeps digits; whoever meets it has given 0 or less.
            wanted = f"at most {most}" if number > most else "above 0" if 0 < least < 1 else f"at least {least}"
            raise _out_of_range(name, number, wanted)


def _out_of_range(name: str, value: Any, wanted: str) -> ConfigError:
    return ConfigError(f"{value!r:.80} is out of range; it must be {wanted}", setting=name)


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise ConfigError, with the closest known name, unless the value is one of the choices."""
    if value not in choices:
        fault = f"{value!r} is not known{nearest(value, choices)}"
        raise ConfigError(fault, remedy=f"choose one of {', '.join(choices)}", setting=name)


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how. The defaults are the notebook's.

    Raises ConfigError for a value of the wrong type or out of range, so that no invalid configuration exists.
    `declared(TrainConfig)` holds the ranges and choices. An activation may also be an `Activation`, a pair of functions
    of your own, which a run folder cannot store.
    """

    epochs: int = setting(5, least=1, in_steps=False, aliases=("-e",))
    """Passes over the training set."""
    batch_size: int = setting(1, least=1, by_ratio=True, aliases=("-b", "--bs"))
    """Samples per training step; the gradient is their mean. The last batch of an epoch may be smaller."""
    # A smaller rate, divided by the batch size, would lose its digits in float32, or be 0; a larger one would make
    # Adam's coefficients infinite in float64. What is too large for float32 alone diverges, which is reported.
    learning_rate: float = setting(0.01, least=1e-30, most=1e300, in_steps=False, by_ratio=True, aliases=("--lr",))
    """How far an update follows the gradient."""
    hidden: tuple[int, ...] = setting((64,), least=1, by_ratio=True, aliases=("--layers", "--units"))
    """Units of each hidden layer, such as 512 256 for two layers."""
    seed: int = setting(0, most=2**32 - 1, in_steps=False)
    """Random seed, 0 to 2**32 - 1, for the initial weights, the order of the samples and dropout. They are the same on
    every backend, because NumPy draws them."""
    report_every: int = setting(10000, least=1, in_steps=False)
    """Samples between two reports. Each epoch begins with one."""
    warm_up_steps: int = setting(10, in_steps=False)
    """Steps on the second training sample alone, before the first epoch. The notebook takes ten, and its numbers depend
    on them."""
    update_order: str = setting("layerwise", choices=("layerwise", "simultaneous"))
    """layerwise: update a layer before the error passes down through it, as the notebook does. simultaneous: compute
    all gradients at the same weights, as textbooks do."""
    activation: str | Activation = setting("sigmoid", choices=tuple(ACTIVATIONS))
    """Activation of the hidden layers."""
    init: str = setting("notebook", choices=("notebook", "glorot", "he"), in_steps=False)
    """Standard deviation of the initial weights. notebook: 1. glorot and he: smaller for wider layers."""
    optimizer: str = setting("sgd", choices=("sgd", "momentum", "adam", "adamw"))
    """How gradients change the weights."""
    schedule: str = setting(
        "constant", choices=("constant", "cosine"), in_steps=False, aliases=("--lr-schedule", "--lr-scheduler")
    )
    """How the learning rate changes. cosine: it falls to 0 at the end of the training."""
    weight_decay: float = setting(0.0, most=1e30, by_ratio=True, aliases=("--wd",))
    """Pull the weights towards 0: add this multiple of them to their gradients. With adamw, subtract this multiple,
    times the learning rate, from the weights instead."""
    decay_bias: bool = setting(True)
    """Apply weight decay to biases too."""
    momentum: float = setting(0.9, most=BELOW_ONE)
    """For the optimizer momentum: the share of the velocity that a step keeps."""
    nesterov: bool = setting(False)
    """For the optimizer momentum: use Nesterov's variant."""
    beta_1: float = setting(0.9, most=BELOW_ONE)
    """For adam and adamw: the share of the mean gradient that a step keeps."""
    beta_2: float = setting(0.999, most=BELOW_ONE)
    """For adam and adamw: the share of the mean squared gradient that a step keeps."""
    epsilon: float = setting(1e-8, least=1e-30, most=1e30, in_steps=False)
    """For adam and adamw: a small number added to the denominator of an update."""
    dropout: float = setting(0.0, most=BELOW_ONE)
    """Probability with which a step ignores each hidden unit of each sample."""
    clip_norm: float = setting(0.0, most=1e30)
    """Scale the gradient of all parameters down to this norm if it is longer; 0: never. Needs --update-order
    simultaneous."""
    validation: int = setting(0, in_steps=False)
    """Hold out this many training samples. The network is evaluated on them after every epoch, and the most accurate
    one is kept; ties go to the lower loss. Your own data are drawn from at random, in proportion from each class; of a
    named data set, the last samples are held out."""
    patience: int = setting(0, in_steps=False)
    """Stop after this many epochs without a better network on the held-out samples; 0: never."""
    checkpoint_every: int = setting(0, in_steps=False)
    """Samples between two checkpoints, from which a run can be resumed; 0: only at the end of each epoch."""
    defer_updates: bool = setting(True)
    """Use a faster algorithm for plain gradient descent with few samples in a step. Its numbers are the same up to
    rounding."""

    def __post_init__(self) -> None:
        check_settings(self)
        remedy: Words
        for name, fits, fault, remedy in (
            ("patience", self.validation, f"{self.patience} needs held-out samples",
             ("hold some out with ", Argument("validation"))),
            ("nesterov", self.optimizer == "momentum", f"is not possible with {self.optimizer}",
             ("use ", Argument("optimizer", "momentum"))),
            ("clip_norm", self.update_order == "simultaneous", "needs all gradients before any update",
             ("use ", Argument("update_order", "simultaneous"))),
            ("dropout", self.hidden, "needs a hidden layer", "add one, or leave this at 0"),
        ):  # fmt: skip
            if getattr(self, name) and not fits:
                raise ConfigError(fault, remedy=remedy, setting=name)

    def of_steps(self) -> "TrainConfig":
        """Return the settings on which a step depends; all others have their defaults.

        So runs that differ only in the others, such as the seed and the learning rate, share compiled code.
        """
        others = {each.name: each.default for each in declared(TrainConfig).values() if not each.in_steps}
        return replace(self, **others)

    def check_fits(self, samples: int) -> None:
        """Raise ConfigError unless `samples` training samples are enough for validation, a batch and the warm-up."""
        left = samples - self.validation
        for name, fits, wanted in (
            ("validation", left > 0, f"below the {samples} training samples"),
            ("batch_size", self.batch_size <= left, f"at most the {left} training samples"),
            ("warm_up_steps", not self.warm_up_steps or left > 1, "0 for a single training sample"),
        ):
            if not fits:
                raise _out_of_range(name, getattr(self, name), wanted)
