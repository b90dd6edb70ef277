"""Load data sets on a backend's device: by name, from files like MNIST's, or from your own files."""

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_xp.arrays import DatasetWarning, check_lengths, guess_task, on_host, read_columns, read_features
from mlp_xp.backend import Backend
from mlp_xp.checks import DatasetError
from mlp_xp.data.csv_files import CsvError, read_csv
from mlp_xp.data.downloads import Progress, fetch
from mlp_xp.data.idx import read_idx
from mlp_xp.data.own import LISTED, OwnData, check_origin, has_word, is_table, read_own_data, visible_names
from mlp_xp.data.reading import fault, open_file
from mlp_xp.data.registry import DATASETS, DIGITS
from mlp_xp.dataset import Dataset, Origin
from mlp_xp.errors import nearest
from mlp_xp.functional import Array

_HERE = Path(__file__).resolve().parent
# Next to this file in an installed package; at the top of the repository in a clone.
MNIST_DIR = next((d for d in (_HERE / "mnist", _HERE.parent.parent / "data" / "mnist") if d.is_dir()), _HERE / "mnist")
PARTS = ("train", "t10k")
CONTENTS = ("images-idx3", "labels-idx1")
CSV_SUFFIXES = (".csv", ".csv.gz")
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
GIVE = (
    "give a folder with four IDX files named like MNIST's or two CSV files, or one of pictures for each class, or a "
    "table, or the name of a data set"
)
GIVE_OWN = (
    "give a table (CSV, Parquet) and its label, a .npz archive, or a folder of pictures for each class, of .npy files, "
    "or of IDX or CSV files like MNIST's"
)
NO_TEST = "testing on the training set says nothing about other images; give a test set of its own"
# The argument of `load_dataset` that the errors are about.
SETTING = "name_or_folder"
PIECE = 4096
COMPARED = 1 << 16


class Files(NamedTuple):
    """Where a data set's files are, and how to read them."""

    train: tuple[Path, ...]
    """The IDX files of images and labels, or one CSV file."""
    test: tuple[Path, ...]
    class_names: tuple[str, ...] = DIGITS
    first_label: int = 0
    transposed: bool = False


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

    A folder (a path, or a string that is not a name) may hold data like MNIST's: four IDX files with its names, or two
    CSV files in the format of `csv_files.read_csv`: one with the word `train` in its name, one with `test` or `t10k`
    (`mnist_train.csv`, but not `latest.csv`). All files may be gzipped; if a file is there both gzipped and plain, both
    must have the same content. The labels are 0 to 9, the images `uint8`.

    Otherwise it is your own data, which `own.read_own_data` reads and `Dataset.from_arrays` makes a data set of: a
    table with a header, a .npz archive, or a folder of pictures, tables or .npy files. label: the column of a table
    that has the labels, or several as in "a,b"; without it a folder of CSV files is taken for one like MNIST's.
    exclude: likewise, columns that are no features.
    test_fraction: the share of the samples, at least 0 (no test set) and below 1, that a shuffle with `split_seed`
    selects for testing, where the files have no test set. picture_size: the side of a square to resize pictures to.
    task, stratify, scale_targets: as for `Dataset.from_arrays`.

    A test set that is the training set is rejected: its accuracy would mean nothing. Raises DatasetError, or the error
    of a reader or a download, which name the file and the fault. If no data set is found, the error's `setting` is
    "name_or_folder".
    """
    origin = Origin(label, test_fraction, split_seed, picture_size, task, stratify, scale_targets, exclude)
    check_origin(origin)
    if is_own(name_or_folder, origin):
        return load_own(Path(name_or_folder), backend, origin)
    for name in ("label", "exclude", "picture_size", "task"):
        if getattr(origin, name) is not None and (name_or_folder in DATASETS or Path(name_or_folder).exists()):
            raise DatasetError(f"{str(name_or_folder)!r} has no data of your own; leave it out", setting=name)
    files = _find(name_or_folder, cache_dir, progress)
    train_images, train_labels = _load(files.train, files, backend)
    test_images, test_labels = _load(files.test, files, backend)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DatasetError(
            f"{str(files.test[0])!r}: the test images are {_size(test_images.shape)} pixels, the training images in "
            f"{files.train[0].name} are {_size(train_images.shape)}; all images must have the same size"
        )
    if train_images.shape == test_images.shape and _equal(train_images, test_images, backend):
        raise DatasetError(f"{str(files.test[0])!r}: has the same images as {files.train[0].name}: {NO_TEST}")
    known = isinstance(name_or_folder, str) and name_or_folder in DATASETS
    name = str(name_or_folder) if known else str(Path(name_or_folder).absolute())
    return Dataset(train_images, train_labels, test_images, test_labels, files.class_names, name)


def is_own(name_or_folder: str | os.PathLike[str], origin: Origin) -> bool:
    """Return whether a file or folder has your own data, not data like MNIST's, or none."""
    if isinstance(name_or_folder, str) and (name_or_folder in DATASETS or not name_or_folder):
        return False
    path = Path(name_or_folder)
    try:
        if not path.is_dir():
            return os.path.lexists(path)
    except (OSError, ValueError):  # reported when it is read
        return False
    names = _names(path)
    if any(map(_is_idx, names)) or (origin.label is None and any(map(_is_csv, names))):
        return False
    return any(is_table(name) or name.lower().endswith(".npy") or (path / name).is_dir() for name in names)


