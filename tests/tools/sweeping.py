"""Sweeps on TINY for tests.

Their options, members trained in this process, and files without a change.
"""

import contextlib
import os
from concurrent.futures import Future
from pathlib import Path

import pytest
from helpers import (
    Outcome,
    assert_same_run,
    call,
    options,
    output_of,
    small_settings,
)

from mlp_xp.runs.records import parse_settings
from mlp_xp.runs.settings import Settings, settings_of
from mlp_xp.sweeps._workers import Workers
from mlp_xp.sweeps.member import Ending, Work, train_member

SMALL = {name: value for name, value in small_settings().items() if name != "hidden"}
# Eight members: four good ones, and four that diverge in the warm-up or at the first
# report. The settings vary in the order of the fields: learning rate, hidden, seed.
WORDS = "--hidden 4 5,3 --learning-rate 0.05 1e200 --seed 0..1"
GOOD, BAD = ("0000", "0001", "0002", "0003"), ("0004", "0005", "0006", "0007")
# Written anew by every command.
ANEW = {"summary.csv", "summary.json", "curves.png"}
PARENT = os.getppid()


def train_inline(work: Work) -> Future[Ending]:
    """Train a member in this process: this is quicker."""
    future: Future[Ending] = Future()
    future.set_result(train_member(work._replace(parent=PARENT)))
    return future


def inline(width: int) -> Workers:
    return Workers(train_inline, (), width)


def arguments(data_dir: Path, folder: Path, more: str, **changes: object) -> list[str]:
    """Return the options of a sweep on TINY.

    more: further words. changes: settings of all members; None leaves an option out.
    """
    places = {"data_dir": data_dir, "sweep_dir": folder}
    settings = {**places, **SMALL, **changes}
    given = {name: value for name, value in settings.items() if value is not None}
    return [*options(given), *more.split()]


def sweep(data_dir: Path, folder: Path, more: str, **changes: object) -> Outcome:
    """Run the command `sweep` with these options in this process."""
    return call("sweep", *arguments(data_dir, folder, more, **changes))


def run_of(folder: Path, name: str) -> Path:
    """Return the run folder of a member."""
    return folder / "members" / name


def assert_as_trained(folder: Path, place: Path, *names: str) -> None:
    """Assert that `train` makes the same runs as the members.

    It trains with the settings in their own config.json, in other folders.
    """
    for name in names:
        expected, config = place / name, run_of(folder, name) / "config.json"
        if not expected.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("mlp_xp.show.gallery.draw_run", lambda *_: [])
                output_of("train", config=config, run_dir=expected)
        assert taskless(config) == taskless(expected / "config.json")
        assert_same_run(run_of(folder, name), expected)


def taskless(config: Path) -> Settings:
    """Return settings without the task: `train` records the task of the data."""
    return settings_of(parse_settings(config), {"task": None})


def state_of_files(folder: Path) -> dict:
    """Return times and contents of all files except ANEW and locks."""
    others = (*ANEW, ".lock", ".holder")
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name not in others
    }


def reports_of(folder: Path, name: str) -> int:
    """Return how many reports a member has given."""
    with contextlib.suppress(FileNotFoundError):
        return (run_of(folder, name) / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def process_of(folder: Path, name: str) -> int | None:
    """Return the process of a member."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((run_of(folder, name) / ".holder").read_text().split()[0])
    return None
