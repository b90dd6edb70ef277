"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and pandas, polars and pyarrow do not tell the
line and column of a fault. The price is time: 20 MB/s, where pyarrow reads 150.
"""

import csv
import io
import math
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.backends.reading import find_columns
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import FLAGS, MISSING, Stream, fault, number_of, open_file, visible_names
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import Argument, DatasetError, some

# A file is for training or for testing if its name has one of these words, between characters that are not letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or what pandas calls row numbers in Parquet.
NAMELESS = "$|__index_level_"

Found = tuple[list[str], list[str], npt.NDArray[Any], list[npt.NDArray[Any]], Sequence[int]]
"""The columns of features, and of labels; their values, (n, columns) and (n,) each; the lines of rows of text."""


def read_tables(path: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a table with a header: CSV, gzipped or plain, or another kind in KINDS, detected by content, not by name.

    Or read a folder with two, for training and for testing, whose columns are found by their names. how: the columns of
    labels and those to ignore. features: the columns of features, in this order; others are ignored. By default all
    columns but these; labels are needed then. The features in CSV are numbers or booleans, which become 1 and 0; its
    labels are text, whatever they mean. Other tables are returned as they are.

    Raises DatasetError, which names the file, the line (CSV) or row, counted from 1, and the column.
    """
    if path.is_dir():
        train = read_tables(find_table(path, "train"), how, features)
        return replace(train, test=read_tables(find_table(path, "test"), how, train.feature_names).train)
    with open_file(path) as stream:
        read = next(read for magic, read in KINDS.items() if stream.peek(len(magic)).startswith(magic))
        chosen, labelled, inputs, columns, lines = read(stream, how, features)
    labels = None if not columns else columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    return Samples(Part(inputs, labels, path, lines), None, "columns", tuple(chosen), tuple(labelled))


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
    """Return which of the columns of a table are features, and which are labels. Raises DatasetError."""
    if features is None and how.label is None:
        raise DatasetError(f"needs the name of the column with the labels: {some(names)}", setting="label")
    if features is None and (nameless := [i for i, name in enumerate(names, 1) if re.match(NAMELESS, name)]):
        remedy = "name it, or leave it out if it is a row number (in pandas, write with index=False)"
        raise DatasetError(f"column {nameless[0]} has no name", remedy=remedy)
    labels, ignored = (_split(given, names) for given in (how.label, how.exclude))
    chosen = [name for name in names if name not in {*labels, *ignored}] if features is None else [*features]
    find_columns([*labels, *chosen, *(ignored if features is None else ())], names)
    if not chosen:
        raise DatasetError("has no columns but the labels and those to ignore", remedy="give a table with features")
    return chosen, labels


def _split(given: str | None, names: Sequence[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given is None or given in names:
        return [] if given is None else [given]
    return [*dict.fromkeys(name.strip() for name in next(csv.reader([given], skipinitialspace=True)))]


def _read_csv(stream: Stream, how: Origin, features: Sequence[str] | None) -> Found:
    rows = read_rows(stream)
    names = [name.strip() for name in next(rows, (0, []))[1]]
    chosen, labelled = _choose(names, how, features)
    columns, label_columns = find_columns(chosen, names), find_columns(labelled, names)
    values, lines, texts = array("d"), array("q"), [list[str]() for _ in labelled]
    for line, row in rows:
        try:
            values.extend([float(row[i]) for i in columns])
        except ValueError:
            values.extend([_number(row[i].strip(), line, names[i]) for i in columns])
        lines.append(line)
        for text, i in zip(texts, label_columns, strict=True):
            text.append(row[i].strip())
    table = np.frombuffer(values, np.float64).reshape(len(lines), len(columns))
    return chosen, labelled, table, [*map(np.array, texts)], lines


def _number(field: str, line: int, column: str) -> float:
    """Return the number in a field, or 1 or 0 for true or false. Raises DatasetError."""
    if not math.isnan(number := number_of(FLAGS.get(field.lower(), field))):
        return number
    if field.lower() in MISSING:
        fault, remedy = f"there is no value{f', but {field!r}' if field else ''}", "fill it in, or leave out the row"
        raise DatasetError(fault, remedy=remedy, line=line, column=column)
    leave_out = Argument("exclude", column)
    words = ("correct it (decimals have a point), encode text as numbers, or leave the column out with ", leave_out)
    raise DatasetError(f"{field!r:.60} is not a number", remedy=words, line=line, column=column)


def read_rows(stream: Stream) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of its first line, from 1.

    CSV is text in UTF-8 with commas between the fields, which may be quoted as in RFC 4180. Raises DatasetError for
    other text, and for a row with more or fewer fields than the first.
    """
    number, width = 1, 0
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True, skipinitialspace=True)
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


def _read_parquet(stream: Stream, how: Origin, features: Sequence[str] | None) -> Found:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            chosen, labelled = _choose(file.schema_arrow.names, how, features)
            table = file.read([*chosen, *labelled])
        columns, labels = ([_values(table.column(name), pa) for name in names] for names in (chosen, labelled))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise fault(error) from error
    inputs = np.stack(columns, axis=1)
    inputs = inputs.astype(np.float64) if inputs.dtype.kind in "biuf" else inputs
    return chosen, labelled, inputs, labels, ()


def _values(column: Any, pa: Any) -> npt.NDArray[Any]:
    """Return the values of a column, (n,); objects where there are none, and for text and decimals."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return np.array(column.to_pylist(), object) if column.null_count else column.to_numpy()


# The function that reads each kind of table, by the first bytes; the last, because any file may be CSV.
KINDS: dict[bytes, Callable[[Stream, Origin, Sequence[str] | None], Found]] = {b"PAR1": _read_parquet, b"": _read_csv}
SUFFIXES = (".parquet", ".csv", ".csv.gz")
FORMAT = Format(
    "a table",
    lambda path, names, how: not path.is_dir() or has_suffix(names, SUFFIXES),
    read_tables,
    options=("label", "exclude"),
)
