"""NumPy's own files: .npz archives, as Keras publishes MNIST, and folders of .npy files. Never a pickle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import fault, open_file
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import DatasetError

# The names of the arrays of each part, inputs before labels; a file may use any case.
TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
KNOWN = {name for pair in (*TRAIN, *TEST) for name in pair}

Array = npt.NDArray[Any]


def read_array_files(path: Path, how: Origin | None = None, known: object = None) -> Samples:
    """Read a .npz archive, or a folder of .npy files, with the arrays x_train, y_train, and x_test, y_test or neither.

    The names train_images, train_labels, test_images and test_labels are known too, and X and y for a training set
    alone, all in any case. Other arrays are ignored. Labels of shape (n, 1) become (n,); the rest is as in the file,
    and not checked. Raises DatasetError, which names the file.
    """
    is_folder = path.is_dir()
    files = sorted(path.glob("*.[nN][pP][yY]")) if is_folder else [path]
    arrays: dict[str, Array] = {}
    for file in files:
        if not is_folder or file.stem.lower() in KNOWN:
            arrays |= _load(file)
    train, test = (_part(arrays, pairs, path) for pairs in (TRAIN, TEST))
    if train is None:
        remedy = "name the arrays x_train, y_train and, if there is a test set, x_test and y_test; or X and y"
        raise DatasetError("has no training set", remedy=remedy, file=path)
    return Samples(train, test)


def _part(arrays: dict[str, Array], pairs: Sequence[tuple[str, str]], path: Path) -> Part | None:
    for x, y in pairs:
        if {x, y} <= arrays.keys():
            labels = arrays[y]
            return Part(arrays[x], labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels, path)
    return None


def _load(path: Path) -> dict[str, Array]:
    """Return the arrays in a file whose names are known, by their names in small letters. Raises DatasetError."""
    with open_file(path) as stream:
        try:
            found = np.load(stream, allow_pickle=False)
            found = {path.stem: found} if isinstance(found, np.ndarray) else found
            return {name.lower(): np.ascontiguousarray(found[name]) for name in found if name.lower() in KNOWN}
        except Exception as error:  # of many types, for a file that is damaged, not NumPy's, or holds a pickle
            raise fault(error) from error


FORMAT = Format("arrays", lambda path, names, how: has_suffix(names, (".npz", ".npy")), read_array_files)
