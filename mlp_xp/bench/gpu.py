"""The parts of `make gpu`: separate processes with time limits, so that a failed part does not affect the others."""

import contextlib
import datetime as dt
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.bench.card import Card
from mlp_xp.bench.gpu_worker import CASES
from mlp_xp.bench.measure import GPU_WORKLOADS, processor, versions
from mlp_xp.bench.report import Record

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 480
"""Time limit of a part, in seconds."""
LOOK_LIMIT = 120
"""Time limit for a library to open the card, in seconds."""
ROUNDS = 7
STAND_IN = Card("stand-in, not a GPU", "none", "none", "none")

# A contestant of the benchmark runs if its library sees the card.
CONTESTANTS = {
    "cupy": ("mlp_xp-cupy",),
    "jax": ("mlp_xp-jax-gpu",),
    "torch": ("mlp_xp-torch-gpu", "pytorch-gpu", "pytorch-gpu-graphs"),
}
LIBRARIES = tuple(CONTESTANTS)

PASSED, FAILED, UNFINISHED, NOT_RUN = "passed", "failed", "unfinished", "not run"

ENVIRONMENT = {
    # Several processes share the card; by default JAX reserves three quarters of its memory.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # No TF32, which multiplies float32 with ten bits. JAX uses it by default on recent cards; PyTorch and CuPy use it
    # only if it is enabled, which some containers do.
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "CUPY_TF32": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
    "NVIDIA_TF32_OVERRIDE": "0",
    # Card 0 is then the first card in nvidia-smi.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
}


class DryRun(NamedTuple):
    """A run of all parts on a stand-in for CuPy, without a GPU. All of its output is labelled as such."""

    folder: Path
    """A folder with a package named cupy that replaces CuPy."""
    steps: int = 3
    """The largest number of steps in the parity check and in a round."""
    tests: tuple[str, ...] = ("tests/test_functional.py", "-k", "cupy-stand-in")
    """Used instead of `-m gpu`, which would skip all tests."""


class Plan(NamedTuple):
    """What to run, and where to write the results."""

    folder: Path
    limit: float = LIMIT
    data_dir: Path | None = None
    """The data to use instead of MNIST."""
    dry_run: DryRun | None = None


class Part(NamedTuple):
    """A part of the run: commands that run in order and share the time limit."""

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    needs: str | None
    """The library that must see the card, if any."""


def environment(plan: Plan) -> dict[str, str]:
    """Return the environment variables of all processes."""
    paths = [str(plan.dry_run.folder)] if plan.dry_run else []
    paths += [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}


def run_part(
    commands: tuple[tuple[str, ...], ...], log: Path, limit: float, env: Mapping[str, str]
) -> list[int | None]:
    """Run commands in order, with their output in a file. Return exit codes; None if killed at the time limit.

    The processes that a killed command has started are killed too. An interrupt kills the command and is re-raised.
    """
    codes: list[int | None] = []
    end = time.monotonic() + limit
    with log.open("w") as file:
        for command in commands:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=env,
                start_new_session=True,
            )  # fmt: skip
            try:
                codes.append(process.wait(max(0.0, end - time.monotonic())))
            except BaseException as stop:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(stop, subprocess.TimeoutExpired):
                    raise
                return [*codes, None]
    return codes


def look(plan: Plan) -> list[Record]:
    """Return for each library its `name` and the result of `gpu_worker.look`: whether it sees the card."""
    found = []
    for name in LIBRARIES:
        log = plan.folder / f"look-{name}.log"
        command = worker(plan, "look", library=name, stand_in=plan.dry_run is not None)
        codes = run_part((command,), log, LOOK_LIMIT, environment(plan))
        answer = read_json(plan.folder / f"look-{name}.json")
        if answer is None:
            how = f"took more than {LOOK_LIMIT} s" if codes == [None] else f"ended with code {codes[0]}"
            answer = {"unseen": f"the process that opens it {how}: {last_line(log)}"}
        found.append({"name": name, **answer})
    return found


def parts(plan: Plan, libraries: list[Record]) -> list[Part]:
    """Return all parts, in order."""
    python = sys.executable
    report = str(plan.folder / "tests.xml")
    selection = plan.dry_run.tests if plan.dry_run else ("-m", "gpu")
    workers = min(4, os.cpu_count() or 1)
    parallel = [f"--numprocesses={workers}", "--dist=loadfile"] if importlib.util.find_spec("xdist") else []
    tests = (
        (python, "-m", "pytest", "-p", "no:cacheprovider", *selection, *parallel, f"--junit-xml={report}"),
        (python, "tests/require_passed.py", report),
    )
    title = "tests on the stand-in" if plan.dry_run else "GPU tests"
    found = [Part("tests", title, tests, "cupy")]
    for name in LIBRARIES:
        command = worker(
            plan, "parity", library=name, data_dir=str(plan.data_dir) if plan.data_dir else None,
            steps=plan.dry_run.steps if plan.dry_run else None,
        )  # fmt: skip
        found.append(Part(f"parity-{name}", f"parity, {name}", (command,), name))
    contestants = [each for name in seen(libraries) for each in CONTESTANTS[name]]
    for name, workload in GPU_WORKLOADS.items():
        command = (
            *(python, "-m", "mlp_xp", "bench", "--workloads", name, "--contestants", *contestants),
            *("--rounds", str(ROUNDS), "--output-dir", str(plan.folder / name)),
            *(("--data-dir", str(plan.data_dir)) if plan.data_dir else ()),
            *(("--rounds", "1", "--steps", str(min(plan.dry_run.steps, workload.steps))) if plan.dry_run else ()),
        )
        found.append(Part(name, f"benchmark, {workload.title}", (command,), None))
    return found


