"""How data are known again: a data set by a checksum of what was read, a sample by its content."""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mlp_xp.core.dataset import Dataset
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend


def checksum(dataset: Dataset, backend: Backend) -> str:
    """Return a checksum of inputs and labels as they were read, whatever dtype they were cast to, in hexadecimal.

    A data set in float32 and one in float64 have the same checksum if they were made of the same samples.
    """
    own = sum_of(dataset[:4], backend)
    cast, read = dataset.read_as
    return read if own == cast else own


def sum_of(arrays: Sequence[Array | None], backend: Backend) -> str:
    """Return a checksum of arrays, floats as float64; None counts as nothing."""
    total = 0
    for array in arrays:
        if array is not None:
            values = array if isinstance(array, np.ndarray) else backend.to_numpy(array)
            values = values.astype(np.float64, copy=False) if values.dtype.kind == "f" else values
            total = zlib.crc32(np.ascontiguousarray(values).data, total)
    return f"{total:08x}"


def not_trained_on(dataset: Dataset, trained: Dataset, backend: Backend) -> np.ndarray:
    """Return which samples of a test set are not among the training samples of another data set, bool (n,).

    Samples are compared by their content, inputs and label, wherever they stand: the same table in another order, in
    another split or in float32 has the same samples. A sample that was trained on once counts once. The classes of both
    must be the same, and their arrays must be on the backend's device.
    """
    known = Counter(_rows(trained.train_inputs, trained.train_labels, backend))
    new = []
    for row in _rows(dataset.test_inputs, dataset.test_labels, backend):
        new.append(known[row] == 0)
        known[row] -= known[row] > 0
    return np.array(new, np.bool_)


def _rows(inputs: Array, labels: Array, backend: Backend) -> list[bytes]:
    x, y = backend.to_numpy(inputs), backend.to_numpy(labels).astype(np.float32)
    with np.errstate(over="ignore"):  # in float32 for comparison with data in it; to add 0 makes -0 and 0 one number
        x, y = x if x.dtype == np.uint8 else x.astype(np.float32) + np.float32(0), y + np.float32(0)
    return [a.tobytes() + b.tobytes() for a, b in zip(x, y, strict=True)]
