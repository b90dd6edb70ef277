"""The settings of a training run: one dataclass, from which the command line, its help and its checks are made."""

import math
from dataclasses import dataclass
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
    """What is trained and how. The defaults are the notebook's.

    Raises ConfigError for a value out of its range.
    """

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
    """Of the learning rate: constant, or cosine (down to 0 at the last step)."""
    weight_decay: float = 0.0
    """Factor of the parameters that is added to their gradients."""

    def __post_init__(self) -> None:
        """Check every field, so that no invalid configuration exists."""
        for name in ("epochs", "batch_size", "report_every"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for units in self.hidden:
            _check("hidden", units, units >= 1, "at least 1 unit a layer")
        _check("warm_up_steps", self.warm_up_steps, self.warm_up_steps >= 0, "0 or more")
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
        """Raise ConfigError unless a training set of so many samples fills a batch and has the warm-up's sample 1."""
        _check("batch_size", self.batch_size, self.batch_size <= samples, f"at most the {samples} training samples")
        needed = 2 if self.warm_up_steps else 1
        if samples < needed:
            raise ConfigError(
                f"warm_up_steps: the warm-up needs sample 1, and the training set has {samples}; set it to 0"
            )


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
