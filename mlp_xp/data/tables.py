"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and pandas, polars and pyarrow do not tell the
line and column of a fault. The price is time: 20 MB/s, where pyarrow reads 150.
"""

import csv
import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.core.dataset import MOST_NAMES
from mlp_xp.core.inputs import check_columns, check_names
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import FLAGS, Stream, number_of, open_file, read_rows, visible_names
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import Argument, DatasetError, not_installed, printable, some

# How pandas, R and spreadsheets write a missing value.
MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "<na>", "nat"}
FILL = "fill it in, or leave out the row or the column"
# A file is for training or for testing if its name has one of these words, between characters that are not letters.
WORDS = {"train": "train", "test": "test|t10k"}

Floats = npt.NDArray[np.float64]


class Table(NamedTuple):
    """A table of numbers, with labels."""

    inputs: Floats
    """float64 (n, features), finite; n and features are at least 1."""
    labels: npt.NDArray[Any] | None
    """(n,), or (n, columns) for several; None if no label was asked for. Text in CSV, whatever it means."""
    feature_names: tuple[str, ...]
    """The names of the columns of features, in the order of the file."""
    label_names: tuple[str, ...]
    """The names of the columns of labels."""
    file: Path
    lines: Sequence[int] = ()
    """The line in a CSV file on which each row begins, counted from 1; empty for other files."""


def read_table(path: Path, how: Origin, features: Sequence[str] | None = None) -> Table:
    """Read a table with a header: CSV, gzipped or plain, or another kind in KINDS, detected by content, not by name.

    how: the columns of labels and those to ignore. features: the columns of features, in this order; others are
    ignored. By default all columns but these; labels are needed then. Features are finite numbers or booleans, which
    become 1 and 0. A label that marks a missing value, such as NA, is refused.

    Raises DatasetError, which names the file, the line (CSV) or row, counted from 1, and the column.
    """
    with open_file(path) as stream:
        kind = next(kind for kind in KINDS if stream.peek(len(kind.magic)).startswith(kind.magic))
        choice = _Choice(how, features)
        table, labels, lines = kind.read(stream, choice)
    found = None if not labels else labels[0] if len(labels) == 1 else np.stack(labels, axis=1)
    return Table(table, found, tuple(choice.features), tuple(choice.labels), path, lines)


def read_tables(path: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a table, or a folder with two, for training and for testing, whose columns are found by their names."""
    files, tables = [find_table(path, part) for part in WORDS] if path.is_dir() else [path], list[Table]()
    for file in files:
        tables.append(read_table(file, how, tables[0].feature_names if tables else features))
    train, *held = (Part(table.inputs, table.labels, table.file, table.lines) for table in tables)
    names = tables[0].feature_names, tables[0].label_names
    written = any(len(table.lines) for table in tables)
    return Samples(train, held[0] if held else None, "columns", *names, are_written=written)


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return has_suffix([name], SUFFIXES)


def find_table(folder: Path, part: str) -> Path:
    """Return the only table in a folder for a part, "train" or "test", by its name. Raises DatasetError."""
    tables = [name for name in visible_names(folder) if is_table(name)]
    found = [name for name in tables if re.search(rf"(?<![^\W\d_])({WORDS[part]})(?![^\W\d_])", name.lower())]
    if len(found) == 1:
        return folder / found[0]
    raise DatasetError(
        f"has {len(found) or 'no'} tables with the word {part!r} in the name, but {some(found or tables, 3)}",
        remedy="give a folder with one for training and one for testing, such as train.csv and test.csv, or one file",
        file=folder,
    )


