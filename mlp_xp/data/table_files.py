"""Tables with a header: CSV, as text, and Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.backends.inputs import find_columns
from mlp_xp.data._csv_files import read_csv
from mlp_xp.data.columns import MOSTLY, Column, Columns
from mlp_xp.data.frames import columns_of, table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import (
    LONGEST_WORD,
    MISSING,
    Stream,
    fault,
    number_of,
    open_file,
    visible_names,
)
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.data.table import Table, Values, import_polars
from mlp_xp.errors import DatasetError, MlpXpWarning, some, warn

if TYPE_CHECKING:
    import polars as pl

# A file is for training or for testing if its name has one of these words, between
# characters other than letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or pandas' name of row numbers in Parquet.
NAMELESS = "$|__index_level_"


def _number_with(mark: str, between: str) -> str:
    """Return a pattern of numbers with a decimal mark, and a mark between thousands."""
    whole = rf"[1-9]\d{{0,2}}([{between}]\d{{3}})+|\d+"
    return rf"(?i)^[+-]?(({whole})([{mark}]\d*)?|[{mark}]\d+)(e[+-]?\d+)?( ?%)?$"


# Numbers such as 1.234,5 and 1,234.5, by their decimal mark.
_MARKS = {",": _number_with(",", "."), ".": _number_with(".", ",")}


def read_tables(
    path: Path, how: DataOptions, known: Columns | None = None
) -> RawSamples:
    """Read a table with a header, or a folder with tables for training and testing.

    The labels in CSV are text, whatever they mean. Other tables are returned as they
    are. how: the columns of labels, of weights, of text, and to ignore. known: the
    columns that a network was trained on, found by their names. By default all other
    columns are features, and labels are needed.

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


