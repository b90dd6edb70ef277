"""Draw the pictures of a sweep into its folder: curves with bands, accuracy against each setting, a heat map."""

from pathlib import Path

from mlp_xp.runs.sweep_index import FINISHED
from mlp_xp.show import sweep_plots
from mlp_xp.show.gallery import read_curves
from mlp_xp.show.plots import PlotError, draw_bands, factor_of, save
from mlp_xp.sweeps.summary import Group, Summary, summary_of

CURVES, SETTINGS, HEAT_MAP = "curves.png", "settings.png", "heatmap.png"
MOST_BANDS = 5  # more of them on top of one another cannot be told apart


def draw_sweep(sweep_dir: Path, summary: Summary | None = None) -> list[Path]:
    """Draw curves.png, settings.png and heatmap.png into a sweep's folder, and return the paths of those drawn.

    summary: that of the sweep, if it has been read already. settings.png needs a setting that varies besides the seed;
    heatmap.png needs two, with most pairs of their values. Raises PlotError without Matplotlib or a finished member,
    RunError and FileError.
    """
    summary = summary or summary_of(sweep_dir)
    groups = [group for group in summary.groups if group.results]
    if not groups:
        raise PlotError(
            f"{str(sweep_dir)!r}: no member has finished, so there is nothing to draw; start the sweep again"
        )
    quantity = summary.score if all(summary.score in group.results for group in groups) else summary.test_score
    score = quantity.removeprefix("test_")
    settings = [_setting(group, quantity) for group in summary.groups]
    # The curves of thousands take long to read.
    curves = {
        group.name: [read_curves(row.folder) for row in group.members if row.state == FINISHED]
        for group in groups[:MOST_BANDS]
    }
    figures = {CURVES: draw_bands(curves, score=score, total=len(groups))}
    if settings[0].settings:
        figures[SETTINGS] = sweep_plots.draw_settings(settings, score=score)
    if sweep_plots.can_draw_heat_map(settings):
        figures[HEAT_MAP] = sweep_plots.draw_heat_map(settings, score=score)
    for name, figure in figures.items():
        save(figure, sweep_dir / name)
    return [sweep_dir / name for name in figures]


def _setting(group: Group, quantity: str) -> sweep_plots.Scored:
    found = [row.figures.get(quantity) for row in group.members if row.state == FINISHED]
    scores = [factor_of(quantity) * score for score in found if score is not None]
    return sweep_plots.Scored(group.settings, scores, group.failed)
