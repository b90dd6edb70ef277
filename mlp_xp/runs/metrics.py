"""All figures of a network on samples with labels: in total, and for each class, label
or output.

They are those of training, the calibration error and, where scikit-learn is installed,
what its functions return. A figure that does not exist, such as the precision of a
class that is never predicted, is None in the result.
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
    """Return all figures as JSON data, those of single classes, labels or outputs in a
    list under `outputs_name`.

    z: what the model's last layer, or an ensemble's, says, (n, outputs). labels: as in
    a `Dataset`. Both are on the host. result: the evaluation of z. docs/runs.md defines
    the names.
    """

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    task = model.signature.task
    z = z.astype(np.float64)
    predictions = in_units(task.link(z, xp=np), model.signature.units)
    truth = task.encode(labels, z.shape[1], None, dtype=np.float64, xp=np)
    totals: dict[str, Any] = {"samples": result.samples, **result._asdict()}
    columns: dict[str, Any] = {"r2": result.r2s, "rmse": result.rmses}
    if not task.floats:
        columns = {"samples": np.sum(truth, axis=0, dtype=np.int64)}
        columns |= {} if task.exclusive else {"accuracy": result.label_accuracies}
        totals["calibration_error"] = reliability(task, predictions, labels)[0]
    if find_spec("sklearn"):  # the import takes seconds
        each, whole = (
            _errors(predictions, truth)
            if task.floats
            else _rates(task, predictions, truth)
        )
        columns, totals = columns | each, totals | whole
    found = {
        name: plain(value)
        for name, value in totals.items()
        if isinstance(value, int | float)
    }
    rows = zip(
        model.signature.outputs,
        *(np.asarray(values).tolist() for values in columns.values()),
        strict=True,
    )
    found[task.outputs_name] = [
        dict(zip(("name", *columns), map(plain, row), strict=True)) for row in rows
    ]
    if task.exclusive:
        found["confusion_matrix"] = confusion_matrix(
            labels, np.argmax(z, axis=1), z.shape[1]
        ).tolist()
    return found


def _errors(
    predictions: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of scikit-learn by name: for each output, (outputs,), and in
    total; so does `_rates`.
    """
    from sklearn import metrics

    functions = {
        "mae": metrics.mean_absolute_error,
        "median_absolute_error": metrics.median_absolute_error,
    }
    each = {
        name: function(truth, predictions, multioutput="raw_values")
        for name, function in functions.items()
    }
    return each, {name: float(np.mean(values)) for name, values in each.items()}


def _rates(
    task: Task, predictions: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of classes or labels, as `_errors` does. truth: 1 or 0 for
    each, (n, outputs).
    """
    from sklearn import metrics

    outputs, names = range(truth.shape[1]), ("precision", "recall", "f1", "roc_auc")
    if task.exclusive:
        # that is, those that occur
        pair, in_means = (
            [np.argmax(each, axis=1) for each in (truth, predictions)],
            None,
        )
        log_loss = metrics.log_loss(pair[0], predictions, labels=outputs)
    else:
        # A further column, which does not count, because scikit-learn takes a single
        # one for two classes.
        pair, in_means = (
            [
                np.pad(flags, ((0, 0), (0, 1)))
                for flags in (truth == 1, predictions > 0.5)
            ],
            outputs,
        )
        log_loss = metrics.log_loss(truth.ravel(), predictions.ravel(), labels=[0, 1])
    both = truth.any(axis=0) & ~truth.all(axis=0)  # an area needs samples of both kinds

    def scores(
        how: str | None, labels: Sequence[int] | None, undefined: float
    ) -> tuple[Any, ...]:
        rates = metrics.precision_recall_fscore_support(
            *pair, labels=labels, average=how, zero_division=undefined
        )
        area = (
            metrics.roc_auc_score(truth[:, both], predictions[:, both], average=how)
            if both.any()
            else math.nan
        )
        return *rates[:3], area

    *rates, areas = scores(None, outputs, math.nan)
    each = dict(zip(names, (*rates, np.full(len(outputs), math.nan)), strict=True))
    each["roc_auc"][both] = areas
    means = {
        how: zip(names, scores(how, in_means, 0), strict=True)
        for how in ("macro", "weighted")
    }
    whole = {
        f"{name}_{how}": float(value)
        for how, found in means.items()
        for name, value in found
    }
    return each, {"log_loss": log_loss, **whole}


def reliability(
    task: Task, predictions: np.ndarray, labels: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the expected calibration error, and for each bin the count, mean
    probability and share that is true.

    The error is the mean of |share - probability|, weighted by the counts: Guo, Pleiss,
    Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equation 3.
    The bins, (3, n), are BINS of equal width, without the empty ones. Exclusive tasks
    count the class that is predicted for each sample, others all labels of all samples.
    predictions: probabilities, (n, outputs). labels: as in a `Dataset`.
    """
    sure, right = predictions.ravel(), labels.ravel()
    if task.exclusive:
        sure, right = predictions.max(axis=1), predictions.argmax(axis=1) == labels
    # an edge belongs to the bin below
    numbers = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], sure)
    sums = np.stack(
        [np.bincount(numbers, weights, BINS) for weights in (None, sure, right)]
    )
    bins = sums[:, sums[0] > 0]
    bins[1:] = bins[1:] / bins[0]
    return float(np.average(np.abs(bins[2] - bins[1]), weights=bins[0])), bins


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, classes: int
) -> np.ndarray:
    """Return the confusion matrix, int64 (classes, classes), of host arrays (n,).

    Rows: true class; columns: predicted class.
    """
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
