"""How the columns of tables become features: numbers, dates and categories.

A `Table` is raw. `Columns` are fitted to its training rows, and make features of any
other rows.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.data.frames import columns_of, table_of
from mlp_xp.data.kinds import (
    CATEGORY,
    DATE,
    NUMBER,
    TEXT,
    Kind,
    kind_of,
    read,
    replaced,
)
from mlp_xp.data.reading import FLAGS, LONGEST_WORD, MISSING
from mlp_xp.data.table import PLAIN, Table, Values, Writing, as_text, import_polars
from mlp_xp.errors import (
    Argument,
    DatasetError,
    MlpXpWarning,
    Words,
    first_difference,
    more,
    some,
    warn,
)

if TYPE_CHECKING:
    import polars as pl

_UNLIKE = 0.9  # text is not used if at least this share is distinct
# A value of a category has a feature if it is in 5 rows, or in 3 % of the rows of a
# small table, at least 2.
FREQUENT = 5
FREQUENT_SHARE = 0.03
MOST_LEVELS = 250  # at most this many values of a category have features
_MOST_RARE = 10_000  # rare values of a category to remember
_PIECE = 1024  # rows to write at once
_SHOWN = 3  # columns in a line


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str = NUMBER
    """number, date (days since 1970-01-01, UTC), or category."""
    fill: float | None = None
    """The median, which replaces a gap. None for categories, and if nothing was fitted.
    Gaps then stay NaN.
    """
    flagged: bool = False
    """Whether there is a feature `NAME is missing`, 1 or 0, because the training rows
    had gaps.
    """
    levels: tuple[str, ...] = ()
    """The frequent values of a category, in the order of their features `NAME=LEVEL`,
    which are 1 or 0.
    """
    other: bool = False
    """Whether there is a feature `NAME is other`, for rare and unknown values."""

    @property
    def is_category(self) -> bool:
        """Whether the values are categories, and not numbers of any kind."""
        return self.kind == CATEGORY

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature; none for text with a new value in every row."""
        names = [self.name]
        if self.is_category:
            names = [f"{self.name}={level}" for level in self.levels]
        if self.other:
            names.append(f"{self.name} is other")
        if self.flagged:
            names.append(f"{self.name} is missing")
        return tuple(names)

    @property
    def places(self) -> tuple[dict[str, int], int]:
        """The place of each value of a category among its features, and of others.

        "" is a gap. The place of others is -1 if they have no feature.
        """
        places = {text: place for place, text in enumerate(self.levels)}
        other = len(places) if self.other else -1
        if self.flagged:
            places[""] = len(self.feature_names) - 1
        return places, other

    def shown(self, value: float) -> str:
        """Return a number for people, or the day of a date."""
        if self.kind == DATE:
            return str(np.datetime64(int(value // 1), "D"))
        return f"{value:.6g}"

    def encode(self, values: Array, /, *, xp: Any) -> list[Array]:
        """Return the features of n rows as arrays, (n, ...) each, to be concatenated.

        An array holds numbers, or booleans for 1 and 0. values: (n,), numbers with NaN
        for a gap. For a category, the place of each value, from `places`.
        """
        if self.is_category:
            return [values[:, None] == xp.arange(len(self.feature_names))]
        gaps = xp.isnan(values)
        filled = values if self.fill is None else xp.where(gaps, self.fill, values)
        if self.flagged:
            return [filled[:, None], gaps[:, None]]
        return [filled[:, None]]


class Seen(NamedTuple):
    """The values of a column in the training rows."""

    low: float | None = None
    """The lowest number or date; None if there is none."""
    high: float | None = None
    """The highest number or date."""
    rare: frozenset[str] | None = frozenset()
    """The checksums of the rare values of a category, which have no feature.

    A value itself may be the name of a person, and is not kept. None if new values are
    to be expected: the column has no features, or more than _MOST_RARE rare values.
    """


class Reading(NamedTuple):
    """The values of a column in other rows."""

    column: Column
    seen: Seen
    values: Values
    found: np.ndarray
    """The values for `Column.encode`, (n,). Infinity stands for a wrong value."""

    @property
    def is_known(self) -> bool:
        """Whether any category, or number or gap, is known from the training."""
        is_new = self.new_gaps
        if self.column.is_category:
            is_new = is_new | self.new_values
        return not is_new.all()

    @property
    def new_gaps(self) -> np.ndarray:
        """The rows with a gap, bool (n,), if the training rows had none."""
        column = self.column
        has_no_median = not column.is_category and column.fill is None
        if column.flagged or has_no_median:
            return np.zeros(len(self.found), np.bool_)
        if not column.is_category:
            return np.isnan(self.found)
        _, other = column.places
        is_gap = self.found == other
        if is_gap.any():
            is_gap &= (_categories(self.values) == "").to_numpy()
        return is_gap

    @property
    def new_values(self) -> np.ndarray:
        """The rows with a value outside the training range, or with a new category.

        Numbers are compared as float32, because another table may hold them so.
        """
        column, seen, found = self.column, self.seen, self.found
        none = np.zeros(len(found), np.bool_)
        if not column.is_category:
            if seen.low is None or seen.high is None:
                return none
            with np.errstate(over="ignore"):
                numbers = found.astype(np.float32)
                is_low = numbers < np.float32(seen.low)
                return is_low | (numbers > np.float32(seen.high))
        _, other = column.places
        is_new = found == other
        if seen.rare is None or not is_new.any():
            return none
        known = [""]
        for text in self.categories(np.flatnonzero(is_new)):
            if _checksum(text) in seen.rare:
                known.append(text)
        return is_new & ~_categories(self.values).is_in(known).to_numpy()

    def categories(self, rows: np.ndarray) -> list[str]:
        """Return the different values of a category in some rows, in their order."""
        texts = _categories(self.values).gather(rows)
        return texts.unique(maintain_order=True).to_list()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True)
class Columns:
    """The columns of a table as features. A `Signature` holds it.

    Two instances are equal if they make the same features.
    """

    columns: tuple[Column, ...]
    """The columns with features."""
    described: str = field(default="", compare=False)
    """The kinds of columns, for people: "number: 4, category: 2, date: 1". "" if all
    are numbers.
    """
    writing: Writing = field(default=PLAIN, compare=False)
    """How text was written in the training table. Other tables are read in the same
    way.
    """
    seen: tuple[Seen, ...] = field(default=(), compare=False)
    """The values of each column in the training rows. () if nothing was fitted."""

    def difference(self, other: Self) -> str:
        """Describe the first difference in the features of a table, or return ""."""
        kinds = [each.kind for each in self.columns]
        other_kinds = [each.kind for each in other.columns]
        fills = [each.fill for each in self.columns if each.flagged]
        other_fills = [each.fill for each in other.columns if each.flagged]
        return first_difference(
            [
                ("columns", self.feature_names, other.feature_names),
                ("kinds of columns", kinds, other_kinds),
                ("medians of columns with gaps", fills, other_fills),
            ]
        )

    def record(self) -> dict[str, Any]:
        """Return the columns as JSON values."""
        columns = []
        for each in self.columns:
            columns.append({**each._asdict(), "levels": list(each.levels)})
        seen = []
        for low, high, rare in self.seen:
            sums = None if rare is None else " ".join(sorted(rare))
            seen.append([low, high, sums])
        return {
            "columns": columns,
            "writing": self.writing._asdict(),
            "seen": seen,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the columns of a record."""
        columns = []
        for each in record["columns"]:
            columns.append(Column(**{**each, "levels": tuple(each["levels"])}))
        seen = []
        for low, high, sums in record.get("seen", ()):
            rare = None if sums is None else frozenset(sums.split())
            seen.append(Seen(low, high, rare))
        writing = Writing(**record["writing"])
        return cls(tuple(columns), writing=writing, seen=tuple(seen))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, which other tables need too."""
        return tuple(column.name for column in self.columns)

    @classmethod
    def fit(
        cls, table: Table, rows: np.ndarray | None = None, file: object = None
    ) -> Self:
        """Return how the columns of a table become features.

        rows: the numbers of the training rows; by default all. file: where the table is
        from, for the warning.

        Gives one MlpXpWarning for columns that count the rows, and for text that is not
        used. Raises DatasetError for columns that mix numbers, dates and text, and if
        no column can be used.
        """
        return cls.fit_table(table, rows, file)[0]

    @classmethod
    def fit_table(
        cls, table: Table, rows: np.ndarray | None = None, file: object = None
    ) -> tuple[Self, Table]:
        """Return the result of `fit`, and the table with its columns of numbers read.

        Numbers take less memory than their text, and are not read twice.
        """
        kinds, wrong = list[Kind](), list[Wrong]()
        for name, values in zip(table.names, table.columns, strict=True):
            is_text = name in table.text_names
            kind = TEXT if is_text else kind_of(values, table.writing)
            kinds.append(kind)
            if kind.wrong_row >= 0:
                value = values[kind.wrong_row]
                wrong.append(Wrong(name, kind.name, kind.wrong_row, value))
        if wrong:
            is_file = file is not None
            raise _wrong_values(wrong, table.writing, _remedy(wrong, is_file=is_file))
        date_format = table.writing.date_format
        if date_format and DATE not in {kind.name for kind in kinds}:
            raise DatasetError(
                f"no column has dates in the form {date_format!r}",
                remedy="give the form as in %d.%m.%Y, or leave it out",
                setting="date_format",
                file=file,
            )
        all_fitted, remarks = list[_Fitted](), dict[str, list[str]]()
        for name, values, kind in zip(table.names, table.columns, kinds, strict=True):
            fitted = _fit(name, values, kind, rows)
            all_fitted.append(fitted)
            if fitted.remark:
                remarks.setdefault(fitted.remark, []).append(name)
        used = [each for each in all_fitted if each.column.feature_names]
        if remarks:
            _report(remarks, file, none_left=not used)
        columns = cls(
            tuple(each.column for each in used),
            "; ".join(filter(None, _notes_on(used, table.notes))),
            table.writing,
            tuple(each.seen for each in used),
        )
        values_read = tuple(each.values for each in all_fitted)
        return columns, replace(table, columns=values_read)

    def features(
        self, X: Any, *, has_options: bool = False, tells_gaps: bool = False
    ) -> Any:
        """Return the features of a table, float64 (n, features).

        X: a `Table`, or a data frame, see `frames.table_of`. Columns are found by their
        names. Other columns are ignored. An array or a list has features already and is
        returned as it is. has_options: whether the options for files may be given.

        Gives an MlpXpWarning for columns without a known category or number. With
        tells_gaps, it gives another warning for columns with gaps that had none in the
        training rows. Raises DatasetError, about the setting "X", with the names of all
        columns that are missing, or have a wrong value.
        """
        names, _ = columns_of(X)
        if not names:
            return X
        features, readings = self.read(X, has_options=has_options)
        unknown = [each.column.name for each in readings if not each.is_known]
        if unknown:
            fault = (
                "none of the values of these columns is known from the training: "
                f"{some(unknown)}"
            )
            warn(MlpXpWarning(fault, remedy="check how they are written"))
        gaps = []
        if tells_gaps:
            gaps = [each.column.name for each in readings if each.new_gaps.any()]
        if gaps:
            fault = (
                "rows have no value in columns without gaps in the training: "
                f"{some(gaps)}"
            )
            remedy = "the medians are used, and gaps in text count as new values"
            warn(MlpXpWarning(fault, remedy=remedy))
        return features

    def read(
        self, X: Any, *, has_options: bool = False
    ) -> tuple[np.ndarray, list[Reading]]:
        """Return the features of a table, and the values of each column.

        X: a `Table` or a data frame. Raises as `features` does.
        """
        table = table_of(X, "X", self.names)
        assert table is not None
        readings, wrong = list[Reading](), list[Wrong]()
        seen = self.seen or [Seen(rare=None)] * len(self.columns)
        for column, its_seen, values in zip(
            self.columns, seen, table.columns, strict=True
        ):
            found = _read(column, values, self.writing)
            reading = Reading(column, its_seen, values, found)
            wrong_rows = np.flatnonzero(np.isinf(reading.found))
            if len(wrong_rows):
                row = int(wrong_rows[0])
                is_text = not isinstance(values, np.ndarray)
                value = values[row] if is_text else values.item(row)
                wrong.append(Wrong(column.name, column.kind, row, value))
            readings.append(reading)
        if wrong:
            remedy: Words = (
                "correct it, write NA for a gap, or train without the column"
            )
            if has_options:
                remedy = _remedy(wrong, is_file=True)
            raise _wrong_values(wrong, self.writing, remedy)
        features = np.empty((len(table), len(self.feature_names)))
        # a few rows at a time, because writing whole columns is slow
        for start in range(0, len(table), _PIECE):
            rows = slice(start, start + _PIECE)
            parts = [features[rows, :0]]
            for column, *_, found in readings:
                parts += column.encode(found[rows], xp=np)
            np.concatenate(parts, axis=1, out=features[rows])
        return features, readings


COUNTS = (
    "columns of whole numbers that rise from row to row, as row numbers do, and are "
    "used as numbers"
)
_EMPTY = "columns that are empty, and are not used"
_UNUSED = "columns of text without a frequent value, which are not used"
_ONLY_GAPS = "columns of text without a frequent value, of which only the gaps are used"


def _report(remarks: dict[str, list[str]], file: object, *, none_left: bool) -> None:
    """Warn of columns, by remark. Raises DatasetError if none can be used."""
    fault = "; ".join(f"{why}: {some(names)}" for why, names in remarks.items())
    if none_left:
        raise DatasetError(f"no column can be used; {fault}", setting="X")
    warning = MlpXpWarning(fault, file=file, setting=None if file else "X")
    if file and COUNTS in remarks:
        exclude = Argument("exclude", _listed(remarks[COUNTS]))
        warning.remedy = ("to leave out row numbers, give ", exclude)
    warn(warning)


def _listed(names: Sequence[str]) -> str:
    """Return names of columns for an option, as in `id,"a,b"`."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def _notes_on(used: Sequence[_Fitted], of_table: str) -> Iterator[str]:
    """Yield remarks on the columns for the first lines of a run. Some may be empty.

    used: the columns with features. of_table: the notes of the table.
    """
    kinds = Counter(each.column.kind for each in used)
    if list(kinds) != [NUMBER]:
        yield ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
    yield of_table
    merged = []
    for each in sorted(used, key=lambda each: each.other_rows, reverse=True):
        if each.column.other:
            values = each.other_values + len(each.column.levels)
            counts = f"{each.other_values} of {values}"
            share = f"{100 * each.other_rows:.2g} % of the rows"
            merged.append(f"{each.column.name} {counts} ({share})")
    if merged:
        shown = ", ".join(merged[:_SHOWN])
        yield f"rare values put together: {shown}{more(merged, _SHOWN)}"


class Wrong(NamedTuple):
    """A value that is not understood."""

    name: str
    """The name of its column."""
    kind: str
    """The kind of its column. A category has letters, or no digits."""
    row: int
    value: Any


def _wrong_values(
    wrong: Sequence[Wrong], writing: Writing, remedy: Words
) -> DatasetError:
    """Return an error about the first wrong value, and the columns of the others."""
    first, *others = wrong
    number = f"a number such as 1{writing.thousands}234{writing.decimal}5"
    date = f"a date such as {writing.date_format or '2024-12-31'}"
    either = f"{number}, {date}, or text with letters"
    wanted = {NUMBER: number, DATE: date, CATEGORY: either}[first.kind]
    if isinstance(first.value, float) and first.kind == NUMBER:
        wanted = "a finite number"
    error = DatasetError(
        f"{first.value!r:.60} is not {wanted}",
        remedy=remedy,
        setting="X",
        row=first.row,
        column=first.name,
    )
    if others:
        too = some([other.name for other in others])
        error.notes.append(f"there are wrong values in {too} too")
    return error


def _remedy(wrong: Sequence[Wrong], *, is_file: bool) -> Words:
    """Return the options for columns that are not understood."""
    start = "correct it, write NA for a gap, or give "
    names = list(dict.fromkeys(each.name for each in wrong))
    if not isinstance(wrong[0].value, str):
        return "correct it, or leave out the row"
    if not is_file:
        return (start, Argument("text", names), " to read text")
    listed = _listed(names)
    return (
        start,
        Argument("decimal"),
        ", ",
        Argument("thousands"),
        " or ",
        Argument("date_format"),
        " as it is written, ",
        Argument("text", listed),
        " to read text, or ",
        Argument("exclude", listed),
    )


def _read(column: Column, values: Values, writing: Writing) -> np.ndarray:
    """Return values for `Column.encode`. Infinity stands for a wrong value."""
    if not column.is_category:
        return read(column.kind, values, writing)
    places, other = column.places
    return replaced(_categories(values), places, other)


def _seen_texts(column: Column, texts: pl.Series) -> Seen:
    """Return the facts to keep of the training rows of a category."""
    if not column.levels:
        return Seen(rare=None)
    if not column.other:
        return Seen()
    rare = texts.filter(~texts.is_in(["", *column.levels])).unique()
    if len(rare) > _MOST_RARE:
        return Seen(rare=None)
    return Seen(rare=frozenset(map(_checksum, rare)))


def _categories(values: Values) -> pl.Series:
    """Return values as categories: "" for a gap, true and false in small letters."""
    if isinstance(values, np.ndarray):
        pl = import_polars()
        texts = pl.Series([*map(as_text, values.tolist())], dtype=pl.String)
        return _categories(texts)
    words = values.unique()
    new = {}
    for text in words.filter(words.str.len_chars() <= LONGEST_WORD):
        small = text.lower()
        if small in MISSING:
            new[text] = ""
        elif small in FLAGS:
            new[text] = small
    return values.replace(new) if new else values


class _Fitted(NamedTuple):
    """How a column becomes features, with a remark on it."""

    column: Column
    seen: Seen
    values: Values
    """The values for `fit_table`."""
    remark: str = ""
    other_values: int = 0
    """The number of different rare values of a category."""
    other_rows: float = 0.0
    """The share of the rows with these values."""


def _fit(name: str, values: Values, kind: Kind, rows: np.ndarray | None) -> _Fitted:
    """Return how a column becomes features.

    rows: the training rows; None for all.
    """
    if kind.name == CATEGORY:
        return _fit_text(name, values, rows)
    numbers = kind.numbers if rows is None else kind.numbers[rows]
    gaps, finite = np.isnan(numbers), numbers[np.isfinite(numbers)]
    if gaps.all():
        return _Fitted(Column(name, CATEGORY), Seen(rare=None), values, _EMPTY)
    fill, seen = None, Seen()
    if len(finite):
        fill = float(np.median(finite))
        seen = Seen(float(finite.min()), float(finite.max()))
    column = Column(name, kind.name, fill, flagged=bool(gaps.any()))
    if kind.name == DATE:
        return _Fitted(column, seen, values)
    remark = COUNTS if _count_rows(kind.numbers) else ""
    return _Fitted(column, seen, kind.numbers, remark)


def _count_rows(numbers: np.ndarray) -> bool:
    """Return whether whole numbers rise from row to row, as row numbers do."""
    if not np.isfinite(numbers).all() or (numbers % 1).any():
        return False
    return bool((np.diff(numbers) > 0).all())


def _fit_text(name: str, values: Values, rows: np.ndarray | None) -> _Fitted:
    """Return how a column of categories becomes features. rows: as in `_fit`."""
    texts = _categories(values)
    if rows is not None:
        texts = texts.gather(rows)
    filled = texts.filter(texts != "").alias("text")
    counts = filled.value_counts(name="n")
    if not len(filled):
        return _Fitted(Column(name, CATEGORY), Seen(rare=None), values, _EMPTY)
    least = max(2, min(FREQUENT, math.ceil(FREQUENT_SHARE * len(texts))))
    levels: list[str] = []
    other_rows = 1.0
    if len(counts) < _UNLIKE * len(filled):
        ordered = counts.sort("n", "text", descending=[True, False])
        frequent = ordered.filter(ordered["n"] >= least).head(MOST_LEVELS)
        levels = sorted(frequent["text"])
        other_rows = 1 - int(frequent["n"].sum()) / len(filled)
    has_gaps = len(filled) < len(texts)
    other = 0 < len(levels) < len(counts)
    column = Column(name, CATEGORY, None, has_gaps, tuple(levels), other)
    remark = ""
    if not levels:
        remark = _ONLY_GAPS if has_gaps else _UNUSED
    seen = _seen_texts(column, texts)
    return _Fitted(column, seen, values, remark, len(counts) - len(levels), other_rows)
