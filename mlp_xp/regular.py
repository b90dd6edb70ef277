"""Open regular files for reading, and nothing else: a FIFO would wait for a writer, a device may never end."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFileError(OSError):
    """A path that is not a regular file, or a file larger than its limit; `strerror` says which and what to do."""


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file, or a link to one, for reading bytes.

    Raises UnfitFileError for a FIFO, socket or device, or a file that waits for data, and any other OSError that
    opening raises, such as IsADirectoryError; ValueError for a path with characters that no path can have. Never waits
    for another process.
    """
    # Before opening, because opening a device may have an effect; and after it, because the path may have changed.
    _check(Path(path).stat().st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check(os.fstat(descriptor).st_mode, path)
        _check_ready(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raises what `open_regular` raises."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnfitFileError(errno.EFBIG, f"has more than {limit} bytes, the limit for such a file", str(path))
    return content


def read_fault(error: OSError) -> str:
    """Return why a file cannot be read, to follow its name in a message."""
    reason = error.strerror or str(error)
    return reason if isinstance(error, UnfitFileError) else f"cannot be read: {reason}"


def _check_ready(descriptor: int, path: str | os.PathLike[str]) -> None:
    """Raise UnfitFileError for a file that has nothing to read yet, such as /proc/kmsg, which looks regular.

    Python would read None from it, not bytes.
    """
    try:
        os.read(descriptor, 1)
    except BlockingIOError as error:
        raise UnfitFileError(
            error.errno, "has nothing to read yet, so it is no ordinary file; copy its content to one", os.fspath(path)
        ) from error
    os.lseek(descriptor, 0, os.SEEK_SET)


def _check(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "of an unknown kind")
        raise UnfitFileError(
            errno.EINVAL, f"is not a regular file but {kind}; copy its content to a regular file", os.fspath(path)
        )
