"""A data set on a device, and what the network sees of it: inputs prepared as features,
labels as targets.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.task import CLASSES, Scaling, Task


def flatten_and_scale(images: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn images of bytes, shape (n, rows, columns[, channels]), into features in [0,
    1], shape (n, features).
    """
    x = xp.astype(xp.reshape(images, (-1, math.prod(images.shape[1:]))), dtype)
    # in place: a second array of this size makes a training step on NumPy take 2 to 4 %
    # longer
    x *= 1 / 255
    return x


def standardize(
    inputs: Array, shift: Array, scale: Array, /, *, dtype: Any, xp: Any
) -> Array:
    """Turn inputs (n, ...) into features (x - shift) / scale, shape (n, features);
    shift, scale: (features,).
    """
    x = xp.astype(xp.reshape(inputs, (-1, math.prod(inputs.shape[1:]))), dtype)
    return (x - shift) / scale


def unchanged(inputs: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn inputs into features of the dtype with the same values."""
    return xp.astype(inputs, dtype)


class Preparation(NamedTuple):
    """How inputs become features: `function(inputs, *fitted, dtype=..., xp=...)`.

    It returns n rows for n inputs, with as many numbers in each as in an input. It need
    not flatten them: the caller does.
    """

    function: Callable[..., Array]
    """A compiled function is made for each, so it must be hashable. Run folders store
    those in PREPARATIONS only.
    """
    fitted: tuple[Array, ...] = ()
    """What was fitted to the training set: arrays on the device, (features,) each. With
    other values, nothing has to be compiled again.
    """

    @property
    def takes_bytes(self) -> bool:
        """Whether inputs are images of bytes, which become features in [0, 1]."""
        return self.function is flatten_and_scale


PREPARATIONS: dict[str, Any] = {
    "bytes": flatten_and_scale,
    "standardize": standardize,
    "unchanged": unchanged,
}
BYTES = Preparation(flatten_and_scale)
UNNAMED = "unnamed"


class Dataset(NamedTuple):
    """A training set and, unless it is None, a test set. `mlp_xp.from_arrays` makes one
    of your own arrays.

    Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB.
    """

    train_inputs: Array
    """Images on the device, uint8 (n, rows, columns[, channels]), 0 to 255. For another
    preparation than BYTES they may also be the backend's floats, of any shape (n, ...).
    """
    train_labels: Array
    """Labels on the device. classes: integers (n,), each below the number of classes,
    uint8 from `load_dataset`. labels: 0 or 1, integers (n, outputs). regression: floats
    (n, outputs).
    """
    test_inputs: Array
    test_labels: Array
    """Like those above; both are None if there is no test set."""
    class_names: tuple[str, ...]
    """A name for each output of the network: of the classes, the labels, or the
    numbers.
    """
    name: str = UNNAMED
    """A key of DATASETS, or the path of the data set's folder; UNNAMED for data in
    memory.
    """
    prepare: Preparation = BYTES
    task: Task = CLASSES
    """CLASSES (each sample has one), LABELS (each sample may have several), or
    REGRESSION.
    """
    origin: Any = None
    """How your own files were read, an `Origin` of `data.origin`; None for other data.
    """
    kind: str = "arrays"
    """"pictures", "resized pictures", "columns" of a table, or "arrays": what `predict`
    reads for this network. For "arrays", pictures are prepared as MNIST's were.
    """
    columns: Any = None
    """How a table became features, `Columns` of `data.columns` with `feature_names` and
    `features(X)`, or None.
    """
    scaling: Scaling = ()
    """For a regression whose network is trained on standardised numbers: their mean and
    standard deviation over the training set, on the device, (outputs,) each. The labels
    above stay in their own units.
    """
    hold_out: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    """`hold_out(labels, count, seed)` gets the labels on the host and returns the
    numbers of the training samples to hold out for validation, int64 (count,),
    ascending; fewer if otherwise a class had none to train on. Your own data have it,
    because they may be sorted. If it is None, as for published data and files in their
    form, the last samples are held out.
    """
    weights: np.ndarray | None = None
    """Weights of the training samples, at least 0, float64 (n,) on the host; None for
    equal ones. A sample's gradient and loss in training are multiplied by its weight
    over the mean of those that are trained on.
    """

    def __repr__(self) -> str:
        count, *shape = self.train_inputs.shape
        test = 0 if self.test_inputs is None else self.test_inputs.shape[0]
        many = f"{len(self.class_names)} {self.task.outputs_name}"
        return f"Dataset({self.name!r}, {count} training and {test} test {described(shape)}, {many})"


def described(shape: Sequence[int]) -> str:
    """Describe inputs by the shape of one: `images of 28 x 28` or `samples of 4
    features`.
    """
    return (
        f"images of {' x '.join(map(str, shape))}"
        if len(shape) > 1
        else f"samples of {shape[0]} features"
    )


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless a data set's arrays are as `Dataset` documents, with
    samples in each part.

    What is refused here would otherwise fail inside the array library, or give a wrong
    result silently.
    """
    shape, outputs = tuple(dataset.train_inputs.shape[1:]), len(dataset.class_names)
    for part, inputs, labels in (("train", *dataset[:2]), ("test", *dataset[2:4])):
        if inputs is not None or labels is not None:
            backend.check_inputs(
                inputs, shape, dataset.prepare.takes_bytes, f"{part}_inputs"
            )
            backend.check_labels(
                labels, inputs.shape[0], dataset.task, outputs, f"{part}_labels"
            )
