"""Regression and several labels, from a table to the figures and pictures: train,
evaluate, predict, plot.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv
from helpers import assert_one_line, call, metrics

from mlp_xp import TrainConfig, evaluate, load_run, open_backend, predict, train
from mlp_xp.core.task import REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.runs.records import RunError
from mlp_xp.show import plots
from mlp_xp.show.numbers import quantity

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(200, 4))
NUMBERS = np.stack([2 * X[:, 0] - X[:, 1], X[:, 2] ** 2], axis=1)
PRICES = 200_000 + 60_000 * X[:, :2] + 2_000 * RANDOM.normal(size=(200, 2))
LABELS = np.stack(
    [X[:, 0] > 0.3, NUMBERS[:, 0] > 0, RANDOM.random(200) > 0.9], axis=1
).astype(int)
NAMES = ["length", "width", "age", "mass"]
FEATURES = dict(zip(NAMES, X.T, strict=True))
# the rows that --test-fraction selects
HELD_OUT = np.random.RandomState(0).permutation(200)[:40]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of each task, with pictures: with a test set, or with held-out samples, or
    neither.
    """
    place = tmp_path_factory.mktemp("tasks")
    flags = {"sick": LABELS[:, 1], "big, or so": [str(x > 0).lower() for x in X[:, 0]]}
    write_csv(
        place / "two.csv",
        {**FEATURES, "price": PRICES[:, 0], "rooms": (X[:, 2] * 3).astype(int)},
    )
    write_csv(place / "flags.csv", {**FEATURES, **flags})
    np.savez(place / "three.npz", X=X, y=LABELS)
    options = ("--recipe", "notebook", "--epochs", 4, "--batch-size", 4, "--warm-up-steps", 0, "--learning-rate", 0.01,
               "--activation", "relu", "--init", "he", "--report-every", 50)  # fmt: skip
    one = ("--data-dir", place / "two.csv", "--label", "price", "--exclude", "rooms")
    for name, source in (
        ("two", ("--data-dir", place / "two.csv", "--label", "price,rooms")),
        ("three", ("--data-dir", place / "three.npz", "--validation", 30)),
        ("flags", ("--data-dir", place / "flags.csv", "--label", 'sick,"big, or so"')),
        ("held-out", (*one, "--test-fraction", 0, "--validation", 50)),
        ("neither", (*one, "--test-fraction", 0)),
    ):
        outcome = call("train", *source, *options, "--run-dir", place / name)
        assert (outcome.code, outcome.err) == (0, "")
        (place / f"{name}.txt").write_text(outcome.out)
    return place


@pytest.mark.needs("sklearn")
def test_evaluation_of_numbers(place: Path) -> None:
    predicted, names = (
        predict(place / "two", place / "two.csv").values,
        ("price", "rooms"),
    )
    assert (
        load_run(place / "two").class_names,
        load_run(place / "two").signature.columns.names,
    ) == (names, tuple(NAMES))
    true = np.stack([PRICES[:, 0], (X[:, 2] * 3).astype(int)], axis=1)
    error, t = (predicted - true)[HELD_OUT], true[HELD_OUT]
    r2 = 1 - (error**2).sum(axis=0) / ((t - t.mean(axis=0)) ** 2).sum(axis=0)
    rmse = (error**2).mean(axis=0) ** 0.5
    result = evaluate(place / "two").result
    assert result.samples == 40
    np.testing.assert_allclose([result.r2s, result.rmses], [r2, rmse], rtol=1e-10)
    first, _, head, *rows = call("evaluate", place / "two").out.splitlines()
    assert first == f"R² {r2.mean():.4f}, mean of 2 outputs, on 40 test samples"
    assert f"; {first}\n" in (place / "two.txt").read_text()
    assert head.split() == [
        "outputs",
        "R²",
        "RMSE",
        "MAE",
        "median",
        "absolute",
        "error",
    ]
    means, medians = np.mean(np.abs(error), axis=0), np.median(np.abs(error), axis=0)
    assert [re.split(r" {2,}", row) for row in rows] == [
        [
            names[i],
            f"{r2[i]:.4f}",
            *(quantity(each[i]) for each in (rmse, means, medians)),
        ]
        for i in range(2)
    ]
    assert call("predict", place / "two", place / "two.csv", "--csv").out.startswith(
        "row,price,rooms\n1,"
    )
    line = call("predict", place / "two", place / "two.csv").out.partition("\n")[0]
    assert (
        line
        == f"row 1: price {quantity(predicted[0, 0], 6)}, rooms {quantity(predicted[0, 1], 6)}"
    )


