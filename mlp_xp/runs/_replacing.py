"""Replace a run by another one in the same folder: whenever the process is killed, one
of the two is whole.

The files of the old run are moved into the folder `.replaced`, the checkpoint first,
and the new run is written as any other. The checkpoint decides: if the run's folder has
one, the new run has begun, and `.replaced` is removed; otherwise the old run is moved
back, its checkpoint last. Until then `RunFolder.settings` refuses the run.

While `.replaced` has a config.json, it has the whole old run, and all other files are
the new run's. Each change is on the disk before the next one. All functions need the
folder's lock, and raise FileError.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from mlp_xp.files import (
    file_errors,
    make_folder,
    remove,
    remove_tree,
    replace,
    sync_folder,
    write_whole,
)
from mlp_xp.runs.names import CHECKPOINT, CONFIG, REPLACED, RUN_FILES


def begin(folder: Path) -> None:
    """Move a run aside. config.json is copied, because a folder without one does not
    count as a run.
    """
    with file_errors(folder, "move the old run aside in"):
        make_folder(folder / REPLACED)
        _move(RUN_FILES, folder, folder / REPLACED)
        config = (folder / CONFIG).read_bytes()
    write_whole(folder / REPLACED / CONFIG, config)


def settle(folder: Path) -> None:
    """Complete a replacement if the new run has a checkpoint, or else undo it.

    Does nothing if no run is being replaced. It may be killed anywhere, and is then
    repeated.
    """
    old = folder / REPLACED
    if not old.is_dir():
        return
    undone = not (folder / CHECKPOINT).exists()
    if undone and (old / CONFIG).exists():
        clear(folder)
    with file_errors(folder, "replace the run in"):
        if undone:
            sync_folder(folder)
            _move([CONFIG, *reversed(RUN_FILES)], old, folder)
        remove_tree(old)
        sync_folder(folder)


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            replace(source / name, target / name)
            sync_folder(target)
            sync_folder(source)


def clear(folder: Path) -> None:
    """Remove all files of a run except config.json, the checkpoint first.

    config.json is only replaced, never removed: a process that is killed here must not
        leave a folder without settings.
    """
    with file_errors(folder, "remove the old run in"):
        for name in RUN_FILES:
            remove(folder / name)
