"""The rows that a network was trained on, in all forms of data and on all backends."""

import json
import shutil

import numpy as np
import pandas as pd
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
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs._tensors import read_tensors
from mlp_xp.runs.fingerprints import read_fingerprints, row_sums, seen

pytestmark = pytest.mark.usefixtures("no_pictures")
RANDOM = np.random.RandomState(0)
X, Y = RANDOM.randn(60, 3).round(3), np.arange(60) % 3
NAMES = np.array(["ant", "bee", "cat"])


def train_run(folder, dataset: Dataset, **changes):
    config = TrainConfig(epochs=1, hidden=(3,), warm_up_steps=0, **changes)
    for _ in train(config, dataset, open_backend(), run_dir=folder):
        pass
    return folder


@pytest.mark.parametrize("name", backend_params())
def test_a_row_has_one_sum_on_each_backend(name):
    """Other numbers, another label, or the same numbers in other columns have another
    sum; -0 is 0.
    """
    home = open_backend()
    sums = row_sums(Samples(X, Y), home)
    assert (sums.shape, sums.dtype, len({*sums.tolist()})) == ((60,), np.uint64, 60)
    for dtype in ("float64", "float32"):
        each = open_for_test(name, dtype)
        inputs, labels = each.asarray(X, each.dtype), each.asarray(Y.astype(np.uint8))
        assert np.array_equal(
            row_sums(Samples(inputs, labels), each),
            row_sums(Samples(X, Y), home, dtype),
        )
    assert not {*row_sums(Samples(X, (Y + 1) % 3), home).tolist()} & {*sums.tolist()}
    assert not {*row_sums(Samples(X[:, ::-1], Y), home).tolist()} & {*sums.tolist()}
    assert np.array_equal(
        row_sums(Samples(X * 0, Y), home), row_sums(Samples(X * -0.0, Y), home)
    )
    assert np.array_equal(row_sums(Samples(X, np.float64(Y[:, None])), home), sums), (
        "numbers to predict"
    )
    images = RANDOM.randint(0, 256, (60, 4, 5, 3)).astype(np.uint8)
    assert np.array_equal(
        row_sums(Samples(images, Y), home),
        row_sums(Samples(images.reshape(60, -1).astype(float), Y), home),
    )


@pytest.mark.parametrize(
    ("given", "trained", "marked", "unsure"),
    [
        ("abcd", "ca", "ac", 0),
        # all of its rows are there, as often as it has seen them
        ("aabcab", "aab", "aab", 0),
        ("abcb", "aad", "", 1),  # other data: `a` may be there by chance
        ("abcb", "bd", "b", 0),
        ("ab", "", "", 0),
    ],
)
def test_rows_are_marked_as_often_as_they_were_seen(given, trained, marked, unsure):
    def sums(text):
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint64)

    marks, more = seen(sums(given), sums(trained))
    assert ("".join(sorted(np.array([*given])[marks])), more) == (marked, unsure)


def test_new_rows_of_a_table_with_few_different_ones_count(tmp_path):
    """They equal rows of the training set by chance. To leave them out would leave the
    rare ones.
    """
    old, new = (
        np.random.RandomState(seed).randint(0, 3, (200, 2)).astype(float)
        for seed in (0, 1)
    )
    run = train_run(tmp_path / "run", from_arrays(old, old[:, 0] > 0, 0.2))
    with pytest.warns(
        MlpXpWarning,
        match="200 of 200 rows count, but may be training rows: the training set has",
    ):
        assert evaluate(run, from_arrays(new, new[:, 0] > 0)).result.samples == 200
    both = np.vstack([new, old])
    with pytest.warns(MlpXpWarning, match="160 of 400 rows are left out"):
        assert evaluate(run, from_arrays(both, both[:, 0] > 0)).result.samples == 240


def test_rows_are_known_again_in_each_form(tmp_path):
    """What is given: all that a run was trained and tested on, and 6 more rows. The
    others are evaluated on.
    """
    more, y = np.vstack([X, X[:6] + 5]), [*Y, *Y[:6]]
    images = RANDOM.randint(0, 256, (66, 4, 5)).astype(np.uint8)
    write_samples(tmp_path / "t.csv", X, NAMES[Y].tolist())
    table = {f"x{i}": more[:, i].tolist() for i in (2, 0, 1)}
    write_csv(tmp_path / "grown.csv", {"kind": NAMES[y].tolist(), **table})
    write_npz(tmp_path / "a.npz", X, Y)
    write_npz(tmp_path / "grown.npz", more, np.array(y))
    write_pictures(tmp_path / "pictures", images[:60], NAMES[Y])
    write_pictures(tmp_path / "grown", images, NAMES[y])
    frame = pd.DataFrame({"x0": X[:, 0], "x1": X[:, 1], "x2": X[:, 2]})
    grown = pd.DataFrame(table)[["x0", "x1", "x2"]]
    for number, (data, other, new) in enumerate(
        (
            (
                load_dataset(tmp_path / "t.csv", label="kind"),
                tmp_path / "grown.csv",
                more[60:],
            ),
            (load_dataset(tmp_path / "a.npz"), tmp_path / "grown.npz", more[60:]),
            (load_dataset(tmp_path / "pictures"), tmp_path / "grown", images[60:]),
            (
                from_arrays(frame, NAMES[Y], 0.2),
                from_arrays(frame, NAMES[Y], (grown, NAMES[y])),
                more[60:],
            ),
        )
    ):
        run = train_run(tmp_path / f"run{number}", data)
        with pytest.warns(MlpXpWarning, match="48 of 66 rows are left out"):
            result = evaluate(run, other).result
        said = np.concatenate(
            [load_run(run).predict(rows) for rows in (data.test.inputs, new)]
        )
        truth = np.array(data.signature.outputs)[[*data.test.labels, *Y[:6]]]
        assert (result.samples, result.accuracy) == (18, np.mean(said == truth))


