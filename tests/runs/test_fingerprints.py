"""A network knows its training rows again, in all forms of data and on all backends."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from backends import backend_params, open_for_test
from data_sets import (
    TINY,
    write_csv,
    write_idx_folder,
    write_npz,
    write_pictures,
    write_samples,
)
from helpers import assert_one_line, call

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    train,
)
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.task import Evaluation
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs._tensors import read_tensors
from mlp_xp.runs.fingerprints import read_fingerprints, row_fingerprints

pytestmark = pytest.mark.usefixtures("no_pictures")
RANDOM = np.random.RandomState(0)
X, Y = RANDOM.randn(60, 3).round(3), np.arange(60) % 3
NAMES = np.array(["ant", "bee", "cat"])

# The checksums of rows.


def sums_of(inputs: np.ndarray, labels: Any = Y) -> np.ndarray:
    return row_fingerprints(Samples(inputs, labels), open_backend())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", backend_params())
def test_a_row_has_one_sum_on_each_backend(name, dtype):
    backend = open_for_test(name, dtype)
    labels = backend.asarray(Y.astype(np.uint8))
    samples = Samples(backend.asarray(X, backend.dtype), labels)
    expected = row_fingerprints(Samples(X, Y), open_backend())
    np.testing.assert_array_equal(row_fingerprints(samples, backend), expected)


@pytest.mark.parametrize(
    ("inputs", "labels"), [(X + 1e-6, Y), (X, (Y + 1) % 3), (X[:, ::-1], Y)]
)
def test_other_numbers_labels_or_columns_have_another_sum(inputs, labels):
    sums = sums_of(X)
    assert (sums.dtype, len({*sums.tolist()})) == (np.uint64, 60)
    assert not np.isin(sums_of(inputs, labels), sums).any()


IMAGES = RANDOM.randint(0, 256, (60, 4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((X * 0, Y), (X * -0.0, Y)),
        ((X, Y), (X, np.float64(Y[:, None]))),
        ((IMAGES, Y), (IMAGES.reshape(60, -1).astype(float), Y)),
    ],
)
def test_equal_numbers_have_one_sum(one, other):
    np.testing.assert_array_equal(sums_of(*one), sums_of(*other))


# Evaluation counts the training rows among other data.


def train_run(
    folder: Path, dataset: Dataset, backend: Any = None, **changes: Any
) -> Path:
    settings = {"epochs": 1, "hidden": (3,), "warm_up_steps": 0, **changes}
    for _ in train(TrainConfig(**settings), dataset, backend, run_dir=folder):
        pass
    return folder


def evaluated(run: Path, data: Any, warning: str) -> Evaluation:
    """Evaluate a run on data, with a warning about rows."""
    with pytest.warns(MlpXpWarning, match=warning):
        return evaluate(run, data).result


def test_rows_that_equal_training_rows_are_counted(tmp_path):
    """Copies too, and rows that equal one by chance."""
    few = np.random.RandomState(0).randint(0, 3, (400, 2)).astype(float)
    labels = few[:, 0] > 0
    run = train_run(tmp_path / "run", from_arrays(few[200:], labels[200:], 0.2))
    with pytest.warns(MlpXpWarning, match="200 of 200 rows equal training rows"):
        found = evaluate(run, from_arrays(few[:200], labels[:200]))
    assert (found.trained, found.result.samples) == (200, 200)
    first_line = r".* of 200 test .* right, loss \S+; 200 equal to training rows\n"
    assert re.match(first_line, str(found))


def test_a_data_set_made_by_hand_is_known_again(tmp_path):
    """Only the rows of published data are not recorded."""
    data = from_arrays(X, NAMES[Y])
    by_hand = Dataset(data.train, None, data.signature)
    run = train_run(tmp_path / "run", by_hand)
    evaluated(run, (X, NAMES[Y]), "60 of 60 rows equal training rows")
    run = train_run(tmp_path / "published", replace(by_hand, published=True))
    assert evaluate(run, (X, NAMES[Y])).result.samples == 60


# The 60 rows of a run, for training and testing, and 6 new rows.
MORE, LABELS = np.vstack([X, X[:6] + 5]), np.append(Y, Y[:6])
COLUMNS = {f"x{i}": MORE[:, i].tolist() for i in (2, 0, 1)}


def as_table(folder: Path) -> tuple[Dataset, Path]:
    write_samples(folder / "t.csv", X, NAMES[Y].tolist())
    more = write_csv(folder / "more.csv", {"kind": NAMES[LABELS].tolist(), **COLUMNS})
    return load_dataset(folder / "t.csv", label="kind"), more


def as_archive(folder: Path) -> tuple[Dataset, Path]:
    data = load_dataset(write_npz(folder / "a.npz", X, Y), task="classes")
    return data, write_npz(folder / "more.npz", MORE, LABELS)


def as_frame(folder: Path) -> tuple[Dataset, Any]:
    more = pd.DataFrame(COLUMNS)[["x0", "x1", "x2"]]
    data = from_arrays(more[:60], NAMES[Y], 0.2)
    return data, from_arrays(more[:60], NAMES[Y], (more, NAMES[LABELS]))


def as_pictures(folder: Path) -> tuple[Dataset, Path]:
    write_pictures(folder / "old", PICTURES[:60], NAMES[Y])
    more = write_pictures(folder / "more", PICTURES, NAMES[LABELS])
    return load_dataset(folder / "old"), more


PICTURES = RANDOM.randint(0, 256, (66, 4, 5)).astype(np.uint8)


@pytest.mark.parametrize(
    ("write", "rows"),
    [(as_table, MORE), (as_archive, MORE), (as_frame, MORE), (as_pictures, PICTURES)],
)
def test_all_rows_of_other_data_count(
    write: Callable[[Path], tuple[Dataset, Any]], rows, tmp_path
):
    data, more = write(tmp_path)
    run = train_run(tmp_path / "run", data)
    result = evaluated(run, more, "48 of 66 rows equal training rows")
    model, names = load_run(run), np.array(data.signature.outputs)
    right = model.predict(rows) == names[LABELS]
    assert (result.samples, result.accuracy) == (66, np.mean(right))


def test_a_row_in_both_parts_counts_in_other_data_only(tmp_path):
    labels = NAMES[Y]
    data = from_arrays(X[:40], labels[:40], (X[39:], labels[39:]))
    # the held-out samples are trained on too: they choose the network
    run = train_run(tmp_path / "run", data, validation=8)
    assert evaluate(run, data).trained == 0
    other = from_arrays(X, labels, (X[39:], labels[39:]))
    assert evaluated(run, other, "1 of 21 rows equal training rows").samples == 21


@pytest.mark.filterwarnings("ignore:.*equal training rows")
@pytest.mark.parametrize("name", backend_params())
@pytest.mark.parametrize("task", ["classes", "regression"])
def test_the_rows_of_a_run_in_float32_are_known_again_in_float64(task, name, tmp_path):
    single, double = open_backend(dtype="float32"), open_for_test(name)
    columns = {"a": RANDOM.randn(60).tolist(), "y": Y.tolist()}
    table = write_csv(tmp_path / "t.csv", columns)
    data = load_dataset(table, single, label="y", task=task)
    train_run(tmp_path / "run", data, single)
    found = evaluate(tmp_path / "run", table, backend=double)
    assert (found.trained, found.result.samples) == (48, 60)
    assert evaluate(tmp_path / "run", backend=double).result.samples == 12


def test_rows_of_a_table_are_known_again_in_a_file_of_float32(run, table):
    frame = pl.read_csv(table)
    floats = [name for name in frame.columns if frame[name].dtype == pl.Float64]
    assert floats
    rounded = table.with_name("rounded.parquet")
    frame.with_columns(pl.col(floats).cast(pl.Float32)).write_parquet(rounded)
    assert evaluated(run, rounded, ALL).samples == 60


def test_training_rows_of_any_network_of_an_ensemble_count(tmp_path):
    few, several, given = [0, 1, 2, 3], [*range(4, 7), *range(20, 40)], [0, 1, 4, 9]
    runs = [
        train_run(tmp_path / "a", from_arrays(X[few], NAMES[Y[few]])),
        train_run(tmp_path / "b", from_arrays(X[several], NAMES[Y[several]])),
    ]
    with pytest.warns(MlpXpWarning, match="3 of 4 rows equal training rows"):
        assert evaluate(runs, (X[given], NAMES[Y[given]])).trained == 3


# The file of the training rows.

ALL = "48 of 60 rows equal training rows"
NOT_ITS_ROWS = "rows.safetensors': does not have the rows that the model was trained on"


@pytest.fixture
def table(tmp_path) -> Path:
    columns = {"a": X[:, 0].tolist(), "y": NAMES[Y].tolist()}
    return write_csv(tmp_path / "t.csv", columns)


@pytest.fixture
def run(table, tmp_path) -> Path:
    return train_run(tmp_path / "run", load_dataset(table, label="y"))


def damaged(content: bytes, step: int) -> list[bytes]:
    """Return damaged copies of a file.

    At every `step`-th place, a bit is flipped, a sector is zeros, or bytes are shifted
    by one. The end is cut off.
    """
    found = [content[:-9], b"", b"nonsense"]
    for place in range(0, len(content), step):
        flipped = content[place] ^ 1 << place % 8
        found.append(content[:place] + bytes([flipped]) + content[place + 1 :])
        found.append(content[:place] + bytes(64) + content[place + 64 :])
        found.append(content[:place] + content[place + 1 :] + b"\0")
    return [each for each in found if each != content]


@pytest.mark.parametrize("name", ["rows.safetensors", "model.safetensors"])
@pytest.mark.parametrize("step", [389, pytest.param(97, marks=pytest.mark.slow)])
def test_training_rows_are_never_taken_for_new_ones_after_damage(
    step, name, run, table
):
    file, command = run / name, ("evaluate", run, "--data-dir", table)
    for content in damaged(file.read_bytes(), step):
        file.write_bytes(content)
        assert_one_line(call(*command), 2, f"{name}': ")
    file.unlink()
    assert_one_line(call(*command), 2, f"{name}': ")


@pytest.mark.parametrize(
    "changes", [{"data_crc32": "00000000"}, {"rows": 0, "train_samples": 1}]
)
def test_the_record_of_the_settings_decides_nothing_about_rows(changes, run, table):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **changes}))
    assert evaluated(run, table, ALL).samples == 60


def copy_rows(source: Path, target: Path) -> None:
    shutil.copy(source / "rows.safetensors", target)


@pytest.fixture
def other(table, tmp_path) -> Path:
    """A run on other rows of the same table."""
    data = load_dataset(table, label="y", split_seed=1)
    return train_run(tmp_path / "other", data)


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_resumed_run_replaces_rows_that_are_lost_or_of_another_run(
    is_lost, run, other, table
):
    own = (run / "rows.safetensors").read_bytes()
    copy_rows(other, run)
    if is_lost:
        (run / "rows.safetensors").unlink()
    train_run(run, load_dataset(table, label="y"), epochs=2)
    assert (run / "rows.safetensors").read_bytes() == own
    evaluated(run, table, ALL)


def test_rows_of_another_run_that_appear_while_it_trains_are_refused(
    other, table, tmp_path
):
    """The model names its training rows, whatever file lies there."""
    config = TrainConfig(epochs=1, hidden=(3,), warm_up_steps=0)
    data, new = load_dataset(table, label="y"), tmp_path / "new"
    reports = train(config, data, open_backend(), run_dir=new)
    next(reports)
    copy_rows(other, new)
    for _ in reports:
        pass
    assert_one_line(call("evaluate", new, "--data-dir", table), 2, NOT_ITS_ROWS)


def test_a_replaced_run_has_the_rows_of_the_new_one(table, tmp_path):
    """Data like MNIST's have theirs too."""
    run, idx = tmp_path / "run", write_idx_folder(tmp_path / "data", TINY)
    command = "train --epochs 1 --hidden 3 --overwrite"
    for seed in (0, None, 0):
        path, own = table, {"label": "y", "split_seed": seed}
        if seed is None:
            path, own = idx, {}
        assert call(command, run_dir=run, data_dir=path, **own).code == 0
        expected = row_fingerprints(load_dataset(path, **own).train, open_backend())
        _, facts = read_tensors(run / "model.safetensors")
        found = read_fingerprints(run / "rows.safetensors", facts["rows"])
        np.testing.assert_array_equal(found, expected)
