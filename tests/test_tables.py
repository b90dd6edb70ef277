"""Tables with a header: what is written is read, and every fault is told by line or row, and by column."""

import csv
import gzip
import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_xp.data import tables
from mlp_xp.data.tables import Table, TableError, column_names, read_table
from mlp_xp.errors import for_command_line

IRIS = "length,width,kind\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,virginica\n"
FUZZ = settings(
    max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def read_text(tmp_path: Path, text: str | bytes, label: str | None = "kind") -> Table:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    table = read_table(path, label)
    check(table)
    return table


def check(table: Table) -> None:
    assert table.features.dtype == np.float64
    assert table.features.flags.c_contiguous
    assert table.features.flags.writeable
    assert table.features.shape[1:] == (len(table.feature_names),)
    assert table.labels is None or table.labels.shape == table.features.shape[:1]


# What is read: CSV.


@pytest.mark.parametrize("piece", [1, 4, 1 << 17])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n", "\n  \n"])
def test_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, piece: int) -> None:
    monkeypatch.setattr(tables, "PIECE", piece)
    text = IRIS.replace("\n", ending)
    quoted = "".join(",".join(f'"{field}"' for field in line.split(",")) + ending for line in IRIS.splitlines())
    for variant in (
        text,
        text.rstrip(),
        ending + text,
        "\ufeff" + text,
        text.replace(",", ", "),
        quoted,
        quoted.replace(",", ", "),
        gzip.compress(text.encode(), mtime=0),
    ):
        table = read_text(tmp_path, variant)
        assert table.features.tolist() == [[5.1, 3.5], [7.0, 3.2], [6.3, 3.3]]
        assert table.labels is not None
        assert table.labels.tolist() == ["setosa", "versicolor", "virginica"]
        assert table.feature_names == ("length", "width")


@pytest.mark.parametrize("label", ["a", "b", "c"])
def test_the_label_may_be_any_column(tmp_path: Path, label: str) -> None:
    table = read_text(tmp_path, "a,b,c\n1,2,3\n4,5,6\n", label)
    others = [name for name in "abc" if name != label]
    assert table.feature_names == tuple(others)
    assert table.features.tolist() == [["abc".index(name) + start for name in others] for start in (1, 4)]
    assert table.labels is not None
    assert table.labels.tolist() == ["abc".index(label) + start for start in (1, 4)]


def test_without_a_label_all_columns_are_features(tmp_path: Path) -> None:
    table = read_text(tmp_path, "a,b\n1,2\n", None)
    assert (table.features.tolist(), table.labels, table.feature_names) == ([[1, 2]], None, ("a", "b"))


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["3", "-1", "+07"], np.array([3, -1, 7])),
        (["3", "1e2", "-0.5"], np.array([3, 100, -0.5])),
        (["1", "two", "three"], np.array(["1", "two", "three"])),
        (["1_0", "2_0", "3"], np.array(["1_0", "2_0", "3"])),
        (["True", "False", "True"], np.array(["True", "False", "True"])),
        (["a, b", " c ", "d"], np.array(["a, b", "c", "d"])),
        (["9" * 18, "1", "2"], np.array([10**18 - 1, 1, 2])),
    ],
)
def test_kinds_of_labels(tmp_path: Path, labels: list[str], values: np.ndarray) -> None:
    table = read_text(tmp_path, "x,kind\n" + "".join(f'1,"{label}"\n' for label in labels))
    assert table.labels is not None
    assert table.labels.dtype.kind == values.dtype.kind
    np.testing.assert_array_equal(table.labels, values)


def test_booleans_are_one_and_zero(tmp_path: Path) -> None:
    table = read_text(tmp_path, "a,b,kind\nTrue,false,x\nFALSE,true,y\n")
    assert table.features.tolist() == [[1, 0], [0, 1]]


def test_column_numbers_as_pandas_writes_them_are_names(tmp_path: Path) -> None:
    assert read_text(tmp_path, "0,1,2\n5,6,7\n", "2").feature_names == ("0", "1")


def test_fields_may_have_line_breaks_and_quotes(tmp_path: Path) -> None:
    table = read_text(tmp_path, '"the\nlength",kind\n"1\n","a ""b""\nc"\n2,d\n')
    assert table.feature_names == ("the\nlength",)
    assert table.features.tolist() == [[1], [2]]
    assert table.labels is not None
    assert table.labels.tolist() == ['a "b"\nc', "d"]


FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda name: name == name.strip() and not tables._is_number(name)
)


