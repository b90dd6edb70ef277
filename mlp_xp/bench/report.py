"""Report the measurements of scripts/bench.py: ratios and verdicts, tables, a picture."""

import io
import math
from statistics import median, quantiles
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlp_xp.bench.contestants import (
    IDIOMATIC,
    LIMIT,
    NOTEBOOK,
    ONE_THREAD,
    SIMULTANEOUS,
    SINGLY,
    WARM,
    contestant_of,
)
from mlp_xp.show.plots import drawing

Record = dict[str, Any]
"""The content of bench.json; `bench.measure` creates the part of a workload."""


class Bar(NamedTuple):
    """The largest allowed ratio of the times of two contestants on a workload."""

    workload: str
    contestant: str
    other: str
    most: float
    threads: int | None = 1
    """The threads of the benchmark for which it is meant; None for all cores."""


BARS = (
    Bar("one-float64", "mlp_xp-numpy", NOTEBOOK, 0.9),
    Bar("one-float32", "mlp_xp-numpy", NOTEBOOK, 1.0),
    Bar("one-float64", "mlp_xp-jax", NOTEBOOK, 0.3),
    Bar("one-float32", "mlp_xp-jax", NOTEBOOK, 0.2),
    Bar("one-float64", "mlp_xp-numpy", IDIOMATIC, 0.35),
    Bar("one-float32", "mlp_xp-numpy", IDIOMATIC, 0.35),
    Bar("one-float64", "mlp_xp-jax", IDIOMATIC, 0.1),
    Bar("one-float32", "mlp_xp-jax", IDIOMATIC, 0.1),
    Bar("one-float64", "mlp_xp-jax", LIMIT, 2.0),
    Bar("batch-4", "mlp_xp-jax", SINGLY, 1.0),
    Bar("batch-128", "mlp_xp-numpy", IDIOMATIC, 0.9),
    Bar("batch-128", "mlp_xp-jax", IDIOMATIC, 0.6),
    Bar("batch-1024-deep", "mlp_xp-numpy", ONE_THREAD, 0.625, threads=None),
    Bar("first-epoch", "mlp_xp-jax", NOTEBOOK, 0.3),
    Bar("first-epoch", WARM, NOTEBOOK, 0.2),
    *(Bar(f"fit-{dtype}", "mlp_xp-numpy", "scikit-learn", 0.6) for dtype in ("float64", "float32")),
    *(Bar(f"fit-{dtype}", "mlp_xp-jax", "scikit-learn", 0.4) for dtype in ("float64", "float32")),
)
MEMORY_BAR = Bar("one-float64", "mlp_xp-numpy", NOTEBOOK, 0.25)

MET, MISSED, NOISY, FEW = "met", "missed", "too noisy", "too few rounds"
NOT_JUDGED = (NOISY, FEW)
# Of the rounds of a ratio. With fewer, the quartiles say nothing about the noise.
LEAST_ROUNDS = 3
# The largest distance of the quartiles, as a share of the median, with which a figure is given.
SPREAD = 0.2

# Columns of ratios: the other contestant and the two lines of the heading.
OTHERS = (
    (NOTEBOOK, ("÷ note-", "book")),
    (IDIOMATIC, ("÷ Py-", "Torch")),
    (LIMIT, ("÷ li-", "mit")),
)
WHOLE_OTHERS = (
    *OTHERS[:2],
    ("keras-jax", ("÷", "Keras")),
    ("scikit-learn", ("÷ sci-", "kit")),
)

# Of the processors' time to that of the clock: more can only come from several threads.
MORE_THAN_ONE = 1.2
MARK_MEANS = "updates all layers at once; the others update layer by layer, like the notebook"
NOISY_MEANS = f"the quartiles of the rounds differ by more than {SPREAD:.0%} of the median"

# Below this ratio of the longest to the shortest bar, the axis is linear.
LINEAR = 10
# Okabe and Ito's colours, distinct for every kind of colour vision.
OURS, THEIRS, REST, BOUND = "#0072B2", "#E69F00", "#999999", "#009E73"


def step_seconds(result: Record, workload: Record) -> float:
    """Return the median time of a step, without the first round."""
    return median(result["round_seconds"][1:]) / int(workload["steps"])


def shuffle_seconds(result: Record, workload: Record) -> float:
    """Return the time in which the samples of a step are shuffled; NaN in an older record."""
    return float(result.get("shuffle_seconds", math.nan)) * int(workload["batch_size"])


