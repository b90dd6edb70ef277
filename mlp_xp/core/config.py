"""The settings of a training run.

The activations, initialisers, optimisers and schedules that a setting may name are in
the files about them.
"""

from dataclasses import dataclass, replace

from mlp_xp.core.functional import ACTIVATIONS, Activation
from mlp_xp.declared import (
    BELOW_ONE,
    ConfigError,
    check_settings,
    declared,
    out_of_range,
    setting,
)
from mlp_xp.errors import Argument, Words


@dataclass(frozen=True)
class TrainConfig:
    """The settings of training. The defaults are the notebook's.

    An activation may also be an `Activation`, a pair of functions of your own, which a
    run folder cannot store.

    Raises:
        ConfigError: A value has the wrong type or is out of range, so that no invalid
            configuration exists.

    Examples:
        >>> TrainConfig(hidden=(256, 128), activation="relu").epochs
        5
        >>> TrainConfig(batch_size=0)
        Traceback (most recent call last):
        ...
        mlp_xp.declared.ConfigError: batch_size: 0 is out of range; it must be at least 1

    A field is declared with its default and other facts, which `declared.Setting`
    explains. A number is at least 0 unless `least` says otherwise. `compiled_in=False`
    marks what a compiled training step does not contain: an input of the step, such as
    the learning rate, or what it never sees, such as the number of epochs. `by_ratio`
    and `aliases` only concern sweeps and the command line.
    """

    epochs: int = setting(5, least=1, compiled_in=False, aliases=("-e",))
    """Passes over the training set."""
    batch_size: int = setting(1, least=1, by_ratio=True, aliases=("-b", "--bs"))
    """Samples per training step; the gradient is their mean. The last batch of an epoch
    may be smaller.
    """
    # A smaller rate, over the batch size, would lose digits in float32; a larger one
    # would overflow with Adam.
    learning_rate: float = setting(
        0.01,
        least=1e-30,
        most=1e300,
        compiled_in=False,
        by_ratio=True,
        aliases=("--lr",),
    )
    """How far an update follows the gradient."""
    hidden: tuple[int, ...] = setting(
        (64,), least=1, by_ratio=True, aliases=("--layers", "--units")
    )
    """Units of each hidden layer, such as 512 256 for two layers. None makes a network
    without hidden layers.
    """
    seed: int = setting(0, most=2**32 - 1, compiled_in=False)
    """Random seed, 0 to 2**32 - 1, for the initial weights, the order of the samples,
    dropout and deformations. They are the same on every backend, because NumPy draws
    them.
    """
    report_every: int = setting(10000, least=1, compiled_in=False)
    """Samples between two reports. Each epoch begins with one."""
    warm_up_steps: int = setting(10, compiled_in=False)
    """Steps on the second training sample alone, before the first epoch. The notebook
    takes ten, and its numbers depend on them.
    """
    update_order: str = setting("layerwise", choices=("layerwise", "simultaneous"))
    """layerwise: update a layer before the error passes down through it, as the
    notebook does. simultaneous: compute all gradients at the same weights, as textbooks
    do.
    """
    activation: str | Activation = setting("sigmoid", choices=tuple(ACTIVATIONS))
    """Activation of the hidden layers."""
    init: str = setting(
        "notebook", choices=("notebook", "glorot", "he"), compiled_in=False
    )
    """Standard deviation of the initial weights. notebook: 1. glorot and he: smaller
    for wider layers.
    """
    optimizer: str = setting("sgd", choices=("sgd", "momentum", "adam", "adamw"))
    """How gradients change the weights."""
    schedule: str = setting(
        "constant",
        choices=("constant", "cosine"),
        compiled_in=False,
        aliases=("--lr-schedule", "--lr-scheduler"),
    )
    """How the learning rate changes. cosine: it falls to 0 at the end of the training.
    """
    weight_decay: float = setting(0.0, most=1e30, by_ratio=True, aliases=("--wd",))
    """Pull the weights towards 0: add this multiple of them to their gradients. With
    adamw, subtract this multiple, times the learning rate, from the weights instead.
    """
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
    epsilon: float = setting(1e-8, least=1e-30, most=1e30, compiled_in=False)
    """For adam and adamw: a small number added to the denominator of an update."""
    dropout: float = setting(0.0, most=BELOW_ONE)
    """Probability with which a step ignores each hidden unit of each sample."""
    deform: bool = setting(False)
    """Train on grey images of bytes that are deformed at random, each time in another
    way: bent, rotated, scaled and sheared. Images for validation and test stay as they
    are.
    """
    deform_pixels: float = setting(1.1, most=1e6)
    """For --deform: how far pixels are displaced, as the standard deviation down and
    across, in pixels.
    """
    deform_smoothness: float = setting(5.5, least=1e-3, most=1e6)
    """For --deform: the standard deviation in pixels of the Gaussian that smooths
    random displacements. A smaller one bends an image more.
    """
    deform_degrees: float = setting(10.0, most=180, compiled_in=False)
    """For --deform: rotate by up to this angle, to either side."""
    deform_scaling: float = setting(0.15, most=0.9, compiled_in=False)
    """For --deform: multiply the height, and the width, by a factor of 1 plus or minus
    up to this.
    """
    deform_shear: float = setting(0.2, most=10, compiled_in=False)
    """For --deform: shear by up to this ratio of a row's shift to its distance from the
    middle row.
    """
    clip_norm: float = setting(0.0, most=1e30)
    """Scale the gradient of all parameters down to this norm if it is longer; 0: never.
    Needs --update-order simultaneous.
    """
    validation: float = setting(0, compiled_in=False, is_share_or_count=True)
    """Hold out this many training samples, or this share of them if below 1, such as
    0.1. The network is evaluated on them after every epoch, and the best one is kept.
    Your own data are drawn from at random, in proportion from each class; of a named
    data set, the last samples are held out.
    """
    monitor: str = setting("loss", choices=("loss", "accuracy"), compiled_in=False)
    """What makes a network the best one on the held-out samples: the lowest loss, or
    the highest accuracy, or R² for numbers. Ties go to the better one by the other
    figure, then to the earlier epoch.
    """
    patience: int = setting(0, compiled_in=False)
    """Stop after this many epochs without a better network on the held-out samples; 0:
    never.
    """
    checkpoint_every: int = setting(0, compiled_in=False)
    """Samples between two checkpoints, from which a run can be resumed; 0: only at the
    end of each epoch.
    """
    defer_updates: bool = setting(True)
    """Use a faster algorithm for plain gradient descent with few samples in a step. Its
    numbers are the same up to rounding.
    """

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

    def compiled_settings(self) -> "TrainConfig":
        """Return the settings that are constants of a compiled step; all others have
        their defaults.

        Runs that differ only in the others share compiled code. About the weight decay,
        a step has to know only whether there is any.
        """
        others = {
            each.name: each.default
            for each in declared(TrainConfig).values()
            if not each.compiled_in
        }
        return replace(self, **others, weight_decay=float(self.weight_decay > 0))

    def held_out(self, samples: int) -> int:
        """Return how many of `samples` training samples to hold out: of a share at
        least one, but never all.
        """
        if 0 < self.validation < 1:
            return min(max(1, round(self.validation * samples)), samples - 1)
        return int(self.validation)

    def check_fits(self, samples: int) -> None:
        """Raise ConfigError unless `samples` training samples are enough for
        validation, a batch and the warm-up.
        """
        left = samples - self.held_out(samples)
        for name, fits, wanted in (
            ("validation", left > 0, f"below the {samples} training samples"),
            (
                "batch_size",
                self.batch_size <= left,
                f"at most the {left} training samples",
            ),
            (
                "warm_up_steps",
                not self.warm_up_steps or left > 1,
                "0 for a single training sample",
            ),
        ):
            if not fits:
                raise out_of_range(name, getattr(self, name), wanted)
