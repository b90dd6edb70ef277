"""Draw figures with Matplotlib: curves, confusion, mistakes, weights, predictions,
labels, probabilities, deviations.

Each function returns a figure, which a notebook displays and `save` writes. No function
uses pyplot or other global state, and the caller's Matplotlib settings have no effect.
Each raises PlotError for what a machine can cause: a missing or broken Matplotlib, or
too little memory. Any other exception is a bug and keeps its traceback.
"""

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.core.task import CLASSES, Evaluation, Task
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.files import write_whole
from mlp_xp.runs.metrics import reliability
from mlp_xp.show.numbers import fraction, percent, quantity, thousands
from mlp_xp.show.presentation import presentation_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinct for every kind of colour vision; without yellow,
# which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DPI = 130
# characters in a legend, on an axis, and above an image
LONGEST_NAME, LONGEST_CLASS, LONGEST_ABOVE = 100, 24, 10
_LEGEND: dict[str, Any] = {"framealpha": 0.8, "edgecolor": "none", "fontsize": 9}
_BELOW: Any = "outside lower center"  # the axes
_MOST_MARKERS = 40  # on a line; more would hide whether it is dashed or dotted
# classes beside a confusion matrix; with more, numbers and some of the names are left
# out
_MOST_NAMED = 60


class PlotError(MlpXpError):
    """A picture that cannot be drawn. The text ends with what to do. exit_code: 2 if a
    library is missing, else 1.
    """

    exit_code = 1


@contextmanager
def drawing() -> Iterator[None]:
    """Use Matplotlib's own style in the `with` block or the decorated function, and
    restore the caller's at its end.

    With a caller's settings, such as `text.usetex`, a picture may look wrong or need a
    program that is missing. Raises PlotError for the errors that the machine causes.
    """
    try:
        from matplotlib import style

        # Matplotlib computes limits and ticks beyond the data, which overflow for the
        # largest losses.
        with style.context("default"), np.errstate(over="ignore", invalid="ignore"):
            yield
    except ModuleNotFoundError as error:
        missing = PlotError(
            f"pictures need Matplotlib, which {not_installed('matplotlib')}"
        )
        missing.exit_code = 2
        raise missing from error
    # RuntimeError: from the font library
    except (OSError, MemoryError, ImportError, RuntimeError) as error:
        reason = " ".join(f"{error}".split()) or "out of memory"
        raise PlotError(
            f"pictures cannot be drawn: {reason}; fix that, or install Matplotlib again"
        ) from error


@drawing()
def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, its size in inches. Raises PlotError if Matplotlib is not
    installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    # For a notebook, which by itself displays a figure only if pyplot is imported.
    figure._repr_png_ = partial(png, figure)  # type: ignore[attr-defined]
    return figure


@drawing()
def png(figure: "Figure") -> bytes:
    """Return the content of a PNG file. Raises PlotError."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        # A name may contain letters that no installed font has, or leave no room for
        # the axes.
        warnings.filterwarnings(
            "ignore", "Glyph|constrained_layout not applied", UserWarning
        )
        figure.savefig(file, format="png", backend="agg")
    return file.getvalue()


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure to a PNG file, completely or not at all. Raises PlotError and
    FileError.
    """
    write_whole(Path(path), png(figure))