def load_own(path: Path, backend: Backend | None, origin: Origin, *, features: Sequence[str] | None = None) -> Dataset:
    """Load your own data as `load_dataset` does. features: the columns of a table, in this order; by default all."""
    classes = origin.task == "classes"
    data = read_own_data(
        path,
        label=origin.label,
        exclude=origin.exclude,
        picture_size=origin.picture_size,
        features=features,
        classes=classes,
    )
    test = data.test or origin.test_fraction or None
    task = origin.task or guess_task(data.train[1])
    names = data.label_names if data.label_names and task != "classes" else data.class_names
    try:
        with _warnings_of_file(path, data):
            dataset = Dataset.from_arrays(
                *data.train,
                test,
                backend=backend,
                task=origin.task,
                class_names=names,
                seed=origin.split_seed,
                feature_names=data.feature_names,
                scale_targets=origin.scale_targets,
                stratify=origin.stratify,
            )
    except DatasetError as error:
        if error.setting == "test" and data.test is None:
            error.setting = "test_fraction"
        if error.setting in ("test_fraction", "task"):
            raise
        raise _of_file(error, path, data, *data.lines) from error
    train, test = dataset.train_images, dataset.test_images
    if test is not None and train.shape == test.shape and _equal(train, test, backend):
        raise DatasetError(f"{str(path)!r}: its test set is its training set: {NO_TEST}")
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
    features = feature_names or None
    data = read_own_data(
        place,
        label=origin.label,
        picture_size=origin.picture_size,
        features=features,
        least=1,
        classes=task == "classes",
    )
    try:
        X, y = data.test or data.train
        inputs, raw = read_features("X", X, backend, data.feature_names or ()), on_host("y", y, backend)
        if task == "classes":
            labels = _numbered(raw, data, class_names)
        else:
            labels = read_columns("y", raw, task=task, names=data.label_names)
        check_lengths("X", inputs, labels)
        if task != "classes" and labels.shape[1] != len(class_names):
            raise DatasetError(f"y: it has {labels.shape[1]} columns, the network {len(class_names)} outputs")
    except DatasetError as error:
        raise _of_file(error, place, data, *data.lines[bool(data.test) :]) from error
    part = inputs, backend.asarray(labels, backend.dtype if task == "regression" else None)
    names = data.label_names if task != "classes" and data.label_names else tuple(class_names)
    return Dataset(
        *(*part, *part, names, str(place.absolute())),
        task=task,
        origin=origin,
        inputs=data.inputs,
        feature_names=data.feature_names or (),
    )


