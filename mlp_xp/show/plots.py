"""Draw the curves, weights, predictions and mistakes of networks with Matplotlib.

Each function returns a figure. A notebook displays it, and `save` writes it. No
function uses pyplot or other global state, and the caller's Matplotlib settings have no
effect. Each function raises PlotError for an error caused by the machine: a missing or
broken Matplotlib, or too little memory. Any other exception is a bug and keeps its
traceback.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlp_xp.core.task import Evaluation, Task
from mlp_xp.runs.metrics import reliability
from mlp_xp.show._curves import Curves, draw_bands, draw_curves, factor_of
from mlp_xp.show._drawing import (
    BELOW_AXES,
    COLOUR_OF,
    COLOURS,
    LEGEND,
    LONGEST_ABOVE,
    LONGEST_CLASS,
    PlotError,
    drawing,
    in_thousands,
    new_figure,
    panels,
    save,
    text,
    tidy,
)
from mlp_xp.show.numbers import (
    fraction,
    loss_text,
    number_of,
    percent,
    quantity,
    thousands,
)
from mlp_xp.show.presentation import presentation_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "COLOUR_OF",
    "LONGEST_CLASS",
    "Curves",
    "PlotError",
    "draw_bands",
    "draw_confusion",
    "draw_curves",
    "draw_deformed",
    "draw_deviations",
    "draw_labels",
    "draw_mistakes",
    "draw_predictions",
    "draw_probabilities",
    "draw_weights",
    "drawing",
    "factor_of",
    "new_figure",
    "save",
    "text",
    "tidy",
]

_BOUND: dict[str, Any] = {
    "color": COLOUR_OF["bound"],
    "linestyle": "--",
    "linewidth": 1,
}
_RIGHT = "#cfe3f2"  # a pale blue, for right answers
# The colours of libraries: all but the colour of the notebook.
_LIBRARIES = [each for each in COLOURS if each != COLOUR_OF["notebook"]]
_DARKEST = 10  # mistakes in a class of mean size have the darkest colour
# Classes beside a confusion matrix. With more classes, the numbers and some of the
# names are left out.
_MOST_NAMED = 60


@drawing()
def draw_confusion(matrix: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """Draw a confusion matrix, int (n, n). Rows: true class; columns: predicted class.

    Cells without samples are white, and right answers are blue. The colour of a mistake
    shows its share of the samples of the true class. The darkest colour stands for the
    largest share, but at least for _DARKEST samples of a class of mean size. With many
    classes, the numbers and some of the names are left out.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, PowerNorm

    classes = len(class_names)
    size = min(max(6.0, 0.42 * classes + 2), 12.0)
    cell = 72 * (size - 2) / classes  # points
    figure = new_figure(size + 0.8, size)
    axes = figure.subplots()
    samples = np.maximum(matrix.sum(axis=1), 1)[:, None]
    shares = np.where(matrix > 0, 100 * matrix / samples, np.nan)
    np.fill_diagonal(shares, np.nan)
    darkest = min(100, 100 * _DARKEST * classes / max(matrix.sum(), 1))
    # Not linear, so that the small shares beside a large one are told apart.
    norm = PowerNorm(0.7, vmin=0, vmax=np.nanmax(shares, initial=darkest))
    # Without the palest colours, which look like the white of no samples.
    orange = ListedColormap(colormaps["Oranges"](np.linspace(0.12, 1, 256)))
    # With square cells, long names would push the title out of the picture.
    image = axes.imshow(shares, cmap=orange, norm=norm, aspect="auto")
    right_answers = np.where(np.eye(classes) * matrix > 0, 1.0, np.nan)
    axes.imshow(right_answers, cmap=ListedColormap([_RIGHT]), aspect="auto")
    if np.isfinite(shares).any():
        label = "mistakes, % of the true class (blue: right)"
        figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    if classes <= _MOST_NAMED:
        edges = np.arange(1, classes) - 0.5
        axes.set_xticks(edges, minor=True)
        axes.set_yticks(edges, minor=True)
        axes.grid(which="minor", color="#cccccc", linewidth=0.6)
        axes.tick_params(which="minor", length=0)
        digits = max(4, len(str(matrix.max())))
        is_dark = norm(shares).filled(0) > 0.7
        _write_counts(axes, matrix, is_dark, fontsize=min(12, 1.36 * cell / digits))
    step = math.ceil(classes / _MOST_NAMED)
    named = range(0, classes, step)
    names = [text(class_names[i], LONGEST_CLASS) for i in named]
    rotation = 90 if max(map(len, names)) > 2 else 0
    font = min(10, 0.75 * step * cell)
    axes.set_xticks(named, names, rotation=rotation, fontsize=font)
    axes.set_yticks(named, names, fontsize=font)
    right, total = np.trace(matrix), matrix.sum()
    share = percent(right / total, 2)
    title = f"{thousands(right)} of {thousands(total)} right ({share})"
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    return figure


