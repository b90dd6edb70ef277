"""CSV files with the label first: any sound text is read, and rightly; every fault is told by line and column."""

import csv
import gzip
import io
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data_sets import csv_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlp_xp.data import csv_files
from mlp_xp.data.csv_files import CsvError, read_csv
from mlp_xp.data.idx import read_idx

IMAGES = np.random.default_rng(1).integers(0, 256, (30, 6, 6), dtype=np.uint8)
LABELS = np.arange(30, dtype=np.uint8) % 10


def read_text(tmp_path: Path, text: str | bytes) -> tuple[np.ndarray, np.ndarray]:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    images, labels = read_csv(path)
    assert images.dtype == labels.dtype == np.uint8
    assert images.flags.writeable
    assert images.flags.c_contiguous
    return images, labels


@pytest.mark.parametrize("header", [True, False], ids=["names", "no names"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\n", "\n \n"])
@pytest.mark.parametrize("piece", [1, 100, 1 << 22])
def test_layouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: bool, ending: str, piece: int) -> None:
    monkeypatch.setattr(csv_files, "PIECE", piece)
    text = csv_text(IMAGES, LABELS, header, ending)
    for variant in (
        text,
        text.rstrip(),
        ending + text,
        "\ufeff" + text,
        text.replace(",", ", "),
        gzip.compress(text.encode(), mtime=0),
    ):
        images, labels = read_text(tmp_path, variant)
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(labels, LABELS)


def test_names_of_other_kinds(tmp_path: Path) -> None:
    for names in (
        "label,pixel0,pixel1,pixel2,pixel3",
        "Label,0,1,2,3",
        '"label","p 1","p 2","p 3","p 4"',
        "class,a,b,c,d",
    ):
        images, labels = read_text(tmp_path, f"{names}\n7,1,2,3,4\n")
        assert images.tolist() == [[[1, 2], [3, 4]]]
        assert labels.tolist() == [7]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda side: st.lists(st.lists(st.integers(0, 255), min_size=side**2 + 1, max_size=side**2 + 1), min_size=1)
    )
)
def test_whatever_the_standard_library_writes(tmp_path: Path, quoting: int, rows: list[list[int]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=quoting).writerows(rows)
    images, labels = read_text(tmp_path, text.getvalue())
    np.testing.assert_array_equal(np.column_stack([labels, images.reshape(len(rows), -1)]), rows)


def message(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(CsvError) as caught:
        read_csv(path)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{str(path)!r}: ")
    assert "; " in text  # and then what to do
    return text.removeprefix(f"{str(path)!r}: ")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (["256", "-1", "-0.5", "99999", "9" * 5000, "inf"], "is outside 0 to 255"),
        (["1.5", "7.0", "1e2", "1_0", "٣"], "is not a whole number in digits"),
        (["x", "", " ", "nan", "0x10", "1 2", "\0"], "is not a number"),
    ],
)
@pytest.mark.parametrize("names", ["", "label,a,b,c,d\n\n"], ids=["no names", "names"])
@pytest.mark.parametrize("column", [1, 5])
@pytest.mark.parametrize("piece", [1, 1 << 22])
def test_faulty_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: list[str], fault: str, names: str, column: int, piece: int
) -> None:
    monkeypatch.setattr(csv_files, "PIECE", piece)
    for field in fields:
        line = ["3", "1", "1", "1", "1"]
        line[column - 1] = field
        text = message(tmp_path, f"{names}1,2,3,4,5\n\n{','.join(line)}\n1,2,3,4,5\n")
        assert text.startswith(f"line {5 if names else 3}, column {column}: {field[:20]!r} {fault}; ")


