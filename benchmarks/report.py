"""Report measurements: ratios, and the tables in Markdown."""

import math
from statistics import median, quantiles

import numpy as np

from benchmarks.contestants import SIMULTANEOUS, Contestant
from benchmarks.measure import Record
from benchmarks.whole import contestant_of
from benchmarks.workloads import FIT, STEPS

# Contestants to whose time the others are compared, each in a column, if they ran.
BASES = {
    "notebook": "÷ notebook",
    "pytorch": "÷ PyTorch",
    "scikit-learn": "÷ scikit-learn",
    "numba": "÷ limit",
}
OF_STEPS = ("notebook", "pytorch", "numba")
# The largest distance of the quartiles, as a share of the median, with which a figure
# is given without a mark.
SPREAD = 0.2
# `fit` ends after ten epochs without an improvement by 0.0001, wherever that is.
FIT_TOLERANCE = 10 * 1e-4
MARK_MEANS = (
    "† updates all layers at once; the others update layer by layer, like the notebook."
)
NOISY_MEANS = (
    f"~ the quartiles of the rounds differ by more than {SPREAD:.0%} of the median."
)


def step_seconds(result: Record, workload: Record) -> list[float]:
    """Return the time of a step in each round but the first.

    In the first round, a library may compile.
    """
    return [seconds / int(workload["steps"]) for seconds in result["round_seconds"][1:]]


def ratios(result: Record, other: Record) -> list[float]:
    """Return the ratio of the times of two contestants in each round but the first.

    In a round they share disturbances.
    """
    pairs = zip(result["round_seconds"][1:], other["round_seconds"][1:], strict=True)
    return [mine / theirs for mine, theirs in pairs]


