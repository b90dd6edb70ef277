"""Train a finished run longer: to the same bits as if the epochs had been asked for at first."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_sets import TINY, on_device
from helpers import assert_one_line, assert_same_run, call, die_at, options, small_settings

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.datasets import load_dataset
from mlp_xp.runs import run_folder
from mlp_xp.runs.run_folder import RunError

pytestmark = pytest.mark.usefixtures("no_pictures")
VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam": {"optimizer": "adam", "batch_size": 16, "validation": 40, "weight_decay": 0.01, "dropout": 0.2},
    # Few chunks of different lengths, each of which takes seconds to compile.
    "few": {"optimizer": "momentum", "batch_size": 20, "report_every": 200, "checkpoint_every": 0},
}
SHORT, LONG = 2, 4


def command(data_dir: Path, variant: str, backend: str, epochs: int) -> list[Any]:
    settings = small_settings(**VARIANTS[variant], epochs=epochs)
    return ["--data-dir", data_dir, "--backend", backend, *options(settings)]


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory, no_pictures):
    """A function that gives the folder of a finished run; each is trained once."""
    made = {}

    def find(variant: str, backend: str, epochs: int) -> Path:
        key = (variant, backend, epochs)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("longer") / "run"
            assert call("train", *command(data_dir, *key), "--run-dir", made[key]).code == 0
        return made[key]

    return find


def record_of(folder: Path, name: str = "config.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("variant", "backend"), [("sgd", "numpy"), ("adam", "numpy"), ("few", "jax")])
def test_a_finished_run_goes_on_to_the_same_bits(variant, backend, runs, tmp_path):
    short = runs(variant, backend, SHORT)
    folder = shutil.copytree(short, tmp_path / "run")
    (folder / "curves.png").write_bytes(b"of the shorter run")
    outcome = call("train", "--resume", folder, "--epochs", LONG)
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_run(folder, runs(variant, backend, LONG))
    assert not (folder / "curves.png").exists()
    config, old = record_of(folder), record_of(short)
    assert config.pop("segments") == [{"epochs": SHORT, "result": record_of(short, "result.json")}]
    assert config["settings"].pop("epochs") == LONG
    old["settings"].pop("epochs")
    assert config == old, "all else is as it was"


def test_the_library_trains_longer_too_and_in_several_segments(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mlp_xp.api.draw_run", lambda folder, *_: drawn.append(record_of(folder, "result.json")["epoch"])
    )
    backend = open_backend()
    dataset, config = on_device(TINY, backend), TrainConfig(epochs=1, hidden=(4,), batch_size=20)
    for epochs in (1, 2, 4):
        *_, last = train(replace(config, epochs=epochs), dataset, backend, run_dir=tmp_path / "run")
    *_, expected = train(replace(config, epochs=4), dataset, backend, run_dir=tmp_path / "whole")
    assert last[:4] == expected[:4]
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert drawn == [0, 1, 3, 3], "each time when the result is written"
    assert [segment["epochs"] for segment in record_of(tmp_path / "run")["segments"]] == [1, 2]
    with pytest.raises(RunError, match=r"epochs: 3 is too few: .* has already come to epoch 4; give at least as many"):
        next(train(replace(config, epochs=3), dataset, backend, run_dir=tmp_path / "run"))


def dying(function: Any, *args: Any) -> None:
    function(*args)
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["between", "begin_segment", "append_metrics", "write_result"])
def test_killed_in_the_extension_it_is_resumed(place, runs, tmp_path, monkeypatch):
    folder = shutil.copytree(runs("adam", "numpy", SHORT), tmp_path / "run")
    with monkeypatch.context() as patch:
        if place == "between":  # config.json is written, and the old result is there
            write = run_folder.write_whole
            patch.setattr(run_folder, "write_whole", lambda *args: dying(write, *args))
        else:
            die_at(patch, getattr(run_folder, place), 5 if place == "append_metrics" else 1)
        assert call("train", "--resume", folder, "--epochs", LONG).code == 130
    assert (folder / "result.json").exists() == (place in ("between", "write_result"))
    if place == "between":
        with monkeypatch.context() as patch:
            die_at(patch, run_folder.append_metrics, 5)
            assert call("train", "--resume", folder).code == 130
        assert not (folder / "result.json").exists(), "that of the shorter run is removed by the next resume"
    assert call("train", "--resume", folder).code == 0
    assert_same_run(folder, runs("adam", "numpy", LONG))
    assert [segment["epochs"] for segment in record_of(folder)["segments"]] == [SHORT]


def test_an_unfinished_run_may_have_more_epochs_or_fewer(runs, data_dir, tmp_path, monkeypatch):
    arguments = command(data_dir, "adam", "numpy", 9)
    for epochs in (SHORT, LONG):
        folder = tmp_path / str(epochs)
        with monkeypatch.context() as patch:
            die_at(patch, run_folder.append_metrics, 5)
            assert call("train", *arguments, "--run-dir", folder).code == 130
        assert call("train", "--resume", folder, "--epochs", epochs).code == 0
        assert_same_run(folder, runs("adam", "numpy", epochs))
        assert record_of(folder)["segments"] == [{"epochs": 9}]


def test_a_run_that_ran_out_of_patience_stays_so(data_dir, tmp_path):
    settings = small_settings(epochs=50, learning_rate=5.0, validation=40, patience=1)
    assert call("train", "--data-dir", data_dir, "--run-dir", tmp_path / "run", *options(settings)).code == 0
    before = record_of(tmp_path / "run", "result.json")
    assert before["epoch"] < 30
    shutil.copytree(tmp_path / "run", tmp_path / "longer")
    assert call("train", "--resume", tmp_path / "longer", "--epochs", "60").code == 0
    assert_same_run(tmp_path / "longer", tmp_path / "run")


def test_what_cannot_be_trained_longer_is_refused_in_one_line(runs, data_dir, tmp_path):
    folder = tmp_path / "cosine"
    arguments = [*command(data_dir, "sgd", "numpy", SHORT), "--schedule", "cosine"]
    assert call("train", *arguments, "--run-dir", folder).code == 0
    before = files_of(folder)
    outcome = call("train", "--resume", folder, "--epochs", LONG)
    assert_one_line(outcome, 2, "--epochs: a resumed run keeps its settings (2, not 4; the schedule cosine depends on")
    backend = open_backend()
    dataset = load_dataset(data_dir, backend)
    config = TrainConfig(**{**small_settings(epochs=LONG), "hidden": (4,)}, schedule="cosine")
    with pytest.raises(RunError, match="made with epochs 2, but the configuration has 4; the schedule cosine depends"):
        next(train(config, dataset, backend, run_dir=folder))
    assert files_of(folder) == before
    folder = runs("sgd", "numpy", LONG)
    before = files_of(folder)
    outcome = call("train", "--resume", folder, "--epochs", SHORT)
    assert_one_line(outcome, 2, f"--epochs: 2 is too few: the run in {str(folder)!r} has already come to epoch 4; give")
    assert files_of(folder) == before


def test_a_damaged_result_is_not_thrown_away(runs, tmp_path):
    folder = shutil.copytree(runs("sgd", "numpy", SHORT), tmp_path / "run")
    (folder / "result.json").write_text("{")
    assert_one_line(call("train", "--resume", folder, "--epochs", LONG), 2, "result.json': is damaged", "delete it")
    assert (folder / "result.json").read_text() == "{"
    assert record_of(folder)["settings"]["epochs"] == SHORT
