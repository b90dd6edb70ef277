"""Your own files as arrays on the host: which reader a file or folder needs, and its parts."""

import re
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from mlp_xp.arrays import TASKS, DatasetError
from mlp_xp.data.array_files import read_npy_folder, read_npz
from mlp_xp.data.picture_folders import read_picture_folder
from mlp_xp.data.tables import column_names, read_table
from mlp_xp.dataset import Origin

LARGEST_SIDE = 2048
TABLE_SUFFIXES = (".csv", ".csv.gz", ".parquet")
# A file is for training or for testing if its name has one of these words, between characters that are no letters.
WORDS = {"train": ("train",), "test": ("test", "t10k")}

LISTED = 12

Part = tuple[npt.NDArray[Any], Any]


class OwnData(NamedTuple):
    """Features and labels on the host, for `Dataset.from_arrays`."""

    train: Part
    test: Part | None
    """None if the files have no test set."""
    class_names: tuple[str, ...] | None
    """The names of the classes 0, 1, ... of pictures; None where the labels themselves are names or numbers."""
    feature_names: tuple[str, ...] | None
    """The names of a table's columns."""
    label_names: tuple[str, ...] = ()
    """The names of its columns of labels."""
    lines: tuple[Sequence[int], ...] = ()
    """Of tables in CSV, the line of each row, for the training set and the test set."""

    @property
    def inputs(self) -> str:
        """The field of `Dataset`."""
        return "columns" if self.feature_names else "pictures" if self.class_names else "arrays"


def check_origin(origin: Origin) -> None:
    """Raise DatasetError for a value of the wrong type or out of range, with the setting that it is of."""
    label, fraction, seed, size, task, *choices, exclude = origin
    for name, valid, wanted in (
        *(
            (name, each is None or (isinstance(each, str) and each), "the name of a column")
            for name, each in (("label", label), ("exclude", exclude))
        ),
        ("test_fraction", _is_number(fraction, Real) and 0 <= fraction < 1, "at least 0 and below 1"),
        ("split_seed", _is_number(seed, Integral) and 0 <= seed < 1 << 32, "a whole number from 0 to 2**32 - 1"),
        (
            "picture_size",
            size is None or (_is_number(size, Integral) and 1 <= size <= LARGEST_SIDE),
            f"a whole number from 1 to {LARGEST_SIDE}",
        ),
        ("task", task is None or task in TASKS, f"one of {', '.join(TASKS)}"),
        *(
            (name, type(each) is bool, "true or false")
            for name, each in zip(Origin._fields[5:-1], choices, strict=True)
        ),
    ):
        if not valid:
            value = getattr(origin, name)
            raise DatasetError(f"{value!r:.80} is not valid; it must be {wanted}", setting=name)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def read_own_data(
    path: Path,
    *,
    label: str | None = None,
    exclude: str | None = None,
    picture_size: int | None = None,
    features: Sequence[str] | None = None,
    least: int = 2,
    classes: bool = False,
) -> OwnData:
    """Read a file or folder.

    path: a table (see `tables.read_table`) or a .npz archive (`array_files.read_npz`); or a folder with two tables, one
    with the word `train` in its name and one with `test`; with .npy files (`array_files.read_npy_folder`); or with
    pictures (`picture_folders.read_picture_folder`). label: the column of the labels of tables, which they need, or
    several, see `read_table`. exclude: likewise, those that are no features.
    picture_size: the side of a square to resize pictures to. features: the columns of a table, by default all others.
    least: of the classes of pictures. classes: whether labels of tables are names of classes, see `read_table`.

    Raises DatasetError with the setting "label", "exclude" or "picture_size" if it is missing, or given where it means
    nothing, and what the readers raise.
    """
    names = visible_names(path) if path.is_dir() else None
    where, kind = repr(str(path)), _kind(path, names)
    if picture_size is not None and kind != "pictures":
        raise DatasetError(f"{where} has no pictures; leave it out", setting="picture_size")
    for setting, given in (("label", label), ("exclude", exclude)):
        if given is not None and kind != "tables":
            raise DatasetError(f"{where} is no table, so it has no column {given!r}; leave it out", setting=setting)
    match kind:
        case "arrays":
            arrays = read_npz(path) if names is None else read_npy_folder(path)
            return OwnData(arrays.train, arrays.test, None, None)
        case "pictures":
            size = None if picture_size is None else (picture_size, picture_size)
            pictures = read_picture_folder(path, size=size, least=least)
            train, *tests = [(part.images, part.labels) for part in (pictures.train, pictures.test) if part]
            return OwnData(train, tests[0] if tests else None, pictures.class_names, None)
    files = [path] if names is None else [path / _find_table(path, names, part) for part in WORDS]
    if label is None:
        known = column_names(files[0])
        shown = ", ".join(map(repr, known[:LISTED])) + (" and more" if len(known) > LISTED else "")
        raise DatasetError(f"{str(files[0])!r} needs the name of the column with the labels: {shown}", setting="label")
    table = read_table(files[0], label, features=features, classes=classes, exclude=exclude)
    held = read_table(files[1], label, features=table.feature_names, classes=classes) if len(files) > 1 else None
    test = held and (held.features, held.labels)
    lines = table.lines, held.lines if held else ()
    return OwnData((table.features, table.labels), test, None, table.feature_names, table.label_names, lines)


def visible_names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, sorted, without hidden files. Raises OSError and ValueError."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _kind(path: Path, names: Sequence[str] | None) -> str:
    """Return what a file, or a folder with these names in it, is: arrays, pictures or tables."""
    if names is None and path.suffix.lower() == ".npy":
        raise DatasetError(f"{str(path)!r}: is one array; give a folder with X.npy and y.npy, or a .npz archive")
    if names is None:
        return "arrays" if path.suffix.lower() == ".npz" else "tables"
    if any(name.lower().endswith(".npy") for name in names):
        return "arrays"
    return "tables" if any(map(is_table, names)) else "pictures"


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return name.lower().endswith(TABLE_SUFFIXES)


def has_word(name: str, part: str) -> bool:
    """Return whether the name of a file says that it belongs to a part, "train" or "test"."""
    return re.search(rf"(?<![^\W\d_])({'|'.join(WORDS[part])})(?![^\W\d_])", name.lower()) is not None


def _find_table(folder: Path, names: Sequence[str], part: str) -> str:
    tables = [name for name in names if is_table(name)]
    found = [name for name in tables if has_word(name, part)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(map(repr, (found or tables)[:3]))
    raise DatasetError(
        f"{str(folder)!r}: has {len(found) or 'no'} tables with the word {part!r} in the name, but {shown}; give a "
        "folder with one for training and one for testing, such as train.csv and test.csv, or give one file"
    )
