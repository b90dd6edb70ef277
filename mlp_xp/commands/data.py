"""Load the data set of a command."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError


@contextmanager
def naming_option(option: str = "data_dir") -> Iterator[None]:
    """In errors about the first argument of `load_dataset`, name the command-line option that it came from."""
    try:
        yield
    except MlpXpError as error:
        if error.setting == SETTING:
            error.setting = option
        raise


def load_data(name_or_folder: str | os.PathLike[str], *args: Any, option: str = "data_dir", **kwargs: Any) -> Dataset:
    """Call `load_dataset`, with faults of its first argument named after an option."""
    with naming_option(option):
        return load_dataset(name_or_folder, *args, **kwargs)
