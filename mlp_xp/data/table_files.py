"""Tables with a header: CSV, by the standard library, and Parquet, by pyarrow.

CSV is read as text first: type inference would turn the label 01 into 1, and pandas,
polars and pyarrow do not tell the line and column of a fault. The price is time.
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
# characters that are not letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or what pandas calls row numbers in Parquet.
NAMELESS = "$|__index_level_"

_SEPARATORS = {",": "", ";": "separated by ';'", "\t": "separated by tabs"}
_SNIFFED = 20  # lines of CSV by which the separator is known
# Numbers by the mark before their decimals, such as 1.234,5 and 1,234.5, with the other
# one between thousands.
_MARKS = {
    mark: re.compile(
        rf"[+-]?([1-9]\d{{0,2}}([{other}]\d{{3}})+|\d+|(?=[{mark}]\d))([{mark}]\d*)?(e[+-]?\d+)?",
        re.I,
    )
    for mark, other in (",.", ".,")
}
BLOCK = 4096  # rows of CSV that are read at once


def read_tables(
    path: Path, how: DataOptions, known: Columns | None = None
) -> RawSamples:
    """Read a table with a header, or a folder with two, for training and for testing,
    with the same columns.

    how: the columns of labels, of weights, and those to ignore. known: the columns that
    a network was trained on, which are found by their names; by default all others are
    features, and labels are needed then. The labels in CSV are text, whatever they
    mean. Other tables are returned as they are.

    Gives an MlpXpWarning for columns without a name, which are left out. Raises
    DatasetError, which names the file, the line (CSV) or row, counted from 1, and the
    column.
    """
    if path.is_dir():
        train = read_tables(find_table(path, "train"), how, known)
        table = train.train.inputs
        known = Columns(
            tuple(map(Column, table.names)), decimal_commas=table.decimal_commas
        )
        how = replace(how, sample_weight=None)  # which is for training
        return replace(
            train, test=read_tables(find_table(path, "test"), how, known).train
        )
    with open_table(path) as found:
        names = columns_of(found)[0]
        labels, ignored = (
            split_names(given, names) if given else []
            for given in (how.label, how.exclude)
        )
        weights = [how.sample_weight] if how.sample_weight else []
        if not (known or labels):
            raise DatasetError(
                f"needs the name of the column with the labels: {some(names)}",
                setting="label",
            )
        needed = [*labels, *weights, *([] if known else ignored)]
        wanted = known.names if known else _features(names, needed)
        places = find_columns([*needed, *wanted], names)
        if isinstance(found, Table) and found.notes:
            found = _with_points(
                found, places, "," * bool(known and known.decimal_commas)
            )
        table = table_of(found, None, wanted)
        if not table:
            raise DatasetError(
                "has a header, but no rows", remedy="give a table with rows"
            )
        y = take_labels("y", found, labels)[0] if labels else None
        weigh = (
            [
                number_of(str(value))
                for value in take_labels("y", found, weights)[0].tolist()
            ]
            if weights
            else None
        )
    part = Part(table, y, path, weigh)
    return RawSamples(
        part, None, "columns", label_names=tuple(labels), weight_names=tuple(weights)
    )


@contextmanager
def open_table(path: Path) -> Iterator[Any]:
    """Read a table as it is, in a `with` block in which errors name its file.

    CSV, gzipped or plain, becomes a `Table` of text without spaces around it; Parquet a
    table of pyarrow. The kind is detected by content, not by name. Raises DatasetError,
    which names the file and the line.
    """
    with open_file(path) as stream:
        yield (_read_parquet if stream.peek(4).startswith(b"PAR1") else _read_csv)(
            stream
        )


def is_table(name: str) -> bool:
    """Return whether a file is a table by its name."""
    return has_suffix([name], _SUFFIXES)


def find_table(folder: Path, part: str) -> Path:
    """Return the only table in a folder for a part, "train" or "test", by its name.
    Raises DatasetError.
    """
    tables = [name for name in visible_names(folder) if is_table(name)]
    found = [
        name
        for name in tables
        if re.search(rf"(?<![^\W\d_])({WORDS[part]})(?![^\W\d_])", name.lower())
    ]
    if len(found) == 1:
        return folder / found[0]
    raise DatasetError(
        f"has {len(found) or 'no'} tables with the word {part!r} in the name, but {some(found or tables, 3)}",
        remedy="give a folder with one for training and one for testing, such as train.csv and test.csv, or one file",
        file=folder,
    )


def _features(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Return the columns of a table that are features, all but the others and those
    without a name.
    """
    nameless = [i for i, name in enumerate(names, 1) if re.match(NAMELESS, name)]
    if nameless:
        fault = f"column {', '.join(map(str, nameless))} has no name, and is left out"
        warnings.warn(
            MlpXpWarning(fault, remedy="if it is not a row number, name it"),
            stacklevel=4,
        )
    found = [
        name
        for i, name in enumerate(names, 1)
        if i not in nameless and name not in others
    ]
    if not found:
        raise DatasetError(
            "has no columns but the labels and those to ignore",
            remedy="give a table with features",
        )
    return found


