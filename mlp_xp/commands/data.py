"""Load the data set of a command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.run_folder import CONFIG


@contextmanager
def naming_option(option: str = "data_dir", run: Path | None = None) -> Iterator[None]:
    """In errors about the first argument of `load_dataset`, name the command-line option that it came from.

    run: the folder whose config.json it came from instead, where the command line did not name the data.
    """
    try:
        yield
    except MlpXpError as error:
        if error.setting == SETTING and run is not None:
            reason = error.text.partition("; ")[0]
            raise MlpXpError(
                f"{str(run / CONFIG)!r}: the run's data are not where it says: {reason}; give their folder with "
                "--data-dir"
            ) from error
        if error.setting == SETTING:
            error.setting = option
        if error.setting == "data":  # the argument of the library's functions, which a command does not have
            error.setting = None
            error.text += "; or give files with the same features with --data-dir"
        raise


def load_data(
    name_or_folder: str | os.PathLike[str], *args: Any, option: str = "data_dir", run: Path | None = None, **kwargs: Any
) -> Dataset:
    """Call `load_dataset`, with faults of its first argument named after an option, or the run that it came from."""
    with naming_option(option, run):
        return load_dataset(name_or_folder, *args, **kwargs)
