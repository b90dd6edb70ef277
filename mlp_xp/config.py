"""The settings of a training run: one dataclass, from which the command line, its help and its checks are made."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from mlp_xp.backend import nearest
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import ACTIVATIONS
from mlp_xp.network import INITIALISERS
from mlp_xp.optimizers import OPTIMIZERS, SCHEDULES

UPDATE_ORDERS = ("layerwise", "simultaneous")


class ConfigError(MlpXpError):
    """A setting that is out of its range."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how. The defaults are the notebook's."""

    epochs: int = 5
    """Passes over the training set."""
    batch_size: int = 1
    """Samples a step; the gradient is their mean. An epoch's last batch may be smaller."""
    learning_rate: float = 0.01
    """How far a step goes."""
    hidden: tuple[int, ...] = (64,)
    """Units of each hidden layer."""
    seed: int = 0
    """Of the initial weights and the shuffles: NumPy's RandomState, on every backend."""
    report_every: int = 10000
    """Samples between two reports; the first sample of an epoch has one."""
    warm_up_steps: int = 10
    """Steps on sample 1 alone before the first epoch. The notebook takes ten, and its numbers depend on them."""
    update_order: str = "layerwise"
    """layerwise, as the notebook: a layer is updated before the error passes down through it. simultaneous, as in
    textbooks: every gradient is taken at the same weights."""
    activation: str = "sigmoid"
    """Of the hidden layers: sigmoid, tanh or relu."""
    init: str = "notebook"
    """Standard deviation of the initial weights: notebook (1), glorot or he."""
    optimizer: str = "sgd"
    """sgd, momentum or adam."""
    schedule: str = "constant"
    """Of the learning rate: constant, or cosine (down towards 0, which the step after the last would have)."""
    weight_decay: float = 0.0
    """Factor of the parameters that is added to their gradients."""
    validation: int = 0
    """Samples at the end of the training set that are held out: after every epoch the network is tried on them, and the
    best one is kept."""
    patience: int = 0
    """Epochs without a better network on the held-out samples after which training stops; 0: never."""
    checkpoint_every: int = 0
    """Samples between two checkpoints of a run; 0: only at the end of every epoch."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value of another type or out of its range: no invalid configuration exists."""
        for field in fields(self):
            value = _typed(field.name, getattr(self, field.name), type(field.default))
            object.__setattr__(self, field.name, value)
        for name in ("epochs", "batch_size", "report_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for units in self.hidden:
            _check("hidden", units, units >= 1, "at least 1 unit a layer")
        for name in ("warm_up_steps", "validation", "patience", "checkpoint_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        _check("patience", self.patience, not self.patience or self.validation > 0, "0 without --validation")
        _check("seed", self.seed, 0 <= self.seed < 2**32, "from 0 to 4294967295")
        _check(
            "learning_rate",
            self.learning_rate,
            math.isfinite(self.learning_rate) and self.learning_rate > 0,
            "a number above 0",
        )
        _check(
            "weight_decay",
            self.weight_decay,
            math.isfinite(self.weight_decay) and self.weight_decay >= 0,
            "0 or more",
        )
        check_choice("update_order", self.update_order, UPDATE_ORDERS)
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("init", self.init, INITIALISERS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)

    def check_fits(self, samples: int) -> None:
        """Raise ConfigError unless so many training samples, less those held out, fill a batch and a warm-up."""
        _check("validation", self.validation, self.validation < samples, f"below the {samples} training samples")
        left = samples - self.validation
        _check("batch_size", self.batch_size, self.batch_size <= left, f"at most the {left} training samples")
        _check(
            "warm_up_steps", self.warm_up_steps, not self.warm_up_steps or left > 1, "0 for a single training sample"
        )


def _typed(name: str, value: Any, kind: type) -> Any:
    """The value as a number, text or tuple of Python's own; a list will do, but a configuration must be hashable."""
    try:
        if kind is tuple and not isinstance(value, str):
            return tuple(_typed(name, unit, int) for unit in value)
        if kind is int and isinstance(value, Integral) and not isinstance(value, bool):
            return int(value)
        if kind is float and isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
        if kind is str and isinstance(value, str):
            return value
    except (TypeError, OverflowError):
        pass
    wanted = {int: "a whole number", float: "a number", str: "a name", tuple: "a list of whole numbers"}[kind]
    raise ConfigError(f"--{name.replace('_', '-')}: {value!r:.80} is not {wanted}")


def _check(name: str, value: Any, valid: bool, wanted: str) -> None:
    if not valid:
        raise ConfigError(f"--{name.replace('_', '-')}: {value} is out of range; it must be {wanted}")


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise ConfigError, with the nearest known name, unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"--{name.replace('_', '-')}: {value!r} is not known{nearest(value, choices)}; "
            f"choose one of {', '.join(choices)}"
        )
