"""--overwrite: whatever happens, the old run or the new run is whole.

The next command finds it.
"""

import errno
import os
import shutil
import stat
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from data_sets import TINY
from helpers import (
    assert_one_line,
    assert_same_run,
    call,
    files,
    killed_at,
    output_of,
    record_run,
    small_settings,
)

from mlp_xp import TrainConfig, open_backend
from mlp_xp.errors import MlpXpWarning
from mlp_xp.runs import _replacing as replacing
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.names import CHECKPOINT, CONFIG, MODEL, RESULT
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import Settings, settings_of

pytestmark = [
    pytest.mark.usefixtures("no_pictures"),
    pytest.mark.filterwarnings("ignore:.*stopped before its first checkpoint"),
]
CONFIG_OF_OLD = TrainConfig(epochs=1, hidden=(3,), batch_size=50, report_every=100)
OLD = Settings(train=CONFIG_OF_OLD)
NEW = settings_of(OLD, {"hidden": (2,), "checkpoint_every": 150})


class Runs(NamedTuple):
    """An old run, and the new run, undisturbed.

    The folder of the old run has a picture and a file of the user's.
    """

    old: Path
    new: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    runs = Runs(folder / "old", folder / "new")
    record_run(runs.old, OLD, TINY, open_backend())
    for name in ("curves.png", "notes.txt"):
        (runs.old / name).write_text("old")
    record_run(runs.new, NEW, TINY, open_backend())
    return runs


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_between_any_two_operations_the_old_or_the_new_run_is_whole(
    step, runs, tmp_path
):
    found, replaced = [], 0
    for number in range(0, 10**6, step):
        folder = shutil.copytree(runs.old, tmp_path / str(number))
        with killed_at(number) as done:
            record_run(folder, NEW, TINY, open_backend(), overwrite=True)
        if len(done) < number:  # it came to its end
            break
        if (folder / ".replaced").exists():
            replaced += 1
            again = range(0, 10**6, 3 * step) if number % 3 == 0 else ()
            check_while_it_is_replaced(folder, runs, again)
        found.append(old_or_new(folder, runs))
        if found[-1] == "new" and number % 4 == 0:
            check_it_goes_on(folder, runs)
    assert found == sorted(found, reverse=True), "up to an operation the old one"
    assert found.count("old") > 10 // step
    assert replaced > 20 // step


def old_or_new(folder: Path, runs: Runs) -> str:
    """Return `old` or `new`, the run found by the next command. It must be whole."""
    with (
        warnings.catch_warnings(action="ignore", category=MlpXpWarning),
        RunFolder(folder).opened(),
    ):
        settings = RunFolder(folder).settings()
    left = {path.name for path in folder.iterdir()}
    assert not left & {".replaced", ".lock", ".holder"}
    if settings == RunFolder(runs.old).settings():
        assert files(folder) == files(runs.old)
        return "old"
    # a killed write leaves a file
    visible = {name for name in left if not name.startswith(".")}
    later = {RESULT, MODEL}  # than the first checkpoint
    assert visible - later == {*files(runs.new), "notes.txt"} - later
    if MODEL in visible:
        assert load_run(folder).network[0].weights.shape == (36, 2)
    return "new"


def check_while_it_is_replaced(folder: Path, runs: Runs, again: Iterable[int]) -> None:
    """Check a run whose replacement was killed.

    At the operations `again`, the next command is killed as well.
    """
    saved = files(folder).get(CHECKPOINT)
    expected = "old"
    if saved is None:
        with pytest.raises(RunError):
            RunFolder(folder).settings()
    else:
        RunFolder(folder).settings()
        if saved != files(runs.old)[CHECKPOINT]:
            expected = "new"
    for number in again:
        twice = shutil.copytree(folder, folder.with_name(f"{folder.name}-{number}"))
        with killed_at(number) as done, RunFolder(twice).opened():
            pass
        assert old_or_new(twice, runs) == expected
        if len(done) < number:
            break


def check_it_goes_on(folder: Path, runs: Runs) -> None:
    record_run(folder, NEW, TINY, open_backend())
    assert_same_run(folder, runs.new)
    assert files(folder).keys() == {*files(runs.new), "notes.txt"}


def test_no_file_of_the_new_run_is_left_beside_the_old_one(tmp_path):
    """Though the old run lacks some of them: it has neither reports nor rows."""
    names = (CONFIG, CHECKPOINT, "curves.png")
    for name in names:
        (tmp_path / name).write_text("old")
    replacing.begin(tmp_path)
    for name in (CONFIG, "rows.safetensors", "metrics.jsonl"):
        (tmp_path / name).write_text("new")
    replacing.settle(tmp_path)
    assert files(tmp_path) == dict.fromkeys(names, b"old")
    replacing.settle(tmp_path)


# The command.


def test_a_run_that_is_being_replaced_is_told_and_resumed_as_it_was(
    small_run, tmp_path
):
    folder = shutil.copytree(small_run, tmp_path / "run")
    (folder / ".replaced").mkdir()
    for name in (CHECKPOINT, MODEL, RESULT):
        (folder / name).rename(folder / ".replaced" / name)
    said = "is being replaced by a run that has no checkpoint yet"
    assert_one_line(call("evaluate", folder), 2, said)
    output_of("train --resume", folder)
    assert_same_run(folder, small_run)
    assert not [*folder.glob(".*")]


@pytest.mark.posix  # it syncs folders
@pytest.mark.parametrize("full", [False, True])
def test_a_run_that_stops_before_its_first_checkpoint_leaves_the_old_run(
    full, small_run, data_dir, tmp_path, monkeypatch
):
    """full: names in folders can still be changed.

    Otherwise nothing can, and the next command brings the run back.
    """
    folder = shutil.copytree(small_run, tmp_path / "run")
    kept, sync = folder / ".replaced" / CHECKPOINT, os.fsync

    def fail(number):
        is_folder = stat.S_ISDIR(os.fstat(number).st_mode)
        if kept.exists() and not (full and is_folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        return sync(number)

    settings = small_settings(hidden=[3], data_dir=data_dir, run_dir=folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        outcome = call("train --overwrite", **settings)
    said = "is as it was\n" if full else ".replaced'; resuming brings it back\n"
    assert_one_line(outcome, 1, "No space left", said)
    assert kept.exists() != full
    assert old_or_new(folder, Runs(small_run, folder)) == "old"
