"""Weights of the training samples, given for each sample, for each class, or both."""

from typing import Any

import numpy as np

from mlp_xp.backends.inputs import check_numbers, error_at, on_host
from mlp_xp.core.backend import Backend
from mlp_xp.data._labels import Labels, Meaning
from mlp_xp.errors import DatasetError


def read_weights(values: Any, rows: int, backend: Backend) -> np.ndarray:
    """Return weights of samples, float64 (rows,) on the host.

    Raises DatasetError, about the setting "sample_weight", with the row of a weight
    that is missing, negative or not finite.
    """
    name = "sample_weight"
    numbers = check_numbers(name, on_host(name, values, backend))
    weights = numbers.astype(np.float64)
    if weights.shape != (rows,):
        raise DatasetError(
            f"the shape is {weights.shape}",
            remedy=f"give ({rows},), one for each row",
            setting=name,
        )
    is_right = (weights >= 0) & np.isfinite(weights)
    if not is_right.all():
        row = np.argwhere(~is_right)[0]
        raise error_at(
            name,
            row,
            f"the weight {weights[row].item()} is out of range",
            "give a finite number of at least 0, or leave out the row",
        )
    return weights


def balanced_weights(labels: Labels, meaning: Meaning) -> np.ndarray:
    """Return weights of samples, float64 (n,), to make all classes count the same.

    labels: as in a `Dataset`. The weight of a sample is n / (classes * samples of its
    class), as in scikit-learn's `compute_class_weight`; for several labels, the product
    over the labels. Raises DatasetError, about the setting "class_weight", if there are
    no classes.
    """
    if meaning.task.floats:
        raise DatasetError(
            "numbers have no classes", remedy="leave it out", setting="class_weight"
        )
    weights = np.ones(len(labels))
    for column in labels.reshape(len(labels), -1).T:
        _, places, counts = np.unique(column, return_inverse=True, return_counts=True)
        weights *= len(column) / (len(counts) * counts[places])
    return weights
