"""The loss of a program that computes none: the mean cross-entropy of its outputs."""

from operator import eq
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._layers import targets_as_rows


def mean_cross_entropy(y_hat: Any, y: Array, x: Array) -> float:
    """Return the mean cross-entropy of probabilities, in rows or columns."""
    for columns in (False, True):
        rows = np.transpose(y_hat) if columns else y_hat
        if np.ndim(y_hat) == 2 and np.allclose(np.sum(rows, axis=1), 1, atol=1e-5):
            of_classes, of_samples = (0, 1) if columns else (1, 0)
            same = [*map(eq, np.shape(y_hat), np.shape(x))]
            if same[of_classes] and not same[of_samples]:
                raise MlpXpError(
                    "your outputs sum to 1 over the samples, not over the classes",
                    remedy="change the axis of the sum in softmax",
                    setting="loss",
                )
            t = targets_as_rows(y, rows.shape, columns=columns)
            if t is None:
                raise _refused_targets(y, np.shape(y_hat), rows.shape)
            return float(-np.sum(t * np.log(rows)) / len(rows))
    raise _refused_outputs(y_hat, y, x)


def _refused_targets(
    y: Array, shape: tuple[int, ...], rows_shape: tuple[int, int]
) -> MlpXpError:
    """Return the error for targets that do not fit the outputs."""
    samples, classes = rows_shape
    if y.size == samples:
        return MlpXpError(
            f"has labels {np.min(y)} to {np.max(y)}, for {classes} outputs",
            remedy=f"give whole numbers from 0 to {classes - 1}",
            setting="y",
        )
    return MlpXpError(
        f"its shape {y.shape} does not fit outputs of shape {shape}",
        remedy="give a label or a one-hot vector for each sample",
        setting="y",
    )


def _refused_outputs(y_hat: Any, y: Array, x: Array) -> MlpXpError:
    """Return the error for outputs that are not probabilities with the sum 1.

    Its remedy is a loss that fits the outputs.
    """
    if np.ndim(y_hat) == 1 and np.isclose(np.sum(y_hat), 1, atol=1e-5):
        return MlpXpError(
            "your outputs have one axis",
            remedy="give loss=, or a batch such as X[:1]",
            setting="loss",
        )
    words = "your outputs are not probabilities of classes"
    target = "y"
    if y.size == np.size(y_hat) and y.shape != np.shape(y_hat):
        target = "y.reshape(y_hat.shape)"  # otherwise (n,) and (n, 1) make (n, n)
    own = f"np.mean((y_hat - {target}) ** 2)"
    if np.min(y_hat) > 0 and np.max(y_hat) < 1 and np.all(np.isin(y, (0, 1))):
        words = "your outputs are probabilities that do not sum to 1"
        # Samples as rows, or as columns, or a single one.
        samples = "len(y)" if len(x) == len(y_hat) else "y[0].size"
        logs = f"{target} * np.log(y_hat) + (1 - {target}) * np.log(1 - y_hat)"
        own = f"-np.sum({logs}) / {samples}, or {own}"
    return MlpXpError(
        words,
        remedy=f"give your own, as in loss=lambda y, y_hat: {own}",
        setting="loss",
    )
