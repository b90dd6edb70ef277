"""How time and memory grow with batch size, width and data: `python scripts/bench_curves.py --output-dir DIR`.

Runs contestants of scripts/bench.py in the same way, on workloads that differ in one thing at a time.
"""

import datetime as dt
import gzip
import io
import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from bench import DOCUMENT, check_matplotlib, machine, make_folder, measure, update_document, versions
from bench_contestants import CONTESTANTS, IDIOMATIC, NOTEBOOK, Workload
from bench_report import OURS, REST, THEIRS, Record, conditions, digits, grid, measured, step_seconds
from rich.console import Console
from rich.markdown import Markdown

from mlp_xp.cli import parse, run
from mlp_xp.datasets import load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.files import write_whole

NAMES = (NOTEBOOK, "mlp_xp-numpy", "mlp_xp-jax", IDIOMATIC)
STYLES = dict(
    zip(
        NAMES,
        (
            {"color": THEIRS, "marker": "s"},
            {"color": OURS, "marker": "o"},
            {"color": OURS, "marker": "^", "ls": "--"},
            {"color": REST, "marker": "D"},
        ),
        strict=True,
    )
)
PIXELS = 784


def workload(batch_size: int, hidden: int, steps: int, dtype: str = "float32") -> Workload:
    """One hidden layer, and a learning rate at which no loss overflows."""
    title = f"784-{hidden}-10, batches of {batch_size}, {dtype}"
    return Workload(title, title, batch_size, (hidden,), dtype, "glorot", 0.01, steps)


BATCH_SIZES = {size: workload(size, 64, max(4, 5000 // size)) for size in (1, 4, 16, 64, 256, 1024)}
WIDTHS = {width: workload(128, width, min(156, max(4, 10000 // width))) for width in (16, 64, 256, 1024, 2048)}
SAMPLES = {samples: workload(1, 64, 2500, "float64") for samples in (15_000, 30_000, 60_000, 120_000, 240_000)}


@dataclass(frozen=True)
class Options:
    """Measure how time and memory grow with batch size, width and data."""

    output_dir: Path | None = None
    """Write curves.json and curves.png here."""
    rounds: int = 5
    """Timed rounds; one more comes before them, for compilation."""
    threads: int = 1
    """Threads of each contestant."""
    update_docs: tyro.conf.FlagCreatePairsOff[bool] = False
    """Put the tables into docs/performance.md and the picture beside it."""


def data_folder(folder: Path, samples: int) -> Path:
    """IDX files with so many training samples: MNIST's first, or MNIST again and again."""
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
    """The three series: {"batch size": {"1": workload record, ...}, ...}."""

    def series(points: dict[int, Workload], folders: dict[int, Path]) -> Iterator[tuple[str, Record]]:
        for point, job in points.items():
            data = {"data_dir": folders[point]} if folders else {}
            yield (
                str(point),
                measure(job, NAMES, rounds=options.rounds, threads=options.threads, say=status.update, **data),
            )

    with console.status("") as status, tempfile.TemporaryDirectory() as place:
        folders = {samples: data_folder(Path(place) / str(samples), samples) for samples in SAMPLES}
        curves = {
            "batch size": dict(series(BATCH_SIZES, {})),
            "hidden units": dict(series(WIDTHS, {})),
            "training samples": dict(series(SAMPLES, folders)),
        }
    return {
        "date": dt.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "threads": options.threads,
        "rounds": options.rounds,
        "curves": curves,
    }


def lines(record: Record) -> Iterator[tuple[str, str, str, list[tuple[int, float]]]]:
    """What is drawn: (panel, unit, contestant, points)."""
    for panel, points in record["curves"].items():
        for name in NAMES:
            found = [(int(x), job, measured(job)[name]) for x, job in points.items() if name in measured(job)]
            if panel == "batch size":
                yield panel, "µs a sample", name, [(x, step_seconds(y, job) / x * 1e6) for x, job, y in found]
            elif panel == "hidden units":
                yield panel, "µs a step, batches of 128", name, [(x, step_seconds(y, job) * 1e6) for x, job, y in found]
            else:
                yield panel, "peak memory, MB", name, [(x, y["peak_bytes"] / 1e6) for x, job, y in found]


def markdown(record: Record) -> str:
    """A table a panel in Markdown."""
    blocks = [conditions(record)]
    for panel, points in record["curves"].items():
        found = [(unit, name, values) for title, unit, name, values in lines(record) if title == panel]
        cells = [[CONTESTANTS[name].title, *(digits(y, 3) for _, y in values)] for _, name, values in found]
        blocks.append("\n".join(grid([f"{panel} ({found[0][0]})", *points], cells)))
    return "\n\n".join(blocks)


def draw(record: Record) -> bytes:
    """Three panels on logarithmic axes: a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = dict(zip(record["curves"], figure.subplots(1, 3), strict=True))
    for panel, unit, name, points in lines(record):
        ax = panels[panel]
        ax.plot(*zip(*points, strict=True), label=CONTESTANTS[name].title, **STYLES[name])
        ax.set(xscale="log", yscale="log", xlabel=panel, title=unit)
        ticks = [x for x, _ in points]
        ax.set_xticks(ticks, [f"{x // 1000} k" if x >= 10_000 else str(x) for x in ticks], minor=False)
        ax.set_xticks([], minor=True)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *panels["batch size"].get_legend_handles_labels(), loc="outside lower center", ncols=len(NAMES), frameon=False
    )
    file = io.BytesIO()
    figure.savefig(file, dpi=120)
    return file.getvalue()


def main() -> None:
    """Measure, print the points, write."""
    options: Options = parse(Options, default=Options())
    for field in ("rounds", "threads"):
        if getattr(options, field) < 1:
            raise MlpXpError(f"--{field}: {getattr(options, field)} is out of range; it must be at least 1")
    if options.output_dir or options.update_docs:
        check_matplotlib()
    if options.output_dir:
        make_folder(options.output_dir)
    console = Console(highlight=False)
    record = measure_all(options, console)
    console.print(Markdown(markdown(record)))
    if options.output_dir:
        write_whole(options.output_dir / "curves.json", (json.dumps(record, indent=1) + "\n").encode())
        write_whole(options.output_dir / "curves.png", draw(record))
    if options.update_docs:
        update_document("scripts/bench_curves.py", markdown(record))
        write_whole(DOCUMENT.with_name("performance-curves.png"), draw(record))


if __name__ == "__main__":
    run(main)
