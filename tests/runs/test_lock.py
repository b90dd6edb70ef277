"""One run at a time writes to a folder, in whatever process; the others are refused
before they read or write.
"""

import errno
import os
import platform
import signal
import sys
import threading
import uuid
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
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_pictures")
CONFIG = TrainConfig(epochs=2, hidden=(3,), report_every=100)


@pytest.mark.posix  # a process that is stopped
def test_a_second_process_is_refused_until_the_first_is_killed(data_dir, tmp_path):
    folder, settings = (
        tmp_path / "run",
        options(small_settings(epochs=10**6, checkpoint_every=150)),
    )
    process = start("train", "--data-dir", data_dir, "--run-dir", folder, *settings)
    try:
        wait_until((folder / "model.safetensors").exists, process)
        process.send_signal(signal.SIGSTOP)  # so its files stay as they are
        before = files(folder)
        again = [
            "--data-dir",
            data_dir,
            "--run-dir",
            folder,
            *options(small_settings(seed=1)),
        ]
        message = f"is in use by process {process.pid} on {platform.node()};"
        for arguments in (again, [*again, "--overwrite"], ["--resume", folder]):
            assert_one_line(call("train", *arguments), 2, f"'{folder}'", message)
        with pytest.raises(RunError, match=f"process {process.pid} on"):
            next(train(CONFIG, TINY, open_backend(), run_dir=folder))
        assert files(folder) == before
    finally:
        process.kill()
        finish(process)
    assert (folder / ".holder").read_text().split()[0] == str(process.pid)
    with (
        pytest.raises(RunError) as caught,
        RunFolder(folder).locked(),
        RunFolder(folder).locked(),
    ):
        pass
    assert f"process {os.getpid()} on {platform.node()} (this process)" in str(
        caught.value
    )
    assert not [*folder.glob(".*")], "what the killed process has left does no harm"


def test_two_generators_in_one_process_are_refused_until_the_first_is_closed(
    tmp_path, monkeypatch
):
    """And while its pictures are drawn."""
    failed = []

    def second(*_) -> list[Path]:
        with pytest.raises(RunError) as caught:
            next(train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run"))
        failed.append(str(caught.value))
        return []

    monkeypatch.setattr("mlp_xp.api.draw_run", second)
    first = train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")
    next(first)
    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    second()
    first.close()
    assert not [*(tmp_path / "run").glob(".*")]
    assert len([*train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")]) == 5
    assert len(failed) == 3
    assert all(
        f"process {os.getpid()} on {platform.node()} (this process)" in text
        for text in failed
    )
    assert not [*(tmp_path / "run").glob(".*")]


def test_a_lock_is_released_though_the_removal_of_its_files_is_interrupted(
    tmp_path, monkeypatch
):
    """The exception has frames that keep the lock alive: only a release ends it."""

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught, RunFolder(tmp_path).locked():
        monkeypatch.setattr(Path, "unlink", interrupted)
    monkeypatch.undo()
    assert caught.traceback
    with RunFolder(tmp_path).locked():
        pass


DEAD, HERE, NAME = 2**22 + 1, uuid.getnode(), platform.node()


@pytest.mark.parametrize(
    "content",
    [None, "1", "one 2 3", f"{2**80} {HERE} {NAME}", f"{DEAD} {HERE} {NAME}"],
    ids=["no file", "too short", "no number", "no process", "dead"],
)
def test_a_lock_whose_holder_is_unknown_or_dead_names_nobody(content, tmp_path):
    with RunFolder(tmp_path).locked():
        (tmp_path / ".holder").unlink()
        if content is not None:
            (tmp_path / ".holder").write_text(content)
        with (
            pytest.raises(
                RunError, match="is in use by another process; wait until it ends"
            ),
            RunFolder(tmp_path).locked(),
        ):
            pass
    with RunFolder(tmp_path).locked():
        pass
    assert not [*tmp_path.iterdir()]


def test_a_killed_process_is_known_though_the_name_of_a_mac_has_changed(
    tmp_path, monkeypatch
):
    (tmp_path / ".holder").write_text(f"{DEAD} {HERE} old-name")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert RunFolder(tmp_path).holder() is None


def test_a_holder_that_may_be_alive_is_named(tmp_path, monkeypatch):
    """One on another machine may be, because nothing here can tell. Containers of
    several machines may have the same address.
    """
    monkeypatch.setattr(sys, "platform", "linux")
    this, parent = os.getpid(), os.getppid() or 1
    for holder, named in (
        (f"{this} {HERE} {NAME}", f"process {this} on {NAME} (this process)"),
        (f"{parent} 1 {NAME}", f"process {parent} on {NAME}"),
        (f"{DEAD} 1 another 主机", f"process {DEAD} on another 主机"),
        (f"{this} {HERE} another", f"process {this} on another"),
        (f"{DEAD} {HERE} another", f"process {DEAD} on another"),
    ):
        (tmp_path / ".holder").write_bytes(f"{holder}\n".encode())
        assert RunFolder(tmp_path).holder() == named


REFUSALS = [
    OSError(number, os.strerror(number)) for number in (errno.ENOLCK, errno.ENOTSUP)
]


@pytest.mark.parametrize("fault", [*REFUSALS, NotImplementedError("none")])
def test_a_file_system_without_locks_gives_a_warning_and_trains(
    fault, tmp_path, monkeypatch
):
    def acquire(*_, **__):
        raise fault

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.warns(
        MlpXpWarning,
        match=r"has no file locks \(.*\), so a second run in this folder is not refused",
    ):
        assert (
            len([*train(CONFIG, TINY, open_backend(), run_dir=tmp_path / "run")]) == 5
        )
    assert not [*(tmp_path / "run").glob(".*")]
