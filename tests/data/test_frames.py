"""Data frames of all libraries mean what the file with the same values means."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from data_sets import FRAMES, data_frame

from mlp_xp.data.arrays import from_arrays
from mlp_xp.data.columns import Columns
from mlp_xp.data.frames import read_as_text, table_of, take_labels
from mlp_xp.data.kinds import as_days
from mlp_xp.errors import DatasetError

HOUR, NOON = dt.timedelta(hours=1), dt.datetime(2020, 1, 2, 12, 0, 0, 678901)
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "int": (1, [1, np.nan]),
    "float": (1.5, [1.5, np.nan]),
    "bool": (True, [1, np.nan]),
    "decimal": (Decimal("1.50"), [1.5, np.nan]),
    "text": (" a", ["a", ""]),
    "date": (NOON.date(), ["2020-01-02", ""]),
    "datetime": (NOON, ["2020-01-02 12:00:00.678901", ""]),
    "zone": (
        NOON.replace(tzinfo=dt.timezone(2 * HOUR)),
        ["2020-01-02T10:00:00.678901Z", ""],
    ),
    "duration": (HOUR, []),
    "bytes": (b"x", []),
}
"""A value of a column, and what it and a gap are in a table; nothing for a value that
is refused.
"""
MORE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "objects": lambda columns: pd.DataFrame(
        {name: pd.Series(each, dtype=object) for name, each in columns.items()}
    ),
    "Arrow types": lambda columns: pa.table(columns).to_pandas(
        types_mapper=pd.ArrowDtype
    ),
    "categories": lambda columns: pd.DataFrame(columns).astype("category"),
    "dictionary": lambda columns: pa.table(
        {key: pa.array(each).dictionary_encode() for key, each in columns.items()}
    ),
    "batch": pa.record_batch,
}


@pytest.mark.parametrize("kind", [*FRAMES, *MORE])
@pytest.mark.parametrize("name", VALUES)
def test_a_column_means_what_its_values_are(name: str, kind: str) -> None:
    value, expected = VALUES[name]
    columns = {"a": [1, 2], name: [value, None]}
    frame = MORE[kind](columns) if kind in MORE else data_frame(kind, columns)
    if not expected:
        with pytest.raises(DatasetError, match=f"'{name}'"):
            table_of(frame)
        name, expected = "a", [1, 2]
    found = table_of(frame, "X", [name])
    values = [*found.columns[0]]
    if name == "zone":  # libraries keep it, or not
        values, expected = [*map(as_days, values)], [*map(as_days, expected)]
    np.testing.assert_array_equal(values, expected)
    assert found.names == (name,)


def test_what_only_some_libraries_have() -> None:
    """Among text, values are what they are in a file."""
    mixed = [7.0, "a", True, 1.5, pd.Timestamp("2024-01-01"), NOON]
    frame = pd.DataFrame(
        {"bin": pd.cut(pd.Series([1, 3] * 3), 2), "mixed": mixed, "empty": [None] * 6}
    )
    texts = ["7", "a", "True", "1.5", "2024-01-01", "2020-01-02 12:00:00.678901"]
    expected = [["(0.998, 2.0]", "(2.0, 3.0]"] * 3, texts, [""] * 6]
    assert [[*each] for each in table_of(frame).columns] == expected
    assert [
        table_of(X)
        for X in (np.eye(2), [[1]], frame["mixed"], pl.Series([1]), pa.array([1]), None)
    ] == [None] * 6


EXACT = 2**53 + 1  # which float64 rounds to 2**53


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([EXACT, None, EXACT - 1], dtype="Int64"),
        pd.Series([EXACT, None, EXACT - 1], dtype="Int64").astype("category"),
        pd.Series([EXACT, None, EXACT - 1], dtype=pd.ArrowDtype(pa.int64())),
        pd.array([EXACT, None, EXACT - 1], "Int64"),
        pd.Categorical(pd.array([EXACT, None, EXACT - 1], "Int64")),
        pl.Series([EXACT, None, EXACT - 1]),
        pa.chunked_array([[EXACT, None], [EXACT - 1]]),
    ],
)
def test_whole_numbers_beside_a_gap_are_exact(column: Any) -> None:
    labels, _ = take_labels("y", column)
    assert labels.tolist() == [EXACT, None, EXACT - 1]
    whole = labels[[0, 2]]
    outputs = from_arrays([[1.0], [2.0]], whole, task="classes").signature.outputs
    assert outputs == (str(EXACT - 1), str(EXACT))


@pytest.mark.parametrize(
    "make",
    [pl.DataFrame, pa.table, lambda columns: pd.DataFrame(columns, dtype="Int64")],
)
def test_large_whole_numbers_are_exact_text(make: Callable[..., Any]) -> None:
    """So categories stay apart, and numbers are those of a file."""
    values = [EXACT, None, EXACT - 1]
    table = table_of(make({"a": values * 2}))
    assert [*table.columns[0]][:3] == [str(EXACT), "", str(EXACT - 1)]
    assert Columns.fit(table).feature_names == ("a", "a is missing")
    levels = Columns.fit(replace(table, text_names=("a",))).columns[0].levels
    assert levels == (str(EXACT - 1), str(EXACT))


def test_categories_of_text_are_text() -> None:
    """Categories of numbers are numbers, as everywhere."""
    frame = pd.DataFrame({"band": ["20-29", "7"] * 3, "n": [1, 2] * 3})
    for table in (
        frame.astype("category"),
        pl.DataFrame(frame).cast({"band": pl.Categorical}),
    ):
        names = Columns.fit(table_of(table)).feature_names
        assert names == ("band=20-29", "band=7", "n")
    with pytest.raises(DatasetError, match="row 0, column 'band'"):
        from_arrays(frame, [0, 1] * 3)
    given = from_arrays(frame, [0, 1] * 3, text=["band"]).signature.feature_names
    assert given == names


def test_categories_of_text_are_known_in_other_kinds_of_columns() -> None:
    texts = pd.DataFrame({"a": ["1", "true", "True", "2024-01-01", "b", None] * 9})
    columns = Columns.fit(read_as_text(table_of(texts), ["a"]))
    known = [
        pd.DataFrame({"a": each})
        for each in ([1.0, None], [True, "b"], [pd.Timestamp("2024-01-01"), pd.NaT])
    ]
    assert [columns.features(each).tolist() for each in known] == [
        [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]],
        [[0, 0, 0, 1, 0], [0, 0, 1, 0, 0]],
        [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]],
    ]


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame, pa.table])
def test_labels_keep_their_kind_and_the_names_of_their_columns(library: Any) -> None:
    """Whole numbers stay such, because they may be classes."""
    frame = library({"b": [1.5, None], "c": [0, 0], "k": [3, 4]})
    for labels, names in (
        (library({"k": [3, 4]}), ("k",)),
        (frame["k"], () if library is pa.table else ("k",)),
    ):
        y, found = take_labels("y", labels)
        assert (y.dtype, y.tolist(), found) == (np.int64, [3, 4], names)
    y, names = take_labels("y", frame, ["k", "b"])
    assert (names, y.tolist()[0]) == (("k", "b"), [3, 1.5])
    with pytest.raises(DatasetError, match="'d', 'e'"):
        take_labels("y", frame, ["d", "k", "e"])
    assert take_labels("y", pa.array(["a", None, "b"]).dictionary_encode())[
        0
    ].tolist() == ["a", None, "b"]
