"""Regression and several labels, from a table to figures and pictures."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv
from helpers import assert_one_line, call, metrics, output_of, result, stored

from mlp_xp import TrainConfig, evaluate, load_run, open_backend, predict, train
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.task import REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.export.page import write_page
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.table import read_row
from mlp_xp.show import plots
from mlp_xp.show.numbers import quantity

pytestmark = pytest.mark.needs("polars")  # most read tables

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(200, 4))
NUMBERS = np.stack([2 * X[:, 0] - X[:, 1], X[:, 2] ** 2], axis=1)
PRICES = 200_000 + 60_000 * X[:, :2] + 2_000 * RANDOM.normal(size=(200, 2))
ROOMS = (X[:, 2] * 3).astype(int)
LABELS = np.stack(
    [X[:, 0] > 0.3, NUMBERS[:, 0] > 0, RANDOM.random(200) > 0.9], axis=1
).astype(int)
NAMES = ("length", "width", "age", "mass")
FEATURES = dict(zip(NAMES, X.T, strict=True))
# the rows selected by --test-fraction
HELD_OUT = np.random.RandomState(0).permutation(200)[:40]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of each task, with pictures, and the output of their training.

    They have a test set, or held-out samples, or neither.
    """
    place = tmp_path_factory.mktemp("tasks")
    prices = {**FEATURES, "price": PRICES[:, 0], "rooms": ROOMS}
    two = write_csv(place / "two.csv", prices)
    np.savez(place / "three.npz", X=X, y=LABELS)
    settings = (
        "--recipe notebook --epochs 4 --batch-size 4 --warm-up-steps 0 --init he "
        "--learning-rate 0.01 --activation relu --report-every 50"
    )
    one = f"train {settings} --label price --exclude rooms --test-fraction 0"
    for name, command, data in (
        ("two", f"train {settings} --label price,rooms", {"data_dir": two}),
        (
            "three",
            f"train {settings} --validation 30",
            {"data_dir": place / "three.npz"},
        ),
        ("held-out", f"{one} --validation 50", {"data_dir": two}),
        ("neither", one, {"data_dir": two}),
    ):
        said = output_of(command, **data, run_dir=place / name)
        (place / f"{name}.txt").write_text(said)
    return place


# Numbers.


@pytest.mark.needs("sklearn")
def test_the_evaluation_of_numbers_is_printed(place: Path) -> None:
    """For the figures see runs/test_metrics.py."""
    found = evaluate(place / "two")
    first, _, head, *rows = output_of("evaluate", place / "two").splitlines()
    share = f"R² {found.result.r2:.4f}, mean of 2 outputs"
    assert first == f"{share}, on 40 test samples"
    assert f"; {first}\n" in (place / "two.txt").read_text(), "by train too"
    assert " ".join(head.split()) == "outputs R² RMSE MAE median absolute error"
    for row, each in zip(rows[:2], found.metrics["outputs"], strict=True):
        names = ("rmse", "mae", "median_absolute_error")
        figures = [quantity(each[name]) for name in names]
        assert re.split(r" {2,}", row) == [each["name"], f"{each['r2']:.4f}", *figures]


@pytest.mark.filterwarnings("ignore:.*labels among ", "ignore:.*outside the")
def test_the_predictions_of_numbers_are_named(place: Path) -> None:
    table, model = place / "two.csv", load_run(place / "two")
    assert model.class_names == ("price", "rooms")
    assert model.signature.columns.names == NAMES
    predicted = predict(place / "two", table).values
    np.testing.assert_allclose(predicted, model.predict(X), rtol=1e-12)
    price, rooms = (quantity(number, 6) for number in predicted[0])
    said = call("predict", place / "two", table).out
    assert said.startswith(f"row 1: price {price}, rooms {rooms}\n")
    said = call("predict --csv", place / "two", table).out
    assert said.startswith("row,price,rooms\n1,")


