"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV needs no extra, and a fault is told by its line and column: pandas names neither, polars no line, and pyarrow counts
records, not lines, and these only without threads. The price is time: 20 MB/s, where pyarrow reads 150. For Parquet,
pyarrow works alone (pandas needs it too) and is quicker to import than polars (0.05 s and 0.1 s).
"""

import csv
import io
import itertools
import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import EXPANSION, open_file
from mlp_xp.errors import MlpXpError, nearest, not_installed, printable

PARQUET_MAGIC = b"PAR1"
# Limits on a CSV file, in characters, as in csv_files; and on a label, which is the name of a class.
LONGEST_LINE, LARGEST_FILE, LONGEST_LABEL = 1 << 23, 1 << 34, 1000
# Values of a Parquet file: this many, or else EXPANSION times its bytes. Encodings that repeat a value have no limit.
MODEST = 1 << 26
# Values that are converted at once.
PIECE = 1 << 17
FLAGS = {"true": "1", "false": "0"}
# How pandas, R and spreadsheets write a value that is missing.
MISSING = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "#n/a", "<na>", "nat"}
WHOLE = re.compile(r"[+-]?[0-9]+")
FILL = "fill it in, or leave out the row or the column"
NO_LABEL = "marks a missing label; fill it in, or leave out the row; if it is a class, give that another name"
# Limits on the columns, whose names are in the header of a model: their number, and the characters of all names.
MOST_COLUMNS, MOST_CHARACTERS = 1 << 16, 1 << 21
# How many names of columns a message lists.
LISTED = 12

Floats = npt.NDArray[np.float64]


class TableError(MlpXpError):
    """A file that cannot be read as a table of numbers and labels."""


class Table(NamedTuple):
    """A table of numbers, with a label in each row."""

    features: Floats
    """float64 (n, features), finite; n and features are at least 1."""
    labels: npt.NDArray[Any] | None
    """(n,), or (n, columns) of several: int64 or float64 if all labels are such numbers, else strings, which several
    columns do not have; None if no label was asked for."""
    feature_names: tuple[str, ...]
    """The names of the columns of features, in the order of the file."""
    label_names: tuple[str, ...] = ()
    """The names of the columns of labels."""
    lines: Sequence[int] = ()
    """The line in a CSV file on which each row begins, counted from 1; none of a Parquet file."""


class _Columns(NamedTuple):
    """The columns of a table."""

    names: list[str]
    labels: list[int]
    """The positions of the labels' columns; none if no label was asked for."""
    features: list[int]
    """The positions of the features' columns."""


def read_table(
    path: str | os.PathLike[str],
    label: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: bool = False,
    exclude: str | None = None,
) -> Table:
    """Read a table with a header: CSV, gzipped or plain, or Parquet (detected by content, not by name).

    label: the name of the column with the labels, or of several, with commas between them as in a line of CSV, if no
    column has this name; None to read a table without labels. exclude: likewise, columns that are no features.
    features: the names of the columns of features, in this order; other columns are ignored. By default all columns but
    these. They hold finite numbers or booleans, which become 1 and 0. A CSV file is text in UTF-8 with commas between
    the columns and a point in decimals; fields may be quoted as in RFC 4180, and empty lines are skipped. Its labels
    are int64 if all are whole numbers of at most 18 digits, each written in one way, float64 if all are numbers, else
    strings; those of a Parquet file have the type of its column, booleans as strings. Several columns hold numbers or
    booleans, and are int64 if all of them are. A label that marks a missing value, such as NA, is refused, and so are
    labels of a CSV file of which some are text, but at least half numbers, unless `classes` says that they are names of
    classes.

    A line has at most LONGEST_LINE characters, a file LARGEST_FILE, a label LONGEST_LABEL; for gzip streams see
    `reading.open_file`. A Parquet file has at most MODEST values, or EXPANSION times the number of its bytes.

    Raises TableError, which names the file, the line (CSV) or row (Parquet), counted from 1, and the column.
    """
    with open_file(path, TableError) as (stream, length):
        if length is not None and cast(io.BufferedReader, stream).peek(4).startswith(PARQUET_MAGIC):
            return _read_parquet(stream, length, label, features, exclude)
        with _as_text(stream) as text:
            return _read_csv(text, label, features, classes, exclude)


