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
from mlp_xp.data.table import Table
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
        (text(["1", "NA", " 4", "6e0"]), Column("a", "number", 4.0, flagged=True)),
        (
            text(["1970-01-03", "-", "1970-01-02T13:00:00+01:00"]),
            Column("a", "date", 1.75, flagged=True),
        ),
        (
            text(["1_000", "2"] * 3),
            Column("a", "category", None, False, ("1_000", "2")),
        ),
        (
            text(["01", "x", "01", "x", "x"]),
            Column("a", "category", None, False, ("01", "x")),
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
        (
            text(["12/31/2019", "1/2/2020", "NA"]),
            Column("a", "date", 18262.0, flagged=True, day_first=False),
        ),
        (
            text(["1/2/2020", "02/01/2020", "31/12/2019"]),
            Column("a", "date", 18263.0, day_first=True),
        ),
        (
            text(["02-01-2020", "1/1/2020", "31-12-2019"]),
            Column("a", "date", 18262.0, day_first=True),
        ),
        (
            text(["2.1.2020", "31.12.2019", "01.1.2020"]),
            Column("a", "date", 18262.0),
        ),
        (
            text(["2020-1-2", "2019.12.31", "2020年1月1日"]),
            Column("a", "date", 18262.0),
        ),
        (
            text(["55％", "4.5 %", "NA", "-5%"]),
            Column("a", "percentage", 4.5, flagged=True),
        ),
        # a share, or a percentage
        (
            text(["55%", "0.5"] * 2),
            Column("a", "category", levels=("0.5", "55%")),
        ),
        (text(["2020/1/1 6:00", "2020-01-01T18:00Z"]), Column("a", "date", 18262.5)),
        # which of the two is the day is not known, or differs
        (
            text(["1/2/2020", "2/1/2020"] * 2),
            Column("a", "category", levels=("1/2/2020", "2/1/2020")),
        ),
        (
            text(["12/31/2019", "31/12/2019"] * 2),
            Column("a", "category", levels=("12/31/2019", "31/12/2019")),
        ),
    ],
)
def test_what_a_column_is(values: np.ndarray, expected: Column) -> None:
    if not expected.feature_names:
        # a column without features alone is refused
        values = np.concatenate([values, values])
    assert fitted(values) == expected


# What is said of columns. What it is said of comes from tables that people have.

COUNTS = "columns that count the rows, as row numbers do, and are used as numbers"
EMPTY = "columns that are empty, and are not used"
UNUSED = "columns of text without a frequent value, which are not used"
ONLY_GAPS = "columns of text without a frequent value, of which only the gaps are used"
OTHERWISE = (
    "columns of text that look like numbers or dates, but are not written as 12, 3.5, "
    "2020-01-16 or NA, and"
)
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
        (N + 1928, ""),  # years
        (N[SHUFFLED], ""),  # ranks
        (N * 1000 + SHUFFLED, ""),  # populations
        (text(f"Rue {i}" for i in N), UNUSED),
        (text([""] * 100), EMPTY),
        (text(f"R-{i % 90}" for i in SHUFFLED), UNUSED),
        (text(f"25/11/{i}" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"${i:,}" for i in 977 * SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"{i} kg" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"{i}\u202f500,25" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"€ {i},25" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"May {i % 28}, {i}" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"{1900 + i}/01/13" for i in SHUFFLED), ""),
        (text(f"{i}.5%" for i in SHUFFLED), ""),
        (text(f"{i},5%" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"{i}，500" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"\u2212{i}" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"({i})" for i in SHUFFLED), f"{OTHERWISE} are not used"),
        (text(f"Maya {i}th" for i in SHUFFLED), UNUSED),
        (text(f"Maya {i}th" if i % 9 else "" for i in SHUFFLED), ONLY_GAPS),
        (
            text(f"{i} kg" if i % 9 else "" for i in SHUFFLED),
            f"{OTHERWISE} of which only the gaps are used",
        ),
        (
            text(["none yet"] * 30 + [f"{i / 8}" for i in SHUFFLED[:70]]),
            f"{OTHERWISE} only their frequent values are used",
        ),
        # codes, whose numbers are no quantities
        (text(f"{i}-{i % 7}" for i in SHUFFLED), UNUSED),
        (text(f"ID{i}" for i in SHUFFLED), UNUSED),
        (text(f"{i}{'abcdefgh'[i % 8]}" for i in SHUFFLED), UNUSED),
        # every value has its feature
        (text(["40-49", "50-59", "60+", "<40"] * 25), ""),
        (text(["1st", "2nd", "3rd", "Crew"] * 25), ""),
        (text(["12 kg", "15 kg"] * 50), ""),
    ],
)
def test_a_column_is_warned_of_if_that_is_right(values: Any, remark: str) -> None:
    assert said(values) == remark


