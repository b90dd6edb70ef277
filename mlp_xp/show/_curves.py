"""Draw losses and scores against the samples seen, for runs and for groups of runs."""

import math
from collections import defaultdict
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
_WIDEST = 3  # the widest line is drawn for the fourth of several equal curves
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 10,
    "fillstyle": "none",
    "linestyle": "",
}
_GREY = "#555555"
_EQUAL = "wide: equal to another run"
_KEPT = "kept, by the held-out samples"


@dataclass(frozen=True)
class Curves:
    """The reports of a run, for `draw_curves` and `draw_bands`."""

    name: str
    """The name in the legend."""
    records: Sequence[Mapping[str, Any]]
    """The reports as in metrics.jsonl, and the closing report."""
    samples: int
    """Training samples per epoch: a record is drawn at epoch * samples + sample."""
    task: Task = CLASSES
    standardised: bool = False
    """Whether the losses are for standardised numbers."""

    def of(self, name: str) -> dict[int, float]:
        """Return the values of a field by the samples seen, an accuracy in percent.

        Of two reports at the same place, the first counts. It is the report at the end
        of an epoch. A closing report is left out if validation kept the network of an
        earlier epoch.
        """
        found: dict[int, float] = {}
        for record in self.records:
            value = record.get(name)
            is_current = record.get("kept_epoch") in (None, record["epoch"])
            if value is not None and is_current:
                found.setdefault(self.place_of(record), factor_of(name) * value)
        return found

    def place_of(self, record: Mapping[str, Any]) -> int:
        """Return the number of samples seen at a report."""
        return int(record["epoch"] * self.samples + record["sample"])


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

    Without a test set and held-out samples, only losses are drawn. A ring marks the
    network kept by validation.
    """
    return _draw([(run.name, [run]) for run in runs])


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
    figure = _draw(list(curves.items()), ("train_loss", score))
    title = which
    if any(len(runs) > 1 for runs in curves.values()):
        title = f"{which}; lines: mean over runs, bands: lowest to highest"
    figure.axes[0].set_title(title, fontsize=11)
    return figure


def _draw(
    groups: Sequence[tuple[str, Sequence[Curves]]], wanted: Sequence[str] | None = None
) -> "Figure":
    """Draw the mean of the runs in each group, with the name of the group.

    `wanted` has the fields of a report to draw, by default all.
    """
    runs = [run for _, members in groups for run in members]
    chart = _Chart(runs, wanted, is_single=len(groups) == 1)
    for i, (_, members) in enumerate(groups):
        chart.add(i, members)
    return chart.finish([text(name) for name, _ in groups])


class _Chart:
    """Axes for losses and scores, and the legends of the curves drawn in them.

    Colours stand for groups of runs. If there is a single group, they stand for the
    roles of curves. A curve equal to earlier curves is drawn wider, behind them.
    """

    def __init__(
        self, runs: Sequence[Curves], wanted: Sequence[str] | None, *, is_single: bool
    ) -> None:
        self.is_single = is_single
        self.task = runs[0].task if runs else CLASSES
        self.standardised = any(run.standardised for run in runs)
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
        self.has_score = any(run.of(name) for run in runs for name in scores)
        self.figure = new_figure(8, 6.2 if self.has_score else 3.8)
        rows = 1 + self.has_score
        axes = self.figure.subplots(rows, 1, sharex=True, squeeze=False)
        self.losses, self.scores = axes[0, 0], axes[-1, 0]  # the same without scores
        self.drawn: defaultdict[str, list[dict[int, float]]] = defaultdict(list)
        # The scores at sample 0, and all others.
        self.first: list[float] = []
        self.later: list[float] = []
        # The entries of the legends: the curves of each panel, and groups.
        self.styles: dict[Any, dict[str, Line2D]] = {each: {} for each in axes.flat}
        self.groups: list[Line2D | None] = []

    def add(self, i: int, runs: Sequence[Curves]) -> None:
        """Draw the curves of the group `i`."""
        # Neighbours differ in their markers too. Up to 49 pairs of marker and colour
        # differ.
        marker = _MARKERS[(i + i // len(COLOURS)) % len(_MARKERS)]
        look: dict[str, Any] = {"marker": marker, "color": COLOURS[i % len(COLOURS)]}
        is_drawn = False
        for kind in self.kinds:
            curves = [run.of(kind.name) for run in runs]
            places = sorted(set.intersection(*map(set, curves)))
            if places:
                is_drawn = True
                axes = self.losses if kind.is_loss else self.scores
                look = self._draw_curve(axes, kind, curves, places, look)
                if kind.role == "held out" and len(runs) == 1:
                    self._mark_kept(axes, runs[0], kind.name, look["color"])
        self.groups.append(_legend_line(**look) if is_drawn else None)

    def finish(self, names: Sequence[str]) -> "Figure":
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
        if self.is_single:
            self.losses.set_title(names[0], fontsize=11)
        else:
            self._name_groups(names)
            height = self.figure.get_figheight()
            self.figure.set_figheight(height + 0.2 * len(names))
        return self.figure

    def _name_groups(self, names: Sequence[str]) -> None:
        """Explain the colours of groups below the axes."""
        lines, labels = [], []
        for line, name in zip(self.groups, names, strict=True):
            lines.append(line or _legend_line(linestyle=""))
            labels.append(name if line else f"{name}: no reports")
        self.figure.legend(lines, labels, loc=BELOW_AXES, **LEGEND)

    def _draw_curve(
        self,
        axes: Any,
        kind: _Kind,
        curves: Sequence[Mapping[int, float]],
        places: Sequence[int],
        look: dict[str, Any],
    ) -> dict[str, Any]:
        """Draw the mean of curves with a band, and return the look of the mean."""
        values = np.array([[curve[place] for place in places] for curve in curves])
        means = values.mean(axis=0).tolist()
        mean = dict(zip(places, means, strict=True))
        equal = sum(_is_same(mean, earlier) for earlier in self.drawn[kind.name])
        self.drawn[kind.name].append(mean)
        below = min(_WIDEST, equal)
        look = look | {
            "linewidth": 1.3 + 2.5 * below,
            "markersize": 3.5 + 2.5 * below,
            "zorder": 2 - 0.1 * below,
        }
        if below:
            self.styles[axes][_EQUAL] = _legend_line(color=_GREY, linewidth=3.8)
        if self.is_single:
            look["color"] = COLOUR_OF[kind.role]
        spacing = math.ceil(len(places) / _MOST_MARKERS)
        axes.plot(places, means, linestyle=kind.linestyle, markevery=spacing, **look)
        if len(curves) > 1:
            low, high = values.min(axis=0), values.max(axis=0)
            axes.fill_between(places, low, high, color=look["color"], alpha=0.15)
        if not kind.is_loss:
            is_first = np.array(places) == 0
            self.first += values[:, is_first].flat
            self.later += values[:, ~is_first].flat
        label = kind.role + kind.more
        self._explain(axes, label, look["color"], linestyle=kind.linestyle)
        return look

    def _mark_kept(self, axes: Any, run: Curves, name: str, color: str) -> None:
        """Draw a ring around the network kept by validation, if the run has ended."""
        epoch = run.records[-1].get("kept_epoch")
        for record in run.records[:-1]:
            if record["epoch"] == epoch and name in record:
                value = factor_of(name) * record[name]
                place = run.place_of(record)
                axes.plot(place, value, color=color, clip_on=False, **_RING)
                self._explain(axes, _KEPT, color, **_RING)

    def _explain(self, axes: Any, label: str, color: str, **look: Any) -> None:
        """Put a line into a panel's legend, grey if colours stand for groups."""
        if not self.is_single:
            color = _GREY
        self.styles[axes][label] = _legend_line(color=color, **look)

    def _label_losses(self) -> None:
        label = "loss"
        if self.standardised:
            label += ",\nstandardised targets"
        self.losses.set(ylabel=label)
        lines = [line.get_ydata() for line in self.losses.lines]
        positive = [value for values in lines for value in values if value > 0]
        if positive and max(positive) >= 10 * min(positive):
            self.losses.set(yscale="log")
            axis = self.losses.yaxis
            axis.get_major_locator().set_params(subs=(1, 2, 5))
            axis.set(major_formatter="{x:.3g}", minor_formatter="")

    def _label_scores(self) -> None:
        presentation, axes = presentation_of(self.task), self.scores
        axes.set(ylabel=presentation.score_axis)
        self._leave_out_first()
        bottom, top = axes.get_ylim()
        least, most = presentation.score_range
        if most is not None:
            axes.set_ylim(top=min(top, most))
        if least is not None and top > least:
            axes.set_ylim(bottom=max(bottom, least))
        below = [value for value in self.first if value < axes.get_ylim()[0]]
        if below:
            figures = sorted({f"{min(below):.3g}", f"{max(below):.3g}"}, key=float)
            label = f"sample 0: {' to '.join(figures)}, below the axis"
            self.styles[axes][label] = _legend_line(linestyle="")

    def _leave_out_first(self) -> None:
        """Leave scores at sample 0 out of the axis where they would flatten the rest.

        The score of an untrained network is often far below all others.
        """
        if not self.later or not self.first:
            return
        low, high = min(self.later), max(self.later)
        near = [value for value in self.first if value > low - (high - low)]
        self.scores.dataLim.update_from_data_y([*self.later, *near], ignore=True)
        self.scores.autoscale_view()


def _legend_line(**look: Any) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], **look)


def _is_same(one: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Return whether one curve would hide the other.

    The curves are then equal to four digits at all common places.
    """
    both = one.keys() & other.keys()
    return bool(both) and all(
        math.isclose(one[place], other[place], rel_tol=1e-4) for place in both
    )
