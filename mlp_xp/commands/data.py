"""What several commands do: load the data set, and say which runs have not ended."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlp_xp.commands.process import called, print_line
from mlp_xp.data.datasets import SETTING
from mlp_xp.errors import Argument, MlpXpError
from mlp_xp.runs.run_folder import CONFIG, MODEL
from mlp_xp.runs.sweep_index import INTERRUPTED
from mlp_xp.runs.table import IN_USE, read_row


@contextmanager
def naming_option(option: str = "data_dir", run: Path | None = None) -> Iterator[None]:
    """Have errors about data that cannot be found name the option that their path came from.

    run: the run whose config.json it came from instead, if the command line did not name the data.
    """
    try:
        yield
    except MlpXpError as error:
        if error.setting == SETTING:
            error.setting, error.file = (option, error.file) if run is None else ("data", run / CONFIG)
        if error.setting == "data":
            error.setting = None
            error.notes.append(("or give data with ", Argument("data_dir")))
        raise


def warn_of_unfinished(folders: Iterable[Path]) -> None:
    """Print a line on stderr for each run that has not ended, because its network is that of its last checkpoint."""
    for folder in folders:
        row = read_row(folder)
        if row.state in (INTERRUPTED, IN_USE) and os.path.lexists(folder / MODEL):
            text = f"{row.reason or INTERRUPTED}; its network is that of its last checkpoint"
            if row.state == INTERRUPTED:
                text += f"; resume with: {called('train', '--resume', folder)}"
            print_line("warning", f"{str(folder)!r}: {text}")
