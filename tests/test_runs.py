"""The run folder's functions: names, what may be written where, metrics."""

import datetime as dt
import json
import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from helpers import arrays_of

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import ConfigError, TrainConfig
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError
from mlp_xp.runs import run_folder
from mlp_xp.runs.run_folder import RunError
from mlp_xp.runs.settings import Settings
from mlp_xp.training import Report

NOW = dt.datetime(2024, 2, 3, 4, 5, 6)
CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Settings(), "mnist-numpy-20240203-040506"),
        (Settings(backend="jax", dataset="kmnist"), "kmnist-jax-20240203-040506"),
        (Settings(data_dir="/some/where/"), "where-numpy-20240203-040506"),
        (Settings(data_dir=".", backend="a.b:c.d"), f"{Path.cwd().name}-a.b-c.d-20240203-040506"),
    ],
)
def test_the_default_folder_says_data_backend_and_time(settings, name):
    assert run_folder.default_folder(settings, NOW) == Path("runs") / name


@pytest.fixture(params=["none", "empty", "run", "other", "file", "half"])
def folder(request, tmp_path) -> tuple[str, Path]:
    path = tmp_path / "folder"
    if request.param == "file":
        path.write_text("")
    elif request.param != "none":
        path.mkdir()
    if request.param == "run":
        (path / "config.json").write_text('{"settings": {}}')
    if request.param == "other":
        (path / "thesis.tex").write_text("mine")
    if request.param == "half":  # killed while it began
        (path / ".config.json.77.aside").write_text("{")
    return request.param, path


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [run_folder.claim_folder(Settings(), NOW) for _ in range(3)]
    name = "mnist-numpy-20240203-040506"
    assert folders == [Path("runs") / each for each in (name, f"{name}-2", f"{name}-3")]
    assert all(folder.is_dir() for folder in folders)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("runs").write_text("")
    with pytest.raises(FileError, match=f"'runs/{name}': cannot create"):
        run_folder.claim_folder(Settings(), NOW)


@pytest.mark.parametrize("overwrite", [False, True])
def test_where_a_new_run_may_be_written(folder, overwrite):
    kind, path = folder
    allowed = kind in ("none", "empty", "half") or (kind == "run" and overwrite)
    if allowed:
        run_folder.check_new(path, overwrite)
    else:
        with pytest.raises(RunError) as caught:
            run_folder.check_new(path, overwrite)
        assert repr(str(path)) in str(caught.value)
        assert caught.value.setting == "run_dir"


def finished_run(folder: Path, config: TrainConfig = CONFIG) -> list[Report]:
    return [*train(config, TINY, open_backend(), run_dir=folder)]


def test_the_library_never_clears_a_folder_of_something_else(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"dear")
    with pytest.raises(RunError, match="neither empty nor a run"):
        finished_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_the_library_goes_on_with_its_run_and_refuses_another(tmp_path):
    reports = finished_run(tmp_path)
    assert [(r.epoch, r.sample) for r in reports] == [(0, 0), (0, 100), (1, 0), (1, 100), (1, 200)]
    (again,) = finished_run(tmp_path)
    assert again[:2] == reports[-1][:2]
    for a, b in zip(arrays_of(again.network, np.array), arrays_of(reports[-1].network, np.array), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(RunError, match="was made with seed 0"):
        finished_run(tmp_path, TrainConfig(epochs=2, seed=3, hidden=(3,), report_every=100))


def test_clear_removes_what_a_run_wrote_but_its_settings_and_what_is_the_users(tmp_path):
    finished_run(tmp_path)
    for name in ("curves.png", "events.out.tfevents.3", ".model.safetensors.9.aside", "my_seven.png", "notes.txt"):
        (tmp_path / name).write_text("")
    run_folder.clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "my_seven.png", "notes.txt"]
    run_folder.clear(tmp_path / "none")


def a_report(**changes) -> Report:
    values = {"epoch": 1, "sample": 100, "loss": 0.1 + 0.2, "accuracy": 1 / 3, "seconds": 1.5, "train_loss": math.pi,
              "test_loss": 5e-324, "samples_per_second": 1e6, "network": ()}  # fmt: skip
    return Report(**{**values, **changes})


def test_metrics_are_appended_in_full_precision(tmp_path):
    expected = []
    for epoch in range(3):
        report = a_report(epoch=epoch)._replace(validation_accuracy=[None, 0.25, 0.1 + 0.2][epoch])
        run_folder.append_metrics(tmp_path, report)
        expected.append({k: v for k, v in report._asdict().items() if k != "network" and v is not None})
        assert run_folder.read_metrics(tmp_path) == expected
        assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == expected


def test_a_line_is_on_the_disk_when_append_returns(tmp_path, monkeypatch):
    """And at the first line the name of the file, or a checkpoint could outlast the reports that it counts."""
    synced = []

    def record(descriptor):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "metrics.jsonl").read_bytes()))

    monkeypatch.setattr("os.fsync", record)
    run_folder.append_metrics(tmp_path, a_report())
    first = (tmp_path / "metrics.jsonl").read_bytes()
    assert first.endswith(b"}\n")
    assert synced == [(False, first), (True, first)]
    run_folder.append_metrics(tmp_path, a_report())
    assert synced[2:] == [(False, (tmp_path / "metrics.jsonl").read_bytes())]


def test_metrics_may_be_none_or_cut_off_but_not_damaged(tmp_path):
    assert run_folder.read_metrics(tmp_path) == []
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"")
    assert run_folder.read_metrics(tmp_path) == []
    records = [run_folder.metrics_record(a_report(epoch=epoch)) for epoch in range(2)]
    first, second = (json.dumps(record).encode() for record in records)
    path.write_bytes(first + b"\n" + second + b'\n{"ep')
    assert run_folder.read_metrics(tmp_path) == records
    path.write_bytes(first + b'\n{"epo\n' + second + b"\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl', line 2: is damaged: ") as caught:
        run_folder.read_metrics(tmp_path)
    assert "\n" not in str(caught.value)


def test_metrics_are_cut_back_to_what_a_checkpoint_knows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"1\n2\n3\n4")
    (tmp_path / ".checkpoint.safetensors.1.aside").write_text("")
    with pytest.raises(RunError, match="has 3 reports, the checkpoint expects 4"):
        run_folder.truncate_metrics(tmp_path, 4)
    run_folder.truncate_metrics(tmp_path, 2)
    assert path.read_bytes() == b"1\n2\n"
    run_folder.truncate_metrics(tmp_path, 0)
    assert path.read_bytes() == b""
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
    path.unlink()
    run_folder.truncate_metrics(tmp_path, 0)
    with pytest.raises(RunError, match="has 0 reports"):
        run_folder.truncate_metrics(tmp_path, 1)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"is not a run: it has no config\.json"):
            run_folder.read_config(path)
    (tmp_path / "config.json").write_text('{"settings": {"epoch": 3}}')
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        run_folder.read_config(tmp_path)


def test_what_cannot_be_written_is_a_file_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run", tmp_path / "file"):
        with pytest.raises(MlpXpError) as caught:
            finished_run(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match=r"'.*metrics\.jsonl': cannot write: No such file"):
        run_folder.append_metrics(tmp_path / "gone", a_report())
