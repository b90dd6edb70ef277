"""Faults that would change results without a word: each is refused in one line that
says where.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import ARRAYS, array_of, on_device, synthetic, varied, write_csv
from helpers import assert_one_line, call

import mlp_xp
from mlp_xp import evaluate, from_arrays, load_run, open_backend
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning
from mlp_xp.runs.fingerprints import checksum
from mlp_xp.runs.records import RunError

ROWS = np.random.RandomState(0).randn(24, 2)
CLASSES = ["cat", "dog"] * 12


def write(path: Path, labels: Any, rows: np.ndarray = ROWS) -> Path:
    count = len(labels)
    return write_csv(
        path,
        {"a": rows[:count, 0].tolist(), "b": rows[:count, 1].tolist(), "y": labels},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs on numbers, and on classes in float32."""
    place = tmp_path_factory.mktemp("runs")
    for kind, labels, more in (
        ("numbers", ROWS[:, 0].tolist(), ()),
        ("float32", CLASSES, ("--dtype", "float32")),
    ):
        table = write(place / f"{kind}.csv", labels)
        options = (
            "--data-dir",
            table,
            "--label",
            "y",
            "--epochs",
            1,
            "--hidden",
            4,
            *more,
        )
        assert call("train", *options, "--run-dir", place / kind).code == 0
    return place


def test_one_changed_bit_anywhere_is_another_checksum(backend):
    """31 places over each array, its ends among them: a checksum that leaves out a
    tenth of them misses some.
    """
    random = np.random.default_rng(5)
    host = synthetic(20, 20, 2)
    for name, shape in (
        ("train_inputs", (12003, 2, 2)),
        ("train_labels", 12003),
        ("test_labels", 6001),
    ):
        host = varied(host, **{name: random.integers(0, 10, shape, dtype=np.uint8)})
    expected = checksum(host, open_backend())
    assert checksum(on_device(host, backend), backend) == expected
    for name in ARRAYS:
        for place in np.linspace(0, array_of(host, name).size - 1, 31).astype(int):
            array = array_of(host, name).copy()
            array.reshape(-1)[place] ^= 1
            changed = on_device(varied(host, **{name: array}), backend)
            assert checksum(changed, backend) != expected, (name, place)


@pytest.mark.needs("polars")
def test_masked_inputs_are_refused_by_a_model(runs):
    model, X = mlp_xp.load_run(runs / "numbers"), np.ma.array(ROWS)
    assert np.array_equal(model.predict(X), model.predict(ROWS))
    X[3, 1] = np.ma.masked
    with pytest.raises(DatasetError, match="X: row 3, column 'b': the value is masked"):
        model.predict(X)


@pytest.mark.needs("polars")
def test_rows_of_files_are_counted_as_in_the_file(tmp_path, runs):
    rows = ROWS.copy()
    rows[2, 0] = 1e300
    table = write(tmp_path / "t.csv", CLASSES, rows)
    for command in (
        ("predict", runs / "float32", table),
        ("evaluate", runs / "float32", "--data-dir", table),
    ):
        assert_one_line(
            call(*command), 2, "line 4, column 'a': 1e+300 is too large for float32"
        )
    write(table, [*ROWS[:2, 0].tolist(), "1.2 kg", *ROWS[3:, 0].tolist()])
    outcome = call(
        "train", "--data-dir", table, "--label", "y", "--run-dir", tmp_path / "run"
    )
    assert_one_line(
        outcome,
        2,
        "line 4, column 'y': '1.2 kg' is not a finite number",
        "give --task classes",
    )


# A network is never evaluated on rows that it was trained on without a word.