def column_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the names of all columns of a table that `read_table` reads. Raises TableError."""
    with open_file(path, TableError) as (stream, length):
        if length is not None and cast(io.BufferedReader, stream).peek(4).startswith(PARQUET_MAGIC):
            with _parquet(stream) as file:
                return tuple(file.schema_arrow.names)
        with _as_text(stream) as text:
            return tuple(_header(_records(csv.reader(_lines(text), strict=True, skipinitialspace=True)))[1])


# Both formats.


def _columns(
    names: Sequence[str], label: str | None, features: Sequence[str] | None, exclude: str | None, header: str
) -> _Columns:
    """Check the names of the columns. header: where they are, for messages."""
    characters = sum(map(len, names))
    if len(names) > MOST_COLUMNS or characters > MOST_CHARACTERS:
        raise TableError(
            f"{header}there are {len(names)} columns, whose names have {characters} characters; the limits are "
            f"{MOST_COLUMNS} and {MOST_CHARACTERS}: leave out columns, or save the values as .npz"
        )
    repeated = next((name for name, count in Counter(names).items() if count > 1 and name), None)
    if repeated is not None:
        first, second = [i for i, name in enumerate(names, 1) if name == repeated][:2]
        raise TableError(f"{header}columns {first} and {second} are both named {_short(repeated)}; rename one of them")
    for number, name in enumerate(names, 1):
        if features is None and (name == "" or re.fullmatch("__index_level_[0-9]+__", name)):
            fault = "has no name" if name == "" else f"is {name!r}"
            raise TableError(
                f"{header}column {number} {fault}; name it, or leave it out if it is a row number (in pandas, write "
                "with index=False)"
            )
    for name in features or ():
        if name not in names:
            raise TableError(
                f"has no column {_short(name)}{nearest(name, names)}, which the training data have; its columns are "
                f"{_some(names)}"
            )
    labels = [] if label is None else _given_names("label", label, names)
    excluded = [] if exclude is None or features is not None else _given_names("excluded", exclude, names)
    for name in [*labels, *excluded]:
        if name not in names:
            raise TableError(f"has no column {_short(name)}{nearest(name, names)}; choose one of {_some(names)}")
    places = {name: i for i, name in enumerate(names)}
    if both := [name for name in excluded if name in labels]:
        raise TableError(f"{header}column {_short(both[0])} is the label; leave it out of those that are excluded")
    others = [name for name in names if name not in (*labels, *excluded)]
    chosen = others if features is None else features
    columns = _Columns([*names], [places[name] for name in labels], [places[name] for name in chosen])
    if not columns.features:
        whose = "the label's" if len(labels) == 1 else "those of the labels"
        raise TableError(f"{header}there is no column but {whose}; give a table with features")
    return columns


def _given_names(role: str, given: str, names: Sequence[str]) -> list[str]:
    """Return the names of the columns that a label means. Raises TableError for one that is there twice, or empty."""
    if given in names or "," not in given:
        return [given]
    try:
        parts = [part.strip() for part in next(csv.reader([given], strict=True, skipinitialspace=True))]
    except (csv.Error, StopIteration):
        return [given]
    for part in parts:
        if not part or parts.count(part) > 1:
            fault = f"{_short(part)} is there twice" if part else "a name is empty"
            raise TableError(f"the {role} {_short(given)} is no list of columns: {fault}; correct it")
    return parts


# As 1,5 and 0,123, but not as 1,500, whose comma rather separates thousands.
DECIMAL_COMMA = re.compile("[-+]?(0,[0-9]+|[0-9]*,([0-9]{1,2}|[0-9]{4,}))")
THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}([ ,'_\u00a0][0-9]{3})+([.][0-9]*)?")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(_short, names[:LISTED])) + more


def _is_text(name: str, example: str) -> str:
    advice = f"encode it as numbers, or leave it out with exclude={name!r}"
    if DECIMAL_COMMA.fullmatch(example.strip()):
        advice = "it looks like a number with a decimal comma: write decimals with a point"
    elif THOUSANDS.fullmatch(example.strip()):
        advice = "write its numbers without thousands separators"
    return f"column {_short(name)} is text, such as {_short(example)}, where features are numbers; {advice}"


# CSV.


def _as_text(stream: io.BufferedIOBase) -> io.TextIOWrapper:
    return io.TextIOWrapper(cast(BinaryIO, stream), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _header(records: Iterator[tuple[int, list[str]]]) -> tuple[int, list[str]]:
    """Return the number of the first line that is not empty, and the names in it."""
    number, names = next(records, (0, []))
    if not number:
        raise TableError("empty: no header was found; give a table with the names of its columns in the first line")
    names = [name.strip() for name in names]
    _check_names(names, number)
    return number, names


def _read_csv(
    text: io.TextIOWrapper, label: str | None, features: Sequence[str] | None, classes: bool, exclude: str | None
) -> Table:
    records = _records(csv.reader(_lines(text), strict=True, skipinitialspace=True))
    number, names = _header(records)
    columns = _columns(names, label, features, exclude, f"line {number}: ")
    lines, values = array("q"), bytearray()
    labels = [_Labels(names[place]) for place in columns.labels]
    flags: list[int] | None = None
    while piece := [*itertools.islice(records, max(1, PIECE // len(names)))]:
        if flags is None:
            first = [piece[0][1][i] for i in columns.features]
            flags = [place for place, field in enumerate(first) if field.strip().lower() in FLAGS]
        lines.extend(line for line, _ in piece)
        values += _numbers(piece, columns, flags, first=not values).tobytes()
        for place, column in zip(columns.labels, labels, strict=True):
            for line, record in piece:
                column.add(record[place].strip(), line)
    if not lines:
        raise TableError(f"line {number}: there are no rows below the header; give a table with rows")
    return Table(
        np.frombuffer(values, np.float64).reshape(len(lines), -1),
        _together([each.array(lines, classes) for each in labels], [names[i] for i in columns.labels]),
        tuple(names[i] for i in columns.features),
        tuple(names[i] for i in columns.labels),
        lines,
    )


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a text, with their ends."""
    total = 0
    for number in itertools.count(1):
        line = text.readline(LONGEST_LINE + 1)
        if not line:
            return
        total += len(line)
        if len(line) > LONGEST_LINE:
            raise TableError(
                f"line {number}: has more than {LONGEST_LINE} characters, the limit; check how the file was made"
            )
        if total > LARGEST_FILE:
            raise TableError(f"has more than {LARGEST_FILE} characters, the limit; divide the file")
        if not line.isascii() and (wrong := re.search("[\udc80-\udcff]", line)):
            byte = ord(wrong[0]) - 0xDC00
            raise TableError(f"line {number}: the byte 0x{byte:02x} is not UTF-8; save the table as CSV in UTF-8")
        if "\0" in line:
            raise TableError(f"line {number}: has a NUL, so it is not text; save the table as CSV in UTF-8")
        yield line


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not empty lines, each with the number of its first line. All have as many fields."""
    columns, first = 0, 0
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise TableError(
                f"line {number}: cannot be divided into columns: {error}; check the quotes from there on"
            ) from error
        if record is None:
            return
        if not record or (len(record) == 1 and columns != 1 and not record[0].strip()):
            continue
        if not columns:
            columns, first = len(record), number
        if len(record) != columns:
            raise TableError(
                f"line {number}: has {len(record)} columns, line {first} has {columns}; check the commas and quotes "
                "from there on"
            )
        yield number, record


def _check_names(names: list[str], number: int) -> None:
    """Raise TableError if a first record does not look like the names of columns separated by commas."""
    if len(names) == 1 and (found := re.search("[;\t|]", names[0])):
        raise TableError(
            f"line {number}: is one column, {_short(names[0])}; the columns seem to be separated by {found[0]!r}: save "
            "the table with commas between them"
        )
    # Names that are 0, 1, 2 and so on are the column numbers that pandas writes.
    if all(map(_is_number, names)) and names != [str(i) for i in range(len(names))]:
        raise TableError(
            f"line {number}: all names of columns are numbers, such as {_short(names[0])}: the header seems to be "
            "missing; put the names of the columns into the first line"
        )


def _numbers(piece: list[tuple[int, list[str]]], columns: _Columns, flags: list[int], *, first: bool) -> Floats:
    """Return the features of records, (n, features). flags: the features that are booleans. first: none came before."""
    features = []
    try:
        for _, record in piece:
            fields = [record[i] for i in columns.features]
            for place in flags:
                fields[place] = FLAGS.get(fields[place].strip().lower(), "")
            joined = "".join(fields)
            if "_" in joined or not joined.isascii():  # which `float` takes, as in 1_000
                raise ValueError
            features.append([*map(float, fields)])
    except ValueError:
        _blame(piece, columns, flags, first)
    values = np.array(features)
    if not np.isfinite(values).all():
        _blame(piece, columns, flags, first)
    return values


def _blame(piece: list[tuple[int, list[str]]], columns: _Columns, flags: list[int], first: bool) -> NoReturn:
    """Raise TableError for the first fault in records that are known to have one."""
    booleans = {columns.features[place] for place in flags}
    line, column, field = next(
        (line, i, record[i]) for line, record in piece for i in columns.features if _fault(record[i], i in booleans)
    )
    name = columns.names[column]
    filled = [each for each in (record[column].strip() for _, record in piece) if each.lower() not in MISSING]
    if first and filled and not any(_is_number(each) or each.lower() in FLAGS for each in filled):
        raise TableError(f"line {line}: {_is_text(name, filled[0])}")
    raise TableError(f"line {line}, column {_short(name)}: {_fault(field, column in booleans)}")


def _fault(field: str, flag: bool) -> str | None:
    """Return what is wrong with the field of a feature, and what to do; None if nothing is."""
    word = field.strip().lower()
    if flag and word in FLAGS:
        return None
    if word in MISSING:
        return f"there is no value, but {field!r}; {FILL}" if word else f"there is no value; {FILL}"
    if flag:
        return f"{_short(field)} is neither true nor false, as the first value in this column is; correct it"
    if not _is_number(field):
        hint = "write decimals with a point" if re.fullmatch("[+-]?[0-9]*,[0-9]+", word) else "give a number"
        return f"{_short(field)} is not a number; {hint}"
    if not math.isfinite(float(field)):
        return f"{_short(field)} is infinite, or too large for float64; correct it"
    return None


def _is_number(field: str) -> bool:
    """Return whether a field is a number, also NaN and infinity."""
    if "_" in field or not field.isascii():
        return False
    try:
        float(field)
    except ValueError:
        return False
    return True


class _Labels:
    """A column of labels of a CSV file, as text. Equal ones are kept once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self.known: dict[str, str] = {}

    def add(self, text: str, line: int) -> None:
        if text not in self.known:
            where = f"line {line}, column {_short(self.name)}: "
            if not text:
                raise TableError(f"{where}there is no label; fill it in, or leave out the row")
            _check_label(text, where)
        self.texts.append(self.known.setdefault(text, text))

    def array(self, lines: Sequence[int], classes: bool) -> npt.NDArray[Any]:
        """Return the labels as `read_table` describes. lines: of each label, for messages."""
        if all(WHOLE.fullmatch(text) and len(text) <= 18 for text in self.known):
            as_written: dict[int, str] = {}
            for text in self.known:
                if (other := as_written.setdefault(int(text), text)) != text:
                    raise TableError(
                        f"line {lines[self.texts.index(text)]}, column {_short(self.name)}: {_short(text)} is the same "
                        f"number as {_short(other)} in line {lines[self.texts.index(other)]}; write both alike, or, if "
                        "they are two classes, give one another name"
                    )
            return np.array([*map(int, self.texts)], np.int64)
        numbers = {text for text in self.known if _is_number(text)}
        missing = {text for text in self.known if text.lower() in MISSING or (text in numbers and not _is_exact(text))}
        words = self.known.keys() - numbers - missing

        def refuse(which: Collection[str], fault: str) -> NoReturn:
            at = next(i for i, text in enumerate(self.texts) if text in which)
            raise TableError(f"line {lines[at]}, column {_short(self.name)}: {_short(self.texts[at])} {fault}")

        if not numbers - missing or words:
            if marks := _marks(self.known):
                refuse(marks, NO_LABEL)
            if words and not classes and 2 * sum(text in numbers for text in self.texts) >= len(self.texts):
                refuse(
                    words,
                    "is not a number, as most of the other labels are; correct it, or leave out the row; if these are "
                    'names of classes, give task="classes"',
                )
            return np.array(self.texts)
        if missing:
            refuse(
                missing,
                "is not a finite number that float64 can hold, as the other labels are; correct it, or leave out the "
                "row",
            )
        return np.array([*map(float, self.texts)], np.float64)


