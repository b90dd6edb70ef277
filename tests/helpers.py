"""Helpers for tests of the commands, in this process or in a separate one."""

import ast
import contextlib
import copy
import functools
import inspect
import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from processes import PATIENCE, popen, run_on_a_terminal

from mlp_xp import commands
from mlp_xp.commands.process import run_command
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import Job
from mlp_xp.core.network import initial_layers
from mlp_xp.core.step import State, initial_state
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.recording import open_training
from mlp_xp.runs.run_folder import Existing, RunFolder
from mlp_xp.runs.settings import Settings

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
QUOTED = '"a b"' if sys.platform == "win32" else "'a b'"  # for a shell


# Commands in this process.


class Outcome(NamedTuple):
    """The exit code and output of a script."""

    code: int
    out: str
    err: str


def call(command: str, *words: Any, **settings: Any) -> Outcome:
    """Run a command in this process, like its script.

    `call("train --recipe small", run_dir=folder)` is
    `python scripts/train.py --recipe small --run-dir FOLDER`.

    command: its name, and options whose values have no spaces. words: further words of
    the command line. settings: see `options`.
    """
    name, *first = command.split()
    return call_main(
        lambda: commands.call([name, *sys.argv[1:]]),
        SCRIPTS / f"{name}.py",
        *first,
        *words,
        *options(settings),
    )


def output_of(command: str, *words: Any, **settings: Any) -> str:
    """Run a command like `call`, and return its output.

    Assert that it succeeds without a warning.
    """
    outcome = call(command, *words, **settings)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return outcome.out


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


def options(settings: Mapping[str, Any]) -> list[str]:
    """Return settings as command line options. True is an option without a value."""
    words = []
    for name, value in settings.items():
        words.append(f"--{name.replace('_', '-')}")
        if isinstance(value, list):
            words += map(str, value)
        elif value is not True:
            words.append(str(value))
    return words


def small_settings(**changes: Any) -> dict[str, Any]:
    """Return settings of a very short run on TINY, as a flat record.

    Reports and checkpoints are at odd places.
    """
    return {
        "epochs": 3,
        "hidden": [4],
        "learning_rate": 0.05,
        "report_every": 50,
        "checkpoint_every": 70,
        **changes,
    }


def small_config(**changes: Any) -> TrainConfig:
    """Return the configuration of `small_settings`."""
    settings = small_settings(**changes)
    return TrainConfig(**{**settings, "hidden": tuple(settings["hidden"])})


def assert_one_line(outcome: Outcome, code: int, *parts: str) -> None:
    """Assert this exit code, and a single line on standard error with all parts.

    A part with " ... " in it has several parts.
    """
    assert outcome.code == code, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    assert "Traceback" not in outcome.out + outcome.err
    for part in " ... ".join(parts).split(" ... "):
        assert part in outcome.err


def refusal(
    kind: type[MlpXpError], function: Callable[..., Any], *args: Any, **kwargs: Any
) -> str:
    """Return the message of an error of the user: one line, with exit code 2."""
    with pytest.raises(kind) as caught:
        function(*args, **kwargs)
    assert caught.value.exit_code == 2
    assert caught.value.__cause__ is caught.value.__context__, "the cause is not hidden"
    assert str(caught.value).isprintable()
    return str(caught.value)


def pattern(said: str) -> str:
    """Return a regular expression for words of a line. " ... " stands for any text."""
    return ".*".join(map(re.escape, said.split(" ... ")))


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Work in a folder, and assert that no file in it is written."""
    before = contents(folder)
    with contextlib.chdir(folder):
        yield
    assert contents(folder) == before


def contents(folder: Path) -> dict[Path, Any]:
    """Return times and bytes of all files in a folder, and the names of its folders."""
    return {
        path: path.is_file() and (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
    }


def native(text: str) -> str:
    """Return a text with the paths in it as this system writes them."""
    return text.replace("/", os.sep)


# Commands in processes of their own.


def start(name: str, *args: Any, first: str = "", **options: Any) -> subprocess.Popen:
    """Start a command in a separate process.

    Its output goes to pipes unless the options say otherwise.

    first: Python code to run in the process before the command. (A preexec_fn would
    fork this process, and threads of JAX may hold a lock.)
    """
    env = {**environment(), **options.pop("env", {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    command = command_of(name, *args)
    if first:
        code = f"import os, sys; {first}; os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", code, *command]
    return popen(command, env=env, **{**pipes, **options})


def environment() -> dict[str, str]:
    """Return the environment of a process: with one thread, and colours as usual."""
    others = {name: os.environ[name] for name in os.environ if name != "FORCE_COLOR"}
    return {**others, "OMP_NUM_THREADS": "1"}


def command_of(name: str, *args: Any) -> list[str]:
    """Return the command line of a process for a command."""
    return [sys.executable, "-m", "mlp_xp", name, *map(str, args)]


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
    """Run a command on a terminal. Return its exit code and its output.

    interrupt_after: press Ctrl-C when the output contains this.
    """
    command = command_of(name, *args)
    return run_on_a_terminal(
        command, interrupt_after=interrupt_after, env=environment()
    )


def wait_until(true: Callable[[], Any], process: subprocess.Popen) -> None:
    """Wait until a condition is true, while the process runs."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.005)


