"""Shared by the torture tools: processes to kill, and checks of their files.

Every process is forked from a process with all imports of a training. The imports take
a hundred times as long as a training on two hundred samples.
"""

import contextlib
import ctypes
import importlib
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import sys
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import helpers
from data_sets import TINY, write_idx_folder

from mlp_xp import commands, load_run
from mlp_xp.runs._tensors import read_tensors

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120  # seconds, for an action of less than ten
TORN = 1000  # as in the shim
TRACEBACK = "Traceback (most recent call last)"


@dataclass(eq=False)
class Session:
    """The state of a part."""

    space: Path
    """An empty folder."""
    part: str
    backend: str
    options: Namespace
    """Of the command line."""
    end: float
    """The latest start of a new round, by time.monotonic."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0

    def __post_init__(self) -> None:
        self.data = write_idx_folder(self.space / "data", TINY)
        self.root = self.space / "root"
        self.folder = self.root / "run"
        self.root.mkdir()

    def goes_on(self) -> bool:
        """Return whether there is time for another round."""
        has_done_all = self.counts["rounds"] >= self.options.rounds > 0
        return time.monotonic() < self.end and not has_done_all

    def every_call(
        self,
        passes: Iterable[tuple[str, str, int, int]],
        attack: Callable[[str, str, int], bool],
    ) -> None:
        """Attack at the call of --only, or at the calls of each pass, while time lasts.

        passes: two words, the first call, and the distance to the next call. attack:
        called with the words and the number of the call; returns whether there was such
        a call. A pass ends after its last call.
        """
        if self.options.only:
            one, other, at = self.options.only.split(":")
            passes = [(one, other, int(at), 1)]
        for one, other, first, stride in passes:
            for at in itertools.count(first, stride):
                if not self.goes_on():
                    return
                with self.judged(f"{one}:{other}:{at}"):
                    if not attack(one, other, at):
                        break
                self.counts["rounds"] += 1

    def start_from(self, folder: Path | None) -> None:
        """Empty the root, and put a copy of a run into it."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        if folder:
            shutil.copytree(folder, self.folder)

    @contextlib.contextmanager
    def judged(self, only: str) -> Iterator[None]:
        """Report an exception as a fault, with the command to repeat it.

        The root is kept as it is.
        """
        try:
            yield
        except Exception as error:
            self.faults += 1
            what = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            print(f"fault: {self.part} {only}: {type(error).__name__} {what}")
            print(f"  {self.command(only)}")
            print(f"  {self.keep(only)}", flush=True)

    def command(self, only: str) -> str:
        """Return the command to repeat a round."""
        words = f"python tests/tools/torture.py {self.part} --backends {self.backend}"
        words += f" --seed {self.options.seed}"
        if self.options.plant:
            words += f" --plant {self.options.plant}"
        return f"{words} --only {only}"

    def keep(self, only: str) -> Path:
        """Copy the root to a permanent folder, and return this folder."""
        name = f"{self.part}-{self.backend}-{only.replace(':', '-')}"
        kept = ROOT / "build" / "torture" / name
        shutil.rmtree(kept, ignore_errors=True)
        return shutil.copytree(self.root, kept)


class Outcome(NamedTuple):
    """The end of a process. code: the exit code, or minus a deadly signal."""

    code: int
    err: str
    calls: int


class Process(NamedTuple):
    """A forked process."""

    pid: int
    err: Path
    counter: mmap.mmap


def preload(session: Session) -> None:
    """Import the modules of a training by a whole training, and start no thread.

    There are no pictures.
    """
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    places = {"data_dir": session.data, "run_dir": session.space / "first"}
    first = helpers.call("train --epochs 1", **places)
    assert first.code == 0, first
    libraries = {
        "jax": ["jax", "jax.numpy"],
        "torch": ["torch", "array_api_compat.torch"],
    }
    for name in libraries.get(session.backend, []):
        importlib.import_module(name)


def fork(session: Session, *words: Any, **control: Any) -> Process:
    """Start a command of the package in a process of its own. control: see `arm`."""
    err = session.space / f"process-{time.monotonic_ns()}"
    counter = mmap.mmap(-1, mmap.PAGESIZE)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for fd, path in ((1, os.devnull), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), fd)
            signal.alarm(PATIENCE)  # kills a hanging process
            # the caller may ignore them, as nohup does
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            arm(session.root, counter, **control)
            sys.argv = [*map(str, words)]
            commands.main(sys.argv[0])
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return Process(pid, err, counter)


def arm(
    root: Path,
    counter: mmap.mmap,
    *,
    at: int = 0,
    number: int = 0,
    error: int = 0,
    stays: bool = False,
    log: str = "",
) -> None:
    """Let the shim count this process's changes of files below a folder.

    Before its call number `at` it gets the signal `number`, or that call fails with
    `error` (`stays`: and all after it). log: for the calls.
    """
    logfd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else -1
    address = ctypes.addressof(ctypes.c_int64.from_buffer(counter))
    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    places = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long]
    shim.torture_arm.argtypes = places + [ctypes.c_int] * 4
    shim.torture_arm(os.fsencode(root), address, at, int(number), error, stays, logfd)


def wait(process: Process) -> Outcome:
    """Wait for the end of a process."""
    status = os.waitpid(process.pid, 0)[1]
    err = process.err.read_text(errors="replace") if process.err.exists() else ""
    process.err.unlink(missing_ok=True)
    calls = int.from_bytes(process.counter[:8], "little", signed=True)
    return Outcome(os.waitstatus_to_exitcode(status), err.strip(), calls)