def _write_counts(
    axes: Any, matrix: np.ndarray, is_dark: np.ndarray, fontsize: float
) -> None:
    """Write the counts above 0 into the cells, in bold on the diagonal."""
    for row, column in np.argwhere(matrix):
        label = axes.text(
            column,
            row,
            str(matrix[row, column]),
            ha="center",
            va="center",
            color="white" if is_dark[row, column] else "black",
            fontsize=fontsize,
            fontweight="bold" if row == column else "normal",
            fontfamily="sans-serif",  # fonts for other letters may have no bold
        )
        # Measuring all counts would take a fifth of the time.
        label.set_in_layout(False)


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

    Args:
        images: uint8 or floats (n, rows, columns).
        labels: The numbers of the classes, (n,).
        probabilities: The predictions, (n, classes).
        class_names: The names of the classes.
        count: The largest number of images to draw.
        ink: Whether 0 is white, as in MNIST. In the pictures of a folder, 0 is black.
    """
    predictions = np.argmax(probabilities, axis=1)
    confidences = np.max(probabilities, axis=1)
    mistakes = np.flatnonzero(predictions != labels)
    order = np.argsort(-confidences[mistakes], kind="stable")
    shown = mistakes[order][:count]
    look = _shades(images, ink)
    figure, grid = panels(max(1, len(shown)), 5, 1.8)
    for axes in grid:
        axes.set(xticks=[], yticks=[], frame_on=len(shown) > 0)
    for axes, i in zip(grid, shown, strict=False):
        axes.imshow(images[i], **look)
        truth = text(class_names[labels[i]], LONGEST_ABOVE)
        answer = text(class_names[predictions[i]], LONGEST_ABOVE)
        title = f"is {truth}\nsays {answer}, {percent(confidences[i])}"
        axes.set_title(title, fontsize=8)
    title = f"mistakes: {thousands(len(mistakes))}"
    if len(shown) < len(mistakes):
        title += f", here the {len(shown)} most confident"
    figure.suptitle(title, fontsize=10.5)
    return figure


@drawing()
def draw_deformed(
    images: np.ndarray, copies: np.ndarray, *, ink: bool = True
) -> "Figure":
    """Draw training images, each above its deformed copies.

    Args:
        images: The images, (n, rows, columns).
        copies: The copies of the images, (copies, n, rows, columns).
        ink: Whether 0 is white, as in `draw_mistakes`.
    """
    every = np.concatenate([images[None], copies])
    shown = _sheet(every.reshape(-1, *images.shape[1:]), across=len(images))
    height, width = shown.shape
    figure = new_figure(8.2, 0.4 + 8.2 * height / width)
    axes = figure.subplots()
    axes.imshow(shown, **_shades(images, ink))
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
    """Draw first-layer weights as an image for each unit.

    The largest 0.2 % of the weights have the same colour.

    Args:
        weights: The weights, (rows * columns, units).
        image_shape: (rows, columns).
        initial: The weights before training, of the same shape. With them, the change
            by training is drawn: initial weights are random, and the notebook's are
            large.
        most: The largest number of units to draw, from the first.
    """
    units = min(weights.shape[1], most)
    values = weights[:, :units]
    title, label, more = "First-layer weights", "weight", ""
    if initial is not None:
        # In the dtype of the weights, so that the difference is 0 where training has
        # changed nothing.
        values = values - initial[:, :units].astype(weights.dtype)
        title = "What training added to the first-layer weights"
        label, more = "change", " more than before"
    which = "each unit"
    if units < weights.shape[1]:
        which = f"the first {units} of {weights.shape[1]} units"
    images = np.moveaxis(values.reshape(*image_shape, units), 2, 0)
    rows, columns = image_shape
    square = max(1, round((units * rows / columns) ** 0.5))  # about as wide as high
    shown = _sheet(images, across=min(units, square))
    magnitudes = np.abs(images)
    largest = float(np.quantile(magnitudes, 0.998)) or float(np.max(magnitudes)) or 1.0
    height, width = shown.shape
    figure = new_figure(8.2, 0.6 + 7 * height / width)
    axes = figure.subplots()
    image = axes.imshow(
        shown, interpolation="nearest", cmap="PuOr_r", vmin=-largest, vmax=largest
    )
    axes.set_axis_off()
    colours = f"orange: the pixel excites the unit{more}; purple: it inhibits it{more}"
    axes.set_title(f"{title}, an image for {which}\n{colours}", fontsize=10.5)
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, extend="both")
    return figure


def _shades(images: np.ndarray, ink: bool) -> dict[str, Any]:
    """Return arguments of `imshow` for images, with `ink` as in `draw_mistakes`.

    Bytes have shades from 0 to 255, and floats from the least to the largest.
    """
    if images.dtype == np.uint8:
        least, largest = 0, 255
    else:
        least, largest = images.min(), images.max()
    return {"cmap": "gray_r" if ink else "gray", "vmin": least, "vmax": largest}


def _sheet(images: np.ndarray, across: int) -> np.ndarray:
    """Return images, (n, rows, columns), as one image, with `across` in each row.

    A line of NaN follows each image, to its right and below it.
    """
    padding = (0, -len(images) % across), (0, 1), (0, 1)
    padded = np.pad(images.astype(np.float64), padding, constant_values=np.nan)
    starts = range(0, len(padded), across)
    return np.vstack([np.hstack([*padded[i : i + across]]) for i in starts])


@drawing()
def draw_predictions(
    true: np.ndarray,
    predicted: np.ndarray,
    result: Evaluation,
    names: Sequence[str],
    *,
    most: int = 6,
) -> "Figure":
    """Draw predicted against true numbers, in a panel for each output.

    A perfect prediction lies on the diagonal.

    Args:
        true: The labels, (n, outputs).
        predicted: The predictions, (n, outputs).
        result: The evaluation of the predictions.
        names: The names of the outputs.
        most: The largest number of outputs to draw, from the first.
    """
    outputs = min(len(names), most)
    figure, grid = panels(outputs, 3, 4)
    for i, axes in enumerate(grid):
        x, y = true[:, i], predicted[:, i]
        dots = axes.scatter(
            x, y, color=COLOUR_OF["test"], s=14, alpha=0.3, linewidths=0
        )
        line = axes.axline((x[0], x[0]), slope=1, **_BOUND)
        least, largest = min(x.min(), y.min()), max(x.max(), y.max())
        axes.update_datalim([(least, least), (largest, largest)])
        axes.set(aspect="equal", xlabel="true", ylabel="predicted")
        name = text(names[i], LONGEST_CLASS)
        r2, error = fraction(result.r2s[i]), quantity(result.rmses[i])
        title = f"{name}\nR² {r2}, root mean squared error {error}"
        axes.set_title(title, fontsize=9)
        axes.locator_params(axis="x", nbins=4)  # long numbers would overlap
        axes.xaxis.set_major_formatter(in_thousands)
        axes.yaxis.set_major_formatter(in_thousands)
        tidy(axes)
    samples = number_of(len(true), "test samples")
    if outputs < len(names):
        samples += f", the first {outputs} of {len(names)} outputs"
    labels = [samples, "predicted = true"]
    figure.legend([dots, line], labels, loc=BELOW_AXES, ncols=2, **LEGEND)
    return figure


@drawing()
def draw_labels(
    accuracies: Sequence[float],
    commoner: Sequence[float],
    names: Sequence[str],
    *,
    most: int = 40,
) -> "Figure":
    """Draw the accuracy of each label as a bar.

    Args:
        accuracies: The accuracies, in [0, 1].
        commoner: The accuracy of each label if the answer is always the more frequent
            of 0 and 1. It is drawn as a mark on the bar.
        names: The names of the labels.
        most: The largest number of labels to draw, from the least accurate.
    """
    chosen = sorted(np.argsort(accuracies, kind="stable")[:most].tolist())
    figure = new_figure(7, 1.6 + 0.28 * len(chosen))
    axes = figure.subplots()
    places = range(len(chosen))
    shares = [100 * accuracies[i] for i in chosen]
    axes.barh(
        places,
        shares,
        color=COLOUR_OF["test"],
        alpha=0.6,
        height=0.7,
        label="the network",
    )
    axes.plot(
        [100 * commoner[i] for i in chosen],
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
    title = f"mean over all labels {percent(float(np.mean(accuracies)), 2)}"
    if len(chosen) < len(names):
        title = f"the least accurate {len(chosen)} of {len(names)} labels; {title}"
    axes.set_title(title, fontsize=10)
    figure.legend(loc=BELOW_AXES, ncols=2, **LEGEND)
    tidy(axes)
    axes.grid(visible=False, axis="y")
    return figure


@drawing()
def draw_probabilities(
    task: Task, probabilities: np.ndarray, labels: np.ndarray
) -> "Figure":
    """Draw the reliability diagram of probabilities. See `reliability`.

    The diagram shows the share of right answers in each bin of probability. This share
    should equal the probability.
    """
    error, (counts, means, shares) = reliability(task, probabilities, labels)
    figure = new_figure(5.2, 5.6)
    axes = figure.subplots()
    sizes = 15 + 300 * counts / counts.sum()
    dots = axes.scatter(
        means, shares, s=sizes, color=COLOUR_OF["test"], alpha=0.6, linewidths=0
    )
    line = axes.axline((0, 0), slope=1, **_BOUND)
    answers = presentation_of(task).probabilities_of
    axes.set(
        xlabel=f"probability of the {answers}",
        ylabel="share of them that is true",
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
        title=f"Are the probabilities right? calibration error {loss_text(error)}",
    )
    names = f"{answers}; larger: more of them", "as often true as the probability says"
    figure.legend([dots, line], names, loc=BELOW_AXES, **LEGEND)
    tidy(axes)
    return figure


@drawing()
def draw_deviations(
    series: Mapping[str, np.ndarray], *, tolerance: np.ndarray | None = None
) -> "Figure":
    """Draw how far the loss of each backend is from the reference.

    The axes are logarithmic, and a deviation of 0 is drawn as 1e-17. In long runs, a
    point stands for a range of steps. It is the largest deviation in this range, so
    that no large deviation is hidden.

    Args:
        series: The deviations of each backend, (steps,), by its name. A comma and a
            dtype may follow the name.
        tolerance: The largest allowed deviations, (steps,), if there are any.
    """
    figure = new_figure(8, 4.8)
    axes = figure.subplots()
    floor = 1e-17
    others = iter(_LIBRARIES * len(series))
    for name, deviations in series.items():
        edges = np.unique(np.geomspace(1, len(deviations) + 1, 400).astype(int))
        steps = edges[:-1]
        largest = np.maximum(np.maximum.reduceat(deviations, steps - 1), floor)
        role = name.partition(",")[0]
        color = COLOUR_OF.get(role) or next(others)
        axes.plot(steps, largest, color=color, linewidth=1.2, label=text(name))
    if tolerance is not None:
        steps = np.arange(1, len(tolerance) + 1)
        axes.plot(steps, tolerance, label="tolerance", **_BOUND)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="step",
        ylabel="relative deviation of the loss",
        title="Deviation from NumPy in float64, step by step (0 is drawn at 1e-17)",
    )
    axes.legend(**LEGEND)
    tidy(axes)
    return figure
