"""Raw tables as features: what is fitted to the training rows, and what other rows become, in files and data frames."""

import csv
import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import FRAMES, MIXED, Mixed, mixed, write_csv
from helpers import assert_one_line, call
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from mlp_xp import TrainConfig, evaluate, from_arrays, load_dataset, load_run, open_backend, predict, train
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.columns import TEXT, Column, Columns, Table
from mlp_xp.data.splitting import split
from mlp_xp.errors import DatasetError, MlpXpWarning, nearest, some

CONFIG = TrainConfig(epochs=1, batch_size=8, hidden=(5,), warm_up_steps=0, init="glorot", seed=3)
SWAPPED = str.maketrans(",.", ".,")


def text(values: Any) -> np.ndarray:
    return np.array([*values], TEXT)


def fitted(values: np.ndarray) -> Column:
    """Return how a column becomes features, without its warning."""
    with warnings.catch_warnings(action="ignore"):
        return Columns.fit(Table(("a",), (values,))).columns[0]


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    """Write a table; `german.csv` is as a spreadsheet in German has it."""
    if path.suffix == ".parquet":
        return write_csv(path, columns)
    columns = {name: ["" if value is None else value for value in each] for name, each in columns.items()}
    if path.name != "german.csv":
        return write_csv(path, columns)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(f"{value:,}".translate(SWAPPED) if isinstance(value, float) else value for value in row)
    return path


def load(path: Path, table: Mixed, **how: Any) -> Dataset:
    return load_dataset(path, label=table.label, exclude=",".join(table.ids) or None, **how)


