"""Weights of training samples from arrays and tables.

tests/test_trajectories.py shows what they do in a step.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_sets import write_csv
from helpers import assert_one_line, assert_same_run, call, metrics, output_of
from sklearn.utils.class_weight import compute_sample_weight

from mlp_xp.api import evaluate, train
from mlp_xp.backends.opening import open_backend
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.run_folder import RunFolder

X = np.random.default_rng(3).standard_normal((60, 3))
Y = np.array(list("abbccc") * 10)
FLAGS = (X[:, :2] > 0.3).astype(np.uint8)
WEIGHTS = np.arange(60) % 5 / 4  # every fifth row has weight 0


@pytest.mark.parametrize(
    ("labels", "given", "by_class"),
    [
        (Y, "balanced", lambda y: compute_sample_weight("balanced", y)),
        (FLAGS, "balanced", lambda y: compute_sample_weight("balanced", y)),
        (X, None, lambda y: np.ones(len(y))),
    ],
)
def test_weights_are_those_of_rows_times_those_of_classes_in_the_training_part(
    labels, given, by_class
):
    """Balanced as in scikit-learn."""
    options = {"standardize": False, "sample_weight": WEIGHTS, "class_weight": given}
    dataset = from_arrays(np.arange(60.0)[:, None], labels, 0.3, **options)
    rows = dataset.train.inputs[:, 0].astype(int)
    np.testing.assert_allclose(
        dataset.train.weights, by_class(labels[rows]) * WEIGHTS[rows], rtol=1e-15
    )


@pytest.mark.parametrize(
    ("labels", "name", "value", "message"),
    [
        (
            Y,
            "sample_weight",
            np.r_[np.ones(59), -1],
            "row 59: the weight -1.0 is out of range; give a",
        ),
        (
            Y,
            "sample_weight",
            np.r_[np.ones(59), np.nan],
            "row 59: the weight nan is out of range",
        ),
        (
            Y,
            "sample_weight",
            pd.Series(WEIGHTS)[::-1],
            r"the index .*; give sample_weight.loc\[X.index\]",
        ),
        (
            Y,
            "sample_weight",
            [1.0],
            r"the shape is \(1,\); give \(60,\), one for each row",
        ),
        (Y, "class_weight", "balance", "'balance' is not known"),
        (X, "class_weight", "balanced", "numbers have no classes; leave it out"),
    ],
)
def test_wrong_weights_are_refused(labels, name, value, message):
    with pytest.raises(MlpXpError, match=f"^{name}: {message}"):
        from_arrays(pd.DataFrame(X), labels, **{name: value})


@pytest.mark.usefixtures("no_pictures")
def test_a_run_on_a_table_with_weights_is_that_on_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, and longer after a resume.

    The weights are part of the data that a run knows.
    """
    monkeypatch.chdir(tmp_path)
    columns = {"x0": X[:, 0], "w": WEIGHTS, "x1": X[:, 1], "kind": Y, "x2": X[:, 2]}
    write_csv(tmp_path / "t.csv", columns)
    words = "train --data-dir t.csv --label kind --sample-weight w"
    words += " --class-weight balanced --networks 1 --epochs"
    output_of(f"{words} 3 --run-dir run")
    held = RunFolder("run").settings().train
    weights = {"sample_weight": WEIGHTS, "class_weight": "balanced"}
    dataset = from_arrays(X, Y, 0.2, feature_names=["x0", "x1", "x2"], **weights)
    reports = [*train(held, dataset, open_backend())]
    losses = [each.train_loss for each in reports[:-1]]
    assert [each["train_loss"] for each in metrics(tmp_path / "run")] == losses
    assert evaluate("run").result == reports[-1].test
    output_of("train --resume run --epochs 4")
    output_of(f"{words} 4 --run-dir longer")
    assert_same_run(tmp_path / "run", tmp_path / "longer")
    for weights, command, said in (
        (0 * WEIGHTS, f"{words} 1", "weights: give numbers of at least 0 for all"),
        (
            np.where(WEIGHTS == 1, -1, 2 * WEIGHTS),
            f"{words} 1",
            "'t.csv', line 6, column 'w': the weight -1.0 is out of range; give a fin",
        ),
        (
            2 * WEIGHTS,
            "train --resume run --epochs 5",
            "values, weights, rows or their",
        ),
    ):
        write_csv(tmp_path / "t.csv", {**columns, "w": weights})
        assert_one_line(call(command), 2, said)
