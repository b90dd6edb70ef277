"""Make data sets of arrays and tables.

Features are read and standardised, labels get a task, and a test set is chosen. Data
that would train to nonsense are refused here with the row and column. Examples are NaN,
a single class, or different lengths.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import dtype_name, read_features
from mlp_xp.backends.opening import as_backend
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
    labelled_rows,
    labels_of,
    meaning_of,
    read_labels,
)
from mlp_xp.data._splitting import hold_out, split_as
from mlp_xp.data._weights import balanced_weights, read_weights
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.frames import read_as_text, table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table import Table
from mlp_xp.errors import (
    Argument,
    DatasetError,
    MlpXpError,
    MlpXpWarning,
    check_type,
    some,
    warn,
)

_PIECE = 4096  # rows to add up together, so that only a part of the rows is copied
# the largest distance of neighbouring numbers of a dtype, in standard deviations
_COARSE = 1e-3


def from_arrays(
    X: Any,
    y: Any,
    test: float | tuple[Any, Any] | None = None,
    *,
    backend: Backend | str | None = None,
    task: str | None = None,
    class_names: Sequence[str] | None = None,
    standardize: bool | None = None,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    text: Sequence[str] | None = None,
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

    Gives an MlpXpWarning for columns to standardise if their values are equal, or
    differ in digits that the backend's dtype rounds away.

    Args:
        X: Integers or floats, (n, features) or (n, rows, columns[, channels]). Or a
            data frame of numbers, text, dates and gaps. Its columns become features as
            in `data.columns.Columns`, fitted to all rows but the test set.
        y: Strings or integers (n,) for classes; integers 0 and 1 (n, labels) for
            several labels at once; floats (n,) or (n, outputs) for regression. Or a
            data frame, or a column of a data frame.
        test: The test set as (X, y). Or the share of the samples, above 0 and below 1,
            to select by a shuffle with `seed`. None for no test set.
        backend: Where the arrays are: a backend, or the name of a library. By default
            they are NumPy's, in float64.
        task: "classes", "labels" or "regression". By default, y decides: text means
            classes, numbers with decimals mean regression, and several columns of 0 and
            1 mean labels. Two different whole numbers mean classes, and whole numbers
            of which one is in a single row mean regression. For others the task is
            needed.
        class_names: The names of the classes 0, 1, ... If y has strings, or all names
            are numbers, the names are the values in y, in the order of the classes. For
            labels and numbers, a name for each column. By default the distinct values
            in y, sorted, or the columns of y.
        standardize: Whether to subtract each feature's mean over the training set and
            divide by its standard deviation. By default all features are standardised,
            except images of bytes. These are divided by 255.
        seed: The seed of the shuffle that selects the test set.
        feature_names: Names for the columns of an array X, or the columns of a data
            frame to use.
        text: Columns of a data frame to read as text, even if they are numbers.
        scale_targets: For regression, whether to train on standardised numbers too.
            Labels, predictions and errors stay in their own units. Only the loss is in
            units of the standard deviations.
        stratify: Whether to select the same share of each class for the test set. A
            class with two samples or more is in both parts. The only sample of a class
            is trained on.
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
            is negative, names are not in a list, or there is a single class. The error
            names the row and column.
        ConfigError: The task or class_weight is unknown, or the seed is out of range.

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(100, 4))
        >>> from_arrays(X, X[:, 0] > 0, test=0.2)
        Dataset('unnamed', 80 training and 20 test samples of 4 features, 2 classes)
    """
    names = _names("feature_names", feature_names) or ()
    table = table_of(X, "X", names or None)
    text_names = _names("text", text)
    if text_names:
        if table is None:
            fault = "an array has no names of columns"
            raise DatasetError(fault, remedy="give a data frame", setting="text")
        table = read_as_text(table, text_names)
    labels, label_names = take_labels("y", y)
    test_part, share = None, 0.0
    if isinstance(test, tuple | list) and len(test) == 2:
        wanted = names if table is None else table.names
        test_part = _test_part(*test, wanted, label_names)
    elif isinstance(test, float | np.floating) and 0 < test < 1:
        share = float(test)
    elif test is not None:
        raise DatasetError(
            "is neither a share above 0 and below 1 nor a test set, (X, y)",
            remedy="give one of these, or None",
            setting="test",
        )
    check_index(X, y, "y")
    check_index(X, sample_weight, "sample_weight")
    inputs, form, columns = X, "arrays", None
    if table is not None:
        inputs, form = table, "columns"
    elif names:
        columns = _as_they_are(names)
    samples = RawSamples(
        Part(inputs, labels, weights=sample_weight),
        test_part,
        form,
        columns,
        label_names,
        class_names=_names("class_names", class_names),
    )
    try:
        how = DataOptions(
            test_fraction=share,
            split_seed=seed,
            task=task,
            stratify=stratify,
            scale_targets=scale_targets,
            class_weight=class_weight,
        )
        remedy = "give True, False or None"
        check_type(standardize, bool | None, "standardize", remedy)
        return to_dataset(samples, as_backend(backend), how, standardize=standardize)
    except MlpXpError as error:
        renamed = {"test_fraction": "test", "split_seed": "seed"}
        error.setting = renamed.get(error.setting or "", error.setting)
        if isinstance(error.remedy, tuple):
            none = Argument("test_fraction", 0)
            error.remedy = tuple(
                "test=None" if word == none else word for word in error.remedy
            )
        raise


