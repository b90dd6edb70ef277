"""Rows unlike the training rows are warned of by `predict`, in all forms of a table.

Python's sets of the values are the reference.
"""

import json
import re
import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_sets import data_frame, varied, write_csv
from helpers import call, stored

from mlp_xp import (
    TrainConfig,
    export_page,
    from_arrays,
    load_dataset,
    load_run,
    predict,
    train,
)
from mlp_xp.data._splitting import split
from mlp_xp.data.columns import Columns
from mlp_xp.errors import DatasetError, MlpXpWarning

pytestmark = [pytest.mark.needs("polars"), pytest.mark.needs("pyarrow")]
RANDOM = np.random.default_rng(41)
CONFIG = TrainConfig(epochs=1, batch_size=16, hidden=(3,), init="he")
CITIES = ["Bern", "Oslo", "上海"]
Table = dict[str, list[Any]]


def table(rows: int, scale: float, words: list[str], gaps: float) -> Table:
    """Return columns of every kind. `words` are among those of the column `word`."""
    ages = [int(age) for age in RANDOM.integers(20, 60, rows) * scale]
    holes = [None if RANDOM.random() < 0.1 else age for age in ages]
    days = RANDOM.integers(0, 300, rows) * scale
    return {
        "size": (RANDOM.normal(size=rows) * scale).round(3).tolist(),
        "age": [None if RANDOM.random() < gaps else age for age in ages],
        "holes": holes,
        "day": [date(2020, 1, 1) + timedelta(int(day)) for day in days],
        "city": [*RANDOM.choice(CITIES, rows).tolist()],
        "word": [*RANDOM.choice(["a", "b"], rows - len(words)).tolist(), *words],
    }


TRAINING = table(300, 1, [f"rare {i}" for i in range(40)], gaps=0)
LABELS = RANDOM.integers(0, 2, 300)
TESTED, _ = split(LABELS, 300, 0.2, 0)
TRAINED = sorted({*range(300)} - {*TESTED.tolist()})
ROWS = table(60, 2, [f"rare {i}" for i in range(40)] + ["new", "newer"], gaps=0.2)
ROWS["city"][:5] = ["Rome", "Bern", "Rome", "Lima", None]


@pytest.mark.parametrize("form", [".csv", ".parquet", "pandas object", "polars"])
def test_new_values_are_counted(run: Path, tmp_path: Path, form: str) -> None:
    """Rare values of the training, which have no feature of their own, are known."""
    with pytest.warns(MlpXpWarning) as warned:
        predict(run, given(form, ROWS, tmp_path))
    expected = counted(of_training(), ROWS)
    assert said(warned) == expected
    words = [each for each in ROWS["word"] if each.startswith("rare")]
    assert 2 < expected["word"]["value"] < 2 + len(words)
    assert {*expected} == {"size", "age", "holes", "day", "city", "word"}
    assert expected["city"] == {"value": 3, "no value": 1}


