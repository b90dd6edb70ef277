"""Time contestants on a workload, each in its own process, with interleaved rounds.

Every contestant uses the same number of threads, the same samples in the same order,
and the same initial weights. The rounds take turns, so that a disturbance of the
machine affects all contestants. Processes that take training steps stay alive; whole
programs run in a new process in each round.
"""

import datetime as dt
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from benchmarks.contestants import initial_network
from benchmarks.whole import ALL, WARM, contestant_of, make_contestant
from benchmarks.workloads import STEPS, Job, Workload
from mlp_xp.errors import MlpXpError

Record = dict[str, Any]
"""What bench.json contains."""
LIBRARIES = (
    "numpy",
    "jax",
    "torch",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "scikit-learn",
    "keras",
    "numba",
)
# NPROC is for XLA.
POOLS = (
    *(
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "NPROC",
)


class WorkerError(MlpXpError):
    """The reason why a contestant's process did not start, or ended too early."""


def serve(job: Job, connection: Connection) -> None:
    """Run a contestant in this process.

    Send its number of samples, and the seconds of a round for each True that comes.

    The rest, after False, is the peak memory and the loss.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        contestant = make_contestant(job)
        _, random = initial_network(job)
        contestant.shuffle(random.permutation(contestant.samples))
        start, samples = 0, job.workload.steps * job.workload.batch_size
        connection.send(contestant.samples)
        while connection.recv():
            if start + samples > contestant.samples:
                contestant.shuffle(random.permutation(contestant.samples))
                start = 0
            began = time.perf_counter()
            contestant.train(start, job.workload.steps)
            connection.send(time.perf_counter() - began)
            start += samples
        peak = peak_bytes()  # before the test images are loaded for the loss
        connection.send({"peak_bytes": peak, "loss": contestant.loss()})
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, MlpXpError)
            else f"{type(error).__name__}: {error}"
        )
        connection.send(WorkerError(reason))


def peak_bytes() -> int:
    """Return the peak memory of this process."""
    try:
        # On Linux, ru_maxrss includes the peak of the process that started this one;
        # VmHWM does not.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


class Worker:
    """A contestant's process, which runs a round on request. Must be closed."""

    def __init__(self, job: Job, cache: str) -> None:
        """Start the process and wait until it is ready.

        Raises WorkerError with the reason if it is not.

        cache: the folder in which `mlp_xp` keeps what JAX compiled; empty for none.
        """
        variables = dict.fromkeys(POOLS, str(job.threads)) | {
            "JAX_ENABLE_COMPILATION_CACHE": "true" if cache else "false"
        }
        # Else the time of the first round would depend on earlier runs.
        variables |= {"MLP_XP_CACHE": cache} if cache else {}
        spawn = get_context("spawn")
        self.connection, its = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(job, its))
        # PyTorch runs the backward pass on a GPU from a second thread, and usually
        # nobody pins it.
        processors = (
            None
            if contestant_of(job.contestant, job.workload.kind).gpu
            else job.threads
        )
        began = time.perf_counter()
        with mock.patch.dict(os.environ, variables), on_processors(processors):
            os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
            self.process.start()
        its.close()
        try:
            self.samples: int = self.read()
        except WorkerError:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - began

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()

    def read(self) -> Any:
        """Return the next answer. Raises WorkerError if there is none."""
        try:
            answer = self.connection.recv()
        except EOFError:
            self.process.join()
            answer = WorkerError(f"ended with code {self.process.exitcode}")
        if isinstance(answer, WorkerError):
            raise answer
        return answer

    def round(self) -> float:
        """Run a round and return its seconds."""
        with suppress(BrokenPipeError):  # read raises the error
            self.connection.send(True)
        return float(self.read())

    def end(self) -> Record:
        """Return the peak memory and the loss."""
        with suppress(BrokenPipeError):
            self.connection.send(False)
        return dict(self.read())


@contextmanager
def on_processors(number: int | None) -> Iterator[None]:
    """Let processes that start in the `with` block use `number` processors.

    None stands for all. Some systems cannot limit them.

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
    """Run contestants on a workload.

    Return its fields, `reference_loss` by update order, and a list `results`.

    There is one result per contestant. It has round_seconds and start_seconds (the
    first round included, which is not counted), peak_bytes and loss; or `unavailable`
    with the reason. Raises MlpXpError if a round is longer than an epoch.
    """
    results: dict[str, Record] = {
        name: {"contestant": name, "start_seconds": [], "round_seconds": []}
        for name in names
    }
    with ExitStack() as held:
        caches = Path(
            held.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        workers: dict[str, Worker] = {}

        def start(name: str, cache: str = "") -> Worker:
            worker = Worker(Job(name, workload, threads, str(data_dir)), cache)
            held.callback(worker.close)
            return worker

        for i in range(rounds + 1):
            for name, result in results.items():
                if "unavailable" in result:
                    continue
                say(f"{workload.name}: round {i} of {rounds}, {name}")
                try:
                    if name not in workers:
                        cache = (
                            ""
                            if workload.kind == STEPS
                            else str(caches / (WARM if name == WARM else f"{i}"))
                        )
                        workers[name] = start(name, cache)
                        result["start_seconds"].append(workers[name].start_seconds)
                    check_fits(workload, workers[name].samples)
                    result["round_seconds"].append(workers[name].round())
                    if i == rounds or workload.kind != STEPS:
                        result |= workers.pop(name).end()
                except WorkerError as error:
                    results[name] = {"contestant": name, "unavailable": str(error)}
        ran = [name for name, result in results.items() if "loss" in result]
        losses = {}
        if workload.kind == STEPS:
            for order in sorted({contestant_of(name, STEPS).order for name in ran}):
                say(f"{workload.name}: reference, {order}")
                worker = start(order)
                for _ in range(rounds + 1):
                    worker.round()
                losses[order] = worker.end()["loss"]
        elif (first := next(iter(ALL[workload.kind]))) in ran:
            losses = {ALL[workload.kind][first].order: results[first]["loss"]}
    return {
        **workload._asdict(),
        "reference_loss": losses,
        "results": list(results.values()),
    }


def check_fits(workload: Workload, samples: int) -> None:
    """Raise MlpXpError if a round is longer than an epoch."""
    if workload.steps * workload.batch_size > samples:
        raise MlpXpError(
            f"{workload.steps} steps of {workload.batch_size} samples do not fit the "
            f"{samples} training samples; a round is at most one epoch",
            setting="steps",
        )


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(
            line.partition(":")[2].strip()
            for line in lines
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def circumstances(threads: int, rounds: int) -> Record:
    """Return what the times depend on: date, machine, versions, threads, rounds."""
    versions = {"Python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    system = f"{platform.system()} {platform.release()}"
    return {
        "date": dt.date.today().isoformat(),
        "machine": f"{processor()}, {os.cpu_count()} processors, {system}",
        "versions": versions,
        "threads": threads,
        "rounds": rounds,
    }