NOISE = np.random.RandomState(1).randint(0, 2, 80)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs that know their training rows by heart, whose labels are noise: r0 and r1
    hold out other rows.

    tests/runs/test_rows.py tests which rows of other data are left out.
    """
    place = tmp_path_factory.mktemp("noise")
    rows = np.random.RandomState(2).randn(80, 6).round(3)
    write_csv(
        place / "noise.csv",
        {**{f"x{i}": rows[:, i].tolist() for i in range(6)}, "y": NOISE.tolist()},
    )
    words = (
        "train",
        "--data-dir",
        place / "noise.csv",
        "--label",
        "y",
        "--task",
        "classes",
        "--epochs",
        40,
    )
    for name, more in (
        ("r0", ()), ("again", ("--seed", 1)), ("single", ("--dtype", "float32")), ("r1", ("--split-seed", 1)),
    ):  # fmt: skip
        outcome = call(
            *words, "--learning-rate", 0.01, *more, "--run-dir", place / name
        )
        assert (outcome.code, outcome.err) == (0, "")
    return place


def in_memory(place: Path, **changes: Any) -> Any:
    table = np.loadtxt(place / "noise.csv", delimiter=",", skiprows=1)
    return from_arrays(
        table[:, :6], table[:, 6].astype(int), 0.2, task="classes", **changes
    )


def held_out(place: Path, seed: int) -> set[tuple[float, ...]]:
    """Return the rows of the noise that a split holds out."""
    data = load_dataset(place / "noise.csv", label="y", task="classes", split_seed=seed)
    return {*map(tuple, data.test.inputs.tolist())}


@pytest.mark.needs("polars")
def test_runs_with_other_splits_are_evaluated_on_rows_that_none_was_trained_on(noise):
    """Alone each has chance on its own rows; together, on those that all of them hold
    out, or they are refused.
    """
    runs, neither = (
        [noise / "r0", noise / "r1"],
        held_out(noise, 0) & held_out(noise, 1),
    )
    assert neither
    with pytest.warns(
        MlpXpWarning, match=f"{80 - len(neither)} of 80 rows are left out"
    ):
        assert evaluate(runs, noise / "noise.csv").result.samples == len(neither)
    for name, seed in (("r0", 0), ("r1", 1)):
        alone = evaluate(noise / name).result
        assert alone.accuracy < 0.8
        assert alone == evaluate(noise / name, in_memory(noise, seed=seed)).result, (
            "without a warning"
        )
        for model in (noise / name, load_run(noise / name)):
            with pytest.warns(
                MlpXpWarning,
                match=f"{16 - len(neither)} of 16 rows are left out: the network was",
            ):
                assert evaluate(
                    model, in_memory(noise, seed=1 - seed)
                ).result.samples == len(neither)
    assert_one_line(
        call("evaluate", *runs), 2, "has another test set than", "same split"
    )
    with pytest.warns(
        MlpXpWarning,
        match=f"{16 - len(neither)} of 16 rows are left out: the network was trained",
    ):
        assert evaluate(runs, in_memory(noise, seed=0)).result.samples == len(neither)


@pytest.mark.needs("polars")
def test_a_model_counts_once_however_it_is_given(noise):
    given = [noise / "r0", load_run(noise / "r0"), str(noise / "r0")]
    assert len(evaluate(given).runs) == 1


@pytest.mark.needs("polars")
def test_a_model_is_not_evaluated_on_the_rows_of_a_newer_run_in_its_folder(
    noise, tmp_path
):
    run = shutil.copytree(noise / "r0", tmp_path / "run")
    model = load_run(run)
    for file in (noise / "r1").iterdir():
        shutil.copy(file, run / file.name)
    with pytest.raises(
        RunError, match="has been trained since this model was read; read it again"
    ):
        evaluate(model)


@pytest.mark.needs("polars")
def test_a_model_beside_the_config_of_another_run_is_not_of_that_run(noise, tmp_path):
    """Its rows and data would be those of the other run."""
    shutil.copy(noise / "r0" / "model.safetensors", tmp_path)
    shutil.copy(noise / "r1" / "config.json", tmp_path)
    with pytest.raises(MlpXpError, match="does not say how its data were read"):
        evaluate(tmp_path / "model.safetensors", noise / "noise.csv")


@pytest.mark.needs("polars")
def test_one_table_in_two_dtypes_is_the_same_data(noise):
    found = evaluate([noise / "r0", noise / "single", noise / "again"])
    assert [run.samples for run in found.runs] == [16] * 3
    with pytest.warns(MlpXpWarning, match="64 of 80 rows are left out"):
        again = evaluate([noise / "single", noise / "r0"], noise / "noise.csv")
    assert [run.accuracy for run in again.runs] == [
        found.runs[1].accuracy,
        found.runs[0].accuracy,
    ]
