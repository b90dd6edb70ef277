"""Ensembles: the mean of the networks' probabilities, against plain NumPy from the files' arrays."""

import csv
import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from backends import backend_params, open_for_test
from data_sets import TINY, synthetic, write_idx_folder
from helpers import assert_one_line, call
from PIL import Image
from safetensors.numpy import load_file

from mlp_xp import (
    TrainConfig,
    evaluate,
    load_dataset,
    load_run,
    open_backend,
    predict,
    train,
)
from mlp_xp.core.dataset import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.ensembles import run_of


def train_run(folder: Path, data: Path | Dataset, dtype: str = "float64", **changes) -> Path:
    backend = open_backend("numpy", dtype=dtype)
    config = TrainConfig(**{"epochs": 2, "hidden": (8,), "learning_rate": 0.1, "init": "glorot", **changes})
    with mock.patch("mlp_xp.api.draw_run"):
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
    tensors = {name: array.astype(float) for name, array in load_file(run_dir / "model.safetensors").items()}
    activation = json.loads((run_dir / "config.json").read_text())["settings"]["activation"]
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
    mean = np.mean([plain_probabilities(run, TINY.test_inputs) for run in runs], axis=0)
    evaluation = evaluate(runs, backend=name)
    result, matrix, *_ = evaluation
    predictions = mean.argmax(axis=1)
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (TINY.test_labels, predictions), 1)
    assert matrix.tolist() == expected.tolist()
    assert result.accuracy == np.mean(predictions == TINY.test_labels)
    loss = -np.mean(np.log(mean[np.arange(60), TINY.test_labels]))
    np.testing.assert_allclose(result.loss, loss, rtol=20 * np.finfo(np.float32).eps)  # one of them is in float32
    assert evaluation.models[0].class_names == tuple("0123456789")
    assert [run_of(model) for model in evaluation.models] == runs
    for run, alone in zip(runs, evaluation.runs, strict=True):
        assert alone == evaluate(run, backend=name).result


def picture(folder: Path) -> Path:
    ink = np.zeros((60, 60), np.uint8)
    ink[10:50, 25:33] = 255
    Image.fromarray(ink).save(folder / "one.png")
    return folder / "one.png"


