"""Load data sets on a backend's device, by name or from files."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlp_xp.backends.opening import as_backend
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
from mlp_xp.declared import declared
from mlp_xp.errors import DatasetError, as_path, nearest, quoted

# The forms in which data may be stored, one row each. The first form that fits a file
# or folder reads it.
FORMATS: tuple[Format, ...] = (
    _mnist_files.FORMAT,
    _array_files.FORMAT,
    table_files.FORMAT,
    pictures.FORMAT,
)
# The options that apply to some forms of your own data only.
_SPECIAL = {option for form in FORMATS for option in form.options}

_HERE = Path(__file__).resolve().parent
# Next to this file in an installed package, at the top of the repository in a clone.
_INSTALLED, _CLONED = _HERE / "mnist", _HERE.parent.parent / "data" / "mnist"
MNIST_DIR = _INSTALLED
if _CLONED.is_dir() and not _INSTALLED.is_dir():
    MNIST_DIR = _CLONED


def load_dataset(
    name_or_folder: str | os.PathLike[str] = "mnist",
    backend: Backend | str | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    **how: Any,
) -> Dataset:
    """Load a published data set by its name, or your own from a file or folder.

    MNIST is read from the package or the repository if it is there. Other published
    data are downloaded once. A test set equal to the training set is rejected, because
    its accuracy would mean nothing.

    Args:
        name_or_folder: A key of DATASETS, such as "mnist" or "fashion-mnist". Or the
            path of your own data in one of the forms in docs/own_data.md, or of images
            in the form of MNIST's files.
        backend: Where the arrays are: a backend, or the name of a library. By default
            they are NumPy arrays on the host.
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
    options = DataOptions(**how)
    backend = as_backend(backend)
    path = as_path(name_or_folder, "dataset", "give a data set's name or a path")
    form = _format_of(name_or_folder, options)
    wrong = _inapplicable(form, options)
    if wrong:
        raise DatasetError(
            f"{quoted(name_or_folder)} holds {form.holds}, to which this option does "
            "not apply",
            remedy="leave it out",
            setting=wrong[0],
        )
    if name_or_folder in DATASETS:
        name = path.name
        samples = _read_published(name, cache_dir)
        dataset = replace(to_dataset(samples, backend, options), published=True)
    else:
        name = str(path.absolute())
        # The samples get no name here, so that their text is freed after its last use.
        dataset = to_dataset(form.read(path, options, None), backend, options)
    dataset = replace(dataset, name=name)
    if dataset.test is not None:
        _check_test(dataset.train.inputs, dataset.test.inputs, backend, path)
    if form.is_own:
        return replace(dataset, options=options)
    return replace(dataset, hold_out=None)


def _read_published(name: str, cache_dir: str | os.PathLike[str] | None) -> RawSamples:
    source = DATASETS[name]
    if name == "mnist" and MNIST_DIR.is_dir():
        files = [MNIST_DIR / file for file in source.files]
        return _mnist_files.read_files(files, source)
    return _mnist_files.read_files(fetch(name, cache_dir=cache_dir), source)


def _check_test(
    inputs: Array, test_inputs: Array, backend: Backend, path: Path
) -> None:
    """Raise DatasetError if the test set equals the training set."""
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
    """Return whether a file or folder exists and has your own data.

    Data like MNIST's are not your own.
    """
    return os.path.lexists(name_or_folder) and _format_of(name_or_folder, how).is_own


def load_to_evaluate(data: Any, model: Model, how: DataOptions) -> Dataset:
    """Load your own data to evaluate a trained network on.

    The samples are the test set of the data, or all samples if there is no test set.
    Both parts of the data set are these samples, because there is no split. Some of the
    network's classes may be missing. Labels are matched with the names of the classes
    by their text. The columns of a table may be in another order, and other columns may
    be among them. Rows of a table without a label are left out, with an MlpXpWarning.

    data: a path, or (X, y), as `from_arrays` takes them. Or a data frame with labels in
    the columns of how.label. how: the options to read the data. Raises as
    `load_dataset` does, also for data that do not fit the network.
    """
    signature = model.signature
    unused: dict[str, Any] = dict.fromkeys(
        ("exclude", "text", "cv", "fold", "sample_weight", "class_weight")
    )
    task = signature.task.name
    how = replace(how, task=task, test_fraction=0.0, scale_targets=False, **unused)
    if isinstance(data, str | os.PathLike):
        path = Path(data)
        name = str(path.absolute())
        samples = _read_for(path, model, how)
    else:
        name = UNNAMED
        samples = _take_for(data, model, how)
    part = samples.test or samples.train
    samples = replace(samples, train=part, test=None, columns=signature.columns)
    how = replace(how, drop_unlabelled=True)
    dataset = to_dataset(
        samples, model.backend, how, standardize=False, trained=signature.outputs
    )
    return replace(dataset, test=dataset.train, name=name)


def _read_for(path: Path, model: Model, how: DataOptions) -> RawSamples:
    """Read files in the form of a network's training data. Raises DatasetError."""
    form = _format_of(path, how)
    has_no_labels = form is table_files.FORMAT and how.label is None
    if has_no_labels or _inapplicable(form, how):
        raise DatasetError(
            f"holds {form.holds}, which cannot be read as the run's own data were",
            remedy="give data in the same form",
            file=path,
        )
    return form.read(path, how, model.signature.columns)


def _take_for(data: Any, model: Model, how: DataOptions) -> RawSamples:
    """Take samples in memory for a network. Columns are found by their names.

    Raises DatasetError.
    """
    signature = model.signature
    if isinstance(data, tuple | list) and len(data) == 2:
        X, y = data
        check_index(X, y, "y")
        numbers = tuple(map(str, range(len(signature.outputs))))
        has_names = not signature.task.exclusive and signature.outputs != numbers
        wanted: Sequence[str] = signature.outputs if has_names else ()
        labels, label_names = take_labels("y", y, wanted)
    else:
        X = data
        names, _ = columns_of(data)
        if not names or how.label is None:
            raise DatasetError(
                "has no labels that are known", remedy="give (X, y)", setting="data"
            )
        wanted = split_names(how.label, names)
        labels, label_names = take_labels("data", data, wanted)
    columns = signature.columns
    table = table_of(X, "X", columns.names) if columns else None
    if table is None:
        return RawSamples(Part(X, labels), label_names=label_names)
    return RawSamples(Part(table, labels), form="columns", label_names=label_names)


def _format_of(name_or_folder: str | os.PathLike[str], how: DataOptions) -> Format:
    """Return the form of a published data set, or of a file or folder.

    The names of the files decide. Raises DatasetError.
    """
    path = Path(name_or_folder)
    if name_or_folder in DATASETS:  # a string; a Path is a folder, whatever its name
        return _mnist_files.FORMAT
    if not os.path.lexists(name_or_folder):
        text = str(name_or_folder)
        known = nearest(text, DATASETS)
        raise DatasetError(
            f"{quoted(text)}: no such folder, file or data set{known}",
            remedy=f"choose one of {', '.join(DATASETS)}, or give {pictures.GIVE}",
            setting="dataset" if known else "data",
        )
    names = visible_names(path) if path.is_dir() else [path.name]
    # the last two forms take every file and every folder
    return next(form for form in FORMATS if form.is_it(path, names, how))


def _inapplicable(form: Format, how: DataOptions) -> list[str]:
    """Return the given options that do not apply to data in a form."""
    given = []
    for name, each in declared(DataOptions).items():
        if getattr(how, name) != each.default:
            given.append(name)
    if not form.is_own:
        return given
    return [name for name in given if name in _SPECIAL - {*form.options}]
