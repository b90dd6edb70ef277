"""The data sets of a sweep: loaded and checked before anything is written, and again in each process that trains."""

import functools
from dataclasses import replace
from pathlib import Path

from mlp_xp.backends.memory import training_bytes
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset, check_dataset
from mlp_xp.core.job import layer_sizes
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.run_folder import checksum
from mlp_xp.runs.settings import Settings, with_fitting_batches
from mlp_xp.sweeps.grid import Plan, examples


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
    backend, origin = settings.open_backend(), vars(settings.origin) if settings.data_dir else {}
    dataset = load_dataset(settings.data, backend, cache_dir=cache_dir, **origin)
    check_dataset(dataset, backend)
    return dataset, checksum(dataset, backend)


def survey(plan: Plan, *, is_new: bool = True) -> tuple[dict[str, str], int, bool]:
    """Check that each member can be trained on its own, with its data and on its backend.

    Each data set is loaded once, with NumPy. The backends are those of this machine, so they are not opened for a
    cluster. is_new: whether the weights to start from must all be there; members that have begun do not need them.

    Returns the checksums of the data, by `key_of`, and of the models to start from; a lower bound of the bytes that the
    largest member needs; and whether one computes on a GPU. Raises DatasetError, ConfigError, BackendError, RunError
    and what `load_dataset` does.
    """
    _load.cache_clear()  # the files may have changed since
    sums: dict[str, str] = {}
    largest, on_gpu = 0, False
    # Members on the same data follow one another, so that one data set is in memory at a time.
    for place, settings in sorted(examples(plan), key=lambda member: key_of(member[1])):
        try:
            on_gpu |= not plan.how.cluster and settings.open_backend().on_gpu
            on_host = replace(settings, backend="numpy", device=None)
            dataset, sums[key_of(settings)] = load(on_host, plan.how.cache_dir)
            if plan.fit_batches:
                settings = with_fitting_batches(settings, len(dataset.train_inputs))
            settings.train.check_fits(len(dataset.train_inputs))
            start = settings.start_from
            if start and start not in sums and (is_new or Path(start).exists()):
                sums[start] = load_model(start).sha256
        except MlpXpError as error:
            if error.setting == SETTING:
                error.setting = "data_dir" if settings.data_dir else "dataset"
            error.notes.append(place)
            raise
        need = sum(array.nbytes for array in dataset[:4] if array is not None)
        sizes = layer_sizes(settings.train, dataset)
        largest = max(largest, need + training_bytes(settings.train, sizes, on_host.open_backend().itemsize))
    _load.cache_clear()
    return sums, largest, on_gpu
