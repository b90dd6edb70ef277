"""One run at a time writes to a folder, in whatever process; the others are refused before they read or write."""

import errno
import json
import os
import platform
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest
from data_sets import TINY
from helpers import (
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    finish,
    metrics,
    options,
    small_settings,
    start,
    wait_until,
)

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import run_folder
from mlp_xp.runs.lock import locked
from mlp_xp.runs.run_folder import RunError

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)
FOREVER = {"epochs": 10**6, "checkpoint_every": 150}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def running(data_dir, tmp_path):
    """A run without end in a process of its own, which has a checkpoint and is then stopped, so its files stay."""
    folder = tmp_path / "run"
    process = start("train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings(**FOREVER)))
    wait_until((folder / "model.safetensors").exists, process)
    process.send_signal(signal.SIGSTOP)
    yield process, folder
    process.kill()
    finish(process)


def test_a_second_process_is_refused_with_the_first_ones_number_and_host(running, data_dir):
    process, folder = running
    before = files(folder)
    again = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(seed=1))]
    for arguments in (again, [*again, "--overwrite"], ["--resume", folder]):
        outcome = finish(start("train", *arguments))
        assert_one_line(outcome, 2, repr(str(folder)), f"is in use by process {process.pid} on {platform.node()};")
        assert outcome.out == ""
        assert_one_line(call("train", *arguments), 2, f"process {process.pid} on")
        assert files(folder) == before
    with pytest.raises(RunError, match=f"process {process.pid} on"):
        next(train(CONFIG, TINY, open_backend(), run_dir=folder))
    assert files(folder) == before


def test_a_run_can_be_evaluated_and_drawn_while_it_trains(running):
    _, folder = running
    assert call("evaluate", folder).code == 0
    assert_one_line(call("plot", folder), 0, "warning: ", "in use by process", " of epoch 0 (1 of")
    assert (folder / "curves.png").exists()


def test_a_killed_process_leaves_no_lock_and_its_files_do_no_harm(running):
    process, folder = running
    process.kill()
    process.wait()
    assert (folder / ".lock").exists()
    assert (folder / ".holder").read_text().split()[0] == str(process.pid)
    with pytest.raises(RunError) as caught, locked(folder), locked(folder):
        pass
    assert f"process {os.getpid()} on {platform.node()} (this process)" in str(caught.value)
    assert not [*folder.glob(".*")]


def test_of_two_processes_that_resume_at_once_one_is_refused(data_dir, tmp_path, monkeypatch, no_pictures_elsewhere):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    arguments = ["--data-dir", data_dir, *options(small_settings(epochs=9))]
    assert call("train", *arguments, "--run-dir", whole).code == 0
    with monkeypatch.context() as patch:
        die_at(patch, run_folder.append_metrics, 5)
        assert call("train", *arguments, "--run-dir", folder).code == 130
    outcomes = [finish(process) for process in [start("train", "--resume", folder) for _ in range(2)]]
    for outcome in outcomes:
        if outcome.code:
            assert_one_line(outcome, 2, "is in use by")
    assert 0 in [outcome.code for outcome in outcomes]
    assert_same_run(folder, whole)


def test_of_processes_that_begin_at_once_in_a_new_folder_one_writes(data_dir, tmp_path, no_pictures_elsewhere):
    folder = tmp_path / "run"
    arguments = ["--data-dir", data_dir, "--run-dir", folder]
    processes = [start("train", *arguments, *options(small_settings(seed=seed))) for seed in range(2)]
    outcomes = [finish(process) for process in processes]
    for outcome in outcomes:
        if outcome.code:
            assert_one_line(outcome, 2, repr(str(folder)))
    (seed,) = [i for i, outcome in enumerate(outcomes) if outcome.code == 0]
    assert (
        call("train", "--data-dir", data_dir, "--run-dir", tmp_path / "alone", *options(small_settings(seed=seed))).code
        == 0
    )
    assert_same_run(folder, tmp_path / "alone")
    assert json.loads((folder / "config.json").read_text())["settings"]["seed"] == seed


