"""One run at a time may write to a folder. The system drops the lock when the process ends, however it ends."""

import contextlib
import errno
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import file_errors, write_whole
from mlp_xp.runs.run_folder import HOLDER, LOCK, RunError

# What a file system without locks answers, such as a network mount without its lock service.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class InUseError(RunError):
    """A folder that another process, or another run of this one, holds."""


@contextlib.contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of an existing folder. Raises InUseError if it is held after `wait` seconds, and FileError.

    The error names the process and host that hold the lock. A second run in the same process or thread is also refused.
    On a file system without locks, none is held, with an MlpXpWarning. On NFS the lock is valid between hosts, unless
    the folder is mounted with `nolock` or `local_lock`. Two small files remain after a kill, and do no harm.
    """
    from filelock import FileLock, Timeout

    # A new object for each call: one shared object would admit a second run in this process. No `fallback_to_soft`:
    # it would be a lock that remains after a kill.
    path = folder / LOCK
    lock = FileLock(path, timeout=wait, thread_local=False, fallback_to_soft=False)
    with file_errors(path, "lock"):
        try:
            lock.acquire()
        except Timeout as error:
            user = holder(folder) or "another process"
            raise InUseError(
                f"{str(folder)!r}: is in use by {user}; wait until it ends, or choose another folder"
            ) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            warnings.warn(
                f"{str(folder)!r}: its file system has no file locks ({getattr(error, 'strerror', None) or error}), so "
                "a second run in this folder is not refused; do not start one",
                MlpXpWarning,
                stacklevel=3,
            )
    try:
        write_whole(folder / HOLDER, f"{os.getpid()} {platform.node()}\n".encode())
        yield
    finally:
        try:
            # The files go while the lock is held: filelock does not admit a process that opened the file before that.
            with contextlib.suppress(OSError):
                (folder / HOLDER).unlink(missing_ok=True)
                path.unlink()
        finally:
            lock.release()


def holder(folder: Path) -> str | None:
    """Name the process that trains in a folder, without touching its lock; None if no process is known to do so.

    A killed process of another host counts as alive, because nothing here can tell. While a new process takes the lock,
    its name is missing for a moment.
    """
    try:
        number, host = (folder / HOLDER).read_text().split()
        if host == platform.node():
            os.kill(int(number), 0)
    except PermissionError:
        pass  # it is alive and belongs to another user
    except (OSError, ValueError):
        return None
    return f"process {number} on {host}" + " (this process)" * (number == str(os.getpid()))
