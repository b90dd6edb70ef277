"""The processes of a sweep: kills, signals, and how the same command goes on."""

import contextlib
import errno
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL
from types import SimpleNamespace
from unittest.mock import Mock, patch

import pytest
from helpers import PATIENCE, assert_one_line, finish, on_a_terminal, start, wait_until
from sweeping import (
    SMALL,
    arguments,
    assert_as_trained,
    process_of,
    reports_of,
    run_of,
    state_of_files,
)

from mlp_xp.errors import MlpXpError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps._workers import Workers, this_machine, train_all
from mlp_xp.sweeps.member import Ending, Work
from mlp_xp.sweeps.plan import Plan, SweepOptions, make_plan

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
LONG = {"epochs": 8, "report_every": 20, "checkpoint_every": 20}
ALL = ("0000", "0001", "0002", "0003")
ENDLESS = 1_000_000
NOBODY = SimpleNamespace(poll=lambda: None)  # a process that does not end


# The loop, without processes.

STOP = Path("/nowhere/stop")


KILL = BrokenProcessPool("killed")
TWO_KILLED = {"0000": [KILL], "0002": [KILL, KILL]}
FAILED = dict.fromkeys(TWO_KILLED, "failed")


def test_a_killed_member_goes_on_alone_after_the_others_and_fails_if_it_is_killed_again(
    plan, tmp_path, monkeypatch
):
    stub, said = Stub(**TWO_KILLED), []
    monkeypatch.setattr(running, "this_machine", stub.workers)
    endings = running.run_sweep(plan, say=said.append)
    assert [(each.name, each.state, len(stub.begun)) for each in endings] == [
        ("0001", "finished", 2),
        ("0003", "finished", 4),
        # they begin one after the other
        ("0000", "finished", 5),
        ("0002", "failed", 6),
    ]
    told = [line for line in said if "was killed; the member is resumed later" in line]
    assert [line.split()[4] for line in told] == ["0000", "0002"]
    ((name, failure),) = SweepFolder(tmp_path / "s").failures().items()
    assert name == "0002"
    assert "its process was killed" in failure["reason"]
    assert not [*(tmp_path / "s").glob(".stop*")]


def test_a_killed_member_of_a_cluster_has_failed_at_once(plan, tmp_path, monkeypatch):
    stub = Stub(**TWO_KILLED)
    monkeypatch.setattr(running, "this_machine", lambda width: stub.workers(None))
    endings = {each.name: each.state for each in running.run_sweep(plan)}
    assert endings == {**dict.fromkeys(ALL, "finished"), **FAILED}
    assert stub.begun == [*ALL]
    assert SweepFolder(tmp_path / "s").failures().keys() == FAILED.keys()


def test_a_fault_of_a_worker_ends_the_command_before_a_killed_member_goes_on(
    plan, tmp_path, monkeypatch
):
    full = {"error": "FileError", "reason": "the disk is full"}
    stub = Stub(**TWO_KILLED, **{"0003": [Ending("0003", "interrupted", **full)]})
    monkeypatch.setattr(running, "this_machine", stub.workers)
    said = "member 0003: the disk is full; then run the same command again"
    with pytest.raises(MlpXpError, match=said):
        list(running.run_sweep(plan))
    assert stub.begun == [*ALL]
    assert not SweepFolder(tmp_path / "s").failures()


@pytest.mark.parametrize(
    ("error", "jobs", "state"),
    [
        ("MemoryError", 2, "finished"),
        ("BackendOutOfMemory", 2, "finished"),
        ("MemoryError", 1, "failed"),
    ],
)
def test_a_member_that_found_too_little_memory_beside_others_is_trained_alone(
    error, jobs, state, plan, monkeypatch
):
    """With one job there were no others, so it has failed."""
    short = Ending("0000", "failed", error=error, reason="out of memory")
    stub = Stub(**{"0000": [short]})
    monkeypatch.setattr(running, "this_machine", stub.workers)
    plan = plan._replace(options=replace(plan.options, jobs=jobs))
    endings = running.run_sweep(plan)
    assert {each.name: each.state for each in endings} == {
        **dict.fromkeys(ALL, "finished"),
        "0000": state,
    }


def test_a_member_is_asked_for_only_when_there_is_room_and_the_ending_before_was_seen():
    """So Optuna knows all results when it chooses."""
    asked: list[str] = []
    slow: Future = Future()
    stub, seen = Stub(a=[slow]), ""
    for ending in train_all(works("abcde", asked), stub.workers(), STOP):
        seen += ending.name
        if len(asked) > len(seen) + 1 or seen == "bcde":
            slow.set_result(Ending("a", "finished"))
        assert len(asked) <= len(seen) + 1
    assert seen == "bcdea"
    assert stub.has_ended


