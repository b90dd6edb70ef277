"""A folder in which an array library keeps what it has compiled, for the next process."""

import contextlib
import os
import stat
import zlib
from pathlib import Path

CACHE_VARIABLE = "MLP_XP_CACHE"
# The compiled functions of one network take about 0.1 MB.
MOST_BYTES = 2**26
# Empty; its time is when the folder was looked through last.
STAMP = "checked"


def compile_cache(name: str) -> Path | None:
    """Return the folder of this name for compiled functions in the user's cache folder, or None if it cannot be used.

    The cache folder is MLP_XP_CACHE, else the system's. The folder is made if it is missing, and must belong to this
    user alone: whoever can write to it can run code in the processes that read it. Incomplete entries are deleted if
    zlib wrote them, and the oldest entries while all take more than MOST_BYTES. Other processes may use the folder at
    the same time. Nothing is raised.
    """
    try:
        folder = _cache_folder().expanduser().absolute() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(folder) or not os.access(folder, os.R_OK | os.X_OK):
            return None
        _tidy(folder)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home; ValueError: a null character in the name
        return None
    return folder


def _cache_folder() -> Path:
    from platformdirs import user_cache_dir

    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_dir("mlp_xp"))


def _is_private(folder: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _tidy(folder: Path) -> None:
    stamp = folder / STAMP
    since = stamp.stat().st_mtime_ns if stamp.exists() else 0
    with contextlib.suppress(OSError):  # a folder that is read only can be read
        stamp.touch()
    left = MOST_BYTES
    entries = []
    for entry in folder.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process has just deleted it
            entries.append((entry.stat(), entry))
    for status, entry in sorted(entries, key=lambda each: -each[0].st_mtime_ns):
        left -= status.st_size
        with contextlib.suppress(OSError):
            if left < 0 or (status.st_mtime_ns >= since and not _is_complete(entry)):
                entry.unlink()


def _is_complete(entry: Path) -> bool:
    data = entry.read_bytes()
    if data[:1] != b"\x78":  # not zlib's
        return bool(data)
    try:
        zlib.decompress(data)
    except zlib.error:
        return False
    return True
