"""Open files for reading, gzipped or plain, and report every read error in one line."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.errors import MlpXpError
from mlp_xp.regular import UnfitFileError, open_regular

GZIP_MAGIC = b"\x1f\x8b"
# A gzip stream may expand to MODEST bytes, or else to EXPANSION times the size of its file. The format allows 1032
# times, which is a few bytes repeated; MNIST expands to 5 times as IDX and to 7 times as CSV.
MODEST = 1 << 26
EXPANSION = 50


class Opened(NamedTuple):
    """A file opened for reading."""

    stream: io.BufferedIOBase
    """Its content, decompressed."""
    length: int | None
    """The number of bytes in the stream; None for a gzip stream, where it is not known."""


class BombError(Exception):
    """A gzip stream that expands to more than `MODEST` and `EXPANSION` allow."""


@contextmanager
def open_file(path: str | os.PathLike[str], error_type: type[MlpXpError]) -> Iterator[Opened]:
    """Open a regular file, gzipped or plain (detected by content, not by name), and close it at the end.

    Errors in opening, reading and decompressing are raised as `error_type` with one line that starts with the path.
    Among them is a gzip stream that expands to more than MODEST bytes and more than EXPANSION times its file: what is
    read, and the memory that it takes, is bounded by the size of the file. An `error_type` raised in the `with` block
    gets the path in front too. Any other exception is a defect and is not caught.
    """
    try:
        with _open(Path(path), error_type) as opened:
            yield opened
    except (error_type, OSError, EOFError, zlib.error, MemoryError, BombError) as error:
        # The repr of a path with line breaks or undecodable bytes is printable, on one line.
        raise error_type(f"{os.fspath(path)!r}: {fault(error)}") from error


@contextmanager
def _open(path: Path, error_type: type[MlpXpError]) -> Iterator[Opened]:
    try:
        opened = open_regular(path)
    except FileNotFoundError as error:
        raise error_type(f"no such file; looked for {str(path.absolute())!r}") from error
    except IsADirectoryError as error:
        raise error_type("is a directory; give the path of a file in it") from error
    except ValueError as error:  # the name has characters that a path cannot have
        raise error_type(fault(error)) from error
    with opened as file:
        size = os.fstat(file.fileno()).st_size
        if not file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
            yield Opened(file, size)
        else:
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                yield Opened(_Bounded(stream, max(MODEST, EXPANSION * size)), None)


class _Bounded(io.BufferedIOBase):
    """A stream that raises BombError when more than `limit` bytes have been read from it."""

    def __init__(self, stream: Any, limit: int) -> None:
        self.stream, self.limit = stream, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        most = self.limit + 1
        return self._counted(self.stream.read(most if size is None or size < 0 else min(size, most)))

    def read1(self, size: int = -1, /) -> bytes:
        return self._counted(self.stream.read1(size))

    def _counted(self, piece: bytes) -> bytes:
        self.limit -= len(piece)
        if self.limit < 0:
            raise BombError
        return piece


def fault(error: Exception) -> str:
    """Return what is wrong with a file and what to do, in one line, to follow the path in a message."""
    match error:
        case MlpXpError():
            return str(error)
        case BombError():
            return (
                f"the gzip stream expands to more than {EXPANSION} times the size of its file, and to more than "
                f"{MODEST >> 20} MiB; check the file, and if it is sound, decompress it with gunzip"
            )
        case EOFError():
            return "truncated gzip stream: the file ends before the stream does; fetch the file again"
        case gzip.BadGzipFile() | zlib.error():
            return f"corrupt gzip stream, or other bytes after it ({error}); fetch the file again"
        case PermissionError():
            return "no permission to read it; check the modes of the file and of its directories"
        case MemoryError():
            return "too large for the memory of this machine"
        case UnfitFileError(strerror=str(reason)):
            return reason
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason}"
        case _:
            return f"cannot be read: {error}"