@pytest.mark.needs("sklearn")
def test_evaluation_of_labels(place: Path) -> None:
    right = load_run(place / "three").predict(X[HELD_OUT]) == LABELS[HELD_OUT]
    first, _, head, *rows = call("evaluate", place / "three").out.splitlines()
    share = (
        f"{100 * right.all(axis=1).mean():.2f} % of 40 test samples right in all labels"
    )
    assert first.startswith(f"{share}, {100 * right.mean():.2f} % of ")
    assert head.split() == [
        "labels",
        "samples",
        "accuracy",
        "precision",
        "recall",
        "F1",
        "ROC",
        "AUC",
    ]
    counts = LABELS[HELD_OUT].sum(axis=0)
    assert [row.split()[:3] for row in rows[:3]] == [
        [f"{i}", f"{counts[i]}", f"{right[:, i].mean():.4f}"] for i in range(3)
    ]
    record = json.loads((place / "three" / "result.json").read_text())
    best = f"{100 * record['validation_accuracy']:.2f} % of 30 held-out samples right in all labels"
    assert (
        f"kept the network of epoch {record['kept_epoch']}: {best}"
        in (place / "three.txt").read_text()
    )


@pytest.mark.needs("polars")
def test_predictions_of_several_labels(place: Path, tmp_path: Path) -> None:
    """The columns of a table may be in another order, and more than were asked for."""
    names, model = ("sick", "big, or so"), load_run(place / "flags")
    share = model.predict_proba(X)
    path = write_csv(
        tmp_path / "t.csv", {**dict(reversed(FEATURES.items())), "more": LABELS[:, 0]}
    )
    found = predict(place / "flags", path)
    assert found.models[0].class_names == names
    np.testing.assert_array_equal(found.outputs, share)
    np.testing.assert_array_equal(found.values, share > 0.5)
    assert [json.loads(line) for line in call("predict", place / "flags", path, "--json").out.splitlines()] == [
        {"row": i, "labels": [name for name, p in zip(names, each, strict=True) if p > 0.5],
         "probabilities": dict(zip(names, each, strict=True))}
        for i, each in enumerate(share.tolist(), 1)
    ]  # fmt: skip


@pytest.mark.needs("polars")
def test_validation_of_numbers_is_by_r2(place: Path) -> None:
    model, held = (
        load_run(place / "held-out"),
        np.random.RandomState(0).permutation(200)[:50],
    )
    true = PRICES[held, 0]
    error = model.predict(X[held]) - true
    record = json.loads((place / "held-out" / "result.json").read_text())
    assert record["validation_r2"] == pytest.approx(
        1 - (error**2).sum() / ((true - true.mean()) ** 2).sum(), rel=1e-9
    )
    assert record["validation_loss"] == pytest.approx(
        ((error / PRICES[:, 0].std()) ** 2).mean() / 2, rel=1e-9
    )
    records = [each for each in metrics(place / "held-out") if "validation_r2" in each]
    scores = [each["validation_r2"] for each in records]
    assert len(scores) == 4
    assert record["validation_r2"] == max(scores) == scores[record["kept_epoch"]]
    assert record["validation_loss"] == records[record["kept_epoch"]]["validation_loss"]
    assert record.keys().isdisjoint(
        {"accuracy", "test_loss", "r2", "rmse", "validation_accuracy"}
    )
    shown = (place / "held-out.txt").read_text()
    assert (
        f"kept the network of epoch {record['kept_epoch']}: R² {max(scores):.4f} on 50 held-out samples"
        in shown
    )
    outcome = call("evaluate", place / "neither")
    assert_one_line(
        outcome,
        2,
        f"the data '{place / 'two.csv'}' have no test set: all their samples are for",
    )
    outcome = call("evaluate", place / "neither", "--data-dir", place / "two.csv")
    assert_one_line(outcome, 2, "every row was in the training set; give other data")


