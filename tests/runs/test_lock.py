"""One run at a time writes to a folder.

The others are refused before they read or write.
"""

import errno
import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
from data_sets import TINY
from helpers import (
    assert_one_line,
    call,
    files,
    finish,
    options,
    small_settings,
    start,
    wait_until,
)

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.core.training import Report
from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import locked_folder
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_pictures")
THIS, PARENT, DEAD = os.getpid(), os.getppid() or 1, 2**22 + 1  # processes
HERE, NAME = uuid.getnode(), platform.node()
THIS_PROCESS = rf"process {THIS} on {NAME} \(this process\)"


def reports_in(folder: Path) -> Iterator[Report]:
    """Train five reports in a folder."""
    config = TrainConfig(epochs=2, hidden=(3,), report_every=100)
    return train(config, TINY, open_backend(), run_dir=folder)


@pytest.mark.posix  # a stopped process
def test_a_second_process_is_refused_until_the_first_is_killed(data_dir, tmp_path):
    folder = tmp_path / "run"
    common = {"data_dir": data_dir, "run_dir": folder}
    endless = small_settings(epochs=10**6, checkpoint_every=150, **common)
    process = start("train", *options(endless))
    try:
        wait_until((folder / "model.safetensors").exists, process)
        process.send_signal(signal.SIGSTOP)  # so its files stay as they are
        before = files(folder)
        user = f"'{folder}': is in use by process {process.pid} on {NAME};"
        other = options(small_settings(seed=1, **common))
        for words in (other, [*other, "--overwrite"], ["--resume", folder]):
            assert_one_line(call("train", *words), 2, user)
        with pytest.raises(RunError, match=f"process {process.pid} on"):
            next(reports_in(folder))
        assert files(folder) == before
    finally:
        process.kill()
        finish(process)
    assert (folder / ".holder").read_text().split()[0] == str(process.pid)
    with RunFolder(folder).locked():
        pass
    assert not [*folder.glob(".*")], "the files of the killed process do no harm"


def test_a_second_generator_in_the_process_is_refused_until_the_first_is_closed(
    tmp_path,
):
    def second() -> None:
        with pytest.raises(RunError, match=THIS_PROCESS):
            next(reports_in(tmp_path / "run"))
        refused.append(threading.current_thread())

    refused = []
    first = reports_in(tmp_path / "run")
    next(first)
    second()
    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert refused == [threading.current_thread(), thread]
    first.close()
    assert not [*(tmp_path / "run").glob(".*")]
    assert len([*reports_in(tmp_path / "run")]) == 5


def test_the_lock_is_held_while_pictures_are_drawn(tmp_path, monkeypatch):
    def draw(*_) -> list[Path]:
        with pytest.raises(RunError, match=THIS_PROCESS):
            next(reports_in(tmp_path))
        drawn.append(True)
        return []

    drawn = []
    monkeypatch.setattr("mlp_xp.show.gallery.draw_run", draw)
    assert len([*reports_in(tmp_path)]) == 5
    assert drawn == [True]
    assert not [*tmp_path.glob(".*")]


def test_a_lock_is_released_though_the_removal_of_its_files_is_interrupted(
    tmp_path, monkeypatch
):
    """The frames of the exception keep the lock alive: only a release ends it."""

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, RunFolder(tmp_path).locked():
        monkeypatch.setattr(Path, "unlink", interrupted)
    monkeypatch.undo()
    assert caught.traceback
    with RunFolder(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_locked_is_not_left(tmp_path, monkeypatch):
    def refuse(self, wait):
        raise FileError("no lock")

    monkeypatch.setattr(RunFolder, "_acquire", refuse)
    with pytest.raises(FileError), RunFolder(tmp_path / "run").locked():
        pass
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "fault",
    [OSError(errno.ENOLCK, ""), OSError(errno.ENOTSUP, ""), NotImplementedError()],
)
def test_a_file_system_without_locks_gives_a_warning_and_trains(
    fault, tmp_path, monkeypatch
):
    def acquire(*_, **__):
        raise fault

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    said = r"has no file locks \(.*\), so a second run in this folder is not refused"
    with pytest.warns(MlpXpWarning, match=said) as told:
        assert len([*reports_in(tmp_path)]) == 5
    # its caller, not the library of `with`
    assert told[0].filename == reports_in.__code__.co_filename
    assert not [*tmp_path.glob(".*")]


def test_a_network_that_fails_on_windows_is_not_a_file_system_without_locks(
    tmp_path, monkeypatch
):
    """Python calls both EINVAL. Without a lock, two runs would share a folder."""
    error = OSError(errno.EINVAL, "An unexpected network error occurred")
    error.winerror = 59

    def acquire(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    monkeypatch.setattr(locked_folder, "WINDOWS", True)
    with pytest.raises(FileError, match="cannot lock"), RunFolder(tmp_path).locked():
        pass


# Who holds it.


@pytest.mark.parametrize(
    "content",
    [None, "1", "one 2 3", f"{2**80} {HERE} {NAME}", f"{DEAD} {HERE} {NAME}"],
    ids=["no file", "too short", "no number", "no process", "dead"],
)
def test_a_holder_that_is_unknown_or_dead_is_not_named(content, tmp_path):
    with RunFolder(tmp_path).locked():
        (tmp_path / ".holder").unlink()
        if content is not None:
            (tmp_path / ".holder").write_text(content)
        with (
            pytest.raises(RunError, match="is in use by another process; wait until"),
            RunFolder(tmp_path).locked(),
        ):
            pass
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("process", "address", "name", "more"),
    [
        (THIS, HERE, NAME, " (this process)"),
        (PARENT, 1, NAME, ""),
        # on another machine, even in a container with the same address
        (DEAD, 1, "another 主机", ""),
        (THIS, HERE, "another", ""),
        (DEAD, HERE, "another", ""),
    ],
    ids=["this", "parent", "elsewhere", "same number", "same address"],
)
def test_a_holder_that_may_be_alive_is_named(
    process, address, name, more, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / ".holder").write_bytes(f"{process} {address} {name}\n".encode())
    assert RunFolder(tmp_path).holder() == f"process {process} on {name}{more}"


def test_a_killed_process_is_known_though_the_name_of_a_mac_has_changed(
    tmp_path, monkeypatch
):
    (tmp_path / ".holder").write_text(f"{DEAD} {HERE} old-name")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert RunFolder(tmp_path).holder() is None