@pytest.mark.parametrize("form", [".csv", "pandas"])
def test_training_rows_are_known(run: Path, tmp_path: Path, form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(run, given(form, of_training(), tmp_path))


def test_the_command_says_it_in_a_line_for_each_column(
    run: Path, tmp_path: Path
) -> None:
    rows = {name: values[:9] for name, values in TRAINING.items()}
    rows["size"] = [1e9, *rows["size"][1:]]
    rows["day"] = ["2031-05-06", *rows["day"][1:]]
    rows["city"] = ["Rome", *rows["city"][1:]]
    rows["age"] = ["", "", *rows["age"][2:]]
    path = write_csv(tmp_path / "rows.csv", {**rows, "kind": [1] * 9})
    outcome = call("predict", run, path)
    assert outcome.code == 0
    trained = of_training()
    sizes, days = trained["size"], trained["day"]
    place = f"warning: '{path}', column"
    assert outcome.err.splitlines() == [
        f"warning: '{path}': labels among the columns are ignored: 'kind'; evaluate "
        "compares them with the predictions",
        f"{place} 'size': 1 of 9 rows has a value outside the training range, "
        f"{min(sizes):.6g} to {max(sizes):.6g}, such as 1e+09",
        f"{place} 'age': 2 of 9 rows have no value, unlike the training rows; the "
        f"median {np.median(trained['age']):g} is used",
        f"{place} 'day': 1 of 9 rows has a value outside the training range, "
        f"{min(days)} to {max(days)}, such as 2031-05-06",
        f"{place} 'city': 1 of 9 rows has a value that training did not have: 'Rome'",
    ]


def test_an_ensemble_knows_the_rows_of_all_its_networks(
    tmp_path: Path, no_pictures: None
) -> None:
    """As a model in memory does. Trained on arrays, it warns of nothing."""
    parts = [slice(0, 150), slice(150, 300)]
    columns = [{n: v[part] for n, v in TRAINING.items()} for part in parts]
    models = []
    for part, each in zip(parts, columns, strict=True):
        dataset = from_arrays(data_frame("polars", each), LABELS[part])
        *_, last = train(CONFIG, dataset)
        models.append(last.model)
    both = {name: columns[0][name] + columns[1][name] for name in TRAINING}
    for given_models, trained in ((models, both), (models[0], columns[0])):
        with pytest.warns(MlpXpWarning) as warned:
            predict(given_models, data_frame("pandas", ROWS))
        assert said(warned) == counted(trained, ROWS)
    X = RANDOM.normal(size=(30, 2))
    *_, last = train(CONFIG, from_arrays(X, LABELS[:30], feature_names=["a", "b"]))
    predict(last.model, X * 9)
    predict(last.model, data_frame("polars", {"b": [1e9], "a": [0.5]}))


def test_values_that_only_float32_rounds_are_not_new() -> None:
    frame = data_frame("pandas", {"a": [0.1, 0.7, 0.3] * 9})
    *_, last = train(CONFIG, from_arrays(frame, [0, 1, 0] * 9))
    predict(last.model, frame.astype("float32"))
    assert float(np.float32(0.7)) != 0.7


def test_columns_with_too_many_rare_values_expect_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = data_frame("polars", {"word": TRAINING["word"]})
    rows = data_frame("polars", {"word": ["a", "new"]})
    dataset = from_arrays(frame, LABELS)
    with pytest.warns(MlpXpWarning, match="1 of 2 rows .* 'new'$"):
        predict([*train(CONFIG, dataset)][-1].model, rows)
    monkeypatch.setattr("mlp_xp.data.columns._MOST_RARE", 39)
    dataset = from_arrays(frame, LABELS)
    predict([*train(CONFIG, dataset)][-1].model, rows)


def test_many_columns_have_twelve_lines() -> None:
    names = [f"x{i}" for i in range(20)]
    frame = data_frame("polars", {name: [0.5, 1.5] * 9 for name in names})
    *_, last = train(CONFIG, from_arrays(frame, [0, 1] * 9))
    with pytest.warns(MlpXpWarning) as warned:
        predict(last.model, frame * 2)
    lines = [str(each.message) for each in warned]
    assert [line.split(":")[0] for line in lines[:-1]] == [
        f"column 'x{i}'" for i in range(12)
    ]
    assert lines[-1].startswith("there are such values in 'x12', 'x13'")
    assert lines[-1].endswith(" 'x19' too")


def test_the_model_file_has_no_rare_values(run: Path) -> None:
    """They may be names of persons. Their checksums know them again."""
    for path in run.iterdir():
        if path.is_file():
            assert b"rare 7" not in path.read_bytes(), path.name
    columns = load_run(run).signature.columns
    record = columns.record()
    assert Columns.from_record(record).seen == columns.seen
    record.pop("seen")  # as runs had it before
    assert Columns.from_record(record) == columns


def test_the_page_has_the_ranges_of_the_warnings(run: Path, tmp_path: Path) -> None:
    record = stored(export_page(run, tmp_path / "page.html"))
    fields = {field["name"]: field for field in record["fields"]}
    trained = of_training()
    for name in ("size", "age", "holes"):
        values = [value for value in trained[name] if value is not None]
        assert (fields[name]["low"], fields[name]["high"]) == (min(values), max(values))
    first = (min(trained["day"]) - date(1970, 1, 1)).days
    assert fields["day"]["low"] == first
    assert "rare" not in json.dumps(record)


def test_an_array_for_a_table_is_taken_in_the_order_of_its_columns() -> None:
    """Or refused, if its columns are too few."""
    frame = data_frame("pandas", {"a": [0.5, 1, 2, 4] * 9, "b": [1.5, 2, 2, 1] * 9})
    y = [0, 1, 1, 0] * 9
    *_, one = train(CONFIG, from_arrays(frame, y))
    expected = predict(one.model, frame).outputs
    for X in (frame.to_numpy(), frame.to_numpy().tolist()):
        with pytest.warns(
            MlpXpWarning, match="has no names; .* taken as 'a', 'b'; give"
        ):
            np.testing.assert_array_equal(predict(one.model, X).outputs, expected)
    with pytest.raises(
        DatasetError, match=r"the shape is \(36, 1\), .* with the columns 'a', 'b'$"
    ):
        predict(one.model, frame[["a"]].to_numpy())


def test_networks_of_tables_may_have_columns_in_different_orders() -> None:
    """But not be together with a network of arrays without names."""
    frame, y = data_frame("pandas", {"a": [0.5, 1, 2] * 9, "b": [1.5, 2, 1] * 9}), "xyz"
    models = []
    for names in (["a", "b"], ["b", "a"]):
        *_, last = train(CONFIG, from_arrays(frame[names], [*y] * 9))
        models.append(last.model)
    predict(models, frame)
    arrays = [varied(model, form="arrays", columns=None) for model in models]
    predict(arrays, frame.to_numpy())
    with pytest.raises(DatasetError, match="of the networks have features without"):
        predict([models[0], arrays[1]], frame)


def test_named_features_of_arrays_may_not_be_in_different_orders() -> None:
    X, y = RANDOM.normal(size=(30, 2)), LABELS[:30]
    models = []
    for names in (["p", "q"], ["q", "p"], ["p", "q"], None):
        *_, last = train(CONFIG, from_arrays(X, y, feature_names=names))
        models.append(last.model)
    one, other, same, plain = models
    for together in ([one, other], [one, plain, other]):
        with pytest.raises(DatasetError, match="different features"):
            predict(together, X)
    for together in ([one, same], [one, plain]):
        predict(together, X)
    predict([one, other], pd.DataFrame(X, columns=["p", "q"]))


@pytest.mark.parametrize("form", [".csv", ".parquet", "pandas", "polars"])
def test_the_label_is_ignored_with_a_word(tmp_path: Path, form: str) -> None:
    frame = {"a": [0.5, 1, 2, 4] * 9, "y": [1.5, 2, 2, 1] * 9}
    columns = data_frame("polars", frame)
    *_, last = train(
        CONFIG, from_arrays(columns[["a"]], columns["y"], task="regression")
    )
    plain = predict(last.model, columns[["a"]])
    with pytest.warns(MlpXpWarning, match="ignored: 'y'") as warned:
        found = predict(last.model, given(form, frame, tmp_path))
    assert len(warned) == 1
    np.testing.assert_array_equal(found.outputs, plain.outputs)


def test_a_feature_is_not_ignored_because_a_label_is_called_so_too() -> None:
    """Columns and labels without names are counted from 0."""
    X = pd.DataFrame(RANDOM.normal(size=(40, 3)))
    *_, last = train(CONFIG, from_arrays(X, np.asarray(X[1])))
    assert last.model.signature.outputs == ("0",)
    assert len(predict(last.model, X).values) == 40


# What is counted, and what is said.


def counted(trained: Table, rows: Table) -> dict[str, dict[str, int]]:
    """Return by column how many rows have a new value, and how many a new gap."""
    found = {}
    for name, values in rows.items():
        known = {*trained[name]}
        there = [value for value in values if value is not None]
        new = [value for value in there if value not in known]
        if not isinstance(there[0], str):
            numbers = known - {None}
            low, high = min(numbers), max(numbers)
            new = [value for value in there if not low <= value <= high]
        counts = {"value": len(new)}
        if None not in known:
            counts["no value"] = len(values) - len(there)
        counts = {what: count for what, count in counts.items() if count}
        if counts:
            found[name] = counts
    return found


def of_training() -> Table:
    """Return the rows that the run was trained on, without its test rows."""
    return {name: [values[i] for i in TRAINED] for name, values in TRAINING.items()}


def said(warned: Any) -> dict[str, dict[str, int]]:
    """Return what warnings say, in the form of `counted`."""
    found: dict[str, dict[str, int]] = {}
    for each in warned:
        text = str(each.message)
        (name,) = re.findall(r"column '(\w+)'", text)
        assert name not in found, "a line for each column"
        counts = re.findall(
            r"(\d+) of \d+ rows (?:has|have) (?:a )?(no value|value)", text
        )
        assert counts, text
        found[name] = {what: int(count) for count, what in counts}
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    folder = tmp_path_factory.mktemp("new")
    columns = {**TRAINING, "kind": LABELS.tolist()}
    dataset = load_dataset(write_csv(folder / "t.csv", columns), label="kind")
    assert [*train(CONFIG, dataset, run_dir=folder / "run")]
    return folder / "run"


def given(form: str, rows: Table, folder: Path) -> Any:
    if form.startswith("."):
        return write_csv(folder / f"rows{form}", rows)
    return data_frame(form, rows)
