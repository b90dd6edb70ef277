"""Training that ends early, by signals, kills, full disks, folders that go away: nothing that was saved is lost."""

import errno
import itertools
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from data_sets import TINY
from helpers import (
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
from mlp_xp.core.config import TrainConfig
from mlp_xp.runs import checkpoints, run_folder

pytestmark = pytest.mark.usefixtures("no_pictures")

CONTROL = re.compile(r"[^\n\x20-\x7e]")  # nothing but printable ASCII and line ends
FOREVER = {"epochs": 10**6, "checkpoint_every": 150}


@pytest.fixture(scope="module")
def whole_run(data_dir, tmp_path_factory) -> Path:
    """A run that came to its end."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert call("train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings())).code == 0
    return folder


def test_divergence_ends_with_its_place_and_keeps_what_was_reported(data_dir, tmp_path):
    folder = tmp_path / "run"
    arguments = options(small_settings(learning_rate=1e50, weight_decay=1.0, report_every=1, warm_up_steps=0))
    outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, *arguments)
    assert_one_line(
        outcome, 1, "diverged", "lower the learning rate", "the checkpoint of epoch 0, after 1 samples, is kept"
    )
    pattern = r"(?:state after (\d+) samples|loss (?:at|after) sample (\d+)) of epoch 0 is (nan|inf|not finite)"
    samples, place, _ = re.search(pattern, outcome.err).groups()
    sample = int(samples) - 1 if samples else int(place)
    records = metrics(folder)
    assert sample > 1
    assert [r["sample"] for r in records] == [*range(sample)]
    assert all(np.isfinite(r["loss"]) for r in records)


def test_a_network_that_is_not_finite_replaces_no_checkpoint(data_dir, tmp_path):
    """Its losses are finite: the last update overflows."""
    folder = tmp_path / "run"
    overflowing = small_settings(
        learning_rate=1e21, batch_size=100, init="he", hidden=[16], dtype="float32", update_order="simultaneous",
        warm_up_steps=0, checkpoint_every=100, report_every=200,
    )  # fmt: skip
    outcome = call("train", "--data-dir", data_dir, "--run-dir", folder, *options(overflowing))
    for _ in range(2):
        assert_one_line(
            outcome, 1, "the network or optimiser state after 200 samples of epoch 0 is not finite",
            "the checkpoint of epoch 0, after 100 samples, is kept\n",
        )  # fmt: skip
        for name in ("model.safetensors", "checkpoint.safetensors"):
            tensors = load_file(folder / name)
            assert all(np.isfinite(array).all() for array in tensors.values())
        assert not (folder / "result.json").exists()
        outcome = call("train", "--resume", folder)


def running(data_dir: Path, folder: Path, lines: int = 3, **options_of_popen):
    """Training without end in a process of its own, which has already written some lines of metrics."""
    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(**FOREVER))]
    process = start("train", *arguments, **options_of_popen)
    path = folder / "metrics.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") >= lines, process)
    return process


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]


def read_until(process: subprocess.Popen, beginning: str) -> None:
    """Read what a process prints, up to a line with this beginning."""
    while not (line := process.stdout.readline()).startswith(beginning):
        assert line, process.stderr.read()


def first_reports(count: int) -> list[dict]:
    """The first reports of a run that nobody stops."""
    record = small_settings(**FOREVER)
    reports = train(TrainConfig(**{**record, "hidden": tuple(record["hidden"])}), TINY, open_backend())
    return [without_times(run_folder.metrics_record(report)) for report in itertools.islice(reports, count)]


def assert_goes_on(folder: Path, monkeypatch) -> None:
    """All lines are whole and right, and from what was saved training goes on as if nothing had been."""
    records = [*map(without_times, metrics(folder))]
    assert records == first_reports(len(records))
    with monkeypatch.context() as patch:
        die_at(patch, run_folder.append_metrics, 20)
        assert call("train", "--resume", folder).code == 130
    saved = checkpoints.read_position(folder)
    after = [*map(without_times, metrics(folder))]
    assert len(after) >= 20
    assert len(after) > saved["reports"] > 0
    assert after == first_reports(len(after))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_training_with_everything_saved(number, code, data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    process = running(data_dir, folder)  # so its metrics can be read while it trains
    process.send_signal(number)
    outcome = finish(process)
    assert_one_line(outcome, code, "interrupted in epoch", f"--resume {folder}")
    assert not CONTROL.search(outcome.out)
    place = re.search(r"epoch (\d+), after (\d+) samples", outcome.err)
    saved = checkpoints.read_position(folder)
    assert (saved["epoch"], saved["sample"]) == tuple(map(int, place.groups())), "nothing that was done is lost"
    assert saved["reports"] == len(metrics(folder))
    assert_goes_on(folder, monkeypatch)


def test_a_signal_in_the_warm_up_ends_training_too(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def create_and_interrupt(*args, create=run_folder.create_run):
        create(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run_folder, "create_run", create_and_interrupt)
    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings())]
    with not_ignored():
        outcome = call("train", *arguments)
    assert_one_line(outcome, 130, "interrupted in the warm-up; no checkpoint was saved yet; --resume starts")
    assert "resume with" not in outcome.err
    monkeypatch.undo()
    assert call("train", "--resume", folder).code == 0


def test_a_signal_while_loading_is_one_line_too(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("mlp_xp.commands.training.load_data", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with not_ignored():
        outcome = call("train", "--data-dir", data_dir, "--run-dir", tmp_path / "run")
    assert (outcome.code, outcome.err) == (130, "interrupted\n")


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_ends_with_one_line(data_dir, tmp_path, monkeypatch):
    arguments = ["--data-dir", data_dir, "--run-dir", tmp_path / "run", *options(small_settings(**FOREVER))]
    code, said = on_a_terminal("train", *arguments, interrupt_after=b"    2     150 ")
    assert code == 130
    assert said.count(b"interrupted in epoch") == 1
    assert b"error: " not in said
    assert b"Traceback" not in said
    assert b"\x1b[?25h" in said[said.rindex(b"\x1b[?25l") :], "the cursor is back"
    assert_goes_on(tmp_path / "run", monkeypatch)


def test_a_reader_who_leaves_ends_training_with_everything_saved(data_dir, tmp_path, monkeypatch):
    """As in `python scripts/train.py | head -1`."""
    folder = tmp_path / "run"
    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(**FOREVER))]
    process = start("train", *arguments)
    read_until(process, "    0      50")
    process.stdout.close()
    process.stdout = None
    outcome = finish(process)
    assert_one_line(outcome, 141, "the reader of the output closed the pipe in epoch", f"--resume {folder}\n")
    place = re.search(r"epoch (\d+), after (\d+) samples", outcome.err)
    saved = checkpoints.read_position(folder)
    assert (saved["epoch"], saved["sample"]) == tuple(map(int, place.groups()))
    assert_goes_on(folder, monkeypatch)


@pytest.mark.slow
def test_a_pipe_that_breaks_after_training_loses_nothing(whole_run, data_dir, tmp_path):
    """The last line is that of the pictures, which are drawn although nobody reads it."""
    folder = tmp_path / "run"
    process = start("train", "--data-dir", data_dir, "--run-dir", folder, *options(small_settings()))
    read_until(process, "trained in")
    process.stdout.close()
    process.stdout = None
    assert_one_line(finish(process), 141, "closed the pipe after the end", f"the run in {str(folder)!r} is complete")
    assert_same_run(folder, whole_run)
    assert (folder / "weights.png").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_on_a_full_disk_ends_training_with_everything_saved(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with Path("/dev/full").open("w") as full:
        arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings(**FOREVER))]
        outcome = finish(start("train", *arguments, stdout=full))
    assert_one_line(
        outcome, 1, "the output cannot be written (No space left on device) in epoch", f"--resume {folder}\n"
    )
    assert_goes_on(folder, monkeypatch)


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.safetensors", "checkpoint.safetensors", "result.json"])
def test_whichever_file_finds_the_disk_full_the_run_can_go_on(name, whole_run, data_dir, tmp_path, monkeypatch):
    folder, fsync = tmp_path / "run", os.fsync

    def full(descriptor):
        if name in Path(f"/proc/self/fd/{descriptor}").readlink().name and len(lines_of(folder)) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    arguments = ["--data-dir", data_dir, "--run-dir", folder, *options(small_settings())]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcome = call("train", *arguments)
        assert_one_line(
            outcome, 1, repr(str(folder / name)), "cannot write: No space left on device", f" --resume {folder}\n"
        )
    assert call("train", "--resume", folder).code == 0
    assert_same_run(folder, whole_run)


def interrupted(numbers: tuple[int, ...], folder: Path, data_dir: Path):
    """Train in this process, which gets these signals after its first report."""

    def append_and_interrupt(*args, append=run_folder.append_metrics):
        append(*args)
        for number in numbers:
            signal.raise_signal(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "append_metrics", append_and_interrupt)
        return call("train", "--data-dir", data_dir, "--run-dir", folder, "--epochs", "1")


@pytest.mark.parametrize("numbers", [(1, 1), (15, 1)])
def test_a_second_signal_but_ctrl_c_does_not_keep_the_run_from_being_saved(numbers, data_dir, tmp_path):
    """A terminal that closes may send SIGHUP twice, and a batch system SIGTERM and SIGHUP."""
    with not_ignored():
        outcome = interrupted(numbers, tmp_path / "run", data_dir)
    assert_one_line(outcome, 128 + numbers[0], "interrupted in epoch 0", "--resume")
    assert (tmp_path / "run" / run_folder.CHECKPOINT).exists()


def test_an_ignored_signal_stays_ignored(data_dir, tmp_path):
    """A background job of a shell script has SIGINT ignored."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert interrupted((signal.SIGINT,), tmp_path / "run", data_dir).code == 0
    finally:
        signal.signal(signal.SIGINT, old)