def test_validation_of_numbers_is_by_r2(place: Path) -> None:
    run, held = place / "held-out", np.random.RandomState(0).permutation(200)[:50]
    true = PRICES[held, 0]
    error = load_run(run).predict(X[held]) - true
    r2 = 1 - (error**2).sum() / ((true - true.mean()) ** 2).sum()
    loss = ((error / PRICES[:, 0].std()) ** 2).mean() / 2
    record, reports = result(run), [x for x in metrics(run) if "validation_r2" in x]
    assert record["validation_r2"] == pytest.approx(r2, rel=1e-9)
    assert record["validation_loss"] == pytest.approx(loss, rel=1e-9)

    scores, kept = [each["validation_r2"] for each in reports], record["kept_epoch"]
    assert len(scores) == 4
    assert record["validation_r2"] == max(scores) == scores[kept]
    assert record["validation_loss"] == reports[kept]["validation_loss"]
    others = {"accuracy", "test_loss", "r2", "rmse", "validation_accuracy"}
    assert record.keys().isdisjoint(others)
    said = (
        f"kept the network of epoch {kept}: R² {max(scores):.4f} on 50 held-out samples"
    )
    assert said in (place / "held-out.txt").read_text()


def test_a_run_is_not_evaluated_on_the_rows_of_its_training(
    place: Path, monkeypatch: Any
) -> None:
    """Unless they are given, with a warning."""
    monkeypatch.chdir(place)
    said = "two.csv' have no test set: all their samples are for"
    assert_one_line(call("evaluate neither"), 2, said)
    outcome = call("evaluate neither --data-dir two.csv")
    assert outcome.code == 0
    assert re.match(r"warning: (\d+) of \1 rows equal training rows", outcome.err)


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_r2_of_a_single_sample_is_not_defined(monitor, tmp_path, undrawn) -> None:
    """The loss chooses the kept network, and files have null."""
    one = from_arrays(X, PRICES[:, 0], (X[:1], PRICES[:1, 0]))
    run = tmp_path / "run"
    run_on(one, run, epochs=4, validation=1, monitor=monitor)
    record, reports = result(run), metrics(run)
    figures = ("r2", "validation_r2", "kept_epoch")
    losses = [x["validation_loss"] for x in reports if "validation_r2" in x]
    best = losses.index(min(losses))
    assert [record[name] for name in figures] == [None, None, best]
    assert {each["r2"] for each in reports} == {None}
    found = evaluate(run, one)
    assert [found.metrics[name] for name in ("r2", "samples")] == [None, 1]
    assert str(found).startswith("R² -, root mean squared error ")
    write_page(tmp_path / "page.html", load_run(run), one)
    record = stored(tmp_path / "page.html")
    assert (record["task"], record.get("score")) == ("regression", None)
    run_on(one, run, epochs=5, validation=1, monitor=monitor)  # from its checkpoint
    assert read_row(RunFolder(run)).metrics.keys().isdisjoint({"test_r2"})


# Labels.


@pytest.mark.needs("sklearn")
def test_the_evaluation_of_labels_is_plain_numpy(place: Path) -> None:
    run, labels = place / "three", LABELS[HELD_OUT]
    right = load_run(run).predict(X[HELD_OUT]) == labels
    first, _, head, *rows = output_of("evaluate", run).splitlines()
    all_right, each_right = 100 * right.all(axis=1).mean(), 100 * right.mean()
    share = f"{all_right:.2f} % of 40 test samples right in all labels"
    assert first.startswith(f"{share}, {each_right:.2f} % of ")
    names = "labels samples accuracy precision recall F1 ROC AUC"
    assert " ".join(head.split()) == names
    for i, row in enumerate(rows[:3]):
        figures = [f"{i}", f"{labels[:, i].sum()}", f"{right[:, i].mean():.4f}"]
        assert row.split()[:3] == figures
    record = result(run)
    best = f"{100 * record['validation_accuracy']:.2f} % of 30 held-out samples right"
    kept = f"kept the network of epoch {record['kept_epoch']}: {best} in all labels"
    assert kept in (place / "three.txt").read_text()


# A run with the network of an earlier run.


@pytest.mark.parametrize("scaled", [True, False])
def test_a_new_run_begins_with_the_same_predictions(
    scaled: bool, tmp_path: Path, undrawn: None
) -> None:
    """Whether and how the numbers of the run before were standardised."""
    old, new = tmp_path / "old", tmp_path / "new"
    run_on(scaled_prices(scaled), old)
    others = from_arrays(X, PRICES[:, ::-1] / 1e5 + 3, (X, PRICES), standardize=False)
    run_on(others, new, start_from=old, learning_rate=1e-30, epochs=1)
    expected = load_run(old).predict(X)
    np.testing.assert_allclose(load_run(new).predict(X), expected, rtol=1e-9)


