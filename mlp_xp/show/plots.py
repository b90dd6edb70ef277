"""Draw figures with Matplotlib: curves, confusion, mistakes, weights, predictions, labels, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function uses pyplot or other global
state, and the caller's Matplotlib settings have no effect. Each raises PlotError for what a machine can cause: a
missing or broken Matplotlib, or too little memory. Any other exception is a bug and keeps its traceback.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.core.plan import ceil_divide
from mlp_xp.core.task import CLASSES, Task
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import write_whole

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

# Okabe and Ito's colours, distinct for every kind of colour vision; without yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osv^DPX"
LINES = ("-", "--", ":", "-.")
DPI = 130
NARROW = 10  # an axis of losses whose largest and smallest have a smaller ratio is linear
LONGEST_LINE, MOST_LINES = 100, 3  # characters and lines of a run's name, in a legend below the axes
LONGEST_NAME, LONGEST_CLASS, LONGEST_ABOVE = 60, 24, 10  # characters of a name, of a class, and above a small image
MOST_PIXELS = 256  # on a side of an image among many
MOST_NAMED = 60  # classes beside a confusion matrix; with more, numbers and some of the names are left out
RIGHT = "#dcefe0"  # the colour of right predictions
LEGEND_ROW, LEGEND_SIZE = 0.2, 9.0  # inches, points
SHORT_LABEL = 45  # characters of labels that stand in two columns of a legend


class PlotError(MlpXpError):
    """A picture that cannot be drawn. The text ends with what to do. exit_code: 2 if a library is missing, else 1."""

    exit_code = 1


def percent(share: float) -> str:
    """Format a share in [0, 1] as in `99.9 %`, rounded down: 100.0 % means all."""
    return f"{math.floor(1000 * share) / 10:.1f} %"


@contextmanager
def drawing() -> Iterator[None]:
    """Use Matplotlib's own style in the `with` block or the decorated function, and restore the caller's at its end.

    With a caller's settings, such as `text.usetex`, a picture may look wrong or need a program that is missing. Raises
    PlotError for the errors that the machine causes.
    """
    try:
        from matplotlib import style

        # Matplotlib computes limits and ticks beyond the data, which overflow for the largest losses.
        with style.context("default"), np.errstate(over="ignore", invalid="ignore"):
            yield
    except ModuleNotFoundError as error:
        missing = PlotError(f"pictures need Matplotlib, which {not_installed('matplotlib')}")
        missing.exit_code = 2
        raise missing from error
    except (OSError, MemoryError, ImportError, RuntimeError) as error:  # RuntimeError: from the font library
        reason = " ".join(f"{error}".split()) or "out of memory"
        raise PlotError(f"pictures cannot be drawn: {reason}; fix that, or install Matplotlib again") from error


@drawing()
def new_figure(width: float, height: float) -> "Picture":
    """Return an empty figure, its size in inches. Raises PlotError if Matplotlib is not installed."""
    from mlp_xp.show.figure import Picture

    return Picture(figsize=(width, height), dpi=DPI, layout="constrained")


def save(figure: "Picture", path: str | Path) -> None:
    """Write a figure to a PNG file, completely or not at all. Raises PlotError and FileError."""
    with drawing():
        png = figure.png()
    write_whole(Path(path), png)


def text(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name as Matplotlib draws it: shortened, without mathematics, and with bytes that are no letters escaped.

    A folder's name may have such bytes, and Matplotlib refuses them.
    """
    name = name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def legend_below(figure: "Picture", lines: Sequence[Any], names: Sequence[str]) -> None:
    """Add a legend below the axes, which makes the figure higher. A long name takes a few lines, and is cut there."""
    wrapped = [
        "\n".join(textwrap.wrap(name, LONGEST_LINE, max_lines=MOST_LINES, placeholder=" ...", break_on_hyphens=False))
        for name in (text(name, LONGEST_LINE * MOST_LINES) for name in names)
    ]
    columns = 2 if all(len(name) <= SHORT_LABEL for name in wrapped) else 1
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
    figure.legend(lines, wrapped, frameon=False, fontsize=LEGEND_SIZE, **place)
    rows = ceil_divide(sum(1 + name.count("\n") for name in wrapped), columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)