def test_a_sweep_is_the_ensemble_of_its_finished_members(runs, tmp_path):
    members = [{"name": f"{i:04d}", "settings": {"seed": i}} for i in range(3)]
    (tmp_path / "members").mkdir()
    for i in range(2):
        (tmp_path / "members" / f"{i:04d}").symlink_to(runs[i])
    plan = {"format": 1, "kind": "grid", "count": len(members), "seed": 0, "settings": {}, "options": {}, "sums": {}}
    (tmp_path / "sweep.json").write_text(json.dumps({**plan, "members": members}))
    evaluation = evaluate([tmp_path])
    assert [run_of(model).name for model in evaluation.models] == ["0000", "0001"]
    assert evaluation.result == evaluate(runs[:2]).result == evaluate(str(tmp_path)).result
    assert len(evaluate([tmp_path, runs[0]]).models) == 2, "a run counts once"
    outcome = call("evaluate", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    assert "ensemble of 2" in outcome.out
    for folder in (tmp_path / "members").iterdir():
        folder.unlink()
    assert_one_line(call("evaluate", tmp_path), 2, "no member of this sweep has finished")


def test_evaluate_shows_each_run_and_the_ensemble(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = call("evaluate", *runs[:2])
    assert (outcome.code, outcome.err) == (0, "")
    evaluation = evaluate(runs[:2])
    rows = re.findall(r"^(.+?) +(\d+\.\d\d) +(\d+\.\d{4})$", outcome.out, flags=re.MULTILINE)[:3]
    names = ["hidden 8, seed 0, activation sigmoid", "hidden 5,4, seed 1, activation tanh", "ensemble of 2"]
    results = [*evaluation.runs, evaluation.result]
    assert rows == [
        (name, f"{100 * result.accuracy:.2f}", f"{result.loss:.4f}")
        for name, result in zip(names, results, strict=True)
    ]
    assert f"{100 * results[2].accuracy:.2f} % of 60 test images right, loss {results[2].loss:.4f}" in outcome.out
    assert "confusion matrix" in outcome.out


def test_predict_shows_each_run_and_the_ensemble(runs, tmp_path):
    path = picture(tmp_path)
    found = predict(runs, path)
    each = [plain_probabilities(run, found.pictures.images) for run in runs]
    np.testing.assert_allclose(found.runs, each, rtol=20 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(found.outputs, np.mean(each, axis=0), rtol=20 * np.finfo(np.float32).eps)
    outcome = call("predict", *runs, path)
    assert (outcome.code, outcome.err) == (0, "")
    first, *rest = outcome.out.splitlines()
    assert first.startswith(f"{path}: {found.outputs.argmax()} (")
    assert len(rest) == 3
    for line, row in zip(rest, found.runs[:, 0], strict=True):
        assert line.startswith("  ")
        assert f": {row.argmax()} (" in line
    record = json.loads(call("predict", *runs, path, "--json").out)
    assert [*record["probabilities"].values()] == found.outputs[0].tolist()
    assert [each["run"] for each in record["runs"]] == [*map(str, runs)]
    assert [[*each["probabilities"].values()] for each in record["runs"]] == found.runs[:, 0].tolist()
    assert_one_line(call("predict", *runs), 2, "PICTURE: give at least one")
    assert_one_line(call("predict", *runs[:2], tmp_path / "none.png"), 1, "none.png")


def test_runs_that_do_not_fit_together_are_refused(runs, tmp_path):
    fewer = train_run(tmp_path / "fewer", synthetic(200, 60, 6, classes=4))
    other = train_run(tmp_path / "other", write_idx_folder(tmp_path / "d3", synthetic(210, 60, 6)))
    path = picture(tmp_path)
    for odd, message in (
        (fewer, "its network has the classes 0, 1, 2, 3, but that of"),
        (other, "has another test set than"),
    ):
        assert_one_line(call("evaluate", runs[0], odd), 2, message, str(odd), str(runs[0]))
    assert_one_line(call("predict", runs[0], fewer, path), 2, "its network has")
    # Other data for training are no fault where the data to evaluate on are named, or there are none.
    named = call("evaluate", runs[0], other, "--data-dir", tmp_path / "d3")
    assert (named.code, named.err) == (0, "")
    assert call("predict", runs[0], other, path).code == 0


NAMES = ("length", "width", "age")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Path], Path, np.ndarray]]:
    """For each task: two runs on a table, a table of 40 rows without answers, and the answers."""
    found, random = {}, np.random.default_rng(2)
    features = random.normal(size=(200, 3))
    answers = {
        "classes": (features[:, :1] + features[:, 1:2] > 0) + 1 * (features[:, 2:] > 0.5),
        "labels": (features[:, :2] + random.normal(size=(200, 2)) > 0).astype(int),
        "regression": features[:, :2] * [3, 500] + random.normal(size=(200, 2)) + 70,
    }
    for task, values in answers.items():
        folder = tmp_path_factory.mktemp(task)
        outputs = [f"y{i}" for i in range(values.shape[1])]
        for name, columns in (("whole", slice(0, 200)), ("new", slice(0, 40))):
            rows = np.hstack([features, values])[columns] if name == "whole" else features[columns]
            heads = ",".join([*NAMES, *outputs][: rows.shape[1]])
            lines = [",".join(f"{each:g}" if each % 1 == 0 else repr(float(each)) for each in row) for row in rows]
            (folder / f"{name}.csv").write_text("\n".join([heads, *lines]) + "\n")
        backend = open_backend("numpy")
        data = load_dataset(folder / "whole.csv", backend, label=",".join(outputs), task=task)
        runs = [
            train_run(folder / "a", data, activation="relu", batch_size=8, epochs=3),
            train_run(folder / "b", data, seed=1, hidden=(5, 4), activation="tanh", batch_size=8, epochs=3),
        ]
        found[task] = runs, folder / "new.csv", backend.to_numpy(data.test_labels)
    return found


