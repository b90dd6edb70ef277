"""Load data sets on a backend's device: by name, from files like MNIST's, or from your own files."""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlp_xp.backends.opening import Backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.inputs import on_host, read_features
from mlp_xp.core.task import TASKS
from mlp_xp.data.arrays import check_lengths, from_arrays, guess_task, read_columns
from mlp_xp.data.csv_files import read_csv
from mlp_xp.data.downloads import Progress, fetch
from mlp_xp.data.idx import read_idx
from mlp_xp.data.origin import Origin
from mlp_xp.data.own import OwnData, find_table, is_table, read_own_data
from mlp_xp.data.reading import some, visible_names
from mlp_xp.data.registry import DATASETS, IDX_FILES, Source
from mlp_xp.errors import DatasetError, DatasetWarning, nearest

_HERE = Path(__file__).resolve().parent
# Next to this file in an installed package; at the top of the repository in a clone.
MNIST_DIR = next((d for d in (_HERE / "mnist", _HERE.parent.parent / "data" / "mnist") if d.is_dir()), _HERE / "mnist")
GIVE = (
    "give a table (CSV, Parquet) and its label, a .npz archive, or a folder of pictures for each class, of .npy files, "
    "or of IDX or CSV files like MNIST's"
)
SETTING = "name_or_folder"  # the argument of `load_dataset` that the errors are about

Part = tuple[np.ndarray, np.ndarray]


def load_dataset(
    name_or_folder: str | os.PathLike[str] = "mnist",
    backend: Backend | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    label: str | None = None,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    picture_size: int | None = None,
    task: str | None = None,
    stratify: bool = True,
    scale_targets: bool = True,
    exclude: str | None = None,
) -> Dataset:
    """Load a data set by its name in DATASETS, or your own from a file or folder.

    The arrays are on the backend's device; without a backend they are NumPy arrays on the host. MNIST is read from the
    package or the repository if it is there. Other data sets are downloaded once; see `downloads.fetch` for `cache_dir`
    and `progress`.

    A folder (a path, or a string that is not a name) may hold data like MNIST's: four IDX files with its names, gzipped
    or plain, or two CSV files in the format of `csv_files.read_csv`: one with the word `train` in its name, one with
    `test` or `t10k` (`mnist_train.csv`, but not `latest.csv`). The labels are 0 to 9, the images `uint8`.

    Otherwise it is your own data, in one of the formats of `own.READERS`, which `from_arrays` makes a data set
    of: a table with a header, a .npz archive, or a folder of pictures, tables or .npy files. label: the column of a
    table that has the labels, or several as in "a,b"; without it a folder of CSV files is taken for one like MNIST's.
    exclude: columns to ignore, in the same form.
    test_fraction: the share of the samples, at least 0 (no test set) and below 1, that a shuffle with `split_seed`
    selects for testing, where the files have no test set. picture_size: the side of a square to resize pictures to.
    task, stratify, scale_targets: as for `from_arrays`.

    A test set that is the training set is rejected: its accuracy would mean nothing. Raises DatasetError, which names
    the file and the fault, or DownloadError. If no data set is found, the error's `setting` is "name_or_folder".
    """
    origin = Origin(label, exclude, test_fraction, split_seed, picture_size, task, stratify, scale_targets)
    if is_own(name_or_folder, origin):
        return load_own(Path(name_or_folder), backend, origin)
    is_name = isinstance(name_or_folder, str) and name_or_folder in DATASETS
    path = Path(name_or_folder)
    if not is_name and (name_or_folder == "" or not os.path.lexists(path)):
        raise DatasetError(
            f"{str(name_or_folder)!r}: no such folder, file or data set{nearest(str(name_or_folder), DATASETS)}; "
            f"choose one of {', '.join(DATASETS)}, or {GIVE}",
            setting=SETTING,
        )
    for setting in ("label", "exclude", "picture_size", "task"):
        if getattr(origin, setting) is not None:
            raise DatasetError(f"{str(name_or_folder)!r} has no data of your own; leave it out", setting=setting)
    source = DATASETS[str(name_or_folder) if is_name else "mnist"]
    if is_name and (name_or_folder != "mnist" or not MNIST_DIR.is_dir()):
        files = fetch(str(name_or_folder), cache_dir=cache_dir, progress=progress)
    else:
        files = _find_files(MNIST_DIR if is_name else path)
    half = len(files) // 2
    train, test = _read_part(files[:half], source), _read_part(files[half:], source)
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DatasetError(
            f"{str(files[half])!r}: its test images have another size, {test[0].shape[1:]}, than the "
            f"training images, {train[0].shape[1:]}; all images must have the same size"
        )
    _check_test_set(path, train, test)
    if backend is not None:
        train, test = ((backend.asarray(images), backend.asarray(labels)) for images, labels in (train, test))
    return Dataset(*train, *test, source.class_names, str(name_or_folder) if is_name else str(path.absolute()))


