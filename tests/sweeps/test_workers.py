"""The processes of a sweep: kills, signals, and what the same command makes of what is left."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from subprocess import DEVNULL
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import PATIENCE, assert_one_line, finish, on_a_terminal, start, wait_until
from sweeping import SMALL, arguments, assert_as_trained, process_of, reports_of, state_of_files

import mlp_xp
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.lock import locked
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.runs.sweep_index import read_failures
from mlp_xp.sweeps import run as running
from mlp_xp.sweeps.folder import run_of
from mlp_xp.sweeps.grid import make_plan
from mlp_xp.sweeps.member import Ending, Work
from mlp_xp.sweeps.options import SweepOptions
from mlp_xp.sweeps.workers import Place, this_machine, train_all

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
LONG = {"epochs": 12, "report_every": 20, "checkpoint_every": 20}
LONG_WORDS = ["--hidden", "4", "--seed", "0..3"]
ALL = ("0000", "0001", "0002", "0003")
ENDLESS = 1_000_000


# --- the loop, without processes --------------------------------------------------------------------------------------


STOP = Path("/nowhere/stop")


def works(names: str, asked: list[str]) -> Iterator[Work]:
    for name in names:
        asked.append(name)
        yield Work(name, Settings(), False, Path("s"), "", STOP)


class Stub:
    """A worker whose members end at once; a member in `kills` is killed that many times."""

    def __init__(self, kills: dict[str, int]) -> None:
        self.kills, self.ended = kills, False

    def submit(self, work: Work) -> Future:
        future: Future = Future()
        if self.kills.get(work.name, 0):
            self.kills[work.name] -= 1
            future.set_exception(BrokenProcessPool("killed"))
        else:
            future.set_result(Ending(work.name, "finished"))
        return future

    def shutdown(self) -> None:
        self.ended = True


@pytest.mark.parametrize("stops", [False, True])
def test_a_killed_member_is_trained_again_after_the_others_and_fails_if_it_is_killed_alone(
    stops, data_dir, tmp_path, monkeypatch
):
    """But not after a fault of a worker, such as a full disk, which ends the command."""
    kills = {"0000": 1, "0002": 2}
    monkeypatch.setattr(running, "this_machine", lambda _: Place(lambda: Stub(kills), 2, (BrokenProcessPool,)))
    if stops:
        fault = Ending("0003", "interrupted", error="FileError", reason="the disk is full")
        monkeypatch.setattr(Stub, "submit", lambda self, work, submit=Stub.submit: _ending(self, work, submit, fault))
    said: list[str] = []
    plan = make_plan(
        settings_of(Settings(data_dir=str(data_dir)), SMALL), {"seed": "0..3"}, SweepOptions(sweep_dir=tmp_path / "s")
    )
    endings = running.run(plan, say=said.append)
    if stops:
        with pytest.raises(MlpXpError, match="member 0003: the disk is full; then the same command goes on"):
            list(endings)
        assert kills == {"0000": 0, "0002": 1}
        return
    assert [(each.name, each.state) for each in endings] == [
        ("0001", "finished"), ("0003", "finished"), ("0000", "finished"), ("0002", "failed"),
    ]  # fmt: skip
    assert [line.split()[4] for line in said if "was killed" in line] == ["0000", "0002"]
    assert "its process was killed" in read_failures(tmp_path / "s")["0002"]["reason"]
    assert not [*(tmp_path / "s").glob(".stop*")]


def _ending(worker: Stub, work: Work, submit: Any, fault: Ending) -> Future:
    future: Future = Future()
    future.set_result(fault)
    return future if work.name == fault.name else submit(worker, work)


def test_a_member_is_asked_for_only_when_a_worker_is_free_and_the_ending_before_was_seen():
    """So Optuna knows all results when it chooses."""
    asked: list[str] = []
    started: list[Stub] = []

    def worker() -> Stub:
        started.append(Stub({}))
        return started[-1]

    seen = ""
    for work, _ in train_all(works("abcde", asked), Place(worker, 2, ()), 2, STOP):
        assert len(asked) <= len(seen) + 2
        seen += work.name
    assert seen == "abcde"
    assert len(started) == 2  # each is used again
    assert all(each.ended for each in started)


@pytest.mark.parametrize("asked", [False, True])
def test_who_is_interrupted_waits_for_members_unless_they_were_asked_to_stop_before(asked, tmp_path):
    """A second Ctrl-C ends the command at once."""
    future, worker, stop_file = Future(), Stub({}), tmp_path / "stop"
    worker.submit = lambda _: future
    calls = 0

    def interrupted() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            if not asked:  # the member ends when it is asked to stop
                threading.Thread(target=lambda: (wait_for(stop_file), future.set_result(None))).start()
            raise KeyboardInterrupt
        return asked

    late = threading.Timer(5, lambda: future.done() or future.set_result(None))  # so that a fault does not hang
    late.start()
    with pytest.raises(KeyboardInterrupt):
        list(train_all(works("a", []), Place(lambda: worker, 1, ()), 1, stop_file, interrupted))
    assert future.done() == (not asked)
    late.cancel()
    assert worker.ended


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of what `train` makes of the members of a longer sweep."""
    return tmp_path_factory.mktemp("trained")


