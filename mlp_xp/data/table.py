"""A table as it is, before anything is fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

TEXT = np.dtypes.StringDType()


@dataclass(frozen=True, eq=False)
class Table:
    """A table on the host, before anything is fitted to it."""

    names: tuple[str, ...]
    """The names of the columns."""
    columns: tuple[np.ndarray, ...]
    """The values of each, (n,): float64 (true and false are 1 and 0; NaN: no value), or
    StringDType, for dates too ("", or one of `reading.MISSING`: no value).
    """
    lines: Sequence[int] = ()
    """The line of a text file on which each row begins, from 1."""
    notes: str = ""
    """How the file was written, for people: "separated by ';', decimal commas"."""
    decimal_commas: bool = False
    """Whether numbers in the file have decimal commas, and points between thousands."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0]) if self.columns else 0


def as_text(value: Any) -> str:
    """Return a value as a file has it: a whole number without a decimal point, midnight
    as a date; "" for None.
    """
    if isinstance(value, float | np.floating | Decimal) and float(value).is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip().removesuffix(" 00:00:00")
