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


def figures(task: Task, z: np.ndarray, labels: np.ndarray, scaling: tuple[np.ndarray, ...] = ()) -> dict[str, Any]:
    """Return all figures, with those of each output by name: a list, with NaN for None."""
    names = tuple(f"name {i}" for i in range(z.shape[1]))
    model = Model((), open_backend(), "relu", Preparation(np.asarray), task, scaling, (1,), names)
    found = figures_of(model, task.evaluate(z, labels, scaling), z, labels)
    json.dumps(found, allow_nan=False)
    parts = found[task.outputs_name]
    return found | {"each": {name: np.array([each[name] for each in parts], float) for name in [*parts[0]][1:]}}


@pytest.mark.parametrize(("task", "outputs"), [(CLASSES, 2), (CLASSES, 26), (LABELS, 3)])
def test_classes_and_labels_against_scikit_learn(task: Task, outputs: int, random: np.random.Generator) -> None:
    """The last class is never predicted, and some probabilities are equal."""
    z = random.normal(size=(400, outputs)).round(1) - 5 * np.eye(outputs)[-1]
    p = task.link(z, xp=np)
    if task.exclusive:
        labels = np.argmax(z + random.normal(size=z.shape) * np.linspace(0, 3, outputs), axis=1)
        labels[:3] = outputs - 1
        said, truth = np.argmax(p, axis=1), np.eye(outputs)[labels]
        sure, right, loss = p.max(axis=1), said == labels, sk.log_loss(labels, p)
    else:
        truth = labels = (z + 3 * random.normal(size=z.shape) + 2 > 0).astype(int)
        said, sure, right = (p > 0.5).astype(int), p.ravel(), labels.ravel()
        loss = np.mean([sk.log_loss(labels[:, i], p[:, i]) for i in range(outputs)])
    expected, each = {"log_loss": loss}, {"roc_auc": sk.roc_auc_score(truth, p, average=None)}
    for name in ("precision", "recall", "f1"):
        score, options = getattr(sk, f"{name}_score"), {"labels": range(outputs), "zero_division": 0}
        each[name] = score(labels, said, average=None, **options)
        expected |= {f"{name}_{how}": score(labels, said, average=how, **options) for how in ("macro", "weighted")}
    each["precision"][-1] = np.nan
    expected |= {f"roc_auc_{how}": sk.roc_auc_score(truth, p, average=how) for how in ("macro", "weighted")}
    shares, means = calibration_curve(right, sure, n_bins=BINS)
    counts = [np.sum((sure > low) & (sure <= high)) for low, high in pairwise(np.linspace(0, 1, BINS + 1))]
    expected["calibration_error"] = np.average(np.abs(shares - means), weights=[count for count in counts if count])
    found = figures(task, z, labels)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    for name, values in each.items():
        np.testing.assert_allclose(found["each"][name], values, rtol=1e-12)


def test_numbers_against_scikit_learn(random: np.random.Generator) -> None:
    """In the units of the labels."""
    labels, scaling = random.normal(size=(101, 2)) * [3, 500] + 70, (np.array([70.0, 75]), np.array([3.0, 480]))
    z = (labels - scaling[0]) / scaling[1] + random.normal(size=labels.shape)
    found, predicted = figures(REGRESSION, z, labels, scaling), z * scaling[1] + scaling[0]
    for name in ("r2_score", "root_mean_squared_error", "mean_absolute_error", "median_absolute_error"):
        short = {"r2_score": "r2", "root_mean_squared_error": "rmse", "mean_absolute_error": "mae"}.get(name, name)
        each = getattr(sk, name)(labels, predicted, multioutput="raw_values")
        np.testing.assert_allclose(found["each"][short], each, rtol=1e-10)
        assert found[short] == pytest.approx(np.mean(each), rel=1e-10)


def test_a_case_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples of a and two of b; c is predicted once, d neither there nor predicted. Nothing warns."""
    p = np.array([[8, 1, 1], [7, 2, 1], [3, 6, 1], [2, 3, 5], [6, 3.5, 0.5], [1, 8, 1]]) / 10
    z, nan = np.log(np.concatenate([p, np.full((6, 1), 1e-9)], axis=1)), np.nan
    found = figures(CLASSES, z, np.array([0, 0, 0, 0, 1, 1]))
    each = {"samples": [4, 2, 0, 0], "precision": [2 / 3, 1 / 2, 0, nan], "recall": [1 / 2, 1 / 2, nan, nan]}
    each |= {"f1": [4 / 7, 1 / 2, 0, nan], "roc_auc": [6 / 8, 7 / 8, nan, nan]}
    # Right with 0.8, 0.7 and 0.8; wrong with 0.6, 0.6 and 0.5. Bins end at 8/15, 9/15, 10/15, 11/15 and 12/15.
    whole = {"accuracy": 1 / 2, "calibration_error": (2 * 0.2 + 0.3 + 2 * 0.6 + 0.5) / 6, "roc_auc_macro": 13 / 16}
    whole |= {"precision_macro": (2 / 3 + 1 / 2) / 3, "recall_macro": 1 / 3, "f1_weighted": (4 * 4 / 7 + 2 / 2) / 6}
    assert {name: found[name] for name in whole} == pytest.approx(whole, abs=1e-6)
    assert {name: [*values] for name, values in found["each"].items()} == {
        name: pytest.approx(values, nan_ok=True) for name, values in each.items()
    }
    alone = np.array([[2.0], [-1]]), np.array([[1], [1]])  # a single label, which all samples have
    assert [figures(LABELS, *alone)[name] for name in ("f1_macro", "roc_auc_macro")] == [pytest.approx(2 / 3), None]
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "roc_auc_macro" not in figures(LABELS, *alone)
