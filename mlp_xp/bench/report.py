"""Report the measurements of scripts/bench.py: ratios and verdicts, tables, a picture."""

import io
import math
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlp_xp.bench.contestants import IDIOMATIC, LIMIT, NOTEBOOK, SIMULTANEOUS, contestant_of
from mlp_xp.show.plots import drawing

Record = dict[str, Any]
"""The content of bench.json; `bench.measure` creates the part of a workload."""

# (workload, contestant, compared with, largest allowed ratio of the times of a step)
BARS = (
    ("one-float64", "mlp_xp-numpy", NOTEBOOK, 0.9),
    ("one-float32", "mlp_xp-numpy", NOTEBOOK, 1.0),
    ("one-float64", "mlp_xp-jax", NOTEBOOK, 0.3),
    ("one-float32", "mlp_xp-jax", NOTEBOOK, 0.2),
    ("one-float64", "mlp_xp-numpy", IDIOMATIC, 0.35),
    ("one-float32", "mlp_xp-numpy", IDIOMATIC, 0.35),
    ("one-float64", "mlp_xp-jax", IDIOMATIC, 0.1),
    ("one-float32", "mlp_xp-jax", IDIOMATIC, 0.1),
    ("one-float64", "mlp_xp-jax", LIMIT, 2.0),
    ("batch-128", "mlp_xp-numpy", IDIOMATIC, 0.9),
    ("batch-128", "mlp_xp-jax", IDIOMATIC, 0.6),
)
MEMORY_BAR = ("one-float64", "mlp_xp-numpy", NOTEBOOK, 0.25)

HEADINGS = (
    ("contestant", ""),
    ("step", "µs"),
    ("÷ note-", "book"),
    ("÷ Py-", "Torch"),
    ("÷ li-", "mit"),
    ("start", "s"),
    ("first", "s"),
    ("peak", "MB"),
    ("loss", ""),
)

# Below this ratio of the longest to the shortest bar, the axis is linear.
LINEAR = 10
# Okabe and Ito's colours, distinct for every kind of colour vision.
OURS, THEIRS, REST, BOUND = "#0072B2", "#E69F00", "#999999", "#009E73"


def step_seconds(result: Record, workload: Record) -> float:
    """Return the median time of a step, without the first round."""
    return median(result["round_seconds"][1:]) / int(workload["steps"])


def compile_seconds(result: Record) -> float:
    """Return the extra time of the first round, mostly compilation."""
    first, *others = result["round_seconds"]
    return max(0.0, first - median(others))


def ratio(result: Record, other: Record | None) -> float:
    """Return the median of the ratios within each round, which share disturbances; NaN if `other` is None."""
    if other is None:
        return math.nan
    pairs = zip(result["round_seconds"][1:], other["round_seconds"][1:], strict=True)
    return median(mine / theirs for mine, theirs in pairs)


def tolerance(dtype: str) -> float:
    """Return the relative difference of two losses due to rounding: 4 sqrt(eps), as in SciPy and array-api-extra."""
    return float(4 * np.sqrt(np.finfo(dtype).eps))


def agrees(result: Record, workload: Record) -> bool:
    """Return whether the final loss is that of the reference with the same update order, within rounding."""
    expected = workload["reference_loss"][contestant_of(result["contestant"]).order]
    return bool(abs(result["loss"] - expected) <= tolerance(workload["dtype"]) * abs(expected))


def measured(workload: Record) -> dict[str, Record]:
    """Return the results of the contestants that ran, by name."""
    return {result["contestant"]: result for result in workload["results"] if "loss" in result}


def rows(workload: Record) -> list[list[str]]:
    """Return the cells under HEADINGS: one row per contestant that ran."""
    results = measured(workload)
    table = []
    for name, result in results.items():
        contestant = contestant_of(name)
        table.append(
            [
                contestant.title + (" †" if contestant.order == SIMULTANEOUS else ""),
                digits(step_seconds(result, workload) * 1e6, 3),
                *(digits(ratio(result, results.get(other)), 2) for other in (NOTEBOOK, IDIOMATIC, LIMIT)),
                f"{result['start_seconds']:.1f}",
                f"{compile_seconds(result):.1f}",
                f"{result['peak_bytes'] / 1e6:.0f}",
                f"{result['loss']:.4f}" + ("" if agrees(result, workload) else " ≠"),
            ]
        )
    return table


def digits(number: float, significant: int) -> str:
    """Format a positive number with n significant digits, or its whole integer part; a dash for NaN."""
    if math.isnan(number):
        return "–"
    return f"{number:.{max(0, significant - 1 - math.floor(math.log10(number)))}f}"


def notes(workload: Record) -> list[str]:
    """Return the notes below a table: the reference losses, who differs from them, and who did not run and why."""
    losses = ", ".join(f"{order} {loss:.4f}" for order, loss in workload["reference_loss"].items())
    steps = max((len(x.get("round_seconds", ())) for x in workload["results"]), default=0) * int(workload["steps"])
    lines = [f"loss after {steps} steps, on the first test images; expected: {losses}"]
    for name, result in measured(workload).items():
        if not agrees(result, workload):
            order = contestant_of(name).order
            lines.append(
                f"≠ {contestant_of(name).title}: loss {result['loss']:.8g} is not the {order} reference's "
                f"{workload['reference_loss'][order]:.8g}: it computes something else"
            )
    for result in workload["results"]:
        if "unavailable" in result:
            lines.append(
                f"not run: {contestant_of(result['contestant']).title}: {result['unavailable'].partition(';')[0]}"
            )
    return lines