def tidy(axes: Any) -> None:
    """Draw a grid, and no frame on two sides."""
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def panels(count: int, columns: int, size: float) -> tuple["Picture", list[Any]]:
    """Return a figure with `count` axes of `size` inches, in rows of at most `columns`."""
    columns = min(count, columns)
    rows = ceil_divide(count, columns)
    figure = new_figure(max(5.5, size * columns), size * rows)
    grid = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def factor_of(score: str) -> int:
    """Return 100 for an accuracy, which is drawn as a percentage, and 1 for R²."""
    return 1 if score.endswith("r2") else 100


def end_at_whole(axes: Any) -> None:
    """Let an axis of percentages end at 100, with a margin that is too small for a tick above it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


# Curves.


@dataclass(frozen=True)
class Curves:
    """The reports of a run, for `draw_curves` and `draw_bands`."""

    name: str
    """The name in the legend."""
    records: Sequence[Mapping[str, Any]]
    """Reports as in metrics.jsonl, and the closing one."""
    samples: int
    """Training samples per epoch: a record is drawn at epoch * samples + sample."""
    task: Task = CLASSES
    standardised: bool = False
    """Whether the losses are those of standardised numbers to predict."""

    @cached_property
    def kept(self) -> int | None:
        """The epoch whose network validation kept."""
        return self.records[-1].get("kept_epoch") if self.records else None

    @cached_property
    def _points(self) -> dict[int, Mapping[str, Any]]:
        """The reports by the samples seen.

        Of two reports at one place the first counts: the one at the end of an epoch, not that of the next one's first
        step. A closing report with the figures of the kept epoch would be a jump at the end.
        """
        found: dict[int, Mapping[str, Any]] = {}
        for record in self.records[: -1 if self.kept is not None and len(self.records) > 1 else None]:
            found.setdefault(record["epoch"] * self.samples + record["sample"], record)
        return found

    def of(self, name: str) -> dict[int, float]:
        """Return a figure by the samples seen, an accuracy as a percentage, of the reports that have it."""
        factor = factor_of(name) if name.endswith(("accuracy", "r2")) else 1
        return {at: factor * record[name] for at, record in self._points.items() if record.get(name) is not None}


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Picture":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all runs in the same axes.

    All runs have the same task. Without a test set and held-out samples, only losses are drawn. A circle on the
    held-out score marks the network that validation kept.
    """
    score = runs[0].task.score_name if runs else CLASSES.score_name
    held_out = f"validation_{score}"
    kinds = {
        "training, mean since the last report": ("train_loss", "--"),
        "test": ("test_loss", "-"),
        "held out": ("validation_loss", ":"),
    }
    figure, losses, scores = _curve_axes(any(run.of(score) or run.of(held_out) for run in runs))
    handles, names, styles = [], [], dict[str, dict[str, Any]]()
    for i, run in enumerate(runs):
        # Runs with the same colour have different markers.
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i // len(COLOURS) % len(MARKERS)]
        look: dict[str, Any] = {"color": colour, "linewidth": 1.3}
        marked = {**look, "marker": marker, "markersize": 3.5}
        for kind, (figure_name, line) in kinds.items():
            if points := run.of(figure_name):
                styles[kind] = {"linestyle": line}
                losses.plot([*points], [*points.values()], linestyle=line, **(marked if kind == "test" else look))
        for figure_name, line in ((score, "-"), (held_out, ":")):
            if points := run.of(figure_name):
                scores.plot([*points], [*points.values()], linestyle=line, **(marked if line == "-" else look))
        last = run.records[-1] if run.records else {}
        if run.kept is not None and last.get(held_out) is not None:
            circle: dict[str, Any] = {"marker": "o", "markersize": 10, "fillstyle": "none", "linestyle": ""}
            scores.plot((run.kept + 1) * run.samples, factor_of(score) * last[held_out], color=colour, **circle)
            styles["kept, by the held-out samples"] = circle
        handles += losses.plot([], [], **marked)
        names.append(f"{run.name} ({_result(last, score, held_out)})")
    loss_names = {run.task.loss_name + ",\nstandardised targets" * run.standardised for run in runs}
    name = "accuracy (%)" if factor_of(score) == 100 else "R²"
    if factor_of(score) == 100 and not all(run.task.exclusive for run in runs):
        name = "accuracy, all labels right (%)"
    drawn = [point for line in scores.lines for point in zip(*line.get_data(), strict=True)] if scores else []
    _finish(losses, "loss" if len(loss_names) != 1 else loss_names.pop(), scores, name, drawn)
    losses.legend(
        [losses.plot([], [], color="#555555", **style)[0] for style in styles.values()],
        [*styles], frameon=False, fontsize=LEGEND_SIZE,
    )  # fmt: skip
    legend_below(figure, handles, names)
    return figure


