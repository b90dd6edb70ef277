"""Raw tables as features, in files and data frames.

What is fitted to the training rows, and what other rows become.
"""

import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from data_sets import FEW_FRAMES, MIXED, mixed, write_csv
from helpers import call

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.table import Table, Writing
from mlp_xp.errors import DatasetError, MlpXpWarning


def text(values: Any) -> pl.Series:
    return pl.Series([*values], dtype=pl.String)


def fitted(values: np.ndarray) -> Column:
    """Return how a column becomes features, without its warning."""
    with warnings.catch_warnings(action="ignore"):
        return Columns.fit(Table(("a",), (values,))).columns[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (text(["1", "NA", "4", "6e0"]), Column("a", "number", 4.0, flagged=True)),
        (
            text(["1970-01-03", "-", "1970-01-02T13:00:00+01:00"]),
            Column("a", "date", 1.75, flagged=True),
        ),
        (text(["True", "false", "1"]), Column("a", "number", 1.0)),
        (
            text(["true", "maybe"] * 3),
            Column("a", "category", None, False, ("maybe", "true")),
        ),
        (text(["a", "b", "c", "", "d"]), Column("a", "category", None, flagged=True)),
        (
            text([*"aab" * 67, *["rare"] * 2]),
            Column("a", "category", None, False, ("a", "b"), other=True),
        ),
        (
            text(f"{i:03}x" for i in range(300) for _ in range(5 + (i > 80))),
            Column(
                "a",
                "category",
                None,
                False,
                tuple(f"{i:03}x" for i in range(300) if i < 31 or i > 80),
                other=True,
            ),
        ),
    ],
)
def test_what_a_column_is(values: np.ndarray, expected: Column) -> None:
    assert fitted(values) == expected


# What is neither a number, an ISO date nor text has an option.

DECLARED = [
    (["3,5", "1.234,25", "NA", "-7", "1.234.567"], (",", ".")),
    (["3,5", "1234,25", "-", "-7,", "1234567"], (",", "")),
    (["3.5", "1,234.25", "", "-7", "1,234,567"], (".", ",")),
    (["3.5", "1 234.25", "", "-7e0", "+1 234 567"], (".", " ")),
]


@pytest.mark.parametrize(("values", "marks"), DECLARED)
def test_numbers_are_read_by_the_declared_marks(values: Any, marks: Any) -> None:
    table = Table(("a",), (text(values),), writing=Writing(*marks))
    expected = [3.5, 1234.25, -7.0, 1234567.0]
    found = Columns.fit(table).features(table)
    assert [*found[[0, 1, 3, 4], 0]] == expected
    assert found[2].tolist() == [np.median(expected), 1]


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("%d.%m.%Y", ["31.12.2023", "1.2.2024"]),
        ("%m/%d/%y", ["12/31/23", "2/1/24"]),
        ("%Y%m%d", ["20231231", "20240201"]),
        ("%Y年%m月%d日", ["2023年12月31日", "2024年2月1日"]),
        ("%d.%m.%Y %H:%M %z", ["31.12.2023 01:00 +0100", "01.02.2024 00:00 +0000"]),
    ],
)
def test_dates_are_read_by_the_declared_form(form: str, values: list[str]) -> None:
    """A column without any is read as ISO dates."""
    writing = Writing(date_format=form)
    iso = ["2023-12-31", "2024-02-01"]
    table = Table(("a", "b"), (text(values), text(iso)), writing=writing)
    columns = Columns.fit(table)
    assert [each.kind for each in columns.columns] == ["date", "date"]
    assert columns.features(table).tolist() == [[19722, 19722], [19754, 19754]]
    assert Columns.from_record(columns.record()).writing == writing
    other = replace(table, columns=(text([values[0], "x"]), table.columns[1]))
    with pytest.raises(DatasetError, match="row 1, column 'a'"):
        columns.features(other)


