"""Tables as they are, and how their columns become features: numbers, dates and categories, with and without gaps.

A `Table` is raw. `Columns` says what the training rows taught about its columns, and makes features of any other rows.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.backends.reading import find_columns
from mlp_xp.data.reading import FLAGS, MISSING, number_of
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, Words, some

TEXT = np.dtypes.StringDType()
MOSTLY = 0.9  # text is one of numbers, or of dates, if this share of its values is
UNLIKE = 0.9  # text is not used if this share of its values are different ones
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
    decimal_commas: bool = False
    """Whether numbers in the file have decimal commas, and points between thousands."""

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
    """Whether a feature `NAME is other` stands for rare values, and for those that the training rows did not have."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each of its features; none for text that differs in every row."""
        values = [f"{self.name}={level}" for level in self.levels] if self.kind == "category" else [self.name]
        return (*values, *[f"{self.name} is other"] * self.other, *[f"{self.name} is missing"] * self.flagged)


@dataclass(frozen=True)
class Columns:
    """The columns of a table as features. `Dataset` and `Model` hold it; the core knows `feature_names` and `features`.

    Two are equal if they make the same features.
    """

    columns: tuple[Column, ...]
    described: str = field(default="", compare=False)
    """What was found, for people: "number: 4, category: 2, date: 1, with gaps: 2"; "" for numbers alone."""
    decimal_commas: bool = field(default=False, compare=False)
    """As in the `Table`: other files are read in the same way, also if they have no decimals."""

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
        read = [_read(name, values, rows) for name, values in zip(table.names, table.columns, strict=True)]
        _check(read, fitting=True)
        found = [_fit(each, rows) for each in read]
        said = {why: [each.name for each, remark in found if remark == why] for why in (DIFFERS, UNUSED, LIKE_NUMBERS)}
        if any(said.values()):
            fault = "; ".join(f"{why}: {some(names)}" for why, names in said.items() if names)
            useless = ",".join(said[DIFFERS] + said[UNUSED])
            remedy: Words = ("to leave columns out, give ", Argument("exclude", useless)) if useless else ""
            warning = MlpXpWarning(fault, remedy=remedy, file=file, setting=None if file else "X")
            warnings.warn(warning, stacklevel=4)  # for the caller of from_arrays, or load_dataset
        columns = tuple(column for column, _ in found)
        counts = Counter(column.kind if column.feature_names else "unused" for column in columns)
        counts["with gaps"] = sum(column.flagged for column in columns)
        described = [", ".join(f"{what}: {count}" for what, count in counts.items() if count), table.notes]
        is_plain = not table.notes and counts["number"] == counts.total()
        return cls(columns, "" if is_plain else "; ".join(filter(None, described)), table.decimal_commas)

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
        places = find_columns(self.names, table.names, "X")
        read = [_read(each.name, table.columns[i], kind=each.kind) for each, i in zip(used, places, strict=True)]
        _check(read)
        features, unknown, end = np.zeros((len(table), len(self.feature_names))), list[str](), 0
        for column, (_, _, values, known) in zip(used, read, strict=True):
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
LIKE_NUMBERS = "columns of text that look like numbers or dates, which are written as 12, 3.5 or 2020-01-16"


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


class Read(NamedTuple):
    """A column of a table, as it is and as numbers."""

    name: str
    kind: str
    values: np.ndarray
    numbers: Any
    """What `_parsed` makes of it; None for a category."""


def _read(name: str, values: np.ndarray, rows: Any = slice(None), kind: str | None = None) -> Read:
    """Return a column with its numbers. kind: by default what it is by the training rows with these numbers."""
    if kind is None and values.dtype != TEXT:
        kind = "date" if values.dtype.kind == "M" else "number"
    for each in READERS if kind is None else [kind] if kind in READERS else []:
        numbers = _parsed(each, values)
        share = np.isfinite(numbers[rows]).sum(), (~np.isnan(numbers[rows])).sum()
        if kind is not None or share[0] >= MOSTLY * share[1] > 0:
            return Read(name, each, values, numbers)
    return Read(name, "category", values, None)


def _check(read: Sequence[Read], *, fitting: bool = False) -> None:
    """Raise DatasetError for the first value that is not of the kind of its column; it names all such columns."""
    if wrong := [each for each in read if each.numbers is not None and np.isinf(each.numbers).any()]:
        name, kind, values, numbers = wrong[0]
        names, row = [each.name for each in wrong], int(np.argmax(np.isinf(numbers)))
        shown = repr(str(values[row])) if values.dtype == TEXT else str(values[row])
        fault = f"{shown:.60} is not a {'finite ' * (values.dtype.kind == 'f')}{kind}"
        leave_out: Words = ("correct it, or leave columns out with ", Argument("exclude", ",".join(names)))
        remedy = leave_out if fitting else "correct it"
        error = DatasetError(fault, remedy=remedy, setting="X", row=row, column=name)
        error.notes = [f"there are wrong values in {some(names[1:])} too"] if names[1:] else []
        raise error


def _parsed(kind: str, values: np.ndarray) -> np.ndarray:
    """Return values as numbers or days, float64 (n,), NaN for a gap, infinite for what is neither."""
    if values.dtype == TEXT:
        texts = values.tolist()
        known = {text: READERS[kind](text) for text in {*texts}}
        known |= {text: np.inf for text, number in known.items() if np.isnan(number) and text.lower() not in MISSING}
        return np.array([known[text] for text in texts])
    gaps = np.isnan(values)
    if (values.dtype.kind == "M") != (kind == "date"):
        return np.where(gaps, np.nan, np.inf)
    return np.where(gaps, np.nan, values.astype(np.int64) / DAY) if kind == "date" else values


def _fit(column: Read, rows: np.ndarray) -> tuple[Column, str]:
    """Return how the training rows of a column become features, and a remark to warn with, or ""."""
    name, kind, values, numbers = column
    if numbers is not None and len(known := numbers[rows][~np.isnan(numbers[rows])]):
        differ = kind == "number" and FEW <= len(known) == len(np.unique(known)) and bool((known % 1 == 0).all())
        return Column(name, kind, float(np.median(known)), len(known) < len(rows)), DIFFERS if differ else ""
    if numbers is not None:  # without a value
        return Column(name, "category"), UNUSED
    texts, _, counts = distinct(values[rows])
    found = Counter[str]()
    for text, count in zip(texts, counts.tolist(), strict=True):
        found.update({text: count} if text else {})  # True is true
    total = sum(found.values())
    frequent = sorted((-n, text) for text, n in found.items() if n >= max(2, FREQUENT * len(rows)))[:MOST_LEVELS]
    levels = () if len(found) >= UNLIKE * total else tuple(sorted(text for _, text in frequent))
    other, flagged = 0 < len(levels) < len(found), 0 < total < len(rows)
    digits = sum(n for text, n in found.items() if re.match(r"[+-]?\d", text))
    remark = LIKE_NUMBERS if digits >= MOSTLY * total > 0 else "" if levels else UNUSED
    return Column(name, "category", None, flagged, levels, other), remark


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
    return not column.levels or not {*texts} - {""} or not {*texts}.isdisjoint(column.levels)
