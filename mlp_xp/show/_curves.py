"""Draw losses and scores against the samples seen, for runs and for groups of runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.core.task import CLASSES, Task
from mlp_xp.show._drawing import (
    BELOW_AXES,
    COLOUR_OF,
    COLOURS,
    LEGEND,
    drawing,
    in_thousands,
    new_figure,
    text,
    tidy,
)
from mlp_xp.show.presentation import presentation_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_MARKERS = "osv^DPX"
_MOST_MARKERS = 40  # on a line; more would hide whether it is dashed or dotted
_GREY = "#555555"
_LAST = math.inf

Stage = tuple[int, float]
"""An epoch and a batch of it, both from 0. The last batch of an epoch is _LAST. Folds
therefore have the same stages, though not the same number of training samples.
"""


@dataclass(frozen=True)
class Curves:
    """The reports of a run, for `draw_curves` and `draw_bands`."""

    name: str
    """The name in the legend."""
    records: Sequence[Mapping[str, Any]]
    """The reports as in metrics.jsonl, and the closing report if it is about the
    network after its last batch.
    """
    samples: int
    """Training samples per epoch."""
    batch_size: int = 1
    task: Task = CLASSES
    standardised: bool = False
    """Whether the losses are for standardised numbers."""
    weighted: bool = False
    """Whether the training loss depends on weights of samples."""

    def values(self, name: str) -> dict[Stage, float]:
        """Return the values of a field by their stages.

        An accuracy is in percent. A report after the first batch of an epoch is left
        out if the epoch before ended with a report. Its training loss would be the loss
        of this batch only.
        """
        curve: dict[Stage, float] = {}
        for record in self.records:
            epoch, batch = stage = self._stage_of(record)
            is_close = batch == 0 and (epoch - 1, _LAST) in curve
            if record.get(name) is not None and not is_close:
                curve[stage] = factor_of(name) * record[name]
        return curve

    def _stage_of(self, record: Mapping[str, Any]) -> Stage:
        batch = record["sample"] // self.batch_size
        is_last = (batch + 1) * self.batch_size >= self.samples
        return record["epoch"], _LAST if is_last else batch

    def place_of(self, stage: Stage) -> int:
        """Return the number of samples that a network has seen at a stage."""
        epoch, batch = stage
        done = min((batch + 1) * self.batch_size, self.samples)
        return int(epoch * self.samples + done)


class _Kind(NamedTuple):
    """A kind of curve."""

    name: str
    """The field of a report."""
    linestyle: str
    role: str
    """A key of COLOUR_OF."""
    more: str = ""
    """The words after the role in the legend."""

    @property
    def is_loss(self) -> bool:
        return self.name.endswith("loss")


def factor_of(name: str) -> int:
    """Return 100 for an accuracy, drawn as a percentage, and 1 for R² and losses."""
    return 100 if name.endswith("accuracy") else 1


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Figure":
    """Draw losses and accuracy (or R²) of runs of the same task in the same axes.

    Without a test set and held-out samples, only losses are drawn.
    """
    title = text(runs[0].name) if len(runs) == 1 else ""
    return _draw([(run.name, [run]) for run in runs], title)


@drawing()
def draw_bands(
    curves: Mapping[str, Sequence[Curves]], *, score: str, which: str
) -> "Figure":
    """Draw training loss and a score, with a band over the runs of each combination.

    The line is the mean of the runs. The band extends from the lowest run to the
    highest. If the runs of a combination have different lengths, its curve ends with
    the shortest run.

    Args:
        curves: The runs of each combination, by its name.
        score: The field of a report, such as "validation_accuracy".
        which: The combinations in words, for the title.
    """
    return _draw(list(curves.items()), which, ("train_loss", score))


def _draw(
    groups: Sequence[tuple[str, Sequence[Curves]]],
    title: str,
    wanted: Sequence[str] | None = None,
) -> "Figure":
    """Draw the mean of the runs in each group, with the name of the group.

    `wanted` has the fields of a report to draw, by default all.
    """
    runs = [run for _, members in groups for run in members]
    chart = _Chart(runs, wanted, is_single=len(groups) == 1)
    for i, (name, members) in enumerate(groups):
        chart.add(i, text(name), members)
    lines = ""
    if len(runs) > len(groups):
        lines = "lines: mean over runs, bands: lowest to highest"
    chart.losses.set_title("; ".join(filter(None, [title, lines])), fontsize=11)
    return chart.finish()


class _Chart:
    """Axes for losses and scores, and the legends of the curves drawn in them.

    Colours stand for groups of runs. If there is a single group, they stand for the
    roles of curves.
    """

    def __init__(
        self, runs: Sequence[Curves], wanted: Sequence[str] | None, *, is_single: bool
    ) -> None:
        self.is_single = is_single
        self.task = runs[0].task if runs else CLASSES
        self.standardised = {run.standardised for run in runs}
        score = self.task.score_name
        kinds = (
            _Kind("train_loss", "--", "training", ", mean since the last report"),
            _Kind("test_loss", "-", "test"),
            _Kind("validation_loss", ":", "held out"),
            _Kind(score, "-", "test"),
            _Kind(f"validation_{score}", ":", "held out"),
        )
        self.kinds = [kind for kind in kinds if wanted is None or kind.name in wanted]
        scores = [kind.name for kind in kinds if not kind.is_loss]
        self.has_score = any(run.values(name) for run in runs for name in scores)
        self.figure = new_figure(8, 6.2 if self.has_score else 3.8)
        rows = 1 + self.has_score
        axes = self.figure.subplots(rows, 1, sharex=True, squeeze=False)
        self.losses, self.scores = axes[0, 0], axes[-1, 0]  # the same without scores
        # The entries of the legends: the curves of each panel, and groups.
        self.styles: dict[Any, dict[str, Line2D]] = {each: {} for each in axes.flat}
        self.lines: list[Line2D] = []
        self.names: list[str] = []

    def add(self, i: int, name: str, runs: Sequence[Curves]) -> None:
        """Draw the curves of the group `i`."""
        # Neighbours differ in their markers too. Up to 49 pairs of marker and colour
        # differ.
        marker = _MARKERS[(i + i // len(COLOURS)) % len(_MARKERS)]
        look = {"marker": marker, "color": COLOURS[i % len(COLOURS)]}
        line, label = _legend_line(linestyle=""), f"{name}: no reports"
        for kind in self.kinds:
            axes = self.losses if kind.is_loss else self.scores
            if self.is_single:
                look["color"] = COLOUR_OF[kind.role]
            curves = [run.values(kind.name) for run in runs]
            stages = sorted(set.intersection(*map(set, curves)))
            if stages:
                self._draw_curve(axes, kind, curves, stages, runs[0], look)
                line, label = _legend_line(**look), name
        self.lines.append(line)
        self.names.append(label)

    def finish(self) -> "Figure":
        """Label the axes, explain the curves, and return the figure."""
        self._label_losses()
        if self.has_score:
            self._label_scores()
        for axes in self.figure.axes:
            tidy(axes)
        lowest = self.figure.axes[-1]
        lowest.set(xlabel="training samples seen")
        lowest.xaxis.set_major_formatter(in_thousands)
        for axes, styles in self.styles.items():
            if styles:
                axes.legend(list(styles.values()), list(styles), **LEGEND)
        if not self.is_single:
            self.figure.legend(self.lines, self.names, loc=BELOW_AXES, **LEGEND)
            height = self.figure.get_figheight()
            self.figure.set_figheight(height + 0.2 * len(self.names))
        return self.figure

    def _draw_curve(
        self,
        axes: Any,
        kind: _Kind,
        curves: Sequence[Mapping[Stage, float]],
        stages: Sequence[Stage],
        run: Curves,
        look: Mapping[str, str],
    ) -> None:
        """Draw the mean of curves with a band, at the places of the first run."""
        color = look["color"]
        places = [run.place_of(stage) for stage in stages]
        values = np.array([[curve[stage] for stage in stages] for curve in curves])
        means = values.mean(axis=0).tolist()
        axes.plot(
            places,
            means,
            linestyle=kind.linestyle,
            linewidth=1.3,
            markersize=3.5,
            markevery=math.ceil(len(places) / _MOST_MARKERS),
            **look,
        )
        if len(curves) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(places, low, high, color=color, alpha=0.15)
        role = kind.role
        if role == "training" and run.weighted:
            role += ", weighted"
        self._explain(axes, role + kind.more, color, linestyle=kind.linestyle)

    def _explain(self, axes: Any, label: str, color: str, **look: Any) -> None:
        """Put a line into a panel's legend, grey if colours stand for groups."""
        if not self.is_single:
            color = _GREY
        self.styles[axes][label] = _legend_line(color=color, **look)

    def _label_losses(self) -> None:
        label = "loss"
        if self.standardised == {True}:
            label = "loss,\nstandardised targets"
        elif len(self.standardised) > 1:
            label = "loss, in different units"
        self.losses.set(ylabel=label)
        lines = [line.get_ydata() for line in self.losses.lines]
        positive = [value for values in lines for value in values if value > 0]
        if positive and max(positive) >= 10 * min(positive):
            self.losses.set(yscale="log")
            axis = self.losses.yaxis
            is_short = max(positive) < 1e4 * min(positive)
            axis.get_major_locator().set_params(subs=(1, 2, 5) if is_short else (1,))
            axis.set(major_formatter="{x:.3g}", minor_formatter="")

    def _label_scores(self) -> None:
        """Label the axis. An R² below -1 would flatten all others, and is not shown."""
        presentation, axes = presentation_of(self.task), self.scores
        axes.set(ylabel=presentation.score_axis)
        floor = presentation.score_floor
        drawn = axes.dataLim
        if drawn.y0 < floor < drawn.y1:
            axes.set_ylim(bottom=floor)


def _legend_line(**look: Any) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], **look)