UNCLEAR = "3,5 1,234 1.234.567 $3 €3,5 3$ (5.2) −4 5-10 <5 5+ 55% 55％ 12:30 １２"
UNCLEAR += " 1/2/2024 31.12.2024 2024/12/31 24-12-31 2024.12.31 192.168.0.1 555-1234"
UNCLEAR += " 1,5E+03 $1e5"


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2", "x"],
        ["x", "y", "2"],
        ["2024-01-01", "x"],
        ["2024-01-01", "2024"],
        ["x", "2024-01-01"],
        ["1_000", "2"],
        ["1", "inf"],
        ["1", "١"],
        *([each, each, "NA"] for each in UNCLEAR.split()),
    ],
)
def test_what_is_not_understood_is_refused(values: list[str]) -> None:
    table = Table(("a",), (text(values),))
    with pytest.raises(DatasetError) as caught:
        Columns.fit(table)
    assert (caught.value.column, caught.value.setting) == ("a", "X")
    assert repr(values[caught.value.row]) in str(caught.value)
    chosen = replace(table, columns=(text(values * 5),), text_names=("a",))
    assert Columns.fit(chosen).columns[0].is_category


@pytest.mark.parametrize(
    ("values", "writing"),
    [
        (["3.5"], Writing(",")),
        (["3,5", "3.5"], Writing(",")),
        (["3.5", "1.234,5"], Writing(",", ".")),
        (["1,23"], Writing(".", ",")),
        (["0,125"], Writing(".", ",")),
        (["1234,567"], Writing(".", ",")),
        (["1,234,56"], Writing(".", ",")),
        (["3,5"], Writing(".", "'")),
        (["31.12.2024", "2024-12-31"], Writing(date_format="%d.%m.%Y")),
        (["31.12.2024", "12.31.2024"], Writing(date_format="%d.%m.%Y")),
    ],
)
def test_what_is_not_written_as_declared_is_refused(values, writing) -> None:
    with pytest.raises(DatasetError, match="column 'a'"):
        Columns.fit(Table(("a",), (text(values),), writing=writing))


def test_a_form_of_dates_that_no_column_has_is_refused() -> None:
    for form in ("%d.%m.%Y", "dd.mm.yyyy", "%Q", "%"):
        table = Table(("a",), (text(["1", "2"]),), writing=Writing(date_format=form))
        with pytest.raises(DatasetError, match=r"^date_format: "):
            Columns.fit(table)


# What is said of columns. What it is said of comes from tables that people have.

COUNTS = (
    "columns of whole numbers that rise from row to row, as row numbers do, and are "
    "used as numbers"
)
EMPTY = "columns that are empty, and are not used"
UNUSED = "columns of text without a frequent value, which are not used"
ONLY_GAPS = "columns of text without a frequent value, of which only the gaps are used"
N = np.arange(1.0, 101)
SHUFFLED = np.random.default_rng(2).permutation(100)


