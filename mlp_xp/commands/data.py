"""What several commands do: load the data set, and say which runs have not ended."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_xp.commands.process import called, print_line
from mlp_xp.core.dataset import Dataset
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.runs.checkpoints import read_position
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import CONFIG, MODEL
from mlp_xp.runs.sweep_index import INTERRUPTED
from mlp_xp.runs.table import IN_USE, read_row
from mlp_xp.show.numbers import thousands


@contextmanager
def naming_option(option: str = "data_dir", run: Path | None = None) -> Iterator[None]:
    """Have errors about the first argument of `load_dataset` name the option that it came from.

    run: the run whose config.json it came from instead, if the command line did not name the data.
    """
    try:
        yield
    except MlpXpError as error:
        if error.setting == SETTING and run is not None:
            raise MlpXpError(
                f"the run's data are not where it says: {error.fault}",
                remedy=("give their folder with ", Argument("data_dir")),
                file=run / CONFIG,
            ) from error
        if error.setting == SETTING:
            error.setting = option
        if error.setting == "data":  # the argument of the library's functions, which a command does not have
            error.setting = None
            error.notes.append(("or give files with the same features with ", Argument("data_dir")))
        raise


def load_data(
    name_or_folder: str | os.PathLike[str], *args: Any, option: str = "data_dir", run: Path | None = None, **kwargs: Any
) -> Dataset:
    """Call `load_dataset`. Its errors name the option, or the run, that its first argument came from."""
    with naming_option(option, run):
        return load_dataset(name_or_folder, *args, **kwargs)


def warn_of_unfinished(folders: Iterable[Path]) -> None:
    """Print a line on stderr for each run that has not ended, because its network is that of its last checkpoint."""
    for folder in folders:
        row = read_row(folder)
        if row.state not in (INTERRUPTED, IN_USE) or not os.path.lexists(folder / MODEL):
            continue
        try:
            position = read_position(folder)
            epoch, epochs = position["epoch"], row.settings["epochs"]
            samples = thousands(position["sample"])
            place = f"its network is that after {samples} samples of epoch {epoch} ({epoch + 1} of {epochs})"
        except RunError:  # without its checkpoint, a run cannot be resumed, but its network can be used
            place = "its network is that of an unknown epoch"
        text = f"{row.reason or INTERRUPTED}; {place}"
        if row.state == INTERRUPTED:
            text += f"; resume with: {called('train', '--resume', folder)}"
        print_line("warning", f"{str(folder)!r}: {text}")
