"""Helpers for tests of the commands, which run in this process or in a separate one."""

import contextlib
import copy
import functools
import inspect
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import array_api_compat.numpy as numpy
import numpy as np

from mlp_xp import commands
from mlp_xp.commands.process import run_command
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job
from mlp_xp.core.network import initial_layers
from mlp_xp.core.step import State, initial_state
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.run_folder import OVERWRITE, RESUME, RunFolder
from mlp_xp.runs.settings import Settings

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
PATIENCE = 60  # seconds, for what a process should do at once


class Namespace:
    """A library of a test's own: NumPy, but for some functions."""

    def __init__(self, **functions):
        self.__dict__.update(functions)

    def __getattr__(self, name):
        return getattr(numpy, name)


# The start of a module with such libraries.
NAMESPACE = (
    f"import array_api_compat.numpy as numpy\n\n\n{inspect.getsource(Namespace)}"
)


def changed(backend: Backend, **attributes: Any) -> Backend:
    """Return a copy of a backend with other attributes or methods."""
    other = copy.copy(backend)
    vars(other).update(attributes)
    return other


def native(text: str) -> str:
    """Return a text with the paths in it as this system writes them."""
    return text.replace("/", os.sep)


class Outcome(NamedTuple):
    """The exit code and output of a script."""

    code: int
    out: str
    err: str


def call(name: str, *args: Any) -> Outcome:
    """Run a command in this process, like its script."""
    return call_main(
        lambda: commands.call([name, *sys.argv[1:]]), SCRIPTS / f"{name}.py", *args
    )


def call_main(main: Callable[[], int | None], *argv: Any) -> Outcome:
    """Run a main function in this process with the given command line."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", [*map(str, argv)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run_command(main)
        except SystemExit as stop:
            code = stop.code
    return Outcome(code or 0, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def not_ignored() -> Iterator[None]:
    """Give SIGINT and SIGHUP their usual effect, in what is started too: `nohup make
    test &` runs with both ignored.
    """
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def start(name: str, *args: Any, first: str = "", **options: Any) -> subprocess.Popen:
    """Start a command in a separate process, with its output in pipes unless the
    options say otherwise.

    first: Python code that the process runs before the command. (A preexec_fn would
    fork this process, in which threads of JAX may hold a lock.)
    """
    env = {k: v for k, v in os.environ.items() if k != "FORCE_COLOR"}
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "encoding": "utf-8",
        **options,
    }
    env = {**env, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "mlp_xp", name, *map(str, args)]
    if first:
        command = [
            sys.executable,
            "-c",
            f"import os, sys; {first}; os.execv(sys.argv[1], sys.argv[1:])",
            *command,
        ]
    return popen(command, env=env, **options)


def popen(command: list[str], **options: Any) -> subprocess.Popen:
    """Start a process on which SIGINT and SIGHUP have their usual effect."""
    with not_ignored():
        return subprocess.Popen(command, **options)


def finish(process: subprocess.Popen) -> Outcome:
    """Wait for a process to end, and return its outcome."""
    with process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Outcome(process.returncode, out or "", err or "")


def on_a_terminal(
    name: str, *args: Any, interrupt_after: bytes = b""
) -> tuple[int, bytes]:
    """Run a script on a terminal of 80 columns. Return its exit code and its output.

    interrupt_after: press Ctrl-C when the output contains this.
    """
    import pty  # POSIX alone has these
    import select

    ours, its = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    control = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    process = start(
        name,
        *args,
        stdin=its,
        stdout=its,
        stderr=its,
        env=env,
        start_new_session=True,
        first=control,
    )
    os.close(its)
    said, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # on Linux: the other side is closed
                break
            if not piece:
                break
            said += piece
        if interrupt_after and interrupt_after in said:
            os.write(ours, b"\x03")  # Ctrl-C
            interrupt_after = b""
    process.wait(PATIENCE)
    os.close(ours)
    return process.returncode, said


def wait_until(true: Callable[[], Any], process: subprocess.Popen) -> None:
    """Wait until a condition is true, while the process runs."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.005)


