"""The data sets of a sweep: loaded once, and mapped into the memory of all processes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import open_backend
from mlp_xp.checks import check_dataset
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.files import file_errors, make_folder
from mlp_xp.runs.run_folder import data_of
from mlp_xp.runs.settings import Settings
from mlp_xp.sweeps.folder import DATA

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class Source(NamedTuple):
    """A data set of some members."""

    arrays: tuple[np.ndarray, ...]
    """Those named by ARRAYS, on the host."""
    class_names: tuple[str, ...]
    name: str


Sources = dict[Any, Source]


def load_sources(settings: Iterable[tuple[str, Settings]], cache_dir: Path | None, progress: Any = None) -> Sources:
    """Load and check each data set once, and check that each member can be trained on its own.

    settings: of each member, after a text that names it. Raises DatasetError, ConfigError and what `load_dataset` does.
    """
    sources: Sources = {}
    for place, each in settings:
        key = data_of(each)
        try:
            if key not in sources:
                data = load_dataset(key, cache_dir=cache_dir, progress=progress)
                check_dataset(data, open_backend("numpy"))
                sources[key] = Source(tuple(getattr(data, name) for name in ARRAYS), data.class_names, data.name)
            each.train.check_fits(len(sources[key].arrays[0]))
        except MlpXpError as error:
            if error.setting == SETTING:
                error.setting = "data_dir" if each.data_dir else "dataset"
            error.text += place
            raise
    return sources


def map_sources(folder: Path, sources: Sources) -> Sources:
    """Write the arrays to the folder of a sweep, and return them as maps of these files. Raises FileError.

    The maps are copy-on-write: the memory is shared as long as nobody writes to it, and libraries accept the arrays.
    """
    place = folder / DATA
    mapped: Sources = {}
    with file_errors(place, "write"):
        make_folder(place)
        for number, (key, source) in enumerate(sources.items()):
            arrays = []
            for name, array in zip(ARRAYS, source.arrays, strict=True):
                path = place / f"{number}-{name}.npy"
                path.unlink(missing_ok=True)  # a process of a killed sweep may still have it mapped
                np.save(path, array)
                arrays.append(np.load(path, mmap_mode="c"))
            mapped[key] = source._replace(arrays=tuple(arrays))
    return mapped
