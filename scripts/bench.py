"""Time a training step of `mlp_xp` and of what people would use instead: `python scripts/bench.py --quick`.

Every contestant runs in a process of its own, on the same number of threads, on the same samples in the same order from
the same weights. The processes stay alive and run their rounds in turn, so that a disturbance meets all of them. Needs
the bench extra; contestants that are not installed, or have no GPU here, are listed as not run.
"""

import interrupt  # noqa: F401, I001

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro
from bench_contestants import CONTESTANTS, VARIANTS, Job, Workload
from bench_report import Record, agrees, conditions, draw, markdown, measured, show
from rich.console import Console

from mlp_xp.backend import nearest
from mlp_xp.cli import parse, run
from mlp_xp.datasets import MNIST_DIR
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import write_whole

WORKER = Path(__file__).resolve().with_name("bench_worker.py")
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
LIBRARIES = ("numpy", "jax", "torch", "cupy-cuda12x", "cupy-cuda13x", "scikit-learn", "keras", "numba")

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("one-float64", "784-64-10, one sample a step, float64", 1, (64,), "float64", "notebook", 0.01, 5000),
        Workload("one-float32", "784-64-10, one sample a step, float32", 1, (64,), "float32", "notebook", 0.01, 5000),
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
QUICK = ("one-float64", "one-float32", "batch-128")
QUICK_ROUNDS = 3
SLOW_TO_START = ("pytorch-compile",)


@dataclass(frozen=True)
class Options:
    """Benchmark `mlp_xp` against what people would use instead."""

    workloads: tuple[str, ...] = ()
    """Which of one-float64, one-float32, batch-128, batch-128-wide, batch-1024-deep; by default all."""
    contestants: tuple[str, ...] = ()
    """Which of notebook, mlp_xp-numpy, mlp_xp-jax, mlp_xp-torch, mlp_xp-cupy, mlp_xp-jax-gpu, mlp_xp-torch-gpu,
    pytorch, pytorch-compile, pytorch-gpu, scikit-learn, keras-jax, numba; by default all."""
    rounds: int = 11
    """Timed rounds; one more comes before them, for compilation."""
    steps: int | None = None
    """Steps of a round, instead of what each workload has."""
    threads: int = 1
    """Threads of each contestant."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """Three of the workloads in three short rounds, without PyTorch compiled: a first impression."""
    data_dir: Path = MNIST_DIR
    """Folder of the four IDX files, with pictures of 28 x 28 and 10 classes."""
    output_dir: Path | None = None
    """Write bench.json, bench.md and bench.png here."""
    update_docs: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put the tables and the picture into docs/performance.md."""
    record: Path | None = None
    """Measure nothing: show, draw and write this bench.json again."""


class WorkerError(MlpXpError):
    """A contestant's process that ended before its time; the message is the last line that it wrote."""

    exit_code = 1


