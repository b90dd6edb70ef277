"""scripts/train.py: the run folder, the source of the settings, and the output."""

import dataclasses
import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY, write_samples
from helpers import (
    assert_one_line,
    call,
    metrics,
    on_a_terminal,
    options,
    output_of,
    result,
    small_config,
    small_settings,
    timeless,
    without_times,
)
from safetensors.numpy import load_file

from mlp_xp import load_run, open_backend, train
from mlp_xp.backends.threads import threads_chosen
from mlp_xp.core.config import TrainConfig
from mlp_xp.runs.recording import metrics_record
from mlp_xp.runs.settings import RECIPES, Settings, flatten
from mlp_xp.show.terminal import header

pytestmark = pytest.mark.usefixtures("no_pictures")

REASON = "a forward pass of 198 multiply-adds is too small for more"


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> tuple[Path, str]:
    """A finished run, and its output. The number of threads is chosen by the rule."""
    folder = tmp_path_factory.mktemp("finished") / "a" / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in threads_chosen():
            patch.delenv(name)
        settings = small_settings(data_dir=data_dir, run_dir=folder)
        return folder, output_of("train", **settings)


# The run folder.


def test_config_json_holds_all_settings_versions_device_and_threads(finished, data_dir):
    record = json.loads((finished[0] / "config.json").read_text())
    settings = flatten(Settings(data_dir=str(data_dir), train=small_config()))
    assert record["settings"] == as_json(settings)
    assert (record["device"], record["train_samples"]) == ("cpu", 200)
    assert record["signature"]["input_shape"] == [6, 6]
    assert record["signature"]["outputs"] == [*"0123456789"]
    assert record["versions"]["array-api-compat"] == version("array-api-compat")
    assert {"mlp_xp", "python", "numpy"} <= record["versions"].keys()
    assert (record["threads"]["number"], record["threads"]["reason"]) == (1, REASON)


def test_the_files_hold_what_the_library_measures(finished):
    """test_notebook.py compares these numbers with the notebook's."""
    folder, _ = finished
    reports = [*train(small_config(), TINY, open_backend())]
    records = [metrics_record(report) for report in reports]
    assert timeless(folder) == [*map(without_times, records)]
    assert [each.keys() for each in metrics(folder)] == [
        each.keys() for each in records[:-1]
    ]
    tensors = load_file(folder / "model.safetensors")
    for number, layer in enumerate(reports[-1].model.network):
        for name, array in layer._asdict().items():
            np.testing.assert_array_equal(tensors[f"network.{number}.{name}"], array)


def test_what_is_printed_is_what_was_measured(finished):
    """For the formats see test_terminal.py."""
    folder, out = finished
    lines, records = out.splitlines(), metrics(folder)
    network = "network  36-4-10, sigmoid, 198 parameters, float64"
    assert {network, f"threads  1: {REASON}", f"run      {folder}"} <= {*lines}
    begin = lines.index(header(TrainConfig())) + 1
    rows = [row.split() for row in lines[begin : begin + len(records) + 1]]
    places = [[str(each["epoch"]), str(each["sample"])] for each in records]
    assert [row[:2] for row in rows] == [*places, ["2", "200"]], "the last is the end"
    accuracies = [f"{each['accuracy']:.4f}" for each in records]
    assert [row[3] for row in rows[:-1]] == accuracies
    share = f"{100 * result(folder)['accuracy']:.2f} % of 60 test images right"
    assert share in lines[-1]


def test_the_kept_network_and_an_early_stop_are_told(data_dir, tmp_path):
    run = tmp_path / "run"
    settings = small_settings(epochs=50, learning_rate=5.0, validation=40, patience=1)
    out = call("train", data_dir=data_dir, run_dir=run, **settings).out
    kept = r"kept the network of epoch (\d+): ([\d.]+) % of 40 held-out"
    stopped = r"stopped early, after epoch (\d+)\n"
    kept, share, last = re.search(f"{kept} .*; {stopped}", out).groups()
    record = result(run)
    assert int(last) == int(kept) + 1 == metrics(run)[-1]["epoch"] < 49
    assert int(kept) == record["kept_epoch"]
    assert share == f"{100 * record['validation_accuracy']:.2f}"
    predicted = load_run(run).predict(TINY.train.inputs[160:]).astype(int)
    right = np.mean(predicted == TINY.train.labels[160:])
    assert record["validation_accuracy"] == right