def assert_one_line(outcome: Outcome, code: int, *parts: str) -> None:
    """Assert that a script failed with this code and a single line on standard error
    that contains all parts.
    """
    assert outcome.code == code, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    assert "Traceback" not in outcome.out + outcome.err
    for part in parts:
        assert part in outcome.err


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return all records of metrics.jsonl, read without the package."""
    text = (folder / "metrics.jsonl").read_text()
    assert not text or text.endswith("\n"), "a line was cut off"
    return [json.loads(line) for line in text.splitlines()]


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without times, which differ between equal runs."""
    return {
        name: value
        for name, value in record.items()
        if name not in ("seconds", "samples_per_second")
    }


def assert_same_run(folder: Path, expected: Path) -> None:
    """Assert that two finished runs are identical, bit by bit."""
    assert [*map(without_times, metrics(folder))] == [
        *map(without_times, metrics(expected))
    ]
    assert (folder / "model.safetensors").read_bytes() == (
        expected / "model.safetensors"
    ).read_bytes()
    results = [
        json.loads((each / "result.json").read_text()) for each in (folder, expected)
    ]
    assert without_times(results[0]) == without_times(results[1])


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def first_state(config: TrainConfig, sizes: tuple[int, ...], backend: Backend) -> State:
    """Return the state with which training starts, on the device."""
    return initial_state(
        config,
        initial_layers(sizes, np.random.RandomState(config.seed), config.init),
        backend,
    )


def arrays_of(network: Any, to_numpy: Callable[[Any], np.ndarray]) -> list[np.ndarray]:
    """Return all arrays of a network on the host."""
    return [to_numpy(array) for layer in network for array in layer]


def small_settings(**changes: Any) -> dict[str, Any]:
    """Return settings of a very short run on TINY, as a flat record; reports and
    checkpoints are at odd places.
    """
    return {
        "epochs": 3,
        "hidden": [4],
        "learning_rate": 0.05,
        "report_every": 50,
        "checkpoint_every": 70,
        **changes,
    }


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as command line options."""
    words = []
    for name, value in settings.items():
        words += [
            f"--{name.replace('_', '-')}",
            *(map(str, value) if isinstance(value, list) else [str(value)]),
        ]
    return words


def die_at(monkeypatch: Any, original: Callable[..., Any], calls: int) -> None:
    """Patch a function or a method to raise KeyboardInterrupt after its work, from call
    number `calls` on.
    """
    counter = itertools.count(1)

    def dying(*args: Any) -> None:
        original(*args)
        if next(counter) >= calls:
            raise KeyboardInterrupt

    *owner, name = original.__qualname__.split(".")
    place = functools.reduce(getattr, owner, sys.modules[original.__module__])
    monkeypatch.setattr(place, name, dying)


class Killed(BaseException):
    """The process is gone: no operation on files succeeds any more, whoever tries."""


@contextlib.contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """Let operation `number` on files and all later ones raise Killed; the list
    receives the names of those before it.

    Waits for the disk are left out: a kill loses nothing that was written.
    """
    done: list[str] = []

    def dying(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            if len(done) >= number:
                raise Killed
            done.append(name)
            return None if name == "fsync" else original(*args, **kwargs)

        return operation

    with contextlib.ExitStack() as patches:
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open"):
            patches.enter_context(
                mock.patch.object(os, name, dying(name, getattr(os, name)))
            )
        patches.enter_context(mock.patch.object(io, "open", dying("io.open", io.open)))
        with contextlib.suppress(Killed):
            yield done


def record_run(
    folder: Path,
    settings: Settings,
    dataset: Dataset,
    backend: Backend,
    *,
    overwrite: bool = False,
) -> None:
    """Train in a folder, as the command does."""
    existing = OVERWRITE if overwrite else RESUME
    experiment = Experiment(settings, Job(settings.train, dataset, backend))
    with RunFolder(folder).training(lambda: experiment, existing=existing) as (
        _,
        events,
    ):
        for _ in events:
            pass
