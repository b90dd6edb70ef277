"""Several networks as one, which predicts the mean of their predictions.

A single run is an ensemble of one.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.model import Model
from mlp_xp.core.network import initial_layers
from mlp_xp.core.signature import Signature
from mlp_xp.core.task import Evaluation, in_units
from mlp_xp.core.training import Report
from mlp_xp.errors import (
    MlpXpError,
    MlpXpWarning,
    as_path,
    check_type,
    first_difference,
    quoted,
    warn,
)
from mlp_xp.runs._tensors import read_sha256
from mlp_xp.runs.fingerprints import data_crc32, row_fingerprints
from mlp_xp.runs.loading import load_run
from mlp_xp.runs.names import MODEL
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.runs.table import sweep_rows

Models = Model | str | Path | Sequence[Model | str | Path]
"""A model, the folder of a run or of a sweep, or several of these.

A sweep stands for its finished members. The predictions of several models are averaged.
"""


def open_models(
    given: Models, backend: Backend | str, device: str | None
) -> list[Model]:
    """Return the given models on a backend, each in its own dtype.

    A model given twice counts once.

    Raises:
        RunError: A folder has no model, or the models do not fit together.
        MlpXpError: No model is given.
        BackendError: The array library or the device is not available.
    """
    remedy = "give a run's folder, a model, or several in a list"
    check_type(given, Iterable | Model | os.PathLike, "models", remedy)
    if isinstance(given, Report):
        raise MlpXpError("is a Report", remedy="give its model", setting="models")
    several = [given] if isinstance(given, Model | str | os.PathLike) else given
    found: dict[Any, Model] = {}
    for each in several:
        for model in _models_of(each):
            found.setdefault(_identity(model), model)
    if not found:
        raise MlpXpError("there are none", remedy=remedy, setting="models")
    models = list(found.values())
    first = models[0]
    for model in models:
        whose = f"the network of {quoted(first.source)}"
        check_fit(model, first.signature, whose, together=True)
    if isinstance(backend, Backend):
        return [model.on(backend) for model in models]
    return [
        model.on(open_backend(backend, device, model.backend.dtype_name))
        for model in models
    ]


def _models_of(given: Model | str | Path) -> list[Model]:
    """Return a model, the model of a run, or the models of a sweep's finished members.

    Gives an MlpXpWarning for a sweep with unfinished members.
    """
    if isinstance(given, Model):
        return [given]
    folder = as_path(given, "models", "give a run's folder or a model")
    sweep = SweepFolder(folder)
    if not sweep.exists():
        return [load_run(folder)]
    rows, _ = sweep_rows(sweep)
    finished = [row for row in rows if row.state == FINISHED]
    if not finished:
        fault = "no member of this sweep has finished; start the sweep again"
        raise RunError(fault, file=folder)
    if len(finished) < len(rows):
        counts = f"only {len(finished)} of {len(rows)} members of this sweep"
        fault = f"{counts} have finished; the others are left out"
        warn(MlpXpWarning(fault, file=folder))
    return [load_run(row.folder) for row in finished]


def _identity(model: Model) -> Any:
    """Return a key that is equal for one network of one run, however it is named."""
    if not model.file:
        return id(model)
    return Path(model.file).resolve(), model.sha256


def paths_of(given: Any) -> list[Path]:
    """Return one path or several as a list."""
    if isinstance(given, str | os.PathLike):
        return [Path(given)]
    remedy = "give the folder of a run, or several in a list"
    check_type(given, Iterable, "run_dirs", remedy)
    paths = [as_path(each, "run_dirs", remedy) for each in given]
    if not paths:
        raise MlpXpError("there are none", remedy=remedy, setting="run_dirs")
    return paths


def run_of(model: Model) -> RunFolder | None:
    """Return the run from whose folder a model was read, or None.

    Raises:
        RunError: The folder has another model now.
    """
    path = Path(model.file)
    run = RunFolder(path.parent)
    if path.name != MODEL or not run.exists():
        return None
    if Path(model.source).absolute() == path.parent:
        run = RunFolder(model.source)  # for messages, the name that the user gave
    if read_sha256(path) != model.sha256:
        fault = "the run has been trained since this model was read; read it again"
        raise RunError(fault, file=model.source)
    return run


def initial_weights(model: Model) -> np.ndarray | None:
    """Return the weights of the first layer before training, float64, or None.

    They follow from the settings of the run. A model without a run has none, nor has a
    run that starts from another one, or one of several networks.
    """
    run = run_of(model)
    if run is None:
        return None
    settings = run.settings()
    if settings.start_from or settings.networks > 1:
        return None
    config = settings.train
    random = np.random.RandomState(config.seed)
    sizes = model.network[0].weights.shape
    return initial_layers(sizes, random, config.init)[0].weights


def check_fit(
    model: Model, other: Signature, whose: str, *, together: bool = False
) -> None:
    """Raise RunError unless a model fits another signature.

    Args:
        model: The model.
        other: The signature of data, or of another model.
        whose: The data or the other model in the message.
        together: See `Signature.difference`.
    """
    difference = model.signature.difference(other, together=together)
    if difference:
        raise RunError(
            f"its network does not fit {whose}: {difference}",
            file=model.source,
            remedy="give data and runs with the same task, inputs and outputs",
        )


def check_tests(
    models: Sequence[Model], datasets: Sequence[Dataset], *, same: bool = False
) -> tuple[list[Samples], int]:
    """Return the test sets, and the number of rows that equal training rows.

    Gives an MlpXpWarning with this number. A row is known by its numbers and its label.
    Rows of a network's own data are not compared.

    Args:
        models: The networks.
        datasets: For each network the data on its backend, with a test set.
        same: Whether all data sets are read from the same data. Their features differ
            if the columns were fitted to different training sets, but the labels may
            not differ.

    Raises:
        RunError: The test sets differ.
    """
    tests = [_test_of(dataset) for dataset in datasets]
    if any(dataset is not datasets[0] for dataset in datasets):
        _check_same(models, tests, labels_only=same)
    is_trained = np.zeros(len(tests[0]), np.bool_)
    for model, dataset, test in zip(models, datasets, tests, strict=True):
        run = run_of(model)
        if run is None or _is_own(dataset, run, model.backend):
            continue
        trained = run.trained_rows()
        if len(trained):
            is_trained |= np.isin(row_fingerprints(test, model.backend), trained)
    count = int(is_trained.sum())
    if count:
        fault = f"{count} of {len(is_trained)} rows equal training rows"
        remedy = "new rows would be predicted less well than these"
        warn(MlpXpWarning(fault, remedy=remedy))
    return tests, count


def _test_of(dataset: Dataset) -> Samples:
    if dataset.test is None:
        raise RunError(
            f"the data {quoted(dataset.name)} have no test set: all their samples are "
            "for training, and results on training samples say nothing about new data; "
            "give other data, or train with a test set"
        )
    return dataset.test


@np.errstate(over="ignore")  # a number too large for float32 becomes infinite
def _check_same(
    models: Sequence[Model], tests: Sequence[Samples], *, labels_only: bool
) -> None:
    """Raise RunError unless all test sets have the same rows, or the same labels."""
    first = quoted(models[0].source)
    fault = (
        f"has another test set than {first}: it was trained on other data, or on "
        "another split of the same; give runs with the same split, or one; the means "
        "of folds are in summary.csv of their sweep"
    )
    if labels_only:
        fault = (
            f"reads other labels in these data than {first}; give runs with the same "
            "label columns, or one"
        )
    found = []
    for model, test in zip(models, tests, strict=True):
        # In float32, because runs in both dtypes may have the same data.
        if labels_only:
            found.append(model.backend.to_numpy(test.labels).astype(np.float32))
        else:
            found.append(row_fingerprints(test, model.backend))
        if np.array_equal(found[-1], found[0]):
            continue
        both = model.signature.columns, models[0].signature.columns
        if not labels_only and all(both):
            difference = first_difference([("columns", *(each.names for each in both))])
            if difference:
                remedy = "give data to evaluate both on"
                fault = f"reads other columns than {first}: {difference}; {remedy}"
        raise RunError(fault, file=model.source)


def _is_own(dataset: Dataset, run: RunFolder, backend: Backend) -> bool:
    """Return whether a data set on a backend is the data set of a run."""
    own = run.record().get("data_crc32")
    return data_crc32(dataset, backend, run.settings().dtype) == own


def evaluate_pooled(
    models: Sequence[Model], logits: Sequence[np.ndarray], labels: np.ndarray
) -> tuple[Evaluation, np.ndarray]:
    """Evaluate the mean of the predictions of several networks.

    Numbers are standardised in the units of the first network.

    Args:
        models: The networks.
        logits: The logits of each network, (n, outputs), on the host.
        labels: Labels as in `Samples`, on the host.

    Returns:
        The result, and the logits of the mean, float64 (n, outputs).
    """
    task, xp = models[0].signature.task, open_backend().xp
    units = models[0].signature.units
    stacked = [each.astype(np.float64) for each in logits]
    if task.floats:
        for i, model in enumerate(models):
            z = in_units(stacked[i], model.signature.units)
            stacked[i] = task.encode(z, z.shape[1], units, dtype=np.float64, xp=xp)
    pooled = task.pool(np.stack(stacked))
    return task.evaluate(pooled, labels, units), pooled