def _test_part(
    X: Any, y: Any, wanted: Sequence[str], label_names: Sequence[str]
) -> Part:
    X_name, y_name = "X of the test set", "y of the test set"
    table = table_of(X, X_name, wanted) if wanted else None
    labels, _ = take_labels(y_name, y, label_names)
    check_index(X, y, y_name)
    return Part(X if table is None else table, labels)


def _names(setting: str, given: Any) -> tuple[str, ...] | None:
    """Return names as text. Raises DatasetError for names without an order."""
    if given is None:
        return None
    has_no_order = isinstance(given, str | bytes | Mapping | set | frozenset)
    if has_no_order or not isinstance(given, Iterable):
        fault = f"{given!r:.60} is not a list"
        raise DatasetError(fault, remedy="give the names in a list", setting=setting)
    return tuple(map(str, given))


def _as_they_are(names: Sequence[str]) -> Columns:
    """Return columns of numbers to which nothing is fitted."""
    return Columns(tuple(map(Column, names)))


def check_index(X: Any, y: Any, what: str) -> None:
    """Refuse data of pandas with the same index in another order.

    Their rows belong together by position. Raises DatasetError.
    """
    ours, theirs = _index_of(y), _index_of(X)
    if ours != theirs and set(ours) == set(theirs):
        name = what.partition(" ")[0]
        choice = f"give {name}.loc[X.index], or {name}.to_numpy()"
        raise DatasetError(
            "the index is in another order than in X",
            remedy=f"{choice} if the rows belong together as they are",
            setting=what,
        )


def _index_of(values: Any) -> list[Any]:
    return list(values.index) if hasattr(values, "iloc") else []


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
    outputs of a network that is evaluated on the samples. The samples need not have all
    its classes.
    """
    if how.drop_unlabelled:
        samples = _with_labels(samples, backend, warned=trained is not None)
    train, test = samples.train, samples.test
    with samples.naming(train):
        raw_labels = labels_of(samples, train, backend)
        meaning = meaning_of(samples, raw_labels, how.task, trained)
        task, outputs = meaning.task, meaning.names
        y = _labels(raw_labels, train, meaning, backend)
        test_rows, train_rows = None, np.arange(len(y))
        if test is None and (how.cv or how.test_fraction):
            test_rows, train_rows = split_as(how, y, task)
        weights = None
        if train.weights is not None:
            weights = read_weights(train.weights, len(y), backend)[train_rows]
        if how.class_weight:
            balanced = balanced_weights(y[train_rows], meaning)
            weights = balanced if weights is None else balanced * weights
        if samples.columns is None and isinstance(train.inputs, Table):
            if trained is None:
                columns, table = Columns.fit_table(train.inputs, train_rows, train.file)
                train = train._replace(inputs=table)
            else:
                # the network was trained on arrays
                columns = _as_they_are(train.inputs.names)
            samples = replace(samples, train=train, columns=columns)
    features = _host_features(samples, train, is_new=trained is None)
    if train.file is not None and isinstance(train.inputs, Table):
        # The text of a file takes more memory than all else. Errors need its lines.
        train = train._replace(inputs=replace(train.inputs, columns=()))
        samples = replace(samples, train=train)
    x = _on_device(samples, train, features, len(y), backend)
    del features
    column_names = _column_names(samples, x)

    test_x, test_y = None, None
    if test is not None:
        test_x, test_y = _read_test(samples, test, how, meaning, backend)
        _check_test(test, _in_words(test_x, test_y), _in_words(x, y))
    elif test_rows is not None:
        take, numbers = backend.xp.take, backend.asarray
        test_x, test_y = take(x, numbers(test_rows), axis=0), y[test_rows]
        x, y = take(x, numbers(train_rows), axis=0), y[train_rows]
    if trained is None and task.exclusive:
        with samples.naming(train):
            _check_classes(y, outputs)

    is_image = x.dtype == backend.xp.uint8 and len(x.shape) > 2
    dtype = backend.dtype_name
    if standardize or (standardize is None and not is_image):
        fitted = _fit(samples, "X", backend.to_numpy(x), column_names, dtype)
        preparation = Preparation(PREPARATIONS["standardize"], fitted)
    elif standardize is None:
        preparation = BYTES
    else:
        preparation = Preparation(PREPARATIONS["unchanged"])
    units = None
    if task.standardizes and how.scale_targets:
        units = Units(*_fit(samples, "y", y, outputs, dtype))
    signature = Signature(
        input_shape=tuple(x.shape[1:]),
        outputs=outputs,
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


def _check_classes(y: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise DatasetError if all training labels are of one class."""
    if (y == y[0]).all():
        raise DatasetError(
            f"all {len(y)} training rows are of the class {class_names[int(y[0])]!r}",
            remedy="give at least two classes",
            setting="y",
        )


