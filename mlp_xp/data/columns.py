"""How the columns of tables become features: numbers, dates and categories.

A `Table` is raw. `Columns` are fitted to its training rows, and make features of any
other rows.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.data.frames import columns_of, table_of
from mlp_xp.data.reading import (
    FLAGS,
    LONGEST_WORD,
    MISSING,
    MOMENT,
    NUMBER_IN_TEXT,
    SIGNS,
    number_of,
)
from mlp_xp.data.table import Table, Values, as_text, import_polars, stripped
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

MOSTLY = 0.9  # text becomes numbers, or dates, if at least this share of it can be read
_UNLIKE = 0.9  # text is not used if at least this share is distinct
# A value of a category has a feature if it is in 5 rows, or in 3 % of the rows of a
# small table, at least 2.
FREQUENT = 5
FREQUENT_SHARE = 0.03
MOST_LEVELS = 250  # at most this many values of a category have features
_MOST_RARE = 10_000  # rare values of a category to remember
_PIECE = 1024  # rows to write at once
_FEW = 20  # in fewer rows, numbers may count the rows by chance
_SPARSE = 2  # numbers that count the rows are at most this times the number of rows
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_FIRST = re.compile(r"^(\d{1,2})\.(\d{1,2})\.(\d{4})$")
_YEAR_FIRST = re.compile(
    r"^(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[ T](\d?)(\d:\d\d.*))?$"
)
_YEAR_LAST = re.compile(r"^(\d{1,2})([-/])(\d{1,2})\2(\d{4})$")
_LOST = 0.5  # text like numbers is reported if more of its rows have no feature
_SHOWN = 3  # columns in a line


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str = "number"
    """number, percentage (55 for 55 %), date (days since 1970-01-01, UTC), or category.
    """
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
    day_first: bool | None = None
    """Whether dates such as 5/1/2024 begin with the day, and not with the month. None
    if the table of the training does not show it. Other tables may then show it.
    """

    @property
    def is_category(self) -> bool:
        """Whether the values are categories, and not numbers of any kind."""
        return self.kind == "category"

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
        if self.kind == "date":
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
    decimal_commas: bool = field(default=False, compare=False)
    """As in the `Table`. Other files are read in the same way, even without decimals.
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
            "decimal_commas": self.decimal_commas,
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
        decimal_commas = record["decimal_commas"]
        return cls(tuple(columns), decimal_commas=decimal_commas, seen=tuple(seen))

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
        used, or looks like numbers. Raises DatasetError if no column can be used.
        Values of another kind than their column are only refused by `features`.
        """
        return cls.fit_table(table, rows, file)[0]

    @classmethod
    def fit_table(
        cls, table: Table, rows: np.ndarray | None = None, file: object = None
    ) -> tuple[Self, Table]:
        """Return the result of `fit`, and the table with its columns of numbers read.

        Numbers take less memory than their text, and are not read twice. The text of
        columns with wrong values stays, for errors.
        """
        all_fitted, remarks = list[_Fitted](), dict[str, list[str]]()
        for name, values in zip(table.names, table.columns, strict=True):
            if name in table.text_names:
                fitted = _fit_text(name, values, rows, is_chosen=True)
            else:
                fitted = _fit(name, values, rows)
            all_fitted.append(fitted)
            if fitted.remark:
                remarks.setdefault(fitted.remark, []).append(name)
        used = [each for each in all_fitted if each.column.feature_names]
        if remarks:
            _report(remarks, file, none_left=not used)
        columns = cls(
            tuple(each.column for each in used),
            "; ".join(filter(None, _notes_on(used, table.notes))),
            table.decimal_commas,
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
        readings, wrong = list[Reading](), list[tuple[Column, int, Any]]()
        seen = self.seen or [Seen(rare=None)] * len(self.columns)
        for column, its_seen, values in zip(
            self.columns, seen, table.columns, strict=True
        ):
            reading = Reading(column, its_seen, values, _read(column, values))
            wrong_rows = np.flatnonzero(np.isinf(reading.found))
            if len(wrong_rows):
                row = int(wrong_rows[0])
                is_text = not isinstance(values, np.ndarray)
                value = values[row] if is_text else values.item(row)
                wrong.append((column, row, value))
            readings.append(reading)
        if wrong:
            raise _wrong_values(wrong, has_options=has_options)
        features = np.empty((len(table), len(self.feature_names)))
        # a few rows at a time, because writing whole columns is slow
        for start in range(0, len(table), _PIECE):
            rows = slice(start, start + _PIECE)
            parts = [features[rows, :0]]
            for column, *_, found in readings:
                parts += column.encode(found[rows], xp=np)
            np.concatenate(parts, axis=1, out=features[rows])
        return features, readings


COUNTS = "columns that count the rows, as row numbers do, and are used as numbers"
CODES = "columns with leading zeros, as in codes, which are used as numbers"
_EMPTY = "columns that are empty, and are not used"
_UNUSED = "columns of text without a frequent value, which are not used"
_ONLY_GAPS = "columns of text without a frequent value, of which only the gaps are used"
_LIKE_NUMBERS = (
    "columns of text that look like numbers or dates, but are not written as 12, 3.5, "
    "2020-01-16 or NA"
)
_LIKE_UNUSED = f"{_LIKE_NUMBERS}, and are not used"
_LIKE_ONLY_GAPS = f"{_LIKE_NUMBERS}, and of which only the gaps are used"
_LIKE_RARE = f"{_LIKE_NUMBERS}, and only their frequent values are used"


def _report(remarks: dict[str, list[str]], file: object, *, none_left: bool) -> None:
    """Warn of columns, by remark. Raises DatasetError if none can be used."""
    fault = "; ".join(f"{why}: {some(names)}" for why, names in remarks.items())
    if none_left:
        raise DatasetError(f"no column can be used; {fault}", setting="X")
    warning = MlpXpWarning(fault, file=file, setting=None if file else "X")
    if file and COUNTS in remarks:
        exclude = Argument("exclude", _listed(remarks[COUNTS]))
        warning.remedy = ("to leave out row numbers, give ", exclude)
    elif file and CODES in remarks:
        text = Argument("text", _listed(remarks[CODES]))
        warning.remedy = ("to keep codes apart, give ", text)
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
    if list(kinds) != ["number"]:
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


# How values of a kind are written.
_SUCH_AS = {"percentage": "55 %", "date": "2024-12-31"}


def _wrong_values(
    wrong: Sequence[tuple[Column, int, Any]], *, has_options: bool
) -> DatasetError:
    """Return an error about the first wrong value, and the columns of the others."""
    (column, row, value), *others = wrong
    kind = column.kind
    if kind in _SUCH_AS:
        kind += f" such as {_SUCH_AS[kind]}"
    elif isinstance(value, float):
        kind = f"finite {kind}"
    remedy: Words = "correct it, write NA for a gap, or train without the column"
    if has_options and isinstance(value, str):
        names = _listed([each.name for each, *_ in wrong])
        text, exclude = Argument("text", names), Argument("exclude", names)
        it = "them" if others else "it"
        as_text, end = f" to read {it} as text, or ", f" to leave {it} out"
        start = "correct it, write NA for a gap, or train with "
        remedy = (start, text, as_text, exclude, end)
    error = DatasetError(
        f"{value!r:.60} is not a {kind}",
        remedy=remedy,
        setting="X",
        row=row,
        column=column.name,
    )
    if others:
        too = some([other.name for other, *_ in others])
        error.notes.append(f"there are wrong values in {too} too")
    return error


def _read(column: Column, values: Values) -> np.ndarray:
    """Return values for `Column.encode`. Infinity stands for a wrong value."""
    if not column.is_category:
        day_first = column.day_first
        if column.kind == "date" and day_first is None:
            day_first = _order_of_dates(values)
        return _numbers(column.kind, _with_iso_dates(values, day_first=day_first))
    places, other = column.places
    return _replaced(_categories(values), places, other)


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


def _replaced(texts: pl.Series, new: dict[str, Any], default: float) -> np.ndarray:
    """Return the value of each text, (n,), or the default."""
    if not new:
        return np.full(len(texts), default)
    found = texts.replace_strict([*new], [*new.values()], default=default)
    return found.to_numpy()


PERCENT_SIGNS = ("%", "％")  # the second is for Chinese text


def _as_number(text: str) -> float:
    """Return the number in a text, or infinity; true is 1, and false 0."""
    number = number_of(FLAGS.get(text.lower(), text))
    return np.inf if np.isnan(number) else number


def _as_percentage(text: str) -> float:
    """Return the number before a percent sign, or infinity for other text."""
    if not text.endswith(PERCENT_SIGNS):
        return np.inf
    return _as_number(text[:-1].strip())


def as_days(text: str) -> float:
    """Return the days from 1970-01-01 to a date, or infinity for other text.

    The date is in ISO 8601, or as 31.12.2024, 2024/12/31 or 2024年12月31日.
    """
    iso = text
    day_first = _DAY_FIRST.match(text)
    year_first = _YEAR_FIRST.match(text)
    if day_first:
        day, month, year = day_first.groups()
        iso = f"{year}-{month:0>2}-{day:0>2}"
    elif year_first:
        year, month, day, tens, time = year_first.groups()
        iso = f"{year}-{month:0>2}-{day:0>2}"
        if time:
            iso += f"T{tens or 0}{time}"
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return np.inf
    if not moment.tzinfo:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) / timedelta(days=1)


# A column is of the first kind that its values fit, or else a category.
_READERS: dict[str, Callable[[str], float]] = {
    "number": _as_number,
    "percentage": _as_percentage,
    "date": as_days,
}


def _quick_numbers(texts: pl.Series) -> np.ndarray:
    """Return the numbers read by polars. They equal Python's to the last bit."""
    return texts.cast(import_polars().Float64, strict=False).to_numpy().copy()


