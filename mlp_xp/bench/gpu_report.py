"""Create the document of `make gpu` from its record."""

from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.bench.contestants import CONTESTANTS, SIMULTANEOUS
from mlp_xp.bench.gpu import NOT_RUN, PASSED, STAND_IN
from mlp_xp.bench.gpu_worker import CASES
from mlp_xp.bench.report import (
    NOISY_MEANS,
    Record,
    agrees,
    compile_seconds,
    conditions,
    draw,
    figure,
    grid,
    measured,
    notes,
    ratios,
)
from mlp_xp.files import write_whole
from mlp_xp.parity.report import COLUMNS
from mlp_xp.show.plots import draw_deviations, save

EAGER, GRAPHS = "pytorch-gpu", "pytorch-gpu-graphs"
HEADINGS = ["contestant", "step µs", "÷ PyTorch, GPU", "÷ PyTorch, CUDA graphs", "start s", "first s", "loss"]

NOT_YET = "# On a GPU\n\nNot run yet.\n"
"""The document before the first run."""

PRECISION = """\
TF32 is off, because it computes products of float32 matrices with ten bits. JAX uses TF32 by default on recent cards
(here it runs with `JAX_DEFAULT_MATMUL_PRECISION=highest`); PyTorch and CuPy use it only if it is enabled."""

TIMES = f"""\
Every round ends when the losses are on the host. They are computed last, so that the time of a round includes all of
its work, although the libraries launch it asynchronously. PyTorch runs on the same card and is used as usual: modules,
autograd, an optimiser; with CUDA graphs by `torch.compile(mode="reduce-overhead")`. **start** is the time from the
start of the process to the first step; **first** is the extra time of the first round, mostly compilation. *noisy*:
{NOISY_MEANS}."""


def document(record: Record, pictures: dict[str, str]) -> str:
    """Return the whole document. pictures: file names, with the names of parity cases and "bench" as keys."""
    dry_run = record["dry_run"]
    lines = [f"# Dry run: {STAND_IN.name}" if dry_run else "# On a GPU", ""]
    if dry_run:
        lines += [
            "No GPU was used: NumPy replaced CuPy, for a few steps. This only shows that the command runs.",
            "",
        ]
    else:
        lines += ["Written by `make gpu`.", ""]
    card = record["card"]
    facts = [card["name"], card["driver"], card["cuda"] or "unknown", card["memory"], record["date"]]
    lines += [*table(["card", "driver", "CUDA of the driver", "memory", "date"], [facts]), ""]
    libraries = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += [f"{record['machine']}. {libraries}.", ""]
    cells = [
        [each["name"], each["version"], each["device"], each["card"]]
        for each in record["libraries"]
        if "unseen" not in each
    ]
    lines += [*table(["library", "version", "device", "name of the card"], cells), ""]
    cells = [
        [part["title"], part["status"], f"{part['seconds']:.0f}" if "seconds" in part else "–"]
        for part in record["parts"]
    ]
    lines += ["## Results", "", *table(["part", "result", "seconds"], cells), ""]
    gaps = missing(record)
    lines += ["## Still missing", "", *([f"- {gap}" for gap in gaps] or ["Nothing."]), ""]
    lines += tests_section(record) + parity_section(record, pictures) + bench_section(record, pictures)
    return "\n".join(lines).rstrip() + "\n"


