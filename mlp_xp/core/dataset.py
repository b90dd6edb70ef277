"""Samples on a device, and the data set of a training and a test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import Signature

UNNAMED = "unnamed"


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels of the same length, and perhaps a weight for each sample.

    Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB.

    Examples:
        >>> train_set = load_dataset("mnist").train
        >>> len(train_set), train_set.inputs.shape, train_set.labels[:3].tolist()
        (60000, (60000, 28, 28), [5, 0, 4])
    """

    inputs: Array
    """Images on the device, uint8 (n, rows, columns[, channels]), 0 to 255. For another
    preparation than BYTES they may also be the backend's floats, of any shape (n, ...).
    """
    labels: Array
    """Labels on the device. classes: integers (n,), each below the number of classes,
    uint8 from `load_dataset`. labels: 0 or 1, integers (n, outputs). regression: floats
    (n, outputs), in their own units.
    """
    weights: np.ndarray | None = None
    """Weights of training samples, at least 0, float64 (n,) on the host; None for equal
    weights. A sample's gradient and loss in training are multiplied by its weight over
    the mean weight of the samples that are trained on.
    """

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.inputs.shape[0])

    def take(self, rows: np.ndarray, backend: Backend) -> Samples:
        """Return some of the samples, without weights.

        Args:
            rows: Their numbers, int64 (k,).
            backend: The backend that the samples are on.
        """
        numbers = backend.asarray(rows)
        take = backend.xp.take
        return Samples(
            take(self.inputs, numbers, axis=0), take(self.labels, numbers, axis=0)
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set, perhaps a test set, and their signature.

    `mlp_xp.from_arrays` and `mlp_xp.load_dataset` make one.

    Examples:
        >>> load_dataset("mnist")
        Dataset('mnist', 60000 training and 10000 test images of 28 x 28, 10 classes)
    """

    train: Samples
    test: Samples | None
    signature: Signature
    name: str = UNNAMED
    """A key of DATASETS, or the path of the data set's file or folder; UNNAMED for data
    in memory.
    """
    options: Any = None
    """How your own files were read: `DataOptions` of `mlp_xp.data.options`. None for other
    data.
    """
    hold_out: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    """`hold_out(labels, count, seed)` gets the labels on the host and returns the
    numbers of the training samples to hold out for validation, int64 (count,),
    ascending; fewer if otherwise a class had none to train on. Your own data have it,
    because they may be sorted. If it is None, as for published data and files in their
    form, the last samples are held out.
    """

    def __repr__(self) -> str:
        test = 0 if self.test is None else len(self.test)
        counts = f"{len(self.train)} training and {test} test"
        return f"Dataset({self.name!r}, {counts} {self.signature.in_words()})"


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Check that the arrays of a data set are as `Samples` documents, with samples in
    each part.

    What is refused here would otherwise fail inside the array library, or give a wrong
    result silently.

    Raises:
        DatasetError: An array is on another device, or of another shape or dtype, or a
            label cannot be one.
    """
    signature = dataset.signature
    for part, samples in (("train", dataset.train), ("test", dataset.test)):
        if samples is None:
            continue
        backend.check_inputs(samples.inputs, signature, f"{part}.inputs")
        backend.check_labels(samples.labels, len(samples), signature, f"{part}.labels")
