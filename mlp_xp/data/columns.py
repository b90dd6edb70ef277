"""Tables as they are, and how their columns become features: numbers, dates and
categories, with and without gaps.

A `Table` is raw. `Columns` says what the training rows taught about its columns, and
makes features of any other rows.
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
    Words,
    first_difference,
    some,
)

MOSTLY = 0.9  # text is one of numbers, or of dates, if this share of its values is
_UNLIKE = 0.9  # text is not used if this share of its values are different ones
# a category has a feature from this share of the rows on; so many categories have one
FREQUENT, MOST_LEVELS = 0.01, 30
_FEW = 20  # in fewer rows, whole numbers differ by chance
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_FIRST = re.compile(r"^(\d\d)\.(\d\d)\.(\d{4})$")


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str = "number"
    """number, date (days since 1970-01-01, UTC), or category."""
    fill: float | None = None
    """What a number or a date without a value becomes: the median. None: such a row is
    refused.
    """
    flagged: bool = False
    """Whether a feature `NAME is missing`, 1 or 0, follows: the training rows had gaps.
    """
    levels: tuple[str, ...] = ()
    """The frequent values of a category, in the order of their features `NAME=LEVEL`,
    which are 1 or 0.
    """
    other: bool = False
    """Whether a feature `NAME is other` stands for rare values, and for those that the
    training rows did not have.
    """

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each of its features; none for text that differs in every row."""
        values = (
            [f"{self.name}={level}" for level in self.levels]
            if self.kind == "category"
            else [self.name]
        )
        return (
            *values,
            *[f"{self.name} is other"] * self.other,
            *[f"{self.name} is missing"] * self.flagged,
        )

    @property
    def places(self) -> tuple[dict[str, int], int]:
        """The place of each value of a category among its features, "" for a gap; and
        that of others, or -1.
        """
        places = {text: place for place, text in enumerate(self.levels)}
        gap = {"": len(self.feature_names) - 1} if self.flagged else {}
        return places | gap, len(places) if self.other else -1

    def encode(self, values: Array, /, *, xp: Any) -> list[Array]:
        """Return the features of n rows as arrays, (n, ...) each, whose columns stand
        side by side.

        values: (n,), numbers with NaN for a gap; or, for a category, the place of each
        value, from `places`. An array holds numbers, or booleans for 1 and 0.
        """
        if self.kind not in _READERS:
            return [values[:, None] == xp.arange(len(self.feature_names))]
        gaps = xp.isnan(values)
        filled = values if self.fill is None else xp.where(gaps, self.fill, values)
        return [filled[:, None], gaps[:, None]][: 1 + self.flagged]


