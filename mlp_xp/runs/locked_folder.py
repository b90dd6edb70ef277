"""A folder of a run or a sweep, to which one process at a time writes."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlp_xp.errors import MlpXpWarning, warn
from mlp_xp.files import ASIDE, file_errors, make_folder, remove, write_whole
from mlp_xp.runs.names import HOLDER, LOCK
from mlp_xp.runs.records import RunError
from mlp_xp.system import WINDOWS, exists

if TYPE_CHECKING:
    from filelock import BaseFileLock

# The answers of a file system without locks, such as a network mount without its lock
# service. On Linux, the last two are the same.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
# Windows answers ERROR_INVALID_FUNCTION or ERROR_NOT_SUPPORTED for a folder of Linux
# below Windows. Python calls both EINVAL, and sometimes leaves their number out. Other
# errors that Python calls EINVAL are faults of a network.
_NO_LOCKS_ON_WINDOWS = (None, 1, 50)


def _says_no_locks(error: OSError) -> bool:
    if WINDOWS and error.errno == errno.EINVAL:
        return getattr(error, "winerror", None) in _NO_LOCKS_ON_WINDOWS
    return error.errno in _NO_LOCKS


class InUseError(RunError):
    """The folder is held by another process, or by another run in this process."""


class LockedFolder:
    """A folder with a known purpose, held by one process while it writes there.

    Args:
        path: The folder. It need not exist.
    """

    purpose: ClassVar[str]
    """The word for the content of the folder in messages."""
    index: ClassVar[str]
    """The name of the file by which the folder is known."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._is_held = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def exists(self) -> bool:
        """Return whether the folder has its index file, even a damaged one."""
        return os.path.lexists(self.path / self.index)

    def holder(self) -> str | None:
        """Name the process holding the folder, without touching the lock.

        Returns None if no process is known to hold it. A killed process of another
        machine counts as alive, because nothing here can tell. While a new process
        takes the lock, its name is missing for a moment.
        """
        try:
            text = (self.path / HOLDER).read_text("utf-8")
            number, address, host = text.strip().split(maxsplit=2)
            pid = int(number)
        except (OSError, ValueError):
            return None
        is_here = host == platform.node()
        if sys.platform == "darwin":
            # The name of a Mac changes with its network. Elsewhere the address says
            # little: containers on several machines may have the same one.
            is_here |= address == str(uuid.getnode())
        if is_here and not exists(pid):
            return None
        if is_here and pid == os.getpid():
            return f"process {pid} on {host} (this process)"
        return f"process {pid} on {host}"

    @contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Create the folder if it is missing, and hold its lock.

        At the end, a new folder is removed again if it still has no index file. An
        object that holds the lock already goes on holding it.

        The system drops the lock when the process ends, however it ends. A second
        object in the same process or thread is refused too. On NFS the lock is valid
        between machines, unless the folder is mounted with `nolock` or `local_lock`.
        After a kill, two small files remain and do no harm. On a file system without
        locks, a warning is given and no lock is held.

        Args:
            wait: Seconds in which the holder may give up the folder.

        Raises:
            InUseError: The folder is still held after this time. The error names the
                holder.
            RunError: The folder has another purpose.
            FileError: The folder cannot be created or locked.
        """
        if self._is_held:
            yield
            return
        self._check_purpose()
        with contextlib.ExitStack() as at_end:
            if self._create():
                at_end.callback(self._remove_without_index)
            lock = self._acquire(wait)
            at_end.callback(lock.release)
            self._is_held = True
            try:
                self._write_holder()
                self._remove_temporary_files()
                yield
            finally:
                self._is_held = False
                # The files go while the lock is held: filelock does not admit a process
                # through a removed lock file. On Windows filelock removes it itself.
                with contextlib.suppress(OSError):
                    remove(self.path / HOLDER)
                    (self.path / LOCK).unlink()

    def _remove_without_index(self) -> None:
        """Remove an empty folder in which nothing was begun."""
        if not self.exists():
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _create(self) -> bool:
        """Create the folder, and return whether it was missing."""
        is_new = not self.path.exists()
        with file_errors(self.path, "create"):
            make_folder(self.path)
        return is_new

    def _check_purpose(self) -> None:
        """Raise RunError unless the folder is missing, empty, or has its index file.

        Files left by a killed process do not count.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError("is not a folder", file=self.path, remedy="choose another")
        # Read once, because a run that starts meanwhile changes the content.
        with file_errors(self.path, "read"):
            names = {path.name for path in self.path.iterdir()}
        left = {LOCK, HOLDER} | {name for name in names if name.endswith(ASIDE)}
        if names - left and self.index not in names:
            fault = f"is neither empty nor a {self.purpose}"
            raise RunError(fault, file=self.path, remedy="choose another folder")

    def _acquire(self, wait: float) -> BaseFileLock:
        """Return the lock. On a file system without locks, it is not held."""
        from filelock import FileLock, Timeout

        # A new object for each call, because a shared one would admit a second run in
        # this process. No `fallback_to_soft`: such a lock remains after a kill.
        path = self.path / LOCK
        lock = FileLock(path, timeout=wait, thread_local=False, fallback_to_soft=False)
        with file_errors(path, "lock"):
            try:
                lock.acquire()
            except Timeout as error:
                fault = f"is in use by {self.holder() or 'another process'}"
                remedy = "wait until it ends, or choose another folder"
                raise InUseError(fault, file=self.path, remedy=remedy) from error
            except (OSError, NotImplementedError) as error:
                if isinstance(error, OSError) and not _says_no_locks(error):
                    raise
                reason = getattr(error, "strerror", None) or error
                fault = (
                    f"its file system has no file locks ({reason}), "
                    "so a second run in this folder is not refused"
                )
                remedy = "do not start one"
                warn(MlpXpWarning(fault, remedy=remedy, file=self.path))
        return lock

    def _write_holder(self) -> None:
        text = f"{os.getpid()} {uuid.getnode()} {platform.node()}\n"
        write_whole(self.path / HOLDER, text.encode())

    def _remove_temporary_files(self) -> None:
        """Remove the temporary files of killed processes."""
        with file_errors(self.path, "remove temporary files in"):
            for old in self.path.glob(f".*{ASIDE}"):
                remove(old)