def table(headings: list[str], cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [headings, ["---"] * len(headings), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


def label(record: Record) -> list[str]:
    """Return the first lines of a section: a label in a dry run, else nothing."""
    return [f"**{STAND_IN.name}.**", ""] if record["dry_run"] else []


def missing(record: Record) -> list[str]:
    """Return one line for everything that did not run, did not finish or did not pass."""
    found = [
        f"{each['name']} does not see the card: {each['unseen']}" for each in record["libraries"] if "unseen" in each
    ]
    for part in record["parts"]:
        if part["status"] != PASSED:
            found.append(f"{part['title']}: {part['status']}: {part['reason']}")
    for workload in record["workloads"]:
        for result in workload["results"]:
            if "unavailable" in result:
                title = CONTESTANTS[result["contestant"]].title
                found.append(f"benchmark, {workload['title']}: {title} did not run: {result['unavailable']}")
    return [" ".join(each.split()) for each in found]


def tests_section(record: Record) -> list[str]:
    """Return the section with the number of tests."""
    part = record["parts"][0]
    if part["status"] == NOT_RUN:
        return []
    dry_run = "Tests on the stand-in", "One file"
    heading, selection = dry_run if record["dry_run"] else ("GPU tests", "`python -m pytest -m gpu`")
    lines = [f"## {heading}", "", f"{selection}: {part.get('summary') or 'they did not finish'}.", ""]
    if part.get("not_passed"):
        lines += [*(f"- {line}" for line in part["not_passed"][:20]), ""]
        more = len(part["not_passed"]) - 20
        lines += [f"- and {more} more", ""] if more > 0 else []
    return lines


def parity_section(record: Record, pictures: dict[str, str]) -> list[str]:
    """Return the parity section: one table per case, with all libraries."""
    lines = []
    for case in CASES:
        results = {name: found[case.name] for name, found in record["parity"].items() if case.name in found}
        if not results:
            continue
        rows: list[list[str]] = []
        for result in results.values():
            rows += [list(row) for row in result["rows"][bool(rows) :]]  # the reference once
        steps = next(iter(results.values()))["steps"]
        lines += [f"### {case.title}: {steps} steps after the warm-up", "", *table(list(COLUMNS), rows), ""]
        lines += [f"- {result['also']}" for result in results.values() if "also" in result]
        lines += [f"- **{fault}**" for result in results.values() for fault in result["faults"]]
        lines += [""]
        if case.name in pictures:
            lines += [f"![Deviation of each loss from NumPy in float64, {case.title}]({pictures[case.name]})", ""]
    if not lines:
        return []
    intro = (
        "Largest relative deviations from NumPy in float64 on the processor, as explained in [parity.md](parity.md)."
    )
    return ["## Parity", "", *label(record), intro, "", PRECISION, "", *lines]


def bench_section(record: Record, pictures: dict[str, str]) -> list[str]:
    """Return the benchmark section: one table per workload."""
    if not record["workloads"]:
        return []
    lines = ["## Time of a step", "", *label(record), TIMES, "", conditions(record["bench"]), ""]
    if "bench" in pictures:
        lines += [f"![Time of a training step, by workload and contestant]({pictures['bench']})", ""]
    for workload in record["workloads"]:
        lines += [f"### {workload['title']}: time of a step", "", *grid(HEADINGS, bench_rows(workload)), ""]
        lines += [*(f"- {line}" for line in notes(workload)), ""]
    return [*lines, "† updates all layers at once; the others update layer by layer, like the notebook.", ""]


def bench_rows(workload: Record) -> list[list[str]]:
    """Return the cells under HEADINGS: one row per contestant that ran."""
    results = measured(workload)
    return [
        [
            CONTESTANTS[name].title + (" †" if CONTESTANTS[name].order == SIMULTANEOUS else ""),
            figure(result["round_seconds"][1:], 3, 1e6 / int(workload["steps"])),
            *(figure(ratios(result, results[x]), 2) if x in results else "–" for x in (EAGER, GRAPHS)),
            f"{result['start_seconds']:.1f}",
            f"{compile_seconds(result):.1f}",
            f"{result['loss']:.4f}" + ("" if agrees(result, workload) else " ≠"),
        ]
        for name, result in results.items()
    ]


def draw_pictures(record: Record, folder: Path, prefix: str) -> dict[str, str]:
    """Draw the available results into files that start with the prefix. Return their names by case, and by "bench"."""
    pictures = {}
    for case in CASES:
        found: dict[str, Any] = {
            name: results[case.name]
            for name, results in record["parity"].items()
            if "deviations" in results.get(case.name, {})
        }
        if found:
            pictures[case.name] = f"{prefix}-parity-{case.name}.png"
            tolerance = np.array(next(iter(found.values()))["tolerance"])
            word = f"{STAND_IN.name}: " if record["dry_run"] else ""
            series = {word + name: np.array(result["deviations"]) for name, result in found.items()}
            save(draw_deviations(series, tolerance=tolerance), folder / pictures[case.name])
    if any(measured(workload) for workload in record["workloads"]):
        pictures["bench"] = f"{prefix}-bench.png"
        write_whole(folder / pictures["bench"], draw(record, STAND_IN.name if record["dry_run"] else None))
    return pictures
