"""Compare the time of a training step of `mlp_xp` with other libraries: `python scripts/bench.py --quick`.

Every contestant runs in its own process, with the same number of threads, the same initial weights and the same
samples in the same order. The processes stay alive and run their rounds in turn, so that a disturbance affects all of
them; where whole programs are timed, each round starts a new process of each. The benchmark needs the bench extra.
Contestants that are not installed, or that need a GPU where none is available, are listed as not run.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.bench.contestants import CONTESTANTS, VARIANTS, is_foreign
from mlp_xp.bench.measure import (
    GPU_WORKLOADS,
    QUICK,
    QUICK_ROUNDS,
    SLOW_TO_START,
    WORKLOADS,
    circumstances,
    measure,
)
from mlp_xp.bench.report import (
    BARS,
    MET,
    NOT_JUDGED,
    Record,
    agrees,
    conditions,
    draw,
    markdown,
    measured,
    show,
    verdicts,
)
from mlp_xp.bench.whole import WHOLE, measure_whole
from mlp_xp.commands.command_line import parse
from mlp_xp.config import check_range
from mlp_xp.data.datasets import MNIST_DIR
from mlp_xp.errors import MlpXpError, nearest
from mlp_xp.files import file_errors, write_whole
from mlp_xp.regular import UnfitFileError, read_fault, read_regular
from mlp_xp.show.plots import import_matplotlib
from mlp_xp.show.terminal import plain_console

LARGEST_RECORD = 1 << 26
ALL = "all"
TOO_NOISY = 4  # exit code


@dataclass(frozen=True)
class Options:
    """Compare the time of a training step of `mlp_xp` with other libraries."""

    workloads: tuple[str, ...] = ()
    """Workloads to run: steps of one-float64, one-float32, batch-4, batch-128, batch-128-wide, batch-1024-deep, and
    whole programs of to-accuracy, first-epoch, fit-float64, fit-float32; by default all of these. `make gpu` runs
    gpu-one-float64, gpu-one-float32, gpu-batch-128, gpu-batch-1024, gpu-batch-1024-deep."""
    contestants: tuple[str, ...] = ()
    """Contestants to run: notebook, mlp_xp-numpy, mlp_xp-jax, mlp_xp-torch, mlp_xp-cupy, mlp_xp-jax-gpu,
    mlp_xp-torch-gpu, pytorch, pytorch-compile, pytorch-gpu, pytorch-gpu-graphs, scikit-learn, keras-jax, numba; by
    default all. `module:namespace` runs mlp_xp on any other module that implements the array API standard."""
    rounds: int = 11
    """Timed rounds, after one extra round for compilation; of whole programs 5, of the fits 3, if that is fewer."""
    steps: int | None = None
    """Steps per round, instead of the number defined by each workload."""
    threads: str = "1"
    """Threads per contestant. all: each may use all cores, and takes as many threads as it does by itself."""
    quick: bool = False
    """Run three workloads in three short rounds, without compiled PyTorch, for a first impression."""
    data_dir: Path = MNIST_DIR
    """Folder with four IDX files: images of 28 x 28 pixels, 10 classes."""
    output_dir: Path | None = None
    """Write bench.json, bench.md and bench.png to this folder."""
    update_docs: Path | None = None
    """Write the tables into this Markdown file, such as docs/performance.md, and the picture next to it."""
    record: Path | None = None
    """Measure nothing; show, draw and write this bench.json again."""


def check_options(options: Options) -> None:
    """Raise MlpXpError for the first option that is out of range."""
    workloads, contestants = WORKLOADS | WHOLE | GPU_WORKLOADS, CONTESTANTS | VARIANTS
    for name in options.workloads:
        if name not in workloads:
            raise MlpXpError(
                f"--workloads: {name!r} is not known{nearest(name, workloads)}; choose from {', '.join(workloads)}"
            )
    for name in options.contestants:
        if name not in contestants and not is_foreign(name):
            raise MlpXpError(
                f"--contestants: {name!r} is not known{nearest(name, contestants)}; choose from "
                f"{', '.join(contestants)}, or give module:namespace"
            )
    for field in ("rounds", "steps"):
        if (number := getattr(options, field)) is not None:
            check_range(field, number)
    threads_of(options.threads)


def threads_of(word: str) -> int | None:
    """Return the number of threads that a word is, or None for all. Raises MlpXpError."""
    if word == ALL:
        return None
    try:
        number = int(word)
    except ValueError as error:  # also for more digits than Python converts
        shown = repr(word) if len(word) < 60 else f"{word[:60]!r}..."
        raise MlpXpError(f"--threads: {shown} is not a whole number; give one, or {ALL}") from error
    check_range("threads", number)
    return number


def check_matplotlib() -> None:
    """Raise PlotError if Matplotlib is not installed or cannot be imported, before hours of measuring."""
    import_matplotlib()


def make_folder(folder: Path) -> None:
    """Create the output folder. Raises FileError if that fails."""
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)


def widen(console: Console) -> None:
    """Print tables for 80 columns in a narrower terminal too. It breaks their lines, which loses no numbers."""
    console.width = max(console.width, 80)


def measure_all(options: Options, console: Console) -> Record:
    """Run the benchmark that the options describe, and return its record."""
    names = options.workloads or (QUICK if options.quick else (*WORKLOADS, *WHOLE))
    rounds = min(options.rounds, QUICK_ROUNDS) if options.quick else options.rounds
    threads = threads_of(options.threads)
    workloads: list[Record] = []
    with console.status("") as status:
        how: dict[str, Any] = {
            "rounds": rounds,
            "threads": threads,
            "data_dir": options.data_dir,
            "say": status.update,
        }
        for name in names:
            if name in WHOLE:
                workloads += measure_whole(WHOLE[name], options.contestants or WHOLE[name].programs, **how)
                continue
            workload = (WORKLOADS | GPU_WORKLOADS)[name]
            if options.steps or options.quick:
                workload = workload._replace(steps=options.steps or workload.steps // 4)
            compared = [bar.other for bar in BARS if (bar.workload, bar.threads) == (name, threads)]
            everyone = [each for each in CONTESTANTS if not (options.quick and each in SLOW_TO_START)]
            contestants = tuple(dict.fromkeys(options.contestants or (*everyone, *compared)))
            workloads.append(measure(workload, contestants, **how))
    return {**circumstances(threads=threads, rounds=rounds), "workloads": workloads}


def read_record(path: Path, key: str, script: str) -> Record:
    """Read a record that a script wrote. Raises MlpXpError if it cannot be read or does not have the key."""
    with whole_record(path, script):
        record: Record = json.loads(read_regular(path, LARGEST_RECORD))
        if not isinstance(record, dict) or not record.get(key):
            raise ValueError(f"it has no {key}")
        return record


@contextmanager
def whole_record(path: Path | None, script: str) -> Iterator[None]:
    """Raise MlpXpError for what goes wrong in the `with` block because a record that was read has not all it should.

    path: where the record was read; None for one that was just measured, of which every error is a bug.
    """
    try:
        yield
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        if path is None or isinstance(error, MlpXpError | BrokenPipeError):
            raise
        if isinstance(error, OSError) and error.filename is None and not isinstance(error, UnfitFileError):
            raise
        reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise MlpXpError(
            f"--record: {str(path)!r} is not a record of {script} ({reason}); give a .json file that it wrote"
        ) from error


def check_document(path: Path, mark: str) -> tuple[str, str]:
    """Return the text before and after what two marks in a Markdown file enclose, with the marks.

    Raises MlpXpError if the file or a mark is missing.
    """
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    try:
        text = read_regular(path, LARGEST_RECORD).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = read_fault(error) if isinstance(error, OSError) else f"cannot be read: {error}"
        raise MlpXpError(f"--update-docs: {str(path)!r}: {reason}; give another file") from error
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise MlpXpError(f"--update-docs: {str(path)!r} does not have the lines {begin!r} and {end!r}; add them")
    return f"{before}{begin}", f"{end}{after}"


def update_document(path: Path, mark: str, inside: str) -> None:
    """Replace the text between two marks in a Markdown file. Raises MlpXpError if the file or a mark is missing."""
    before, after = check_document(path, mark)
    write_whole(path, f"{before}\n\n{inside.strip()}\n\n{after}".encode(errors="backslashreplace"))


def write(folder: Path, record: Record) -> None:
    """Write bench.json, bench.md and bench.png."""
    text, picture = markdown(record), draw(record)  # before a file is replaced: a record that was read may be damaged
    write_whole(folder / "bench.json", (json.dumps(record, indent=1) + "\n").encode())
    write_whole(folder / "bench.md", text.encode(errors="backslashreplace"))
    write_whole(folder / "bench.png", picture)


def main() -> int:
    """Measure, show and write. Return the exit code; see `report`."""
    options: Options = parse(Options, default=Options())
    check_options(options)
    if options.output_dir or options.update_docs:
        check_matplotlib()
    if options.update_docs:
        check_document(options.update_docs, "scripts/bench.py")
    if options.output_dir:
        make_folder(options.output_dir)
    console = plain_console()
    record = (
        read_record(options.record, "workloads", "scripts/bench.py")
        if options.record
        else measure_all(options, console)
    )
    widen(console)
    with whole_record(options.record, "scripts/bench.py"):
        return report(options, record, console)


def report(options: Options, record: Record, console: Console) -> int:
    """Print and write a record. Return 1 if a contestant has another loss than it should or a bar was missed.

    Or else TOO_NOISY if a bar could not be judged.
    """
    try:
        console.print(conditions(record) + "\n", style="dim")
        show(record, console)
    finally:  # also if nobody reads the output any more: the work is done
        if options.output_dir:
            write(options.output_dir, record)
        if options.update_docs:
            update_document(options.update_docs, "scripts/bench.py", markdown(record))
            write_whole(options.update_docs.with_suffix(".png"), draw(record))
    if not any(measured(workload) for workload in record["workloads"]):
        raise MlpXpError("nothing was measured: no contestant ran; see the reasons above")
    ran = {name for workload in record["workloads"] for name in measured(workload)}
    if missing := [name for name in options.contestants if name not in ran]:
        raise MlpXpError(f"--contestants: {', '.join(missing)} gave no result; see the reasons above")
    wrong = [x for workload in record["workloads"] for x in measured(workload).values() if not agrees(x, workload)]
    found = {verdict.verdict for verdict in verdicts(record)}
    if wrong or found - {MET, *NOT_JUDGED}:
        return 1
    return TOO_NOISY if found - {MET} else 0
