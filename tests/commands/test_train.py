"""Training from the command line: the run folder, where settings come from, what is
refused, and what is shown.
"""

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
    assert_same_run,
    call,
    metrics,
    on_a_terminal,
    options,
    small_settings,
    without_times,
)
from safetensors.numpy import load_file

from mlp_xp import load_run, open_backend, train
from mlp_xp.backends.threads import threads_chosen
from mlp_xp.core.config import TrainConfig
from mlp_xp.runs.run_folder import metrics_record
from mlp_xp.runs.settings import RECIPES, Settings, flatten
from mlp_xp.show.terminal import header

pytestmark = pytest.mark.usefixtures("no_pictures")

REASON = "a forward pass of 198 multiply-adds is too small for more"


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory) -> tuple[Path, str]:
    """A run that came to its end, and what it printed. The number of threads is chosen
    by the rule.
    """
    folder = tmp_path_factory.mktemp("finished") / "a" / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name in threads_chosen():
            patch.delenv(name)
        outcome = call(
            "train",
            "--data-dir",
            data_dir,
            "--run-dir",
            folder,
            *options(small_settings()),
        )
    assert (outcome.code, outcome.err) == (0, "")
    return folder, outcome.out


# The run folder.


def test_config_json_holds_all_settings_versions_device_and_threads(finished, data_dir):
    record = json.loads((finished[0] / "config.json").read_text())
    config = TrainConfig(**{**small_settings(), "hidden": (4,)})
    assert record["settings"] == json.loads(
        json.dumps(flatten(Settings(data_dir=str(data_dir), train=config)))
    )
    assert (record["device"], record["train_samples"]) == ("cpu", 200)
    assert record["signature"]["input_shape"] == [6, 6]
    assert record["signature"]["outputs"] == [*"0123456789"]
    assert record["versions"]["array-api-compat"] == version("array-api-compat")
    assert {"mlp_xp", "python", "numpy"} <= record["versions"].keys()
    assert (record["threads"]["number"], record["threads"]["reason"]) == (1, REASON)


def test_the_files_hold_what_the_library_measures(finished):
    """Whose numbers are those of the notebook: see test_notebook.py."""
    folder, _ = finished
    reports = [
        *train(
            TrainConfig(**{**small_settings(), "hidden": (4,)}), TINY, open_backend()
        )
    ]
    result = json.loads((folder / "result.json").read_text())
    for record, report in zip(
        [*metrics(folder), result], map(metrics_record, reports), strict=True
    ):
        assert (record.keys(), without_times(record)) == (
            report.keys(),
            without_times(report),
        )
    tensors = load_file(folder / "model.safetensors")
    for number, layer in enumerate(reports[-1].model.network):
        np.testing.assert_array_equal(
            tensors[f"network.{number}.weights"], layer.weights
        )
        np.testing.assert_array_equal(tensors[f"network.{number}.bias"], layer.bias)


def test_what_is_printed_is_what_was_measured(finished):
    """For the formats see test_terminal.py."""
    folder, out = finished
    lines = out.splitlines()
    assert {
        "network  36-4-10, sigmoid, 198 parameters, float64",
        f"threads  1: {REASON}",
        f"run      {folder}",
    } <= {*lines}
    rows = [row.split() for row in lines[lines.index(header(TrainConfig())) + 1 :]][:13]
    places = [[each["epoch"], each["sample"]] for each in metrics(folder)]
    assert [[*map(int, row[:2])] for row in rows] == [*places, [2, 200]], (
        "the last row is the end"
    )
    assert [float(row[3]) for row in rows[:-1]] == [
        round(each["accuracy"], 4) for each in metrics(folder)
    ]
    result = json.loads((folder / "result.json").read_text())
    assert f"{100 * result['accuracy']:.2f} % of 60 test images right" in lines[-2]


def test_the_kept_network_and_an_early_stop_are_told(data_dir, tmp_path):
    settings = small_settings(epochs=50, learning_rate=5.0, validation=40, patience=1)
    outcome = call(
        "train",
        "--data-dir",
        data_dir,
        "--run-dir",
        tmp_path / "run",
        *options(settings),
    )
    said = r"kept the network of epoch (\d+): ([\d.]+) % of 40 held-out .*; stopped early, after epoch (\d+)\n"
    kept, share, last = re.search(said, outcome.out).groups()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert int(last) == int(kept) + 1 == metrics(tmp_path / "run")[-1]["epoch"] < 49
    assert (int(kept), share) == (
        result["kept_epoch"],
        f"{100 * result['validation_accuracy']:.2f}",
    )
    predicted = load_run(tmp_path / "run").predict(TINY.train.inputs[160:]).astype(int)
    assert result["validation_accuracy"] == np.mean(
        predicted == TINY.train.labels[160:]
    )


