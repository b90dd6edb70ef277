"""Tables as they are, and how their columns become features: numbers, dates and categories, with and without gaps.

A `Table` is raw. `Columns` says what the training rows taught about its columns, and makes features of any other rows.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.backends.reading import find_columns
from mlp_xp.data.reading import FLAGS, MISSING, number_of
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, Words, some

TEXT = np.dtypes.StringDType()
MOSTLY = 0.9  # the share of values from which text is taken for numbers or dates, or for different in nearly every row
FREQUENT, MOST_LEVELS = 0.01, 30  # a category has a feature from this share of the rows on; so many categories have one
FEW = 20  # in fewer rows, whole numbers differ by chance
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True, eq=False)
class Table:
    """A table on the host, before anything is fitted to it."""

    names: tuple[str, ...]
    """The names of the columns."""
    columns: tuple[np.ndarray, ...]
    """The values of each, (n,): float64 (NaN: no value; true and false are 1 and 0), datetime64[us] in UTC (NaT: no
    value), or StringDType ("", or one of `reading.MISSING`: no value)."""
    notes: str = ""
    """How the file was written, for people: "separated by ';', decimal commas"."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0]) if self.columns else 0


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str = "number"
    """number, date (days since 1970-01-01, UTC), or category."""
    fill: float | None = None
    """What a number or a date without a value becomes: the median. None: such a row is refused."""
    flagged: bool = False
    """Whether a feature `NAME is missing`, 1 or 0, follows: the training rows had gaps."""
    levels: tuple[str, ...] = ()
    """The frequent values of a category, in the order of their features `NAME=LEVEL`, which are 1 or 0."""
    other: bool = False
    """Whether a feature `NAME=other` stands for rare values, and for those that the training rows did not have."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each of its features; none for text that differs in every row."""
        levels = (*self.levels, *["other"] * self.other)
        values = [f"{self.name}={level}" for level in levels] if self.kind == "category" else [self.name]
        return (*values, *[f"{self.name} is missing"] * self.flagged)


@dataclass(frozen=True)
class Columns:
    """The columns of a table as features. `Dataset` and `Model` hold it; the core knows `feature_names` and `features`.

    Two are equal if they make the same features.
    """

    columns: tuple[Column, ...]
    described: str = field(default="", compare=False)
    """What was found, for people: "number: 4, category: 2, date: 1, with gaps: 2"; "" for numbers alone."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that have features, which other tables need too."""
        return tuple(column.name for column in self.columns if column.feature_names)

    @classmethod
    def fit(cls, table: Table, rows: np.ndarray | None = None, file: object = None) -> Self:
        """Return how the columns of a table become features.

        rows: the numbers of the training rows; by default all. file: where the table is from, for the warning.

        Gives one MlpXpWarning that names the columns that differ in every row, as row numbers and most text do. Raises
        DatasetError, about the setting "X", with the row and all columns with a wrong value.
        """
        rows = np.arange(len(table)) if rows is None else rows
        read = [_kind_of(values, rows) for values in table.columns]
        every = [*zip(table.names, *zip(*read, strict=True), table.columns, strict=True)]
        _check(every, fitting=True)
        found = [_fit(name, kind, numbers, values, rows) for name, kind, numbers, values in every]
        said = {why: [column.name for column, remark in found if remark == why] for why in (DIFFERS, UNUSED)}
        if unlike := [name for names in said.values() for name in names]:
            fault = "; ".join(f"{why}: {some(names)}" for why, names in said.items() if names)
            remedy: Words = ("to leave columns out, give ", Argument("exclude", ",".join(unlike)))
            warning = MlpXpWarning(fault, remedy=remedy, file=file, setting=None if file else "X")
            warnings.warn(warning, stacklevel=4)  # for the caller of from_arrays, or load_dataset
        columns = tuple(column for column, _ in found)
        counts = Counter(column.kind if column.feature_names else "unused" for column in columns)
        counts["with gaps"] = sum(column.flagged for column in columns)
        described = [", ".join(f"{what}: {count}" for what, count in counts.items() if count), table.notes]
        is_plain = not table.notes and counts["number"] == counts.total()
        return cls(columns, "" if is_plain else "; ".join(filter(None, described)))

    def features(self, X: Any) -> Any:
        """Return the features of a `Table`, or of a data frame that `frames.table_of` knows: float64 (n, features).

        Columns are found by their names; others are ignored. An array, or a list, is returned as it is: it has features
        already. Gives an MlpXpWarning that names columns whose categories are all unknown. Raises DatasetError, about
        the setting "X", which names all columns that are missing, or that have a wrong value.
        """
        from mlp_xp.data.frames import table_of  # which imports this module

        table = table_of(X, "X", self.names)
        if table is None:
            return X
        used = [column for column in self.columns if column.feature_names]
        given = [table.columns[place] for place in find_columns(self.names, table.names, "X")]
        every = [
            (column.name, column.kind, None if column.kind == "category" else _parsed(column.kind, values), values)
            for column, values in zip(used, given, strict=True)
        ]
        _check(every)
        features, unknown, end = np.zeros((len(table), len(self.feature_names))), list[str](), 0
        for column, (_, _, known, values) in zip(used, every, strict=True):
            start, end = end, end + len(column.feature_names)
            part = features[:, start:end]
            if known is None:
                unknown += [] if _encode(column, values, part) else [column.name]
                continue
            gaps = np.isnan(known)
            part[:, 0] = known if column.fill is None else np.where(gaps, column.fill, known)
            if column.flagged:
                part[:, 1] = gaps
        if unknown:
            fault = f"columns without a value that was frequent in training: {some(unknown)}"
            warnings.warn(MlpXpWarning(fault, remedy="check how they are written"), stacklevel=3)
        return features


