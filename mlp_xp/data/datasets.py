"""Load data sets on a backend's device: by name, from files like MNIST's, or from your own files."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.core.model import Model
from mlp_xp.data.arrays import read_part, to_dataset
from mlp_xp.data.downloads import Progress, fetch
from mlp_xp.data.formats import OPTIONS, check_options, format_of, read_samples
from mlp_xp.data.labels import labels_of, meaning_for
from mlp_xp.data.mnist_files import read_files
from mlp_xp.data.origin import Origin
from mlp_xp.data.picture_folders import GIVE
from mlp_xp.data.registry import DATASETS
from mlp_xp.data.samples import Samples
from mlp_xp.errors import DatasetError, nearest

_HERE = Path(__file__).resolve().parent
# Next to this file in an installed package; at the top of the repository in a clone.
MNIST_DIR = next((d for d in (_HERE / "mnist", _HERE.parent.parent / "data" / "mnist") if d.is_dir()), _HERE / "mnist")
SETTING = "name_or_folder"  # the argument of `load_dataset` that the errors are about


def load_dataset(
    name_or_folder: str | os.PathLike[str] = "mnist",
    backend: Backend | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **how: Any,
) -> Dataset:
    """Load a data set by its name in DATASETS, or your own from a file or folder.

    The arrays are on the backend's device; without a backend they are NumPy arrays on the host. MNIST is read from the
    package or the repository if it is there. Other data sets are downloaded once; see `downloads.fetch` for `cache_dir`
    and `progress`.

    A folder (a path, or a string that is not a name) may hold data like MNIST's: four IDX files with its names, gzipped
    or plain, or two CSV files in the format of `mnist_files.read_csv`: one with the word `train` in its name, one with
    `test` or `t10k` (`mnist_train.csv`, but not `latest.csv`). The labels are 0 to 9, the images `uint8`. Otherwise it
    holds your own data, in one of the forms of `formats.FORMATS`: a table with a header, a .npz archive, or a folder of
    pictures, tables or .npy files.

    how: the fields of `Origin`, for your own data. label: the column of a table that has the labels, or several as in
    "a,b"; without it a folder of CSV files is taken for one like MNIST's. exclude: columns to ignore, in the same form.
    test_fraction: the share of the samples, at least 0 (no test set) and below 1, that a shuffle with `split_seed`
    selects for testing, where the files have no test set. picture_size: the side of a square to resize pictures to.
    task, stratify, scale_targets: as for `from_arrays`.

    A test set that is the training set is rejected: its accuracy would mean nothing. Raises DatasetError, which names
    the file and the fault, or DownloadError. If no data set is found, the error's `setting` is "name_or_folder".
    """
    origin = Origin(**how)
    is_name = isinstance(name_or_folder, str) and name_or_folder in DATASETS
    path = Path(name_or_folder)
    if not is_name and (name_or_folder == "" or not os.path.lexists(path)):
        raise DatasetError(
            f"{str(name_or_folder)!r}: no such folder, file or data set{nearest(str(name_or_folder), DATASETS)}",
            remedy=f"choose one of {', '.join(DATASETS)}, or give {GIVE}",
            setting=SETTING,
        )
    if is_name:
        check_options(str(name_or_folder), None, origin)
    if is_name and (name_or_folder != "mnist" or not MNIST_DIR.is_dir()):
        name = str(name_or_folder)
        samples = read_files(fetch(name, cache_dir=cache_dir, progress=progress), DATASETS[name])
    else:
        samples = read_samples(MNIST_DIR if is_name else path, origin)
    _check_test_set(path, samples)
    dataset = to_dataset(samples, backend or open_backend(), origin)
    if not samples.is_own:
        return dataset._replace(name=str(name_or_folder) if is_name else str(path.absolute()))
    return dataset._replace(name=str(path.absolute()), origin=origin)


def is_own(name_or_folder: str | os.PathLike[str], how: Origin) -> bool:
    """Return whether a file or folder has your own data; False for data like MNIST's, and if it does not exist."""
    path = Path(name_or_folder)
    if (isinstance(name_or_folder, str) and name_or_folder in ("", *DATASETS)) or not os.path.lexists(path):
        return False
    return format_of(path, how).is_own


def load_own(path: Path, backend: Backend, how: Origin, *, features: Sequence[str] | None = None) -> Dataset:
    """Load your own data as `load_dataset` does. features: the columns of a table, in this order; by default all."""
    samples = read_samples(path, how, features)
    _check_test_set(path, samples)
    return to_dataset(samples, backend, how)._replace(name=str(path.absolute()), origin=how)


def load_to_evaluate(path: str | os.PathLike[str], model: Model, how: Origin) -> Dataset:
    """Load your own data to evaluate a trained network on: their test set, or all samples if they have none.

    Both parts of the data set are these samples. how: how to read them; there is no split. The network's classes need
    not all be there; labels are matched with their names by their text. The columns of a table may be in another order
    and among others. Raises as `load_dataset` does, also for data that do not fit the network.
    """
    place, how, backend = Path(path), replace(how, task=model.task.name, exclude=None), model.backend
    names = model.feature_names if model.inputs == "columns" else ()
    try:
        samples = read_samples(place, how, names or None).to_evaluate()
    except DatasetError as error:
        if error.setting in OPTIONS:  # which are the run's, not the caller's
            fault = f"holds {format_of(place, how).holds}, which cannot be read as the run's own data were"
            raise DatasetError(fault, remedy="give data in the same form", file=place) from error
        raise
    with samples.naming(samples.train):
        y = labels_of(samples, samples.train, backend)
        meaning = meaning_for(samples, y, model.task, model.class_names)
    inputs, labels, _ = read_part(samples, samples.train, meaning, backend)
    part = inputs, backend.asarray(labels, backend.dtype if model.task.floats else None)
    return Dataset(
        *(*part, *part, meaning.names, str(place.absolute())),
        task=model.task,
        origin=how,
        inputs=samples.kind,
        feature_names=samples.feature_names,
        is_own=True,
    )


def _check_test_set(path: Path, samples: Samples) -> None:
    if samples.test is not None and np.array_equal(samples.train.inputs, samples.test.inputs):
        raise DatasetError(
            "the test set is the training set: testing on the training set says nothing about other samples",
            remedy="give a test set of its own",
            file=path,
        )
