"""Draw the pictures of a sweep into its folder: curves with bands, accuracy against each setting, a heat map."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.runs.sweep_index import FINISHED
from mlp_xp.runs.table import shown, words
from mlp_xp.show import plots
from mlp_xp.show.gallery import read_curves
from mlp_xp.show.plots import COLOURS, LONGEST_CLASS, PlotError, draw_bands, drawing, factor_of, save
from mlp_xp.sweeps.summary import Group, summary_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, SETTINGS, HEAT_MAP = "curves.png", "settings.png", "heatmap.png"
MOST_BANDS = 5  # more of them on top of one another cannot be told apart
LOG_RATIO = 8  # an axis of numbers that differ by this factor or more is logarithmic
TURNED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}


def draw_sweep(sweep_dir: Path) -> list[Path]:
    """Draw curves.png, settings.png and heatmap.png into a sweep's folder, and return the paths of those drawn.

    settings.png needs a setting that varies besides the seed; heatmap.png needs two, with at least half of the pairs of
    their values. Raises PlotError without Matplotlib or a finished member, RunError and FileError.
    """
    summary = summary_of(sweep_dir)
    groups = [group for group in summary.groups if group.finished]
    if not groups:
        raise PlotError("no member has finished, so there is nothing to draw", file=sweep_dir)
    score = summary.score if all(summary.score in group.results for group in groups) else summary.test_score
    # The curves of thousands take long to read.
    curves = {
        group.name: [read_curves(row.folder) for row in group.members if row.state == FINISHED]
        for group in groups[:MOST_BANDS]
    }
    figures = {CURVES: draw_bands(curves, score=score.removeprefix("test_"), total=len(groups))}
    names = [*groups[0].settings]
    if names:
        figures[SETTINGS] = draw_settings(summary.groups, score)
    if len(names) == 2:
        one, other = (len(_values(summary.groups, name)) for name in names)
        if min(one, other) > 1 and 2 * len(summary.groups) >= one * other:
            figures[HEAT_MAP] = draw_heat_map(summary.groups, score)
    for name, figure in figures.items():
        save(figure, sweep_dir / name)
    return [sweep_dir / name for name in figures]


@drawing()
def draw_settings(groups: Sequence[Group], score: str) -> "Figure":
    """Draw accuracy (or R²) against each setting that varies: a dot for each run, and a line through the means.

    score: a figure of `Row`. With two or more settings that vary, the mean of a value is over all values of the others.
    Numbers have a logarithmic axis where they differ by a factor of LOG_RATIO or more.
    """
    names = [*groups[0].settings]
    figure, grid = plots.panels(len(names), 3, 4.2)
    for axes, name in zip(grid, names, strict=True):
        values = _values(groups, name)
        is_scale = all(map(_is_number, values))
        means = {}
        for at, value in zip(values if is_scale else range(len(values)), values, strict=True):
            if scores := [y for each in groups if each.settings[name] == value for y in _scores(each, score)]:
                means[at] = np.mean(scores)
                axes.plot([at] * len(scores), scores, "o", markersize=4, alpha=0.4, color=COLOURS[0])
        axes.plot([*means], [*means.values()], linewidth=1.5, color=COLOURS[0])
        if not is_scale:
            axes.set_xticks(range(len(values)), _labels(values), **TURNED)
        elif min(values) > 0 and max(values) >= LOG_RATIO * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        if factor_of(score) == 100:
            plots.end_at_whole(axes)
        axes.set(xlabel=words(name), ylabel=_score_name(score))
        plots.tidy(axes)
    return figure


@drawing()
def draw_heat_map(groups: Sequence[Group], score: str) -> "Figure":
    """Draw the mean accuracy (or R²) over seeds for each pair of values of the two settings that vary.

    score: a figure of `Row`, which at least one run must have. A pair without it is blank.
    """
    horizontal, vertical = groups[0].settings
    across, up = _values(groups, horizontal), _values(groups, vertical)
    means = np.full((len(up), len(across)), np.nan)
    for each in groups:
        if scores := _scores(each, score):
            means[up.index(each.settings[vertical]), across.index(each.settings[horizontal])] = np.mean(scores)
    figure = plots.new_figure(max(5.5, 0.9 * len(across) + 2.6), max(3.4, 0.6 * len(up) + 2.4))
    axes = figure.subplots()
    image = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=_score_name(score))
    digits = 2 if factor_of(score) == 100 else 3
    for row, column in np.argwhere(np.isfinite(means)):
        is_dark = means[row, column] < 0.45 * np.nanmin(means) + 0.55 * np.nanmax(means)
        said, colour = f"{means[row, column]:.{digits}f}", "white" if is_dark else "black"
        axes.text(column, row, said, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(across)), _labels(across), **TURNED)
    axes.set_yticks(range(len(up)), _labels(up))
    axes.set(xlabel=words(horizontal), ylabel=words(vertical))
    axes.set_title("Mean over seeds", fontsize=11)
    return figure


def _scores(group: Group, score: str) -> list[float]:
    """Return the scores of the finished runs of a setting: accuracies as percentages, or R²."""
    found = [row.figures for row in group.members if row.state == FINISHED]
    return [factor_of(score) * figures[score] for figures in found if score in figures]


def _score_name(score: str) -> str:
    """Return what an axis of a figure is called, such as `accuracy on held-out samples (%)`."""
    name, unit = ("accuracy", " (%)") if factor_of(score) == 100 else ("R²", "")
    return (f"{name} on held-out samples" if score.startswith("validation_") else f"test {name}") + unit


def _values(groups: Sequence[Group], name: str) -> list[Any]:
    """Return the different values of a setting; numbers in their order, all else as given."""
    values = [*{json.dumps(each.settings[name]): each.settings[name] for each in groups}.values()]
    return sorted(values) if all(map(_is_number, values)) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _labels(values: Sequence[Any]) -> list[str]:
    return [plots.text(shown(value), LONGEST_CLASS) for value in values]
