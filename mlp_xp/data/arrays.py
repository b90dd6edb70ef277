"""RawSamples to a data set: features, labels of a task, a test set, standardisation.

Everything that would train to nonsense is refused here, with its row and column: NaN, a
    single class, other lengths.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import dtype_name, read_features
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import (
    BYTES,
    PREPARATIONS,
    Preparation,
    Signature,
    described,
)
from mlp_xp.core.task import Units
from mlp_xp.data._labels import (
    SHOWN,
    Labels,
    Meaning,
    labels_of,
    meaning_of,
    read_labels,
)
from mlp_xp.data._splitting import hold_out, split_as
from mlp_xp.data._weights import balanced_weights, read_weights
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.frames import table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table import Table
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning, some

_PIECE = 4096  # rows that are added up together, so that no copy of all of them is made
# the largest distance of neighbouring numbers of a dtype, in standard deviations
_COARSE = 1e-3


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
    sample_weight: Any = None,
    class_weight: str | None = None,
) -> Dataset:
    """Make a data set of features X and labels y.

    Both may be NumPy arrays, lists, data frames of pandas, polars or pyarrow, or arrays
    on the backend's device. Bytes in arrays stay bytes on the device. Everything else
    becomes the backend's floats. Columns of data frames are found by their names, and
    rows of X and y belong together by their position.

    Gives an MlpXpWarning for columns to standardise whose values are equal, or differ
    in digits that the backend's dtype rounds away.

    Args:
        X: Integers or floats, (n, features) or (n, rows, columns[, channels]). Or a
            data frame of numbers, text, dates and gaps, which become features as
            `data.columns.Columns` describes, fitted to all rows but the test set.
        y: Integers or strings (n,) for classes; integers 0 and 1 (n, labels) for
            several labels at once; floats (n,) or (n, outputs) for regression. Or a
            data frame, or a column of one.
        test: The test set as (X, y). Or the share of the samples, above 0 and below 1,
            that a shuffle with `seed` selects for it. None for no test set.
        backend: Where the arrays are; by default NumPy in float64.
        task: "classes", "labels" or "regression", if it is not the one that y looks
            like. Many whole numbers, such as prices, and few with a decimal point may
            be either, and need it.
        class_names: The names of the classes 0, 1, ... If y has strings, or all names
            are numbers, the values in y in the order of the classes. For labels and
            numbers, a name for each column. By default the distinct values in y,
            sorted, or the columns of y.
        standardize: Whether to subtract each feature's mean over the training set and
            divide by its standard deviation. By default all features are, except
            images of bytes, which are divided by 255.
        seed: The seed of the shuffle that selects the test set.
        feature_names: Names for the columns of an array X, or the columns of a data
            frame to use.
        scale_targets: For regression, whether to train on standardised numbers too.
            Labels, predictions and errors stay in their own units. Only the loss is in
            units of the standard deviations.
        stratify: Whether to select this share of each class for the test set. A class
            with two samples or more is in both parts, and a single sample is trained
            on.
        sample_weight: Weights of the rows of X, at least 0, (n,). In training, a
            sample's gradient and loss are multiplied by its weight, divided by the mean
            weight. Results on test and held-out samples, and the standardisation, are
            not weighted.
        class_weight: "balanced" for weights that make all classes count the same. They
            are multiplied by `sample_weight`.

    Returns:
        The data set.

    Raises:
        DatasetError: A value is NaN or infinite, arrays do not fit together, a weight
            is negative, or there is a single class. The error names the row and column.
        ConfigError: The task or class_weight is unknown, or the seed is out of range.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> from_arrays(X, X[:, 0] > 0, test=0.2)
        Dataset('unnamed', 80 training and 20 test samples of 4 features, 2 classes)
    """
    names = () if feature_names is None else tuple(map(str, feature_names))
    table, (labels, label_names) = table_of(X, "X", names or None), take_labels("y", y)
    held, share = None, 0.0
    if isinstance(test, tuple | list) and len(test) == 2:
        X_test, y_test = (f"{name} of the test set" for name in "Xy")
        wanted = names if table is None else table.names
        inputs = table_of(test[0], X_test, wanted) if wanted else None
        held = Part(
            test[0] if inputs is None else inputs,
            take_labels(y_test, test[1], label_names)[0],
        )
        check_index(*test, y_test)
    elif isinstance(test, float | np.floating) and 0 < test < 1:
        share = float(test)
    elif test is not None:
        fault = "is neither a share above 0 and below 1 nor a test set, (X, y)"
        raise DatasetError(fault, remedy="give one of these, or None", setting="test")
    check_index(X, y, "y")
    check_index(X, sample_weight, "sample_weight")
    classes = None if class_names is None else tuple(map(str, class_names))
    known = Columns(tuple(map(Column, names))) if names and table is None else None
    part = Part(X if table is None else table, labels, weights=sample_weight)
    samples = RawSamples(
        part,
        held,
        "arrays" if table is None else "columns",
        known,
        label_names,
        classes,
    )
    try:
        how = DataOptions(
            test_fraction=share,
            split_seed=seed,
            task=task,
            stratify=stratify,
            scale_targets=scale_targets,
        )
        how = replace(how, class_weight=class_weight)
        return to_dataset(
            samples, backend or open_backend(), how, standardize=standardize
        )
    except MlpXpError as error:
        error.setting = {"test_fraction": "test", "split_seed": "seed"}.get(
            error.setting or "", error.setting
        )
        raise


def check_index(X: Any, y: Any, what: str) -> None:
    """Raise DatasetError if both are of pandas and have the same index in another
    order: their rows go by position.
    """
    ours, theirs = ([*each.index] if hasattr(each, "iloc") else [] for each in (y, X))
    if ours != theirs and {*ours} == {*theirs}:
        name = what.partition(" ")[0]
        remedy = f"give {name}.loc[X.index], or {name}.to_numpy() if the rows belong together as they are"
        raise DatasetError(
            "the index has another order than that of X", remedy=remedy, setting=what
        )


def to_dataset(
    samples: RawSamples,
    backend: Backend,
    how: DataOptions,
    *,
    standardize: bool | None = None,
    trained: Sequence[str] | None = None,
) -> Dataset:
    """Make a data set of samples; see `from_arrays`.

    how: the split, the task, its scaling, and the weights of classes. trained: the
    outputs of a network that is evaluated on the samples; they need not have all its
    classes.
    """
    train, test = samples.train, samples.test
    with samples.naming(train):
        meaning = meaning_of(
            samples, labels_of(samples, train, backend), how.task, trained
        )
        task, y = meaning.task, _labels(samples, train, meaning, backend)
        weights = (
            None
            if train.weights is None
            else read_weights(train.weights, len(y), backend)
        )
        is_split = test is None and (how.cv or how.test_fraction)
        held, left = (
            split_as(how, y, task)
            if is_split
            else (np.zeros(0, np.int64), np.arange(len(y)))
        )
        weights = weights if weights is None else weights[left]
        if how.class_weight:
            weights = balanced_weights(y[left], meaning) * (
                1.0 if weights is None else weights
            )
        if isinstance(table := train.inputs, Table) and samples.columns is None:
            # for a network that was trained on arrays
            plain = Columns(tuple(map(Column, table.names)))
            samples = replace(
                samples,
                columns=Columns.fit(table, left, train.file)
                if trained is None
                else plain,
            )
    x = _features(samples, train, len(y), backend)
    names = samples.columns.feature_names if samples.columns else ()
    if names and len(names) != (features := math.prod(x.shape[1:])):
        fault = f"there are {len(names)} for {features} features"
        raise DatasetError(fault, remedy="give one each", setting="feature_names")
    test_x, test_y = None, None
    if test is not None:
        if how.cv is not None:
            remedy = "give the training set alone, such as its file"
            raise DatasetError(
                "the data have a test set of their own",
                remedy=remedy,
                setting="cv",
                file=test.file,
            )
        with samples.naming(test):
            test_y = _labels(samples, test, meaning, backend)
        test_x = _features(samples, test, len(test_y), backend)
        theirs, ours = (
            f"{described(inputs.shape[1:])} as {dtype_name(inputs)}, with {labels[:1].size} labels each"
            for inputs, labels in ((test_x, test_y), (x, y))
        )
        if theirs != ours:
            setting, fault = (
                None if test.file else "test",
                f"the test set has {theirs}, the training set {ours}",
            )
            raise DatasetError(
                fault, remedy="give the same", setting=setting, file=test.file
            )
    elif is_split:
        parts = (
            (backend.xp.take(x, backend.asarray(which), axis=0), y[which])
            for which in (held, left)
        )
        (test_x, test_y), (x, y) = parts
    if trained is None and task.exclusive and (y == y[0]).all():
        with samples.naming(train):
            fault = f"all {len(y)} rows are of the class {meaning.names[int(y[0])]!r}"
            raise DatasetError(fault, remedy="give at least two classes", setting="y")
    is_image = x.dtype == backend.xp.uint8 and len(x.shape) > 2
    preparation = BYTES
    if standardize is not None:
        preparation = Preparation(PREPARATIONS["unchanged"])
    if standardize or (standardize is None and not is_image):
        dtype = backend.dtype_name
        fitted = _fit(samples, "X", backend.to_numpy(x), names, dtype)
        preparation = Preparation(PREPARATIONS["standardize"], fitted)
    units = None
    if task.floats and how.scale_targets:
        units = Units(*_fit(samples, "y", y, meaning.names, backend.dtype_name))
    signature = Signature(
        input_shape=tuple(x.shape[1:]),
        outputs=meaning.names,
        task=task,
        preparation=preparation,
        columns=samples.columns,
        units=units,
        form=samples.form,
    )
    label_dtype = backend.dtype if task.floats else None
    train_part = Samples(x, backend.asarray(y, label_dtype), weights)
    test_part = None
    if test_y is not None:
        test_part = Samples(test_x, backend.asarray(test_y, label_dtype))
    return Dataset(train_part, test_part, signature, hold_out=hold_out)


def _fit(
    samples: RawSamples,
    what: str,
    values: np.ndarray,
    names: Sequence[str],
    dtype: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of the columns of X or y in a dtype; 1
    for a deviation of 0.
    """
    mean, deviation = _fit_scaling(values, dtype, exact=what == "y")
    file, setting = samples.train.file, None if samples.train.file else what
    warn_if_rounded(mean, deviation, dtype, names, file=file, setting=setting)
    deviation = np.where(deviation, deviation, 1.0)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite
        return mean.astype(dtype), deviation.astype(dtype)


