"""Samples to a data set: features, labels of a task, a test set, standardisation.

Everything that would train to nonsense is refused here, with its row and column: NaN, a single class, other lengths.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.reading import columns_of, error_at, find_columns, not_of, read_features, take_columns
from mlp_xp.core.dataset import BYTES, PREPARATIONS, Dataset, Preparation, described
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend, dtype_name
from mlp_xp.data.labels import SHOWN, Meaning, labels_of, meaning_of
from mlp_xp.data.origin import Origin
from mlp_xp.data.samples import Part, Samples
from mlp_xp.data.scaling import fit_standardization, fit_targets
from mlp_xp.data.splitting import hold_out, split
from mlp_xp.errors import DatasetError, DatasetWarning, MlpXpError, some

# If all pixels are below this value, no pixel uses the highest bit. Images with fewer than 8 bits always stay below it
# (4 bits: 15, scikit-learn's digits: 16); 8-bit images reach it with any bright stroke.
DIM = 128
COARSE = 1e-3  # the largest distance of neighbouring numbers of a dtype, in standard deviations


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
    constant features, from which nothing is learned, and for images whose pixels are all below 128.
    """
    columns, labels = columns_of(X), columns_of(y)
    find_columns(columns, columns, "X")
    find_columns(labels, labels, "y")
    held, share, part = None, 0.0, " of the test set"
    if isinstance(test, tuple | list):
        if len(test) != 2:
            raise DatasetError(f"it has {len(test)} parts", remedy="give the test set as (X, y)", setting="test")
        test_X, test_y = take_columns(f"X{part}", test[0], columns), take_columns(f"y{part}", test[1], labels)
        held = Part(test_X, test_y, name=part)
    elif test is not None:
        if not isinstance(test, float | np.floating) or not 0 < test < 1:
            remedy = "give a share above 0 and below 1, the test set itself as (X, y), or None"
            raise DatasetError(f"{test!r:.80} is not a test set", remedy=remedy, setting="test")
        share = float(test)
    names = columns if feature_names is None else tuple(map(str, feature_names))
    classes = None if class_names is None else tuple(map(str, class_names))
    samples = Samples(Part(X, y), held, "arrays", names, labels, classes)
    try:
        how = Origin(test_fraction=share, split_seed=seed, task=task, stratify=stratify, scale_targets=scale_targets)
        return to_dataset(samples, backend or open_backend(), how, standardize=standardize)
    except MlpXpError as error:
        error.setting = {"test_fraction": "test", "split_seed": "seed"}.get(error.setting or "", error.setting)
        raise


class Read(NamedTuple):
    """A part of a data set."""

    inputs: Array
    """On the device."""
    labels: np.ndarray
    """On the host."""

    def on(self, backend: Backend, meaning: Meaning) -> tuple[Array, Array]:
        """Return both on the device."""
        return self.inputs, backend.asarray(self.labels, backend.dtype if meaning.task.floats else None)


def to_dataset(samples: Samples, backend: Backend, how: Origin, *, standardize: bool | None = None) -> Dataset:
    """Make a data set of samples. how: the split, the task and its scaling. See `from_arrays`."""
    with samples.naming(samples.train):
        meaning = meaning_of(samples, labels_of(samples, samples.train, backend), how.task)
    whole = read_part(samples, samples.train, meaning, backend)
    features = math.prod(whole.inputs.shape[1:])
    if samples.feature_names and len(samples.feature_names) != features:
        fault = f"there are {len(samples.feature_names)} for {features} features"
        raise DatasetError(fault, remedy="give one each", setting="feature_names")
    train, test = _two_parts(samples, whole, meaning, backend, how)
    if text := _doubt_about_labels(samples, train.labels, meaning):
        _warn(samples, "y", text)
    is_image = train.inputs.dtype == backend.xp.uint8 and len(train.inputs.shape) > 2
    prepare = Preparation(PREPARATIONS["unchanged"])
    if standardize or (standardize is None and not is_image):
        # NumPy does it for arrays of the host, so that a table is seen alike by all libraries, to the last bit.
        on_device = not_of(samples.train.inputs, backend) is None
        home = backend if on_device else open_backend("numpy", dtype=backend.dtype_name)
        fitted, constant = fit_standardization(train.inputs if on_device else backend.to_numpy(train.inputs), home)
        prepare = Preparation(PREPARATIONS["standardize"], fitted if on_device else tuple(map(backend.asarray, fitted)))
        if constant.any():
            what = f"{_shown(constant, samples.feature_names)}: the same value in all training samples"
            _warn(samples, "X", f"{what}, from which nothing is learned")
        if (coarse := _coarse(fitted, home).reshape(constant.shape) & ~constant).any():
            _warn(samples, "X", f"{_shown(coarse, samples.feature_names)}: {_rounded(backend)}")
    elif standardize is None:
        prepare = BYTES
        if (brightest := backend.to_numpy(backend.xp.max(train.inputs)).item()) < DIM:
            text = (
                f"the pixels are at most {brightest}, where up to 255 is expected; the network learns slowly or badly"
            )
            _warn(samples, "X", f"{text}; rescale all images so that the largest pixel is 255")
    scaling = fit_targets(train.labels, backend) if meaning.task.floats and how.scale_targets else ()
    if scaling and _coarse(scaling, backend).any():
        _warn(samples, "y", _rounded(backend))
    dataset = Dataset(
        *train.on(backend, meaning),
        None,
        None,
        meaning.names,
        prepare=prepare,
        task=meaning.task,
        inputs=samples.kind,
        feature_names=samples.feature_names,
        scaling=scaling,
        hold_out=hold_out if samples.is_own else None,
    )
    if test is None:
        return dataset
    test_inputs, test_labels = test.on(backend, meaning)
    return dataset._replace(test_inputs=test_inputs, test_labels=test_labels)


