"""Sweeps: the bits of `train`, failures, what the same command does again, and what is
refused.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_sets import write_samples
from helpers import assert_one_line, assert_same_run, call
from sweeping import (
    SMALL,
    TOO_FAST,
    arguments,
    assert_as_trained,
    run_of,
    state_of_files,
)

import mlp_xp
from mlp_xp.backends.memory import NotEnoughMemoryError
from mlp_xp.commands.sweep import _HEADER as HEADER
from mlp_xp.data.arrays import DatasetError
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError
from mlp_xp.runs.records import parse_settings
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps.plan import SweepOptions, make_plan

WORDS = ["--hidden", "4", "5,3", "--learning-rate", "0.05", TOO_FAST, "--seed", "0..1"]
GOOD, BAD = ("0000", "0001", "0002", "0003"), ("0004", "0005", "0006", "0007")
"""The settings vary in the order of the fields: learning rate, hidden, seed."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    """A sweep with four good and four diverging members, in processes."""
    folder = tmp_path_factory.mktemp("whole") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
        return folder, call("sweep", *arguments(data_dir, folder, *WORDS))


@pytest.mark.needs("joblib")
def test_members_have_the_bits_of_train(whole, tmp_path):
    folder, outcome = whole
    assert outcome.code == 1, outcome
    assert_as_trained(folder, tmp_path, GOOD[0], GOOD[3])
    index = SweepFolder(folder).read()
    assert [member.name for member in index.members] == [*GOOD, *BAD]
    for each in index.members[:4]:
        settings, record = parse_settings(run_of(folder, each.name) / "config.json")
        assert settings == settings_of(index.base, each.settings)
        assert record["threads"]["number"] == 1


def test_a_sweep_whose_summary_nobody_reads_is_complete(
    data_dir, tmp_path, monkeypatch
):
    def leave(*_):
        raise BrokenPipeError

    monkeypatch.setattr("mlp_xp.commands.sweep.show_summary", leave)
    monkeypatch.setattr("mlp_xp.commands.sweep.draw_sweep", lambda *_: [])
    outcome = call("sweep", *arguments(data_dir, tmp_path / "s", "--hidden", "4"))
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
    again = call("sweep", *arguments(data_dir, folder, *WORDS))
    assert again.code == 1, again
    assert "finished  " not in again.out, "no line of a member"
    assert "at once" not in again.out
    assert state_of_files(folder) == before
    again = call("sweep", *arguments(data_dir, folder, *WORDS, "--retry-failed"))
    assert again.code == 1, again
    assert again.out.count("failed  ") == 4, (
        "a line for each member that is trained again"
    )
    assert {*SweepFolder(folder).failures()} == {*BAD}
    assert state_of_files(run_of(folder, GOOD[0])) == {
        k: v for k, v in before.items() if GOOD[0] in Path(k).parts
    }


@pytest.mark.needs("joblib")
@pytest.mark.parametrize(
    ("place", "words", "parts"),
    [
        ("", [*WORDS[:6], "--seed", "0..2"], ["seed was 0,1, and is now 0,1,2"]),
        ("", [*WORDS, "--random", 3], ["random was none, and is now 3"]),
        ("members/0000", WORDS, ["is neither empty nor a sweep"]),
        ("sweep.json", WORDS, ["is not a folder"]),
        ("", WORDS, [f"is in use by process {os.getpid()}"]),
    ],
)
def test_a_folder_in_use_or_of_something_else_is_refused(
    place, words, parts, whole, data_dir
):
    folder, _ = whole
    before = state_of_files(folder)
    with (
        SweepFolder(folder).locked()
        if "in use" in parts[0]
        else contextlib.nullcontext()
    ):
        assert_one_line(
            call("sweep", *arguments(data_dir, folder / place, *words)), 2, *parts
        )
    assert state_of_files(folder) == before


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
    with pytest.raises(MlpXpError, match="base: "):
        mlp_xp.sweep({"seed": [1, 2]}, {"epochs": 1})


@pytest.mark.needs("polars")
@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("jax", marks=pytest.mark.slow)]
)
def test_members_train_on_your_own_table_with_the_bits_of_train(tmp_path, backend):
    rng = np.random.default_rng(0)
    path = write_samples(
        tmp_path / "own.csv", rng.normal(size=(80, 3)), rng.choice(["x", "y"], 80)
    )
    words = [
        "--data-dir",
        path,
        "--label",
        "kind",
        "--recipe",
        "standard",
        "--epochs",
        1,
    ]
    words += [
        "--hidden",
        4,
        "--validation",
        10,
        "--backend",
        backend,
        "--test-fraction",
        0,
        0.25,
    ]
    outcome = call("sweep", *words, "--run-dir", tmp_path / "s")
    assert outcome.code == 0, outcome
    assert_as_trained(tmp_path / "s", tmp_path, "0000", "0001")
    result = json.loads((run_of(tmp_path / "s", "0001") / "result.json").read_text())
    figures = rf"{result['train_loss']:.5f} +{100 * result['validation_accuracy']:.2f} % +\d+\.\d"
    assert re.search(
        rf"^ +0001  finished +{figures}  test fraction 0.25$", outcome.out, re.MULTILINE
    )
    # instead of 128: all samples that are trained on
    for name, batch_size in (("0000", 70), ("0001", 50)):
        assert (
            parse_settings(run_of(tmp_path / "s", name) / "config.json")[
                0
            ].train.batch_size
            == batch_size
        )


# --- data and weights that change
# -------------------------------------------------------------------------------------

TABLE = ["a,y", *(f"{i}.5,{'xyz'[i % 3]}" for i in range(30))]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.needs("polars")
@pytest.mark.usefixtures("inline", "no_pictures")
def test_a_sweep_does_not_go_on_with_other_data_or_weights(tmp_path):
    """Its results would be of several data sets, and no member would tell."""
    table, start, folder = (
        write(tmp_path / "t.csv", TABLE),
        tmp_path / "start",
        tmp_path / "s",
    )
    words = ["--data-dir", table, "--label", "y", "--epochs", 1, "--hidden", 4]
    for seed in (0, 1):
        assert (
            call(
                "train", *words, "--seed", seed, "--run-dir", tmp_path / f"{seed}"
            ).code
            == 0
        )
    shutil.copytree(tmp_path / "0", start)
    sweep = [
        "sweep",
        *words,
        "--seed",
        "0..1",
        "--start-from",
        start,
        "--sweep-dir",
        folder,
    ]
    assert call(*sweep).code == 0
    shutil.rmtree(run_of(folder, "0001"))
    write(table, [*TABLE[:-1], "99.5,x"])
    assert_one_line(call(*sweep), 2, f"{table!s}", "the checksum of ", "another folder")
    write(table, TABLE)
    shutil.rmtree(start)
    shutil.copytree(tmp_path / "1", start)
    assert_one_line(
        call(*sweep), 2, f"the checksum of '{start}' was ", "another folder"
    )
    assert not run_of(folder, "0001").exists()
    shutil.rmtree(start)
    shutil.copytree(tmp_path / "0", start)
    assert call(*sweep).code == 0
    shutil.rmtree(start)  # which no member needs any more
    assert call(*sweep).code == 0


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
            "mlp_xp.runs.run_folder.write_model",
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
    ],
)
@pytest.mark.usefixtures("inline")
def test_what_a_worker_lacks_fails_no_member_and_ends_the_command(
    place, effect, code, said, data_dir, tmp_path, monkeypatch
):
    """A full disk, other data, a sweep's folder that it does not see, another version,
    or too little memory.
    """
    words = arguments(data_dir, tmp_path / "s", "--hidden", 4, "--seed", "0..1")
    with monkeypatch.context() as patch:
        patch.setattr(place, effect)
        patch.setattr("sweeping.PARENT", None)
        outcome = call("sweep", *words)
    assert_one_line(
        outcome, code, "member 0000: ", said, "then run the same command again"
    )
    assert SweepFolder(tmp_path / "s").failures() == {}
    assert call("sweep", *words).code == 0


@pytest.mark.usefixtures("inline")
def test_a_member_that_needs_more_memory_than_this_machine_has_fails_alone(
    data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        "mlp_xp.runs.experiment.check_memory",
        fails_with(NotEnoughMemoryError("needs 9 GiB")),
    )
    assert (
        call(
            "sweep",
            *arguments(data_dir, tmp_path / "s", "--hidden", 4, "--seed", "0..1"),
        ).code
        == 1
    )
    assert {*SweepFolder(tmp_path / "s").failures()} == {"0000", "0001"}


# --- damage
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["result.json", "config.json", "checkpoint.safetensors"]
)
@pytest.mark.usefixtures("inline")
def test_a_damaged_member_stops_no_other_and_is_no_success(file, data_dir, tmp_path):
    words = arguments(data_dir, tmp_path, "--hidden", 4, "--seed", "0..1")
    assert call("sweep", *words).code == 0
    damaged, other = run_of(tmp_path, "0000"), run_of(tmp_path, "0001")
    shutil.rmtree(other)
    if file == "checkpoint.safetensors":
        (damaged / "result.json").unlink()
    (damaged / file).write_text("{")
    outcome = call("sweep", *words)
    assert outcome.code == 1, outcome
    assert file in outcome.out + outcome.err
    assert (other / "result.json").exists()
    assert (damaged / file).read_text() == "{"
    if file == "checkpoint.safetensors":
        assert "train again" in SweepFolder(tmp_path).failures()["0000"]["reason"]
    shutil.rmtree(damaged)
    assert call("sweep", *words, "--retry-failed").code == 0
    assert SweepFolder(tmp_path).failures() == {}


# --- how many at once
# -------------------------------------------------------------------------------------------------


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
