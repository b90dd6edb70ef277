"""Tables, before anything is fitted to them."""

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
    """The values of each column, (n,): numbers or text.

    Numbers are float64, true and false are 1 and 0, and NaN is a gap. Text, also of
    dates, is StringDType, and "" or any of `reading.MISSING` is a gap.
    """
    lines: Sequence[int] = ()
    """The line of a text file where each row begins, from 1; () for other tables."""
    notes: str = ""
    """How the file is written, for people: "separated by ';', decimal commas"."""
    decimal_commas: bool = False
    """Whether numbers in the file have decimal commas, and points between thousands."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0]) if self.columns else 0


def as_text(value: Any) -> str:
    """Return a value as in a file; "" for None.

    A whole number has no decimal point, and midnight is a date.
    """
    if value is None:
        return ""
    if isinstance(value, float | np.floating | Decimal) and float(value).is_integer():
        return str(int(value))
    return str(value).strip().removesuffix(" 00:00:00")
