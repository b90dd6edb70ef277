"""Data that would give wrong results without a word: each is refused in one line that says where."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_line, call

import mlp_xp
from mlp_xp.arrays import DatasetError
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.tables import TableError, read_table
from mlp_xp.dataset import Dataset
from mlp_xp.runs.records import RunError

ROWS = np.random.RandomState(0).randn(24, 2)
QUICK = ("--epochs", 1, "--hidden", 4)


def write(path: Path, labels: list, rows: np.ndarray = ROWS) -> Path:
    lines = [f"{a!r},{b!r},{label}" for (a, b), label in zip(rows.tolist(), labels, strict=False)]
    path.write_text("\n".join(["a,b,y", *lines, ""]))
    return path


def classes(names: str = "cat dog") -> list[str]:
    return (names.split() * 24)[:24]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a function that gives the folder of a run on numbers, or on classes in float32."""
    place, runs = tmp_path_factory.mktemp("runs"), {}

    def run(kind: str) -> Path:
        if kind not in runs:
            runs[kind] = place / kind
            labels = ROWS[:, 0].tolist() if kind == "numbers" else classes()
            table = write(place / f"{kind}.csv", labels)
            more = ("--dtype", "float32") if kind == "float32" else ()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mlp_xp.commands.train.draw_pictures", lambda *_: None)
                outcome = call("train", "--data-dir", table, "--label", "y", *QUICK, *more, "--run-dir", runs[kind])
            assert outcome.code == 0, outcome
        return runs[kind]

    return run


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["NA", "N/A", "nan", "NaN", "null", "None", "?", "-"])
def test_a_label_that_marks_a_missing_value_is_no_class(tmp_path, mark):
    table = write(tmp_path / "t.csv", [*classes()[:5], mark, *classes()[6:]])
    fault = f"column 'y': '{re.escape(mark)}' marks a missing label.*another name"
    with pytest.raises(TableError, match=f"line 7, {fault}"):
        load_dataset(table, label="y")
    pyarrow, parquet = map(pytest.importorskip, ("pyarrow", "pyarrow.parquet"))
    columns = {"a": [1.0, 2, 3], "y": ["cat", mark, "dog"]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=f"row 2, {fault}"):
        read_table(tmp_path / "t.parquet", "y")


def test_plus_and_minus_are_classes(tmp_path):
    assert load_dataset(write(tmp_path / "t.csv", classes("+ -")), label="y").class_names == ("+", "-")


def test_a_text_among_numbers_is_no_class(tmp_path):
    numbers = [f"{value:.1f}" for value in ROWS[:, 0]]
    table = write(tmp_path / "t.csv", [*numbers[:13], "1.2 kg", *numbers[14:]])
    outcome = call("train", "--data-dir", table, "--label", "y", *QUICK, "--run-dir", tmp_path / "run")
    assert_one_line(outcome, 2, "t.csv", "line 15, column 'y': '1.2 kg' is not a number", "give --task classes")
    with pytest.raises(TableError, match=r'give task="classes"$'):
        load_dataset(table, label="y")
    assert "1.2 kg" in load_dataset(table, label="y", task="classes").class_names
    # Fewer numbers than half are classes as before.
    assert len(load_dataset(write(table, classes("1 2 a b c")), label="y").class_names) == 5


@pytest.mark.parametrize("where", ["X", "y", "labels", "test", "none"])
def test_masked_values_are_refused(where):
    X, y, Y = np.ma.array(ROWS), np.ma.array(ROWS[:, 0]), np.ma.array(ROWS)
    expected = "column 1 is masked"
    if where == "none":
        assert np.array_equal(Dataset.from_arrays(X, y).train_images, ROWS)
        return
    if where == "y":
        y[3], expected = np.ma.masked, "is masked"
    else:
        (Y if where == "labels" else X)[3, 1] = np.ma.masked
    test = (X, y) if where == "test" else None
    with pytest.raises(DatasetError, match=rf"^[Xy][a-z ]*: row 3,? ?{expected}"):
        Dataset.from_arrays(ROWS if where == "test" else X, Y if where == "labels" else y, test)


