"""Tables with a header: what is written is read.

Every fault is told by line or row, and by column.
"""

import re
import sys
import warnings
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv
from helpers import assert_one_line, call

from mlp_xp.backends.opening import open_backend
from mlp_xp.data._labels import labels_of, meaning_of, read_labels
from mlp_xp.data.columns import Column, Columns
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import MISSING, open_file
from mlp_xp.data.samples import RawSamples
from mlp_xp.data.table import Writing
from mlp_xp.data.table_files import read_tables
from mlp_xp.errors import DatasetError, MlpXpWarning

pytestmark = pytest.mark.needs("polars")


# CSV.


def test_several_labels(tmp_path: Path) -> None:
    text = 'p,x,q,"a,b"\n1,5,True,0.5\n0,6,false,2\n'
    assert values_of(read_text(tmp_path, text, "q, p")) == [
        ["True", "1"],
        ["false", "0"],
    ]
    table = read_text(tmp_path, text, '"a,b",p', exclude="q")
    assert (table.label_names, columns_of(table)) == (("a,b", "p"), {"x": ["5", "6"]})
    assert values_of(table) == [["0.5", "1"], ["2", "0"]]
    assert values_of(read_text(tmp_path, text, "a,b", exclude="q,p")) == ["0.5", "2"]


LABELS = "x;f;y\n1;1;1.234,5\n2;0;0,25\n3;5;1.000\n"
MARKS = {"decimal": ",", "thousands": "."}


def test_labels_and_weights_are_read_by_the_declared_marks(tmp_path: Path) -> None:
    table = read_text(tmp_path, LABELS, "y", **MARKS)
    assert values_of(table) == ["1234.5", "0.25", "1000"]
    table = read_text(tmp_path, LABELS, "x", sample_weight="y", **MARKS)
    assert table.train.weights == [1234.5, 0.25, 1000]
    for options in ({"label": "y"}, {"label": "x", "sample_weight": "y"}):
        with pytest.raises(DatasetError, match=r"line 2, column 'y': '1\.5'"):
            read_text(tmp_path, LABELS.replace("1.234,5", "1.5"), **options, **MARKS)
    text = LABELS.replace("1.234,5", "a-1,5")
    found = read_text(tmp_path, text, "y", task="classes", **MARKS)
    assert values_of(found) == ["a-1,5", "0.25", "1000"]


def test_a_network_keeps_how_its_table_was_written(tmp_path: Path) -> None:
    """Other options of the caller do not count."""
    known = replace(plain(["a"]), writing=Writing(",", "."))
    table = read_text(tmp_path, "a;kind\n6,25;x\n1.234;y\n", known=known).train.inputs
    assert table.writing == known.writing
    assert known.features(table).tolist() == [[6.25], [1234]]


@pytest.mark.needs("pyarrow")
def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    """As the row numbers of pandas and R."""
    with pytest.warns(MlpXpWarning, match="column 1, 3"):
        assert columns_of(read_text(tmp_path, ",a,,kind\n0,1,,x\n1,3,,y\n")) == {
            "a": ["1", "3"]
        }
    path = write_csv(
        tmp_path / "t.parquet",
        {"x": [1, 3], "__index_level_0__": [7, 9], "kind": ["a", "b"]},
    )
    with pytest.warns(MlpXpWarning, match="column 2"):
        assert columns_of(read(path)) == {"x": [1, 3]}


# What is refused.


def test_a_label_that_marks_a_missing_value(tmp_path: Path) -> None:
    for mark in MISSING:
        with pytest.raises(DatasetError, match=re.escape(repr(mark.upper()))):
            read_text(tmp_path, f'a,kind\n1,cat\n1,"{mark.upper()}"\n')


# Parquet.


