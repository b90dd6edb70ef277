"""A folder that one process at a time writes to: of a run, or of a sweep."""

import contextlib
import errno
import os
import platform
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import ASIDE, file_errors, make_folder, remove, write_whole
from mlp_xp.runs.names import HOLDER, LOCK
from mlp_xp.runs.records import RunError
from mlp_xp.system import WINDOWS, exists

# The answer of a file system without locks, such as a network mount without its lock
# service. On Linux, the last two are the same.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
if WINDOWS:
    _NO_LOCKS.add(errno.EINVAL)  # as of a folder of Linux below Windows


class InUseError(RunError):
    """A folder that another process holds, or another run of this process."""


class LockedFolder:
    """A folder of a known purpose, which a process holds while it writes to it.

    Args:
        path: The folder. It need not exist.
    """

    purpose: ClassVar[str]
    """The word for the content of such folders in messages."""
    index: ClassVar[str]
    """The file by which such a folder is known."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def exists(self) -> bool:
        """Return whether the folder has such a content, perhaps a damaged one."""
        return os.path.lexists(self.path / self.index)

    def holder(self) -> str | None:
        """Return the name of the process that holds the folder, without touching its
        lock.

        None if no process is known to hold it. A killed process of another machine
        counts as alive, because nothing here can tell. While a new process takes the
        lock, its name is missing for a moment.
        """
        try:
            words = (self.path / HOLDER).read_text("utf-8").split(maxsplit=2)
            pid, address, host = int(words[0]), words[1], words[2].strip()
            is_here = host == platform.node()
            if sys.platform == "darwin":
                # The name of a Mac changes with its network. Elsewhere, containers on
                # several machines may have the same address.
                is_here |= address == str(uuid.getnode())
            if is_here and not exists(pid):
                return None
        except (OSError, ValueError, IndexError, OverflowError):
            return None
        note = " (this process)" if is_here and pid == os.getpid() else ""
        return f"process {pid} on {host}{note}"

    @contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """Create the folder if it is missing, and hold its lock.

        A folder that was missing is removed at the end, unless it has its content by
        then.

        The system drops the lock when the process ends, however it ends. A second run
        in the same process or thread is refused too. On NFS the lock is valid between
        machines, unless the folder is mounted with `nolock` or `local_lock`. Two small
        files remain after a kill, and do no harm. On a file system without locks there
        is a warning, and no lock is held.

        Args:
            wait: Seconds in which the holder may give up the folder.

        Raises:
            InUseError: The folder is held after that time. The error names the holder.
            RunError: The folder has another purpose.
            FileError: The folder cannot be created or locked.
        """
        self._check_purpose()
        is_new = self._create()
        lock = self._acquire(wait)
        try:
            words = (os.getpid(), uuid.getnode(), platform.node())
            write_whole(self.path / HOLDER, f"{' '.join(map(str, words))}\n".encode())
            self._remove_temporary_files()
            yield
        finally:
            try:
                # The files go while the lock is held: filelock does not admit a process
                # that opened the file before that. On Windows filelock removes its own.
                with contextlib.suppress(OSError):
                    remove(self.path / HOLDER)
                    (self.path / LOCK).unlink()
            finally:
                lock.release()
                if is_new and not self.exists():
                    with contextlib.suppress(OSError):
                        self.path.rmdir()

    def _create(self) -> bool:
        """Create the folder, and return whether it was missing."""
        is_new = not self.path.exists()
        with file_errors(self.path, "create"):
            make_folder(self.path)
        return is_new

    def _check_purpose(self) -> None:
        """Raise RunError unless the folder is missing, empty, or has the index file.

        Files that a killed process has left do not count.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise RunError("is not a folder", file=self.path, remedy="choose another")
        # One look, because a run that starts at the same time changes the content.
        with file_errors(self.path, "read"):
            names = {path.name for path in self.path.iterdir()}
        others = {name for name in names if not name.endswith(ASIDE)} - {LOCK, HOLDER}
        if others and self.index not in names:
            fault = f"is neither empty nor a {self.purpose}"
            raise RunError(fault, file=self.path, remedy="choose another folder")

    def _acquire(self, wait: float):  # type: ignore[no-untyped-def]  # filelock is imported here
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
                if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                    raise
                reason = getattr(error, "strerror", None) or error
                text = f"its file system has no file locks ({reason}), so a second run in this folder is not refused"
                warning = MlpXpWarning(text, remedy="do not start one", file=self.path)
                warnings.warn(warning, stacklevel=5)
        return lock

    def _remove_temporary_files(self) -> None:
        with file_errors(self.path, "remove temporary files in"):
            for old in self.path.glob(f".*{ASIDE}"):  # of a killed process
                remove(old)