def _quick_percentages(texts: pl.Series) -> np.ndarray:
    numbers = np.full(len(texts), np.nan)
    rows = np.flatnonzero(texts.str.ends_with("%"))
    if len(rows):
        before_sign = texts.gather(rows).str.strip_suffix("%")
        numbers[rows] = _quick_numbers(stripped(before_sign))
    return numbers


def _quick_days(texts: pl.Series) -> np.ndarray:
    """Return the days to complete moments, which may differ in every row.

    Dates have few different values, so Python reads them. It also reads years far from
    now.
    """
    form = "^(1[89]|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9]$"
    days = np.full(len(texts), np.nan)
    rows = np.flatnonzero(texts.str.contains(form))
    if len(rows):
        moments = texts.gather(rows).str.replace("T", " ", literal=True)
        times = moments.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        seconds = times.dt.epoch("s").cast(import_polars().Float64)
        days[rows] = seconds.to_numpy() / 86400
    return days


# Readers of columns of text. They return NaN for text that Python may read.
_QUICK_READERS = {
    "number": _quick_numbers,
    "percentage": _quick_percentages,
    "date": _quick_days,
}
# The form of text that Python may read: a quick test for columns of many texts.
_FORMS = {
    "number": r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^[+-]?inf",
    "percentage": "[%％]$",
    "date": r"^(\d{4}...|\d\d?\.\d\d?\.\d{4}$)",
}