def _result(last: Mapping[str, Any], score: str, held_out: str) -> str:
    """Describe the score in the last record of a run."""
    if not last:
        return "no report yet"
    found = next(((name, last[name]) for name in (score, held_out) if last.get(name) is not None), None)
    if found is None:
        return "no test set"
    name, value = found
    shown = f"{100 * value:.2f} %" if factor_of(name) == 100 else f"R² {value:.4f}"
    epoch = f", of epoch {last['kept_epoch']}" if last.get("kept_epoch") is not None else ""
    return "held out " * (name == held_out) + shown + epoch


@drawing()
def draw_bands(curves: Mapping[str, Sequence[Curves]], *, score: str, total: int) -> "Picture":
    """Draw training loss and accuracy (or R²) against samples seen, with a band over the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of them. Where runs of a setting
    have different lengths, its curve ends with the shortest. curves: the runs of each setting, by its name. score: the
    field of a report; a figure on held-out samples is known at the end of each epoch. total: the number of settings
    that have runs.
    """
    figure, losses, scores = _curve_axes(has_score=True)
    handles, points = list[Any](), list[tuple[float, float]]()
    for i, runs in enumerate(curves.values()):
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i % len(LINES)]}
        for axes, quantity in ((losses, "train_loss"), (scores, score)):
            tables = [run.of(quantity) for run in runs]
            seen = sorted(set.intersection(*map(set, tables)))
            if not seen:
                continue
            values = np.array([[table[at] for at in seen] for table in tables])
            marker = "o" if len(seen) == 1 else None  # a line of one point is invisible
            lines = axes.plot(seen, values.mean(axis=0), marker=marker, linewidth=1.5, **look)
            handles += lines if axes is losses else []
            axes.fill_between(seen, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15)
            if axes is scores:
                points += [point for run in values.tolist() for point in zip(seen, run, strict=True)]
    which = "each setting" if len(curves) == total else f"the first {len(curves)} of {total} settings"
    losses.set_title(f"Mean over the runs of {which}, and from the lowest to the highest", fontsize=11)
    labels = any(not run.task.exclusive for runs in curves.values() for run in runs) and factor_of(score) == 100
    _finish(losses, "training loss", scores, score_name(score) + ", all labels right" * labels, points)
    legend_below(figure, handles, [*curves])
    return figure


def score_name(score: str) -> str:
    """Return what an axis of a report's figure is called, such as `accuracy on held-out samples (%)`."""
    name, unit = ("accuracy", " (%)") if factor_of(score) == 100 else ("R²", "")
    return (f"{name} on held-out samples" if score.startswith("validation_") else f"test {name}") + unit