@FUZZ
@given(
    names=st.lists(NAMES, min_size=2, max_size=5, unique=True).filter(lambda names: "\ufeff" not in names[0]),
    values=st.lists(st.lists(FINITE, min_size=5, max_size=5), min_size=1, max_size=6),
    labels=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), min_size=6, max_size=6),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_the_standard_library_writes(
    tmp_path: Path, names: list[str], values: list[list[float]], labels: list[str], quoting: Any
) -> None:
    n = len(names)
    labels = [f"class {label}".strip() for label in labels[: len(values)]]
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting)
    writer.writerow(names)
    writer.writerows([*row[: n - 1], label] for row, label in zip(values, labels, strict=True))
    table = read_text(tmp_path, text.getvalue(), names[-1])
    assert table.feature_names == tuple(names[:-1])
    np.testing.assert_array_equal(table.features, [row[: n - 1] for row in values])
    assert table.labels is not None
    assert table.labels.tolist() == labels


# What is read: Parquet.


def test_names_of_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n" + IRIS)
    assert column_names(tmp_path / "t.csv") == ("length", "width", "kind")
    assert column_names(write_parquet(tmp_path / "t.parquet", {"x": ["text"], "kind": [1]})) == ("x", "kind")
    for content, fault in (
        (b"", "empty: no header"),
        (b"1.5,2.5\n", "all names of columns are numbers"),
        (b"PAR1", "is"),
    ):
        (tmp_path / "t.csv").write_bytes(content)
        with pytest.raises(TableError, match=fault):
            column_names(tmp_path / "t.csv")


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("piece", [1, 7, 1 << 17])
def test_parquet_is_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    pa = pytest.importorskip("pyarrow")
    from decimal import Decimal

    monkeypatch.setattr(tables, "PIECE", piece)
    columns = {
        "double": [0.1, -2.5, 1e300],
        "float": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "byte": pa.array([0, 255, 7], pa.uint8()),
        "long": [2**53, -1, 0],
        "flag": [True, False, True],
        "decimal": [Decimal("1.25"), Decimal("-3.5"), Decimal(0)],
        "a.b": [1, 2, 3],
        "kind": ["x", "y", "x"],
    }
    table = read_table(write_parquet(tmp_path / "t.parquet", columns), "kind")
    check(table)
    expected = [[0.1, 0.5, 0, 2**53, 1, 1.25, 1], [-2.5, 1.5, 255, -1, 0, -3.5, 2], [1e300, 2.5, 7, 0, 1, 0, 3]]
    assert table.features.tolist() == expected
    assert table.labels is not None
    assert table.labels.tolist() == ["x", "y", "x"]
    assert table.feature_names == tuple(columns)[:-1]


@pytest.mark.parametrize("make_dictionary", [False, True])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "b"], ["b", "a", "b"]),
        ([3, 1, -2], [3, 1, -2]),
        ([0.5, 1.5, 0.5], [0.5, 1.5, 0.5]),
        ([True, False, True], ["True", "False", "True"]),
    ],
)
def test_labels_of_parquet(tmp_path: Path, labels: list[Any], expected: list[Any], make_dictionary: bool) -> None:
    pa = pytest.importorskip("pyarrow")
    values = pa.array(labels)
    if make_dictionary and not isinstance(labels[0], bool):
        values = values.dictionary_encode()
    table = read_table(write_parquet(tmp_path / "t", {"x": [1, 2, 3], "kind": values}), "kind")
    assert table.labels is not None
    assert table.labels.tolist() == expected
    assert table.labels.dtype.kind == np.array(expected).dtype.kind


@FUZZ
@given(
    values=st.lists(st.tuples(FINITE, st.integers(-(2**53), 2**53), st.booleans()), min_size=1, max_size=9),
    compression=st.sampled_from(["none", "snappy", "gzip", "zstd"]),
    version=st.sampled_from(["1.0", "2.6"]),
)
def test_whatever_pyarrow_writes(
    tmp_path: Path, values: list[tuple[float, int, bool]], compression: str, version: str
) -> None:
    floats, integers, flags = map(list, zip(*values, strict=True))
    columns = {"f": floats, "i": integers, "b": flags, "kind": list(map(str, integers))}
    path = write_parquet(tmp_path / "t", columns, compression=compression, version=version)
    table = read_table(path, "kind")
    np.testing.assert_array_equal(table.features, np.array(values, np.float64))
    assert table.labels is not None
    assert table.labels.tolist() == columns["kind"]