@pytest.mark.needs("polars")
@pytest.mark.parametrize("validation", [0.25, 0])
def test_of_many_short_epochs_some_have_rows(validation, tmp_path):
    table = write_samples(
        tmp_path / "t.csv", np.arange(80.0).reshape(40, 2), ["a", "b"] * 20
    )
    words = [
        "--data-dir",
        table,
        "--label",
        "kind",
        "--validation",
        validation,
        "--epochs",
        31,
        "--patience",
        0,
    ]
    out = call("train", *words, "--run-dir", tmp_path / "run").out
    rows = re.findall(r"^ +(\d+) +\d+ ", out, re.MULTILINE)
    assert rows == [*map(str, [*range(10), 10, 20, 30])] + ["30"] * (not validation)
    assert len(metrics(tmp_path / "run")) >= 31


@pytest.mark.needs("polars")
def test_a_run_that_overfits_says_so(tmp_path):
    """Labels by lot: all that a network can learn of them is wrong for others. See also
    test_terminal.py.
    """
    random = np.random.default_rng(0)
    table = write_samples(
        tmp_path / "t.csv", random.normal(size=(80, 5)), random.choice(["a", "b"], 80)
    )
    words = [
        "--data-dir",
        table,
        "--label",
        "kind",
        "--validation",
        0.25,
        "--patience",
        0,
        "--weight-decay",
        0,
    ]
    words += ["--epochs", 31, "--learning-rate", 0.03, "--hidden", 32]
    outcome = call("train", *words, "--run-dir", tmp_path / "run")
    said = r"\nkept the network of epoch (\d+): .*\nit overfits: after epoch \1 the .*\nfell from .*\n"
    assert re.search(said, outcome.out)
    assert sum("held-out" in line for line in outcome.out.splitlines()) == 4, (
        "the data, the head, the network, advice"
    )


def test_an_existing_run_is_refused_and_stays_if_the_new_one_cannot_begin(
    finished, data_dir, tmp_path
):
    """--overwrite with a fault that shows late: in the data or the backend. See also
    test_replacing.py.
    """
    folder = shutil.copytree(finished[0], tmp_path / "run")
    for arguments, parts in (
        (["--data-dir", data_dir], [f"'{folder}'", "--overwrite"]),
        (["--data-dir", tmp_path / "none", "--overwrite"], []),
        (["--data-dir", data_dir, "--batch-size", 201, "--overwrite"], []),
        (["--data-dir", data_dir, "--device", "cuda:7", "--overwrite"], []),
    ):
        assert_one_line(call("train", *arguments, "--run-dir", folder), 2, *parts)
        assert_same_run(folder, finished[0])


@pytest.mark.needs("PIL")
def test_a_run_finds_its_data_from_any_folder(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(data_dir.parent)
    words = [
        "--data-dir",
        data_dir.name,
        "--run-dir",
        tmp_path / "run",
        *options(small_settings(epochs=1)),
    ]
    assert call("train", *words).code == 0
    monkeypatch.chdir(tmp_path)
    assert call("evaluate", "run")[::2] == (0, "")


# Where settings come from.


def settings_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())["settings"]


def test_options_override_the_recipe_and_config_json_has_the_result(data_dir, tmp_path):
    arguments = [
        "--recipe",
        "small",
        "--epochs",
        1,
        "--hidden",
        5,
        4,
        "--seed",
        3,
        "--init",
        "glorot",
    ]
    outcome = call(
        "train", *arguments, "--data-dir", data_dir, "--run-dir", tmp_path / "run"
    )
    assert outcome.code == 0
    small = RECIPES["small"]
    config = dataclasses.replace(
        small.train, epochs=1, hidden=(5, 4), seed=3, init="glorot"
    )
    expected = flatten(dataclasses.replace(small, data_dir=str(data_dir), train=config))
    assert settings_of(tmp_path / "run") == json.loads(json.dumps(expected))
    assert expected["optimizer"] == "momentum"
    assert expected["dtype"] == "float32"


def test_a_saved_configuration_is_a_start(finished, tmp_path):
    """A run's own file gives the same run again; options come before it; a file may
    hold a few fields only.
    """
    folder, _ = finished
    again = ["--config", folder / "config.json", "--run-dir"]
    assert call("train", *again, tmp_path / "again").code == 0
    assert_same_run(tmp_path / "again", folder)
    some = {"epochs": 1, "hidden": [3], "data_dir": settings_of(folder)["data_dir"]}
    (tmp_path / "some.json").write_text(json.dumps(some))
    assert (
        call(
            "train",
            "--config",
            tmp_path / "some.json",
            "--run-dir",
            tmp_path / "some",
            "--seed",
            5,
        ).code
        == 0
    )
    defaults = {**json.loads(json.dumps(flatten(Settings()))), "dataset": None}
    assert settings_of(tmp_path / "some") == {**defaults, **some, "seed": 5}
    other = call(
        "train",
        *again,
        tmp_path / "other",
        "--dataset",
        "mnist",
        "--batch-size",
        60_001,
    )
    # instead of the file's data
    assert_one_line(other, 2, "--batch-size: 60001", "60000 training samples")