def is_own(name_or_folder: str | os.PathLike[str], origin: Origin) -> bool:
    """Return whether a file or folder has your own data; False for data like MNIST's, and if it does not exist."""
    path = Path(name_or_folder)
    if (isinstance(name_or_folder, str) and name_or_folder in ("", *DATASETS)) or not os.path.lexists(path):
        return False
    if not path.is_dir():
        return True
    names = visible_names(path)
    return not any(map(_is_idx, names)) and (origin.label is not None or not any(map(_is_csv, names)))


def _is_idx(name: str) -> bool:
    return f"{name.removesuffix('.gz')}.gz" in IDX_FILES


def _is_csv(name: str) -> bool:
    return is_table(name) and not name.lower().endswith(".parquet")


def _find_files(folder: Path) -> list[Path]:
    """Return the four IDX files in a folder, gzipped or plain, or else two CSV files. Raises DatasetError."""
    names = visible_names(folder)
    if not any(map(_is_idx, names)):
        return [find_table(folder, part) for part in ("train", "test")]
    if missing := [name for name in IDX_FILES if name not in names and name.removesuffix(".gz") not in names]:
        raise DatasetError(f"{str(folder / missing[0])!r}: not found, with or without .gz; {GIVE}", setting=SETTING)
    return [folder / (name if name in names else name.removesuffix(".gz")) for name in IDX_FILES]


def _read_part(files: Sequence[Path], source: Source) -> Part:
    """Read the images and labels of a part from two IDX files or one CSV file. Raises DatasetError."""
    images, labels = read_csv(files[0]) if len(files) == 1 else (read_idx(files[0], 3), read_idx(files[1], 1))
    if len(images) != len(labels):
        raise DatasetError(
            f"{str(files[0])!r}: has {len(images)} images, {files[-1].name} has {len(labels)} labels; the numbers must "
            "be equal: fetch both files again"
        )
    first, last = source.first_label, source.first_label + len(source.class_names) - 1
    if (outside := (labels < first) | (labels > last)).any():
        sample = int(np.argmax(outside))
        raise DatasetError(
            f"{str(files[-1])!r}: label {labels[sample]} of sample {sample} is outside the {len(source.class_names)} "
            f"classes, {first} to {last}; check that the file belongs to this data set"
        )
    labels -= np.uint8(first)
    return np.ascontiguousarray(images.swapaxes(1, 2)) if source.transposed else images, labels


def _check_test_set(path: Path, train: Part, test: Part) -> None:
    if np.array_equal(train[0], test[0]):
        raise DatasetError(
            f"{str(path)!r}: its test set is its training set: testing on the training set says nothing about other "
            "images; give a test set of its own"
        )


def load_own(path: Path, backend: Backend | None, origin: Origin, *, features: Sequence[str] | None = None) -> Dataset:
    """Load your own data as `load_dataset` does. features: the columns of a table, in this order; by default all."""
    data = read_own_data(path, origin, features=features)
    if data.test is not None:
        _check_test_set(path, data.train, data.test)
    task = origin.task or guess_task(data.train[1])
    with _naming_file(path, data):
        dataset = from_arrays(
            *data.train,
            data.test or origin.test_fraction or None,
            backend=backend,
            task=origin.task,
            class_names=data.label_names if data.label_names and task != "classes" else data.class_names,
            seed=origin.split_seed,
            feature_names=data.feature_names,
            scale_targets=origin.scale_targets,
            stratify=origin.stratify,
        )
    return dataset._replace(name=str(path.absolute()), origin=origin, inputs=data.inputs)