def _together(columns: list[npt.NDArray[Any]], names: Sequence[str]) -> npt.NDArray[Any] | None:
    """Return the columns of labels as one array: (n,) of one, (n, columns) of several. Raises TableError for text."""
    if len(columns) < 2:
        return columns[0] if columns else None
    for i, (name, column) in enumerate(zip(names, columns, strict=True)):
        if column.dtype.kind == "U":
            flags = np.array([FLAGS.get(text.lower(), "") for text in column.tolist()])
            if (wrong := flags == "").any():
                raise TableError(
                    f"column {_short(name)} is text, such as {_short(str(column[wrong][0]))}, where several columns of "
                    "labels are numbers, or true and false; correct it, or give one column alone for classes"
                )
            columns[i] = flags.astype(np.int64)
    return np.stack(columns, axis=1)


def _is_exact(number: str) -> bool:
    """Return whether a number is finite and, if it is whole, the same as float64."""
    return math.isfinite(float(number)) and not (WHOLE.fullmatch(number) and int(number) != int(float(number)))


def _marks(labels: Collection[str]) -> set[str]:
    """Return those of the labels that mark a missing value; a minus does not beside a plus."""
    return {text for text in labels if text.strip().lower() in MISSING and not (text == "-" and "+" in labels)}


def _check_label(text: str, where: str) -> None:
    if len(text) > LONGEST_LABEL:
        raise TableError(
            f"{where}a label has {len(text)} characters, more than {LONGEST_LABEL}; check which column has the labels"
        )


