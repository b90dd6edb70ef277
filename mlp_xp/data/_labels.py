"""What labels mean: classes by their names, labels that are 0 or 1, or numbers to
predict.

A class is known by the text of its labels, so that `01` and `1` are two classes. Labels
in CSV are text, which may be meant as numbers; text in memory never is, unless the task
says so.
"""

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.inputs import NUMBERS, check_numbers, error_at, on_host
from mlp_xp.core.backend import Backend
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS, Task
from mlp_xp.data.reading import FLAGS, MISSING, in_order, number_of
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, some

SHOWN = 5  # names in a message
MOST_GUESSED = 20  # this many distinct whole numbers are taken for classes
WHOLE = re.compile("[+-]?[0-9]{1,18}")
AS_CLASSES, AS_NUMBERS = Argument("task", "classes"), Argument("task", "regression")

Labels = np.ndarray[Any, Any]
"""On the host: numbers or text, (n,) or (n, columns)."""


class Meaning(NamedTuple):
    """A task, a name for each output, and for classes the text of the labels of each."""

    task: Task
    names: tuple[str, ...]
    texts: tuple[str, ...] = ()


def labels_of(samples: RawSamples, part: Part, backend: Backend) -> Labels:
    """Return the labels of a part on the host, text without spaces around it. Raises
    DatasetError for a missing one.
    """
    y = on_host("y", part.labels, backend)
    if y.dtype.kind == "O" and y.size:  # of pandas, or of pyarrow
        known = str if isinstance(y.flat[0], str) else NUMBERS
        for place, value in np.ndenumerate(y):
            if not isinstance(value, known):
                fault, remedy = (
                    f"{value!r:.60} is neither a number nor text, as others are",
                    "correct it",
                )
                raise error_at("y", place, fault, f"{remedy}, or leave out the row")
        found = np.array(y.ravel().tolist()).reshape(y.shape)
        y = y.astype(np.float64) if found.dtype.kind == "O" else found
    if y.dtype.kind == "f" and not (finite := np.isfinite(y)).all():
        place = np.argwhere(~finite)[0]
        raise error_at(
            "y",
            place,
            f"the label {y[tuple(place)]} is not a finite number",
            "remove the row",
        )
    y = np.strings.strip(y) if y.dtype.kind == "U" else y
    texts = (
        np.unique(y).tolist()
        if samples.form == "columns" and part.file and y.dtype.kind == "U"
        else []
    )
    # A minus is a class beside a plus.
    marks = [
        text
        for text in texts
        if text.lower() in MISSING and not (text == "-" and "+" in texts)
    ]
    if marks:
        remedy = (
            "fill it in, or leave out the row; if it is a class, give that another name"
        )
        raise _error_at_first(y, marks, "marks a missing label", remedy)
    return y


def meaning_of(
    samples: RawSamples,
    y: Labels,
    task: str | None,
    trained: Sequence[str] | None = None,
) -> Meaning:
    """Return what labels mean. task: a key of TASKS; by default it is guessed. trained:
    the outputs of a network.

    Classes have the text of their labels as names. Where the names are given, or are
    those of a trained network, whole numbers are the numbers of the classes, from 0;
    but if the names are numbers themselves, all labels that are numbers are matched
    with them by value. Raises DatasetError, also where either of two tasks may be
    meant.
    """
    # in a text file, where numbers are text too
    is_written = len(getattr(samples.train.inputs, "lines", ())) > 0
    if task is not None:
        found = TASKS[task]
    elif (
        y.dtype.kind == "U"
        and y.ndim == 1
        and not (is_written and _most_are_numbers(y))
    ):
        found = CLASSES
    else:
        found = guess_task(numbers_of(y), samples.class_names)
    if found.exclusive:
        texts = [*map(str, np.unique(y).tolist())]
        given = trained or samples.class_names
        names = tuple(
            map(str.strip, given or (in_order(texts) if is_written else texts))
        )
        if len(set(names)) < len(names):
            fault = "a name is there twice"
            raise DatasetError(
                fault, remedy="give each class a name of its own", setting="class_names"
            )
        if not given and len({*map(str.casefold, names)}) < len(names):
            text = f"classes whose names differ by capital letters alone: {some(names, SHOWN)}"
            warnings.warn(MlpXpWarning(text, file=samples.train.file), stacklevel=4)
        if not given or y.dtype.kind not in "iuf":
            return Meaning(found, names, names)
        values = [*map(number_of, names)]
        numbers = [value for value in values if math.isfinite(value)]
        if 0 < len(numbers) < len(names):
            fault = "labels may be names of classes or count them, because some of the names are numbers"
            raise DatasetError(fault, remedy="give the names, as text", setting="y")
        if not numbers:
            return Meaning(found, names, tuple(map(str, range(len(names)))))
        whole = y.dtype.kind != "f"
        return Meaning(
            found,
            names,
            tuple(str(int(x) if whole and x % 1 == 0 else x) for x in values),
        )
    count = y.shape[1] if y.ndim == 2 else 1
    names = (
        samples.class_names
        or samples.label_names
        or tuple(trained or map(str, range(count)))
    )
    if len(names) != count:
        fault = f"has {count} columns, and there are {len(names)} names for them"
        raise DatasetError(fault, remedy="give one each", setting="y")
    return Meaning(found, names)