def _curve_axes(has_score: bool) -> tuple["Picture", Any, Any]:
    """Return a figure with axes for losses, and for scores or None."""
    figure = new_figure(8, 6.2 if has_score else 3.8)
    losses, *scores = figure.subplots(1 + has_score, 1, sharex=True, squeeze=False)[:, 0]
    return figure, losses, scores[0] if scores else None


def _finish(losses: Any, loss_name: str, scores: Any, name: str, points: Sequence[tuple[float, float]]) -> None:
    """Name and scale the axes of curves. points: what is drawn of scores, as (samples seen, score).

    Scores before training and each R² below 0 may lie below the axis, which is for trained networks.
    """
    losses.set(ylabel=loss_name)
    positive = [value for line in losses.lines for value in line.get_ydata() if value > 0]
    if positive and max(positive) >= NARROW * min(positive):
        losses.set(yscale="log")
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    if scores:
        scores.set(ylabel=name)
        percents = "%" in name
        if later := [score for at, score in points if at > 0]:
            low, high = min(later), max(later)
            low = low if percents or high < 0 else max(low, 0)
            margin = 0.05 * (high - low) + (0.5 if percents else 0.005)
            scores.set_ylim(low - margin, high + margin)
        if percents:
            end_at_whole(scores)
        tidy(scores)
    bottom = scores or losses
    bottom.set(xlabel="training samples seen")
    bottom.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    tidy(losses)


# Pictures of one network.


@drawing()
def draw_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> "Picture":
    """Draw a confusion matrix, int (n, n). Rows: true class; columns: predicted class.

    The colour of a mistake is its share of the samples of the true class, on the same scale in every picture. With many
    classes, the numbers and some of the names are left out.
    """
    from matplotlib.colors import ListedColormap, PowerNorm

    classes = len(class_names)
    size = min(max(6.0, 0.42 * classes + 2), 12.0)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    samples = matrix.sum(axis=1)
    shares = np.where(matrix > 0, 100 * matrix / np.maximum(samples, 1)[:, None], np.nan)
    np.fill_diagonal(shares, np.nan)
    # Not linear, so that the small shares of a good network are told apart.
    norm = PowerNorm(0.4, vmin=0, vmax=100)
    shown = axes.imshow(shares, cmap="Blues", norm=norm)
    axes.imshow(np.where(np.diag(samples > 0), 1, np.nan), cmap=ListedColormap([RIGHT]))
    ticks = [0, 0.1, 1, 5, 10, 20, 40, 60, 80, 100]
    figure.colorbar(shown, ax=axes, label="mistakes, % of the true class", shrink=0.8, ticks=ticks, format="{x:g}")
    cell = 72 * (size - 2) / classes  # points
    font = min(12, 1.36 * cell / max(4, len(str(matrix.max()))))
    for (row, column), count in np.ndenumerate(matrix) if classes <= MOST_NAMED else ():
        if count or (row == column and samples[row]):
            dark = row != column and norm(shares[row, column]) > 0.6
            look: dict[str, Any] = {"color": "white" if dark else "black", "fontsize": font}
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", fontweight=weight, **look)
    step = ceil_divide(classes, MOST_NAMED)
    named = range(0, classes, step)
    names, font = [text(class_names[i], LONGEST_CLASS) for i in named], min(10, 0.75 * step * cell)
    axes.set_xticks(named, names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=font)
    axes.set_yticks(named, names, fontsize=font)
    right, total = np.trace(matrix), matrix.sum()
    axes.set(xlabel="predicted", ylabel="true", title=f"{right} of {total} right ({100 * right / total:.2f} %)")
    return figure


