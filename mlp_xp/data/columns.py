"""How the columns of tables become features: numbers, dates and categories.

A `Table` is raw. `Columns` are fitted to its training rows, and make features of any
other rows.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.data.frames import table_of
from mlp_xp.data.reading import FLAGS, LONGEST_WORD, MISSING, number_of
from mlp_xp.data.table import Table, Values, as_text, import_polars
from mlp_xp.errors import (
    Argument,
    DatasetError,
    MlpXpWarning,
    first_difference,
    some,
)

if TYPE_CHECKING:
    import polars as pl

MOSTLY = 0.9  # text becomes numbers, or dates, if at least this share of it can be read
_UNLIKE = 0.9  # text is not used if at least this share is distinct
FREQUENT = 0.01  # a value in at least this share of the rows has a feature
MOST_LEVELS = 30  # so many values of a category have features
_MOST_RARE = 10_000  # rare values of a category to be known again
_PIECE = 1024  # rows to write at once
_FEW = 20  # in fewer rows, whole numbers differ by chance
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_FIRST = re.compile(r"^(\d\d)\.(\d\d)\.(\d{4})$")


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str = "number"
    """number, date (days since 1970-01-01, UTC), or category."""
    fill: float | None = None
    """The median, which replaces a gap in numbers or dates. None: gaps are refused."""
    flagged: bool = False
    """Whether there is a feature `NAME is missing`, 1 or 0: the training rows had gaps.
    """
    levels: tuple[str, ...] = ()
    """The frequent values of a category, in the order of their features `NAME=LEVEL`,
    which are 1 or 0.
    """
    other: bool = False
    """Whether there is a feature `NAME is other`, for rare and unknown values."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature; none for text with a new value in every row."""
        names = [self.name]
        if self.kind == "category":
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
        if self.kind not in _READERS:
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
        """Whether any value, or gap, is known from the training."""
        column, found = self.column, self.found
        if column.kind in _READERS:
            takes_gaps = column.fill is None or column.flagged
            return takes_gaps or not np.isnan(found).all()
        _, other = column.places
        if not column.levels or (found != other).any():
            return True
        return not (self.new_gaps | self.new_values).all()

    @property
    def new_gaps(self) -> np.ndarray:
        """The rows with a gap, bool (n,), if the training rows had none."""
        column = self.column
        is_number = column.kind in _READERS
        if column.flagged or (is_number and column.fill is None):
            return np.zeros(len(self.found), np.bool_)
        if is_number:
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
        column, seen = self.column, self.seen
        if column.kind in _READERS:
            is_new = np.zeros(len(self.found), np.bool_)
            if seen.low is not None and seen.high is not None:
                with np.errstate(over="ignore"):
                    numbers = self.found.astype(np.float32)
                    is_new |= numbers < np.float32(seen.low)
                    is_new |= numbers > np.float32(seen.high)
            return is_new
        _, other = column.places
        is_new = self.found == other
        if seen.rare is None or not is_new.any():
            return np.zeros(len(is_new), np.bool_)
        texts = _categories(self.values)
        known = {"", *column.levels}
        for text in self.categories(np.flatnonzero(is_new)):
            if _checksum(text) in seen.rare:
                known.add(text)
        return is_new & ~texts.is_in([*known]).to_numpy()

    def categories(self, rows: np.ndarray) -> list[str]:
        """Return the different values of a category in some rows, in their order."""
        texts = _categories(self.values).gather(rows)
        return texts.unique(maintain_order=True).to_list()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


