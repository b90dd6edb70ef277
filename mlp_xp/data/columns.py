"""Tables as they are, and how their columns become features: numbers, dates and categories, with and without gaps.

A `Table` is raw. `Columns` says what the training rows taught about its columns, and makes features of any other rows.
"""

import csv
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.backends.reading import find_columns
from mlp_xp.data.reading import FLAGS, MISSING, number_of
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, Words, some

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
    value), or objects, all of them `str` ("", or one of `reading.MISSING`: no value)."""
    notes: str = ""
    """How the file was written, for people: "separated by ';', decimal commas"."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0]) if self.columns else 0


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str
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
    """What was found, for people: "7 columns: 4 numbers, 2 categories, 1 date, gaps in 2"."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that have features, which other tables need too."""
        return tuple(column.name for column in self.columns if column.feature_names)

    @property
    def meaning(self) -> tuple[str, ...]:
        """What the features are, so that equal values mean the same: their names, and what gaps are filled with."""
        filled = [column for column in self.columns if column.flagged and column.fill is not None]
        return (*self.feature_names, *(f"{column.fill!r} where {column.name} is missing" for column in filled))

    @classmethod
    def plain(cls, names: Sequence[str]) -> Self:
        """Return the columns of an array of numbers, whose names are known; gaps are refused."""
        return cls(tuple(Column(name, "number") for name in names))

    @classmethod
    def union(cls, several: Sequence["Columns"]) -> Self:
        """Return all the columns that are needed for the features of several."""
        needed = {column.name: column for each in several for column in each.columns if column.feature_names}
        return cls(tuple(needed.values()))

    @classmethod
    def fit(cls, table: Table, rows: np.ndarray | None = None, file: object = None) -> Self:
        """Return how the columns of a table become features.

        rows: the numbers of the training rows; by default all. file: where the table is from, for the warning.

        Gives one MlpXpWarning that names the columns that differ in every row, as row numbers and most text do. Raises
        DatasetError, about the setting "X", with the row and the column.
        """
        rows, wrong = np.arange(len(table)) if rows is None else rows, list[DatasetError]()
        found = []
        for name, values in zip(table.names, table.columns, strict=True):
            with _collected(wrong):
                found.append(_fit(name, values, rows))
        _raise_all(wrong, fitting=True)
        columns = tuple(column for column, _ in found)
        said = {remark: [column.name for column, why in found if why == remark] for remark in (DIFFERS, UNUSED)}
        if unlike := [name for names in said.values() for name in names]:
            fault = "; ".join(f"{remark}: {some(names)}" for remark, names in said.items() if names)
            remedy: Words = ("to leave columns out, give ", Argument("exclude", _joined(unlike)))
            warning = MlpXpWarning(fault, remedy=remedy, file=file, setting=None if file else "X")
            warnings.warn(warning, stacklevel=4)  # for the caller of from_arrays, or load_dataset
        return cls(columns, _described(columns, table.notes))

    def features(self, X: Any) -> Any:
        """Return the features of a `Table`, or of a data frame that `frames.table_of` knows: float64 (n, features).

        Columns are found by their names; others are ignored. An array, or a list, is returned as it is: it has features
        already. Gives an MlpXpWarning that names columns whose categories are all unknown. Raises DatasetError, about
        the setting "X", which names all columns that are missing.
        """
        from mlp_xp.data.frames import table_of  # which imports this module

        table = table_of(X, "X", self.names)
        if table is None:
            return X
        columns = [column for column in self.columns if column.feature_names]
        places = find_columns(self.names, table.names, "X")
        features, start = np.zeros((len(table), len(self.feature_names))), 0
        unknown, wrong = list[str](), list[DatasetError]()
        for column, place in zip(columns, places, strict=True):
            part = features[:, start : start + len(column.feature_names)]
            with _collected(wrong):
                unknown += [] if _encode(column, table.columns[place], part) else [column.name]
            start += part.shape[1]
        _raise_all(wrong)
        if unknown:
            fault = f"columns without a value that was frequent in training: {some(unknown)}"
            warnings.warn(MlpXpWarning(fault, remedy="check how they are written"), stacklevel=3)
        return features

    def record(self) -> list[dict[str, Any]]:
        """Return this as JSON has it."""
        return [column._asdict() for column in self.columns]

    @classmethod
    def of_record(cls, record: Sequence[dict[str, Any]]) -> Self:
        """Return what `record` wrote."""
        return cls(tuple(Column(**{**each, "levels": tuple(each["levels"])}) for each in record))


DIFFERS = "columns whose values all differ, as row numbers do"
UNUSED = "columns of text without a frequent value, which are not used"


@contextmanager
def _collected(wrong: list[DatasetError]) -> Iterator[None]:
    try:
        yield
    except DatasetError as error:
        wrong.append(error)


def _raise_all(wrong: Sequence[DatasetError], *, fitting: bool = False) -> None:
    """Raise the first error, if any, with the names of the columns of the others. fitting: whether to train on them."""
    if wrong:
        _, *others = names = [str(error.column) for error in wrong]
        leave_out: Words = ("correct it, or leave columns out with ", Argument("exclude", _joined(names)))
        wrong[0].remedy = leave_out if fitting else "correct it"
        wrong[0].notes = [f"there are wrong values in {some(others)} too"] if others else []
        raise wrong[0]


def is_gap(text: str) -> bool:
    """Return whether a text stands for no value."""
    return text.lower() in MISSING


def as_number(text: str) -> float:
    """Return the number that a text is, or NaN; true is 1, and false 0."""
    return number_of(FLAGS.get(text.lower(), text))


