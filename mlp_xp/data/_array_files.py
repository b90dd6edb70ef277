"""NumPy's own files: .npz archives, as Keras publishes MNIST, and folders of .npy
files. Never a pickle.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import fault, open_file
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.errors import DatasetError, MlpXpWarning, some

# The names of the arrays of each part, inputs before labels; a file may use any case.
TRAIN = (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"))
TEST = (("x_test", "y_test"), ("test_images", "test_labels"))
KNOWN = {name for pair in (*TRAIN, *TEST) for name in pair}

Array = npt.NDArray[Any]


def read_array_files(
    path: Path, how: DataOptions | None = None, known: object = None
) -> RawSamples:
    """Read a .npz archive or a folder of .npy files.

    The arrays are x_train and y_train, and x_test and y_test if there is a test set.
    The names train_images, train_labels, test_images and test_labels are accepted too,
    and X and y for a training set. Names may be in any case. Labels of shape (n, 1)
    become (n,). The values are not checked. A warning names arrays that are not used.

    Raises:
        DatasetError: The file is damaged, has no training set, or has inputs without
            labels or labels without inputs. The error names the file.
    """
    is_folder = path.is_dir()
    arrays: dict[str, Array] = {}
    unused: list[str] = []
    for file in sorted(path.glob("*.[nN][pP][yY]")) if is_folder else [path]:
        if is_folder and file.stem.lower() not in KNOWN:
            unused.append(file.stem)
            continue
        found, others = _load(file)
        if twice := arrays.keys() & found:
            raise _twice(twice.pop(), path)
        arrays |= found
        unused += others

    for x, y in (*TRAIN, *TEST):
        if (x in arrays) != (y in arrays):
            there, missing = (x, y) if x in arrays else (y, x)
            names = some(sorted([*arrays, *unused]))
            reason = f"has {there} without {missing}; its arrays are {names}"
            remedy = f"correct the names, or remove {there}"
            raise DatasetError(reason, remedy=remedy, file=path)
    for pairs in (TRAIN, TEST):
        given = [pair for pair in pairs if pair[0] in arrays]
        for pair in given[1:]:
            unused += pair
    train = _part(arrays, TRAIN, path)
    if train is None:
        remedy = "name the arrays x_train, y_train and, if there is a test set, x_test and y_test; or X and y"
        raise DatasetError("has no training set", remedy=remedy, file=path)
    if unused:
        warnings.warn(
            MlpXpWarning(f"arrays that are not used: {some(unused)}", file=path),
            stacklevel=4,
        )
    return RawSamples(train, _part(arrays, TEST, path))


def _twice(name: str, path: Path) -> DatasetError:
    fault = f"has {name} twice, in small and in capital letters"
    return DatasetError(fault, remedy="rename one", file=path)


def _part(
    arrays: dict[str, Array], pairs: Sequence[tuple[str, str]], path: Path
) -> Part | None:
    """Return the inputs and labels of the first pair of names that the arrays have."""
    for x, y in pairs:
        if x in arrays:
            labels = arrays[y]
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = labels[:, 0]
            return Part(arrays[x], labels, path)
    return None


def _load(path: Path) -> tuple[dict[str, Array], list[str]]:
    """Return the known arrays in a file by their names in small letters, and the other
    names.
    """
    with open_file(path) as stream:
        try:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                found = {path.stem: found}
            known = [name for name in found if name.lower() in KNOWN]
            names = [name.lower() for name in known]
            arrays = {name.lower(): np.ascontiguousarray(found[name]) for name in known}
        # of many types, for a file that is damaged, not NumPy's, or holds a pickle
        except Exception as error:
            raise fault(error) from error
    for name in names:
        if names.count(name) > 1:
            raise _twice(name, path)
    return arrays, [name for name in found if name not in known]


FORMAT = Format(
    "arrays",
    lambda path, names, how: has_suffix(names, (".npz", ".npy")),
    read_array_files,
)
