"""What labels mean: classes by their names, labels that are 0 or 1, or numbers to predict."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.inputs import check_numbers, error_at, on_host
from mlp_xp.core.library import Backend
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS, Task
from mlp_xp.data.reading import FLAGS, MISSING, number_of
from mlp_xp.data.samples import Part, Samples
from mlp_xp.errors import Argument, DatasetError, some

SHOWN = 5  # names in a message
MOST_GUESSED = 20  # this many distinct whole numbers are taken for classes, or more if each has FEWEST samples
FEWEST = 10
WHOLE = re.compile("[+-]?[0-9]{1,18}")
AS_CLASSES, AS_NUMBERS = Argument("task", "classes"), Argument("task", "regression")

Labels = np.ndarray[Any, Any]
"""On the host: numbers or text, (n,) or (n, columns)."""


class Meaning(NamedTuple):
    """How labels become those of a `Dataset`."""

    task: Task
    names: tuple[str, ...]
    """A name for each output."""
    read: Callable[[Labels], Labels]
    """Returns class numbers (n,), uint8, or int32 for more than 256 classes; labels 0 or 1, uint8 (n, outputs); or
    numbers, float64 (n, outputs). Raises DatasetError, about the setting "y"."""


def meaning_of(samples: Samples, y: Labels, task: str | None) -> Meaning:
    """Return what the labels of a training set mean. task: a key of TASKS; by default it is guessed.

    Raises DatasetError, also where either of two tasks may be meant.
    """
    written, guessed = samples.are_written and y.dtype.kind == "U", task is None
    if guessed and written and y.ndim == 1 and _are_words(y):
        task, guessed = CLASSES.name, False
    found = TASKS[task] if task else guess_task(_numbers(y) if written else y, samples.class_names)
    if found.exclusive:
        if guessed and written:
            _check_written(y)
        return _classes(samples, y)
    count = y.shape[1] if y.ndim == 2 else 1
    names = samples.class_names or samples.label_names or tuple(map(str, range(count)))
    if len(names) != count:
        fault = f"there are {len(names)} for {count} columns of y"
        raise DatasetError(fault, remedy="give one each", setting="class_names")
    return Meaning(found, names, partial(read_columns, task=found, samples=samples))


def meaning_for(samples: Samples, y: Labels, task: Task, names: Sequence[str]) -> Meaning:
    """Return what labels mean to a trained network: its classes are matched by the text of the labels.

    Whole numbers are the classes' numbers, from 0, where no class has one of them as its name.
    """
    if not task.exclusive:
        shown = samples.label_names or tuple(names)
        return Meaning(task, shown, partial(read_columns, task=task, samples=samples))
    known = samples.class_names or ()
    if known and not {*known} & {*names}:
        raise DatasetError(f"the classes are {some(known, SHOWN)}, none of which the network knows", setting="y")
    if y.dtype.kind in "biu" and not known and not {*map(str, np.unique(y).tolist())} & {*names}:
        return Meaning(task, tuple(names), partial(number_classes, names=[*map(str, range(len(names)))]))

    def read(y: Labels) -> Labels:
        return number_classes(np.array(known)[y] if known else y, names)

    return Meaning(task, tuple(names), read)


def labels_of(samples: Samples, part: Part, backend: Backend) -> Labels:
    """Return the labels of a part on the host. Raises DatasetError for one that marks a missing value in a table."""
    y = on_host("y", part.labels, backend, samples.label_names)
    texts = np.unique(y).tolist() if samples.kind == "columns" and y.dtype.kind == "U" else []
    # A minus is a class beside a plus.
    marks = [text for text in texts if text.strip().lower() in MISSING and not (text == "-" and "+" in texts)]
    if marks:
        place = np.argwhere(np.isin(y, marks))[0]
        remedy = "fill it in, or leave out the row; if it is a class, give that another name"
        raise error_at("y", place, f"{y[tuple(place)].item()!r} marks a missing label", remedy, samples.label_names)
    return y


def guess_task(y: Labels, class_names: Sequence[str] | None = None) -> Task:
    """Return the task of labels: regression for floats, labels for several columns, and otherwise classes.

    Raises DatasetError, which names the option, where labels may stand for another task. These are classes in one-hot
    form; whole numbers that have a decimal point but are few, each in many rows; and integers that are many, each in
    few rows, unless they are all those from 0 or 1 up to the largest, or the classes have names.
    """
    task = REGRESSION if y.dtype.kind == "f" else LABELS if y.ndim == 2 else CLASSES
    if y.dtype.kind not in "biuf" or 0 in y.shape:
        return task
    if y.ndim == 2 and y.shape[1] > 1:
        if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            remedy = ("give the numbers of the classes, y.argmax(axis=1), or else ", Argument("task", task.name))
            raise DatasetError("each row has a single 1, as if the columns were classes", remedy=remedy, setting="y")
        return task
    values = np.unique(y)
    few, rare = len(values) <= MOST_GUESSED, len(y) < FEWEST * len(values)
    if y.dtype.kind == "f":
        unclear = few and not rare and bool((values == np.floor(values)).all())
    else:
        has_gaps = y.dtype.kind != "b" and (values[0] not in (0, 1) or values[-1] - values[0] >= len(values))
        unclear = not few and rare and has_gaps and class_names is None
    if unclear:
        raise DatasetError(
            f"{len(values)} different whole numbers in {len(y)} rows may be quantities or classes",
            remedy=("give ", AS_NUMBERS, " to predict them as quantities, or ", AS_CLASSES),
            setting="y",
        )
    return task


def _classes(samples: Samples, y: Labels) -> Meaning:
    if y.ndim != 1 or y.dtype.kind not in "biufU":
        fault = f"the shape is {y.shape} and the dtype {y.dtype}"
        raise DatasetError(fault, remedy="give the class of each sample, (n,), as an integer or a string", setting="y")
    _check_finite(y)
    if samples.class_names is None:
        names = tuple(map(str, np.unique(y).tolist()))
        if samples.are_written and all(number_of(name) is not None for name in names):
            names = tuple(sorted(names, key=lambda name: (float(name), name)))
        return Meaning(CLASSES, names, partial(number_classes, names=names))
    names = samples.class_names
    if len(set(names)) < len(names):
        raise DatasetError("a name is there twice", remedy="give each class a name of its own", setting="class_names")
    known = names if y.dtype.kind == "U" else [*map(str, range(len(names)))]
    return Meaning(CLASSES, names, partial(number_classes, names=known))


def number_classes(y: Labels, names: Sequence[str]) -> Labels:
    """Return the number of each sample's class, whose name is the text of its label. See `Meaning.read`."""
    if y.ndim != 1:
        raise DatasetError(f"the shape is {y.shape}", remedy="give the class of each sample, (n,)", setting="y")
    values, places = np.unique(y, return_inverse=True)
    known, texts = {name: i for i, name in enumerate(names)}, [*map(str, values.tolist())]
    if unknown := [i for i, text in enumerate(texts) if text not in known]:
        row = int(np.argmax(np.isin(places, unknown)))
        fault = f"{texts[places[row]]!r:.60} is none of the {len(names)} classes"
        raise DatasetError(fault, remedy=f"they are {some([*names], SHOWN)}", setting="y", row=row)
    return np.array([known[text] for text in texts], np.uint8 if len(names) <= 256 else np.int32)[places]


