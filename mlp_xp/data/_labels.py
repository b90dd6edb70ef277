"""The meaning of labels: names of classes, labels that are 0 or 1, or numbers.

A class is known by the text of its labels, so `01` and `1` are two classes. Labels in
CSV are text, and the text may be numbers. Text in memory is never taken for numbers,
unless the task says so.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.inputs import NUMBERS, check_numbers, error_at, on_host
from mlp_xp.core.backend import Backend
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS, Task
from mlp_xp.data.reading import FLAGS, MISSING, NO_WORD, WHOLE, in_order, number_of
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table import Table, as_text
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, Words, some, warn

SHOWN = 5  # names in a message
_WHOLE_AS_FLOAT = re.compile(r"^([+-]?[0-9]{1,18})\.0*$")
AS_CLASSES, AS_NUMBERS = Argument("task", "classes"), Argument("task", "regression")

Labels = np.ndarray[Any, Any]
"""On the host: numbers or text, (n,) or (n, columns)."""


class Meaning(NamedTuple):
    """A task, the name of each output, and for classes the text of their labels."""

    task: Task
    names: tuple[str, ...]
    texts: tuple[str, ...] = ()


def labels_of(samples: RawSamples, part: Part, backend: Backend) -> Labels:
    """Return the labels of a part on the host, text without spaces around it.

    Raises DatasetError for a missing label.
    """
    y = _on_host(part, backend)
    is_missing = _are_missing(samples, part, y)
    if is_missing.any():
        raise _missing_label(part, y, is_missing)
    if y.dtype.kind == "O" and y.size:  # of pandas, or of pyarrow
        y = _without_objects(y)
    if y.dtype.kind == "f":
        is_finite = np.isfinite(y)
        if not is_finite.all():
            place = tuple(np.argwhere(~is_finite)[0])
            fault = f"the label {y[place]} is not a finite number"
            raise error_at("y", place, fault, "remove the row")
    return np.strings.strip(y) if y.dtype.kind == "U" else y


def labelled_rows(samples: RawSamples, part: Part, backend: Backend) -> np.ndarray:
    """Return the numbers of the rows of a part with all their labels, int64 (n,).

    Raises DatasetError if there is none.
    """
    y = _on_host(part, backend)
    is_missing = _are_missing(samples, part, y)
    rows = np.flatnonzero(~is_missing.reshape(len(y), -1).any(axis=1))
    if len(y) and not len(rows):
        raise DatasetError(
            "no row has a label", remedy="give another column", setting="y"
        )
    return rows


def _on_host(part: Part, backend: Backend) -> Labels:
    """Return the labels of a part on the host, and dates as text, as in a file."""
    y = on_host("y", part.labels, backend)
    if y.dtype.kind == "M":
        y = y.astype("M8[us]").astype(object)
    elif y.dtype.kind != "O" or not any(isinstance(each, date) for each in y.flat):
        return y
    texts = np.empty(y.shape, object)
    for place, value in np.ndenumerate(y):
        is_date = isinstance(value, date) and value == value
        texts[place] = as_text(value) if is_date else value
    return texts


def _are_missing(samples: RawSamples, part: Part, y: Labels) -> np.ndarray:
    """Return which labels are missing, booleans of the shape of y.

    In the columns of a file, text may mark a missing label.
    """
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind not in "OU":
        return np.zeros(y.shape, np.bool_)
    values = y.ravel().tolist()
    texts = {value for value in values if isinstance(value, str)}
    marks = set[str]()
    if samples.form == "columns" and part.file is not None:
        known = MISSING
        if "+" in map(str.strip, texts):  # beside a plus, a minus is a class
            known = MISSING - {"-"}
        marks = {text for text in texts if text.strip().lower() in known}
    found = []
    for value in values:
        if isinstance(value, str):
            found.append(value in marks)
        else:
            is_nan = isinstance(value, NUMBERS) and value != value
            found.append(value is None or is_nan)
    return np.array(found, np.bool_).reshape(y.shape)


def _missing_label(part: Part, y: Labels, is_missing: np.ndarray) -> DatasetError:
    """Return the error for the first missing label."""
    place = tuple(np.argwhere(is_missing)[0])
    count = int(is_missing.reshape(len(y), -1).any(axis=1).sum())
    value = y.item(*place)
    fault = f"{value!r:.60} marks a missing label"
    if count > 1:
        fault += f", as in {count} of {len(y)} rows"
    remedy: Words = "fill it in, or leave such rows out"
    if part.file is not None and isinstance(part.inputs, Table):
        option = Argument("drop_unlabelled", True)
        remedy = ("fill it in, or give ", option, " to leave such rows out")
    error = error_at("y", place, fault, remedy)
    if isinstance(value, str):
        error.notes.append("if it is a class, give the class another name")
    return error


def _without_objects(y: Labels) -> Labels:
    """Return labels that are objects as numbers or text. Raises DatasetError."""
    known = str if isinstance(y.flat[0], str) else NUMBERS
    for place, value in np.ndenumerate(y):
        if not isinstance(value, known):
            raise error_at(
                "y",
                place,
                f"{value!r:.60} is neither a number nor text, as others are",
                "correct it, or leave out the row",
            )
    found = np.array(y.ravel().tolist()).reshape(y.shape)
    return y.astype(np.float64) if found.dtype.kind == "O" else found


def meaning_of(
    samples: RawSamples,
    y: Labels,
    task: str | None,
    trained: Sequence[str] | None = None,
) -> Meaning:
    """Return the meaning of labels.

    Classes have the text of their labels as names, unless the names are given or come
    from a trained network. task: a key of TASKS; by default the labels decide. trained:
    the outputs of a network. Raises DatasetError.
    """
    # in a text file, where numbers are text too
    is_written = len(getattr(samples.train.inputs, "lines", ())) > 0
    found = _task_of(samples, y, is_written) if task is None else TASKS[task]
    if found.exclusive:
        names, texts = _classes(samples, y, trained, is_written=is_written)
        return Meaning(found, names, texts)
    count = y.shape[1] if y.ndim == 2 else 1
    names = samples.class_names or samples.label_names
    if not names:
        names = tuple(trained or map(str, range(count)))
    if len(names) != count:
        raise DatasetError(
            f"has {count} columns, and there are {len(names)} names for them",
            remedy="give one each",
            setting="y",
        )
    return Meaning(found, names)


def _task_of(samples: RawSamples, y: Labels, is_written: bool) -> Task:
    """Return the task of labels. Raises DatasetError if they do not show it.

    Text means classes, numbers with decimals mean regression, and several columns of 0
    and 1 mean labels.
    """
    if y.ndim == 2:
        return _task_of_columns(numbers_of(y))
    if y.dtype.kind == "U":
        texts = np.unique(y).tolist()
        are_numbers = np.isfinite(_numbers_in(texts))
        if not is_written or not are_numbers.any():
            unclear = [each for each in texts if _is_unclear(each)]
            if unclear and samples.class_names is None:
                fault = "is neither a number nor a name"
                raise _error_at_first(y, unclear, fault, is_written=is_written)
            return CLASSES
    numbers = numbers_of(y)
    is_float = numbers.dtype.kind == "f"
    if is_float and (numbers % 1 != 0).any():
        return REGRESSION
    if y.dtype.kind == "b" or (samples.class_names is not None and not is_float):
        return CLASSES
    return _task_of_whole_numbers(y)


def _task_of_whole_numbers(y: Labels) -> Task:
    """Return the task of whole numbers or their text, (n,).

    Two different numbers are classes. Numbers of which one is in a single row are
    quantities, because a class needs a row to train and one to test on. Raises
    DatasetError for other numbers, which may be both.
    """
    values, rows = np.unique(y, return_counts=True)
    if len(values) <= 2:
        return CLASSES
    if rows.min() == 1:
        return REGRESSION
    shown = some(values.tolist(), SHOWN)
    raise DatasetError(
        f"{len(values)} different whole numbers may be classes or quantities: {shown}",
        remedy=("give ", AS_CLASSES, " or ", AS_NUMBERS),
        setting="y",
    )


def _is_unclear(text: str) -> bool:
    """Return whether text has digits, no letters, and is no number, such as 3,5."""
    return bool(re.search(NO_WORD, text)) and math.isnan(number_of(text))


def _classes(
    samples: RawSamples, y: Labels, trained: Sequence[str] | None, *, is_written: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of classes, and the text of the labels of each class."""
    given = trained or samples.class_names
    found = [str(value) for value in np.unique(y).tolist()]
    whole = list(map(_without_point, found))
    are_numbers = is_written or y.dtype.kind == "f"
    if are_numbers and all(map(WHOLE.fullmatch, whole)):
        found = list(dict.fromkeys(whole))
    in_data = in_order(found) if is_written else found
    names = tuple(name.strip() for name in given or in_data)
    if len(set(names)) < len(names):
        raise DatasetError(
            "a name is there twice",
            remedy="give each class a name of its own",
            setting="class_names",
        )
    if given:
        return names, _texts_of(names, y)
    counts = Counter(name.casefold() for name in names)
    alike = [name for name in names if counts[name.casefold()] > 1]
    if alike:
        shown = some(alike, SHOWN)
        text = f"classes whose names differ only in capital letters: {shown}"
        warn(MlpXpWarning(text, file=samples.train.file))
    return names, names


