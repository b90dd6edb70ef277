"""Numbers to predict: standardised for training, in their own units everywhere else. Several columns, and the split."""

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import assert_one_line, call
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import assert_near
from test_own import write_csv

import mlp_xp
from mlp_xp import Dataset, Model, TrainConfig, evaluate_run, load_dataset, load_run, open_backend, train
from mlp_xp.api import predict_table
from mlp_xp.arrays import DatasetError, DatasetWarning, split
from mlp_xp.backend import Backend
from mlp_xp.commands.train import Source, settings_from
from mlp_xp.runs.settings import RECIPES, Settings, flatten

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(120, 3))
PRICES = 200_000 + 60_000 * X[:, :2] + 2_000 * RANDOM.normal(size=(120, 2))
CONFIG = TrainConfig(epochs=3, hidden=(6,), learning_rate=0.05, init="glorot", report_every=60, validation=20)
NAMES = ["area", "age", "floor"]


pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(autouse=True)
def _no_pictures_in_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])  # which takes a second


@functools.cache
def by_hand() -> list[Any]:
    """The reports of a run of NumPy on numbers that are standardised before."""
    left = np.random.RandomState(0).permutation(120)[30:]
    numbers = (PRICES - PRICES[left].mean(axis=0)) / PRICES[left].std(axis=0)
    return [*train(CONFIG, Dataset.from_arrays(X, numbers, 0.25, scale_targets=False), open_backend())]


