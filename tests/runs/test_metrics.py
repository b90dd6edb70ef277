"""The figures of `evaluate`, most of which are scikit-learn's, against small cases that
are counted by hand.
"""

import json
import sys
from itertools import pairwise
from math import log, nan
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from mlp_xp import open_backend
from mlp_xp.core.model import Model
from mlp_xp.core.signature import Signature
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task, Units
from mlp_xp.runs.metrics import BINS, metrics_of, reliability


def figures(
    task: Task, z: np.ndarray, labels: Any, units: Units | None = None
) -> dict[str, Any]:
    """Return all figures, with those of each output by name: a list, with NaN for None."""
    names, labels = tuple(f"name {i}" for i in range(z.shape[1])), np.array(labels)
    signature = Signature((1,), names, task, units=units)
    model = Model((), "relu", signature, open_backend())
    found = metrics_of(model, task.evaluate(z, labels, units), z, labels)
    json.dumps(found, allow_nan=False)
    parts = found[task.outputs_name]
    return found | {
        name: np.array([each[name] for each in parts], float).tolist()
        for name in [*parts[0]][1:]
    }


def assert_figures(found: dict[str, Any], **expected: Any) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name


def test_classes_counted_by_hand() -> None:
    """Four samples of a and two of b; c is predicted once, d neither there nor
    predicted.
    """
    p = (
        np.array([[8, 1, 1], [7, 2, 1], [3, 6, 1], [2, 3, 5], [6, 3.5, 0.5], [1, 8, 1]])
        / 10
    )
    found = figures(
        CLASSES,
        np.log(np.concatenate([p, np.full((6, 1), 1e-300)], axis=1)),
        [0, 0, 0, 0, 1, 1],
    )
    assert_figures(
        found,
        samples=[4, 2, 0, 0],
        precision=[2 / 3, 1 / 2, 0, nan],
        recall=[1 / 2, 1 / 2, nan, nan],
        f1=[4 / 7, 1 / 2, 0, nan],
        roc_auc=[6 / 8, 7 / 8, nan, nan],
        accuracy=1 / 2,
        log_loss=-(2 * log(0.8) + log(0.7) + log(0.3) + log(0.2) + log(0.35)) / 6,
        # Right with 0.8, 0.7 and 0.8; wrong with 0.6, 0.6 and 0.5. Bins end at 8/15,
        # 9/15, 10/15, 11/15 and 12/15.
        calibration_error=(2 * 0.2 + 0.3 + 2 * 0.6 + 0.5) / 6,
        precision_macro=(2 / 3 + 1 / 2) / 3,
        precision_weighted=(4 * 2 / 3 + 2 / 2) / 6,
        recall_macro=1 / 3,
        recall_weighted=1 / 2,
        f1_macro=(4 / 7 + 1 / 2) / 3,
        f1_weighted=(4 * 4 / 7 + 2 / 2) / 6,
        roc_auc_macro=13 / 16,
        roc_auc_weighted=(4 * 6 / 8 + 2 * 7 / 8) / 6,
    )
    assert found["confusion_matrix"] == [[2, 1, 1, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]


def test_labels_counted_by_hand() -> None:
    """The third label is never there, and never predicted."""
    p = np.array([[0.9, 0.4, 0.1], [0.7, 0.6, 0.2], [0.2, 0.3, 0.1], [0.6, 0.8, 0.2]])
    labels = [[1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]]
    probabilities = np.where(np.array(labels) == 1, p, 1 - p)
    assert_figures(
        figures(LABELS, np.log(p / (1 - p)), labels),
        samples=[3, 3, 0],
        precision=[2 / 3, 1, nan],
        recall=[2 / 3, 2 / 3, nan],
        f1=[2 / 3, 4 / 5, nan],
        roc_auc=[1 / 3, 1, nan],
        accuracy=[1 / 2, 3 / 4, 1],
        log_loss=-np.log(probabilities).mean(),
        precision_macro=(2 / 3 + 1) / 3,
        recall_weighted=2 / 3,
        f1_macro=(2 / 3 + 4 / 5) / 3,
        f1_weighted=(2 / 3 + 4 / 5) / 2,
        roc_auc_macro=2 / 3,
    )
    one = figures(LABELS, np.array([[2.0], [-1]]), [[1], [1]])  # which all samples have
    assert_figures(
        one, precision=[1], recall=[1 / 2], f1=[2 / 3], f1_macro=2 / 3, roc_auc=[nan]
    )
    assert one["roc_auc_macro"] is None


def test_numbers_counted_by_hand() -> None:
    """In the units of the labels, which are 10 z + 50 and 100 z."""
    units = Units(np.array([50.0, 0]), np.array([10.0, 100]))
    z = np.array([[0.0, 1], [1, 1], [-1, 1], [2, 1]])
    assert_figures(
        figures(REGRESSION, z, [[51.0, 0], [63, 150], [40, 100], [60, 90]], units),
        mae=[(1 + 3 + 0 + 10) / 4, (100 + 50 + 0 + 10) / 4],
        median_absolute_error=[2, 30],
    )
    found = figures(
        REGRESSION,
        z[:, :1],
        [[51.0], [63], [40], [60]],
        Units(units.mean[:1], units.deviation[:1]),
    )
    assert (found["samples"], found["mae"], found["median_absolute_error"]) == (
        4,
        [3.5],
        [2],
    )


@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_the_calibration_error_is_that_of_scikit_learns_bins(
    task: Task, random: np.random.Generator
) -> None:
    p = task.link(random.normal(size=(400, 5)).round(1), xp=np)
    labels = (
        random.integers(0, 5, 400)
        if task.exclusive
        else (random.random(p.shape) < 0.4).astype(int)
    )
    sure, right = (
        (p.max(axis=1), p.argmax(axis=1) == labels)
        if task.exclusive
        else (p.ravel(), labels.ravel())
    )
    shares, means = calibration_curve(right, sure, n_bins=BINS)
    counts = [
        np.sum((sure > low) & (sure <= high))
        for low, high in pairwise(np.linspace(0, 1, BINS + 1))
    ]
    expected = np.average(
        np.abs(shares - means), weights=[count for count in counts if count]
    )
    assert reliability(task, p, labels)[0] == pytest.approx(expected, rel=1e-12)


def test_without_scikit_learn_there_are_the_figures_of_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    z, parts = (
        np.array([[2.0, 0], [1, 2]]),
        {
            CLASSES: ["samples"],
            LABELS: ["samples", "accuracy"],
            REGRESSION: ["r2", "rmse"],
        },
    )
    for task, names in parts.items():
        found = figures(task, z, [0, 1] if task.exclusive else [[1, 0], [1, 1]])
        assert [*found[task.outputs_name][0]] == ["name", *names]
        assert "loss" in found
        assert not {"f1_macro", "log_loss"} & {*found}
