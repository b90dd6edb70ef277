"""NumPy's own files: .npz archives, as Keras publishes MNIST, and folders of .npy files. Never a pickle."""

import tokenize
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import open_file
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import DatasetError, some

# The names of the arrays of each part, inputs before labels; a file may use any case.
TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
# What NumPy raises for a file that is damaged, not its own, or holds a pickle, besides what `open_file` knows.
FAULTS = (ValueError, zipfile.BadZipFile, NotImplementedError, tokenize.TokenError)

Array = npt.NDArray[Any]


def read_array_files(path: Path, how: Origin | None = None, features: Sequence[str] | None = None) -> Samples:
    """Read a .npz archive, or a folder of .npy files, with the arrays x_train, y_train, and x_test, y_test or neither.

    The names train_images, train_labels, test_images and test_labels are known too, and X and y for a training set
    alone, all in any case. Other arrays are ignored. Labels of shape (n, 1) become (n,); the rest is as in the file,
    and not checked. Raises DatasetError, which names the file.
    """
    if path.is_dir():
        names = {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() == ".npy"}
    else:
        with _opened(path) as archive:
            if isinstance(archive, np.ndarray):
                raise DatasetError("is one array", remedy="give a folder with X.npy and y.npy, or a .npz archive")
            names = dict.fromkeys(archive.files, path)
    known = {name.lower(): name for name in names}
    train, test = (
        next(((known[x], known[y]) for x, y in pairs if {x, y} <= known.keys()), ()) for pairs in (TRAIN, TEST)
    )
    if not train:
        raise DatasetError(
            f"has no training set, but {some([*names], 5) or 'no arrays at all'}",
            remedy="name the arrays x_train, y_train and, if there is a test set, x_test and y_test; or X and y",
            file=path,
        )
    arrays = {name: _read(names[name], name) for name in (*train, *test)}
    parts = [Part(arrays[x], _flat(arrays[y]), path) for x, y in (train, test or train)]
    return Samples(parts[0], parts[1] if test else None)


def _read(path: Path, name: str) -> Array:
    with _opened(path) as found:
        return np.ascontiguousarray(found if isinstance(found, np.ndarray) else found[name])


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
            raise DatasetError(
                f"is damaged, or not NumPy's: {reason}", remedy="save it again as plain arrays"
            ) from error


FORMAT = Format("arrays", lambda path, names, how: has_suffix(names, (".npz", ".npy")), read_array_files)
