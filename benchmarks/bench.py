"""Compare the time of a training step of `mlp_xp` with other libraries.

Example: `python scripts/bench.py --quick`.

Every contestant runs in its own process, with the same number of threads, the same
initial weights and the same samples in the same order. Each workload's table is printed
as it ends. Exit code 1: the loss of a contestant is wrong; 2: a usage error, or one
that was asked for did not run.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.contestants import is_foreign
from benchmarks.measure import Record, circumstances, measure
from benchmarks.pictures import draw_bars, draw_curves
from benchmarks.report import agrees, conditions, curve_table, measured, table
from benchmarks.whole import ALL
from benchmarks.workloads import (
    CURVES,
    EPOCH,
    FIT,
    QUICK,
    QUICK_ROUNDS,
    STEPS,
    WORKLOADS,
    Workload,
)
from mlp_xp.commands.process import run_command
from mlp_xp.data.datasets import MNIST_DIR
from mlp_xp.declared import check_range
from mlp_xp.errors import MlpXpError
from mlp_xp.files import file_errors, write_whole
from mlp_xp.show.plots import new_figure
from mlp_xp.version import __version__

SLOW_TO_START = ("pytorch-compile", "pytorch-gpu-graphs")
MOST_ROUNDS = {EPOCH: 5, FIT: 3}
ON_CURVES = ("notebook", "mlp_xp-numpy", "mlp_xp-jax", "pytorch")


def contestant_name(name: str) -> str:
    """Return a name that a contestant has. Raises ArgumentTypeError."""
    names = [*dict.fromkeys(name for known in ALL.values() for name in known)]
    if name not in names and not is_foreign(name):
        known_names = ", ".join(names)
        raise argparse.ArgumentTypeError(
            f"{name!r} is not known; choose from {known_names}, or module:namespace"
        )
    return name


def parse() -> argparse.Namespace:
    """Return the options. Raises MlpXpError for a number that is too small."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench.py",
        description=(__doc__ or "").partition("\n")[0],
        usage=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help="three workloads in three short rounds, without compiled PyTorch",
    )
    names = f"by default all: {', '.join(WORKLOADS)}"
    add(
        "--workloads",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=WORKLOADS,
        help=names,
    )
    everyone = "by default all; module:namespace runs mlp_xp on any array API namespace"
    add(
        "--contestants",
        nargs="+",
        default=[],
        metavar="NAME",
        type=contestant_name,
        help=everyone,
    )
    add(
        "--curves",
        action="store_true",
        help="instead, measure against batch size and hidden units",
    )
    add(
        "--rounds",
        type=int,
        default=11,
        help="timed rounds, after one for compilation; at most 5 of whole programs",
    )
    add(
        "--steps",
        type=int,
        help="steps per round, instead of the number defined by each workload",
    )
    add("--threads", type=int, default=1, help="threads per contestant")
    add(
        "--data-dir",
        type=Path,
        default=MNIST_DIR,
        help="folder with four IDX files: 28 x 28 pixels, 10 classes",
    )
    add(
        "--output-dir",
        type=Path,
        help="write bench.json and bench.png, or curves.json and curves.png, there",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    add("--version", action="version", version=f"mlp-xp {__version__}")
    options = parser.parse_args()
    for field in ("rounds", "steps", "threads"):
        if (number := getattr(options, field)) is not None:
            check_range(field, number)
    return options


def contestants(options: argparse.Namespace, workload: Workload) -> list[str]:
    """Return the names of the contestants that take part in a workload."""
    known = ALL[workload.kind]
    if options.contestants:
        return [
            name
            for name in dict.fromkeys(options.contestants)
            if name in known or is_foreign(name)
        ]
    if options.curves:
        return [*ON_CURVES]
    return [name for name in known if not (options.quick and name in SLOW_TO_START)]


def measure_one(
    options: argparse.Namespace, workload: Workload, rounds: int, said: set[str]
) -> Record:
    """Measure a workload, and print its table at once, without the notes in `said`."""
    if options.steps and workload.kind == STEPS:
        workload = workload._replace(steps=options.steps)
    with Console(stderr=True).status("") as status:
        record = measure(
            workload,
            contestants(options, workload),
            rounds=min(rounds, MOST_ROUNDS.get(workload.kind, rounds)),
            threads=options.threads,
            data_dir=options.data_dir,
            say=status.update,
        )
    print(table(record, said), flush=True)
    return record


def write(
    folder: Path | None, name: str, record: Record, draw: Callable[[Record], bytes]
) -> None:
    """Write a record and its picture, if a folder is given."""
    if folder:
        write_whole(
            folder / f"{name}.json", (json.dumps(record, indent=1) + "\n").encode()
        )
        write_whole(folder / f"{name}.png", draw(record))


def bench() -> int:
    """Measure, print and write. Return 1 if a loss is wrong."""
    options = parse()
    if options.output_dir:
        new_figure(1, 1)  # raises PlotError before hours of measuring
        with file_errors(options.output_dir, "create"):
            options.output_dir.mkdir(parents=True, exist_ok=True)
    rounds = min(options.rounds, QUICK_ROUNDS) if options.quick else options.rounds
    record, said = circumstances(options.threads, rounds), set[str]()
    print(conditions(record), flush=True)
    if options.curves:
        record["curves"] = {
            series: {
                str(point): measure_one(options, job, rounds, said)
                for point, job in jobs.items()
            }
            for series, jobs in CURVES.items()
        }
        for series, jobs in record["curves"].items():
            print(curve_table(series, jobs), flush=True)
        write(options.output_dir, "curves", record, draw_curves)
        return judge(
            [job for jobs in record["curves"].values() for job in jobs.values()],
            options.contestants,
        )
    record["workloads"] = []
    for name in options.workloads or (QUICK if options.quick else WORKLOADS):
        workload = WORKLOADS[name]
        if contestants(options, workload):
            steps = (
                workload.steps // 4
                if options.quick and workload.kind == STEPS
                else workload.steps
            )
            record["workloads"].append(
                measure_one(options, workload._replace(steps=steps), rounds, said)
            )
            write(options.output_dir, "bench", record, draw_bars)
    return judge(record["workloads"], options.contestants)


def judge(workloads: list[Record], asked: list[str]) -> int:
    """Return 1 if a contestant has another loss than it should.

    Raises MlpXpError if one that was asked for is missing.
    """
    ran = {name for workload in workloads for name in measured(workload)}
    if missing := [name for name in asked if name not in ran]:
        raise MlpXpError(
            f"--contestants: {', '.join(missing)} gave no result; see the reasons above"
        )
    if not ran:
        raise MlpXpError(
            "nothing was measured: no contestant ran; see the reasons above"
        )
    return int(
        any(
            not agrees(x, workload)
            for workload in workloads
            for x in measured(workload).values()
        )
    )


def main() -> None:
    """Run the benchmark and exit."""
    run_command(bench)