def run(session: Session, *words: Any, **control: Any) -> Outcome:
    """Run a command to its end."""
    return wait(fork(session, *words, **control))


CHOICES: dict[str, list[Any]] = {
    "epochs": [1, 2, 3, 4],
    "hidden": [[4], [6, 5], [3]],
    "learning_rate": [0.05, 0.02, 0.005],
    "batch_size": [1, 1, 3, 16, 64],
    "dtype": ["float64", "float32"],
    "optimizer": ["sgd", "sgd", "momentum", "adam"],
    "schedule": ["constant", "cosine"],
    "activation": ["sigmoid", "tanh", "relu"],
    "report_every": [23, 50, 97, 200],
    "checkpoint_every": [0, 31, 70, 110],
    "warm_up_steps": [0, 10],
    "seed": [*range(100)],
    "networks": [1, 1, 3],
}


def draw_settings(rng: random.Random, backend: str) -> dict[str, Any]:
    """Return the settings of a small run."""
    held_out = rng.choice([{}, {"validation": 30, "patience": rng.choice([0, 1, 2])}])
    drawn = {name: rng.choice(values) for name, values in CHOICES.items()}
    return {"backend": backend, **held_out, **drawn}


def command(session: Session, settings: dict[str, Any], how: str = "new") -> list[Any]:
    """Return the command to start, replace (overwrite) or continue (resume) a run.

    `longer` continues a finished run with more epochs.
    """
    if how == "resume":
        return ["train", "--resume", session.folder]
    if how == "longer":
        epochs = settings["epochs"]
        return ["train", "--resume", session.folder, "--epochs", epochs]
    places = {"data_dir": session.data, "run_dir": session.folder}
    words = ["train", *helpers.options({**settings, **places})]
    return [*words, "--overwrite"] if how == "overwrite" else words


def go_on(session: Session, settings: dict[str, Any]) -> list[Any]:
    """Return the command for a person to continue, or to start a missing run."""
    there = (session.folder / "config.json").exists()
    return command(session, settings, "resume" if there else "new")


def reference(
    session: Session, settings: dict[str, Any], name: str = "expected"
) -> tuple[Path, Outcome]:
    """Train an undisturbed run, and move it out of the root.

    Return its folder, and the outcome of the training.
    """
    session.start_from(None)
    outcome = run(session, *command(session, settings))
    kept = session.space / name
    shutil.rmtree(kept, ignore_errors=True)
    if outcome.code == 0:
        session.folder.rename(kept)
    return kept, outcome


# Checks. They raise AssertionError or, for an unreadable file, the package's
# own error.


def checkpoint(folder: Path) -> tuple[dict[str, bytes], Any]:
    """Return the tensors of a run's checkpoint, and its position."""
    tensors, facts = read_tensors(folder / "checkpoint.safetensors")
    contents = {name: tensor.tobytes() for name, tensor in tensors.items()}
    return contents, facts["position"]


def progress(folder: Path) -> int:
    """Return the step of a run's checkpoint, or -1."""
    try:
        return int(checkpoint(folder)[1]["step"])
    except Exception:
        return -1


def check_same(folder: Path, expected: Path) -> None:
    """Compare two finished runs, bit by bit."""
    helpers.assert_same_run(folder, expected)
    assert checkpoint(folder)[0] == checkpoint(expected)[0]


def check_whole(folder: Path) -> None:
    """Check that every file of a run folder is complete, or absent."""
    if not folder.exists() or is_replaced(folder):
        return
    there = {path.name for path in folder.iterdir()}
    saved = there & {"model.safetensors", "checkpoint.safetensors", "result.json"}
    assert "config.json" in there or not saved, f"no config.json, but {saved}"
    for name in there & {"config.json", "result.json"}:
        json.loads((folder / name).read_text())
    if "model.safetensors" in there:
        load_run(folder)
    if "checkpoint.safetensors" not in there:
        assert "result.json" not in there, "a result without a checkpoint"
        return
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    reports = [json.loads(line) for line in lines if line.endswith("\n")]
    known = checkpoint(folder)[1]["reports"]
    assert len(reports) >= known, "metrics.jsonl has less reports than the checkpoint"


def is_replaced(folder: Path) -> bool:
    """Return whether a new run without a checkpoint is to replace an old one.

    Commands refuse such a folder.
    """
    has_checkpoint = (folder / "checkpoint.safetensors").exists()
    return (folder / ".replaced").is_dir() and not has_checkpoint


def check_end(outcome: Outcome, *codes: int) -> None:
    """Check that a process ended with one of these codes.

    An error must be one line on standard error.
    """
    is_short = outcome.code not in (1, 2) or "\n" not in outcome.err
    is_right = outcome.code in codes and TRACEBACK not in outcome.err
    expected = " or ".join(map(str, codes))
    assert is_right and is_short, (  # noqa: PT018
        f"exit code {outcome.code} instead of {expected}: {outcome.err[-300:]}"
    )


def check_goes_on(
    session: Session, settings: dict[str, Any], expected: Path, old: Path | None = None
) -> None:
    """Check that a run goes on to the expected end, or is still the old run."""
    outcome = run(session, *go_on(session, settings))
    assert outcome.code == 0, f"cannot go on: {outcome.err}"
    check_whole(session.folder)
    if old and has_equal_file(old, session.folder, "config.json"):
        expected = old
    check_same(session.folder, expected)


def has_equal_file(folder: Path, other: Path, name: str) -> bool:
    return (folder / name).read_bytes() == (other / name).read_bytes()