def test_large_numbers_are_learned_as_standardised_ones(backend: Backend, tmp_path: Path) -> None:
    """With ten steps on one sample before; and their model predicts in the units of the labels."""
    dataset = Dataset.from_arrays(X, PRICES, 0.25, backend=backend)
    held, left = np.split(np.random.RandomState(0).permutation(120), [30])
    mean, deviation = map(backend.to_numpy, dataset.targets)
    np.testing.assert_allclose(mean, PRICES[left].mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(deviation, PRICES[left].std(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(backend.to_numpy(dataset.test_labels), PRICES[held])
    reports = [*train(CONFIG, dataset, backend, run_dir=tmp_path / "run")]
    for one, other in zip(reports, by_hand(), strict=True):
        for name in ("loss", "train_loss", "test_loss", "r2", "validation_loss", "validation_r2"):
            ours, theirs = getattr(one, name), getattr(other, name)
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert_near(ours, theirs, 1e-9)
    last = reports[-1]
    assert last.r2 > 0.9

    model = Model.load(tmp_path / "run" / "model.safetensors")
    predicted = backend.to_numpy(model.predict(backend.asarray(X)))
    host = [(np.asarray(layer.weights), np.asarray(layer.bias)) for layer in model.network]
    shift, scale = map(backend.to_numpy, dataset.prepare.fitted)
    hidden = 1 / (1 + np.exp(-(((X - shift) / scale) @ host[0][0] + host[0][1])))
    np.testing.assert_allclose(predicted, (hidden @ host[1][0] + host[1][1]) * deviation + mean, rtol=1e-10)
    rmse = np.sqrt(((predicted[held] - PRICES[held]) ** 2).mean(axis=0))
    assert last.rmse == pytest.approx(rmse.mean(), rel=1e-10)
    result = evaluate_run(tmp_path / "run", backend.name, data=dataset).result
    assert result.rmses == pytest.approx(rmse.tolist(), rel=1e-10)
    assert (result.loss, result.r2) == pytest.approx((last.test_loss, last.r2), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e150, 1e300])
def test_numbers_of_any_size(scale: float) -> None:
    """Also where their squares are no numbers."""
    numbers = PRICES / 1e5 * scale
    shift, deviation = Dataset.from_arrays(X, numbers).targets
    np.testing.assert_allclose(shift, (PRICES / 1e5).mean(axis=0) * scale, rtol=1e-12)
    np.testing.assert_allclose(deviation, (PRICES / 1e5).std(axis=0) * scale, rtol=1e-12)
    *_, last = train(CONFIG, Dataset.from_arrays(X, numbers), open_backend())
    assert np.isfinite(last.train_loss)


def test_numbers_that_float32_does_not_hold() -> None:
    single = open_backend(dtype="float32")
    with pytest.raises(
        DatasetError, match=r"^y: output '1' has the number 2e\+39, too large for float32; give it in larger units$"
    ):
        Dataset.from_arrays(X, np.where(PRICES[7, 1] == PRICES, 2e39, PRICES), backend=single)
    times = 1.7e9 + np.arange(120.0)
    with pytest.warns(DatasetWarning, match="^y: output '0': float32 hardly tells its numbers apart, which are as"):
        Dataset.from_arrays(X, times, backend=single)
    Dataset.from_arrays(X, times)
    with pytest.warns(DatasetWarning, match="^y: the output '0' is the same in all rows"):
        assert Dataset.from_arrays(X, np.full(120, 1e9 + 0.1)).targets[1].tolist() == [1.0]


# Runs from tables.


def write_table(path: Path, columns: dict[str, Any]) -> Path:
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def houses(path: Path) -> Path:
    return write_table(path, dict(zip(["area", "price", "age", "rooms", "floor"], (
        X[:, 0], PRICES[:, 0], X[:, 1], (X[:, 2] * 3).astype(int), X[:, 2]), strict=True)))  # fmt: skip


def test_several_numbers_of_a_table(tmp_path: Path) -> None:
    path, run = houses(tmp_path / "houses.csv"), tmp_path / "run"
    options = ("--data-dir", path, "--label", "price,rooms", "--epochs", 20, "--run-dir", run)
    assert call("train", *options)[::2] == (0, "")
    predicted, names, task = predict_table(run, path)
    assert (names, task, load_run(run).feature_names) == (("price", "rooms"), "regression", tuple(NAMES))
    held = np.random.RandomState(0).permutation(120)[:24]
    true = np.stack([PRICES[:, 0], (X[:, 2] * 3).astype(int)], axis=1)[held]
    rmse = np.sqrt(((predicted[held] - true) ** 2).mean(axis=0))
    rows = [line.split() for line in call("evaluate", run).out.splitlines()[-2:]]
    assert [(row[0], row[2]) for row in rows] == [("price", f"{rmse[0]:.4g}"), ("rooms", f"{rmse[1]:.4g}")]
    assert all(float(row[1]) > 0.8 for row in rows)
    assert call("predict", run, path, "--csv").out.startswith("row,price,rooms\n1,")
    first = call("predict", run, path).out.partition("\n")[0]  # in brackets they would look like confidences
    assert first == f"row 1: price {predicted[0, 0]:.6g}, rooms {predicted[0, 1]:.6g}"


def test_columns_of_labels_are_given_together(tmp_path: Path) -> None:
    """The first one would be dropped in silence, and be a feature."""
    path = houses(tmp_path / "houses.csv")
    outcome = call("train", "--data-dir", path, "--label", "price", "--label=rooms", "--run-dir", tmp_path / "run")
    assert_one_line(outcome, 2, "error: --label: is there twice; give one, with all values: --label price,rooms; ")
    assert not (tmp_path / "run").exists()


def test_several_labels_of_a_table(tmp_path: Path) -> None:
    flags = {"old": (X[:, 1] > 0).astype(int), "big, or so": [str(x > 0).lower() for x in X[:, 0]]}
    columns = {"area": X[:, 0], **flags, "age": X[:, 1]}
    path = write_table(tmp_path / "t.csv", {f'"{name}"': values for name, values in columns.items()})
    dataset = load_dataset(path, label='old,"big, or so"', test_fraction=0)
    assert (dataset.task, dataset.class_names) == ("labels", ("old", "big, or so"))
    assert dataset.feature_names == ("area", "age")
    np.testing.assert_array_equal(dataset.train_labels, np.stack([X[:, 1] > 0, X[:, 0] > 0], axis=1))
    alone = load_dataset(path, label="big, or so")
    assert (alone.task, alone.class_names) == ("classes", ("false", "true"))
    run = tmp_path / "run"
    assert call("train", "--data-dir", path, "--label", 'old,"big, or so"', "--run-dir", run)[::2] == (0, "")
    shown = [line.rsplit(maxsplit=1) for line in call("evaluate", run).out.splitlines()[-2:]]
    assert [name.strip() for name, _ in shown] == ["old", "big, or so"]
    assert all(float(share) > 0.9 for _, share in shown)


def test_several_columns_of_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"a": X[:, 0], "n": [1, 2] * 60, "f": [True, False] * 60, "s": ["u", "v"] * 60})
    pq.write_table(table, tmp_path / "t.parquet")
    pq.write_table(table.drop(["s"]), tmp_path / "u.parquet")
    dataset = load_dataset(tmp_path / "u.parquet", label="n,f", task="regression", test_fraction=0)
    np.testing.assert_array_equal(dataset.train_labels, [[1, 1], [2, 0]] * 60)
    with pytest.raises(Exception, match="column 's' is text, such as 'u', where several columns of labels are numbers"):
        load_dataset(tmp_path / "t.parquet", label="n,s")


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        ("price,room", "'houses.csv': has no column 'room' (did you mean 'rooms'?); choose one of 'area', 'price'"),
        ("price,price", "'houses.csv': the label 'price,price' is no list of columns: 'price' is there twice; correct"),
        ("price,", "'houses.csv': the label 'price,' is no list of columns: a name is empty; correct it"),
        (",", "'houses.csv': the label ',' is no list of columns: a name is empty; correct it"),
        (
            "area,price,age,rooms,floor",
            "line 1: there is no column but those of the labels; give a table with features",
        ),
        ("rooms,flag", "labels: line 2, column 'rooms' is "),
    ],
)
def test_faults_of_several_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str, fault: str) -> None:
    monkeypatch.chdir(tmp_path)
    houses(tmp_path / "houses.csv")
    if "flag" in label:
        text = (tmp_path / "houses.csv").read_text().splitlines()
        lines = [f"{line},{'flag' if i == 0 else i % 2}" for i, line in enumerate(text)]
        (tmp_path / "houses.csv").write_text("\n".join(lines))
    assert_one_line(call("train", "--data-dir", "houses.csv", "--label", label, "--run-dir", "run"), 2, fault)