@pytest.fixture
def undrawn(monkeypatch: Any) -> None:
    """Training without pictures in this test alone."""
    monkeypatch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])


def scaled_prices(scaled: bool) -> Dataset:
    return from_arrays(X, PRICES / 1e5, standardize=False, scale_targets=scaled)


def run_on(dataset: Dataset, folder: Path, start_from: Any = None, **changes: Any):
    """Train a small network in a folder."""
    config = TrainConfig(
        epochs=2, hidden=(6,), learning_rate=0.05, init="glorot", report_every=60
    )
    options = {"run_dir": folder, "start_from": start_from}
    list(train(replace(config, **changes), dataset, open_backend(), **options))


# Pictures.


@pytest.mark.needs("matplotlib")
def test_pictures_fit_the_task(place: Path) -> None:
    for name, pictures in (
        ("two", ["curves.png", "predictions.png"]),
        ("three", ["curves.png", "labels.png", "probabilities.png"]),
        ("held-out", ["curves.png"]),
        ("neither", ["curves.png"]),
    ):
        run = place / name
        assert {path.name for path in run.glob("*.png")} == {*pictures}
        said = f"drawn in {run}: {', '.join(pictures)}"
        assert said in (place / f"{name}.txt").read_text()
    paths = [place / "two" / name for name in ("curves.png", "predictions.png")]
    assert output_of("plot", place / "two").split() == [*map(str, paths)]


@pytest.mark.needs("matplotlib")
def test_runs_of_different_tasks_are_not_drawn_in_one_picture(
    place: Path, tmp_path: Path
) -> None:
    labels, numbers, both = place / "three", place / "two", tmp_path / "both.png"
    said = (f"'{numbers}': its task is regression, but", f"'{labels}' is labels")
    assert_one_line(call("plot", labels, numbers, output=both), 2, *said)
    assert not both.exists()


@pytest.mark.needs("matplotlib")
def test_predictions_are_drawn_against_true_numbers() -> None:
    outputs, panels = 9, 6
    true = RANDOM.normal(size=(50, outputs)) * 10.0 ** np.arange(outputs)
    predicted = true + RANDOM.normal(size=true.shape)
    result = REGRESSION.evaluate(predicted, true)
    names = [f"$x_{i}" for i in range(outputs)]

    figure = plots.draw_predictions(true, predicted, result, names)

    drawn = [axes for axes in figure.axes if axes.collections]
    assert len(drawn) == panels
    for i, axes in enumerate(drawn):
        points = np.stack([true[:, i], predicted[:, i]], 1)
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), points)
        (diagonal,) = axes.lines
        assert diagonal.get_slope() == 1
        assert len({*diagonal.get_xy1()}) == 1
        error = np.sqrt(np.mean((true - predicted)[:, i] ** 2))
        r2 = min(result.r2s[i], 0.9999)  # only exactly 1 is shown as 1
        figures = f"R² {r2:.4f}, root mean squared error {error:.4g}"
        assert axes.get_title() == f"\\{names[i]}\n{figures}"
        assert axes.get_xlim() == axes.get_ylim()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[1] == "predicted = true"


@pytest.mark.needs("matplotlib")
def test_constant_numbers_are_drawn() -> None:
    flat = np.full((3, 1), 5.0)
    result = REGRESSION.evaluate(flat, flat)
    assert plots.draw_predictions(flat, flat, result, ["x"])._repr_png_()


@pytest.mark.needs("matplotlib")
def test_the_accuracy_of_each_label_is_drawn() -> None:
    """Of many labels, of the worst."""
    names = [f"label {i}" for i in range(60)]
    accuracies = RANDOM.permutation(60) / 60
    commoner = RANDOM.uniform(0.5, 1, 60)
    worst = sorted(np.argsort(accuracies)[:40])

    (axes,) = plots.draw_labels(accuracies.tolist(), commoner.tolist(), names).axes

    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    widths = [bar.get_width() for bar in axes.patches]
    assert ticks == [names[i] for i in worst]
    np.testing.assert_allclose(widths, 100 * accuracies[worst])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 100 * commoner[worst])
