"""Draw figures with Matplotlib: curves of runs, confusion, mistakes, weights, predictions, labels, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function uses pyplot or other global
state, and the caller's Matplotlib settings have no effect. Each raises PlotError for what a machine can cause: a
missing or broken Matplotlib, or too little memory. Any other exception is a bug and keeps its traceback.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.core.metrics import percent
from mlp_xp.core.plan import ceil_divide
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import write_whole

if TYPE_CHECKING:
    from mlp_xp.show.figure import Picture

# Okabe and Ito's colours, distinct for every kind of colour vision; without yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = "osv^DPX"
DPI = 130
# What is drawn of a report, the first that a run has, and its name.
SCORES = {
    "accuracy": "test accuracy",
    "r2": "test R²",
    "validation_accuracy": "held-out accuracy",
    "validation_r2": "held-out R²",
}
LOSS_NAMES = {"regression": "half squared error"}  # of other tasks: cross-entropy
NARROW = 10  # an axis of losses whose largest and smallest have a smaller ratio is linear
LONGEST_NAME = 60  # characters that are drawn
LONGEST_LINE, MOST_LINES = 100, 3  # characters and lines of a run's name, in a legend below the axes
LONGEST_CLASS = 24  # characters of a class beside a confusion matrix
LONGEST_ABOVE = 10  # characters of a class above the image of a mistake
MOST_PIXELS = 256  # on a side of an image among many
MOST_NAMED = 60  # classes beside a confusion matrix; with more, numbers and some of the names are left out
RIGHT = "#dcefe0"  # the colour of right predictions
LEGEND_ROW, LEGEND_SIZE = 0.2, 9.0  # inches, points
SHORT_LABEL = 45  # characters of labels that stand in two columns of a legend


class PlotError(MlpXpError):
    """A picture that cannot be drawn. The text ends with what to do. exit_code: 2 if a library is missing, else 1."""

    exit_code = 1


class Curves(NamedTuple):
    """The reports of a run, for `draw_curves`."""

    name: str
    """The name in the legend."""
    records: Sequence[Mapping[str, Any]]
    """Reports as in metrics.jsonl."""
    samples: int
    """Training samples per epoch: a record is drawn at epoch * samples + sample."""
    task: str = "classes"
    standardised: bool = False
    """Whether the losses are of standardised numbers to predict."""


def import_matplotlib() -> Any:
    """Return the module `figure`. Raises PlotError if Matplotlib is not installed or cannot be imported."""
    try:
        return import_module("mlp_xp.show.figure")
    except ModuleNotFoundError as error:
        missing = PlotError(f"pictures need Matplotlib, which {not_installed('matplotlib')}")
        missing.exit_code = 2
        raise missing from error
    except Exception as error:
        # Matplotlib reads a file of settings and a variable when it is imported, and raises what they make it raise.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PlotError(
            f"Matplotlib cannot be imported ({reason[:200]}); fix its settings, or install it again"
        ) from error


@contextmanager
def drawing() -> Iterator[None]:
    """Use Matplotlib's own style in the `with` block or the decorated function, and restore the caller's at its end.

    With a caller's settings, such as `text.usetex`, a picture may look wrong or need a program that is not there.
    Raises PlotError for the errors that the machine causes.
    """
    import_matplotlib()
    from matplotlib import style

    try:
        # Matplotlib computes limits and ticks beyond the data, which overflow for the largest losses.
        with style.context("default"), np.errstate(over="ignore", invalid="ignore"):
            yield
    except (OSError, MemoryError, ImportError, RuntimeError) as error:  # RuntimeError: from the font library
        reason = " ".join(f"{error}".split()) or "out of memory"
        raise PlotError(f"pictures cannot be drawn: {reason}; fix that, or install Matplotlib again") from error


def new_figure(width: float, height: float) -> "Picture":
    """Return an empty figure, its size in inches. Raises PlotError if Matplotlib is not installed."""
    figure: Picture = import_matplotlib().Picture(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure


def save(figure: "Picture", path: str | Path) -> None:
    """Write a figure to a PNG file, completely or not at all. Raises PlotError and FileError."""
    with drawing():
        png = figure.png()
    write_whole(Path(path), png)


def _label(text: str, most: int = LONGEST_NAME) -> str:
    """Return a name as Matplotlib draws it unchanged: without mathematics, and with bytes that are no letters escaped.

    A folder's name may have such bytes, and Matplotlib refuses them.
    """
    return _visible(text, most).replace("$", r"\$")


def _visible(text: str, most: int = LONGEST_NAME) -> str:
    text = text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def wrapped(text: str) -> str:
    """Return a name of any length as a few lines of a legend. What does not fit is left out at the end."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "\n".join(
        textwrap.wrap(text, LONGEST_LINE, max_lines=MOST_LINES, placeholder=" ...", break_on_hyphens=False)
    )