def figure(values: list[float], significant: int, scale: float = 1.0) -> str:
    """Format the median of the values of the rounds, times a scale.

    It has a mark if their quartiles are far apart.
    """
    lower, _, upper = (
        quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    noisy = upper - lower > SPREAD * median(values)
    return ("~" if noisy else "") + digits(median(values) * scale, significant)


def digits(number: float, significant: int) -> str:
    """Format a positive number with n significant digits, or its whole integer part.

    NaN is a dash.
    """
    if math.isnan(number):
        return "–"
    rounded = float(f"{number:.{significant - 1}e}")  # 0.996 is 1.0, not 1.00
    decimals = significant - 1 - math.floor(math.log10(rounded))
    return f"{number:.{max(0, decimals)}f}"


def measured(workload: Record) -> dict[str, Record]:
    """Return the results of the contestants that ran, by name."""
    return {
        result["contestant"]: result
        for result in workload["results"]
        if "loss" in result
    }


def contestant(result: Record, workload: Record) -> Contestant:
    """Return the contestant of a result."""
    return contestant_of(result["contestant"], workload["kind"])


def agrees(result: Record, workload: Record) -> bool:
    """Return whether the loss is that of the reference, within rounding.

    The tolerance is 4 sqrt(eps), as in SciPy.
    """
    expected = workload["reference_loss"].get(contestant(result, workload).order)
    if expected is None:
        return True
    allowed = float(4 * np.sqrt(np.finfo(workload["dtype"]).eps)) * abs(expected)
    return bool(
        abs(result["loss"] - expected)
        <= (FIT_TOLERANCE if workload["kind"] == FIT else allowed)
    )


def table(workload: Record, said: set[str]) -> str:
    """Return a workload's title, its table, and the notes below it.

    The notes are reference losses, and who did not run and why. A note in `said` is
    left out. The others are added to it.
    """
    results, steps = measured(workload), workload["kind"] == STEPS
    bases = [
        name for name in BASES if name in results and (name in OF_STEPS or not steps)
    ] or [*results][:1]
    headings = ["contestant", "step µs" if steps else "time s"]
    headings += [BASES.get(name, f"÷ {name}") for name in bases]
    headings += ["start s", *(["first s"] if steps else []), "peak MB", "loss"]
    cells, notes = [], []
    for result in results.values():
        who, times = contestant(result, workload), step_seconds(result, workload)
        row = [
            who.title + (" †" if who.order == SIMULTANEOUS else ""),
            figure(times, 3, 1e6 if steps else 1),
        ]
        row += [figure(ratios(result, results[base]), 2) for base in bases]
        row += [f"{median(result['start_seconds']):.1f}"]
        if steps:
            first, *others = result["round_seconds"]
            row += [f"{max(0.0, first - median(others)):.1f}"]
        row += [f"{result['peak_bytes'] / 1e6:.0f}"]
        row += [f"{result['loss']:.4f}" + ("" if agrees(result, workload) else " ≠")]
        cells.append(row)
        if not agrees(result, workload):
            expected = workload["reference_loss"][who.order]
            loss = f"loss {result['loss']:.8g} is not the reference's {expected:.8g}"
            notes.append(f"≠ {who.title}: {loss}")
    expected = ", ".join(
        f"{order} {loss:.4f}" for order, loss in workload["reference_loss"].items()
    )
    if expected:
        notes.insert(0, f"expected loss: {expected}")
    for result in workload["results"]:
        if "unavailable" in result:
            reason = result["unavailable"].partition(";")[0]
            notes.append(f"not run: {contestant(result, workload).title}: {reason}")
    if any("~" in cell for row in cells for cell in row):
        notes.append(NOISY_MEANS)
    if any("†" in row[0] for row in cells):
        notes.append(MARK_MEANS)
    lines = [
        f"### {workload['title']}",
        "",
        *(grid(headings, cells) if cells else []),
        "",
    ]
    new = [note for note in notes if note not in said]
    said.update(new)
    return "\n".join([*lines, *(f"- {note}" for note in new), ""])


def conditions(record: Record) -> str:
    """Describe where and how a record was measured."""
    number = record["threads"]
    libraries = ", ".join(
        f"{name} {version}" for name, version in record["versions"].items()
    )
    threads = "1 thread" if number == 1 else f"{number} threads"
    return (
        f"{record['machine']}; {threads} per contestant, "
        f"median of {record['rounds']} interleaved rounds, {record['date']}. "
        f"{libraries}.\n"
    )


def points(jobs: Record, name: str, series: str) -> dict[int, float]:
    """Return the µs of a contestant at each point of a curve.

    Along the batch size they are those of a sample.
    """
    found = {}
    for point, job in jobs.items():
        if name in measured(job):
            size = job["batch_size"] if series == "batch size" else 1
            found[int(point)] = (
                median(step_seconds(measured(job)[name], job)) * 1e6 / size
            )
    return found


def curve_table(series: str, jobs: Record) -> str:
    """Return the table of a curve: a row per contestant.

    It has the ratios to the notebook's loop.
    """
    names = list(dict.fromkeys(name for job in jobs.values() for name in measured(job)))
    cells = []
    for name in names:
        found = points(jobs, name, series)
        cells.append(
            [
                contestant_of(name, STEPS).title,
                *(digits(found.get(int(x), math.nan), 3) for x in jobs),
            ]
        )
    for name in (
        name for name in names if name.startswith("mlp_xp") and "notebook" in names
    ):
        both = [
            (measured(job).get(name), measured(job).get("notebook"))
            for job in jobs.values()
        ]
        shown = [
            figure(ratios(mine, theirs), 3) if mine and theirs else "–"
            for mine, theirs in both
        ]
        title = contestant_of(name, STEPS).title
        cells.append([f"{title} ÷ {contestant_of('notebook', STEPS).title}", *shown])
    unit = (
        "µs per sample"
        if series == "batch size"
        else f"µs per step of {next(iter(jobs.values()))['batch_size']}"
    )
    return "\n".join([*grid([f"{series} ({unit})", *jobs], cells), ""])


def grid(headings: list[str], cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table, aligned.

    All columns but the first are right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [headings, rule, *cells]
    return [
        "| "
        + " | ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    ]
