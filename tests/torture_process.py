"""What the torture tools share: processes that are forked, counted and killed, and the checks of what they leave.

The tools fork every process from one that has imported the libraries, because starting Python takes a hundred times as
long as a training run of two hundred samples. The shim `torture_shim.c` counts the calls that change files below the
root, and kills the process, or lets a call fail, at the number asked for. Linux and a C compiler are required.
"""

import contextlib
import ctypes
import hashlib
import importlib
import json
import mmap
import os
import random
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data_sets import TINY, write_idx_folder
from helpers import metrics, options, without_times

ROOT = Path(__file__).resolve().parent.parent
SHIM_SOURCE = Path(__file__).with_name("torture_shim.c")
PATIENCE = 120  # seconds, for what a process does in less than ten
TORN = 1000  # as in the shim
SIGNALS = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP}
TRACEBACK = "Traceback (most recent call last)"


class UnavailableError(Exception):
    """A part that cannot run on this machine, with the reason."""


class Fault(NamedTuple):
    """A broken promise."""

    what: str
    command: str
    """Reproduces it."""
    kept: str
    """The folder in which it was found."""


class Session(NamedTuple):
    """What a tool works with."""

    space: Path
    """An empty folder, in memory where possible: a killed process loses nothing that the kernel has."""
    keep: Path
    """For the folders of faults."""
    backend: str
    seed: int
    end: float
    """The time, by time.monotonic, after which no new round begins."""
    rounds: int
    """At most so many; 0: any number."""
    only: str
    """A single round."""
    plant: str
    counts: Counter[str]
    faults: list[Fault]

    def goes_on(self) -> bool:
        """Return whether there is time for another round. A planted fault need be found once only."""
        if self.plant and self.faults:
            return False
        return time.monotonic() < self.end and not (self.rounds and self.counts["rounds"] >= self.rounds)


class Outcome(NamedTuple):
    """The end of a process. code: the exit code, or minus the number of the signal that killed it."""

    code: int
    out: str
    err: str
    calls: int


class Process(NamedTuple):
    """A process that was forked."""

    pid: int
    handle: int
    out: Path
    err: Path
    counter: mmap.mmap
    pipe: int


def with_shim(cache: Path) -> None:
    """Start this program again, with the shim, unless it has it. Raises UnavailableError."""
    if not sys.platform.startswith("linux"):
        raise UnavailableError("needs Linux")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise UnavailableError("needs a C compiler, cc")
    name = hashlib.sha256(SHIM_SOURCE.read_bytes()).hexdigest()[:16]
    shim = cache / f"torture-{name}.so"
    if os.environ.get("LD_PRELOAD") == str(shim):
        return
    cache.mkdir(parents=True, exist_ok=True)
    aside = shim.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-w", "-o", aside, SHIM_SOURCE, "-ldl"], check=True)
    aside.replace(shim)
    env = {
        **os.environ,
        "LD_PRELOAD": str(shim),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",  # a process with threads must not be forked
        "OPENBLAS_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], env)


def preload(backend: str, pictures: bool = False) -> None:
    """Import what a training process needs, and start none of its threads."""
    sys.argv = sys.argv[:1]
    from mlp_xp.commands import evaluate, train, training  # noqa: F401

    for name in ("safetensors.numpy", "array_api_compat.numpy", "charset_normalizer"):
        importlib.import_module(name)
    for name in {"jax": ["jax", "jax.numpy"], "torch": ["torch", "array_api_compat.torch"]}.get(backend, []):
        importlib.import_module(name)
    if pictures:
        importlib.import_module("mlp_xp.show.gallery")
        importlib.import_module("matplotlib.backends.backend_agg")
    threads = len([*Path("/proc/self/task").iterdir()])
    if threads > 1 and backend == "numpy":
        raise UnavailableError(f"this process has {threads} threads and cannot be forked")


def fork(
    session: Session,
    command: str,
    *args: Any,
    at: int = 0,
    number: int = 0,
    error: int = 0,
    stays: bool = False,
    log: Path | None = None,
    pictures: bool = False,
    broken_pipe: bool = False,
    first: Callable[[], None] | None = None,
) -> Process:
    """Start a command of the package in a process of its own.

    Before its call number `at` it gets the signal `number`, or that call fails with `error` (`stays`: and all after
    it). log: for the calls. pictures: draw them. first: called in the new process before the command.
    """
    stem = session.space / f"process-{time.monotonic_ns()}"
    out, err = stem.with_suffix(".out"), stem.with_suffix(".err")
    counter = mmap.mmap(-1, mmap.PAGESIZE)
    ours, its = os.pipe() if broken_pipe else (-1, -1)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for number_, path in ((1, out), (2, err)):
                fd = its if broken_pipe and number_ == 1 else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(fd, number_)
            if broken_pipe:
                os.close(ours)
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
            sys.argv = [f"{command}.py", *map(str, args)]
            code = _child(session, command, counter, at, number, error, stays, log, pictures, first)
        finally:
            os._exit(code)
    if broken_pipe:
        os.close(its)
    return Process(pid, os.pidfd_open(pid), out, err, counter, ours)


def _child(
    session: Session,
    command: str,
    counter: mmap.mmap,
    at: int,
    number: int,
    error: int,
    stays: bool,
    log: Path | None,
    pictures: bool,
    first: Callable[[], None] | None,
) -> int:
    from mlp_xp.commands import main, training

    if not pictures:
        training.draw_pictures = lambda *_: None
    if first:
        first()
    logfd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if log else -1
    address = ctypes.addressof(ctypes.c_int64.from_buffer(counter))
    arm = ctypes.CDLL(os.environ["LD_PRELOAD"]).torture_arm
    arm.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long, *[ctypes.c_int] * 4]
    arm(os.fsencode(session.space / "root"), address, at, int(number), error, stays, logfd)
    code = 0
    try:
        main(command)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    return code


