"""Replace a run by another one in the same folder: whenever the process is killed, one of the two is whole.

1. The new run is written to `.new` in the run's folder. Nothing of the old run is touched.
2. When the new run has its first checkpoint and model, `.new` is renamed to `.ready`. This one operation decides.
3. The files that only the old run has are removed: its result, rows and pictures.
4. The files in `.ready` are moved into the folder, each over the one of the old run.
5. `.ready`, now empty, is removed.

If the process is killed before step 2, the old run is as it was, and the next command removes `.new`. If it is killed
later, `.ready` is left, and the next command does steps 3 to 5, which may be repeated from any point on. In between,
`read_config` refuses the folder. All functions but the first two need the folder's lock, and raise FileError.
"""

import shutil
import warnings
from pathlib import Path

from mlp_xp.errors import MlpXpWarning
from mlp_xp.files import file_errors, sync
from mlp_xp.runs.rows import ROWS
from mlp_xp.runs.run_folder import METRICS, NEW, PICTURES, READY, RESULT, RUN_FILES


def current(folder: Path) -> Path:
    """Return where the files of the running run are: `.new` while it is to replace an old run, or else the folder."""
    return folder / NEW if (folder / NEW).is_dir() else folder


def is_decided(folder: Path) -> bool:
    """Return whether a new run has its first checkpoint, but is not completely in place."""
    return (folder / READY).is_dir()


def begin(folder: Path) -> Path:
    """Return an empty folder for a run that is to replace the one in `folder`."""
    with file_errors(folder / NEW, "create"):
        (folder / NEW).mkdir()
    return folder / NEW


def put_in_place(folder: Path) -> None:
    """Replace the old run by the new one, which has its first checkpoint and model."""
    new = folder / NEW
    with file_errors(folder, "replace the run in"):
        (new / METRICS).touch()  # or the old run's would stay
        sync(new)
        new.rename(folder / READY)
        sync(folder)
    _finish(folder)


def _finish(folder: Path) -> None:
    ready = folder / READY
    with file_errors(folder, "replace the run in"):
        left = [name for name in RUN_FILES if (ready / name).exists()]
        if left:  # otherwise all were moved, and the next lines were done before
            for name in (RESULT, ROWS, *PICTURES):
                (folder / name).unlink(missing_ok=True)
            sync(folder)  # before the new files, beside which an old result would make the run look finished
        for name in left:
            (ready / name).replace(folder / name)
        sync(folder)
        shutil.rmtree(ready)  # not rmdir: a killed write may have left a temporary file
        sync(folder)


def give_up(folder: Path) -> None:
    """Remove a new run that has no checkpoint yet."""
    if (folder / NEW).is_dir():
        with file_errors(folder / NEW, "remove"):
            shutil.rmtree(folder / NEW)


def settle(folder: Path) -> None:
    """Complete or undo the replacement that a killed process has left in the folder."""
    if is_decided(folder):
        _finish(folder)
    if current(folder) != folder:
        warnings.warn(
            f"{str(folder)!r}: a new run that was to replace this one was stopped before its first checkpoint; it is "
            "removed, and the old run is as it was",
            MlpXpWarning,
            stacklevel=2,
        )
    give_up(folder)
