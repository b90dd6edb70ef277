"""A run goes on after a kill or after its end: to the same bits, on any backend.

Refusals are in test_messages.py.
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
from data_sets import TINY, on_device, write_csv
from helpers import (
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    files,
    killed_at,
    metrics,
    output_of,
    record_run,
    small_settings,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mlp_xp import TrainConfig, open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import UNNAMED
from mlp_xp.declared import ConfigError
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.names import CHECKPOINT
from mlp_xp.runs.recording import RunWriter, open_training
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, settings_of

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
    """Between any two operations on files, once after another.

    It is killed in its first epoch, and while it is extended by more, where epochs may
    be added.
    """
    if config.validation:
        config = replace(config, patience=patience)
    may_grow = config.schedule == "constant" and not config.patience
    short = replace(config, epochs=1) if may_grow else config

    def record(folder: Path, config: TrainConfig) -> None:
        record_run(folder, Settings(train=config), TINY, open_backend())

    with (
        TemporaryDirectory() as place,
        warnings.catch_warnings(action="ignore", category=MlpXpWarning),
    ):
        whole, folder = Path(place) / "whole", Path(place) / "run"
        with killed_at(10**9) as done:  # it is not
            record(whole, config)
        for i, kill in enumerate(kills):
            with killed_at(kill * len(done) // 1000):
                record(folder, short if i < 2 else config)
            if may_grow and i == 1:
                record(folder, short)
        for _ in range(2):  # when it is over, the same end is said again
            record(folder, config)
            assert_same_run(folder, whole)
        assert not [*folder.glob(".*")]


@pytest.mark.every_backend
def test_a_run_on_any_backend_goes_on_to_the_same_bits_and_on_numpy_to_almost_the_same(
    backend: Backend, tmp_path
):
    config = TrainConfig(
        hidden=(4,),
        epochs=3,
        batch_size=20,
        report_every=200,
        checkpoint_every=0,
        optimizer="adam",
        validation=40,
        deform=True,
    )
    short, dataset = replace(config, epochs=2), on_device(TINY, backend)
    for name, first in (("whole", config), ("run", short)):
        record_run(
            tmp_path / name, Settings(backend.name, train=first), dataset, backend
        )
    shutil.copytree(tmp_path / "run", tmp_path / "numpy")
    record_run(tmp_path / "run", Settings(backend.name, train=config), dataset, backend)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    record_run(tmp_path / "numpy", Settings(train=config), TINY, open_backend())
    here, there = load_run(tmp_path / "whole"), load_run(tmp_path / "numpy")
    for one, other in zip(here.network, there.network, strict=True):
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9, atol=1e-12)


# The command.


@pytest.fixture(scope="module")
def finished_shorter(data_dir, tmp_path_factory, no_pictures) -> Path:
    """As `small_run`, but of two epochs."""
    folder = tmp_path_factory.mktemp("shorter") / "run"
    output_of("train", **small_settings(epochs=2, data_dir=data_dir, run_dir=folder))
    return folder


@pytest.fixture
def shorter_run(finished_shorter, tmp_path) -> Path:
    return shutil.copytree(finished_shorter, tmp_path / "run")


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def write_config(folder: Path, record: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(record))


def test_a_killed_command_resumes_to_the_same_files(
    small_run, data_dir, tmp_path, monkeypatch
):
    """Killed before the first checkpoint, and right after a later one.

    Without a checkpoint it starts over.
    """
    folder = tmp_path / "run"
    settings = small_settings(data_dir=data_dir, run_dir=folder)
    for write, calls in ((RunWriter.append, 1), (RunWriter.save, 4)):
        with monkeypatch.context() as patch:
            die_at(patch, write, calls)
            assert_one_line(call("train", **settings), 130, "interrupted")
        settings = {"resume": folder}
    assert len(metrics(folder)) > 3
    (folder / ".checkpoint.safetensors.123.aside").write_text("half")
    # the same settings may be given again
    output_of("train --epochs 3 --hidden 4", resume=folder)
    assert_same_run(folder, small_run)
    assert config_of(folder)["settings"] == config_of(small_run)["settings"]
    assert not [*folder.glob(".*")]


def test_a_run_that_has_ended_says_so_without_its_data(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    record = config_of(folder)
    record["settings"]["data_dir"] = "/moved"
    write_config(folder, record)
    said = "has ended; with a constant schedule, --epochs N trains it longer\n"
    assert output_of("train --resume", folder) == f"the run in {folder} {said}"
    assert_same_run(folder, small_run)


@pytest.mark.parametrize("name", ["model", "checkpoint", "rows"])
def test_a_run_that_has_ended_with_a_changed_byte_is_refused(name, small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    path = folder / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert_one_line(call("train --resume", folder), 2, f"'{path}': was altered")


def test_training_in_the_folder_of_a_run_with_a_changed_model_is_refused(
    small_run, data_dir, tmp_path
):
    folder = shutil.copytree(small_run, tmp_path / "run")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    outcome = call("train", data_dir=data_dir, resume=folder)
    assert_one_line(outcome, 2, f"'{path}': was altered")


def test_a_run_that_has_ended_with_a_changed_setting_is_refused(small_run, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    record = config_of(folder)
    record["settings"]["learning_rate"] = 0.06
    write_config(folder, record)
    place = f"--learning-rate: '{folder / 'config.json'}'"
    assert_one_line(call("train --resume", folder), 2, place)


def test_auto_settings_are_recorded_with_their_numbers_and_a_resume_compares_these(
    tmp_path,
):
    folder, backend = tmp_path / "run", open_backend()
    config = TrainConfig(epochs=1, batch_size="auto", dropout="auto", hidden=(4,))
    record_run(folder, Settings(train=config), TINY, backend)
    record = config_of(folder)
    assert record["auto"] == ["batch_size", "dropout"]
    assert record["settings"]["batch_size"] == 32  # 2 sqrt(200) is 28.3
    assert record["settings"]["dropout"] == 0.1
    before = files(folder)["model.safetensors"]
    for same in (config, replace(config, batch_size=32, dropout=0.1)):
        record_run(folder, Settings(train=same), TINY, backend)
    assert files(folder)["model.safetensors"] == before
    other = Settings(train=replace(config, batch_size=16))
    with pytest.raises(ConfigError, match="32, not 16"):
        record_run(folder, other, TINY, backend)


def test_a_finished_run_is_trained_longer_to_the_same_bits(small_run, shorter_run):
    expected = config_of(shorter_run)
    expected["settings"]["epochs"] = 3
    (shorter_run / "curves.png").write_bytes(b"of the shorter run")
    output_of("train --epochs 3 --resume", shorter_run)
    assert_same_run(shorter_run, small_run)
    assert not (shorter_run / "curves.png").exists()
    assert config_of(shorter_run) == expected


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_while_it_is_trained_longer_is_finished_or_goes_on(step, tmp_path):
    """Up to the first new checkpoint it is the finished run, with all its files.

    Later it is the longer run, which goes on to the same bits.
    """
    config = TrainConfig(epochs=2, hidden=(4,), batch_size=50, report_every=100)
    short = Settings(train=replace(config, epochs=1))
    finished, whole = tmp_path / "finished", tmp_path / "whole"
    record_run(finished, short, TINY, open_backend())
    (finished / "curves.png").write_bytes(b"of the shorter run")
    record_run(whole, Settings(train=config), TINY, open_backend())
    found = []
    for number in range(0, 10**6, step):
        folder = shutil.copytree(finished, tmp_path / str(number))
        with killed_at(number) as done:
            record_run(folder, Settings(train=config), TINY, open_backend())
        if len(done) < number:  # it came to its end
            break
        with (
            warnings.catch_warnings(action="ignore", category=MlpXpWarning),
            RunFolder(folder).opened(),
        ):
            epochs = RunFolder(folder).settings().train.epochs
        found.append(epochs)
        if epochs == 1:
            assert files(folder) == files(finished)
            continue
        assert files(folder)[CHECKPOINT] != files(finished)[CHECKPOINT]
        if number % 2 == 0:
            record_run(folder, Settings(train=config), TINY, open_backend())
            assert_same_run(folder, whole)
    assert found == sorted(found)
    assert min(found.count(1), found.count(2)) > 30 // step


def test_a_command_that_ends_before_the_first_new_checkpoint_leaves_the_finished_run(
    small_run, shorter_run, finished_shorter, monkeypatch
):
    with monkeypatch.context() as patch:
        die_at(patch, RunWriter.append, 1)
        assert call("train --epochs 3 --resume", shorter_run).code == 130
    assert files(shorter_run) == files(finished_shorter)
    output_of("train --epochs 3 --resume", shorter_run)
    assert_same_run(shorter_run, small_run)


def test_a_resume_of_a_run_that_has_ended_writes_a_lost_model_again(
    shorter_run, finished_shorter
):
    (shorter_run / "model.safetensors").unlink()
    output_of("train --resume", shorter_run)
    assert_same_run(shorter_run, finished_shorter)


def test_a_longer_run_of_a_run_that_had_lost_its_model_has_not_ended_when_killed(
    small_run, shorter_run, monkeypatch
):
    """The result of the shorter run is not its result."""
    (shorter_run / "model.safetensors").unlink()
    with monkeypatch.context() as patch:
        die_at(patch, RunWriter.save, 1)
        assert call("train --epochs 3 --resume", shorter_run).code == 130
    assert not RunFolder(shorter_run).has_ended()
    output_of("train --resume", shorter_run)
    assert_same_run(shorter_run, small_run)


def test_a_longer_run_saves_where_it_is_stopped_in_its_first_new_epoch(
    small_run, shorter_run
):
    """Unlike a run that replaces another one, perhaps by mistake."""
    run = RunFolder(shorter_run)
    settings = settings_of(run.settings(), {"epochs": 3})
    training = open_training(
        run, lambda: Experiment.from_settings(settings), save_now=lambda: True
    )
    with training as (_, events):
        assert next(events).checkpoint
    assert not run.has_ended()
    output_of("train --resume", shorter_run)
    assert_same_run(shorter_run, small_run)


def test_the_backend_may_be_another_with_a_device_of_its_own(small_run, shorter_run):
    record = config_of(shorter_run)
    record["settings"] |= {"backend": "jax", "device": "cpu:0"}
    write_config(shorter_run, record)
    output_of("train --epochs 3 --backend array-api-strict --resume", shorter_run)
    for there, here in zip(metrics(shorter_run), metrics(small_run), strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-10)
        assert there["accuracy"] == here["accuracy"]


def test_a_run_goes_on_with_its_threads_or_those_given(shorter_run):
    record = config_of(shorter_run)
    record["threads"]["number"] = 3
    write_config(shorter_run, record)
    out = output_of("train --epochs 3 --resume", shorter_run)
    assert "\nthreads  3: as when the run began\n" in out
    out = output_of("train --epochs 4 --threads 2 --resume", shorter_run)
    assert "\nthreads  2: as given\n" in out


@pytest.mark.needs("polars")
def test_the_options_of_data_that_have_moved_are_recorded_with_them(tmp_path):
    """Otherwise the run could not be evaluated, and not be resumed again."""
    random = np.random.RandomState(0)
    x, y = random.randn(2, 40)
    columns = {"x": x.tolist(), "y": (x + y > 0).astype(int).tolist()}
    table = write_csv(tmp_path / "a.csv", columns)
    renamed = {"x": columns["x"], "z": columns["y"], "name": ["n"] * 40}
    moved = write_csv(tmp_path / "b.csv", renamed)
    run = tmp_path / "run"
    settings = small_settings(epochs=1, batch_size=8, run_dir=run)
    output_of("train --networks 1", **settings, data_dir=table, label="y")
    own = {"data_dir": moved, "label": "z", "exclude": "name"}
    output_of("train --epochs 2 --resume", run, **own)
    recorded = config_of(run)["settings"]
    assert {name: recorded[name] for name in own} == {**own, "data_dir": str(moved)}
    output_of("evaluate", run)
    output_of("train --epochs 3 --resume", run)


def test_the_name_of_data_is_recorded_but_data_in_memory_have_none(tmp_path):
    config = TrainConfig(epochs=1, hidden=(4,), batch_size=50)
    found = []
    for source in ({"data_dir": "/a"}, {"dataset": "kmnist"}, {"dataset": UNNAMED}):
        settings = Settings(**source, train=config)
        record_run(tmp_path, settings, TINY, open_backend())
        recorded = config_of(tmp_path)["settings"]
        found.append((recorded["dataset"], recorded["data_dir"]))
    files = str(Path("/a").resolve())
    assert found == [(None, files), ("kmnist", None), ("kmnist", None)]