def compile_seconds(result: Record) -> float:
    """Return the extra time of the first round, mostly compilation."""
    first, *others = result["round_seconds"]
    return max(0.0, first - median(others))


def ratios(result: Record, other: Record) -> list[float]:
    """Return the ratio of the times of two contestants in each round but the first, which share disturbances."""
    pairs = zip(result["round_seconds"][1:], other["round_seconds"][1:], strict=True)
    return [mine / theirs for mine, theirs in pairs]


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return lower, upper


def is_noisy(values: list[float]) -> bool:
    """Return whether the rounds differ so much that their median says nothing: the quartiles by more than SPREAD."""
    lower, upper = quartiles(values)
    return upper - lower > SPREAD * median(values)


def figure(values: list[float], significant: int, scale: float = 1.0) -> str:
    """Format the median of the values of the rounds, times a scale; or "noisy"."""
    return "noisy" if is_noisy(values) else digits(median(values) * scale, significant)


def judge(values: list[float], most: float) -> str:
    """Return MET if the upper quartile of the ratios in the rounds is at most `most`, MISSED if the lower is above.

    Else the rounds do not agree, and the verdict is NOISY; or FEW with fewer than LEAST_ROUNDS.
    """
    if len(values) < LEAST_ROUNDS:
        return FEW
    lower, upper = quartiles(values)
    return MET if upper <= most else MISSED if lower > most else NOISY


def tolerance(dtype: str) -> float:
    """Return the relative difference of two losses due to rounding: 4 sqrt(eps), as in SciPy and array-api-extra."""
    return float(4 * np.sqrt(np.finfo(dtype).eps))


def expected_loss(result: Record, workload: Record) -> float | None:
    """Return the loss of the reference for a contestant; None if there is none."""
    losses = workload["reference_loss"]
    loss: float | None = losses if is_whole(workload) else losses[contestant_of(result["contestant"]).order]
    return loss


def agrees(result: Record, workload: Record) -> bool:
    """Return whether the loss is that of the reference, within rounding or the workload's own tolerance."""
    expected = expected_loss(result, workload)
    if expected is None or result["loss"] is None:
        return True
    allowed = workload.get("loss_tolerance") or tolerance(workload["dtype"]) * abs(expected)
    return bool(abs(result["loss"] - expected) <= allowed)


def measured(workload: Record) -> dict[str, Record]:
    """Return the results of the contestants that ran, by name."""
    return {result["contestant"]: result for result in workload["results"] if "loss" in result}


def is_whole(workload: Record) -> bool:
    """Return whether whole programs were timed, not steps."""
    return "unit" in workload


def title_of(name: str, workload: Record) -> str:
    """Return the title of a contestant, with a mark if it updates all layers at once and others do not."""
    contestant = contestant_of(name)
    return contestant.title + (" †" if contestant.order == SIMULTANEOUS and not is_whole(workload) else "")


