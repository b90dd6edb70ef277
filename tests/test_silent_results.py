"""Faults that would silently change results are refused in one line with the place."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import ARRAYS, array_of, on_device, synthetic, varied, write_csv
from helpers import assert_one_line, call, output_of

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError, MlpXpWarning
from mlp_xp.runs.fingerprints import data_crc32
from mlp_xp.runs.records import RunError

pytestmark = pytest.mark.needs("polars")  # most read tables

ROWS = np.random.RandomState(0).randn(24, 2)
CLASSES = ["cat", "dog"] * 12


def test_one_changed_bit_anywhere_is_another_checksum(backend):
    """At 31 places over each array, its ends among them.

    A checksum without a tenth of the array misses some of them.
    """
    random = np.random.default_rng(5)
    shapes = {
        "train_inputs": (12003, 2, 2),
        "train_labels": 12003,
        "test_labels": 6001,
    }
    arrays = {
        name: random.integers(0, 10, shape, dtype=np.uint8)
        for name, shape in shapes.items()
    }
    host = varied(synthetic(20, 20, 2), **arrays)
    expected = data_crc32(host, open_backend())
    assert data_crc32(on_device(host, backend), backend) == expected
    for name in ARRAYS:
        for place in np.linspace(0, array_of(host, name).size - 1, 31).astype(int):
            array = array_of(host, name).copy()
            array.reshape(-1)[place] ^= 1
            changed = on_device(varied(host, **{name: array}), backend)
            assert data_crc32(changed, backend) != expected, (name, place)


# Values without a meaning.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs on numbers, and on classes in float32."""
    place = tmp_path_factory.mktemp("runs")
    for name, labels, dtype in (
        ("numbers", ROWS[:, 0].tolist(), "float64"),
        ("float32", CLASSES, "float32"),
    ):
        places = {"data_dir": write(place / "t.csv", labels), "run_dir": place / name}
        command = f"train --label y --epochs 1 --hidden 4 --dtype {dtype}"
        assert call(command, **places).code == 0
    return place


def write(path: Path, labels: Any, rows: np.ndarray = ROWS) -> Path:
    a, b = rows.T.tolist()
    return write_csv(path, {"a": a, "b": b, "y": labels})


def test_bytes_are_refused_by_a_model_of_floats_up_to_one(backend):
    """Bytes are as good as other numbers for a model of larger numbers."""
    images = np.random.RandomState(0).randint(0, 256, (24, 3, 3)).astype(np.uint8)
    images[0, 0, 0] = 255
    config = TrainConfig(epochs=1, hidden=(2,), warm_up_steps=0)
    given = backend.asarray(images)
    *_, report = train(config, from_arrays(images / 255, CLASSES))
    said = "X: its whole numbers go up to 255, but the network was trained on floats of"
    for bytes_ in (given, images.astype(int), images.tolist()):
        with pytest.raises(DatasetError, match=said):
            report.model.predict(bytes_)
    *_, report = train(config, from_arrays(images.astype(float), CLASSES))
    expected = report.model.predict_proba(images.astype(float))
    found = backend.to_numpy(report.model.predict_proba(given))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_pictures_without_a_prediction_are_told(tmp_path):
    (tmp_path / "3.png").write_text("not a picture")
    images = np.zeros((4, 28, 28), np.uint8)
    config = TrainConfig(epochs=1, hidden=(2,), warm_up_steps=0)
    *_, report = train(config, from_arrays(images, [0, 1] * 2))
    said = r"pictures or folders without a prediction: 1, such as '.*3\.png': cannot be"
    with pytest.warns(MlpXpWarning, match=said):
        assert len(predict(report.model, tmp_path).values) == 0


def test_masked_inputs_without_a_masked_value_are_plain(runs):
    model = load_run(runs / "numbers")
    assert np.array_equal(model.predict(np.ma.array(ROWS)), model.predict(ROWS))


