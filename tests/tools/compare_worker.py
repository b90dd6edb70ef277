"""The side of compare.py that runs in a checkout, in its interpreter and with its package; one per checkout.

`serve` runs commands: it forks, and the child runs a script as its `__main__`, so that each command has a process of
its own without the time to start Python. `time_steps` keeps one training and times pieces of it. Both read requests
from standard input, one JSON object a line, and answer likewise.
"""

import contextlib
import importlib
import json
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 200  # seconds for one command
PRELOADED = (
    "numpy",
    "array_api_compat.numpy",
    "safetensors.numpy",
    "rich.console",
    "rich.table",
    "filelock",
    "PIL.Image",
)


def serve(checkout: Path) -> None:
    """Answer requests for commands. A child leaves the loop and runs its command, and ends as any program does."""
    for name in (*PRELOADED, "mlp_xp.commands"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    if checkout not in Path(sys.modules["mlp_xp"].__file__).parents:
        sys.exit(f"{sys.executable}: mlp_xp is not that of {checkout}")
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        began = time.monotonic()
        beside = None
        if request["beside"]:
            beside = start(request, request["beside"], "beside.")
            if beside is None:
                return run(checkout, request, request["beside"])
            wait_for(Path(request["folder"], request["until"]), beside)
        child = start(request, request["words"], "")
        if child is None:
            return run(checkout, request, request["words"])
        code = finish(child, request)
        if beside is not None:
            os.killpg(beside, signal.SIGKILL)
            os.waitpid(beside, 0)
        texts = {name: Path(request["folder"], name).read_text(errors="replace") for name in ("out", "err")}
        answer({"code": code, "seconds": time.monotonic() - began, **texts})
    return None


def start(request: dict[str, Any], words: list[str], prefix: str) -> int | None:
    """Fork. Return the child's number, and in the child, whose output goes to files in the folder, None."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.chdir(request["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(prefix + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if request["output"] == "closed pipe" and not prefix:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
    elif request["output"] and not prefix:
        os.dup2(os.open(request["output"], os.O_WRONLY), 1)
    for number in (signal.SIGHUP, signal.SIGTERM):  # as of a process that a shell in the foreground starts
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["environment"])
    if request["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"], resource.RLIM_INFINITY))
    for name in request["missing"]:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it then fails
    return None


def run(checkout: Path, request: dict[str, Any], words: list[str]) -> None:
    """Run a command by its script in the checkout, or else as `python -m mlp_xp`."""
    script = checkout / "scripts" / f"{words[0]}.py"
    if script.exists():
        sys.argv = [str(script), *words[1:]]
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")
    else:
        sys.argv = ["mlp_xp", *words]
        runpy.run_module("mlp_xp", run_name="__main__", alter_sys=True)


def wait_for(path: Path, child: int) -> None:
    """Wait until a file is there and not empty."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not (path.exists() and path.stat().st_size):
        time.sleep(0.01)


def finish(child: int, request: dict[str, Any]) -> int:
    """Send the signal of the request, wait for the end, and return the exit code as a shell shows it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code
        path = Path(request["folder"], request["until"] or ".")
        if request["signal"] and path.exists() and path.stat().st_size:
            os.kill(child, request["signal"])
            request["signal"] = 0
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def pieces(library: str, dtype: str, hidden: list[int], batch: int, steps: int) -> Callable[[], object]:
    """Return a function that trains that many steps further: all that this file knows of the package's Python API."""
    import mlp_xp
    from mlp_xp import Dataset, TrainConfig, load_dataset, open_backend, train

    backend = open_backend(library, dtype=dtype, threads=1)
    mnist = load_dataset("mnist")
    images, labels, test_images, test_labels = mnist[:4]
    test = test_images[:100], test_labels[:100]
    from_arrays = getattr(mlp_xp, "from_arrays", None) or Dataset.from_arrays  # the latter in older versions
    dataset = from_arrays(images, labels, test, backend=backend)
    modern = {"activation": "relu", "init": "he", "optimizer": "momentum", "update_order": "simultaneous"}
    config = TrainConfig(
        epochs=1000, hidden=tuple(hidden), batch_size=batch, report_every=steps * batch, **(modern if batch > 1 else {})
    )
    reports = train(config, dataset, backend)
    return lambda: next(report for report in reports if report.sample)  # without that of the first sample


def time_steps() -> None:
    """Answer requests: with a workload, begin it; without one, train a piece and say how many seconds it took."""
    piece: Callable[[], object] = object
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if request:
            piece = pieces(**request)
            piece()  # compiles
        began = time.perf_counter()
        piece()
        answer(time.perf_counter() - began)


def answer(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        time_steps()