def test_a_data_set_with_its_own_test_set(tmp_path):
    """A row that is in both of its parts is tested on as ever, unless it is given as
    other data.
    """
    data = from_arrays(X[:40], Y[:40], (X[39:], Y[39:]))
    # these are trained on too: they choose the network
    run = train_run(tmp_path / "run", data, validation=8)
    assert evaluate(run, data).result.samples == 21
    with pytest.warns(MlpXpWarning, match="1 of 21 rows are left out"):
        evaluate(run, from_arrays(X, Y, (X[39:], Y[39:])))


@pytest.fixture
def table(tmp_path):
    return write_csv(
        tmp_path / "t.csv", {"a": X[:, 0].tolist(), "y": NAMES[Y].tolist()}
    )


@pytest.fixture
def run(table, tmp_path):
    return train_run(tmp_path / "run", load_dataset(table, label="y"))


def damaged_bits(content: bytes) -> list[bytes]:
    """Return a file with a bit flipped, a sector of zeros, bytes shifted by one, and
    cut off, at several places.
    """
    found = [content[:-9], b"", b"nonsense"]
    for place in range(0, len(content), 97):
        flipped = content[place] ^ 1 << place % 8
        found.append(content[:place] + bytes([flipped]) + content[place + 1 :])
        found.append(content[:place] + bytes(64) + content[place + 64 :])
        found.append(content[:place] + content[place + 1 :] + b"\0")
    return [each for each in found if each != content]


@pytest.mark.parametrize("name", ["rows.safetensors", "model.safetensors"])
def test_training_rows_are_never_taken_for_new_ones_after_damage(run, table, name):
    """The number of samples would be 60 if they were."""
    whole = (run / name).read_bytes()
    for content in (*damaged_bits(whole), None):
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
        outcome = call("evaluate", run, "--data-dir", table)
        assert_one_line(outcome, 2, f"{name}': ")


def test_the_rows_of_another_run_are_refused(run, table, tmp_path):
    other = train_run(tmp_path / "other", load_dataset(table, label="y", split_seed=1))
    (run / "rows.safetensors").write_bytes((other / "rows.safetensors").read_bytes())
    outcome = call("evaluate", run, "--data-dir", table)
    assert_one_line(
        outcome,
        2,
        "rows.safetensors': does not have the rows that the model was trained on",
    )


def test_the_record_of_the_settings_decides_nothing_about_rows(run, table):
    """Other data in it are other data; so all training rows are left out."""
    config = json.loads((run / "config.json").read_text())
    for changes in ({"data_crc32": "00000000"}, {"rows": 0, "train_samples": 1}):
        (run / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.warns(MlpXpWarning, match="48 of 60 rows are left out"):
            assert evaluate(run, table).result.samples == 12


@pytest.mark.parametrize("content", ["lost", "of another run"])
def test_a_resumed_run_knows_its_own_rows_again(content, run, table, tmp_path):
    """A model that named other rows would be evaluated on its own training rows."""
    own = (run / "rows.safetensors").read_bytes()
    (run / "rows.safetensors").unlink()
    if content == "of another run":
        data = load_dataset(table, label="y", split_seed=1)
        other = train_run(tmp_path / "other", data)
        shutil.copy(other / "rows.safetensors", run)
    config = TrainConfig(epochs=2, hidden=(3,), warm_up_steps=0)
    list(train(config, load_dataset(table, label="y"), open_backend(), run_dir=run))
    assert (run / "rows.safetensors").read_bytes() == own
    with pytest.warns(MlpXpWarning, match="48 of 60 rows are left out"):
        evaluate(run, table)


def test_rows_of_another_run_that_appear_while_it_trains_are_refused(
    run, table, tmp_path
):
    """Its model names the rows that it was trained on, whatever file lies there."""
    data = load_dataset(table, label="y", split_seed=1)
    config = TrainConfig(epochs=1, hidden=(3,), warm_up_steps=0)
    reports = train(config, data, open_backend(), run_dir=tmp_path / "new")
    next(reports)
    shutil.copy(run / "rows.safetensors", tmp_path / "new")
    list(reports)
    outcome = call("evaluate", tmp_path / "new", "--data-dir", table)
    assert_one_line(
        outcome,
        2,
        "rows.safetensors': does not have the rows that the model was trained on",
    )


def test_a_replaced_run_has_the_rows_of_the_new_one(table, tmp_path):
    """Also if the new one has none, as data like MNIST's: those of the old one would
    leave out what is new.
    """
    run, common = (
        tmp_path / "run",
        ("--epochs", 1, "--hidden", 3, "--run-dir", tmp_path / "run", "--overwrite"),
    )
    own, idx = (
        ("--data-dir", table, "--label", "y"),
        ("--data-dir", write_idx_folder(tmp_path / "data", TINY)),
    )
    for words, seed in (
        (own, 0),
        ((*own, "--split-seed", 2), 2),
        (idx, None),
        (own, 0),
    ):
        assert call("train", *words, *common).code == 0
        data = None if seed is None else load_dataset(table, label="y", split_seed=seed)
        sums = row_sums(data.train, open_backend()) if data else ()
        _, facts = read_tensors(run / "model.safetensors")
        assert np.array_equal(
            read_fingerprints(run / "rows.safetensors", facts["rows"]), sums
        )
