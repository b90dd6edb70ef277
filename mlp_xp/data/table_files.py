"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first, which takes more time: type inference would turn the label 01
into 1, and pandas, polars and pyarrow do not tell the line and column of a fault.
"""

import csv
import io
import re
import warnings
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import find_columns
from mlp_xp.data.columns import MOSTLY, Column, Columns
from mlp_xp.data.frames import columns_of, table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import (
    MISSING,
    Stream,
    fault,
    number_of,
    open_file,
    visible_names,
)
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.data.table import TEXT, Table
from mlp_xp.errors import DatasetError, MlpXpWarning, some

# A file is for training or for testing if its name has one of these words, between
# characters other than letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or pandas' name of row numbers in Parquet.
NAMELESS = "$|__index_level_"

_SEPARATORS = {",": "", ";": "separated by ';'", "\t": "separated by tabs"}
_SNIFFED = 20  # lines of CSV to find the separator
BLOCK = 4096  # rows of CSV to read at once


def _number_with(mark: str, between: str) -> re.Pattern[str]:
    """Return a pattern of numbers with a decimal mark, and a mark between thousands."""
    whole = rf"[1-9]\d{{0,2}}([{between}]\d{{3}})+|\d+|(?=[{mark}]\d)"
    return re.compile(rf"[+-]?({whole})([{mark}]\d*)?(e[+-]?\d+)?", re.I)


# Numbers such as 1.234,5 and 1,234.5, by their decimal mark.
_MARKS = {",": _number_with(",", "."), ".": _number_with(".", ",")}


def read_tables(
    path: Path, how: DataOptions, known: Columns | None = None
) -> RawSamples:
    """Read a table with a header, or a folder with two, for training and for testing.

    The labels in CSV are text, whatever they mean. Other tables are returned as they
    are. how: the columns of labels, of weights, and to ignore. known: the columns that
    a network was trained on, found by their names. By default all other columns are
    features, and labels are needed.

    Gives an MlpXpWarning for columns without a name, which are left out. Raises
    DatasetError with the name of the file, the line (CSV) or row, counted from 1, and
    the column.
    """
    if not path.is_dir():
        return _read_table(path, how, known)
    train = _read_table(find_table(path, "train"), how, known)
    table = train.train.inputs
    known = Columns(
        tuple(map(Column, table.names)), decimal_commas=table.decimal_commas
    )
    how = replace(how, sample_weight=None)  # only for training
    test = _read_table(find_table(path, "test"), how, known)
    return replace(train, test=test.train)


def _read_table(path: Path, how: DataOptions, known: Columns | None) -> RawSamples:
    with open_table(path) as found:
        names, _ = columns_of(found)
        labels = split_names(how.label, names) if how.label else []
        ignored = split_names(how.exclude, names) if how.exclude else []
        weights = [how.sample_weight] if how.sample_weight else []
        if not (known or labels):
            raise DatasetError(
                f"needs the name of the column with the labels: {some(names)}",
                setting="label",
            )
        needed = [*labels, *weights]
        if known:
            features: Sequence[str] = known.names
        else:
            needed += ignored
            features = _features(names, needed)
        places = find_columns([*needed, *features], names)
        if isinstance(found, Table) and found.notes:
            has_commas = known and known.decimal_commas
            found = _with_points(found, places, "," if has_commas else "")
        table = table_of(found, None, features)
        if not table:
            raise DatasetError(
                "has a header, but no rows", remedy="give a table with rows"
            )
        label_values = take_labels("y", found, labels)[0] if labels else None
        weight_values = None
        if weights:
            texts, _ = take_labels("y", found, weights)
            weight_values = [number_of(str(value)) for value in texts.tolist()]
    return RawSamples(
        Part(table, label_values, path, weight_values),
        form="columns",
        label_names=tuple(labels),
        weight_names=tuple(weights),
    )


@contextmanager
def open_table(path: Path) -> Iterator[Any]:
    """Read a table as it is, in a `with` block where errors name its file.

    CSV, gzipped or plain, becomes a `Table` of text without spaces around it. Parquet
    becomes a table of pyarrow. The kind is detected by content, not by name. Raises
    DatasetError with the name of the file and the line.
    """
    with open_file(path) as stream:
        is_parquet = stream.peek(4).startswith(b"PAR1")
        yield _read_parquet(stream) if is_parquet else _read_csv(stream)


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return has_suffix([name], _SUFFIXES)


def find_table(folder: Path, part: str) -> Path:
    """Return the only table in a folder for a part, "train" or "test", by its name.

    Raises DatasetError.
    """
    tables = [name for name in visible_names(folder) if is_table(name)]
    word = re.compile(rf"(?<![^\W\d_])({WORDS[part]})(?![^\W\d_])")
    found = [name for name in tables if word.search(name.lower())]
    if len(found) == 1:
        return folder / found[0]
    count = f"{len(found) or 'no'} tables with the word {part!r} in the name"
    raise DatasetError(
        f"has {count}, but {some(found or tables, 3)}",
        remedy="give a folder with one for training and one for testing, such as "
        "train.csv and test.csv, or one file",
        file=folder,
    )


def _features(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the columns that are features: with a name, and not among the others."""
    features, nameless = [], []
    for number, name in enumerate(names, 1):
        if re.match(NAMELESS, name):
            nameless.append(str(number))
        elif name not in others:
            features.append(name)
    if nameless:
        fault = f"column {', '.join(nameless)} has no name, and is left out"
        remedy = "if it is not a row number, name it"
        # for the caller of load_dataset
        warnings.warn(MlpXpWarning(fault, remedy=remedy), stacklevel=5)
    if not features:
        raise DatasetError(
            "has no columns but the labels and those to ignore",
            remedy="give a table with features",
        )
    return features


