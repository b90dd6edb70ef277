"""Tables with a header: what is written is read, and every fault is told by line or row, and by column."""

import gzip
import math
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import write_csv

from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.reading import read_features
from mlp_xp.commands.process import as_option
from mlp_xp.data.labels import labels_of, meaning_of, read_labels
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import MISSING, open_file
from mlp_xp.data.samples import Samples
from mlp_xp.data.tables import read_rows, read_tables
from mlp_xp.errors import DatasetError


def read(path: Path, label: str | None = "kind", features: Any = None, **options: Any) -> Samples:
    """Read a table, and refuse what a data set of it refuses."""
    samples = read_tables(path, Origin(label, **options), features)
    with samples.naming(samples.train):
        read_features("X", samples.train.inputs, open_backend())
        if samples.train.labels is not None:
            labels = labels_of(samples, samples.train, open_backend())
            read_labels(labels, meaning_of(samples, labels, None))
    return samples


def read_text(tmp_path: Path, text: str | bytes, label: str | None = "kind", **options: Any) -> Samples:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    samples = read(path, label, **options)
    assert samples.train.inputs.dtype == np.float64
    assert samples.train.inputs.flags.c_contiguous
    assert samples.train.inputs.flags.writeable
    assert samples.train.inputs.shape == (len(samples.train.lines), len(samples.feature_names))
    return samples


def values_of(samples: Samples) -> list[Any]:
    return samples.train.labels.tolist()


# CSV.


@pytest.mark.parametrize("label", ["a", "b", "c"])
def test_the_label_may_be_any_column(tmp_path: Path, label: str) -> None:
    text = '\n"a", b ,c\n1,2,3\n\n4,"5",6\n'
    for content in (text, gzip.compress(text.encode(), mtime=0)):
        table = read_text(tmp_path, content, label)
        others = [name for name in "abc" if name != label]
        assert table.feature_names == tuple(others)
        assert table.train.inputs.tolist() == [["abc".index(name) + start for name in others] for start in (1, 4)]
        assert values_of(table) == [str("abc".index(label) + start) for start in (1, 4)]
        assert table.train.lines.tolist() == [3, 5]


def test_several_labels(tmp_path: Path) -> None:
    text = 'p,x,q,"a,b"\n1,5,True,0.5\n0,6,false,2\n'
    assert values_of(read_text(tmp_path, text, "q, p")) == [["True", "1"], ["false", "0"]]
    table = read_text(tmp_path, text, '"a,b",p', exclude="q")
    assert (table.label_names, table.feature_names) == (("a,b", "p"), ("x",))
    assert values_of(table) == [["0.5", "1"], ["2", "0"]]
    assert values_of(read_text(tmp_path, text, "a,b", exclude="q,p")) == ["0.5", "2"]


def test_booleans_are_one_and_zero(tmp_path: Path) -> None:
    assert read_text(tmp_path, "a,b,kind\nTrue,false,x\nFALSE,true,y\n").train.inputs.tolist() == [[1, 0], [0, 1]]


# What is refused.


def refusal(tmp_path: Path, text: str | bytes, label: str | None = "kind", **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        read_text(tmp_path, text, label, **options)
    caught.value.setting = None  # only where the fault is counts here
    message, start = str(caught.value), repr(str(tmp_path / "table.csv"))
    assert message.isprintable()
    assert message.startswith(start)
    assert caught.value.exit_code == 2
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('length,width,kind\n\n1,2,"a\nb"\n1,,setosa\n', ", line 5, column 'width': there is no value; fill it in"),
        ("width,kind\nNA,x\n", ", line 2, column 'width': there is no value, but 'NA'; fill it in"),
        ("width,kind\nnan,x\n", ", line 2, column 'width': nan is not a finite number; remove or replace it"),
        ("width,kind\n1,x\n1e999,x\n", ", line 3, column 'width': inf is not a finite number"),
        ('width,kind\n"1,5",x\n', ", line 2, column 'width': '1,5' is not a number; correct it (decimals have a"),
        ("a,kind\ntrue,x\nmaybe,y\n", ", line 3, column 'a': 'maybe' is not a number"),
        ("", ": has no column 'kind'; its columns are"),
        ("a,kind\n", ": the shape is (0, 1); give samples"),
        ("a,Kinds\n1,2\n", ": has no column 'kind' (did you mean 'Kinds'?); its columns are 'a', 'Kinds'"),
        ("5.1,3.5,1\n4.9,3.0,1\n", ": has no column 'kind'; its columns are '5.1', '3.5', '1'"),
        ("a,kind, a \n1,2,3\n", ": has 2 columns named 'a'; rename them"),
        (",a,kind\n0,1,2\n", ": column 1 has no name; name it, or leave it out if it is a row number"),
        ("kind\nx\n", ": has no columns but the labels"),
    ],
)
def test_faulty_text(tmp_path: Path, text: str, fault: str) -> None:
    assert refusal(tmp_path, text).startswith(fault)


