"""The data sets of a sweep: loaded and checked before anything is written, and again in each process that trains."""

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mlp_xp.backends.memory import training_bytes
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.checks import check_dataset
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import layer_sizes
from mlp_xp.core.library import Backend
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import checksum, data_of
from mlp_xp.runs.settings import Settings, with_fitting_batches


def key_of(settings: Settings) -> str:
    """Return a text that names the data set of a member."""
    if not settings.data_dir:
        return str(settings.data)
    # The floats of your own files have the member's dtype from the start, as in `train`.
    origin = (f"{name} {value}" for name, value in vars(settings.origin).items() if value is not None)
    return ", ".join([settings.data_dir, settings.dtype, *origin])


def load(settings: Settings, cache_dir: str | None) -> tuple[Dataset, str]:
    """Return a member's data set with its checksum; the one that this process used last is loaded already."""
    return _load(replace(settings, train=TrainConfig(), start_from=None), cache_dir)


@functools.lru_cache(maxsize=1)
def _load(settings: Settings, cache_dir: str | None) -> tuple[Dataset, str]:
    backend = settings.open_backend()
    dataset = _read(settings, backend, cache_dir)
    return dataset, checksum(dataset, backend)


def _read(settings: Settings, backend: Backend, cache_dir: str | None, progress: Any = None) -> Dataset:
    origin = vars(settings.origin) if settings.data_dir else {}
    return load_dataset(data_of(settings), backend, cache_dir=cache_dir, progress=progress, **origin)


def survey(
    members: Iterable[tuple[str, Settings]],
    cache_dir: str | None = None,
    progress: Any = None,
    *,
    fit_batches: bool = False,
) -> tuple[dict[str, str], dict[str, int], int]:
    """Load and check each data set once, with NumPy, and check that each member can be trained on its own.

    members: the settings of each member, after a text that names it. fit_batches: whether batches become as small as a
    small training set. Returns the checksum of each data set and its number of training samples, both by `key_of`, and
    a lower bound of the bytes that the largest member needs. Raises DatasetError, ConfigError and what `load_dataset`
    does.
    """
    sums: dict[str, str] = {}
    samples: dict[str, int] = {}
    largest = 0
    # Members on the same data follow one another, so that one data set is in memory at a time.
    for place, settings in sorted(members, key=lambda member: key_of(member[1])):
        key, backend = key_of(settings), open_backend("numpy", dtype=settings.dtype)
        try:
            if key not in sums:
                dataset = _read(settings, backend, cache_dir, progress)
                check_dataset(dataset, backend)
                sums[key] = checksum(dataset, backend)
                samples[key] = len(dataset.train_inputs)
            if fit_batches:
                settings = with_fitting_batches(settings, samples[key])
            settings.train.check_fits(samples[key])
        except MlpXpError as error:
            if error.setting == SETTING:
                error.setting = "data_dir" if settings.data_dir else "dataset"
            error.notes.append(place)
            raise
        data = sum(array.nbytes for array in dataset[:4] if array is not None)
        sizes = layer_sizes(settings.train, dataset)
        largest = max(largest, data + training_bytes(settings.train, sizes, backend.itemsize))
    return sums, samples, largest


def sums_of_starts(members: Iterable[tuple[str, Settings]], *, required: bool) -> dict[str, str]:
    """Return the checksum of each model that members begin with.

    required: raise RunError for a run without a model; otherwise it is left out, because members that have begun do not
    need it.
    """
    sums = {}
    for start in dict.fromkeys(each.start_from for _, each in members if each.start_from):
        try:
            sums[start] = load_model(start).sha256
        except RunError:
            if required:
                raise
    return sums
