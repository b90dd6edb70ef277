"""Draw figures with Matplotlib: curves of runs, confusion, mistakes, weights, predictions, labels, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function uses pyplot or other global
state, and the caller's Matplotlib settings have no effect. Each raises PlotError for what a machine can cause: a
missing or broken Matplotlib, an invalid setting that it reads when it is imported, or too little memory. Any other
exception is a bug and keeps its traceback.
"""

import logging
import os
import re
import sys
import textwrap
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
NARROW = 10  # an axis of losses whose ends have a smaller ratio has linear ticks
LONGEST_NAME = 60  # characters that are drawn
LONGEST_LINE, MOST_LINES = 100, 3  # characters and lines of a run's name, in a legend below the axes
LONGEST_CLASS = 24  # characters of a class beside a confusion matrix
LONGEST_ABOVE = 10  # likewise, above the image of a mistake
MOST_PIXELS = 256  # on a side of an image among many
MISTAKE, TITLE, EDGE = 1.75, 0.3, 0.08  # inches: width of a mistake; above and around a sheet of images
LARGEST_MATRIX, SMALLEST_FONT = 12.0, 4.5  # inches, points: of a confusion matrix
RIGHT = "#dcefe0"  # the colour of right predictions
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


def wrapped(text: str) -> str:
    """Return a name of any length as a few lines of a legend. What does not fit is left out at the end."""
    # Lines end after a setting, not inside one.
    text = re.sub("(?<![,:]) ", "\xa0", text.encode("utf-8", "backslashreplace").decode())
    lines = textwrap.wrap(text, LONGEST_LINE, max_lines=MOST_LINES, placeholder=" ...", break_on_hyphens=False)
    return "\n".join(lines).replace("\xa0", " ")


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
    rows = ceil_divide(sum(1 + label.count("\n") for label in labels), columns)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * rows)
    return legend