def split_names(given: str, names: Sequence[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if given in names:
        return [given]
    return [
        *dict.fromkeys(
            name.strip() for name in next(csv.reader([given], skipinitialspace=True))
        )
    ]


def _marks_of(values: np.ndarray) -> dict[str, str]:
    """Return for each number of a column the decimal marks that it may have; nothing
    for a column of something else.
    """
    texts = [text for text in values.tolist() if text.lower() not in MISSING]
    marks = {
        text: "".join(mark for mark, form in _MARKS.items() if form.fullmatch(text))
        for text in {*texts}
    }
    are_numbers = sum(marks[text] != "" for text in texts) >= MOSTLY * len(texts)
    return {text: found for text, found in marks.items() if found and are_numbers}


def _with_points(table: Table, places: Sequence[int], mark: str) -> Table:
    """Return a table whose numbers in some columns have decimal points, and nothing
    between thousands.

    12,5 and 0,382 show their decimal mark, 1,001 does not. A column without one that
    does is as the others of the file, or else as those of another file, whose mark is
    given, or "". Without any, a mark with three digits after it in all numbers of a
    column is that of decimals. Raises DatasetError for other numbers that can be read
    in two ways.
    """
    columns, numbers = [*table.columns], [*map(_marks_of, table.columns)]
    shown = [{marks for marks in each.values() if len(marks) == 1} for each in numbers]
    of_file = "".join(set[str]().union(*shown))
    mark = mark if not of_file else of_file * (len(of_file) == 1)
    for i in places:
        texts, own = columns[i].tolist(), min(shown[i], default=mark)
        between = {text.strip("+-0123456789") for text in numbers[i]}
        if not own and len(between) == 1 and between <= _MARKS.keys():
            own = min(between)
        for row, text in enumerate(texts):
            marks = numbers[i].get(text)
            if marks and (own not in marks if own else {*_MARKS} & {*text}):
                fault = f"the decimal mark of {text!r:.60} is not clear"
                remedy = "write all numbers with the same one, and no other marks"
                raise DatasetError(
                    fault, remedy=remedy, line=table.lines[row], column=table.names[i]
                )
        if own:
            other = min(_MARKS.keys() - {own})
            points = {
                text: text.replace(other, "").replace(own, ".") for text in numbers[i]
            }
            columns[i] = np.array([points.get(text, text) for text in texts], TEXT)
    notes = table.notes + ", decimal commas" * (mark == ",")
    return replace(
        table, columns=tuple(columns), notes=notes, decimal_commas=mark == ","
    )


def _read_csv(stream: Stream) -> Table:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as file:
        head = [*islice(file, _SNIFFED)]
        rows = read_rows(chain(head, file), separator := _separator_of(head))
        names = [name.strip() for name in next(rows, (0, []))[1]]
        if not names:
            raise DatasetError(
                "is empty",
                remedy="give a table with the names of its columns in the first line",
            )
        lines, blocks = array("q"), list[list[np.ndarray]]()
        while block := [*islice(rows, BLOCK)]:
            fields = zip(*(row for _, row in block), strict=True)
            blocks.append([np.strings.strip(np.array(each, TEXT)) for each in fields])
            lines.extend(number for number, _ in block)
    columns = [np.concatenate(each) for each in zip(*blocks, strict=True)] or [
        np.empty(0, TEXT) for _ in names
    ]
    return Table(tuple(names), tuple(columns), lines, _SEPARATORS[separator])


def _separator_of(lines: Sequence[str]) -> str:
    """Return the separator with which the first lines of a table have the same number
    of columns, and the most.
    """

    def fit(separator: str) -> tuple[bool, int]:
        try:
            widths = [
                len(row)
                for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)
                if row
            ]
        except csv.Error:
            return False, 0
        widths = widths[:-1] if len(lines) == _SNIFFED else widths  # the last may go on
        return len({*widths}) == 1 < widths[0], widths[0] if widths else 0

    return max(_SEPARATORS, key=fit)


def read_rows(
    lines: Iterable[str], separator: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of its
    first line, from 1.

    lines: text, whose fields may be quoted as in RFC 4180. Raises DatasetError for
    other text, and for a row with more or fewer fields than the first.
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