def table_of(workload: Record) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Return the headings, two lines each, and one row of cells per contestant that ran."""
    results = measured(workload)
    others = [x for x in (WHOLE_OTHERS if is_whole(workload) else OTHERS) if not is_whole(workload) or x[0] in results]
    headings = [("contestant", ""), ("time", "s") if is_whole(workload) else ("step", "µs")]
    headings += [heading for _, heading in others]
    headings += [("start", "s")]
    counted = any("epochs" in result for result in results.values())
    headings += ([("epochs", "")] if counted else []) if is_whole(workload) else [("first", "s"), ("peak", "MB")]
    headings += [("loss", "")]
    table = []
    for name, result in results.items():
        unit = 1.0 if is_whole(workload) else 1e6
        times = [each / int(workload["steps"]) for each in result["round_seconds"][1:]]
        cells = [title_of(name, workload), figure(times, 3, unit)]
        cells += [figure(ratios(result, results[x]), 2) if x in results else "–" for x, _ in others]
        cells += [f"{result['start_seconds']:.1f}"]
        if counted:
            cells += [f"{median(result['epochs'][1:]):g}" if "epochs" in result else "–"]
        elif not is_whole(workload):
            cells += [f"{compile_seconds(result):.1f}", f"{result['peak_bytes'] / 1e6:.0f}"]
        loss = "–" if result["loss"] is None else f"{result['loss']:.4f}"
        table.append([*cells, loss + ("" if agrees(result, workload) else " ≠")])
    return headings, table


def digits(number: float, significant: int) -> str:
    """Format a positive number with n significant digits, or its whole integer part; a dash for NaN."""
    if math.isnan(number):
        return "–"
    return f"{number:.{max(0, significant - 1 - math.floor(math.log10(number)))}f}"


def notes(workload: Record) -> list[str]:
    """Return the notes below a table: the reference losses, who differs from them, and who did not run and why."""
    results = measured(workload)
    lines = []
    if is_whole(workload):
        lines += [f"median of {workload['rounds']} rounds, a new process in each"]
        reference = workload["reference"]
        if workload["reference_loss"] is not None:
            when = ", after one epoch in float64, not timed" if workload["checked"] else ""
            lines += [f"loss{when}; expected: that of {contestant_of(reference).title}"]
    else:
        steps = max((len(x.get("round_seconds", ())) for x in workload["results"]), default=0) * int(workload["steps"])
        losses = ", ".join(f"{order} {loss:.4f}" for order, loss in workload["reference_loss"].items())
        lines += [f"loss after {steps} steps, on the first test images; expected: {losses}"]
        shuffles = ", ".join(
            f"{contestant_of(name).title} {digits(shuffle_seconds(result, workload) * 1e6, 2)}"
            for name, result in results.items()
            if "shuffle_seconds" in result
        )
        lines += [f"not in these times: µs to shuffle the samples of a step: {shuffles}"] if shuffles else []
    for name, result in results.items():
        if not agrees(result, workload):
            whose = contestant_of(workload["reference"]).title if is_whole(workload) else contestant_of(name).order
            lines.append(
                f"≠ {contestant_of(name).title}: loss {result['loss']:.8g} is not the {whose} reference's "
                f"{expected_loss(result, workload):.8g}: it computes something else"
            )
    cores = {
        contestant_of(name).title: sum(result["processor_seconds"][1:]) / sum(result["round_seconds"][1:])
        for name, result in results.items()
        if "processor_seconds" in result
    }
    if any(number > MORE_THAN_ONE for number in cores.values()):
        lines.append(f"cores that were used: {', '.join(f'{title} {number:.1f}' for title, number in cores.items())}")
    for result in workload["results"]:
        if "unavailable" in result:
            lines.append(
                f"not run: {contestant_of(result['contestant']).title}: {result['unavailable'].partition(';')[0]}"
            )
    return lines


class Verdict(NamedTuple):
    """A bar whose two contestants ran."""

    what: str
    ratio: str
    """As it is shown: the median of the rounds, or their quartiles if far apart or on both sides of the bar."""
    most: float
    verdict: str


def verdicts(record: Record) -> list[Verdict]:
    """Return the verdict of every bar for the record's number of threads whose two contestants ran."""
    workloads = {workload["name"]: workload for workload in record["workloads"]}
    found = []
    for kind, bars in (("time", BARS), ("peak memory", (MEMORY_BAR,))):
        for bar in bars:
            results = measured(workloads[bar.workload]) if bar.workload in workloads else {}
            if bar.contestant not in results or bar.other not in results or bar.threads != record["threads"]:
                continue
            mine, theirs = results[bar.contestant], results[bar.other]
            if kind == "time":
                values = ratios(mine, theirs)
                verdict = judge(values, bar.most)
            else:
                values = [mine["peak_bytes"] / theirs["peak_bytes"]]
                verdict = MET if values[0] <= bar.most else MISSED
            wide = verdict == NOISY or is_noisy(values)
            shown = "–".join(digits(each, 2) for each in (quartiles(values) if wide else [median(values)]))
            what = f"{bar.workload}: {kind}, {contestant_of(bar.contestant).title} ÷ {contestant_of(bar.other).title}"
            found.append(Verdict(what, shown, bar.most, verdict))
    return found


def summary(found: list[Verdict]) -> str:
    """Return a line about the bars that were not judged; empty if there are none."""
    noisy, few = ([each for each in found if each.verdict == verdict] for verdict in NOT_JUDGED)
    parts = []
    if noisy:
        parts.append(
            f"Too noisy to judge {len(noisy)} of {len(found)} bars: a quarter of the rounds or more are on either side "
            "of them. Measure again on an idle machine."
        )
    if few:
        parts.append(f"{len(few)} of {len(found)} bars were not judged: this needs {LEAST_ROUNDS} rounds.")
    return " ".join(parts)