def _numbered(raw: np.ndarray, data: OwnData, class_names: Sequence[str]) -> np.ndarray:
    """Return the number of each sample's class, int32 (n,), by its name. Raises DatasetError.

    Where arrays have other names, as many whole numbers as there are classes are these classes in their order.
    """
    if raw.ndim != 1:
        raise DatasetError(f"y: its shape is {raw.shape}; give the class of each sample, (n,)")
    values, places = np.unique(raw, return_inverse=True)
    names = [data.class_names[each] if data.class_names else _as_name(each) for each in values.tolist()]
    numbers = {name: i for i, name in enumerate(class_names)}
    unknown = [name for name in names if name not in numbers]
    if unknown and data.inputs == "arrays" and raw.dtype.kind in "biu" and len(values) == len(class_names):
        return places.astype(np.int32)
    if unknown:
        row = int(np.argmax(places == names.index(unknown[0])))
        shown = ", ".join(f"{name!r:.60}" for name in class_names[:LISTED])
        more = f" and {len(class_names) - LISTED} more" if len(class_names) > LISTED else ""
        raise DatasetError(f"y: row {row} is {unknown[0]!r:.60}, none of the network's classes: {shown}{more}")
    return np.array([numbers[name] for name in names], np.int32)[places]


def _as_name(label: object) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)


def _of_file(
    error: DatasetError, path: Path, data: OwnData, lines: Sequence[int] = (), test_lines: Sequence[int] = ()
) -> DatasetError:
    """Return an error about arrays as one about the file that they come from, with the names of its columns.

    lines, test_lines: of the rows of X and y, and of those of a test set.
    """
    text = str(error)
    if data.inputs == "columns":
        text = in_file(text, test_lines if " of the test set: " in text else lines)
    return DatasetError(_of_columns(text, path, data))


def _of_columns(text: str, path: Path, data: OwnData) -> str:
    """Return a message about arrays as one about a file: y is its column of labels, X the others."""
    if data.label_names:
        named = f"column {data.label_names[0]!r:.60}" if len(data.label_names) == 1 else "labels"
        text = re.sub("^y( of the test set)?: ", lambda found: f"{named}{found[1] or ''}: ", text)
        text = text.removeprefix("X: ")
        if len(data.label_names) > 1:
            text = re.sub("; give the class of each sample, .*", "; classes take one label column", text)
    return f"{str(path)!r}: {text}"


