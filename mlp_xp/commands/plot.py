"""Draw the pictures of a run or a sweep, or the curves of several runs: `python scripts/plot.py RUN_DIR ...`."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from mlp_xp.api import plot_run
from mlp_xp.commands.data import naming_option, warn_of_unfinished
from mlp_xp.commands.options import RunDirs
from mlp_xp.commands.process import print_error
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.show.gallery import read_curves, told_apart
from mlp_xp.show.plots import draw_curves, save
from mlp_xp.sweeps.pictures import draw_sweep


def plot(
    *run_dirs: RunDirs,
    output: Path | None = None,
    backend: str = "numpy",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> int:
    """Draw the pictures of a run or a sweep into its folder, or the curves of several runs in one figure.

    Args:
        run_dirs: Folders of training runs, or one of a sweep.
        output: PNG file for the curves of several runs; an existing one is replaced if all runs can be read. By default
            curves.png in the current folder, or the first of curves-2.png, curves-3.png, ... that does not exist.
        backend: Backend that evaluates the network of a single run on the test set.
        data_dir: Folder with the data of a single run, if it has moved.
        cache_dir: Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system.

    Returns 1 if one of several runs cannot be read; the others are drawn.
    """
    if len(run_dirs) > 1:
        if data_dir:
            raise MlpXpError(
                "is for a single run; leave it out: curves of several runs need no data", setting="data_dir"
            )
        return draw_several(run_dirs, output or free_name(Path("curves.png")))
    if output:
        raise MlpXpError(
            "is for the curves of several runs; leave it out: the pictures of a single run are written to its folder",
            setting="output",
        )
    (folder,) = run_dirs
    if is_sweep(folder):
        if data_dir:
            raise MlpXpError("is for a single run; leave it out: a sweep's pictures need no data", setting="data_dir")
        print(*draw_sweep(folder), sep="\n")
        return 0
    warn_of_unfinished([folder])
    with naming_option(run=None if data_dir else folder):
        paths = plot_run(folder, backend, data=data_dir, cache_dir=cache_dir)
    for path in paths:
        print(path)
    return 0


def draw_several(run_dirs: Sequence[Path], output: Path) -> int:
    """Draw the curves of the runs that can be read, print the errors of the others, and return the exit code."""
    if output.suffix.lower() != ".png":
        raise MlpXpError(f"{str(output)!r} is not the name of a PNG file; give one that ends in .png", setting="output")
    for folder in run_dirs:
        if is_sweep(folder):
            raise MlpXpError(f"{str(folder)!r}: is a sweep, which has pictures of its own; give it alone")
    runs, folders, faults = [], [], []
    for folder in run_dirs:
        try:
            runs.append(read_curves(folder))
            folders.append(folder)
        except (MlpXpError, OSError) as error:
            faults.append(error)
    if faults and os.path.lexists(output):
        faults.append(MlpXpError(f"{str(output)!r}: not replaced, because a run is missing; leave it out, or fix it"))
    elif runs:
        save(draw_curves(told_apart(runs, folders)), output)
        print(output, flush=True)
    for fault in faults:
        print_error(str(fault))
    return 1 if faults else 0


def free_name(path: Path) -> Path:
    """Return a path, or the first with -2, -3, ... in its name that does not exist."""
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))