def test_a_csv_file_needs_no_library(tmp_path: Path) -> None:
    (tmp_path / "iris.csv").write_text(IRIS)
    code = "import sys; sys.modules['pyarrow'] = None; from mlp_xp.data.tables import read_table as r; r(sys.argv[1])"
    end = [sys.executable, "-c", code]
    run = subprocess.run([*end, tmp_path / "iris.csv"], capture_output=True, text=True, check=False)
    assert "column 'kind' is text, such as 'setosa'" in run.stderr
    assert "leave it out with exclude='kind'" in run.stderr
    assert for_command_line("leave it out with exclude='the kind'") == "leave it out with --exclude 'the kind'"
    (tmp_path / "iris.parquet").write_bytes(b"PAR1")
    run = subprocess.run([*end, tmp_path / "iris.parquet"], capture_output=True, text=True, check=False)
    assert "Parquet needs pyarrow, which is not installed; install it with: " in run.stderr


# What is refused.


def message(path: Path, label: str | None = "kind") -> str:
    with pytest.raises(TableError) as caught:
        read_table(path, label)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{str(path)!r}: ")
    assert "; " in text  # and then what to do
    assert caught.value.exit_code == 2
    return text.removeprefix(f"{str(path)!r}: ")


def message_of(tmp_path: Path, text: str | bytes, label: str | None = "kind") -> str:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    return message(path, label)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (["", " ", "NA", "nan", "NaN", "null", "?", "-", '""'], "there is no value"),
        (["inf", "-Infinity", "1e999"], "is infinite, or too large for float64"),
        (["x", "0x10", "1_0", "٣", "1 2", "1e", "\xa01", "true", "2021-01-01"], "is not a number; give a number"),
        (['"1,5"', '"-,5"'], "is not a number; write decimals with a point"),
    ],
)
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("piece", [1, 1 << 17])
def test_faulty_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: list[str], fault: str, column: int, piece: int
) -> None:
    monkeypatch.setattr(tables, "PIECE", piece)
    for field in fields:
        row = ["1", "2", "setosa"]
        row[column] = field
        text = message_of(tmp_path, f'length,width,kind\n\n1,2,"a\nb"\n{",".join(row)}\n1,2,setosa\n')
        assert text.startswith("line 5"), text
        assert f"column '{['length', 'width'][column]}'" in text
        assert fault in text
        if "true" not in fields:
            assert field.strip('"').strip() in text


@pytest.mark.parametrize(
    ("field", "advice"),
    [("1,5", "decimals with a point"), ("-0,125", "decimals with a point"), ("1,500", "without thousands separators")],
)
def test_a_column_with_commas_in_its_numbers(tmp_path: Path, field: str, advice: str) -> None:
    text = message_of(tmp_path, f'length,kind\n"{field}",a\n"{field}",b\n')
    assert text.startswith("line 2: column 'length' is text, such as ")
    assert text.endswith(advice)