def test_faulty_first_sample_is_not_taken_for_names(tmp_path: Path) -> None:
    assert message(tmp_path, "five,0,0,0,0\n1,2,3,4,5\n").startswith("line 1, column 1: 'five' is not a number; ")
    assert message(tmp_path, ",0,0,0,0\n").startswith("line 1, column 1: '' is not a number; ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty: no sample was found"),
        ("\n \n", "empty: no sample was found"),
        (gzip.compress(b"", mtime=0), "empty: no sample was found"),
        ("1,2,3,4,5\n1,2,3,4\n", "line 2: 4 columns, the first line has 5"),
        ("1,2,3,4,5\n\n1,2,3,4,5,\n", "line 3: 6 columns, the first line has 5"),
        ("label,a,b,c,d\n1,2,3\n", "line 2: 3 columns, the first line has 5"),
        ("1,2,3\n", "line 1: 3 columns, separated by commas, are a label and 2 pixels, which do not make a square"),
        ("1,2,3,4\n", "are a label and 3 pixels, which do not make a square image; the labels seem to be missing"),
        (
            "1\n",
            "line 1: 1 columns, separated by commas, are a label and 0 pixels, which do not make a square image; check",
        ),
        ("1;2;3;4;5\n", "line 1: 1 columns, separated by commas"),
        ("1x1,1x2,2x1,2x2,label\n1,2,3,4,5\n", "line 1: the column 'label' is not the first; move it there"),
        (",label,a,b,c\n0,1,2,3,4\n", "line 1: the column 'label' is not the first; move it there"),
        ("1,2,3,4,5\n1,2,3,4,'5'\n", "line 2, column 5: \"'5'\" is not a number"),
        ('1,2,3,4,5\n1,2,"3,4,5\n', "line 2: 3 columns, the first line has 5"),
        ('1,2,3,4,5\n1,2,3,4,"5\n"\n', "line 3: 1 columns, the first line has 5"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: 1 columns, separated by commas"),
        ("1,2,3,4,5\n1,2,3,4,5\n".encode("utf-16"), "line 1, column 1: "),
        (gzip.compress(b"1,2,3,4,5\n", mtime=0)[:-9], "truncated gzip stream"),
        (gzip.compress(b"1,2,3,4,5\n", mtime=0)[:-8] + bytes(8), "corrupt gzip stream"),
    ],
)
def test_faulty_files(tmp_path: Path, text: str | bytes, fault: str) -> None:
    assert fault in message(tmp_path, text)


def decode(text: str) -> list[list[int]] | None:
    """The samples in a text as the standard library's reader splits each line; None where they are not sound."""
    lines = [line for line in io.StringIO(text, newline=None) if not line.isspace()]
    rows = [next(csv.reader([line])) for line in lines]
    widths = {len(row) for row in rows}
    if rows and rows[0][0].strip()[:1].isalpha() and len({*rows[0]}) == len(rows[0]):
        del rows[0]
    fields = [field.strip() for row in rows for field in row]
    if widths <= {2, 5, 10} and len(widths) == 1 and all(re.fullmatch(r"\+?[0-9]+|-0+", field) for field in fields):
        values = [[int(field) for field in row] for row in rows]
        return values if max(map(max, values), default=0) <= 255 else None
    return None


@pytest.mark.parametrize("text", ["1,2,3,4,5\n6,7,80,90,255\n", '1,"2"\n"30",4\n', "n,a\r\n1,2\r\n3,4"])
def test_every_edit_of_a_character(tmp_path: Path, text: str) -> None:
    """Each character left out, replaced, or with another before it: exactly the sound texts are read, and rightly.

    Where a quote does not close, which no writer leaves so, a text may be refused as well.
    """
    path = tmp_path / "file.csv"
    edits = [
        text[:place] + new + text[place + gone :]
        for place in range(len(text) + 1)
        for new in ("", *'05,\n\r" -.e٣')
        for gone in (0, 1)
    ]
    found = []
    for edit in edits:
        path.write_bytes(edit.encode())
        expected = decode(edit)
        try:
            images, labels = read_csv(path)
        except CsvError:
            assert expected is None or edit.count('"') % 2, edit
            continue
        rows = [[label, *image.ravel()] for label, image in zip(labels, images, strict=True)]
        assert rows == (expected or []), edit
        found.append(len(rows))
    assert 50 < len(found) < len(edits) - 50


def test_mnist_as_csv_in_little_memory(tmp_path: Path, mnist_dir: Path) -> None:
    """At most twice the data and a piece of text as Python and NumPy hold it, never all values in a wider type."""
    images = read_idx(mnist_dir / "t10k-images-idx3-ubyte.gz")
    path = tmp_path / "mnist_test.csv"
    path.write_text(csv_text(images, read_idx(mnist_dir / "t10k-labels-idx1-ubyte.gz")))
    tracemalloc.start()
    try:
        read, labels = read_csv(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(read, images)
    np.testing.assert_array_equal(labels, read_idx(mnist_dir / "t10k-labels-idx1-ubyte.gz"))
    assert peak < 2 * images.nbytes + 4 * csv_files.PIECE


def test_column_numbers_are_a_header(tmp_path):
    """As pandas writes them; for small images they could all be pixels."""
    images, labels = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4), np.array([7, 8], np.uint8)
    path = tmp_path / "train.csv"
    path.write_text(",".join(map(str, range(17))) + "\n" + csv_text(images, labels, header=False))
    read_images, read_labels = read_csv(path)
    np.testing.assert_array_equal(read_images, images)
    np.testing.assert_array_equal(read_labels, labels)