@dataclass(frozen=True)
class Columns:
    """The columns of a table as features. A `Signature` holds it.

    Two are equal if they make the same features.
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

        Gives one MlpXpWarning for columns that differ in every row, as row numbers and
        most text do. Raises DatasetError if no column can be used. Values of another
        kind than their column are only refused by `features`.
        """
        return cls.fit_table(table, rows, file)[0]

    @classmethod
    def fit_table(
        cls, table: Table, rows: np.ndarray | None = None, file: object = None
    ) -> tuple[Self, Table]:
        """Return what `fit` returns, and the table with the numbers that it has read.

        Numbers take less memory than their text, and are not read twice. The text of
        columns with wrong values stays, for errors.
        """
        columns, remarks = list[Column](), dict[str, list[str]]()
        found, seen = list[Values](), list[Seen]()
        for name, values in zip(table.names, table.columns, strict=True):
            column, its_seen, remark, read = _fit(name, values, rows)
            found.append(read)
            if column.feature_names:
                columns.append(column)
                seen.append(its_seen)
            if remark:
                remarks.setdefault(remark, []).append(name)
        if remarks:
            _report(remarks, file, none_left=not columns)
        counts = Counter(column.kind for column in columns)
        kinds = ""
        if list(counts) != ["number"]:
            kinds = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
        described = "; ".join(filter(None, (kinds, table.notes)))
        fitted = cls(tuple(columns), described, table.decimal_commas, tuple(seen))
        return fitted, replace(table, columns=tuple(found))

    def features(self, X: Any) -> Any:
        """Return the features of a table, float64 (n, features).

        X: a `Table`, or a data frame, see `frames.table_of`. Columns are found by their
        names. Others are ignored. An array or a list has features already and is
        returned as it is. Gives an MlpXpWarning for columns without a known category or
        number. Raises DatasetError, about the setting "X", with the names of all
        columns that are missing, or have a wrong value.
        """
        table = table_of(X, "X", self.names)
        if table is None:
            return X
        features, readings = self.read(table)
        unknown = [each.column.name for each in readings if not each.is_known]
        if unknown:
            fault = (
                "none of the values of these columns is known from the training: "
                f"{some(unknown)}"
            )
            warning = MlpXpWarning(fault, remedy="check how they are written")
            warnings.warn(warning, stacklevel=3)
        return features

    def read(self, X: Any) -> tuple[np.ndarray, list[Reading]]:
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
            raise _wrong_values(wrong)
        features = np.empty((len(table), len(self.feature_names)))
        # a few rows at a time, because writing whole columns is slow
        for start in range(0, len(table), _PIECE):
            rows = slice(start, start + _PIECE)
            parts = [features[rows, :0]]
            for column, *_, found in readings:
                parts += column.encode(found[rows], xp=np)
            np.concatenate(parts, axis=1, out=features[rows])
        return features, readings


DIFFERS = "columns whose values all differ, as row numbers do"
_UNUSED = "columns that are empty, or text without a frequent value, which are not used"
_LIKE_NUMBERS = (
    "columns of text that look like numbers or dates, which are written as 12, 3.5, "
    "2020-01-16 or NA"
)


def _report(remarks: dict[str, list[str]], file: object, *, none_left: bool) -> None:
    """Warn of columns, by remark. Raises DatasetError if none can be used."""
    fault = "; ".join(f"{why}: {some(names)}" for why, names in remarks.items())
    if none_left:
        raise DatasetError(f"no column can be used; {fault}", setting="X")
    useless = [
        name for why, names in remarks.items() for name in names if why != _LIKE_NUMBERS
    ]
    warning = MlpXpWarning(fault, file=file, setting=None if file else "X")
    if useless and file:
        exclude = Argument("exclude", ",".join(useless))
        warning.remedy = ("to leave columns out, give ", exclude)
    # for the caller of from_arrays, or load_dataset
    warnings.warn(warning, stacklevel=5)


def _wrong_values(wrong: list[tuple[Column, int, Any]]) -> DatasetError:
    """Return an error about the first wrong value, and the columns of the others."""
    (column, row, value), *others = wrong
    kind = f"finite {column.kind}" if isinstance(value, float) else column.kind
    error = DatasetError(
        f"{value!r:.60} is not a {kind}",
        remedy="correct it, or train without the column",
        setting="X",
        row=row,
        column=column.name,
    )
    if others:
        names = [other.name for other, *_ in others]
        error.notes.append(f"there are wrong values in {some(names)} too")
    return error


