"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and pandas, polars and pyarrow do not tell the
line and column of a fault. The price is time: 20 MB/s, where pyarrow reads 150.
"""

import csv
import importlib
import io
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.core.dataset import MOST_NAMES
from mlp_xp.core.inputs import check_columns, check_names
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import FLAGS, MISSING, Stream, number_of, open_file, visible_names
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import Argument, DatasetError, not_installed, printable, some

# A file is for training or for testing if its name has one of these words, between characters that are not letters.
WORDS = {"train": "train", "test": "test|t10k"}

Columns = tuple[list[str], list[str], npt.NDArray[Any], list[npt.NDArray[Any]], Sequence[int]]
"""The names of the features and of the labels, the features (n, features), each column of labels (n,), and the line of
each row in a text file."""


def read_table(path: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a table with a header: CSV, gzipped or plain, or another kind in KINDS, detected by content, not by name.

    how: the columns of labels and those to ignore. features: the columns of features, in this order; others are
    ignored. By default all columns but these; labels are needed then. The features in CSV are numbers or booleans,
    which become 1 and 0; its labels are text, whatever they mean. Other tables are returned as they are.

    Raises DatasetError, which names the file, the line (CSV) or row, counted from 1, and the column.
    """
    with open_file(path) as stream:
        kind = next(kind for kind in KINDS if stream.peek(len(kind.magic)).startswith(kind.magic))
        chosen, labelled, inputs, labels, lines = kind.read(stream, how, features)
    found = None if not labels else labels[0] if len(labels) == 1 else np.stack(labels, axis=1)
    names = tuple(chosen), tuple(labelled)
    return Samples(Part(inputs, found, path, lines), None, "columns", *names, are_written=bool(len(lines)))


def read_tables(path: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a table, or a folder with two, for training and for testing, whose columns are found by their names."""
    if not path.is_dir():
        return read_table(path, how, features)
    train = read_table(find_table(path, "train"), how, features)
    test = read_table(find_table(path, "test"), how, train.feature_names)
    return replace(train, test=test.train, are_written=train.are_written or test.are_written)


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


def _choose(names: Sequence[str], how: Origin, features: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the names of the features and of the labels from those of a table's columns. Raises DatasetError."""
    check_names(names)
    if len(names) > MOST_NAMES:
        raise DatasetError(f"has {len(names)} columns", remedy="save so many features as arrays, in a .npz file")
    if features is None:
        if how.label is None:
            raise DatasetError(f"needs the name of the column with the labels: {some(names)}", setting="label")
        for number, name in enumerate(names, 1):
            if not name or name.startswith("__index_level_"):
                remedy = "name it, or leave it out if it is a row number (in pandas, write with index=False)"
                raise DatasetError(f"column {number} has no name", remedy=remedy)
    labels, ignored = _split(how.label, names), _split(how.exclude, names) if features is None else []
    check_columns([*labels, *ignored, *(features or ())], names)
    chosen = [name for name in names if name not in {*labels, *ignored}] if features is None else [*features]
    if not chosen:
        raise DatasetError("has no columns but the labels and those to ignore", remedy="give a table with features")
    return chosen, labels


def _split(given: str | None, names: Iterable[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given is None or given in names:
        return [] if given is None else [given]
    return [*dict.fromkeys(name.strip() for name in next(csv.reader([given], skipinitialspace=True)))]


# CSV.


def _read_csv(stream: Stream, how: Origin, features: Sequence[str] | None) -> Columns:
    rows = read_rows(stream)
    number, names = next(rows, (0, []))
    if not names:
        raise DatasetError("is empty", remedy="give a table with the names of its columns in the first line")
    names = [name.strip() for name in names]
    _check_header(names, number)
    chosen, labelled = _choose(names, how, features)
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
    return chosen, labelled, table, [*map(np.array, texts)], lines


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
        fault, remedy = f"there is no value{f', but {word!r}' if word else ''}", "fill it in, or leave out the row"
        return DatasetError(fault, remedy=remedy, line=line, column=name)
    leave_out = Argument("exclude", name)
    words = ("correct it (decimals have a point), encode text as numbers, or leave the column out with ", leave_out)
    return DatasetError(f"{word!r:.60} is not a number", remedy=words, line=line, column=name)


def read_rows(stream: Stream) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of its first line, from 1.

    CSV is text in UTF-8 with commas between the fields, which may be quoted as in RFC 4180. Raises DatasetError for
    other text, and for a row with more or fewer fields than the first.
    """
    number, width = 1, 0
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(_checked_lines(text), strict=True, skipinitialspace=True)
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip() or width == 1):
                    width = width or len(row)
                    if len(row) != width:
                        raise DatasetError(
                            f"has {len(row)} columns, the first row has {width}",
                            remedy="check the commas and quotes from there on",
                            line=number,
                        )
                    yield number, row
                number = reader.line_num + 1
        except csv.Error as error:
            raise DatasetError(str(error), remedy="check the quotes from there on", line=number) from error


def _checked_lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(text, 1):
        if not line.isascii() and (wrong := re.search("[\udc80-\udcff]", line)):
            byte = ord(wrong[0]) - 0xDC00
            remedy = "save the file as CSV in UTF-8"
            raise DatasetError(f"the byte 0x{byte:02x} is not UTF-8", remedy=remedy, line=number)
        yield line


# Tables of pyarrow.


def _read_parquet(stream: Stream, how: Origin, features: Sequence[str] | None) -> Columns:
    def read(parquet: Any) -> tuple[Any, list[str], list[str]]:
        with parquet.ParquetFile(stream) as file:
            chosen, labelled = _choose(file.schema_arrow.names, how, features)
            return file.read([*chosen, *labelled]), chosen, labelled

    return _read_arrow("Parquet", "parquet", read)


def _read_arrow(kind: str, module: str, read: Callable[[Any], tuple[Any, list[str], list[str]]]) -> Columns:
    """Read a kind of file that a module of pyarrow knows. read: called with the module, returns columns and names."""
    try:
        import pyarrow as pa

        library = importlib.import_module(f"pyarrow.{module}")
    except ImportError as error:
        raise DatasetError(f"{kind} needs pyarrow, which {not_installed('pyarrow')}") from error
    try:
        table, chosen, labelled = read(library)
        if not table.num_rows:
            raise DatasetError("there are no rows", remedy="give a table with rows")
        features, labels = ([_values(table.column(name), pa) for name in names] for names in (chosen, labelled))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise DatasetError(f"is a damaged {kind} file: {reason}", remedy="write it again") from error
    inputs = np.stack(features, axis=1)
    return chosen, labelled, inputs.astype(np.float64) if inputs.dtype.kind in "biuf" else inputs, labels, ()


def _values(column: Any, pa: Any) -> npt.NDArray[Any]:
    """Return the values of a column, (n,); objects where there are none, and for text and decimals."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return np.array(column.to_pylist(), object) if column.null_count else column.to_numpy()


class Kind(NamedTuple):
    """A kind of table: the ends of names of files, the first bytes, and the function that reads it."""

    suffixes: tuple[str, ...]
    magic: bytes
    read: Callable[[Stream, Origin, Sequence[str] | None], Columns]


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