def test_a_few_rows_are_counted_by_chance() -> None:
    with warnings.catch_warnings(action="error"):
        Columns.fit(Table(("a",), (N[:19],)))


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
    columns = Columns.fit(Table(("n", "word", "code"), values))
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


@pytest.mark.parametrize("form", ["16/10/2009", "10/16/2009", "16-10-2009"])
def test_dates_that_end_with_the_year_are_read_if_they_show_their_order(form) -> None:
    """In other rows of a column that was trained on other dates."""
    days = text(f"2009-10-{10 + i % 20}" for i in range(40))
    columns = Columns.fit(Table(("day",), (days,)))
    iso = Table(("day",), (text(["2009-10-16", "2009-10-05", ""]),))
    other = replace(iso, columns=(text([form, form.replace("16", "5"), ""]),))
    np.testing.assert_array_equal(columns.features(other), columns.features(iso))
    first, second = form.replace("16", "11"), form.replace("16", "5")
    unclear = replace(iso, columns=(text([first, "", second]),))
    with pytest.raises(DatasetError, match=f"'{first}'"):
        columns.features(unclear)


@pytest.mark.filterwarnings(
    "ignore:.*labels among the columns", "ignore:.*outside the training"
)
@pytest.mark.usefixtures("no_pictures")
def test_a_file_is_read_as_the_training_file(tmp_path: Path) -> None:
    """With decimal commas, whichever columns are there."""
    area = [f"1.{100 + n // 2}" for n in range(20)]
    rent = [f"{147 + 9 * n},86" for n in range(20)]
    ages = ["3", "4"] * 10

    def table(name: str, columns: dict[str, list[str]]) -> Path:
        rows = [[*columns], *zip(*columns.values(), strict=True)]
        (tmp_path / name).write_text("\n".join(";".join(row) for row in rows))
        return tmp_path / name

    path = table("t.csv", {"area": area, "age": ages, "rent": rent})
    run = tmp_path / "run"
    words = "train --label rent --epochs 1 --networks 1"
    assert call(words, data_dir=path, run_dir=run).code == 0
    with pytest.warns(MlpXpWarning, match="16 of 20 rows"):
        found = evaluate(run, data=path).result.rmse
    assert found == pytest.approx(evaluate(run).result.rmse)
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
    """Columns may be in another order and among others.

    The rows that the network was trained on are known again.
    """
    table, path, model = run
    frame = table.frame(kind, reversed(table.columns))
    y = table.frame(kind, [table.label])
    with pytest.warns(MlpXpWarning, match="120 of 150 rows"):
        results = [evaluate(model, data).result for data in ((frame, y), frame, path)]
    assert results == results[-1:] * 3
    # the rows in another order
    assert results[0].loss == pytest.approx(evaluate(model).result.loss, rel=1e-12)
    other = shutil.copy(path, path.with_suffix(".txt"))  # which training takes too
    np.testing.assert_array_equal(model.predict(frame), predict(model, other).values)


def test_codes_with_leading_zeros_are_told(tmp_path: Path) -> None:
    codes = [f"{number:04d}" for number in range(4)] * 20
    columns = {"post": codes, "part": [f"0.{c}" for c in codes], "y": [*"aab"] * 26}
    columns["y"] += ["a", "b"]
    path = write_csv(tmp_path / "t.csv", columns)
    with pytest.warns(MlpXpWarning, match="'post'"):
        load_dataset(path, label="y")
    load_dataset(path, label="y", text="post")  # without a warning
