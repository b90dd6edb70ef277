"""Your own files as arrays on the host: what a file or folder holds, and the reader for it."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from mlp_xp.data.array_files import read_array_files
from mlp_xp.data.origin import Origin
from mlp_xp.data.picture_folders import read_picture_folder
from mlp_xp.data.reading import visible_names
from mlp_xp.data.tables import Table, read_table
from mlp_xp.errors import DatasetError

# A file is for training or for testing if its name has one of these words, between characters that are no letters.
WORDS = {"train": "train", "test": "test|t10k"}

Part = tuple[npt.NDArray[Any], Any]


class OwnData(NamedTuple):
    """Features and labels on the host, for `from_arrays`."""

    train: Part
    test: Part | None
    """None if the files have no test set."""
    inputs: str
    """A key of READERS: the field of `Dataset`."""
    class_names: tuple[str, ...] | None = None
    """The names of the classes 0, 1, ... of pictures; None where the labels themselves are names or numbers."""
    feature_names: tuple[str, ...] = ()
    """The names of a table's columns of features."""
    label_names: tuple[str, ...] = ()
    """The names of its columns of labels."""
    lines: tuple[Sequence[int], ...] = ((), ())
    """The line of each row of tables in CSV, for the training set and the test set."""


def read_own_data(path: Path, origin: Origin, *, features: Sequence[str] | None = None, least: int = 2) -> OwnData:
    """Read a file or folder in one of the formats of READERS.

    origin: how to read it. features: the columns of a table to use as features; by default all others. least: the
    number of classes that there must be of pictures. Raises DatasetError with the setting "label", "exclude" or
    "picture_size" if it is missing, or given where it means nothing, and what the readers raise.
    """
    kind = kind_of(path)
    for setting, needed in (("picture_size", "pictures"), ("label", "columns"), ("exclude", "columns")):
        given = getattr(origin, setting)
        if given is not None and kind != needed:
            lacks = "has no pictures" if needed == "pictures" else f"is no table, so it has no column {given!r}"
            raise DatasetError(f"{str(path)!r} {lacks}; leave it out", setting=setting)
    return READERS[kind].read(path, origin, features, least)


def kind_of(path: Path) -> str:
    """Return the key in READERS of what a file or folder holds, by the names of the file or of those in the folder."""
    is_folder = path.is_dir()
    names = visible_names(path) if is_folder else [path.name]
    for kind, reader in READERS.items():
        if any(name.lower().endswith(reader.suffixes) for name in names):
            return kind
    return "pictures" if is_folder else "columns"


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return name.lower().endswith(READERS["columns"].suffixes)


def find_table(folder: Path, part: str) -> Path:
    """Return the only table in a folder for a part, "train" or "test", by its name. Raises DatasetError."""
    tables = [name for name in visible_names(folder) if is_table(name)]
    found = [name for name in tables if re.search(rf"(?<![^\W\d_])({WORDS[part]})(?![^\W\d_])", name.lower())]
    if len(found) == 1:
        return folder / found[0]
    shown = ", ".join(map(repr, (found or tables)[:3]))
    raise DatasetError(
        f"{str(folder)!r}: has {len(found) or 'no'} tables with the word {part!r} in the name, but {shown}; give a "
        "folder with one for training and one for testing, such as train.csv and test.csv, or give one file"
    )


# The readers. Each takes of the arguments of `read_own_data` what concerns it.


def _read_arrays(path: Path, origin: Origin, features: Sequence[str] | None, least: int) -> OwnData:
    return OwnData(*read_array_files(path), "arrays")


def _read_tables(path: Path, origin: Origin, features: Sequence[str] | None, least: int) -> OwnData:
    files, parts = [find_table(path, part) for part in WORDS] if path.is_dir() else [path], list[Table]()
    for file in files:  # the columns of a test set are those of the training set, by name
        chosen = parts[0].feature_names if parts else features
        classes = origin.task == "classes"
        parts.append(read_table(file, origin.label, features=chosen, classes=classes, exclude=origin.exclude))
    (train, lines), *held = [((table.features, table.labels), table.lines) for table in parts]
    test, test_lines = held[0] if held else (None, ())
    return OwnData(train, test, "columns", None, parts[0].feature_names, parts[0].label_names, (lines, test_lines))


def _read_pictures(path: Path, origin: Origin, features: Sequence[str] | None, least: int) -> OwnData:
    size = None if origin.picture_size is None else (origin.picture_size, origin.picture_size)
    train, test, class_names = read_picture_folder(path, size=size, least=least)
    return OwnData(train, test, "pictures", class_names)


class Reader(NamedTuple):
    """A format of your own data: the ends of names of files, in small letters, and the function that reads them."""

    suffixes: tuple[str, ...]
    read: Callable[[Path, Origin, Sequence[str] | None, int], OwnData]


READERS = {
    "arrays": Reader((".npz", ".npy"), _read_arrays),
    "columns": Reader((".csv", ".csv.gz", ".parquet"), _read_tables),
    "pictures": Reader((), _read_pictures),
}
