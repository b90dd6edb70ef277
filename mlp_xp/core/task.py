"""What a network is trained for: to choose a class, to tell which labels apply, or to
predict numbers.

A `Task` holds everything that differs between these three. The rest of the package uses
its fields and never asks for its name, so another kind of task is another value in this
file.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array, sigmoid
from mlp_xp.core.losses import (
    binary_cross_entropy,
    cross_entropy,
    half_squared_error,
    log_softmax,
    softmax,
)


class Units(NamedTuple):
    """The units of numbers to predict, for a network that is trained on standardised
    numbers: (number - mean) / deviation.
    """

    mean: Array
    """Their mean over the training set, (outputs,)."""
    deviation: Array
    """Their standard deviation over the training set, (outputs,); 1 where it is 0."""


class Evaluation(NamedTuple):
    """The result of a network on a set of samples with labels.

    Figures of other tasks are None, or ().

    Examples:
        >>> result = evaluate("runs/digits").result
        >>> result.samples, result.accuracy, result.r2
        (10000, 0.8891, None)
    """

    loss: float
    """Mean over the samples; see `losses`. It is that of standardised numbers if the
    network was trained on these.
    """
    accuracy: float | None = None
    """Classes: share of the samples whose most probable class is their label. Labels:
    share of the samples that have all their labels right, with the threshold 1/2. In
    [0, 1].
    """
    label_accuracy: float | None = None
    """Labels: share of all labels that are right, in [0, 1]."""
    r2: float | None = None
    """Regression: the coefficient of determination R² = 1 - sum (t - p)² / sum (t -
    mean t)², mean over the outputs, at most 1. An output whose t are all equal counts
    as 1 if it is exact, else as 0.
    """
    rmse: float | None = None
    """Regression: the root of the mean squared error, mean over the outputs, in the
    units of the labels.
    """
    label_accuracies: tuple[float, ...] = ()
    """Labels: the accuracy of each label alone. Their mean is `label_accuracy`."""
    r2s: tuple[float, ...] = ()
    rmses: tuple[float, ...] = ()
    """Regression: R² and the root of the mean squared error of each output alone."""
    samples: int = 0

    @property
    def score(self) -> float:
        """The accuracy, or R² for regression. Of two networks, the one with the higher
        score is better.
        """
        score = self.r2 if self.accuracy is None else self.accuracy
        assert score is not None
        return score


class Task(NamedTuple):
    """A kind of task. `z` are the outputs of the network's last layer, (n, outputs),
    also called logits.
    """

    name: str
    """The key in TASKS, under which files store the task."""
    loss: Callable[..., Array]
    """`loss(z, targets, xp=)`: the loss of each sample, (..., outputs) to (...). See
    `losses`.
    """
    link: Callable[..., Array]
    """`link(z, xp=)`: predictions (n, outputs). The derivative of the loss by z is
    link(z) - targets; see `losses`.
    """
    encode: Callable[..., Array]
    """`encode(labels, outputs, units, dtype=, device=, xp=)`: a data set's labels to
    targets (n, outputs).
    """
    figures: Callable[..., dict[str, Any]]
    """`figures(z, targets, units)`: fields of an `Evaluation`, from arrays on the
    host.
    """
    decide: Callable[..., Array]
    """`decide(predictions, names, xp=)`: the answer for each sample. `names` are those
    of the outputs.
    """
    pool: Callable[[np.ndarray], np.ndarray]
    """`pool(z)`: the z of several networks, float64 (networks, n, outputs) on the host,
    to the z of their ensemble, (n, outputs), whose predictions are the mean of theirs.
    All networks must have the same units.
    """
    score_name: str
    """The field of an `Evaluation` of this task that is its `score`."""
    outputs_name: str
    """What the outputs of the network are called: "classes", "labels" or "outputs"."""
    exclusive: bool
    """Whether each sample has one of the outputs as its label, (n,); otherwise one
    label per output, (n, outputs).
    """
    floats: bool
    """True: labels are floats, which `from_arrays` and `load_dataset` standardise for
    training unless told otherwise, and predictions are numbers. False: labels are
    integers, and predictions are probabilities.
    """
    allows: Callable[[np.ndarray], np.ndarray] = np.isfinite
    """`allows(labels)`: whether each can be a label, for a task that is not exclusive;
    `wanted` says it in words.
    """
    wanted: str = "finite numbers"

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def evaluate(
        self, z: np.ndarray, labels: np.ndarray, units: Units | None = None
    ) -> Evaluation:
        """Return the loss and the figures of z, (n, outputs), for labels as in a data
        set, all on the host.
        """
        targets = self.encode(labels, z.shape[1], units, dtype=z.dtype, xp=np)
        # the loss shows it
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            loss = float(np.mean(self.loss(z, targets, xp=np)))
            return Evaluation(loss, samples=len(z), **self.figures(z, targets, units))


# Classes: there is an output for each class, and each sample has one class.


def one_hot(
    labels: Array,
    outputs: int,
    units: Units | None = None,
    /,
    *,
    dtype: Any,
    device: Any = None,
    xp: Any,
) -> Array:
    """Turn labels 0 to outputs - 1, shape (n,), into rows that are 1 at the label and 0
    elsewhere, (n, outputs).

    By comparison, because assignment by index is not in the standard for integer
    arrays, and JAX has none at all.
    """
    # not every library has the keyword
    place = {} if device is None else {"device": device}
    labels = xp.astype(labels, xp.int64)  # a byte cannot count more than 256 classes
    return xp.astype(
        labels[..., None] == xp.arange(outputs, dtype=xp.int64, **place), dtype
    )


def _class_figures(
    z: np.ndarray, targets: np.ndarray, _: Units | None
) -> dict[str, Any]:
    return {
        "accuracy": float(np.mean(np.argmax(z, axis=1) == np.argmax(targets, axis=1)))
    }


def _most_probable(predictions: Array, names: Sequence[str], /, *, xp: Any) -> Array:
    """Return the name of each sample's class, (n,), or its number, int64, for a library
    that has no text.
    """
    numbers = xp.astype(xp.argmax(predictions, axis=1), xp.int64)
    return np.array(names)[numbers] if isinstance(numbers, np.ndarray) else numbers


def _pool_classes(z: np.ndarray) -> np.ndarray:
    # Probabilities are added, as logarithms, because these do not underflow.
    return np.logaddexp.reduce(log_softmax(z, xp=np), axis=0) - math.log(len(z))


CLASSES = Task(
    name="classes",
    loss=cross_entropy,
    link=softmax,
    encode=one_hot,
    figures=_class_figures,
    decide=_most_probable,
    pool=_pool_classes,
    score_name="accuracy",
    outputs_name="classes",
    exclusive=True,
    floats=False,
)


# Labels: there is an output for each label, and each sample may have any of them.


def as_numbers(
    labels: Array,
    outputs: int,
    units: Units | None,
    /,
    *,
    dtype: Any,
    device: Any = None,
    xp: Any,
) -> Array:
    """Return the labels t, (n, outputs), in a dtype, standardised if there are units."""
    t = xp.astype(labels, dtype)
    return (t - units.mean) / units.deviation if units else t


def _probabilities(z: Array, /, *, xp: Any) -> Array:
    return sigmoid(z, xp=xp)[0]


def _label_figures(
    z: np.ndarray, targets: np.ndarray, _: Units | None
) -> dict[str, Any]:
    right = (z > 0) == (targets > 0)
    return {
        "accuracy": float(np.mean(right.all(axis=1))),
        "label_accuracy": float(np.mean(right)),
        "label_accuracies": tuple(np.mean(right, axis=0).tolist()),
    }


def _is_flag(labels: np.ndarray) -> np.ndarray:
    return (labels == 0) | (labels == 1)


def _likely(predictions: Array, names: Sequence[str], /, *, xp: Any) -> Array:
    """Return 0 or 1 for each label, int64 (n, outputs)."""
    return xp.astype(predictions > 0.5, xp.int64)


def _pool_labels(z: np.ndarray) -> np.ndarray:
    # log p and log(1 - p); z = log p - log(1 - p)
    yes, no = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    return np.logaddexp.reduce(yes, axis=0) - np.logaddexp.reduce(no, axis=0)


LABELS = Task(
    name="labels",
    loss=binary_cross_entropy,
    link=_probabilities,
    encode=as_numbers,
    figures=_label_figures,
    decide=_likely,
    pool=_pool_labels,
    score_name="accuracy",
    outputs_name="labels",
    exclusive=False,
    floats=False,
    allows=_is_flag,
    wanted="0 or 1",
)


# Regression: the outputs are numbers, perhaps standardised.


def _unchanged(z: Array, /, *, xp: Any) -> Array:
    return z


def in_units(predictions: Array, units: Units | None, /) -> Array:
    """Return standardised predictions, (n, outputs), in their units.

    Without units they are unchanged.
    """
    return predictions * units.deviation + units.mean if units else predictions


def _number_figures(
    z: np.ndarray, targets: np.ndarray, units: Units | None
) -> dict[str, Any]:
    # NumPy adds up float32 columns one by one
    z, targets = z.astype(np.float64), targets.astype(np.float64)
    # The first target is subtracted first, because the mean of equal floats need not
    # equal them exactly.
    apart = targets - targets[:1]
    error, centred = z - targets, apart - np.mean(apart, axis=0)
    residual, total = (np.sum(x * x, axis=0) for x in (error, centred))
    r2s = np.where(total > 0, 1 - residual / total, residual == 0)
    rmses = np.sqrt(residual / len(z)) * (
        units.deviation.astype(np.float64) if units else 1.0
    )
    means = {"r2": float(np.mean(r2s)), "rmse": float(np.mean(rmses))}
    return {**means, "r2s": tuple(r2s.tolist()), "rmses": tuple(rmses.tolist())}


def _numbers(predictions: Array, names: Sequence[str], /, *, xp: Any) -> Array:
    """Return the numbers (n, outputs), or (n,) for a single output."""
    return predictions[:, 0] if len(names) == 1 else predictions


def _pool_numbers(z: np.ndarray) -> np.ndarray:
    return np.mean(z, axis=0)


REGRESSION = Task(
    name="regression",
    loss=half_squared_error,
    link=_unchanged,
    encode=as_numbers,
    figures=_number_figures,
    decide=_numbers,
    pool=_pool_numbers,
    score_name="r2",
    outputs_name="outputs",
    exclusive=False,
    floats=True,
)
TASKS = {task.name: task for task in (CLASSES, LABELS, REGRESSION)}
