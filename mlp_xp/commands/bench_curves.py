"""Measure time and memory against batch size, width, data and chunk length: `python scripts/bench_curves.py`.

It runs contestants of scripts/bench.py in the same way, on workloads that differ in one parameter at a time.
"""

import gzip
import io
import json
import math
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from mlp_xp.bench.contestants import CONTESTANTS, IDIOMATIC, NOTEBOOK, VARIANTS, Workload
from mlp_xp.bench.measure import circumstances, measure
from mlp_xp.bench.report import (
    OURS,
    REST,
    THEIRS,
    Record,
    conditions,
    digits,
    figure,
    grid,
    measured,
    ratios,
    shuffle_seconds,
    step_seconds,
)
from mlp_xp.commands.bench import (
    check_document,
    check_matplotlib,
    make_folder,
    read_record,
    update_document,
    whole_record,
    widen,
)
from mlp_xp.commands.command_line import parse
from mlp_xp.config import check_range
from mlp_xp.data.datasets import MNIST_DIR, load_dataset
from mlp_xp.files import write_whole
from mlp_xp.show.plots import drawing
from mlp_xp.show.terminal import plain_console

PALE = "#56B4E9"


def workload(batch_size: int, hidden: int, steps: int, dtype: str = "float32") -> Workload:
    """Return a workload with one hidden layer, and a learning rate at which no loss overflows."""
    title = f"784-{hidden}-10, batches of {batch_size}, {dtype}"
    return Workload(title, title, batch_size, (hidden,), dtype, "glorot", 0.01, steps)


class Series(NamedTuple):
    """The workloads of one panel, the quantity that is drawn, and the contestants."""

    unit: str
    value: Callable[[Record, Record], float]
    """The quantity, from a contestant's result and its workload's record."""
    workloads: dict[int, Workload]
    names: tuple[str, ...] = (NOTEBOOK, "mlp_xp-numpy", "mlp_xp-jax", IDIOMATIC)
    compared: tuple[str, ...] = ()
    """Whose times are divided by the notebook's."""


def microseconds(result: Record, job: Record) -> float:
    """Return the time of a step in microseconds."""
    return step_seconds(result, job) * 1e6