def test_a_share_that_does_not_answer_for_a_moment_stops_no_member(tmp_path):
    work = Work("a", Settings(), tmp_path, "", tmp_path / "stop")
    away = OSError(errno.EIO, "Input/output error")
    with patch("os.stat", side_effect=away):
        has_to_stop = work.must_stop()
    assert not has_to_stop
    work.stop_file.touch()
    assert work.must_stop()


def test_a_worker_without_the_package_is_one_line():
    """A worker with another version of it: see test_run.py."""
    workers = Stub(a=[ModuleNotFoundError(name="mlp_xp")]).workers(None)
    with pytest.raises(
        MlpXpError,
        match="cluster: a worker has no module mlp_xp; install the same version",
    ):
        next(train_all(works("a", []), workers, STOP))


@pytest.mark.parametrize(
    ("answers", "waits"),
    [
        ([False], True),
        ([False, KeyboardInterrupt], True),
        ([False, True, KeyboardInterrupt], False),
    ],
    ids=["closed", "interrupted", "interrupted twice"],
)
def test_who_leaves_waits_for_members_unless_they_were_asked_to_stop_before(
    answers, waits, tmp_path
):
    """A second Ctrl-C ends the command at once."""
    stop_file, saved = tmp_path / "stop", Future()
    stub = Stub(b=[saved])
    training = train_all(
        works("ab", []), stub.workers(), stop_file, Mock(side_effect=answers)
    )
    assert next(training).name == "a"

    def save() -> None:
        end = time.monotonic() + 5  # so that a fault does not hang
        while time.monotonic() < end and not (waits and stop_file.exists()):
            time.sleep(0.01)
        saved.set_result(None)

    threading.Thread(target=save).start()
    if len(answers) == 1:
        training.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            next(training)
    assert saved.done() == waits
    assert stop_file.exists()
    assert stub.has_ended


