"""The forms in which data may be stored, one row each. The first one that fits a file or folder reads it."""

from collections.abc import Sequence
from pathlib import Path

from mlp_xp.data import array_files, mnist_files, picture_folders, tables
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import visible_names
from mlp_xp.data.samples import Format, Samples
from mlp_xp.errors import DatasetError

FORMATS: tuple[Format, ...] = (
    mnist_files.IDX,
    mnist_files.CSV,
    array_files.FORMAT,
    tables.FORMAT,
    picture_folders.FORMAT,
)
# A task is for data of your own, in any form.
OPTIONS = ("task", *(option for row in FORMATS for option in row.options))


def format_of(path: Path, how: Origin) -> Format:
    """Return the form of a file or folder, which must exist, by its name or by the names in it."""
    names = visible_names(path) if path.is_dir() else [path.name]
    return next(row for row in FORMATS if row.is_it(path, names, how))


def read_samples(path: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a file or folder in one of the forms. features: the columns of a table; by default all but the labels.

    Raises DatasetError, also for an option that means nothing for this form.
    """
    row = format_of(path, how)
    check_options(str(path), row, how)
    return row.read(path, how, features)


def check_options(name: str, row: Format | None, how: Origin) -> None:
    """Raise DatasetError for an option that means nothing for data in a form; None stands for a published data set."""
    known = ("task", *row.options) if row and row.is_own else ()
    for option in OPTIONS:
        if option not in known and getattr(how, option) is not None:
            holds = row.holds if row else mnist_files.IDX.holds
            fault = f"{name!r} holds {holds}, for which this means nothing"
            raise DatasetError(fault, remedy="leave it out", setting=option)
