"""Load the data set of a command."""

import os
from typing import Any

from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError


def load_data(name_or_folder: str | os.PathLike[str], *args: Any, option: str = "data_dir", **kwargs: Any) -> Dataset:
    """Call `load_dataset`. An error in its first argument names the command-line option that the argument came from."""
    try:
        return load_dataset(name_or_folder, *args, **kwargs)
    except MlpXpError as error:
        if error.setting == SETTING:
            error.setting = option
        raise
