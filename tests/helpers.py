"""What the tests of the commands share: a small data set as files, and scripts called here or in a process."""

import contextlib
import importlib
import io
import itertools
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from mlp_xp.commands import command_line

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
PATIENCE = 60  # seconds, for whatever a process should do at once


class Outcome(NamedTuple):
    """How a script ended."""

    code: int
    out: str
    err: str


def load_script(name: str) -> ModuleType:
    """The module of a command."""
    return importlib.import_module(f"mlp_xp.commands.{name}")


def call(name: str, *args: Any) -> Outcome:
    """Run a command in this process, as its script does."""
    return call_main(load_script(name).main, SCRIPTS / f"{name}.py", *args)


def call_main(main: Callable[[], int | None], *argv: Any) -> Outcome:
    """Run a main function in this process, with a command line of its own."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", [*map(str, argv)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            command_line.run(main)
        except SystemExit as stop:
            code = stop.code
    return Outcome(code or 0, out.getvalue(), err.getvalue())


def start(name: str, *args: Any, first: str = "", **options: Any) -> subprocess.Popen:
    """Run a script in a process of its own, its output in pipes unless the options say otherwise.

    first: Python that the process runs before it becomes the script. (A preexec_fn would fork this process, where
    threads of JAX may hold a lock.)
    """
    env = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "GITHUB_STEP_SUMMARY")}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    env = {**env, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, args)]
    if first:
        command = [sys.executable, "-c", f"import os, sys; {first}; os.execv(sys.argv[1], sys.argv[1:])", *command]
    return subprocess.Popen(command, env=env, **options)


def finish(process: subprocess.Popen) -> Outcome:
    """Wait for the end of a process."""
    with process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Outcome(process.returncode, out or "", err or "")


def on_a_terminal(name: str, *args: Any, interrupt_after: bytes = b"") -> tuple[int, bytes]:
    """Run a script on a terminal of 80 columns; its exit code and all that it wrote. Ctrl-C once something is shown."""
    ours, its = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    control = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    process = start(name, *args, stdin=its, stdout=its, stderr=its, env=env, start_new_session=True, first=control)
    os.close(its)
    said, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if select.select([ours], [], [], 1)[0]:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that the other side is closed
                break
            if not piece:
                break
            said += piece
        if interrupt_after and interrupt_after in said:
            os.write(ours, b"\x03")  # what the key sends
            interrupt_after = b""
    process.wait(PATIENCE)
    os.close(ours)
    return process.returncode, said


def wait_until(true: Callable[[], Any], process: subprocess.Popen) -> None:
    """Wait until something holds, which the running process is to bring about."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def assert_one_line(outcome: Outcome, code: int, *parts: str) -> None:
    """The script failed with this code and one line that holds these parts; nothing else was said."""
    assert outcome.code == code, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.endswith("\n")
    assert "Traceback" not in outcome.out + outcome.err
    for part in parts:
        assert part in outcome.err


def metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl, read independently of the package."""
    text = (folder / "metrics.jsonl").read_text()
    assert not text or text.endswith("\n"), "a line was cut off"
    return [json.loads(line) for line in text.splitlines()]


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in equal runs: all but the clock's readings."""
    return {name: value for name, value in record.items() if name not in ("seconds", "samples_per_second")}


def assert_same_run(folder: Path, expected: Path) -> None:
    """Two finished runs are the same to the bit."""
    assert [*map(without_times, metrics(folder))] == [*map(without_times, metrics(expected))]
    assert (folder / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    results = [json.loads((each / "result.json").read_text()) for each in (folder, expected)]
    assert without_times(results[0]) == without_times(results[1])


def arrays_of(network: Any, to_numpy: Callable[[Any], np.ndarray]) -> list[np.ndarray]:
    """Every array of a network, on the host."""
    return [to_numpy(array) for layer in network for array in layer]


def small_settings(**changes: Any) -> dict[str, Any]:
    """Settings of a run on TINY that takes no time, as a flat record; its reports and checkpoints fall anywhere."""
    return {"epochs": 3, "hidden": [4], "learning_rate": 0.05, "report_every": 50, "checkpoint_every": 70, **changes}


def options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options of the command line."""
    words = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return words


def die_at(monkeypatch: Any, original: Callable[..., Any], calls: int) -> None:
    """Let a module's function do its work, and from so many calls on die right after it."""
    counter = itertools.count(1)

    def dying(*args: Any) -> None:
        original(*args)
        if next(counter) >= calls:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[original.__module__], original.__name__, dying)
