"""Run all GPU checks on an NVIDIA card and write docs/gpu.md: `make gpu`, which installs the dependencies.

The checks are the GPU tests, the parity check on every library that sees the card, and the benchmark. Each part runs
in its own process with a time limit. Exit code 0: all passed; 1: a part failed or did not finish in time; 2: no usable
GPU, or a usage error.
"""

import datetime as dt
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlp_xp.bench.card import Card, CardError, find_card
from mlp_xp.bench.gpu import LIBRARIES, LIMIT, NOT_RUN, PASSED, ROOT, STAND_IN, DryRun, Plan, begin, look, run, seen
from mlp_xp.bench.report import Record
from mlp_xp.commands.bench import check_matplotlib
from mlp_xp.commands.command_line import parse
from mlp_xp.errors import MlpXpError
from mlp_xp.files import FileError, file_errors, write_whole
from mlp_xp.show.plots import PlotError

DOCUMENT = ROOT / "docs" / "gpu.md"


class GpuError(MlpXpError):
    """No usable GPU, or an invalid option."""


@dataclass(frozen=True)
class Options:
    """Run GPU tests, parity check and benchmark on an NVIDIA card, and write docs/gpu.md."""

    limit: float = LIMIT
    """Time limit of each part in seconds. A part that takes longer is killed and recorded as unfinished."""
    output_dir: Path | None = None
    """New folder for logs and records; by default in runs/."""
    data_dir: Path | None = None
    """Folder with four IDX files instead of MNIST: images of 28 x 28 pixels, 10 classes."""
    stand_in: Path | None = None
    """Dry run without a GPU: a folder with a package named cupy that replaces CuPy. The document is written to the
    output folder and says that it is a dry run; docs/gpu.md does not change."""


def make_plan(options: Options) -> Plan:
    """Check the options and create the output folder. Raises MlpXpError."""
    if not (ROOT / "tests").is_dir():
        raise GpuError("this command runs the tests of the repository; run `make gpu` in a clone")
    if not options.limit > 0:
        raise GpuError(f"--limit: {options.limit} is out of range; it must be above 0")
    if options.stand_in and not (options.stand_in / "cupy" / "__init__.py").is_file():
        raise GpuError(f"--stand-in: {str(options.stand_in)!r} has no package cupy; give the folder that contains it")
    check_matplotlib()
    kind = "gpu-dry-run" if options.stand_in else "gpu"
    folder = options.output_dir or ROOT / "runs" / f"{kind}-{dt.datetime.now():%Y%m%d-%H%M%S}"
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):  # old files would be mistaken for files of this run
            raise GpuError(f"--output-dir: {str(folder)!r} is not empty; give a new folder")
    return Plan(
        folder.resolve(),
        options.limit,
        options.data_dir.resolve() if options.data_dir else None,
        DryRun(options.stand_in.resolve()) if options.stand_in else None,
    )


def the_card() -> Card:
    """Return the card of this machine. Raises GpuError if no card is usable."""
    try:
        return find_card()
    except CardError as error:
        raise GpuError(str(error)) from error


def write(plan: Plan, record: Record, *, publish: bool = False) -> Path:
    """Write record, document and pictures to the output folder, or to publish to docs/; return the document's path."""
    from mlp_xp.bench.gpu_report import document, draw_pictures

    name = "dry-run" if plan.dry_run else "gpu"
    write_whole(plan.folder / "gpu.json", (json.dumps(record, indent=1) + "\n").encode())
    path = (DOCUMENT.parent if publish else plan.folder) / f"{name}.md"
    try:
        pictures = draw_pictures(record, path.parent, name)
    except (PlotError, FileError) as error:  # the results of an hour must not be lost with them
        pictures = {}
        print(f"no pictures: {error}", flush=True)
    write_whole(path, document(record, pictures).encode(errors="backslashreplace"))
    return path


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, so that the running part is also stopped, as by an interrupt."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Run all parts. Return 1 unless every part that could run passed."""
    options: Options = parse(Options, default=Options())
    with ended_by_sigterm():
        return run_all(options)


def run_all(options: Options) -> int:
    """Find the libraries that see the card, run all parts, publish the document, and return the exit code."""
    card = STAND_IN if options.stand_in else the_card()
    plan = make_plan(options)
    print(f"card: {card.name}", flush=True)
    libraries = look(plan)
    if not seen(libraries):
        reasons = "; ".join(f"{each['name']}: {each['unseen']}" for each in libraries)
        raise GpuError(f"no usable GPU: none of {', '.join(LIBRARIES)} sees the card ({reasons})")
    for each in libraries:
        print(f"{each['name']}: {each.get('unseen') or each['card']}", flush=True)
    record = begin(plan, card, libraries)
    path = write(plan, record)
    try:
        for _ in run(plan, record, lambda line: print(line, flush=True)):
            write(plan, record)
    except BrokenPipeError:  # raised by the line that reports the end of a part, whose results are in the record
        write(plan, record)
        raise
    if not plan.dry_run:  # at the end only: a run that was stopped must not replace the results of a complete one
        path = write(plan, record, publish=True)
    print(f"written: {path}; logs and records: {plan.folder}")
    return 0 if all(acceptable(part, libraries) for part in record["parts"]) else 1


def acceptable(part: Record, libraries: list[Record]) -> bool:
    """Return whether a part passed, or is the parity check of a library other than CuPy that does not see the card."""
    unseen = [f"parity-{each['name']}" for each in libraries if "unseen" in each and each["name"] != "cupy"]
    return part["status"] == PASSED or (part["status"] == NOT_RUN and part["name"] in unseen)
