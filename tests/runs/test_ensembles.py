"""Ensembles: the mean of the networks' probabilities, against plain NumPy from the
files' arrays.
"""

import csv
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from backends import backend_params, open_for_test
from data_sets import TINY, synthetic, write_csv, write_idx_folder
from helpers import assert_one_line, call
from PIL import Image
from run_folders import write_sweep
from safetensors.numpy import load_file

from mlp_xp import TrainConfig, evaluate, load_dataset, open_backend, predict, train
from mlp_xp.core.dataset import Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.runs.ensembles import run_of
from mlp_xp.runs.metrics import confusion_matrix

pytestmark = pytest.mark.usefixtures("no_pictures")


def train_run(
    folder: Path, data: Path | Dataset, dtype: str = "float64", **changes
) -> Path:
    backend = open_backend("numpy", dtype=dtype)
    config = TrainConfig(
        **{
            "epochs": 2,
            "hidden": (8,),
            "learning_rate": 0.1,
            "init": "glorot",
            **changes,
        }
    )
    dataset = data if isinstance(data, Dataset) else load_dataset(data, backend)
    for _ in train(config, dataset, backend, run_dir=folder):
        pass
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs on the same data: of two seeds, two sizes and two dtypes."""
    folder = tmp_path_factory.mktemp("ensemble")
    data = write_idx_folder(folder / "data", TINY)
    return [
        train_run(folder / "a", data),
        train_run(folder / "b", data, seed=1, hidden=(5, 4), activation="tanh"),
        train_run(folder / "c", data, "float32", seed=2),
    ]


def plain_probabilities(run_dir: Path, images: np.ndarray) -> np.ndarray:
    """From the arrays in the file, with no code of the package."""
    tensors = {
        name: array.astype(float)
        for name, array in load_file(run_dir / "model.safetensors").items()
    }
    activation = json.loads((run_dir / "config.json").read_text())["settings"][
        "activation"
    ]
    x = images.reshape(len(images), -1) / 255
    layers = len(tensors) // 2
    for i in range(layers):
        x = x @ tensors[f"network.{i}.weights"] + tensors[f"network.{i}.bias"]
        if i < layers - 1:
            x = np.tanh(x) if activation == "tanh" else 1 / (1 + np.exp(-x))
    powers = np.exp(x)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", backend_params())
def test_the_ensemble_is_the_mean_of_the_probabilities(name, runs):
    name = open_for_test(name).name
    mean = np.mean([plain_probabilities(run, TINY.test.inputs) for run in runs], axis=0)
    found = evaluate(runs, backend=name)
    predictions, expected = mean.argmax(axis=1), np.zeros((10, 10), int)
    np.add.at(expected, (TINY.test.labels, predictions), 1)
    assert found.metrics["confusion_matrix"] == expected.tolist()
    assert found.result.accuracy == np.mean(predictions == TINY.test.labels)
    loss = -np.mean(np.log(mean[np.arange(60), TINY.test.labels]))
    # one of them is in float32
    np.testing.assert_allclose(
        found.result.loss, loss, rtol=20 * np.finfo(np.float32).eps
    )
    assert [run_of(model).path for model in found.models] == runs
    assert list(found.runs) == [evaluate(run, backend=name).result for run in runs]


@pytest.fixture
def picture(tmp_path) -> Path:
    ink = np.zeros((60, 60), np.uint8)
    ink[10:50, 25:33] = 255
    Image.fromarray(ink).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_a_sweep_is_the_ensemble_of_its_finished_members(runs, tmp_path):
    sweep = write_sweep(tmp_path / "s", [{"seed": i} for i in range(3)], [None] * 3)
    (sweep / "members").mkdir()
    for i in range(2):
        shutil.copytree(runs[i], sweep / "members" / f"{i:04d}")
    with pytest.warns(
        MlpXpWarning, match="only 2 of 3 members of this sweep have finished"
    ):
        found, again = (
            evaluate(given)
            for given in ([sweep, sweep / "members" / "0000"], str(sweep))
        )
    assert found.result == evaluate(runs[:2]).result == again.result
    assert [run_of(model).path.name for model in found.models] == ["0000", "0001"], (
        "a run counts once"
    )
    outcome = call("evaluate", sweep)
    assert "ensemble of 2" in outcome.out
    assert outcome.err.count("only 2 of 3") == 1
    for folder in (sweep / "members").iterdir():
        shutil.rmtree(folder)
    assert_one_line(call("evaluate", sweep), 2, "no member of this sweep has finished")


def test_the_commands_show_each_run_and_the_ensemble(runs, picture, eighty_columns):
    found, outcome = evaluate(runs[:2]), call("evaluate", *runs[:2])
    assert (outcome.code, outcome.err) == (0, "")
    rows = re.findall(
        r"^(.+?) +(\d+\.\d\d) +(\d+\.\d{4})$", outcome.out, flags=re.MULTILINE
    )[:3]
    names = [
        "hidden 8, seed 0, activation sigmoid",
        "hidden 5,4, seed 1, activation tanh",
        "ensemble of 2",
    ]
    results = [*found.runs, found.result]
    assert rows == [
        (name, f"{100 * x.accuracy:.2f}", f"{x.loss:.4f}")
        for name, x in zip(names, results, strict=True)
    ]
    assert f"{rows[2][1]} % of 60 test images right, loss {rows[2][2]}" in outcome.out
    predicted = predict(runs, picture)
    each = [plain_probabilities(run, predicted.pictures.images) for run in runs]
    np.testing.assert_allclose(predicted.runs, each, rtol=20 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(
        predicted.outputs, np.mean(each, axis=0), rtol=20 * np.finfo(np.float32).eps
    )
    (line,) = call("predict", *runs, picture).out.splitlines()
    assert line.startswith(f"{picture}: {predicted.values[0]} (")
    record = json.loads(call("predict", *runs, picture, "--json").out)
    assert [each["class"] for each in record["runs"]] == [
        str(row.argmax()) for row in predicted.runs[:, 0]
    ]
    assert_one_line(call("predict", *runs), 2, "after the run, give at least one")
    assert_one_line(call("predict", *runs[:2], "none.png"), 1, "none.png")


def test_runs_that_do_not_fit_together_are_refused(runs, picture, tables, tmp_path):
    fewer = train_run(tmp_path / "fewer", synthetic(200, 60, 6, classes=4))
    other = train_run(
        tmp_path / "other", write_idx_folder(tmp_path / "d3", synthetic(210, 60, 6))
    )
    large = train_run(tmp_path / "large", synthetic(200, 60, 7))
    (labels, _), new, _ = tables["labels"]
    (regression, _), _, _ = tables["regression"]
    for words, message in (
        (("evaluate", runs[0], fewer), "its network does not fit the network of"),
        (
            ("predict", runs[0], large, picture),
            "inputs images of 7 x 7, not images of 6 x 6",
        ),
        (("evaluate", runs[0], other), "has another test set than"),
        (
            ("predict", runs[0], fewer, picture),
            "its network does not fit the network of",
        ),
        (("evaluate", labels, regression), "task regression, not labels"),
        (("predict", labels, regression, new), "task regression, not labels"),
        (
            ("predict", *runs, new),
            "takes images of 6 x 6; use a run that was trained on a table",
        ),
    ):
        assert_one_line(call(*words), 2, message, str(words[1]))
    # Other data for training are no fault where the data to evaluate on are named, or
    # there are none.
    assert call("evaluate", runs[0], other, "--data-dir", tmp_path / "d3")[::2] == (
        0,
        "",
    )
    assert call("predict", runs[0], other, picture).code == 0


@pytest.fixture(scope="module")
def tables(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[list[Path], Path, Dataset]]:
    """For each task: two runs on a table, a table of 40 rows without answers, and the
    data of the first.
    """
    found, random = {}, np.random.default_rng(2)
    features = random.normal(size=(200, 3))
    columns = dict(zip(("length", "width", "age"), features.T.tolist(), strict=True))
    for task, values in {
        "classes": (features[:, :1] + features[:, 1:2] > 0)
        + 1 * (features[:, 2:] > 0.5),
        "labels": (features[:, :2] + random.normal(size=(200, 2)) > 0).astype(int),
        "regression": features[:, :2] * [3, 500] + random.normal(size=(200, 2)) + 70,
    }.items():
        folder = tmp_path_factory.mktemp(task)
        outputs = {f"y{i}": column for i, column in enumerate(values.T.tolist())}
        write_csv(folder / "whole.csv", {**columns, **outputs})
        new = write_csv(
            folder / "new.csv", {name: column[:40] for name, column in columns.items()}
        )
        data = load_dataset(folder / "whole.csv", label=",".join(outputs), task=task)
        runs = [
            train_run(folder / "a", data, activation="relu", batch_size=8, epochs=3),
            train_run(
                folder / "b",
                data,
                seed=1,
                hidden=(5, 4),
                activation="tanh",
                batch_size=8,
                epochs=3,
            ),
        ]
        found[task] = runs, new, data
    return found


@pytest.mark.parametrize("task", ["classes", "labels", "regression"])
def test_the_commands_print_all_figures_for_programs(task, tables):
    """Those of each run and the ensemble, in full precision."""
    runs, new, _ = tables[task]
    evaluation, ensemble = (
        evaluate(runs),
        json.loads(call("evaluate", *runs, "--json").out),
    )
    found = [*ensemble.pop("runs"), ensemble]
    assert [record.pop("run") for record in found[:2]] == [str(run) for run in runs]
    for record, result in zip(
        found, [*evaluation.runs, evaluation.result], strict=True
    ):
        for name in ("samples", "loss", "accuracy", "label_accuracy", "r2", "rmse"):
            assert record.get(name) == getattr(result, name)
        for kind, name, values in (
            ("labels", "accuracy", result.label_accuracies),
            ("outputs", "r2", result.r2s),
            ("outputs", "rmse", result.rmses),
        ):
            assert [each[name] for each in record.get(kind, [])] == [*values]
    assert json.loads(call("evaluate", runs[1], "--json").out) == {
        "run": str(runs[1]),
        **found[1],
    }
    rows = [*csv.DictReader(call("evaluate", *runs, "--csv").out.splitlines())]
    assert [row["run"] for row in rows] == [*map(str, runs), "ensemble of 2"]
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in found]
    lines = [
        json.loads(line)
        for line in call("predict", *runs, new, "--json").out.splitlines()
    ]
    key, predicted = (
        "outputs" if task == "regression" else "probabilities",
        predict(runs, new),
    )
    assert [[*line[key].values()] for line in lines] == predicted.outputs.tolist()
    assert [[*line["runs"][1][key].values()] for line in lines] == predicted.runs[
        1
    ].tolist()


def test_without_scikit_learn_a_line_says_how_to_get_more(tables, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    note = "note: more figures need scikit-learn, which is not installed; install it with: "
    for (runs, *_), how in zip(
        tables.values(), (("--csv",), (), ("--json",)), strict=True
    ):
        assert_one_line(
            call("evaluate", *runs, *how), 0, note, "-m pip install scikit-learn"
        )


def test_no_models_are_refused():
    with pytest.raises(MlpXpError, match="models: "):
        evaluate([])


def test_confusion_matrix_is_that_of_a_loop(random):
    """200 classes: the pairs do not fit into the bytes that the labels are."""
    labels, predictions = random.integers(0, 200, (2, 5000), dtype=np.uint8)
    expected = np.zeros((200, 200), np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    matrix = confusion_matrix(labels, predictions, 200)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, expected)
