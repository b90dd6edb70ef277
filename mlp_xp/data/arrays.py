"""Your own arrays as the parts of a data set: features, targets, task, test set, standardisation.

Everything that would train to nonsense is refused here, with its row and column: NaN, a single class, other lengths.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import Backend, open_backend
from mlp_xp.core.dataset import MOST_NAMES, PREPARATIONS, UNNAMED, Dataset, Preparation, split
from mlp_xp.core.functional import Array
from mlp_xp.core.inputs import check_numbers, column_at, dtype_name, not_of, on_host, read_features
from mlp_xp.core.task import TASKS
from mlp_xp.errors import DatasetError, DatasetWarning

# Rows that are looked at together.
PIECE = 4096
SHOWN = 5  # names in a message
MOST_GUESSED = 20  # distinct whole numbers that are taken for classes, and so are more with FEWEST samples each
FEWEST = 10
NO_TEST = "hold out no test set (test=None)"


class Arrays(NamedTuple):
    """What a data set is made of; arrays on the device."""

    train: tuple[Array, Array]
    test: tuple[Array | None, Array | None]
    names: tuple[str, ...]
    task: str
    preparation: str
    """bytes, standardize or unchanged."""
    fitted: tuple[Array, ...]
    targets: tuple[Array, ...]


def from_arrays(
    X: Any,
    y: Any,
    test: float | tuple[Any, Any] | None = None,
    *,
    backend: Backend | None = None,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    standardize: bool | None = None,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    scale_targets: bool = True,
    stratify: bool = True,
) -> Dataset:
    """Make a data set of features X and labels y, which may be NumPy arrays, lists, or on the backend's device.

    X: integers or floats, (n, features) or (n, rows, columns[, channels]). y: integers or strings (n,) for classes;
    integers 0 and 1 (n, labels) for several labels at once; floats (n,) or (n, outputs) for regression. task:
    "classes", "labels" or "regression", where `y` would be taken for another one: numbers of rooms, say, need
    task="regression"; and where it may be either, as many whole numbers, such as prices, or few with a decimal
    point. test: the test set as (X, y); or the share of the samples, above 0 and below 1, that a shuffle with
    `seed` selects for it; None for no test set. Without a share the samples keep their order, and
    `TrainConfig.validation` holds out the last ones, so shuffle sorted data first. stratify: select this share of
    each class, and of a class with two samples or more at least one for either part; a single one is trained on.

    class_names: of the classes 0, 1, ... in this order; of classes that are strings, their order; of labels or
    numbers, a name for each column. By default the distinct values in `y`, sorted, or the numbers of the columns.
    standardize: whether to subtract each feature's mean over the training set and divide by its standard
    deviation. By default all but images of bytes are, which are divided by 255. False: the features as they are.
    scale_targets: for regression, train on standardised numbers too. Labels, predictions and errors stay in their
    own units; only the loss is in units of the standard deviations. backend: by default NumPy in float64.
    feature_names: of the columns of X, for messages and `Model.predict`; by default those of a table of pandas or
    another library that has `columns`.

    Bytes stay bytes on the device; everything else becomes the backend's floats. Raises DatasetError, which names
    the row and column of a value that is NaN or infinite, for arrays that do not fit together, and for a single
    class. Gives a DatasetWarning that names features which are constant, which a network cannot use.
    """
    features = getattr(X, "columns", ()) if feature_names is None else feature_names
    columns = tuple(map(str, features)) if len(features) <= MOST_NAMES else ()
    opened = backend or open_backend()
    choices = task, class_names, standardize, seed, columns, scale_targets, stratify
    read = read_arrays(X, y, test, opened, *choices)
    prepare = Preparation(PREPARATIONS[read.preparation], read.fitted)
    return Dataset(
        *(*read.train, *read.test, read.names, UNNAMED, prepare, TASKS[read.task]),
        feature_names=columns,
        scaling=read.targets,
        is_own=True,
    )


def read_arrays(
    X: Any,
    y: Any,
    test: float | tuple[Any, Any] | None,
    backend: Backend,
    task: str | None,
    class_names: Sequence[str] | None,
    standardize: bool | None,
    seed: int,
    feature_names: Sequence[str],
    scale_targets: bool,
    stratify: bool,
) -> Arrays:
    """Read the arguments of `from_arrays`, which documents them. Raises DatasetError."""
    xp, is_of_another = backend.xp, not_of(X, backend) is not None
    features, raw = read_features("X", X, backend, feature_names), on_host("y", y, backend)
    if feature_names and len(feature_names) != (count := math.prod(features.shape[1:])):
        raise DatasetError(
            f"there are {len(feature_names)} for {count} features; give one each", setting="feature_names"
        )
    if task is None:
        task = guess_task(raw)
        _check_guess(task, raw, is_named=class_names is not None)
    if task not in TASKS:
        raise DatasetError(f"{task!r} is not known; choose one of {', '.join(TASKS)}", setting="task")
    if task == "classes":
        values, names = read_classes(raw, class_names)
        read_labels = partial(number_classes, values=values)
    else:
        names = _column_names(raw, class_names)
        read_labels = partial(read_columns, task=task, names=() if class_names is None else names)
    labels = read_labels("y", raw)
    check_lengths("X", features, labels)
    test_features: Array | None = None
    test_labels: np.ndarray | None = None
    if isinstance(test, tuple | list):
        if len(test) != 2:
            raise DatasetError(f"it has {len(test)} parts; give the test set as (X, y)", setting="test")
        test_features = read_features("X of the test set", test[0], backend, feature_names)
        test_labels = read_labels("y of the test set", on_host("y of the test set", test[1], backend))
        check_lengths("X of the test set", test_features, test_labels)
        _check_like(features, test_features, labels, test_labels)
    elif test is not None:
        share = _share(test, features.shape[0])
        chosen, left = split(labels if stratify and task == "classes" else None, features.shape[0], share, seed)
        test_features, features = (xp.take(features, backend.asarray(each), axis=0) for each in (chosen, left))
        test_labels, labels = labels[chosen], labels[left]
    _check_labels(labels, names, task)
    is_image = features.dtype == xp.uint8 and len(features.shape) > 2
    preparation = (
        "bytes" if standardize is None and is_image else "unchanged" if standardize is False else "standardize"
    )
    fitted: tuple[Array, ...] = ()
    if preparation == "standardize" and is_of_another:
        # By NumPy, so that a table is seen alike by all libraries, to the last bit.
        numpy = open_backend("numpy", dtype=backend.dtype_name)
        found = fit_standardization(backend.to_numpy(features), numpy, feature_names)
        fitted = tuple(map(backend.asarray, found))
    elif preparation == "standardize":
        fitted = fit_standardization(features, backend, feature_names)
    dtype = backend.dtype if task == "regression" else None
    targets = fit_targets(labels, backend) if task == "regression" and scale_targets else ()
    with np.errstate(over="ignore"):  # reported by `checks`
        train, held = (None if each is None else backend.asarray(each, dtype) for each in (labels, test_labels))
    return Arrays((features, train), (test_features, held), names, task, preparation, fitted, targets)


def guess_task(y: np.ndarray) -> str:
    """Return the task that labels on the host stand for: see `from_arrays`."""
    if y.dtype.kind == "f":
        return "regression"
    return "labels" if y.ndim == 2 else "classes"


def _check_guess(task: str, y: np.ndarray, *, is_named: bool) -> None:
    """Raise DatasetError, which names the option, where labels on the host may stand for another task than guessed.

    These are classes in one-hot form; whole numbers that have a decimal point but are few, each in many rows; and
    integers that are many, each in few rows, unless they are all those from 0 or 1 up to the largest. is_named: whether
    the classes have been named, so that integers are classes.
    """
    if y.dtype.kind not in "biuf" or 0 in y.shape:
        return
    if y.ndim == 2 and y.shape[1] > 1:
        if ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all():
            raise DatasetError(
                "y: each row has a single 1; if its columns are classes, give their numbers, y.argmax(axis=1), and if "
                f'not, task="{task}"'
            )
        return
    values = np.unique(y)
    few, rare = len(values) <= MOST_GUESSED, len(y) < FEWEST * len(values)
    if y.dtype.kind == "f":
        unclear = few and not rare and bool((values == np.floor(values)).all())
    else:
        has_gaps = y.dtype.kind != "b" and (values[0] not in (0, 1) or values[-1] - values[0] >= len(values))
        unclear = not few and rare and has_gaps and not is_named
    if unclear:
        raise DatasetError(
            'y: give task="regression" to predict its numbers as quantities, or task="classes": with '
            f"{len(values)} different whole numbers in {len(y)} rows, either may be meant"
        )


def read_classes(y: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the value of each class, sorted unless they are named, and their names. Raises DatasetError."""
    if y.ndim != 1 or y.dtype.kind not in "biufUS":
        raise DatasetError(
            f"y: its shape is {y.shape} and its dtype {y.dtype}; give the class of each sample, (n,), as an integer or "
            "a string"
        )
    if y.dtype.kind == "f":
        _check_finite_labels("y", y)
    if class_names is None:
        values = np.unique(y)
        return values, tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist())
    names = tuple(map(str, class_names))
    if len(set(names)) < len(names):
        raise DatasetError("a name is there twice; give each class a name of its own", setting="class_names")
    return np.array(names) if y.dtype.kind in "US" else np.arange(len(names)), names


