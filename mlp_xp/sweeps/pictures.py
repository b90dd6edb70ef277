"""Draw the pictures of a sweep into its folder: curves with bands."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.show.gallery import read_curves
from mlp_xp.show.plots import (
    PlotError,
    draw_bands,
    save,
)
from mlp_xp.sweeps.summary import Group, summary_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = "curves.png"
_MOST_BANDS = 5  # more of them on top of one another cannot be told apart


def draw_sweep(sweep: SweepFolder) -> list[Path]:
    """Draw curves.png into a sweep's folder, and return its path.

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
    path = sweep.path / CURVES
    save(_draw_curves(groups, score, ranked=summary.ranked), path)
    return [path]


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
