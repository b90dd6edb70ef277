"""Sweeps: the bits of `train`, failures, and repeated commands."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from helpers import Outcome, assert_one_line, assert_same_run, call
from sweeping import (
    BAD,
    GOOD,
    SMALL,
    WORDS,
    assert_as_trained,
    run_of,
    state_of_files,
    sweep,
)

import mlp_xp
from mlp_xp.backends.failures import BackendOutOfMemory
from mlp_xp.backends.memory import NotEnoughMemoryError
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands.sweep import _HEADER as HEADER
from mlp_xp.data.arrays import DatasetError
from mlp_xp.data.datasets import load_dataset
from mlp_xp.files import FileError
from mlp_xp.runs.loading import read_config
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.runs.table import UNREADABLE, sweep_rows
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps.plan import SweepOptions, make_plan

TWO = "--hidden 4 --seed 0..1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    """A sweep with four good and four diverging members, in processes."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
        return folder, sweep(data_dir, folder, WORDS)


@pytest.mark.needs("joblib")
def test_members_have_the_bits_of_train(whole, tmp_path):
    folder, outcome = whole
    assert outcome.code == 1, outcome
    assert_as_trained(folder, tmp_path, GOOD[0], GOOD[3])
    index = SweepFolder(folder).read()
    assert [member.name for member in index.members] == [*GOOD, *BAD]
    for each in index.members[:4]:
        settings, record = read_config(run_of(folder, each.name))
        assert settings == settings_of(index.base, each.settings)
        assert record["threads"]["number"] == 1


def test_failures_are_in_the_order_of_the_members(tmp_path):
    folder, failure = SweepFolder(tmp_path), {"error": "E", "reason": "r"}
    folder.write_failures(dict.fromkeys(["10000", "9999", "0002"], failure))
    assert [*folder.failures()] == ["0002", "9999", "10000"]


@pytest.mark.usefixtures("inline")
def test_a_sweep_whose_summary_nobody_reads_is_complete(
    data_dir, tmp_path, monkeypatch
):
    def leave(*_):
        raise BrokenPipeError

    monkeypatch.setattr("mlp_xp.commands.sweep.show_summary", leave)
    outcome = sweep(data_dir, tmp_path / "s", "--hidden 4")
    said = f"after the end of the sweep; the sweep in '{tmp_path / 's'}' is complete"
    assert_one_line(outcome, 141, "closed the pipe", said)


@pytest.mark.needs("joblib")
def test_failed_members_are_recorded_and_stop_no_other(whole):
    folder, outcome = whole
    failures = SweepFolder(folder).failures()
    assert {*failures} == {*BAD}
    assert {each["error"] for each in failures.values()} == {"DivergenceError"}
    assert all(
        each["reason"].startswith("training diverged: ") for each in failures.values()
    )
    assert "4 of 8 members finished, 4 failed" in outcome.out
    files = {"sweep.json", "members", "failures.json", "summary.csv", "summary.json"}
    assert {path.name for path in folder.iterdir()} == files
    lines = [
        line.split()[:2]
        for line in outcome.out.splitlines()
        if line[:6].strip().isdecimal()
    ]
    states = {**dict.fromkeys(GOOD, "finished"), **dict.fromkeys(BAD, "failed")}
    assert sorted(lines) == [[*each] for each in states.items()]
    assert outcome.out.count("\nat once  ") == outcome.out.count(HEADER) == 1
    assert outcome.err == ""


@pytest.mark.needs("joblib")
@pytest.mark.usefixtures("inline")
def test_the_same_command_repeats_nothing_but_failures_on_request(whole, data_dir):
    folder, _ = whole
    before = state_of_files(folder)
    again = sweep(data_dir, folder, WORDS)
    assert again.code == 1, again
    assert "finished  " not in again.out, "no line of a member"
    assert "at once" not in again.out
    assert state_of_files(folder) == before
    again = sweep(data_dir, folder, f"{WORDS} --retry-failed")
    assert again.code == 1, again
    assert again.out.count("failed  ") == 4, (
        "a line for each member that is trained again"
    )
    assert {*SweepFolder(folder).failures()} == {*BAD}
    assert state_of_files(run_of(folder, GOOD[0])) == {
        k: v for k, v in before.items() if GOOD[0] in Path(k).parts
    }