def _read(column: Column, values: Values) -> np.ndarray:
    """Return values for `Column.encode`. Infinity stands for a wrong value."""
    if column.kind in _READERS:
        return _numbers(column.kind, values)
    places, other = column.places
    return _replaced(_categories(values), places, other)


def _seen_texts(column: Column, texts: pl.Series) -> Seen:
    """Return what is kept of the training rows of a category."""
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


def _as_number(text: str) -> float:
    """Return the number in a text, or infinity; true is 1, and false 0."""
    number = number_of(FLAGS.get(text.lower(), text))
    return np.inf if np.isnan(number) else number


def as_days(text: str) -> float:
    """Return the days since 1970-01-01 to a date, or infinity for other text.

    The date is in ISO 8601, or as 31.12.2024.
    """
    try:
        moment = datetime.fromisoformat(_DAY_FIRST.sub(r"\3-\2-\1", text))
    except ValueError:
        return np.inf
    if not moment.tzinfo:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) / timedelta(days=1)


_READERS: dict[str, Callable[[str], float]] = {"number": _as_number, "date": as_days}


def _quick_numbers(texts: pl.Series) -> np.ndarray:
    """Return the numbers that polars reads, which are Python's to the last bit."""
    return texts.cast(import_polars().Float64, strict=False).to_numpy().copy()


def _quick_days(texts: pl.Series) -> np.ndarray:
    """Return the days to moments in full, which may differ in every row.

    Dates have few different values, and Python reads them, and years far from now.
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


# Readers of columns of text. They return NaN for what Python may read.
_QUICK_READERS = {"number": _quick_numbers, "date": _quick_days}
# What Python may read: a quick test, for columns of many different texts.
_FORMS = {
    "number": r"(?i)^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^[+-]?inf",
    "date": r"^(\d{4}...|\d\d\.\d\d\.\d{4}$)",
}


def _numbers(kind: str, values: Values) -> np.ndarray:
    """Return values as numbers or days, float64 (n,).

    A gap is NaN, and anything else infinity.
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


def _fit(
    name: str, values: Values, rows: np.ndarray | None
) -> tuple[Column, Seen, str, Values]:
    """Return how a column becomes features, a remark, and its values for `fit_table`.

    rows: the training rows; None for all.
    """
    for kind in _READERS:
        read = _numbers(kind, values)
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
        column, remark = Column(name, kind, fill, flagged=bool(gaps.any())), ""
        if kind == "number":
            are_whole = bool((finite % 1 == 0).all())
            if are_whole and _FEW <= len(finite) == len(np.unique(finite)):
                remark = DIFFERS
            if not np.isinf(read).any():
                values = read
        return column, seen, remark, values
    texts = _categories(values)
    if rows is not None:
        texts = texts.gather(rows)
    column, remark = _fit_category(name, texts)
    return column, _seen_texts(column, texts), remark, values


def _fit_category(name: str, texts: pl.Series) -> tuple[Column, str]:
    values = texts.filter(texts != "").alias("text")
    counts = values.value_counts(name="n")
    has_gaps = len(values) < len(texts)
    if not len(values):
        return Column(name, "category"), _UNUSED
    total, least = len(values), max(2, FREQUENT * len(texts))
    levels: list[str] = []
    if len(counts) < _UNLIKE * total:
        ordered = counts.sort("n", "text", descending=[True, False])
        frequent = ordered.filter(ordered["n"] >= least)["text"]
        levels = sorted(frequent.head(MOST_LEVELS))
    other = 0 < len(levels) < len(counts)
    column = Column(name, "category", None, has_gaps, tuple(levels), other)
    numeric = values.str.contains(r"^[+-]?\d").sum()
    if 2 * numeric >= total:
        return column, _LIKE_NUMBERS
    return column, "" if levels else _UNUSED
