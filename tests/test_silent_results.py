"""Faults that would change results without a word: each is refused in one line that says where."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic, write_csv
from helpers import assert_one_line, call

import mlp_xp
from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import DatasetError
from mlp_xp.runs import run_folder
from mlp_xp.runs.records import RunError

ROWS = np.random.RandomState(0).randn(24, 2)
CLASSES = ["cat", "dog"] * 12


def write(path: Path, labels: Any, rows: np.ndarray = ROWS) -> Path:
    count = len(labels)
    return write_csv(path, {"a": rows[:count, 0].tolist(), "b": rows[:count, 1].tolist(), "y": labels})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, no_pictures: None) -> Path:
    """Runs on numbers, and on classes in float32."""
    place = tmp_path_factory.mktemp("runs")
    for kind, labels, more in (("numbers", ROWS[:, 0].tolist(), ()), ("float32", CLASSES, ("--dtype", "float32"))):
        table = write(place / f"{kind}.csv", labels)
        options = ("--data-dir", table, "--label", "y", "--epochs", 1, "--hidden", 4, *more)
        assert call("train", *options, "--run-dir", place / kind).code == 0
    return place


@pytest.mark.parametrize("name", ["train_inputs", "train_labels", "test_inputs", "test_labels"])
def test_one_changed_bit_anywhere_is_other_data(name, tmp_path, monkeypatch):
    """31 places over each array, its ends among them: a checksum that leaves out a tenth of them misses some."""
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    random, backend = np.random.default_rng(5), open_backend()
    host = synthetic(20, 20, 2)._replace(
        train_inputs=random.integers(0, 256, (12003, 2, 2), dtype=np.uint8),
        train_labels=random.integers(0, 10, 12003, dtype=np.uint8),
        test_inputs=random.integers(0, 256, (6001, 2, 2), dtype=np.uint8),
        test_labels=random.integers(0, 10, 6001, dtype=np.uint8),
    )
    config = TrainConfig(epochs=1, batch_size=4000, hidden=(1,), warm_up_steps=0)
    assert len([*train(config, host, backend, run_dir=tmp_path)]) > 1
    assert len([*train(config, host, backend, run_dir=tmp_path)]) == 1, "accepted when it comes again"
    for place in np.linspace(0, getattr(host, name).size - 1, 31).astype(int):
        array = getattr(host, name).copy()
        array.reshape(-1)[place] ^= 1  # the lowest bit: a label stays within the classes
        with pytest.raises(RunError, match="data_crc32"):
            next(train(config, host._replace(**{name: array}), backend, run_dir=tmp_path))


def test_a_checksum_is_the_same_on_every_backend(backend):
    host = synthetic(150, 40, 6)
    assert run_folder.checksum(on_device(host, backend), backend) == run_folder.checksum(host, open_backend())


def test_a_text_among_numbers_is_no_class(tmp_path):
    numbers = [f"{value:.1f}" for value in ROWS[:, 0]]
    table = write(tmp_path / "t.csv", [*numbers[:13], "1.2 kg", *numbers[14:]])
    outcome = call("train", "--data-dir", table, "--label", "y", "--run-dir", tmp_path / "run")
    assert_one_line(outcome, 2, "t.csv", "line 15, column 'y': '1.2 kg' is not a number", "give --task classes")
    assert "1.2 kg" in load_dataset(table, label="y", task="classes").class_names
    for mark in ("NA", "nan", "?"):
        with pytest.raises(DatasetError, match=r"line 7, column 'y': '.*' marks a missing label.*another name"):
            load_dataset(write(table, [*CLASSES[:5], mark, *CLASSES[6:]]), label="y")


def test_masked_inputs_are_refused_by_a_model(runs):
    model, X = mlp_xp.load_run(runs / "numbers"), np.ma.array(ROWS)
    assert np.array_equal(model.predict(X), model.predict(ROWS))
    X[3, 1] = np.ma.masked
    with pytest.raises(DatasetError, match="X: row 3, column 'b': the value is masked"):
        model.predict(X)


def test_rows_of_files_are_counted_as_in_the_file(tmp_path, runs):
    table, rows = write(tmp_path / "t.csv", ["cat", "dog", "cow"]), ROWS.copy()
    outcome = call("evaluate", runs / "float32", "--data-dir", table)
    assert_one_line(outcome, 2, "t.csv', line 4, column 'y': 'cow' is none of")
    rows[2, 0] = 1e300
    write(table, CLASSES, rows)
    for command in (("predict", runs / "float32", table), ("evaluate", runs / "float32", "--data-dir", table)):
        assert_one_line(call(*command), 2, "line 4, column 'a': 1e+300 is too large for float32")
    write(table, [0, 1, 2] * 8)
    outcome = call("train", "--data-dir", table, "--label", "y", "--task", "labels", "--run-dir", tmp_path / "run")
    assert_one_line(outcome, 2, "line 4, column 'y': 2 is neither 0 nor 1", "give --task regr")