# Runs and their files.


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return all records of metrics.jsonl, read without the package."""
    text = (folder / "metrics.jsonl").read_text()
    assert not text or text.endswith("\n"), "a line was cut off"
    return [json.loads(line) for line in text.splitlines()]


def result(folder: Path) -> dict[str, Any]:
    """Return the closing record of a run, result.json."""
    return json.loads((folder / "result.json").read_text())


def stored(page: Path) -> dict[str, Any]:
    """Return the record of a network in a page."""
    block = page.read_text("utf-8").partition('type="application/json">')[2]
    return json.loads(block.partition("</script>")[0])


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without times: they differ between equal runs."""
    times = ("seconds", "samples_per_second")
    return {name: value for name, value in record.items() if name not in times}


def timeless(folder: Path) -> list[dict[str, Any]]:
    """Return all records of a finished run without times."""
    return [without_times(record) for record in [*metrics(folder), result(folder)]]


def assert_same_run(folder: Path, expected: Path) -> None:
    """Assert that two finished runs are identical, bit by bit."""
    assert timeless(folder) == timeless(expected)
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (expected / name).read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def record_run(
    folder: Path,
    settings: Settings,
    dataset: Dataset,
    backend: Backend,
    *,
    overwrite: bool = False,
) -> None:
    """Train in a folder, as the command does."""
    existing = Existing.OVERWRITE if overwrite else Existing.RESUME
    job = Job(settings.train, dataset, backend, settings.networks)
    experiment = Experiment(settings, job)
    run = RunFolder(folder)
    training = open_training(run, lambda: experiment, existing=existing)
    with training as (_, events):
        for _ in events:
            pass


# Networks, backends, packages.


def first_state(config: TrainConfig, sizes: tuple[int, ...], backend: Backend) -> State:
    """Return the state at the start of a training, on the device."""
    random = np.random.RandomState(config.seed)
    return initial_state(config, initial_layers(sizes, random, config.init), backend)


def arrays_of(network: Any, to_numpy: Callable[[Any], np.ndarray]) -> list[np.ndarray]:
    """Return all arrays of a network on the host."""
    return [to_numpy(array) for layer in network for array in layer]


def changed(backend: Backend, **attributes: Any) -> Backend:
    """Return a copy of a backend with other attributes or methods."""
    other = copy.copy(backend)
    vars(other).update(attributes)
    return other


def imported(statements: Iterable[ast.AST]) -> set[str]:
    """Return the packages in the import statements among these statements."""
    names: set[str] = set()
    for node in statements:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


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


# Interruptions.


def die_at(monkeypatch: Any, original: Callable[..., Any], calls: int) -> None:
    """Patch a function or method to raise KeyboardInterrupt after its work.

    It does so from call number `calls` on.
    """
    counter = itertools.count(1)

    def dying(*args: Any, **more: Any) -> None:
        original(*args, **more)
        if next(counter) >= calls:
            raise KeyboardInterrupt

    *owner, name = original.__qualname__.split(".")
    place = functools.reduce(getattr, owner, sys.modules[original.__module__])
    monkeypatch.setattr(place, name, dying)


class Killed(BaseException):
    """The process is gone: no operation on files succeeds any more, whoever tries."""


@contextlib.contextmanager
def killed_at(number: int) -> Iterator[list[str]]:
    """Let operation `number` on files and all later operations raise Killed.

    The list receives the names of the earlier operations.

    Waits for the disk are left out: a kill loses no written data.
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