@contextmanager
def _warnings_of_file(path: Path, data: OwnData) -> Iterator[None]:
    """Give warnings about arrays as ones about the file that they come from, to the caller of `load_dataset`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DatasetWarning)
        yield
    for each in caught:
        if issubclass(each.category, DatasetWarning):
            warnings.warn(_of_columns(str(each.message), path, data), each.category, stacklevel=5)
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def in_file(text: str, lines: Sequence[int]) -> str:
    """Return a message about arrays with the line of a row in place of its number, or without lines with one from 1."""

    def place(found: re.Match[str]) -> str:
        what, row = "" if found[1] in ("X: ", "inputs: ") else found[1], int(found[2])
        return f"{what}line {lines[row]}" if len(lines) else f"{what}row {row + 1}"

    return re.sub("^([A-Za-z ]+: )row ([0-9]+)", place, text)


def find_file(folder: Path, part: str, content: str) -> Path:
    """Return the path of one of the four files, such as `train-images-idx3-ubyte`, gzipped or not.

    part: "train" or "t10k". content: "images-idx3" or "labels-idx1". Raises DatasetError if there is no such file, or
    if it is there gzipped and plain, with different contents.
    """
    names = _names(folder)
    wanted = f"{part}-{content}-ubyte"
    found = [folder / name for name in (f"{wanted}.gz", wanted) if name in names]
    if found:
        return _one_of(found)
    raise DatasetError(f"{str(folder.absolute() / wanted)!r}: not found, with or without .gz; {GIVE}", setting=SETTING)


def _find(
    name_or_folder: str | os.PathLike[str], cache_dir: str | os.PathLike[str] | None, progress: Progress | None
) -> Files:
    if name_or_folder == "":  # as a path it would be the current folder
        raise DatasetError("is empty; give the name of a data set, or the path of a folder", setting=SETTING)
    if isinstance(name_or_folder, str) and name_or_folder in DATASETS:
        if name_or_folder == "mnist" and MNIST_DIR.is_dir():
            return _find_in(MNIST_DIR)
        source = DATASETS[name_or_folder]
        paths = fetch(name_or_folder, cache_dir=cache_dir, progress=progress)
        return Files(paths[:2], paths[2:], source.class_names, source.first_label, source.transposed)
    folder = Path(name_or_folder)
    is_word = len(folder.parts) == 1 and not _is_a_files_name(folder)
    if isinstance(name_or_folder, str) and is_word and not os.path.lexists(folder):
        raise DatasetError(
            f"{name_or_folder!r}: is neither a known data set{nearest(name_or_folder, DATASETS)} nor a folder; choose "
            f"one of {', '.join(DATASETS)}, or give the path of a folder",
            setting=SETTING,
        )
    return _find_in(folder)


def _is_a_files_name(path: Path) -> bool:
    return is_table(path.name) or path.suffix.lower() in (".npz", ".npy")


def _find_in(folder: Path) -> Files:
    names = _names(folder)
    tables = {part: [name for name in names if _is_csv(name) and has_word(name, part)] for part in ("train", "test")}
    idx = [name for name in names if _is_idx(name)]
    if idx:
        others = (
            tables["train"] + tables["test"] + [name for name in names if re.match("test-(images|labels)-idx", name)]
        )
        if others:
            raise DatasetError(
                f"{str(folder.absolute())!r}: has two data sets: {idx[0]!r} and others, and {others[0]!r}; keep one of "
                "them in this folder",
                setting=SETTING,
            )
        train, test = (tuple(find_file(folder, part, content) for content in CONTENTS) for part in PARTS)
        return Files(train, test)
    if any(map(_is_csv, names)):
        both = [name for name in tables["train"] if name in tables["test"]]
        if both:
            raise DatasetError(
                f"{str(folder.absolute())!r}: the name {both[0]!r} has both 'train' and 'test' in it; name each file "
                "after one of them, such as mnist_train.csv",
                setting=SETTING,
            )
        return Files((_find_csv(folder, names, "train"),), (_find_csv(folder, names, "test"),))
    if picture := next((name for name in names if name.lower().endswith(PICTURE_SUFFIXES)), None):
        raise DatasetError(
            f"{str(folder.absolute())!r}: pictures, such as {picture!r}, lie directly in the folder; make one folder "
            "per class in it, and move them there",
            setting=SETTING,
        )
    raise DatasetError(
        f"{str(folder.absolute())!r}: has neither IDX files named like MNIST's, such as train-images-idx3-ubyte.gz, "
        f"nor CSV files; {GIVE}",
        setting=SETTING,
    )


def _is_csv(name: str) -> bool:
    return name.lower().endswith(CSV_SUFFIXES)


def _is_idx(name: str) -> bool:
    return name.startswith(tuple(f"{part}-{content}-ubyte" for part in PARTS for content in CONTENTS))


def _find_csv(folder: Path, names: list[str], part: str) -> Path:
    tables = [name for name in names if _is_csv(name)]
    found = [name for name in tables if has_word(name, part)]
    if len({name.removesuffix(".gz") for name in found}) == 1:
        return _one_of([folder / name for name in found])
    several = f"has several CSV files with {part!r} in the name ({', '.join(found)}); keep one of them"
    none = f"has no CSV file with the word {part!r} in its name, such as mnist_{part}.csv, but {_some(tables)}; {GIVE}"
    raise DatasetError(f"{str(folder.absolute())!r}: {several if found else none}", setting=SETTING)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(map(repr, names[:3]))}{more}"


def _one_of(paths: list[Path]) -> Path:
    """Return the first of a file's forms, gzipped and plain. Raises DatasetError if their contents differ."""
    first = paths[0]
    for other in paths[1:]:
        if not _same_content(first, other):
            raise DatasetError(
                f"{str(first)!r}: has another content than {other.name!r} beside it, so it is unclear which is meant; "
                "keep one of them"
            )
    return first


