"""Open files for reading, gzipped or plain, split CSV into rows, and report every fault of a file in one line."""

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlp_xp.errors import DatasetError

GZIP_MAGIC = b"\x1f\x8b"
Stream = io.BufferedReader | gzip.GzipFile


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[Stream]:
    """Open a file, gzipped or plain (detected by content, not by name), and close it at the end.

    Errors in opening, reading and decompressing become a DatasetError of one line that starts with the path. A
    DatasetError that is raised in the `with` block gets the path in front too.
    """
    try:
        with Path(path).open("rb") as file:
            if file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream
            else:
                yield file
    except (DatasetError, OSError, EOFError, zlib.error, MemoryError) as error:
        setting = getattr(error, "setting", None)
        raise DatasetError(f"{os.fspath(path)!r}: {fault(error)}", setting=setting) from error


def fault(error: Exception) -> str:
    """Return what is wrong with a file and what to do, in one line, to follow the path in a message."""
    match error:
        case DatasetError():
            return error.text
        case FileNotFoundError():
            return "no such file; check the path"
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason}; check the path and its permissions"
        case MemoryError():
            return "is too large for the memory of this machine; give a smaller file"
        case _:
            return f"is a damaged gzip stream ({error}); fetch the file again"


def visible_names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, sorted, without hidden files. Raises DatasetError."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"{str(folder)!r}: {fault(error)}") from error


def some(names: Sequence[str], most: int = 12) -> str:
    """Return the first of several names, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{name!r:.60}" for name in names[:most]) + more


def read_rows(stream: Stream) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file that are not empty, each with the number of its first line, from 1.

    CSV is text in UTF-8 with commas between the fields, which may be quoted as in RFC 4180. Raises DatasetError for
    other text, and for a row with more or fewer fields than the first.
    """
    number, width = 1, 0
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(_checked_lines(text), strict=True, skipinitialspace=True)
        try:
            for row in reader:
                if row and (len(row) > 1 or row[0].strip() or width == 1):
                    width = width or len(row)
                    if len(row) != width:
                        raise DatasetError(
                            f"line {number}: has {len(row)} columns, the first row has {width}; check the commas and "
                            "quotes from there on"
                        )
                    yield number, row
                number = reader.line_num + 1
        except csv.Error as error:
            raise DatasetError(f"line {number}: {error}; check the quotes from there on") from error


def _checked_lines(text: io.TextIOWrapper) -> Iterator[str]:
    for number, line in enumerate(text, 1):
        if not line.isascii() and (wrong := re.search("[\udc80-\udcff]", line)):
            byte = ord(wrong[0]) - 0xDC00
            raise DatasetError(f"line {number}: the byte 0x{byte:02x} is not UTF-8; save the file as CSV in UTF-8")
        yield line
