"""Draw the pictures of a run or a sweep, or the curves of several runs: `python scripts/plot.py RUN_DIR ...`."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from mlp_xp.api import plot_curves, plot_run
from mlp_xp.commands.data import naming_option, warn_of_unfinished
from mlp_xp.commands.options import BackendName, CacheDir, RunDirs
from mlp_xp.commands.process import end_with
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.show.gallery import read_curves


def plot(
    *run_dirs: RunDirs,
    output: Path | None = None,
    backend: BackendName = "numpy",
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> int:
    """Draw the pictures of a run or a sweep into its folder, or the curves of several runs in one figure.

    If one of several runs cannot be read, the others are drawn, and the exit code is 1.

    Args:
        run_dirs: The folder of a run or a sweep, or the folders of several runs.
        output: PNG file for the curves of several runs. An existing file is replaced if all runs can be read. By
            default curves.png in the current folder, or the first of curves-2.png, curves-3.png, ... that is free.
        data_dir: The data of a single run, if they have moved.
    """
    folder, *others = run_dirs
    if data_dir and (others or is_sweep(folder)):
        raise MlpXpError("is for a single run, because other pictures need no data; leave it out", setting="data_dir")
    if others:
        return draw_several(run_dirs, output or free_name(Path("curves.png")))
    if output:
        raise MlpXpError(
            "is for the curves of several runs; leave it out: the pictures of a single run are written to its folder",
            setting="output",
        )
    warn_of_unfinished([folder])
    with naming_option(run=None if data_dir else folder):
        print(*plot_run(folder, backend, data=data_dir, cache_dir=cache_dir), sep="\n")
    return 0


def draw_several(run_dirs: Sequence[Path], output: Path) -> int:
    """Draw the curves of the runs that can be read, print the errors of the others, and return the exit code."""
    if output.suffix.lower() != ".png":
        raise MlpXpError(f"{str(output)!r} is not the name of a PNG file; give one that ends in .png", setting="output")
    for folder in run_dirs:
        if is_sweep(folder):
            raise MlpXpError("is a sweep, which has pictures of its own; give it alone", file=folder)
    folders, faults = [], list[Exception]()
    for folder in run_dirs:
        try:
            read_curves(folder)
            folders.append(folder)
        except (MlpXpError, OSError) as error:
            faults.append(error)
    if faults and os.path.lexists(output):
        faults.append(MlpXpError("not replaced, because a run is missing; leave it out, or fix it", file=output))
    elif folders:
        print(plot_curves(folders, output))
    return end_with(faults)


def free_name(path: Path) -> Path:
    """Return a path, or the first with -2, -3, ... in its name that does not exist."""
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))
