"""Time contestants on workloads, each in its own process, with interleaved rounds.

Every contestant uses the same number of threads, the same samples in the same order, and the same initial weights. The
processes stay alive and run their rounds in turn, so that a disturbance of the machine affects all of them. (Whole
programs are in `whole`.)
"""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlp_xp.bench.contestants import Job, Workload, contestant_of
from mlp_xp.bench.report import Record
from mlp_xp.data.datasets import MNIST_DIR
from mlp_xp.errors import MlpXpError

LIBRARIES = ("numpy", "jax", "torch", "cupy-cuda12x", "cupy-cuda13x", "scikit-learn", "keras", "numba")

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("one-float64", "784-64-10, one sample a step, float64", 1, (64,), "float64", "notebook", 0.01, 5000),
        Workload("one-float32", "784-64-10, one sample a step, float32", 1, (64,), "float32", "notebook", 0.01, 5000),
        Workload("batch-4", "784-64-10, batches of 4, float32", 4, (64,), "float32", "notebook", 0.01, 2500),
        Workload("batch-128", "784-64-10, batches of 128, float32", 128, (64,), "float32", "notebook", 0.1, 468),
        Workload("batch-128-wide", "784-800-10, batches of 128, float32", 128, (800,), "float32", "glorot", 0.1, 78),
        Workload(
            "batch-1024-deep",
            "784-2048-2048-10, batches of 1024, float32",
            1024,
            (2048, 2048),
            "float32",
            "glorot",
            0.01,
            4,
        ),
    )
}


# For `make gpu`. The numbers of steps differ from those above for the same networks, because a round that takes a
# second on a processor takes a few tens of milliseconds on a large card.
GPU_WORKLOADS = {
    workload.name: workload
    for workload in (
        WORKLOADS["one-float64"]._replace(name="gpu-one-float64", steps=2000),
        WORKLOADS["one-float32"]._replace(name="gpu-one-float32", steps=2000),
        WORKLOADS["batch-128"]._replace(name="gpu-batch-128"),
        Workload("gpu-batch-1024", "784-64-10, batches of 1024, float32", 1024, (64,), "float32", "notebook", 0.1, 58),
        WORKLOADS["batch-1024-deep"]._replace(name="gpu-batch-1024-deep", steps=20),
    )
}

QUICK = ("one-float64", "one-float32", "batch-128")
QUICK_ROUNDS = 3
SLOW_TO_START = ("pytorch-compile", "pytorch-gpu-graphs")


# From this number of elements in a layer's outputs on, the references, which are not timed, use all processors.
MANY_ELEMENTS = 2**20


class WorkerError(MlpXpError):
    """A contestant's process that ended too early; the message is its last line of output."""

    exit_code = 1


class Process:
    """A process of a contestant. Must be closed.

    threads: the process may use this many processors and threads; None for as many as its libraries take by themselves.
    pinned: whether it is kept to these processors. variables: of its environment; None to remove one.
    """

    def __init__(
        self,
        command: Sequence[str],
        threads: int | None,
        variables: Mapping[str, str | None] | None = None,
        *,
        pinned: bool = True,
    ) -> None:
        """Start the process."""
        changed = thread_variables(threads) | dict(variables or {})
        kept = {name: value for name, value in os.environ.items() if name not in changed}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        with on_processors(threads if pinned else None):
            self.began = time.perf_counter()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=kept | {name: value for name, value in changed.items() if value is not None},
            )

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def line(self) -> str:
        """Return the next line of output. Raises WorkerError with the last line of errors if there is none."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or [f"ended with code {self.process.returncode}"]
            raise WorkerError(said[-1])
        return line


class Worker(Process):
    """A contestant's process that runs a round on request."""

    def __init__(self, job: Job) -> None:
        """Start the process and wait until it is ready or reports why it is not."""
        super().__init__(
            [
                sys.executable,
                "-m",
                "mlp_xp.bench.worker",
                json.dumps(job._asdict() | {"workload": job.workload._asdict()}),
            ],
            job.threads,
            # PyTorch runs the backward pass on a GPU from a second thread, and usually nobody pins it.
            pinned=not contestant_of(job.contestant).gpu,
        )
        try:
            self.first = self.read()
        except WorkerError:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - self.began

    def read(self) -> dict[str, Any]:
        """Return the next answer."""
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # read raises the error
            print(command, file=self.process.stdin, flush=True)
        return self.read()


