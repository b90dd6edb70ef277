"""Weights of training samples, from arrays and tables: scikit-learn's, in the rows trained on alone, and refusals.

tests/test_trajectories.py shows what they do in a step.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv
from helpers import assert_one_line, assert_same_run, call, metrics
from sklearn.utils.class_weight import compute_sample_weight

from mlp_xp.api import evaluate, train
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.arrays import from_arrays
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError

RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((60, 3))
Y = np.array(list("abbccc") * 10)
FLAGS = (X[:, :2] > 0.3).astype(np.uint8)
WEIGHTS = np.arange(60) % 5 / 4  # every fifth row has weight 0


def rows_of(dataset: Dataset) -> list[int]:
    """The numbers of the rows of X that are trained on, in order."""
    return [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in dataset.train_inputs]


@pytest.mark.parametrize("labels", [Y, FLAGS])
def test_balanced_weights_are_scikit_learns_over_the_training_part(labels: np.ndarray) -> None:
    """Multiplied by those of the samples. Rows of weight 0 are left out."""
    options = {"standardize": False, "sample_weight": WEIGHTS}
    every = rows_of(from_arrays(X, labels, 0.3, standardize=False))
    for class_weight in (None, "balanced"):
        dataset = from_arrays(X, labels, 0.3, class_weight=class_weight, **options)
        by_class = compute_sample_weight(class_weight, labels[every]) if class_weight else 1.0
        expected = by_class * WEIGHTS[every]
        assert rows_of(dataset) == [row for row in every if WEIGHTS[row]]
        np.testing.assert_allclose(dataset.weights, expected[expected > 0], rtol=1e-15)
        assert len(dataset.test_labels) == 18
    assert from_arrays(X, labels).weights is None


@pytest.mark.parametrize("class_weight", [{"a": 4, "c": 0}, "a=4, c=0"])
def test_weights_of_classes_by_their_names(class_weight: Any) -> None:
    dataset = from_arrays(X, Y, standardize=False, class_weight=class_weight)
    assert rows_of(dataset) == np.flatnonzero(Y != "c").tolist()
    assert dataset.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(dataset.weights, np.where(Y == "a", 4.0, 1.0)[Y != "c"])


BALANCED = 'give class_weight="balanced"'
WRONG = {
    "negative": (Y, {"sample_weight": np.r_[np.ones(59), -1]}, "sample_weight: row 59: the weight -1.0 is out of"),
    "missing": (Y, {"sample_weight": [1.0, None] * 30}, "sample_weight: row 1: None is not a number"),
    "NaN": (Y, {"sample_weight": np.r_[1, np.nan, np.ones(58)]}, "sample_weight: row 1: there is no weight; give a"),
    "infinite": (Y, {"sample_weight": np.r_[np.inf, np.ones(59)]}, "sample_weight: row 0: the weight inf is out of"),
    "few": (Y, {"sample_weight": [1.0]}, "sample_weight: the shape is (1,); give (60,), one for each row"),
    "all 0": (Y, {"class_weight": dict.fromkeys("abc", 0)}, "all training samples have weight 0; "),
    "word": (Y, {"class_weight": "balance"}, f"class_weight: there is no class 'balance'; {BALANCED}, or weights of"),
    "class": (Y, {"class_weight": {"d": 1}}, f"class_weight: there is no class 'd'; {BALANCED}, or weights"),
    "number": (Y, {"class_weight": "a=2,b=x"}, "class_weight: 'x', the weight of 'b', is not a finite number of at"),
    "numbers": (X, {"class_weight": "balanced"}, "class_weight: numbers have no classes; leave it out"),
    "labels": (FLAGS, {"class_weight": {"0": 2}}, f"class_weight: there is no class '0'; {BALANCED}"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_weights_are_refused(fault: str) -> None:
    labels, options, message = WRONG[fault]
    with pytest.raises(DatasetError) as caught:
        from_arrays(X, labels, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_on_a_table_with_weights_is_that_on_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, from training to evaluation; the weights are part of the data that a run knows."""
    monkeypatch.chdir(tmp_path)
    columns = {"x0": X[:, 0], "w": WEIGHTS, "x1": X[:, 1], "kind": Y, "x2": X[:, 2]}
    write_csv(tmp_path / "t.csv", columns)
    words = "train --data-dir t.csv --label kind --sample-weight w --class-weight balanced --validation 6 --epochs 3"
    outcome = call(*words.split(), "--run-dir", "run")
    assert (outcome.code, outcome.err) == (0, "")
    options = {"sample_weight": WEIGHTS, "class_weight": "balanced"}
    held = json.loads((tmp_path / "run/config.json").read_text())["settings"]
    assert (held["sample_weight"], held["class_weight"]) == ("w", "balanced")
    dataset = from_arrays(X, Y, 0.2, feature_names=["x0", "x1", "x2"], **options)
    loaded = load_dataset("t.csv", label="kind", sample_weight="w", class_weight="balanced")
    np.testing.assert_array_equal(loaded.weights, dataset.weights)
    config = TrainConfig(**{name: value for name, value in held.items() if name in TrainConfig.__dataclass_fields__})
    reports = [*train(config, dataset, open_backend(), run_dir=tmp_path / "arrays")]
    assert [each["train_loss"] for each in metrics(tmp_path / "run")] == [each.train_loss for each in reports[:-1]]
    assert call("evaluate", "run", "--data-dir", "t.csv").err.startswith("warning: 38 of 60 rows are left out")
    assert evaluate("run").result == reports[-1].test
    assert call("train", "--resume", "run", "--epochs", 4).code == 0
    assert call(*words.split()[:-1], 4, "--run-dir", "longer").code == 0
    assert_same_run(tmp_path / "run", tmp_path / "longer")
    assert_one_line(call(*words.split(), "--recipe", "notebook"), 2, "--batch-size: weights of samples have no effect")
    write_csv(tmp_path / "t.csv", {**columns, "w": WEIGHTS + (WEIGHTS > 0.9)})
    assert_one_line(
        call("train", "--resume", "run", "--epochs", 5), 2, "values, weights, rows or their order have chan"
    )
    write_csv(tmp_path / "t.csv", {**columns, "w": np.where(X[:, 0] == X[5, 0], -1, WEIGHTS)})
    assert_one_line(call(*words.split()), 2, "'t.csv', line 7, column 'w': the weight -1.0 is out of range; give a ")
