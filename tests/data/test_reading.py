"""Opening files and rows of CSV: what is sound is read, and every fault of a file is one line with its path."""

import gzip
import os
import re
from pathlib import Path

import pytest

from mlp_xp.data.reading import open_file
from mlp_xp.data.tables import read_rows
from mlp_xp.errors import DatasetError

TEXT = 'name,"the, value"\né,1\n"a ""b""\nc",2\n'
ROWS = [(1, ["name", "the, value"]), (2, ["é", "1"]), (3, ['a "b"\nc', "2"])]


def rows_of(path: Path, content: bytes | str) -> list[tuple[int, list[str]]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with open_file(path) as stream:
        return [*read_rows(stream)]


def test_layouts(tmp_path: Path) -> None:
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
        ("a,b\n1,2\n3,é\n".encode("latin-1"), ", line 3: the byte 0xe9 is not UTF-8; save the file as CSV in UTF-8"),
        ("a,b\n".encode("utf-16"), ", line 1: the byte 0xff is not UTF-8"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], ": is a damaged gzip stream (Compressed file ended before"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + bytes(8), ": is a damaged gzip stream (CRC check failed"),
    ],
)
def test_faults(tmp_path: Path, content: bytes, fault: str) -> None:
    with pytest.raises(DatasetError, match=re.escape(f"{str(tmp_path / 'file')!r}{fault}")) as caught:
        rows_of(tmp_path / "file", content)
    assert str(caught.value).isprintable()


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("a")
    (tmp_path / "closed").chmod(0)
    for name, fault in (
        ("none", "no such file; check the path"),
        (".", "cannot be read: Is a directory; check the path"),
        ("x" * 300, "cannot be read: File name too long"),
        ("closed", "cannot be read: Permission denied"),
    ):
        if name == "closed" and os.geteuid() == 0:  # whom no mode stops
            continue
        with pytest.raises(DatasetError, match=f"': {fault}"), open_file(tmp_path / name):
            pass


def test_only_faults_of_the_file_are_its_faults(tmp_path: Path) -> None:
    """A defect keeps its type and traceback; the setting that an error names is kept."""
    (tmp_path / "file").write_text("a")
    for defect in (ValueError, TypeError):
        with pytest.raises(defect, match=r"^planted$"), open_file(tmp_path / "file"):
            raise defect("planted")
    with pytest.raises(DatasetError, match=r"^label: '.*file': planted$"), open_file(tmp_path / "file"):
        raise DatasetError("planted", setting="label")
