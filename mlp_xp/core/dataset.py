"""A data set on a device, and what the network sees of it: inputs prepared as features, labels as targets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.features import flatten_and_scale, standardize, unchanged
from mlp_xp.core.functional import Array
from mlp_xp.core.task import CLASSES, Scaling, Task
from mlp_xp.errors import Argument, DatasetError

Prepare = Callable[..., Array]


class Preparation(NamedTuple):
    """How inputs become features: `function(inputs, *fitted, dtype=..., xp=...)`.

    It returns n rows for n inputs, with as many numbers in each as in an input; the caller flattens them.
    """

    function: Prepare
    """A compiled function is made for each, so it must be hashable. Run folders store those in PREPARATIONS only."""
    fitted: tuple[Array, ...] = ()
    """What was fitted to the training set: arrays on the device, (features,) each. Other values compile nothing."""

    @property
    def takes_bytes(self) -> bool:
        """Whether inputs are images of bytes, which become features in [0, 1]."""
        return self.function is flatten_and_scale


PREPARATIONS: dict[str, Prepare] = {"bytes": flatten_and_scale, "standardize": standardize, "unchanged": unchanged}
BYTES = Preparation(flatten_and_scale)
UNNAMED = "unnamed"


class Dataset(NamedTuple):
    """A training set and, unless it is None, a test set. `mlp_xp.from_arrays` makes one of your own arrays.

    Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB.
    """

    train_inputs: Array
    """Images on the device, uint8 (n, rows, columns[, channels]), 0 to 255. For another preparation than BYTES they
    may also be the backend's floats, of any shape (n, ...)."""
    train_labels: Array
    """Labels on the device. classes: integers (n,), each below the number of classes, uint8 from `load_dataset`.
    labels: 0 or 1, integers (n, outputs). regression: floats (n, outputs)."""
    test_inputs: Array
    test_labels: Array
    """Like those above; both are None if there is no test set."""
    class_names: tuple[str, ...]
    """A name for each output of the network: of the classes, the labels, or the numbers."""
    name: str = UNNAMED
    """A key of DATASETS, or the path of the data set's folder; UNNAMED for data in memory."""
    prepare: Preparation = BYTES
    """How inputs become features."""
    task: Task = CLASSES
    """CLASSES (each sample has one), LABELS (each sample may have several), or REGRESSION."""
    origin: Any = None
    """How your own files were read, an `Origin` of `data.origin`; None for other data."""
    inputs: str = "arrays"
    """"pictures", "resized pictures", "columns" of a table, or "arrays": what `predict` reads for this network. For
    "arrays", pictures are prepared as MNIST's were."""
    feature_names: tuple[str, ...] = ()
    """The names of the columns of a table."""
    scaling: Scaling = ()
    """For a regression whose network is trained on standardised numbers: their mean and standard deviation over the
    training set, on the device, (outputs,) each. The labels above stay in their own units."""
    is_own: bool = False
    """Whether these are your own data, of `from_arrays` or `load_dataset`: held-out samples are then drawn from all of
    the training set. Of a published data set, and of one in its form, they are the last ones."""

    def __repr__(self) -> str:
        count, *shape = self.train_inputs.shape
        test = 0 if self.test_inputs is None else self.test_inputs.shape[0]
        many = f"{len(self.class_names)} {self.task.outputs}"
        return f"Dataset({self.name!r}, {count} training and {test} test {described(shape)}, {many})"


def split(classes: np.ndarray | None, rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the samples to test on and of the others, int64 (n,) each, in the order of one shuffle.

    NumPy's RandomState shuffles, the same on every machine. classes: whole numbers (rows,), to stratify: each class
    then has its share of the test samples, rounded so that all together are as many as without classes if that is
    possible: a class of two samples or more has at least one in each part, and a single sample is not tested on. None:
    the first samples of the shuffle. Raises DatasetError if no class has two samples.
    """
    order = np.random.RandomState(seed).permutation(rows).astype(np.int64)
    wanted = round(share * rows)
    if classes is None:
        return order[:wanted], order[wanted:]
    counts = np.bincount(classes)
    most = np.maximum(counts - 1, 0)
    quotas = share * counts
    taken = np.clip(np.floor(quotas).astype(np.int64), np.minimum(most, 1), most)
    # The largest remainders first, as seats are given to parties; equal ones in the order of the classes.
    for which in np.argsort(taken - quotas, kind="stable"):
        taken[which] += taken.sum() < wanted and taken[which] < most[which]
    if not taken.any():
        raise DatasetError(
            f"all {rows} labels differ, so no class has two samples, one to train and one to test on",
            remedy=("give ", Argument("task", "regression"), " if they are quantities, or hold out no test set"),
            setting="y",
        )
    chosen = np.zeros(rows, np.bool_)
    shuffled = classes[order]
    for which, count in enumerate(taken):
        chosen[np.flatnonzero(shuffled == which)[:count]] = True
    return order[chosen], order[~chosen]


def described(shape: Sequence[int]) -> str:
    """Describe inputs by the shape of one: `images of 28 x 28` or `samples of 4 features`."""
    return f"images of {' x '.join(map(str, shape))}" if len(shape) > 1 else f"samples of {shape[0]} features"
