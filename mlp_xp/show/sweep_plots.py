"""Draw figures of a sweep's settings: accuracy against each of them, and a heat map of two.

As in `plots`, each function returns a figure, and raises PlotError for what a machine can cause.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.runs.table import shown, words
from mlp_xp.show import plots
from mlp_xp.show.plots import COLOURS, LONGEST_CLASS, drawing, factor_of

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

LOG_RATIO = 8  # an axis of numbers that differ by this factor or more is logarithmic
TURNED: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}


class Scored(NamedTuple):
    """A setting of a sweep: its runs differ in their seeds."""

    settings: Mapping[str, Any]
    """What varies, without the seed."""
    scores: Sequence[float]
    """The scores of its finished runs: accuracies as percentages, or R²."""
    failed: bool = False
    """Whether runs failed."""


@drawing()
def draw_settings(settings: Sequence[Scored], *, score: str) -> "Picture":
    """Draw accuracy (or R²) against each setting that varies: a dot for each run, and a line through the means.

    score: the field of a report that the scores are from. With two or more settings that vary, the mean of a value is
    over all values of the others. Numbers have a logarithmic axis where they differ by a factor of LOG_RATIO or more.
    """
    names = [*settings[0].settings]
    figure, grid = plots.panels(len(names), 3, 4.2)
    for axes, name in zip(grid, names, strict=True):
        values = _values(settings, name)
        is_scale = all(map(_is_number, values))
        means = {}
        for at, value in zip(values if is_scale else range(len(values)), values, strict=True):
            if scores := [y for each in settings if each.settings[name] == value for y in each.scores]:
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
        axes.set(xlabel=words(name), ylabel=score_name(score))
        plots.tidy(axes)
    return figure


@drawing()
def draw_heat_map(settings: Sequence[Scored], *, score: str) -> "Picture":
    """Draw the mean accuracy (or R²) over seeds for each pair of values of the two settings that vary.

    score: the field of a report that the scores are from. At least one setting must have scores.
    """
    horizontal, vertical = settings[0].settings
    across, up = _values(settings, horizontal), _values(settings, vertical)
    means = np.full((len(up), len(across)), np.nan)
    texts = dict.fromkeys(np.ndindex(means.shape), "no run")
    digits = 2 if factor_of(score) == 100 else 3
    for each in settings:
        place = up.index(each.settings[vertical]), across.index(each.settings[horizontal])
        means[place] = np.mean(each.scores) if each.scores else np.nan
        texts[place] = f"{means[place]:.{digits}f}" * bool(each.scores) + "\nfailed" * each.failed
    figure = plots.new_figure(max(5.5, 0.9 * len(across) + 2.6), max(3.4, 0.6 * len(up) + 2.4))
    axes = figure.subplots()
    # Matplotlib would extend the scale of equal means on both sides, beyond 100 %.
    highest = np.nanmax(means)
    lowest = min(np.nanmin(means), highest - factor_of(score) / 100)
    image = axes.imshow(means, cmap="cividis", origin="lower", aspect="auto", vmin=lowest, vmax=highest)
    figure.colorbar(image, ax=axes, label=score_name(score))
    for (row, column), said in texts.items():
        is_dark = means[row, column] < lowest + 0.55 * (highest - lowest)
        axes.text(column, row, said, ha="center", va="center", color="white" if is_dark else "black", fontsize=9)
    axes.set_xticks(range(len(across)), _labels(across), **TURNED)
    axes.set_yticks(range(len(up)), _labels(up))
    axes.set(xlabel=words(horizontal), ylabel=words(vertical))
    axes.set_title("Mean over seeds", fontsize=11)
    return figure


def score_name(score: str) -> str:
    """Return what an axis of a report's figure is called, such as `accuracy on held-out samples (%)`."""
    name, unit = ("accuracy", " (%)") if factor_of(score) == 100 else ("R²", "")
    return (f"{name} on held-out samples" if score.startswith("validation_") else f"test {name}") + unit


def can_draw_heat_map(settings: Sequence[Scored]) -> bool:
    """Return whether two settings vary, and at least half of the pairs of their values have runs."""
    if len(settings[0].settings) != 2:
        return False
    one, other = (len(_values(settings, name)) for name in settings[0].settings)
    return one > 1 and other > 1 and 2 * len(settings) >= one * other


def _values(settings: Sequence[Scored], name: str) -> list[Any]:
    """Return the different values of a setting; numbers in their order, all else as given."""
    values = [*{json.dumps(each.settings[name]): each.settings[name] for each in settings}.values()]
    return sorted(values) if all(map(_is_number, values)) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _labels(values: Sequence[Any]) -> list[str]:
    return [plots.text(shown(value), LONGEST_CLASS) for value in values]