# Processes.


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of what `train` makes of the members of a longer sweep."""
    return tmp_path_factory.mktemp("trained")


@pytest.mark.needs("joblib")
def test_a_bug_in_a_member_is_a_traceback_with_its_place():
    with pytest.raises(TypeError) as caught:
        next(train_all([Work("a", Settings(), None, "", STOP)], this_machine(1), STOP))
    assert "member.py" in str(caught.value.__cause__)


@pytest.fixture
def words(data_dir, tmp_path, no_pictures_elsewhere) -> list:
    """The options of a sweep of some seconds."""
    return arguments(data_dir, tmp_path / "s", "--hidden 4 --seed 0..3", **LONG)


def progress(folder: Path) -> int:
    return sum(reports_of(folder, name) for name in ALL)


def finished(folder: Path) -> dict:
    """Return the files of members that have ended. They must never change again."""
    done = [
        run for run in (folder / "members").glob("*") if (run / "result.json").exists()
    ]
    return {
        path: content for run in done for path, content in state_of_files(run).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the command", "all processes"])
def test_a_sweep_that_is_killed_at_random_ends_in_the_same_bits(
    whom, words, tmp_path, trained
):
    folder, generator, done = tmp_path / "s", random.Random(whom), {}
    for _ in range(2):
        process = start(
            "sweep", *words, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL
        )
        goal = progress(folder) + generator.randrange(1, 150)

        def is_far_enough(process=process, goal=goal) -> bool:
            return process.poll() is not None or progress(folder) >= goal

        wait_until(is_far_enough, NOBODY)
        time.sleep(generator.random() / 20)  # so that it may be anywhere
        with contextlib.suppress(ProcessLookupError):
            (os.kill if whom == "the command" else os.killpg)(
                process.pid, signal.SIGKILL
            )
        process.wait()
        assert done.items() <= finished(folder).items()
        done = finished(folder)
    outcome = finish(start("sweep", *words))
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert done.items() <= finished(folder).items()
    assert_as_trained(folder, trained, *ALL)
    assert not [*folder.glob(".stop*")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "reports"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 10)]
)
def test_a_signal_saves_all_members_and_the_command_goes_on(
    number, code, reports, words, tmp_path, trained
):
    """Ctrl-C reaches all processes, also while they start.

    They must leave it to the command.
    """
    folder = tmp_path / "s"
    process = start("sweep", *words, start_new_session=True)
    wait_until(
        lambda: (
            progress(folder) > reports if reports else (folder / "members").exists()
        ),
        process,
    )
    time.sleep(0 if reports else 0.3)
    # A terminal sends Ctrl-C to all processes.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    outcome = finish(process)
    assert_one_line(
        outcome,
        code,
        "interrupted after ",
        " of 4 members; run the same command again to continue",
    )
    assert all(has_saved(folder, name) for name in ALL if reports_of(folder, name))
    assert not SweepFolder(folder).failures()
    assert finish(start("sweep", *words)).code == 0
    assert_as_trained(folder, trained, *ALL)


@pytest.mark.slow
def test_a_killed_process_costs_only_its_own_member(words, tmp_path, trained):
    """The process of the other member goes on, and trains the next one.

    The killed one is resumed at the end.
    """
    folder = tmp_path / "s"
    process = start("sweep", *words, "--jobs", 2)
    wait_until(
        lambda: reports_of(folder, "0001") > 5 and process_of(folder, "0001"), process
    )
    metrics = run_of(folder, "0001") / "metrics.jsonl"
    before = metrics.read_bytes().splitlines()[0]
    other = process_of(folder, "0000")  # None if it has not begun yet
    os.kill(process_of(folder, "0001"), signal.SIGKILL)
    result = run_of(folder, "0000") / "result.json"
    wait_until(lambda: result.exists() or reports_of(folder, "0002"), process)
    assert result.exists() or other in (None, process_of(folder, "0000"))
    outcome = finish(process)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert (
        "the process of member 0001 was killed; the member is resumed later, alone"
        in outcome.out
    )
    assert outcome.out.count("was killed") == 1
    # with its time: the member was resumed
    assert metrics.read_bytes().startswith(before)
    assert_as_trained(folder, trained, *ALL)


def has_saved(folder: Path, name: str) -> bool:
    """Return whether a member has a checkpoint, and no process holds its folder."""
    with contextlib.suppress(MlpXpError), RunFolder(run_of(folder, name)).locked():
        return (run_of(folder, name) / "checkpoint.safetensors").exists()
    return False


def is_there(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    with contextlib.suppress(OSError):
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8")
            .rpartition(")")[2]
            .split()[0]
            != "Z"
        )
    return False


@LINUX
@pytest.mark.slow
def test_without_the_process_of_the_sweep_its_members_save_and_their_processes_end(
    data_dir, tmp_path
):
    folder = tmp_path / "s"
    words = "--hidden 4 --seed 0..1 --jobs 2"
    words = arguments(data_dir, folder, words, epochs=ENDLESS)
    process = start("sweep", *words, stdout=DEVNULL, stderr=DEVNULL)
    names = ALL[:2]
    wait_until(
        lambda: all(
            reports_of(folder, name) > 5 and process_of(folder, name) for name in names
        ),
        process,
    )
    workers = [process_of(folder, name) for name in names]
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not any(map(is_there, workers)), NOBODY)
    assert all(has_saved(folder, name) for name in names)


@pytest.mark.slow
def test_a_terminal_of_80_columns_shows_how_far_it_is(words):
    code, said = on_a_terminal("sweep", *words, "--validation", 40)
    assert code == 0, said
    text = said.decode()
    assert " of 4 done, 0 failed" in text
    assert "4 of 4 members finished" in text


# Workers without processes.


def works(names: str, asked: list[str]) -> Iterator[Work]:
    for name in names:
        asked.append(name)
        yield Work(name, Settings(), Path("s"), "", STOP)


class Stub:
    """Workers whose members end at once.

    In `outcomes` are other endings, errors or futures of their attempts.
    """

    def __init__(self, **outcomes: list) -> None:
        self.outcomes, self.begun, self.has_ended = outcomes, [], False

    def submit(self, work: Work) -> Future:
        self.begun.append(work.name)
        outcome, *self.outcomes[work.name] = self.outcomes.get(work.name) or [
            Ending(work.name, "finished")
        ]
        if isinstance(outcome, Future):
            return outcome
        future: Future = Future()
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future

    def shutdown(self) -> None:
        self.has_ended = True

    def workers(self, width: int | None = 2) -> Workers:
        return Workers(self.submit, (BrokenProcessPool,), width, self.shutdown)


@pytest.fixture
def plan(data_dir, tmp_path) -> Plan:
    """A sweep of four members, two at once."""
    base = settings_of(Settings(data_dir=str(data_dir)), SMALL)
    options = SweepOptions(sweep_dir=tmp_path / "s", jobs=2)
    return make_plan(base, {"seed": "0..3"}, options)
