"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and pandas, polars and pyarrow do not tell the
line and column of a fault. The price is time: 20 MB/s, where pyarrow reads 150.
"""

import csv
import io
import math
import re
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlp_xp.backends.reading import find_columns
from mlp_xp.data.columns import MOSTLY, Columns, Table, as_number, is_gap
from mlp_xp.data.frames import table_of
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import Stream, fault, open_file, visible_names
from mlp_xp.data.samples import Format, Part, Samples, has_suffix
from mlp_xp.errors import DatasetError, MlpXpWarning, some

# A file is for training or for testing if its name has one of these words, between characters that are not letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or what pandas calls row numbers in Parquet.
NAMELESS = "$|__index_level_"

SEPARATORS = {",": "", ";": "separated by ';'", "\t": "separated by tabs"}
# Numbers as people write them: 1,234.5 with a decimal point, 1.234,5 with a decimal comma.
WRITTEN = {
    ".": re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d*)?"),
    ",": re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+|(?=,\d))(,\d*)?(e[+-]?\d+)?", re.IGNORECASE),
}
BLOCK = 4096  # rows of CSV that are read at once
SNIFFED = 20  # lines of CSV by which the separator is known

Found = tuple[Table, list[str], list[npt.NDArray[Any]], Sequence[int]]
"""The columns of features; the names of labels and weights, their values, (n,) each; the lines of rows of text."""


def read_tables(path: Path, how: Origin, columns: Columns | None = None) -> Samples:
    """Read a table with a header: CSV, gzipped or plain, or another kind in KINDS, detected by content, not by name.

    Or read a folder with two, for training and for testing, whose columns are found by their names. how: the columns of
    labels and those to ignore. columns: those that a network was trained on; others are ignored. By default all columns
    but the labels are features; labels are needed then. The labels in CSV are text, whatever they mean. Other tables
    are returned as they are.

    Gives an MlpXpWarning for columns without a name, which are left out. Raises DatasetError, which names the file, the
    line (CSV) or row, counted from 1, and the column.
    """
    wanted = None if columns is None else columns.names
    text = {column.name for column in columns.columns if column.kind == "category"} if columns else set[str]()
    if not path.is_dir():
        return _read(path, how, wanted, text)
    train = _read(find_table(path, "train"), how, wanted, text)
    table = train.train.inputs
    text = text or {name for name, values in zip(table.names, table.columns, strict=True) if values.dtype.kind == "O"}
    how = replace(how, sample_weight=None)  # which is for training
    return replace(train, test=_read(find_table(path, "test"), how, table.names, text).train)


def _read(path: Path, how: Origin, wanted: Sequence[str] | None, text: set[str]) -> Samples:
    """Read one table. wanted: the columns of features, by default all. text: those that are text whatever they hold."""
    with open_file(path) as stream:
        read, _ = _kind_of(stream)
        table, names, columns, lines = read(stream, how, wanted, text)
        if not len(table):
            raise DatasetError("has a header, but no rows", remedy="give a table with rows")
    weights = None
    if how.sample_weight is not None:
        weights = np.array([as_number(str(value)) for value in columns.pop().tolist()])
    labels = None if not columns else columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    known: dict[str, Any] = {"label_names": tuple(names[: len(columns)]), "weight_names": tuple(names[len(columns) :])}
    return Samples(Part(table, labels, path, lines, weights), None, "columns", **known)


def read_kept(path: Path, keep: str) -> dict[str, list[str]]:
    """Return columns of a table as text by their names: those of CSV as they are written, without spaces around them.

    keep: the names, as in a,b. Raises DatasetError, which names all that are missing.
    """
    with open_file(path) as stream:
        _, read = _kind_of(stream)
        return read(stream, keep)


def _kind_of(stream: Stream) -> "Readers":
    return next(readers for magic, readers in KINDS.items() if stream.peek(len(magic)).startswith(magic))


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


def _choose(names: Sequence[str], how: Origin, wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return which of the columns of a table are features, and those of labels and weights. Raises DatasetError."""
    if not names:
        raise DatasetError("is empty", remedy="give a table with the names of its columns in the first line")
    if wanted is None and how.label is None:
        raise DatasetError(f"needs the name of the column with the labels: {some(names)}", setting="label")
    labels, ignored = (split_names(given, names) for given in (how.label, how.exclude))
    others = labels if how.sample_weight is None else [*labels, how.sample_weight]
    nameless = [] if wanted else [i for i, name in enumerate(names, 1) if re.match(NAMELESS, name)]
    left_out = {*others, *ignored, *(names[i - 1] for i in nameless)}
    chosen = [name for name in names if name not in left_out] if wanted is None else [*wanted]
    find_columns([*others, *chosen, *(ignored if wanted is None else ())], names)
    if not chosen:
        raise DatasetError("has no columns but the labels and those to ignore", remedy="give a table with features")
    if nameless:
        fault = f"column {', '.join(map(str, nameless))} has no name, and is left out"
        warnings.warn(MlpXpWarning(fault, remedy="if it is not a row number, name it"), stacklevel=5)
    return chosen, others


