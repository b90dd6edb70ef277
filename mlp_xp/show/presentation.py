"""How the results of each task are printed and drawn.

A new task gets a row in PRESENTATIONS. No other code that prints or draws depends on
the kind of a task.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, Evaluation, Task
from mlp_xp.show.numbers import (
    fraction,
    loss_text,
    number_of,
    percent,
    quantity,
)

_LIKELIEST = 3  # classes in a printed prediction


class Presentation(NamedTuple):
    """How the results and predictions of a task are printed and drawn."""

    score_head: str
    """The head of the score in the table of reports."""
    score_axis: str
    """The label of the axis of scores in a picture of curves."""
    score_floor: float
    """The lowest score on this axis."""
    of_held_out: str
    """The words after a score. {} stands for the held-out samples."""
    probabilities_of: str
    """The outputs counted by a picture of probabilities; empty for numbers."""
    pictures: tuple[str, ...]
    """The pictures of a test set, by their names in `gallery.PICTURES`."""
    outcome: Callable[[Evaluation, str], str]
    """`outcome(result, noun)` returns a result in words. The noun is "test images",
    "test samples", or another name of the samples.
    """
    answer: Callable[[Sequence[str], np.ndarray], str]
    """`answer(names, outputs)` returns a prediction in words. The outputs are
    probabilities or numbers, (outputs,).
    """
    record: Callable[[Sequence[str], np.ndarray], dict[str, Any]]
    """`record(names, outputs)` returns a prediction as JSON values."""
    has_class_column: bool = False
    """Whether a CSV table of predictions has a column with the predicted class."""


def presentation_of(task: Task) -> Presentation:
    """Return how the results of a task are printed and drawn."""
    return PRESENTATIONS[task.name]


def _by_name(names: Sequence[str], outputs: np.ndarray) -> dict[str, float]:
    return dict(zip(names, outputs.tolist(), strict=True))


# Classes.


def _right_classes(result: Evaluation, noun: str, more: str = "") -> str:
    assert result.accuracy is not None
    share, of = percent(result.accuracy, 2), number_of(result.samples, noun)
    return f"{share} of {of} right{more}, loss {loss_text(result.loss)}"


def _likeliest(names: Sequence[str], outputs: np.ndarray) -> str:
    order = np.argsort(-outputs, kind="stable")[:_LIKELIEST].tolist()
    return ", ".join(f"{names[i]} ({percent(outputs[i])})" for i in order)


def _class_record(names: Sequence[str], outputs: np.ndarray) -> dict[str, Any]:
    best = names[int(np.argmax(outputs))]
    return {"class": best, "probabilities": _by_name(names, outputs)}


# Labels.


def _right_labels(result: Evaluation, noun: str) -> str:
    assert result.label_accuracy is not None
    of_labels = f"{percent(result.label_accuracy, 2)} of the labels"
    return _right_classes(result, noun, f" in all labels, {of_labels}")


def _all_probabilities(names: Sequence[str], outputs: np.ndarray) -> str:
    pairs = zip(names, outputs, strict=True)
    return ", ".join(f"{name} ({percent(share)})" for name, share in pairs)


def _label_record(names: Sequence[str], outputs: np.ndarray) -> dict[str, Any]:
    probabilities = _by_name(names, outputs)
    labels = [name for name, share in probabilities.items() if share > 0.5]
    return {"labels": labels, "probabilities": probabilities}


# Numbers.


def _errors(result: Evaluation, noun: str) -> str:
    # The errors of several outputs have different units, so they have no mean.
    errors = f"mean of {len(result.rmses)} outputs"
    if len(result.rmses) == 1:
        errors = f"root mean squared error {quantity(result.rmses[0])}"
    on = number_of(result.samples, noun)
    return f"R² {fraction(result.score)}, {errors}, on {on}"


def _all_numbers(names: Sequence[str], outputs: np.ndarray) -> str:
    pairs = zip(names, outputs, strict=True)
    return ", ".join(f"{name} {quantity(number, 6)}" for name, number in pairs)


def _number_record(names: Sequence[str], outputs: np.ndarray) -> dict[str, Any]:
    return {"outputs": _by_name(names, outputs)}


PRESENTATIONS = {
    CLASSES.name: Presentation(
        score_head="accuracy",
        score_axis="accuracy (%)",
        score_floor=0,
        of_held_out="of {} right",
        probabilities_of="predicted classes",
        pictures=("confusion.png", "mistakes.png", "probabilities.png"),
        outcome=_right_classes,
        answer=_likeliest,
        record=_class_record,
        has_class_column=True,
    ),
    LABELS.name: Presentation(
        score_head="accuracy",
        score_axis="accuracy, all labels right (%)",
        score_floor=0,
        of_held_out="of {} right in all labels",
        probabilities_of="labels",
        pictures=("labels.png", "probabilities.png"),
        outcome=_right_labels,
        answer=_all_probabilities,
        record=_label_record,
    ),
    REGRESSION.name: Presentation(
        score_head="R²",
        score_axis="R²",
        score_floor=-1,
        of_held_out="on {}",
        probabilities_of="",
        pictures=("predictions.png",),
        outcome=_errors,
        answer=_all_numbers,
        record=_number_record,
    ),
}
