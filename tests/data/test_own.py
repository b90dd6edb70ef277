"""Your own files as data sets.

The same arrays and figures as in memory, runs that read them again, and faults.
"""

import csv
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import (
    write_csv,
    write_npy,
    write_npz,
    write_pictures,
    write_samples,
)
from helpers import assert_one_line, assert_same_run, call, output_of
from numerics import assert_same_data

from mlp_xp.api import evaluate, load_run, predict, train
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.data._splitting import split
from mlp_xp.data.arrays import from_arrays
from mlp_xp.data.datasets import load_dataset
from mlp_xp.data.options import DataOptions

pytestmark = pytest.mark.needs("PIL")

RANDOM = np.random.default_rng(7)
NAMES = np.array(["ant", "bee", "cat"])
LABELS = np.arange(90) % 3
TABLE = RANDOM.normal(size=(90, 4)) + LABELS[:, None] * [1, -1, 0, 2]
IMAGES = (
    RANDOM.integers(0, 90, (90, 5, 6))
    + 80 * (np.arange(30).reshape(5, 6) % 3 == LABELS[:, None, None])
).astype(np.uint8)
WRITERS = {
    ".csv": write_samples,
    ".parquet": write_samples,
    ".npz": write_npz,
    "": lambda path, X, y: write_npy(path, X=X, y=y),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_arrays_are_those_of_memory(
    tmp_path: Path, backend: Backend, suffix: str
) -> None:
    path = WRITERS[suffix](tmp_path / f"data{suffix}", TABLE, NAMES[LABELS])
    label = "kind" if suffix in (".csv", ".parquet") else None
    loaded = load_dataset(path, backend, label=label, test_fraction=0.3, split_seed=5)
    expected = from_arrays(TABLE, NAMES[LABELS], 0.3, backend=backend, seed=5)
    assert_same_data(loaded, expected, backend)
    assert (loaded.name, loaded.options) == (
        str(path),
        DataOptions(label, test_fraction=0.3, split_seed=5),
    )
    whole = load_dataset(path, backend, label=label, test_fraction=0)
    assert_same_data(whole, from_arrays(TABLE, NAMES[LABELS], backend=backend), backend)


# Runs find their data again.


@pytest.mark.usefixtures("no_pictures")
def test_a_run_reads_its_data_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = {f"x{i}": column.tolist() for i, column in enumerate(TABLE.T)}
    columns["kind"] = NAMES[LABELS].tolist()
    write_csv(Path("t.csv"), {"id": [f"n{i}" for i in range(90)], **columns})
    own = "--data-dir t.csv --label kind --exclude id --run-dir run --epochs 2"
    output_of(f"train {own} --test-fraction 0.25 --split-seed 3 --no-stratify")
    shown = output_of("evaluate run")
    output_of("train --config run/config.json --run-dir again")
    assert_same_run(tmp_path / "again", tmp_path / "run")
    assert load_run("run").signature.columns.feature_names == ("x0", "x1", "x2", "x3")
    moved = call("evaluate again", data_dir=write_csv(Path("moved.csv"), columns))
    said = "warning: 68 of 90 rows equal training rows; new rows would be "
    assert (moved.code, moved.err.startswith(said)) == (0, True)
    assert " of 90 test samples right" in moved.out
    assert " of 22 test samples right" in shown
    other = {"id": range(90), **columns, "x0": [n / 8 for n in range(90)]}
    write_csv(Path("t.csv"), other)
    assert_one_line(call("evaluate run"), 2, "config.json")
    assert call("evaluate run --data-dir t.csv").code == 0


# Predictions.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs on a table, on numbers in it, and on pictures: grey, or colour, resized."""
    place = tmp_path_factory.mktemp("runs")
    write_samples(place / "table.csv", TABLE, NAMES[LABELS])
    write_samples(place / "numbers.csv", TABLE[:, :3], TABLE[:, 3] * 2)
    write_pictures(place / "grey", IMAGES, NAMES[LABELS])
    colour = np.stack([IMAGES] * 2 + [IMAGES[:, ::-1]], axis=-1)
    write_pictures(place / "colour", colour, NAMES[LABELS])
    config = TrainConfig(epochs=2, batch_size=8, activation="relu", init="he")
    for name, options in (
        ("table.csv", {"label": "kind"}),
        ("numbers.csv", {"label": "kind"}),
        ("grey", {}),
        ("colour", {"picture_size": 5}),
    ):
        dataset = load_dataset(place / name, test_fraction=0.3, **options)
        list(train(config, dataset, open_backend(), run_dir=place / f"run-{name}"))
    return place


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.filterwarnings("ignore:.*outside the training range")
def test_predictions_of_a_table_are_those_of_the_evaluation(
    runs: Path, tmp_path: Path
) -> None:
    """The rows of the test set, with the columns in another order, among others."""
    order, _ = split(LABELS, 90, 0.3, 0)
    columns = {f"x{i}": TABLE[order, i].tolist() for i in (2, 0, 3, 1)}
    columns["id"] = [f"n{i}" for i in order]
    run, path = runs / "run-table.csv", write_csv(tmp_path / "test.csv", columns)
    rows = rows_of(call("predict", run, path, "--csv").out)
    assert [row["row"] for row in rows] == [str(i) for i in range(1, 28)]
    right = np.mean([row["class"] for row in rows] == NAMES[LABELS[order]])
    assert right == pytest.approx(evaluate(run).result.accuracy)
    outputs = predict(run, path).outputs
    shares = [[float(row[name]) for name in NAMES] for row in rows]
    np.testing.assert_array_equal(shares, outputs)
    first = json.loads(call("predict", run, path, "--json").out.partition("\n")[0])
    assert first == {
        "row": 1,
        "class": rows[0]["class"],
        "probabilities": dict(zip(NAMES, outputs[0], strict=True)),
    }


@pytest.mark.filterwarnings("ignore:.*outside the training range")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predictions_repeat_columns_as_they_are_written(
    runs: Path, tmp_path: Path, suffix: str
) -> None:
    """A key may have zeros in front.

    The numbers of the network may be among the columns that are kept.
    """
    kept = {
        "id": [f"{i:03}" for i in range(90)],
        "note, all": ["NA", 'a "b"', ""] * 30,
        "x1": TABLE[:, 1].tolist(),
        "class": ["a", "b", "c"] * 30,
    }
    columns = {**kept, **{f"x{i}": TABLE[:, i].tolist() for i in range(4)}}
    path = write_csv(tmp_path / f"new{suffix}", columns)
    words = ("predict --csv", runs / "run-table.csv", path)
    plain = rows_of(call(*words).out)
    rows = rows_of(call(*words, "--keep", 'id,"note, all",x1,class').out)
    kept["class (table)"] = kept.pop("class")
    assert [*rows[0]] == ["row", *kept, "class", *NAMES]
    for name, values in kept.items():
        assert [row.pop(name) for row in rows] == [*map(str, values)]
    assert rows == plain


@pytest.mark.parametrize(("name", "size"), [("grey", None), ("colour", 5)])
def test_predictions_of_pictures_are_those_of_the_evaluation(
    runs: Path, name: str, size: int | None
) -> None:
    """Pictures are read as for the training: neither centred nor inverted."""
    dataset = load_dataset(runs / name, test_fraction=0.3, picture_size=size)
    run = runs / f"run-{name}"
    folders = [runs / name / each for each in NAMES]
    found = rows_of(call("predict --csv", run, *folders).out)
    truth = [Path(row["picture"]).parent.name for row in found]
    assert truth == sorted(NAMES[LABELS])
    whole = rows_of(call("predict --csv", run, runs / name).out)
    assert whole == found, "of the folder as it was trained on"
    order, _ = split(np.sort(LABELS), 90, 0.3, 0)
    right = np.mean([found[i]["class"] == truth[i] for i in order])
    assert right == pytest.approx(evaluate(run, data=dataset).result.accuracy)
    assert call("predict --show", run, folders[0]).code == 0
    # it knows alone how it reads pictures
    model = replace(load_run(run), source="the network", file="")
    one, other = predict(model, str(folders[0])), predict(run, folders[0])
    np.testing.assert_array_equal(one.outputs, other.outputs)


def test_all_samples_of_other_data_are_used(runs: Path, tmp_path: Path) -> None:
    """Unless they have a test set."""
    run, model = runs / "run-table.csv", load_run(runs / "run-table.csv")

    def shown(path: Path) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return call("evaluate", run, data_dir=path).out.partition(",")[0]

    for count in (90, 4, 1):  # one row is of one class, which is no data to train on
        features, names = TABLE[:count] + 0.5, NAMES[LABELS[:count]]
        path = write_samples(tmp_path / "other.csv", features, names)
        right = np.mean(model.predict(features) == names)
        samples = "sample" if count == 1 else "samples"
        assert shown(path) == f"{100 * right:.2f} % of {count} test {samples} right"
    write_samples(tmp_path / "parts" / "train.csv", TABLE + 1, NAMES[LABELS])
    write_samples(tmp_path / "parts" / "test.csv", TABLE[:7] + 2, NAMES[LABELS[:7]])
    right = np.mean(model.predict(TABLE[:7] + 2) == NAMES[LABELS[:7]])
    assert shown(tmp_path / "parts") == f"{100 * right:.2f} % of 7 test samples right"


def test_numbers_of_other_data_are_in_the_units_of_the_model(
    runs: Path, tmp_path: Path
) -> None:
    """Also where these have another mean and deviation."""
    run, y = runs / "run-numbers.csv", TABLE[:, 3] * 20 + 7
    path = write_samples(tmp_path / "other.csv", TABLE[:, :3], y)
    predicted = load_run(run).predict(TABLE[:, :3])
    total = ((y - y.mean()) ** 2).sum()
    dataset = from_arrays(TABLE[:9, :3], y[:9], (TABLE[:, :3], y), standardize=False)
    for data in (path, dataset):
        result = evaluate(run, data=data).result
        assert (result.samples, result.rmse) == (
            90,
            pytest.approx(np.mean((y - predicted) ** 2) ** 0.5),
        )
        assert result.r2 == pytest.approx(1 - ((y - predicted) ** 2).sum() / total)