def legend_below(figure: "Picture", lines: Sequence[Any], labels: Sequence[str]) -> Any:
    """Add a legend below the axes, which makes the figure higher, and return it."""
    columns = 2 if all(len(label) <= SHORT_LABEL for label in labels) else 1
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
    legend = figure.legend(lines, labels, frameon=False, fontsize=LEGEND_SIZE, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
    rows = ceil_divide(sum(1 + label.count("\n") for label in labels), columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)
    return legend


def end_at_whole(axes: Any) -> None:
    """Let an axis of percentages end at 100, with a margin that is too small for a tick above it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def fit_scores(axes: Any, points: Sequence[tuple[float, float]], *, percents: bool) -> None:
    """Set the limits of an axis of percentages or R² for points (samples seen, score).

    Scores before training, and each R² below 0, are below the axis where they would take more than half of it.
    """
    scores = [score for _, score in points]
    later = [score for at, score in points if at > 0]
    if not later:
        return
    lowest, highest = min(scores), max(scores)
    floor = min(later) if percents or highest < 0 else max(min(later), 0)
    if highest - lowest > 2 * (highest - floor) and (floor < highest or not percents):
        lowest = floor
    margin = 0.05 * (highest - lowest) + (0.5 if percents else 0.005)
    axes.set_ylim(lowest - margin, highest + margin)
    if percents:
        end_at_whole(axes)


def _tidy(axes: Any) -> None:
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


class Points:
    """The figures of a run's reports by the samples seen."""

    def __init__(self, run: Curves) -> None:
        records = [{key: value for key, value in each.items() if value is not None} for each in run.records]
        self.last = records[-1] if records else {}
        self.kept: int | None = self.last.get("kept_epoch")
        if self.kept is not None and len(records) > 1:
            # The figures of the end of the kept epoch again, which would be a jump at the end of the training.
            records = records[:-1]
        # Of two reports at one place the first counts: that at the end of an epoch, and not that of the first step of
        # the next one.
        self.records: dict[int, Mapping[str, Any]] = {}
        for record in records:
            self.records.setdefault(record["epoch"] * run.samples + record["sample"], record)
        kinds = (kind for kind in SCORES if any(kind in record for record in records))
        self.score = next(kinds, "r2" if run.task == "regression" else "accuracy")
        self.held_out_score = f"validation_{self.score.removeprefix('validation_')}"

    def of(self, name: str, scale: float = 1) -> tuple[list[int], list[float]]:
        """Return the places and values of a figure, of the reports that have it."""
        found = {at: scale * record[name] for at, record in self.records.items() if name in record}
        return [*found], [*found.values()]


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Picture":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all runs in the same axes.

    All runs have the same task. The accuracy is that on the test set, or else on the held-out samples; without either,
    only losses are drawn. A circle on the held-out score marks the network that validation kept.
    """
    read = [Points(run) for run in runs]
    percents = not any(run.task == "regression" for run in runs)
    scale, has_reports = (100 if percents else 1), any(run.records for run in runs)
    has_score = not has_reports or any(each.of(each.score)[0] for each in read)
    figure = new_figure(8, (6.2 if has_score else 3.8))
    panels = figure.subplots(1 + has_score, 1, sharex=True, squeeze=False)[:, 0]
    losses, scores = panels[0], panels[-1]
    labels, handles, points = [], [], list[tuple[float, float]]()
    styles: dict[str, dict[str, Any]] = {"training, mean since the last report": {"linestyle": "--"}}
    for i, (run, each) in enumerate(zip(runs, read, strict=True)):
        # Runs with the same colour have different markers.
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.3}
        marked = {**look, "marker": MARKERS[i // len(COLOURS) % len(MARKERS)], "markersize": 3.5}
        losses.plot(*each.of("train_loss"), linestyle="--", **look)
        handles += losses.plot(*each.of("test_loss"), **marked)
        if each.of("validation_loss")[0]:
            losses.plot(*each.of("validation_loss"), linestyle=":", **look)
            styles["held out"] = {"linestyle": ":"}
        shown = f"no {SCORES[each.score] if has_score else 'test set'}" if run.records else "no report yet"
        if has_score:
            scores.plot(*each.of(each.score, scale), label=run.name, **marked)
            points += zip(*each.of(each.score, scale), strict=True)
            if each.held_out_score != each.score and each.of(each.held_out_score)[0]:
                scores.plot(*each.of(each.held_out_score, scale), linestyle=":", **look)
                points += zip(*each.of(each.held_out_score, scale), strict=True)
        if each.score in each.last:
            final = scale * each.last[each.score]
            shown = f"{final:.2f} %" if percents else f"R² {final:.4f}"
        if each.kept is not None and each.score in each.last:
            shown += f", of epoch {each.kept}"
            circle: dict[str, Any] = {"marker": "o", "markersize": 10, "fillstyle": "none", "linestyle": ""}
            value = scale * each.last.get(each.held_out_score, each.last[each.score])
            scores.plot((each.kept + 1) * run.samples, value, color=look["color"], **circle)
            styles[f"kept, by held-out {'accuracy' if percents else 'R²'}"] = circle
        labels.append(f"{wrapped(run.name)} ({shown})")
    standardised = {True: ",\nstandardised targets", False: ""}
    names = {LOSS_NAMES.get(run.task, "cross-entropy loss (nats)") + standardised[run.standardised] for run in runs}
    losses.set(ylabel="loss" if len(names) != 1 else names.pop())
    positive = [value for line in losses.lines for value in line.get_ydata() if value > 0]
    if positive and max(positive) >= NARROW * min(positive):
        losses.set(yscale="log")
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    if has_score:
        kinds = dict.fromkeys(SCORES[each.score] for each in read) or ["test accuracy"]
        all_right = ", all labels right" * any(run.task == "labels" for run in runs)
        scores.set(ylabel=" or ".join(kinds) + all_right + " (%)" * percents)
        fit_scores(scores, points, percents=percents)
    scores.set(xlabel="training samples seen")
    scores.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    if not has_reports or any(each.of("test_loss")[0] for each in read):
        styles["test"] = {"linestyle": "-"}
    kinds_of_lines = [losses.plot([], [], color="#555555", **style)[0] for style in styles.values()]
    losses.legend(kinds_of_lines, [*styles], frameon=False, fontsize=LEGEND_SIZE)
    legend_below(figure, handles, labels)
    for axes in panels:
        _tidy(axes)
    return figure


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
            text: dict[str, Any] = {"color": "white" if dark else "black", "fontsize": font}
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", fontweight=weight, **text)
    step = ceil_divide(classes, MOST_NAMED)
    named = range(0, classes, step)
    names, font = [_label(class_names[i], LONGEST_CLASS) for i in named], min(10, 0.75 * step * cell)
    axes.set_xticks(named, names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=font)
    axes.set_yticks(named, names, fontsize=font)
    right = np.trace(matrix)
    axes.set(
        xlabel="predicted", ylabel="true", title=f"{right} of {matrix.sum()} right ({100 * right / matrix.sum():.2f} %)"
    )
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
    rows = ceil_divide(len(wrong), columns)
    figure = new_figure(max(1.8 * columns, 3.6), 0.8 + 2.1 * rows)
    title = f"the {len(wrong)} most confident of {mistakes} mistakes" if len(wrong) < mistakes else "all mistakes"
    figure.suptitle(title if mistakes else "no mistakes", fontsize=10.5)
    figure.set_layout_engine(None)  # it takes seconds for so many axes
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.7 / figure.get_figheight(), hspace=0.3)
    grid = [*figure.subplots(max(rows, 1), columns, squeeze=False).flat]
    for axes in grid:
        axes.set_axis_off()
    for i, axes in zip(wrong, grid, strict=False):
        axes.imshow(images[i], **look)
        axes.axis("on")  # a frame, because the paper of an image is as white as the sheet
        axes.set(xticks=[], yticks=[])
        truth, answer = (_label(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions))
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

    r2s: of each output. A perfect prediction lies on the diagonal.
    """
    outputs = min(len(names), most)
    columns = min(outputs, 3)
    rows = ceil_divide(outputs, columns)
    figure = new_figure(3.6 * columns + 0.6, 3.7 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[outputs:]:
        axes.set_axis_off()
    # The more points, the fainter each: 20 000 of them still show where most are.
    look = {"s": 14, "alpha": float(np.clip(20 / len(true) ** 0.5, 0.05, 0.8)), "linewidths": 0}
    for i, axes in zip(range(outputs), grid.flat, strict=False):
        ends = [float(end(values[:, i])) for end in (np.min, np.max) for values in (true, predicted)]
        low, high = min(ends), max(ends)
        margin = 0.04 * (high - low) or max(abs(low), 1.0) * 0.04
        limits = low - margin, high + margin
        axes.plot(limits, limits, color=COLOURS[1], linewidth=1.2, linestyle="--", zorder=3)
        axes.scatter(true[:, i], predicted[:, i], color=COLOURS[0], zorder=2, **look)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="true", ylabel="predicted")
        axes.set_title(f"{_label(names[i], 24)}: R² {r2s[i]:.4f}", fontsize=10)
        axes.locator_params(nbins=6)
        _tidy(axes)
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
    axes.set_yticks(places, [_label(names[i]) for i in chosen], fontsize=9)
    axes.set(xlim=(0, 112), xticks=range(0, 101, 20), xlabel="test samples with the label right (%)")
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    which = f"the least accurate {len(chosen)} of {len(names)} labels" if len(chosen) < len(names) else "each label"
    axes.set_title(f"{which}; mean {100 * float(np.mean(accuracies)):.2f} %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _tidy(axes)
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
        axes.plot(edges[:-1], largest, color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=_label(name))
    if tolerance is not None:
        steps = np.arange(1, len(tolerance) + 1)
        axes.plot(steps, tolerance, color="#777777", linestyle="--", label="tolerance")
    axes.set(
        xscale="log", yscale="log", xlabel="step", ylabel="relative deviation of the loss",
        title="Deviation from NumPy in float64, step by step (0 is drawn at the lower edge)",
    )  # fmt: skip
    axes.set_ylim(bottom=floor)
    axes.legend(frameon=False, fontsize=9)
    _tidy(axes)
    return figure
