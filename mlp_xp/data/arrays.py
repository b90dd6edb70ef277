"""Samples to a data set: features, labels of a task, a test set, standardisation.

Everything that would train to nonsense is refused here, with its row and column: NaN, a single class, other lengths.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import BYTES, MOST_NAMES, PREPARATIONS, Dataset, Preparation, split
from mlp_xp.core.functional import Array
from mlp_xp.core.inputs import columns_of, dtype_name, not_of, on_host, read_features, take_columns
from mlp_xp.core.library import Backend
from mlp_xp.data.facts import Facts, first_difference
from mlp_xp.data.labels import SHOWN, Meaning, labels_of, meaning_of
from mlp_xp.data.origin import Origin
from mlp_xp.data.samples import Part, Samples
from mlp_xp.data.scaling import fit_standardization, fit_targets
from mlp_xp.data.sums import sum_of
from mlp_xp.errors import DatasetError, DatasetWarning, MlpXpError, some


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
    """Make a data set of features X and labels y.

    Both may be NumPy arrays, lists, tables of pandas, or arrays on the backend's device. Bytes stay bytes on the
    device; everything else becomes the backend's floats.

    X: integers or floats, (n, features) or (n, rows, columns[, channels]). y: integers or strings (n,) for classes;
    integers 0 and 1 (n, labels) for several labels at once; floats (n,) or (n, outputs) for regression. task:
    "classes", "labels" or "regression", if it is another one than y looks like. Many whole numbers, such as prices, and
    few with a decimal point may be either, and need it.

    test: the test set as (X, y); or the share of the samples, above 0 and below 1, that a shuffle with `seed` selects
    for it; None for no test set. Columns of tables are found by their names. stratify: select this share of each class;
    a class with two samples or more is in both parts, and a single sample is trained on.

    class_names: the names of the classes 0, 1, ..., or, if classes are strings, their order; for labels and numbers, a
    name for each column. By default the distinct values in y, sorted, or the columns of y. feature_names: the columns
    of X, for messages and `Model.predict`; by default those of a table. backend: by default NumPy in float64.

    standardize: whether to subtract each feature's mean over the training set and divide by its standard deviation. By
    default all features are, except images of bytes, which are divided by 255. False: the features as they are.
    scale_targets: for regression, train on standardised numbers too. Labels, predictions and errors stay in their own
    units; only the loss is in units of the standard deviations.

    Raises DatasetError, which names the row and column, for a value that is NaN or infinite, for arrays that do not fit
    together, and for a single class; ConfigError for an unknown task or a seed out of range. Gives a DatasetWarning for
    constant features, from which nothing is learned.
    """
    backend = backend or open_backend()
    columns, labels = columns_of("X", X), columns_of("y", y)
    names = columns if feature_names is None else tuple(map(str, feature_names))
    names = names if len(names) <= MOST_NAMES else ()
    held, share = None, 0.0
    if isinstance(test, tuple | list):
        if len(test) != 2:
            raise DatasetError(f"it has {len(test)} parts", remedy="give the test set as (X, y)", setting="test")
        part = " of the test set"
        test_X = take_columns(f"X{part}", test[0], columns, backend)
        held = Part(test_X, take_columns(f"y{part}", test[1], labels, backend), name=part)
    elif test is not None:
        if not isinstance(test, float | np.floating) or not 0 < test < 1:
            remedy = "give a share above 0 and below 1, the test set itself as (X, y), or None"
            raise DatasetError(f"{test!r:.80} is not a test set", remedy=remedy, setting="test")
        share = float(test)
    classes = None if class_names is None else tuple(map(str, class_names))
    samples = Samples(Part(X, y), held, "arrays", names, labels, classes)
    try:
        how = Origin(test_fraction=share, split_seed=seed, task=task, stratify=stratify, scale_targets=scale_targets)
        return to_dataset(samples, backend, how, standardize=standardize)
    except MlpXpError as error:
        error.setting = {"test_fraction": "test", "split_seed": "seed"}.get(error.setting or "", error.setting)
        raise


class _Read(NamedTuple):
    """A part of a data set."""

    inputs: Array
    """On the device."""
    labels: np.ndarray
    source: np.ndarray | None
    """The inputs before they were cast, on the host; None for bytes, and for arrays on the device."""


def to_dataset(samples: Samples, backend: Backend, how: Origin, *, standardize: bool | None = None) -> Dataset:
    """Make a data set of samples. how: the split, the task and its scaling. See `from_arrays`."""
    with samples.naming(samples.train):
        meaning = meaning_of(samples, labels_of(samples, samples.train, backend), how.task)
    task, train = meaning.task, read_part(samples, samples.train, meaning, backend)
    features = math.prod(train.inputs.shape[1:])
    if samples.feature_names and len(samples.feature_names) != features:
        fault = f"there are {len(samples.feature_names)} for {features} features"
        raise DatasetError(fault, remedy="give one each", setting="feature_names")
    parts = _two_parts(samples, train, meaning, backend, how)
    train, found = parts[0], [_warning_of_labels(samples, parts[0].labels, meaning)]
    is_image = train.inputs.dtype == backend.xp.uint8 and len(train.inputs.shape) > 2
    prepare = BYTES
    if standardize or (standardize is None and not is_image):
        # NumPy does it for arrays of the host, so that a table is seen alike by all libraries, to the last bit.
        on_device = not_of(samples.train.inputs, backend) is None
        home = backend if on_device else open_backend("numpy", dtype=backend.dtype_name)
        fitted, constant = fit_standardization(train.inputs if on_device else backend.to_numpy(train.inputs), home)
        prepare = Preparation(PREPARATIONS["standardize"], fitted if on_device else tuple(map(backend.asarray, fitted)))
        found.append(_warning_of_features(samples, constant))
    elif standardize is False:
        prepare = Preparation(PREPARATIONS["unchanged"])
    for warning in filter(None, found):
        warnings.warn(warning, stacklevel=3)  # for the caller of from_arrays, or load_dataset
    with np.errstate(over="ignore"):  # reported by `checks`
        labels = [backend.asarray(each.labels, backend.dtype if task.floats else None) for each in parts]
    dataset = Dataset(
        train_inputs=train.inputs,
        train_labels=labels[0],
        test_inputs=parts[1].inputs if len(parts) > 1 else None,
        test_labels=labels[1] if len(parts) > 1 else None,
        class_names=meaning.names,
        prepare=prepare,
        task=task,
        inputs=samples.kind,
        feature_names=samples.feature_names,
        scaling=fit_targets(train.labels, backend) if task.floats and how.scale_targets else (),
        is_own=samples.is_own,
    )
    if backend.dtype_name == "float64" or (train.source is None and not task.floats):
        return dataset
    read = [array for each in parts for array in (each.inputs if each.source is None else each.source, each.labels)]
    return dataset._replace(read_as=(sum_of(dataset[:4], backend), sum_of(read, backend)))


def _two_parts(samples: Samples, train: _Read, meaning: Meaning, backend: Backend, how: Origin) -> list[_Read]:
    """Return the training set and, if there is one, the test set: that of the files, or a share of the samples."""
    if samples.test is not None:
        test = read_part(samples, samples.test, meaning, backend)
        _check_alike(samples, train, test)
        return [train, test]
    if not how.test_fraction:
        return [train]
    rows = len(train.labels)
    if not 0 < round(how.test_fraction * rows) < rows:
        fault = f"{how.test_fraction!r:.80} of {rows} rows leaves one part empty"
        raise DatasetError(fault, remedy="give another share", setting="test_fraction")
    with samples.naming(samples.train):
        classes = train.labels if how.stratify and meaning.task.exclusive else None
        chosen, left = split(classes, rows, how.test_fraction, how.split_seed)

    def taken(which: np.ndarray) -> _Read:
        inputs = backend.xp.take(train.inputs, backend.asarray(which), axis=0)
        return _Read(inputs, train.labels[which], None if train.source is None else train.source[which])

    return [taken(left), taken(chosen)]


def read_part(samples: Samples, part: Part, meaning: Meaning, backend: Backend) -> _Read:
    """Read the inputs and labels of a part. Raises DatasetError, which names its file."""
    X, names = part.inputs, samples.feature_names
    with samples.naming(part):
        X = on_host("X", X, backend, names) if not_of(X, backend) else X
        inputs = read_features("X", X, backend, names)
        labels = meaning.read(labels_of(samples, part, backend))
        if len(labels) != inputs.shape[0]:
            fault = f"it has {inputs.shape[0]} rows, but there are {len(labels)} labels"
            raise DatasetError(fault, remedy="give one for each row", setting="X")
    return _Read(inputs, labels, X if isinstance(X, np.ndarray) and X.dtype != np.uint8 else None)


def _check_alike(samples: Samples, train: _Read, test: _Read) -> None:
    ours, theirs = (
        Facts(shape=tuple(x.shape[1:]), are_bytes="uint8" in dtype_name(x), outputs=tuple(map(str, range(y[:1].size))))
        for x, y, _ in (train, test)
    )
    if found := first_difference(ours, theirs):
        assert samples.test is not None
        raise DatasetError(
            f"the test set has {found.theirs}, the training set {found.ours}",
            remedy="give the same",
            setting=None if samples.test.file else "test",
            file=samples.test.file,
        )


def _warning_of_labels(samples: Samples, labels: np.ndarray, meaning: Meaning) -> DatasetWarning | None:
    """Return a warning of classes without samples, and of constant outputs. Raises DatasetError for a single class."""
    names = meaning.names
    if meaning.task.exclusive:
        counts = np.bincount(labels, minlength=len(names))
        if (counts > 0).sum() < 2:
            with samples.naming(samples.train):
                fault = f"all {len(labels)} rows are of the class {names[int(labels[0])]!r}"
                raise DatasetError(fault, remedy="give at least two classes", setting="y")
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        text = f"no training sample is of the class {some(missing, SHOWN)}; a network cannot learn it"
    else:
        missing = [name for name, same in zip(names, (labels == labels[0]).all(axis=0), strict=True) if same]
        text = f"the output {some(missing, SHOWN)} is the same in all rows; check where the labels are read from"
    return _warning(samples, "y", text) if missing else None


def _warning_of_features(samples: Samples, constant: np.ndarray) -> DatasetWarning | None:
    if not constant.any():
        return None
    places = np.argwhere(constant).tolist()
    if constant.ndim == 1:
        shown = some([samples.feature_names[i] if samples.feature_names else i for (i,) in places], SHOWN)
        what = f"column {shown}" if len(places) == 1 else f"columns {shown}"
    else:
        what = f"pixels {some([*map(tuple, places)], SHOWN)}"
    return _warning(samples, "X", f"{what}: the same value in all training samples, from which nothing is learned")


def _warning(samples: Samples, what: str, text: str) -> DatasetWarning:
    file = samples.train.file
    return DatasetWarning(text, file=file, setting=None if file else what)
