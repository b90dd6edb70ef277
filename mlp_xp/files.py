"""Atomic file writes: at any time the old or the new file is there, and it is complete."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from mlp_xp.errors import MlpXpError

ASIDE = ".aside"


class FileError(MlpXpError):
    """A file or folder that cannot be written or read."""

    exit_code = 1


@contextlib.contextmanager
def file_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError into a FileError, one line that names the file. doing: the verb in its message."""
    try:
        yield
    except OSError as error:
        how = "create" if isinstance(error, FileNotFoundError) else "free some space or fix"
        remedy = f"{how} the folder, then try again"
        raise FileError(f"cannot {doing}: {error.strerror or error}", file=path, remedy=remedy) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a temporary file, wait until it is on disk, then rename it to `path`. Raises FileError."""
    aside = path.parent / f".{path.name}.{os.getpid()}{ASIDE}"
    try:
        with file_errors(path, "write"):
            # Never through a link that is there under this name, in a folder that may come from anybody.
            aside.unlink(missing_ok=True)
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            sync(path.parent)  # the rename must be on disk too
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Wait until the names in a folder are on disk, where the file system can do this for folders. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, exist_ok: bool = True) -> None:
    """Create a folder and its missing parents, each of which is then on disk. Raises OSError.

    Without waiting for the parent, a power failure can take away the folder with everything that was saved in it.
    """
    if not folder.parent.exists():
        make_folder(folder.parent)
    if not folder.is_dir() or not exist_ok:
        folder.mkdir(exist_ok=exist_ok)
        sync(folder.parent)