@pytest.mark.needs("pyarrow")
def test_parquet_is_read_as_written(tmp_path: Path) -> None:
    import pyarrow as pa

    columns = {
        "double": [0.1, -2.5],
        "float": pa.array([0.5, 1.5], pa.float32()),
        "half": pa.array(np.array([0.5, 1.5], np.float16)),
        "byte": pa.array([0, 255], pa.uint8()),
        "long": [2**53, -1],
        "flag": [True, False],
        "decimal": [Decimal("1.25"), Decimal("-3.5")],
        "a.b": [1, 2],
        "kind": ["x", "y"],
    }
    found = columns_of(read(write_csv(tmp_path / "t.parquet", columns), "kind"))
    assert found == {
        name: [*map(float, pa.array(values).to_pylist())]
        for name, values in [*columns.items()][:-1]
    }
    for labels in (["b", "a"], [3, -2], [0.5, 1.5], [True, False]):
        for values in (pa.array(labels), pa.array(labels).dictionary_encode()):
            assert (
                values_of(
                    read(
                        write_csv(
                            tmp_path / "t.parquet", {"x": [1, 2], "kind": values}
                        ),
                        "kind",
                    )
                )
                == labels
            )


@pytest.mark.needs("pyarrow")
def test_damaged_parquet(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "t.parquet",
        {"x": [0.1, 0.2, 0.3], "i": [1, 2, 3], "kind": ["a", "b", "a"]},
    )
    content = path.read_bytes()
    for place in (5, 40, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:place])
        with pytest.raises(DatasetError) as caught:
            read(path, "kind")
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(f"'{path}': cannot be read: ")


@pytest.mark.parametrize(
    "suffix", ["csv", pytest.param("parquet", marks=pytest.mark.needs("pyarrow"))]
)
def test_chosen_columns_in_their_order(tmp_path: Path, suffix: str) -> None:
    columns = {
        "text": ["?", "?"],
        "b": [2.0, 1.0],
        "a.b": [6.0, 5.0],
        "a": [True, False],
        "kind": ["x", "y"],
    }
    path = write_csv(tmp_path / f"t.{suffix}", columns)
    table = read(path, "kind", plain(["a", "b", "a.b"]), exclude="gone").train.inputs
    assert table.names == ("a", "b", "a.b")
    assert Columns.fit(table).features(table).tolist() == [[1, 2, 6], [0, 1, 5]]
    with pytest.raises(DatasetError, match="'c', 'd'"):
        read(path, known=plain("bcd"))


def test_tables_need_polars_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.csv").write_text("a,kind\n1,x\n2,y\n")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "polars", None)
    for name in ("t.csv", "t.parquet"):
        outcome = call("train --label kind", data_dir=tmp_path / name)
        said = ("tables need polars, which is not installed", "pip install polars\n")
        assert_one_line(outcome, 2, *said)


def test_a_defect_while_a_file_is_open_keeps_its_type() -> None:
    with pytest.raises(ValueError, match=r"^planted$"), open_file(Path(__file__)):
        raise ValueError("planted")


# Tables that are read and refused.


def read(
    path: Path, label: str | None = "kind", known: Columns | None = None, **options: Any
) -> RawSamples:
    """Read a table, and refuse what a data set of it refuses."""
    samples = read_tables(path, DataOptions(label, **options), known)
    # of columns that differ in each row
    with samples.naming(samples.train), warnings.catch_warnings(action="ignore"):
        Columns.fit(samples.train.inputs).features(samples.train.inputs)
        if samples.train.labels is not None:
            labels = labels_of(samples, samples.train, open_backend())
            read_labels(labels, meaning_of(samples, labels, options.get("task")))
    return samples


def plain(names: Any) -> Columns:
    return Columns(tuple(map(Column, names)))


def read_text(
    tmp_path: Path, text: str | bytes, label: str | None = "kind", **options: Any
) -> RawSamples:
    path = tmp_path / "table.csv"
    path.write_bytes(
        text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    )
    samples = read(path, label, **options)
    assert len(samples.train.inputs) == len(samples.train.inputs.lines)
    return samples


def columns_of(samples: RawSamples) -> dict[str, list[Any]]:
    table = samples.train.inputs
    return {
        name: [*column] for name, column in zip(table.names, table.columns, strict=True)
    }


def values_of(samples: RawSamples) -> list[Any]:
    return samples.train.labels.tolist()