def end_at_whole(axes: Any) -> None:
    """Let an axis of percentages end at 100, with a margin that is too small for a tick above it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100 + 0.03 * (100 - low)))


def fit_scores(axes: Any, points: Sequence[tuple[float, float, str]], *, percents: bool) -> None:
    """Set the limits of an axis of percentages or R² for points (samples seen, score, colour).

    The scores before training, and each R² below 0, are far below all others. Where they would take more than half of
    the axis, they are below it: a triangle at its lower edge marks each, and a legend gives their values.
    """
    later = [value for at, value, _ in points if at > 0]
    if not later:
        return
    lowest, highest = (end(value for _, value, _ in points) for end in (min, max))
    floor = min(later) if percents or highest < 0 else max(min(later), 0)
    if highest - lowest > 2 * (highest - floor) and (floor < highest or not percents):
        lowest = floor
    margin = 0.05 * (highest - lowest) + (0.5 if percents else 0.005)
    axes.set_ylim(lowest - margin, highest + margin)
    if percents:
        end_at_whole(axes)
    below = [point for point in points if point[1] < axes.get_ylim()[0]]
    for at, _, colour in below:
        look = {"marker": "v", "markersize": 8, "color": colour, "linestyle": "none", "clip_on": False, "zorder": 5}
        (triangle,) = axes.plot(at, 0, transform=axes.get_xaxis_transform(), **look)
    if below:
        ends = dict.fromkeys(
            f"{end(value for _, value, _ in below):{'.2f' if percents else '.4g'}}" for end in (min, max)
        )
        text = f"below the axis: {' to '.join(ends)}{' %' * percents}"
        axes.legend([triangle], [text], loc="lower right", frameon=False, fontsize=LEGEND_SIZE)


def score_name(kind: str, task: str) -> str:
    """Return the name of one of SCORES for a task: of several labels, the accuracy is of all of them at once."""
    return SCORES[kind] + ", all labels right" * (task == "labels")


def _tidy(axes: Any) -> None:
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Picture":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all runs in the same axes.

    All runs have the same task.

    The accuracy is that on the test set, or else on the held-out samples; without either, only losses are drawn.

    Scores far below all others, such as those before training, are marked at the lower edge, see `fit_scores`. A circle
    on the held-out score marks the network that validation kept. Of two reports at the same place the first counts:
    with held-out samples, that at the end of an epoch, and not that of the first step of the next one.
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
    labels, points, kinds_of_score, handles, kept_points, shows_both = [], [], [], [], [], False
    for i, (name, records, samples, task, _) in enumerate(runs):
        last = records[-1] if records else {}
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
        scale = 100 if percents else 1
        selecting = kind if kind.startswith("validation_") else f"validation_{kind}"
        chosen_by = [(at, scale * each[selecting]) for at, each in zip(seen, records, strict=True) if selecting in each]
        beside = has_score and selecting != kind and bool(chosen_by)
        kinds_of_score.append(score_name(kind, task))
        shows_both |= beside
        if beside:
            accuracy.plot(*zip(*chosen_by, strict=True), linestyle=":", **look)
            points += [(at, value, str(look["color"])) for at, value in chosen_by]
        if kept is not None and kind in last:
            circle = {"marker": "o", "markersize": 10, "fillstyle": "none", "color": look["color"]}
            kept_points.append(((kept + 1) * samples, scale * last.get(selecting, last[kind]), circle))
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
        labels.append(f"{wrapped(name)} ({shown})")
        points += [(at, value, str(look["color"])) for at, value in scored]
    for at, value, circle in kept_points:
        accuracy.plot(at, value, **circle)
    of_losses = {
        LOSS_NAMES.get(run.task, "cross-entropy loss (nats)") + run.standardised * ",\nstandardised targets"
        for run in runs
    }
    losses.set(ylabel="loss" if len(of_losses) > 1 else "".join(of_losses))
    if any(value > 0 for line in losses.lines for value in line.get_ydata()):  # only these have logarithms
        losses.set(yscale="log")
        low, high = losses.get_ylim()
        if high < NARROW * low:  # has too few of 1, 2 and 5
            from matplotlib.ticker import MaxNLocator

            losses.yaxis.set_major_locator(MaxNLocator(5))
        else:
            losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
    losses.yaxis.set_major_formatter("{x:.3g}")
    losses.yaxis.set_minor_formatter("")
    wanted = " or ".join(dict.fromkeys(kinds_of_score)) or SCORES["accuracy"]
    if shows_both:
        wanted = wanted.replace("test ", "test and held-out ", 1)
    if has_score:
        accuracy.set(ylabel=f"{wanted} (%)" if percents else wanted)
    accuracy.set(xlabel="training samples seen")
    accuracy.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", " "))
    fit_scores(accuracy, points, percents=percents)
    has_test = not any(run.records for run in runs) or any("test_loss" in each for run in runs for each in run.records)
    has_held_out = any(HELD_OUT in each for run in runs for each in run.records)
    styles = {"training, mean since the last report": "--"}
    styles |= ({"test": "-"} if has_test else {}) | ({"held out": ":"} if has_held_out else {})
    kinds = [losses.plot([], [], color="#555555", linestyle=style)[0] for style in styles.values()]
    if kept_points:
        ring = {**kept_points[0][2], "color": "#555555", "linestyle": ""}
        kinds += losses.plot([], [], **ring)
        styles |= {f"kept, by held-out {'accuracy' if percents else 'R²'}": ""}
    losses.legend(kinds, [*styles], frameon=False, fontsize=9)
    legend_below(figure, handles, labels)
    for axes in panels:
        _tidy(axes)
    return figure


@drawing()
def draw_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> "Picture":
    """Draw a confusion matrix, int (n, n). Rows: true class; columns: predicted class.

    The colour of a mistake is its share of the samples of the true class, on the same scale in every picture. Of many
    classes, the numbers and some of the names are left out.
    """
    classes = len(class_names)
    size = min(max(6.0, 0.42 * classes + 2), LARGEST_MATRIX)
    figure = new_figure(size + 0.8, size)
    from matplotlib.colors import ListedColormap, PowerNorm

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
    for (row, column), count in np.ndenumerate(matrix) if font >= SMALLEST_FONT else ():
        if count or (row == column and samples[row]):
            dark = row != column and norm(shares[row, column]) > 0.6
            weight = "bold" if row == column else "normal"
            axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black",
                      fontsize=font, fontweight=weight)  # fmt: skip
    step = max(1, int(np.ceil(6 / (0.75 * cell))))
    named = range(0, classes, step)
    names = [_label(class_names[i], LONGEST_CLASS) for i in named]
    long, font = max(map(len, names)) > 2, min(10, 0.75 * step * cell)
    axes.set_xticks(named, names, rotation=45 if long else 0, ha="right" if long else "center", fontsize=font)
    axes.set_yticks(named, names, fontsize=font)
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


def _show(sheet: np.ndarray, scale: float, title: str, beside: float = 0.0, least: float = 0.0, **look: Any) -> Any:
    """Show a sheet of images below a title, and return its axes.

    scale: inches per pixel. beside: inches that are left free on the right. least: width of the figure in inches.
    """
    height, width = (scale * side for side in sheet.shape)
    whole = max(width + 2 * EDGE + beside, least), height + TITLE + EDGE
    figure = new_figure(*whole)
    figure.set_layout_engine("none")  # which would leave bands free
    figure.suptitle(title, fontsize=10.5, y=1 - EDGE / whole[1])
    left = (whole[0] - width - beside) / 2
    axes = figure.add_axes((left / whole[0], EDGE / whole[1], width / whole[0], height / whole[1]))
    axes.set_axis_off()
    axes.imshow(sheet, interpolation="nearest", aspect="auto", **look)
    return axes


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
    predictions = np.argmax(probabilities, axis=1)
    sureness = np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predictions != labels)
    mistakes = len(wrong)
    wrong = wrong[np.argsort(-sureness[wrong], kind="stable")][:count]
    title = f"the {len(wrong)} most confident of {mistakes} mistakes"
    if len(wrong) == mistakes:
        title = {0: "no mistakes", 1: "the only mistake"}.get(mistakes, f"all {mistakes} mistakes, the surest first")
    images = coarse(images[wrong])
    height, width = images.shape[1:]
    # Room for two lines of text, also where images are wide or narrow.
    side, columns = max(height, width), min(max(len(wrong), 1), 5)
    above, beside = ceil_divide(side, 4), max(ceil_divide(width, 8), side - width)
    sheet, places = montage(images, columns, above, beside)
    scale = MISTAKE / (width + beside) if mistakes else 0.01
    axes = _show(
        sheet[: len(sheet) if mistakes else 1],
        scale,
        title,
        least=columns * MISTAKE,
        cmap="gray_r" if ink else "gray",
        vmin=darkest,
        vmax=brightest,
    )
    for i, (top, left) in zip(wrong, places, strict=True):
        truth, answer = (_label(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions))
        text = f"is {truth}\nsays {answer}, {percent(sureness[i])}"
        edge = left + (width - 1) / 2, top - 0.5
        axes.annotate(text, edge, (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=8)
        # A frame, because the paper of an image is as white as the sheet.
        axes.plot(
            left - 0.5 + width * np.array([0, 1, 1, 0, 0]),
            top - 0.5 + height * np.array([0, 0, 1, 1, 0]),
            color="#cccccc",
            linewidth=0.8,
            clip_on=False,
            scalex=False,
            scaley=False,
        )
    return axes.figure


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
    images = coarse(np.moveaxis(shown.reshape(*image_shape, units), 2, 0))
    height, width = images.shape[1:]
    columns = min(units, max(1, round((units * height / width) ** 0.5)))  # which makes the sheet about as wide as high
    # Of the numbers beside it, the one that leaves the fewest places of the last row empty.
    near = [
        each
        for each in (columns, columns + 1, columns - 1)
        if 1 <= each <= units and 4 * abs(each - columns) <= columns
    ]
    columns = min(near, key=lambda each: -units % each)
    gap = ceil_divide(min(height, width), 14)
    sheet, _ = montage(images, columns, gap, gap)
    scale = max(0.85 * (units / sheet.size) ** 0.5, 2.2 / max(sheet.shape))  # inches a pixel
    largest = float(np.max(np.abs(images))) or 1.0
    if units < weights.shape[1]:
        title += f", the first {units} of {weights.shape[1]} units"
    axes = _show(sheet, scale, title, 1.0, 3.8, cmap="PuOr_r", vmin=-largest, vmax=largest)
    box = axes.get_position()
    width = axes.figure.get_figwidth()
    bar = axes.figure.add_axes((box.x1 + 0.15 / width, box.y0 + 0.1 * box.height, 0.16 / width, 0.8 * box.height))
    axes.figure.colorbar(axes.images[0], cax=bar, label=label)
    return axes.figure


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
        if 1e4 <= max(map(abs, limits)) < 1e9:  # Matplotlib would write a factor into the corners
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:,.10g}".replace(",", " "))
            axes.tick_params(axis="x", rotation=30)
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
    for place, share, mark in zip(places, shares, marks, strict=True):
        end = max(share, mark) + 1  # beyond the mark, which would cross the number
        axes.text(end, place, f"{share:.2f} %", va="center", fontsize=8)
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
