"""A run that was killed, or ended, goes on: to the same bits, and on any backend. What
does not fit it is refused.
"""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from data_sets import TINY, on_device, varied, write_idx_folder
from helpers import (
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    files,
    killed_at,
    metrics,
    options,
    record_run,
    small_settings,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlp_xp import TrainConfig, open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs.run_folder import RunFolder, load_run
from mlp_xp.runs.settings import Settings

pytestmark = pytest.mark.usefixtures("no_pictures")
configs = st.builds(
    TrainConfig,
    epochs=st.integers(2, 4),
    batch_size=st.sampled_from([1, 3, 7, 16, 50]),
    hidden=st.sampled_from([(4,), (6, 5), ()]),
    learning_rate=st.just(0.01),
    report_every=st.sampled_from([50, 200]),
    checkpoint_every=st.sampled_from([0, 70]),
    optimizer=st.sampled_from(["sgd", "momentum", "adam", "adamw"]),
    schedule=st.sampled_from(["constant", "cosine"]),
    activation=st.sampled_from(["sigmoid", "tanh", "relu"]),
    init=st.just("glorot"),
    validation=st.sampled_from([0, 40]),
    warm_up_steps=st.sampled_from([0, 10]),
    defer_updates=st.booleans(),
    deform=st.booleans(),
    seed=st.integers(0, 9),
)


@hypothesis_settings(max_examples=12, deadline=None)
@given(
    config=configs,
    kills=st.lists(st.integers(20, 990), min_size=2, max_size=5),
    patience=st.integers(0, 1),
)
def test_a_run_that_is_killed_anywhere_ends_in_the_same_bits(config, kills, patience):
    """Between any two operations on files, once after another; also while it is
    extended by epochs.
    """
    settings, backend = (
        Settings(train=replace(config, patience=patience * (config.validation > 0))),
        open_backend(),
    )
    longer = config.schedule == "constant" and not settings.train.patience
    short = (
        replace(settings, train=replace(settings.train, epochs=1))
        if longer
        else settings
    )
    with (
        TemporaryDirectory() as place,
        warnings.catch_warnings(action="ignore", category=MlpXpWarning),
    ):
        whole, folder = Path(place) / "whole", Path(place) / "run"
        with killed_at(10**9) as done:  # it is not
            record_run(whole, settings, TINY, backend)
        for i, kill in enumerate(kills):
            with killed_at(kill * len(done) // 1000):
                record_run(folder, short if i < 2 else settings, TINY, backend)
            if longer and i == 1 and not (folder / "result.json").exists():
                record_run(folder, short, TINY, backend)
        record_run(folder, settings, TINY, backend)
        assert_same_run(folder, whole)
        # it is over: the same end is said again
        record_run(folder, settings, TINY, backend)
        assert_same_run(folder, whole)
        assert not [*folder.glob(".*")]


SETTINGS = {"batch_size": 20, "report_every": 200, "checkpoint_every": 0, "optimizer": "adam", "validation": 40,
            "deform": True}  # fmt: skip


@pytest.mark.every_backend
def test_a_run_on_any_backend_goes_on_to_the_same_bits_and_on_numpy_to_almost_the_same(
    backend: Backend, tmp_path
):
    config, dataset = (
        TrainConfig(hidden=(4,), epochs=3, **SETTINGS),
        on_device(TINY, backend),
    )
    record_run(
        tmp_path / "whole", Settings(backend.name, train=config), dataset, backend
    )
    short = replace(config, epochs=2)
    record_run(tmp_path / "run", Settings(backend.name, train=short), dataset, backend)
    shutil.copytree(tmp_path / "run", tmp_path / "numpy")
    record_run(tmp_path / "run", Settings(backend.name, train=config), dataset, backend)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    record_run(tmp_path / "numpy", Settings(train=config), TINY, open_backend())
    here, there = (load_run(tmp_path / name).network for name in ("whole", "numpy"))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9, atol=1e-12)


# The command.


@pytest.fixture(scope="module")
def shorter_run(data_dir, tmp_path_factory, no_pictures) -> Path:
    """As `small_run`, but of two epochs."""
    folder = tmp_path_factory.mktemp("shorter") / "run"
    arguments = [
        "--data-dir",
        data_dir,
        "--run-dir",
        folder,
        *options(small_settings(epochs=2)),
    ]
    assert call("train", *arguments).code == 0
    return folder


def record_of(folder: Path, name: str = "config.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def test_a_killed_command_resumes_to_the_same_files(
    small_run, data_dir, tmp_path, monkeypatch
):
    """Killed before the first checkpoint, where it starts over, and right after one."""
    folder = tmp_path / "run"
    arguments = [
        "--data-dir",
        data_dir,
        "--run-dir",
        folder,
        *options(small_settings()),
    ]
    for write, calls in ((RunFolder._append, 1), (RunFolder._save, 4)):
        with monkeypatch.context() as patch:
            die_at(patch, write, calls)
            assert_one_line(call("train", *arguments), 130, "interrupted")
        arguments = ["--resume", folder]
    assert len(metrics(folder)) > 3
    (folder / ".checkpoint.safetensors.123.aside").write_text("half")
    # the same settings may be given again
    outcome = call("train", *arguments, "--epochs", 3, "--hidden", 4)
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_run(folder, small_run)
    assert record_of(folder)["settings"] == record_of(small_run)["settings"]
    assert record_of(folder)["format"] == 3
    assert not [*folder.glob(".*")]
    (tmp_path / "run" / "config.json").write_text(
        json.dumps(record_of(folder)).replace(str(data_dir), "/moved")
    )
    assert call("train", *arguments) == (
        0,
        f"the run in {folder} has ended; with a constant schedule, --epochs N trains it longer\n",
        "",
    )
    assert_same_run(folder, small_run)


def test_a_finished_run_is_trained_longer_to_the_same_bits(
    small_run, shorter_run, tmp_path
):
    folder = shutil.copytree(shorter_run, tmp_path / "run")
    (folder / "curves.png").write_bytes(b"of the shorter run")
    outcome = call("train", "--resume", folder, "--epochs", 3)
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_run(folder, small_run)
    assert not (folder / "curves.png").exists()
    config, old = record_of(folder), record_of(shorter_run)
    assert config["settings"].pop("epochs") == 3
    old["settings"].pop("epochs")
    assert config == old, "all else is as it was"


def test_the_backend_may_be_another_with_a_device_of_its_own(
    small_run, shorter_run, data_dir, tmp_path
):
    folder = shutil.copytree(shorter_run, tmp_path / "run")
    record = record_of(folder)
    record["settings"] |= {"backend": "jax", "device": "cpu:0"}
    (folder / "config.json").write_text(json.dumps(record))
    outcome = call(
        "train", "--resume", folder, "--epochs", 3, "--backend", "array-api-strict"
    )
    assert (outcome.code, outcome.err) == (0, "")
    there, here = metrics(folder), metrics(small_run)
    np.testing.assert_allclose(
        [r["loss"] for r in there], [r["loss"] for r in here], rtol=1e-10
    )
    assert [r["accuracy"] for r in there] == [r["accuracy"] for r in here]


def test_a_run_goes_on_with_its_threads_or_those_given(shorter_run, tmp_path):
    folder = shutil.copytree(shorter_run, tmp_path / "run")
    record = record_of(folder)
    record["threads"]["number"] = 3
    (folder / "config.json").write_text(json.dumps(record))
    outcome = call("train", "--resume", folder, "--epochs", 3)
    assert (outcome.code, outcome.err) == (0, "")
    assert "\nthreads  3: as when the run began\n" in outcome.out
    outcome = call("train", "--resume", folder, "--threads", 2, "--epochs", 4)
    assert (outcome.code, outcome.err) == (0, "")
    assert "\nthreads  2: as given\n" in outcome.out


def test_data_may_have_moved_but_must_be_the_runs(small_run, data_dir, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    moved = shutil.copytree(data_dir, tmp_path / "moved")
    assert call("train", "--resume", folder, "--data-dir", moved).code == 0
    fewer = varied(
        TINY, train_inputs=TINY.train.inputs[:150], train_labels=TINY.train.labels[:150]
    )
    write_idx_folder(tmp_path / "fewer", fewer)
    assert_one_line(
        call("train", "--resume", folder, "--data-dir", tmp_path / "fewer"),
        2,
        "train samples 200",
        "150",
    )
    images = TINY.train.inputs.copy()
    images[-1, -1, -1] ^= 1
    write_idx_folder(tmp_path / "other", varied(TINY, train_inputs=images))
    assert_one_line(
        call("train", "--resume", folder, "--data-dir", tmp_path / "other"),
        2,
        "the run started with other data",
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            ["--epochs", "2"],
            [
                "--epochs: 2 is too few: the run in ",
                "has already come to epoch 3; give at least as m",
            ],
        ),
        (["--learning-rate", "0.1"], ["--learning-rate", "(0.05, not 0.1)"]),
        (["--start-from", "elsewhere"], ["--start-from"]),
        (["--overwrite"], ["--resume and --overwrite: give only one"]),
    ],
)
def test_a_changed_setting_is_refused(arguments, parts, small_run):
    before = files(small_run)
    assert_one_line(call("train", "--resume", small_run, *arguments), 2, *parts)
    assert files(small_run) == before


@pytest.mark.parametrize("lost", [["result.json"], ["model.safetensors"]])
def test_a_run_that_lost_its_checkpoint_is_not_started_over(
    lost, shorter_run, tmp_path
):
    folder = shutil.copytree(shorter_run, tmp_path / "run")
    for name in ("checkpoint.safetensors", *lost):
        (folder / name).unlink()
    before = files(folder)
    left = "model.safetensors" if lost == ["result.json"] else "result.json"
    assert_one_line(
        call("train", "--resume", folder),
        2,
        f"has {left} but no checkpoint.safetensors",
        "restore",
    )
    assert files(folder) == before


def test_a_damaged_result_is_told_before_it_is_replaced(shorter_run, tmp_path):
    folder = shutil.copytree(shorter_run, tmp_path / "run")
    (folder / "result.json").write_text("{")
    assert_one_line(
        call("train", "--resume", folder, "--epochs", 4), 2, "result.json': is not JSON"
    )
    assert (folder / "result.json").read_text() == "{"