def _numbers(kind: str, values: Values) -> np.ndarray:
    """Return values as numbers or days, float64 (n,).

    A gap becomes NaN, and any other value infinity.
    """
    if isinstance(values, np.ndarray):
        if kind == "number":
            return values
        return np.where(np.isnan(values), np.nan, np.inf)
    numbers = _QUICK_READERS[kind](values)
    rows = np.flatnonzero(~np.isfinite(numbers))
    if len(rows):
        others = values.gather(rows)
        different = others.unique()
        may_be = different.str.contains(_FORMS[kind])
        may_be |= different.str.len_chars() <= LONGEST_WORD
        read, known = _READERS[kind], {}
        for text in different.filter(may_be):
            known[text] = np.nan if text.lower() in MISSING else read(text)
        numbers[rows] = _replaced(others, known, np.inf)
    return numbers


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


def _fit(name: str, values: Values, rows: np.ndarray | None) -> _Fitted:
    """Return how a column becomes features.

    rows: the training rows; None for all.
    """
    for kind in _READERS:
        day_first = _order_of_dates(values) if kind == "date" else None
        read = _numbers(kind, _with_iso_dates(values, day_first=day_first))
        numbers = read if rows is None else read[rows]
        gaps, finite = np.isnan(numbers), numbers[np.isfinite(numbers)]
        is_kind = (
            isinstance(values, np.ndarray) or len(finite) >= MOSTLY * (~gaps).sum()
        )
        if gaps.all() or not is_kind:
            continue
        fill, seen = None, Seen()
        if len(finite):
            fill = float(np.median(finite))
            seen = Seen(float(finite.min()), float(finite.max()))
        column = Column(name, kind, fill, flagged=bool(gaps.any()), day_first=day_first)
        if kind != "number":
            return _Fitted(column, seen, values)
        remark = COUNTS if _count_rows(read) else ""
        if not remark and _are_codes(values, finite):
            remark = CODES
        if not np.isinf(read).any():
            values = read
        return _Fitted(column, seen, values, remark)
    return _fit_text(name, values, rows)