def _with_labels(samples: RawSamples, backend: Backend, *, warned: bool) -> RawSamples:
    """Return samples without the rows of tables that have no label.

    warned: whether an MlpXpWarning gives the number of these rows. Otherwise the notes
    of the table give it. Raises DatasetError if no row is left.
    """
    train = _labelled(samples, samples.train, backend, warned)
    test = samples.test
    if test is not None:
        test = _labelled(samples, test, backend, warned)
    return replace(samples, train=train, test=test)


def _labelled(samples: RawSamples, part: Part, backend: Backend, warned: bool) -> Part:
    """Return the rows of a part that have a label, if it has a table."""
    table, count = part.inputs, len(part.labels)
    if not isinstance(table, Table) or len(table) != count:
        return part
    with samples.naming(part):
        rows = labelled_rows(samples, part, backend)
    left_out = count - len(rows)
    if not left_out:
        return part
    if warned:
        fault = f"{left_out} of {count} rows are left out: they have no label"
        warn(MlpXpWarning(fault, file=part.file))
    notes = [table.notes, f"{left_out} rows without a label left out"]
    table = replace(table.take(rows), notes=", ".join(filter(None, notes)))
    weights = part.weights
    if weights is not None:
        weights = np.asarray(weights)[rows]
    labels = np.asarray(part.labels)[rows]
    return part._replace(inputs=table, labels=labels, weights=weights)


def _column_names(samples: RawSamples, x: Array) -> Sequence[str]:
    """Return the column of each feature, () if they have no names.

    Raises DatasetError.
    """
    names = list[str]()
    if samples.columns:
        for column in samples.columns.columns:
            names += [column.name] * len(column.feature_names)
    count = math.prod(x.shape[1:])
    if names and len(names) != count:
        raise DatasetError(
            f"there are {len(names)} for {count} features",
            remedy="give one each",
            setting="feature_names",
        )
    return names


def _read_test(
    samples: RawSamples,
    test: Part,
    how: DataOptions,
    meaning: Meaning,
    backend: Backend,
) -> tuple[Array, Labels]:
    """Return the inputs and labels of a test set. Raises DatasetError."""
    if how.cv is not None:
        raise DatasetError(
            "the data have a test set of their own",
            remedy="give the training set alone, such as its file",
            setting="cv",
            file=test.file,
        )
    with samples.naming(test):
        raw_labels = labels_of(samples, test, backend)
        y = _labels(raw_labels, test, meaning, backend)
    features = _host_features(samples, test, is_new=True)
    return _on_device(samples, test, features, len(y), backend), y


def _check_test(test: Part, theirs: str, ours: str) -> None:
    """Raise DatasetError if the arrays of the test set are of another kind."""
    if theirs != ours:
        raise DatasetError(
            f"the test set has {theirs}, the training set {ours}",
            remedy="give the same",
            setting=None if test.file else "test",
            file=test.file,
        )


def _in_words(x: Array, y: Labels) -> str:
    """Describe arrays, as in `images of 28 x 28 as uint8, with 1 labels each`."""
    inputs = f"{described(x.shape[1:])} as {dtype_name(x)}"
    return f"{inputs}, with {y[:1].size} labels each"