def number_classes(what: str, y: np.ndarray, *, values: np.ndarray) -> np.ndarray:
    """Return the number of each sample's class, uint8, or int32 for more than 256 classes. Raises DatasetError."""
    if y.ndim != 1 or (y.dtype.kind in "US") != (values.dtype.kind in "US"):
        raise DatasetError(f"{what}: its shape is {y.shape}, its dtype {y.dtype}; give classes as in the training set")
    if y.dtype.kind == "S" and values.dtype.kind == "U":
        y = y.astype(np.str_)
    order = np.argsort(values, kind="stable")
    places = np.minimum(np.searchsorted(values, y, sorter=order), len(values) - 1)
    numbers = order[places]
    if (wrong := values[numbers] != y).any():
        row = int(np.argmax(wrong))
        raise DatasetError(
            f"{what}: row {row} is {y[row].item()!r}, which is none of the {len(values)} classes; they are "
            f"{_some([value.item() for value in values])}"
        )
    return numbers.astype(np.uint8 if len(values) <= 256 else np.int32)


def read_columns(what: str, y: np.ndarray, *, task: str, names: Sequence[str] = ()) -> np.ndarray:
    """Return labels 0 or 1, uint8, or numbers to predict, float64: (n, outputs) each. Raises DatasetError.

    names: of the columns, for errors.
    """
    check_numbers(what, y)
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise DatasetError(f"{what}: its shape is {y.shape}; give (n,) or (n, outputs)")
    y = y.reshape(y.shape[0], -1)
    _check_finite_labels(what, y, names)
    if task == "regression":
        return y.astype(np.float64)
    if (wrong := (y != 0) & (y != 1)).any():
        row, column = np.argwhere(wrong)[0]
        raise DatasetError(
            f"{what}: row {row}, {column_at([column], names)} is {y[row, column]}, where a label is 0 or 1; to predict "
            'numbers, give task="regression"'
        )
    return y.astype(np.uint8)


