"""Draw figures with Matplotlib: curves of runs, confusion, mistakes, weights, predictions, labels, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function uses pyplot or other global
state, and the caller's Matplotlib settings have no effect. Each raises PlotError for what a machine can cause: a
missing or broken Matplotlib, an invalid setting that it reads when it is imported, or too little memory. Any other
exception is a bug and keeps its traceback.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import write_whole
from mlp_xp.metrics import percent
from mlp_xp.plan import ceil_divide

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
HELD_OUT = "validation_loss"
LONGEST_NAME = 60  # characters that are drawn
LONGEST_RUN = 90  # likewise, in a legend below the axes
LONGEST_ABOVE = 12  # likewise, above the image of a mistake
MOST_PIXELS = 256  # on a side of an image among many
LEGEND_ROW, LEGEND_SIZE = 0.2, 9.0  # inches, points
NAMES = {"matplotlib": ("Matplotlib", "matplotlib"), "PIL": ("Pillow", "pillow")}


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


def _import_figure() -> Any:
    """Return the module `figure`. Raises PlotError if Matplotlib is not installed or cannot be imported."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    # A folder of settings that cannot be written, or a line that it does not know, is no matter of a picture.
    logger.setLevel(logging.ERROR)
    try:
        return import_module("mlp_xp.show.figure")
    except ModuleNotFoundError as error:
        module = (error.name or "matplotlib").partition(".")[0]
        name, requirement = NAMES.get(module, (module, module))
        missing = PlotError(f"pictures need {name}, which {not_installed(requirement)}")
        missing.exit_code = 2
        raise missing from error
    except Exception as error:
        # Matplotlib reads a file of settings and a variable when it is imported, and raises what they make it raise.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise PlotError(
            f"Matplotlib cannot be imported ({reason[:200]}); fix its settings, or install it again"
        ) from error
    finally:
        logger.setLevel(level)


def import_matplotlib() -> Any:
    """Return the module `figure`, without MPLBACKEND if Matplotlib does not accept its value. Raises PlotError.

    A process that a notebook starts inherits the notebook's MPLBACKEND, which may name a package that is not there.
    """
    try:
        return _import_figure()
    except PlotError:
        # Only after a failure: where Matplotlib accepts the value, the caller's own figures need it.
        value = os.environ.pop("MPLBACKEND", None)
        if value is None:
            raise
        if "matplotlib" not in sys.modules:  # its parts, which stay after a failed import, would not find it again
            for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
                del sys.modules[name]
        try:
            return _import_figure()
        finally:
            os.environ["MPLBACKEND"] = value


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


def legend_below(figure: "Picture", lines: Sequence[Any], labels: Sequence[str]) -> Any:
    """Add a legend below the axes, which makes the figure higher, and return it.

    Long names stand in one column instead of two, and those that are still too long are smaller.
    """

    def added(columns: int, size: float) -> Any:
        legend = figure.legend(lines, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=size)
        for text in legend.get_texts():
            text.set_parse_math(False)
        return legend

    columns, size = 2, LEGEND_SIZE
    with warnings.catch_warnings():
        # A name may contain letters that no installed font has.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        while True:
            legend = added(columns, size)
            share = legend.get_window_extent().width / figure.bbox.width
            if share <= 1:
                break
            legend.remove()
            columns, size = (1, size) if columns == 2 else (1, 0.97 * size / share)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * ceil_divide(len(labels), columns))
    return legend


