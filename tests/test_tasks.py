"""Regression and several labels, from the files to the figures: train, resume, evaluate, predict, plot."""

import csv
import json
import signal
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv, write_npz
from helpers import assert_one_line, assert_same_run, call, metrics, start, wait_until

from mlp_xp import TrainConfig, evaluate_run, load_run, plot_curves, predict_table, train
from mlp_xp.arrays import DatasetError, DatasetWarning
from mlp_xp.backend import Backend, open_backend
from mlp_xp.data.datasets import load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.runs.records import RunError
from mlp_xp.show import plots
from mlp_xp.show.gallery import read_curves

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(200, 4))
NUMBERS = np.stack([2 * X[:, 0] - X[:, 1], X[:, 2] ** 2], axis=1)
LABELS = np.stack([X[:, 0] > 0.3, NUMBERS[:, 0] > 0, RANDOM.random(200) > 0.9], axis=1).astype(int)
NAMES = ["length", "width", "age", "mass"]
OPTIONS = ("--recipe", "notebook", "--epochs", 4, "--batch-size", 4,
           "--warm-up-steps", 0, "--learning-rate", 0.01, "--activation", "relu",
           "--init", "he", "--report-every", 50)  # fmt: skip
HELD_OUT = np.random.RandomState(0).permutation(200)[:40]
"""The rows that --test-fraction selects."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of each task, with pictures: with a test set, or with held-out samples, or neither."""
    place = tmp_path_factory.mktemp("tasks")
    write_csv(place / "one.csv", X, NUMBERS[:, 0], NAMES)
    write_csv(place / "sick.csv", X, LABELS[:, 1], NAMES)
    write_npz(place / "two.npz", X, NUMBERS)
    write_npz(place / "three.npz", X, LABELS)
    table = ("--data-dir", place / "one.csv", "--label", "kind", "--task", "regression")
    for name, options in (
        ("two", ("--data-dir", place / "two.npz")),
        ("three", ("--data-dir", place / "three.npz", "--validation", 30)),
        ("one", table),
        ("held-out", (*table, "--test-fraction", 0, "--validation", 50)),
        ("neither", (*table, "--test-fraction", 0)),
        ("sick", ("--data-dir", place / "sick.csv", "--label", "kind", "--task", "labels")),
    ):
        outcome = call("train", *options, *OPTIONS, "--run-dir", place / name)
        assert (outcome.code, outcome.err) == (0, "")
        (place / f"{name}.txt").write_text(outcome.out)
    return place


def test_evaluation_of_numbers(place: Path, backend: Backend) -> None:
    predicted, true = load_run(place / "two").predict(X[HELD_OUT]), NUMBERS[HELD_OUT]
    r2 = 1 - ((true - predicted) ** 2).sum(axis=0) / ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    rmse = ((true - predicted) ** 2).mean(axis=0) ** 0.5
    result, matrix, names = evaluate_run(place / "two", backend.name)
    assert (matrix, names, result.samples) == (None, ("0", "1"), 40)
    np.testing.assert_allclose(result.r2s, r2, rtol=1e-12)
    np.testing.assert_allclose(result.rmses, rmse, rtol=1e-12)
    np.testing.assert_allclose([result.r2, result.rmse], [r2.mean(), rmse.mean()], rtol=1e-12)
    outcome = call("evaluate", place / "two", "--backend", backend.name)
    assert (outcome.code, outcome.err) == (0, "")
    first, _, head, *rows = outcome.out.splitlines()
    errors = f"{rmse[0]:.4g} (0), {rmse[1]:.4g} (1)"  # a mean of them would be of different units
    expected = f"R² {r2.mean():.4f}, mean of 2 outputs, root mean squared error {errors} on 40 test samples"
    assert first == expected
    assert f"; {expected}\n" in (place / "two.txt").read_text()
    assert head.split() == ["output", "R²", "RMSE"]
    assert [row.split() for row in rows] == [[str(i), f"{r2[i]:.4f}", f"{rmse[i]:.4g}"] for i in range(2)]


