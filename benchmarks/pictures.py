"""Draw the measurements."""

import io
from statistics import median
from typing import Any

from benchmarks.measure import Record
from benchmarks.report import contestant, figure, measured, points, step_seconds
from benchmarks.whole import contestant_of
from benchmarks.workloads import STEPS
from mlp_xp.show.plots import COLOUR_OF, COLOURS, drawing

OURS, NOTEBOOK, BOUND, REST = (
    COLOURS[0],
    COLOUR_OF["notebook"],
    COLOUR_OF["bound"],
    "#BBBBBB",
)
STYLES: dict[str, dict[str, Any]] = {
    "notebook": {"color": NOTEBOOK, "marker": "s"},
    "mlp_xp-numpy": {"color": OURS, "marker": "o"},
    "mlp_xp-jax": {"color": OURS, "marker": "^", "ls": "--"},
    "pytorch": {"color": REST, "marker": "D"},
}
# Below this ratio of the longest to the shortest bar, the axis is linear.
LINEAR = 10


def png(picture: Any) -> bytes:
    """Return a figure as a PNG file."""
    file = io.BytesIO()
    picture.savefig(file, dpi=120, format="png", backend="agg")
    return file.getvalue()


def colour(name: str, title: str) -> str:
    """Return the colour of a contestant's bar."""
    return (
        OURS
        if title.startswith("mlp_xp")
        else {"notebook": NOTEBOOK, "numba": BOUND}.get(name, REST)
    )


def unit_of(kind: str, shortest: float) -> tuple[float, str]:
    """Return the unit of a panel, as its number in a second and its name."""
    if kind != STEPS:
        return 1.0, "seconds"
    return (1e6, "µs per step") if shortest < 0.01 else (1e3, "ms per step")


@drawing()
def draw_bars(record: Record) -> bytes:
    """Draw the time of a step, or of a whole program, as bars, one panel per workload,
    and return a PNG file.

    Raises PlotError.
    """
    from matplotlib.figure import Figure

    panels = [workload for workload in record["workloads"] if measured(workload)]
    heights = [len(measured(workload)) for workload in panels]
    picture = Figure(
        figsize=(8, 1.0 * len(panels) + 0.25 * sum(heights)), layout="constrained"
    )
    axes = picture.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, workload in zip(axes, panels, strict=True):
        results = measured(workload)
        rounds = [step_seconds(result, workload) for result in results.values()]
        scale, unit = unit_of(workload["kind"], min(map(median, rounds)))
        times = [median(seconds) * scale for seconds in rounds]
        titles = [contestant(result, workload).title for result in results.values()]
        bars = ax.barh(
            titles,
            times,
            color=[colour(*each) for each in zip(results, titles, strict=True)],
            height=0.75,
        )
        ax.bar_label(
            bars,
            labels=[figure(seconds, 3, scale) for seconds in rounds],
            padding=3,
            fontsize=9,
        )
        ax.invert_yaxis()
        if max(times) < LINEAR * min(times):
            ax.set_xlim(0, max(times) * 1.15)
        else:
            ax.set_xscale("log")
            ax.set_xlim(min(times) / 3, max(times) * 2)
            unit += ", logarithmic axis"
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_xlabel(unit, fontsize=9)
        ax.set_title(workload["title"], loc="left", fontsize=10.5)
        ax.tick_params(axis="y", length=0, labelsize=9)
        ax.grid(axis="x", alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
    return png(picture)


@drawing()
def draw_curves(record: Record) -> bytes:
    """Draw a panel per curve on logarithmic axes, and return a PNG file. Raises
    PlotError.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    picture = Figure(figsize=(9, 4), layout="constrained")
    axes = picture.subplots(1, len(record["curves"]), squeeze=False)[0]
    for ax, (series, jobs) in zip(axes, record["curves"].items(), strict=True):
        for name in dict.fromkeys(
            name for job in jobs.values() for name in measured(job)
        ):
            found = points(jobs, name, series)
            ax.plot(
                list(found),
                list(found.values()),
                label=contestant_of(name, STEPS).title,
                **STYLES.get(name, {}),
            )
        unit = "µs per sample" if series == "batch size" else "µs per step"
        ax.set(xscale="log", yscale="log", xlabel=series)
        ax.set_xticks([])
        ax.set_ylabel(f"{unit}, logarithmic axis")
        ax.set_xticks([int(x) for x in jobs], [*jobs], fontsize=9)
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
        # for axes with few powers of ten; without exponents
        ax.yaxis.set_minor_formatter(LogFormatter())
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(fontsize=8, frameon=False)
    return png(picture)
