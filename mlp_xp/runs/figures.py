"""All figures of a network on samples with labels: in total, and for each class, label or output.

They equal those of scikit-learn; where it is not installed, areas under ROC curves are missing. What does not exist,
such as the precision of a class that is never predicted, is NaN, and None in the result.
"""

import math
from importlib.util import find_spec
from typing import Any

import numpy as np

from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation, Task, in_units
from mlp_xp.runs.ensembles import confusion_matrix

BINS = 15


def figures_of(model: Model, result: Evaluation, z: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return all figures as JSON data, those of single classes, labels or outputs in a list under `outputs_name`.

    z: what the model's last layer, or an ensemble's, says, (n, outputs). labels: as in a `Dataset`. Both are on the
    host. result: the evaluation of z. docs/runs.md defines the names.
    """

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    task, scaling = model.task, tuple(map(model.backend.to_numpy, model.scaling))
    predictions = in_units(task.link(z.astype(np.float64), xp=np), scaling)
    of = (result, predictions, labels)
    columns, more = _of_numbers(*of) if task.floats else _of_flags(task, *of)
    totals = {"samples": result.samples, **result._asdict(), **more}
    rows = zip(model.class_names, *(np.asarray(values).tolist() for values in columns.values()), strict=True)
    parts = [dict(zip(("name", *columns), map(plain, row), strict=True)) for row in rows]
    matrix = {}
    if task.exclusive:
        matrix["confusion_matrix"] = confusion_matrix(labels, np.argmax(z, axis=1), z.shape[1]).tolist()
    numbers = {name: plain(value) for name, value in totals.items() if isinstance(value, int | float)}
    return {**numbers, task.outputs_name: parts, **matrix}


def _of_numbers(result: Evaluation, predictions: np.ndarray, labels: np.ndarray) -> Any:
    """Return the figures of each output, (outputs,), by name, and the total ones; so does `_of_flags`."""
    errors = np.abs(predictions - labels)
    found = {"mae": np.mean(errors, axis=0), "median_absolute_error": np.median(errors, axis=0)}
    return {"r2": result.r2s, "rmse": result.rmses, **found}, {name: float(each.mean()) for name, each in found.items()}


def _of_flags(task: Task, result: Evaluation, predictions: np.ndarray, labels: np.ndarray) -> Any:
    truth, said = as_flags(task, predictions, labels)
    samples, named, right = (np.sum(flags, axis=0) for flags in (truth, said, truth & said))
    columns: dict[str, Any] = {"samples": samples} | ({} if task.exclusive else {"accuracy": result.label_accuracies})
    with np.errstate(invalid="ignore"):
        rates = {"precision": right / named, "recall": right / samples, "f1": 2 * right / (named + samples)}
    if find_spec("sklearn"):  # which does not import it
        from sklearn.metrics import roc_auc_score

        pairs = [*zip(truth.T, predictions.T, strict=True)]
        areas = [roc_auc_score(*pair) if 0 < pair[0].sum() < len(truth) else math.nan for pair in pairs]
        rates["roc_auc"] = np.array(areas)
    log_loss = result.loss / (1 if task.exclusive else len(samples))  # the loss of labels is a sum over them
    more = {"log_loss": log_loss, "calibration_error": reliability(task, predictions, truth, said)[0]}
    for name, values in rates.items():
        # As scikit-learn's means: those of classes that occur, whose 0 / 0 is 0; an area needs samples of both kinds.
        counted = ~np.isnan(values) if name == "roc_auc" else samples + named > 0
        for how, weights in (("macro", counted), ("weighted", counted * samples)):
            exists = np.any(weights)
            more[f"{name}_{how}"] = float(np.average(np.nan_to_num(values), weights=weights)) if exists else math.nan
    return columns | rates, more


def as_flags(task: Task, predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each class or label is true, and whether it is predicted, bool (n, outputs) each.

    predictions: probabilities (n, outputs). labels: as in a `Dataset`.
    """
    if not task.exclusive:
        return labels > 0.5, predictions > 0.5
    numbers = np.arange(predictions.shape[1])
    return labels[:, None] == numbers, np.argmax(predictions, axis=1)[:, None] == numbers


def reliability(task: Task, predictions: np.ndarray, truth: np.ndarray, said: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the expected calibration error, and for each bin the count, mean probability and share that is true.

    The error is the mean of |share - probability|, weighted by the counts: Guo, Pleiss, Sun, Weinberger, "On
    calibration of modern neural networks", ICML 2017, equation 3. The bins, (3, n), are BINS of equal width, without
    the empty ones. Exclusive tasks count the class that is predicted for each sample, others all labels of all samples.
    """
    sure, right = (array[said] if task.exclusive else array.ravel() for array in (predictions, truth))
    numbers = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure)  # an edge belongs to the bin below
    sums = np.stack([np.bincount(numbers, weights, BINS) for weights in (None, sure, right)])
    bins = sums[:, sums[0] > 0]
    bins[1:] = bins[1:] / bins[0]
    return float(np.average(np.abs(bins[2] - bins[1]), weights=bins[0])), bins