def conditions(record: Record) -> str:
    """Describe in two sentences where and how a record was measured."""
    machine, versions = record["machine"], record["versions"]
    threads = "all cores and its own number of threads for each contestant"
    if number := record["threads"]:
        threads = f"{number} thread{'s' if number > 1 else ''} per contestant"
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}; {threads}, "
        f"median of {record['rounds']} interleaved rounds, {record['date']}. {libraries}."
    )


def show(record: Record, console: Console) -> None:
    """Print the tables within 80 columns."""
    for workload in record["workloads"]:
        table = Table(box=None, padding=(0, 1), pad_edge=False, title=workload["title"], title_justify="left")
        headings, cells = table_of(workload)
        for i, heading in enumerate(headings):
            # A long namespace is folded, so that no number is truncated.
            table.add_column("\n".join(heading), justify="right" if i else "left", no_wrap=i > 0, overflow="fold")
        for row in cells:
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
        for what, value, most, verdict in found:
            table.add_row(what, value, f"{most:g}", verdict if verdict == MET else Text(verdict, style="red"))
        console.print(table)
        if line := summary(found):
            console.print(line, style="red")
    if any("noisy" in row for workload in record["workloads"] for row in table_of(workload)[1]):
        console.print(f"noisy: {NOISY_MEANS}", style="dim")
    if has_marks(record):
        console.print(f"† {MARK_MEANS}", style="dim")


def has_marks(record: Record) -> bool:
    """Return whether a contestant has a mark."""
    return any("†" in row[0] for workload in record["workloads"] for row in table_of(workload)[1])


def markdown(record: Record) -> str:
    """Return the tables in Markdown."""
    lines = [conditions(record), ""]
    for workload in record["workloads"]:
        headings, cells = table_of(workload)
        lines += [f"### {workload['title']}", "", *grid([" ".join(x).strip() for x in headings], cells), ""]
        lines += [*(f"- {line}" for line in notes(workload)), ""]
    lines += [f"† {MARK_MEANS}.", ""] if has_marks(record) else []
    found = verdicts(record)
    if found:
        cells = [[x.what, x.ratio, f"{x.most:g}", x.verdict if x.verdict == MET else f"**{x.verdict}**"] for x in found]
        lines += ["### Bars", "", *grid(["ratio", "measured", "at most", ""], cells), ""]
        lines += [line, ""] if (line := summary(found)) else []
    return "\n".join(lines)


def grid(headings: list[str], cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; all columns but the first are right-aligned."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


@drawing()
def draw(record: Record, title: str | None = None) -> bytes:
    """Draw the time of a step, or of a whole program, as bars, one panel per workload, and return a PNG file.

    Axes are logarithmic if the times differ by a factor of LINEAR or more. title: the title of the whole picture.
    Raises PlotError.
    """
    from matplotlib.figure import Figure

    panels = [workload for workload in record["workloads"] if measured(workload)]
    heights = [len(measured(workload)) for workload in panels]
    picture = Figure(figsize=(8, 0.8 * len(panels) + 0.25 * sum(heights)), layout="constrained")
    if title:
        picture.suptitle(title)
    axes = picture.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, workload in zip(axes, panels, strict=True):
        results = measured(workload)
        scale = 1.0 if is_whole(workload) else 1e6
        times = [step_seconds(result, workload) * scale for result in results.values()]
        titles = [contestant_of(name).title for name in results]
        bars = ax.barh(titles, times, color=[colour(name) for name in results], height=0.75)
        steps = int(workload["steps"])
        rounds = [[each / steps for each in result["round_seconds"][1:]] for result in results.values()]
        ax.bar_label(bars, labels=[figure(x, 3, scale) for x in rounds], padding=3, fontsize=9)
        ax.invert_yaxis()
        if max(times) < LINEAR * min(times):
            ax.set_xlim(0, max(times) * 1.15)
        else:
            ax.set_xscale("log")
            ax.set_xlim(min(times) / 3, max(times) * 2)
        ax.xaxis.set_major_formatter("{x:g}")
        unit = "seconds" if is_whole(workload) else "µs per step"
        ax.set_title(f"{workload['title']}: {unit}", loc="left", fontsize=10, fontweight="bold")
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
    file = io.BytesIO()
    picture.savefig(file, dpi=120, format="png", backend="agg")
    return file.getvalue()


def colour(name: str) -> str:
    """Return the colour of a contestant's bar."""
    return OURS if contestant_of(name).title.startswith("mlp_xp") else {NOTEBOOK: THEIRS, LIMIT: BOUND}.get(name, REST)
