"""Draw figures of many runs: curves with bands over seeds, accuracy against each setting, a heat map of two settings.

As those of `plots`, each function returns a figure, and raises PlotError for what a machine can cause.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.plan import ceil_divide
from mlp_xp.runs.table import shown, words
from mlp_xp.show.plots import COLOURS, MARKERS, Curves, _tidy, _visible, drawing, new_figure

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

# From this ratio on, an axis of losses has powers of ten only.
WIDE = 1e4
MOST_BANDS = 5  # more of them on top of one another cannot be told apart
MOST_LINES = len(COLOURS)
LINES = ("-", "--", ":", "-.")
# A number whose largest value is at least so many times its smallest is drawn on a logarithmic axis.
LOG_RATIO = 8
AXES = {"hidden": "units of the hidden layers", "batch_size": "batch size (samples)", "epochs": "training epochs"}
ACCURACIES = {"validation_accuracy": "accuracy on held-out samples (%)", "accuracy": "test accuracy (%)"}


class Setting(NamedTuple):
    """A setting of a sweep: its runs differ in their seeds."""

    name: str
    """The name in the legend."""
    settings: Mapping[str, Any]
    """What varies, without the seed."""
    accuracies: Sequence[float]
    """Of its finished runs, in [0, 1]."""
    curves: Sequence[Curves] = ()
    """Of its finished runs."""


def accuracy_label(held_out: bool) -> str:
    """Return the name of an axis of accuracies."""
    return ACCURACIES["validation_accuracy" if held_out else "accuracy"]


def axis_label(name: str) -> str:
    """Return the name of the axis of a setting."""
    return AXES.get(name, words(name))


@drawing()
def draw_bands(settings: Sequence[Setting], *, held_out: bool, ranked: bool = False) -> "Picture":
    """Draw training loss and accuracy against samples seen, with a band over the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of them. Draws the first
    MOST_BANDS settings. Where runs of a setting have different lengths, its curve ends with the shortest. held_out:
    draw the accuracy on held-out samples, which is known at the end of each epoch. ranked: whether the settings come
    best first.
    """
    drawn = [each for each in settings if each.curves][:MOST_BANDS]
    figure = new_figure(8, 6.4 + 0.2 * ceil_divide(len(drawn), 2))
    losses, accuracy = figure.subplots(2, 1, sharex=True)
    quantity = "validation_accuracy" if held_out else "accuracy"
    later, lines = [], []
    for i, setting in enumerate(drawn):
        look = {"color": COLOURS[i], "linestyle": LINES[i % len(LINES)], "linewidth": 1.5}
        for axes, name, factor in ((losses, "train_loss", 1), (accuracy, quantity, 100)):
            seen, values = _stacked(setting.curves, name)
            if not len(seen):
                continue
            values = factor * values
            marker = "o" if len(seen) == 1 else None  # a line of one point is invisible
            (line,) = axes.plot(seen, values.mean(axis=0), label=_visible(setting.name), marker=marker, **look)
            if len(values) > 1:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.fill_between(
                    seen, low, high, facecolor=(COLOURS[i], 0.13), edgecolor=(COLOURS[i], 0.45), linewidth=0.7
                )
            if axes is accuracy:
                lines.append(line)
                later += values[:, seen > 0].ravel().tolist()
    losses.set(ylabel="training loss (nats)", yscale="log")
    low, high = losses.get_ylim()
    if high / low < WIDE:  # Matplotlib labels nothing at all where there is no room for these
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    accuracy.set(ylabel=ACCURACIES[quantity], xlabel="training samples seen")
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    if later:
        margin = 0.05 * (max(later) - min(later)) + 0.5
        accuracy.set_ylim(min(later) - margin, max(later) + margin)
    counts = {len(each.curves) for each in drawn}
    several = any(count > 1 for count in counts)
    which = (
        ""
        if len(drawn) == len(settings)
        else f"the {'best' if ranked else 'first'} {len(drawn)} of {len(settings)} settings; "
    )
    runs = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} to {max(counts, default=0)}"
    band = f"mean, lowest and highest of {runs} runs each" if several else "one run each"
    losses.set_title(f"Training: {which}{band}", fontsize=11)
    _legend(figure, lines)
    _tidy(losses)
    _tidy(accuracy)
    return figure


def _stacked(curves: Sequence[Curves], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples seen (n,) and the values (runs, n) of a quantity, up to the end of the shortest curve.

    Of two reports at the same place the first counts. The other is that of the first sample of the next epoch, whose
    training loss is of one batch if the first was at the end of an epoch; or the closing one, which with held-out
    samples is of the best network, not of the last.
    """
    tables = []
    for _, records, samples, *_ in curves:
        table: dict[int, float] = {}
        for record in records:
            if name in record:
                table.setdefault(record["epoch"] * samples + record["sample"], record[name])
        tables.append(table)
    common = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return np.array(common), np.array([[table[at] for at in common] for table in tables]).reshape(len(tables), -1)


