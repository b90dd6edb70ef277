"""The settings of a training run: one dataclass, from which the command line, its help and its checks are made."""

from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, NamedTuple

from mlp_xp.core.functional import ACTIVATIONS, Activation
from mlp_xp.core.network import INITIALISERS
from mlp_xp.core.optimizers import OPTIMIZERS, SCHEDULES, Hyperparameters
from mlp_xp.errors import MlpXpError, nearest

UPDATE_ORDERS = ("layerwise", "simultaneous")
# Settings that the compiled step does not read: they decide about its arguments, or about what is done between steps.
OUTSIDE_STEPS = (
    *("epochs", "learning_rate", "seed", "report_every", "warm_up_steps", "init", "schedule", "validation"),
    *("patience", "checkpoint_every", "epsilon"),
)


class ConfigError(MlpXpError):
    """A setting of the wrong type or out of its range."""


class Range(NamedTuple):
    """The numbers that a setting may have."""

    least: float
    most: float


# Whole numbers below 2**31 fit an int32, and the product of two of them, such as the steps of a run, an int64.
MOST = 2**31 - 1
# At a factor of 1 a running mean would keep its first value forever; closer to 1, float32 holds few factors.
BELOW_ONE = 0.999999
RANGES = {
    "epochs": Range(1, MOST),
    "batch_size": Range(1, MOST),
    # A smaller rate, divided by the batch size, would lose its digits in float32, or be 0; a larger one would make
    # Adam's coefficients infinite in float64. What is too large for float32 alone diverges, which is reported.
    "learning_rate": Range(1e-30, 1e300),
    "hidden": Range(1, MOST),
    "seed": Range(0, 2**32 - 1),
    "report_every": Range(1, MOST),
    "warm_up_steps": Range(0, MOST),
    # float32 can hold it.
    "weight_decay": Range(0, 1e30),
    "momentum": Range(0, BELOW_ONE),
    "beta_1": Range(0, BELOW_ONE),
    "beta_2": Range(0, BELOW_ONE),
    "epsilon": Range(1e-30, 1e30),
    "dropout": Range(0, BELOW_ONE),
    "clip_norm": Range(0, 1e30),
    "validation": Range(0, MOST),
    "patience": Range(0, MOST),
    "checkpoint_every": Range(0, MOST),
    # Options of the commands alone.
    "steps": Range(1, MOST),
    "rounds": Range(1, MOST),
    "threads": Range(1, 1024),
    "test_samples": Range(1, MOST),
}


