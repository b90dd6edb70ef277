"""Data frames of pandas, polars and pyarrow mean what the file with the same values means."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from data_sets import FRAMES, MIXED, mixed

from mlp_xp.data.columns import TEXT
from mlp_xp.data.frames import table_of, take_labels
from mlp_xp.errors import DatasetError

HOUR = dt.timedelta(hours=1)
NOON = dt.datetime(2020, 1, 2, 12, 0, 0, 678901)
VALUES: dict[str, tuple[list[Any], np.ndarray]] = {
    "int": ([1, None], np.array([1, np.nan])),
    "float": ([1.5, None], np.array([1.5, np.nan])),
    "bool": ([True, None], np.array([1, np.nan])),
    "whole": ([7, -1], np.array([7.0, -1])),
    "decimal": ([Decimal("1.50"), None], np.array([1.5, np.nan])),
    "text": ([" a", None], np.array(["a", ""], TEXT)),
    "date": ([NOON.date(), None], np.array(["2020-01-02", "NaT"], "M8[us]")),
    "datetime": ([NOON, None], np.array([NOON, None], "M8[us]")),
    "zone": ([NOON.replace(tzinfo=dt.timezone(2 * HOUR)), None], np.array([NOON - 2 * HOUR, None], "M8[us]")),
    "time": ([NOON.time(), None], np.array(["12:00:00.678901", ""], TEXT)),
    "duration": ([HOUR, None], np.array([])),
    "bytes": ([b"x", None], np.array([])),
    "list": ([[1], None], np.array([])),
    "struct": ([{"a": 1}, None], np.array([])),
}  # fmt: skip
"""Values of a column, and what they are in a table; nothing for those that are refused."""
MORE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "of objects": lambda columns: pd.DataFrame({name: pd.Series(each, dtype=object) for name, each in columns.items()}),
    "of Arrow types": lambda columns: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    "of categories": lambda columns: pd.DataFrame(columns).astype("category"),
    "of a dictionary": lambda columns: pa.table({n: pa.array(each).dictionary_encode() for n, each in columns.items()}),
    "batch": pa.record_batch,
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in VALUES
        for kind in (*FRAMES, *MORE)
        if name not in ("list", "struct") or not ("categor" in kind or "dictionary" in kind)  # which cannot have these
    ],
)
def test_a_column_means_what_its_values_are(name: str, kind: str) -> None:
    values, expected = VALUES[name]
    frame = {**FRAMES, **MORE}[kind]({"a": [1, 2], name: values})
    if not expected.size:
        with pytest.raises(DatasetError, match=f"^X: columns '{name}' hold bytes, lists, durations or the like; give"):
            table_of(frame)
        assert table_of(frame, wanted=["a"]).names == ("a",)
        return
    found = table_of(frame)
    assert (found.names, found.columns[1].dtype) == (("a", name), expected.dtype)
    np.testing.assert_array_equal(found.columns[1], expected)


@pytest.mark.parametrize("name", MIXED)
def test_a_mixed_table_is_the_same_in_each_library(name: str) -> None:
    table = mixed(name)
    first, *others = (table_of(table.frame(kind, table.columns)) for kind in FRAMES)
    assert first.names == (*table.columns,)
    for other in others:
        for one, two in zip(first.columns, other.columns, strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)


def test_what_only_some_libraries_have() -> None:
    frame = pd.DataFrame({"bin": pd.cut(pd.Series([1, 2, 3]), 2), "mixed": [1, "a", True], "empty": [None] * 3})
    assert [each.tolist() for each in table_of(frame).columns] == [
        ["(0.998, 2.0]", "(0.998, 2.0]", "(2.0, 3.0]"], ["1", "a", "True"], [""] * 3,
    ]  # fmt: skip
    colours = pl.DataFrame({"a": ["red", None]}, schema={"a": pl.Enum(["blue", "red"])})
    assert table_of(colours).columns[0].tolist() == ["red", ""]
    assert [table_of(X) for X in (np.eye(2), [[1]], frame["mixed"], pl.Series([1]), pa.array([1]), None)] == [None] * 6


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (pd.Series([3, 1], name="k"), ("k",)),
        (pd.Series([3, 1], dtype="Int64"), ()),
        (pd.DataFrame({"k": [3, 1]}).convert_dtypes(dtype_backend="pyarrow"), ("k",)),
        (pl.Series("k", [3, 1]), ("k",)),
        (pl.DataFrame({"k": [3, 1]}), ("k",)),
        (pa.table({"k": [3, 1]}), ("k",)),
        (pa.chunked_array([[3], [1]]), ()),
        (pa.array([3, 1]).dictionary_encode(), ()),
    ],
)
def test_labels_keep_their_kind_and_the_name_of_their_column(y: Any, names: tuple[str, ...]) -> None:
    """Whole numbers stay such, because they may be classes."""
    values, found = take_labels("y", y)
    assert (values.dtype, values.tolist(), found) == (np.int64, [3, 1], names)


def test_columns_of_labels_are_found_by_their_names() -> None:
    for library in (pd.DataFrame, pl.DataFrame, pa.table):
        y, names = take_labels("y", library({"b": [1.5, None], "c": [0, 0], "a": [3, 4]}), ["a", "b"])
        assert (names, y.tolist()[0]) == (("a", "b"), [3, 1.5])
        with pytest.raises(DatasetError, match="y: has no column 'd'"):
            take_labels("y", library({"b": [1]}), ["d"])
    gaps, _ = take_labels("y", pa.array(["a", None, "b"]).dictionary_encode())
    assert gaps.tolist() == ["a", None, "b"]