def wait(process: Process) -> Outcome:
    """Wait for the end of a process. One that does not end is killed, and has the code -999."""
    ended = select.select([process.handle], [], [], PATIENCE)[0]
    if not ended:
        os.kill(process.pid, signal.SIGKILL)
    status = os.waitpid(process.pid, 0)[1]
    os.close(process.handle)
    if process.pipe >= 0:
        with contextlib.suppress(OSError):
            os.close(process.pipe)
    code = os.waitstatus_to_exitcode(status) if ended else -999
    out, err = (path.read_text(errors="replace") if path.exists() else "" for path in (process.out, process.err))
    for path in (process.out, process.err):
        path.unlink(missing_ok=True)
    calls = int.from_bytes(process.counter[:8], "little", signed=True)
    return Outcome(code, out, err, calls)


def run(session: Session, command: str, *args: Any, **control: Any) -> Outcome:
    """Run a command to its end."""
    return wait(fork(session, command, *args, **control))


def is_stopped(process: Process, within: float = PATIENCE) -> bool:
    """Wait until a process has stopped or ended. Return whether it is stopped."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if state in "TZ":
            return state == "T"
        time.sleep(0.0005)
    return False


# Settings, drawn at random.


def draw_settings(rng: random.Random, backend: str) -> dict[str, Any]:
    """Return the settings of a small run on the data of `make_data`."""
    optimizer = rng.choice(["sgd", "sgd", "momentum", "adam"])
    validation = rng.choice([0, 0, 30, 60])
    record: dict[str, Any] = {
        "backend": backend,
        "epochs": rng.randint(1, 4),
        "hidden": rng.choice([[4], [6, 5], [3]]),
        "learning_rate": rng.choice([0.05, 0.02, 0.005]),
        "batch_size": rng.choice([1, 1, 3, 16, 64]),
        "dtype": rng.choice(["float64", "float32"]),
        "optimizer": optimizer,
        "schedule": rng.choice(["constant", "cosine"]),
        "activation": rng.choice(["sigmoid", "tanh", "relu"]),
        "report_every": rng.choice([23, 50, 97, 200]),
        "checkpoint_every": rng.choice([0, 31, 70, 110]),
        "warm_up_steps": rng.choice([0, 10]),
        "validation": validation,
        "patience": rng.choice([0, 1, 2]) if validation else 0,
        "seed": rng.randint(0, 99),
    }
    return record


def make_data(session: Session) -> Path:
    """Write the data set, 200 training and 60 test images of 6 x 6, and return its folder."""
    folder = session.space / "data"
    if not folder.exists():
        write_idx_folder(folder, TINY)
    return folder


def new_run(session: Session, settings: dict[str, Any], run_folder: Path, *more: Any) -> list[Any]:
    """Return the options that start a run."""
    words = options({name: value for name, value in settings.items() if name != "defer_updates"})
    words += [] if settings.get("defer_updates", True) else ["--no-defer-updates"]
    return [*words, "--data-dir", make_data(session), "--run-dir", run_folder, *more]


def reference(session: Session, settings: dict[str, Any]) -> tuple[Path, int]:
    """Return the folder of an uninterrupted run with these settings, and its number of calls."""
    folder = session.space / "root" / "reference"
    shutil.rmtree(folder, ignore_errors=True)
    outcome = run(session, "train", *new_run(session, settings, folder))
    if outcome.code:
        raise UnavailableError(f"the uninterrupted run fails: {outcome.err or outcome.code}")
    return folder, outcome.calls


# Checks. Each returns what is wrong, or an empty string.


def differs(folder: Path, expected: Path) -> str:
    """Compare two finished runs, bit by bit."""
    from mlp_xp.runs.checkpoints import read_tensors

    try:
        ours, theirs = ([*map(without_times, metrics(each))] for each in (folder, expected))
        if len(ours) != len(theirs):
            return f"metrics.jsonl has {len(ours)} lines instead of {len(theirs)}"
        if ours != theirs:
            return "metrics.jsonl differs"
        if (folder / "model.safetensors").read_bytes() != (expected / "model.safetensors").read_bytes():
            return "model.safetensors differs"
        results = [without_times(json.loads((each / "result.json").read_text())) for each in (folder, expected)]
        if results[0] != results[1]:
            return "result.json differs"
        left, right = (read_tensors(each / "checkpoint.safetensors")[0] for each in (folder, expected))
        if {*left} != {*right} or any(not np.array_equal(left[name], right[name]) for name in left):
            return "checkpoint.safetensors differs"
    except Exception as error:
        return f"the finished run cannot be read: {type(error).__name__}: {error}"
    return ""


def not_whole(folder: Path) -> str:
    """Check that every file of a run folder is complete, or absent."""
    from mlp_xp.errors import MlpXpError
    from mlp_xp.runs import checkpoints, run_folder

    try:
        if not folder.exists() or is_replaced(folder):
            return ""
        if not (folder / "config.json").exists():
            held = {path.name for path in folder.iterdir()} & {"model.safetensors", "checkpoint.safetensors"}
            return f"no config.json, but {', '.join(sorted(held))}" if held else ""
        run_folder.read_config(folder)
        if (folder / "model.safetensors").exists():
            checkpoints.load_model(folder)
        reports = len(run_folder.read_metrics(folder))
        if (folder / "checkpoint.safetensors").exists():
            _, facts = checkpoints.read_tensors(folder / "checkpoint.safetensors")
            expected = json.loads(facts["position"])["reports"]
            if reports < expected:
                return f"metrics.jsonl has {reports} reports, the checkpoint expects {expected}"
        if (folder / "result.json").exists():
            json.loads((folder / "result.json").read_text())
            if not (folder / "checkpoint.safetensors").exists():
                return "a result without a checkpoint"
        for path in folder.glob("*.png"):
            from PIL import Image

            with Image.open(path) as picture:
                picture.load()
    except (MlpXpError, ValueError, OSError) as error:
        return f"not whole: {error}"
    return ""


def is_replaced(folder: Path) -> bool:
    """Return whether a new run was about to take the place of an old one. Until that is done, the folder is refused."""
    return (folder / ".ready").is_dir()


def progress(folder: Path) -> int:
    """Return the step of a run's checkpoint, or -1."""
    from mlp_xp.runs.checkpoints import read_tensors

    if not (folder / "checkpoint.safetensors").exists():
        return -1
    try:
        return int(json.loads(read_tensors(folder / "checkpoint.safetensors")[1]["position"])["step"])
    except Exception:
        return -1