def seen(libraries: list[Record]) -> list[str]:
    """Return the names of the libraries that see the card."""
    return [library["name"] for library in libraries if "unseen" not in library]


def worker(plan: Plan, task: str, **others: Any) -> tuple[str, ...]:
    """Return the command for a task of `gpu_worker`."""
    return (
        sys.executable,
        "-m",
        "mlp_xp.bench.gpu_worker",
        json.dumps({"task": task, "folder": str(plan.folder), **others}),
    )


def begin(plan: Plan, card: Card, libraries: list[Record]) -> Record:
    """Return the record of a run before its first part."""
    return {
        "dry_run": plan.dry_run is not None,
        "card": (STAND_IN if plan.dry_run else card)._asdict(),
        "date": dt.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "versions": own_versions(plan, versions()),
        "libraries": libraries,
        "limit": plan.limit,
        "parts": [
            {"name": part.name, "title": part.title, "status": NOT_RUN, "reason": "the run ended before it"}
            for part in parts(plan, libraries)
        ],
        "parity": {},
        "workloads": [],
    }


def own_versions(plan: Plan, found: dict[str, str]) -> dict[str, str]:
    """Return the versions of what is used: in a dry run without CuPy, which the stand-in replaces."""
    return {name: version for name, version in found.items() if not (plan.dry_run and name.startswith("cupy"))}


def run(plan: Plan, record: Record, say: Callable[[str], None]) -> Iterator[Part]:
    """Run all parts, add their results to the record, and yield after each. A part's results do not change later."""
    libraries = record["libraries"]
    env = environment(plan)
    for i, part in enumerate(parts(plan, libraries)):
        say(f"{part.title} ...")
        entry: Record = {"name": part.name, "title": part.title}
        if part.needs and part.needs not in seen(libraries):
            entry |= {"status": NOT_RUN, "reason": f"{part.needs} does not see the card"}
        else:
            log = plan.folder / f"{part.name}.log"
            began = time.monotonic()
            codes = run_part(part.commands, log, plan.limit, env)
            entry |= {"seconds": time.monotonic() - began, **judge(part, codes, log)}
        collect(plan, part, record, entry)
        record["parts"][i] = entry
        say(f"{part.title}: {entry['status']}" + (f": {entry['reason']}" if entry.get("reason") else ""))
        yield part


def judge(part: Part, codes: list[int | None], log: Path) -> Record:
    """Return the status of a part that has run, with the reason if it is not `passed`."""
    if None in codes:
        return {"status": UNFINISHED, "reason": f"killed at its time limit; last output: {last_line(log)}"}
    if any(codes):
        code = next(code for code in codes if code)
        return {"status": FAILED, "reason": f"exit code {code}: {last_line(log)}"}
    return {"status": PASSED}


def collect(plan: Plan, part: Part, record: Record, entry: Record) -> None:
    """Add the results of a part to the record. A part that passed without results is set to failed."""
    if part.name == "tests":
        lines = log_lines(plan.folder / "tests.log")
        entry["summary"] = next((line for line in reversed(lines) if line.startswith("tests: ")), None)
        entry["not_passed"] = [line for line in lines if line.startswith("not passed: ")]
        missing = [] if entry["summary"] else ["the number of tests"]
    elif part.name.startswith("parity-"):
        library = part.name.removeprefix("parity-")
        found = {case.name: read_json(plan.folder / f"{part.name}-{case.name}.json") for case in CASES}
        record["parity"][library] = {name: result for name, result in found.items() if result}
        missing = [name for name, result in found.items() if not result]
    else:
        bench = read_json(plan.folder / part.name / "bench.json") or {"workloads": []}
        record["workloads"] += bench["workloads"]
        if bench["workloads"]:
            record["bench"] = {name: value for name, value in bench.items() if name != "workloads"}
            record["bench"]["versions"] = own_versions(plan, bench["versions"])
        ran = [each["contestant"] for workload in bench["workloads"] for each in workload["results"] if "loss" in each]
        ours = [each for name in seen(record["libraries"]) for each in CONTESTANTS[name] if each.startswith("mlp_xp")]
        missing = [name for name in ours if name not in ran]
    if entry["status"] == PASSED and missing:
        entry |= {"status": FAILED, "reason": f"no result for: {', '.join(missing)}"}


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None if it does not exist."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def log_lines(log: Path) -> list[str]:
    """Return the non-empty lines of a part's output."""
    try:
        return [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return []


def last_line(log: Path) -> str:
    """Return the last line of a part's output, shortened for a table."""
    return (log_lines(log) or [""])[-1][:300]
