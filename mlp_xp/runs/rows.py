"""The rows that a network was trained on, by which they are known again in other data: rows.npy in a run's folder."""

import io
from collections import Counter
from collections.abc import Iterable
from functools import reduce
from hashlib import blake2b
from operator import or_
from pathlib import Path

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.files import write_whole
from mlp_xp.runs.records import RunError

ROWS = "rows.npy"


@np.errstate(over="ignore")  # a number that is too large for float32 becomes infinite
def row_sums(inputs: Array, labels: Array, backend: Backend) -> np.ndarray:
    """Return a checksum of each row and its label, uint64 (n,), which is the same on every backend and in every dtype.

    Numbers count with the precision of float32. A class counts by its number, which is the same in all data that fit
    one network.
    """

    def digest(row: np.ndarray, label: np.ndarray) -> bytes:
        numbers = np.concatenate([row, label], dtype="<f4", casting="unsafe") + 0  # -0 becomes 0
        return blake2b(numbers.tobytes(), digest_size=8).digest()

    parts = [array.reshape(len(array), -1) for array in map(backend.to_numpy, (inputs, labels))]
    return np.frombuffer(b"".join(map(digest, *parts)), "<u8")


def write_rows(folder: Path, sums: np.ndarray) -> None:
    """Write rows.npy. Raises FileError."""
    file = io.BytesIO()
    np.save(file, sums)
    write_whole(folder / ROWS, file.getvalue())


def read_rows(folder: Path) -> np.ndarray | None:
    """Return the sums of the rows that a run was trained on; None if its data are published. Raises RunError."""
    path = folder / ROWS
    try:
        sums = np.load(path) if path.exists() else None
        if sums is not None and (sums.dtype != np.uint64 or sums.ndim != 1):
            raise ValueError(f"it has {sums.dtype} of the shape {sums.shape}")
        return sums
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"is damaged: {reason}", file=path, remedy="restore it from a copy, or train again") from error


def unseen(sums: np.ndarray, trained: Iterable[np.ndarray]) -> np.ndarray:
    """Return the places of the rows that no network was trained on, int64. trained: the sums of each network's rows.

    A row that is there more often than a network has seen it is left as often as that.
    """
    known: Counter[int] = reduce(or_, (Counter(each.tolist()) for each in trained), Counter())  # the largest counts
    places = []
    for place, each in enumerate(sums.tolist()):
        known[each] -= 1
        if known[each] < 0:
            places.append(place)
    return np.array(places, np.int64)
