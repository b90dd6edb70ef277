"""Run everything there is to check on an NVIDIA card, and write docs/gpu.md: `make gpu`, which installs what it needs.

GPU tests, the parity check on every library that sees the card, and the benchmark; each part in a process with a time
limit. Exit code 0: all passed; 1: a part failed or did not end in time; 2: no usable GPU, or bad usage.
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
from mlp_xp.files import file_errors, write_whole

DOCUMENT = ROOT / "docs" / "gpu.md"


class GpuError(MlpXpError):
    """No usable GPU, or an option that does not fit."""


@dataclass(frozen=True)
class Options:
    """GPU tests, parity check and benchmark on an NVIDIA card, written to docs/gpu.md."""

    limit: float = LIMIT
    """Seconds that a part may take before it is killed and recorded as unfinished."""
    output_dir: Path | None = None
    """A new folder for logs and records; by default in runs/."""
    data_dir: Path | None = None
    """Folder of the four IDX files, with pictures of 28 x 28 and 10 classes, instead of MNIST."""
    stand_in: Path | None = None
    """Dry run without a GPU: a folder with a package named cupy that stands in for CuPy. Its document is written to the
    output folder, says that it is a dry run, and docs/gpu.md stays as it is."""


def make_plan(options: Options) -> Plan:
    """Check the options, and make the output folder. Raises MlpXpError."""
    if not options.limit > 0:
        raise GpuError(f"--limit: {options.limit} is out of range; it must be above 0")
    if options.stand_in and not (options.stand_in / "cupy" / "__init__.py").is_file():
        raise GpuError(f"--stand-in: {str(options.stand_in)!r} has no package cupy; give the folder that has it")
    check_matplotlib()
    kind = "gpu-dry-run" if options.stand_in else "gpu"
    folder = options.output_dir or ROOT / "runs" / f"{kind}-{dt.datetime.now():%Y%m%d-%H%M%S}"
    with file_errors(folder, "create"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):  # whose files would be taken for this run's
            raise GpuError(f"--output-dir: {str(folder)!r} is not empty; name a new folder")
    return Plan(
        folder.resolve(),
        options.limit,
        options.data_dir.resolve() if options.data_dir else None,
        DryRun(options.stand_in.resolve()) if options.stand_in else None,
    )


def the_card() -> Card:
    """The machine's card. Raises GpuError."""
    try:
        return find_card()
    except CardError as error:
        raise GpuError(str(error)) from error


def write(plan: Plan, record: Record) -> Path:
    """Write record, document and pictures; where the document is. A dry run writes to its own folder alone."""
    from mlp_xp.bench.gpu_report import document, draw_pictures

    path, prefix = (plan.folder / "dry-run.md", "dry-run") if plan.dry_run else (DOCUMENT, "gpu")
    write_whole(plan.folder / "gpu.json", (json.dumps(record, indent=1) + "\n").encode())
    pictures = draw_pictures(record, path.parent, prefix)
    write_whole(path, document(record, pictures).encode())
    return path


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that the part that is running is ended too, as by an interrupt."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Run everything. Returns 1 unless all that could run passed."""
    options: Options = parse(Options, default=Options())
    with ended_by_sigterm():
        return run_all(options)


def run_all(options: Options) -> int:
    """Look who sees the card, run all parts, write after each. The exit code."""
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
    for _ in run(plan, record, lambda line: print(line, flush=True)):
        write(plan, record)
    print(f"written: {path}; logs and records: {plan.folder}")
    return 0 if all(acceptable(part, libraries) for part in record["parts"]) else 1


def acceptable(part: Record, libraries: list[Record]) -> bool:
    """Whether a part passed, or is the parity check of a library other than CuPy that does not see the card."""
    unseen = [f"parity-{each['name']}" for each in libraries if "unseen" in each and each["name"] != "cupy"]
    return part["status"] == PASSED or (part["status"] == NOT_RUN and part["name"] in unseen)
