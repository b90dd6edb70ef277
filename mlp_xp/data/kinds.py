"""How the values of a column are written: as numbers, as dates, or as text.

A column is of the first kind that all its values fit. A mixture is not understood.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_xp.data.reading import FLAGS, LONGEST_WORD, MISSING, NO_WORD
from mlp_xp.data.table import Values, Writing, import_polars

if TYPE_CHECKING:
    import polars as pl

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER, DATE, CATEGORY = "number", "date", "category"


def iso_days(texts: pl.Series) -> np.ndarray:
    """Return the days to dates in ISO 8601, float64 (n,), and NaN for other texts.

    polars reads complete moments, which may differ in every row. Other dates have few
    different values, so Python reads them.
    """
    form = "^(1[89]|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9]$"
    days = np.full(len(texts), np.nan)
    rows = np.flatnonzero(texts.str.contains(form))
    if len(rows):
        moments = texts.gather(rows).str.replace("T", " ", literal=True)
        times = moments.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False)
        seconds = times.dt.epoch("s").cast(import_polars().Float64)
        days[rows] = seconds.to_numpy() / 86400
    rows = np.flatnonzero(np.isnan(days))
    if len(rows):
        others = texts.gather(rows)
        different = others.unique()
        may_be = different.filter(different.str.contains(r"^\d{4}-"))
        known = {text: as_days(text) for text in may_be}
        days[rows] = replaced(others, known, np.nan)
    return days


def as_days(text: str) -> float:
    """Return the days from 1970-01-01 to a date in ISO 8601, or NaN for other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return np.nan
    if not moment.tzinfo:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) / timedelta(days=1)


def read(kind: str, values: Values, writing: Writing) -> np.ndarray:
    """Return values as numbers or days, float64 (n,).

    A gap becomes NaN, and any other value infinity. Dates are in the declared form if
    any value is, else in ISO 8601.
    """
    if isinstance(values, np.ndarray):
        if kind == NUMBER:
            return values
        return np.where(np.isnan(values), np.nan, np.inf)
    words = {}
    if kind == NUMBER:
        found = writing.numbers(values)
        words = {text: float(number) for text, number in FLAGS.items()}
    else:
        found = writing.days(values)
        if np.isnan(found).all():
            found = iso_days(values)
    rows = np.flatnonzero(np.isnan(found))
    if len(rows):
        words |= dict.fromkeys(MISSING, np.nan)
        found[rows] = _of_words(values.gather(rows), words)
    return found


def _of_words(texts: pl.Series, words: dict[str, float]) -> np.ndarray:
    """Return the number of each word, whatever its letters' case, else infinity."""
    different = texts.unique()
    short = different.filter(different.str.len_chars() <= LONGEST_WORD)
    known = {text: words[text.lower()] for text in short if text.lower() in words}
    return replaced(texts, known, np.inf)


def replaced(texts: pl.Series, new: dict[str, Any], default: float) -> np.ndarray:
    """Return the value of each text, (n,), or the default."""
    if not new:
        return np.full(len(texts), default)
    found = texts.replace_strict([*new], [*new.values()], default=default)
    return found.to_numpy()


class Kind(NamedTuple):
    """The kind of a column."""

    name: str
    """NUMBER, DATE or CATEGORY."""
    numbers: np.ndarray
    """The numbers or days, float64 (n,), and NaN for a gap. Unused for text."""
    wrong_row: int = -1
    """The first row with a value of another kind, or -1."""


TEXT = Kind(CATEGORY, np.empty(0))


def kind_of(values: Values, writing: Writing) -> Kind:
    """Return the kind of a column.

    Dates in the declared form are tried first, because they may look like numbers. A
    value without letters, but with digits, is no text: 3,5 or 31/12/2024 or 55 %.
    """
    numbers = read(NUMBER, values, writing)
    if isinstance(values, np.ndarray):
        return Kind(NUMBER, numbers)
    gaps = np.isnan(numbers)
    days = np.where(gaps, np.nan, np.inf)
    if writing.date_format or np.isinf(numbers).any():
        days = read(DATE, values, writing)
    if gaps.all():
        return TEXT
    if writing.date_format and not np.isinf(days).any():
        return Kind(DATE, days)
    if not np.isinf(numbers).any():
        return Kind(NUMBER, numbers)
    if not np.isinf(days).any():
        return Kind(DATE, days)
    are_flags = _of_words(values, dict.fromkeys(FLAGS, 1.0)) == 1
    is_number = np.isfinite(numbers) & ~are_flags
    if is_number.any():
        return Kind(NUMBER, numbers, int(np.flatnonzero(np.isinf(numbers))[0]))
    if np.isfinite(days).any():
        return Kind(DATE, days, int(np.flatnonzero(np.isinf(days))[0]))
    unclear = values.str.contains(NO_WORD).arg_true()
    return Kind(CATEGORY, numbers, int(unclear[0]) if len(unclear) else -1)
