"""One run at a time may write to a folder. The system drops the lock when the process ends, however it ends."""

import contextlib
import errno
import os
import platform
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import file_errors, write_whole
from mlp_xp.runs.run_folder import HOLDER, LOCK, RunError
from mlp_xp.system import exists

# What a file system without locks answers, such as a network mount without its lock service. On Linux, the last two are
# the same.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


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
            remedy = "wait until it ends, or choose another folder"
            raise InUseError(f"is in use by {user}", file=folder, remedy=remedy) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            reason = getattr(error, "strerror", None) or error
            text = f"its file system has no file locks ({reason}), so a second run in this folder is not refused"
            warnings.warn(MlpXpWarning(text, remedy="do not start one", file=folder), stacklevel=3)
    try:
        words = (os.getpid(), uuid.getnode(), platform.node())
        write_whole(folder / HOLDER, f"{' '.join(map(str, words))}\n".encode())
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
        first, address, host = (folder / HOLDER).read_text("utf-8").split(maxsplit=2)
        number = int(first)
        # The name of a machine may change with its network, and so may the address of its network card.
        is_here = host.rstrip() == platform.node() or address == str(uuid.getnode())
        if is_here and not exists(number):
            return None
    except (OSError, ValueError):
        return None
    this = " (this process)" if is_here and number == os.getpid() else ""
    return f"process {number} on {host.rstrip()}{this}"