def test_faulty_flags(tmp_path: Path) -> None:
    text = message_of(tmp_path, "a,kind\ntrue,x\n1,y\n")
    assert text.startswith("line 3, column 'a': '1' is neither true nor false, as the first value in this column is; ")
    assert message_of(tmp_path, "a,kind\ntrue,x\n,y\n").startswith("line 3, column 'a': there is no value; ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty: no header was found"),
        ("\n \n", "empty: no header was found"),
        ("\ufeff", "empty: no header was found"),
        (gzip.compress(b"", mtime=0), "empty: no header was found"),
        ("a,kind\n", "line 1: there are no rows below the header"),
        ("a,b\n1,2\n", "has no column 'kind'; choose one of 'a', 'b'"),
        ("a,Kinds\n1,2\n", "has no column 'kind' (did you mean 'Kinds'?); choose one of"),
        ("a,kind,a\n1,2,3\n", "line 1: columns 1 and 3 are both named 'a'"),
        ("a,kind, a \n1,2,3\n", "line 1: columns 1 and 3 are both named 'a'"),
        (",a,kind\n0,1,2\n", "line 1: column 1 has no name; name it, or leave it out if it is a row number"),
        ("a,kind,\n0,1,\n", "line 1: column 3 has no name"),
        ("kind\nx\n", "line 1: there is no column but the label's"),
        ("5.1,3.5,1\n4.9,3.0,1\n", "line 1: all names of columns are numbers, such as '5.1': the header seems to be"),
        ("a;b;kind\n1;2;x\n", "line 1: is one column, 'a;b;kind'; the columns seem to be separated by ';'"),
        ("a\tkind\n1\tx\n", r"the columns seem to be separated by '\t'"),
        ("a,kind\n1,x\n\n1\n", "line 4: has 1 columns, line 1 has 2"),
        ("a,kind\n1,x\n1,x,\n", "line 3: has 3 columns, line 1 has 2"),
        ("a,kind\n1,2,x\n", "line 2: has 3 columns, line 1 has 2"),
        ('a,kind\n1,x\n"1,x\n1,x\n', "line 3: cannot be divided into columns: unexpected end of data"),
        ('a,kind\n1,x\n"1"2,x\n', "line 3: cannot be divided into columns: "),
        ('a,kind\n1,x\n"' + "1,x\n" * 99999, "line 3: cannot be divided into columns: field larger than"),
        ("a,kind\n1,x\n1,\n", "line 3, column 'kind': there is no label"),
        ("a,kind\n1,x\n1,  \n", "line 3, column 'kind': there is no label"),
        ("a,kind\n1,0.5\n1,nan\n", "line 3, column 'kind': 'nan' is not a finite number"),
        ("a,kind\n1,5\n1,NA\n", "line 3, column 'kind': 'NA' is not a finite number"),
        ("a,kind\n1,0.5\n1,inf\n", "line 3, column 'kind': 'inf' is not a finite number"),
        ("a,kind\n1,5\n1,36893488147419103233\n", "line 3, column 'kind': '36893488147419103233' is not a finite"),
        ("a,kind\n1," + "x" * 1001 + "\n", "line 2, column 'kind': a label has 1001 characters, more than 1000"),
        ("a,b,kind\n1,red,x\n1,blue,y\n", "line 2: column 'b' is text, such as 'red', where features are numbers"),
        (
            'a,b,kind\n1,"3,531",x\n1,"1,000.5",y\n',
            "such as '3,531', where features are numbers; write its numbers without th",
        ),
        ("a,b,kind\n1,,x\n1,blue,y\n", "line 2: column 'b' is text, such as 'blue', where features are numbers"),
        ("a,kind\n1,x\n".encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
        ("a,kind\n1,x\n".encode("utf-16-le"), "line 1: has a NUL, so it is not text"),
        ("a,kind\n1,x\n2,café\n".encode("latin-1"), "line 3: the byte 0xe9 is not UTF-8; save the table as CSV in"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: the byte 0x89 is not UTF-8"),
        (b"PK\x03\x04\x14\0\x06\0", "line 1: has a NUL, so it is not text"),
        (gzip.compress(b"a,kind\n1,x\n", mtime=0)[:-9], "truncated gzip stream"),
        (gzip.compress(b"a,kind\n1,x\n", mtime=0)[:-8] + bytes(8), "corrupt gzip stream"),
    ],
)
def test_faulty_files(tmp_path: Path, text: str | bytes, fault: str) -> None:
    assert fault in message_of(tmp_path, text)


def test_a_long_list_of_columns_is_cut(tmp_path: Path) -> None:
    text = message_of(tmp_path, ",".join(f"c{i}" for i in range(500)) + "\n")
    assert text.endswith("'c11' and 488 more")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_LINE", 20)
    assert message_of(tmp_path, IRIS + "1" * 21).startswith("line 5: has more than 20 characters, the limit; ")
    monkeypatch.setattr(tables, "LARGEST_FILE", 60)
    assert message_of(tmp_path, IRIS).startswith("has more than 60 characters, the limit; ")


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    assert message_of(tmp_path, gzip.compress(b"a,kind\n" + (b" " * 9999 + b"\n") * (1 << 13))).startswith(
        "the gzip stream expands"
    )


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "no such file" in message(tmp_path / "none.csv")
    assert "is a directory" in message(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file but a FIFO" in message(tmp_path / "fifo")


FIELDS = st.one_of(st.sampled_from(["1", "-.5", "1e3", "true", "nan", "", " 7\t", "\xa0"]), st.text(max_size=3))


@FUZZ
@given(rows=st.lists(st.lists(FIELDS, min_size=2, max_size=2), min_size=1, max_size=4))
def test_anything_is_read_as_numbers_or_refused(tmp_path: Path, rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "kind"], *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))

    def number(field: str) -> float | None:
        try:
            value = float(field) if field.isascii() and "_" not in field else math.nan
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    flag = rows[0][0].strip().lower() in ("true", "false")
    if flag:
        values = [{"true": 1.0, "false": 0.0}.get(field.strip().lower()) for field, _ in rows]
    else:
        values = [number(field) for field, _ in rows]
    if None in values or any(not label.strip() for _, label in rows) or "\0" in text.getvalue():
        message(path)
        return
    try:
        table = read_table(path, "kind")
    except TableError as error:
        assert "label" in str(error) or "UTF-8" in str(error) or "finite" in str(error)  # noqa: PT017
        return
    assert table.features[:, 0].tolist() == values


