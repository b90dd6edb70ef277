"""Open files for reading, gzipped or plain, and report every read error in one line."""

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mlp_xp.errors import MlpXpError

GZIP_MAGIC = b"\x1f\x8b"


class Opened(NamedTuple):
    """A file opened for reading."""

    stream: io.BufferedIOBase
    """Its content, decompressed."""
    length: int | None
    """The number of bytes in the stream; None for a gzip stream, where it is not known."""


@contextmanager
def open_file(path: str | os.PathLike[str], error_type: type[MlpXpError]) -> Iterator[Opened]:
    """Open a regular file, gzipped or plain (detected by content, not by name), and close it at the end.

    Errors in opening, reading and decompressing are raised as `error_type` with one line that starts with the path.
    An `error_type` raised in the `with` block gets the path in front too. Any other exception is a defect and is not
    caught.
    """
    try:
        with _open(Path(path), error_type) as opened:
            yield opened
    except (error_type, OSError, EOFError, zlib.error, MemoryError) as error:
        # The repr of a path with line breaks or undecodable bytes is printable, on one line.
        raise error_type(f"{os.fspath(path)!r}: {fault(error)}") from error


@contextmanager
def _open(path: Path, error_type: type[MlpXpError]) -> Iterator[Opened]:
    try:
        # Checked before opening, because opening a FIFO would wait for a writer.
        status = path.stat()
    except FileNotFoundError as error:
        raise error_type(f"no such file; looked for {str(path.absolute())!r}") from error
    except ValueError as error:  # the name has characters that a path cannot have
        raise error_type(fault(error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise error_type("is a directory; give the path of a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise error_type("is not a regular file; copy its content to a regular file")
    with path.open("rb") as file:
        if not file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            yield Opened(file, status.st_size)
        else:
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield Opened(stream, None)


def fault(error: Exception) -> str:
    """Return what is wrong with a file and what to do, in one line, to follow the path in a message."""
    match error:
        case MlpXpError():
            return str(error)
        case EOFError():
            return "truncated gzip stream: the file ends before the stream does; fetch the file again"
        case gzip.BadGzipFile() | zlib.error():
            return f"corrupt gzip stream, or other bytes after it ({error}); fetch the file again"
        case PermissionError():
            return "no permission to read it; check the modes of the file and of its directories"
        case MemoryError():
            return "too large for the memory of this machine"
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason}"
        case _:
            return f"cannot be read: {error}"
