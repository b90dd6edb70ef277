"""Training that ends early, by signals, kills, full disks, folders that go away:
nothing that was saved is lost.
"""

import errno
import itertools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from helpers import (
    Outcome,
    assert_one_line,
    assert_same_run,
    call,
    die_at,
    finish,
    metrics,
    not_ignored,
    on_a_terminal,
    options,
    small_settings,
    start,
    wait_until,
    without_times,
)
from safetensors.numpy import load_file

from mlp_xp.api import train
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands.stopping import PATIENCE, Stop
from mlp_xp.core.config import TrainConfig
from mlp_xp.runs import _tensors as tensors
from mlp_xp.runs.run_folder import RunFolder, metrics_record
from mlp_xp.show.console import plain_console

pytestmark = pytest.mark.usefixtures("no_pictures")

CONTROL = re.compile(r"[^\n\x20-\x7e]")  # nothing but printable ASCII and line ends
FOREVER = {"epochs": 10**6, "checkpoint_every": 150}


def test_divergence_keeps_what_was_reported_and_saved(data_dir, tmp_path):
    """For its place see tests/core/test_training.py."""
    folder = tmp_path / "run"
    arguments = options(
        small_settings(
            learning_rate=1e50, weight_decay=1.0, report_every=1, warm_up_steps=0
        )
    )
    outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, *arguments)
    assert_one_line(outcome, 1, "of epoch 0 is", "the last checkpoint is kept")
    records = metrics(folder)
    assert [record["sample"] for record in records] == [*range(len(records))]
    assert all(np.isfinite(record["loss"]) for record in records)
    assert len(records) > 1


def test_a_network_that_is_not_finite_replaces_no_checkpoint(data_dir, tmp_path):
    """Its losses are finite: the last update overflows."""
    folder = tmp_path / "run"
    overflowing = small_settings(
        learning_rate=1e21, batch_size=100, init="he", hidden=[16], dtype="float32", update_order="simultaneous",
        warm_up_steps=0, checkpoint_every=100, report_every=200,
    )  # fmt: skip
    words = ["--data-dir", data_dir, "--run-dir", folder, *options(overflowing)]
    for again in (words, ["--resume", folder]):
        outcome = call("train", *again)
        assert_one_line(
            outcome,
            1,
            "after 200 samples of epoch 0 is not finite",
            "the last checkpoint is kept\n",
        )
        for name in ("model.safetensors", "checkpoint.safetensors"):
            assert all(
                np.isfinite(array).all() for array in load_file(folder / name).values()
            )
        assert not (folder / "result.json").exists()


@pytest.fixture
def forever(data_dir, tmp_path) -> list[object]:
    """The words of a training without end, in the folder `run`."""
    return [
        "--data-dir",
        data_dir,
        "--run-dir",
        tmp_path / "run",
        *options(small_settings(**FOREVER)),
    ]


def read_until(process: subprocess.Popen, beginning: str) -> None:
    """Read what a process prints, up to a line with this beginning."""
    while not (line := process.stdout.readline()).startswith(beginning):
        assert line, process.stderr.read()


def first_reports(count: int) -> list[dict]:
    """The first reports of a run that nobody stops."""
    record = small_settings(**FOREVER)
    reports = train(
        TrainConfig(**{**record, "hidden": tuple(record["hidden"])}),
        TINY,
        open_backend(),
    )
    return [
        without_times(metrics_record(report))
        for report in itertools.islice(reports, count)
    ]


def assert_goes_on(folder: Path, monkeypatch) -> None:
    """All lines are whole and right, and from what was saved training goes on as if
    nothing had been.
    """
    records = [*map(without_times, metrics(folder))]
    assert records == first_reports(len(records))
    with monkeypatch.context() as patch:
        die_at(patch, RunFolder._append, 20)
        assert call("train", "--resume", folder).code == 130
    saved = tensors.read_tensors(folder / "checkpoint.safetensors")[1]["position"]
    after = [*map(without_times, metrics(folder))]
    assert len(after) >= 20
    assert len(after) > saved["reports"] > 0
    assert after == first_reports(len(after))


def assert_saved(
    outcome: Outcome, code: int, said: str, folder: Path, monkeypatch
) -> None:
    """The command has ended with a line and the place of the last checkpoint, behind
    which nothing was done.
    """
    assert_one_line(outcome, code, said, f"--resume {folder}\n")
    assert not CONTROL.search(outcome.out)
    place = re.search(r"epoch (\d+), after (\d+) samples", outcome.err)
    saved = tensors.read_tensors(folder / "checkpoint.safetensors")[1]["position"]
    assert (saved["epoch"], saved["sample"]) == tuple(map(int, place.groups()))
    assert saved["reports"] == len(metrics(folder))
    assert_goes_on(folder, monkeypatch)


SIGNALS = [
    ("SIGINT", 130),
    pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
    pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
]
if sys.platform == "win32":
    SIGNALS = [("CTRL_BREAK_EVENT", 149)]  # Ctrl-C goes to all processes of the console