def end_at_whole(axes: Any) -> None:
    """Let an axis of percentages end at 100, with a margin that is too small for a tick above it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def _tidy(axes: Any) -> None:
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Picture":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all runs in the same axes.

    All runs have the same task.

    The accuracy is that on the test set, or else on the held-out samples; without either, only losses are drawn.

    If there are later reports, the axis does not include the accuracy before training, which is far below them, nor an
    R² below 0. A circle marks the network that validation kept. Of two reports at the same place the first counts: with
    held-out samples, that at the end of an epoch, and not that of the first step of the next one.
    """
    runs = [  # a Report has None where its record has nothing
        run._replace(
            records=[{key: value for key, value in record.items() if value is not None} for record in run.records]
        )
        for run in runs
    ]
    has_score = not any(run.records for run in runs) or any(
        kind in each for run in runs for each in run.records for kind in SCORES
    )
    figure = new_figure(8, (6.2 if has_score else 3.8))
    panels = figure.subplots(1 + has_score, 1, sharex=True, squeeze=False)[:, 0]
    losses, accuracy = panels[0], panels[-1]
    percents = not any(run.task == "regression" for run in runs)
    labels, later, kinds_of_score, handles, kept_points = [], [], [], [], []
    for i, (name, records, samples, task, _) in enumerate(runs):
        name, last = _visible(name, LONGEST_RUN), records[-1] if records else {}
        kept = last.get("kept_epoch")
        if kept is not None and len(records) > 1:
            # The figures of the end of the kept epoch again, which would be a jump at the end of the training.
            records = records[:-1]
        places: dict[int, Mapping[str, Any]] = {}
        for record in records:
            places.setdefault(record["epoch"] * samples + record["sample"], record)
        seen, records = [*places], [*places.values()]
        # Runs with the same colour have different markers.
        look = {"color": COLOURS[i % len(COLOURS)], "linewidth": 1.3}
        marked = {**look, "marker": MARKERS[i // len(COLOURS) % len(MARKERS)], "markersize": 3.5}
        kind = next(
            (kind for kind in SCORES if any(kind in record for record in records)),
            "r2" if task == "regression" else "accuracy",
        )
        kinds_of_score.append(SCORES[kind])
        scale = 100 if percents else 1
        if kept is not None and kind in last:
            circle = {"marker": "o", "markersize": 10, "fillstyle": "none", "color": look["color"]}
            kept_points.append(((kept + 1) * samples, scale * last[kind], circle))
        scored = [(at, scale * record[kind]) for at, record in zip(seen, records, strict=True) if kind in record]
        share = [value for _, value in scored]
        losses.plot(seen, [record["train_loss"] for record in records], linestyle="--", **look)
        handles += losses.plot(seen, [record.get("test_loss", np.nan) for record in records], **marked)
        held_out = [(at, each["validation_loss"]) for at, each in zip(seen, records, strict=True) if HELD_OUT in each]
        if held_out:
            losses.plot(*zip(*held_out, strict=True), linestyle=":", **look)
        if has_score:
            accuracy.plot([at for at, _ in scored], share, label=name, **marked)
        shown = f"no {SCORES[kind] if has_score else 'test set'}" if seen else "no report yet"
        if share:
            final = scale * last.get(kind, share[-1] / scale)
            shown = f"{final:.2f} %" if percents else f"R² {final:.4f}"
            shown += "" if kept is None else f", of epoch {kept}"
        labels.append(f"{name} ({shown})")
        later += [value for at, value in scored if at > 0]
    for at, value, circle in kept_points:
        accuracy.plot(at, value, **circle)
    of_losses = {
        LOSS_NAMES.get(run.task, "cross-entropy loss (nats)") + run.standardised * ", standardised targets"
        for run in runs
    }
    losses.set(ylabel="loss" if len(of_losses) > 1 else "".join(of_losses))
    if any(value > 0 for line in losses.lines for value in line.get_ydata()):  # only these have logarithms
        losses.set(yscale="log")
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    wanted = " or ".join(dict.fromkeys(kinds_of_score)) or SCORES["accuracy"]
    if has_score:
        accuracy.set(ylabel=f"{wanted} (%)" if percents else wanted)
    accuracy.set(xlabel="training samples seen")
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    if later:
        highest = max(later)
        lowest = min(later) if percents or highest < 0 else max(min(later), 0)
        margin = 0.05 * (highest - lowest) + (0.5 if percents else 0.005)
        accuracy.set_ylim(lowest - margin, highest + margin)
        if percents:
            end_at_whole(accuracy)
    has_test = not any(run.records for run in runs) or any("test_loss" in each for run in runs for each in run.records)
    has_held_out = any(HELD_OUT in each for run in runs for each in run.records)
    styles = {"training, mean since the last report": "--"}
    styles |= ({"test": "-"} if has_test else {}) | ({"held out": ":"} if has_held_out else {})
    kinds = [losses.plot([], [], color="#555555", linestyle=style)[0] for style in styles.values()]
    losses.legend(kinds, [*styles], frameon=False, fontsize=9)
    legend_below(figure, handles, labels)
    for axes in panels:
        _tidy(axes)
    return figure


@drawing()
def draw_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> "Picture":
    """Draw a confusion matrix, int (n, n). Rows: true class; columns: predicted class. Only mistakes are coloured."""
    classes = len(class_names)
    size = max(6.0, 0.42 * classes + 2)
    figure = new_figure(size + 0.8, size)
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    wrong = matrix.astype(float)
    np.fill_diagonal(wrong, np.nan)
    # A square root scale, so that one frequent mistake does not make all others look the same.
    norm = PowerNorm(0.5, vmin=0, vmax=max(1.0, float(np.nanmax(wrong, initial=0))))
    shown = axes.imshow(wrong, cmap="Blues", norm=norm)
    whole = MaxNLocator(integer=True)
    figure.colorbar(shown, ax=axes, label="misclassified", shrink=0.8, ticks=whole)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            dark = row != column and norm(count) > 0.6
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black",
                      fontsize=8 if classes <= 10 else 7, fontweight=weight)  # fmt: skip
    long = max(map(len, class_names)) > 2
    names = [*map(_label, class_names)]
    axes.set_xticks(range(classes), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(classes), names)
    right = np.trace(matrix)
    axes.set(
        xlabel="predicted", ylabel="true", title=f"{right} of {matrix.sum()} right ({100 * right / matrix.sum():.2f} %)"
    )
    return figure


def coarse(images: np.ndarray) -> np.ndarray:
    """Return images (n, rows, columns) with every k-th row and column, of which at most MOST_PIXELS are drawn."""
    k = max(1, ceil_divide(max(images.shape[1:]), MOST_PIXELS))
    return images[:, ::k, ::k]


def montage(images: np.ndarray, columns: int, above: int, beside: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return images (n, rows, columns) on one sheet, in rows of so many, and the place (top, left) of each.

    Around them the sheet is NaN: `above` pixels above each, `beside` between neighbours. (Matplotlib takes several
    times as long for axes of their own.)
    """
    _, height, width = images.shape
    rows = max(1, ceil_divide(len(images), columns))
    shape = rows * (above + height), columns * (width + beside) - beside
    sheet = np.full(shape, np.nan, np.result_type(images, np.float32))
    places = [(above + i // columns * (above + height), i % columns * (width + beside)) for i in range(len(images))]
    for image, (top, left) in zip(images, places, strict=True):
        sheet[top : top + height, left : left + width] = image
    return sheet, places


def _show(figure: "Picture", sheet: np.ndarray, **look: Any) -> Any:
    """Show a sheet as large as it fits the figure, and return its axes."""
    axes = figure.subplots()
    axes.set_axis_off()
    axes.imshow(sheet, interpolation="nearest", **look)
    return axes


@drawing()
def draw_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    count: int = 25,
) -> "Picture":
    """Draw the wrong predictions with the highest probabilities, the highest first.

    images: (n, rows, columns), uint8 from white, 0, to black, 255; floats from the least to the largest of all. labels:
    (n,). probabilities: (n, classes).
    """
    darkest, brightest = (0, 255) if images.dtype == np.uint8 else (images.min(), images.max())
    predictions = np.argmax(probabilities, axis=1)
    sureness = np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predictions != labels)
    wrong = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    images = coarse(images[wrong])
    height, width = images.shape[1:]
    # Room for two lines of text, also where images are wide or narrow.
    side, columns = max(height, width), 5
    above, beside = ceil_divide(side, 4), max(ceil_divide(width, 8), side - width)
    sheet, places = montage(images, columns, above, beside)
    figure = new_figure(8.75, 0.5 + 8.75 * sheet.shape[0] / sheet.shape[1])
    mistakes = int(np.sum(predictions != labels))
    title = f"the {len(wrong)} most confident of {mistakes} mistakes" if mistakes else "no mistakes"
    figure.suptitle(title, fontsize=11)
    axes = _show(figure, sheet, cmap="gray_r", vmin=darkest, vmax=brightest)
    for i, (top, left) in zip(wrong, places, strict=True):
        truth, answer = (_label(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions))
        text = f"is {truth}\nsays {answer}, {percent(sureness[i])}"
        edge = left + (width - 1) / 2, top - 0.5
        axes.annotate(text, edge, (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=8.5)
    return figure


@drawing()
def draw_weights(weights: np.ndarray, image_shape: tuple[int, ...], *, most: int = 100) -> "Picture":
    """Draw first-layer weights, (rows * columns, units), as one image per unit, for at most `most` units."""
    units = min(weights.shape[1], most)
    images = coarse(np.moveaxis(weights[:, :units].reshape(*image_shape, units), 2, 0))
    height, width = images.shape[1:]
    columns = min(units, max(1, round((units * height / width) ** 0.5)))  # which makes the sheet about as wide as high
    gap = ceil_divide(min(height, width), 14)
    sheet, _ = montage(images, columns, gap, gap)
    scale = 0.85 * (units / sheet.size) ** 0.5  # inches a pixel
    figure = new_figure(max(3.8, sheet.shape[1] * scale + 1.2), max(2.6, sheet.shape[0] * scale + 0.7))
    largest = float(np.max(np.abs(images))) or 1.0
    axes = _show(figure, sheet, cmap="PuOr_r", vmin=-largest, vmax=largest)
    figure.colorbar(axes.images[0], ax=axes, label="weight", shrink=0.8)
    figure.suptitle(f"first-layer weights of {units} of {weights.shape[1]} units", fontsize=10)
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
    places = range(len(chosen))
    shares = [100 * accuracies[i] for i in chosen]
    axes.barh(places, shares, color=COLOURS[4], height=0.7, label="the network")
    marks = [100 * commoner[i] for i in chosen]
    look: dict[str, Any] = {
        "color": "black",
        "marker": "|",
        "markersize": 11,
        "markeredgewidth": 2,
        "linestyle": "none",
    }
    axes.plot(marks, places, label="always the commoner of 0 and 1", **look)
    for place, share in zip(places, shares, strict=True):
        axes.text(101, place, f"{share:.2f}", va="center", fontsize=8)
    axes.set_yticks(places, [_label(names[i]) for i in chosen], fontsize=9)
    axes.set(xlim=(0, 112), xlabel="test samples with the label right (%)")
    axes.set_xticks(range(0, 101, 20))
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    which = f"the least accurate {len(chosen)} of {len(names)} labels" if len(chosen) < len(names) else "each label"
    axes.set_title(f"{which}; mean {100 * float(np.mean(accuracies)):.2f} %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    _tidy(axes)
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
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