def test_evaluation_of_labels(place: Path, backend: Backend) -> None:
    right = load_run(place / "three").predict(X[HELD_OUT]) == LABELS[HELD_OUT]
    result, matrix, _ = evaluate_run(place / "three", backend.name)
    assert matrix is None
    assert result.label_accuracies == tuple(right.mean(axis=0).tolist())
    assert (result.accuracy, result.label_accuracy) == (right.all(axis=1).mean(), right.mean())
    outcome = call("evaluate", place / "three", "--backend", backend.name)
    assert (outcome.code, outcome.err) == (0, "")
    first, _, head, *rows = outcome.out.splitlines()
    assert first.startswith(
        f"{100 * right.all(axis=1).mean():.2f} % of 40 test samples right in all labels, {100 * right.mean():.2f} % of "
    )
    assert head.split() == ["label", "accuracy"]
    assert [row.split() for row in rows] == [[str(i), f"{right[:, i].mean():.4f}"] for i in range(3)]


def test_validation_of_numbers_is_by_r2(place: Path) -> None:
    model, held = load_run(place / "held-out"), slice(150, None)
    true = NUMBERS[held, 0]
    r2 = 1 - ((true - model.predict(X[held])) ** 2).sum() / ((true - true.mean()) ** 2).sum()
    record = json.loads((place / "held-out" / "result.json").read_text())
    assert record["validation_r2"] == pytest.approx(r2, rel=1e-12)
    scores = [each["validation_r2"] for each in metrics(place / "held-out") if "validation_r2" in each]
    assert len(scores) == 4
    assert record["validation_r2"] == max(scores) == scores[record["kept_epoch"]]
    assert record.keys().isdisjoint({"accuracy", "test_loss", "r2", "rmse", "validation_accuracy"})
    shown = (place / "held-out.txt").read_text()
    assert f"kept the network of epoch {record['kept_epoch']}: R² {max(scores):.4f} on 50 held-out samples" in shown
    assert [line.split()[-1] for line in shown.splitlines() if line.split()[1:2] == ["150"]] == [
        f"{score:.4f}" for score in scores
    ]


def test_lines_of_labels(place: Path) -> None:
    record = json.loads((place / "three" / "result.json").read_text())
    best = f"{100 * record['validation_accuracy']:.2f}"
    assert (
        f"kept the network of epoch {record['kept_epoch']}: {best} % of 30 held-out samples right in all labels"
        in (place / "three.txt").read_text()
    )


@pytest.mark.usefixtures("no_pictures")
def test_a_killed_run_goes_on_to_the_same_bits(place: Path, tmp_path: Path) -> None:
    """The best network by R² is in the checkpoint too."""
    options = ("--data-dir", place / "one.csv", "--label", "kind", "--task", "regression", "--test-fraction", 0,
               "--validation", 50, *OPTIONS, "--epochs", 12, "--checkpoint-every", 20)  # fmt: skip
    assert call("train", *options, "--run-dir", tmp_path / "whole").code == 0
    folder = tmp_path / "killed"
    with start("train", *options, "--run-dir", folder) as process:
        lines = folder / "metrics.jsonl"
        wait_until(lambda: lines.exists() and lines.read_bytes().count(b"\n") > 20, process)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "result.json").exists()
    resumed = call("train", "--resume", folder)
    assert (resumed.code, resumed.err) == (0, "")
    assert_same_run(folder, tmp_path / "whole")


# Predictions.


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_predictions_of_a_label(place: Path) -> None:
    run, path = place / "sick", place / "sick.csv"
    share = load_run(run).predict_proba(X)
    assert [[float(row["kind"])] for row in rows_of(call("predict", run, path, "--csv").out)] == share.tolist()
    assert [json.loads(line) for line in call("predict", run, path, "--json").out.splitlines()] == [
        {"row": i, "labels": ["kind"] if p > 0.5 else [], "probabilities": {"kind": p}}
        for i, (p,) in enumerate(share.tolist(), 1)
    ]


def test_predictions_of_several_labels_of_a_table(tmp_path: Path) -> None:
    """A model predicts from a table, whatever its labels came from."""
    backend, run = open_backend(), tmp_path / "run"
    dataset = Dataset.from_arrays(X, LABELS, class_names=["a", "b", "c d"], feature_names=NAMES)
    for _ in train(TrainConfig(epochs=2), dataset._replace(inputs="columns"), backend, run_dir=run):
        pass
    # The columns may be in another order, and more than were asked for.
    path = write_csv(tmp_path / "t.csv", X[:, ::-1], LABELS[:, 0], NAMES[::-1])
    share = load_run(run).predict_proba(X)
    outputs, names, task = predict_table(run, path)
    assert (names, task) == (("a", "b", "c d"), "labels")
    np.testing.assert_array_equal(outputs, share)
    found = rows_of(call("predict", run, path, "--csv").out)
    assert [[float(row[name]) for name in names] for row in found] == share.tolist()
    objects = [json.loads(line) for line in call("predict", run, path, "--json").out.splitlines()]
    assert [[*each["probabilities"].values()] for each in objects] == share.tolist()
    assert [[int(name in each["labels"]) for name in names] for each in objects] == load_run(run).predict(X).tolist()