def _check_separator(names: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise DatasetError if the only column has other separators in its name."""
    first, *others = names
    if not others and first not in wanted and re.search(r"[\s|:，；、]", first):
        raise DatasetError(
            f"no separator is found in {first!r:.60}",
            remedy="separate columns with , or ; or tabs",
        )


def _read_table(path: Path, how: DataOptions, known: Columns | None) -> RawSamples:
    with open_table(path) as found:
        names, _ = columns_of(found)
        labels = split_names(how.label, names)
        weights = [how.sample_weight] if how.sample_weight else []
        text_names = split_names(how.text, names)
        if isinstance(found, Table):
            wanted = list(labels)
            if known:
                wanted += known.names
            _check_separator(names, wanted)
        needed, mark = [*labels, *weights], ""
        if known:
            features: Sequence[str] = known.names
            for column in known.columns:
                if column.is_category:
                    text_names.append(column.name)
            mark = "," if known.decimal_commas else ""
        elif labels:
            needed += split_names(how.exclude, names)
            features = _features(names, needed)
            find_columns(text_names, names)
        else:
            raise DatasetError(
                f"needs the name of the column with the labels: {some(names)}",
                setting="label",
            )
        places = find_columns([*needed, *features], names)
        if isinstance(found, Table) and found.notes:
            no_numbers = list(text_names)
            if known:  # columns unused by the network show no decimal mark
                used = {*needed, *known.names}
                no_numbers += [name for name in names if name not in used]
            found = _with_points(found, places, no_numbers, mark)
        table = table_of(found, None, features)
        if not table:
            raise DatasetError(
                "has a header, but no rows", remedy="give a table with rows"
            )
        label_values = weight_values = None
        if labels:
            label_values, _ = take_labels("y", found, labels)
        if weights:
            texts, _ = take_labels("y", found, weights)
            weight_values = [number_of(str(value)) for value in texts.tolist()]
    table = replace(table, text_names=tuple(text_names))
    return RawSamples(
        Part(table, label_values, path, weight_values),
        form="columns",
        label_names=tuple(labels),
        weight_names=tuple(weights),
        other_names=tuple(name for name in names if name not in features),
    )


@contextmanager
def open_table(path: Path) -> Iterator[Any]:
    """Read a table as it is, in a `with` block where errors name its file.

    CSV, gzipped or plain, becomes a `Table` of text without spaces around it. Parquet
    becomes a data frame of polars. The kind is detected by content, not by name. Raises
    DatasetError with the name of the file and the line.
    """
    with open_file(path) as stream:
        start = stream.peek(4)
        if start.startswith(b"PK\3\4"):
            raise DatasetError(
                "is a workbook of Excel, or another ZIP archive",
                remedy="save it as CSV UTF-8 or Parquet",
            )
        is_parquet = start.startswith(b"PAR1")
        yield _read_parquet(stream) if is_parquet else read_csv(stream)


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
    """Return the columns of features. They have names, and are not among the others."""
    features, nameless = [], []
    for number, name in enumerate(names, 1):
        if re.match(NAMELESS, name):
            nameless.append(str(number))
        elif name not in others:
            features.append(name)
    if nameless:
        fault = f"column {', '.join(nameless)} has no name, and is left out"
        remedy = "if it is not a row number, name it"
        warn(MlpXpWarning(fault, remedy=remedy))
    if not features:
        raise DatasetError(
            "has no columns except the labels and ignored columns",
            remedy="give a table with features",
        )
    return features


def split_names(given: str | None, names: Sequence[str]) -> list[str]:
    """Return the names in "a,b", each once. A column may have a name with commas."""
    if not given:
        return []
    if given in names:
        return [given]
    parts = next(csv.reader([given], skipinitialspace=True))
    return list(dict.fromkeys(part.strip() for part in parts))


class _Marks(NamedTuple):
    """A column of numbers as text, and the meanings of their marks."""

    texts: pl.Series
    allowed: dict[str, pl.Series]
    """By decimal mark: whether a text is a number with this mark."""
    are_numbers: pl.Series
    """Whether a text is a number with any mark."""
    shown: set[str]
    """The decimal marks of numbers with a single meaning."""

    def decimal_mark(self, of_file: str) -> str:
        """Return the decimal mark of the column, "" if there is none.

        of_file: the mark of other columns, or "".
        """
        own = min(self.shown, default=of_file)
        if own:
            return own
        numbers = self.texts.filter(self.are_numbers)
        between = set(numbers.str.strip_chars("+-0123456789 %").unique())
        is_clear = len(between) == 1 and between <= _MARKS.keys()
        return min(between) if is_clear else ""

    def unclear_rows(self, mark: str) -> np.ndarray:
        """Return the rows with numbers that have another decimal mark, int64 (n,)."""
        if mark:
            allowed = self.allowed[mark]
        else:
            allowed = ~self.texts.str.contains("[,.]")
        return (self.are_numbers & ~allowed).arg_true().to_numpy()

    def with_points(self, mark: str) -> pl.Series:
        """Return the column with decimal points, and nothing between thousands."""
        if not mark:
            return self.texts
        (thousands,) = _MARKS.keys() - {mark}
        points = self.texts
        if points.str.contains(thousands, literal=True).any():
            points = points.str.replace_all(thousands, "", literal=True)
        if mark != ".":
            points = points.str.replace(mark, ".", literal=True)
        return points.zip_with(self.are_numbers, self.texts)


def _marks_of(texts: Values) -> _Marks | None:
    """Return the marks in a column, None if most of its values are not numbers."""
    if isinstance(texts, np.ndarray):
        return None
    comma, point = texts.str.contains(_MARKS[","]), texts.str.contains(_MARKS["."])
    are_numbers = comma | point
    words = texts.filter(texts.str.len_bytes() <= LONGEST_WORD)
    gaps = words.str.to_lowercase().is_in([*MISSING]).sum()
    if are_numbers.sum() < MOSTLY * float(len(texts) - gaps):
        return None
    shown = set()
    if (comma & ~point).any():
        shown.add(",")
    if (point & ~comma).any():
        shown.add(".")
    return _Marks(texts, {",": comma, ".": point}, are_numbers, shown)


def _with_points(
    table: Table, places: Sequence[int], texts: Sequence[str], mark: str
) -> Table:
    """Return a table with decimal points, and nothing between thousands.

    12,5 and 0,382 show their decimal mark, but 1,001 does not. A column without a
    number that shows its mark takes the mark of the other columns. If they show none,
    it takes the mark of another file, given as `mark`. Without this, the only mark in
    the column is its decimal mark, even with three digits after it. Raises DatasetError
    for a number whose decimal mark is not clear.

    places: the used columns. texts: the names of columns without numbers. mark: the
    mark of another file, or "".
    """
    marks_of = dict[int, _Marks]()
    for i, name in enumerate(table.names):
        marks = None if name in texts else _marks_of(table.columns[i])
        if marks:
            marks_of[i] = marks
    shown = {each for marks in marks_of.values() for each in marks.shown}
    if shown:
        mark = min(shown) if len(shown) == 1 else ""
    columns, notes = list(table.columns), table.notes
    used = [i for i in places if i in marks_of]
    for i in used:
        marks = marks_of[i]
        own = marks.decimal_mark(mark)
        unclear = marks.unclear_rows(own)
        if len(unclear):
            row = int(unclear[0])
            raise DatasetError(
                f"the decimal mark of {marks.texts[row]!r:.60} is not clear",
                remedy="write all numbers with the same one, and no other marks",
                line=int(table.lines[row]),
                column=table.names[i],
            )
        columns[i] = marks.with_points(own)
    commas = mark == ","
    if commas:
        notes += ", decimal commas"
    elif len(shown) < 2 and any(
        marks_of[i].texts.str.contains(".", literal=True).any() for i in used
    ):
        notes += ", decimal points"
    return replace(table, columns=tuple(columns), notes=notes, decimal_commas=commas)


def _read_parquet(stream: Stream) -> Any:
    pl = import_polars()
    try:
        return pl.read_parquet(stream)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise fault(error) from error


_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
FORMAT = Format(
    "a table",
    lambda path, names, how: not path.is_dir() or has_suffix(names, _SUFFIXES),
    read_tables,
    options=("label", "exclude", "text", "drop_unlabelled", "sample_weight"),
)