def said(values: Any) -> str:
    """Return the warning of a column, without its name, or an empty text."""
    table = Table(("a", "b"), (values, N % 7 / 2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Columns.fit(table)
    remarks = [str(each.message) for each in caught]
    assert all(each.endswith(": 'a'") for each in remarks)
    return "".join(each.removeprefix("X: ").removesuffix(": 'a'") for each in remarks)


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        (N, COUNTS),
        (N + (N > 40) + (N > 70), COUNTS),  # rows were left out
        (N + 1928, COUNTS),  # years
        (N / 2, ""),
        (N[SHUFFLED], ""),  # ranks
        (N // 2, ""),
        (text(f"Rue {i}" for i in N), UNUSED),
        (text([""] * 100), EMPTY),
        (text(f"R-{i % 90}" for i in SHUFFLED), UNUSED),
        (text(f"{i} kg" for i in SHUFFLED), UNUSED),
        (text(f"May {i % 28}, {i}" for i in SHUFFLED), UNUSED),
        (text(f"Maya {i}th" for i in SHUFFLED), UNUSED),
        (text(f"Maya {i}th" if i % 9 else "" for i in SHUFFLED), ONLY_GAPS),
        (text(f"ID{i}" for i in SHUFFLED), UNUSED),
        (text(f"{i}{'abcdefgh'[i % 8]}" for i in SHUFFLED), UNUSED),
        # every value has its feature
        (text(["1st", "2nd", "3rd", "Crew"] * 25), ""),
        (text(["12 kg", "15 kg"] * 50), ""),
    ],
)
def test_a_column_is_warned_of_if_that_is_right(values: Any, remark: str) -> None:
    assert said(values) == remark


def test_all_columns_are_warned_of_at_once_with_what_to_type(tmp_path: Path) -> None:
    """In a file, which has options."""
    columns = {
        "id": N.tolist(),
        "row, new": (N - 1).tolist(),
        "name": [f"x{i}" for i in N],
        "size": (N / 8).tolist(),
        "kind": ["a", "b"] * 50,
    }
    path = write_csv(tmp_path / "t.csv", columns)
    with pytest.warns(MlpXpWarning) as warned:
        dataset = load_dataset(path, label="kind")
    (warning,) = warned
    assert str(warning.message) == (
        f"'{path}': {COUNTS}: 'id', 'row, new'; {UNUSED}: 'name'; to leave out row "
        """numbers, give exclude='id,"row, new"'"""
    )
    assert dataset.signature.feature_names == ("id", "row, new", "size")
    load_dataset(path, label="kind", exclude='id,"row, new",name')


def test_rare_values_that_are_put_together_are_counted() -> None:
    """In the first lines of a run, for the columns with the most such rows."""
    rare = [f"r{i}" for i in range(12)]
    columns = {
        "city": text(["Rome"] * 60 + ["Oslo"] * 28 + rare),
        "all": text(["x", "y"] * 50),
        "b": text(["x"] * 98 + ["y", "z"]),
        "c": text(["x"] * 99 + ["z"]),
        "d": text(["x"] * 97 + ["", "y", "z"]),
    }
    fitted = Columns.fit(Table(tuple(columns), tuple(columns.values())))
    assert fitted.described == (
        "category: 5; rare values put together: city 12 of 14 (12 % of the rows), "
        "d 2 of 3 (2 % of the rows), b 2 of 3 (2 % of the rows) and 1 more"
    )


def test_other_rows() -> None:
    """Unseen categories are other, or nothing, and gaps are filled.

    Numbers may be text, and the other way round.
    """
    values = (
        np.arange(10) / 4,
        text("xxyyyxxxyz"),
        text(["1", "1", "2", "2"] + ["A"] * 6),
    )
    table = Table(("n", "word", "code"), values, text_names=("code",))
    columns = Columns.fit(table)
    codes, words = np.array([1.0, 2, 7, np.nan]), text(["x", "w", "", "y"])
    table = Table(("code", "word", "n"), (codes, words, text(["1", "", "NA", "2.5"])))
    expected = [
        [1, 1, 0, 0, 1, 0, 0],
        [1.125, 0, 0, 1, 0, 1, 0],
        [1.125, 0, 0, 1, 0, 0, 0],
        [2.5, 0, 1, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(columns.features(table), expected)
    assert columns.features(values[0]) is values[0], "an array has features"
    strange = replace(table, columns=(text("BBBB"), text("wwww"), text([""] * 4)))
    with pytest.warns(MlpXpWarning, match="'n', 'word', 'code'"):
        columns.features(strange)


def test_a_category_that_is_called_other_is_not_the_other_categories() -> None:
    other = Column("c", "category", None, True, ("other",), other=True)
    assert other.feature_names == ("c=other", "c is other", "c is missing")


@pytest.mark.filterwarnings(
    "ignore:.*labels among the columns", "ignore:.*outside the training"
)
@pytest.mark.usefixtures("no_pictures")
def test_a_file_is_read_as_the_training_file(tmp_path: Path) -> None:
    """With the declared marks, which the model keeps."""
    area = [f"1.{100 + n // 2}" for n in range(20)]
    rent = [f"{147 + 9 * n},86" for n in range(20)]
    ages = ["3", "4"] * 10

    def table(name: str, columns: dict[str, list[str]]) -> Path:
        rows = [[*columns], *zip(*columns.values(), strict=True)]
        (tmp_path / name).write_text("\n".join(";".join(row) for row in rows))
        return tmp_path / name

    path = table("t.csv", {"area": area, "age": ages, "rent": rent})
    run = tmp_path / "run"
    words = "train --label rent --epochs 1 --networks 1 --decimal , --thousands ."
    assert call(words, data_dir=path, run_dir=run).code == 0
    assert evaluate(run).result.samples == 4
    with pytest.warns(MlpXpWarning, match="16 of 20 rows"):
        assert evaluate(run, data=path).result.rmse < 300
    assert load_dataset(
        path, label="rent", decimal=",", thousands=".", test_fraction=0
    ).train.labels.ravel().tolist() == [147.86 + 9 * n for n in range(20)]
    numbers = [float(text.replace(".", "")) for text in area]
    frame = pd.DataFrame({"area": numbers, "age": [3, 4] * 10})
    whole = table("whole.csv", {"area": area, "age": ages, "rent": ["900"] * 20})
    expected = predict(run, frame).outputs
    for each in (path, whole):
        np.testing.assert_array_equal(predict(run, each).outputs, expected)


@pytest.mark.parametrize("form", ["pandas", "file", "pair"])
def test_evaluate_tells_of_gaps_that_training_did_not_have(
    tmp_path: Path, form: str
) -> None:
    """As `predict` does. The test set of a training has them without a warning."""
    columns = {
        "size": [n / 8 for n in range(40)],
        "city": ["Rome", "Oslo"] * 20,
        "age": [None, 3.5, 4.5, 5] * 10,
        "kind": ["a", "b", "b", "a"] * 10,
    }
    path = write_csv(tmp_path / "t.csv", columns)
    dataset = load_dataset(path, label="kind")
    assert [*train(CONFIG, dataset, run_dir=tmp_path / "run")]
    new = {name: values[:8] for name, values in columns.items()}
    new["size"], new["city"] = (
        [*[None] * 3, 0.3, 0.4, 0.6, 0.7, 0.8],
        [None, *["Rome"] * 7],
    )
    for part, rows in (("train", columns), ("test", new)):
        (tmp_path / "both").mkdir(exist_ok=True)
        write_csv(tmp_path / "both" / f"{part}.csv", rows)
    load_dataset(tmp_path / "both", label="kind")
    data: Any = pd.DataFrame(new)
    if form == "file":
        data = write_csv(tmp_path / "new.csv", new)
    if form == "pair":
        data = data, data["kind"]
    with pytest.warns(MlpXpWarning) as warned:
        evaluate(tmp_path / "run", data)
    (said,) = [str(each.message) for each in warned if "no value" in str(each.message)]
    assert "'size', 'city';" in said


def test_a_data_set_is_evaluated_as_the_frame_it_was_made_of() -> None:
    frame, y = pd.DataFrame({"a": [1.5, 2, np.nan, 4] * 5}), [0, 1] * 10
    dataset = from_arrays(frame, y)
    *_, last = train(TrainConfig(epochs=1), dataset, open_backend())
    result = evaluate(last.model, (frame, y)).result
    assert evaluate(last.model, dataset).result == result


def test_a_network_of_arrays_takes_tables_of_numbers_alone() -> None:
    frame, y = pd.DataFrame({"a": [1.5, 2] * 10, "b": [3, 4.5, 5, 6] * 5}), [0, 1] * 10
    X = frame.to_numpy()
    *_, last = train(TrainConfig(epochs=1), from_arrays(X, y), open_backend())
    model = last.model
    assert evaluate(model, (frame, y)).result == evaluate(model, (X, y)).result
    for value in ("x", np.nan):
        wrong = frame.astype(object).assign(b=[value, *frame["b"][1:]])
        for use, data in ((predict, wrong), (evaluate, (wrong, y))):
            with pytest.raises(DatasetError, match="X: row 0, column"):
                use(model, data)


# Networks of tables as people have them, in use on data frames.

CONFIG = TrainConfig(
    epochs=1,
    batch_size=16,
    hidden=(5,),
    optimizer="adam",
    update_order="simultaneous",
    init="he",
)


@pytest.fixture(scope="module", params=MIXED)
def run(request, tmp_path_factory, no_pictures):
    """A table, its file, and the network of a run that was trained on it."""
    folder, table = tmp_path_factory.mktemp(request.param), mixed(request.param)
    path = write_csv(folder / "table.csv", table.columns)
    dataset = load_dataset(path, label=table.label, exclude=",".join(table.ids) or None)
    assert [*train(CONFIG, dataset, open_backend(), run_dir=folder / "run")]
    return table, path, load_run(folder / "run")


@pytest.mark.filterwarnings("ignore:.*column")  # as in tests/runs/test_new_values.py
@pytest.mark.filterwarnings("ignore:.*equal training rows")
@pytest.mark.parametrize("kind", FEW_FRAMES)
def test_evaluate_takes_data_frames(run, kind: str) -> None:
    """Columns may be in another order and among others."""
    table, path, model = run
    frame = table.frame(kind, reversed(table.columns))
    y = table.frame(kind, [table.label])
    with pytest.warns(MlpXpWarning, match=r"12[01] of 150 rows equal training rows"):
        results = [evaluate(model, data).result for data in ((frame, y), frame, path)]
    assert results == results[-1:] * 3
    assert results[0].samples == 150
    other = shutil.copy(path, path.with_suffix(".txt"))  # which training takes too
    np.testing.assert_array_equal(model.predict(frame), predict(model, other).values)
