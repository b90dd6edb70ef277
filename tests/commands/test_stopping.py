"""Training that ends early loses no saved data.

It ends by a signal, a closed pipe, a full disk or divergence.
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
    on_a_terminal,
    options,
    output_of,
    small_config,
    small_settings,
    start,
    wait_until,
    without_times,
)
from processes import not_ignored
from safetensors.numpy import load_file

from mlp_xp.api import train
from mlp_xp.backends.opening import open_backend
from mlp_xp.commands.stopping import PATIENCE, Stop
from mlp_xp.runs import _tensors as tensors
from mlp_xp.runs.recording import RunWriter, metrics_record
from mlp_xp.show.console import plain_console

pytestmark = pytest.mark.usefixtures("no_pictures")

FOREVER = {"epochs": 10**6, "checkpoint_every": 150}
SIGNALS = [
    ("SIGINT", 130),
    pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
    pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
]
GROUP = {}
if sys.platform == "win32":
    SIGNALS = [("CTRL_BREAK_EVENT", 149)]  # Ctrl-C goes to all processes of the console
    GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


@pytest.mark.parametrize(("name", "code"), SIGNALS)
def test_a_signal_ends_training_with_everything_saved(
    name, code, forever, tmp_path, monkeypatch
):
    process = start("train", *forever, **GROUP)
    path = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 2, process)
    process.send_signal(getattr(signal, name))
    outcome = finish(process)
    assert_saved(outcome, code, "interrupted in epoch", tmp_path / "run", monkeypatch)


def test_a_reader_who_leaves_ends_training_with_everything_saved(
    forever, tmp_path, monkeypatch
):
    """As in `python scripts/train.py | head -1`."""
    process = start("train", *forever)
    leave_after(process, "    0      50")
    said = "the reader of the output closed the pipe in"
    assert_saved(finish(process), 141, said, tmp_path / "run", monkeypatch)


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


def test_a_run_that_is_interrupted_in_the_warm_up_starts_anew(
    small_run, data_dir, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch, not_ignored():
        interrupt_after(patch, "begin")
        outcome = call("train", data_dir=data_dir, run_dir=run, **small_settings())
    said = "interrupted in the warm-up; no checkpoint was saved yet; resuming starts"
    assert_one_line(outcome, 130, said)
    assert "resume with" not in outcome.err
    assert call("train", resume=run).code == 0
    assert_same_run(run, small_run)


def test_the_advice_names_the_folder_that_the_run_got(data_dir, tmp_path, monkeypatch):
    """Another run took the name that was chosen for it."""
    name = Path("runs", "taken")
    monkeypatch.chdir(tmp_path)
    name.mkdir(parents=True)
    monkeypatch.setattr("mlp_xp.runs.run_folder.default_folder", lambda *_: name)

    with monkeypatch.context() as patch, not_ignored():
        interrupt_after(patch, "append")
        outcome = call("train", data_dir=data_dir, **small_settings())
    assert_one_line(outcome, 130, f" --resume {name}-2\n")
    assert call("train", resume=f"{name}-2").code == 0


def test_a_signal_while_the_data_are_loaded_is_one_line_too(forever, monkeypatch):
    monkeypatch.setattr(
        "mlp_xp.runs.experiment.load_dataset",
        lambda *_, **__: signal.raise_signal(signal.SIGINT),
    )
    with not_ignored():
        outcome = call("train", *forever)
    assert (outcome.code, outcome.err) == (130, "interrupted\n")


@pytest.mark.slow
def test_a_pipe_that_breaks_after_training_loses_nothing(small_run, data_dir, tmp_path):
    """The pictures, named in the last line, are drawn although nobody reads it."""
    folder = tmp_path / "run"
    settings = small_settings(data_dir=data_dir, run_dir=folder)
    process = start("train", *options(settings))
    leave_after(process, "trained in")
    said = ("closed the pipe after the end", f"the run in '{folder}' is complete")
    assert_one_line(finish(process), 141, *said)
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
    folder = tmp_path / "run"

    def full(descriptor, fsync=os.fsync):
        written = Path(f"/proc/self/fd/{descriptor}").readlink().name
        if name in written and len(metrics(folder)) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        outcome = call("train", data_dir=data_dir, run_dir=folder, **small_settings())
    said = (f"'{folder / name}'", "No space left on device", f" --resume {folder}\n")
    assert_one_line(outcome, 1, *said)
    assert call("train", resume=folder).code == 0
    assert_same_run(folder, small_run)


def test_divergence_keeps_what_was_reported(data_dir, tmp_path):
    """For its place see tests/core/test_training.py."""
    folder = tmp_path / "run"
    diverging = small_settings(
        learning_rate=1e50, weight_decay=1.0, report_every=1, warm_up_steps=0
    )
    outcome = call("train", data_dir=data_dir, run_dir=folder, **diverging)
    assert_one_line(outcome, 1, "of epoch 0 is", "the last checkpoint is kept")
    records = metrics(folder)
    assert [record["sample"] for record in records] == [*range(len(records))]
    assert all(np.isfinite(record["loss"]) for record in records)
    assert len(records) > 1


def test_a_network_that_is_not_finite_replaces_no_checkpoint(data_dir, tmp_path):
    """Its losses are finite: the last update overflows."""
    folder = tmp_path / "run"
    overflowing = small_settings(
        learning_rate=1e21,
        batch_size=100,
        init="he",
        hidden=[16],
        dtype="float32",
        update_order="simultaneous",
        warm_up_steps=0,
        checkpoint_every=100,
        report_every=200,
    )
    said = ("after 200 samples of epoch 0 is not finite", "checkpoint is kept\n")
    for settings in (
        {"data_dir": data_dir, "run_dir": folder, **overflowing},
        {"resume": folder},
    ):
        assert_one_line(call("train", **settings), 1, *said)
        for name in ("model.safetensors", "checkpoint.safetensors"):
            arrays = load_file(folder / name).values()
            assert all(np.isfinite(array).all() for array in arrays)
        assert not (folder / "result.json").exists()


@pytest.mark.posix
def test_only_ctrl_c_a_while_after_another_signal_stops_without_saving():
    """A closing terminal may send SIGHUP twice, a batch system SIGTERM and SIGHUP."""
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
    interrupt_after(monkeypatch, "append")
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        output_of("train --epochs 1", data_dir=data_dir, run_dir=tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, old)


# Shared by the tests.


@pytest.fixture
def forever(data_dir, tmp_path) -> list[str]:
    """The words of a training without end, in the folder `run`."""
    places = {"data_dir": data_dir, "run_dir": tmp_path / "run"}
    return options({**places, **small_settings(**FOREVER)})


def interrupt_after(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let a method of RunWriter raise SIGINT after its work."""
    method = getattr(RunWriter, name)

    def interrupting(*args, **more):
        method(*args, **more)
        signal.raise_signal(signal.SIGINT)

    patch.setattr(RunWriter, name, interrupting)