def test_text_as_a_feature_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        read_text(tmp_path, "a,the b,kind\n1,red,x\n")
    assert caught.value.worded(as_option).endswith("or leave the column out with --exclude 'the b'")


def test_a_label_that_marks_a_missing_value(tmp_path: Path) -> None:
    for mark in MISSING:
        text = refusal(tmp_path, f'a,kind\n1,cat\n1,"{mark.upper()}"\n')
        assert text.startswith(f", line 3, column 'kind': {mark.upper()!r} marks a missing label; fill it in")
    path = write_csv(tmp_path / "t.parquet", {"x": [1, 2], "kind": ["cat", "NA"]})
    with pytest.raises(DatasetError, match="row 2, column 'kind': 'NA' marks a missing label"):
        read(path, "kind")


# Parquet.


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
    table = read(write_csv(tmp_path / "t.parquet", columns), "kind")
    assert table.train.inputs.tolist() == [[0.1, 0.5, 0.5, 0, 2**53, 1, 1.25, 1], [-2.5, 1.5, 1.5, 255, -1, 0, -3.5, 2]]
    assert table.train.inputs.flags.c_contiguous
    assert table.feature_names == tuple(columns)[:-1]
    for labels in (["b", "a"], [3, -2], [0.5, 1.5], [True, False]):
        for values in (pa.array(labels), pa.array(labels).dictionary_encode()):
            assert values_of(read(write_csv(tmp_path / "t.parquet", {"x": [1, 2], "kind": values}), "kind")) == labels


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"x": [1.0, None], "kind": ["a", "b"]}, ", row 2, column 'x': None is not a number; encode"),
        ({"x": [1.0, math.nan], "kind": ["a", "b"]}, ", row 2, column 'x': nan is not a finite number"),
        ({"x": [1.0, -math.inf], "kind": ["a", "b"]}, ", row 2, column 'x': -inf is not a finite number"),
        ({"x": [1, 2], "kind": ["a", None]}, ", row 2, column 'kind': None is neither a"),
        ({"x": [1, 2], "kind": [0.5, math.nan]}, ", row 2, column 'kind': the label nan is not"),
        ({"x": [1, 2], "kind": [[1], [2]]}, ", row 1, column 'kind': array([1]) is neither"),
        ({"a.b": ["red", "blue"], "kind": ["a", "b"]}, ", row 1, column 'a.b': 'red' is not a number; encode text"),
        ({"x": [], "kind": []}, ": the shape is (0, 1); give samples"),
        ({"x": [1], "__index_level_0__": [0], "kind": ["a"]}, ": column 2 has no name; name it, or leave it out"),
    ],
)
def test_faulty_parquet(tmp_path: Path, columns: dict[str, Any], fault: str) -> None:
    path = write_csv(tmp_path / "t.parquet", columns)
    with pytest.raises(DatasetError, match=re.escape(f"{str(path)!r}{fault}")):
        read(path, "kind")