def test_two_generators_in_one_process_are_refused_until_the_first_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    first = train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")
    next(first)
    failed = []

    def second() -> None:
        try:
            next(train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run"))
        except RunError as error:
            failed.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    second()
    assert len(failed) == 2
    assert all(f"process {os.getpid()} on {platform.node()} (this process)" in text for text in failed)
    first.close()
    assert not [*(tmp_path / "run").glob(".*")]
    assert len([*train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")]) == 5
    assert not [*(tmp_path / "run").glob(".*")]


def test_the_lock_is_held_while_the_pictures_are_drawn(tmp_path, monkeypatch):
    refused = []

    def draw(folder, *_):
        with pytest.raises(RunError, match="in use"), locked(Path(folder)):
            pass
        refused.append(folder)

    monkeypatch.setattr("mlp_xp.api.draw_run", draw)
    list(train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run"))
    assert refused == [tmp_path / "run"]


@pytest.mark.parametrize(
    "content", [None, "", "12 ", "x y", "0 \x07", "1 2 3", "99999999999999999999 {host}", "{dead} {host}", "-7 \0"]
)
def test_a_lock_whose_holder_is_unknown_or_dead_names_nobody(content, tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with locked(tmp_path):
        (tmp_path / ".holder").unlink()
        if content is not None:
            (tmp_path / ".holder").write_text(content.format(host=platform.node(), dead=dead.pid))
        with pytest.raises(RunError) as caught, locked(tmp_path):
            pass
    assert str(caught.value) == (
        f"{str(tmp_path)!r}: is in use by another process; wait until it ends, or choose another folder"
    )
    with locked(tmp_path):
        pass
    assert not [*tmp_path.iterdir()]


def test_a_holder_on_another_host_is_named(tmp_path):
    with locked(tmp_path):
        (tmp_path / ".holder").write_text("41 elsewhere\n")
        with pytest.raises(RunError, match="process 41 on elsewhere;"), locked(tmp_path):
            pass


def test_the_refused_leave_the_lock_to_its_holder(tmp_path):
    """Neither the file of the lock nor of its holder is touched, however often."""
    with locked(tmp_path):
        before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.iterdir()}
        for _ in range(3):
            with pytest.raises(RunError), locked(tmp_path):
                pass
        assert {path.name: (path.stat().st_ino, path.read_bytes()) for path in tmp_path.iterdir()} == before
        assert sorted(before) == [".holder", ".lock"]


def test_a_folder_that_took_this_ones_name_keeps_its_own_lock(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder):
        folder.rename(tmp_path / "away")
        folder.mkdir()
        other = locked(folder)
        other.__enter__()
    assert sorted(path.name for path in folder.iterdir()) == [".holder", ".lock"]
    with pytest.raises(RunError), locked(folder):
        pass
    other.__exit__(None, None, None)


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOLCK, "No locks available"),
        OSError(errno.ENOSYS, "Not implemented"),
        NotImplementedError("none"),
    ],
)
def test_a_file_system_without_locks_gives_a_warning_and_trains(fault, tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise fault

    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.warns(MlpXpWarning, match=r"has no file locks \(.*\), so a second run in this folder is not refused"):
        reports = [*train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")]
    assert len(reports) == 5
    assert not [*(tmp_path / "run").glob(".*")]


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(FileError, match=r"\.lock': cannot lock: Permission denied; "), locked(tmp_path):
        pass


def test_the_lock_makes_no_folder_look_like_something_else(data_dir, tmp_path):
    """After a kill its files are left, in a folder where nothing else is yet."""
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".holder").write_text("1 elsewhere\n")
    run_folder.check_new(tmp_path, overwrite=False)
    assert call("train", "--data-dir", data_dir, "--run-dir", tmp_path, *options(small_settings())).code == 0
    assert not [*tmp_path.glob(".*")]
    assert len(metrics(tmp_path)) == 12


@pytest.mark.parametrize("kind", ["link", "FIFO", "link to a device", "folder"])
def test_a_strange_holder_file_neither_waits_nor_changes_another_file(kind, tmp_path):
    (tmp_path / "victim").write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    holder = folder / run_folder.HOLDER
    if kind == "FIFO":
        os.mkfifo(holder)
    elif kind == "folder":
        holder.mkdir()
    else:
        holder.symlink_to(tmp_path / "victim" if kind == "link" else "/dev/zero")
    if kind == "folder":
        with pytest.raises(FileError, match="holder"), locked(folder):
            pass
    else:
        with locked(folder):
            assert stat.S_ISREG(holder.lstat().st_mode)
            with pytest.raises(RunError, match=rf"in use by process {os.getpid()}"), locked(folder):
                pass
    assert (tmp_path / "victim").read_text() == "precious"