@pytest.mark.needs("joblib")
def test_a_batch_that_nobody_chose_is_not_larger_than_the_training_set(
    data_dir, tmp_path
):
    words = [
        "--data-dir",
        data_dir,
        "--epochs",
        1,
        "--recipe",
        "standard",
        "--hidden",
        4,
        "--validation",
        0.4,
    ]
    assert call("train", *words, "--run-dir", tmp_path / "fits").code == 0
    assert settings_of(tmp_path / "fits")["batch_size"] == 120
    assert (
        call("sweep", *words, "--seed", 0, "--sweep-dir", tmp_path / "sweep").code == 0
    )
    assert_same_run(tmp_path / "sweep" / "members" / "0000", tmp_path / "fits")
    (tmp_path / "chosen.json").write_text('{"batch_size": 128, "validation": 80}')
    for chosen in (
        [*words, "--batch-size", 128],
        ["--data-dir", data_dir, "--config", tmp_path / "chosen.json"],
    ):
        assert_one_line(
            call("train", *chosen), 2, "--batch-size: 128", "120 training samples"
        )


def test_a_module_is_imported_only_if_the_command_line_names_it(finished, tmp_path):
    """A file, which may be anybody's, must not choose what code runs."""
    record = json.loads((finished[0] / "config.json").read_text())
    record["settings"]["backend"] = "array_api_compat:numpy"
    (tmp_path / "config.json").write_text(json.dumps(record))
    words = ["--config", tmp_path / "config.json", "--run-dir", tmp_path / "run"]
    named = "--backend array_api_compat:numpy"
    assert_one_line(
        call("train", *words),
        2,
        "--backend: ",
        "is imported only if you name it too",
        named,
    )
    assert_one_line(
        call("sweep", *words[:2], "--seed", "0..1"), 2, "--backend: ", named
    )
    assert_one_line(call("train", "--resume", tmp_path), 2, "--backend: ", named)
    assert call("train", *words, *named.split()).code == 0


def test_data_that_moved_are_asked_for(finished, data_dir, tmp_path):
    run, gone = shutil.copytree(finished[0], tmp_path / "run"), str(tmp_path / "gone")
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(
        json.dumps({**record, "settings": {**record["settings"], "data_dir": gone}})
    )
    for words in (["evaluate", run], ["train", "--epochs", 4, "--resume", run]):
        assert_one_line(call(*words), 2, "--data-dir: ", f"'{gone}'")
        assert_one_line(
            call(*words, "--data-dir", tmp_path / "x"),
            2,
            "--data-dir: ",
            "no such folder",
        )
        assert call(*words, "--data-dir", data_dir).code == 0


# What is refused. The folder of data is not there: the value's error comes before
# anyone looks for it.


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["--patience", "2"],
            ["--patience: 2 needs held-out samples; hold some out with --validation"],
        ),
        (["--threads", "two"], ["--threads: ", '"two"']),
        (["--device", "cuda:0"], ["numpy: device 'cuda:0'"]),
        (["--config", "none.json"], ["'none.json'", "No such file"]),
        (
            ["--config", "none.json", "--recipe", "small"],
            ["--config and --recipe: give only one of these options"],
        ),
        (
            ["--dataset", "kmnist"],
            ["--dataset and --data-dir: give only one of these options"],
        ),
        (["--resume", "x"], ["--resume and --run-dir: give only one of these options"]),
        (
            ["--resume", "x", "--recipe", "small"],
            ["--resume and --recipe: give only one of these options"],
        ),
    ],
)
def test_wrong_values_are_refused_before_any_data_is_loaded(words, parts, tmp_path):
    outcome = call(
        "train",
        "--data-dir",
        tmp_path / "nowhere",
        "--run-dir",
        tmp_path / "run",
        *words,
    )
    assert_one_line(outcome, 2, *parts)
    assert words[0] == "--dataset" or "nowhere" not in outcome.err
    assert outcome.out == ""
    assert not (tmp_path / "run").exists()


# On a terminal, and in a pipe.


@pytest.mark.posix
def test_on_a_terminal_there_is_a_bar_and_lines_that_fit(
    data_dir, tmp_path, no_pictures_elsewhere
):
    arguments = [
        "--data-dir",
        data_dir,
        "--run-dir",
        tmp_path / "run",
        *options(small_settings(epochs=6)),
    ]
    code, said = on_a_terminal("train", *arguments)
    assert code == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())
    bars = [
        line
        for line in re.split(r"[\r\n]+", text)
        if re.search(r"epoch \d+, \d+ of 6", line)
    ]
    assert any("%" in bar and re.search(r"\d+:\d\d|-:--", bar) for bar in bars)
    rows = [
        line
        for line in re.split(r"[\r\n]+", text)
        if re.match(r" +\d+ +\d+ +\d+\.\d{5} ", line)
    ]
    assert len(rows) == 25
    assert max(map(len, rows)) <= 80
    assert "test images right" in text
