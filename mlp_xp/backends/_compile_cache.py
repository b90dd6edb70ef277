"""A folder in which an array library keeps what it has compiled, for the next process."""

import os
import stat
from pathlib import Path

CACHE_VARIABLE = "MLP_XP_CACHE"
# The compiled functions of one network take about 0.1 MB.
MOST_BYTES = 2**26


def compile_cache(name: str) -> Path | None:
    """Return the folder of this name for compiled functions in the user's cache folder, or None if it cannot be used.

    The cache folder is MLP_XP_CACHE, else the system's. The folder is made if it is missing, and must belong to this
    user alone: whoever can write to it can run code in the processes that read it. Nothing is raised.
    """
    try:
        folder = _cache_folder().expanduser().absolute() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(folder) or not os.access(folder, os.R_OK | os.X_OK):
            return None
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