def load_to_evaluate(
    path: str | os.PathLike[str],
    backend: Backend,
    origin: Origin,
    *,
    task: str,
    class_names: Sequence[str],
    feature_names: Sequence[str] = (),
) -> Dataset:
    """Load your own data to evaluate a trained network on: their test set, or all samples if they have none.

    Both parts of the data set are these samples. origin: how to read them; there is no split. task, class_names: of the
    network, whose classes need not all be there. feature_names: the columns of its tables, which may be in another
    order and among others. Raises as `load_dataset` does.
    """
    place = Path(path)
    how = replace(origin, task=task, exclude=None)
    data = read_own_data(place, how, features=feature_names or None, least=1)
    data = data._replace(train=data.test or data.train, lines=data.lines[data.test is not None :])
    with _naming_file(place, data):
        inputs = read_features("X", data.train[0], backend, data.feature_names)
        raw = on_host("y", data.train[1], backend)
        if task == "classes":
            labels = _numbered(raw, data, class_names)
        else:
            labels = read_columns("y", raw, task=task, names=data.label_names)
        check_lengths("X", inputs, labels)
        if task != "classes" and labels.shape[1] != len(class_names):
            raise DatasetError(f"y: it has {labels.shape[1]} columns, the network {len(class_names)} outputs")
    part = inputs, backend.asarray(labels, backend.dtype if task == "regression" else None)
    names = data.label_names if task != "classes" and data.label_names else tuple(class_names)
    return Dataset(
        *(*part, *part, names, str(place.absolute())),
        task=TASKS[task],
        origin=origin,
        inputs=data.inputs,
        feature_names=data.feature_names,
    )


def _numbered(raw: np.ndarray, data: OwnData, class_names: Sequence[str]) -> np.ndarray:
    """Return the number of each sample's class, int32 (n,), by its name. Raises DatasetError.

    Where arrays have other names, as many whole numbers as there are classes are these classes in their order.
    """
    if raw.ndim != 1:
        raise DatasetError(f"y: its shape is {raw.shape}; give the class of each sample, (n,)")
    values, places = np.unique(raw, return_inverse=True)
    names = [data.class_names[each] if data.class_names else str(each) for each in values.tolist()]
    numbers = {name: i for i, name in enumerate(class_names)}
    unknown = [name for name in names if name not in numbers]
    if unknown and data.inputs == "arrays" and raw.dtype.kind in "biu" and len(values) == len(class_names):
        return places.astype(np.int32)
    if unknown:
        row = int(np.argmax(places == names.index(unknown[0])))
        raise DatasetError(f"y: row {row} is {unknown[0]!r:.60}, none of the network's classes: {some(class_names)}")
    return np.array([numbers[name] for name in names], np.int32)[places]


@contextmanager
def _naming_file(path: Path, data: OwnData) -> Iterator[None]:
    """Have errors and warnings about arrays name the file that they come from, its lines and its columns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        try:
            yield
        except DatasetError as error:
            if error.setting == "test" and data.test is None:
                error.setting = "test_fraction"
            if error.setting not in ("test_fraction", "task"):
                error.text, error.setting = _in_file(error.text, path, data), None
            raise
    for each in caught:
        text = str(each.message)
        is_ours = issubclass(each.category, DatasetWarning)
        warnings.warn(_in_file(text, path, data) if is_ours else text, each.category, stacklevel=5)


def _in_file(text: str, path: Path, data: OwnData) -> str:
    """Return a message about arrays as one about a file: y is its column of labels, X the others."""
    if data.inputs == "columns":
        text = in_file(text, data.lines[" of the test set: " in text]).removeprefix("X: ")
        label = f"column {data.label_names[0]!r:.60}" if len(data.label_names) == 1 else "labels"
        text = re.sub("^y( of the test set)?: ", lambda found: f"{label}{found[1] or ''}: ", text)
    return f"{str(path)!r}: {text}"


def in_file(text: str, lines: Sequence[int]) -> str:
    """Return a message about arrays with the line of a row in place of its number, or without lines with one from 1."""

    def place(found: re.Match[str]) -> str:
        what, row = "" if found[1] in ("X: ", "inputs: ") else found[1], int(found[2])
        return f"{what}line {lines[row]}" if len(lines) else f"{what}row {row + 1}"

    return re.sub("^([A-Za-z ]+: )row ([0-9]+)", place, text)
