"""Atomic file writes: at any time, the old or the new file is there, and complete."""

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlp_xp.errors import MlpXpError
from mlp_xp.system import WINDOWS

ASIDE = ".aside"
# Error numbers of Windows.
INVALID_NAME, NOT_EMPTY = 123, 145
LONGEST_PATH = 259  # Characters, unless Windows is told to admit longer paths.
# Seconds to wait for another program to close a file. Windows replaces and removes no
# open files.
PATIENCE = 10.0
# The errors of file systems that cannot sync a folder, or the cache of the disk.
_CANNOT_SYNC = (
    errno.EINVAL,
    errno.EBADF,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
)


class FileError(MlpXpError):
    """A file or folder that cannot be written or read."""

    exit_code = 1


@contextlib.contextmanager
def file_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError into a FileError with the name of the file or folder.

    `doing` is the verb in the message, such as "write".
    """
    try:
        yield
    except OSError as error:
        raise _file_error(path, doing, error) from error


def _file_error(path: Path, doing: str, error: OSError) -> FileError:
    has_invalid_name = getattr(error, "winerror", None) == INVALID_NAME
    name = Path(str(error.filename or path))
    if isinstance(error, FileNotFoundError):
        how = "create the folder"
        if not Path(path.absolute().anchor).exists():
            how = "choose a drive that is there"
        elif WINDOWS and len(str(name.absolute())) > LONGEST_PATH:
            how = "choose a folder with a shorter path"
    elif WINDOWS and isinstance(error, PermissionError):
        how = "close the program that has it open, or fix its permissions"
    elif has_invalid_name:
        how = 'choose a name without < > : " | ? *'
    else:
        how = "free some space or fix the folder"
    reason = error.strerror or error
    if name != path and path in name.parents and name.suffix != ASIDE:
        reason = f"{name.name}: {reason}"  # The name of the file in a folder.
    found = FileError(
        f"cannot {doing}: {reason}", file=path, remedy=f"{how}, then try again"
    )
    if has_invalid_name:
        found.exit_code = 2
    return found


def write_whole(path: Path, data: bytes) -> None:
    """Write a temporary file, wait until it is on disk, then rename it to `path`.

    Raises:
        FileError: The file cannot be written.
    """
    aside = path.parent / f".{path.name}.{os.getpid()}{ASIDE}"
    try:
        with file_errors(path, "write"):
            # Somebody may have left a link with this name in the folder. Never write
            # through it.
            aside.unlink(missing_ok=True)
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                sync(file.fileno())
            replace(aside, path)
            sync_folder(path.parent)  # The rename must be on disk too.
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def append_line(path: Path, line: bytes) -> None:
    """Append a line to a file, and wait until it is on disk.

    A missing file is created.

    Raises:
        FileError: The file cannot be written.
    """
    with file_errors(path, "write"):
        is_new = not path.exists()
        with patiently(path.open, "ab") as file:
            file.write(line + b"\n")
            file.flush()
            sync(file.fileno())
        if is_new:
            sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename a file, and replace the target if it exists. Raises OSError."""
    _make_writable(target)
    patiently(source.replace, target)


def remove(path: Path) -> None:
    """Remove a file if it exists. Raises OSError."""
    _make_writable(path)
    patiently(path.unlink, missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all of its files. Raises OSError."""
    import shutil  # here, so that `--help` is quick

    for path in folder.rglob("*"):
        _make_writable(path)
    patiently(shutil.rmtree, folder)


def _make_writable(path: Path) -> None:
    """Let Windows replace and remove a read-only file, as other systems do."""
    if WINDOWS:
        with contextlib.suppress(OSError):
            path.chmod(stat.S_IREAD | stat.S_IWRITE)


def patiently(operation: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call an operation on files, and return its result.

    On Windows, while permission is denied, the operation is repeated for up to PATIENCE
    seconds, because another program may have one of the files open. A folder from which
    such a file was removed is not empty until the program closes the file.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return operation(*args, **options)
        except OSError as error:
            is_open_elsewhere = (
                isinstance(error, PermissionError)
                or getattr(error, "winerror", None) == NOT_EMPTY
            )
            if not (WINDOWS and is_open_elsewhere) or time.monotonic() > end:
                raise
        time.sleep(0.05)


def sync(descriptor: int) -> None:
    """Wait until an open file is on disk. Raises OSError."""
    os.fsync(descriptor)
    if sys.platform == "darwin":
        # On macOS, fsync leaves the data in the cache of the disk.
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk. Raises OSError.

    Nothing is done on systems that cannot sync folders.
    """
    if WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        sync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, exist_ok: bool = True) -> None:
    """Create a folder and its missing parents, and wait until they are on disk.

    Without waiting, a loss of power could remove the folder with everything saved in
    it.

    Raises:
        OSError: A folder cannot be created, or it exists and `exist_ok` is False.
    """
    missing = []
    if not folder.is_dir() or not exist_ok:
        missing.append(folder)
    for parent in folder.parents:
        if parent.exists():
            break
        missing.append(parent)
    for each in reversed(missing):
        each.mkdir(exist_ok=exist_ok or each != folder)
        sync_folder(each.parent)
