"""Draw figures with Matplotlib: curves, confusion, mistakes, weights, predictions, labels, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function uses pyplot or other global
state, and the caller's Matplotlib settings have no effect. Each raises PlotError for what a machine can cause: a
missing or broken Matplotlib, or too little memory. Any other exception is a bug and keeps its traceback.
"""

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
from mlp_xp.show.numbers import percent, score_text, thousands

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

# Okabe and Ito's colours, distinct for every kind of colour vision; without yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osv^DPX"
DPI = 130
NARROW = 10  # an axis of losses whose largest and smallest have a smaller ratio is linear
LONGEST_NAME, LONGEST_CLASS, LONGEST_ABOVE = 300, 24, 10  # characters in a legend, on an axis, and above an image
LEGEND_WIDTH, LEGEND_ROW, LEGEND_SIZE = 100, 0.2, 9.0  # characters, inches, points
MOST_NAMED = 60  # classes beside a confusion matrix; with more, numbers and some of the names are left out
RIGHT = "#dcefe0"  # the colour of right predictions


class PlotError(MlpXpError):
    """A picture that cannot be drawn. The text ends with what to do. exit_code: 2 if a library is missing, else 1."""

    exit_code = 1


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
    """Add a legend below the axes, which makes the figure higher. A long name takes several lines."""
    wrapped = [textwrap.fill(text(name), LEGEND_WIDTH) for name in names]
    place: dict[str, Any] = {"loc": "outside lower center"}
    figure.legend(lines, wrapped, frameon=False, fontsize=LEGEND_SIZE, **place)
    rows = len("\n".join(wrapped).splitlines())
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
        step. A closing report with the figures of an earlier epoch, which validation kept, would be a jump at the end.
        """
        found: dict[int, Mapping[str, Any]] = {}
        for record in self.records:
            if record.get("kept_epoch") in (None, record["epoch"]):
                found.setdefault(record["epoch"] * self.samples + record["sample"], record)
        return found

    def of(self, name: str) -> dict[int, float]:
        """Return a figure by the samples seen, an accuracy as a percentage, of the reports that have it.

        Scores begin after the first step: that of a network before training would flatten the curve.
        """
        if name.endswith("loss"):
            return {at: record[name] for at, record in self._points.items() if record.get(name) is not None}
        factor = factor_of(name)
        return {at: factor * record[name] for at, record in self._points.items() if at and record.get(name) is not None}


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Picture":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all runs in the same axes.

    All runs have the same task. Without a test set and held-out samples, only losses are drawn. A circle on the
    held-out score marks the network that validation kept.
    """
    return _draw_lines([(f"{run.name} ({_result(run)})", [run]) for run in runs])


@drawing()
def draw_bands(curves: Mapping[str, Sequence[Curves]], *, score: str, total: int) -> "Picture":
    """Draw training loss and accuracy (or R²) against samples seen, with a band over the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of them. Where runs of a setting
    have different lengths, its curve ends with the shortest. curves: the runs of each setting, by its name. score: the
    field of a report; a figure on held-out samples is known at the end of each epoch. total: the number of settings
    that have runs.
    """
    figure = _draw_lines([*curves.items()], ("train_loss", score))
    which = "each setting" if len(curves) == total else f"the first {len(curves)} of {total} settings"
    figure.axes[0].set_title(f"Mean over the runs of {which}, and from the lowest to the highest", fontsize=11)
    return figure


