"""Read NumPy's own files: .npz archives and folders of .npy files.

Keras publishes MNIST as a .npz archive. Pickles are never loaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import fault, open_file
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.errors import DatasetError, MlpXpWarning, some, warn

# The names of the arrays of each part, inputs before labels. Files may use any case.
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
    become (n,). The values are not checked. A warning names unused arrays.

    Raises:
        DatasetError: The file is damaged, has no training set, or has inputs without
            labels or labels without inputs. The error names the file.
    """
    arrays, unused = _load_all(path)
    for x, y in (*TRAIN, *TEST):
        for there, missing in ((x, y), (y, x)):
            if there in arrays and missing not in arrays:
                names = some(sorted([*arrays, *unused]))
                raise DatasetError(
                    f"has {there} without {missing}; its arrays are {names}",
                    remedy=f"correct the names, or remove {there}",
                    file=path,
                )
    train, test = _take(arrays, TRAIN, path), _take(arrays, TEST, path)
    if train is None:
        raise DatasetError(
            "has no training set",
            remedy="name the arrays x_train, y_train and, if there is a test set, "
            "x_test and y_test; or X and y",
            file=path,
        )
    unused += arrays
    if unused:
        text = f"arrays that are not used: {some(unused)}"
        warn(MlpXpWarning(text, file=path))
    return RawSamples(train, test)


def _load_all(path: Path) -> tuple[dict[str, Array], list[str]]:
    """Return the known arrays in an archive or a folder, and the other names.

    The names of known arrays are in small letters.
    """
    files, is_folder = [path], path.is_dir()
    if is_folder:
        files = sorted(path.glob("*.[nN][pP][yY]"))
    arrays, unused = dict[str, Array](), list[str]()
    for file in files:
        if is_folder and file.stem.lower() not in KNOWN:
            unused.append(file.stem)
            continue
        for name, array in _load(file):
            known = name.lower()
            if array is None:
                unused.append(name)
            elif known in arrays:
                raise DatasetError(
                    f"has {known} twice, in small and in capital letters",
                    remedy="rename one",
                    file=path,
                )
            else:
                arrays[known] = array
    return arrays, unused


def _load(path: Path) -> list[tuple[str, Array | None]]:
    """Return the names in a file with their arrays, None for an unknown name."""
    with open_file(path) as stream:
        try:
            found = np.load(stream, allow_pickle=False)
            if isinstance(found, np.ndarray):
                found = {path.stem: found}
            arrays = list[tuple[str, Array | None]]()
            for name in found:
                is_known = name.lower() in KNOWN
                array = np.ascontiguousarray(found[name]) if is_known else None
                arrays.append((name, array))
        # The error has one of many types if the file is damaged, not NumPy's, or a
        # pickle.
        except Exception as error:
            raise fault(error) from error
    return arrays


def _take(
    arrays: dict[str, Array], pairs: Sequence[tuple[str, str]], path: Path
) -> Part | None:
    """Return the first pair found in `arrays`, and remove it from `arrays`."""
    for x, y in pairs:
        if x in arrays:
            labels = arrays.pop(y)
            if labels.ndim == 2 and labels.shape[1] == 1:
                labels = labels[:, 0]
            return Part(arrays.pop(x), labels, path)
    return None


FORMAT = Format(
    "arrays",
    lambda path, names, how: has_suffix(names, (".npz", ".npy")),
    read_array_files,
)