@pytest.mark.parametrize(
    "command", ["predict float32 t.csv", "evaluate float32 --data-dir t.csv"]
)
def test_numbers_that_are_too_large_are_named_by_their_line_in_the_file(
    command, runs, monkeypatch
):
    monkeypatch.chdir(runs)
    rows = ROWS.copy()
    rows[2, 0] = 1e300
    write(runs / "t.csv", CLASSES, rows)
    said = "line 4, column 'a': 1e+300 is too large for float32"
    assert_one_line(call(command), 2, said)


# A network is never silently evaluated on its training rows.

NOISE = np.random.RandomState(1).randint(0, 2, 80)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs that know their training rows by heart: the labels are noise.

    r0 and r1 hold out different rows.

    For the training rows among other data see tests/runs/test_fingerprints.py.
    """
    place = tmp_path_factory.mktemp("noise")
    rows = np.random.RandomState(2).randn(80, 6).round(3)
    columns = {f"x{i}": column for i, column in enumerate(rows.T.tolist())}
    table = write_csv(place / "noise.csv", {**columns, "y": NOISE.tolist()})
    command = "train --label y --task classes --networks 1 --epochs 40"
    command += " --learning-rate 0.01"
    for name, options in (
        ("r0", ""),
        ("again", "--seed 1"),
        ("single", "--dtype float32"),
        ("r1", "--split-seed 1"),
    ):
        output_of(f"{command} {options}", data_dir=table, run_dir=place / name)
    return place


def in_memory(place: Path, **changes: Any) -> Any:
    """Return the noise as arrays."""
    table = np.loadtxt(place / "noise.csv", delimiter=",", skiprows=1)
    X, y = table[:, :6], table[:, 6].astype(int)
    return from_arrays(X, y, 0.2, task="classes", **changes)


@pytest.fixture
def left(noise: Path) -> int:
    """How many rows both r0 and r1 hold out."""
    held_out = []
    for seed in (0, 1):
        options = {"label": "y", "task": "classes", "split_seed": seed}
        data = load_dataset(noise / "noise.csv", **options)
        held_out.append({*map(tuple, data.test.inputs.tolist())})
    both = held_out[0] & held_out[1]
    assert both
    return len(both)


@pytest.mark.parametrize(("name", "seed"), [("r0", 0), ("r1", 1)])
def test_a_run_has_chance_on_the_rows_that_it_held_out(name, seed, noise):
    alone = evaluate(noise / name).result
    assert alone.accuracy < 0.8
    same = evaluate(noise / name, in_memory(noise, seed=seed)).result
    assert same == alone, "without a warning"


def test_training_rows_of_runs_with_other_splits_are_told(noise, left):
    runs = [noise / "r0", noise / "r1"]
    for data, rows in ((noise / "noise.csv", 80), (in_memory(noise, seed=0), 16)):
        with pytest.warns(MlpXpWarning, match=f"{rows - left} of {rows} rows equal"):
            found = evaluate(runs, data)
        assert (found.trained, found.result.samples) == (rows - left, rows)


def test_a_model_counts_once_however_it_is_given(noise):
    run = noise / "r0"
    given = [run, load_run(run), str(run), run / "model.safetensors"]
    assert len(evaluate(given).runs) == 1


def test_a_model_is_not_evaluated_on_the_rows_of_a_newer_run_in_its_folder(
    noise, tmp_path
):
    run = shutil.copytree(noise / "r0", tmp_path / "run")
    model = load_run(run)
    shutil.copytree(noise / "r1", run, dirs_exist_ok=True)
    said = "has been trained since this model was read; read it again"
    with pytest.raises(RunError, match=said):
        evaluate(model)


def test_one_table_in_two_dtypes_is_the_same_data(noise):
    r0, single = noise / "r0", noise / "single"
    found = evaluate([r0, single, noise / "again"]).runs
    assert [run.samples for run in found] == [16] * 3
    with pytest.warns(MlpXpWarning, match="64 of 80 rows equal training rows"):
        again = evaluate([single, r0], noise / "noise.csv")
    assert (again.trained, again.result.samples) == (64, 80)