@pytest.mark.parametrize("scaled", [True, False])
def test_a_new_run_begins_with_the_same_predictions(tmp_path: Path, scaled: bool) -> None:
    """Whether and how the numbers of the run before were standardised."""
    backend = open_backend()
    old = Dataset.from_arrays(X, PRICES / 1e5, standardize=False, scale_targets=scaled)
    list(train(CONFIG, old, backend, run_dir=tmp_path / "old"))
    new = Dataset.from_arrays(X, PRICES[:, ::-1] / 1e5 + 3, (X, PRICES / 1e5), standardize=False)
    still = replace(CONFIG, learning_rate=1e-30, warm_up_steps=0, validation=0, epochs=1)
    *_, last = train(still, new, backend, start_from=tmp_path / "old", run_dir=tmp_path / "new")
    np.testing.assert_allclose(load_run(tmp_path / "new").predict(X), load_run(tmp_path / "old").predict(X), rtol=1e-9)
    same = Dataset.from_arrays(X, PRICES / 1e5, standardize=False, scale_targets=scaled)
    first = next(train(replace(still, epochs=1), same, backend, start_from=tmp_path / "old"))
    kept = load_run(tmp_path / "old").network
    for layer, other in zip(first.network, kept, strict=True):
        np.testing.assert_array_equal(layer.weights, other.weights)
    assert last.rmse is not None


def test_data_in_memory_whose_numbers_are_scaled_otherwise_are_refused(tmp_path: Path) -> None:
    list(train(CONFIG, Dataset.from_arrays(X, PRICES), open_backend(), run_dir=tmp_path / "run"))
    other = Dataset.from_arrays(X, PRICES, scale_targets=False)
    with pytest.raises(Exception, match="the run started with targets 'standardize', but these data have 'unchanged'"):
        list(train(replace(CONFIG, epochs=4), other, open_backend(), run_dir=tmp_path / "run"))
    for command, fault in (
        ("evaluate", "call evaluate_run, or evaluate_ensemble, with data=, the same Dataset"),
        ("train --resume", "resume it in Python, with"),
    ):
        outcome = call(*command.split(), tmp_path / "run")
        assert_one_line(outcome, 2, f"error: {str(tmp_path / 'run')!r}: the run's data were in memory; {fault}")
        assert "--data-dir" in outcome.err