@pytest.mark.needs("joblib")
def test_a_folder_in_use_is_refused(whole, data_dir):
    folder, _ = whole
    with SweepFolder(folder).locked():
        outcome = sweep(data_dir, folder, WORDS)
    assert_one_line(outcome, 2, f"is in use by process {os.getpid()}")


@pytest.mark.needs("joblib")
@pytest.mark.usefixtures("inline")
def test_the_library_does_the_same(whole, tmp_path):
    base = SweepFolder(whole[0]).read().base
    base = replace(base, train=replace(base.train, learning_rate=0.05))
    values, folder = {"hidden": [4, (5, 3)], "seed": range(2)}, tmp_path / "s"
    waiting = mlp_xp.sweep(values, base, sweep_dir=folder, jobs=1)
    assert not folder.exists()
    endings = [*waiting]
    assert [(ending.name, ending.state) for ending in endings] == [
        (name, "finished") for name in GOOD
    ]
    for ending in endings:
        assert ending.result == json.loads(
            (run_of(folder, ending.name) / "result.json").read_text()
        )
        assert_same_run(run_of(folder, ending.name), run_of(whole[0], ending.name))
    again = [*mlp_xp.sweep(values, base, sweep_dir=folder)]
    assert again == [ending._replace(earlier=True, seconds=0.0) for ending in endings]


# Data and weights that change.

TABLE = ["a,y", *(f"{i}.5,{'xyz'[i % 3]}" for i in range(30))]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.needs("polars")
@pytest.mark.usefixtures("inline", "no_pictures")
def test_a_sweep_does_not_go_on_with_other_data_or_weights(tmp_path):
    """Its results would be of several data sets, and no member would tell."""
    table, folder = write(tmp_path / "t.csv", TABLE), tmp_path / "s"
    start, other, away = (tmp_path / name for name in ("start", "other", "away"))
    common = {"data_dir": table, "label": "y", "epochs": 1, "hidden": 4}
    for seed, run in enumerate((start, other)):
        outcome = call("train --networks 1", **common, seed=seed, run_dir=run)
        assert outcome.code == 0

    def again() -> Outcome:
        command = "sweep --seed 0..1"
        return call(command, **common, start_from=start, sweep_dir=folder)

    assert again().code == 0
    shutil.rmtree(run_of(folder, "0001"))
    write(table, [*TABLE[:-1], "99.5,x"])
    assert_one_line(again(), 2, f"{table!s}", "the checksum of ", "another folder")
    write(table, TABLE)
    start.rename(away)
    other.rename(start)
    said = (f"the checksum of '{start}' was ", "another folder")
    assert_one_line(again(), 2, *said)
    assert not run_of(folder, "0001").exists()
    start.rename(other)
    away.rename(start)
    assert again().code == 0
    shutil.rmtree(start)  # which no member needs any more
    assert again().code == 0


def fails_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


class UnseenFolder(SweepFolder):
    def exists(self):
        return False


@pytest.mark.parametrize(
    ("place", "effect", "code", "said"),
    [
        (
            "mlp_xp.runs.recording.write_model",
            fails_with(FileError("No space left")),
            1,
            "No space left",
        ),
        (
            "mlp_xp.sweeps.member.load",
            lambda *_: (None, "other"),
            2,
            "the data have changed",
        ),
        (
            "mlp_xp.sweeps.member.load",
            fails_with(DatasetError("'own.csv': no such file")),
            2,
            "no such file",
        ),
        (
            "mlp_xp.sweeps.member.load",
            fails_with(ModuleNotFoundError("No module named 'PIL'")),
            2,
            "named 'PIL'",
        ),
        (
            "mlp_xp.sweeps.member.SweepFolder",
            UnseenFolder,
            2,
            "does not see the sweep's folder",
        ),
        ("mlp_xp.sweeps.member.__version__", "0", 2, "has mlp_xp 0, and the sweep "),
        (
            "mlp_xp.runs.experiment.check_memory",
            fails_with(NotEnoughMemoryError("needs 9 GiB")),
            2,
            "needs 9 GiB",
        ),
        (
            "mlp_xp.runs.recording.write_model",
            fails_with(BackendOutOfMemory("no room on the GPU")),
            2,
            "no room on the GPU",
        ),
    ],
)
@pytest.mark.usefixtures("inline")
def test_what_a_worker_lacks_fails_no_member_and_ends_the_command(
    place, effect, code, said, data_dir, tmp_path, monkeypatch
):
    """It lacks room on the disk, the data, the folder, the version, or memory."""
    folder = tmp_path / "s"
    with monkeypatch.context() as patch:
        patch.setattr(place, effect)
        patch.setattr("sweeping.PARENT", None)
        outcome = sweep(data_dir, folder, TWO, epochs=1)
    assert_one_line(
        outcome, code, "member 0000: ", said, "then run the same command again"
    )
    assert SweepFolder(folder).failures() == {}
    assert sweep(data_dir, folder, TWO, epochs=1).code == 0