@pytest.mark.parametrize(("name", "code"), SIGNALS)
def test_a_signal_ends_training_with_everything_saved(
    name, code, forever, tmp_path, monkeypatch
):
    group = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if sys.platform == "win32"
        else {}
    )
    process, path = (
        start("train", *forever, **group),
        tmp_path / "run" / "metrics.jsonl",
    )
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 2, process)
    process.send_signal(getattr(signal, name))
    assert_saved(
        finish(process), code, "interrupted in epoch", tmp_path / "run", monkeypatch
    )


def test_a_reader_who_leaves_ends_training_with_everything_saved(
    forever, tmp_path, monkeypatch
):
    """As in `python scripts/train.py | head -1`."""
    process = start("train", *forever)
    read_until(process, "    0      50")
    process.stdout.close()
    process.stdout = None
    assert_saved(
        finish(process),
        141,
        "the reader of the output closed the pipe in",
        tmp_path / "run",
        monkeypatch,
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_on_a_full_disk_ends_training_with_everything_saved(
    forever, tmp_path, monkeypatch
):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        outcome = finish(start("train", *forever, stdout=full))
    said = "the output cannot be written (No space left on device) in epoch"
    assert_saved(outcome, 1, said, tmp_path / "run", monkeypatch)


@pytest.mark.linux
@pytest.mark.slow
def test_ctrl_c_on_a_terminal_ends_with_one_line(forever, tmp_path, monkeypatch):
    code, said = on_a_terminal("train", *forever, interrupt_after=b"    2     150 ")
    assert code == 130
    assert said.count(b"interrupted in epoch") == 1
    assert b"error: " not in said
    assert b"Traceback" not in said
    assert b"\x1b[?25h" in said[said.rindex(b"\x1b[?25l") :], "the cursor is back"
    assert_goes_on(tmp_path / "run", monkeypatch)


def test_a_signal_in_the_warm_up_ends_training_too(
    small_run, data_dir, tmp_path, monkeypatch
):
    def create_and_interrupt(*args, create=RunFolder._begin):
        create(*args)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, not_ignored():
        patch.setattr(RunFolder, "_begin", create_and_interrupt)
        outcome = call(
            "train",
            "--data-dir",
            data_dir,
            "--run-dir",
            tmp_path / "run",
            *options(small_settings()),
        )
    assert_one_line(
        outcome,
        130,
        "interrupted in the warm-up; no checkpoint was saved yet; --resume starts",
    )
    assert "resume with" not in outcome.err
    assert call("train", "--resume", tmp_path / "run").code == 0
    assert_same_run(tmp_path / "run", small_run)


def test_a_signal_while_loading_is_one_line_too(forever, monkeypatch):
    monkeypatch.setattr(
        "mlp_xp.runs.experiment.load_dataset",
        lambda *_, **__: signal.raise_signal(signal.SIGINT),
    )
    with not_ignored():
        outcome = call("train", *forever)
    assert (outcome.code, outcome.err) == (130, "interrupted\n")


@pytest.mark.slow
def test_a_pipe_that_breaks_after_training_loses_nothing(small_run, data_dir, tmp_path):
    """The last line is that of the pictures, which are drawn although nobody reads it."""
    folder = tmp_path / "run"
    process = start(
        "train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings())
    )
    read_until(process, "trained in")
    process.stdout.close()
    process.stdout = None
    assert_one_line(
        finish(process),
        141,
        "closed the pipe after the end",
        f"the run in '{folder}' is complete",
    )
    assert_same_run(folder, small_run)
    assert (folder / "weights.png").exists()


@pytest.mark.linux
@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "model.safetensors", "checkpoint.safetensors", "result.json"],
)
def test_whichever_file_finds_the_disk_full_the_run_can_go_on(
    name, small_run, data_dir, tmp_path, monkeypatch
):
    folder, fsync = tmp_path / "run", os.fsync

    def full(descriptor):
        if (
            name in Path(f"/proc/self/fd/{descriptor}").readlink().name
            and len(metrics(folder)) > 5
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcome = call(
            "train",
            "--data-dir",
            data_dir,
            "--run-dir",
            folder,
            *options(small_settings()),
        )
    assert_one_line(
        outcome,
        1,
        f"'{folder / name}'",
        "No space left on device",
        f" --resume {folder}\n",
    )
    assert call("train", "--resume", folder).code == 0
    assert_same_run(folder, small_run)


@pytest.mark.posix
def test_only_ctrl_c_a_while_after_another_signal_stops_without_saving():
    """A terminal that closes may send SIGHUP twice, and a batch system SIGTERM and
    SIGHUP.
    """
    stop = Stop(plain_console())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        stop.handle(number, None)
    stop.since -= 2 * PATIENCE
    stop.handle(signal.SIGHUP, None)
    assert stop.error_at("here").exit_code == 128 + signal.SIGTERM, "the first counts"
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGINT, None)


def test_an_ignored_signal_stays_ignored(data_dir, tmp_path, monkeypatch):
    """A background job of a shell script has SIGINT ignored."""

    def append_and_interrupt(*args, append=RunFolder._append):
        append(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "_append", append_and_interrupt)
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert (
            call(
                "train",
                "--data-dir",
                data_dir,
                "--run-dir",
                tmp_path / "run",
                "--epochs",
                "1",
            ).code
            == 0
        )
    finally:
        signal.signal(signal.SIGINT, old)
