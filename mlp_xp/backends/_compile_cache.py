"""A folder in which an array library keeps what it has compiled, for the next process."""

import os
import stat
from pathlib import Path

MOST_BYTES = 2**26  # the compiled functions of one network take about 0.1 MB


def compile_cache(name: str) -> Path | None:
    """Return the folder of this name for compiled functions in the user's cache folder, or None if it cannot be used.

    The cache folder is MLP_XP_CACHE, else the system's. The folder is made if it is missing, and must belong to this
    user alone: whoever can write to it can run code in the processes that read it. Nothing is raised.
    """
    from platformdirs import user_cache_dir

    try:
        cache = Path(os.environ.get("MLP_XP_CACHE") or user_cache_dir("mlp_xp"))
        folder = cache.expanduser().absolute() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        others_write = hasattr(os, "getuid") and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        foreign = hasattr(os, "getuid") and status.st_uid != os.getuid()
        usable = os.access(folder, os.R_OK | os.X_OK) and not others_write and not foreign
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home; ValueError: a null character in the name
        return None
    return folder if usable else None
