"""Fingerprints of rows, to know training rows again, and the CRC of a data set."""

import zlib
from hashlib import blake2b
from pathlib import Path

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.runs._tensors import read_tensors, write_tensors
from mlp_xp.runs.records import REMEDY, RunError


@np.errstate(over="ignore")  # a number too large for float32 becomes infinite
def row_fingerprints(samples: Samples, backend: Backend) -> np.ndarray:
    """Return a fingerprint of each row with its label, uint64 (n,).

    Numbers enter in float32. A row then has the same fingerprint on every backend, in
    both dtypes, and in a file that stores float32. Rows that differ only in digits
    beyond float32, such as the minutes of a date, are therefore equal. A label enters
    as the number of its class, which is the same in all data that fit a network.
    """

    def digest(row: np.ndarray, label: np.ndarray) -> bytes:
        # Equal numbers must give equal bytes: adding 0 makes 0 of -0.
        numbers = np.concatenate([row, label], dtype="<f4", casting="unsafe") + 0
        return blake2b(numbers.tobytes(), digest_size=8).digest()

    rows = backend.to_numpy(samples.inputs).reshape(len(samples), -1)
    labels = backend.to_numpy(samples.labels).reshape(len(samples), -1)
    found = np.frombuffer(b"".join(map(digest, rows, labels)), "<u8")
    return found.astype(np.uint64)  # in this machine's byte order


def write_fingerprints(path: Path, fingerprints: np.ndarray) -> str:
    """Write the fingerprints of the training rows. Return the SHA-256 sum of the file.

    The file of the model holds this sum, so the two files cannot come from different
    runs. Raises FileError.
    """
    return write_tensors(path, {"rows": fingerprints}, {})


def read_fingerprints(path: Path, sha256: str | None) -> np.ndarray:
    """Read the fingerprints of the training rows, uint64 (n,).

    Args:
        path: The file of `write_fingerprints`.
        sha256: The SHA-256 sum in the file of the model. None if the rows were not
            recorded. The result is then empty.

    Raises:
        RunError: The file is missing or damaged, or belongs to another model.
    """
    if sha256 is None:
        return np.empty(0, np.uint64)
    tensors, facts = read_tensors(path)
    if facts["sha256"] != sha256:
        fault = "does not have the rows that the model was trained on"
        raise RunError(fault, file=path, remedy=REMEDY)
    return tensors["rows"]


def check_precision(samples: Samples, backend: Backend, dtype: str) -> None:
    """Raise RunError if rows of a run in this dtype are rounded on the backend."""
    has_floats = backend.dtype in (samples.inputs.dtype, samples.labels.dtype)
    if has_floats and (dtype, backend.dtype_name) == ("float64", "float32"):
        raise RunError(
            f"rows of a run in {dtype} are not known again in {backend.dtype_name}",
            remedy=f"give a backend in {dtype}",
            setting="backend",
        )


@np.errstate(over="ignore")
def data_crc32(dataset: Dataset, backend: Backend, dtype: str | None = None) -> str:
    """Return the CRC of inputs, labels and weights, in hexadecimal.

    `dtype` is the type of floats among the inputs and labels, by default the dtype of
    the backend.
    """
    arrays = [dataset.train.inputs, dataset.train.labels]
    if dataset.test is not None:
        arrays += [dataset.test.inputs, dataset.test.labels]
    on_host = [backend.to_numpy(array) for array in arrays]
    if dtype is not None:
        on_host = [
            each.astype(dtype) if each.dtype.kind == "f" else each for each in on_host
        ]
    if dataset.train.weights is not None:
        on_host.append(dataset.train.weights)
    total = 0
    for array in on_host:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return f"{total:08x}"