def warn_if_rounded(
    mean: np.ndarray,
    deviation: np.ndarray,
    dtype: str,
    names: Sequence[str] | None,
    **place: Any,
) -> None:
    """Warn of columns whose values are equal, or equal after rounding to a dtype.

    Args:
        mean: The mean of each column.
        deviation: The standard deviation of each column.
        dtype: The dtype.
        names: The names of the columns; None if they have none.
        place: Where they are, as the arguments of an `MlpXpWarning`.
    """
    lost = np.abs(mean) * np.finfo(dtype).eps >= _COARSE * deviation
    if lost.any():
        columns = [names[i] if names else i for i in np.flatnonzero(lost).tolist()]
        fault = f"columns {some(columns, SHOWN)}: the values are equal, or differ in digits that {dtype} rounds away"
        remedy = "leave these columns out" + ", use float64, or subtract the mean" * (
            dtype == "float32"
        )
        warning = MlpXpWarning(fault, remedy=remedy, **place)
        # for the caller of from_arrays, load_dataset, or export_onnx
        warnings.warn(warning, stacklevel=5)


def _fit_scaling(
    values: np.ndarray, dtype: str, *, exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each column, float64 (columns,)
    each.

    values: host numbers (rows, ...); the columns are those of (rows, -1). The sums are
    computed in the dtype, "float32" or "float64"; exact: in float64 and without
    rounding, which is slower. The deviation of equal values is 0.
    """
    rows = len(values)
    columns = values.reshape(rows, -1)
    piece, dtype = (rows, "float64") if exact else (_PIECE, dtype)
    least, most = (
        columns.min(axis=0).astype(np.float64),
        columns.max(axis=0).astype(np.float64),
    )
    # In units of a power of two near the largest number of the column, so that no
    # square over- or underflows.
    exponents = np.frexp(np.maximum(np.abs(least), np.abs(most)))[1]

    def mean_from(origin: np.ndarray, power: int) -> np.ndarray:
        """Return the mean of (x / unit - origin) ** power."""
        sums = []
        for start in range(0, rows, piece):
            x = np.ldexp(columns[start : start + piece].astype(dtype), -exponents)
            terms = (x - origin.astype(dtype)) ** power
            sums.append([*map(math.fsum, terms.T)] if exact else terms.sum(axis=0))
        return np.stack(sums).astype(np.float64).sum(axis=0) / rows

    # From the least value: of large numbers that differ little, a sum would round away
    # the differences, and that of equal ones would not be their mean.
    origin = np.zeros(len(least)) if exact else np.ldexp(least, -exponents)
    mean = origin + mean_from(origin, 1)
    deviation = np.ldexp(np.sqrt(mean_from(mean, 2)), exponents)
    return np.ldexp(mean, exponents), np.where(least == most, 0.0, deviation)


def _labels(
    samples: RawSamples, part: Part, meaning: Meaning, backend: Backend
) -> Labels:
    """Return the labels of a part as `read_labels` does, one for each row of its table.
    Raises DatasetError.
    """
    labels = read_labels(labels_of(samples, part, backend), meaning)
    if meaning.task.floats:
        # refuses numbers that the dtype does not hold
        read_features("y", labels, backend)
    if isinstance(part.inputs, Table):
        _check_rows(len(part.inputs), len(labels))
    return labels


def _features(samples: RawSamples, part: Part, rows: int, backend: Backend) -> Array:
    """Return the inputs of a part on the device. rows: the number of its labels. Raises
    DatasetError.
    """
    with samples.naming(part):
        known = isinstance(part.inputs, Table) and samples.columns
        inputs = read_features(
            "X", known.features(part.inputs) if known else part.inputs, backend
        )
        _check_rows(inputs.shape[0], rows)
    return inputs


def _check_rows(rows: int, labels: int) -> None:
    if labels != rows:
        fault = f"it has {rows} rows, but there are {labels} labels"
        raise DatasetError(fault, remedy="give one for each row", setting="X")