@pytest.fixture(scope="module", params=MIXED)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mixed, Path, Dataset]:
    """Return a mixed table, a folder with its files, and the data set of one; a run on it is in the folder too."""
    table, place = mixed(request.param), tmp_path_factory.mktemp(request.param)
    for name in ("t.csv", "t.parquet", "german.csv"):
        write(place / name, table.columns)
    dataset = load(place / "t.csv", table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.api.draw_run", lambda *_: None)
        list(train(CONFIG, dataset, open_backend(), run_dir=place / "run"))
    return table, place, dataset


def test_features_are_those_of_scikit_learns_transformers(files: tuple[Mixed, Path, Dataset]) -> None:
    """Fitted to the training rows: the median of numbers, and categories in at least 1 % of the rows, and in two."""
    table, _, dataset = files
    labels = np.unique(table.columns[table.label], return_inverse=True)[1]
    held, left = split(labels if dataset.task.exclusive else None, len(labels), 0.2, 0)
    expected = []
    for name, values in table.columns.items():
        if name in (table.label, *table.ids):
            continue
        gaps = np.array([[value is None] for value in values])
        if any(isinstance(value, str) for value in values):
            words = np.array(values, object)[:, None]
            encoder = OneHotEncoder(min_frequency=2, handle_unknown="infrequent_if_exist", sparse_output=False)
            encoder.fit(words[left][~gaps[left, 0]])
            expected.append(encoder.transform(np.where(gaps, words[~gaps][0], words)) * ~gaps)
        else:
            kind = "M8[D]" if isinstance(values[0], date) else float
            numbers = np.array(values, kind).astype(float)[:, None]
            expected.append(SimpleImputer(strategy="median").fit(numbers[left]).transform(numbers))
        if gaps[left].any():
            expected.append(gaps)
    features = np.concatenate(expected, axis=1)
    np.testing.assert_array_equal(dataset.train_inputs, features[left])
    np.testing.assert_array_equal(dataset.test_inputs, features[held])
    assert len(dataset.columns.feature_names) == features.shape[1]


def test_every_form_of_a_table_gives_the_same_bits(files: tuple[Mixed, Path, Dataset]) -> None:
    """To train on, and to predict from; with the columns in any order and among others."""
    table, place, dataset = files
    datasets = [load(place / name, table) for name in ("t.parquet", "german.csv")]
    y = table.columns[table.label]
    datasets += [from_arrays(table.frame(kind), y, 0.2) for kind in FRAMES]
    for other in datasets:
        assert other.columns == dataset.columns
        for one, theirs in zip(dataset[:4], other[:4], strict=True):
            np.testing.assert_array_equal(one, theirs)
    expected = predict(place / "run", place / "t.csv").outputs
    order = np.random.default_rng(1).permutation([*table.columns])
    write(place / "order.csv", {name: table.columns[name] for name in order})
    inputs = [place / name for name in ("t.parquet", "german.csv", "order.csv")]
    for given in (*inputs, *(table.frame(kind, order) for kind in FRAMES)):
        np.testing.assert_array_equal(predict(place / "run", given).outputs, expected)


def test_the_columns_are_stored_with_the_model(files: tuple[Mixed, Path, Dataset]) -> None:
    """So rows that were trained on are known again, and the others have the figures of the test set."""
    _, place, dataset = files
    assert load_run(place / "run").columns == dataset.columns
    here = evaluate(place / "run").result
    with pytest.warns(MlpXpWarning, match="^120 of 150 rows are left out: the network was trained on them"):
        there = evaluate(place / "run", data=place / "t.parquet").result
    assert (there.samples, there.loss) == (here.samples, pytest.approx(here.loss))


def test_faults_of_other_tables_name_all_columns(files: tuple[Mixed, Path, Dataset], tmp_path: Path) -> None:
    table, place, dataset = files
    numbers = [each.name for each in dataset.columns.columns if each.kind == "number"]
    columns = {f"{name}_" if name in numbers[:2] else name: each for name, each in table.columns.items()}
    missing = " ".join(f"'{name}'{nearest(name, columns)}," for name in numbers[:2])[:-1]
    for command in (("predict", place / "run"), ("evaluate", place / "run", "--data-dir")):
        path = write(tmp_path / "renamed.csv", columns)
        assert_one_line(call(*command, path), 2, f"'{path}': has no column {missing}; its columns are ")
        path = write(tmp_path / "wrong.csv", {**table.columns, **{name: ["7", "x?"] * 75 for name in numbers}})
        fault = f"'{path}', line 3, column '{numbers[0]}': 'x?' is not a finite number; correct it; "
        assert_one_line(call(*command, path), 2, fault, f"; there are wrong values in {some(numbers[1:])} too")


def test_networks_that_were_fitted_to_other_rows_answer_together(tmp_path: Path) -> None:
    """Each makes its own features of a table, as the members of a cross-validation."""
    table = mixed("ames")
    path, runs = write(tmp_path / "t.csv", table.columns), [tmp_path / "r0", tmp_path / "r1"]
    datasets = [load(path, table, split_seed=seed) for seed in range(2)]
    assert datasets[0].columns.feature_names != datasets[1].columns.feature_names
    for run, dataset in zip(runs, datasets, strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mlp_xp.api.draw_run", lambda *_: None)
            list(train(CONFIG, dataset, open_backend(), run_dir=run))
    expected = np.mean([predict(run, path).outputs for run in runs], axis=0)
    np.testing.assert_allclose(predict(runs, path).outputs, expected, rtol=1e-12)
    new = write(tmp_path / "new.csv", {**table.columns, "Area": [2000.5] * 150})
    error = np.array(table.columns["Price"]) - predict(runs, new).values
    assert evaluate(runs, data=new).result.rmse == pytest.approx(np.mean(error**2) ** 0.5)


def test_nothing_is_learned_from_test_rows() -> None:
    """Neither medians nor categories, and the kind of a column neither."""
    a, b = np.arange(40) / 4, text("xy" * 20)
    rows = np.arange(30)
    columns = Columns.fit(Table(("a", "b"), (a, b)), rows)
    a[30:], b[30:] = np.nan, "z"
    assert Columns.fit(Table(("a", "b"), (a, b)), rows) == columns
    features = columns.features(Table(("a", "b"), (a, b)))
    np.testing.assert_array_equal(features[30:], [[np.median(a[:30]), 0, 0]] * 10)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([1, np.nan, 4, 6]), Column("a", "number", 4.0, flagged=True)),
        (text(["1", "NA", " 4", "6e0"]), Column("a", "number", 4.0, flagged=True)),
        (text(["true", "FALSE", "false", "False"]), Column("a", "number", 0.0)),
        (np.array(["1970-01-03", "NaT", "1970-01-02T12:00"], "M8[us]"), Column("a", "date", 1.75, flagged=True)),
        (text(["1970-01-03", "-", "1970-01-02T13:00:00+01:00"]), Column("a", "date", 1.75, flagged=True)),
        (text(["03.01.1970", "05.01.1970", ""]), Column("a", "date", 3.0, flagged=True)),
        (text(["b", "a", "b", "a", "", "c"]), Column("a", "category", None, True, ("a", "b"), other=True)),
        (text(["b", "a", "b", "a"]), Column("a", "category", None, False, ("a", "b"))),
        (text(["01", "x", "01", "x", "x"]), Column("a", "category", None, False, ("01", "x"))),
        (text(["a", "b", "c", "", "d"]), Column("a", "category", None, flagged=True)),
        (text(["", "NA"]), Column("a", "category")),
        (text([*"aab" * 67, *["rare"] * 2]), Column("a", "category", None, False, ("a", "b"), other=True)),
        (
            text([f"{i:02}x" for i in range(40) for _ in range(2 + (i > 5))]),
            Column("a", "category", None, False, tuple(f"{i:02}x" for i in range(6, 36)), other=True),
        ),
    ],
)
def test_what_a_column_is(values: np.ndarray, expected: Column) -> None:
    if not expected.feature_names:
        values = np.concatenate([values, values])  # a column without features alone is refused
    assert fitted(values) == expected


