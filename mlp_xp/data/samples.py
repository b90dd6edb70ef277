"""Samples as they are in a file, before a task gives their labels a meaning.

Every format reads `RawSamples`.
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.data.columns import Columns
from mlp_xp.data.options import DataOptions
from mlp_xp.errors import DatasetError


class Part(NamedTuple):
    """A training set or a test set."""

    inputs: Any
    """A `Table`, or anything (n, ...) that `from_arrays` takes."""
    labels: Any
    """(n,), or (n, columns) for several columns of labels; None if none were asked for.
    """
    file: Path | zipfile.Path | None = None
    """The file that was read; None for arrays in memory."""
    weights: Any = None
    """The weights of the samples of a training set, (n,); None for equal weights."""


@dataclass(frozen=True)
class RawSamples:
    """A training set, perhaps a test set, and the facts about both."""

    train: Part
    test: Part | None = None
    form: str = "arrays"
    """As `Signature.form`."""
    columns: Columns | None = None
    """How the columns of a table become features; None until they are fitted."""
    label_names: tuple[str, ...] = ()
    """The columns of labels of a table."""
    class_names: tuple[str, ...] | None = None
    """The names of the classes 0, 1, ...; None where the labels themselves are names or
    numbers.
    """
    weight_names: tuple[str, ...] = ()
    """The column of weights of a table, if any."""
    other_names: tuple[str, ...] = ()
    """The columns of a table that are not features."""

    @contextmanager
    def naming(self, part: Part) -> Iterator[None]:
        """Name the file, line and column of a part in errors about its arrays."""
        try:
            yield
        except DatasetError as error:
            self._add_place(error, part)
            raise

    def _add_place(self, error: DatasetError, part: Part) -> None:
        names_of = {
            "X": self.columns.feature_names if self.columns else (),
            "y": self.label_names,
            "sample_weight": self.weight_names,
        }
        array = error.setting
        if array not in names_of:
            return
        names = names_of[array]
        if names and isinstance(error.column, int):
            error.column = names[error.column]
        if part.file is None:
            if part is self.test:
                error.setting = f"{array} of the test set"
            return
        if array != "X" and error.column is None and len(names) == 1:
            error.column = names[0]
        if error.row is not None and self.form == "columns":
            lines = part.inputs.lines
            if len(lines):
                error.line, error.row = lines[error.row], None
            else:
                error.row += 1  # rows of a table count from 1
        error.file, error.setting = part.file, None


class Format(NamedTuple):
    """A form in which data may be stored: a row in `datasets.FORMATS`."""

    holds: str
    """The content of a file or folder in this form, for messages."""
    is_it: Callable[[Path, Sequence[str], DataOptions], bool]
    """`is_it(path, names, how)`: whether a path is in this form. names: the names of
    the files in the folder, or the file's own name.
    """
    read: Callable[[Path, DataOptions, Columns | None], RawSamples]
    """`read(path, how, known)`. known: the columns of a table that a network was
    trained on; None for all.
    """
    options: tuple[str, ...] = ()
    """The fields of `DataOptions` that apply only to this form."""
    is_own: bool = True
    """Whether these are data of your own, and not images in the form of MNIST."""


def has_suffix(names: Sequence[str], suffixes: tuple[str, ...]) -> bool:
    """Return whether one of several names ends with one of several suffixes.

    The case of letters is ignored.
    """
    return any(name.lower().endswith(suffixes) for name in names)
