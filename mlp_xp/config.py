"""The settings of a training run: one dataclass, from which the command line, its help and its checks are made."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from mlp_xp.errors import MlpXpError, nearest
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.network import INITIALISERS
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES

UPDATE_ORDERS = ("layerwise", "simultaneous")


class ConfigError(MlpXpError):
    """A setting of the wrong type or out of its range."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how. The defaults are the notebook's.

    Raises ConfigError for a value of the wrong type or out of range, so that no invalid configuration exists.
    """

    epochs: int = 5
    """Passes over the training set."""
    batch_size: int = 1
    """Samples per step; the gradient is their mean. The last batch of an epoch may be smaller."""
    learning_rate: float = 0.01
    """Factor of the gradient in an update."""
    hidden: tuple[int, ...] = (64,)
    """Units of each hidden layer."""
    seed: int = 0
    """Seed of NumPy's RandomState, which draws the initial weights and the shuffles on every backend."""
    report_every: int = 10000
    """Samples between two reports. The first sample of an epoch has one."""
    warm_up_steps: int = 10
    """Steps on the training image with index 1 alone, before the first epoch. The notebook takes ten, and its numbers
    depend on them."""
    update_order: str = "layerwise"
    """layerwise (the notebook): update a layer before the error passes down through it. simultaneous (textbooks): all
    gradients at the same weights."""
    activation: str = "sigmoid"
    """Activation of the hidden layers: sigmoid, tanh or relu."""
    init: str = "notebook"
    """Standard deviation of the initial weights: notebook (1), glorot or he."""
    optimizer: str = "sgd"
    """sgd, momentum or adam."""
    schedule: str = "constant"
    """Learning-rate schedule: constant, or cosine, which falls to 0 at the end of training."""
    weight_decay: float = 0.0
    """Factor of the parameters that is added to their gradients."""
    validation: int = 0
    """Samples at the end of the training set to hold out. The network is evaluated on them after every epoch, and the
    best one is kept."""
    patience: int = 0
    """Stop after this many epochs without a better network on the held-out samples; 0: never."""
    checkpoint_every: int = 0
    """Samples between two checkpoints of a run; 0: only at the end of every epoch."""
    defer_updates: bool = True
    """Use the faster algorithm of `deferred` for single-sample steps of plain gradient descent. The numbers are the
    same up to rounding."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = check_type(field.name, getattr(self, field.name), type(field.default))
            object.__setattr__(self, field.name, value)
        for name in ("epochs", "batch_size", "report_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for units in self.hidden:
            _check("hidden", units, units >= 1, "at least 1 unit per layer")
        for name in ("warm_up_steps", "validation", "patience", "checkpoint_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        _check("patience", self.patience, not self.patience or self.validation > 0, "0 unless samples are held out")
        _check("seed", self.seed, 0 <= self.seed < 2**32, "from 0 to 4294967295")
        rate, decay = self.learning_rate, self.weight_decay
        _check("learning_rate", rate, math.isfinite(rate) and rate > 0, "a number above 0")
        _check("weight_decay", decay, math.isfinite(decay) and decay >= 0, "0 or more")
        check_choice("update_order", self.update_order, UPDATE_ORDERS)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("init", self.init, INITIALISERS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)

    def check_fits(self, samples: int) -> None:
        """Raise ConfigError unless `samples` training samples are enough for validation, a batch and the warm-up."""
        _check("validation", self.validation, self.validation < samples, f"below the {samples} training samples")
        left = samples - self.validation
        _check("batch_size", self.batch_size, self.batch_size <= left, f"at most the {left} training samples")
        _check(
            "warm_up_steps", self.warm_up_steps, not self.warm_up_steps or left > 1, "0 for a single training sample"
        )


def check_type(name: str, value: Any, kind: type) -> Any:
    """Return a value as a plain Python `kind`: int, float, bool, str, or a tuple of int (from a tuple or a list).

    NumPy's numbers are accepted, and whole numbers where a float is wanted. Raises ConfigError.
    """
    try:
        if kind is tuple and not isinstance(value, str):
            return tuple(check_type(name, unit, int) for unit in value)
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        if kind is float and isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
        if kind is str and isinstance(value, str):
            return value
    except (TypeError, OverflowError):  # not iterable, or too large for a float
        pass
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
    raise ConfigError(f"{value!r:.80} is not {wanted.get(kind, 'a list of whole numbers')}", setting=name)


def _check(name: str, value: Any, valid: bool, wanted: str) -> None:
    if not valid:
        raise ConfigError(f"{value} is out of range; it must be {wanted}", setting=name)


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise ConfigError, with the closest known name, unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"{value!r} is not known{nearest(value, choices)}; choose one of {', '.join(choices)}", setting=name
        )