def _draw_lines(groups: Sequence[tuple[str, Sequence[Curves]]], wanted: Sequence[str] | None = None) -> "Picture":
    """Draw the mean of the runs in each group, with its name. wanted: the fields of a report; by default all."""
    from matplotlib.lines import Line2D

    task = groups[0][1][0].task if groups else CLASSES
    held_out = f"validation_{task.score_name}"
    kinds = (
        ("train_loss", "--", "training, mean since the last report"),
        ("test_loss", "-", "test"),
        ("validation_loss", ":", "held out"),
        (task.score_name, "-", "test"),
        (held_out, ":", "held out"),
    )
    every = [run for _, runs in groups for run in runs]
    has_score = any(run.kept is not None or run.of(task.score_name) or run.of(held_out) for run in every)
    figure = new_figure(8, 6.2 if has_score else 3.8)
    losses, *scores = figure.subplots(1 + has_score, 1, sharex=True, squeeze=False)[:, 0]
    handles, styles = [], dict[str, dict[str, Any]]()
    for i, (_, runs) in enumerate(groups):
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.3}
        marked = {**look, "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)], "markersize": 3.5}
        handles.append(Line2D([], [], **marked))
        for name, line, kind in kinds:
            tables = [run.of(name) for run in runs]
            seen = sorted(set.intersection(*map(set, tables)))
            if seen and (wanted is None or name in wanted):
                axes = losses if name.endswith("loss") else scores[0]
                values = np.array([[table[at] for at in seen] for table in tables])
                is_marked = line == "-" or len(runs) > 1 or len(seen) == 1  # a line of one point is invisible
                axes.plot(seen, values.mean(axis=0), linestyle=line, **(marked if is_marked else look))
                if len(runs) > 1:
                    axes.fill_between(seen, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.15)
                styles[kind] = {"linestyle": line}
        for run in runs if len(runs) == 1 else ():
            if run.kept is not None:
                circle: dict[str, Any] = {"marker": "o", "markersize": 10, "fillstyle": "none", "linestyle": ""}
                score = factor_of(task.score_name) * run.records[-1][held_out]
                scores[0].plot((run.kept + 1) * run.samples, score, color=look["color"], **circle)
                styles["kept, by the held-out samples"] = circle
    standardised = ",\nstandardised targets" * any(run.standardised for run in every)
    losses.set(ylabel=f"loss{standardised}")
    _scale_losses(losses)
    for axes in scores:
        axes.set(ylabel="R²" if task.floats else "accuracy (%)" if task.exclusive else "accuracy, all labels right (%)")
        if not task.floats:
            end_at_whole(axes)
        elif axes.get_ylim()[1] > 0:  # R² far below 0 would flatten the curve
            axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
    for axes in (losses, *scores):
        tidy(axes)
    axes.set(xlabel="training samples seen")
    axes.xaxis.set_major_formatter(lambda value, _: thousands(round(value)))
    keys = [Line2D([], [], color="#555555", **style) for style in styles.values()]
    losses.legend(keys, [*styles], frameon=False, fontsize=LEGEND_SIZE)
    legend_below(figure, handles, [name for name, _ in groups])
    return figure


def _scale_losses(axes: Any) -> None:
    values = [value for line in axes.lines for value in line.get_ydata() if value > 0]
    if values and max(values) >= NARROW * min(values):
        axes.set(yscale="log")
        axes.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("")


def _result(run: Curves) -> str:
    """Describe the score in the last record of a run."""
    last = run.records[-1] if run.records else {}
    epoch = f", of epoch {run.kept}" if run.kept is not None else ""
    for name, of in ((run.task.score_name, ""), (f"validation_{run.task.score_name}", "held out ")):
        if last.get(name) is not None:
            return of + score_text(name, last[name]) + epoch
    return "no test set" if last else "no report yet"


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
            label = axes.text(column, row, str(count), ha="center", va="center", fontweight=weight, **look)
            label.set_in_layout(False)  # measuring all of them would take a fifth of the time
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
    look: dict[str, Any] = {"vmin": darkest, "vmax": brightest, "interpolation": "nearest"}
    predictions, sureness = np.argmax(probabilities, axis=1), np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predictions != labels)
    mistakes = len(wrong)
    wrong = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    columns = min(max(len(wrong), 3), 5)
    rows, row = ceil_divide(len(wrong), columns), images.shape[1] / images.shape[2] + 0.35  # where an image is 1 wide
    figure = new_figure(1.8 * columns, 0.6 + 1.5 * row * rows)
    axes = figure.subplots()  # one for all images: each further one takes longer than an image
    for place, i in enumerate(wrong):
        left, top = 1.2 * (place % columns), row * (place // columns)
        axes.imshow(images[i], "gray_r" if ink else "gray", extent=(left, left + 1, top + row - 0.35, top), **look)
        truth, answer = (text(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions))
        said = f"is {truth}\nsays {answer}, {percent(sureness[i])}"
        axes.text(left + 0.5, top - 0.04, said, ha="center", va="bottom", fontsize=8)
    axes.set(xlim=(-0.1, 1.2 * columns - 0.1), ylim=(row * rows - 0.25, -0.35), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    title = f"the {len(wrong)} most confident of {mistakes} mistakes" if len(wrong) < mistakes else "all mistakes"
    axes.set_facecolor("#eeeeee")  # so that the edges of white images are seen
    axes.set_title(title if mistakes else "no mistakes", fontsize=10.5)
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
    height, width = images.shape[1:]
    sheet = montage(images, min(units, max(1, round((units * height / width) ** 0.5))))  # about as wide as high
    largest = float(np.max(np.abs(images))) or 1.0
    figure = new_figure(7.6, 0.6 + min(12.0, 6.4 * sheet.shape[0] / sheet.shape[1]))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_title(title, fontsize=10.5)
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