# Pictures.


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("two", ["curves.png", "predictions.png"]),
        ("three", ["curves.png", "labels.png"]),
        ("held-out", ["curves.png"]),
        ("neither", ["curves.png"]),
    ],
)
def test_pictures_fit_the_task(place: Path, name: str, pictures: list[str]) -> None:
    assert sorted(path.name for path in (place / name).glob("*.png")) == pictures
    assert f"drawn in {place / name}: {', '.join(pictures)}" in (place / f"{name}.txt").read_text()


def test_plot_draws_what_the_training_drew(place: Path) -> None:
    outcome = call("plot", place / "two")
    assert outcome.out.splitlines() == [str(place / "two" / name) for name in ("curves.png", "predictions.png")]


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (4, 4), (9, 6)])
def test_predictions_against_true_numbers(outputs: int, panels: int) -> None:
    true = RANDOM.normal(size=(50, outputs)) * 10.0 ** np.arange(outputs)
    predicted = true + RANDOM.normal(size=true.shape)
    r2s = [1 - 0.1 * i for i in range(outputs)]
    figure = plots.draw_predictions(true, predicted, r2s, [f"$x_{i}" for i in range(outputs)])
    figure.png()
    drawn = [axes for axes in figure.axes if axes.collections]
    assert len(drawn) == panels
    for i, axes in enumerate(drawn):
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), np.stack([true[:, i], predicted[:, i]], 1))
        low, high = axes.get_xlim()
        assert axes.get_ylim() == (low, high)
        assert low < min(true[:, i].min(), predicted[:, i].min())
        assert high > max(true[:, i].max(), predicted[:, i].max())
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[low, low], [high, high]])
        assert axes.get_title() == rf"\$x_{i}: R² {r2s[i]:.4f}"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("true", "predicted")
    assert ("the first 6 of 9 outputs" in figure.get_suptitle()) == (outputs == 9)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e150, 1e150])
def test_predictions_of_a_constant_are_drawn(value: float) -> None:
    """The square of larger numbers overflows, so a run on them ends before its pictures."""
    figure = plots.draw_predictions(np.full((3, 1), value), np.full((3, 1), value), [1.0], ["x"])
    assert figure.png().startswith(b"\x89PNG")


def test_large_numbers_to_predict_are_written_out() -> None:
    prices = np.array([[400_000.0], [1_400_000.0]])
    figure = plots.draw_predictions(prices, prices, [1.0], ["price"])
    figure.draw_without_rendering()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert axis.get_offset_text().get_text() == ""
        assert "1 000 000" in [tick.label1.get_text() for tick in axis.get_major_ticks()]


@pytest.mark.parametrize("count", [1, 5, 60])
def test_accuracy_of_each_label(count: int) -> None:
    accuracies, commoner = (RANDOM.permutation(count) / count).tolist(), RANDOM.uniform(0.5, 1, count)
    figure = plots.draw_labels(accuracies, commoner.tolist(), [f"label {i}" for i in range(count)])
    figure.png()
    (axes,) = figure.axes
    chosen = sorted(np.argsort(accuracies)[:40])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [f"label {i}" for i in chosen]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [100 * accuracies[i] for i in chosen])
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 100 * commoner[chosen])
    ends = [100 * max(accuracies[i], commoner[i]) + 1 for i in chosen]
    np.testing.assert_allclose([text.get_position()[0] for text in axes.texts], ends)
    assert [text.get_text() for text in axes.texts] == [f"{100 * accuracies[i]:.2f} %" for i in chosen]
    assert ("the least accurate 40 of 60" in axes.get_title()) == (count == 60)


NUMBERS_LOSS = "half squared error,\nstandardised targets"


