"""The figures of `evaluate` equal those of scikit-learn's functions, and those of a case that is counted by hand."""

import json
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from sklearn.calibration import calibration_curve

from mlp_xp import open_backend
from mlp_xp.core.dataset import Preparation
from mlp_xp.core.model import Model
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Task
from mlp_xp.runs.figures import BINS, figures_of

NAMES, HOWS = ("precision", "recall", "f1"), ("macro", "weighted")


def figures(task: Task, z: np.ndarray, labels: np.ndarray, scaling: tuple[np.ndarray, ...] = ()) -> dict[str, Any]:
    names = tuple(f"name {i}" for i in range(z.shape[1]))
    model = Model((), open_backend(), "relu", Preparation(np.asarray), task, scaling, (1,), names)
    found = figures_of(model, task.evaluate(z, labels, scaling), z, labels)
    assert [each["name"] for each in found[task.outputs_name]] == [*names]
    json.dumps(found, allow_nan=False)
    return found


def column(found: dict[str, Any], name: str) -> list[Any]:
    return [each[name] for each in next(each for each in found.values() if isinstance(each, list))]


@pytest.mark.parametrize("outputs", [2, 3, 26])
@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_classes_and_labels_against_scikit_learn(task: Task, outputs: int, random: np.random.Generator) -> None:
    """The last class is never predicted, and some probabilities are equal."""
    z = random.normal(size=(400, outputs)).round(1) - 5 * np.eye(outputs)[-1]
    p = task.link(z, xp=np)
    if task.exclusive:
        labels = np.argmax(z + random.normal(size=z.shape) * np.linspace(0, 3, outputs), axis=1)
        labels[:3] = outputs - 1
        said, truth = np.argmax(p, axis=1), np.eye(outputs)[labels]
        sure, right = p.max(axis=1), said == labels
        loss = sk.log_loss(labels, p)
    else:
        truth = labels = (z + 3 * random.normal(size=z.shape) + 2 > 0).astype(int)
        said, sure, right = (p > 0.5).astype(int), p.ravel(), labels.ravel()
        loss = np.mean([sk.log_loss(labels[:, i], p[:, i]) for i in range(outputs)])
    found, options = figures(task, z, labels), {"labels": range(outputs), "zero_division": 0}

    each = {name: getattr(sk, f"{name}_score")(labels, said, average=None, **options) for name in NAMES}
    each["precision"][-1] = np.nan
    for name, expected in each.items():
        values = [np.nan if value is None else value for value in column(found, name)]
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        for how in HOWS:
            score = getattr(sk, f"{name}_score")(labels, said, average=how, **options)
            assert found[f"{name}_{how}"] == pytest.approx(score, rel=1e-12)
    np.testing.assert_allclose(column(found, "roc_auc"), sk.roc_auc_score(truth, p, average=None), rtol=1e-12)
    for how in HOWS:
        assert found[f"roc_auc_{how}"] == pytest.approx(sk.roc_auc_score(truth, p, average=how), rel=1e-12)
    assert column(found, "samples") == truth.sum(axis=0).tolist()
    assert found["log_loss"] == pytest.approx(loss, rel=1e-12)

    shares, means = calibration_curve(right, sure, n_bins=BINS)
    edges = np.linspace(0, 1, BINS + 1)
    counts = [np.sum((sure > low) & (sure <= high)) for low, high in pairwise(edges)]
    error = np.average(np.abs(shares - means), weights=[count for count in counts if count])
    assert found["calibration_error"] == pytest.approx(error, rel=1e-12)


def test_numbers_against_scikit_learn(random: np.random.Generator) -> None:
    """In the units of the labels."""
    labels, scaling = random.normal(size=(101, 2)) * [3, 500] + 70, (np.array([70.0, 75]), np.array([3.0, 480]))
    z = (labels - scaling[0]) / scaling[1] + random.normal(size=labels.shape)
    found, predicted = figures(REGRESSION, z, labels, scaling), z * scaling[1] + scaling[0]
    for name, score in (
        ("r2", sk.r2_score),
        ("rmse", sk.root_mean_squared_error),
        ("mae", sk.mean_absolute_error),
        ("median_absolute_error", sk.median_absolute_error),
    ):
        np.testing.assert_allclose(column(found, name), score(labels, predicted, multioutput="raw_values"), rtol=1e-10)
        assert found[name] == pytest.approx(score(labels, predicted), rel=1e-10)


def test_a_case_counted_by_hand() -> None:
    """Four samples of a and two of b; c is predicted once, d neither there nor predicted."""
    p = np.array([[8, 1, 1], [7, 2, 1], [3, 6, 1], [2, 3, 5], [6, 3.5, 0.5], [1, 8, 1]]) / 10
    z = np.log(np.concatenate([p, np.full((6, 1), 1e-9)], axis=1))
    found = figures(CLASSES, z, np.array([0, 0, 0, 0, 1, 1]))
    assert column(found, "samples") == [4, 2, 0, 0]
    assert column(found, "precision") == [2 / 3, 1 / 2, 0, None]
    assert column(found, "recall") == [1 / 2, 1 / 2, None, None]
    assert column(found, "f1") == [4 / 7, 1 / 2, 0, None]
    assert column(found, "roc_auc") == pytest.approx([6 / 8, 7 / 8, None, None])
    assert found["precision_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["recall_macro"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found["recall_weighted"] == found["accuracy"] == pytest.approx(1 / 2)
    assert found["f1_weighted"] == pytest.approx((4 * 4 / 7 + 2 / 2) / 6)
    assert found["roc_auc_macro"] == pytest.approx((6 + 7) / 16)
    # Right with 0.8, 0.7 and 0.8; wrong with 0.6, 0.6 and 0.5. Bins end at 8/15, 9/15, 10/15, 11/15 and 12/15.
    assert found["calibration_error"] == pytest.approx((2 * 0.2 + 0.3 + 2 * 0.6 + 0.5) / 6, abs=1e-6)


@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_a_single_class_has_no_roc_curve(task: Task) -> None:
    labels = np.ones(3, int) if task.exclusive else np.array([[0, 1]] * 3)
    found = figures(task, np.array([[1.0, 2], [0, 1], [1, 5]]), labels)
    assert column(found, "roc_auc") == [None, None]
    assert [found[f"roc_auc_{how}"] for how in HOWS] == [None, None]
    assert column(found, "recall") == [None, 1.0]
    assert column(found, "samples") == [0, 3]


def test_without_scikit_learn_the_other_figures_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = (CLASSES, np.array([0, 1, 1])), (LABELS, np.eye(3, 2, dtype=int)), (REGRESSION, np.eye(3, 2))
    z, gone = np.array([[1.0, 2], [0, 1], [1, 5]]), {"f1", "roc_auc", "mae", "median_absolute_error"}
    complete = [figures(task, z, labels) for task, labels in tasks]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for (task, labels), before in zip(tasks, complete, strict=True):
        found, parts = figures(task, z, labels), before.pop(task.outputs_name)
        rest = {name: value for name, value in before.items() if name not in gone and not name.endswith(("cro", "ted"))}
        left = [{name: value for name, value in each.items() if name not in gone} for each in parts]
        assert found == {**rest, task.outputs_name: left}


def test_a_single_label_is_that_of_a_binary_task() -> None:
    labels = np.array([[0], [1], [1], [0], [1]])
    found = figures(LABELS, np.array([[-1.0], [2], [-3], [1], [4]]), labels)
    assert [column(found, name) for name in NAMES] == [[2 / 3]] * 3
    assert found["f1_macro"] == found["recall_weighted"] == 2 / 3
