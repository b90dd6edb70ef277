"""Tables before anything is fitted to them. polars holds their text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from mlp_xp.errors import MlpXpError, not_installed

if TYPE_CHECKING:
    import polars as pl

Values: TypeAlias = "np.ndarray | pl.Series"
"""The values of a column, (n,): numbers in NumPy, or text in polars."""
# The spaces that Python strips from text. polars strips fewer.
_SPACES = "".join(re.findall(r"\s", "".join(map(chr, range(0x3001)))))


class Writing(NamedTuple):
    """How numbers and dates are written, if not as 1234.5 and 2024-12-31."""

    decimal: str = "."
    """The decimal mark."""
    thousands: str = ""
    """The mark between thousands, or ""."""
    date_format: str = ""
    """The form of dates, in the notation of polars, such as `%d.%m.%Y`, or ""."""

    @property
    def is_plain(self) -> bool:
        """Whether numbers are written as 1234.5."""
        return self.decimal == "." and not self.thousands

    def plain(self, texts: pl.Series) -> pl.Series:
        """Return numbers as polars reads them, and null for some other texts.

        Thousands are groups of three digits, so 1.5 and 0.125 are no numbers if points
        separate thousands.
        """
        plain = texts
        decimal, mark = re.escape(self.decimal), re.escape(self.thousands)
        if mark:
            whole, rest = rf"[1-9]\d{{0,2}}({mark}\d{{3}})+", rf"({decimal}\d*)?"
            form = rf"^[+-]?{whole}{rest}([eE][+-]?\d+)?$"
            is_wrong = texts.str.contains(mark) & ~texts.str.contains(form)
            plain = plain.set(is_wrong, None)
            plain = plain.str.replace_all(self.thousands, "", literal=True)
        if self.decimal != ".":
            plain = plain.set(plain.str.contains(".", literal=True), None)
            plain = plain.str.replace(self.decimal, ".", literal=True)
        return plain

    def numbers(self, texts: pl.Series) -> np.ndarray:
        """Return the finite numbers in texts, float64 (n,), and NaN for other texts."""
        plain = self.plain(texts)
        numbers = plain.cast(import_polars().Float64, strict=False).to_numpy()
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def days(self, texts: pl.Series) -> np.ndarray:
        """Return the days to dates in the declared form, float64 (n,), else NaN."""
        if not self.date_format:
            return np.full(len(texts), np.nan)
        pl = import_polars()
        times = texts.str.to_datetime(self.date_format, time_unit="us", strict=False)
        return times.dt.epoch("us").cast(pl.Float64).to_numpy() / 86400e6


PLAIN = Writing()


@dataclass(frozen=True, eq=False)
class Table:
    """A table on the host, before anything is fitted to it."""

    names: tuple[str, ...]
    """The names of the columns."""
    columns: tuple[Values, ...]
    """The values of each column, (n,): numbers or text.

    Numbers are float64, true and false are 1 and 0, and NaN is a gap. Text, also of
    dates, is a Series of strings without nulls, and "" or any of `reading.MISSING` is a
    gap.
    """
    lines: Sequence[int] | np.ndarray = ()
    """The line of a text file where each row begins, from 1; () for other tables."""
    notes: str = ""
    """How the file is written, for people: "separated by ';'"."""
    writing: Writing = PLAIN
    """How numbers and dates are written in its text."""
    text_names: tuple[str, ...] = ()
    """The columns whose values are categories, even if they are numbers."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.columns[0]) if self.columns else 0

    def take(self, rows: np.ndarray) -> Table:
        """Return some rows, by their numbers."""
        columns = list[Values]()
        for values in self.columns:
            if isinstance(values, np.ndarray):
                columns.append(values[rows])
            else:
                columns.append(values.gather(rows))
        lines = self.lines
        if len(lines):
            lines = np.asarray(lines)[rows]
        return replace(self, columns=tuple(columns), lines=lines)


def import_polars() -> Any:
    """Return the module polars. Raises MlpXpError if it is not installed."""
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        fault = f"tables need polars, which {not_installed('polars')}"
        raise MlpXpError(fault) from error
    return pl


def stripped(texts: Any) -> Any:
    """Return a Series or an expression of polars without the spaces around its text."""
    return texts.str.strip_chars(_SPACES)


def as_text(value: Any) -> str:
    """Return a value as in a file; "" for None.

    A whole number has no decimal point, and midnight is a date.
    """
    if value is None:
        return ""
    if isinstance(value, float | np.floating | Decimal) and float(value).is_integer():
        return str(int(value))
    return str(value).strip().removesuffix(" 00:00:00")