def test_columns_that_differ_in_every_row_are_named_at_once() -> None:
    """Row numbers, whole numbers in any order, and text; but neither quantities with a fraction nor few rows."""
    n = np.arange(20.0)
    words = {"a,b": text(f"{i:.0f}x" for i in n), "word": text("xy" * 10)}
    columns = {"id": n[::-1] * 7, "size": n / 8, **words, "half": np.where(n < 10, n, np.nan)}
    table = Table(tuple(columns), tuple(columns.values()))
    with pytest.warns(MlpXpWarning) as warned:
        Columns.fit(table)
    assert [str(each.message) for each in warned] == [
        "X: columns whose values all differ, as row numbers do: 'id'; columns of text without a frequent value, which "
        'are not used: \'a,b\'; to leave columns out, give exclude="id,"a,b""'
    ]


def test_other_rows() -> None:
    """Unseen categories are other, or nothing; gaps are filled; numbers may be text, and the other way round."""
    values = np.arange(10) / 4, text("xxyyyxxxyz"), text(["1", "1", "2", "2", "A", "A"] + ["1"] * 4)
    columns = Columns.fit(Table(("n", "word", "code"), values))
    codes, words = np.array([1.0, 2, 7, np.nan]), text(["x", "w", "", "y"])
    table = Table(("code", "word", "n"), (codes, words, text(["1", "", "NA", "2.5"])))
    expected = [[1, 1, 0, 0, 1, 0, 0], [1.125, 0, 0, 1, 0, 1, 0], [1.125, 0, 0, 1, 0, 0, 0], [2.5, 0, 1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(columns.features(table), expected)
    strange = replace(table, columns=(text("BBBB"), text("wwww"), table.columns[2]))
    with pytest.warns(MlpXpWarning, match="^columns without a value that was frequent in training: 'word', 'code'; ch"):
        columns.features(strange)
    assert columns.features(values[0]) is values[0], "an array has features"
    days = replace(table, columns=(*table.columns[:2], np.zeros(4, "M8[us]")))
    with pytest.raises(DatasetError, match=r"X: row 0, column 'n': 1970-01-01T00:00:00.000000 is not a finite number"):
        columns.features(days)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "titanic/german.csv",
            "6 of numbers, 3 of categories, 2 unused, 3 with gaps; separated by ';', decimal commas",
        ),
        ("ames/t.csv", "6 of numbers, 6 of categories, 1 of dates, 4 with gaps"),
    ],
)
def test_train_says_what_it_found(tmp_path: Path, name: str, line: str) -> None:
    table = mixed(name.partition("/")[0])
    path = write(tmp_path / name.partition("/")[2], table.columns)
    outcome = call("train", "--data-dir", path, "--label", table.label, "--epochs", 1, "--run-dir", tmp_path / "run")
    assert f"\ncolumns  {line}\n" in outcome.out
    warned = f"warning: '{path}': columns whose values all differ, as row numbers do: '{table.ids[0]}'; "
    assert outcome.err.startswith(warned)
