"""The data sets of a sweep: loaded and checked before anything is written, and again in each process that trains."""

import functools
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.checks import check_dataset
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import checksum, data_of
from mlp_xp.runs.settings import Settings


class Source(NamedTuple):
    """What a sweep keeps of a data set."""

    samples: int
    """For training, held-out samples included."""
    features: int
    outputs: int
    nbytes: int
    crc32: str
    """The checksum that config.json records as `data_crc32`."""


def key_of(settings: Settings) -> str:
    """Return a text that names the data set of a member."""
    if not settings.data_dir:
        return str(settings.data)
    # The floats of your own files have the member's dtype from the start, as in `train`.
    origin = (f"{name} {value}" for name, value in settings.origin._asdict().items() if value is not None)
    return ", ".join([settings.data_dir, settings.dtype, *origin])


def load(settings: Settings, cache_dir: Path | None) -> tuple[Dataset, str]:
    """Return a member's data set with its checksum; the one that this process used last is loaded already."""
    return _load(replace(settings, train=TrainConfig(), start_from=None), cache_dir)


@functools.lru_cache(maxsize=1)
def _load(settings: Settings, cache_dir: Path | None) -> tuple[Dataset, str]:
    backend = settings.open_backend()
    dataset = _read(settings, backend, cache_dir)
    return dataset, checksum(dataset, backend)


def _read(settings: Settings, backend: Backend, cache_dir: Path | None, progress: Any = None) -> Dataset:
    origin = settings.origin._asdict() if settings.data_dir else {}
    return load_dataset(data_of(settings), backend, cache_dir=cache_dir, progress=progress, **origin)


def load_sources(
    settings: Iterable[tuple[str, Settings]], cache_dir: Path | None, progress: Any = None
) -> dict[str, Source]:
    """Load and check each data set once, and check that each member can be trained on its own.

    settings: those of each member, after a text that names it. Raises DatasetError, ConfigError and what `load_dataset`
    does.
    """
    sources: dict[str, Source] = {}
    for place, each in settings:
        key, numpy = key_of(each), open_backend("numpy", dtype=each.dtype)
        try:
            if key not in sources:
                dataset = _read(each, numpy, cache_dir, progress)
                check_dataset(dataset, numpy)
                arrays = [array for array in dataset[:4] if array is not None]
                sources[key] = Source(
                    samples=len(dataset.train_inputs),
                    features=math.prod(dataset.train_inputs.shape[1:]),
                    outputs=len(dataset.class_names),
                    nbytes=sum(array.nbytes for array in arrays),
                    crc32=checksum(dataset, numpy),
                )
            each.train.check_fits(sources[key].samples)
        except MlpXpError as error:
            if error.setting == SETTING:
                error.setting = "data_dir" if each.data_dir else "dataset"
            error.text += place
            raise
    return sources


def sums_of_starts(settings: Iterable[tuple[str, Settings]], *, required: bool) -> dict[str, str]:
    """Return the checksum of each model that members begin with.

    required: raise RunError for a run that has none; else it is left out, since members that have begun do not need it.
    """
    sums = {}
    for start in dict.fromkeys(each.start_from for _, each in settings if each.start_from):
        try:
            sums[start] = load_model(start).sha256
        except RunError:
            if required:
                raise
    return sums
