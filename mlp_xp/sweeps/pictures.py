"""Draw the pictures of a sweep into its folder: curves with bands, and a heat map."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import shown, words
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.show import plots
from mlp_xp.show.gallery import read_curves
from mlp_xp.show.plots import (
    LONGEST_CLASS,
    PlotError,
    draw_bands,
    drawing,
    factor_of,
    save,
)
from mlp_xp.sweeps.summary import Group, summary_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES, HEAT_MAP = "curves.png", "heatmap.png"
_MOST_BANDS = 5  # more of them on top of one another cannot be told apart


def draw_sweep(sweep: SweepFolder) -> list[Path]:
    """Draw curves.png and heatmap.png into a sweep's folder, and return their paths.

    heatmap.png is only drawn if two settings vary besides seed and fold, and at least
    half of the pairs of their values have runs.

    Raises:
        PlotError: Matplotlib is missing, or no member has finished.
        RunError: The index of the sweep, or a run, is damaged.
        FileError: A picture cannot be written.
    """
    summary = summary_of(sweep)
    groups = [group for group in summary.groups if group.finished]
    if not groups:
        raise PlotError(
            "no member has finished, so there is nothing to draw", file=sweep.path
        )
    score = summary.test_score
    has_held_out = all(summary.score in group.metrics for group in groups)
    # The result of a cross-validation is on the folds, which are test sets.
    if summary.ranked or (has_held_out and "fold" not in summary.varied):
        score = summary.score
    figures = {CURVES: _draw_curves(groups, score, ranked=summary.ranked)}
    values = [_values(summary.groups, name) for name in groups[0].settings]
    sizes = [len(each) for each in values]
    is_full = 2 * len(summary.groups) >= math.prod(sizes)
    if len(sizes) == 2 and min(sizes) > 1 and is_full:
        figures[HEAT_MAP] = draw_heat_map(summary.groups, score)
    for name, figure in figures.items():
        save(figure, sweep.path / name)
    return [sweep.path / name for name in figures]


def _draw_curves(groups: Sequence[Group], score: str, *, ranked: bool) -> "Figure":
    """Draw the curves of the first combinations, over their finished members."""
    shown_groups = groups[:_MOST_BANDS]  # the curves of thousands take long to read
    curves = {}
    for group in shown_groups:
        finished = [row for row in group.members if row.state == FINISHED]
        curves[group.name] = [read_curves(RunFolder(row.folder)) for row in finished]
    which = "all combinations"
    if len(curves) < len(groups):
        order = "best" if ranked else "first"
        which = f"the {order} {len(curves)} of {len(groups)} combinations"
    elif len(groups) == 1:
        which = groups[0].name
    return draw_bands(curves, score=score.removeprefix("test_"), which=which)


@drawing()
def draw_heat_map(groups: Sequence[Group], score: str) -> "Figure":
    """Draw the mean accuracy (or R²) for each pair of values of two settings.

    The mean is over the runs of the pair. A pair without the score is blank.

    Args:
        groups: The combinations of the values of two settings.
        score: A metric that at least one combination has.
    """
    horizontal, vertical = groups[0].settings
    across, up = _values(groups, horizontal), _values(groups, vertical)
    factor = factor_of(score)
    means = np.full((len(up), len(across)), np.nan)
    for group in groups:
        if score in group.metrics:
            row = up.index(group.settings[vertical])
            column = across.index(group.settings[horizontal])
            means[row, column] = factor * group.metrics[score].mean
    width, height = 0.9 * len(across) + 2.6, 0.6 * len(up) + 2.4
    figure = plots.new_figure(max(5.5, width), max(3.4, height))
    axes = figure.subplots()
    name, digits = ("accuracy (%)", 2) if factor == 100 else ("R²", 3)
    part = "held-out" if score.startswith("validation_") else "test"
    image = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=f"{name} on {part} samples")
    middle = 0.45 * np.nanmin(means) + 0.55 * np.nanmax(means)
    for row, column in np.argwhere(np.isfinite(means)):
        mean = means[row, column]
        axes.text(
            column,
            row,
            f"{mean:.{digits}f}",
            ha="center",
            va="center",
            color="white" if mean < middle else "black",
            fontsize=9,
        )
    labels, places = _labels(across), range(len(across))
    axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(up)), _labels(up))
    axes.set(xlabel=words(horizontal), ylabel=words(vertical))
    if any(group.finished > 1 for group in groups):
        axes.set_title("Mean over the runs of each combination", fontsize=11)
    return figure


def _values(groups: Sequence[Group], name: str) -> list[Any]:
    """Return the different values of a setting, with numbers in their order."""
    by_text = {}
    for group in groups:
        value = group.settings[name]
        by_text[json.dumps(value)] = value
    values = list(by_text.values())
    if all(type(value) in (int, float) for value in values):
        values.sort()
    return values


def _labels(values: Sequence[Any]) -> list[str]:
    return [plots.text(shown(value), LONGEST_CLASS) for value in values]