def test_a_run_is_not_evaluated_on_what_it_was_trained_on(place: Path) -> None:
    for options in ((), ("--data-dir", place / "one.csv")):
        outcome = call("evaluate", place / "neither", *options)
        assert_one_line(outcome, 2, f"the data {str(place / 'one.csv')!r} have no test set: all their samples are for")


def test_curves_of_runs_without_test_set(place: Path) -> None:
    """No curve is promised that is not there, and each axis says what it shows."""
    figure = plots.draw_curves([read_curves(place / "neither")])
    (losses,) = figure.axes
    assert (losses.get_ylabel(), losses.get_xlabel()) == (NUMBERS_LOSS, "training samples seen")
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["training, mean since the last report"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["neither (no test set)"]
    figure = plots.draw_curves([read_curves(place / "held-out")])
    losses, score = figure.axes
    assert (losses.get_ylabel(), score.get_ylabel()) == (NUMBERS_LOSS, "held-out R²")
    kinds = [text.get_text() for text in losses.get_legend().get_texts()]
    assert kinds == ["training, mean since the last report", "held out", "kept, by held-out R²"]
    held_out = [each["validation_loss"] for each in metrics(place / "held-out") if "validation_loss" in each]
    (curve,) = [line for line in losses.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    np.testing.assert_array_equal(curve.get_xydata(), np.stack([[150, 300, 450, 600], held_out], axis=1))
    record = json.loads((place / "held-out" / "result.json").read_text())
    assert f"on 50 held-out samples, loss {record['validation_loss']:.4f}" in (place / "held-out.txt").read_text()
    wanted = f"held-out (R² {record['validation_r2']:.4f}, of epoch {record['kept_epoch']})"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [wanted]
    curve, circle = score.lines
    np.testing.assert_array_equal(curve.get_xdata(), [150, 300, 450, 600])
    np.testing.assert_array_equal(circle.get_xydata(), [[150 * (record["kept_epoch"] + 1), record["validation_r2"]]])


def test_curves_end_where_training_did_and_a_circle_marks_the_kept_network() -> None:
    """The closing report has the figures of the kept epoch, which would be a jump at the end."""
    reports: list[dict[str, Any]] = [
        {"epoch": i, "sample": 100, "train_loss": 1.0, "test_loss": 1.0 + i, "accuracy": share}
        for i, share in enumerate((0.5, 0.9, 0.7))
    ]
    closing = {**reports[-1], "accuracy": 0.9, "test_loss": 2.0, "kept_epoch": 1}
    figure = plots.draw_curves([plots.Curves("a", [*reports, closing], 100)])
    losses, accuracy = figure.axes
    curve, circle = accuracy.lines
    np.testing.assert_array_equal(curve.get_xydata(), [[100, 50], [200, 90], [300, 70]])
    np.testing.assert_array_equal(circle.get_xydata(), [[200, 90]])
    np.testing.assert_array_equal(losses.lines[1].get_ydata(), [1, 2, 3])
    assert figure.legends[0].get_texts()[0].get_text() == "a (90.00 %, of epoch 1)"


def test_the_held_out_accuracy_that_decides_is_drawn_with_the_ring_on_it() -> None:
    reports: list[dict[str, Any]] = [
        {"epoch": i, "sample": 100, "train_loss": 1.1 - i / 20, "accuracy": share, "validation_accuracy": held_out}
        for i, (share, held_out) in enumerate(((0.5, 0.6), (0.65, 0.8), (0.7, 0.75)))
    ]
    closing = {**reports[1], "epoch": 2, "kept_epoch": 1}
    figure = plots.draw_curves([plots.Curves("a", [*reports, closing], 100)])
    figure.draw_without_rendering()
    losses, accuracy = figure.axes
    (dotted,) = [line for line in accuracy.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted.get_ydata(), [60, 80, 75])
    np.testing.assert_allclose(accuracy.lines[-1].get_xydata(), [[200, 80]])
    assert losses.get_legend().get_texts()[-1].get_text() == "kept, by held-out accuracy"
    low, high = losses.get_ylim()
    assert sum(low <= tick.get_loc() <= high for tick in losses.yaxis.get_major_ticks()) >= 2


@pytest.mark.parametrize("test", [None, 0.25])
def test_curves_of_reports_in_memory(test: float | None) -> None:
    """A Report has None for the figures of other tasks, which a file leaves out."""
    reports = train(TrainConfig(epochs=2, validation=20), Dataset.from_arrays(X, NUMBERS / 9, test), open_backend())
    run = plots.Curves("a", [report._asdict() for report in reports], 100, "regression")
    _, score = plots.draw_curves([run]).axes
    assert score.get_ylabel() == ("held-out R²" if test is None else "test and held-out R²")


def test_runs_of_different_tasks_are_not_drawn_together(place: Path, tmp_path: Path) -> None:
    """One axis cannot have accuracies and R², nor two kinds of losses."""
    output = tmp_path / "both.png"
    outcome = call("plot", place / "sick", place / "one", "--output", output)
    assert_one_line(outcome, 2, f"{str(place / 'one')!r}: its task is regression, but that of", str(place / "sick"))
    with pytest.raises(RunError, match=r"its task is labels, but that of .* is regression; draw runs of the same task"):
        plot_curves([place / "one", place / "sick"], output)
    assert not output.exists()


def test_r2_far_below_zero_leaves_room_for_the_rest() -> None:
    reports = [
        {"epoch": i, "sample": 100, "train_loss": 1.0, "test_loss": 1.0, "r2": r2}
        for i, r2 in enumerate((-900.0, 0.8, 0.9))
    ]
    axes = plots.draw_curves([plots.Curves("a", reports, 100, "regression")]).axes[1]
    low, high = axes.get_ylim()
    assert -0.1 < low < 0 < 0.9 < high < 1
    assert axes.get_ylabel() == "test R²"


# Columns with names.


class Frame:
    """What the readers need of a table of pandas."""

    columns = ("length", "a $b", "age", "mass")

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


def test_constant_columns_are_named(tmp_path: Path) -> None:
    constant = np.where(np.arange(4) == 1, 3.5, X)
    path = write_csv(tmp_path / "t.csv", constant, NUMBERS[:, 0], NAMES)
    with pytest.warns(DatasetWarning, match="t.csv': column 'width': the same value in all training samples"):
        load_dataset(path, label="kind")
    with pytest.warns(DatasetWarning, match=r"^X: column 'a \$b': the same"):
        dataset = Dataset.from_arrays(Frame(constant), NUMBERS)
    assert dataset.feature_names == Frame.columns
    with pytest.warns(DatasetWarning, match="^X: column 'y': the same"):
        Dataset.from_arrays(Frame(constant), NUMBERS, feature_names="xyzw")
    with pytest.warns(DatasetWarning, match="^X: column 1: the same"):
        assert Dataset.from_arrays(constant, NUMBERS).feature_names == ()


def test_each_column_has_one_name() -> None:
    with pytest.raises(DatasetError, match=r"^feature_names: there are 3 for 4 features; give one each"):
        Dataset.from_arrays(X, NUMBERS, feature_names="abc")


# The data sets of scikit-learn.


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_data_sets_of_scikit_learn_on_every_library(tmp_path: Path, name: str) -> None:
    """Command line and library have the same figures on each backend, and those of NumPy up to rounding."""
    data = getattr(pytest.importorskip("sklearn.datasets"), f"load_{name}")()
    path = write_csv(tmp_path / "t.csv", data.data, data.target_names[data.target].astype(str))
    options = ("--data-dir", path, "--label", "kind", *OPTIONS, "--epochs", 2, "--report-every", 10000)
    config = TrainConfig(
        epochs=2, batch_size=4, warm_up_steps=0, learning_rate=0.01, activation="relu", init="he", report_every=10000
    )
    backends = [open_backend("numpy"), *(open_backend(each) for each in ("jax", "torch") if find_spec(each))]
    results: dict[str, dict[str, Any]] = {}
    for backend in backends:
        run = tmp_path / backend.name
        assert call("train", *options, "--backend", backend.name, "--run-dir", run).code == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DatasetWarning)  # three pixels of the digits are always 0
            *_, report = train(config, load_dataset(path, backend, label="kind"), backend)
        record = json.loads((run / "result.json").read_text())
        found = {each: record[each] for each in ("loss", "train_loss", "test_loss", "accuracy")}
        assert found == {each: getattr(report, each) for each in found}
        results[backend.name] = found
    for found in results.values():
        assert found == pytest.approx(results["numpy"], rel=1e-10)
        assert found["accuracy"] == results["numpy"]["accuracy"]