@drawing()
def draw_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    count: int = 25,
    ink: bool = True,
) -> "Picture":
    """Draw the wrong predictions with the highest probabilities, the highest first.

    images: (n, rows, columns), uint8 from 0 to 255; floats from the least to the largest of all. labels: (n,).
    probabilities: (n, classes). ink: whether 0 is white, as in MNIST; in the pictures of a folder it is black.
    """
    darkest, brightest = (0, 255) if images.dtype == np.uint8 else (images.min(), images.max())
    look = {"cmap": "gray_r" if ink else "gray", "vmin": darkest, "vmax": brightest, "interpolation": "nearest"}
    predictions, sureness = np.argmax(probabilities, axis=1), np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predictions != labels)
    mistakes = len(wrong)
    wrong = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    columns = min(max(len(wrong), 1), 5)
    rows = max(ceil_divide(len(wrong), columns), 1)
    figure = new_figure(max(1.8 * columns, 3.6), 0.8 + 2.1 * rows)
    title = f"the {len(wrong)} most confident of {mistakes} mistakes" if len(wrong) < mistakes else "all mistakes"
    figure.suptitle(title if mistakes else "no mistakes", fontsize=10.5)
    figure.set_layout_engine(None)  # it takes seconds for so many axes
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.7 / figure.get_figheight(), hspace=0.3)
    grid = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes in grid[len(wrong) :]:
        axes.set_axis_off()
    for i, axes in zip(wrong, grid, strict=False):
        axes.imshow(images[i], **look)
        axes.set(xticks=[], yticks=[])
        truth, answer = (text(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions))
        axes.set_title(f"is {truth}\nsays {answer}, {percent(sureness[i])}", fontsize=8)
    return figure


def montage(images: np.ndarray, columns: int) -> np.ndarray:
    """Return images (n, rows, columns) on one sheet, `columns` of them side by side, with a row of NaN between them."""
    rows = ceil_divide(len(images), columns)
    sheet = np.pad(images, ((0, rows * columns - len(images)), (0, 1), (0, 1)), constant_values=np.nan)
    sheet[len(images) :] = np.nan
    height, width = sheet.shape[1:]
    return sheet.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


@drawing()
def draw_weights(
    weights: np.ndarray, image_shape: tuple[int, ...], *, initial: np.ndarray | None = None, most: int = 100
) -> "Picture":
    """Draw first-layer weights, (rows * columns, units), as one image per unit, for at most `most` units.

    initial: the weights before training, of the same shape. With them, what training has added is drawn: the initial
    weights are random, and larger where they are the notebook's.
    """
    units, title, label = min(weights.shape[1], most), "first-layer weights", "weight"
    shown = weights[:, :units]
    if initial is not None:
        # In the dtype of the weights, so that the difference is 0 where training has changed nothing.
        shown = shown - initial[:, :units].astype(weights.dtype)
        title, label = f"{title} minus their initial values", "change"
    if units < weights.shape[1]:
        title += f", the first {units} of {weights.shape[1]} units"
    images = np.moveaxis(shown.reshape(*image_shape, units), 2, 0)
    step = ceil_divide(max(image_shape), MOST_PIXELS)
    images = images[:, ::step, ::step]
    height, width = images.shape[1:]
    sheet = montage(images, min(units, max(1, round((units * height / width) ** 0.5))))  # about as wide as high
    largest = float(np.max(np.abs(images))) or 1.0
    figure = new_figure(7.6, 0.6 + min(12.0, 6.4 * sheet.shape[0] / sheet.shape[1]))
    figure.suptitle(title, fontsize=10.5)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.imshow(sheet, interpolation="nearest", cmap="PuOr_r", vmin=-largest, vmax=largest)
    figure.colorbar(axes.images[0], ax=axes, label=label, shrink=0.8)
    return figure