def as_days(text: str) -> float:
    """Return the days since 1970-01-01 to a date, in ISO 8601 or as 31.12.2024; NaN for other text."""
    for read in (datetime.fromisoformat, lambda text: datetime.strptime(text, "%d.%m.%Y")):
        try:
            moment = read(text)
        except ValueError:
            continue
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        return np.datetime64(moment, "us").astype(np.int64).item() / DAY
    return np.nan


READERS: dict[str, Callable[[str], float]] = {"number": as_number, "date": as_days}
KINDS = {"f": "number", "M": "date"}


def _fit(name: str, values: np.ndarray, rows: np.ndarray) -> tuple[Column, str]:
    """Return how a column becomes features, and a remark to warn with, or "". values: (n,), as in a `Table`."""
    texts, counts, kind = list[str](), np.zeros(0, np.int64), KINDS.get(values.dtype.kind)
    if kind is None:
        texts, places = _distinct(values[rows])
        counts = np.bincount(places, minlength=len(texts)) * np.array([text != "" for text in texts], np.int64)
        shares = {kind: counts @ ~np.isnan([*map(read, texts)]) for kind, read in READERS.items()}
        kind = next((kind for kind in READERS if shares[kind] >= MOSTLY * counts.sum() > 0), "category")
    if kind != "category":
        known = _numbers(name, kind, values)[rows]
        gaps = np.isnan(known)
        if not gaps.all():
            known = known[~gaps]
            differ = kind == "number" and FEW <= len(known) == len(np.unique(known)) and (known % 1 == 0).all()
            return Column(name, kind, float(np.median(known)), bool(gaps.any())), DIFFERS if differ else ""
    found = {text: int(count) for text, count in zip(texts, counts, strict=True) if count}
    total = sum(found.values())
    least = len(rows) if len(found) >= MOSTLY * total else max(2, FREQUENT * len(rows))
    levels = sorted((text for text, count in found.items() if count >= least), key=lambda text: (-found[text], text))
    levels = sorted(levels[:MOST_LEVELS])
    other, flagged = 0 < len(levels) < len(found), 0 < total < len(rows)
    return Column(name, "category", None, flagged, tuple(levels), other), "" if levels else UNUSED


def _distinct(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the different texts among objects, a gap as "", and which of them each value is, int64 (n,)."""
    known, texts = dict[str, int](), dict[str, int]()
    places = np.fromiter((known.setdefault(text, len(known)) for text in values.tolist()), np.int64, len(values))
    merged = [texts.setdefault("" if is_gap(text) else text, len(texts)) for text in known]
    return [*texts], np.array(merged, np.int64)[places]


def _numbers(name: str, kind: str, values: np.ndarray) -> np.ndarray:
    """Return the values of a column of numbers or dates, float64 (n,), NaN for a gap. Raises DatasetError."""
    if values.dtype.kind == "O":
        texts, places = _distinct(values)
        numbers, gaps = np.array([*map(READERS[kind], texts)])[places], np.array([not text for text in texts])[places]
    else:
        gaps = np.isnan(values)
        numbers = values if values.dtype.kind == "f" else np.where(gaps, np.nan, values.astype(np.int64) / DAY)
        numbers = numbers if KINDS[values.dtype.kind] == kind else np.full(len(values), np.nan)
    if (wrong := ~gaps & ~np.isfinite(numbers)).any():
        row = int(np.argmax(wrong))
        value = repr(values[row]) if isinstance(values[row], str) else str(values[row])
        fault = f"{value:.60} is not a {'finite ' * int(np.isinf(numbers[row]))}{kind}"
        raise DatasetError(fault, setting="X", row=row, column=name)
    return numbers


def _encode(column: Column, values: np.ndarray, part: np.ndarray) -> bool:
    """Write the features of a column to a part of them, (n, features of the column), which is 0.

    Return whether one of the categories is known, if there are any.
    """
    if column.kind != "category":
        numbers = _numbers(column.name, column.kind, values)
        gaps = np.isnan(numbers)
        part[:, 0] = numbers if column.fill is None else np.where(gaps, column.fill, numbers)
        if column.flagged:
            part[:, 1] = gaps
        return True
    texts, places = _distinct(_as_text(values))
    features = {level: i for i, level in enumerate(column.levels)}
    if column.flagged:
        features[""] = part.shape[1] - 1
    other = len(column.levels) if column.other else -1
    which = np.array([features.get(text, other) for text in texts], np.int64)[places]
    rows = np.flatnonzero(which >= 0)
    part[rows, which[rows]] = 1
    return not {*texts} - {""} or not {*texts}.isdisjoint(column.levels)


def _as_text(values: np.ndarray) -> np.ndarray:
    """Return values as text: whole numbers without a decimal point, a gap as ""."""
    if values.dtype.kind == "O":
        return values
    shown = [int(value) if isinstance(value, float) and value % 1 == 0 else value for value in values.tolist()]
    return np.array(["" if gap else str(value) for value, gap in zip(shown, np.isnan(values), strict=True)], object)


def _joined(names: Sequence[str]) -> str:
    """Return names as `Origin.exclude` takes them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


def _described(columns: Sequence[Column], notes: str) -> str:
    """Return what a table has, for people; nothing if it is numbers alone."""
    used = [column.kind for column in columns if column.feature_names]
    counts = {"number": used.count("number"), "categor": used.count("category"), "date": used.count("date")}
    ends = {"categor": ("y", "ies")}
    parts = [f"{n} {what}{ends.get(what, ('', 's'))[n > 1]}" for what, n in counts.items() if n]
    if unused := len(columns) - len(used):
        parts.append(f"{unused} unused")
    if gaps := sum(column.flagged for column in columns):
        parts.append(f"gaps in {gaps}")
    if len(parts) == 1 and counts["number"] and not notes:
        return ""
    return "; ".join(filter(None, (f"{len(columns)} column{'s' * (len(columns) > 1)}: {', '.join(parts)}", notes)))