def _without_point(text: str) -> str:
    """Return a whole number such as 1.0 as 1, and other text as it is."""
    return _WHOLE_AS_FLOAT.sub(r"\1", text)


def _texts_of(names: tuple[str, ...], y: Labels) -> tuple[str, ...]:
    """Return the text of the labels of each class, for given names of the classes.

    Numbers in y are the numbers of the classes, from 0. But if the names are numbers
    too, the numbers in y are matched with the names by value.
    """
    if y.dtype.kind not in "iuf":
        return names
    are_numbers = np.isfinite(_numbers_in(names))
    if not are_numbers.any():
        return tuple(map(str, range(len(names))))
    texts: tuple[str, ...] = ()
    if are_numbers.all() and y.dtype.kind == "f":
        texts = tuple(str(number_of(name)) for name in names)
    elif are_numbers.all():  # exact, unlike a float
        texts = tuple(as_text(Decimal(name)) for name in names)
    if len(set(texts)) < len(names):
        raise DatasetError(
            "labels are numbers, but the names of the classes are not all different "
            "numbers",
            remedy="give the names, as text",
            setting="y",
        )
    return texts


def _task_of_columns(y: Labels) -> Task:
    """Return the task of labels (n, columns). Raises DatasetError for one-hot classes.

    Whole numbers other than 0 and 1 are taken for labels too, which `read_labels` then
    refuses.
    """
    if ((y == 0) | (y == 1)).all():
        if y.shape[1] > 1 and y.size and (y.sum(axis=1) == 1).all():
            start = "give the numbers of the classes, y.argmax(axis=1), or else "
            raise DatasetError(
                "each row has a single 1, as if the columns were classes",
                remedy=(start, Argument("task", LABELS.name)),
                setting="y",
            )
        return LABELS
    return REGRESSION if y.dtype.kind == "f" else LABELS


