"""Draw figures of many runs: curves with bands over seeds, accuracy against each setting, a heat map of two settings.

As those of `plots`, each function returns a figure, and raises PlotError for what a machine can cause.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.plan import ceil_divide
from mlp_xp.runs.table import shown, words
from mlp_xp.show.plots import (
    COLOURS,
    MARKERS,
    Curves,
    _tidy,
    _visible,
    drawing,
    end_at_whole,
    fit_scores,
    legend_below,
    new_figure,
    wrapped,
)

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

# From this ratio on, an axis of losses has powers of ten only.
WIDE = 1e4
MOST_BANDS = 5  # more of them on top of one another cannot be told apart
MOST_LINES = len(COLOURS)
LINES = ("-", "--", ":", "-.")
TURNED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
MOST_TICKS = 8  # values of a setting that are ticks themselves
LONGEST_LABEL = 44  # characters of a line's name above a panel
CHARACTER, NARROWEST = 0.085, 4.2  # inches: of a tick's label for each character, and of a panel
CLOSE = 0.04  # share of an axis: numbers that are closer are side by side
WIDEST = 1e12  # numbers that differ by a larger factor are side by side
# A number whose largest value is at least so many times its smallest is drawn on a logarithmic axis.
LOG_RATIO = 8
AXES = {"hidden": "units of the hidden layers", "batch_size": "batch size (samples)", "epochs": "training epochs"}
# The figures of a report by which settings can be compared: their names on an axis.
SCORES = {
    "validation_accuracy": "accuracy on held-out samples (%)",
    "accuracy": "test accuracy (%)",
    "validation_r2": "R² on held-out samples",
    "r2": "test R²",
}


class Setting(NamedTuple):
    """A setting of a sweep: its runs differ in their seeds."""

    name: str
    """The name in the legend."""
    settings: Mapping[str, Any]
    """What varies, without the seed."""
    scores: Sequence[float]
    """Of its finished runs: accuracies in [0, 1], or R²."""
    curves: Sequence[Curves] = ()
    """Of its finished runs."""
    failed: int = 0
    """The number of its runs that failed or were pruned."""


def _score_name(settings: Sequence[Setting], score: str) -> str:
    """Return the name of an axis: for several labels, the accuracy is of all of them at once."""
    of_labels = any(run.task == "labels" for each in settings for run in each.curves)
    return SCORES[score] + ", all labels right" * of_labels


def _factor(score: str) -> int:
    """Return 100 for an accuracy, which is drawn as a percentage, and 1 for R²."""
    return 1 if score.endswith("r2") else 100


@drawing()
def draw_bands(settings: Sequence[Setting], *, score: str, ranked: bool = False) -> "Picture":
    """Draw training loss and accuracy (or R²) against samples seen, with a band over the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of them. Draws the first
    MOST_BANDS settings that have curves. Where runs of a setting have different lengths, its curve ends with the
    shortest. score: one of SCORES; what held-out samples give is known at the end of each epoch. ranked: whether the
    settings come best first.
    """
    drawn = [each for each in settings if each.curves][:MOST_BANDS]
    figure = new_figure(8, 6.4)
    losses, accuracy = figure.subplots(2, 1, sharex=True)
    points, lines = [], []
    for i, setting in enumerate(drawn):
        look = {"color": COLOURS[i], "linestyle": LINES[i % len(LINES)], "linewidth": 1.5}
        for axes, name, factor in ((losses, "train_loss", 1), (accuracy, score, _factor(score))):
            seen, values = _stacked(setting.curves, name)
            if not len(seen):
                continue
            values = factor * values
            marker = "o" if len(seen) == 1 else None  # a line of one point is invisible
            (line,) = axes.plot(seen, values.mean(axis=0), label=wrapped(setting.name), marker=marker, **look)
            if len(values) > 1:
                low, high = values.min(axis=0), values.max(axis=0)
                axes.fill_between(
                    seen, low, high, facecolor=(COLOURS[i], 0.13), edgecolor=(COLOURS[i], 0.45), linewidth=0.7
                )
            if axes is accuracy:
                lines.append(line)
                points += [
                    (at, value, COLOURS[i]) for run in values.tolist() for at, value in zip(seen, run, strict=True)
                ]
    losses.set(ylabel="training loss" if score.endswith("r2") else "training loss (nats)", yscale="log")
    low, high = losses.get_ylim()
    if high / low < WIDE:  # Matplotlib labels nothing at all where there is no room for these
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    accuracy.set(ylabel=_score_name(settings, score), xlabel="training samples seen")
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    fit_scores(accuracy, points, percents=_factor(score) == 100)
    counts = {len(each.curves) for each in drawn}
    several = any(count > 1 for count in counts)
    total = sum(bool(each.scores) for each in settings)
    which = "" if len(drawn) == total else f"the {'best' if ranked else 'first'} {len(drawn)} of {total} settings; "
    runs = f"{min(counts)}" if len(counts) == 1 else f"{min(counts, default=0)} to {max(counts, default=0)}"
    band = f"mean, lowest and highest of {runs} runs each" if several else "one run each"
    note = "\nThe ranking takes each run's best epoch." * (ranked and score.startswith("validation"))
    losses.set_title(f"Training: {which}{band}{note}", fontsize=11)
    without = [each.name for each in settings if not each.scores and each.failed]
    _legend(figure, lines, without)
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
def draw_settings(settings: Sequence[Setting], *, score: str, ranked: bool = False) -> "Picture":
    """Draw accuracy (or R²) against each setting that varies: a dot for each run, a line through the means.

    Settings that differ in another way too have lines of their own, if they are at most MOST_LINES; a larger number,
    as of a random search, has a faint dot for each run and a full one for each mean. A cross at the lower edge is a
    setting with failed runs. score: one of SCORES. ranked: whether the first setting is the best, which gets a ring.
    """
    names = list(settings[0].settings) if settings else []
    columns = min(3, max(1, len(names)))
    rows = max(1, ceil_divide(len(names), columns))
    scales = {name: _Axis([each.settings[name] for each in settings], len(names) == 1) for name in names}
    width = min(9, max([NARROWEST, *(scale.width for scale in scales.values())]))
    figure = new_figure(max(5.5, width * columns), 4.2 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    factor, best = _factor(score), settings[0] if ranked and settings and settings[0].scores else None
    for axes, name in zip(grid.flat, names, strict=False):
        scale = scales[name]
        by_others: dict[str, list[Setting]] = {}
        for each in settings:
            rest = [[other, value] for other, value in each.settings.items() if other != name]
            by_others.setdefault(json.dumps(rest), []).append(each)
        joined = len(by_others) <= MOST_LINES and any(len(group) > 1 for group in by_others.values())
        labels = []
        for i, (others, group) in enumerate(by_others.items()):
            colour, marker = (COLOURS[i], MARKERS[i]) if joined else (COLOURS[0], MARKERS[0])
            group = sorted((each for each in group if each.scores), key=lambda each: scale.at(each.settings[name]))
            if not group:
                continue
            at = [scale.at(each.settings[name]) for each in group]
            # Side by side, or the dots of one line would hide those of another.
            aside = 0.022 * (i - (len(by_others) - 1) / 2) if joined else 0
            dots = [
                (scale.beside(x, aside), factor * y) for x, each in zip(at, group, strict=True) for y in each.scores
            ]
            look = {"marker": marker, "color": colour}
            axes.plot(*zip(*dots, strict=True), linestyle="", markersize=4, alpha=0.4, **look)
            means = [factor * float(np.mean(each.scores)) for each in group]
            if joined:
                label = ", ".join(f"{words(other)} {shown(value)}" for other, value in json.loads(others))
                labels.append(_visible(label, LONGEST_LABEL) or "mean")
                style = LINES[i % len(LINES)]
                axes.plot(at, means, linestyle=style, linewidth=1.5, color=colour, label=labels[-1])
            elif any(len(each.scores) > 1 for each in group):
                axes.plot(at, means, linestyle="", markersize=6, **look)
        if best:
            ring = {
                "marker": "o",
                "markersize": 13,
                "fillstyle": "none",
                "color": "black",
                "linestyle": "",
                "clip_on": False,
            }
            axes.plot([scale.at(best.settings[name])], [factor * float(np.mean(best.scores))], **ring)
        if failed := [scale.at(each.settings[name]) for each in settings if each.failed]:
            cross = {"marker": "x", "markersize": 7, "markeredgewidth": 2, "color": COLOURS[1], "linestyle": ""}
            edge = axes.get_xaxis_transform()
            axes.plot(failed, [0.02] * len(failed), transform=edge, clip_on=False, zorder=5, **cross)
        scale.apply(axes, width)
        if factor == 100:
            end_at_whole(axes)
        axes.set(xlabel=scale.label(name), ylabel=_score_name(settings, score))
        if joined:
            place = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0}
            ncols = 2 if max(map(len, labels)) <= LONGEST_LABEL // 2 else 1
            legend = axes.legend(frameon=False, fontsize=8, ncols=ncols, **place)
            for text in legend.get_texts():
                text.set_parse_math(False)
        _tidy(axes)
    runs = sum(len(each.scores) for each in settings)
    tallest = max((len(axes.get_legend().get_texts()) for axes in grid.flat if axes.get_legend()), default=0)
    figure.set_figheight(figure.get_figheight() + 0.17 * tallest * rows / (2 if tallest <= 4 else 1))
    figure.suptitle(
        f"{'R²' if factor == 1 else 'Accuracy'} against each setting: {runs} runs, and their means over seeds",
        fontsize=11,
    )
    notes = ["ring: the best setting"] * bool(best)
    if crosses := sum(each.failed > 0 for each in settings):
        notes.append(f"cross: failed or pruned runs, of {crosses} setting{'s' * (crosses > 1)}")
    figure.supxlabel("; ".join(notes), fontsize=9)
    return figure


@drawing()
def draw_heat_map(settings: Sequence[Setting], *, score: str) -> "Picture":
    """Draw the mean accuracy (or R²) over seeds for each pair of values of the two settings that vary.

    score: one of SCORES.
    """
    horizontal, vertical = settings[0].settings
    across, up = (_Axis([each.settings[name] for each in settings]) for name in (horizontal, vertical))
    shape = len(up.values), len(across.values)
    means, factor = np.full(shape, np.nan), _factor(score)
    failed = np.zeros(shape, bool)
    for each in settings:
        place = up.values.index(each.settings[vertical]), across.values.index(each.settings[horizontal])
        if each.scores:
            means[place] = factor * float(np.mean(each.scores))
        failed[place] = each.failed
    x_labels, y_labels = ([_visible(shown(value), 24) for value in axis.values] for axis in (across, up))
    turned = max(map(len, x_labels)) * CHARACTER > 0.8
    figure = new_figure(
        max(5.5, 0.9 * shape[1] + 2.6), max(3.4, 0.6 * shape[0] + 1.8 + turned * 0.06 * max(map(len, x_labels)))
    )
    axes = figure.subplots()
    known_means = means[~np.isnan(means)]
    lowest = known_means.min(initial=factor)
    highest = known_means.max(initial=lowest)
    if lowest == highest:  # Matplotlib would extend the scale on both sides, and beyond 100 %
        lowest = highest - 0.01 * factor
    span = highest - lowest
    shown_map = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto", vmin=lowest, vmax=highest)
    figure.colorbar(shown_map, ax=axes, label=_score_name(settings, score))
    for (row, column), mean in np.ndenumerate(means):
        known = not math.isnan(mean)
        dark = known and (mean - lowest) / span < 0.55
        text = f"{mean:.2f}" if factor == 100 else f"{mean:.3f}"
        if not known:
            text = "failed" if failed[row, column] else "no run"
        elif failed[row, column]:
            text += "\nsome failed"
        colour = "#555555" if not known else "white" if dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9 if "\n" not in text else 8)
    turn = TURNED if turned else {}
    axes.set_xticks(range(shape[1]), x_labels, parse_math=False, **turn)
    axes.set_yticks(range(shape[0]), y_labels, parse_math=False)
    axes.set(xlabel=AXES.get(horizontal, words(horizontal)), ylabel=AXES.get(vertical, words(vertical)))
    axes.set_title(f"Mean {'R²' if factor == 1 else 'accuracy'} over seeds", fontsize=11)
    return figure


def can_draw_heat_map(settings: Sequence[Setting]) -> bool:
    """Return whether two settings vary, and at least half of the pairs of their values have runs."""
    if not settings or len(settings[0].settings) != 2:
        return False
    one, other = (len({json.dumps(each.settings[name]) for each in settings}) for name in settings[0].settings)
    return one > 1 and other > 1 and 2 * len(settings) >= one * other


class _Axis:
    """Where the values of a setting are on an axis: numbers where they belong, all else side by side."""

    def __init__(self, values: Sequence[Any], alone: bool = False) -> None:
        """Find the places of values, of which each setting has one. alone: whether nothing else varies."""
        distinct = {json.dumps(value): value for value in values}
        self.values = list(distinct.values())
        self.are_numbers = self.is_number = all(_number(value) is not None for value in self.values)
        if self.are_numbers:
            self.values.sort()
        elif all(isinstance(value, list) for value in self.values):
            self.values.sort(key=lambda layers: (len(layers), layers))
        # A rate of 1e200, at which all has failed, would press all others together.
        first, last = (_number(self.values[i]) or 0 for i in (0, -1))
        # Values of a grid are chosen, so that each has a label; samples are not, and may lie close together.
        chosen = len(values) > len(self.values) or alone
        crowded = chosen and len(self.values) <= MOST_TICKS and not self._fits() and self._closest() < CLOSE
        self.is_number = self.are_numbers and not crowded and not (first > 0 and last > WIDEST * first)

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

    @property
    def width(self) -> float:
        """Inches that labels of values side by side take when they are turned; 0 for numbers."""
        return 0 if self.is_number else 1.2 + 0.28 * len(self.values)

    def label(self, name: str) -> str:
        """Return the name of the axis of a setting."""
        aside = self.are_numbers and not self.is_number
        return AXES.get(name, words(name)) + "; not to scale" * aside

    def apply(self, axes: Any, width: float) -> None:
        """Set scale and ticks of the horizontal axis. width: of the panel, in inches."""
        from matplotlib.ticker import LogLocator, NullFormatter

        places = [self.at(value) for value in self.values]
        labels = self._labels()
        if self.is_logarithmic:
            axes.set_xscale("log")
        if not self.is_number:
            axes.set_xlim(-0.5, len(places) - 0.5)
        room = (width - 0.9) / CHARACTER  # characters side by side
        if not self.is_number:
            turned = (max(map(len, labels)) + 1) * len(labels) > room
            turn = TURNED if turned else {}
            axes.set_xticks(places, labels, parse_math=False, **turn)
        elif len(places) <= MOST_TICKS and self._fits():
            axes.set_xticks(places, labels, parse_math=False)
            axes.set_xticks([], minor=True)
        elif self.is_logarithmic:
            narrow = places[-1] / places[0] < LOG_RATIO**3
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=12))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
            most = axes.xaxis.get_major_locator()().size  # also of those beyond the ends
            if narrow and most * 6 > room:
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=12))
        else:
            axes.locator_params(axis="x", nbins=6, integer=all(isinstance(value, int) for value in self.values))

    def _labels(self) -> list[str]:
        return [_visible(shown(value), 24) for value in self.values]

    def _fits(self) -> bool:
        """Return whether the labels of numbers do not overlap in the narrowest panel."""
        room = 0.9 * (NARROWEST - 0.9) / CHARACTER
        pairs = zip(self._gaps(), pairwise(self._labels()), strict=True)
        return all(room * gap > (len(a) + len(b)) / 2 + 1 for gap, (a, b) in pairs)

    def _gaps(self) -> list[float]:
        """Return the distances between neighbours as shares of the axis."""
        places = [self.at(value) for value in self.values]
        if self.is_logarithmic:
            places = [math.log(place) for place in places]
        length = places[-1] - places[0] or 1.0
        return [(b - a) / length for a, b in pairwise(places)]

    def _closest(self) -> float:
        return min(self._gaps(), default=1.0)


def _number(value: Any) -> float | None:
    """Return the number that a value is, also one hidden layer alone; None if it is none."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _legend(figure: Any, lines: Sequence[Any], without: Sequence[str] = ()) -> None:
    """Add the names of the lines below, and those of settings without a finished run."""
    legend = legend_below(figure, lines, [line.get_label() for line in lines])
    if without:
        names, more = _visible(without[0]), len(without) - 1
        legend.set_title(f"no run finished: {names}" + f", and {more} more settings" * (more > 0), prop={"size": 9})
        legend.get_title().set_parse_math(False)