# The split.


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=80), st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_each_class_is_in_both_parts(classes: list[int], share: float, seed: int) -> None:
    labels = np.array(classes, np.uint8)
    counts = np.bincount(labels)
    if counts.max() < 2:
        with pytest.raises(DatasetError, match=r"^y: give .*: all \d+ differ, so no class has two samples"):
            split(labels, len(labels), share, seed)
        return
    held, left = split(labels, len(labels), share, seed)
    order = np.random.RandomState(seed).permutation(len(labels))
    places = np.argsort(order)
    for part in (held, left):
        assert (np.diff(places[part]) > 0).all(), "in the order of the shuffle"
    assert sorted([*held, *left]) == [*range(len(labels))]
    taken = np.bincount(labels[held], minlength=len(counts))
    for count, many in zip(counts, taken, strict=True):
        assert many == 0 if count < 2 else 1 <= many < count
        assert count < 2 or abs(many - share * count) <= 1 or many in (1, count - 1)
    wanted, least, most = round(share * len(labels)), (counts > 1).sum(), (np.maximum(counts - 1, 0)).sum()
    if least <= wanted <= most and (np.floor(share * counts)[counts > 1] >= 1).all():
        assert len(held) == wanted or (counts == 1).any()


def test_the_split_is_the_same_on_every_machine() -> None:
    held, left = split(np.arange(20) % 3 // 2, 20, 0.3, 7)
    assert held.tolist() == [1, 17, 2, 0, 18, 6]  # of classes with 14 and 6 samples 4 and 2
    assert len(left) == 14
    assert split(None, 20, 0.3, 7)[0].tolist() == np.random.RandomState(7).permutation(20)[:6].tolist()


def test_a_rare_class_of_a_table_is_in_both_parts(tmp_path: Path) -> None:
    """As a shuffle alone does not see to it."""
    kinds = np.array(["rare" if i < 2 else "usual" for i in range(120)])
    path = write_csv(tmp_path / "t.csv", X, kinds, NAMES)
    for seed in range(5):
        dataset = load_dataset(path, label="kind", split_seed=seed)
        for labels in (dataset.train_labels, dataset.test_labels):
            assert (labels == 0).sum() == 1
        assert dataset.test_labels.shape == (24,)
        np.testing.assert_array_equal(
            load_dataset(path, label="kind", split_seed=seed).test_images, dataset.test_images
        )
    with pytest.raises(
        DatasetError,
        match=r"u.csv': column 'kind': give task=\"regression\" if .* \(test=None\) if .*: all 120 differ, ",
    ):
        load_dataset(write_csv(tmp_path / "u.csv", X, np.arange(120), NAMES), label="kind")


def test_whole_numbers_that_look_like_quantities_need_a_task(tmp_path: Path) -> None:
    """Many, with gaps, and few samples each; but not the classes of known data sets, nor what is asked for."""
    prices = 150 + 7 * (np.arange(120) % 40)
    with pytest.raises(DatasetError, match=r'^y: give task="regression" .* or task="classes": with 40 different whole'):
        Dataset.from_arrays(X, prices, 0.2)
    for name, values in (("t.csv", prices), ("u.csv", prices + np.arange(120))):  # in the second all differ
        path = write_table(tmp_path / name, {"area": X[:, 0], "price": values})
        outcome = call("train", "--data-dir", path, "--label", "price", "--run-dir", tmp_path / "run")
        assert_one_line(outcome, 2, f"error: {str(path)!r}: column 'price': give --task regression to predict ")
        assert "task=" not in outcome.err
    assert not (tmp_path / "run").exists()
    for y, options in (
        (np.arange(120) % 100, {}),  # CIFAR-100
        (np.arange(120) % 26 + 1, {}),  # EMNIST
        (np.arange(120) % 20 * 7, {}),  # few
        (prices.astype(str), {}),
        (prices, {"task": "classes"}),
        (prices, {"task": "regression"}),
    ):
        Dataset.from_arrays(X, y, 0.2, **options)
    Dataset.from_arrays(np.repeat(X, 4, axis=0), np.repeat(prices, 4), 0.2)  # twelve samples each


def test_a_run_on_guessed_classes_is_resumed_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of a version that guessed."""
    path = write_table(tmp_path / "t.csv", {"area": X[:, 0], "price": 150 + 7 * (np.arange(120) % 40)})
    train = ("train", "--data-dir", path, "--label", "price", "--epochs", 1, "--run-dir", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("mlp_xp.arrays.look_like_quantities", lambda *_: False)
        assert call(*train).code == 0
    outcome = call("train", "--resume", tmp_path / "run", "--epochs", 2)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert call("evaluate", tmp_path / "run").code == 0
    again = call("train", "--config", tmp_path / "run" / "config.json", "--run-dir", tmp_path / "again")
    assert (again.code, again.err) == (0, "")


def test_warnings_about_a_table_name_its_columns_and_options(tmp_path: Path) -> None:
    columns = {"area": X[:, 0], "same": np.ones(120), "stars": [f"{i % 3}.0" for i in range(120)]}
    path = write_table(tmp_path / "t.csv", columns)
    outcome = call("train", "--data-dir", path, "--label", "stars", "--epochs", 1, "--run-dir", tmp_path / "run")
    assert outcome.code == 0
    assert sorted(line.partition(": column ")[2].split(",")[0][:40] for line in outcome.err.splitlines()) == [
        "'same': the same value in all training s",
        "'stars': its whole numbers",
    ]
    assert outcome.err.count("give --task classes or --task regression\n") == 1
    with pytest.warns(DatasetWarning) as warned:
        load_dataset(path, label="stars")
    assert {each.filename for each in warned} == {__file__}


# Reports.


def test_the_loss_on_the_held_out_samples(tmp_path: Path) -> None:
    """At the end of every epoch in metrics.jsonl, and of the best network in result.json."""
    dataset = Dataset.from_arrays(X, PRICES)
    list(train(CONFIG, dataset, open_backend(), run_dir=tmp_path / "run"))
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [each["validation_loss"] for each in records if "validation_loss" in each]
    assert len(losses) == 3
    closing = json.loads((tmp_path / "run" / "result.json").read_text())
    assert closing["validation_loss"] == losses[closing["kept_epoch"]]
    error = (load_run(tmp_path / "run").predict(X[100:]) - PRICES[100:]) / PRICES.std(axis=0)
    assert closing["validation_loss"] == pytest.approx((error**2).sum(axis=1).mean() / 2, rel=1e-10)


def test_own_data_have_a_recipe_of_their_own(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = houses(tmp_path / "t.csv")
    out = call("train", "--data-dir", path, "--label", "price", "--epochs", 1, "--run-dir", tmp_path / "run").out
    assert "batches of 16, adam 0.003 constant, simultaneous" in out
    assert "warm-up" not in out
    assert "targets standardised" in out
    monkeypatch.setattr(sys, "argv", ["sweep", "--seed", "1", "2", "--data-dir", str(path), "--label", "price", "age"])
    assert settings_from(Source()) == RECIPES["own"] == mlp_xp.RECIPES["own"]
    ours, shown = flatten(RECIPES["own"]), flatten(Settings())
    text = " ".join(call("train", "--help").out.split())
    of_own = text.partition("Those of own are ")[2].partition(". All")[0]
    wanted = [f"--{name.replace('_', '-')} {ours[name]}" for name in shown if ours[name] != shown[name]]
    assert of_own == " ".join(wanted)
    monkeypatch.setattr(sys, "argv", ["train", "--data-dir", str(data_dir)])  # four files like MNIST's
    assert settings_from(Source()) == RECIPES["notebook"]


def test_a_number_that_is_missing_is_named_with_its_column() -> None:
    class Frame:
        columns = NAMES

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.where(X[4, 1] == X, np.nan, X)

    with pytest.raises(DatasetError, match=r"^X: row 4, column 'age' is nan, no finite number; remove or replace it"):
        Dataset.from_arrays(Frame(), PRICES)
    with pytest.raises(DatasetError, match=r"^y: row 4, column 'second' is nan"):
        Dataset.from_arrays(X, np.where(PRICES[4, 1] == PRICES, np.nan, PRICES), class_names=["first", "second"])


def test_held_out_samples_of_sorted_data_are_warned_of() -> None:
    """Those at the end, of one class."""
    kinds, backend = np.repeat(["ant", "bee"], 60), open_backend()
    config = TrainConfig(epochs=1, validation=20, hidden=(), init="glorot")
    with pytest.warns(DatasetWarning, match="^all 20 held-out samples are of the class 'bee': the last samples are"):
        next(train(config, Dataset.from_arrays(X, kinds), backend))
    next(train(config, Dataset.from_arrays(X, kinds, 0.2), backend))
    next(train(config, Dataset.from_arrays(X, np.array(["ant", *["bee"] * 119])), backend))
