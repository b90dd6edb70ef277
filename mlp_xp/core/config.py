"""The settings of training.

The activations are in `functional.py`, the initialisers in `network.py`, and the
optimisers and schedules in `optimizers.py`.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from mlp_xp.core.functional import ACTIVATIONS, Activation
from mlp_xp.declared import (
    AUTO,
    BELOW_ONE,
    ConfigError,
    check_settings,
    declared,
    out_of_range,
    setting,
)
from mlp_xp.errors import Argument
from mlp_xp.printing import as_html, as_text

# The rules of the settings that may be "auto", chosen for tables: docs/own_data.md has
# their results.
_BATCH_SIZES = 16, 512  # the smallest and the largest
_MOST_EPOCHS = 200
# Accuracy gains little from more.
_ROWS_TO_SEE = 1_500_000
# More different rows need no dropout. Steps without dropout take two thirds as long,
# and the network then sees twice as many rows.
_MANY_ROWS = 60_000
_DROPOUT = 0.1
_REPORT_EVERY = 10_000


@dataclass(frozen=True)
class TrainConfig:
    """The settings of training. The defaults are the notebook's.

    `epochs`, `batch_size`, `report_every` and `dropout` may be "auto". They then follow
    from the number of rows to train on: see `resolve`.

    The activation may also be an `Activation`, a pair of functions of your own. A run
    folder cannot store it.

    Raises:
        ConfigError: A value has the wrong type or is out of range. No invalid
            configuration can exist.

    Examples:
        >>> TrainConfig(hidden=(256, 128), activation="relu").epochs
        5
        >>> TrainConfig(batch_size=0)
        Traceback (most recent call last):
        ...
        mlp_xp.declared.ConfigError: batch_size: 0 is out of range; it must be at least 1
    """

    # A field is declared by its default and the facts of `declared.Setting`. A number
    # is at least 0 unless `least` says otherwise. `compiled_in=False` marks settings
    # that are not compiled into the training step. They are inputs of the step, such as
    # the learning rate, or unknown to it, such as the number of epochs. `by_ratio` and
    # `aliases` matter only for sweeps and the command line.

    epochs: int = setting(
        5, least=1, auto=True, compiled_in=False, aliases=("-e",), group="Run"
    )
    """Passes over the training set. auto: 200, or fewer, so that a network sees about
    1 500 000 rows, or 3 000 000 if there are more than 60 000.
    """
    batch_size: int = setting(
        1, least=1, auto=True, by_ratio=True, aliases=("-b", "--bs"), group="Optimiser"
    )
    """Samples per training step. The gradient is their mean. The last batch of an epoch
    may be smaller. auto: the lowest power of two from 16 to 512 that is at least twice
    the square root of the number of rows, and at most all rows.
    """
    # A smaller rate, divided by the batch size, would lose digits in float32. A larger
    # rate would overflow with Adam.
    learning_rate: float = setting(
        0.01,
        least=1e-30,
        most=1e300,
        compiled_in=False,
        by_ratio=True,
        aliases=("--lr",),
        group="Optimiser",
    )
    """How far an update follows the gradient."""
    hidden: tuple[int, ...] = setting(
        (64,), least=1, by_ratio=True, aliases=("--layers", "--units"), group="Network"
    )
    """Units of each hidden layer, such as 512 256 for two layers. Without a number, the
    network has no hidden layer.
    """
    seed: int = setting(0, most=2**32 - 1, compiled_in=False, group="Run")
    """Random seed, 0 to 2**32 - 1, for the initial weights, the order of the samples,
    dropout and deformations. They are the same on every backend, because NumPy draws
    them.
    """
    report_every: int = setting(
        10000, least=1, auto=True, compiled_in=False, group="Run"
    )
    """Samples between two reports. Each epoch begins with one. auto: 10 000, or one
    epoch if it is longer.
    """
    warm_up_steps: int = setting(10, compiled_in=False, group="Optimiser")
    """Steps on the second training sample alone, before the first epoch. The notebook
    takes ten, and its numbers depend on them.
    """
    update_order: str = setting(
        "layerwise", choices=("layerwise", "simultaneous"), group="Optimiser"
    )
    """layerwise: update a layer before the error passes down through it, as the
    notebook does. simultaneous: compute all gradients at the same weights, as textbooks
    do.
    """
    activation: str | Activation = setting(
        "sigmoid", choices=tuple(ACTIVATIONS), group="Network"
    )
    """Activation of the hidden layers."""
    init: str = setting(
        "notebook",
        choices=("notebook", "glorot", "he"),
        compiled_in=False,
        group="Network",
    )
    """Standard deviation of the initial weights. notebook: 1. glorot and he: smaller
    for wider layers.
    """
    fit_bias: bool = setting(False, compiled_in=False, group="Network")
    """Begin with biases of the outputs that fit the training set: they predict how
    frequent each class or label is, or the mean of the numbers. Otherwise they are 0.
    """
    optimizer: str = setting(
        "sgd", choices=("sgd", "momentum", "adam", "adamw"), group="Optimiser"
    )
    """How gradients change the weights."""
    schedule: str = setting(
        "constant",
        choices=("constant", "cosine"),
        compiled_in=False,
        aliases=("--lr-schedule", "--lr-scheduler"),
        group="Optimiser",
    )
    """How the learning rate changes. cosine: it falls to 0 at the end of training."""
    weight_decay: float = setting(
        0.0, most=1e30, by_ratio=True, aliases=("--wd",), group="Regularisation"
    )
    """Pull the weights towards 0: add this multiple of them to their gradients. With
    adamw, subtract this multiple, times the learning rate, from the weights instead.
    """
    decay_bias: bool = setting(True, group="Regularisation")
    """Apply weight decay to biases too."""
    momentum: float = setting(0.9, most=BELOW_ONE, group="Optimiser")
    """For the optimizer momentum: the share of the velocity that a step keeps."""
    nesterov: bool = setting(False, group="Optimiser")
    """For the optimizer momentum: use Nesterov's variant."""
    beta_1: float = setting(0.9, most=BELOW_ONE, group="Optimiser")
    """For adam and adamw: the share of the mean gradient that a step keeps."""
    beta_2: float = setting(0.999, most=BELOW_ONE, group="Optimiser")
    """For adam and adamw: the share of the mean squared gradient that a step keeps."""
    epsilon: float = setting(
        1e-8, least=1e-30, most=1e30, compiled_in=False, group="Optimiser"
    )
    """For adam and adamw: a small number added to the denominator of an update."""
    dropout: float = setting(0.0, most=BELOW_ONE, auto=True, group="Regularisation")
    """Probability with which a step ignores each hidden unit of each sample. auto: 0.1,
    or 0 with more than 60 000 rows or no hidden layer.
    """
    deform: bool = setting(False, group="Deformation")
    """Train on grey images of bytes that are deformed at random, each time in another
    way: bent, rotated, scaled and sheared. Images for validation and test stay as they
    are.
    """
    deform_pixels: float = setting(1.1, most=1e6, group="Deformation")
    """For --deform: how far pixels are displaced, as the standard deviation down and
    across, in pixels.
    """
    deform_smoothness: float = setting(5.5, least=1e-3, most=1e6, group="Deformation")
    """For --deform: the standard deviation in pixels of the Gaussian that smooths
    random displacements. A smaller one bends an image more.
    """
    deform_degrees: float = setting(
        10.0, most=180, compiled_in=False, group="Deformation"
    )
    """For --deform: rotate by up to this angle, to either side."""
    deform_scaling: float = setting(
        0.15, most=0.9, compiled_in=False, group="Deformation"
    )
    """For --deform: multiply the height, and the width, by a factor of 1 plus or minus
    up to this.
    """
    deform_shear: float = setting(0.2, most=10, compiled_in=False, group="Deformation")
    """For --deform: shear by up to this ratio of a row's shift to its distance from the
    middle row.
    """
    clip_norm: float = setting(0.0, most=1e30, group="Optimiser")
    """Scale the gradient of all parameters down to this norm if it is longer; 0: never.
    Needs --update-order simultaneous.
    """
    validation: float = setting(
        0, compiled_in=False, is_share_or_count=True, group="Validation"
    )
    """Hold out this many training samples, or this share of them if below 1, such as
    0.1. The network is evaluated on them after every epoch, and the best network is
    kept. From your own data, samples are drawn at random, in proportion from each
    class. From a named data set, the last samples are taken.
    """
    monitor: str = setting(
        "loss", choices=("loss", "accuracy"), compiled_in=False, group="Validation"
    )
    """How the best network on the held-out samples is chosen: by the lowest loss, or by
    the highest accuracy, or R² for numbers. Ties are decided by the other figure, then
    by the earlier epoch.
    """
    patience: int = setting(0, compiled_in=False, group="Validation")
    """Stop after this many epochs without a better network on the held-out samples; 0:
    never.
    """
    checkpoint_every: int = setting(0, compiled_in=False, group="Run")
    """Samples between two checkpoints, from which a run can be resumed; 0: only at the
    end of each epoch.
    """
    defer_updates: bool = setting(True, group="Backend")
    """Use a faster algorithm for plain gradient descent with few samples in a step. Its
    numbers are the same up to rounding.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)

    def __repr__(self) -> str:
        changed = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                changed.append(f"{field.name}={value!r}")
        return f"TrainConfig({', '.join(changed)})"

    def __post_init__(self) -> None:
        check_settings(self)
        if self.patience and not self.validation:
            raise ConfigError(
                f"{self.patience} needs held-out samples",
                remedy=("hold some out with ", Argument("validation")),
                setting="patience",
            )
        if self.nesterov and self.optimizer != "momentum":
            raise ConfigError(
                f"is not possible with {self.optimizer}",
                remedy=("use ", Argument("optimizer", "momentum")),
                setting="nesterov",
            )
        if self.clip_norm and self.update_order != "simultaneous":
            raise ConfigError(
                "needs all gradients before any update",
                remedy=("use ", Argument("update_order", "simultaneous")),
                setting="clip_norm",
            )
        if self.dropout not in (0, AUTO) and not self.hidden:
            raise ConfigError(
                "needs a hidden layer",
                remedy="add one, or leave this at 0",
                setting="dropout",
            )

    def compiled_settings(self) -> "TrainConfig":
        """Return these settings, with defaults for all that are not compiled in.

        Runs with the same compiled settings share compiled code. A compiled step only
        needs to know whether weights decay, so `weight_decay` is 0 or 1.
        """
        defaults = {
            each.name: each.default
            for each in declared(TrainConfig).values()
            if not each.compiled_in
        }
        return replace(self, **defaults, weight_decay=float(self.weight_decay > 0))

    def held_out(self, samples: int) -> int:
        """Return how many of `samples` training samples to hold out.

        A share is at least one sample, but never all.
        """
        if 0 < self.validation < 1:
            return min(max(1, round(self.validation * samples)), samples - 1)
        return int(self.validation)

    def resolve(self, samples: int) -> "TrainConfig":
        """Return these settings for `samples` training samples, without "auto".

        The help of each setting has its rule. The rows are those to train on, without
        the held-out samples.

        Raises:
            ConfigError: The held-out samples, a batch or the warm-up need more.

        Examples:
            >>> TrainConfig(batch_size="auto").resolve(1000).batch_size
            64
        """
        rows = samples - self.held_out(samples)
        if rows <= 0:
            wanted = f"below the {samples} training samples"
            raise out_of_range("validation", self.validation, wanted)
        rules: dict[str, Any] = {
            "batch_size": _auto_batch_size(rows),
            "epochs": _auto_epochs(rows),
            "report_every": max(_REPORT_EVERY, rows),
            "dropout": 0.0 if rows > _MANY_ROWS or not self.hidden else _DROPOUT,
        }
        config = replace(self, **{name: rules[name] for name in self.auto})
        if config.batch_size > rows:
            wanted = f"at most the {rows} training samples"
            raise out_of_range("batch_size", config.batch_size, wanted)
        if config.warm_up_steps and rows == 1:
            wanted = "0 for a single training sample"
            raise out_of_range("warm_up_steps", config.warm_up_steps, wanted)
        return config

    @property
    def auto(self) -> tuple[str, ...]:
        """The names of the settings that are "auto"."""
        known = declared(TrainConfig).values()
        names = [each.name for each in known if each.auto]
        return tuple(name for name in names if getattr(self, name) == AUTO)


def _auto_batch_size(rows: int) -> int:
    size, largest = _BATCH_SIZES
    while size < largest and size**2 < 4 * rows:
        size *= 2
    return min(size, rows)


def _auto_epochs(rows: int) -> int:
    rows_to_see = 2 * _ROWS_TO_SEE if rows > _MANY_ROWS else _ROWS_TO_SEE
    return min(_MOST_EPOCHS, math.ceil(rows_to_see / rows))
