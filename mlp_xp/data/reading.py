"""Open files for reading, gzipped or plain, and read numbers and names from text.

Every fault of a file becomes an error with the name of the file.
"""

import gzip
import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_xp.errors import DatasetError, escaped

_GZIP_MAGIC = b"\x1f\x8b"
# How pandas, R and spreadsheets write a missing value, in small letters.
MISSING = {
    "",
    "na",
    "n/a",
    "nan",
    "null",
    "none",
    "nil",
    "-",
    "--",
    "?",
    ".",
    "..",
    "#n/a",
    "<na>",
    "<null>",
    "nat",
}
# How true and false are written, in small letters, and how they are read.
FLAGS = {"true": "1", "false": "0"}
WHOLE = re.compile("[+-]?[0-9]{1,18}")  # a whole number
# Text with digits, and without letters except for an exponent, such as 3,5 or $1e3. It
# is read as a number or a date, or refused.
NO_WORD = r"(?i)^[\W\d_]*\d[\W\d_]*(e[+-]?\d+)?$"
LONGEST_WORD = max(map(len, (*MISSING, *FLAGS)))

Stream = io.BufferedReader | gzip.GzipFile


@contextmanager
def open_file(path: Path | zipfile.Path) -> Iterator[Stream]:
    """Open a file, gzipped or plain (detected by content, not by name).

    Errors in opening, reading and decompressing become a DatasetError with the name of
    the file. A DatasetError raised in the `with` block gets the name too.
    """
    try:
        opened: Any = path.open("rb")  # IO[bytes] for mypy, which lacks peek
        with opened as file:
            if file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream
            else:
                yield file
    except DatasetError as error:
        error.file = path
        raise
    except UnicodeDecodeError as error:
        raise DatasetError(
            "is not text in UTF-8",
            remedy="save a table as UTF-8 (in Excel: CSV UTF-8)",
            file=path,
        ) from error
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise fault(error, path) from error


def fault(
    error: Exception, path: object = None, remedy: str = "check the path and the file"
) -> DatasetError:
    """Return an error of the system or of a library about a file as a DatasetError.

    Without a path, `open_file` adds it.
    """
    text = str(getattr(error, "strerror", None) or error)
    for shown in (repr(path), repr(str(path))):
        text = text.replace(f" {shown}", "")
    line = escaped(" ".join(text.split()))[:200]
    # NumPy goes on with advice to unpickle
    first_sentence, *_ = line.split(". ")
    reason = first_sentence.removesuffix(".") or type(error).__name__
    return DatasetError(f"cannot be read: {reason}", remedy=remedy, file=path)


def visible_names(folder: Path) -> list[str]:
    """Return the sorted names in a folder that are not hidden. Raises DatasetError."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise fault(error, folder) from error
    return sorted(name for name in names if not name.startswith("."))


def number_of(text: str) -> float:
    """Return the number in a text, or NaN. 1_000 is a number only in Python."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def in_order(names: Iterable[str]) -> list[str]:
    """Return names in the order of their numbers if all are numbers, else sorted."""
    names = sorted(names)
    if any(math.isnan(number_of(name)) for name in names):
        return names
    return sorted(names, key=number_of)
