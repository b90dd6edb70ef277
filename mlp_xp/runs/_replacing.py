"""Replace the run in a folder. Whenever the process is killed, one run is whole.

The files of the old run are moved into the folder `.replaced`, the checkpoint first.
The new run is then written like any other run. The first checkpoint of the new run
decides: once it exists, `.replaced` is removed. Before, the old run can be moved back,
its checkpoint last. Meanwhile `RunFolder.settings` refuses the run. A finished run that
is trained longer is replaced by the longer run in the same way.

While `.replaced` has a config.json, it has the whole old run, and all run files outside
belong to the new run. Each change is on disk before the next one begins. Every function
needs the folder's lock, and raises FileError.
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
    """Move the old run aside.

    config.json is copied, because a folder without one does not count as a run.
    """
    aside = folder / REPLACED
    with file_errors(folder, "move the old run aside in"):
        make_folder(aside)
        _move(RUN_FILES, folder, aside)
        config = (folder / CONFIG).read_bytes()
    write_whole(aside / CONFIG, config)


def settle(folder: Path) -> None:
    """Complete a replacement if the new run has a checkpoint, or else undo it.

    Does nothing if no run is being replaced. If the process is killed in this function,
    the next call finishes the work.
    """
    aside = folder / REPLACED
    if not aside.is_dir():
        return
    new_run_has_begun = (folder / CHECKPOINT).exists()
    # Without a config.json aside, a kill stopped `begin` or the moves back below: the
    # run files outside belong to the old run, and stay.
    if not new_run_has_begun and (aside / CONFIG).exists():
        clear(folder)
    with file_errors(folder, "replace the run in"):
        if not new_run_has_begun:
            # The new run's files are gone before the first old file returns.
            sync_folder(folder)
            _move([CONFIG, *reversed(RUN_FILES)], aside, folder)
        remove_tree(aside)
        sync_folder(folder)


def clear(folder: Path) -> None:
    """Remove all files of a run except config.json, the checkpoint first.

    config.json is only ever replaced, so that a kill leaves no run without settings.
    """
    with file_errors(folder, "remove the old run in"):
        for name in RUN_FILES:
            remove(folder / name)


def _move(names: Iterable[str], source: Path, target: Path) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            replace(source / name, target / name)
            sync_folder(target)
            sync_folder(source)