def split_names(given: str, names: Sequence[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given in names:
        return [given]
    parts = next(csv.reader([given], skipinitialspace=True))
    return list(dict.fromkeys(part.strip() for part in parts))


def _marks_of(values: np.ndarray) -> dict[str, str]:
    """Return the possible decimal marks of each number, {} if most are not numbers."""
    texts = [text for text in values.tolist() if text.lower() not in MISSING]
    marks = {}
    for text in set(texts):
        fitting = [mark for mark, form in _MARKS.items() if form.fullmatch(text)]
        if fitting:
            marks[text] = "".join(fitting)
    count = sum(text in marks for text in texts)
    return marks if count >= MOSTLY * len(texts) else {}


def _with_points(table: Table, places: Sequence[int], mark: str) -> Table:
    """Return a table with decimal points, and nothing between thousands.

    12,5 and 0,382 show their decimal mark, but 1,001 does not. In a column where no
    number shows it, it is the mark of the other columns, or else the given mark of
    another file, or "". Without any of these, a mark with three digits after it in all
    numbers of a column is a decimal mark. Raises DatasetError for other numbers with
    two meanings.

    places: the columns that are used.
    """
    marks_of = [_marks_of(values) for values in table.columns]
    shown = [{marks for marks in each.values() if len(marks) == 1} for each in marks_of]
    of_file = set[str]().union(*shown)
    if of_file:
        mark = of_file.pop() if len(of_file) == 1 else ""
    columns = list(table.columns)
    for i in places:
        texts, numbers = columns[i].tolist(), marks_of[i]
        own = min(shown[i], default=mark)
        between = {text.strip("+-0123456789") for text in numbers}
        if not own and len(between) == 1 and between <= _MARKS.keys():
            own = min(between)
        unclear = set()
        for text, marks in numbers.items():
            is_clear = own in marks if own else _MARKS.keys().isdisjoint(text)
            if not is_clear:
                unclear.add(text)
        if unclear:
            row = next(row for row, text in enumerate(texts) if text in unclear)
            raise DatasetError(
                f"the decimal mark of {texts[row]!r:.60} is not clear",
                remedy="write all numbers with the same one, and no other marks",
                line=table.lines[row],
                column=table.names[i],
            )
        if own:
            thousands = min(_MARKS.keys() - {own})
            points = {}
            for text in numbers:
                points[text] = text.replace(thousands, "").replace(own, ".")
            columns[i] = np.array([points.get(text, text) for text in texts], TEXT)
    commas = mark == ","
    notes = f"{table.notes}, decimal commas" if commas else table.notes
    return replace(table, columns=tuple(columns), notes=notes, decimal_commas=commas)


def _read_csv(stream: Stream) -> Table:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as file:
        head = list(islice(file, _SNIFFED))
        separator = _separator_of(head)
        rows = read_rows(chain(head, file), separator)
        _, header = next(rows, (0, []))
        names = [name.strip() for name in header]
        if not names:
            raise DatasetError(
                "is empty",
                remedy="give a table with the names of its columns in the first line",
            )
        lines, blocks = array("q"), list[list[np.ndarray]]()
        while block := list(islice(rows, BLOCK)):
            fields = zip(*(row for _, row in block), strict=True)
            blocks.append([np.strings.strip(np.array(each, TEXT)) for each in fields])
            lines.extend(number for number, _ in block)
    columns: list[np.ndarray] = [np.empty(0, TEXT) for _ in names]
    if blocks:
        columns = [np.concatenate(each) for each in zip(*blocks, strict=True)]
    return Table(tuple(names), tuple(columns), lines, _SEPARATORS[separator])


def _separator_of(lines: Sequence[str]) -> str:
    """Return the separator with the most columns, and as many in each of the lines."""

    def fit(separator: str) -> tuple[bool, int]:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        try:
            widths = [len(row) for row in reader if row]
        except csv.Error:
            return False, 0
        if len(lines) == _SNIFFED:
            del widths[-1:]  # the last may go on
        if not widths:
            return False, 0
        return len(set(widths)) == 1 < widths[0], widths[0]

    return max(_SEPARATORS, key=fit)


def read_rows(
    lines: Iterable[str], separator: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with the number of their first line, from 1.

    Empty rows are left out. lines: text, whose fields may be quoted as in RFC 4180.
    Raises DatasetError for other text, and for a row with more or fewer fields than the
    first.
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
        raise DatasetError(
            str(error), remedy="check the quotes from there on", line=number
        ) from error


def _read_parquet(stream: Stream) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(stream) as file:
            return file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise fault(error) from error


_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
FORMAT = Format(
    "a table",
    lambda path, names, how: not path.is_dir() or has_suffix(names, _SUFFIXES),
    read_tables,
    options=("label", "exclude", "sample_weight"),
)
