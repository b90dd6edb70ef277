"""The metrics of a network on labelled samples, in total and for each output.

They are the results of training, the calibration error and, if scikit-learn is
installed, results of its functions. An undefined metric, such as the precision of a
class without predictions, is None.
"""

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation, Task, in_units

BINS = 15


def metrics_of(
    model: Model, result: Evaluation, z: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Return all metrics as JSON data, by the names in docs/runs.md.

    The metrics of single classes, labels or outputs are in a list under `outputs_name`.

    Args:
        model: The network, or the first network of an ensemble.
        result: The evaluation of `z`.
        z: The outputs of the last layer, or of an ensemble, (n, outputs), on the host.
        labels: Labels as in `Samples`, on the host.
    """
    task = model.signature.task
    z = z.astype(np.float64)
    predictions = in_units(task.link(z, xp=np), model.signature.units)
    truth = task.encode(labels, z.shape[1], None, dtype=np.float64, xp=np)
    totals: dict[str, Any] = {"samples": result.samples, **result._asdict()}
    columns: dict[str, Any] = {}
    if task.floats:
        columns |= {"r2": result.r2s, "rmse": result.rmses}
    else:
        columns["samples"] = np.sum(truth, axis=0, dtype=np.int64)
        if not task.exclusive:
            columns["accuracy"] = result.label_accuracies
        totals["calibration_error"], _ = reliability(task, predictions, labels)
    if find_spec("sklearn"):  # the import takes seconds
        if task.floats:
            of_outputs, in_total = _errors(predictions, truth)
        else:
            of_outputs, in_total = _rates(task, predictions, truth)
        columns |= of_outputs
        totals |= in_total

    record = {}
    for name, value in totals.items():
        if isinstance(value, int | float):
            record[name] = finite_or_none(value)
    record[task.outputs_name] = _rows(model.signature.outputs, columns)
    if task.exclusive:
        matrix = confusion_matrix(labels, np.argmax(z, axis=1), z.shape[1])
        record["confusion_matrix"] = matrix.tolist()
    return record


def _rows(outputs: Sequence[str], columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one record for each output, from columns with a value for each output."""
    rows: list[dict[str, Any]] = [{"name": name} for name in outputs]
    for name, values in columns.items():
        for row, value in zip(rows, np.asarray(values).tolist(), strict=True):
            row[name] = finite_or_none(value)
    return rows


def finite_or_none(value: Any) -> Any:
    """Return a value as JSON has it. An undefined figure, NaN, is None there."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _errors(
    predictions: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return errors of numbers by name, for each output, (outputs,), and in total."""
    from sklearn import metrics

    functions = {
        "mae": metrics.mean_absolute_error,
        "median_absolute_error": metrics.median_absolute_error,
    }
    of_outputs, in_total = {}, {}
    for name, function in functions.items():
        of_outputs[name] = function(truth, predictions, multioutput="raw_values")
        in_total[name] = float(np.mean(of_outputs[name]))
    return of_outputs, in_total


def _rates(
    task: Task, predictions: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return rates of classes or labels by name, like `_errors`.

    `truth` is 1 or 0 for each class or label of each sample, (n, outputs).
    """
    from sklearn import metrics

    outputs = range(truth.shape[1])
    if task.exclusive:
        true = np.argmax(truth, axis=1)
        predicted = np.argmax(predictions, axis=1)
        in_means = None  # the classes that occur
        log_loss = metrics.log_loss(true, predictions, labels=outputs)
    else:
        # A further column, left out of the scores, because scikit-learn would take a
        # single column for two classes.
        further = ((0, 0), (0, 1))
        true = np.pad(truth == 1, further)
        predicted = np.pad(predictions > 0.5, further)
        in_means = outputs
        log_loss = metrics.log_loss(truth.ravel(), predictions.ravel(), labels=[0, 1])
    of_outputs = _scores(true, predicted, outputs, None, math.nan)
    of_outputs["roc_auc"] = _areas(truth, predictions, None)
    in_total = {"log_loss": log_loss}
    for average in ("macro", "weighted"):
        scores = _scores(true, predicted, in_means, average, 0)
        scores["roc_auc"] = _areas(truth, predictions, average)
        for name, value in scores.items():
            in_total[f"{name}_{average}"] = float(value)
    return of_outputs, in_total


def _scores(
    true: np.ndarray,
    predicted: np.ndarray,
    labels: Sequence[int] | None,
    average: str | None,
    zero_division: float,
) -> dict[str, Any]:
    """Return precision, recall and F1 of each output, or their means.

    `zero_division` stands for 0 / 0. `labels` are the outputs to score, or None for all
    outputs that occur.
    """
    from sklearn import metrics

    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        true, predicted, labels=labels, average=average, zero_division=zero_division
    )
    return {"precision": precision, "recall": recall, "f1": f1}


def _areas(truth: np.ndarray, predictions: np.ndarray, average: str | None) -> Any:
    """Return the area under the ROC curve of each output, or the mean of the areas.

    Without samples of both kinds, an area is NaN, and does not count in the mean.
    """
    from sklearn import metrics

    areas = np.full(truth.shape[1], math.nan)
    both = truth.any(axis=0) & ~truth.all(axis=0)
    if both.any():
        known = metrics.roc_auc_score(
            truth[:, both], predictions[:, both], average=average
        )
        if average is not None:
            return known
        areas[both] = known
    return math.nan if average is not None else areas


def reliability(
    task: Task, predictions: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the expected calibration error, and the bins of a reliability diagram.

    The error is the mean of |share - probability|, weighted by the counts: Guo, Pleiss,
    Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3.
    Exclusive tasks count the predicted class of each sample, other tasks all labels of
    all samples.

    Args:
        task: The task.
        predictions: Probabilities, (n, outputs).
        labels: Labels as in `Samples`.

    Returns:
        The error, and for each bin the count, the mean probability and the true share,
        (3, n). There are BINS bins of equal width. Empty bins are left out.
    """
    if task.exclusive:
        probability = predictions.max(axis=1)
        is_true = predictions.argmax(axis=1) == labels
    else:
        probability, is_true = predictions.ravel(), labels.ravel()
    # An edge belongs to the bin below.
    inner_edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bin_numbers = np.searchsorted(inner_edges, probability)
    sums = np.stack(
        [
            np.bincount(bin_numbers, minlength=BINS),
            np.bincount(bin_numbers, probability, BINS),
            np.bincount(bin_numbers, is_true, BINS),
        ]
    )
    bins = sums[:, sums[0] > 0]
    bins[1:] = bins[1:] / bins[0]
    count, mean, share = bins
    return float(np.average(np.abs(share - mean), weights=count)), bins


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, classes: int
) -> np.ndarray:
    """Return the confusion matrix, int64 (classes, classes), of host arrays (n,).

    Rows are true classes, and columns are predicted classes.
    """
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