def split_names(given: str | None, names: Sequence[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given is None or given in names:
        return [] if given is None else [given]
    return [*dict.fromkeys(name.strip() for name in next(csv.reader([given], skipinitialspace=True)))]


def _read_csv(stream: Stream, how: Origin, wanted: Sequence[str] | None, text: set[str]) -> Found:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as file:
        head = [*islice(file, SNIFFED)]
        separator = separator_of(head)
        rows = read_rows(chain(head, file), separator)
        names = [name.strip() for name in next(rows, (0, []))[1]]
        chosen, labelled = _choose(names, how, wanted)
        places = find_columns([*chosen, *labelled], names)
        free = {i for i in places if names[i] not in text}
        as_text = {*places[len(chosen) :]} | ({*places} - free)
        while True:
            columns, late, lines = _read_columns(rows, places, as_text)
            commas = any(_mark(columns[i], separator) == "," for i in as_text & free)
            # What looks like 1.5 may be 1500 in a file with decimal commas.
            if not (late := late | (free - as_text if commas else set())):
                break
            as_text |= late
            file.seek(0)
            rows = read_rows(file, separator)
            next(rows)
    for i in as_text & free:
        columns[i] = _plain(columns[i], _mark(columns[i], separator, commas))
        if i in places[: len(chosen)] and _numbers([*{*columns[i]}]) is not None:
            columns[i] = array("d", _numbers(columns[i]) or [])
    arrays = [np.array(each, object if isinstance(each, list) else np.float64) for each in (columns[i] for i in places)]
    notes = ", ".join(filter(None, (SEPARATORS[separator], "decimal commas" * commas)))
    table = Table(tuple(chosen), tuple(arrays[: len(chosen)]), notes)
    return table, labelled, [each.astype(str) for each in arrays[len(chosen) :]], lines


def _kept_in_csv(stream: Stream, keep: str) -> dict[str, list[str]]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as file:
        head = [*islice(file, SNIFFED)]
        rows = read_rows(chain(head, file), separator_of(head))
        names = [name.strip() for name in next(rows, (0, []))[1]]
        places = find_columns(wanted := split_names(keep, names), names)
        texts = [[row[i].strip() for i in places] for _, row in rows]
    return {name: [row[i] for row in texts] for i, name in enumerate(wanted)}


def separator_of(lines: Sequence[str]) -> str:
    """Return the separator with which the first lines of a table have the same number of columns, and the most."""

    def fit(separator: str) -> tuple[bool, int]:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if row]
        except csv.Error:
            return False, 0
        widths = widths[:-1] if len(lines) == SNIFFED else widths  # the last may go on
        return len({*widths}) == 1 < widths[0], widths[0] if widths else 0

    return max(SEPARATORS, key=fit)


def _read_columns(
    rows: Iterator[tuple[int, list[str]]], places: Sequence[int], as_text: set[int]
) -> tuple[dict[int, Any], set[int], Sequence[int]]:
    """Return the columns at some places, those that are text and were read as numbers at first, and the lines.

    Columns are arrays of numbers, or lists of text; as_text: those that are text, to which others are added.
    """
    columns: dict[int, Any] = {i: array("d") for i in places}
    columns |= {i: [] for i in as_text}
    known, late, lines = dict[str, str](), set[int](), array("q")
    while block := [*islice(rows, BLOCK)]:
        fields = [*zip(*(row for _, row in block), strict=True)]
        for i in places:
            numbers = None if i in as_text else _numbers(fields[i])
            if numbers is not None:
                columns[i].extend(numbers)
                continue
            if i not in as_text:
                late |= {i} if lines else set()
                as_text.add(i)
                columns[i] = []
            columns[i].extend(known.setdefault(text, text) for text in map(str.strip, fields[i]))
        lines.extend(number for number, _ in block)
    return columns, late, lines


def _numbers(fields: Sequence[str]) -> list[float] | None:
    """Return fields as numbers, NaN for a gap; None if one of them is other text."""
    try:
        return [*map(float, fields)]
    except ValueError:
        texts = [*map(str.strip, fields)]
        numbers = [*map(as_number, texts)]
        return None if any(math.isnan(n) and not is_gap(t) for n, t in zip(numbers, texts, strict=True)) else numbers


def _mark(texts: Sequence[str], separator: str, commas: bool = False) -> str:
    """Return the decimal mark of a column of numbers that are written with a comma; "" for any other column.

    commas: whether other columns of the file have decimal commas.
    """
    counts = Counter(text for text in texts if not is_gap(text))
    shares = dict.fromkeys([*("," * commas), "", *("." * (separator == ",")), ","], 0.0)
    for text, count in counts.items():
        for mark in shares:
            is_number = WRITTEN[mark].fullmatch(text) if mark else not math.isnan(as_number(text))
            shares[mark] += count / counts.total() if is_number else 0
    best = max(shares, key=lambda mark: shares[mark])
    return best if shares[best] >= MOSTLY else ""


def _plain(texts: Sequence[str], mark: str) -> list[str]:
    """Return text in which numbers with this decimal mark are written as Python does."""
    if not mark:
        return [*texts]
    less = {text: text for text in {*texts}}
    for text in filter(WRITTEN[mark].fullmatch, less):
        less[text] = text.replace(",", "") if mark == "." else text.replace(".", "").replace(",", ".")
    return [less[text] for text in texts]


def read_rows(lines: Iterable[str], separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of its first line, from 1.

    lines: text, whose fields may be quoted as in RFC 4180. Raises DatasetError for other text, and for a row with more
    or fewer fields than the first.
    """
    number, width = 1, 0
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip() or width == 1):
                width = width or len(row)
                if len(row) != width:
                    raise DatasetError(
                        f"has {len(row)} columns, the first row has {width}",
                        remedy="check the separators and quotes from there on",
                        line=number,
                    )
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(str(error), remedy="check the quotes from there on", line=number) from error


def _read_parquet(stream: Stream, how: Origin, wanted: Sequence[str] | None, text: set[str]) -> Found:
    with _open_parquet(stream) as file:
        chosen, labelled = _choose(file.schema_arrow.names, how, wanted)
        found = file.read([*chosen, *labelled])
        table, labels = table_of(found, "X", chosen), [_values(found.column(name)) for name in labelled]
    assert table is not None
    return table, labelled, labels, ()


@contextmanager
def _open_parquet(stream: Stream) -> Iterator[Any]:
    """Open a Parquet file. Its faults, also those of the `with` block, become a DatasetError."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise fault(error) from error


def _kept_in_parquet(stream: Stream, keep: str) -> dict[str, list[str]]:
    with _open_parquet(stream) as file:
        names = file.schema_arrow.names
        find_columns(wanted := split_names(keep, names), names)
        table = file.read(wanted)
    return {name: ["" if x is None else str(x) for x in table.column(name).to_pylist()] for name in wanted}


def _values(column: Any) -> npt.NDArray[Any]:
    """Return the values of a column, (n,); objects where there are none, and for text and decimals."""
    if str(column.type).startswith("dictionary"):
        column = column.cast(column.type.value_type)
    return np.array(column.to_pylist(), object) if column.null_count else column.to_numpy()


Readers = tuple[
    Callable[[Stream, Origin, Sequence[str] | None, set[str]], Found], Callable[[Stream, str], dict[str, list[str]]]
]
# The functions that read each kind of table, by the first bytes; the last, because any file may be CSV.
KINDS: dict[bytes, Readers] = {b"PAR1": (_read_parquet, _kept_in_parquet), b"": (_read_csv, _kept_in_csv)}
SUFFIXES = (".parquet", ".csv", ".csv.gz")
FORMAT = Format(
    "a table",
    lambda path, names, how: not path.is_dir() or has_suffix(names, SUFFIXES),
    read_tables,
    options=("label", "exclude", "sample_weight"),
)
