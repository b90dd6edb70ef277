"""The data sets of a sweep: loaded once, and mapped into the memory of all processes."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import open_backend
from mlp_xp.checks import check_dataset
from mlp_xp.data.datasets import SETTING, load_dataset
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError
from mlp_xp.files import file_errors, make_folder
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import CONFIG, check_data, data_facts, data_of, read_config
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_index import Member
from mlp_xp.sweeps.folder import DATA, run_of
from mlp_xp.sweeps.grid import Plan, settings_of

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class Source(NamedTuple):
    """A data set of some members."""

    arrays: tuple[Any, ...]
    """Those named by ARRAYS, on the host; None for a test set that there is not."""
    facts: Dataset
    """The same data set without its arrays."""


Sources = dict[Any, Source]


def key_of(settings: Settings) -> Any:
    """Return the key of the data set of a member."""
    # The floats of your own files have the member's dtype from the start, as in `train`.
    return (data_of(settings), *((settings.origin, settings.dtype) if settings.data_dir else ()))


def load_sources(settings: Iterable[tuple[str, Settings]], cache_dir: Path | None, progress: Any = None) -> Sources:
    """Load and check each data set once, and check that each member can be trained on its own.

    settings: of each member, after a text that names it. Raises DatasetError, ConfigError and what `load_dataset` does.
    """
    sources: Sources = {}
    for place, each in settings:
        key, numpy = key_of(each), open_backend("numpy", dtype=each.dtype)
        try:
            if key not in sources:
                origin = each.origin._asdict() if each.data_dir else {}
                data = load_dataset(key[0], numpy, cache_dir=cache_dir, progress=progress, **origin)
                check_dataset(data, numpy)
                without: dict[str, Any] = dict.fromkeys(ARRAYS)
                arrays = tuple(getattr(data, name) for name in ARRAYS)
                sources[key] = Source(arrays, data._replace(**without))
            each.train.check_fits(len(sources[key].arrays[0]))
        except MlpXpError as error:
            if error.setting == SETTING:
                error.setting = "data_dir" if each.data_dir else "dataset"
            error.text += place
            raise
    return sources


def check_begun(folder: Path, plan: Plan, members: Iterable[Member], sources: Sources) -> None:
    """Raise RunError if a member has begun with other data, or other weights to start from, than there are now.

    Their own records are compared. The results of a sweep would else be of several data sets.
    """
    facts: dict[Any, dict[str, Any]] = {}
    sums: dict[str, str | None] = {}
    for member in members:
        run = run_of(folder, member.name)
        if not (run / CONFIG).exists():
            continue
        try:
            _, record = read_config(run)
        except MlpXpError:  # the member's own fault, which stops no other one
            continue
        settings = settings_of(plan.base, member.settings)
        key = key_of(settings), settings.train.validation
        if key not in facts:
            source = sources[key[0]]
            dataset = source.facts._replace(**dict(zip(ARRAYS, source.arrays, strict=True)))
            facts[key] = data_facts(settings, dataset, open_backend("numpy", dtype=settings.dtype))
        try:
            check_data(run, facts[key])
        except RunError as error:
            raise RunError(
                f"{error.text}, or choose another folder for the sweep",
                setting="data_dir" if settings.data_dir else "dataset",
            ) from error
        if (start := settings.start_from) is None:
            continue
        if start not in sums:
            sums[start] = None
            with contextlib.suppress(RunError):  # a member that still needs it says so
                sums[start] = load_model(start).sha256
        before = record.get("start_from_sha256")
        if before and sums[start] and before != sums[start]:
            raise RunError(
                f"{str(run / CONFIG)!r}: the run began with other weights than {start!r} has now (SHA-256 "
                f"{before[:8]}..., now {str(sums[start])[:8]}...); give the sweep's own, or choose another folder for "
                "the sweep",
                setting="start_from",
            )


def map_sources(folder: Path, sources: Sources) -> Sources:
    """Write the arrays to the folder of a sweep, and return them as maps of these files. Raises FileError.

    The maps are copy-on-write: the memory is shared as long as nobody writes to it, and libraries accept the arrays.
    """
    place = folder / DATA
    mapped: Sources = {}
    with file_errors(place, "write"):
        make_folder(place)
        for number, (key, source) in enumerate(sources.items()):
            arrays: list[Any] = []
            for name, array in zip(ARRAYS, source.arrays, strict=True):
                if array is None:
                    arrays.append(None)
                    continue
                path = place / f"{number}-{name}.npy"
                path.unlink(missing_ok=True)  # a process of a killed sweep may still have it mapped
                np.save(path, array)
                arrays.append(np.load(path, mmap_mode="c"))
            mapped[key] = source._replace(arrays=tuple(arrays))
    return mapped
