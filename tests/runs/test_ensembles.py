"""Ensembles: the mean of the networks' probabilities, against plain NumPy."""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from backends import backend_params, open_for_test
from data_sets import TINY, synthetic, write_csv, write_idx_folder
from helpers import assert_one_line, call, output_of
from PIL import Image
from run_folders import write_sweep
from safetensors.numpy import load_file

from mlp_xp import (
    TrainConfig,
    evaluate,
    from_arrays,
    load_dataset,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.dataset import Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.runs.ensembles import run_of

pytestmark = pytest.mark.usefixtures("no_pictures")
NEAR = 20 * np.finfo(np.float32).eps  # a run of `runs` is in float32


@pytest.mark.parametrize("name", backend_params())
def test_the_ensemble_is_the_mean_of_the_probabilities(name, runs):
    labels = TINY.test.labels
    mean = np.mean([plain_probabilities(run, TINY.test.inputs) for run in runs], axis=0)
    predictions, expected = mean.argmax(axis=1), np.zeros((10, 10), int)
    np.add.at(expected, (labels, predictions), 1)
    loss = -np.mean(np.log(mean[np.arange(60), labels]))

    found = evaluate(runs, backend=open_for_test(name).name)

    assert found.metrics["confusion_matrix"] == expected.tolist()
    assert found.result.accuracy == np.mean(predictions == labels)
    np.testing.assert_allclose(found.result.loss, loss, rtol=NEAR)


def plain_probabilities(run_dir: Path, images: np.ndarray) -> np.ndarray:
    """From the arrays in the file, with no code of the package."""
    tensors = load_file(run_dir / "model.safetensors")
    config = json.loads((run_dir / "config.json").read_text())
    layers = [
        [tensors[f"network.{i}.{name}"] for name in ("weights", "bias")]
        for i in range(len(tensors) // 2)
    ]
    x = images.reshape(len(images), -1) / 255
    activation = config["settings"]["activation"]
    return reference.softmax(reference.outputs(layers, x, activation))


def test_an_ensemble_of_regressions_is_the_mean_of_their_numbers(tmp_path, random):
    """Whatever the units of each network."""
    X = random.normal(size=(80, 3))
    y = 500 * X[:, :2] + 70
    runs = [
        train_run(tmp_path / str(i), from_arrays(X[i:60:2], y[i:60:2])) for i in (0, 1)
    ]
    mean = np.mean([load_run(run).predict(X[60:]) for run in runs], axis=0)
    expected = np.sqrt(np.mean((mean - y[60:]) ** 2, axis=0))
    found = evaluate(runs, (X[60:], y[60:]))
    np.testing.assert_allclose(found.result.rmses, expected, rtol=1e-9)


def test_the_runs_have_their_own_results(runs):
    found = evaluate(runs)
    assert [run_of(model).path for model in found.models] == runs
    assert [*found.runs] == [evaluate(run).result for run in runs]


def test_runs_on_other_columns_are_named_as_that_and_given_data(tmp_path, monkeypatch):
    """Their test sets have other features, whether or not they have the same rows."""
    monkeypatch.chdir(tmp_path)
    write_csv(Path("t.csv"), {"a": range(60), "b": [*range(30)] * 2, "y": [0, 1] * 30})
    train = "train --data-dir t.csv --label y --networks 1 --epochs 1 --run-dir"
    assert call(f"{train} both").code == 0
    assert call(f"{train} one --exclude b").code == 0
    said = "'one': reads other columns than 'both': columns a, not a, b; give data"
    assert_one_line(call("evaluate both one"), 2, said)
    assert call("evaluate both one --data-dir t.csv").code == 0


def test_a_sweep_is_the_ensemble_of_its_finished_members(runs, tmp_path):
    sweep = write_sweep(tmp_path / "s", [{"seed": i} for i in range(3)], [None] * 3)
    members = [sweep / "members" / "0000", sweep / "members" / "0001"]
    for run, member in zip(runs, members, strict=False):
        shutil.copytree(run, member)
    expected = evaluate(runs[:2]).result
    # a run counts once
    for given in (str(sweep), [sweep, members[0]]):
        said = "only 2 of 3 members of this sweep have"
        with pytest.warns(MlpXpWarning, match=said) as told:
            found = evaluate(given)
        assert told[0].filename == __file__
        assert found.result == expected
        assert [run_of(model).path for model in found.models] == members
    outcome = call("evaluate", sweep)
    assert "ensemble of 2" in outcome.out
    assert outcome.err.count("only 2 of 3") == 1


def test_evaluate_prints_each_run_and_the_ensemble(runs, eighty_columns):
    found = evaluate(runs[:2])
    out = output_of("evaluate", *runs[:2])
    names = [
        "hidden 8, seed 0, activation sigmoid",
        "hidden 5,4, seed 1, activation tanh",
        "ensemble of 2",
    ]
    expected = []
    for name, result in zip(names, [*found.runs, found.result], strict=True):
        share, loss = f"{100 * result.accuracy:.2f}", f"{result.loss:.4f}"
        expected.append((name, share, loss))
    rows = re.findall(r"^(.+?) +(\d+\.\d\d) +(\d+\.\d{4})$", out, re.MULTILINE)
    assert rows[:3] == expected
    assert f"{share} % of 60 test images right, loss {loss}" in out


def test_predict_averages_the_probabilities_of_a_picture(runs, picture):
    predicted = predict(runs, picture)
    each = [plain_probabilities(run, predicted.pictures.images) for run in runs]
    np.testing.assert_allclose(predicted.runs, each, rtol=NEAR)
    np.testing.assert_allclose(predicted.outputs, np.mean(each, axis=0), rtol=NEAR)


def test_predict_prints_the_class_of_the_ensemble(runs, picture):
    (line,) = output_of("predict", *runs, picture).splitlines()
    assert line.startswith(f"{picture}: {predict(runs, picture).values[0]} (")


def test_runs_on_other_data_are_evaluated_on_data_that_are_named(
    runs, picture, tmp_path
):
    data = write_idx_folder(tmp_path / "data", synthetic(210, 60, 6))
    other = train_run(tmp_path / "other", load_dataset(data))
    assert call("evaluate", runs[0], other, "--data-dir", data)[::2] == (0, "")
    assert call("predict", runs[0], other, picture).code == 0


def test_runs_with_other_labels_of_one_table_are_not_evaluated_together(tmp_path):
    """The rows and the labels of the first run would stand for those of the second."""
    random = np.random.RandomState(0)
    a, b = random.randint(0, 2, (2, 60)).tolist()
    features = {"x": random.randn(60).tolist()}
    table = write_csv(tmp_path / "t.csv", {**features, "a": a, "b": b})
    gaps = {**features, "a": [*a[:50], *[""] * 10], "b": ["", *b[1:]]}
    new = write_csv(tmp_path / "gaps.csv", gaps)
    runs = [
        train_run(tmp_path / label, load_dataset(table, label=label, exclude=other))
        for label, other in ("ab", "ba")
    ]
    for data in (table, new):
        outcome = call("evaluate", *runs, "--data-dir", data)
        assert outcome.code != 0
        assert f"{runs[1]}': reads other labels in these data than" in outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.out == ""


def test_runs_in_both_dtypes_are_evaluated_together_on_other_data(tmp_path):
    """Their labels differ by rounding only."""
    random = np.random.RandomState(0)
    X, y = random.randn(60, 2), random.randn(60)
    runs = []
    for dtype in ("float64", "float32"):
        data = from_arrays(X[:30], y[:30], backend=open_backend(dtype=dtype))
        runs.append(train_run(tmp_path / dtype, data, dtype))
    assert evaluate(runs, (X[30:], y[30:])).result.samples == 30


def test_a_network_of_arrays_in_an_ensemble_predicts_from_no_file_of_a_table(tmp_path):
    X = np.random.RandomState(0).randn(60, 2)
    y = np.where(X[:, 0] > 0, "a", "b")
    table = write_csv(tmp_path / "t.csv", {"x0": X[:, 0], "x1": X[:, 1], "y": y})
    of_table = train_run(tmp_path / "table", load_dataset(table, label="y"))
    of_arrays = train_run(tmp_path / "arrays", from_arrays(X, y))
    for runs in ([of_table, of_arrays], [of_arrays, of_table]):
        with pytest.raises(MlpXpError, match=f"{of_arrays.name}.*takes"):
            predict(runs, table)


every_task = pytest.mark.parametrize("task", ["classes", "labels", "regression"])


@every_task
def test_evaluate_prints_all_figures_for_programs(task, tables):
    """In full precision, of each run and of the ensemble."""
    runs, _ = tables[task]
    found = evaluate(runs)
    records = [
        {"run": str(run), **figures}
        for run, figures in zip(runs, found.run_metrics, strict=True)
    ]
    whole = json.loads(output_of("evaluate --json", *runs))
    assert whole == {**found.metrics, "runs": records}
    assert json.loads(output_of("evaluate --json", runs[1])) == records[1]
    rows = [*csv.DictReader(output_of("evaluate --csv", *runs).splitlines())]
    assert [row["run"] for row in rows] == [*map(str, runs), "ensemble of 2"]
    losses = [figures["loss"] for figures in (*found.run_metrics, found.metrics)]
    assert [float(row["loss"]) for row in rows] == losses


@pytest.mark.filterwarnings("ignore:.*labels among ", "ignore:.*outside the")
@every_task
def test_predict_prints_all_outputs_for_programs(task, tables):
    runs, table = tables[task]
    predicted = predict(runs, table)
    lines = call("predict --json", *runs, table).out.splitlines()
    kind = "outputs" if task == "regression" else "probabilities"
    records = [json.loads(line) for line in lines]
    assert [[*each[kind].values()] for each in records] == predicted.outputs.tolist()
    if task == "labels":
        likely = [[*np.array(["y0", "y1"])[row > 0.5]] for row in predicted.outputs]
        assert [each["labels"] for each in records] == likely
    second = [[*each["runs"][1][kind].values()] for each in records]
    assert second == predicted.runs[1].tolist()


@pytest.mark.parametrize(
    ("task", "how"), [("classes", "--csv"), ("labels", ""), ("regression", "--json")]
)
def test_without_scikit_learn_a_line_says_how_to_get_more(
    task, how, tables, monkeypatch
):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    runs, _ = tables[task]
    outcome = call(f"evaluate {how}", *runs)
    how_to = "-m pip install scikit-learn"
    assert_one_line(outcome, 0, "note: more metrics need scikit-learn", how_to)


# Runs and their data.


def train_run(folder: Path, data: Dataset, dtype: str = "float64", **changes) -> Path:
    settings = {"epochs": 2, "hidden": (8,), "learning_rate": 0.1, "init": "glorot"}
    config = TrainConfig(**{**settings, **changes})
    for _ in train(config, data, open_backend(dtype=dtype), run_dir=folder):
        pass
    return folder


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory, no_pictures) -> list[Path]:
    """Three runs on the same data: of two seeds, two sizes and two dtypes."""
    folder = tmp_path_factory.mktemp("ensemble")
    data = load_dataset(data_dir)
    single = load_dataset(data_dir, open_backend(dtype="float32"))
    return [
        train_run(folder / "a", data),
        train_run(folder / "b", data, seed=1, hidden=(5, 4), activation="tanh"),
        train_run(folder / "c", single, "float32", seed=2),
    ]


@pytest.fixture
def picture(tmp_path) -> Path:
    ink = np.zeros((60, 60), np.uint8)
    ink[10:50, 25:33] = 255
    Image.fromarray(ink).save(tmp_path / "one.png")
    return tmp_path / "one.png"


@pytest.fixture(scope="module")
def tables(tmp_path_factory, no_pictures) -> dict[str, tuple[list[Path], Path]]:
    """For each task two runs on a table, and the table."""
    random, found = np.random.default_rng(2), {}
    features, noise = random.normal(size=(200, 3)), random.normal(size=(200, 2))
    a, b, c = features.T
    numbers = features[:, :2] + noise
    targets = {
        "classes": ((a + b > 0) + 1 * (c > 0.5))[:, None],
        "labels": (numbers > 0).astype(int),
        "regression": numbers * [3, 500] + 70,
    }
    for task, values in targets.items():
        folder = tmp_path_factory.mktemp(task)
        columns = {f"x{i}": column for i, column in enumerate(features.T.tolist())}
        outputs = {f"y{i}": column for i, column in enumerate(values.T.tolist())}
        table = write_csv(folder / "table.csv", {**columns, **outputs})
        data = load_dataset(table, label=",".join(outputs), task=task)
        runs = [
            train_run(folder / each, data, activation=each, batch_size=8, epochs=3)
            for each in ("relu", "tanh")
        ]
        found[task] = runs, table
    return found
