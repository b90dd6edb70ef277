"""Time contestants on a workload, each in its own process, with interleaved rounds.

Every contestant uses the same number of threads, the same samples in the same order, and the same initial weights. The
rounds take turns, so that a disturbance of the machine affects all contestants. Processes that take training steps stay
alive; whole programs run in a new process in each round.
"""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.whole import ALL, WARM, contestant_of
from benchmarks.workloads import STEPS, Job, Workload
from mlp_xp.errors import MlpXpError

Record = dict[str, Any]
"""What bench.json contains."""
ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("numpy", "jax", "torch", "cupy-cuda12x", "cupy-cuda13x", "scikit-learn", "keras", "numba")
# NPROC is for XLA.
POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
)
# From this number of elements in a layer's outputs on, the references, which are not timed, use all processors.
MANY_ELEMENTS = 2**20


class WorkerError(MlpXpError):
    """A contestant's process that ended too early; the message is its last line of output."""


class Worker:
    """A contestant's process, which runs a round on request. Must be closed."""

    def __init__(self, job: Job, cache: str) -> None:
        """Start the process and wait until it is ready. Raises WorkerError with the reason if it is not.

        cache: the folder in which `mlp_xp` keeps what JAX compiled; empty for none.
        """
        gpu = contestant_of(job.contestant, job.workload.kind).gpu
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = dict.fromkeys(POOLS, str(job.threads)) | {"PYTHONPATH": os.pathsep.join(paths)}
        # Else the time of the first round would depend on earlier runs.
        variables |= {"MLP_XP_CACHE": cache} if cache else {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        removed = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
        kept = {name: value for name, value in os.environ.items() if name not in removed}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        began = time.perf_counter()
        # PyTorch runs the backward pass on a GPU from a second thread, and usually nobody pins it.
        with on_processors(None if gpu else job.threads):
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.worker",
                    json.dumps(job._asdict() | {"workload": job.workload._asdict()}),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=kept | variables,
            )
        try:
            first = self.read()
            if "unavailable" in first:
                raise WorkerError(first["unavailable"])
        except WorkerError:
            self.close()
            raise
        self.samples: int = first["ready"]
        self.start_seconds = time.perf_counter() - began

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def read(self) -> Record:
        """Return the next answer. Raises WorkerError with the last line of errors if there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or [f"ended with code {self.process.returncode}"]
            raise WorkerError(said[-1])
        answer: Record = json.loads(line)
        return answer

    def ask(self, command: str) -> Record:
        """Send a command and return its answer."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # read raises the error
            print(command, file=self.process.stdin, flush=True)
        return self.read()


@contextmanager
def on_processors(number: int | None) -> Iterator[None]:
    """Let processes that start in the `with` block use `number` processors, if the system can; None for all.

    Not only the variables: XLA starts one thread for each processor that it may use.
    """
    if number is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)  # of this thread, which passes it on
    os.sched_setaffinity(0, sorted(before)[-number:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(
    workload: Workload,
    names: Iterable[str],
    *,
    rounds: int,
    threads: int,
    data_dir: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Run contestants on a workload. Return its fields, `reference_loss` by update order, and a list `results`.

    There is one result per contestant. It has round_seconds and start_seconds (the first round included, which is not
    counted), peak_bytes and loss; or `unavailable` with the reason. Raises MlpXpError if a round is longer than an
    epoch.
    """
    results: dict[str, Record] = {
        name: {"contestant": name, "start_seconds": [], "round_seconds": []} for name in names
    }
    with ExitStack() as held:
        caches = Path(held.enter_context(tempfile.TemporaryDirectory()))
        workers: dict[str, Worker] = {}
        for i in range(rounds + 1):
            for name, result in results.items():
                if "unavailable" in result:
                    continue
                say(f"{workload.name}: round {i} of {rounds}, {name}")
                cache = "" if workload.kind == STEPS else str(caches / (WARM if name == WARM else f"{i}"))
                try:
                    worker = workers.pop(name, None)
                    if worker is None:
                        worker = Worker(Job(name, workload, threads, str(data_dir)), cache)
                        held.callback(worker.close)
                        result["start_seconds"].append(worker.start_seconds)
                    check_fits(workload, worker.samples)
                    result["round_seconds"].append(worker.ask("round")["seconds"])
                    if i == rounds or workload.kind != STEPS:
                        result |= worker.ask("end")
                    else:
                        workers[name] = worker
                except WorkerError as error:
                    results[name] = {"contestant": name, "unavailable": str(error)}
        ran = [name for name, result in results.items() if "loss" in result]
        losses = {}
        if workload.kind == STEPS:
            large = workload.batch_size * max(workload.hidden, default=1) >= MANY_ELEMENTS
            for order in sorted({contestant_of(name, STEPS).order for name in ran}):
                say(f"{workload.name}: reference, {order}")
                worker = Worker(Job(order, workload, (os.cpu_count() or 1) if large else threads, str(data_dir)), "")
                held.callback(worker.close)
                for _ in range(rounds + 1):
                    worker.ask("round")
                losses[order] = worker.ask("end")["loss"]
        elif (first := next(iter(ALL[workload.kind]))) in ran:
            losses = {ALL[workload.kind][first].order: results[first]["loss"]}
    return {**workload._asdict(), "reference_loss": losses, "results": list(results.values())}


def check_fits(workload: Workload, samples: int) -> None:
    """Raise MlpXpError if a round is longer than an epoch."""
    if workload.steps * workload.batch_size > samples:
        raise MlpXpError(
            f"{workload.steps} steps of {workload.batch_size} samples do not fit the {samples} training samples; "
            "a round is at most one epoch",
            setting="steps",
        )


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def circumstances(threads: int, rounds: int) -> Record:
    """Return what the times depend on: date, machine, versions, threads, rounds."""
    versions = {"Python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    return {
        "date": dt.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} processors, {platform.system()} {platform.release()}",
        "versions": versions,
        "threads": threads,
        "rounds": rounds,
    }
