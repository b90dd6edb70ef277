"""Draw figures of many runs: curves with bands over seeds, accuracy against each setting, a heat map of two settings.

As those of `plots`, each function returns a figure, and raises PlotError for what a machine can cause.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.core.plan import ceil_divide
from mlp_xp.runs.table import shown, words
from mlp_xp.show.plots import (
    COLOURS,
    Curves,
    Points,
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

MOST_BANDS = 5  # more of them on top of one another cannot be told apart
LINES = ("-", "--", ":", "-.")
LONGEST_LABEL = 24  # characters of a value on an axis
LOG_RATIO = 8  # an axis of numbers that differ by this factor or more is logarithmic
TURNED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
# The figures of a report by which settings can be compared: their names on an axis.
SCORES = {
    "validation_accuracy": "accuracy on held-out samples (%)",
    "accuracy": "test accuracy (%)",
    "validation_r2": "R² on held-out samples",
    "r2": "test R²",
}


class Setting(NamedTuple):
    """A setting of a sweep: its runs differ in their seeds."""

    settings: Mapping[str, Any]
    """What varies, without the seed."""
    scores: Sequence[float]
    """Of its finished runs: accuracies in [0, 1], or R²."""
    failed: bool = False
    """Whether runs failed or were pruned."""

    def mean(self, score: str) -> float:
        """Return the mean of the scores, for an accuracy as a percentage; NaN without any."""
        return _factor(score) * float(np.mean(self.scores)) if self.scores else float("nan")


def _factor(score: str) -> int:
    """Return 100 for an accuracy, which is drawn as a percentage, and 1 for R²."""
    return 1 if score.endswith("r2") else 100


@drawing()
def draw_bands(curves: Mapping[str, Sequence[Curves]], *, score: str, total: int) -> "Picture":
    """Draw training loss and accuracy (or R²) against samples seen, with a band over the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of them. Where runs of a setting
    have different lengths, its curve ends with the shortest. curves: the runs of each setting, at most MOST_BANDS, by
    its name. score: one of SCORES; what held-out samples give is known at the end of each epoch. total: the number
    of settings with runs.
    """
    figure = new_figure(8, 6.4)
    losses, accuracy = figure.subplots(2, 1, sharex=True)
    points, lines = list[tuple[float, float]](), []
    for i, (name, runs) in enumerate(curves.items()):
        look = {"color": COLOURS[i], "linestyle": LINES[i % len(LINES)], "linewidth": 1.5}
        for axes, quantity, factor in ((losses, "train_loss", 1), (accuracy, score, _factor(score))):
            tables = [dict(zip(*Points(run).of(quantity, factor), strict=True)) for run in runs]
            seen = sorted(set.intersection(*map(set, tables)))
            if not seen:
                continue
            values = np.array([[table[at] for at in seen] for table in tables])
            marker = "o" if len(seen) == 1 else None  # a line of one point is invisible
            (line,) = axes.plot(seen, values.mean(axis=0), label=wrapped(name), marker=marker, **look)
            axes.fill_between(seen, values.min(axis=0), values.max(axis=0), color=COLOURS[i], alpha=0.15)
            if axes is accuracy:
                lines.append(line)
                points += [point for run in values.tolist() for point in zip(seen, run, strict=True)]
    losses.set(ylabel="training loss" if score.endswith("r2") else "training loss (nats)", yscale="log")
    which = "each setting" if len(curves) == total else f"the first {len(curves)} of {total} settings"
    losses.set_title(f"Mean over the runs of {which}, and from the lowest to the highest", fontsize=11)
    of_labels = any(run.task == "labels" for runs in curves.values() for run in runs)
    ylabel = SCORES[score] + ", all labels right" * of_labels
    accuracy.set(ylabel=ylabel, xlabel="training samples seen")
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    fit_scores(accuracy, points, percents=_factor(score) == 100)
    legend_below(figure, lines, [line.get_label() for line in lines])
    _tidy(losses)
    _tidy(accuracy)
    return figure


@drawing()
def draw_settings(settings: Sequence[Setting], *, score: str) -> "Picture":
    """Draw accuracy (or R²) against each setting that varies: a dot for each run, a line through the means of a value.

    score: one of SCORES. At least one setting has scores.
    """
    names = [*settings[0].settings]
    columns = min(3, len(names))
    rows = ceil_divide(len(names), columns)
    figure = new_figure(max(5.5, 4.2 * columns), 4.2 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        values = _values(settings, name)
        numbers: list[float] = [value for value in values if _is_number(value)]
        is_scale = len(numbers) == len(values)
        scores = [_factor(score) * np.array(_scores(settings, name, value)) for value in values]
        places = values if is_scale else range(len(values))
        known = [(at, each) for at, each in zip(places, scores, strict=True) if len(each)]
        for at, each in known:
            axes.plot([at] * len(each), each, "o", markersize=4, alpha=0.4, color=COLOURS[0])
        axes.plot([at for at, _ in known], [each.mean() for _, each in known], linewidth=1.5, color=COLOURS[0])
        if is_scale and min(numbers) > 0 and max(numbers) >= LOG_RATIO * min(numbers):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        if not is_scale:
            axes.set_xticks(places, [_text(value) for value in values], parse_math=False, **TURNED)
        if _factor(score) == 100:
            end_at_whole(axes)
        axes.set(xlabel=words(name), ylabel=SCORES[score])
        _tidy(axes)
    return figure


@drawing()
def draw_heat_map(settings: Sequence[Setting], *, score: str) -> "Picture":
    """Draw the mean accuracy (or R²) over seeds for each pair of values of the two settings that vary.

    score: one of SCORES.
    """
    horizontal, vertical = settings[0].settings
    across, up = _values(settings, horizontal), _values(settings, vertical)
    means = np.full((len(up), len(across)), np.nan)
    texts = dict.fromkeys(np.ndindex(means.shape), "no run")
    for each in settings:
        place = up.index(each.settings[vertical]), across.index(each.settings[horizontal])
        means[place] = mean = each.mean(score)
        texts[place] = "" if not each.scores else f"{mean:.2f}" if _factor(score) == 100 else f"{mean:.3f}"
        texts[place] += "\nfailed" * each.failed
    figure = new_figure(max(5.5, 0.9 * len(across) + 2.6), max(3.4, 0.6 * len(up) + 2.4))
    axes = figure.subplots()
    # Matplotlib would extend the scale of equal means on both sides, beyond 100 %.
    highest = max(means[~np.isnan(means)], default=0.0)
    lowest = min(means[~np.isnan(means)].min(initial=highest), highest - _factor(score) / 100)
    image = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto", vmin=lowest, vmax=highest)
    figure.colorbar(image, ax=axes, label=SCORES[score])
    for (row, column), text in texts.items():
        is_dark = not np.isnan(means[row, column]) and float(image.norm(means[row, column])) < 0.55  # type: ignore[arg-type]
        colour = "white" if is_dark else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(across)), [_text(value) for value in across], parse_math=False, **TURNED)
    axes.set_yticks(range(len(up)), [_text(value) for value in up], parse_math=False)
    axes.set(xlabel=words(horizontal), ylabel=words(vertical))
    axes.set_title(f"Mean {'R²' if _factor(score) == 1 else 'accuracy'} over seeds", fontsize=11)
    return figure


def can_draw_heat_map(settings: Sequence[Setting]) -> bool:
    """Return whether two settings vary, and at least half of the pairs of their values have runs."""
    if len(settings[0].settings) != 2:
        return False
    one, other = (len(_values(settings, name)) for name in settings[0].settings)
    return one > 1 and other > 1 and 2 * len(settings) >= one * other


def _values(settings: Sequence[Setting], name: str) -> list[Any]:
    """Return the different values of a setting; numbers in their order, all else as given."""
    values = [*{json.dumps(each.settings[name]): each.settings[name] for each in settings}.values()]
    return sorted(values) if all(map(_is_number, values)) else values


def _scores(settings: Sequence[Setting], name: str, value: Any) -> list[float]:
    return [score for each in settings if each.settings[name] == value for score in each.scores]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return _visible(shown(value), LONGEST_LABEL)
