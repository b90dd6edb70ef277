"""Draw the pictures of a sweep into its folder: curves with bands, and a heat map."""

import json
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
    """Draw curves.png and heatmap.png into a sweep's folder, and return the paths of
    those drawn.

    heatmap.png needs two settings that vary besides seed and fold, with at least half
    of the pairs of their values. Raises PlotError without Matplotlib or a finished
    member, RunError and FileError.
    """
    summary = summary_of(sweep)
    groups = [group for group in summary.groups if group.finished]
    if not groups:
        raise PlotError(
            "no member has finished, so there is nothing to draw", file=sweep.path
        )
    score = (
        summary.score
        if all(summary.score in group.results for group in groups)
        else summary.test_score
    )
    # The curves of thousands take long to read.
    curves = {
        group.name: [
            read_curves(RunFolder(row.folder))
            for row in group.members
            if row.state == FINISHED
        ]
        for group in groups[:_MOST_BANDS]
    }
    which = f"the {'best' if summary.ranked else 'first'} {len(curves)} of {len(groups)} settings"
    which = (
        which
        if len(curves) < len(groups)
        else "all settings"
        if len(groups) > 1
        else groups[0].name
    )
    figures = {
        CURVES: draw_bands(curves, score=score.removeprefix("test_"), which=which)
    }
    names = [*groups[0].settings]
    if len(names) == 2:
        one, other = (len(_values(summary.groups, name)) for name in names)
        if min(one, other) > 1 and 2 * len(summary.groups) >= one * other:
            figures[HEAT_MAP] = draw_heat_map(summary.groups, score)
    for name, figure in figures.items():
        save(figure, sweep.path / name)
    return [sweep.path / name for name in figures]


@drawing()
def draw_heat_map(groups: Sequence[Group], score: str) -> "Figure":
    """Draw the mean accuracy (or R²) over runs for each pair of values of the two
    settings that vary.

    score: a figure of `Row`, which at least one run must have. A pair without it is
        blank.
    """
    horizontal, vertical = groups[0].settings
    across, up = _values(groups, horizontal), _values(groups, vertical)
    means = np.full((len(up), len(across)), np.nan)
    percent = factor_of(score) == 100
    for each in groups:
        if score in each.results:
            place = (
                up.index(each.settings[vertical]),
                across.index(each.settings[horizontal]),
            )
            means[place] = factor_of(score) * each.results[score].mean
    figure = plots.new_figure(
        max(5.5, 0.9 * len(across) + 2.6), max(3.4, 0.6 * len(up) + 2.4)
    )
    axes = figure.subplots()
    name, part = (
        "accuracy (%)" if percent else "R²",
        "held-out" if score.startswith("validation_") else "test",
    )
    image = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=f"{name} on {part} samples")
    for row, column in np.argwhere(np.isfinite(means)):
        is_dark = means[row, column] < 0.45 * np.nanmin(means) + 0.55 * np.nanmax(means)
        said, colour = (
            f"{means[row, column]:.{2 if percent else 3}f}",
            "white" if is_dark else "black",
        )
        axes.text(column, row, said, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(
        range(len(across)),
        _labels(across),
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(len(up)), _labels(up))
    axes.set(xlabel=words(horizontal), ylabel=words(vertical))
    if any(group.finished > 1 for group in groups):
        axes.set_title("Mean over the runs of each setting", fontsize=11)
    return figure


def _values(groups: Sequence[Group], name: str) -> list[Any]:
    """Return the different values of a setting; numbers in their order, all else as
    given.
    """
    values = [
        *{
            json.dumps(each.settings[name]): each.settings[name] for each in groups
        }.values()
    ]
    return (
        sorted(values)
        if all(type(value) in (int, float) for value in values)
        else values
    )


def _labels(values: Sequence[Any]) -> list[str]:
    return [plots.text(shown(value), LONGEST_CLASS) for value in values]
