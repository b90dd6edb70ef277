"""Open files for reading, gzipped or plain, and report every fault of a file as an
error that names it.
"""

import gzip
import io
import math
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
    "#n/a",
    "<na>",
    "nat",
}
# What counts as true and false, in small letters.
FLAGS = {"true": "1", "false": "0"}

Stream = io.BufferedReader | gzip.GzipFile


@contextmanager
def open_file(path: Path | zipfile.Path) -> Iterator[Stream]:
    """Open a file, gzipped or plain (detected by content, not by name), and close it at
    the end.

    Errors in opening, reading and decompressing become a DatasetError, which names the
    file. A DatasetError that is raised in the `with` block gets the name too.
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
        remedy = "save a table as UTF-8 (in Excel: CSV UTF-8)"
        raise DatasetError("is not text in UTF-8", remedy=remedy, file=path) from error
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise fault(error, path) from error


def fault(
    error: Exception, path: object = None, remedy: str = "check the path and the file"
) -> DatasetError:
    """Return what the system or a library said about a file as an error; `open_file`
    adds the path.
    """
    text = (
        str(getattr(error, "strerror", None) or error)
        .replace(f" {path!r}", "")
        .replace(f" {str(path)!r}", "")
    )
    said = escaped(" ".join(text.split()))[:200]
    # NumPy goes on with advice to unpickle
    reason = said.partition(". ")[0].removesuffix(".") or type(error).__name__
    return DatasetError(f"cannot be read: {reason}", remedy=remedy, file=path)


def visible_names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, sorted, without hidden files. Raises
    DatasetError.
    """
    try:
        return sorted(
            path.name for path in folder.iterdir() if not path.name.startswith(".")
        )
    except OSError as error:
        raise fault(error, folder) from error


def number_of(text: str) -> float:
    """Return the number that a text is, or NaN. 1_000 is a number for Python alone."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def in_order(names: Iterable[str]) -> list[str]:
    """Return names in the order of their numbers if all are numbers, otherwise in that
    of their letters.
    """
    names = sorted(names)
    return (
        names
        if any(math.isnan(number_of(name)) for name in names)
        else sorted(names, key=number_of)
    )