def verdicts(record: Record) -> list[tuple[str, float, float]]:
    """Return a description, the measured ratio and the bar, for every bar whose two contestants ran."""
    workloads = {workload["name"]: workload for workload in record["workloads"]}
    found = []
    for kind, bars in (("time", BARS), ("peak memory", (MEMORY_BAR,))):
        for name, contestant, other, bar in bars:
            results = measured(workloads[name]) if name in workloads else {}
            if contestant not in results or other not in results:
                continue
            mine, theirs = results[contestant], results[other]
            value = ratio(mine, theirs) if kind == "time" else mine["peak_bytes"] / theirs["peak_bytes"]
            found.append(
                (f"{name}: {kind}, {contestant_of(contestant).title} ÷ {contestant_of(other).title}", value, bar)
            )
    return found


def conditions(record: Record) -> str:
    """Describe in two sentences where and how a record was measured."""
    machine, versions = record["machine"], record["versions"]
    threads = f"{record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}; {threads} per contestant, "
        f"median of {record['rounds']} interleaved rounds, {record['date']}. {libraries}."
    )


def show(record: Record, console: Console) -> None:
    """Print the tables within 80 columns."""
    for workload in record["workloads"]:
        table = Table(box=None, padding=(0, 1), pad_edge=False, title=workload["title"], title_justify="left")
        for i, heading in enumerate(HEADINGS):
            # A long namespace is folded, so that no number is truncated.
            table.add_column("\n".join(heading), justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
        for row in rows(workload):
            table.add_row(*row, style="bold" if row[0].startswith("mlp_xp") else "red" if "≠" in row[-1] else None)
        console.print(table)
        for line in notes(workload):
            console.print(line, style="red" if line.startswith("≠") else "dim")
        console.print()
    found = verdicts(record)
    if found:
        table = Table(box=None, padding=(0, 1), pad_edge=False, title="bars", title_justify="left")
        table.add_column("ratio")
        for title in ("measured", "at most", ""):
            table.add_column(title, justify="right")
        for what, value, bar in found:
            table.add_row(what, digits(value, 2), f"{bar:g}", "met" if value <= bar else Text("missed", style="red"))
        console.print(table)
    if any("†" in cell for workload in record["workloads"] for row in rows(workload) for cell in row[:1]):
        console.print("† updates all layers at once; the others update layer by layer, like the notebook", style="dim")


def markdown(record: Record) -> str:
    """Return the tables in Markdown."""
    lines = [conditions(record), ""]
    for workload in record["workloads"]:
        lines += [f"### {workload['title']}", "", *grid([" ".join(x).strip() for x in HEADINGS], rows(workload)), ""]
        lines += [*(f"- {line}" for line in notes(workload)), ""]
    lines += ["† updates all layers at once; the others update layer by layer, like the notebook.", ""]
    found = [
        [what, digits(value, 2), f"{bar:g}", "met" if value <= bar else "**missed**"]
        for what, value, bar in verdicts(record)
    ]
    if found:
        lines += ["### Bars", "", *grid(["ratio", "measured", "at most", ""], found), ""]
    return "\n".join(lines)


def grid(headings: list[str], cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; all columns but the first are right-aligned."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


@drawing()
def draw(record: Record, title: str | None = None) -> bytes:
    """Draw the time of a step as bars, one panel per workload, and return a PNG file.

    Axes are logarithmic if the times differ by a factor of LINEAR or more. title: the title of the whole picture.
    Raises PlotError.
    """
    from matplotlib.figure import Figure

    panels = [workload for workload in record["workloads"] if measured(workload)]
    heights = [len(measured(workload)) for workload in panels]
    figure = Figure(figsize=(8, 0.8 * len(panels) + 0.25 * sum(heights)), layout="constrained")
    if title:
        figure.suptitle(title)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, workload in zip(axes, panels, strict=True):
        results = measured(workload)
        microseconds = [step_seconds(result, workload) * 1e6 for result in results.values()]
        titles = [contestant_of(name).title for name in results]
        bars = ax.barh(titles, microseconds, color=[colour(name) for name in results], height=0.75)
        ax.bar_label(bars, labels=[digits(x, 3) for x in microseconds], padding=3, fontsize=9)
        ax.invert_yaxis()
        if max(microseconds) < LINEAR * min(microseconds):
            ax.set_xlim(0, max(microseconds) * 1.15)
        else:
            ax.set_xscale("log")
            ax.set_xlim(min(microseconds) / 3, max(microseconds) * 2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(f"{workload['title']}: µs per step", loc="left", fontsize=10, fontweight="bold")
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png", backend="agg")
    return file.getvalue()


def colour(name: str) -> str:
    """Return the colour of a contestant's bar."""
    return OURS if name.startswith("mlp_xp") else {NOTEBOOK: THEIRS, LIMIT: BOUND}.get(name, REST)
