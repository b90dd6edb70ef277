"""Faults to plant in the program, which the tools must find: `python tests/torture.py calls --plant in-place`."""

import contextlib
import functools
import importlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def replace(original: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put another function in the place of one, in all modules of the package that have imported it."""
    importlib.import_module("mlp_xp.commands.training")
    importlib.import_module("mlp_xp.show.plots")
    for name, module in [*sys.modules.items()]:
        if name.startswith("mlp_xp"):
            for attribute, value in [*vars(module).items()]:
                if value is original:
                    setattr(module, attribute, other)


def in_place() -> None:
    """Files are written in place instead of aside."""
    from mlp_xp.files import write_whole

    def write(path: Path, data: bytes) -> None:
        path.write_bytes(data)

    replace(write_whole, write)


def skip_steps() -> None:
    """A resumed run leaves out the rest of an epoch."""
    from mlp_xp.runs.checkpoints import load_checkpoint

    def load(*args: Any) -> Any:
        position = load_checkpoint(*args)
        return position._replace(sample=10**6) if position.step % 2 else position

    replace(load_checkpoint, load)


def no_sync() -> None:
    """Nothing is synchronised with the disk."""
    os.fsync = lambda fd: None


def no_folder_sync() -> None:
    """Files are synchronised, but not the names in folders."""
    fsync = os.fsync
    os.fsync = lambda fd: None if stat.S_ISDIR(os.fstat(fd).st_mode) else fsync(fd)


def no_lock() -> None:
    """The lock of a folder does not lock."""
    if importlib.util.find_spec("mlp_xp.runs.lock"):
        from mlp_xp.runs.lock import locked

        replace(locked, lambda *_: contextlib.nullcontext())


def swallow() -> None:
    """An error of the disk is ignored."""
    from mlp_xp.files import file_errors

    @contextlib.contextmanager
    def ignore(*_: Any) -> Iterator[None]:
        with contextlib.suppress(OSError):
            yield

    replace(file_errors, functools.wraps(file_errors)(ignore))


PLANTS = {
    function.__name__.replace("_", "-"): function
    for function in (in_place, skip_steps, no_sync, no_folder_sync, no_lock, swallow)
}
