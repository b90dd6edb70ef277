"""Tables with a header: what is written is read, and every fault is told by line or row, and by column."""

import csv
import gzip
import io
import math
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_xp.arrays import DatasetError
from mlp_xp.data.tables import MISSING, Table, read_table
from mlp_xp.errors import for_command_line

FUZZ = settings(
    max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def write(path: Path, columns: dict[str, Any]) -> Path:
    """Write a table as CSV, or as Parquet where the path ends like that."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path)
    else:
        rows = [columns, *zip(*columns.values(), strict=True)]
        path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return path


def read_text(tmp_path: Path, text: str | bytes, label: str | None = "kind", **options: Any) -> Table:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    table = read_table(path, label, **options)
    assert table.features.dtype == np.float64
    assert table.features.flags.c_contiguous
    assert table.features.flags.writeable
    assert table.features.shape == (len(table.lines), len(table.feature_names))
    return table


def labels_of(table: Table) -> list[Any]:
    assert table.labels is not None
    return table.labels.tolist()


# CSV.


@pytest.mark.parametrize("label", ["a", "b", "c"])
def test_the_label_may_be_any_column(tmp_path: Path, label: str) -> None:
    text = '\n"a", b ,c\n1,2,3\n\n4,"5",6\n'
    for content in (text, gzip.compress(text.encode(), mtime=0)):
        table = read_text(tmp_path, content, label)
        others = [name for name in "abc" if name != label]
        assert table.feature_names == tuple(others)
        assert table.features.tolist() == [["abc".index(name) + start for name in others] for start in (1, 4)]
        assert labels_of(table) == ["abc".index(label) + start for start in (1, 4)]
        assert table.lines.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["3", "-1", "+07"], [3, -1, 7]),
        (["3", "1e2", "-0.5"], [3.0, 100.0, -0.5]),
        (["1", "two", "three"], ["1", "two", "three"]),
        (["01", "1", "x", "x", "x"], ["01", "1", "x", "x", "x"]),
        (["1_0", "2_0", "3"], ["1_0", "2_0", "3"]),
        (["True", "False", "True"], ["True", "False", "True"]),
        (["a, b", " c ", "d"], ["a, b", "c", "d"]),
        (["+", "-", "+"], ["+", "-", "+"]),
        (["9" * 18, "1", "2"], [10**18 - 1, 1, 2]),
    ],
)
def test_kinds_of_labels(tmp_path: Path, labels: list[str], values: list[Any]) -> None:
    table = read_text(tmp_path, "x,kind\n" + "".join(f'1,"{label}"\n' for label in labels))
    assert labels_of(table) == values
    assert table.labels is not None
    assert table.labels.dtype.kind == np.array(values).dtype.kind


def test_several_labels(tmp_path: Path) -> None:
    text = 'p,x,q,"a,b"\n1,5,True,0.5\n0,6,false,2\n'
    assert labels_of(read_text(tmp_path, text, "q, p")) == [[1, 1], [0, 0]]
    table = read_text(tmp_path, text, '"a,b",p', exclude="q")
    assert (labels_of(table), table.label_names, table.feature_names) == ([[0.5, 1], [2, 0]], ("a,b", "p"), ("x",))
    assert labels_of(read_text(tmp_path, text, "a,b", exclude="q,p")) == [0.5, 2]
    with pytest.raises(DatasetError, match="column 'q' is text, such as 'red', where several columns of labels"):
        read_text(tmp_path, text.replace("True", "red"), "p,q")


def test_booleans_are_one_and_zero(tmp_path: Path) -> None:
    assert read_text(tmp_path, "a,b,kind\nTrue,false,x\nFALSE,true,y\n").features.tolist() == [[1, 0], [0, 1]]
    for field in ("1", "maybe"):
        with pytest.raises(DatasetError, match=f"line 3, column 'a': '{field}' is not a number; correct it"):
            read_text(tmp_path, f"a,kind\ntrue,x\n{field},y\n")


def test_column_numbers_as_pandas_writes_them_are_names(tmp_path: Path) -> None:
    assert read_text(tmp_path, "0,1,2\n5,6,7\n", "2").feature_names == ("0", "1")


FINITE = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=5)


@FUZZ
@given(
    names=st.lists(TEXT.map(lambda name: f"n{name}".strip()), min_size=2, max_size=5, unique=True),
    values=st.lists(st.lists(FINITE, min_size=5, max_size=5), min_size=1, max_size=6),
    labels=st.lists(TEXT.map(lambda label: f"class {label}".strip()), min_size=6, max_size=6),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_whatever_the_standard_library_writes(
    tmp_path: Path, names: list[str], values: list[list[float]], labels: list[str], quoting: Any
) -> None:
    n, labels = len(names), labels[: len(values)]
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting)
    writer.writerow(names)
    writer.writerows([*row[: n - 1], label] for row, label in zip(values, labels, strict=True))
    table = read_text(tmp_path, text.getvalue(), names[-1])
    assert table.feature_names == tuple(names[:-1])
    np.testing.assert_array_equal(table.features, [row[: n - 1] for row in values])
    assert labels_of(table) == labels


FIELDS = st.one_of(st.sampled_from(["1", "-.5", "1e3", "true", "nan", "", " 7\t", "\xa0"]), st.text(max_size=3))


@FUZZ
@given(fields=st.lists(FIELDS, min_size=1, max_size=4))
def test_anything_is_read_as_finite_numbers_or_refused(tmp_path: Path, fields: list[str]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "kind"], *([field, "x"] for field in fields)])

    def number(field: str) -> float | None:
        word = field.strip().lower()
        if fields[0].strip().lower() in ("true", "false"):
            return {"true": 1.0, "false": 0.0}.get(word)
        try:
            return float(word) if math.isfinite(float(word)) else None
        except ValueError:
            return None

    values = [number(field) for field in fields]
    try:
        assert read_text(tmp_path, text.getvalue()).features[:, 0].tolist() == values
    except DatasetError:
        assert None in values or any("\ud800" <= each <= "\udfff" for each in "".join(fields))


# What is refused.


def refusal(tmp_path: Path, text: str | bytes, label: str | None = "kind", **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        read_text(tmp_path, text, label, **options)
    message, start = caught.value.text, f"{str(tmp_path / 'table.csv')!r}: "
    assert message.isprintable()
    assert message.startswith(start)
    assert caught.value.exit_code == 2
    return message.removeprefix(start)


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        ("", "there is no value; fill it in, or leave out the row or the column"),
        *((mark, f"there is no value, but '{mark}'; fill it in") for mark in ("NA", "nan", "null", "?", "-")),
        ("inf", "inf is infinite, or too large"),
        ("1e999", "inf is infinite, or too large"),
        ("x", "'x' is not a number; correct it (decimals have a point)"),
        ('"1,5"', "'1,5' is not a number; correct it (decimals have a point)"),
        ("2021-01-01", "'2021-01-01' is not a number"),
    ],
)
@pytest.mark.parametrize("column", [0, 1])
def test_faulty_fields(tmp_path: Path, field: str, fault: str, column: int) -> None:
    row = ["1", "2", "setosa"]
    row[column] = field
    text = refusal(tmp_path, f'length,width,kind\n\n1,2,"a\nb"\n{",".join(row)}\n1,2,setosa\n')
    assert text.startswith(f"line 5, column '{['length', 'width'][column]}': {fault}")


def test_text_as_a_feature_names_the_option(tmp_path: Path) -> None:
    text = refusal(tmp_path, "a,the b,kind\n1,red,x\n")
    assert for_command_line(text).endswith("encode text as numbers, or leave the column out with --exclude 'the b'")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty; give a table with the names of its columns in the first line"),
        ("a,kind\n", "line 1: there are no rows below the header"),
        ("a,Kinds\n1,2\n", "has no column 'kind' (did you mean 'Kinds'?); its columns are 'a', 'Kinds'"),
        (",".join(f"c{i}" for i in range(500)) + "\n", "has no column 'kind'; its columns are 'c0', "),
        ("a,kind, a \n1,2,3\n", "has 2 columns named 'a'; rename them"),
        (",a,kind\n0,1,2\n", "column 1 has no name; name it, or leave it out if it is a row number"),
        ("kind\nx\n", "has no columns but the labels"),
        ("5.1,3.5,1\n4.9,3.0,1\n", "line 1: all names of columns are numbers, such as '5.1': the header seems to be"),
        ("a;b;kind\n1;2;x\n", "line 1: is one column, 'a;b;kind'; the columns seem to be separated by ';'"),
        ("a\tkind\n1\tx\n", r"line 1: is one column, 'a\tkind'; the columns seem to be separated by '\t'"),
        ("a,kind\n1,x\n\n1\n", "line 4: has 1 columns, the first row has 2"),
        ("a,kind\n1,5\n1,1\n1,01\n", "line 4, column 'kind': '01' is the same number as '1' in line 3; write both"),
        ("a,kind\n1,0.5\n1,inf\n", "line 3, column 'kind': inf is infinite"),
        ("a,kind\n1,5\n1,6\n1,x\n", "line 4, column 'kind': 'x' is not a number, as most of the other labels are; "),
    ],
)
def test_faulty_files(tmp_path: Path, text: str, fault: str) -> None:
    assert refusal(tmp_path, text).startswith(fault)


@pytest.mark.parametrize("mark", sorted(MISSING))
def test_a_label_that_marks_a_missing_value(tmp_path: Path, mark: str) -> None:
    for others in ("cat", "5", "0.5"):
        text = refusal(tmp_path, f'a,kind\n1,{others}\n1,"{mark.upper()}"\n')
        assert text.startswith(f"line 3, column 'kind': {mark.upper()!r} marks a missing label; fill it in")
    path = write(tmp_path / "t.parquet", {"x": [1, 2], "kind": ["cat", mark]})
    with pytest.raises(DatasetError, match=f"row 2, column 'kind': {re.escape(repr(mark))} marks a missing label"):
        read_table(path, "kind")


def test_text_among_numbers_may_be_a_class(tmp_path: Path) -> None:
    assert labels_of(read_text(tmp_path, "a,kind\n1,5\n1,6\n1,x\n", classes=True)) == ["5", "6", "x"]


def test_a_label_is_needed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match=r"^label: .*: needs the name of the column with the labels: 'a', 'b'$"):
        read_table(tmp_path / "t.csv")


# Parquet.


def test_parquet_is_read_as_written(tmp_path: Path) -> None:
    import pyarrow as pa

    columns = {
        "double": [0.1, -2.5, 1e300],
        "float": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "half": pa.array(np.array([0.5, 1.5, 2.5], np.float16)),
        "byte": pa.array([0, 255, 7], pa.uint8()),
        "long": [2**53, -1, 0],
        "flag": [True, False, True],
        "decimal": [Decimal("1.25"), Decimal("-3.5"), Decimal(0)],
        "a.b": [1, 2, 3],
        "kind": ["x", "y", "x"],
    }
    table = read_table(write(tmp_path / "t.parquet", columns), "kind")
    expected = [
        [0.1, 0.5, 0.5, 0, 2**53, 1, 1.25, 1],
        [-2.5, 1.5, 1.5, 255, -1, 0, -3.5, 2],
        [1e300, 2.5, 2.5, 7, 0, 1, 0, 3],
    ]
    assert table.features.tolist() == expected
    assert table.features.flags.c_contiguous
    assert labels_of(table) == ["x", "y", "x"]
    assert table.feature_names == tuple(columns)[:-1]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "b"], ["b", "a", "b"]),
        (["1", "01", "b"], ["1", "01", "b"]),
        ([3, 1, -2], [3, 1, -2]),
        ([0.5, 1.5, 0.5], [0.5, 1.5, 0.5]),
        ([True, False, True], ["True", "False", "True"]),
    ],
)
def test_labels_of_parquet(tmp_path: Path, labels: list[Any], expected: list[Any]) -> None:
    import pyarrow as pa

    for values in (pa.array(labels), pa.array(labels).dictionary_encode()):
        table = read_table(write(tmp_path / "t.parquet", {"x": [1, 2, 3], "kind": values}), "kind")
        assert labels_of(table) == expected
        assert table.labels is not None
        assert table.labels.dtype.kind == np.array(expected).dtype.kind


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"x": [1.0, None], "kind": ["a", "b"]}, "row 2, column 'x': there is no value; fill it in"),
        ({"x": [1.0, math.nan], "kind": ["a", "b"]}, "row 2, column 'x': there is no value, but 'nan'"),
        ({"x": [1.0, -math.inf], "kind": ["a", "b"]}, "row 2, column 'x': -inf is infinite"),
        ({"x": [1, 2], "kind": ["a", None]}, "row 2, column 'kind': there is no value"),
        ({"x": [1, 2], "kind": [0.5, math.nan]}, "row 2, column 'kind': there is no value, but 'nan'"),
        ({"x": [1, 2], "kind": [[1], [2]]}, "column 'kind' has labels of the type list<"),
        (
            {"x": [1, 2], "kind": np.array([1, 2**63], "u8")},
            f"is a damaged Parquet file: Integer value {2**63} not in range",
        ),
        ({"x": [1, 2], "kinds": ["a", "b"]}, "has no column 'kind' (did you mean 'kinds'?); its columns are"),
        ({"a.b": ["red", "blue"], "kind": ["a", "b"]}, "column 'a.b' has the type string; encode it as numbers, or"),
        ({"x": [None, None], "kind": ["a", "b"]}, "column 'x' has the type null"),
        ({"kind": ["a", "b"]}, "has no columns but the labels"),
        ({"x": [], "kind": []}, "there are no rows; give a table with rows"),
        ({"__index_level_0__": [1], "kind": ["a"]}, "column 1 has no name; name it, or leave it out"),
    ],
)
def test_faulty_parquet(tmp_path: Path, columns: dict[str, Any], fault: str) -> None:
    path = write(tmp_path / "t.parquet", columns)
    with pytest.raises(DatasetError, match=re.escape(f"{str(path)!r}: {fault}")):
        read_table(path, "kind")


def test_damaged_parquet(tmp_path: Path) -> None:
    """A byte is changed, or the file cut there: it is read, or refused in one line."""
    path = write(tmp_path / "t.parquet", {"x": [0.1, 0.2, 0.3], "i": [1, 2, 3], "kind": ["a", "b", "a"]})
    content, texts = path.read_bytes(), []
    for place in range(4, len(content), 17):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]):
            path.write_bytes(damaged)
            try:
                read_table(path, "kind")
            except DatasetError as error:
                texts.append(str(error))
    assert len(texts) > 50
    assert [text for text in texts if not text.isprintable() or not text.startswith(repr(str(path)))] == []


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_chosen_columns_in_their_order(tmp_path: Path, suffix: str) -> None:
    columns = {"text": ["?", "?"], "b": [1.0, 2.0], "a.b": [5.0, 6.0], "a": [True, False], "kind": ["x", "y"]}
    path = write(tmp_path / f"t.{suffix}", columns)
    table = read_table(path, "kind", features=["a", "b", "a.b"], exclude="gone")
    assert table.features.tolist() == [[1, 1, 5], [0, 2, 6]]
    assert table.feature_names == ("a", "b", "a.b")
    assert read_table(path, features=["b"]).features.tolist() == [[1], [2]]
    with pytest.raises(DatasetError, match=r"has no column 'c'; its columns are 'text', 'b'"):
        read_table(path, features=["b", "c"])


def test_a_csv_file_needs_no_library(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,kind\n1,x\n")
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None; from mlp_xp.data.tables import read_table\n"
        "print(read_table(sys.argv[1], 'kind').labels); read_table(sys.argv[2], 'kind')"
    )
    command = [sys.executable, "-c", code, tmp_path / "t.csv", tmp_path / "t.parquet"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "['x']\n"
    assert "Parquet needs pyarrow, which is not installed; install it with: " in run.stderr