@dataclass(frozen=True)
class TrainConfig:
    """What is trained and how. The defaults are the notebook's.

    Raises ConfigError for a value of the wrong type or out of range, so that no invalid configuration exists. Whole
    numbers are at most 2**31 - 1; the other ranges are in `RANGES`.
    """

    epochs: int = 5
    """Passes over the training set."""
    batch_size: int = 1
    """Samples per step; the gradient is their mean. The last batch of an epoch may be smaller."""
    learning_rate: float = 0.01
    """Factor of the gradient in an update, from 1e-30 to 1e300."""
    hidden: tuple[int, ...] = (64,)
    """Units of each hidden layer."""
    seed: int = 0
    """Random seed, 0 to 2**32 - 1. On every backend, NumPy draws the initial weights, the shuffles and the masks of
    dropout from it."""
    report_every: int = 10000
    """Samples between two reports. The first sample of an epoch has one."""
    warm_up_steps: int = 10
    """Steps on the training image with index 1 alone, before the first epoch. The notebook takes ten, and its numbers
    depend on them."""
    update_order: str = "layerwise"
    """layerwise (the notebook): update a layer before the error passes down through it. simultaneous (textbooks): all
    gradients at the same weights."""
    activation: str | Activation = "sigmoid"
    """Activation of the hidden layers: sigmoid, tanh, relu, gelu or identity. In Python also an Activation, a pair of
    functions of your own, which a run folder cannot store."""
    init: str = "notebook"
    """Standard deviation of the initial weights: notebook (1), glorot or he."""
    optimizer: str = "sgd"
    """sgd, momentum, adam or adamw."""
    schedule: str = "constant"
    """Learning-rate schedule: constant, or cosine, which falls to 0 at the end of training."""
    weight_decay: float = 0.0
    """Factor of the parameters that is added to their gradients, from 0 to 1e30; adamw subtracts the parameters times
    this and the learning rate instead."""
    decay_bias: bool = True
    """Whether weight decay applies to biases too."""
    momentum: float = 0.9
    """For the optimizer momentum: share of the velocity that a step keeps, from 0 to 0.999999."""
    nesterov: bool = False
    """Use Nesterov's momentum, with the optimizer momentum."""
    beta_1: float = 0.9
    """For adam and adamw: share of the mean gradient that a step keeps, from 0 to 0.999999."""
    beta_2: float = 0.999
    """For adam and adamw: share of the mean squared gradient that a step keeps, from 0 to 0.999999."""
    epsilon: float = 1e-8
    """For adam and adamw: added to the root of the mean squared gradient, from 1e-30 to 1e30."""
    dropout: float = 0.0
    """Probability with which a step ignores each hidden unit of each sample, from 0 to 0.999999."""
    clip_norm: float = 0.0
    """Largest norm of the gradient of all parameters together, from 0 to 1e30; a longer gradient is scaled down to it.
    0: no limit. Needs the simultaneous update order."""
    validation: int = 0
    """Samples at the end of the training set to hold out. The network is evaluated on them after every epoch, which
    adds a report there, and the most accurate one is kept; ties go to the lower loss."""
    patience: int = 0
    """Stop after this many epochs without a better network on the held-out samples; 0: never."""
    checkpoint_every: int = 0
    """Samples between two checkpoints of a run; 0: only at the end of every epoch."""
    defer_updates: bool = True
    """Use the faster algorithm of `deferred` for plain gradient descent on a few samples a step. The numbers are the
    same up to rounding."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if isinstance(getattr(self, field.name), Activation) and field.name == "activation":
                continue
            value = check_type(field.name, getattr(self, field.name), type(field.default))
            object.__setattr__(self, field.name, value)
        for name in vars(self):
            if name in RANGES:
                check_range(name, getattr(self, name))
        is_possible = not self.patience or self.validation > 0
        _check("patience", self.patience, is_possible, "0 unless samples are held out with validation")
        if self.nesterov and self.optimizer != "momentum":
            raise ConfigError(f"needs the optimizer momentum, not {self.optimizer}", setting="nesterov")
        if self.clip_norm and self.update_order != "simultaneous":
            raise ConfigError(
                "needs all gradients before any update; choose the update order simultaneous", setting="clip_norm"
            )
        if self.dropout and not self.hidden:
            raise ConfigError("needs a hidden layer, whose units it leaves out; leave it at 0", setting="dropout")
        check_choice("update_order", self.update_order, UPDATE_ORDERS)
        check_activation(self.activation)
        check_choice("init", self.init, INITIALISERS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)

    def of_steps(self) -> "TrainConfig":
        """Return the settings on which a step depends; all others have their defaults.

        So runs that differ only in the others, such as the seed and the learning rate, share compiled code.
        """
        defaults: dict[str, Any] = {each.name: each.default for each in fields(self) if each.name in OUTSIDE_STEPS}
        return replace(self, **defaults)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The settings of the optimiser."""
        return Hyperparameters(*(getattr(self, name) for name in Hyperparameters._fields))

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


def check_range(name: str, value: float | tuple[int, ...]) -> None:
    """Raise ConfigError unless a number, or each of several, is in the range that `RANGES` has under the name."""
    least, most = RANGES[name]
    for number in value if isinstance(value, tuple) else (value,):
        wanted = f"at most {most}" if number > most else f"at least {least}"
        if number != number:
            raise ConfigError(f"nan is not a number; it must be {wanted}", setting=name)
        _check(name, number, least <= number <= most, wanted)


def _check(name: str, value: Any, valid: bool, wanted: str) -> None:
    if not valid:
        raise ConfigError(f"{value!r:.80} is out of range; it must be {wanted}", setting=name)


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise ConfigError, with the closest known name, unless the value is one of the choices."""
    if value not in choices:
        raise ConfigError(
            f"{value!r} is not known{nearest(value, choices)}; choose one of {', '.join(choices)}", setting=name
        )


def check_activation(activation: str | Activation) -> None:
    """Raise ConfigError for an unknown name of an activation."""
    if not isinstance(activation, Activation):
        check_choice("activation", activation, ACTIVATIONS)
