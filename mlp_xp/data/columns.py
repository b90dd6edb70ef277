"""Tables as they are, and how their columns become features: numbers, dates and categories, with and without gaps.

A `Table` is raw. `Columns` says what the training rows taught about its columns, and makes features of any other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np


class Table(NamedTuple):
    """A table on the host, before anything is fitted to it."""

    names: tuple[str, ...]
    """The names of the columns."""
    columns: tuple[np.ndarray, ...]
    """The values of each, (n,): float64 (NaN: no value; true and false are 1 and 0), datetime64[us] in UTC (NaT: no
    value), or objects, all of them `str` ("", or one of `reading.MISSING`: no value)."""
    notes: str = ""
    """How the file was written, for people: "separated by ';', decimal commas"."""

    def __len__(self) -> int:  # the rows
        return len(self.columns[0]) if self.columns else 0


class Column(NamedTuple):
    """How a column becomes features. It was fitted to the training rows."""

    name: str
    kind: str
    """number, date (days since 1970-01-01, UTC), or category."""
    fill: float | None = None
    """What a number or a date without a value becomes: the median; None: such a row is refused."""
    flagged: bool = False
    """Whether a feature `NAME is missing`, 1 or 0, follows: the training rows had gaps."""
    levels: tuple[str, ...] = ()
    """The frequent values of a category, a feature `NAME=LEVEL`, 1 or 0, each."""
    other: bool = False
    """Whether a feature `NAME=other` stands for rare values, and for those that the training rows did not have."""


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
        raise NotImplementedError

    @classmethod
    def plain(cls, names: Sequence[str]) -> Self:
        """Return the columns of an array of numbers, whose names are known; gaps are refused."""
        return cls(tuple(Column(name, "number") for name in names))

    @classmethod
    def fit(cls, table: Table, rows: np.ndarray | None = None) -> Self:
        """Return how the columns of a table become features. rows: the numbers of the training rows; by default all.

        Gives one MlpXpWarning that names the columns that are row numbers, or differ in every row. Raises DatasetError,
        about the setting "X", with the row and the column.
        """
        raise NotImplementedError

    def features(self, X: Any) -> Any:
        """Return the features of a `Table`, or of a data frame that `frames.table_of` knows: float64 (n, features).

        Columns are found by their names; others are ignored. An array, or a list, is returned as it is: it has features
        already. Raises DatasetError, about the setting "X", which names all columns that are missing.
        """
        raise NotImplementedError

    def record(self) -> list[dict[str, Any]]:
        """Return this as JSON has it."""
        raise NotImplementedError

    @classmethod
    def of_record(cls, record: Sequence[dict[str, Any]]) -> Self:
        """Return what `record` wrote."""
        raise NotImplementedError
