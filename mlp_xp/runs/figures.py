"""All figures of a network on samples with labels: in total, and for each class, label or output.

They equal those of scikit-learn's functions of these names, in plain NumPy, because importing scikit-learn takes longer
than all of `evaluate`. What is 0 / 0, such as the precision of a class that is never predicted, is NaN, in JSON null.
"""

import math
from typing import Any

import numpy as np

from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation, Task, in_units

BINS = 15


def figures_of(model: Model, result: Evaluation, z: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return all figures as JSON data, those of single classes, labels or outputs in a list under `outputs_name`.

    z: what the model's last layer, or an ensemble's, says, (n, outputs). labels: as in a `Dataset`. Both are on the
    host. result: the evaluation of z. docs/runs.md defines the names.
    """
    task, names = model.task, model.class_names
    predictions = task.link(z.astype(np.float64), xp=np)
    if task.floats:
        error = np.abs(in_units(predictions, tuple(map(model.backend.to_numpy, model.scaling))) - labels)
        new = {"mae": np.mean(error, axis=0), "median_absolute_error": np.median(error, axis=0)}
        columns = {"r2": np.array(result.r2s), "rmse": np.array(result.rmses)} | new
        more = {name: float(np.mean(values)) for name, values in new.items()}
    else:
        truth, said = as_flags(task, predictions, labels)
        samples, rates = np.sum(truth, axis=0), _rates(truth, said, predictions)
        accuracies = {"accuracy": np.array(result.label_accuracies)} if result.label_accuracies else {}
        columns = {"samples": samples, **accuracies, **rates}
        counts, sure, right = reliability(task, predictions, truth, said)
        more = {
            **_averages(rates, samples, np.sum(said, axis=0)),
            "log_loss": result.loss / (1 if task.exclusive else len(names)),  # that of labels is a sum over them
            "calibration_error": float(np.sum(counts * np.abs(sure - right)) / np.sum(counts)),
        }
    rows = zip(*([*map(_plain, values)] for values in columns.values()), strict=True)
    parts = [{"name": name, **dict(zip(columns, row, strict=True))} for name, row in zip(names, rows, strict=True)]
    known = {"samples": result.samples, **result._asdict()}
    whole = {name: _plain(value) for name, value in known.items() if isinstance(value, int | float)}
    return whole | {name: _plain(value) for name, value in more.items()} | {task.outputs_name: parts}


def _plain(value: Any) -> int | float | None:
    number = value.item() if isinstance(value, np.generic) else value
    return number if math.isfinite(number) else None


def as_flags(task: Task, predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each class or label is true, and whether it is predicted, bool (n, outputs) each.

    predictions: probabilities (n, outputs). labels: as in a `Dataset`.
    """
    if not task.exclusive:
        return labels > 0.5, predictions > 0.5
    numbers = np.arange(predictions.shape[1])
    return labels[:, None] == numbers, np.argmax(predictions, axis=1)[:, None] == numbers


def _rates(truth: np.ndarray, said: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and the area under the ROC curve of each output, each against all others."""
    both, true, positive = (flags.sum(axis=0, dtype=np.float64) for flags in (truth & said, truth, said))
    with np.errstate(invalid="ignore"):
        shares = {"precision": both / positive, "recall": both / true, "f1": 2 * both / (true + positive)}
    curves = (roc(truth[:, i], predictions[:, i]) for i in range(truth.shape[1]))
    return {**shares, "roc_auc": np.array([np.trapezoid(own, others) for others, own in curves])}


def _averages(rates: dict[str, np.ndarray], true: np.ndarray, positive: np.ndarray) -> dict[str, Any]:
    """Return the mean of each rate, and that weighted by the samples of each class or label.

    Left out are classes that no sample has and none is predicted to have. A share that is 0 / 0 counts as 0, as in
    scikit-learn; an area that does not exist is left out too.
    """
    found: dict[str, Any] = {}
    for name, values in rates.items():
        counts = ~np.isnan(values) if name == "roc_auc" else true + positive > 0
        for how, weights in (("macro", counts), ("weighted", counts * true)):
            exists = np.sum(weights) > 0
            found[f"{name}_{how}"] = np.average(np.nan_to_num(values), weights=weights) if exists else math.nan
    return found


def roc(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC curve of a class: the shares of the other samples, and of its own, at or above each threshold.

    truth: bool (n,). probabilities: (n,). The thresholds are the probabilities, from the largest to the smallest, but
    not those amid a straight line; both shares begin with 0 and end with 1. They are NaN without its own, or others.
    """
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)  # the last of equal ones
    own = np.append(0, np.cumsum(truth[order])[ends])
    others = np.append(0, ends + 1) - own
    bends = np.full(len(own), True)
    bends[2:-1] = ((np.diff(own, 2) != 0) | (np.diff(others, 2) != 0))[1:]
    own, others = own[bends], others[bends]
    if not own[-1] or not others[-1]:
        own, others = own * math.nan, others * math.nan
    return others / others[-1], own / own[-1]


def reliability(
    task: Task, predictions: np.ndarray, truth: np.ndarray, said: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the count, mean probability and share that is true of predictions in BINS bins of equal width.

    Empty bins are left out. An exclusive task counts the class that is predicted for each sample; another one counts
    all labels of all samples. The expected calibration error is the mean of |share - probability| over all that is
    counted: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3.
    """
    sure, right = (array[said] if task.exclusive else array.ravel() for array in (predictions, truth))
    numbers = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure)  # an edge belongs to the bin below
    counts, *sums = (np.bincount(numbers, weights, BINS) for weights in (None, sure, right))
    full = counts > 0
    return counts[full], sums[0][full] / counts[full], sums[1][full] / counts[full]
