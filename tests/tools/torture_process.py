"""What the torture tools share: processes that are forked, counted and killed, and the
checks of what they leave.

Every process is forked from one that has imported all that a training needs, because
that takes a hundred times as long as a training of two hundred samples.
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
PATIENCE = 120  # seconds, for what a process does in less than ten
TORN = 1000  # as in the shim
TRACEBACK = "Traceback (most recent call last)"


@dataclass(eq=False)
class Session:
    """What a part works with."""

    space: Path
    """An empty folder."""
    part: str
    backend: str
    options: Namespace
    """Of the command line."""
    end: float
    """The time, by time.monotonic, after which no new round begins."""
    counts: Counter[str] = field(default_factory=Counter)
    faults: int = 0

    def __post_init__(self) -> None:
        self.root, self.data = (
            self.space / "root",
            write_idx_folder(self.space / "data", TINY),
        )
        self.folder = self.root / "run"
        self.root.mkdir()

    def goes_on(self) -> bool:
        """Return whether there is time for another round."""
        return (
            time.monotonic() < self.end
            and not self.counts["rounds"] >= self.options.rounds > 0
        )

    def every_call(
        self,
        passes: Iterable[tuple[str, str, int, int]],
        attack: Callable[[str, str, int], bool],
    ) -> None:
        """Attack at the call of --only, or at those of each pass, until the time is
        over.

        passes: two words, the first call and the distance to the next one. attack:
        called with the words and the number of the call; returns whether there was such
        a call. A pass ends with the first that there is not.
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
        """Report an exception as a fault: what is wrong, the command that shows it
        again, and the root as it is.
        """
        try:
            yield
        except Exception as error:
            what = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            words = f"python tests/tools/torture.py {self.part} --backends {self.backend} --seed {self.options.seed}"
            words += (
                f" --plant {self.options.plant}" if self.options.plant else ""
            ) + f" --only {only}"
            kept = (
                ROOT
                / "build"
                / "torture"
                / f"{self.part}-{self.backend}-{only.replace(':', '-')}"
            )
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(self.root, kept)
            self.faults += 1
            print(
                f"fault: {self.part} {only}: {type(error).__name__} {what}\n  {words}\n  {kept}",
                flush=True,
            )


class Outcome(NamedTuple):
    """The end of a process. code: the exit code, or minus the number of the signal that
    killed it.
    """

    code: int
    err: str
    calls: int


class Process(NamedTuple):
    """A process that was forked."""

    pid: int
    err: Path
    counter: mmap.mmap


def preload(session: Session) -> None:
    """Import what a training process needs, by a whole training, and start no thread.
    There are no pictures.
    """
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    first = helpers.call(
        "train",
        "--data-dir",
        session.data,
        "--epochs",
        1,
        "--run-dir",
        session.space / "first",
    )
    assert first.code == 0, first
    for name in {
        "jax": ["jax", "jax.numpy"],
        "torch": ["torch", "array_api_compat.torch"],
    }.get(session.backend, []):
        importlib.import_module(name)


def fork(
    session: Session,
    *words: Any,
    at: int = 0,
    number: int = 0,
    error: int = 0,
    stays: bool = False,
    log: str = "",
) -> Process:
    """Start a command of the package in a process of its own.

    Before its call number `at` it gets the signal `number`, or that call fails with
    `error` (`stays`: and all after it). log: for the calls.
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
            signal.alarm(PATIENCE)  # kills a process that hangs
            # the caller may ignore them, as nohup does
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            logfd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else -1
            address = ctypes.addressof(ctypes.c_int64.from_buffer(counter))
            arm = ctypes.CDLL(os.environ["LD_PRELOAD"]).torture_arm
            arm.argtypes = [
                ctypes.c_char_p,
                ctypes.c_void_p,
                ctypes.c_long,
                *[ctypes.c_int] * 4,
            ]
            arm(
                os.fsencode(session.root), address, at, int(number), error, stays, logfd
            )
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
}


def draw_settings(rng: random.Random, backend: str) -> dict[str, Any]:
    """Return the settings of a small run."""
    held_out = rng.choice([{}, {"validation": 30, "patience": rng.choice([0, 1, 2])}])
    return {
        "backend": backend,
        **held_out,
        **{name: rng.choice(values) for name, values in CHOICES.items()},
    }


def command(session: Session, settings: dict[str, Any], how: str = "new") -> list[Any]:
    """Return the command that starts a run, replaces one (overwrite) or goes on with it
    (resume).
    """
    if how == "resume":
        return ["train", "--resume", session.folder]
    words = [
        "train",
        *helpers.options(settings),
        "--data-dir",
        session.data,
        "--run-dir",
        session.folder,
    ]
    return [*words, "--overwrite"] if how == "overwrite" else words


def go_on(session: Session, settings: dict[str, Any]) -> list[Any]:
    """Return the command with which a person continues: the first one if there is no
    run yet.
    """
    return command(
        session,
        settings,
        "resume" if (session.folder / "config.json").exists() else "new",
    )


def reference(
    session: Session, settings: dict[str, Any], name: str = "expected"
) -> tuple[Path, Outcome]:
    """Train an undisturbed run, and move it out of the root. Return its folder, and how
    the training ended.
    """
    session.start_from(None)
    outcome, kept = run(session, *command(session, settings)), session.space / name
    shutil.rmtree(kept, ignore_errors=True)
    if outcome.code == 0:
        session.folder.rename(kept)
    return kept, outcome


# Checks, which raise AssertionError or, for a file that cannot be read, the package's
# own error.


def checkpoint(folder: Path) -> tuple[dict[str, bytes], Any]:
    """Return the tensors of a run's checkpoint, and its position."""
    tensors, facts = read_tensors(folder / "checkpoint.safetensors")
    return {name: tensor.tobytes() for name, tensor in tensors.items()}, facts[
        "position"
    ]


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
    assert "checkpoint.safetensors" in there or "result.json" not in there, (
        "a result without a checkpoint"
    )
    for name in there & {"config.json", "result.json"}:
        json.loads((folder / name).read_text())
    if "model.safetensors" in there:
        load_run(folder)
    if "checkpoint.safetensors" in there:
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        reports = [json.loads(line) for line in lines if line.endswith("\n")]
        assert len(reports) >= checkpoint(folder)[1]["reports"], (
            "metrics.jsonl has less reports than the checkpoint"
        )


def is_replaced(folder: Path) -> bool:
    """Return whether a new run without a checkpoint is to replace an old one. Commands
    refuse such a folder.
    """
    return (folder / ".replaced").is_dir() and not (
        folder / "checkpoint.safetensors"
    ).exists()


def check_end(outcome: Outcome, *codes: int) -> None:
    """Check that a process ended with one of these codes, and with one line on standard
    error for an error.
    """
    is_right = outcome.code in codes and TRACEBACK not in outcome.err
    is_right = is_right and (outcome.code not in (1, 2) or "\n" not in outcome.err)
    assert is_right, (
        f"exit code {outcome.code} instead of {' or '.join(map(str, codes))}: {outcome.err[-300:]}"
    )


def check_goes_on(
    session: Session, settings: dict[str, Any], expected: Path, old: Path | None = None
) -> None:
    """Check that a run goes on to the expected end, or is still the old one that it was
    to replace.
    """
    outcome = run(session, *go_on(session, settings))
    assert outcome.code == 0, f"cannot go on: {outcome.err}"
    check_whole(session.folder)
    is_old = (
        old
        and (old / "config.json").read_bytes()
        == (session.folder / "config.json").read_bytes()
    )
    check_same(session.folder, old if old and is_old else expected)