def test_damaged_parquet(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.parquet", {"x": [0.1, 0.2, 0.3], "i": [1, 2, 3], "kind": ["a", "b", "a"]})
    content = path.read_bytes()
    for place in (5, 40, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:place])
        with pytest.raises(DatasetError) as caught:
            read(path, "kind")
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith(f"{str(path)!r}: cannot be read: ")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_chosen_columns_in_their_order(tmp_path: Path, suffix: str) -> None:
    columns = {"text": ["?", "?"], "b": [1.0, 2.0], "a.b": [5.0, 6.0], "a": [True, False], "kind": ["x", "y"]}
    path = write_csv(tmp_path / f"t.{suffix}", columns)
    table = read(path, "kind", features=["a", "b", "a.b"], exclude="gone")
    assert table.train.inputs.tolist() == [[1, 1, 5], [0, 2, 6]]
    assert table.feature_names == ("a", "b", "a.b")
    assert read(path, features=["b"]).train.inputs.tolist() == [[1], [2]]
    with pytest.raises(DatasetError, match=r"has no column 'c'; its columns are 'text', 'b'"):
        read(path, features=["b", "c"])


def test_a_csv_file_needs_no_library(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,kind\n1,x\n2,y\n")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None; from mlp_xp import load_dataset\n"
        "for path in sys.argv[1:]: print(load_dataset(path, label='kind', test_fraction=0))"
    )
    command = [sys.executable, "-c", code, tmp_path / "t.csv", tmp_path / "t.parquet"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout.startswith("Dataset('")
    assert "ModuleNotFoundError: import of pyarrow halted" in run.stderr


# Files and rows of CSV.

TEXT = 'name,"the, value"\né,1\n"a ""b""\nc",2\n'
ROWS = [(1, ["name", "the, value"]), (2, ["é", "1"]), (3, ['a "b"\nc', "2"])]


def rows_of(path: Path, content: bytes | str) -> list[tuple[int, list[str]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_file(path) as stream:
        return [*read_rows(stream)]


def test_rows(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (
        TEXT,
        "\ufeff" + TEXT,
        TEXT.rstrip(),
        TEXT.replace(",1", ", 1"),
        gzip.compress(TEXT.encode(), mtime=0),
    ):
        assert rows_of(path, content) == ROWS
    for ending in ("\r\n", "\r", "\n"):
        assert rows_of(path, f"a,b{ending}{ending}  {ending}1,2{ending}") == [(1, ["a", "b"]), (4, ["1", "2"])]
    assert rows_of(path, "a\n\n1\n") == [(1, ["a"]), (3, ["1"])]
    assert rows_of(path, "") == rows_of(path, "\n \n") == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a,b\n\n1\n", ", line 3: has 1 columns, the first row has 2; check the commas and quotes"),
        (b"a,b\n1,2,\n", ", line 2: has 3 columns, the first row has 2"),
        (b'a,b\n1,2\n"3,4\n5,6\n', ", line 3: unexpected end of data; check the quotes"),
        (b'a,b\n"1"2,3\n', ", line 2: ',' expected after '\"'; check the quotes"),
        ("a,b\n1,2\n3,é\n".encode("latin-1"), ": cannot be read: 'utf-8' codec can't decode byte 0xe9"),
        ("a,b\n".encode("utf-16"), ": cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], ": cannot be read: Compressed file ended before"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + bytes(8), ": cannot be read: CRC check failed"),
    ],
)
def test_faulty_rows(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(f"{str(tmp_path / 'file')!r}{fault}")) as caught:
        rows_of(tmp_path / "file", content)
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("a")
    (tmp_path / "closed").chmod(0)
    for name, fault in (
        ("none", "cannot be read: No such file or directory; check the path"),
        (".", "cannot be read: Is a directory; check the path"),
        ("x" * 300, "cannot be read: File name too long"),
        ("closed", "cannot be read: Permission denied"),
    ):
        if name == "closed" and os.geteuid() == 0:  # whom no mode stops
            continue
        with pytest.raises(DatasetError, match=f"': {fault}"), open_file(tmp_path / name):
            pass
    with pytest.raises(ValueError, match=r"^planted$"), open_file(Path(__file__)):  # a defect keeps its type
        raise ValueError("planted")