def _same_content(first: Path, other: Path) -> bool:
    with open_file(first, DatasetError) as (one, _), open_file(other, DatasetError) as (two, _):
        while (piece := one.read(COMPARED)) == two.read(COMPARED):
            if not piece:
                return True
    return False


def _equal(one: Array, other: Array, backend: Backend | None) -> bool:
    xp = np if backend is None else backend.xp
    n = one.shape[0]
    pieces = (slice(i, min(i + PIECE, n)) for i in range(0, n, PIECE))  # because nearly always the first one differs
    return all(bool(xp.all(one[piece, ...] == other[piece, ...])) for piece in pieces)


def _names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, without hidden files."""
    try:
        return visible_names(folder)
    except FileNotFoundError as error:
        kind, give = ("file or folder", GIVE_OWN) if _is_a_files_name(folder) else ("folder", GIVE)
        raise DatasetError(
            f"{str(folder)!r}: no such {kind}; looked for {str(folder.absolute())!r}; {give}", setting=SETTING
        ) from error
    except NotADirectoryError as error:
        raise DatasetError(f"{str(folder)!r}: is not a folder; {GIVE}", setting=SETTING) from error
    except (OSError, ValueError) as error:  # ValueError: the name has characters that a path cannot have
        raise DatasetError(f"{str(folder)!r}: {fault(error)}", setting=SETTING) from error


def _load(paths: tuple[Path, ...], files: Files, backend: Backend | None) -> tuple[Array, Array]:
    match paths:
        case image_file, label_file:
            images, labels = read_idx(image_file, ndim=3), read_idx(label_file, ndim=1)
        case _:
            try:
                images, labels = read_csv(paths[0])
            except CsvError as error:
                raise CsvError(f"{error}; or name the column of the labels, if it is a table with a header") from error
    _check_counts(paths, len(images), len(labels))
    _check_some(paths, images.shape)
    first, last = files.first_label, files.first_label + len(files.class_names) - 1
    outside = (labels < first) | (labels > last)
    if outside.any():
        sample = int(np.argmax(outside))
        raise DatasetError(
            f"{str(paths[-1])!r}: label {labels[sample]} of sample {sample} is outside the {len(files.class_names)} "
            f"classes, {first} to {last}; check that the file belongs to this data set"
        )
    labels -= np.uint8(first)
    if files.transposed:
        images = _transpose(images)
    if backend is None:
        return images, labels
    return backend.asarray(images), backend.asarray(labels)


def _transpose(images: np.ndarray) -> np.ndarray:
    """Transpose each image in place."""
    count, rows, columns = images.shape
    turned = images.reshape(count, columns, rows)
    for start in range(0, count, PIECE):
        turned[start : start + PIECE] = images[start : start + PIECE].swapaxes(1, 2).copy()
    return turned


def _check_counts(paths: tuple[Path, ...], images: int, labels: int) -> None:
    if images != labels:
        raise DatasetError(
            f"{str(paths[0])!r}: has {images} images, {paths[-1].name} has {labels} labels; the numbers must be equal: "
            "fetch both files again"
        )


def _check_some(paths: tuple[Path, ...], shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise DatasetError(f"{str(paths[0])!r}: has no samples (its shape is {shape}); give a file with samples")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[1:]))