@pytest.mark.parametrize("task", ["classes", "labels", "regression"])
@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_tables_are_predicted_and_evaluated_by_the_mean(name, task, tables):
    """Against the mean of what each network says alone, with figures by their formulas."""
    name = open_for_test(name).name
    runs, new, true = tables[task]
    found = predict(runs, new, backend=name)
    alone = [predict(run, new, backend=name) for run in runs]
    np.testing.assert_allclose(found.outputs, np.mean([each.outputs for each in alone], axis=0), rtol=1e-11)
    np.testing.assert_allclose(found.runs, [each.outputs for each in alone], rtol=1e-11)
    evaluation = evaluate(runs, backend=name)
    result, matrix, *_ = evaluation
    assert list(evaluation.runs) == [evaluate(run, backend=name).result for run in runs]
    data = load_dataset(runs[0].parent / "whole.csv", open_backend("numpy"), label=",".join(LABEL[task]), task=task)
    models = [load_run(run) for run in runs]
    mean = np.mean([model.outputs(data.test_inputs) for model in models], axis=0)
    assert result.samples == len(true) == 40
    if task == "regression":
        residual, total = ((true - mean) ** 2).sum(axis=0), ((true - true.mean(axis=0)) ** 2).sum(axis=0)
        np.testing.assert_allclose(result.r2s, 1 - residual / total, rtol=1e-9)
        np.testing.assert_allclose(result.rmses, (residual / 40) ** 0.5, rtol=1e-9)
        assert (result.r2, result.rmse) == pytest.approx((np.mean(result.r2s), np.mean(result.rmses)))
        assert result.loss == pytest.approx((residual / models[0].scaling[1] ** 2).sum() / 80, rel=1e-9)
        assert (matrix, result.accuracy) == (None, None)
    elif task == "labels":
        assert result.label_accuracies == tuple(((mean > 0.5) == true).mean(axis=0).tolist())
        assert result.accuracy == ((mean > 0.5) == true).all(axis=1).mean()
        assert result.label_accuracy == pytest.approx(((mean > 0.5) == true).mean())
        of_true = np.where(true, mean, 1 - mean)
        assert result.loss == pytest.approx(-np.log(of_true).sum(axis=1).mean(), rel=1e-9)
    else:
        assert result.accuracy == (mean.argmax(axis=1) == true).mean() == np.trace(matrix) / 40
        assert result.loss == pytest.approx(-np.log(mean[np.arange(40), true]).mean(), rel=1e-9)


LABEL = {"classes": ["y0"], "labels": ["y0", "y1"], "regression": ["y0", "y1"]}


@pytest.mark.parametrize("task", ["classes", "labels", "regression"])
def test_the_commands_print_all_figures_for_programs(task, tables):
    """Those of each run and the ensemble, in full precision."""
    runs, new, _ = tables[task]
    outcome, evaluation = call("evaluate", *runs, "--json"), evaluate(runs)
    assert (outcome.code, outcome.err) == (0, "")
    ensemble = json.loads(outcome.out)
    found = [*ensemble.pop("runs"), ensemble]
    assert [record.pop("run") for record in found[:2]] == [str(run) for run in runs]
    for record, result in zip(found, [*evaluation.runs, evaluation.result], strict=True):
        for name in ("samples", "loss", "accuracy", "label_accuracy", "r2", "rmse"):
            assert record.get(name) == getattr(result, name)
    if task == "classes":
        assert [each["confusion_matrix"] for each in found[:2]] == [each.tolist() for each in evaluation.matrices]
        assert found[2]["confusion_matrix"] == evaluation.matrix.tolist()
    elif task == "labels":
        assert [each["accuracy"] for each in found[2]["labels"]] == [*evaluation.result.label_accuracies]
    else:
        assert [each["rmse"] for each in found[2]["outputs"]] == [*evaluation.result.rmses]
    assert json.loads(call("evaluate", runs[1], "--json").out) == {"run": str(runs[1]), **found[1]}
    rows = [*csv.DictReader(call("evaluate", *runs, "--csv").out.splitlines())]
    assert [row["run"] for row in rows] == [*map(str, runs), "ensemble of 2"]
    assert [float(row["loss"]) for row in rows] == [record["loss"] for record in found]
    lines = [json.loads(line) for line in call("predict", *runs, new, "--json").out.splitlines()]
    key, predicted = "outputs" if task == "regression" else "probabilities", predict(runs, new)
    assert [[*line[key].values()] for line in lines] == predicted.outputs.tolist()
    assert [[*line["runs"][1][key].values()] for line in lines] == predicted.runs[1].tolist()


def test_figures_of_classes_that_are_not_there_are_null(tables, tmp_path):
    runs, _, _ = tables["classes"]
    (tmp_path / "one.csv").write_text("length,width,age,y0\n9,9,9,2\n")
    outcome = call("evaluate", runs[0], "--data-dir", tmp_path / "one.csv", "--json")
    record = json.loads(outcome.out, parse_constant=pytest.fail)
    assert [each["recall"] for each in record["classes"]] == [None, None, 1.0]
    assert [each["precision"] for each in record["classes"]] == [None, None, 1.0]


def test_runs_of_different_tasks_or_columns_are_refused(tables, runs):
    (one, _), new, _ = tables["labels"]
    (other, _), _, _ = tables["regression"]
    message = "its network has the task regression, but that of"
    assert_one_line(call("evaluate", one, other), 2, message, str(one))
    assert_one_line(call("predict", one, other, new), 2, message, str(one))
    assert_one_line(call("predict", *runs, new), 2, "takes images of 6 x 6, which are not from a table")


@pytest.mark.parametrize("given", [[], [""], [3]])
def test_what_is_no_model_is_refused(given):
    with pytest.raises(MlpXpError, match="models: "):
        evaluate(given)