@drawing()
def draw_settings(settings: Sequence[Setting], *, held_out: bool) -> "Picture":
    """Draw accuracy against each setting that varies: a dot for each run, a line through the means.

    Settings that differ in another way too have lines of their own, if they are at most MOST_LINES; a larger number,
    as of a random search, has dots alone.
    """
    names = list(settings[0].settings) if settings else []
    columns = min(3, max(1, len(names)))
    rows = max(1, ceil_divide(len(names), columns))
    figure = new_figure(max(5.5, 4.2 * columns), 3.9 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        scale = _Axis([each.settings[name] for each in settings])
        by_others: dict[str, list[Setting]] = {}
        for each in settings:
            rest = [[other, value] for other, value in each.settings.items() if other != name]
            by_others.setdefault(json.dumps(rest), []).append(each)
        joined = len(by_others) <= MOST_LINES and any(len(group) > 1 for group in by_others.values())
        for i, (others, group) in enumerate(by_others.items()):
            colour, marker = (COLOURS[i], MARKERS[i]) if joined else (COLOURS[0], MARKERS[0])
            group = sorted(
                (each for each in group if len(each.accuracies)), key=lambda each: scale.at(each.settings[name])
            )
            if not group:
                continue
            at = [scale.at(each.settings[name]) for each in group]
            # Side by side, or the dots of one line would hide those of another.
            aside = 0.022 * (i - (len(by_others) - 1) / 2) if joined else 0
            dots = [
                (scale.beside(x, aside), 100 * y) for x, each in zip(at, group, strict=True) for y in each.accuracies
            ]
            axes.plot(*zip(*dots, strict=True), linestyle="", marker=marker, markersize=4, color=colour, alpha=0.45)
            if joined:
                means = [100 * float(np.mean(each.accuracies)) for each in group]
                label = ", ".join(f"{words(other)} {shown(value)}" for other, value in json.loads(others))
                style = LINES[i % len(LINES)]
                axes.plot(at, means, linestyle=style, linewidth=1.5, color=colour, label=_visible(label) or "mean")
        scale.apply(axes)
        axes.set(xlabel=axis_label(name), ylabel=accuracy_label(held_out))
        if joined:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0}
            legend = axes.legend(frameon=False, fontsize=8, ncols=2, **place)
            for text in legend.get_texts():
                text.set_parse_math(False)
        _tidy(axes)
    runs = sum(len(each.accuracies) for each in settings)
    figure.suptitle(f"Accuracy against each setting: {runs} runs, and their means over seeds", fontsize=11)
    return figure


@drawing()
def draw_heat_map(settings: Sequence[Setting], *, held_out: bool) -> "Picture":
    """Draw the mean accuracy over seeds for each pair of values of the two settings that vary."""
    horizontal, vertical = settings[0].settings
    across, up = (_Axis([each.settings[name] for each in settings]) for name in (horizontal, vertical))
    shape = len(up.values), len(across.values)
    means = np.full(shape, np.nan)
    for each in settings:
        if len(each.accuracies):
            row, column = up.values.index(each.settings[vertical]), across.values.index(each.settings[horizontal])
            means[row, column] = 100 * float(np.mean(each.accuracies))
    figure = new_figure(max(5.5, 0.9 * shape[1] + 2.6), max(3.4, 0.6 * shape[0] + 1.8))
    axes = figure.subplots()
    shown_map = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto")
    figure.colorbar(shown_map, ax=axes, label=accuracy_label(held_out))
    known_means = means[~np.isnan(means)]
    lowest = known_means.min(initial=100)
    span = known_means.max(initial=lowest) - lowest or 1
    for (row, column), mean in np.ndenumerate(means):
        known = not math.isnan(mean)
        dark = known and (mean - lowest) / span < 0.55
        text, colour = (f"{mean:.2f}", "white" if dark else "black") if known else ("no run", "#555555")
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(shape[1]), [_visible(shown(value)) for value in across.values], parse_math=False)
    axes.set_yticks(range(shape[0]), [_visible(shown(value)) for value in up.values], parse_math=False)
    axes.set(xlabel=axis_label(horizontal), ylabel=axis_label(vertical))
    axes.set_title("Mean accuracy over seeds", fontsize=11)
    return figure


def can_draw_heat_map(settings: Sequence[Setting]) -> bool:
    """Return whether two settings vary, and at least half of the pairs of their values have runs."""
    if not settings or len(settings[0].settings) != 2:
        return False
    one, other = (len({json.dumps(each.settings[name]) for each in settings}) for name in settings[0].settings)
    return one > 1 and other > 1 and 2 * len(settings) >= one * other


class _Axis:
    """Where the values of a setting are on an axis: numbers where they belong, all else side by side."""

    def __init__(self, values: Sequence[Any]) -> None:
        distinct = {json.dumps(value): value for value in values}
        self.is_number = all(_number(value) is not None for value in distinct.values())
        self.values = list(distinct.values())
        if self.is_number or all(isinstance(value, list) for value in self.values):
            self.values.sort()

    def at(self, value: Any) -> float:
        """Return the place of a value on the axis."""
        number = _number(value)
        return number if self.is_number and number is not None else self.values.index(value)

    @property
    def is_logarithmic(self) -> bool:
        """Whether the values are positive numbers that differ by so much."""
        first, last = (self.at(each) for each in (self.values[0], self.values[-1]))
        return self.is_number and first > 0 and last >= LOG_RATIO * first

    def beside(self, place: float, share: float) -> float:
        """Return a place that is a share of the axis to the right of another."""
        first, last = (self.at(each) for each in (self.values[0], self.values[-1]))
        return place * (last / first) ** share if self.is_logarithmic else place + share * (last - first or 1)

    def apply(self, axes: Any) -> None:
        """Set scale and ticks of the horizontal axis."""
        places = [self.at(value) for value in self.values]
        if self.is_logarithmic:
            axes.set_xscale("log")
        if not self.is_number or len(places) <= 8:
            axes.set_xticks(places, [_visible(shown(value)) for value in self.values], parse_math=False)
            axes.set_xticks([], minor=True)
        if not self.is_number:
            axes.set_xlim(-0.5, len(places) - 0.5)


def _number(value: Any) -> float | None:
    """Return the number that a value is, also one hidden layer alone; None if it is none."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _legend(figure: Any, lines: Sequence[Any]) -> None:
    legend = figure.legend(
        lines, [line.get_label() for line in lines], loc="outside lower center", ncols=2, frameon=False, fontsize=9
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