def _count_rows(numbers: np.ndarray) -> bool:
    """Return whether numbers count the rows of a table. Some rows may be left out.

    These numbers are whole, rise from row to row, and are no larger than row numbers.
    """
    if len(numbers) < _FEW or not np.isfinite(numbers).all():
        return False
    if numbers[0] < 0 or numbers[-1] > _SPARSE * len(numbers):
        return False
    return bool((numbers % 1 == 0).all() and (np.diff(numbers) >= 1).all())


def _are_codes(values: Values, numbers: np.ndarray) -> bool:
    """Return whether the texts of whole numbers begin with zeros, as in `007`."""
    if isinstance(values, np.ndarray) or (numbers % 1 != 0).any():
        return False
    return bool(values.str.contains(r"^0\d").any())


def _order_of_dates(texts: Values) -> bool | None:
    """Return whether the day is first in dates such as 16/1/2020 and 16-1-2020.

    Returns None without dates of this form, or if they do not show the order.
    """
    if isinstance(texts, np.ndarray):
        return None
    year_last = texts.filter(texts.str.contains(r"[-/]\d{4}$"))
    is_day_first = is_month_first = False
    for text in year_last.unique():
        found = _YEAR_LAST.match(text)
        if found:
            is_day_first |= int(found[1]) > 12
            is_month_first |= int(found[3]) > 12
    if is_day_first and is_month_first:
        return None
    if is_day_first or is_month_first:
        return is_day_first
    return None


def _with_iso_dates(values: Values, *, day_first: bool | None) -> Values:
    """Return text with dates such as 16/1/2020, or 1/16/2020, as 2020-01-16.

    The text stays as it is if day_first is None.
    """
    if day_first is None or isinstance(values, np.ndarray):
        return values
    new = {}
    for text in values.unique():
        found = _YEAR_LAST.match(text)
        if found:
            day, _, month, year = found.groups()
            if not day_first:
                month, day = day, month
            new[text] = f"{year}-{month:0>2}-{day:0>2}"
    return values.replace(new) if new else values


def _fit_text(
    name: str, values: Values, rows: np.ndarray | None, *, is_chosen: bool = False
) -> _Fitted:
    """Return how a column of categories becomes features.

    rows: as in `_fit`. is_chosen: whether the user chose to read it as text.
    """
    texts = _categories(values)
    if rows is not None:
        texts = texts.gather(rows)
    filled = texts.filter(texts != "").alias("text")
    counts = filled.value_counts(name="n")
    if not len(filled):
        return _Fitted(Column(name, "category"), Seen(rare=None), values, _EMPTY)
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
    column = Column(name, "category", None, has_gaps, tuple(levels), other)
    is_like = not is_chosen and other_rows > _LOST and _look_like_numbers(filled)
    if levels:
        remark = _LIKE_RARE if is_like else ""
    elif has_gaps:
        remark = _LIKE_ONLY_GAPS if is_like else _ONLY_GAPS
    else:
        remark = _LIKE_UNUSED if is_like else _UNUSED
    seen = _seen_texts(column, texts)
    return _Fitted(column, seen, values, remark, len(counts) - len(levels), other_rows)


def _look_like_numbers(texts: pl.Series) -> bool:
    """Return whether half of some texts are numbers or dates in another form.

    These are numbers between other signs, such as $1,200 or 12 kg, times, and dates of
    three numbers. Numbers must have the same signs around them, unlike numbers in
    codes.
    """
    signs = texts.str.replace_all(SIGNS, "0")
    numbers = signs.filter(signs.str.contains(NUMBER_IN_TEXT))
    largest = max(numbers.value_counts(name="n")["n"], default=0)
    moments = int(texts.str.contains(MOMENT).sum())
    return 2 * max(largest, moments) >= len(texts)
