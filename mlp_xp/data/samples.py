"""What every format reads: samples as they are in a file, before a task gives their
labels a meaning.
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
    """A `Table`, or (n, ...), anything that `from_arrays` takes; once they have been
    read, an array on the device.
    """
    labels: Any
    """(n,), or (n, columns) for several columns of labels; None if none were asked for.
    """
    file: Path | zipfile.Path | None = None
    """Where they come from; None for arrays in memory."""
    weights: Any = None
    """The weights of the samples of a training set, (n,); None for equal ones."""


@dataclass(frozen=True)
class RawSamples:
    """A training set, perhaps a test set, and what is known about both."""

    train: Part
    test: Part | None = None
    form: str = "arrays"
    """As `Signature.form`."""
    columns: Columns | None = None
    """How the columns of a table become features, once that is known."""
    label_names: tuple[str, ...] = ()
    """Its columns of labels."""
    class_names: tuple[str, ...] | None = None
    """The names of the classes 0, 1, ...; None where the labels themselves are names or
    numbers.
    """
    weight_names: tuple[str, ...] = ()
    """Its column of weights, if any."""

    @contextmanager
    def naming(self, part: Part) -> Iterator[None]:
        """Have errors about the arrays of a part, X and y, name its file, the line, and
        the column.
        """
        try:
            yield
        except DatasetError as error:
            features = self.columns.feature_names if self.columns else ()
            columns = {
                "X": features,
                "y": self.label_names,
                "sample_weight": self.weight_names,
            }
            if error.setting not in columns:
                raise
            names = columns[error.setting]
            if names and isinstance(error.column, int):
                error.column = names[error.column]
            if part.file is None:
                error.setting += " of the test set" * (part is self.test)
                raise
            if error.setting != "X" and error.column is None and len(names) == 1:
                error.column = names[0]
            if error.row is not None and self.form == "columns":
                lines = part.inputs.lines
                error.line, error.row = (
                    (lines[error.row], None) if len(lines) else (None, error.row + 1)
                )
            error.file, error.setting = part.file, None
            raise


class Format(NamedTuple):
    """A form in which data may be stored: a row in `datasets.FORMATS`."""

    holds: str
    """What such a file or folder holds, for messages."""
    is_it: Callable[[Path, Sequence[str], DataOptions], bool]
    """`is_it(path, names, how)`: whether a path is in this form. names: those in the
    folder, or the file's own.
    """
    read: Callable[[Path, DataOptions, Columns | None], RawSamples]
    """`read(path, how, known)`. known: the columns of a table that a network was
    trained on; by default all.
    """
    options: tuple[str, ...] = ()
    """The fields of `DataOptions` that mean something for this form alone; their default is
    None.
    """
    is_own: bool = True
    """Whether these are data of your own; otherwise they are images in the form of
    MNIST.
    """


def has_suffix(names: Sequence[str], suffixes: tuple[str, ...]) -> bool:
    """Return whether one of several names ends with one of several suffixes, in small
    or capital letters.
    """
    return any(name.lower().endswith(suffixes) for name in names)
