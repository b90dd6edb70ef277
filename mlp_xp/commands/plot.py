"""Draw the pictures of runs and sweeps: `mlp-xp plot RUN_DIR ...`."""

from pathlib import Path

from mlp_xp.api import plot_curves, plot_run
from mlp_xp.commands.options import BackendName, CacheDir, RunDirs
from mlp_xp.commands.process import print_errors
from mlp_xp.commands.unfinished import warn_of_unfinished
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.show.gallery import read_curves


def plot(
    *run_dirs: RunDirs,
    output: Path | None = None,
    backend: BackendName = "numpy",
    data_dir: Path | None = None,
    cache_dir: CacheDir = None,
) -> int:
    """Draw the pictures of a run or a sweep into its folder.

    The curves of several runs are drawn in one figure. If one of the runs cannot be
    read, the others are drawn, and the exit code is 1.

        mlp-xp plot runs/digits
        mlp-xp plot runs/a runs/b --output compared.png

    Args:
        run_dirs: The folder of a run or a sweep, or the folders of several runs.
        output: PNG file for the curves of several runs. An existing file is replaced.
            By default curves.png in the current folder.
        data_dir: The data of a single run, if they have moved.
    """
    folder, *others = run_dirs
    if others or SweepFolder(folder).exists():
        of_single: dict[str, object] = {
            "backend": backend != "numpy",
            "data_dir": data_dir,
            "cache_dir": cache_dir,
        }
        for name, value in of_single.items():
            if value:
                fault = "is for a single run, because other pictures need no data"
                raise MlpXpError(fault, remedy="leave it out", setting=name)
    if output and not others:
        raise MlpXpError(
            "is for the curves of several runs; a single one is drawn in its folder",
            setting="output",
        )
    if output and output.suffix.lower() != ".png":
        fault = f"{quoted(output)} is not the name of a PNG file"
        remedy = "give one that ends in .png"
        raise MlpXpError(fault, remedy=remedy, setting="output")
    if not others:
        paths = plot_run(folder, backend, data=data_dir, cache_dir=cache_dir)
        warn_of_unfinished([folder])
        print(*paths, sep="\n")
        return 0
    folders, faults = [], list[Exception]()
    for folder in run_dirs:
        try:
            read_curves(RunFolder(folder))
            folders.append(folder)
        except (MlpXpError, OSError) as error:
            faults.append(error)
    if folders:
        warn_of_unfinished(folders)
        print(plot_curves(folders, output or Path("curves.png")))
    return print_errors(faults)
