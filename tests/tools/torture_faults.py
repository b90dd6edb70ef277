"""Faults to plant in the program, and to be found by the tools.

As in `python tests/tools/torture.py calls --plant in-place`.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlp_xp.files import file_errors, write_whole
from mlp_xp.runs._checkpoints import read_position
from mlp_xp.runs.locked_folder import LockedFolder


def replace(original: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put another function in the place of one, in all modules of the package."""
    own = [sys.modules[name] for name in sys.modules if name.startswith("mlp_xp")]
    for module in own:
        for attribute, value in [*vars(module).items()]:
            if value is original:
                setattr(module, attribute, other)


def in_place() -> None:
    """Files are written in place instead of aside."""
    replace(write_whole, Path.write_bytes)


def skip_steps() -> None:
    """A resumed run leaves out the rest of an epoch."""

    def read(*args: Any) -> Any:
        position, settings = read_position(*args)
        if position.step % 2:
            position = position._replace(sample=10**6)
        return position, settings

    replace(read_position, read)


def no_folder_sync() -> None:
    """Files are synchronised, but not the names in folders."""
    fsync = os.fsync
    os.fsync = lambda fd: None if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd)


def no_lock() -> None:
    """The lock of a folder does not lock."""
    unlocked = SimpleNamespace(release=lambda: None)
    LockedFolder._acquire = lambda self, wait: unlocked


@contextlib.contextmanager
def ignored(*_: Any) -> Iterator[None]:
    """Ignore an error of the disk."""
    with contextlib.suppress(OSError):
        yield


def swallow() -> None:
    """An error of the disk is ignored."""
    replace(file_errors, ignored)
