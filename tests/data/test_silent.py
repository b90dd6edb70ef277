"""Data that would change results without a word: columns in another order, labels read as numbers, rows trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_samples
from helpers import call

from mlp_xp import from_arrays, load_dataset, load_run
from mlp_xp.errors import DatasetError

RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((60, 3)) * [1, 10, 0.1] + [5, -2, 0]
KINDS = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
NUMBERS = 200_000 + 60_000 * (X @ RANDOM.standard_normal((3, 2)))
NAMES = ("area", "age", "floor")


class Frame:
    """What is read of a table of pandas."""

    def __init__(self, values: np.ndarray, columns: Any) -> None:
        self.values, self.columns = values, columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


# Tables in memory.


def test_columns_of_a_test_set_are_found_by_their_names() -> None:
    order, back = [2, 0, 1], [1, 0]
    expected = from_arrays(X[20:], NUMBERS[20:], (X[:20], NUMBERS[:20]))
    turned = Frame(X[:20, order], [NAMES[i] for i in order]), Frame(NUMBERS[:20, back], ["rent", "price"])
    dataset = from_arrays(Frame(X[20:], NAMES), Frame(NUMBERS[20:], ["price", "rent"]), turned)
    for one, other in zip(dataset[:4], expected[:4], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (dataset.feature_names, dataset.class_names) == (NAMES, ("price", "rent"))
    more = Frame(np.c_[NUMBERS[:20], X[:20]], ["price", "rent", *NAMES])
    np.testing.assert_array_equal(from_arrays(Frame(X, NAMES), KINDS, (more, KINDS[:20])).test_inputs, X[:20])


@pytest.mark.parametrize(
    ("features", "labels", "fault"),
    [
        (("area", "years", "floor"), ("price", "rent"), "has no column 'age'; its columns are 'area', 'years', 'fl"),
        (("area", "age", "area"), ("price", "rent"), "has 2 columns named 'area'; rename them"),
        (NAMES, ("price", "costs"), "has no column 'rent'; its columns are 'price', 'costs'"),
        (NAMES, ("price", "price"), "has 2 columns named 'price'; rename them"),
    ],
)
def test_renamed_columns_of_a_test_set_are_refused(features: Any, labels: Any, fault: str) -> None:
    test = Frame(X, features), Frame(NUMBERS, labels)
    with pytest.raises(DatasetError, match=f"of the test set: {fault}"):
        from_arrays(Frame(X, NAMES), Frame(NUMBERS, ("price", "rent")), test)
    if "twice" in fault or "2 columns" in fault:
        with pytest.raises(DatasetError, match=fault):
            from_arrays(*test)


@pytest.mark.needs("pandas")
@pytest.mark.parametrize("dtype", ["Float64", "Int64", "int64[pyarrow]", "float32[pyarrow]"])
def test_numbers_of_pandas_are_read_as_the_numbers_they_are(dtype: str) -> None:
    import pandas as pd

    columns = {"a": np.arange(60) % 7, "b": np.arange(60), "flag": np.arange(60) % 2 == 0}
    frame = pd.DataFrame(columns).astype({"a": dtype, "b": dtype})
    expected = np.stack([*columns.values()], axis=1).astype(float)
    for flag in (frame["flag"], frame["flag"].astype("boolean")):
        dataset = from_arrays(frame.assign(flag=flag), KINDS, standardize=False)
        np.testing.assert_array_equal(dataset.train_inputs, expected)
    assert from_arrays(frame, frame["a"], task="classes").class_names[1].startswith("1")
    assert from_arrays(frame, frame["flag"].astype("boolean")).class_names == ("False", "True")
    np.testing.assert_array_equal(
        from_arrays(frame, frame[["a", "b"]], task="regression").train_labels, expected[:, :2]
    )
    frame.loc[7, "b"] = None
    with pytest.raises(DatasetError, match=r"X: row 7, column 'b': .* is not a number; encode"):
        from_arrays(frame, KINDS)
    with pytest.raises(DatasetError, match=r"X: row 0, column 'word'.* 'x'.*encode text as numbers"):
        from_arrays(frame[["a"]].assign(word="x"), KINDS)


# Labels are text until the classes are known.


def labels_of(dataset: Any) -> list[str]:
    return [dataset.class_names[i] for i in dataset.train_labels]


def test_classes_have_the_names_that_are_written(tmp_path: Path) -> None:
    for names, task in ((("01", "02"), None), (("1.1", "1.10"), "classes"), (("01", "1", "x"), "classes")):
        kinds = np.array(names)[np.arange(60) % len(names)]
        dataset = load_dataset(write_samples(tmp_path / "t.csv", X, kinds), label="kind", task=task, test_fraction=0)
        assert (dataset.class_names, labels_of(dataset)) == (names, kinds.tolist())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """A run on labels of which some are numbers."""
    place = tmp_path_factory.mktemp("run")
    write_samples(place / "t.csv", X, np.array(["01", "1", "x"])[np.arange(60) % 3])
    options = ("--data-dir", place / "t.csv", "--label", "kind", "--task", "classes", "--epochs", 2)
    assert call("train", *options, "--run-dir", place / "run").code == 0
    return place / "run"


def test_labels_of_other_files_are_matched_by_their_text(run: Path, tmp_path: Path) -> None:
    """A file in which all labels are numbers among them."""
    for label in ("01", "1", "x"):
        path = write_samples(tmp_path / "new.csv", X + 0.25, [label] * 60)
        right = np.mean(load_run(run).predict(X + 0.25) == label)
        outcome = call("evaluate", run, "--data-dir", path)
        assert (outcome.err, outcome.out.partition(",")[0]) == ("", f"{100 * right:.2f} % of 60 test samples right")


def test_labels_of_two_files_are_matched_by_their_text(tmp_path: Path) -> None:
    write_samples(tmp_path / "train.csv", X, np.array(["01", "1", "x"])[np.arange(60) % 3])
    write_samples(tmp_path / "test.csv", X + 1, ["01", "1"] * 30)
    dataset = load_dataset(tmp_path, label="kind", task="classes")
    assert dataset.test_labels.tolist() == [0, 1] * 30
    write_samples(tmp_path / "test.csv", X + 1, ["01", "2"] * 30)
    with pytest.raises(DatasetError, match=r"line 3, column 'kind'.* '2' is none of the 3 classes; they are '01'"):
        load_dataset(tmp_path, label="kind", task="classes")
