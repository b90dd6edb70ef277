"""What the torture tools share: processes that are forked, counted and killed, and the checks of what they leave.

Every process is forked from one that has imported all that a training needs, because that takes a hundred times as long
as a training of two hundred samples. The shim counts the calls that change files below the root, and kills the process,
or lets a call fail, at the number asked for.
"""

import contextlib
import ctypes
import importlib
import io
import itertools
import json
import mmap
import os
import random
import runpy
import select
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_sets import TINY, write_idx_folder
from helpers import assert_same_run, options

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120  # seconds, for what a process does in less than ten
TORN = 1000  # as in the shim
HANGS = -999
TRACEBACK = "Traceback (most recent call last)"


@dataclass
class Session:
    """What a tool works with."""

    space: Path
    """An empty folder."""
    part: str
    backend: str
    seed: int
    end: float
    """The time, by time.monotonic, after which no new round begins."""
    rounds: int
    """At most this many; 0: any number."""
    only: str
    """A single round."""
    plant: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    passed: bool = False
    """Whether a round has passed untouched, because its fault would have come after the last call."""

    def __post_init__(self) -> None:
        self.root, self.data = self.space / "root", write_idx_folder(self.space / "data", TINY)
        self.folder = self.root / "run"
        self.root.mkdir()

    def goes_on(self) -> bool:
        """Return whether there is time for another round. A planted fault need be found once only."""
        if self.plant and self.faults:
            return False
        return time.monotonic() < self.end and not (self.rounds and self.counts["rounds"] >= self.rounds)

    def every_call(self, passes: Iterable[tuple[str, str, int, int]]) -> Iterator[tuple[str, str, int]]:
        """Yield two words and a call, that of --only or of each pass, until the time is over.

        passes: two words, the first call and the distance to the next one; a pass ends where a round has passed.
        """
        if self.only:
            one, other, at = self.only.split(":")
            yield one, other, int(at)
            return
        for one, other, first, stride in passes:
            for at in itertools.count(first, stride):
                if not self.goes_on():
                    return
                self.passed = False
                yield one, other, at
                self.counts["rounds"] += 1
                if self.passed:
                    break

    def start_from(self, folder: Path | None) -> None:
        """Empty the root, and put a copy of a run into it."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        if folder:
            shutil.copytree(folder, self.folder)

    def report(self, what: str, only: str) -> None:
        """Keep a fault: what is wrong, the command that shows it again, and the root as it is."""
        words = ["python", "tests/tools/torture.py", self.part, "--backends", self.backend, "--seed", str(self.seed)]
        words += [*(["--plant", self.plant] if self.plant else []), "--only", only]
        kept = ROOT / "build" / "torture" / f"{self.part}-{self.backend}-{only.replace(':', '-')}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.root, kept)
        self.faults += 1
        print(f"fault: {self.part} {only}: {what}\n  {shlex.join(words)}\n  {kept}", flush=True)


class Outcome(NamedTuple):
    """The end of a process. code: the exit code, or minus the number of the signal that killed it, or HANGS."""

    code: int
    err: str
    calls: int


class Process(NamedTuple):
    """A process that was forked."""

    pid: int
    handle: int
    err: Path
    counter: mmap.mmap


def call(*words: Any) -> int:
    """Run a script of the package in this process, and return its exit code."""
    sys.argv = [str(ROOT / "scripts" / f"{words[0]}.py"), *map(str, words[1:])]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else bool(stop.code)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def preload(session: Session) -> None:
    """Import what a training process needs, by a whole training, and start no thread. There are no pictures."""
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    with contextlib.redirect_stdout(io.StringIO()):
        assert call("train", "--data-dir", session.data, "--epochs", 1, "--run-dir", session.space / "first") == 0
        assert call("evaluate", session.space / "first") == 0
    for name in {"jax": ["jax", "jax.numpy"], "torch": ["torch", "array_api_compat.torch"]}.get(session.backend, []):
        importlib.import_module(name)
    threads = len([*Path("/proc/self/task").iterdir()])
    assert threads == 1 or session.backend != "numpy", f"{threads} threads: this process cannot be forked"


def fork(
    session: Session, *words: Any, at: int = 0, number: int = 0, error: int = 0, stays: bool = False, log: str = ""
) -> Process:
    """Start a command of the package in a process of its own.

    Before its call number `at` it gets the signal `number`, or that call fails with `error` (`stays`: and all after
    it). log: for the calls.
    """
    err = session.space / f"process-{time.monotonic_ns()}"
    counter = mmap.mmap(-1, mmap.PAGESIZE)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for fd, path in ((1, os.devnull), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), fd)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # the caller may ignore them, as nohup does
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
            logfd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else -1
            address = ctypes.addressof(ctypes.c_int64.from_buffer(counter))
            arm = ctypes.CDLL(os.environ["LD_PRELOAD"]).torture_arm
            arm.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long, *[ctypes.c_int] * 4]
            arm(os.fsencode(session.root), address, at, int(number), error, stays, logfd)
            code = call(*words)
            sys.stderr.flush()
        finally:
            os._exit(code)
    return Process(pid, os.pidfd_open(pid), err, counter)


def wait(process: Process) -> Outcome:
    """Wait for the end of a process. One that does not end is killed."""
    ended = select.select([process.handle], [], [], PATIENCE)[0]
    if not ended:
        os.kill(process.pid, signal.SIGKILL)
    status = os.waitpid(process.pid, 0)[1]
    os.close(process.handle)
    err = process.err.read_text(errors="replace") if process.err.exists() else ""
    process.err.unlink(missing_ok=True)
    calls = int.from_bytes(process.counter[:8], "little", signed=True)
    return Outcome(os.waitstatus_to_exitcode(status) if ended else HANGS, err.strip(), calls)


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
}


def draw_settings(rng: random.Random, backend: str) -> dict[str, Any]:
    """Return the settings of a small run."""
    held_out = rng.choice([{}, {"validation": 30, "patience": rng.choice([0, 1, 2])}])
    return {"backend": backend, **held_out, **{name: rng.choice(values) for name, values in CHOICES.items()}}


def new_run(session: Session, settings: dict[str, Any]) -> list[Any]:
    """Return the command that starts a run."""
    return ["train", *options(settings), "--data-dir", session.data, "--run-dir", session.folder]


def go_on(session: Session, settings: dict[str, Any]) -> list[Any]:
    """Return the command with which a person continues: --resume, or the first command where there is no run yet."""
    is_there = (session.folder / "config.json").exists()
    return ["train", "--resume", session.folder] if is_there else new_run(session, settings)


def reference(session: Session, settings: dict[str, Any], name: str = "expected") -> tuple[Path, Outcome]:
    """Train an undisturbed run, and move it out of the root. Return its folder, and how the training ended."""
    session.start_from(None)
    outcome, kept = run(session, *new_run(session, settings)), session.space / name
    shutil.rmtree(kept, ignore_errors=True)
    if outcome.code == 0:
        session.folder.rename(kept)
    return kept, outcome


# Checks. Each returns what is wrong, or an empty string.


def checkpoint(folder: Path) -> tuple[dict[str, bytes], Any]:
    """Return the tensors of a run's checkpoint, and its position."""
    from mlp_xp.runs.checkpoints import read_tensors

    tensors, facts = read_tensors(folder / "checkpoint.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}, facts["position"]


def progress(folder: Path) -> int:
    """Return the step of a run's checkpoint, or -1."""
    try:
        return int(checkpoint(folder)[1]["step"])
    except Exception:
        return -1


def differs(folder: Path, expected: Path) -> str:
    """Compare two finished runs, bit by bit."""
    try:
        assert_same_run(folder, expected)
        return "" if checkpoint(folder)[0] == checkpoint(expected)[0] else "checkpoint.safetensors differs"
    except Exception as error:
        return f"the finished run differs: {type(error).__name__} {error}"


def not_whole(folder: Path) -> str:
    """Check that every file of a run folder is complete, or absent."""
    from mlp_xp import load_run

    if not folder.exists() or is_replaced(folder):
        return ""
    there = {path.name for path in folder.iterdir()}
    try:
        if "config.json" not in there:
            held = there & {"model.safetensors", "checkpoint.safetensors"}
            return f"no config.json, but {held}" if held else ""
        json.loads((folder / "config.json").read_text())
        if "model.safetensors" in there:
            load_run(folder)
        if "checkpoint.safetensors" in there:
            lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
            saved = checkpoint(folder)[1]["reports"]
            if len([json.loads(line) for line in lines if line.endswith("\n")]) < saved:
                return f"metrics.jsonl has less than the {saved} reports of the checkpoint"
        if "result.json" in there:
            json.loads((folder / "result.json").read_text())
            return "" if "checkpoint.safetensors" in there else "a result without a checkpoint"
    except Exception as error:
        return f"not whole: {error}"
    return ""


def is_replaced(folder: Path) -> bool:
    """Return whether a new run was about to take the place of an old one. Until that is done, the folder is refused."""
    return (folder / ".ready").is_dir()


def unlike_an_error(outcome: Outcome, code: int) -> str:
    """Check that a process ended with this code and one line on standard error."""
    if outcome.code != code or TRACEBACK in outcome.err or outcome.err.count("\n"):
        return f"exit code {outcome.code} instead of {code} and one line: {outcome.err[-300:]}"
    return ""


def goes_on_to(session: Session, settings: dict[str, Any], expected: Path, old: Path | None = None) -> str:
    """Check that a run goes on to the expected end, or is still the old one that it was to replace."""
    outcome = run(session, *go_on(session, settings))
    if outcome.code:
        return f"cannot go on: {outcome.err}"
    wrong = not_whole(session.folder) or differs(session.folder, expected)
    return "" if wrong and old and not differs(session.folder, old) else wrong