def _check_finite_labels(what: str, y: np.ndarray, names: Sequence[str] = ()) -> None:
    if not np.isfinite(y).all():
        bad = np.argwhere(~np.isfinite(y))[0]
        column = f", {column_at(bad[1:], names)}" if len(bad) > 1 else ""
        raise DatasetError(f"{what}: row {bad[0]}{column} is {y[tuple(bad)]}, no finite number; remove the row")


def _column_names(y: np.ndarray, class_names: Sequence[str] | None) -> tuple[str, ...]:
    columns = y.shape[1] if y.ndim == 2 else 1
    names = tuple(map(str, range(columns) if class_names is None else class_names))
    if len(names) != columns:
        raise DatasetError(f"there are {len(names)} for {columns} columns of y; give one each", setting="class_names")
    return names


def check_lengths(what: str, features: Array, labels: np.ndarray) -> None:
    """Raise DatasetError unless there are as many labels as rows of features."""
    if features.shape[0] != labels.shape[0]:
        raise DatasetError(
            f"{what}: it has {features.shape[0]} rows, but there are {labels.shape[0]} labels; give one for each row"
        )


def _check_like(features: Array, test_features: Array, labels: np.ndarray, test_labels: np.ndarray) -> None:
    ours = tuple(features.shape[1:]), features.dtype, labels.shape[1:]
    others = tuple(test_features.shape[1:]), test_features.dtype, test_labels.shape[1:]
    if ours != others:
        raise DatasetError(
            f"a row of the test set has shape {others[0]}, dtype {dtype_name(test_features)} and labels {others[2]}, "
            f"one of the training set {ours[0]}, {dtype_name(features)} and {ours[2]}; give the same",
            setting="test",
        )


