"""Weights of training samples from arrays and tables.

tests/test_trajectories.py shows what they do in a step.
"""

from pathlib import Path

import numpy as np
import pytest
from data_sets import write_csv
from helpers import assert_one_line, assert_same_run, call, output_of
from sklearn.utils.class_weight import compute_sample_weight

from mlp_xp.data.arrays import from_arrays

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


@pytest.mark.usefixtures("no_pictures")
def test_weights_are_a_part_of_the_data_that_a_run_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """estimator/test_tables.py compares their effect with arrays and scikit-learn."""
    monkeypatch.chdir(tmp_path)
    columns = {"x0": X[:, 0], "w": WEIGHTS, "x1": X[:, 1], "kind": Y, "x2": X[:, 2]}
    write_csv(tmp_path / "t.csv", columns)
    words = "train --data-dir t.csv --label kind --sample-weight w"
    words += " --class-weight balanced --networks 1 --epochs"
    output_of(f"{words} 3 --run-dir run")
    output_of("train --resume run --epochs 4")
    output_of(f"{words} 4 --run-dir longer")
    assert_same_run(tmp_path / "run", tmp_path / "longer")
    write_csv(tmp_path / "t.csv", {**columns, "w": 2 * WEIGHTS})
    assert_one_line(call("train --resume run --epochs 5"), 2, "weights")