class _Choice:
    """Which columns are features, and which are labels."""

    def __init__(self, how: Origin, features: Sequence[str] | None) -> None:
        self.how, self.given = how, features
        self.features, self.labels = list[str](), list[str]()

    def of(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Choose from the names of a table's columns. Raises DatasetError."""
        check_names(names)
        if len(names) > MOST_NAMES:
            raise DatasetError(f"has {len(names)} columns", remedy="save so many features as arrays, in a .npz file")
        if self.given is None:
            if self.how.label is None:
                fault = f"needs the name of the column with the labels: {some(names)}"
                raise DatasetError(fault, setting="label")
            for number, name in enumerate(names, 1):
                if not name or name.startswith("__index_level_"):
                    remedy = "name it, or leave it out if it is a row number (in pandas, write with index=False)"
                    raise DatasetError(f"column {number} has no name", remedy=remedy)
        self.labels = _split(self.how.label, names)
        ignored = _split(self.how.exclude, names) if self.given is None else []
        check_columns([*self.labels, *ignored, *(self.given or ())], names)
        out = {*self.labels, *ignored}
        self.features = [name for name in names if name not in out] if self.given is None else [*self.given]
        if not self.features:
            raise DatasetError("has no columns but the labels and those to ignore", remedy="give a table with features")
        return self.features, self.labels


def _split(given: str | None, names: Iterable[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given is None or given in names:
        return [] if given is None else [given]
    return [*dict.fromkeys(name.strip() for name in next(csv.reader([given], skipinitialspace=True)))]


# CSV.


def _read_csv(stream: Stream, choice: _Choice) -> tuple[Floats, list[npt.NDArray[Any]], Sequence[int]]:
    rows = read_rows(stream)
    number, names = next(rows, (0, []))
    if not names:
        raise DatasetError("is empty", remedy="give a table with the names of its columns in the first line")
    names = [name.strip() for name in names]
    _check_header(names, number)
    chosen, labelled = choice.of(names)
    places = {name: i for i, name in enumerate(names)}
    columns, label_columns = ([places[name] for name in each] for each in (chosen, labelled))
    values, lines, texts = array("d"), array("q"), [list[str]() for _ in labelled]
    flags: list[int] = []
    for line, row in rows:
        fields = [row[i] for i in columns]
        if not lines:
            flags = [i for i, field in enumerate(fields) if field.strip().lower() in FLAGS]
        for i in flags:
            fields[i] = FLAGS.get(fields[i].strip().lower(), "true or false")
        try:
            if any("_" in field for field in fields):  # a number for Python alone
                raise ValueError
            values.extend([*map(float, fields)])
        except ValueError as error:
            wrong = next(i for i, field in enumerate(fields) if number_of(field) is None)
            raise _not_a_number(row[columns[wrong]].strip(), line, chosen[wrong]) from error
        lines.append(line)
        for text, i in zip(texts, label_columns, strict=True):
            text.append(row[i].strip())
    if not lines:
        raise DatasetError("there are no rows below the header", remedy="give a table with rows", line=number)
    table = np.frombuffer(values, np.float64).reshape(len(lines), -1)
    _check_finite(table, chosen, lines)
    for text, name in zip(texts, labelled, strict=True):
        _check_marks(text, name, lines)
    return table, [*map(np.array, texts)], lines


def _check_header(names: Sequence[str], line: int) -> None:
    """Raise DatasetError if a first row does not look like the names of columns separated by commas."""
    if len(names) == 1 and (found := re.search("[;\t|]", names[0])):
        fault = f"is one column, {names[0]!r:.60}; the columns seem to be separated by {found[0]!r}"
        raise DatasetError(fault, remedy="save the table with commas between them", line=line)
    # Names that are 0, 1, 2 and so on are the column numbers that pandas writes.
    if all(number_of(name) is not None for name in names) and [*names] != [str(i) for i in range(len(names))]:
        fault = f"all names of columns are numbers, such as {names[0]!r:.60}: the header seems to be missing"
        raise DatasetError(fault, remedy="put the names of the columns into the first line", line=line)


def _not_a_number(word: str, line: int, name: str) -> DatasetError:
    if word.lower() in MISSING:
        fault = f"there is no value{f', but {word!r}' if word else ''}"
        return DatasetError(fault, remedy=FILL, line=line, column=name)
    leave_out = Argument("exclude", name)
    remedy = ("correct it (decimals have a point), encode text as numbers, or leave the column out with ", leave_out)
    return DatasetError(f"{word!r:.60} is not a number", remedy=remedy, line=line, column=name)


# All kinds.


def _error(fault: str, remedy: str, row: int, name: str, lines: Sequence[int]) -> DatasetError:
    line, row_number = (lines[row], None) if len(lines) else (None, row + 1)
    return DatasetError(fault, remedy=remedy, column=name, line=line, row=row_number)


def _check_finite(values: Floats, names: Sequence[str], lines: Sequence[int]) -> None:
    """Raise DatasetError for a value (n, columns) that is NaN or infinite."""
    if not (finite := np.isfinite(values)).all():
        row, column = divmod(int(np.argmin(finite)), values.shape[1])
        value = values[row, column]
        reason = "there is no value, but 'nan'" if np.isnan(value) else f"{value} is infinite, or too large"
        raise _error(reason, FILL, row, names[column], lines)


def _check_marks(texts: Sequence[str], name: str, lines: Sequence[int]) -> None:
    """Raise DatasetError for a label that marks a missing value; a minus does not beside a plus."""
    marks = {text for text in {*texts} if text.strip().lower() in MISSING and not (text == "-" and "+" in texts)}
    if marks:
        row = next(row for row, text in enumerate(texts) if text in marks)
        remedy = "fill it in, or leave out the row; if it is a class, give that another name"
        raise _error(f"{texts[row]!r} marks a missing label", remedy, row, name, lines)


# Parquet.


def _read_parquet(stream: Stream, choice: _Choice) -> tuple[Floats, list[npt.NDArray[Any]], Sequence[int]]:
    def read(parquet: Any) -> Any:
        with parquet.ParquetFile(stream) as file:
            features, labels = choice.of(file.schema_arrow.names)
            return file.read([*features, *labels])

    return _read_arrow("Parquet", "pyarrow.parquet", read, choice)


def _read_arrow(
    kind: str, module: str, read: Callable[[Any], Any], choice: _Choice
) -> tuple[Floats, list[npt.NDArray[Any]], Sequence[int]]:
    """Read a file of a kind that a module of pyarrow knows, by a function that returns the chosen columns."""
    try:
        import importlib

        import pyarrow as pa

        library = importlib.import_module(module)
    except ImportError as error:
        raise DatasetError(f"{kind} needs pyarrow, which {not_installed('pyarrow')}") from error
    try:
        columns = read(library)
        if not columns.num_rows:
            raise DatasetError("there are no rows", remedy="give a table with rows")
        table = np.stack([_floats(columns.column(name), name) for name in choice.features], axis=1)
        return table, [_arrow_labels(columns.column(name), name) for name in choice.labels], ()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise DatasetError(f"is a damaged {kind} file: {reason}", remedy="write it again") from error


def _floats(values: Any, name: str) -> Floats:
    """Return a column of numbers or booleans as float64 (n,)."""
    from pyarrow import float64, types

    kind = values.type
    if not any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        remedy = ("encode it as numbers, or leave it out with ", Argument("exclude", name))
        raise DatasetError(f"the type is {kind}", remedy=remedy, column=name)
    _check_nulls(values, name)
    if not types.is_floating(kind):
        values = values.cast(float64(), safe=False)  # a large integer is rounded, as in NumPy
    result = values.to_numpy().astype(np.float64)
    _check_finite(result[:, None], [name], ())
    return result


def _arrow_labels(values: Any, name: str) -> npt.NDArray[Any]:
    """Return the labels in a column, (n,): strings, booleans, int64 or float64."""
    from pyarrow import int64, types

    _check_nulls(values, name)
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if types.is_integer(kind):
        return values.cast(int64()).to_numpy()
    if types.is_floating(kind) or types.is_decimal(kind):
        return _floats(values, name)
    if types.is_boolean(kind):
        return values.to_numpy()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        texts = values.to_pylist()
        _check_marks(texts, name, ())
        return np.array(texts)
    raise DatasetError(f"the labels have the type {kind}", remedy="give strings, integers or floats", column=name)


def _check_nulls(values: Any, name: str) -> None:
    if values.null_count:
        raise _error("there is no value", FILL, int(np.argmax(values.is_null().to_numpy())), name, ())


class Kind(NamedTuple):
    """A kind of table: the ends of names of files, the first bytes, and the function that reads it."""

    suffixes: tuple[str, ...]
    magic: bytes
    read: Callable[[Stream, _Choice], tuple[Floats, list[npt.NDArray[Any]], Sequence[int]]]


KINDS = (
    Kind((".parquet",), b"PAR1", _read_parquet),
    Kind((".csv", ".csv.gz"), b"", _read_csv),  # the last, because any file may be one
)
SUFFIXES = tuple(suffix for kind in KINDS for suffix in kind.suffixes)
FORMAT = Format(
    "a table",
    lambda path, names, how: not path.is_dir() or has_suffix(names, SUFFIXES),
    read_tables,
    options=("label", "exclude"),
)