def _share(test: Any, rows: int) -> float:
    if not (isinstance(test, float | np.floating) and 0 < test < 1 and 0 < round(float(test) * rows) < rows):
        raise DatasetError(
            f"{test!r:.80} of {rows} rows leaves one part empty; give a share above 0 and below 1, the test set "
            f"itself, or {NO_TEST}",
            setting="test",
        )
    return float(test)


def fit_targets(labels: np.ndarray, backend: Backend) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column of numbers to predict, (outputs,) each, on the device.

    labels: host floats (n, outputs). The deviation is 1 for a constant column. Sums are exact, so all machines and
    libraries have the same.
    """
    means, deviations = [], []
    for column in labels.T:
        size = np.abs(column).max()
        unit = float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1)) if size else 1.0  # so that no square overflows
        mean = math.fsum(column / unit) / len(column)
        deviation = math.sqrt(math.fsum((column / unit - mean) ** 2) / len(column)) * unit
        means.append(mean * unit)
        deviations.append(1.0 if column.min() == column.max() else deviation)
    with np.errstate(over="ignore"):  # reported by `checks`
        kind = backend.dtype_name
        return tuple(backend.asarray(np.array(each).astype(kind), backend.dtype) for each in (means, deviations))


def _check_labels(labels: np.ndarray, names: Sequence[str], task: str) -> None:
    if task == "classes":
        counts = np.bincount(labels, minlength=len(names))
        if (counts > 0).sum() < 2:
            only = names[int(labels[0])]
            raise DatasetError(f"y: all {len(labels)} rows are of the class {only!r}; give at least two classes")
        if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
            _warn(f"y: no training sample is of the class {_some(missing)}; a network cannot learn it")
    elif constant := [name for name, same in zip(names, (labels == labels[0]).all(axis=0), strict=True) if same]:
        _warn(f"y: the output {_some(constant)} is the same in all rows; check where the labels are read from")


def fit_standardization(features: Array, backend: Backend, names: Sequence[str] = ()) -> tuple[Array, Array]:
    """Return mean and standard deviation of each feature, (features,) each, on the device; 1 for a constant one.

    Sums of PIECE rows are read from the device and added in float64; in float32 libraries differ by some 1e-6. Warns of
    constant features, by their names if there are any.
    """
    xp, (rows, *shape) = backend.xp, features.shape
    flat = xp.reshape(features, (rows, math.prod(shape)))

    def of_pieces(reduce: Callable[[Array], Array]) -> np.ndarray:
        pieces = (flat[i : min(i + PIECE, rows), ...] for i in range(0, rows, PIECE))
        return np.stack([backend.to_numpy(reduce(xp.astype(piece, backend.dtype))) for piece in pieces])

    least = of_pieces(lambda x: xp.min(x, axis=0)).min(axis=0)
    most = of_pieces(lambda x: xp.max(x, axis=0)).max(axis=0)
    constant = least == most
    # In units of a power of two near the largest number of the column, so that no square over- or underflows.
    largest = np.maximum(np.abs(least), np.abs(most)).astype(np.float64)
    limit = np.finfo(backend.dtype_name).maxexp - 28
    unit = np.exp2(np.clip(np.floor(np.log2(np.where(largest > 0, largest, 1))), -limit, limit))
    inverse = backend.asarray(1 / unit, backend.dtype)

    def mean_from(origin: np.ndarray, power: int) -> np.ndarray:
        """Return the mean of (x / unit - origin) ** power."""
        start = backend.asarray(origin, backend.dtype)
        sums = of_pieces(lambda x: xp.sum((x * inverse - start) ** power, axis=0))
        return sums.astype(np.float64).sum(axis=0) / rows

    # From the least value: of large numbers that differ little, a sum would round away the differences, and that of a
    # constant would not be its mean.
    origin = least.astype(np.float64) / unit
    mean = origin + mean_from(origin, 1)
    variance = mean_from(mean, 2)
    deviation = np.where(constant, 1.0, unit * np.sqrt(variance))

    if constant.any():
        columns = [column_at(index, names) for index in np.argwhere(constant.reshape(shape)).tolist()]
        _warn(f"X: {_some(columns, str)}: the same value in all training samples, from which nothing is learned")
    return backend.asarray(unit * mean, backend.dtype), backend.asarray(deviation, backend.dtype)


def _some(values: Sequence[Any], conversion: Callable[[Any], str] = repr) -> str:
    shown = ", ".join(conversion(value)[:60] for value in values[:SHOWN])
    return shown + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")


def _warn(text: str) -> None:
    warnings.warn(text, DatasetWarning, stacklevel=5)  # the caller of from_arrays