@pytest.mark.needs("polars")
@pytest.mark.parametrize("validation", [0.25, 0])
def test_of_many_short_epochs_some_have_rows(validation, tmp_path):
    run, features = tmp_path / "run", np.arange(80.0).reshape(40, 2)
    table = write_samples(tmp_path / "t.csv", features, ["a", "b"] * 20)
    command = "train --label kind --networks 1 --epochs 31 --patience 0"
    out = call(command, data_dir=table, validation=validation, run_dir=run).out
    rows = re.findall(r"^ +(\d+) +\d+ ", out, re.MULTILINE)
    assert rows == [*map(str, [*range(10), 10, 20, 30])] + ["30"] * (not validation)
    assert len(metrics(run)) >= 31


@pytest.mark.needs("PIL")
def test_a_run_finds_its_data_from_any_folder(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(data_dir.parent)
    settings = small_settings(epochs=1, run_dir=tmp_path / "run")
    output_of("train", data_dir=data_dir.name, **settings)
    monkeypatch.chdir(tmp_path)
    output_of("evaluate run")


# Where settings come from.


def test_options_override_the_recipe_and_config_json_has_the_result(data_dir, tmp_path):
    command = "train --recipe small --epochs 1 --hidden 5 4 --seed 3 --init glorot"
    output_of(command, data_dir=data_dir, run_dir=tmp_path / "run")
    small = RECIPES["small"]
    config = dataclasses.replace(
        small.train, epochs=1, hidden=(5, 4), seed=3, init="glorot"
    )
    expected = flatten(dataclasses.replace(small, data_dir=str(data_dir), train=config))
    assert settings_of(tmp_path / "run") == as_json(expected)
    assert (expected["optimizer"], expected["dtype"]) == ("momentum", "float32")


def test_a_configuration_may_hold_a_few_settings_and_options_come_before_it(
    data_dir, tmp_path
):
    config, run = tmp_path / "some.json", tmp_path / "some"
    some = {"epochs": 1, "hidden": [3], "data_dir": str(data_dir)}
    config.write_text(json.dumps(some))
    output_of("train --seed 5", config=config, run_dir=run)
    defaults = as_json(flatten(Settings()))
    assert settings_of(run) == {**defaults, "dataset": None, **some, "seed": 5}


def test_a_module_is_imported_only_if_the_command_line_names_it(finished, tmp_path):
    """A file may be anybody's. It must not choose the code to run."""
    record = json.loads((finished[0] / "config.json").read_text())
    record["settings"]["backend"] = "array_api_compat:numpy"
    config = tmp_path / "config.json"
    config.write_text(json.dumps(record))
    named = "--backend array_api_compat:numpy"
    for outcome in (
        call("train", config=config, run_dir=tmp_path / "run"),
        call("sweep --seed 0..1", config=config),
        call("train", resume=tmp_path),
    ):
        said = ("--backend: ", "is imported only if you name it too", named)
        assert_one_line(outcome, 2, *said)
    output_of(f"train {named}", config=config, run_dir=tmp_path / "run")


def test_data_that_moved_are_asked_for(finished, data_dir, tmp_path):
    run, gone = shutil.copytree(finished[0], tmp_path / "run"), str(tmp_path / "gone")
    record = json.loads((run / "config.json").read_text())
    record["settings"]["data_dir"] = gone
    (run / "config.json").write_text(json.dumps(record))
    for words in (["evaluate", run], ["train --epochs 4 --resume", run]):
        assert_one_line(call(*words), 2, "--data-dir: ", f"'{gone}'")
        outcome = call(*words, "--data-dir", tmp_path / "x")
        assert_one_line(outcome, 2, "--data-dir: ", "no such folder")
        assert call(*words, "--data-dir", data_dir).code == 0


def settings_of(folder: Path) -> dict:
    """The settings in config.json."""
    return json.loads((folder / "config.json").read_text())["settings"]


def as_json(value: object) -> object:
    """A value as a file of JSON gives it back."""
    return json.loads(json.dumps(value))


# On a terminal.


@pytest.mark.posix
def test_on_a_terminal_there_is_a_bar_and_lines_that_fit(
    data_dir, tmp_path, no_pictures_elsewhere
):
    run = tmp_path / "run"
    settings = small_settings(data_dir=data_dir, run_dir=run, epochs=6)
    code, said = on_a_terminal("train", *options(settings))
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    lines = re.split(r"[\r\n]+", text)
    bars = [line for line in lines if re.search(r"epoch \d+, \d+ of 6", line)]
    assert any("%" in bar and re.search(r"\d+:\d\d|-:--", bar) for bar in bars)
    rows = [line for line in lines if re.match(r" +\d+ +\d+ +\d+\.\d{5} ", line)]
    assert len(rows) == 25
    assert max(map(len, rows)) <= 80
    assert "test images right" in text
