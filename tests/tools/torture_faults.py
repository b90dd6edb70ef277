"""Faults to plant in the program, which the tools must find: `python tests/tools/torture.py calls --plant in-place`."""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def replace(original: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put another function in the place of one, in all modules of the package that have imported it."""
    for module in [module for name, module in sys.modules.items() if name.startswith("mlp_xp")]:
        for attribute, value in [*vars(module).items()]:
            if value is original:
                setattr(module, attribute, other)


def in_place() -> None:
    """Files are written in place instead of aside."""
    from mlp_xp.files import write_whole

    replace(write_whole, Path.write_bytes)


def skip_steps() -> None:
    """A resumed run leaves out the rest of an epoch."""
    from mlp_xp.runs.checkpoints import load_checkpoint

    def load(*args: Any) -> Any:
        position = load_checkpoint(*args)
        return position._replace(sample=10**6) if position.step % 2 else position

    replace(load_checkpoint, load)


def no_folder_sync() -> None:
    """Files are synchronised, but not the names in folders."""
    fsync = os.fsync
    os.fsync = lambda fd: None if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd)


def no_lock() -> None:
    """The lock of a folder does not lock."""
    from mlp_xp.runs.lock import locked

    replace(locked, lambda *_: contextlib.nullcontext())


def swallow() -> None:
    """An error of the disk is ignored."""
    from mlp_xp.files import file_errors

    @contextlib.contextmanager
    def ignore(*_: Any) -> Iterator[None]:
        with contextlib.suppress(OSError):
            yield

    replace(file_errors, ignore)