# Parquet.


@contextmanager
def _parquet(stream: io.BufferedIOBase, **options: Any) -> Iterator[Any]:
    """Open a Parquet file. A fault in it, also in the `with` block, is a TableError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise TableError(f"Parquet needs pyarrow, which {not_installed('pyarrow')}") from error
    try:
        with pq.ParquetFile(cast(BinaryIO, stream), **options) as file:
            yield file
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # from the system, not from a decoder
            raise
        fault = printable(" ".join(str(error).split())[:200]) or type(error).__name__
        raise TableError(f"is a damaged Parquet file: {fault}; write it again") from error


def _read_parquet(
    stream: io.BufferedIOBase, length: int, label: str | None, features: Sequence[str] | None, exclude: str | None
) -> Table:
    with _parquet(stream) as file:
        columns = _check_parquet(file, length, label, features, exclude)
        schema = file.schema_arrow
        texts = [columns.names[place] for place in columns.labels if _is_string(schema.field(place).type)]
        # Else a short file could repeat a long label without limit.
        with _parquet(stream, metadata=file.metadata, read_dictionary=texts) as again:
            return _read_batches(again, columns)


def _check_parquet(
    file: Any, length: int, label: str | None, features: Sequence[str] | None, exclude: str | None
) -> _Columns:
    """Check a Parquet file before its values are read. length: the number of its bytes."""
    names, rows = file.schema_arrow.names, file.metadata.num_rows
    columns = _columns(names, label, features, exclude, "")
    if not rows:
        raise TableError("there are no rows; give a table with rows")
    if rows * len(names) > max(MODEST, EXPANSION * length):
        raise TableError(
            f"has {rows} rows of {len(names)} columns, more than {EXPANSION} values for each byte of the file, and "
            f"more than {MODEST}; check the file, and if it is sound, write it without compression"
        )
    for i in columns.features:
        _check_type(file, i, columns.names[i])
    return columns


def _read_batches(file: Any, columns: _Columns) -> Table:
    import pyarrow as pa

    values, rows = bytearray(), 0
    wanted = [columns.names[i] for i in columns.features]
    names = [columns.names[i] for i in columns.labels]
    labels: list[list[npt.NDArray[Any]]] = [[] for _ in names]
    chosen = [*wanted, *names]
    for batch in file.iter_batches(batch_size=max(1, PIECE // len(columns.names)), columns=chosen):
        piece = np.empty((batch.num_rows, len(wanted)))
        for target, name in enumerate(wanted):
            piece[:, target] = _column(batch.column(name), name, rows + 1)
        values += piece.tobytes()
        for name, pieces in zip(names, labels, strict=True):
            pieces.append(_parquet_labels(batch.column(name), name, rows + 1))
        rows += batch.num_rows
    if rows != file.metadata.num_rows:
        raise pa.ArrowInvalid(f"its header promises {file.metadata.num_rows} rows, {rows} were found")
    features = np.frombuffer(values, np.float64).reshape(rows, -1)
    columns_of_labels = [np.concatenate(pieces) for pieces in labels]
    for name, column in zip(names, columns_of_labels, strict=True):
        if column.dtype.kind == "U" and (marks := _marks({*column.tolist()})):
            mark = min(marks)
            _raise_at(column == mark, name, 1, f"{_short(mark)} {NO_LABEL}")
    together = _together(columns_of_labels, names)
    return Table(features, together, tuple(wanted), tuple(names))


def _is_string(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _check_type(file: Any, column: int, name: str) -> None:
    """Raise TableError unless a column of features has numbers or booleans."""
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    if any(test(kind) for test in tests):
        return
    if _is_string(kind.value_type if types.is_dictionary(kind) else kind):
        first = next(file.iter_batches(batch_size=1, columns=[name])).column(0)[0].as_py()
        raise TableError(_is_text(name, str(first)))
    raise TableError(f"column {_short(name)} has the type {kind}, not numbers; convert it, or leave it out of the file")


def _column(values: Any, name: str, row: int) -> Floats:
    """Return a column of a batch as float64 (n,). row: the number of its first row."""
    import pyarrow as pa

    if values.null_count:
        _raise_at(np.asarray(values.is_null()), name, row, f"there is no value; {FILL}")
    if not pa.types.is_floating(values.type):
        values = values.cast(pa.float64(), safe=False)  # a large integer is rounded, as in NumPy
    result = values.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.isfinite(result).all():
        _raise_at(~np.isfinite(result), name, row, "the value is NaN or infinite; correct it")
    return result


def _parquet_labels(values: Any, name: str, row: int) -> npt.NDArray[Any]:
    """Return the labels of a batch, (n,). row: the number of the first."""
    import pyarrow as pa

    if values.null_count:
        _raise_at(np.asarray(values.is_null()), name, row, "there is no label; fill it in, or leave out the row")
    where, types = f"column {_short(name)}: ", pa.types
    indices = None
    if types.is_dictionary(values.type):
        indices, values = values.indices.to_numpy(), values.dictionary
    kind = values.type
    if _is_string(kind) or types.is_boolean(kind):
        texts = list(map(str, values.to_pylist()))
        for text in texts:
            _check_label(text, where)
            if not text.strip():
                raise TableError(f"{where}a label is empty, {text!r}; fill it in, or leave out its rows")
        result = np.array(texts)
    elif types.is_integer(kind):
        result = values.to_numpy()
        if result.size and result.max() > np.iinfo(np.int64).max:
            raise TableError(f"{where}the label {result.max()} is too large; give labels below 2**63")
        result = result.astype(np.int64)
    elif types.is_floating(kind) or types.is_decimal(kind):
        result = _column(values, name, row)
    else:
        raise TableError(f"{where}labels of type {kind} cannot be used; give strings, integers or floats")
    return result if indices is None else result[indices]


def _raise_at(wrong: npt.NDArray[np.bool_], name: str, row: int, fault: str) -> NoReturn:
    raise TableError(f"row {row + int(np.argmax(wrong))}, column {_short(name)}: {fault}")
