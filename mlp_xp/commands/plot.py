"""Draw the pictures of a run or a sweep, or the curves of several runs: `python scripts/plot.py RUN_DIR ...`."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mlp_xp.api import plot_run
from mlp_xp.commands.command_line import Positional, parse, print_error
from mlp_xp.commands.data import naming_option, warn_of_unfinished
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.sweep_index import is_sweep
from mlp_xp.show.gallery import read_curves, told_apart
from mlp_xp.show.plots import draw_curves, save
from mlp_xp.sweeps.pictures import draw_sweep


@dataclass(frozen=True)
class Arguments:
    """Draw the pictures of a run or a sweep into its folder, or the curves of several runs in one figure."""

    run_dirs: Annotated[tuple[Path, ...], Positional("RUN_DIR")]
    """Folders of training runs, or one of a sweep."""
    output: Path | None = None
    """PNG file for the curves of several runs; an existing one is replaced if all runs can be read. By default
    curves.png in the current folder, or the first of curves-2.png, curves-3.png, ... that does not exist."""
    backend: str = "numpy"
    """Backend that evaluates the network of a single run on the test set."""
    data_dir: Path | None = None
    """Folder with the data of a single run, if it has moved."""
    cache_dir: Path | None = None
    """Folder for downloaded data sets. By default MLP_XP_CACHE, or the cache folder of the system."""


def main() -> int:
    """Draw the pictures and print their paths. Return 1 if one of several runs cannot be read; the others are drawn."""
    arguments: Arguments = parse(Arguments)
    if not arguments.run_dirs:
        raise MlpXpError("RUN_DIR: give at least one folder of a training run")
    if len(arguments.run_dirs) > 1:
        return draw_several(arguments)
    if arguments.output:
        raise MlpXpError(
            "is for the curves of several runs; leave it out: the pictures of a single run are written to its folder",
            setting="output",
        )
    (folder,) = arguments.run_dirs
    if is_sweep(folder):
        if arguments.data_dir:
            raise MlpXpError("is for a single run; leave it out: a sweep's pictures need no data", setting="data_dir")
        print(*draw_sweep(folder), sep="\n")
        return 0
    warn_of_unfinished([folder])
    with naming_option(run=None if arguments.data_dir else folder):
        paths = plot_run(folder, arguments.backend, data=arguments.data_dir, cache_dir=arguments.cache_dir)
    for path in paths:
        print(path)
    return 0


def draw_several(arguments: Arguments) -> int:
    """Draw the curves of the runs that can be read, print the errors of the others, and return the exit code."""
    if arguments.data_dir:
        raise MlpXpError("is for a single run; leave it out: curves of several runs need no data", setting="data_dir")
    output = arguments.output or free_name(Path("curves.png"))
    if output.suffix.lower() != ".png":
        raise MlpXpError(f"{str(output)!r} is not the name of a PNG file; give one that ends in .png", setting="output")
    for folder in arguments.run_dirs:
        if is_sweep(folder):
            raise MlpXpError(f"{str(folder)!r}: is a sweep, which has pictures of its own; give it alone")
    runs, folders, faults = [], [], []
    for folder in arguments.run_dirs:
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
