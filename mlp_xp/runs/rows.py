"""The rows that a network was trained on, by which they are known again in other data: rows.npy in a run's folder."""

import io
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.files import write_whole
from mlp_xp.runs.records import RunError

ROWS = "rows.npy"


@np.errstate(over="ignore")  # a number that is too large for the dtype becomes infinite
def row_sums(inputs: Array, labels: Array, backend: Backend, dtype: str | None = None) -> np.ndarray:
    """Return a checksum of each row and its label, uint64 (n,), which is the same on every backend.

    dtype: float32 or float64, in which numbers are compared; by default that of the backend. A class counts by its
    number, which is the same in all data that fit one network.
    """
    kind = np.dtype(dtype or backend.dtype_name).newbyteorder("<")

    def digest(row: np.ndarray, label: np.ndarray) -> bytes:
        numbers = np.concatenate([row, label], dtype=kind, casting="unsafe") + 0  # -0 becomes 0
        return blake2b(numbers.tobytes(), digest_size=8).digest()

    parts = [array.reshape(len(array), -1) for array in map(backend.to_numpy, (inputs, labels))]
    return np.frombuffer(b"".join(map(digest, *parts)), "<u8")


def write_rows(folder: Path, sums: np.ndarray) -> None:
    """Write rows.npy. Raises FileError."""
    file = io.BytesIO()
    np.save(file, sums)
    write_whole(folder / ROWS, file.getvalue())


def read_rows(folder: Path, record: dict[str, Any]) -> np.ndarray:
    """Return the sums of the rows that a run was trained on, none if its data are published. Raises RunError.

    record: the run's config.json, which has their number.
    """
    path, number = folder / ROWS, record.get("rows") or 0
    try:
        sums = np.lib.format.read_array(io.BytesIO(path.read_bytes())) if number else np.empty(0, np.uint64)
        if sums.dtype != np.uint64 or sums.shape != (number,):
            raise ValueError(f"it has {sums.dtype} of the shape {sums.shape}")
        return sums
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"is damaged: {reason}", file=path, remedy="restore it from a copy, or train again") from error


def seen(sums: np.ndarray, trained: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which rows a network was trained on, bool (n,), and how many others may be such rows.

    If all rows that it was trained on are in the data, these are its own table, which may have grown: a row that was
    there n times is marked n times. Otherwise only rows that were there once are marked. A row that was there several
    times, as in a table of few categories, may be a new one that equals it by chance.
    """
    known, given = Counter(trained.tolist()), Counter(sums.tolist())
    repeated = set() if known <= given else {each for each, count in known.items() if count > 1}
    known = Counter({each: count for each, count in known.items() if each not in repeated})
    marks = np.zeros(len(sums), np.bool_)
    for place, each in enumerate(sums.tolist()):
        known[each] -= 1
        marks[place] = known[each] >= 0
    return marks, sum(given[each] for each in repeated)
