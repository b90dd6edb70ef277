"""NumPy's own files: .npz archives, as Keras publishes MNIST, and folders of .npy files. Never a pickle."""

import os
import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import open_file, some
from mlp_xp.errors import DatasetError, DatasetWarning

# The names of the arrays of each part, features before labels; a file may use any case.
TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
GIVE = "name the arrays x_train, y_train and, if there is a test set, x_test and y_test; or X and y"
# What NumPy raises for a file that is damaged, not its own, or holds a pickle, besides what `open_file` knows.
FAULTS = (ValueError, zipfile.BadZipFile, NotImplementedError, tokenize.TokenError)

Array = npt.NDArray[Any]
Part = tuple[Array, Array]


def read_array_files(path: str | os.PathLike[str]) -> tuple[Part, Part | None]:
    """Read a .npz archive, or a folder of .npy files, with the arrays x_train, y_train, and x_test, y_test or neither.

    The names train_images, train_labels, test_images and test_labels are known too, and X and y for a training set
    alone, all in any case. A DatasetWarning names arrays that are not used.

    Returns (features, labels) of the training set, and of the test set if there is one. Labels of shape (n, 1) become
    (n,), and bytes strings; the rest is as in the file, and not checked. Raises DatasetError, which names the file.
    """
    path = Path(path)
    if path.is_dir():
        names = {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() == ".npy"}
    else:
        with _opened(path) as archive:
            if isinstance(archive, np.ndarray):
                raise DatasetError("is one array; give a folder with X.npy and y.npy, or a .npz archive")
            names = dict.fromkeys(archive.files, path)
    known = {name.lower(): name for name in names}
    chosen = [next(((known[x], known[y]) for x, y in pairs if {x, y} <= known.keys()), None) for pairs in (TRAIN, TEST)]
    if chosen[0] is None:
        found = some([*names], 5) or "no arrays at all"
        raise DatasetError(f"{str(path)!r}: has no training set, but {found}; {GIVE}")
    used = [name for pair in chosen if pair for name in pair]
    if unused := [name for name in names if name not in used]:
        text = f"{str(path)!r}: these arrays are not used: {some(unused, 5)}"
        warnings.warn(text, DatasetWarning, stacklevel=2)
    arrays = {name: _read(names[name], name) for name in used}
    train, test = ((arrays[pair[0]], _flat(arrays[pair[1]])) if pair else None for pair in chosen)
    assert train is not None
    return train, test


def _read(path: Path, name: str) -> Array:
    with _opened(path) as found:
        array = np.ascontiguousarray(found if isinstance(found, np.ndarray) else found[name])
        return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _flat(labels: Array) -> Array:
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an archive, or read an array. What NumPy raises, also in the `with` block, becomes a DatasetError."""
    with open_file(path) as stream:
        try:
            yield np.load(stream, allow_pickle=False)
        except FAULTS as error:
            reason = " ".join(str(error).split()).partition(". ")[0]  # NumPy goes on with advice to unpickle
            raise DatasetError(f"is not NumPy's, or damaged: {reason}; save it again as plain arrays") from error