def go_on(session: Session, settings: dict[str, Any], folder: Path) -> list[Any]:
    """Return the options with which a person continues: --resume, or the first command where there is no run yet."""
    if (folder / "config.json").exists():
        return ["--resume", folder]
    return new_run(session, settings, folder)


def unlike_an_error(outcome: Outcome, code: int) -> str:
    """Check that a process ended with this code and one line on standard error."""
    if TRACEBACK in outcome.err:
        return f"a traceback: {outcome.err.strip().splitlines()[-1]}"
    if outcome.code != code:
        return f"exit code {outcome.code} instead of {code}: {outcome.err.strip()[-300:]}"
    if outcome.err.count("\n") != 1:
        return f"{outcome.err.count(chr(10))} lines on standard error instead of 1: {outcome.err.strip()[-300:]}"
    return ""


def evaluates(session: Session, folder: Path) -> str:
    """Check that `evaluate` works, or says in one line why there is nothing to evaluate."""
    outcome = run(session, "evaluate", folder, "--data-dir", make_data(session))
    if outcome.code == 0:
        return ""
    if (folder / "model.safetensors").exists() and (folder / "config.json").exists() and not is_replaced(folder):
        return f"evaluate fails on a saved model: {outcome.err.strip()}"
    return unlike_an_error(outcome, 2)


def report(session: Session, part: str, what: str, folder: Path, only: str) -> None:
    """Keep a fault: what is wrong, the command that shows it again, and its folder."""
    words = ["python", "tests/torture.py", part, "--backends", session.backend, "--seed", session.seed]
    words += [*(["--plant", session.plant] if session.plant else []), "--only", only]
    kept = session.keep / f"{part}-{session.backend}-{only.replace(':', '-')}"
    shutil.rmtree(kept, ignore_errors=True)
    if folder.exists():
        shutil.copytree(folder, kept, ignore_dangling_symlinks=True)
    session.faults.append(Fault(what, shlex.join(map(str, words)), str(kept)))
    session.counts["faults"] += 1
    print(f"fault: {part} {session.backend} {only}: {what}\n  {shlex.join(map(str, words))}", flush=True)


@contextlib.contextmanager
def session_space() -> Iterator[Path]:
    """Return an empty folder in memory where there is one, and remove it in the end."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 200_000_000
    space = Path(tempfile.mkdtemp(prefix="torture-", dir=memory if usable else None)).resolve()
    try:
        yield space
    finally:
        shutil.rmtree(space, ignore_errors=True)