@pytest.mark.parametrize("scaled", [True, False])
def test_a_new_run_begins_with_the_same_predictions(
    tmp_path: Path, scaled: bool, monkeypatch: Any
) -> None:
    """Whether and how the numbers of the run before were standardised."""
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    backend, y = open_backend(), PRICES / 1e5
    config = TrainConfig(
        epochs=2, hidden=(6,), learning_rate=0.05, init="glorot", report_every=60
    )
    old = from_arrays(X, y, standardize=False, scale_targets=scaled)
    list(train(config, old, backend, run_dir=tmp_path / "old"))
    new = from_arrays(X, y[:, ::-1] + 3, (X, y), standardize=False)
    still = replace(config, learning_rate=1e-30, warm_up_steps=0, epochs=1)
    list(
        train(
            still, new, backend, start_from=tmp_path / "old", run_dir=tmp_path / "new"
        )
    )
    np.testing.assert_allclose(
        load_run(tmp_path / "new").predict(X),
        load_run(tmp_path / "old").predict(X),
        rtol=1e-9,
    )
    if scaled:
        other = from_arrays(X, y, standardize=False, scale_targets=False)
        with pytest.raises(RunError, match="targets standardised, not unchanged"):
            list(
                train(
                    replace(config, epochs=4), other, backend, run_dir=tmp_path / "old"
                )
            )


# Pictures.


@pytest.mark.needs("matplotlib")
def test_pictures_fit_the_task(place: Path, tmp_path: Path) -> None:
    for name, pictures in (
        ("two", ["curves.png", "predictions.png"]),
        ("three", ["curves.png", "labels.png", "probabilities.png"]),
        ("held-out", ["curves.png"]),
        ("neither", ["curves.png"]),
    ):
        assert {path.name for path in (place / name).glob("*.png")} == {*pictures}
        assert (
            f"drawn in {place / name}: {', '.join(pictures)}"
            in (place / f"{name}.txt").read_text()
        )
    assert call("plot", place / "two").out.split() == [
        str(place / "two" / f"{x}.png") for x in ("curves", "predictions")
    ]
    outcome = call(
        "plot", place / "three", place / "two", "--output", tmp_path / "both.png"
    )
    assert_one_line(
        outcome,
        2,
        f"'{place / 'two'}': its task is regression, but the task of",
        str(place / "three"),
    )
    assert not (tmp_path / "both.png").exists()


@pytest.mark.needs("matplotlib")
def test_predictions_against_true_numbers() -> None:
    outputs, panels = 9, 6
    true = RANDOM.normal(size=(50, outputs)) * 10.0 ** np.arange(outputs)
    predicted = true + RANDOM.normal(size=true.shape)
    result = REGRESSION.evaluate(predicted, true)
    figure = plots.draw_predictions(
        true, predicted, result, [f"$x_{i}" for i in range(outputs)]
    )
    drawn = [axes for axes in figure.axes if axes.collections]
    assert len(drawn) == panels
    for i, axes in enumerate(drawn):
        np.testing.assert_array_equal(
            axes.collections[0].get_offsets(),
            np.stack([true[:, i], predicted[:, i]], 1),
        )
        (diagonal,) = axes.lines
        assert diagonal.get_slope() == 1
        assert len({*diagonal.get_xy1()}) == 1
        error = np.sqrt(np.mean((true - predicted)[:, i] ** 2))
        assert (
            axes.get_title()
            == f"\\$x_{i}\nR² {result.r2s[i]:.4f}, root mean squared error {error:.4g}"
        )
        assert axes.get_xlim() == axes.get_ylim()
    assert [text.get_text() for text in figure.legends[0].get_texts()][
        1
    ] == "predicted = true"
    flat = np.full((3, 1), 5.0)
    assert plots.draw_predictions(
        flat, flat, REGRESSION.evaluate(flat, flat), ["x"]
    )._repr_png_()


@pytest.mark.needs("matplotlib")
def test_accuracy_of_each_label() -> None:
    count = 60
    accuracies, commoner = (
        (RANDOM.permutation(count) / count).tolist(),
        RANDOM.uniform(0.5, 1, count),
    )
    figure = plots.draw_labels(
        accuracies, commoner.tolist(), [f"label {i}" for i in range(count)]
    )
    (axes,) = figure.axes
    chosen = sorted(np.argsort(accuracies)[:40])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        f"label {i}" for i in chosen
    ]
    np.testing.assert_allclose(
        [bar.get_width() for bar in axes.patches], [100 * accuracies[i] for i in chosen]
    )
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 100 * commoner[chosen])
