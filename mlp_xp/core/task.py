"""The three tasks: to choose a class, to say which labels apply, or to predict numbers.

A `Task` holds everything in which the tasks differ. The rest of the package uses its
fields and never asks for its name. To add a kind of task, add a `Task` to this file.
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
    """The units of numbers to predict, if a network is trained on standardised numbers.

    A standardised number is (number - mean) / deviation.
    """

    mean: Array
    """The mean of the numbers over the training set, (outputs,)."""
    deviation: Array
    """Their standard deviation over the training set, (outputs,). 1 where it is 0."""


class Evaluation(NamedTuple):
    """The result of a network on a set of samples with labels.

    Figures of the other tasks are None, or ().

    Examples:
        >>> result = evaluate("runs/digits").result
        >>> result.samples, result.accuracy, result.r2
        (10000, 0.8891, None)
    """

    loss: float
    """The mean loss of the samples, as `core/losses.py` defines it. For a network that
    was trained on standardised numbers, the loss of standardised numbers.
    """
    accuracy: float | None = None
    """Classes: the share of samples whose most probable class is their label. Labels:
    the share of samples with all labels right, at a threshold of 1/2. In [0, 1].
    """
    label_accuracy: float | None = None
    """Labels: the share of all labels that are right, in [0, 1]."""
    r2: float | None = None
    """Regression: the coefficient of determination, at most 1. For one output with
    targets t and predictions p, it is R² = 1 - sum (t - p)² / sum (t - mean t)². If all
    t are equal, R² is 1 for exact predictions, else 0. For a single sample, it is NaN.
    This is the mean over the outputs.
    """
    rmse: float | None = None
    """Regression: the root of the mean squared error, mean over the outputs, in the
    units of the labels.
    """
    label_accuracies: tuple[float, ...] = ()
    """Labels: the accuracy of each label. The mean is `label_accuracy`."""
    r2s: tuple[float, ...] = ()
    """Regression: R² of each output."""
    rmses: tuple[float, ...] = ()
    """Regression: the root of the mean squared error of each output."""
    samples: int = 0

    def __repr__(self) -> str:
        figures = []
        for name, value in self._asdict().items():
            if value not in (None, ()):
                figures.append(f"{name}={value!r}")
        return f"Evaluation({', '.join(figures)})"

    @property
    def score(self) -> float:
        """The accuracy, or R² for regression. The better network has a higher score."""
        score = self.r2 if self.accuracy is None else self.accuracy
        assert score is not None
        return score


class Task(NamedTuple):
    """A kind of task.

    `z` are the outputs of the network's last layer, also called logits, (n, outputs).
    """

    name: str
    """The key in TASKS, under which files store the task."""
    loss: Callable[..., Array]
    """`loss(z, targets, xp=)`: the loss of each sample, (..., outputs) to (...), from
    `losses.py`.
    """
    link: Callable[..., Array]
    """`link(z, xp=)`: predictions (n, outputs). As `losses.py` shows, the derivative of
    the loss by z is link(z) - targets.
    """
    encode: Callable[..., Array]
    """`encode(labels, outputs, units, dtype=, device=, xp=)`: targets (n, outputs) from
    the labels of a data set.
    """
    figures: Callable[..., dict[str, Any]]
    """`figures(z, targets, units)`: fields of an `Evaluation`, from arrays on the
    host.
    """
    decide: Callable[..., Array]
    """`decide(predictions, names, xp=)`: the answer for each sample. `names` are the
    names of the outputs.
    """
    pool: Callable[[np.ndarray], np.ndarray]
    """`pool(z)`: the z of an ensemble, (n, outputs), from the z of its networks,
    float64 (networks, n, outputs) on the host. The predictions of the ensemble are the
    mean of the networks' predictions. All networks must have the same units.
    """
    constant: Callable[[np.ndarray, int], np.ndarray]
    """`constant(sums, samples)`: the z, float64 (outputs,), whose predictions are the
    mean targets, for the sums of the targets over the samples. No probability is 0.
    """
    score_name: str
    """The field of an `Evaluation` of this task that is its `score`."""
    outputs_name: str
    """The word for the outputs of the network: "classes", "labels" or "outputs"."""
    exclusive: bool
    """True: the label of a sample is one of the outputs, (n,). False: a sample has one
    label per output, (n, outputs).
    """
    floats: bool
    """True: labels are floats and predictions are numbers. False: labels are integers
    and predictions are probabilities.
    """
    standardizes: bool = False
    """Whether labels are standardised for training by default."""
    allows: Callable[[np.ndarray], np.ndarray] = np.isfinite
    """`allows(labels)`: whether each value can be a label. Unused if `exclusive`."""
    wanted: str = "finite numbers"
    """The values that `allows` accepts, in words."""

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def evaluate(
        self, z: np.ndarray, labels: np.ndarray, units: Units | None = None
    ) -> Evaluation:
        """Return the loss and the figures of z, (n, outputs), all on the host.

        The labels are those of a data set.
        """
        targets = self.encode(labels, z.shape[1], units, dtype=z.dtype, xp=np)
        # A loss that is not finite says enough.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            loss = float(np.mean(self.loss(z, targets, xp=np)))
            return Evaluation(loss, samples=len(z), **self.figures(z, targets, units))


# Classes: the network has an output for each class, and each sample has one class.


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
    """Return rows (n, outputs) with 1 at the label and 0 elsewhere.

    The labels are 0 to outputs - 1, shape (n,). They are compared, because the standard
    has no assignment by an array of integers, and JAX has no assignment at all.
    """
    # Not every library has the keyword `device`.
    place = {} if device is None else {"device": device}
    labels = xp.astype(labels, xp.int64)  # A byte cannot count more than 256 classes.
    classes = xp.arange(outputs, dtype=xp.int64, **place)
    return xp.astype(labels[..., None] == classes, dtype)


def _class_figures(
    z: np.ndarray, targets: np.ndarray, _: Units | None
) -> dict[str, Any]:
    right = np.argmax(z, axis=1) == np.argmax(targets, axis=1)
    return {"accuracy": float(np.mean(right))}


def _most_probable(predictions: Array, names: Sequence[str], /, *, xp: Any) -> Array:
    """Return the name of each sample's class, (n,).

    Only NumPy has text. For other libraries, return the number of the class, int64.
    """
    numbers = xp.astype(xp.argmax(predictions, axis=1), xp.int64)
    if isinstance(numbers, np.ndarray):
        return np.array(names)[numbers]
    return numbers


def _pool_classes(z: np.ndarray) -> np.ndarray:
    # The sum of the probabilities, as logarithms, which do not underflow.
    return np.logaddexp.reduce(log_softmax(z, xp=np), axis=0) - math.log(len(z))


def _constant_class(sums: np.ndarray, samples: int) -> np.ndarray:
    logs = np.log(sums + 0.5)
    return logs - logs.mean()


CLASSES = Task(
    name="classes",
    loss=cross_entropy,
    link=softmax,
    encode=one_hot,
    figures=_class_figures,
    decide=_most_probable,
    pool=_pool_classes,
    constant=_constant_class,
    score_name="accuracy",
    outputs_name="classes",
    exclusive=True,
    floats=False,
)


# Labels: the network has an output for each label, and a sample may have several.


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
    """Return the labels, (n, outputs), in a dtype, standardised if there are units."""
    numbers = xp.astype(labels, dtype)
    if not units:
        return numbers
    return (numbers - units.mean) / units.deviation


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
    log_p, log_not_p = -np.logaddexp(0, -z), -np.logaddexp(0, z)
    # z = log p - log(1 - p)
    return np.logaddexp.reduce(log_p, axis=0) - np.logaddexp.reduce(log_not_p, axis=0)


def _constant_labels(sums: np.ndarray, samples: int) -> np.ndarray:
    return np.log((sums + 0.5) / (samples - sums + 0.5))


LABELS = Task(
    name="labels",
    loss=binary_cross_entropy,
    link=_probabilities,
    encode=as_numbers,
    figures=_label_figures,
    decide=_likely,
    pool=_pool_labels,
    constant=_constant_labels,
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
    """Return predictions (n, outputs), in their units if they are standardised."""
    if not units:
        return predictions
    return predictions * units.deviation + units.mean


def _number_figures(
    z: np.ndarray, targets: np.ndarray, units: Units | None
) -> dict[str, Any]:
    # Along columns, NumPy's sum of float32 adds the numbers one by one, which rounds
    # much.
    z, targets = z.astype(np.float64), targets.astype(np.float64)
    error = z - targets
    residual = np.sum(error * error, axis=0)
    # The mean of equal floats may differ from them in the last digit. After subtracting
    # the first target, it is exactly 0.
    shifted = targets - targets[:1]
    centred = shifted - np.mean(shifted, axis=0)
    total = np.sum(centred * centred, axis=0)
    of_equal = residual == 0 if len(z) > 1 else math.nan
    r2s = np.where(total > 0, 1 - residual / total, of_equal)
    rmses = np.sqrt(residual / len(z))
    if units:
        rmses *= units.deviation.astype(np.float64)
    return {
        "r2": float(np.mean(r2s)),
        "rmse": float(np.mean(rmses)),
        "r2s": tuple(r2s.tolist()),
        "rmses": tuple(rmses.tolist()),
    }


def _numbers(predictions: Array, names: Sequence[str], /, *, xp: Any) -> Array:
    """Return the numbers (n, outputs), or (n,) for a single output."""
    if len(names) == 1:
        return predictions[:, 0]
    return predictions


def _pool_numbers(z: np.ndarray) -> np.ndarray:
    return np.mean(z, axis=0)


def _constant_numbers(sums: np.ndarray, samples: int) -> np.ndarray:
    return sums / samples


REGRESSION = Task(
    name="regression",
    loss=half_squared_error,
    link=_unchanged,
    encode=as_numbers,
    figures=_number_figures,
    decide=_numbers,
    pool=_pool_numbers,
    constant=_constant_numbers,
    score_name="r2",
    outputs_name="outputs",
    exclusive=False,
    floats=True,
    standardizes=True,
)
TASKS = {task.name: task for task in (CLASSES, LABELS, REGRESSION)}
