"""Convert data frames of pandas, polars and pyarrow to tables, as from files.

A column means the same as in a file, whatever its dtype: pandas' nullable and Arrow
types, categories, Decimals, and objects of Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from numbers import Integral
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import NUMBERS, find_columns
from mlp_xp.data.table import Table, Values, as_text, import_polars, stripped
from mlp_xp.errors import DatasetError, some

LIBRARIES = {"pandas", "polars", "pyarrow"}
# The types of categories in pandas, polars and pyarrow.
_CATEGORIES = {"CategoricalDtype", "Categorical", "Enum", "DictionaryType"}
_EXACT = 2**53  # float64 holds all whole numbers up to this one
_REFUSED = (bytes, complex, timedelta, list, tuple, set, dict, np.ndarray)


def table_of(
    X: Any, what: str | None = "X", wanted: Sequence[str] | None = None
) -> Table | None:
    """Return a data frame, or some columns of a `Table`, as a table; else None.

    Data frames are a DataFrame of pandas or polars, and pyarrow's Table or RecordBatch.
    Numbers, true and false become float64. Everything else becomes text as in a file,
    without spaces around it. This includes dates, numbers in a column with text, and
    whole numbers that float64 would round. Categories of text are read as text.

    what: the name of X in errors. wanted: the columns to read, in this order; by
    default all. Raises DatasetError for missing or repeated columns, and for columns of
    bytes, lists, durations or complex numbers.
    """
    names, columns = columns_of(X)
    if not names:
        return None
    if wanted is None:
        wanted = names
    places = find_columns(wanted, names, what)
    names, columns = [names[i] for i in places], [columns[i] for i in places]
    if isinstance(X, Table):
        return replace(X, names=tuple(names), columns=tuple(columns))
    return as_table(names, columns, what)


def as_table(
    names: Sequence[str], columns: Sequence[Any], what: str | None = "X"
) -> Table:
    """Return columns as a table: host arrays, (n,) each, or columns of data frames.

    Raises as `table_of` does.
    """
    found, text_names, refused = list[Values](), list[str](), list[str]()
    for name, column in zip(names, columns, strict=True):
        values = _values_of(column)
        if values is None:
            refused.append(name)
            continue
        found.append(values)
        dtype = getattr(column, "dtype", None) or getattr(column, "type", None)
        if type(dtype).__name__ in _CATEGORIES and not isinstance(values, np.ndarray):
            text_names.append(name)
    if refused:
        raise DatasetError(
            f"columns {some(refused)} hold bytes, lists, durations or the like",
            remedy="give numbers, text, true and false, or dates",
            setting=what,
        )
    return Table(tuple(names), tuple(found), text_names=tuple(text_names))


def read_as_text(table: Table, names: Sequence[str]) -> Table:
    """Return a table of which some more columns are text. Raises DatasetError."""
    find_columns(names, table.names, "text")
    return replace(table, text_names=(*table.text_names, *names))


def take_labels(
    what: str, y: Any, wanted: Sequence[str] = ()
) -> tuple[Any, tuple[str, ...]]:
    """Return labels as an array, (n,) or (n, columns), and the names of their columns.

    Values keep their types, because whole numbers may be classes. Arrays and lists are
    returned as they are.

    y: a data frame. A single column becomes (n,). Or a Series, or another column of
    these libraries. wanted: the columns of a data frame to take; () for all.
    """
    names, columns = columns_of(y)
    if not names:
        if not _is_known(y):
            return y, ()
        name = getattr(y, "name", None)
        if name in (None, ""):
            return array_of(y), ()
        return array_of(y), (str(name),)
    places = find_columns(wanted or names, names, what)
    if isinstance(y, Table):
        arrays = [np.array(columns[i].to_list()) for i in places]
    else:
        arrays = [array_of(columns[i]) for i in places]
    labels = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    return labels, tuple(names[i] for i in places)


def columns_of(X: Any) -> tuple[list[str], list[Any]]:
    """Return the names and the columns of a data frame or a `Table`, else no names."""
    if isinstance(X, Table):
        return list(X.names), list(X.columns)
    if not _is_known(X) or len(getattr(X, "shape", ())) != 2:
        return [], []
    if hasattr(X, "iloc"):  # pandas
        return [*map(str, X.columns)], [X.iloc[:, i] for i in range(X.shape[1])]
    if hasattr(X, "get_columns"):  # polars
        return [*map(str, X.columns)], X.get_columns()
    return [*map(str, X.column_names)], X.columns  # pyarrow


def _is_known(X: Any) -> bool:
    """Return whether an object is from a library of data frames."""
    makers = {each.__module__.partition(".")[0] for each in type(X).__mro__}
    return not LIBRARIES.isdisjoint(makers)


def array_of(column: Any) -> np.ndarray:
    """Return a column as a host array, (n,).

    Beside gaps, an array of numbers would hold floats, which round large whole numbers.
    Such a column becomes an array of objects, with None for a gap. NumPy's own columns
    in pandas stay as they are.
    """
    if hasattr(column, "isna"):  # pandas, which has several kinds of gaps
        array = column.to_numpy()
        has_gaps = not isinstance(column.dtype, np.dtype) and column.isna().any()
        if has_gaps or array.dtype.kind == "O":
            return column.to_numpy(object, na_value=None)
        return array
    if hasattr(column, "null_count"):  # polars and pyarrow
        is_arrow = hasattr(column, "to_pylist")
        if column.null_count if is_arrow else column.null_count():
            values = column.to_pylist() if is_arrow else column.to_list()
            return np.array(values, object)
    return np.asarray(column)


def _values_of(column: Any) -> Values | None:
    """Return the values of a column as in a `Table`; None for other kinds of values.

    Columns of polars and pyarrow are read by polars. The objects of pandas may be of
    several types, and are read by Python.
    """
    if isinstance(column, np.ndarray) or hasattr(column, "isna"):
        return _values_of_array(array_of(column))
    pl = import_polars()
    try:
        series = pl.Series(column)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    kind = series.dtype
    if kind.is_integer() and _are_large([series.min(), series.max()]):
        return series.cast(pl.String).fill_null("")
    if kind.is_integer() or kind.is_float() or kind == pl.Boolean:
        return series.cast(pl.Float64).to_numpy()
    if kind in (pl.String, pl.Categorical, pl.Enum):
        texts = stripped(series.cast(pl.String).fill_null(""))
        return texts.str.strip_suffix(" 00:00:00")
    if kind == pl.Datetime:
        return _moments(series)
    if kind == pl.Date:
        return series.cast(pl.String).fill_null("")
    return _values_of_array(array_of(series))


def _moments(series: Any) -> Any:
    """Return moments of polars as text, as Python writes them: midnight is a date."""
    times = series.dt.cast_time_unit("us").dt.replace_time_zone(None)
    if series.dtype.time_zone:
        times = series.dt.cast_time_unit("us").dt.convert_time_zone("UTC")
    fractions = times.dt.microsecond() > 0
    seconds = times.dt.strftime("%Y-%m-%d %H:%M:%S")
    texts = times.dt.strftime("%Y-%m-%d %H:%M:%S%.6f").zip_with(fractions, seconds)
    return texts.fill_null("").str.strip_suffix(" 00:00:00")


def _are_large(values: Iterable[Any]) -> bool:
    """Return whether float64 would round some of these whole numbers."""
    return any(
        isinstance(each, Integral) and abs(int(each)) > _EXACT for each in values
    )


def _values_of_array(array: np.ndarray) -> Values | None:
    kind = array.dtype.kind
    if array.ndim > 1:
        return None
    is_large = kind in "iu" and _are_large([array.min(initial=0), array.max(initial=0)])
    if kind in "biuf" and not is_large:
        return array.astype(np.float64)
    if kind == "M":
        array = array.astype("M8[us]")
    elif kind not in "OU" and not is_large:
        return None
    values = array.tolist()
    kinds = set(map(type, values))
    if any(issubclass(each, _REFUSED) for each in kinds):
        return None
    for each in kinds:
        if each.__name__ == "NAType":  # pandas' NA, which cannot be compared
            values = [None if type(value) is each else value for value in values]
    values = [None if value != value else value for value in values]  # NaN
    kinds = set(map(type, values)) - {type(None)}
    are_numbers = bool(kinds) and all(issubclass(each, NUMBERS) for each in kinds)
    if are_numbers and not _are_large(values):
        numbers = [np.nan if value is None else value for value in values]
        return np.array(numbers, np.float64)
    pl = import_polars()
    return pl.Series([*map(as_text, values)], dtype=pl.String)
