"""Fingerprints of data: of each row that a network is trained on, and of a data set as
a whole.
"""

import zlib
from collections import Counter
from hashlib import blake2b
from pathlib import Path

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.records import REMEDY, RunError


@np.errstate(over="ignore")  # a number that is too large for the dtype becomes infinite
def row_sums(
    samples: Samples, backend: Backend, dtype: str | None = None
) -> np.ndarray:
    """Return a checksum of each row and its label, which is the same on every backend.

    A class counts by its number, which is the same in all data that fit one network.

    Args:
        samples: The rows.
        backend: The backend that they are on.
        dtype: float32 or float64, in which numbers are compared; by default the dtype
            of the backend.

    Returns:
        The checksums, uint64 (n,).
    """
    kind = np.dtype(dtype or backend.dtype_name).newbyteorder("<")

    def digest(row: np.ndarray, label: np.ndarray) -> bytes:
        # -0 becomes 0
        numbers = np.concatenate([row, label], dtype=kind, casting="unsafe") + 0
        return blake2b(numbers.tobytes(), digest_size=8).digest()

    rows = backend.to_numpy(samples.inputs).reshape(len(samples), -1)
    labels = backend.to_numpy(samples.labels).reshape(len(samples), -1)
    sums = np.frombuffer(b"".join(map(digest, rows, labels)), "<u8")
    return sums.astype(np.uint64)  # in this machine's byte order


def write_fingerprints(path: Path, sums: np.ndarray) -> str:
    """Write the sums of the rows that a network is trained on, and return the file's
    checksum.

    The file of the model holds this checksum, so the two cannot come from different
    runs.

    Raises:
        FileError: The file cannot be written.
    """
    return write_tensors(path, {"rows": sums}, {})


def read_fingerprints(path: Path, checksum: str | None) -> np.ndarray:
    """Read the sums of the rows that a network was trained on, uint64 (n,).

    Args:
        path: The file that `write_fingerprints` has written.
        checksum: The checksum in the file of the model. None: its rows were not
            recorded, and the result is empty.

    Raises:
        RunError: The file is missing or damaged, or belongs to another model.
    """
    if checksum is None:
        return np.empty(0, np.uint64)
    tensors, facts = read_tensors(path)
    if facts["sha256"] != checksum:
        fault = "does not have the rows that the model was trained on"
        raise RunError(fault, file=path, remedy=REMEDY)
    return tensors["rows"]


def seen(sums: np.ndarray, trained: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which rows a network was trained on, bool (n,), and how many others may be
    such rows.

    If all rows that it was trained on are in the data, these are its own table, which
    may have grown: a row that was there n times is marked n times. Otherwise only rows
    that were there once are marked. A row that was there several times, as in a table
    of few categories, may be a new one that equals it by chance.
    """
    known, given = Counter(trained.tolist()), Counter(sums.tolist())
    repeated = (
        set()
        if known <= given
        else {each for each, count in known.items() if count > 1}
    )
    known = Counter(
        {each: count for each, count in known.items() if each not in repeated}
    )
    marks = np.zeros(len(sums), np.bool_)
    for place, each in enumerate(sums.tolist()):
        known[each] -= 1
        marks[place] = known[each] >= 0
    return marks, sum(given[each] for each in repeated)


def checksum(dataset: Dataset, backend: Backend) -> str:
    """Return a checksum of inputs, labels and weights, in hexadecimal."""
    arrays = [dataset.train.inputs, dataset.train.labels]
    if dataset.test is not None:
        arrays += [dataset.test.inputs, dataset.test.labels]
    on_host = [backend.to_numpy(array) for array in arrays]
    if dataset.train.weights is not None:
        on_host.append(dataset.train.weights)
    total = 0
    for array in on_host:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return f"{total:08x}"