class Worker:
    """A contestant's process. Close it."""

    def __init__(self, job: Job) -> None:
        """Start it, and wait until it is ready or has said why it is not."""
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(job._asdict() | {"workload": job.workload._asdict()})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | thread_variables(job.threads),
        )
        try:
            self.first = self.read()
        except WorkerError:
            self.close()
            raise
        self.start_seconds = time.perf_counter() - began

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or [f"ended with code {self.process.returncode}"]
            raise WorkerError(said[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command and wait for its answer."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # read says why
            print(command, file=self.process.stdin, flush=True)
        return self.read()


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables by which the libraries' thread pools are sized; NPROC is XLA's."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB", "NUMBA")
    return {f"{name}_NUM_THREADS": str(threads) for name in names} | {"NPROC": str(threads)}


def measure(
    workload: Workload,
    names: Iterable[str],
    *,
    rounds: int,
    threads: int = 1,
    data_dir: Path = MNIST_DIR,
    say: Callable[[str], None] = lambda text: None,
) -> Record:
    """Run contestants on a workload: its fields, `reference_loss` by update order, and `results`, one a contestant.

    A result has round_seconds (the first round included), start_seconds, peak_bytes and loss; or `unavailable`. Raises
    MlpXpError when a round is longer than an epoch.
    """

    def job(name: str) -> Job:
        return Job(name, workload, threads, str(data_dir))

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
                    f"--steps: {workload.steps} steps of {workload.batch_size} samples do not fit the "
                    f"{worker.first['ready']} training samples; a round is at most an epoch"
                )
            workers[name] = worker
            results[name] |= {"start_seconds": worker.start_seconds, "round_seconds": []}
        for i in range(rounds + 1):
            for name in list(workers):
                say(f"{workload.name}: round {i} of {rounds}, {name}")
                try:
                    results[name]["round_seconds"].append(workers[name].ask("round")["seconds"])
                except WorkerError as error:
                    results[name] = {"contestant": name, "unavailable": str(error)}
                    del workers[name]
        for name, worker in workers.items():
            results[name] |= worker.ask("end")
    orders = sorted({(CONTESTANTS | VARIANTS)[name].order for name in workers})
    reference_loss = {}
    for order in orders:
        say(f"{workload.name}: reference, {order}")
        with closing(Worker(job(order))) as worker:
            for _ in range(rounds + 1):
                worker.ask("round")
            reference_loss[order] = worker.ask("end")["loss"]
    return {**workload._asdict(), "reference_loss": reference_loss, "results": list(results.values())}


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def circumstances(*, threads: int, rounds: int) -> Record:
    """What the times depend on, for the head of a record."""
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
    """Of Python and of the contestants' libraries that are installed."""
    found = {"Python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def check_options(options: Options) -> None:
    """Raise MlpXpError for the first option out of its range."""
    for field, known in (("workloads", WORKLOADS), ("contestants", CONTESTANTS)):
        for name in getattr(options, field):
            if name not in known:
                raise MlpXpError(
                    f"--{field}: {name!r} is not known{nearest(name, known)}; choose from {', '.join(known)}"
                )
    for field in ("rounds", "steps", "threads"):
        number = getattr(options, field)
        if number is not None and number < 1:
            raise MlpXpError(f"--{field}: {number} is out of range; it must be at least 1")


def check_matplotlib() -> None:
    """Raise MlpXpError, before hours of measuring, when the picture could not be drawn."""
    if find_spec("matplotlib") is None:
        raise MlpXpError(f"--output-dir: Matplotlib {not_installed('matplotlib')}")


def make_folder(folder: Path) -> None:
    """Make the folder for what is written. Raises MlpXpError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpXpError(
            f"--output-dir: {str(folder)!r} cannot be made: {error.strerror}; give a folder that can"
        ) from None


def measure_all(options: Options, console: Console) -> Record:
    """Everything that the options ask for."""
    names = options.workloads or (QUICK if options.quick else tuple(WORKLOADS))
    rounds = min(options.rounds, QUICK_ROUNDS) if options.quick else options.rounds
    contestants = options.contestants or [name for name in CONTESTANTS if not (options.quick and name in SLOW_TO_START)]
    workloads = []
    with console.status("") as status:
        for name in names:
            workload = WORKLOADS[name]
            if options.steps or options.quick:
                workload = workload._replace(steps=options.steps or workload.steps // 4)
            workloads.append(
                measure(
                    workload,
                    contestants,
                    rounds=rounds,
                    threads=options.threads,
                    data_dir=options.data_dir,
                    say=status.update,
                )
            )
    return {**circumstances(threads=options.threads, rounds=rounds), "workloads": workloads}


def read_record(path: Path, key: str, script: str) -> Record:
    """A record that a script wrote, which has a key. Raises MlpXpError when it is none."""
    try:
        record: Record = json.loads(path.read_text())
        if not isinstance(record, dict) or key not in record:
            raise ValueError(f"it has no {key}")
    except (OSError, ValueError) as error:
        raise MlpXpError(
            f"--record: {str(path)!r} is no record of {script} ({error}); give a .json file that it wrote"
        ) from None
    return record


def update_document(mark: str, inside: str) -> None:
    """Replace what is between two marks in docs/performance.md. Raises MlpXpError where these are not."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    try:
        text = DOCUMENT.read_text()
    except OSError as error:
        raise MlpXpError(f"--update-docs: {str(DOCUMENT)!r} cannot be read: {error.strerror}") from None
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise MlpXpError(f"--update-docs: {str(DOCUMENT)!r} lacks the lines {begin!r} and {end!r}; put them back")
    write_whole(DOCUMENT, f"{before}{begin}\n\n{inside.strip()}\n\n{end}{after}".encode())


def write(folder: Path, record: Record) -> None:
    """Write bench.json, bench.md and bench.png."""
    write_whole(folder / "bench.json", (json.dumps(record, indent=1) + "\n").encode())
    write_whole(folder / "bench.md", markdown(record).encode())
    write_whole(folder / "bench.png", draw(record))


def main() -> int:
    """Measure, show, write. Returns 1 when a contestant computed something else."""
    options: Options = parse(Options, default=Options())
    check_options(options)
    if options.output_dir or options.update_docs:
        check_matplotlib()
    if options.output_dir:
        make_folder(options.output_dir)
    console = Console(highlight=False)
    record = (
        read_record(options.record, "workloads", "scripts/bench.py")
        if options.record
        else measure_all(options, console)
    )
    console.print(conditions(record) + "\n", style="dim")
    show(record, console)
    if options.output_dir:
        write(options.output_dir, record)
    if options.update_docs:
        update_document("scripts/bench.py", markdown(record))
        write_whole(DOCUMENT.with_suffix(".png"), draw(record))
    if not any(measured(workload) for workload in record["workloads"]):
        raise MlpXpError("nothing was measured: none of the contestants ran; the reasons are above")
    wrong = [x for workload in record["workloads"] for x in measured(workload).values() if not agrees(x, workload)]
    return 1 if wrong else 0


if __name__ == "__main__":
    run(main)
