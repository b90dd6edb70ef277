"""A data set on a device, and what the network sees of it: inputs prepared as features, labels as targets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.features import flatten_and_scale, standardize, unchanged
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.data.arrays import read_arrays

Prepare = Callable[..., Array]


class Preparation(NamedTuple):
    """How inputs become features: `function(inputs, *fitted, dtype=..., xp=...)`, from (n, ...) to (n, ...).

    What it returns may have any shape of n rows with as many numbers as a row of the inputs.
    """

    function: Prepare
    """A compiled function is made for each, so it must be hashable. Run folders store those in PREPARATIONS only."""
    fitted: tuple[Array, ...] = ()
    """What was fitted to the training set: arrays on the device, (features,) each. Other values compile nothing."""


PREPARATIONS: dict[str, Prepare] = {"bytes": flatten_and_scale, "standardize": standardize, "unchanged": unchanged}
BYTES = Preparation(flatten_and_scale)
TARGETS = ("unchanged", "standardize")  # whether a network is trained on standardised numbers, in files


def one_hot(labels: Array, classes: int, /, *, dtype: Any, device: Any, xp: Any) -> Array:
    """Turn labels 0 to classes - 1, shape (...), into rows that are 1 at the label and 0 elsewhere, (..., classes).

    By comparison, because assignment by index is not in the standard for integer arrays, and JAX has none at all.
    """
    place = {} if device is None else {"device": device}  # not every library has the keyword
    return xp.astype(labels[..., None] == xp.arange(classes, dtype=labels.dtype, **place), dtype)


def encode(
    labels: Array, outputs: int, targets: tuple[Array, ...] = (), /, *, task: str, dtype: Any, device: Any, xp: Any
) -> Array:
    """Turn labels into the targets of the network's outputs, shape (n, outputs); one-hot rows for classes (n,).

    targets: the field of `Dataset`; numbers are standardised by it.
    """
    if task == "classes":
        return one_hot(labels, outputs, dtype=dtype, device=device, xp=xp)
    t = xp.astype(labels, dtype)
    return (t - targets[0]) / targets[1] if targets else t


def decode(outputs: Array, targets: tuple[Array, ...], /) -> Array:
    """Turn predictions of standardised numbers (n, outputs) back into the units of the labels; see `encode`."""
    return outputs * targets[1] + targets[0] if targets else outputs


UNNAMED = "unnamed"
MOST_NAMES = 2**16  # of features that a model file can store


class Origin(NamedTuple):
    """How `load_dataset` reads your own files, so that a run can read them again."""

    label: str | None = None
    test_fraction: float = 0.2
    split_seed: int = 0
    picture_size: int | None = None
    task: str | None = None
    stratify: bool = True
    scale_targets: bool = True
    exclude: str | None = None


class Dataset(NamedTuple):
    """A training set and, unless it is None, a test set. `from_arrays` makes one of your own arrays.

    The names are those of MNIST, but `images` may be inputs of any kind. Images stay bytes on the device: 47 MB for
    MNIST, where float64 takes 376 MB.
    """

    train_inputs: Array
    """On the device: uint8 (n, rows, columns[, channels]), 0 to 255, or for another preparation than BYTES also the
    backend's floats, and any shape (n, ...)."""
    train_labels: Array
    """On the device. classes: integers (n,), uint8 from `load_dataset`; each below the number of classes. labels: 0 or
    1, integers (n, outputs). regression: floats (n, outputs)."""
    test_inputs: Array
    test_labels: Array
    """Both are None if there is no test set. (`Array` is any type.)"""
    class_names: tuple[str, ...]
    """A name for each output of the network: of the classes, the labels, or the numbers."""
    name: str = UNNAMED
    """A key of DATASETS, or the path of the data set's folder; UNNAMED for data in memory."""
    prepare: Preparation = BYTES
    """From inputs to features."""
    task: str = "classes"
    """A key of `losses.LOSSES`: classes (each sample has one), labels (each sample may have several), or regression."""
    origin: Origin = Origin()
    """The arguments of `load_dataset` for your own files."""
    inputs: str = "arrays"
    """What `predict` reads: pictures as they are, columns of a table, or arrays, for which pictures are prepared as
    MNIST's were."""
    feature_names: tuple[str, ...] = ()
    """Of the columns of a table."""
    targets: tuple[Array, ...] = ()
    """Of a regression whose network is trained on standardised numbers: their mean and standard deviation over the
    training set, on the device, (outputs,) each. The labels above stay in their own units."""

    @staticmethod
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
    ) -> "Dataset":
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
            *(*read.train, *read.test, read.names, UNNAMED, prepare, read.task),
            feature_names=columns,
            targets=read.targets,
        )

    def __repr__(self) -> str:
        count, *shape = self.train_inputs.shape
        test = 0 if self.test_inputs is None else self.test_inputs.shape[0]
        many = f"{len(self.class_names)} {'outputs' if self.task == 'regression' else self.task}"
        return f"Dataset({self.name!r}, {count} training and {test} test {described(shape)}, {many})"


def described(shape: Sequence[int]) -> str:
    """Describe inputs by the shape of one: `images of 28 x 28` or `samples of 4 features`."""
    return f"images of {' x '.join(map(str, shape))}" if len(shape) > 1 else f"samples of {shape[0]} features"
