"""The figures of `evaluate`, mostly by scikit-learn, against cases by hand."""

import json
import sys
from math import log, nan, sqrt
from typing import Any

import numpy as np
import pytest

from mlp_xp import open_backend
from mlp_xp.core.model import Model
from mlp_xp.core.signature import Signature
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task, Units
from mlp_xp.runs.metrics import confusion_matrix, metrics_of

needs_sklearn = pytest.mark.needs("sklearn")


@needs_sklearn
def test_classes_counted_by_hand() -> None:
    """Four samples of a and two of b.

    c is predicted once, d neither there nor predicted.
    """
    tenths = [[8, 1, 1], [7, 2, 1], [3, 6, 1], [2, 3, 5], [6, 3.5, 0.5], [1, 8, 1]]
    p = np.concatenate([np.array(tenths) / 10, np.full((6, 1), 1e-300)], axis=1)
    found = figures(CLASSES, np.log(p), [0, 0, 0, 0, 1, 1])
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


@needs_sklearn
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


@needs_sklearn
def test_a_label_that_all_samples_have_has_no_area_under_the_curve() -> None:
    found = figures(LABELS, np.array([[2.0], [-1]]), [[1], [1]])
    assert_figures(found, precision=[1], recall=[1 / 2], f1=[2 / 3], f1_macro=2 / 3)
    assert_figures(found, roc_auc=[nan])
    assert found["roc_auc_macro"] is None


@needs_sklearn
def test_numbers_counted_by_hand() -> None:
    """In the units of the labels: 10 z + 50 and 100 z."""
    units = Units(np.array([50.0, 0]), np.array([10.0, 100]))
    z = np.array([[0.0, 1], [1, 1], [-1, 1], [2, 1]])
    labels = [[51.0, 0], [63, 150], [40, 100], [60, 90]]
    assert_figures(
        figures(REGRESSION, z, labels, units),
        samples=4,
        mae=[(1 + 3 + 0 + 10) / 4, (100 + 50 + 0 + 10) / 4],
        median_absolute_error=[2, 30],
        rmse=[sqrt(110 / 4), sqrt(12600 / 4)],
        r2=[1 - 110 / 321, 1 - 12600 / 11700],
    )


def test_the_confusion_matrix_is_that_of_a_loop(random: np.random.Generator) -> None:
    """200 classes: the pairs do not fit into the bytes of the labels."""
    labels, predictions = random.integers(0, 200, (2, 5000), dtype=np.uint8)
    expected = np.zeros((200, 200), np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    matrix = confusion_matrix(labels, predictions, 200)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(
    ("task", "labels", "names"),
    [
        (CLASSES, [0, 1], ["samples"]),
        (LABELS, [[1, 0], [1, 1]], ["samples", "accuracy"]),
        (REGRESSION, [[1, 0], [1, 1]], ["r2", "rmse"]),
    ],
)
def test_without_scikit_learn_there_are_the_figures_of_training(
    task: Task, labels: Any, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = figures(task, np.array([[2.0, 0], [1, 2]]), labels)
    assert [*found[task.outputs_name][0]] == ["name", *names]
    assert "loss" in found
    assert not {"f1_macro", "log_loss"} & {*found}


def figures(
    task: Task, z: np.ndarray, labels: Any, units: Units | None = None
) -> dict[str, Any]:
    """Return all figures, and the figures of each output by name.

    The latter are lists, with NaN for None.
    """
    names, labels = tuple(f"name {i}" for i in range(z.shape[1])), np.array(labels)
    signature = Signature((1,), names, task, units=units)
    model = Model((), "relu", signature, open_backend())
    result = task.evaluate(z, labels, units)
    found = metrics_of(model, result, z, labels)
    for name in ("samples", "loss", "accuracy", "label_accuracy", "r2", "rmse"):
        assert found.get(name) == getattr(result, name)
    json.dumps(found, allow_nan=False)
    parts = found[task.outputs_name]
    for name in [*parts[0]][1:]:
        found[name] = np.array([each[name] for each in parts], float).tolist()
    return found


def assert_figures(found: dict[str, Any], **expected: Any) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