def leave_after(process: subprocess.Popen, beginning: str) -> None:
    """Read the output of a process up to a line, and close its pipe."""
    while not (line := process.stdout.readline()).startswith(beginning):
        assert line, process.stderr.read()
    process.stdout.close()
    process.stdout = None


def assert_saved(
    outcome: Outcome, code: int, said: str, folder: Path, monkeypatch
) -> None:
    """Assert that the last checkpoint is the end of the training.

    The command ended with one line with this place, and training goes on from there.
    """
    assert_one_line(outcome, code, said, f"--resume {folder}\n")
    assert not re.search(r"[^\n\x20-\x7e]", outcome.out), "printable ASCII"
    place = re.search(r"epoch (\d+), after (\d+) samples", outcome.err)
    saved = saved_position(folder)
    assert [saved["epoch"], saved["sample"]] == [*map(int, place.groups())]
    assert saved["reports"] == len(metrics(folder))
    assert_goes_on(folder, monkeypatch)


def assert_goes_on(folder: Path, monkeypatch) -> None:
    """Assert that all lines are right, and that training continues.

    It continues from the checkpoint as if there had been no interruption.
    """
    before = [*map(without_times, metrics(folder))]
    with monkeypatch.context() as patch:
        die_at(patch, RunWriter.append, 20)
        assert call("train", resume=folder).code == 130
    after = [*map(without_times, metrics(folder))]
    expected = first_reports(max(len(before), len(after)))
    assert before == expected[: len(before)]
    assert after == expected[: len(after)]
    assert len(after) >= 20
    assert len(after) > saved_position(folder)["reports"] > 0


def saved_position(folder: Path) -> dict:
    """Return the position in the checkpoint of a run."""
    return tensors.read_tensors(folder / "checkpoint.safetensors")[1]["position"]


def first_reports(count: int) -> list[dict]:
    """Return the first reports of an undisturbed run."""
    reports = train(small_config(**FOREVER), TINY, open_backend())
    records = map(metrics_record, itertools.islice(reports, count))
    return [*map(without_times, records)]
