"""Data frames of pandas, polars and pyarrow, as the tables that files become.

A column means what its values are, whatever its dtype is called: those of pandas'
nullable and Arrow types, categories, Decimals, and objects of Python mean what they
would in a file.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np

from mlp_xp.backends.inputs import NUMBERS, find_columns
from mlp_xp.data.table import TEXT, Table, as_text
from mlp_xp.errors import DatasetError, some

LIBRARIES = {"pandas", "polars", "pyarrow"}
_REFUSED = (bytes, complex, timedelta, list, tuple, set, dict, np.ndarray)


def table_of(
    X: Any, what: str | None = "X", wanted: Sequence[str] | None = None
) -> Table | None:
    """Return a data frame as a table: a DataFrame of pandas or polars, or pyarrow's
    Table or RecordBatch.

    Of a `Table` these are some of its columns; for everything else the result is None.

    Numbers, true and false become float64; anything else text as it is in a file,
    without spaces around it: dates, and also numbers in a column with text.

    what: the name of X in errors. wanted: the columns to read, in this order; by
    default all. Raises DatasetError for columns that are missing or there twice, and
    for those of bytes, lists, durations or complex numbers.
    """
    names, columns = columns_of(X)
    if not names:
        return None
    places = find_columns(names if wanted is None else wanted, names, what)
    table = as_table(
        [names[i] for i in places], [array_of(columns[i]) for i in places], what
    )
    return (
        replace(X, names=table.names, columns=table.columns)
        if isinstance(X, Table)
        else table
    )


def as_table(
    names: Sequence[str], arrays: Sequence[np.ndarray], what: str | None = "X"
) -> Table:
    """Return host arrays, (n,) each, as the columns of a table. Raises as `table_of`
    does.
    """
    columns = [_meant(array) for array in arrays]
    if wrong := [
        name for name, values in zip(names, columns, strict=True) if values is None
    ]:
        fault = f"columns {some(wrong)} hold bytes, lists, durations or the like"
        raise DatasetError(
            fault, remedy="give numbers, text, true and false, or dates", setting=what
        )
    return Table(
        tuple(names), tuple(values for values in columns if values is not None)
    )


def take_labels(
    what: str, y: Any, wanted: Sequence[str] = ()
) -> tuple[Any, tuple[str, ...]]:
    """Return labels as an array, (n,) or (n, columns), and the names of their columns;
    arrays and lists as they are.

    y: a data frame, of which a single column is (n,), or a Series or another column of
    these libraries. Values are as they are, so that whole numbers may be classes.
    wanted: the columns of a data frame to take, if there are any.
    """
    names, columns = columns_of(y)
    if not names:
        name = getattr(y, "name", None)
        return (
            (array_of(y), () if name in (None, "") else (str(name),))
            if _is_known(y)
            else (y, ())
        )
    places = find_columns(wanted or names, names, what)
    arrays = [array_of(columns[i]) for i in places]
    arrays = [
        np.array(each.tolist()) if each.dtype == TEXT else each for each in arrays
    ]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1), tuple(
        names[i] for i in places
    )


def columns_of(X: Any) -> tuple[list[str], list[Any]]:
    """Return the names and the columns of a data frame or a `Table`; none for anything
    else.
    """
    if isinstance(X, Table):
        return [*X.names], [*X.columns]
    if not _is_known(X) or len(getattr(X, "shape", ())) != 2:
        return [], []
    if hasattr(X, "iloc"):  # pandas
        return [*map(str, X.columns)], [X.iloc[:, i] for i in range(X.shape[1])]
    # polars, or else pyarrow
    columns = X.get_columns() if hasattr(X, "get_columns") else X.columns
    return [*map(str, getattr(X, "column_names", X.columns))], columns


def _is_known(X: Any) -> bool:
    """Return whether a library of data frames made this."""
    return not LIBRARIES.isdisjoint(
        each.__module__.partition(".")[0] for each in type(X).__mro__
    )


def array_of(column: Any) -> np.ndarray:
    """Return a column as a host array, (n,), of objects with None where it has gaps."""
    if hasattr(column, "isna"):  # pandas, which has several kinds of gaps
        array = column.to_numpy()
        return (
            column.to_numpy(object, na_value=None) if array.dtype.kind == "O" else array
        )
    # pyarrow, which would make other values of gaps
    if hasattr(column, "type") and column.null_count:
        return np.array(column.to_pylist(), object)
    return np.asarray(column)


def _meant(array: np.ndarray) -> np.ndarray | None:
    """Return the values of a column as a `Table` has them; None if there are other
    kinds of values.
    """
    if array.dtype == TEXT:
        return array
    if array.dtype.kind in "biuf" and array.ndim == 1:
        return array.astype(np.float64)
    values = array.astype("M8[us]" if array.dtype.kind == "M" else array.dtype).tolist()
    kinds = {*map(type, values)}
    if (
        array.ndim > 1
        or array.dtype.kind not in "OUM"
        or any(issubclass(kind, _REFUSED) for kind in kinds)
    ):
        return None
    values = [None if value != value else value for value in values]  # NaN
    kinds = {*map(type, values)} - {type(None)}
    if kinds and all(issubclass(kind, NUMBERS) for kind in kinds):
        return np.array(
            [np.nan if value is None else value for value in values], np.float64
        )
    return np.array([*map(as_text, values)], TEXT)