def _coarse(fitted: tuple[Array, Array], backend: Backend) -> np.ndarray:
    """Return which columns lose what they differ by in the backend's dtype, bool (n,). fitted: means and deviations."""
    mean, deviation = (np.abs(backend.to_numpy(each)).astype(np.float64) for each in fitted)
    return np.asarray(mean * np.finfo(backend.dtype_name).eps > COARSE * deviation)


def _rounded(backend: Backend) -> str:
    return f"the values differ in digits that {backend.dtype_name} rounds away; use float64, or subtract their mean"


def _two_parts(
    samples: Samples, train: Read, meaning: Meaning, backend: Backend, how: Origin
) -> tuple[Read, Read | None]:
    """Return the training set and, if there is one, the test set: that of the files, or a share of the samples."""
    if samples.test is not None:
        test = read_part(samples, samples.test, meaning, backend)
        facts = ([described(x.shape[1:]), dtype_name(x), f"{y[:1].size} labels each"] for x, y in (train, test))
        for ours, theirs in zip(*facts, strict=True):
            if ours != theirs:
                setting, file = None if samples.test.file else "test", samples.test.file
                fault = f"the test set has {theirs}, the training set {ours}"
                raise DatasetError(fault, remedy="give the same", setting=setting, file=file)
        return train, test
    if not how.test_fraction:
        return train, None
    rows = len(train.labels)
    if not 0 < round(how.test_fraction * rows) < rows:
        fault = f"{how.test_fraction!r:.80} of {rows} rows leaves one part empty"
        raise DatasetError(fault, remedy="give another share", setting="test_fraction")
    with samples.naming(samples.train):
        classes = train.labels if how.stratify and meaning.task.exclusive else None
        chosen, left = split(classes, rows, how.test_fraction, how.split_seed)
    of_test, of_train = (
        Read(backend.xp.take(train.inputs, backend.asarray(which), axis=0), train.labels[which])
        for which in (chosen, left)
    )
    return of_train, of_test


def read_part(samples: Samples, part: Part, meaning: Meaning, backend: Backend) -> Read:
    """Read the inputs and labels of a part. Raises DatasetError, which names its file."""
    with samples.naming(part):
        inputs, labels = read_features("X", part.inputs, backend), meaning.read(labels_of(samples, part, backend))
        with np.errstate(over="ignore"):
            wrong = np.argwhere(~np.isfinite(labels.astype(backend.dtype_name)))
        if len(wrong):
            fault = f"the label {labels[tuple(wrong[0])]} is too large for {backend.dtype_name}"
            raise error_at("y", wrong[0], fault, "give numbers of another unit")
        if len(labels) != inputs.shape[0]:
            fault = f"it has {inputs.shape[0]} rows, but there are {len(labels)} labels"
            raise DatasetError(fault, remedy="give one for each row", setting="X")
    return Read(inputs, labels)


def _doubt_about_labels(samples: Samples, labels: np.ndarray, meaning: Meaning) -> str:
    """Return what may be wrong with the labels of a training set, or "". Raises DatasetError for a single class."""
    names = meaning.names
    if not meaning.task.exclusive:
        same = [name for name, same in zip(names, (labels == labels[0]).all(axis=0), strict=True) if same]
        text = f"the output {some(same, SHOWN)} is the same in all rows; check where the labels are read from"
        return text if same else ""
    counts = np.bincount(labels, minlength=len(names))
    if (counts > 0).sum() < 2:
        with samples.naming(samples.train):
            fault = f"all {len(labels)} rows are of the class {names[int(labels[0])]!r}"
            raise DatasetError(fault, remedy="give at least two classes", setting="y")
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    text = f"no training sample is of the class {some(missing, SHOWN)}; a network cannot learn it"
    return text if missing else ""


def _shown(which: np.ndarray, columns: Sequence[str]) -> str:
    """Return which features these are, for a message: `column 'age'`, `columns 1, 2`, or `pixels (0, 3), (0, 4)`."""
    places = np.argwhere(which).tolist()
    if which.ndim > 1:
        return f"pixels {some([*map(tuple, places)], SHOWN)}"
    names = [columns[i] if columns else i for (i,) in places]
    return f"column{'s' * (len(names) > 1)} {some(names, SHOWN)}"


def _warn(samples: Samples, setting: str, text: str) -> None:
    file = samples.train.file
    warning = DatasetWarning(text, file=file, setting=None if file else setting)
    warnings.warn(warning, stacklevel=4)  # for the caller of from_arrays, or load_dataset
