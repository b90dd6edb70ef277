"""--overwrite: whatever happens and whenever, the old run or the new one is whole, and the next command finds it."""

import errno
import io
import json
import os
import re
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from data_sets import TINY
from helpers import assert_one_line, assert_same_run, call, finish, options, small_settings, start, wait_until

from mlp_xp.api import train
from mlp_xp.backend import open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs import checkpoints, recording, replacing, run_folder
from mlp_xp.runs.run_folder import RunError
from mlp_xp.runs.settings import Settings

pytestmark = pytest.mark.usefixtures("no_pictures")
OLD = Settings(train=TrainConfig(epochs=1, hidden=(3,), batch_size=50, report_every=100))
NEW = Settings(train=TrainConfig(epochs=1, hidden=(2,), batch_size=50, report_every=100, checkpoint_every=150))
OPERATIONS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open")


class Killed(BaseException):
    """The process is gone: no operation on files succeeds any more, whoever tries."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[str]]:
    """Let operation `number` and all later ones raise Killed; the list receives the names of those before it."""
    done: list[str] = []

    def dying(name: str, original: Callable) -> Callable:
        def operation(*args, **kwargs):
            if len(done) >= number:
                raise Killed
            done.append(name)
            return None if name == "fsync" else original(*args, **kwargs)

        return operation

    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, dying(name, getattr(os, name)))
        patch.setattr(io, "open", dying("io.open", io.open))
        with suppress(Killed):
            yield done


def record(folder: Path, settings: Settings, *, overwrite: bool = False) -> None:
    """Train in the folder, as the command does, and as the library does."""
    backend = open_backend()
    recording.check_run(settings, TINY, backend)
    with recording.open_folder(folder, existing=True):
        for _ in recording.train_in_folder(folder, settings, TINY, backend, overwrite=overwrite):
            pass


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """An old run with a picture, event files and a file of the user's in its folder, and the new one, undisturbed."""
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "old", OLD)
    for name in ("curves.png", "events.out.tfevents.1.host", "notes.txt"):
        (folder / "old" / name).write_text("old")
    record(folder / "new", NEW)
    return folder / "old", folder / "new"