SERIES = {
    "batch size": Series(
        "µs per sample",
        lambda result, job: microseconds(result, job) / int(job["batch_size"]),
        {size: workload(size, 64, max(4, 5000 // size)) for size in (2**i for i in range(11))},
        compared=("mlp_xp-numpy", "mlp_xp-jax"),
    ),
    "hidden units": Series(
        "µs per step of 128 samples",
        microseconds,
        {width: workload(128, width, min(156, max(4, 10000 // width))) for width in (16, 64, 256, 1024, 2048)},
    ),
    "training samples": Series(
        "peak memory in MB, float64",
        lambda result, job: result["peak_bytes"] / 1e6,
        {samples: workload(1, 64, 2500, "float64") for samples in (15_000, 30_000, 60_000, 120_000, 240_000)},
    ),
    # A contestant runs a round as one chunk where that fits, so the steps of a round set the length of the chunk.
    "steps a chunk": Series(
        "µs per step of one sample, float64",
        microseconds,
        {steps: workload(1, 64, steps, "float64") for steps in (1, 10, 100, 1000)},
        ("mlp_xp-numpy", "mlp_xp-numpy-direct", "mlp_xp-jax", "mlp_xp-jax-direct"),
    ),
}
STYLES = {
    NOTEBOOK: {"color": THEIRS, "marker": "s"},
    "mlp_xp-numpy": {"color": OURS, "marker": "o"},
    "mlp_xp-numpy-direct": {"color": PALE, "marker": "o", "mfc": "white"},
    "mlp_xp-jax": {"color": OURS, "marker": "^", "ls": "--"},
    "mlp_xp-jax-direct": {"color": PALE, "marker": "^", "ls": "--", "mfc": "white"},
    IDIOMATIC: {"color": REST, "marker": "D"},
}
TITLES = {name: contestant.title for name, contestant in (CONTESTANTS | VARIANTS).items()}


@dataclass(frozen=True)
class Options:
    """Measure time and memory against batch size, width, data and chunk length."""

    output_dir: Path | None = None
    """Write curves.json and curves.png to this folder."""
    rounds: int = 7
    """Timed rounds, after one extra round for compilation."""
    threads: int = 1
    """Threads per contestant."""
    update_docs: Path | None = None
    """Write the tables into this Markdown file, such as docs/performance.md, and the picture next to it."""
    record: Path | None = None
    """Measure nothing; show, draw and write this curves.json again."""


def data_folder(folder: Path, samples: int) -> Path:
    """Write IDX files with `samples` training samples, taken from MNIST in order and repeated. Return the folder."""
    dataset = load_dataset()
    which = np.arange(samples) % len(dataset.train_labels)
    folder.mkdir()
    for part, images, labels in (
        ("train", dataset.train_images[which], dataset.train_labels[which]),
        ("t10k", dataset.test_images, dataset.test_labels),
    ):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape)
            with gzip.open(folder / f"{part}-{kind}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(header + array.tobytes())
    return folder


def measure_all(options: Options, console: Console) -> Record:
    """Measure all series. Return the conditions and `curves`: {"batch size": {"1": workload record, ...}, ...}."""
    curves: dict[str, dict[str, Record]] = {}
    with console.status("") as status, tempfile.TemporaryDirectory() as place:
        for title, series in SERIES.items():
            curves[title] = {}
            for point, job in series.workloads.items():
                folder = MNIST_DIR if title != "training samples" else data_folder(Path(place) / str(point), point)
                curves[title][str(point)] = measure(
                    job,
                    series.names,
                    rounds=options.rounds,
                    threads=options.threads,
                    data_dir=folder,
                    say=status.update,
                )
    return {**circumstances(threads=options.threads, rounds=options.rounds), "curves": curves}


def points(record: Record, title: str, name: str) -> dict[int, float]:
    """Return the values of a contestant in a series, by point."""
    jobs = {int(point): (job, measured(job)) for point, job in record["curves"][title].items()}
    return {x: SERIES[title].value(results[name], job) for x, (job, results) in jobs.items() if name in results}


def with_shuffle(job: Record, name: str) -> float:
    """Return the time of a contestant divided by the notebook's, with what shuffling takes; NaN if one did not run."""
    results = measured(job)
    if name not in results or NOTEBOOK not in results:
        return math.nan
    mine, theirs = (step_seconds(results[x], job) + shuffle_seconds(results[x], job) for x in (name, NOTEBOOK))
    return mine / theirs


def markdown(record: Record) -> str:
    """Return one Markdown table per series."""
    blocks = [conditions(record)]
    for title, jobs in record["curves"].items():
        cells = []
        for name in SERIES[title].names:
            found = points(record, title, name)
            cells.append([TITLES[name], *(digits(found.get(int(x), math.nan), 3) for x in jobs)])
        for name in SERIES[title].compared:
            pairs = [(results.get(name), results.get(NOTEBOOK)) for results in map(measured, jobs.values())]
            shown = [figure(ratios(mine, theirs), 3) if mine and theirs else "–" for mine, theirs in pairs]
            cells.append([f"{TITLES[name]} ÷ {TITLES[NOTEBOOK]}", *shown])
            shown = [digits(with_shuffle(job, name), 3) for job in jobs.values()]
            cells.append(["the same, with the shuffle of an epoch", *shown])
        blocks.append("\n".join(grid([f"{title} ({SERIES[title].unit})", *jobs], cells)))
    return "\n\n".join(blocks)


@drawing()
def draw(record: Record) -> bytes:
    """Draw one panel per series on logarithmic axes, and return it as a PNG file. Raises PlotError."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(9, 7.5), layout="constrained")
    for title, ax in zip(record["curves"], figure.subplots(2, 2).flat, strict=True):
        for name in SERIES[title].names:
            found = points(record, title, name)
            ax.plot(list(found), list(found.values()), label=TITLES[name], **STYLES[name])
        ticks = [int(x) for x in record["curves"][title]]
        ax.set(xscale="log", yscale="log", xlabel=title)
        ax.set_title(SERIES[title].unit, loc="left", fontsize=10, fontweight="bold")
        ax.set_xticks(ticks, [f"{x // 1000} k" if x >= 10_000 else str(x) for x in ticks])
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(LogFormatter())  # for axes with few powers of ten; without exponents
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png", backend="agg")
    return file.getvalue()


def main() -> None:
    """Measure, print the tables, and write the files."""
    options: Options = parse(Options, default=Options())
    for field in ("rounds", "threads"):
        check_range(field, getattr(options, field))
    if options.output_dir or options.update_docs:
        check_matplotlib()
    if options.update_docs:
        check_document(options.update_docs, "scripts/bench_curves.py")
    if options.output_dir:
        make_folder(options.output_dir)
    console = plain_console()
    if options.record:
        record = read_record(options.record, "curves", "scripts/bench_curves.py")
    else:
        record = measure_all(options, console)
    widen(console)
    with whole_record(options.record, "scripts/bench_curves.py"):
        report(options, record, console)


def report(options: Options, record: Record, console: Console) -> None:
    """Print and write a record."""
    try:
        console.print(Markdown(markdown(record)))
    finally:  # also if nobody reads the output any more: the work is done
        if options.output_dir:
            picture = draw(record)  # before a file is replaced: a record that was read may be damaged
            write_whole(options.output_dir / "curves.json", (json.dumps(record, indent=1) + "\n").encode())
            write_whole(options.output_dir / "curves.png", picture)
        if options.update_docs:
            update_document(options.update_docs, "scripts/bench_curves.py", markdown(record))
            write_whole(options.update_docs.with_name(f"{options.update_docs.stem}-curves.png"), draw(record))