def _fit(
    samples: RawSamples,
    what: str,
    values: np.ndarray,
    names: Sequence[str],
    dtype: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each column of X or y, in a dtype.

    A deviation of 0 becomes 1.
    """
    mean, deviation = _fit_scaling(values, dtype, exact=what == "y")
    file = samples.train.file
    setting = None if file else what
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
    """Warn of columns whose values are equal, or become equal in a dtype.

    names: the names of the columns, if they have any. place: where the columns are, as
    arguments of an `MlpXpWarning`.
    """
    is_lost = np.abs(mean) * np.finfo(dtype).eps >= _COARSE * deviation
    rounded = f"the rows differ in digits that {dtype} rounds away"
    remedy = "leave these columns out, use float64, or subtract the mean"
    for lost, reason, advice in (
        (
            is_lost & (deviation == 0),
            f"all training rows have the same value in {dtype}",
            "",
        ),
        (is_lost & (deviation > 0), rounded, remedy),
    ):
        columns: list[Any] = np.flatnonzero(lost).tolist()
        if names:
            columns = list(dict.fromkeys(names[i] for i in columns))
        if columns:
            fault = f"columns {some(columns, SHOWN)}: {reason}"
            warn(MlpXpWarning(fault, remedy=advice, **place))


def _fit_scaling(
    values: np.ndarray, dtype: str, *, exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each column, float64 (columns,) each.

    values: numbers on the host, (rows, ...), with columns as in (rows, -1). The sums
    are computed in the dtype, "float32" or "float64". exact: whether to sum in float64
    and without rounding. This is slower. The deviation of equal values is 0.
    """
    rows = len(values)
    columns = values.reshape(rows, -1)
    piece = _PIECE
    if exact:
        piece, dtype = rows, "float64"
    least = columns.min(axis=0).astype(np.float64)
    most = columns.max(axis=0).astype(np.float64)
    # In units of a power of two near the largest number of the column, so that no
    # square over- or underflows.
    exponents = np.frexp(np.maximum(np.abs(least), np.abs(most)))[1]

    def mean_from(origin: np.ndarray, power: int) -> np.ndarray:
        """Return the mean of (x / unit - origin) ** power."""
        sums: list[Any] = []
        for start in range(0, rows, piece):
            x = np.ldexp(
                columns[start : start + piece].astype(dtype, copy=False), -exponents
            )
            terms = (x - origin.astype(dtype)) ** power
            if exact:
                sums.append([*map(math.fsum, terms.T)])
            else:
                sums.append(terms.sum(axis=0))
        return np.stack(sums).astype(np.float64).sum(axis=0) / rows

    # Sums with rounding are of distances from the least value. A sum of large numbers
    # would round away small differences, and the mean of equal numbers might differ
    # from them.
    origin = np.zeros(len(least)) if exact else np.ldexp(least, -exponents)
    mean = origin + mean_from(origin, 1)
    deviation = np.ldexp(np.sqrt(mean_from(mean, 2)), exponents)
    return np.ldexp(mean, exponents), np.where(least == most, 0.0, deviation)


def _labels(
    raw_labels: Labels, part: Part, meaning: Meaning, backend: Backend
) -> Labels:
    """Return the labels of a part as `read_labels` does, one for each row of its table.

    Raises DatasetError.
    """
    labels = read_labels(raw_labels, meaning)
    if meaning.task.floats:
        # to refuse numbers beyond the range of the dtype
        read_features("y", labels, backend)
    if isinstance(part.inputs, Table):
        _check_rows(len(part.inputs), len(labels))
    return labels


def _host_features(samples: RawSamples, part: Part, *, is_new: bool) -> Any:
    """Return the features of a table, and other inputs of a part as they are.

    is_new: whether a network will be trained on them. Raises DatasetError.
    """
    with samples.naming(part):
        if samples.columns and isinstance(part.inputs, Table):
            has_options = is_new and part.file is not None
            return samples.columns.features(
                part.inputs, has_options=has_options, tells_gaps=not is_new
            )
        return part.inputs


def _on_device(
    samples: RawSamples, part: Part, features: Any, rows: int, backend: Backend
) -> Array:
    """Return the features of a part on the device.

    rows: the number of its labels. Raises DatasetError.
    """
    with samples.naming(part):
        x = read_features("X", features, backend)
        _check_rows(x.shape[0], rows)
    return x


def _check_rows(rows: int, labels: int) -> None:
    if labels != rows:
        raise DatasetError(
            f"it has {rows} rows, but there are {labels} labels",
            remedy="give one for each row",
            setting="X",
        )