def test_masked_inputs_are_refused_by_a_model(trained):
    model = mlp_xp.load_run(trained("numbers"))
    X = np.ma.array(ROWS)
    assert np.array_equal(model.predict(X), model.predict(ROWS))
    X[3, 1] = np.ma.masked
    with pytest.raises(DatasetError, match="X: row 3, column 1 is masked"):
        model.predict(X)


@pytest.mark.parametrize("scale", [True, False])
def test_numbers_that_hardly_differ_from_zero_are_refused(scale):
    with pytest.raises(DatasetError, match=r"y: the numbers of output '0' differ by no more than .*e-3.*smaller"):
        Dataset.from_arrays(ROWS, ROWS[:, 0] * 1e-320, scale_targets=scale)
    tiny = Dataset.from_arrays(ROWS, ROWS[:, 0] * 1e-140, scale_targets=scale)
    assert tiny.train_labels.shape == (24, 1)


# --- numbers that are too large for a network -------------------------------------------------------------------------


def test_a_network_is_not_blamed_for_the_data(tmp_path, trained):
    rows = ROWS.copy()
    rows[4, 1] = 1e38
    table = write(tmp_path / "t.csv", classes(), rows)
    table.write_text(table.read_text().replace("\n", "\n\n", 1))  # an empty line, which counts
    outcome = call("predict", trained("float32"), table)
    assert_one_line(outcome, 2, "t.csv': line 7, column 'b' is 1e+38, so far from the training data", "float32")
    outcome = call("evaluate", trained("float32"), "--data-dir", table)
    assert_one_line(outcome, 2, "t.csv': sample 5 of the 24 to test on, column 'b' is 1e+38")
    write(table, [*ROWS[:23, 0].tolist(), 1e300])
    outcome = call("evaluate", trained("numbers"), "--data-dir", table)
    assert_one_line(outcome, 2, "sample 24 of the 24 to test on: the label 'y' is 1e+300, so far from")
    model = mlp_xp.load_run(trained("numbers"))
    with pytest.raises(DatasetError, match=r"X: row 4, column 'b' is 1e\+308"):
        model.predict(np.where(rows > 1e30, 1e308, rows))
    # One that has diverged is blamed: its weights are finite, but too large for any input.
    network = tuple(layer._replace(weights=layer.weights * 1e200) for layer in model.network)
    with pytest.raises(RunError, match="the training diverged"):
        model._replace(network=network).predict(rows)


# --- where it is ------------------------------------------------------------------------------------------------------


def test_rows_of_files_are_counted_as_in_the_file(tmp_path, trained):
    table = write(tmp_path / "t.csv", ["cat", "dog", "cow"])
    outcome = call("evaluate", trained("classes"), "--data-dir", table)
    assert_one_line(outcome, 2, "t.csv': column 'y': line 4 is 'cow', none of")
    rows = ROWS.copy()
    rows[2, 0] = 1e300
    write(table, classes(), rows)
    for command in (("predict", trained("float32"), table), ("evaluate", trained("float32"), "--data-dir", table)):
        outcome = call(*command)
        assert_one_line(outcome, 2, "line 4, column 'a' is 1e+300, too large for float32")
    write(table, [0, 1, 2] * 8)
    outcome = call("train", "--data-dir", table, "--label", "y", "--task", "labels", "--run-dir", tmp_path / "run")
    assert_one_line(outcome, 2, "column 'y': line 4, column 'y' is 2, where a label is 0 or 1", "give --task regr")
    folder = tmp_path / "two"
    folder.mkdir()
    write(folder / "train.csv", classes())
    write(folder / "test.csv", ["cat", "cow"])
    with pytest.raises(DatasetError, match="column 'y' of the test set: line 3 is 'cow'"):
        load_dataset(folder, label="y")


def test_an_infinite_number_in_a_result_is_not_copied(tmp_path, trained):
    run = tmp_path / "run"
    shutil.copytree(trained("numbers"), run)
    path, config = run / "result.json", (run / "config.json").read_bytes()
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 0}).replace('"more": 0', '"more": 1e999'))
    outcome = call("train", "--resume", run, "--epochs", 2)
    assert_one_line(outcome, 2, "result.json", "1e999")
    assert (run / "config.json").read_bytes() == config
