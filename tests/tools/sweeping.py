"""Sweeps on TINY for tests: their options, members that are trained in this process,
and what must not change.
"""

import contextlib
import os
from concurrent.futures import Future
from pathlib import Path

import pytest
from helpers import assert_same_run, call, options, small_settings

from mlp_xp.runs.records import parse_settings
from mlp_xp.runs.settings import settings_of
from mlp_xp.sweeps._workers import Place
from mlp_xp.sweeps.member import Ending, Work, train_member

SMALL = {name: value for name, value in small_settings().items() if name != "hidden"}
# Diverges in the warm-up or at the first report.
TOO_FAST = "1e200"
# What every command writes anew.
ANEW = {"summary.csv", "summary.json", "curves.png", "heatmap.png"}


PARENT = os.getppid()


def train_inline(work: Work) -> Future[Ending]:
    """Train a member in this process, which is quicker than in others."""
    future: Future[Ending] = Future()
    future.set_result(train_member(work._replace(parent=PARENT)))
    return future


def inline(width: int) -> Place:
    return Place(train_inline, (), width)


def arguments(data_dir: Path, folder: Path, *more: object, **changes: object) -> list:
    """Return the options of a sweep on TINY; a change with the value None leaves the
    option out.
    """
    settings = {
        name: value for name, value in {**SMALL, **changes}.items() if value is not None
    }
    return ["--data-dir", data_dir, "--sweep-dir", folder, *options(settings), *more]


def run_of(folder: Path, name: str) -> Path:
    """Return the run folder of a member."""
    return folder / "members" / name


def assert_as_trained(folder: Path, place: Path, *names: str) -> None:
    """Assert that members are what `train` makes of the settings in their own
    config.json, in folders of its own.
    """
    for name in names:
        expected, config = place / name, run_of(folder, name) / "config.json"
        if not expected.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
                outcome = call("train", "--config", config, "--run-dir", expected)
            assert outcome.code == 0, outcome
        # `train` records the task that it found in the data.
        one, other = (
            settings_of(parse_settings(path)[0], {"task": None})
            for path in (config, expected / "config.json")
        )
        assert one == other
        assert_same_run(run_of(folder, name), expected)


def state_of_files(folder: Path) -> dict:
    """Return times and contents of all files but those that every command writes anew,
    and locks.
    """
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (*ANEW, ".lock", ".holder")
    ]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def reports_of(folder: Path, name: str) -> int:
    """Return how many reports a member has given."""
    with contextlib.suppress(FileNotFoundError):
        return (run_of(folder, name) / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def process_of(folder: Path, name: str) -> int | None:
    """Return the process that trains a member."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((run_of(folder, name) / ".holder").read_text().split()[0])
    return None