def load_without_memory(*_: object) -> None:
    with open_backend().reporting("a transfer to the device"):
        raise MemoryError


@pytest.mark.parametrize(
    ("place", "effect"),
    [
        (
            "mlp_xp.runs.experiment.check_memory",
            fails_with(NotEnoughMemoryError("needs 9 GiB")),
        ),
        ("mlp_xp.sweeps.member.load", load_without_memory),
    ],
)
@pytest.mark.usefixtures("inline")
def test_a_member_that_needs_more_memory_than_this_machine_has_fails_alone(
    place, effect, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(place, effect)
    assert sweep(data_dir, tmp_path / "s", TWO).code == 1
    assert {*SweepFolder(tmp_path / "s").failures()} == {"0000", "0001"}


# Damage.


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("result.json", marks=pytest.mark.slow),
        pytest.param("config.json", marks=pytest.mark.slow),
        "checkpoint.safetensors",
    ],
)
@pytest.mark.usefixtures("inline")
def test_a_damaged_member_stops_no_other_and_is_no_success(file, data_dir, tmp_path):
    assert sweep(data_dir, tmp_path, TWO).code == 0
    damaged, other = run_of(tmp_path, "0000"), run_of(tmp_path, "0001")
    shutil.rmtree(other)
    if file == "checkpoint.safetensors":
        (damaged / "result.json").unlink()
    (damaged / file).write_text("{")
    outcome = sweep(data_dir, tmp_path, TWO)
    assert outcome.code == 1, outcome
    assert file in outcome.out + outcome.err
    assert (other / "result.json").exists()
    assert (damaged / file).read_text() == "{"
    if file == "checkpoint.safetensors":
        assert "train again" in SweepFolder(tmp_path).failures()["0000"]["reason"]
    shutil.rmtree(damaged)
    assert sweep(data_dir, tmp_path, f"{TWO} --retry-failed").code == 0
    assert SweepFolder(tmp_path).failures() == {}


@pytest.mark.usefixtures("inline")
def test_the_run_of_another_sweep_in_a_members_folder_does_not_count(
    data_dir, tmp_path
):
    assert sweep(data_dir, tmp_path, TWO).code == 0
    shutil.rmtree(run_of(tmp_path, "0001"))
    shutil.copytree(run_of(tmp_path, "0000"), run_of(tmp_path, "0001"))
    said = "has another run than the sweep: seed is 0, not 1; move the folder away"
    rows, _ = sweep_rows(SweepFolder(tmp_path))
    assert [row.state for row in rows] == [FINISHED, UNREADABLE]
    assert said in rows[1].reason
    outcome = sweep(data_dir, tmp_path, TWO)
    assert outcome.code == 1
    assert said in outcome.out + outcome.err


# How many at once.


def test_members_on_the_same_data_load_them_once(monkeypatch, data_dir):
    loading = Mock(wraps=load_dataset)
    monkeypatch.setattr("mlp_xp.sweeps.member.load_dataset", loading)
    base = settings_of(Settings(data_dir=str(data_dir)), SMALL)
    values = {"seed": [0, 1], "hidden": [4, 5], "networks": [1, 3]}
    running.survey(make_plan(base, values))
    loading.assert_called_once()


def test_the_memory_limits_how_many_are_trained_at_once(monkeypatch, data_dir):
    said: list[str] = []
    base, values = (
        settings_of(Settings(data_dir=str(data_dir)), SMALL),
        {"hidden": [4, 4000]},
    )
    plan = make_plan(base, values, SweepOptions(jobs=8))
    assert running.survey(plan, said.append)[1] == 8
    assert not said
    monkeypatch.setattr(running, "available_bytes", lambda: 3 * running.OF_A_PROCESS)
    _, fewer = running.survey(plan, said.append)
    assert 1 <= fewer <= 2, "what the members need counts too"
    assert f", for {fewer} at once of about " in said[-1]
