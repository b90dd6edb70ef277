"""Weights of the training samples: given for each sample or each class, or both, which are then multiplied."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlp_xp.backends.reading import check_numbers, error_at, on_host
from mlp_xp.core.library import Backend
from mlp_xp.data.labels import Labels, Meaning
from mlp_xp.data.reading import number_of
from mlp_xp.declared import check_choice
from mlp_xp.errors import Argument, DatasetError, some

BALANCED = "balanced"


def read_weights(values: Any, rows: int, backend: Backend) -> np.ndarray:
    """Return weights of samples, float64 (rows,) on the host.

    Raises DatasetError, about the setting "sample_weight", with the row of a weight that is missing, negative or not
    finite.
    """
    what = "sample_weight"
    weights = check_numbers(what, on_host(what, values, backend)).astype(np.float64)
    if weights.shape != (rows,):
        raise DatasetError(f"the shape is {weights.shape}", remedy=f"give ({rows},), one for each row", setting=what)
    if not (right := (weights >= 0) & np.isfinite(weights)).all():
        row = np.argwhere(~right)[0]
        fault = f"the weight {weights[row].item()} is out of range"
        raise error_at(what, row, fault, "give a finite number of at least 0, or leave out the row")
    return weights


def weights_of(
    given: np.ndarray | None, class_weight: str | Mapping[Any, float] | None, labels: Labels, meaning: Meaning
) -> np.ndarray | None:
    """Return the weights of training samples, float64 (n,), or None for equal ones. labels: those of a `Dataset`.

    given: weights of the samples. class_weight: those of classes by their names; others weigh 1. Or "balanced":
    n / (classes * samples of the class), as scikit-learn's `compute_class_weight`; for several labels, the product over
    these. Raises DatasetError and ConfigError, about the setting "class_weight".
    """
    what, weights = "class_weight", np.ones(len(labels)) if given is None else given
    if class_weight is None:
        return given
    if meaning.task.floats:
        raise DatasetError("numbers have no classes", remedy="leave it out", setting=what)
    if isinstance(class_weight, str):
        check_choice(what, class_weight, [BALANCED])
        for column in labels.reshape(len(labels), -1).T:
            _, places, counts = np.unique(column, return_inverse=True, return_counts=True)
            weights = len(column) / (len(counts) * counts[places]) * weights
        return weights
    known = meaning.names if meaning.task.exclusive else ()
    by_name = {str(name): number_of(str(value)) for name, value in class_weight.items()}
    if wrong := [name for name, value in by_name.items() if name not in known or not 0 <= value < np.inf]:
        remedy = ("give ", Argument(what, BALANCED), f", or weights of at least 0 for {some(known)}" if known else "")
        raise DatasetError(f"{some(wrong)} is no class, or has no such weight", remedy=remedy, setting=what)
    return np.array([by_name.get(name, 1.0) for name in known])[labels] * weights
