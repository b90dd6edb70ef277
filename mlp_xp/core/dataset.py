"""Samples on a device, and data sets of training and test samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import Signature
from mlp_xp.printing import as_html, as_text

UNNAMED = "unnamed"


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and labels of the same length, and perhaps a weight for each sample.

    Images stay bytes on the device: 47 MB for MNIST, instead of 376 MB as float64.

    Examples:
        >>> train_set = load_dataset("mnist").train
        >>> len(train_set), train_set.inputs.shape, train_set.labels[:3].tolist()
        (60000, (60000, 28, 28), [5, 0, 4])
    """

    inputs: Array
    """Images on the device, uint8 (n, rows, columns[, channels]), 0 to 255. For another
    preparation than BYTES, also the backend's floats, of any shape (n, ...).
    """
    labels: Array
    """Labels on the device. For classes, integers (n,), each below the number of
    classes, uint8 from `load_dataset`. For labels, integers 0 or 1, (n, outputs). For
    regression, floats (n, outputs), in their own units.
    """
    weights: np.ndarray | None = None
    """Weights of training samples, at least 0, float64 (n,) on the host. None for equal
    weights. The gradient and the training loss of a sample are multiplied by its
    weight, divided by the mean weight of the samples that are trained on.
    """

    def __repr__(self) -> str:
        arrays = [("inputs", self.inputs), ("labels", self.labels)]
        if self.weights is not None:
            arrays.append(("weights", self.weights))
        shapes = [f"{name} {each.shape} {each.dtype}" for name, each in arrays]
        return f"Samples({', '.join(shapes)})"

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self.inputs.shape[0])

    def take(self, rows: np.ndarray, backend: Backend) -> Samples:
        """Return some of the samples, without weights.

        Args:
            rows: The numbers of these samples, int64 (k,).
            backend: The backend of the samples.
        """
        numbers = backend.asarray(rows)
        inputs = backend.xp.take(self.inputs, numbers, axis=0)
        labels = backend.xp.take(self.labels, numbers, axis=0)
        return Samples(inputs, labels)


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
    """The name of a published data set, or the path of a file or folder. UNNAMED for
    data in memory.
    """
    options: Any = None
    """How your own files were read, a `DataOptions` of `mlp_xp.data.options`. None for
    other data.
    """
    hold_out: Callable[[np.ndarray, int, int], np.ndarray] | None = None
    """`hold_out(labels, count, seed)` chooses the training samples to hold out for
    validation, for labels on the host. It returns their numbers, int64 (count,),
    ascending. There are fewer if a class would have no samples left to train on.

    Your own data have this function, because they may be sorted. None, as for published
    data and files of the same form, holds out the last samples.
    """
    published: bool = False
    """Whether it is a published data set. For other data, a run keeps fingerprints of
    the training rows.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)

    def __repr__(self) -> str:
        test = 0 if self.test is None else len(self.test)
        counts = f"{len(self.train)} training and {test} test"
        return f"Dataset({self.name!r}, {counts} {self.signature.in_words()})"


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Check that each part of a data set has samples, as `Samples` documents them.

    Without this check, training would fail inside the array library, or give a wrong
    result silently.

    Raises:
        DatasetError: A part is empty. Or an array is on another device, has another
            shape or dtype, or has values that cannot be labels.
    """
    signature = dataset.signature
    for part, samples in (("train", dataset.train), ("test", dataset.test)):
        if samples is None:
            continue
        backend.check_inputs(samples.inputs, signature, f"{part}.inputs")
        backend.check_labels(samples.labels, len(samples), signature, f"{part}.labels")