def assert_old_or_new(folder: Path, runs: tuple[Path, Path], *, finish: bool = False) -> str:
    """One of the runs is there for the next command, whole; return which. finish: also train the new one to its end."""
    old, new = runs
    with warnings.catch_warnings(action="ignore", category=MlpXpWarning), recording.open_folder(folder, existing=True):
        settings, _ = run_folder.read_config(folder)
    assert not [name for name in (".new", ".ready", ".lock", ".holder") if (folder / name).exists()]
    if settings.train == OLD.train:
        assert files(folder) == files(old)
        return "old"
    assert {*visible(folder)} - {"result.json"} == {*files(new), "notes.txt"} - {"result.json"}, "no old file is left"
    assert checkpoints.load_model(folder).network[0].weights.shape == (36, 2)
    assert [*checkpoints.read_tensors(folder / "checkpoint.safetensors")[0]]
    if finish:
        record(folder, NEW)
        assert_same_run(folder, new)
        assert {*files(folder)} == {*files(new), "notes.txt"}
    return "new"


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_killed_between_any_two_operations_the_old_or_the_new_run_is_whole(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a kill loses nothing that was written
    found, ready = [], []
    for number in range(10**6):
        folder = shutil.copytree(runs[0], tmp_path / str(number))
        with killed_at(monkeypatch, number) as done:
            record(folder, NEW, overwrite=True)
        if len(done) < number:  # it came to its end
            break
        if (folder / ".ready").exists():
            ready.append(number)
            with pytest.raises(RunError, match="is being replaced by a new one"):
                run_folder.read_config(folder)
            for again in range(10**6):  # the next command may be killed as well, anywhere
                twice = shutil.copytree(folder, tmp_path / f"{number}-{again}")
                with killed_at(monkeypatch, again) as done, recording.open_folder(twice, existing=True):
                    pass
                assert assert_old_or_new(twice, runs) == "new"
                if len(done) < again:
                    break
        elif (folder / ".new").exists():
            assert visible(folder) == files(runs[0])
        found.append(assert_old_or_new(folder, runs, finish=True))
    assert found == sorted(found, reverse=True), "first the old one, from one operation on the new one"
    assert found.count("old") > 10
    assert len(ready) > 8


def test_two_that_are_killed_early_leave_the_first_run(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for first in (8, 13):
        for second in range(5, 30, 4):
            folder = shutil.copytree(runs[0], tmp_path / f"{first}-{second}")
            other = replace(NEW, train=replace(NEW.train, seed=5))
            with killed_at(monkeypatch, first):
                record(folder, NEW, overwrite=True)
            with killed_at(monkeypatch, second) as done:
                record(folder, other, overwrite=True)
            assert "rename" not in done
            assert assert_old_or_new(folder, runs) == "old"


# The command.


@pytest.fixture(scope="module")
def old(data_dir, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert call("train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings())).code == 0
    return folder


def overwriting(data_dir: Path, folder: Path, **changes) -> list:
    settings = small_settings(hidden=[3], epochs=2, **changes)
    return ["--data-dir", data_dir, "--run-dir", folder, "--overwrite", *options(settings)]


def test_killed_for_good_before_its_first_checkpoint_the_old_run_is_there(old, data_dir, tmp_path):
    """Twice; and the run that is resumed then is the old one."""
    folder = shutil.copytree(old, tmp_path / "run")
    slow = ["--epochs", "1", "--hidden", "2000", "2000"]
    forever = [*overwriting(data_dir, folder, checkpoint_every=0, report_every=1), *slow]
    for _ in range(2):
        process = start("train", *forever)
        wait_until((folder / ".new" / "metrics.jsonl").exists, process)
        process.kill()
        assert finish(process).code == -signal.SIGKILL
        assert visible(folder) == files(old)
    outcome = call("train", "--resume", folder)
    assert outcome.code == 0
    assert re.fullmatch("warning: .*stopped before its first checkpoint.*the old run is as it was\n", outcome.err)
    assert_same_run(folder, old)
    assert not [*folder.glob(".*")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_warm_up_leaves_the_old_run_and_says_so(number, old, data_dir, tmp_path, monkeypatch):
    folder = shutil.copytree(old, tmp_path / "run")

    def create_and_interrupt(*args, create=run_folder.create_run):
        create(*args)
        signal.raise_signal(number)

    monkeypatch.setattr(run_folder, "create_run", create_and_interrupt)
    outcome = call("train", *overwriting(data_dir, folder))
    assert_one_line(outcome, 128 + number, "in the warm-up", f"the old run in {str(folder)!r} is as it was")
    assert "--resume" not in outcome.err
    assert files(folder) == files(old)


def fail_with(error: BaseException) -> Callable:
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("name", "error", "code", "text"),
    [
        ("append_metrics", None, 1, "the old run in"),
        ("append_metrics", KeyboardInterrupt(), 130, "interrupted"),
        ("append_metrics", MemoryError("no more"), 2, "out of memory"),
    ],
)
def test_an_error_before_the_first_checkpoint_leaves_the_old_run(
    name, error, code, text, old, data_dir, tmp_path, monkeypatch
):
    folder = shutil.copytree(old, tmp_path / "run")
    with monkeypatch.context() as patch:
        if error is None:
            fsync = os.fsync

            def full(descriptor):
                if Path(f"/proc/self/fd/{descriptor}").readlink().name == "metrics.jsonl":
                    raise OSError(errno.ENOSPC, "No space left on device")
                fsync(descriptor)

            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(run_folder, name, fail_with(error))
        outcome = call("train", *overwriting(data_dir, folder))
    assert_one_line(outcome, code, text)
    assert "--resume" not in outcome.err
    assert files(folder) == files(old)


def test_a_programming_error_too(old, data_dir, tmp_path, monkeypatch):
    folder = shutil.copytree(old, tmp_path / "run")
    monkeypatch.setattr(checkpoints, "save_model", fail_with(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        call("train", *overwriting(data_dir, folder))
    assert files(folder) == files(old)


def test_a_network_that_does_not_fit_in_memory_leaves_the_old_run(old, data_dir, tmp_path):
    folder = shutil.copytree(old, tmp_path / "run")
    arguments = ["--data-dir", data_dir, "--run-dir", folder, "--overwrite", "--hidden", "1000000000000"]
    assert_one_line(call("train", *arguments), 2)
    assert files(folder) == files(old)


def test_a_run_that_diverges_before_its_first_checkpoint_leaves_the_old_one(old, data_dir, tmp_path):
    folder = shutil.copytree(old, tmp_path / "run")
    outcome = call("train", *overwriting(data_dir, folder, learning_rate=1e200))
    assert_one_line(outcome, 1, "diverged", f"the old run in {str(folder)!r} is as it was")
    assert files(folder) == files(old)


def test_what_is_interrupted_before_a_checkpoint_of_its_own_leaves_the_old_run(old, data_dir, tmp_path, monkeypatch):
    folder = shutil.copytree(old, tmp_path / "run")

    def append_and_interrupt(*args, append=run_folder.append_metrics):
        append(*args)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_metrics", append_and_interrupt)
        outcome = call("train", *overwriting(data_dir, folder, checkpoint_every=0))
    assert_one_line(outcome, 143, "interrupted in epoch 0, after 1 samples", f"{str(folder)!r} is as it was")
    assert files(folder) == files(old)


def test_event_files_are_those_of_the_new_run(old, data_dir, tmp_path, monkeypatch):
    """Its first checkpoint is the last: until then the old run's are there."""
    folder, written = shutil.copytree(old, tmp_path / "run"), []

    def make():
        return lambda folder: written.append(len(run_folder.read_metrics(folder)))

    monkeypatch.setattr("mlp_xp.commands.training.make_event_writer", make)
    assert call("train", *overwriting(data_dir, folder, checkpoint_every=0), "--tensorboard").code == 0
    assert written == [5, 6, 7, 8, 8], "from the checkpoint at the end of the first epoch on"


# Runs that cannot be resumed.


@pytest.mark.parametrize("lost", [["result.json"], ["model.safetensors"], ["model.safetensors", "metrics.jsonl"]])
def test_a_run_that_lost_its_checkpoint_is_not_started_over(lost, old, tmp_path):
    folder = shutil.copytree(old, tmp_path / "run")
    for name in ("checkpoint.safetensors", *lost):
        (folder / name).unlink()
    before = files(folder)
    left = "model.safetensors" if lost == ["result.json"] else "result.json"
    outcome = call("train", "--resume", folder)
    assert_one_line(outcome, 2, repr(str(folder)), f"has {left} but no checkpoint.safetensors", "restore")
    assert files(folder) == before


def test_the_library_does_not_start_over_such_a_run_either_nor_one_with_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.api.draw_run", lambda *_: [])
    folder, backend = tmp_path / "run", open_backend()
    list(train(OLD.train, TINY, backend, run_dir=folder))
    (folder / "checkpoint.safetensors").unlink()
    before = files(folder)
    with pytest.raises(RunError, match=r"has result\.json but no checkpoint\.safetensors"):
        next(train(OLD.train, TINY, backend, run_dir=folder))
    for name in ("result.json", "model.safetensors"):
        (folder / name).unlink()
    before = files(folder)
    with pytest.raises(RunError, match=r"config\.json': the run was made with hidden \[3\], but .* has \[2\]"):
        next(train(NEW.train, TINY, backend, run_dir=folder))
    with pytest.raises(RunError, match="data_crc32"):
        next(train(OLD.train, TINY._replace(test_labels=TINY.test_labels[::-1].copy()), backend, run_dir=folder))
    assert files(folder) == before


def test_a_folder_is_not_made_for_data_that_cannot_be_trained_on(tmp_path):
    bad = TINY._replace(train_labels=TINY.train_labels + 9)
    with pytest.raises(Exception, match="train_labels"):
        next(train(OLD.train, bad, open_backend(), run_dir=tmp_path / "run"))
    with pytest.raises(Exception, match="batch_size"):
        next(train(TrainConfig(batch_size=201), TINY, open_backend(), run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_overwrite_where_nothing_is_writes_a_run(old, data_dir, tmp_path):
    outcome = call("train", *overwriting(data_dir, tmp_path / "run"))
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["hidden"] == [3]
    assert replacing.current(tmp_path / "run") == tmp_path / "run"


# Folders from anybody's hand.


@pytest.mark.parametrize("name", [".new", ".ready"])
@pytest.mark.parametrize(
    "kind", ["link to a folder", "link to a new run", "link to itself", "dead link", "file", "something else in it"]
)
def test_what_has_the_name_of_a_replacement_but_is_none_is_refused(name, kind, old, data_dir, tmp_path):
    folder, other = shutil.copytree(old, tmp_path / "run"), shutil.copytree(old, tmp_path / "other")
    place = folder / name
    if kind == "file":
        place.write_text("precious")
    elif kind == "something else in it":
        place.mkdir()
        (place / "precious").write_text("precious")
    else:
        new = tmp_path / "new"
        new.mkdir()
        for file in run_folder.RUN_FILES:
            shutil.copy(old / file, new)
        targets = {"link to a folder": other, "link to a new run": new, "link to itself": ".", "dead link": "nowhere"}
        place.symlink_to(targets[kind])
    before = {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}
    for arguments in (["--resume", folder], overwriting(data_dir, folder)):
        assert_one_line(call("train", *arguments), 2, name, "move it away")
    assert {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()} == before
    assert files(other) == files(old)


def test_an_empty_ready_folder_costs_no_result(old, tmp_path):
    folder = shutil.copytree(old, tmp_path / "run")
    (folder / ".ready").mkdir()
    assert call("train", "--resume", folder).code == 0
    assert (folder / "result.json").exists()
    assert not (folder / ".ready").exists()


@pytest.mark.parametrize("config", ["{}", '{"architectures": ["Bert"]}', "not JSON"])
def test_a_folder_of_another_program_is_not_overwritten(config, data_dir, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config)
    (tmp_path / "run" / "model.safetensors").write_text("precious")
    assert_one_line(call("train", *overwriting(data_dir, tmp_path / "run")), 2, "config.json")
    assert (tmp_path / "run" / "config.json").read_text() == config
    assert (tmp_path / "run" / "model.safetensors").read_text() == "precious"


@pytest.mark.parametrize("name", ["curves.png", "result.json", "model.safetensors", "metrics.jsonl"])
def test_a_folder_in_place_of_a_file_is_found_before_anything_is_replaced(name, old, data_dir, tmp_path):
    folder = shutil.copytree(old, tmp_path / "run")
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    before = {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}
    assert_one_line(call("train", *overwriting(data_dir, folder)), 2, name, "is a folder")
    assert {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()} == before
