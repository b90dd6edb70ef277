"""--overwrite: whatever happens and whenever, the old run or the new one is whole, and
the next command finds it.
"""

import errno
import os
import shutil
import stat
import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
from data_sets import TINY
from helpers import (
    assert_one_line,
    assert_same_run,
    call,
    files,
    killed_at,
    options,
    record_run,
    small_settings,
)

from mlp_xp import TrainConfig, open_backend
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs import _replacing as replacing
from mlp_xp.runs.names import CHECKPOINT
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder, load_run
from mlp_xp.runs.settings import Settings

pytestmark = [
    pytest.mark.usefixtures("no_pictures"),
    pytest.mark.filterwarnings("ignore:.*stopped before its first checkpoint"),
]
OLD = Settings(
    train=TrainConfig(epochs=1, hidden=(3,), batch_size=50, report_every=100)
)
NEW = Settings(
    train=TrainConfig(
        epochs=1, hidden=(2,), batch_size=50, report_every=100, checkpoint_every=150
    )
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """An old run with a picture and a file of the user's in its folder, and the new
    one, undisturbed.
    """
    folder = tmp_path_factory.mktemp("runs")
    record_run(folder / "old", OLD, TINY, open_backend())
    for name in ("curves.png", "notes.txt"):
        (folder / "old" / name).write_text("old")
    record_run(folder / "new", NEW, TINY, open_backend())
    return folder / "old", folder / "new"


def old_or_new(folder: Path, runs: tuple[Path, Path], *, finish: bool = False) -> str:
    """Assert that one of the runs is there for the next command, whole, and return
    which.

    finish: also train the new one to its end.
    """
    old, new = runs
    with (
        warnings.catch_warnings(action="ignore", category=MlpXpWarning),
        RunFolder(folder).opened(),
    ):
        settings = RunFolder(folder).settings()
    assert not [
        name for name in (".replaced", ".lock", ".holder") if (folder / name).exists()
    ]
    if settings == RunFolder(old).settings():
        assert files(folder) == files(old)
        return "old"
    # a write that was killed leaves a file
    visible = {name for name in files(folder) if not name.startswith(".")}
    later = {"result.json", "model.safetensors"}  # than the first checkpoint
    assert visible - later == {*files(new), "notes.txt"} - later, "no old file is left"
    if (folder / "model.safetensors").exists():
        assert load_run(folder).network[0].weights.shape == (36, 2)
    if finish:
        record_run(folder, NEW, TINY, open_backend())
        assert_same_run(folder, new)
        assert {*files(folder)} == {*files(new), "notes.txt"}
    return "new"


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_between_any_two_operations_the_old_or_the_new_run_is_whole(
    step, runs, tmp_path
):
    found, aside = [], []
    for number in range(0, 10**6, step):
        folder = shutil.copytree(runs[0], tmp_path / str(number))
        with killed_at(number) as done:
            record_run(folder, NEW, TINY, open_backend(), overwrite=True)
        if len(done) < number:  # it came to its end
            break
        if (folder / ".replaced").exists():
            aside.append(number)
            saved = files(folder).get("checkpoint.safetensors")
            is_new = saved not in (None, files(runs[0])["checkpoint.safetensors"])
            with (
                nullcontext()
                if saved
                else pytest.raises(RunError, match="is being replaced by a new run")
            ):
                RunFolder(folder).settings()
            # The next command may be killed as well, anywhere.
            for again in range(0, 10**6 if number % 3 == 0 else 0, 3 * step):
                twice = shutil.copytree(folder, tmp_path / f"{number}-{again}")
                with killed_at(again) as done, RunFolder(twice).opened():
                    pass
                assert old_or_new(twice, runs) == ("new" if is_new else "old")
                if len(done) < again:
                    break
        found.append(old_or_new(folder, runs, finish=number % 4 == 0))
    assert found == sorted(found, reverse=True), (
        "first the old one, from one operation on the new one"
    )
    assert found.count("old") > 10 // step
    assert len(aside) > 20 // step


def test_no_file_of_the_new_run_is_left_beside_the_old_one(tmp_path):
    """Which lacks some of them: this one has neither reports nor rows."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", CHECKPOINT, "curves.png"):
        (folder / name).write_text("old")
    replacing.begin(folder)
    for name in ("config.json", "rows.safetensors", "metrics.jsonl"):
        (folder / name).write_text("new")
    replacing.settle(folder)
    assert files(folder) == dict.fromkeys(
        ("config.json", CHECKPOINT, "curves.png"), b"old"
    )
    replacing.settle(folder)


# The command.


def test_what_was_killed_before_its_first_checkpoint_is_told(small_run, tmp_path):
    """And the run that is resumed then is the old one."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    (folder / ".replaced").mkdir()
    for name in ("checkpoint.safetensors", "model.safetensors", "result.json"):
        (folder / name).rename(folder / ".replaced" / name)
    assert_one_line(
        call("evaluate", folder),
        2,
        "is being replaced by a new run, which has no checkpoint yet",
    )
    outcome = call("train", "--resume", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert_same_run(folder, small_run)
    assert not [*folder.glob(".*")]


@pytest.mark.posix  # which syncs folders
@pytest.mark.parametrize("full", [False, True])
def test_what_stops_before_the_first_checkpoint_leaves_the_old_run(
    full, small_run, data_dir, tmp_path, monkeypatch
):
    """full: names in folders can still be changed. Otherwise nothing can, and the next
    command brings the run back.
    """
    sync = os.fsync

    def fail(number):
        if (full and stat.S_ISDIR(os.fstat(number).st_mode)) or not (
            folder / ".replaced" / CHECKPOINT
        ).exists():
            return sync(number)
        raise OSError(errno.ENOSPC, "No space left on device")

    folder, settings = (
        shutil.copytree(small_run, tmp_path / "run"),
        small_settings(hidden=[3], epochs=2),
    )
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        outcome = call(
            "train",
            "--data-dir",
            data_dir,
            "--run-dir",
            folder,
            "--overwrite",
            *options(settings),
        )
    kept = "is as it was\n" if full else ".replaced'; --resume brings it back\n"
    assert_one_line(outcome, 1, "No space left", kept)
    assert (folder / ".replaced").exists() != full
    assert old_or_new(folder, (small_run, folder)) == "old"