@dataclass(frozen=True)
class Columns:
    """The columns of a table as features. A `Signature` holds it.

    Two are equal if they make the same features.
    """

    columns: tuple[Column, ...]
    """Those that have features."""
    described: str = field(default="", compare=False)
    """What was found, for people: "number: 4, category: 2, date: 1"; "" for numbers
    alone.
    """
    decimal_commas: bool = field(default=False, compare=False)
    """As in the `Table`: other files are read in the same way, also if they have no
    decimals.
    """

    def difference(self, other: Self) -> str:
        """Describe the first difference that makes other features of the same table.
        Empty if there is none.
        """
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

        Gives one MlpXpWarning that names the columns that differ in every row, as row
        numbers and most text do. Raises DatasetError if no column can be used. A value
        that is not of the kind of its column is an error of `features`.
        """
        columns, remarks = list[Column](), dict[str, list[str]]()
        for name, values in zip(table.names, table.columns, strict=True):
            column, remark = _fit(name, values if rows is None else values[rows])
            columns += [column] * bool(column.feature_names)
            if remark:
                remarks.setdefault(remark, []).append(name)
        if remarks:
            fault = "; ".join(f"{why}: {some(names)}" for why, names in remarks.items())
            if not columns:
                raise DatasetError(f"no column can be used; {fault}", setting="X")
            useless = ",".join(
                name
                for why, names in remarks.items()
                for name in names
                if why != _LIKE_NUMBERS
            )
            remedy: Words = (
                ("to leave columns out, give ", Argument("exclude", useless))
                if useless and file
                else ""
            )
            warning = MlpXpWarning(
                fault, remedy=remedy, file=file, setting=None if file else "X"
            )
            # for the caller of from_arrays, or load_dataset
            warnings.warn(warning, stacklevel=4)
        counts = Counter(column.kind for column in columns)
        kinds = ", ".join(
            f"{kind}: {count}"
            for kind, count in counts.items()
            if [*counts] != ["number"]
        )
        return cls(
            tuple(columns),
            "; ".join(filter(None, (kinds, table.notes))),
            table.decimal_commas,
        )

    def features(self, X: Any) -> Any:
        """Return the features of a `Table`, or of a data frame that `frames.table_of`
        knows: float64 (n, features).

        Columns are found by their names; others are ignored. An array, or a list, is
        returned as it is: it has features already. Gives an MlpXpWarning that names
        columns without a known category or number. Raises DatasetError, about the
        setting "X", which names all columns that are missing, or that have a wrong
        value.
        """
        if (table := table_of(X, "X", self.names)) is None:
            return X
        parts, wrong, unknown = (
            [np.empty((len(table), 0))],
            list[tuple[Column, int, Any]](),
            list[str](),
        )
        for column, values in zip(self.columns, table.columns, strict=True):
            if column.kind in _READERS:
                found = _numbers(column.kind, values)
                wrong += [
                    (column, row, values.item(row))
                    for row in np.flatnonzero(np.isinf(found))[:1].tolist()
                ]
                is_known = (
                    column.fill is None or column.flagged or not np.isnan(found).all()
                )
            else:
                texts, (places, other) = _texts(values), column.places
                found = np.array([places.get(text, other) for text in texts])
                is_known = not column.levels or not places.keys().isdisjoint(texts)
            unknown += [column.name] * (not is_known)
            parts += column.encode(found, xp=np)
        if wrong:
            (column, row, value), *others = wrong
            fault = f"{value!r:.60} is not a {'finite ' * isinstance(value, float)}{column.kind}"
            remedy = "correct it, or train without the column"
            error = DatasetError(
                fault, remedy=remedy, setting="X", row=row, column=column.name
            )
            error.notes = [
                f"there are wrong values in {some([each.name for each, *_ in others])} too"
            ] * bool(others)
            raise error
        if unknown:
            fault = f"none of the values of these columns is known from the training: {some(unknown)}"
            warnings.warn(
                MlpXpWarning(fault, remedy="check how they are written"), stacklevel=3
            )
        return np.concatenate(parts, axis=1, dtype=np.float64)


DIFFERS = "columns whose values all differ, as row numbers do"
_UNUSED = "columns that are empty, or text without a frequent value, which are not used"
_LIKE_NUMBERS = "columns of text that look like numbers or dates, which are written as 12, 3.5, 2020-01-16 or NA"


def _as_number(text: str) -> float:
    """Return the number that a text is, or else infinity; true is 1, and false 0."""
    number = number_of(FLAGS.get(text.lower(), text))
    return np.inf if np.isnan(number) else number


def as_days(text: str) -> float:
    """Return the days since 1970-01-01 to a date, in ISO 8601 or as 31.12.2024;
    infinity for other text.
    """
    try:
        moment = datetime.fromisoformat(_DAY_FIRST.sub(r"\3-\2-\1", text))
    except ValueError:
        return np.inf
    return (
        (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH
    ) / timedelta(days=1)


_READERS: dict[str, Callable[[str], float]] = {"number": _as_number, "date": as_days}


def _numbers(kind: str, values: np.ndarray) -> np.ndarray:
    """Return values as numbers or days, float64 (n,), NaN for a gap, infinite for what
    is neither.
    """
    if values.dtype == TEXT:
        texts = values.tolist()
        numbers = {
            text: np.nan if text.lower() in MISSING else _READERS[kind](text)
            for text in {*texts}
        }
        return np.array([numbers[text] for text in texts])
    return values if kind == "number" else np.where(np.isnan(values), np.nan, np.inf)


def _texts(values: np.ndarray) -> list[str]:
    """Return values as categories: "" for a gap, true and false in small letters."""
    found = (
        values.tolist() if values.dtype == TEXT else [*map(as_text, values.tolist())]
    )
    small = {text: text.lower() for text in {*found}}
    plain = {
        text: "" if low in MISSING else low if low in FLAGS else text
        for text, low in small.items()
    }
    return [plain[text] for text in found]


def _fit(name: str, values: np.ndarray) -> tuple[Column, str]:
    """Return how a column of the training rows becomes features, and a remark to warn
    with, or "".
    """
    for kind in _READERS:
        numbers = _numbers(kind, values)
        gaps, finite = np.isnan(numbers), numbers[np.isfinite(numbers)]
        if not gaps.all() and (
            values.dtype != TEXT or len(finite) >= MOSTLY * (~gaps).sum()
        ):
            whole = kind == "number" and bool((finite % 1 == 0).all())
            remark = (
                DIFFERS
                if whole and _FEW <= len(finite) == len(np.unique(finite))
                else ""
            )
            return Column(
                name,
                kind,
                float(np.median(finite)) if len(finite) else None,
                bool(gaps.any()),
            ), remark
    counts = Counter(_texts(values))
    has_gaps = counts.pop("", 0) > 0
    if not counts:
        return Column(name, "category"), _UNUSED
    frequent = sorted(
        (-n, text) for text, n in counts.items() if n >= max(2, FREQUENT * len(values))
    )[:MOST_LEVELS]
    levels = (
        tuple(sorted(text for _, text in frequent))
        if len(counts) < _UNLIKE * counts.total()
        else ()
    )
    column = Column(
        name, "category", None, has_gaps, levels, other=0 < len(levels) < len(counts)
    )
    if (
        2 * sum(n for text, n in counts.items() if re.match(r"[+-]?\d", text))
        >= counts.total()
    ):
        return column, _LIKE_NUMBERS
    return column, "" if levels else _UNUSED