@drawing()
def draw_predictions(
    true: np.ndarray, predicted: np.ndarray, r2s: Sequence[float], names: Sequence[str], *, most: int = 6
) -> "Picture":
    """Draw predicted against true numbers, (n, outputs) each, with a panel for each of at most `most` outputs.

    r2s: R² of each output. A perfect prediction lies on the diagonal.
    """
    outputs = min(len(names), most)
    figure, grid = panels(outputs, 3, 3.7)
    # The more points, the fainter each: 20 000 of them still show where most are.
    look = {"s": 14, "alpha": float(np.clip(20 / len(true) ** 0.5, 0.05, 0.8)), "linewidths": 0}
    for i, axes in enumerate(grid):
        both = np.concatenate([true[:, i], predicted[:, i]]).astype(np.float64)
        low, high = float(both.min()), float(both.max())
        margin = 0.04 * (high - low) or max(abs(low), 1.0) * 0.04
        limits = low - margin, high + margin
        axes.plot(limits, limits, color=COLOURS[1], linewidth=1.2, linestyle="--", zorder=3)
        axes.scatter(true[:, i], predicted[:, i], color=COLOURS[0], zorder=2, **look)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="true", ylabel="predicted")
        axes.set_title(f"{text(names[i], LONGEST_CLASS)}: R² {r2s[i]:.4f}", fontsize=10)
        axes.locator_params(nbins=6)
        tidy(axes)
    left_out = f"; the first {outputs} of {len(names)} outputs" if outputs < len(names) else ""
    figure.suptitle(f"{len(true)} test samples{left_out}", fontsize=11)
    return figure


@drawing()
def draw_labels(
    accuracies: Sequence[float], commoner: Sequence[float], names: Sequence[str], *, most: int = 40
) -> "Picture":
    """Draw the accuracy of each label in [0, 1] as a bar, for at most `most` labels, the least accurate.

    commoner: the accuracy of always saying the commoner of 0 and 1, drawn as a mark on the bar.
    """
    chosen = sorted(np.argsort(accuracies, kind="stable")[:most].tolist())
    figure = new_figure(7, 1.6 + 0.28 * len(chosen))
    axes = figure.subplots()
    places, shares = range(len(chosen)), [100 * accuracies[i] for i in chosen]
    axes.barh(places, shares, color=COLOURS[4], height=0.7, label="the network")
    marks = [100 * commoner[i] for i in chosen]
    axes.scatter(marks, places, s=120, color="black", marker="|", linewidths=2, label="always the commoner of 0 and 1")
    for place, share, mark in zip(places, shares, marks, strict=True):
        axes.text(max(share, mark) + 1, place, f"{share:.2f} %", va="center", fontsize=8)
    axes.set_yticks(places, [text(names[i]) for i in chosen], fontsize=9)
    axes.set(xlim=(0, 112), xticks=range(0, 101, 20), xlabel="test samples with the label right (%)")
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    which = f"the least accurate {len(chosen)} of {len(names)} labels" if len(chosen) < len(names) else "each label"
    axes.set_title(f"{which}; mean {100 * float(np.mean(accuracies)):.2f} %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    tidy(axes)
    return figure


@drawing()
def draw_deviations(series: Mapping[str, np.ndarray], *, tolerance: np.ndarray | None = None) -> "Picture":
    """Draw the deviation of each backend's loss from the reference's, float (steps,), on logarithmic axes.

    In long runs each point is the largest deviation in a range of steps, so that no large deviation is hidden. A
    deviation of 0 is drawn at the lower edge. tolerance: (steps,), also drawn.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    floor = 1e-17
    for i, (name, deviations) in enumerate(series.items()):
        edges = np.unique(np.geomspace(1, len(deviations) + 1, 400).astype(int))
        largest = np.maximum(np.maximum.reduceat(deviations, edges[:-1] - 1), floor)
        axes.plot(edges[:-1], largest, color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=text(name))
    if tolerance is not None:
        steps = np.arange(1, len(tolerance) + 1)
        axes.plot(steps, tolerance, color="#777777", linestyle="--", label="tolerance")
    axes.set(
        xscale="log", yscale="log", xlabel="step", ylabel="relative deviation of the loss",
        title="Deviation from NumPy in float64, step by step (0 is drawn at the lower edge)",
    )  # fmt: skip
    axes.set_ylim(bottom=floor)
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)
    return figure
