"""Draw a run's pictures, or lay the curves of several runs over one another: `python scripts/plot.py RUN_DIR ...`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mlp_xp.commands.command_line import Positional, parse
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs import run_folder
from mlp_xp.runs.checkpoints import backend_for
from mlp_xp.show.gallery import draw_run, read_curves
from mlp_xp.show.plots import draw_curves


@dataclass(frozen=True)
class Arguments:
    """Draw the pictures of a run into its folder; of several runs, their curves over one another."""

    run_dirs: Annotated[tuple[Path, ...], Positional("RUN_DIR")]
    """Folders that scripts/train.py made."""
    output: Path | None = None
    """Where the curves of several runs are drawn, a PNG file. By default curves.png."""
    backend: str = "numpy"
    """What a single run's network is tried on the test set with."""
    data_dir: Path | None = None
    """The folder of a single run's data, if it is not where it was."""


def main() -> None:
    """Parse, draw, say where."""
    arguments: Arguments = parse(Arguments)
    if not arguments.run_dirs:
        raise MlpXpError("RUN_DIR: give at least one folder that scripts/train.py made")
    if len(arguments.run_dirs) > 1:
        if arguments.data_dir:
            raise MlpXpError("--data-dir: is for a single run; leave it out: the curves of several need no data")
        output = arguments.output or Path("curves.png")
        if output.suffix.lower() != ".png":
            raise MlpXpError(f"--output: {str(output)!r} is not the name of a PNG file; give one that ends in .png")
        draw_curves([read_curves(folder) for folder in arguments.run_dirs], output)
        print(output)
        return
    if arguments.output:
        raise MlpXpError("--output: is for the curves of several runs; a single run's pictures go into its own folder")
    (folder,) = arguments.run_dirs
    settings, _ = run_folder.read_config(folder)
    backend = backend_for(folder, arguments.backend)
    dataset = load_dataset(arguments.data_dir or run_folder.data_of(settings), backend)
    for path in draw_run(folder, dataset, backend):
        print(path)