DIFFERS = "columns whose values all differ, as row numbers do"
UNUSED = "columns of text without a frequent value, which are not used"


def as_text(value: Any) -> str:
    """Return a value as a file has it: a whole number without a decimal point, midnight as a date; "" for None."""
    if isinstance(value, float | np.floating | Decimal) and float(value).is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip().removesuffix(" 00:00:00")


def as_number(text: str) -> float:
    """Return the number that a text is, or NaN; true is 1, and false 0."""
    return number_of(FLAGS.get(text.lower(), text))


def as_days(text: str) -> float:
    """Return the days since 1970-01-01 to a date, in ISO 8601 or as 31.12.2024; NaN for other text."""
    try:
        moment = datetime.fromisoformat(re.sub(r"^(\d\d)\.(\d\d)\.(\d{4})$", r"\3-\2-\1", text))
    except ValueError:
        return np.nan
    moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return np.datetime64(moment, "us").astype(np.int64).item() / DAY


READERS: dict[str, Callable[[str], float]] = {"number": as_number, "date": as_days}


def distinct(values: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the different texts in a column, "" for a gap; which of them each value is; how often each is there."""
    texts, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    small = [(text, text.lower()) for text in texts.tolist()]
    return ["" if low in MISSING else low if low in FLAGS else text for text, low in small], places, counts


Read = tuple[str, str, Any, np.ndarray]
"""The name of a column, its kind, what `_parsed` makes of it, None for a category, and its values."""


def _kind_of(values: np.ndarray, rows: np.ndarray) -> tuple[str, np.ndarray | None]:
    """Return the kind of a column by its training rows, and what `_parsed` makes of it unless it is a category."""
    if values.dtype != TEXT:
        kind = "date" if values.dtype.kind == "M" else "number"
        return kind, _parsed(kind, values)
    for kind in READERS:
        read = _parsed(kind, values)
        if np.isfinite(read[rows]).sum() >= MOSTLY * (~np.isnan(read[rows])).sum() > 0:
            return kind, read
    return "category", None


def _check(every: Sequence[Read], *, fitting: bool = False) -> None:
    """Raise DatasetError for the first value that is not of the kind of its column; it names all such columns."""
    if wrong := [each for each in every if each[2] is not None and np.isinf(each[2]).any()]:
        (name, kind, numbers, values), *others = wrong
        row = int(np.argmax(np.isinf(numbers)))
        shown = repr(str(values[row])) if values.dtype == TEXT else str(values[row])
        fault = f"{shown:.60} is not a {'finite ' * (values.dtype.kind == 'f')}{kind}"
        leave_out = Argument("exclude", ",".join(each[0] for each in wrong))
        remedy: Words = ("correct it, or leave columns out with ", leave_out) if fitting else "correct it"
        error = DatasetError(fault, remedy=remedy, setting="X", row=row, column=name)
        error.notes = [f"there are wrong values in {some([each[0] for each in others])} too"] if others else []
        raise error


def _parsed(kind: str, values: np.ndarray) -> np.ndarray:
    """Return values as numbers or days, float64 (n,), NaN for a gap, infinite for what is neither."""
    if values.dtype == TEXT:
        with suppress(ValueError):
            if kind == "number":
                return values.astype(np.float64)
        texts, places, _ = distinct(values)
        read = np.array([*map(READERS[kind], texts)])
        return np.where(np.isnan(read) & np.array([text != "" for text in texts]), np.inf, read)[places]
    gaps = np.isnan(values)
    if (values.dtype.kind == "M") != (kind == "date"):
        return np.where(gaps, np.nan, np.inf)
    return np.where(gaps, np.nan, values.astype(np.int64) / DAY) if kind == "date" else values


def _fit(name: str, kind: str, numbers: np.ndarray | None, values: np.ndarray, rows: np.ndarray) -> tuple[Column, str]:
    """Return how the training rows of a column become features, and a remark to warn with, or ""."""
    if numbers is not None and len(known := numbers[rows][~np.isnan(numbers[rows])]):
        differ = kind == "number" and FEW <= len(known) == len(np.unique(known)) and bool((known % 1 == 0).all())
        return Column(name, kind, float(np.median(known)), len(known) < len(rows)), DIFFERS if differ else ""
    texts, _, counts = distinct(values[rows]) if numbers is None else ([], rows, rows[:0])
    found = Counter[str]()
    for text, count in zip(texts, counts.tolist(), strict=True):
        found.update({text: count} if text else {})  # True is true
    total = sum(found.values())
    least = len(rows) if len(found) >= MOSTLY * total else max(2, FREQUENT * len(rows))
    frequent = sorted((-count, text) for text, count in found.items() if count >= least)[:MOST_LEVELS]
    levels = tuple(sorted(text for _, text in frequent))
    other, flagged = 0 < len(levels) < len(found), 0 < total < len(rows)
    return Column(name, "category", None, flagged, levels, other), "" if levels else UNUSED


def _encode(column: Column, values: np.ndarray, part: np.ndarray) -> bool:
    """Write the features of a category to a part of them, (n, features of the column), which is 0.

    Return whether one of the values is known, if there are any.
    """
    if values.dtype != TEXT:
        values = np.array([*map(as_text, values.tolist())], TEXT)
    texts, places, _ = distinct(values)
    features = {level: i for i, level in enumerate(column.levels)}
    if column.flagged:
        features[""] = part.shape[1] - 1
    other = len(column.levels) if column.other else -1
    which = np.array([features.get(text, other) for text in texts])[places]
    rows = np.flatnonzero(which >= 0)
    part[rows, which[rows]] = 1
    return not {*texts} - {""} or not {*texts}.isdisjoint(column.levels)