def thread_variables(threads: int | None) -> dict[str, str | None]:
    """Return environment variables that set the sizes of the libraries' thread pools; NPROC is for XLA.

    With None their values are None: without them, a library takes as many threads as it likes.
    """
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB", "NUMBA")
    variables = (*(f"{name}_NUM_THREADS" for name in names), "NPROC")
    return dict.fromkeys(variables, None if threads is None else str(threads))


@contextmanager
def on_processors(threads: int | None) -> Iterator[None]:
    """Let processes that start in the `with` block use `threads` processors, if the system can; None for all.

    Not only the variables: XLA starts one thread for each processor that it may use.
    """
    if threads is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)  # of this thread, which passes it on
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(
    workload: Workload,
    names: Iterable[str],
    *,
    rounds: int,
    threads: int | None = 1,
    data_dir: Path = MNIST_DIR,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Run contestants on a workload. Return its fields, `reference_loss` by update order, and a list `results`.

    threads: of each contestant that has no number of its own; None for as many as its libraries take by themselves.

    There is one result per contestant. It has round_seconds and processor_seconds (the first round included),
    start_seconds, peak_bytes, loss, and shuffle_seconds for each sample; or `unavailable` with the reason. Raises
    MlpXpError if a round is longer than an epoch.
    """

    def job(name: str) -> Job:
        return Job(name, workload, contestant_of(name).threads or threads, str(data_dir))

    results: dict[str, Record] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name in names:
            say(f"{workload.name}: starting {name}")
            results[name] = {"contestant": name}
            try:
                worker = stack.enter_context(closing(Worker(job(name))))
            except WorkerError as error:
                results[name]["unavailable"] = str(error)
                continue
            if "unavailable" in worker.first:
                results[name]["unavailable"] = worker.first["unavailable"]
                continue
            if workload.steps * workload.batch_size > worker.first["ready"]:
                raise MlpXpError(
                    f"{workload.steps} steps of {workload.batch_size} samples do not fit the "
                    f"{worker.first['ready']} training samples; a round is at most one epoch",
                    setting="steps",
                )
            workers[name] = worker
            results[name] |= {"start_seconds": worker.start_seconds, "round_seconds": [], "processor_seconds": []}
        for i in range(rounds + 1):
            for name in list(workers):
                say(f"{workload.name}: round {i} of {rounds}, {name}")
                try:
                    answer = workers[name].ask("round")
                except WorkerError as error:
                    results[name] = {"contestant": name, "unavailable": str(error)}
                    del workers[name]
                    continue
                results[name]["round_seconds"].append(answer["seconds"])
                results[name]["processor_seconds"].append(answer["processor_seconds"])
        for name, worker in workers.items():
            results[name] |= worker.ask("end")
    orders = sorted({contestant_of(name).order for name in workers})
    reference_loss = {}
    for order in orders:
        say(f"{workload.name}: reference, {order}")
        with closing(Worker(job(order)._replace(threads=reference_threads(workload, threads)))) as worker:
            for _ in range(rounds + 1):
                worker.ask("round")
            reference_loss[order] = worker.ask("end")["loss"]
    return {**workload._asdict(), "reference_loss": reference_loss, "results": list(results.values())}


def reference_threads(workload: Workload, threads: int | None) -> int:
    """Return the number of threads for the references: all processors for a large workload."""
    many = workload.batch_size * max(workload.hidden, default=1) >= MANY_ELEMENTS
    return max(threads or 1, os.cpu_count() or 1) if many else threads or 1


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def circumstances(*, threads: int | None, rounds: int) -> Record:
    """Return what the times depend on: date, machine, versions, threads, rounds."""
    return {
        "date": dt.date.today().isoformat(),
        "machine": {
            "processor": processor(),
            "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": versions(),
        "threads": threads,
        "rounds": rounds,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed libraries."""
    found = {"Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
