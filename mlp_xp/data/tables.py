"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and faults are told by line and column, which
pandas, polars and pyarrow do not do. The price is time: 20 MB/s, where pyarrow reads 150.
"""

import csv
import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.core.dataset import MOST_NAMES
from mlp_xp.data.reading import Stream, open_file, read_rows, some
from mlp_xp.errors import DatasetError, nearest, not_installed, printable

PARQUET_MAGIC = b"PAR1"
FLAGS = {"true": "1", "false": "0"}
# How pandas, R and spreadsheets write a missing value.
MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "<na>", "nat"}
WHOLE = re.compile("[+-]?[0-9]{1,18}")
FILL = "fill it in, or leave out the row or the column"

Floats = npt.NDArray[np.float64]
Place = Callable[[int], str]
"""Where a row is in its file, such as "line 7", by its number from 0."""


class Table(NamedTuple):
    """A table of numbers, with a label in each row."""

    features: Floats
    """float64 (n, features), finite; n and features are at least 1."""
    labels: npt.NDArray[Any] | None
    """(n,), or (n, columns) of several: int64 or float64 if all labels are such numbers, else strings, which several
    columns do not have; None if no label was asked for."""
    feature_names: tuple[str, ...]
    """The names of the columns of features, in the order of the file."""
    label_names: tuple[str, ...]
    """The names of the columns of labels."""
    lines: Sequence[int] = ()
    """The line in a CSV file on which each row begins, counted from 1; empty for a Parquet file."""


def read_table(
    path: str | os.PathLike[str],
    label: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: bool = False,
    exclude: str | None = None,
) -> Table:
    """Read a table with a header: CSV, gzipped or plain, or Parquet (detected by content, not by name).

    label: the name of the column with the labels, or several with commas between them. exclude: columns to ignore, in
    the same form. features: the names of the columns of features, in this order; other columns are ignored. By default
    all columns but these; a label is needed then. Features are finite numbers or booleans, which become 1 and 0.

    The labels of a CSV file are int64 if all are whole numbers, each written in one way, float64 if all are numbers,
    else strings; those of a Parquet file have the type of their column. Several columns hold numbers or booleans. A
    label that marks a missing value, such as NA, is refused, and so are labels of a CSV file of which some are text
    and at least half numbers, unless `classes` says that they are names of classes.

    Raises DatasetError, which names the file, the line (CSV) or row (Parquet), counted from 1, and the column.
    """
    with open_file(path) as stream:
        if stream.peek(len(PARQUET_MAGIC)).startswith(PARQUET_MAGIC):
            return _read_parquet(stream, label, features, exclude)
        return _read_csv(stream, label, features, classes, exclude)


def _choose(
    names: Sequence[str], label: str | None, features: Sequence[str] | None, exclude: str | None
) -> tuple[list[str], list[str]]:
    """Return the names of the columns of features and of labels. Raises DatasetError."""
    counts = Counter(names)
    if repeated := [name for name in names if counts[name] > 1 and name]:
        raise DatasetError(f"has {counts[repeated[0]]} columns named {repeated[0]!r:.60}; rename them")
    if len(names) > MOST_NAMES:
        raise DatasetError(f"has {len(names)} columns; save so many features as arrays, in a .npz file")
    if features is None:
        if label is None:
            raise DatasetError(f"needs the name of the column with the labels: {some(names)}", setting="label")
        if unnamed := [i for i, name in enumerate(names, 1) if not name or name.startswith("__index_level_")]:
            raise DatasetError(
                f"column {unnamed[0]} has no name; name it, or leave it out if it is a row number (in pandas, write "
                "with index=False)"
            )
    labels = _split(label, counts)
    excluded = _split(exclude, counts) if features is None else []
    for name in (*labels, *excluded, *(features or ())):
        if name not in counts:
            raise DatasetError(f"has no column {name!r:.60}{nearest(name, names)}; its columns are {some(names)}")
    ignored = {*labels, *excluded}
    chosen = [name for name in names if name not in ignored] if features is None else [*features]
    if not chosen:
        raise DatasetError("has no columns but the labels and those that are excluded; give a table with features")
    return chosen, labels


def _split(given: str | None, names: Iterable[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given is None or given in names:
        return [] if given is None else [given]
    return [*dict.fromkeys(name.strip() for name in next(csv.reader([given], skipinitialspace=True)))]


# CSV.


def _read_csv(
    stream: Stream, label: str | None, features: Sequence[str] | None, classes: bool, exclude: str | None
) -> Table:
    rows = read_rows(stream)
    number, names = next(rows, (0, []))
    if not names:
        raise DatasetError("is empty; give a table with the names of its columns in the first line")
    names = [name.strip() for name in names]
    _check_header(names, number)
    chosen, labelled = _choose(names, label, features, exclude)
    places = {name: i for i, name in enumerate(names)}
    columns, label_columns = [places[name] for name in chosen], [places[name] for name in labelled]
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
            wrong = next(i for i, field in enumerate(fields) if _number(field) is None)
            raise DatasetError(f"line {line}, {_no_number(row[columns[wrong]], chosen[wrong])}") from error
        lines.append(line)
        for text, i in zip(texts, label_columns, strict=True):
            text.append(row[i].strip())
    if not lines:
        raise DatasetError(f"line {number}: there are no rows below the header; give a table with rows")

    def place(row: int) -> str:
        return f"line {lines[row]}"

    table = np.frombuffer(values, np.float64).reshape(len(lines), -1)
    _check_finite(table, chosen, place)
    found = [_labels(text, name, place, classes) for text, name in zip(texts, labelled, strict=True)]
    return Table(table, _stack(found, labelled), tuple(chosen), tuple(labelled), lines)


def _check_header(names: Sequence[str], line: int) -> None:
    """Raise DatasetError if a first row does not look like the names of columns separated by commas."""
    if len(names) == 1 and (found := re.search("[;\t|]", names[0])):
        raise DatasetError(
            f"line {line}: is one column, {names[0]!r:.60}; the columns seem to be separated by {found[0]!r}: save the "
            "table with commas between them"
        )
    # Names that are 0, 1, 2 and so on are the column numbers that pandas writes.
    if all(_number(name) is not None for name in names) and [*names] != [str(i) for i in range(len(names))]:
        raise DatasetError(
            f"line {line}: all names of columns are numbers, such as {names[0]!r:.60}: the header seems to be missing; "
            "put the names of the columns into the first line"
        )


def _no_number(field: str, name: str) -> str:
    word, column = field.strip(), f"column {name!r:.60}"
    if word.lower() in MISSING:
        return f"{column}: there is no value{f', but {word!r}' if word else ''}; {FILL}"
    return (
        f"{column}: {word!r:.60} is not a number; correct it (decimals have a point), encode text as numbers, or leave "
        f"the column out with exclude={name!r}"
    )


def _number(field: str) -> float | None:
    """Return a number, NaN and infinity included, or None. 1_000 is a number for Python alone."""
    try:
        return None if "_" in field else float(field)
    except ValueError:
        return None


def _labels(texts: list[str], name: str, place: Place, classes: bool) -> npt.NDArray[Any]:
    """Return the labels in a column of CSV as `read_table` describes. Raises DatasetError."""
    _check_marks(texts, name, place)
    known = dict.fromkeys(texts)

    def refuse(text: str, reason: str) -> DatasetError:
        return DatasetError(f"{place(texts.index(text))}, column {name!r:.60}: {text!r:.60} {reason}")

    if all(map(WHOLE.fullmatch, known)):
        written: dict[int, str] = {}
        for text in known:
            if (other := written.setdefault(int(text), text)) != text:
                raise refuse(
                    text,
                    f"is the same number as {other!r} in {place(texts.index(other))}; write both alike, or, if they "
                    "are two classes, give one another name",
                )
        return np.array([*map(int, texts)], np.int64)
    words = {text for text in known if _number(text) is None}
    if not words:
        values = np.array([*map(float, texts)])
        _check_finite(values[:, None], [name], place)
        return values
    if not classes and 2 * sum(text in words for text in texts) <= len(texts):
        raise refuse(
            next(text for text in known if text in words),
            "is not a number, as most of the other labels are; correct it, or leave out the row; if these are names of "
            'classes, give task="classes"',
        )
    return np.array(texts)


# Both formats.


def _check_finite(values: Floats, names: Sequence[str], place: Place) -> None:
    """Raise DatasetError for a value (n, columns) that is NaN or infinite."""
    if not (finite := np.isfinite(values)).all():
        row, column = divmod(int(np.argmin(finite)), values.shape[1])
        value = values[row, column]
        reason = "there is no value, but 'nan'" if np.isnan(value) else f"{value} is infinite, or too large"
        raise DatasetError(f"{place(row)}, column {names[column]!r:.60}: {reason}; {FILL}")


def _check_marks(texts: Sequence[str], name: str, place: Place) -> None:
    """Raise DatasetError for a label that marks a missing value; a minus does not beside a plus."""
    marks = {text for text in {*texts} if text.strip().lower() in MISSING and not (text == "-" and "+" in texts)}
    if marks:
        row = next(row for row, text in enumerate(texts) if text in marks)
        raise DatasetError(
            f"{place(row)}, column {name!r:.60}: {texts[row]!r} marks a missing label; fill it in, or leave out the "
            "row; if it is a class, give that another name"
        )


def _stack(columns: list[npt.NDArray[Any]], names: Sequence[str]) -> npt.NDArray[Any] | None:
    """Return the columns of labels as one array: (n,) of one, (n, columns) of several. Raises DatasetError for text."""
    if len(columns) < 2:
        return columns[0] if columns else None
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        if column.dtype.kind == "U":
            lower = np.strings.lower(column)
            if not (flags := np.isin(lower, [*FLAGS])).all():
                raise DatasetError(
                    f"column {name!r:.60} is text, such as {str(column[~flags][0])!r:.60}, where several columns of "
                    "labels are numbers, or true and false; correct it, or give one column alone for classes"
                )
            columns[i] = (lower == "true").astype(np.int64)
    return np.stack(columns, axis=1)


# Parquet.


def _read_parquet(stream: Stream, label: str | None, features: Sequence[str] | None, exclude: str | None) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DatasetError(f"Parquet needs pyarrow, which {not_installed('pyarrow')}") from error
    try:
        with pq.ParquetFile(stream) as file:
            chosen, labelled = _choose(file.schema_arrow.names, label, features, exclude)
            columns = file.read([*chosen, *labelled])
        if not columns.num_rows:
            raise DatasetError("there are no rows; give a table with rows")
        table = np.stack([_floats(columns.column(name), name) for name in chosen], axis=1)
        found = [_parquet_labels(columns.column(name), name) for name in labelled]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = printable(" ".join(str(error).split())[:200])
        raise DatasetError(f"is a damaged Parquet file: {reason}; write it again") from error
    return Table(table, _stack(found, labelled), tuple(chosen), tuple(labelled))


def _row(row: int) -> str:
    return f"row {row + 1}"


def _floats(values: Any, name: str) -> Floats:
    """Return a column of numbers or booleans as float64 (n,)."""
    from pyarrow import float64, types

    kind = values.type
    if not any(test(kind) for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)):
        raise DatasetError(
            f"column {name!r:.60} has the type {kind}; encode it as numbers, or leave it out with exclude={name!r}"
        )
    _check_nulls(values, name)
    if not types.is_floating(kind):
        values = values.cast(float64(), safe=False)  # a large integer is rounded, as in NumPy
    result = values.to_numpy().astype(np.float64)
    _check_finite(result[:, None], [name], _row)
    return result


def _parquet_labels(values: Any, name: str) -> npt.NDArray[Any]:
    """Return the labels in a column, (n,): strings, also of booleans, int64 or float64."""
    from pyarrow import int64, types

    _check_nulls(values, name)
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if types.is_integer(kind):
        return values.cast(int64()).to_numpy()
    if types.is_floating(kind) or types.is_decimal(kind):
        return _floats(values, name)
    if types.is_boolean(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        texts = [*map(str, values.to_pylist())]
        _check_marks(texts, name, _row)
        return np.array(texts)
    raise DatasetError(f"column {name!r:.60} has labels of the type {kind}; give strings, integers or floats")


def _check_nulls(values: Any, name: str) -> None:
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy()))
        raise DatasetError(f"{_row(row)}, column {name!r:.60}: there is no value; {FILL}")