# Parquet that is refused.


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"x": [1.0, None], "kind": ["a", "b"]}, "row 2, column 'x': there is no value"),
        ({"x": [1.0, math.nan], "kind": ["a", "b"]}, "row 2, column 'x': the value is NaN or infinite"),
        ({"x": [1.0, -math.inf], "kind": ["a", "b"]}, "row 2, column 'x': the value is NaN or infinite"),
        ({"x": [True, None], "kind": ["a", "b"]}, "row 2, column 'x': there is no value"),
        ({"x": [1, 2], "kind": ["a", None]}, "row 2, column 'kind': there is no label"),
        ({"x": [1, 2], "kind": [0.5, math.nan]}, "row 2, column 'kind': the value is NaN or infinite"),
        ({"x": [1, 2], "kind": ["a", " "]}, "column 'kind': a label is empty, ' '"),
        ({"x": [1, 2], "kind": ["a", "x" * 1001]}, "column 'kind': a label has 1001 characters, more than 1000"),
        ({"x": [1, 2], "kind": [[1], [2]]}, "column 'kind': labels of type list<"),
        ({"x": [1, 2], "kinds": ["a", "b"]}, "has no column 'kind' (did you mean 'kinds'?); choose one of"),
        ({"x": ["red", "blue"], "kind": ["a", "b"]}, "column 'x' is text, such as 'red', where features are numbers"),
        ({"a.b": ["red", "blue"], "kind": ["a", "b"]}, "column 'a.b' is text, such as 'red', where features are"),
        ({"x": [[1], [2]], "kind": ["a", "b"]}, "column 'x' has the type list<"),
        ({"x": [b"1", b"2"], "kind": ["a", "b"]}, "column 'x' has the type binary, not numbers"),
        ({"x": [None, None], "kind": ["a", "b"]}, "column 'x' has the type null, not numbers"),
        ({"kind": ["a", "b"]}, "there is no column but the label's"),
        ({"x": [], "kind": []}, "there are no rows; give a table with rows"),
        ({"__index_level_0__": [1], "kind": ["a"]}, "column 1 is '__index_level_0__'; name it, or leave it out"),
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 17])
def test_faulty_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, Any], fault: str, piece: int
) -> None:
    monkeypatch.setattr(tables, "PIECE", piece)
    assert fault in message(write_parquet(tmp_path / "t.parquet", columns))


def test_unsigned_labels_beyond_int64(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    path = write_parquet(tmp_path / "t", {"x": [1], "kind": pa.array([2**63], pa.uint64())})
    assert message(path).startswith(f"column 'kind': the label {2**63} is too large; ")


def test_parquet_with_one_name_twice(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table([[1], [2], ["a"]], names=["x", "x", "kind"]), tmp_path / "t")
    assert message(tmp_path / "t").startswith("columns 1 and 2 are both named 'x'; ")


def test_a_parquet_bomb_is_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    values = pa.DictionaryArray.from_arrays(np.zeros(1 << 22, np.int8), [0.5])
    columns = {f"c{i}": values for i in range(20)}
    text = message(write_parquet(tmp_path / "t", {**columns, "kind": values}))
    assert text.startswith("has 4194304 rows of 21 columns, more than 50 values for each byte of the file")


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip"])
def test_damaged_parquet(tmp_path: Path, compression: str) -> None:
    """Each byte in turn is changed, and the file cut there: it is read, or refused in one line."""
    columns = {"x": [0.1, 0.2, 0.3], "i": [1, 2, 3], "kind": ["a", "b", "a"]}
    content = write_parquet(tmp_path / "t", columns, compression=compression).read_bytes()
    texts = []
    for place in range(4, len(content), 7):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]):
            (tmp_path / "t").write_bytes(damaged)
            try:
                read_table(tmp_path / "t", "kind")
            except TableError as error:
                texts.append(str(error))
    assert len(texts) > 100
    assert all(text.isprintable() for text in texts)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_chosen_columns_in_their_order(tmp_path: Path, suffix: str) -> None:
    columns = {"text": ["?", "?"], "b": [1.0, 2.0], "a.b": [5.0, 6.0], "a": [True, False], "kind": ["x", "y"]}
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in [columns, *zip(*columns.values(), strict=True)]))
    else:
        write_parquet(path, columns)
    table = read_table(path, "kind", features=["a", "b", "a.b"])
    check(table)
    assert table.features.tolist() == [[1, 1, 5], [0, 2, 6]]
    assert table.feature_names == ("a", "b", "a.b")
    assert read_table(path, features=["b"]).features.tolist() == [[1], [2]]
    with pytest.raises(
        TableError, match=r"has no column 'c', which the training data have; its columns are 'text', 'b'"
    ):
        read_table(path, features=["b", "c"])
