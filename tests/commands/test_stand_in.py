"""The scripts end to end on the stand-in for CuPy, each in a process of its own that finds it as CuPy.

Nothing here has run on a GPU: see test_stand_in.py.
"""

import json
import os
from pathlib import Path

import cupy_stand_in
import helpers
import numpy as np
import pytest
from data_sets import TINY
from helpers import Outcome, assert_one_line, assert_same_run, metrics, options, small_settings
from PIL import Image

from mlp_xp.api import train
from mlp_xp.backend import Backend, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.data.datasets import load_dataset

VERSION = "14.2.0+stand-in"
SETTINGS = small_settings(epochs=2)
BACKENDS = ("numpy", "cupy")


def run(name: str, *args: object, before: Path | None = None) -> Outcome:
    """A script in a process whose CuPy is the stand-in, whether or not the real one is installed.

    before: another folder whose modules come before those that are installed.
    """
    folders = [cupy_stand_in.FOLDER, before, os.environ.get("PYTHONPATH")]
    path = os.pathsep.join(str(folder) for folder in folders if folder)
    return helpers.finish(helpers.start(name, *args, env={"PYTHONPATH": path}))


def assert_well(outcome: Outcome) -> None:
    assert (outcome.code, outcome.err) == (0, "")


@pytest.fixture(scope="module")
def whole(data_dir: Path, no_matplotlib: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An uninterrupted run by the script on each of the two, with pictures on the stand-in."""
    folder = tmp_path_factory.mktemp("whole")
    for name in BACKENDS:
        arguments = ["--data-dir", data_dir, "--run-dir", folder / name, *options(SETTINGS)]
        outcome = run("train", "--backend", name, *arguments, before=no_matplotlib if name == "numpy" else None)
        assert_well(outcome)
        (folder / name / "out.txt").write_text(outcome.out)
    return {name: folder / name for name in BACKENDS}


def test_train(whole):
    """On the stand-in as on NumPy, to the bit: it computes with NumPy."""
    out = (whole["cupy"] / "out.txt").read_text()
    assert f"arrays   cupy {VERSION} on cuda:0\n" in out
    assert "drawn in " in out
    assert len([*whole["cupy"].glob("*.png")]) == 4
    config = json.loads((whole["cupy"] / "config.json").read_text())
    assert config["versions"]["cupy"] == VERSION
    assert config["settings"]["backend"] == "cupy"
    assert len(metrics(whole["cupy"])) == 8
    assert_same_run(whole["cupy"], whole["numpy"])


def open_here(name: str) -> Backend:
    with cupy_stand_in.installed():
        return open_backend(name)


@pytest.mark.parametrize(("begun", "ended"), [("cupy", "cupy"), ("numpy", "cupy"), ("cupy", "numpy")])
def test_resume(begun, ended, data_dir, whole, no_matplotlib, tmp_path):
    """Begun by the library and left in the second epoch, ended by the script, perhaps on the other backend."""
    backend, folder = open_here(begun), tmp_path / "run"
    config = TrainConfig(**{**SETTINGS, "hidden": tuple(SETTINGS["hidden"])})
    reports = train(config, load_dataset(data_dir, backend), backend, run_dir=folder)
    for _ in range(6):
        next(reports)
    reports.close()
    assert not (folder / "result.json").exists()
    assert (folder / "checkpoint.safetensors").exists()
    outcome = run("train", "--resume", folder, "--backend", ended, before=no_matplotlib)
    assert_well(outcome)
    assert f"arrays   {ended} {VERSION if ended == 'cupy' else np.__version__} on " in outcome.out
    assert len(outcome.out.split("samples/s")[1].split("trained in")[0].strip().splitlines()) < len(metrics(folder))
    assert_same_run(folder, whole["numpy"])


def test_evaluate(whole):
    """The run of each on the other."""
    there, here = run("evaluate", whole["numpy"], "--backend", "cupy"), run("evaluate", whole["cupy"])
    assert_well(there)
    assert there == here
    assert "of 60 test images right, loss " in there.out


def test_predict(whole, tmp_path):
    Image.fromarray(TINY.test_images[0]).resize((60, 60)).save(tmp_path / "picture.png")
    arguments = [whole["cupy"], tmp_path / "picture.png", "--json"]
    there, here = run("predict", *arguments, "--backend", "cupy", "--device", "cuda:0"), run("predict", *arguments)
    assert_well(there)
    assert there == here
    assert sum(json.loads(there.out)["probabilities"].values()) == pytest.approx(1)


def test_parity(data_dir, tmp_path):
    arguments = ["--data-dir", data_dir, "--steps", 60, "--hidden", 8, "--report-dir", tmp_path]
    outcome = run("parity", *arguments, "--backends", "cupy")
    assert_well(outcome)
    (row,) = [line.split() for line in outcome.out.splitlines() if line.startswith("cupy ")]
    assert row[:6] == ["cupy", VERSION, "cuda:0", "0", "0", "0"], "it is NumPy that computes"
    _, other = json.loads((tmp_path / "parity.json").read_text())["backends"]
    assert (other["version"], other["device"], other["verdict"]) == (VERSION, "cuda:0", "agrees")


def test_bench(tmp_path):
    arguments = ["--workloads", "one-float32", "--contestants", "mlp_xp-cupy", "--rounds", 1, "--steps", 30]
    outcome = run("bench", *arguments, "--output-dir", tmp_path)
    assert_well(outcome)
    (workload,) = json.loads((tmp_path / "bench.json").read_text())["workloads"]
    assert "unavailable" not in json.dumps(workload)
    assert "mlp_xp, CuPy" in outcome.out


def test_a_device_that_there_is_not(data_dir, tmp_path):
    outcome = run(
        "train", "--backend", "cupy", "--device", "cuda:1", "--data-dir", data_dir, "--run-dir", tmp_path / "r"
    )
    assert_one_line(outcome, 2, "backend cupy: device 'cuda:1' is not available; choose one of cuda:0")
    assert not (tmp_path / "r").exists()