def test_a_bug_in_a_member_is_a_traceback_with_its_place():
    with pytest.raises(TypeError) as caught:
        next(train_all([Work("a", Settings(), False, None, "", STOP)], this_machine(1), 1, STOP))
    assert "member.py" in str(caught.value.__cause__)


def progress(folder: Path) -> int:
    return sum(reports_of(folder, name) for name in ALL)


def is_finished(folder: Path, name: str) -> bool:
    return (run_of(folder, name) / "result.json").exists()


def finished(folder: Path) -> dict:
    """Return the files of the members that have ended, which must never change again."""
    done = [run_of(folder, name) for name in ALL if is_finished(folder, name)]
    return {path: content for run in done for path, content in state_of_files(run).items()}


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the command", "all processes"])
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_sweep_that_is_killed_at_random_ends_in_the_same_bits(whom, data_dir, tmp_path, trained):
    folder, generator = tmp_path / "s", random.Random(whom)
    last, done = 0, {}
    for _ in range(2):
        words = arguments(data_dir, folder, *LONG_WORDS, **LONG)
        process = start("sweep", *words, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL)
        goal = last + generator.randrange(1, 150)
        wait_until(lambda: process.poll() is not None or progress(folder) >= goal, SimpleNamespace(poll=lambda: None))  # noqa: B023
        time.sleep(generator.random() / 20)  # so that it may be anywhere
        if whom == "the command":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        last = progress(folder)
        now = finished(folder)
        assert {path: now[path] for path in done} == done
        done = now
    outcome = finish(start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG)))
    assert (outcome.code, outcome.err) == (0, ""), outcome
    now = finished(folder)
    assert {path: now[path] for path in done} == done
    assert_as_trained(folder, trained, *ALL)
    assert not [*folder.glob(".stop*")]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code", "reports"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 143, 10)])
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_signal_saves_all_members_and_the_command_goes_on(number, code, reports, data_dir, tmp_path, trained):
    """Ctrl-C reaches all processes, also while they start; they must leave it to the command."""
    folder = tmp_path / "s"
    process = start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG), start_new_session=True)
    wait_until(lambda: progress(folder) > reports if reports else (folder / "members").exists(), process)
    time.sleep(0 if reports else 0.3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    outcome = finish(process)
    assert_one_line(outcome, code, "interrupted after ", " of 4 members; the same command goes on")
    for name in ALL:
        if reports_of(folder, name) and not is_finished(folder, name):
            assert (run_of(folder, name) / "checkpoint.safetensors").exists()
            assert is_free(run_of(folder, name))
    assert not read_failures(folder)
    assert finish(start("sweep", *arguments(data_dir, folder, *LONG_WORDS, **LONG))).code == 0
    assert_as_trained(folder, trained, *ALL)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_killed_process_costs_only_its_own_member(data_dir, tmp_path, trained):
    folder = tmp_path / "s"
    process = start("sweep", *arguments(data_dir, folder, *LONG_WORDS, "--jobs", 2, **LONG))
    wait_until(lambda: reports_of(folder, "0001") > 5 and process_of(folder, "0001"), process)
    other = process_of(folder, "0000")  # None if it has not begun yet
    os.kill(process_of(folder, "0001"), signal.SIGKILL)
    wait_until(lambda: is_finished(folder, "0000") or reports_of(folder, "0002"), process)
    assert is_finished(folder, "0000") or other in (None, process_of(folder, "0000"))
    outcome = finish(process)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "the process of member 0001 was killed; it goes on later, alone" in outcome.out
    assert outcome.out.count("was killed") == 1
    assert_as_trained(folder, trained, *ALL)


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_member_whose_process_is_always_killed_has_failed(data_dir, tmp_path):
    """As by the system, for a member that needs more memory than there is."""
    folder = tmp_path / "s"
    words = ["--hidden", 4, "--epochs", 12, ENDLESS, "--jobs", 2]
    process = start("sweep", *arguments(data_dir, folder, *words, **{**LONG, "epochs": None}))
    killed: set[int] = set()

    def kill_again() -> bool:
        worker = process_of(folder, "0001")
        if worker and worker not in killed and reports_of(folder, "0001"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            killed.add(worker)
        return process.poll() is not None

    wait_until(kill_again, SimpleNamespace(poll=lambda: None))
    outcome = finish(process)
    assert outcome.code == 1, outcome
    assert len(killed) == 2
    assert "its process was killed" in read_failures(folder)["0001"]["reason"]
    assert is_finished(folder, "0000")


def is_free(run: Path) -> bool:
    with contextlib.suppress(MlpXpError), locked(run):
        return True
    return False


def is_there(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@LINUX
@pytest.mark.slow
def test_without_the_process_of_the_sweep_its_members_save_and_their_processes_end(data_dir, tmp_path):
    folder = tmp_path / "s"
    words = arguments(data_dir, folder, "--hidden", 4, "--seed", "0..1", "--jobs", 2, seed=None, epochs=ENDLESS)
    process = start("sweep", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    names = ALL[:2]
    wait_until(lambda: all(reports_of(folder, name) > 5 and process_of(folder, name) for name in names), process)
    workers = [process_of(folder, name) for name in names]
    process.kill()
    process.wait(PATIENCE)
    wait_until(lambda: not any(map(is_there, workers)), SimpleNamespace(poll=lambda: None))
    for name in names:
        assert (run_of(folder, name) / "checkpoint.safetensors").exists()
        assert is_free(run_of(folder, name))


@pytest.mark.slow
def test_whoever_leaves_a_sweep_waits_until_its_members_have_saved(data_dir, tmp_path):
    base = settings_of(Settings(data_dir=str(data_dir)), {**SMALL, "hidden": (4,)})
    endings = mlp_xp.sweep({"epochs": [1, ENDLESS]}, base, sweep_dir=tmp_path / "s", jobs=2)
    assert next(endings).name == "0000"
    wait_until(lambda: reports_of(tmp_path / "s", "0001") > 2, SimpleNamespace(poll=lambda: None))
    endings.close()
    assert is_free(run_of(tmp_path / "s", "0001"))
    assert (run_of(tmp_path / "s", "0001") / "checkpoint.safetensors").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures_elsewhere")
def test_a_terminal_of_80_columns_shows_how_far_it_is(data_dir, tmp_path):
    code, said = on_a_terminal("sweep", *arguments(data_dir, tmp_path / "s", *LONG_WORDS, **LONG, validation=40))
    assert code == 0, said
    text = said.decode()
    assert "0 of 4 done, " in text  # before the first has ended
    assert "best 000" in text
    assert ": held out " in text
    assert "4 of 4 members finished" in text
