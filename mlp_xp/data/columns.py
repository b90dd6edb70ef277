"""How the columns of tables become features: numbers, dates and categories.

A `Table` is raw. `Columns` are fitted to its training rows, and make features of any
other rows.
"""

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.data.frames import table_of
from mlp_xp.data.reading import FLAGS, MISSING, number_of
from mlp_xp.data.table import TEXT, Table, as_text
from mlp_xp.errors import (
    Argument,
    DatasetError,
    MlpXpWarning,
    first_difference,
    some,
)

MOSTLY = 0.9  # text becomes numbers, or dates, if at least this share of it can be read
_UNLIKE = 0.9  # text is not used if at least this share is distinct
FREQUENT = 0.01  # a value in at least this share of the rows has a feature
MOST_LEVELS = 30  # so many values of a category have features
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
        return {"columns": columns, "decimal_commas": self.decimal_commas}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Return the columns of a record."""
        columns = []
        for each in record["columns"]:
            columns.append(Column(**{**each, "levels": tuple(each["levels"])}))
        return cls(tuple(columns), decimal_commas=record["decimal_commas"])

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
        columns, remarks = list[Column](), dict[str, list[str]]()
        for name, values in zip(table.names, table.columns, strict=True):
            column, remark = _fit(name, values if rows is None else values[rows])
            if column.feature_names:
                columns.append(column)
            if remark:
                remarks.setdefault(remark, []).append(name)
        if remarks:
            _report(remarks, file, none_left=not columns)
        counts = Counter(column.kind for column in columns)
        kinds = ""
        if list(counts) != ["number"]:
            kinds = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
        described = "; ".join(filter(None, (kinds, table.notes)))
        return cls(tuple(columns), described, table.decimal_commas)

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
        parts = [np.empty((len(table), 0))]
        wrong, unknown = list[tuple[Column, int, Any]](), list[str]()
        for column, values in zip(self.columns, table.columns, strict=True):
            found, is_known = _read(column, values)
            if not is_known:
                unknown.append(column.name)
            wrong_rows = np.flatnonzero(np.isinf(found))
            if len(wrong_rows):
                row = int(wrong_rows[0])
                wrong.append((column, row, values.item(row)))
            parts += column.encode(found, xp=np)
        if wrong:
            raise _wrong_values(wrong)
        if unknown:
            fault = (
                "none of the values of these columns is known from the training: "
                f"{some(unknown)}"
            )
            warning = MlpXpWarning(fault, remedy="check how they are written")
            warnings.warn(warning, stacklevel=3)
        return np.concatenate(parts, axis=1, dtype=np.float64)


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


def _read(column: Column, values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return values for `Column.encode`, and whether any is known from the training.

    Infinity stands for a wrong value.
    """
    if column.kind in _READERS:
        numbers = _numbers(column.kind, values)
        takes_gaps = column.fill is None or column.flagged
        return numbers, takes_gaps or not np.isnan(numbers).all()
    texts = _texts(values)
    places, other = column.places
    is_known = not column.levels or not places.keys().isdisjoint(texts)
    return np.array([places.get(text, other) for text in texts]), is_known


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


def _numbers(kind: str, values: np.ndarray) -> np.ndarray:
    """Return values as numbers or days, float64 (n,).

    A gap is NaN, and anything else infinity.
    """
    if values.dtype != TEXT:
        if kind == "number":
            return values
        return np.where(np.isnan(values), np.nan, np.inf)
    texts, read = values.tolist(), _READERS[kind]
    numbers = {}
    for text in set(texts):
        numbers[text] = np.nan if text.lower() in MISSING else read(text)
    return np.array([numbers[text] for text in texts])


def _texts(values: np.ndarray) -> list[str]:
    """Return values as categories: "" for a gap, true and false in small letters."""
    texts = values.tolist()
    if values.dtype != TEXT:
        texts = [*map(as_text, texts)]
    categories = {}
    for text in set(texts):
        small = text.lower()
        if small in MISSING:
            categories[text] = ""
        else:
            categories[text] = small if small in FLAGS else text
    return [categories[text] for text in texts]


def _fit(name: str, values: np.ndarray) -> tuple[Column, str]:
    """Return how a column of the training rows becomes features, and a remark."""
    for kind in _READERS:
        numbers = _numbers(kind, values)
        gaps, finite = np.isnan(numbers), numbers[np.isfinite(numbers)]
        is_kind = values.dtype != TEXT or len(finite) >= MOSTLY * (~gaps).sum()
        if gaps.all() or not is_kind:
            continue
        fill = float(np.median(finite)) if len(finite) else None
        column = Column(name, kind, fill, flagged=bool(gaps.any()))
        are_whole = kind == "number" and bool((finite % 1 == 0).all())
        if are_whole and _FEW <= len(finite) == len(np.unique(finite)):
            return column, DIFFERS
        return column, ""
    return _fit_category(name, _texts(values))


def _fit_category(name: str, texts: list[str]) -> tuple[Column, str]:
    counts = Counter(texts)
    has_gaps = counts.pop("", 0) > 0
    if not counts:
        return Column(name, "category"), _UNUSED
    total, least = counts.total(), max(2, FREQUENT * len(texts))
    levels: list[str] = []
    if len(counts) < _UNLIKE * total:
        frequent = sorted((-n, text) for text, n in counts.items() if n >= least)
        levels = sorted(text for _, text in frequent[:MOST_LEVELS])
    other = 0 < len(levels) < len(counts)
    column = Column(name, "category", None, has_gaps, tuple(levels), other)
    numeric = sum(n for text, n in counts.items() if re.match(r"[+-]?\d", text))
    if 2 * numeric >= total:
        return column, _LIKE_NUMBERS
    return column, "" if levels else _UNUSED