def read_labels(y: Labels, meaning: Meaning) -> Labels:
    """Return labels as in a `Dataset`, on the host.

    Classes become numbers (n,), uint8, or int32 for more than 256 classes. Labels 0 or
    1 become uint8 (n, outputs), and numbers become float64 (n, outputs). Raises
    DatasetError, about the setting "y".
    """
    if meaning.task.exclusive:
        return _class_numbers(y, meaning.texts)
    y = numbers_of(y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DatasetError(
            f"the shape is {y.shape}", remedy="give (n,) or (n, outputs)", setting="y"
        )
    is_right = meaning.task.allows(y)
    if not is_right.all():
        place = tuple(np.argwhere(~is_right)[0])
        raise error_at(
            "y",
            place,
            f"{y[place]} is wrong: labels are {meaning.task.wanted}",
            ("correct it, or, to predict numbers, give ", AS_NUMBERS),
        )
    dtype = np.float64 if meaning.task.floats else np.uint8
    return y.reshape(y.shape[0], -1).astype(dtype)


def _class_numbers(y: Labels, class_texts: Sequence[str]) -> Labels:
    if y.ndim != 1:
        raise DatasetError(
            f"the shape is {y.shape}",
            remedy="give a single column of classes, (n,)",
            setting="y",
        )
    numbers = {text: number for number, text in enumerate(class_texts)}
    values, places = np.unique(y, return_inverse=True)
    texts = list(map(str, values.tolist()))
    found = [numbers.get(text, numbers.get(_without_point(text), -1)) for text in texts]
    classes = np.array(found, np.int64)[places]
    if (classes < 0).any():
        row = int(classes.argmin())
        label = texts[places[row]]
        raise DatasetError(
            f"the label {label!r:.60} is none of the {len(numbers)} classes",
            remedy=f"they are {some(class_texts, SHOWN)}",
            setting="y",
            row=row,
        )
    dtype = np.uint8 if len(numbers) <= 256 else np.int32
    return classes.astype(dtype)


def numbers_of(y: Labels) -> Labels:
    """Return labels as numbers. True is 1, and false is 0.

    Text becomes int64 if all labels are whole numbers, else float64.
    """
    if y.dtype.kind != "U":
        return check_numbers("y", y)
    values, places = np.unique(y, return_inverse=True)
    values = values.tolist()
    texts = [FLAGS.get(text.lower(), text) for text in values]
    if all(map(WHOLE.fullmatch, texts)):
        return np.array([int(text) for text in texts])[places].reshape(y.shape)
    numbers = _numbers_in(texts)
    words = [values[i] for i in np.flatnonzero(~np.isfinite(numbers))]
    if words:
        raise _error_at_first(y, words, "is not a finite number")
    return numbers[places].reshape(y.shape)


def _numbers_in(texts: Sequence[str]) -> np.ndarray:
    """Return the numbers in texts, NaN for other texts."""
    return np.array([number_of(text) for text in texts], np.float64)


def _error_at_first(
    texts: Labels, wrong: Sequence[str], fault: str, *, is_written: bool = False
) -> DatasetError:
    """Return an error about the first of some wrong texts, with its remedy.

    is_written: whether the texts are from a file with options.
    """
    place = tuple(np.argwhere(np.isin(texts, wrong))[0])
    start: Words = ("write numbers as 1591.02",)
    if is_written:
        options = Argument("decimal"), " and ", Argument("thousands")
        start = (*start, ", or give ", *options, " as they are written")
    remedy: Words = (*start, "; if these are names of classes, give ", AS_CLASSES)
    if texts.ndim == 2:
        remedy = (
            "correct it, or leave out the row; write yes and no as 1 and 0, or give a "
            "single column of classes"
        )
    return error_at("y", place, f"{texts[place].item()!r:.60} {fault}", remedy)