def text(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name as Matplotlib draws it: shortened, without mathematics, and with
    bytes that are not UTF-8 escaped.

    A folder's name may have such bytes, and Matplotlib refuses them.
    """
    name = name if len(name) <= most else f"{name[: most // 2]}...{name[-most // 2 :]}"
    return name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def tidy(axes: Any) -> None:
    """Draw a grid below the data, and no frame on two sides."""
    axes.set_axisbelow(True)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def panels(count: int, columns: int, size: float) -> tuple["Figure", list[Any]]:
    """Return a figure with `count` axes of `size` inches, in rows of at most `columns`."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = new_figure(max(5.5, size * columns), size * rows)
    grid = [*figure.subplots(rows, columns, squeeze=False).flat]
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def factor_of(name: str) -> int:
    """Return 100 for an accuracy, which is drawn as a percentage, and 1 for R² and
    losses.
    """
    return 100 if name.endswith("accuracy") else 1


def _in_thousands(value: float, _: int) -> str:
    """Format a tick as in 250 000."""
    return quantity(value, 10)


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

    def of(self, name: str) -> dict[int, float]:
        """Return a figure by the samples seen, an accuracy as a percentage, of the
        reports that have it.

        Scores begin after the first step: that of a network before training would
        flatten the curve. Where two reports have one place, the first counts: the one
        at the end of an epoch, not that of the next one's first step. A closing report
        with the figures of an earlier epoch, which validation kept, is left out.
        """
        found: dict[int, float] = {}
        for record in self.records:
            at, value = (
                record["epoch"] * self.samples + record["sample"],
                record.get(name),
            )
            is_score = not name.endswith("loss")
            if (
                value is not None
                and (at or not is_score)
                and record.get("kept_epoch") in (None, record["epoch"])
            ):
                found.setdefault(at, factor_of(name) * value)
        return found


@drawing()
def draw_curves(runs: Sequence[Curves]) -> "Figure":
    """Draw losses and accuracy (or R²) against samples seen, with the curves of all
    runs in the same axes.

    All runs have the same task. Without a test set and held-out samples, only losses
    are drawn. A ring on the held-out score marks the network that validation kept.
    """
    return _draw_lines([(run.name, [run]) for run in runs])


@drawing()
def draw_bands(
    curves: Mapping[str, Sequence[Curves]], *, score: str, which: str
) -> "Figure":
    """Draw training loss and accuracy (or R²) against samples seen, with a band over
    the runs of each setting.

    The line is the mean of the runs; the band extends from the lowest to the highest of
    them. Where runs of a setting have different lengths, its curve ends with the
    shortest. curves: the runs of each setting, by its name. score: the field of a
    report; a figure on held-out samples is known at the end of each epoch. which: the
    title.
    """
    figure = _draw_lines([*curves.items()], ("train_loss", score))
    several = any(len(runs) > 1 for runs in curves.values())
    bands = "; lines: mean over runs, bands: lowest to highest" * several
    figure.axes[0].set_title(f"{which}{bands}", fontsize=11)
    return figure


def _draw_lines(
    groups: Sequence[tuple[str, Sequence[Curves]]], wanted: Sequence[str] | None = None
) -> "Figure":
    """Draw the mean of the runs in each group, with its name. wanted: the fields of a
    report; by default all.

    Colours stand for the groups, or, if there is one only, for the figures. A curve
    that equals earlier ones is a wider line below them.
    """
    from matplotlib.lines import Line2D

    task = groups[0][1][0].task if groups else CLASSES
    kinds: tuple[tuple[str, Any, str], ...] = (
        ("train_loss", "--", "training, mean since the last report"),
        ("test_loss", "-", "test"),
        ("validation_loss", ":", "held out"),
        (task.score_name, "-", "test"),
        (f"validation_{task.score_name}", ":", "held out"),
    )
    every = [run for _, runs in groups for run in runs]
    has_score = any(run.of(name) for run in every for name, *_ in kinds[3:])
    figure = new_figure(8, 6.2 if has_score else 3.8)
    losses, *scores = figure.subplots(1 + has_score, 1, sharex=True, squeeze=False)[
        :, 0
    ]
    handles, styles, drawn = [], dict[str, Any](), list[tuple[str, dict[int, float]]]()
    for i, (_, runs) in enumerate(groups):
        # Neighbours differ in their markers too; up to 49 pairs of marker and colour
        # differ.
        look: dict[str, Any] = {
            "marker": "osv^DPX"[(i + i // len(COLOURS)) % 7],
            "color": COLOURS[i % len(COLOURS)],
        }
        for name, line, kind in kinds:
            tables = [run.of(name) for run in runs]
            seen = sorted(set.intersection(*map(set, tables)))
            if seen and (wanted is None or name in wanted):
                axes = losses if name.endswith("loss") else scores[0]
                values = np.array([[table[at] for at in seen] for table in tables])
                mean = dict(zip(seen, values.mean(axis=0).tolist(), strict=True))
                below = min(
                    3,
                    sum(
                        name == other and _is_same(mean, curve)
                        for other, curve in drawn
                    ),
                )
                drawn.append((name, mean))
                if below:
                    styles["wide: equal to another run"] = Line2D(
                        [], [], color="#555555", linewidth=3.8
                    )
                look |= {
                    "linewidth": 1.3 + 2.5 * below,
                    "markersize": 3.5 + 2.5 * below,
                    "zorder": 2 - 0.1 * below,
                }
                if len(groups) == 1:
                    look["color"] = COLOURS[[*styles, kind].index(kind)]
                axes.plot(
                    [*mean],
                    [*mean.values()],
                    linestyle=line,
                    markevery=-(-len(mean) // _MOST_MARKERS),
                    **look,
                )
                if len(runs) > 1:
                    axes.fill_between(
                        seen,
                        values.min(axis=0),
                        values.max(axis=0),
                        color=look["color"],
                        alpha=0.15,
                    )
                shade: dict[str, Any] = {
                    "color": look["color"] if len(groups) == 1 else "#555555"
                }
                styles[kind] = Line2D([], [], linestyle=line, **shade)
                kept = (
                    runs[0].records[-1].get("kept_epoch")
                    if kind == "held out" and len(runs) == 1
                    else None
                )
                if kept is not None:
                    ring: dict[str, Any] = {
                        "marker": "o",
                        "markersize": 10,
                        "fillstyle": "none",
                        "linestyle": "",
                    }
                    at = (kept + 1) * runs[0].samples
                    axes.plot(
                        at, tables[0][at], color=look["color"], clip_on=False, **ring
                    )
                    styles["kept, by the held-out samples"] = Line2D(
                        [], [], **shade, **ring
                    )
        handles.append(Line2D([], [], **look))
    losses.set(
        ylabel="loss"
        + ",\nstandardised targets" * any(run.standardised for run in every)
    )
    positive = [
        value for line in losses.lines for value in line.get_ydata() if value > 0
    ]
    if positive and max(positive) >= 10 * min(positive):
        losses.set(yscale="log")
        losses.yaxis.get_major_locator().set_params(subs=(1, 2, 5))
        losses.yaxis.set(major_formatter="{x:.3g}", minor_formatter="")
    for axes in scores:
        presentation = presentation_of(task)
        axes.set(ylabel=presentation.score_axis)
        bottom, top = axes.get_ylim()
        lowest, highest = presentation.score_range
        if highest is not None:
            axes.set_ylim(top=min(top, highest))
        if lowest is not None and top > lowest:
            axes.set_ylim(bottom=max(bottom, lowest))
    for axes in (losses, *scores):
        tidy(axes)
    axes.set(xlabel="training samples seen")
    axes.xaxis.set_major_formatter(_in_thousands)
    losses.legend([*styles.values()], [*styles], **_LEGEND)
    if len(groups) == 1:
        losses.set_title(text(groups[0][0]), fontsize=11)
    else:
        figure.legend(
            handles, [text(name) for name, _ in groups], loc=_BELOW, **_LEGEND
        )
        figure.set_figheight(figure.get_figheight() + 0.2 * len(groups))
    return figure


def _is_same(one: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Return whether two curves are equal to four digits, at the places that both have:
    one would hide the other.
    """
    both = one.keys() & other.keys()
    return bool(both) and all(
        math.isclose(one[at], other[at], rel_tol=1e-4) for at in both
    )


# Pictures of one network.


def shades(images: np.ndarray, ink: bool) -> dict[str, Any]:
    """Return how `imshow` draws images: see `draw_mistakes`."""
    darkest, brightest = (
        (0, 255) if images.dtype == np.uint8 else (images.min(), images.max())
    )
    return {"cmap": "gray_r" if ink else "gray", "vmin": darkest, "vmax": brightest}


def sheet(images: np.ndarray, across: int) -> np.ndarray:
    """Return images, (n, rows, columns), as one, with `across` in a row and a line of
    NaN after each.
    """
    padding = (0, -len(images) % across), (0, 1), (0, 1)
    padded = np.pad(images.astype(np.float64), padding, constant_values=np.nan)
    return np.vstack(
        [np.hstack([*padded[i : i + across]]) for i in range(0, len(padded), across)]
    )


@drawing()
def draw_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix, int (n, n). Rows: true class; columns: predicted class.

    The colour of a mistake is its share of the samples of the true class; the largest
    share, or 1 % if that is more, is the darkest. With many classes, the numbers and
    some of the names are left out.
    """
    from matplotlib.colors import PowerNorm

    classes = len(class_names)
    size = min(max(6.0, 0.42 * classes + 2), 12.0)
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    shares = np.where(
        matrix > 0, 100 * matrix / np.maximum(matrix.sum(axis=1), 1)[:, None], np.nan
    )
    np.fill_diagonal(shares, np.nan)
    # Not linear, so that the small shares beside a large one are told apart.
    norm = PowerNorm(0.6, vmin=0, vmax=np.nanmax(shares, initial=1))
    # With square cells, long names would push the title out of the picture.
    shown = axes.imshow(shares, cmap="Blues", norm=norm, aspect="auto")
    figure.colorbar(shown, ax=axes, label="mistakes, % of the true class", shrink=0.8)
    cell = 72 * (size - 2) / classes  # points
    font = min(12, 1.36 * cell / max(4, len(str(matrix.max()))))
    for (row, column), count in (
        np.ndenumerate(matrix) if classes <= _MOST_NAMED else ()
    ):
        if count:
            dark = row != column and norm(shares[row, column]) > 0.7
            look: dict[str, Any] = {
                "color": "white" if dark else "black",
                "fontsize": font,
            }
            weight = "bold" if row == column else "normal"
            label = axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontweight=weight,
                **look,
            )
            # measuring all of them would take a fifth of the time
            label.set_in_layout(False)
    step = math.ceil(classes / _MOST_NAMED)
    named = range(0, classes, step)
    names, font = (
        [text(class_names[i], LONGEST_CLASS) for i in named],
        min(10, 0.75 * step * cell),
    )
    axes.set_xticks(
        named, names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=font
    )
    axes.set_yticks(named, names, fontsize=font)
    right, total = np.trace(matrix), matrix.sum()
    title = (
        f"{thousands(right)} of {thousands(total)} right ({100 * right / total:.2f} %)"
    )
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
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
) -> "Figure":
    """Draw the wrong predictions with the highest probabilities, the highest first.

    images: (n, rows, columns), uint8 from 0 to 255; floats from the least to the
    largest of all. labels: (n,). probabilities: (n, classes). ink: whether 0 is white,
    as in MNIST; in the pictures of a folder it is black.
    """
    predictions, sureness = (
        np.argmax(probabilities, axis=1),
        np.max(probabilities, axis=1),
    )
    mistakes = np.flatnonzero(predictions != labels)
    wrong = mistakes[np.argsort(-sureness[mistakes], kind="stable")][:count]
    look = shades(images, ink)
    figure, grid = panels(max(1, len(wrong)), 5, 1.8)
    for axes in grid:
        axes.set(xticks=[], yticks=[])
    for axes, i in zip(grid, wrong, strict=False):
        axes.imshow(images[i], **look)
        truth, answer = (
            text(class_names[each[i]], LONGEST_ABOVE) for each in (labels, predictions)
        )
        axes.set_title(f"is {truth}\nsays {answer}, {percent(sureness[i])}", fontsize=8)
    which = f", here the {len(wrong)} most confident" * (len(wrong) < len(mistakes))
    figure.suptitle(f"mistakes: {thousands(len(mistakes))}{which}", fontsize=10.5)
    return figure


@drawing()
def draw_deformed(
    images: np.ndarray, copies: np.ndarray, *, ink: bool = True
) -> "Figure":
    """Draw training images, (n, rows, columns), each above its deformed copies,
    (copies, n, rows, columns).

    ink: see `draw_mistakes`.
    """
    shown = sheet(
        np.concatenate([images[None], copies]).reshape(-1, *images.shape[1:]),
        len(images),
    )
    figure = new_figure(8.2, 0.4 + 8.2 * shown.shape[0] / shown.shape[1])
    axes = figure.subplots()
    axes.imshow(shown, **shades(images, ink))
    axes.set_axis_off()
    axes.set_title(
        "first row: training images; below: copies that are deformed as in training",
        fontsize=10.5,
    )
    return figure


@drawing()
def draw_weights(
    weights: np.ndarray,
    image_shape: tuple[int, ...],
    *,
    initial: np.ndarray | None = None,
    most: int = 100,
) -> "Figure":
    """Draw first-layer weights, (rows * columns, units), as one image per unit, for at
    most `most` units.

    initial: the weights before training, of the same shape. With them, what training
    has added is drawn: the initial weights are random, and larger where they are the
    notebook's. The few largest have the same colour.
    """
    units, title, label = min(weights.shape[1], most), "First-layer weights", "weight"
    shown, more = weights[:, :units], ""
    if initial is not None:
        # In the dtype of the weights, so that the difference is 0 where training has
        # changed nothing.
        shown = shown - initial[:, :units].astype(weights.dtype)
        title, label, more = (
            "What training added to the first-layer weights",
            "change",
            " more than before",
        )
    which = (
        "each"
        if units == weights.shape[1]
        else f"the first {units} of {weights.shape[1]}"
    )
    images = np.moveaxis(shown.reshape(*image_shape, units), 2, 0)
    # about as wide as high
    columns = min(
        units, max(1, round((units * images.shape[1] / images.shape[2]) ** 0.5))
    )
    largest = (
        float(np.quantile(np.abs(images), 0.998))
        or float(np.max(np.abs(images)))
        or 1.0
    )
    shown = sheet(images, columns)
    figure = new_figure(8.2, 0.6 + 7 * shown.shape[0] / shown.shape[1])
    axes = figure.subplots()
    image = axes.imshow(
        shown, interpolation="nearest", cmap="PuOr_r", vmin=-largest, vmax=largest
    )
    axes.set_axis_off()
    title += f", an image for {which} hidden unit{'s' * (which != 'each')}"
    axes.set_title(
        f"{title}\norange: the pixel excites the unit{more}; purple: it inhibits it{more}",
        fontsize=10.5,
    )
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, extend="both")
    return figure


@drawing()
def draw_predictions(
    true: np.ndarray,
    predicted: np.ndarray,
    result: Evaluation,
    names: Sequence[str],
    *,
    most: int = 6,
) -> "Figure":
    """Draw predicted against true numbers, (n, outputs) each, with a panel for each of
    at most `most` outputs.

    result: the evaluation of the predictions. A perfect prediction lies on the
        diagonal.
    """
    outputs = min(len(names), most)
    figure, grid = panels(outputs, 3, 4)
    for i, axes in enumerate(grid):
        dots = axes.scatter(
            true[:, i], predicted[:, i], color=COLOURS[0], s=14, alpha=0.3, linewidths=0
        )
        line = axes.axline(
            (true[0, i], true[0, i]),
            slope=1,
            color=COLOURS[1],
            linewidth=1.2,
            linestyle="--",
        )
        ends = [
            [end(each[:, i]) for each in (true, predicted)] for end in (np.min, np.max)
        ]
        axes.update_datalim([(min(ends[0]),) * 2, (max(ends[1]),) * 2])
        axes.set(aspect="equal", xlabel="true", ylabel="predicted")
        figures = f"R² {fraction(result.r2s[i])}, root mean squared error {quantity(result.rmses[i])}"
        axes.set_title(f"{text(names[i], LONGEST_CLASS)}\n{figures}", fontsize=9)
        axes.locator_params(axis="x", nbins=4)  # long numbers would overlap
        axes.xaxis.set_major_formatter(_in_thousands)
        axes.yaxis.set_major_formatter(_in_thousands)
        tidy(axes)
    left_out = (
        f", the first {outputs} of {len(names)} outputs" if outputs < len(names) else ""
    )
    samples = f"{thousands(len(true))} test samples{left_out}"
    figure.legend(
        [dots, line], [samples, "predicted = true"], loc=_BELOW, ncols=2, **_LEGEND
    )
    return figure


@drawing()
def draw_labels(
    accuracies: Sequence[float],
    commoner: Sequence[float],
    names: Sequence[str],
    *,
    most: int = 40,
) -> "Figure":
    """Draw the accuracy of each label in [0, 1] as a bar, for at most `most` labels,
    the least accurate.

    commoner: the accuracy of always saying the commoner of 0 and 1, drawn as a mark on
        the bar.
    """
    chosen = sorted(np.argsort(accuracies, kind="stable")[:most].tolist())
    figure = new_figure(7, 1.6 + 0.28 * len(chosen))
    axes = figure.subplots()
    places, shares = range(len(chosen)), [100 * accuracies[i] for i in chosen]
    axes.barh(places, shares, color=COLOURS[4], height=0.7, label="the network")
    marks = [100 * commoner[i] for i in chosen]
    axes.plot(
        marks,
        places,
        "k|",
        markersize=11,
        markeredgewidth=2,
        label="always the more frequent answer",
    )
    axes.set_yticks(places, [text(names[i], LONGEST_CLASS) for i in chosen], fontsize=9)
    axes.set(
        xlim=(0, 100),
        ylim=(len(chosen) - 0.5, -0.5),
        xlabel="test samples with the label right (%)",
    )
    which = (
        f"the least accurate {len(chosen)} of {len(names)} labels; "
        if len(chosen) < len(names)
        else ""
    )
    axes.set_title(
        f"{which}mean over all labels {100 * float(np.mean(accuracies)):.2f} %",
        fontsize=10,
    )
    figure.legend(loc=_BELOW, ncols=2, **_LEGEND)
    tidy(axes)
    return figure


@drawing()
def draw_probabilities(
    task: Task, probabilities: np.ndarray, labels: np.ndarray
) -> "Figure":
    """Draw the reliability diagram of probabilities, (n, outputs), for labels as in a
    `Dataset`.

    It shows the share that is right in each bin of probability, which should equal it;
    see `reliability`.
    """
    error, (counts, sure, share) = reliability(task, probabilities, labels)
    figure = new_figure(5.2, 5.6)
    axes = figure.subplots()
    dots = axes.scatter(
        sure,
        share,
        s=15 + 300 * counts / counts.sum(),
        color=COLOURS[0],
        alpha=0.6,
        linewidths=0,
    )
    line = axes.axline((0, 0), slope=1, color="#777777", linestyle="--", linewidth=0.8)
    what = presentation_of(task).probabilities_of
    axes.set(
        xlabel=f"probability of the {what}",
        ylabel="share of them that is true",
        xlim=(-0.05, 1.05),
    )
    axes.set(
        title=f"Are the probabilities right? calibration error {error:.4f}",
        ylim=(-0.05, 1.05),
    )
    names = f"{what}; larger: more of them", "as often true as the probability says"
    figure.legend([dots, line], names, loc=_BELOW, **_LEGEND)
    tidy(axes)
    return figure


@drawing()
def draw_deviations(
    series: Mapping[str, np.ndarray], *, tolerance: np.ndarray | None = None
) -> "Figure":
    """Draw the deviation of each backend's loss from the reference's, float (steps,),
    on logarithmic axes.

    In long runs each point is the largest deviation in a range of steps, so that no
    large deviation is hidden. A deviation of 0 is drawn as 1e-17. tolerance: (steps,),
    also drawn.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    floor = 1e-17
    for i, (name, deviations) in enumerate(series.items()):
        edges = np.unique(np.geomspace(1, len(deviations) + 1, 400).astype(int))
        largest = np.maximum(np.maximum.reduceat(deviations, edges[:-1] - 1), floor)
        axes.plot(
            edges[:-1],
            largest,
            color=COLOURS[i % len(COLOURS)],
            linewidth=1.2,
            label=text(name),
        )
    if tolerance is not None:
        steps = np.arange(1, len(tolerance) + 1)
        axes.plot(steps, tolerance, color="#777777", linestyle="--", label="tolerance")
    axes.set(
        xscale="log", yscale="log", xlabel="step", ylabel="relative deviation of the loss",
        title="Deviation from NumPy in float64, step by step (0 is drawn at 1e-17)",
    )  # fmt: skip
    axes.set_ylim(bottom=floor / 2)
    axes.legend(**_LEGEND)
    tidy(axes)
    return figure
