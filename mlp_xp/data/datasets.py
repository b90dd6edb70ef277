"""Load data sets on a backend's device: by name, from files like MNIST's, or from your
own files.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import UNNAMED, Dataset
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model
from mlp_xp.data import _array_files, _mnist_files, pictures, table_files
from mlp_xp.data._downloads import fetch
from mlp_xp.data.arrays import check_index, to_dataset
from mlp_xp.data.frames import columns_of, table_of, take_labels
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import visible_names
from mlp_xp.data.registry import DATASETS
from mlp_xp.data.samples import Format, Part, RawSamples
from mlp_xp.data.table_files import split_names
from mlp_xp.errors import DatasetError, nearest, quoted

# The forms in which data may be stored, one row each. The first one that fits a file or
# folder reads it.
FORMATS: tuple[Format, ...] = (
    _mnist_files.FORMAT,
    _array_files.FORMAT,
    table_files.FORMAT,
    pictures.FORMAT,
)
# What is for data of your own, in any form; the default of each is None.
OWN = "task", "cv", "fold", "class_weight"
OPTIONS = (*OWN, *(option for row in FORMATS for option in row.options))

_HERE = Path(__file__).resolve().parent
# Next to this file in an installed package; at the top of the repository in a clone.
MNIST_DIR = next(
    (
        d
        for d in (_HERE / "mnist", _HERE.parent.parent / "data" / "mnist")
        if d.is_dir()
    ),
    _HERE / "mnist",
)


def load_dataset(
    name_or_folder: str | os.PathLike[str] = "mnist",
    backend: Backend | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    **how: Any,
) -> Dataset:
    """Load a published data set by its name, or your own from a file or folder.

    MNIST is read from the package or the repository if it is there. Other published
    data are downloaded once. A test set that is the training set is rejected: its
    accuracy would mean nothing.

    Args:
        name_or_folder: A key of DATASETS, such as "mnist" or "fashion-mnist". Or the
            path of your own data in one of the forms that docs/own_data.md describes,
            or of images in the form of MNIST's files.
        backend: Where the arrays are; by default NumPy arrays on the host.
        cache_dir: Folder for downloads; by default MLP_XP_CACHE, or the cache folder of
            the system.
        how: The fields of `DataOptions`, for your own data. A folder of CSV files
            without `label` holds images like MNIST's.

    Returns:
        The data set.

    Raises:
        DatasetError: The data cannot be read. The error names the file and the fault.
        DownloadError: A file cannot be downloaded.

    Examples:
        >>> load_dataset("mnist")
        Dataset('mnist', 60000 training and 10000 test images of 28 x 28, 10 classes)
    """
    options, backend = DataOptions(**how), backend or open_backend()
    row, path = _format_of(name_or_folder, options), Path(name_or_folder)
    if wrong := _meaningless(row, options):
        fault = (
            f"{quoted(name_or_folder)} holds {row.holds}, for which this means nothing"
        )
        raise DatasetError(fault, remedy="leave it out", setting=wrong[0])
    if name_or_folder in DATASETS:
        name, source, is_here = (
            path.name,
            DATASETS[path.name],
            path.name == "mnist" and MNIST_DIR.is_dir(),
        )
        files = (
            [MNIST_DIR / file for file in source.files]
            if is_here
            else fetch(name, cache_dir=cache_dir)
        )
        samples = _mnist_files.read_files(files, source)
    else:
        name, samples = str(path.absolute()), row.read(path, options, None)
    dataset = replace(to_dataset(samples, backend, options), name=name)
    if dataset.test is not None:
        _check_test(dataset.train.inputs, dataset.test.inputs, backend, path)
    if row.is_own:
        return replace(dataset, options=options)
    return replace(dataset, hold_out=None)


def _check_test(
    inputs: Array, test_inputs: Array, backend: Backend, path: Path
) -> None:
    """Raise DatasetError if the test set is the training set."""
    if inputs.shape != test_inputs.shape:
        return
    if (backend.to_numpy(inputs) == backend.to_numpy(test_inputs)).all():
        raise DatasetError(
            "the test set is the training set: testing on the training set says "
            "nothing about other samples",
            remedy="give a test set of its own",
            file=path,
        )


def is_own(name_or_folder: str | os.PathLike[str], how: DataOptions) -> bool:
    """Return whether a file or folder has your own data; False for data like MNIST's,
    and if it does not exist.
    """
    return os.path.lexists(name_or_folder) and _format_of(name_or_folder, how).is_own


def load_to_evaluate(data: Any, model: Model, how: DataOptions) -> Dataset:
    """Load your own data to evaluate a trained network on: their test set, or all
    samples if they have none.

    Both parts of the data set are these samples. data: a path; (X, y), as `from_arrays`
    takes them; or a data frame with the columns of labels that `how` names. how: how to
    read them; there is no split. The network's classes need not all be there; labels
    are matched with their names by their text. The columns of a table may be in another
    order and among others. Raises as `load_dataset` does, also for data that do not fit
    the network.
    """
    unused: dict[str, Any] = dict.fromkeys(
        ("exclude", "cv", "fold", "sample_weight", "class_weight")
    )
    task = model.signature.task.name
    how = replace(how, task=task, test_fraction=0.0, scale_targets=False, **unused)
    path = Path(data) if isinstance(data, str | os.PathLike) else None
    samples = (
        _take_for(data, model, how) if path is None else _read_for(path, model, how)
    )
    part = samples.test or samples.train
    columns, outputs = model.signature.columns, model.signature.outputs
    samples = replace(samples, train=part, test=None, columns=columns)
    dataset = to_dataset(
        samples, model.backend, how, standardize=False, trained=outputs
    )
    name = str(path.absolute()) if path else UNNAMED
    return replace(dataset, test=dataset.train, name=name)


def _read_for(path: Path, model: Model, how: DataOptions) -> RawSamples:
    """Return samples in files in the form of a network's training data. Raises
    DatasetError.
    """
    row = _format_of(path, how)
    if _meaningless(row, how) or (row is table_files.FORMAT and how.label is None):
        fault = f"holds {row.holds}, which cannot be read as the run's own data were"
        raise DatasetError(fault, remedy="give data in the same form", file=path)
    return row.read(path, how, model.signature.columns)


def _take_for(data: Any, model: Model, how: DataOptions) -> RawSamples:
    """Return samples in memory for a network, by the names of the columns that it
    knows. Raises DatasetError.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        check_index(data[0], data[1], "y")
        X, outputs = data[0], model.signature.outputs
        numbers = tuple(map(str, range(len(outputs))))
        is_named = not model.signature.task.exclusive and outputs != numbers
        labels, names = take_labels("y", data[1], outputs if is_named else ())
    elif (found := columns_of(data)[0]) and how.label is not None:
        X, (labels, names) = (
            data,
            take_labels("data", data, split_names(how.label, found)),
        )
    else:
        raise DatasetError(
            "has no labels that are known", remedy="give (X, y)", setting="data"
        )
    columns = model.signature.columns
    table = table_of(X, "X", columns.names) if columns else None
    if table is None:
        return RawSamples(Part(X, labels), label_names=names)
    return RawSamples(Part(table, labels), form="columns", label_names=names)


def _format_of(name_or_folder: str | os.PathLike[str], how: DataOptions) -> Format:
    """Return the form of a published data set, or of a file or folder by the names in
    it. Raises DatasetError.
    """
    text, path = str(name_or_folder), Path(name_or_folder)
    if name_or_folder in DATASETS:  # a string; a Path is a folder, whatever its name
        return _mnist_files.FORMAT
    if not os.path.lexists(name_or_folder):
        known = nearest(text, DATASETS)
        raise DatasetError(
            f"{quoted(text)}: no such folder, file or data set{known}",
            remedy=f"choose one of {', '.join(DATASETS)}, or give {pictures.GIVE}",
            setting="dataset" if known else "data",
        )
    names = visible_names(path) if path.is_dir() else [path.name]
    return next(row for row in FORMATS if row.is_it(path, names, how))


def _meaningless(row: Format, how: DataOptions) -> list[str]:
    """Return the options that are given, but mean nothing for data in a form."""
    known = (*OWN, *row.options) if row.is_own else ()
    return [
        option
        for option in OPTIONS
        if getattr(how, option) is not None and option not in known
    ]