def read_columns(y: Labels, task: Task, samples: Samples) -> Labels:
    """Return labels 0 or 1, or numbers to predict. See `Meaning.read`."""
    columns = samples.label_names
    y = _numbers(y) if samples.are_written and y.dtype.kind == "U" else y
    check_numbers("y", y, columns)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DatasetError(f"the shape is {y.shape}", remedy="give (n,) or (n, outputs)", setting="y")
    _check_finite(y, columns)
    rows = y.reshape(y.shape[0], -1)
    if task.floats:
        return rows.astype(np.float64)
    if (wrong := (y != 0) & (y != 1)).any():
        place = np.argwhere(wrong)[0]
        remedy = ("correct it, or, to predict numbers, give ", AS_NUMBERS)
        raise error_at("y", place, f"{y[tuple(place)]} is neither 0 nor 1, as a label is", remedy, columns)
    return rows.astype(np.uint8)


def _check_finite(y: Labels, columns: Sequence[str] = ()) -> None:
    if y.dtype.kind == "f" and not (finite := np.isfinite(y)).all():
        place = np.argwhere(~finite)[0]
        raise error_at("y", place, f"the label {y[tuple(place)]} is not a finite number", "remove the row", columns)


# Labels that are text even where they are numbers.


def _numbers(texts: Labels) -> Labels:
    """Return the numbers, int64 if all are whole numbers, otherwise float64; true is 1, and false 0."""
    values, places = np.unique(texts, return_inverse=True)
    found = [FLAGS.get(text.lower(), text) for text in values.tolist()]
    numbers = [number_of(text) for text in found]
    if None in numbers:
        words = [value for value, number in zip(values, numbers, strict=True) if number is None]
        place = np.argwhere(np.isin(texts, words))[0]
        fault = f"{texts[tuple(place)].item()!r:.60} is not a number"
        raise error_at("y", place, fault, "correct it, or leave out the row")
    whole = all(map(WHOLE.fullmatch, found))
    return np.array([*map(int, found)] if whole else numbers)[places].reshape(texts.shape)


def _are_words(texts: Labels) -> bool:
    """Return whether labels are words; False if all are numbers. Raises DatasetError for a few words among numbers."""
    values, counts = np.unique(texts, return_counts=True)
    words = [number_of(text) is None for text in values.tolist()]
    if any(words) and 2 * counts[words].sum() <= len(texts):
        row = int(np.argmax(np.isin(texts, values[words])))
        raise DatasetError(
            f"{texts[row].item()!r:.60} is not a number, as most of the other labels are",
            remedy=("correct it, or leave out the row; if these are names of classes, give ", AS_CLASSES),
            setting="y",
            row=row,
        )
    return any(words)


def _check_written(texts: Labels) -> None:
    """Raise DatasetError if one number is written in two ways."""
    written: dict[int, str] = {}
    for text in dict.fromkeys(texts.tolist()):
        if (other := written.setdefault(int(text), text)) != text:
            raise DatasetError(
                f"{text!r} is the same number as {other!r}",
                remedy=("write both alike, or, if they are two classes, give ", AS_CLASSES),
                setting="y",
                row=int(np.argmax(texts == text)),
            )
