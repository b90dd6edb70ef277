"""Tables as people have them, by options.

Rows without a label, columns of text, and what the first lines of a run say. Files and
data frames give the same.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import data_frame, write_csv
from helpers import call
from numerics import assert_same_data

from mlp_xp import evaluate, load_dataset, load_run, open_backend, predict
from mlp_xp.errors import DatasetError, MlpXpWarning

pytestmark = [pytest.mark.needs("polars"), pytest.mark.needs("pyarrow")]

ROWS = 40
SUFFIXES = ("csv", "parquet")
RANDOM = np.random.default_rng(3)
AREA = RANDOM.uniform(30, 120, ROWS).round(1).tolist()
KIND = [("flat", "house", "villa")[i % 3] for i in range(ROWS)]
PRICE = [round(3 * area + 40 * (i % 3) + 0.25, 2) for i, area in enumerate(AREA)]
UNLABELLED = [3, 4, 17, 39]


# Rows without a label.


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "labels",
    [
        {"y": KIND},
        {"y": PRICE},
        {"y": [i % 2 for i in range(ROWS)]},
        {"y": [i % 2 for i in range(ROWS)], "z": [i // 2 % 2 for i in range(ROWS)]},
    ],
)
def test_rows_without_a_label_are_left_out(
    tmp_path: Path, suffix: str, labels: dict[str, list[Any]]
) -> None:
    """The others are as in a table without these rows."""
    gaps, whole = dict(labels), {name: without(each) for name, each in labels.items()}
    gaps["y"] = with_gaps(labels["y"])
    weights = [1.0 + i % 4 for i in range(ROWS)]
    path = write(tmp_path / f"gaps.{suffix}", {"area": AREA, **gaps, "w": weights})
    columns = {"area": without(AREA), **whole, "w": without(weights)}
    other = write(tmp_path / f"whole.{suffix}", columns)
    how = {"label": ",".join(labels), "sample_weight": "w"}
    place = "line 5" if suffix == "csv" else "row 4"
    with pytest.raises(DatasetError, match=f"{place}, column 'y'"):
        load_dataset(path, **how)
    dataset = load_dataset(path, drop_unlabelled=True, **how)
    without_gaps = load_dataset(other, **how)
    assert_same_data(dataset, without_gaps, open_backend())
    assert dataset.signature.columns == without_gaps.signature.columns
    notes = "4 rows without a label left out"
    assert dataset.signature.columns.described.endswith(notes)


def test_a_fault_in_the_rows_that_are_left_has_its_line(tmp_path: Path) -> None:
    area = [*AREA[:20], "many", *AREA[21:]]
    path = write(tmp_path / "t.csv", {"area": area, "y": with_gaps(KIND)})
    with pytest.raises(DatasetError, match="line 22, column 'area'"):
        load_dataset(path, label="y", drop_unlabelled=True)


def test_rows_without_a_label_are_left_out_of_both_tables(tmp_path: Path) -> None:
    for folder, make in (("gaps", list), ("whole", without)):
        kinds = with_gaps(KIND) if folder == "gaps" else without(KIND)
        for part, add in (("train", 0.0), ("test", 0.5)):
            area = make([area + add for area in AREA])
            write(tmp_path / folder / f"{part}.csv", {"area": area, "y": kinds})
    dataset = load_dataset(tmp_path / "gaps", label="y", drop_unlabelled=True)
    whole = load_dataset(tmp_path / "whole", label="y")
    assert_same_data(dataset, whole, open_backend())


@pytest.mark.usefixtures("no_pictures")
def test_whole_numbers_beside_a_gap_stay_exact(tmp_path: Path) -> None:
    """As labels, and in the columns that predict repeats."""
    large = 2**53 + 1
    names = [None, *[large, large - 1] * 20]
    columns = {"area": [*AREA, 1.0], "y": names, "id": [large, 1, *[None] * 39]}
    path, run = write(tmp_path / "t.parquet", columns), tmp_path / "run"
    words = "--label y --task classes --drop-unlabelled --exclude id --epochs 1"
    assert call("train", "--data-dir", path, *words.split(), "--run-dir", run).code == 0
    assert load_run(run).signature.outputs == (str(large - 1), str(large))
    out = call("predict", run, path, "--csv", "--keep", "id").out.splitlines()
    assert [line.split(",")[1] for line in out[:4]] == ["id", str(large), "1", ""]


# Columns of text.


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_column_may_be_read_as_text(tmp_path: Path, suffix: str) -> None:
    codes = [f"{i % 5}" for i in range(ROWS)]
    rain = ["T", *(f"{i % 4}.5" for i in range(1, ROWS))]
    columns = {"code": codes, "rain": rain, "area": AREA, "y": KIND}
    path = write(tmp_path / f"t.{suffix}", columns)
    names = load_dataset(path, label="y", text="rain,code").signature.feature_names
    levels = ["code=0", "code=1", "code=2", "code=3", "code=4"]
    rains = ["rain=0.5", "rain=1.5", "rain=2.5", "rain=3.5", "rain is other"]
    assert names == (*levels, *rains, "area")
    path = write(tmp_path / f"t.{suffix}", {**columns, "code": list(map(int, codes))})
    assert load_dataset(path, label="y", text="code,rain").signature.feature_names == (
        names
    )


@pytest.mark.filterwarnings("ignore::mlp_xp.MlpXpWarning")
@pytest.mark.usefixtures("no_pictures")
def test_text_is_read_as_in_training(tmp_path: Path) -> None:
    """Neither a point between thousands nor a decimal comma is meant in it."""
    codes = ["1.234", "5,5", "1.234", "7.100"] * 10
    area = [str(value).replace(".", ",") for value in AREA]
    lines = [";".join(row) for row in zip(codes, area, KIND, strict=True)]
    path, run = tmp_path / "t.csv", tmp_path / "run"
    path.write_text("\n".join(["code;area;y", *lines]), encoding="utf-8")
    words = ("--data-dir", path, "--label", "y", "--text", "code", "--epochs", 1)
    assert call("train", *words, "--decimal", ",", "--run-dir", run).code == 0
    assert load_run(run).signature.feature_names == (
        "code=1.234",
        "code=5,5",
        "code=7.100",
        "area",
    )
    frame = data_frame("polars", {"code": codes, "area": AREA})
    expected = predict(run, frame).outputs
    np.testing.assert_array_equal(predict(run, path).outputs, expected)


# A run says what it took, and reads its table, and others, in the same way.


@pytest.mark.filterwarnings("ignore::mlp_xp.MlpXpWarning")
@pytest.mark.usefixtures("no_pictures")
def test_a_run_says_what_it_took_and_reads_in_the_same_way(tmp_path: Path) -> None:
    kids = [(0, 1, 1, 1, 0, 0, 1, 1, 0, 1)[i % 10] for i in range(ROWS)]
    sold = [f"{1 + i % 12}/{1 + i % 28}/2019" for i in range(ROWS)]
    rain = ["T", *(f"{i % 4}.5" for i in range(1, ROWS))]
    columns = {"area": AREA, "sold": sold, "rain": rain, "kids": with_gaps(kids)}
    path, run = write(tmp_path / "t.csv", columns), tmp_path / "run"
    options = "--label kids --text rain --date-format %m/%d/%Y --epochs 1 --networks 1"
    words = ("train", "--data-dir", path, *options.split(), "--run-dir", run)
    outcome = call(*words, "--drop-unlabelled")
    assert (outcome.code, outcome.err) == (0, "")
    first_lines = outcome.out.partition("\n\n")[0]
    assert "\ncolumns  number: 1, date: 1, category: 1; 4 rows without a label" in (
        first_lines
    )
    assert (
        "\ntask     classes, because there are two different whole numbers; if these "
        "are quantities, give --task regression\n"
    ) in first_lines
    assert load_run(run).signature.outputs == ("0", "1")

    # in another table, rows have no label
    assert evaluate(run).result.samples == 7
    few = {name: values[:10] for name, values in columns.items()}
    new = write(tmp_path / "new.csv", {**few, "area": [7.5 * i for i in range(10)]})
    with pytest.warns(MlpXpWarning) as warned:
        assert evaluate(run, data=new).result.samples == 8
    texts = [str(each.message) for each in warned]
    assert f"'{new}': 2 of 10 rows are left out: they have no label" in texts
    iso = {**few, "area": [7.5 * i for i in range(10)]}
    iso["sold"] = [f"2019-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(10)]
    np.testing.assert_array_equal(
        predict(run, new).outputs, predict(run, data_frame("pandas", iso)).outputs
    )


@pytest.mark.filterwarnings("ignore::mlp_xp.MlpXpWarning")
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (
            {"kids": [i % 2 for i in range(ROWS)], "sick": [0, 1] * 20},
            "labels, because all values are 0 or 1; if these are quantities, "
            "give --task regression",
        ),
        (
            {"kids": [1000 * i for i in range(ROWS)]},
            "regression, because a whole number is in a single row; if these are "
            "classes, give --task classes",
        ),
    ],
)
def test_a_run_says_which_task_it_took_and_why(tmp_path: Path, labels, task) -> None:
    path = write(tmp_path / "t.csv", {"area": AREA, **labels})
    words = ("--epochs", 1, "--networks", 1, "--label", ",".join(labels))
    out = call("train", "--data-dir", path, *words, "--run-dir", tmp_path / "run").out
    assert f"\ntask     {task}\n" in out


# Tables with gaps.


def without(values: list[Any], rows: list[int] = UNLABELLED) -> list[Any]:
    return [value for i, value in enumerate(values) if i not in rows]


def with_gaps(values: list[Any]) -> list[Any]:
    return [None if i in UNLABELLED else value for i, value in enumerate(values)]


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        columns = {
            name: ["" if value is None else value for value in values]
            for name, values in columns.items()
        }
    return write_csv(path, columns)