def guess_task(y: Labels, class_names: Sequence[str] | None = None) -> Task:
    """Return the task of labels: regression for floats, labels for several columns, and
    otherwise classes.

    Raises DatasetError, which names the option, where labels may stand for another
    task. These are classes in one-hot form; whole numbers that have a decimal point but
    are few; and integers that are many, unless they are all those from 0 or 1 up to the
    largest, or the classes have names.
    """
    task = REGRESSION if y.dtype.kind == "f" else LABELS if y.ndim == 2 else CLASSES
    if 0 in y.shape:
        return task
    if y.ndim == 2 and y.shape[1] > 1:
        if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            remedy = (
                "give the numbers of the classes, y.argmax(axis=1), or else ",
                Argument("task", task.name),
            )
            raise DatasetError(
                "each row has a single 1, as if the columns were classes",
                remedy=remedy,
                setting="y",
            )
        return task
    values = np.unique(y)
    few = len(values) <= MOST_GUESSED
    if y.dtype.kind == "f":
        unclear = few and bool((values == np.floor(values)).all())
    else:
        has_gaps = y.dtype.kind != "b" and (
            values[0] not in (0, 1) or values[-1] - values[0] >= len(values)
        )
        unclear = not few and has_gaps and class_names is None
    if unclear:
        raise DatasetError(
            f"{len(values)} different whole numbers in {len(y)} rows may be quantities or classes",
            remedy=(
                "give ",
                AS_NUMBERS,
                " to predict them as quantities, or ",
                AS_CLASSES,
            ),
            setting="y",
        )
    return task


def read_labels(y: Labels, meaning: Meaning) -> Labels:
    """Return labels as those of a `Dataset`.

    These are class numbers (n,), uint8, or int32 for more than 256 classes; labels 0 or
    1, uint8 (n, outputs); or numbers, float64 (n, outputs). Raises DatasetError, about
    the setting "y".
    """
    if meaning.task.exclusive:
        if y.ndim != 1:
            raise DatasetError(
                f"the shape is {y.shape}",
                remedy="give the class of each sample, (n,)",
                setting="y",
            )
        values, places = np.unique(y, return_inverse=True)
        known, texts = (
            {text: i for i, text in enumerate(meaning.texts)},
            [*map(str, values.tolist())],
        )
        if unknown := [i for i, text in enumerate(texts) if text not in known]:
            row = int(np.argmax(np.isin(places, unknown)))
            fault = f"the label {texts[places[row]]!r:.60} is none of the {len(known)} classes"
            raise DatasetError(
                fault,
                remedy=f"they are {some(meaning.texts, SHOWN)}",
                setting="y",
                row=row,
            )
        return np.array(
            [known[text] for text in texts], np.uint8 if len(known) <= 256 else np.int32
        )[places]
    y = numbers_of(y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DatasetError(
            f"the shape is {y.shape}", remedy="give (n,) or (n, outputs)", setting="y"
        )
    if not (right := meaning.task.allows(y)).all():
        place, remedy = (
            np.argwhere(~right)[0],
            ("correct it, or, to predict numbers, give ", AS_NUMBERS),
        )
        raise error_at(
            "y",
            place,
            f"{y[tuple(place)]} is wrong: labels are {meaning.task.wanted}",
            remedy,
        )
    return y.reshape(y.shape[0], -1).astype(
        np.float64 if meaning.task.floats else np.uint8
    )


def numbers_of(y: Labels) -> Labels:
    """Return labels as numbers; text as int64 if all are whole numbers, else as
    float64; true is 1, and false 0.
    """
    if y.dtype.kind != "U":
        return check_numbers("y", y)
    values, places = np.unique(y, return_inverse=True)
    texts = [FLAGS.get(text.lower(), text) for text in values.tolist()]
    numbers = [*map(number_of, texts)]
    if words := [
        value
        for value, number in zip(values, numbers, strict=True)
        if not math.isfinite(number)
    ]:
        remedy = (
            "correct it, or leave out the row; if these are names of classes, give ",
            AS_CLASSES,
        )
        raise _error_at_first(y, words, "is not a finite number", remedy)
    whole = all(map(WHOLE.fullmatch, texts))
    return np.array([*map(int, texts)] if whole else numbers)[places].reshape(y.shape)


def _most_are_numbers(texts: Labels) -> bool:
    return 2 * np.isnan([*map(number_of, texts.tolist())]).sum() <= len(texts)


def _error_at_first(texts: Labels, wrong: Any, fault: str, remedy: Any) -> DatasetError:
    """Return an error about the first of some wrong texts."""
    place = np.argwhere(np.isin(texts, wrong))[0]
    return error_at("y", place, f"{texts[tuple(place)].item()!r:.60} {fault}", remedy)
