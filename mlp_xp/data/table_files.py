"""Tables with a header: CSV, as text, and Parquet."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import error_at, find_columns
from mlp_xp.data._csv_files import read_csv
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.frames import columns_of, table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import Stream, fault, number_of, open_file, visible_names
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.data.table import PLAIN, Table, Writing, import_polars
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, some, warn

# A file is for training or for testing if its name has one of these words, between
# characters other than letters.
WORDS = {"train": "train", "test": "test|t10k"}
# No name, or pandas' name of row numbers in Parquet.
NAMELESS = "$|__index_level_"
_AS_WRITTEN = (
    "correct it, or give ",
    Argument("decimal"),
    " and ",
    Argument("thousands"),
    " as numbers are written",
)


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
    known = Columns(tuple(map(Column, table.names)), writing=table.writing)
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
        needed = [*labels, *weights]
        writing = Writing(how.decimal, how.thousands or "", how.date_format or "")
        if known:
            features: Sequence[str] = known.names
            writing = known.writing
        elif labels:
            needed += split_names(how.exclude, names)
            features = _features(names, needed)
            find_columns(text_names, names)
        else:
            raise DatasetError(
                f"needs the name of the column with the labels: {some(names)}",
                setting="label",
            )
        find_columns([*needed, *features], names)
        table = table_of(found, None, features)
        if not table:
            raise DatasetError(
                "has a header, but no rows", remedy="give a table with rows"
            )
        label_values = weight_values = None
        if labels:
            label_values, _ = take_labels("y", found, labels)
        if weights:
            weight_values, _ = take_labels("y", found, weights)
    notes = table.notes
    if notes:
        notes += f", decimal mark {writing.decimal!r}"
    texts = (*table.text_names, *text_names)
    table = replace(table, text_names=texts, writing=writing, notes=notes)
    samples = RawSamples(
        Part(table, label_values, path, weight_values),
        form="columns",
        label_names=tuple(labels),
        weight_names=tuple(weights),
        other_names=tuple(name for name in names if name not in features),
    )
    with samples.naming(samples.train):
        return replace(samples, train=_with_plain_numbers(samples.train, how.task))


def _with_plain_numbers(part: Part, task: str | None) -> Part:
    """Return a part with labels and weights as 1234.5 in text. Raises DatasetError."""
    labels, weights, writing = part.labels, part.weights, part.inputs.writing
    if labels is not None:
        labels = _plain_numbers("y", labels, writing, are_names=task == "classes")
    if weights is not None:
        texts = _plain_numbers("sample_weight", weights, writing).tolist()
        weights = [number_of(str(value)) for value in texts]
        for row, value in enumerate(texts):
            if isinstance(value, str) and value and math.isnan(weights[row]):
                fault = f"the weight {value!r:.60} is not a number"
                raise error_at("sample_weight", [row], fault, _AS_WRITTEN)
    return part._replace(labels=labels, weights=weights)


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


def _plain_numbers(
    what: str, values: np.ndarray, writing: Writing, *, are_names: bool = False
) -> np.ndarray:
    """Return text with numbers as 1234.5, and other text as it is.

    what: the name of the values in errors. are_names: whether all text is allowed.
    Raises DatasetError for text that is a number in another writing only.
    """
    if values.dtype.kind != "U" or writing.is_plain:
        return values
    pl = import_polars()
    texts = pl.Series(values.ravel().tolist(), dtype=pl.String)
    is_number = np.isfinite(writing.numbers(texts)).reshape(values.shape)
    is_other = np.isfinite(PLAIN.numbers(texts)).reshape(values.shape) & ~is_number
    if is_other.any() and not are_names:
        place = tuple(np.argwhere(is_other)[0])
        fault = f"{values[place].item()!r:.60} is not written like the other numbers"
        raise error_at(what, place, fault, _AS_WRITTEN)
    plain = writing.plain(texts).to_numpy().reshape(values.shape)
    return np.where(is_number, plain, values).astype(np.str_)


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
    options=(
        "label",
        "exclude",
        "text",
        "decimal",
        "thousands",
        "date_format",
        "drop_unlabelled",
        "sample_weight",
    ),
)
