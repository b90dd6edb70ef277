"""Several networks as one, whose predictions are the mean of theirs. A single run is an
ensemble of one.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import Dataset, Samples
from mlp_xp.core.model import Model
from mlp_xp.core.signature import Signature
from mlp_xp.core.task import Evaluation, in_units
from mlp_xp.errors import MlpXpError, MlpXpWarning, quoted
from mlp_xp.runs.fingerprints import checksum, row_sums, seen
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder, load_run
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.runs.table import sweep_rows

Models = Model | str | Path | Sequence[Model | str | Path]
"""A model; the folder of a run, or of a sweep, which stands for its finished members;
or several of these, whose predictions are averaged.
"""


def open_models(given: Models, backend: str, device: str | None) -> list[Model]:
    """Return the models of an argument on a backend, each in its own dtype.

    A model that is given twice counts once.

    Raises:
        RunError: A folder has no model, or the models do not fit together.
        MlpXpError: There is none.
        BackendError: The array library or the device is not available.
    """
    several = [given] if isinstance(given, Model | str | os.PathLike) else given
    found: dict[Any, Model] = {}
    for each in several:
        if isinstance(each, Model):
            read = [each]
        else:
            read = [load_run(folder) for folder in _members_of(Path(each))]
        for model in read:
            is_of_file = bool(model.sha256)
            key = Path(model.source).resolve() if is_of_file else id(model)
            found.setdefault(key, model)
    if not found:
        raise MlpXpError(
            "there are none; give a run's folder, a model, or several in a list",
            setting="models",
        )
    models = [*found.values()]
    first = models[0]
    for model in models:
        whose = f"that of {quoted(first.source)}"
        check_fit(model, first.signature, whose, together=True)
    return [
        model.on(open_backend(backend, device, model.backend.dtype_name))
        for model in models
    ]


def paths_of(given: Any) -> list[Path]:
    """Return several paths, or a single one, as a list."""
    if isinstance(given, str | os.PathLike):
        return [Path(given)]
    return [Path(each) for each in given]


def _members_of(folder: Path) -> list[Path]:
    """Return the folder of a run, or the folders of the finished members of a sweep.

    Gives an MlpXpWarning for a sweep with other members. Raises RunError for one
    without a finished member, and MlpXpError for one whose index is damaged.
    """
    sweep = SweepFolder(folder)
    if not sweep.exists():
        return [folder]
    rows = sweep_rows(sweep)[0]
    members = [row.folder for row in rows if row.state == FINISHED]
    if not members:
        raise RunError(
            "no member of this sweep has finished; start the sweep again", file=folder
        )
    if len(members) < len(rows):
        text = f"only {len(members)} of {len(rows)} members of this sweep have finished, and count"
        warnings.warn(MlpXpWarning(text, file=folder), stacklevel=2)
    return members


def run_of(model: Model) -> RunFolder | None:
    """Return the run that a model was read from; None for another model, and for one
    from a mere file.

    Raises RunError if the run has another model by now.
    """
    run = RunFolder(model.source)
    if not model.sha256 or not run.exists():
        return None
    if run.model_sha256() != model.sha256:
        raise RunError(
            "the run has been trained since this model was read; read it again",
            file=model.source,
        )
    return run


def check_fit(
    model: Model, other: Signature, whose: str, *, together: bool = False
) -> None:
    """Raise RunError unless a model fits another signature.

    Args:
        model: The model.
        other: The signature of data, or of another model.
        whose: Names the data or the other model in the message.
        together: See `Signature.difference`.
    """
    difference = model.signature.difference(other, together=together)
    if difference:
        raise RunError(
            f"its network does not fit {whose}: {difference}",
            file=model.source,
            remedy="give data and runs with the same task, inputs and outputs",
        )


def held_out(
    models: Sequence[Model], datasets: Sequence[Dataset], *, same: bool = False
) -> list[Samples]:
    """Return the test sets without the rows that one of the networks was trained on.

    Gives an MlpXpWarning if there are such rows.

    Args:
        models: The networks.
        datasets: For each network the data on its backend, with a test set.
        same: Whether all are of the same rows. These are other features if the columns
            were fitted to other training sets.

    Raises:
        RunError: The test sets differ, or no row is left.
    """
    tests = [_test_of(dataset) for dataset in datasets]
    if not same and any(dataset is not datasets[0] for dataset in datasets):
        _check_same(models, tests)
    count = len(tests[0])
    marks, unsure = np.zeros(count, np.bool_), 0
    for model, dataset, test in zip(models, datasets, tests, strict=True):
        trained = _trained_rows(model, dataset)
        if len(trained):
            found, more = seen(row_sums(test, model.backend), trained)
            marks |= found
            unsure = max(unsure, more)
    if marks.all():
        raise RunError(
            "there are no rows but those that the network was trained on; give other data"
        )
    if unsure:
        text = f"{unsure} of {count} rows count, and may be of the training set, which has such rows several times"
        warnings.warn(text, MlpXpWarning, stacklevel=3)
    if not marks.any():
        return tests
    left_out = (
        f"{marks.sum()} of {count} rows are left out: the network was trained on them"
    )
    warnings.warn(left_out, MlpXpWarning, stacklevel=3)
    rows = np.flatnonzero(~marks).astype(np.int64)
    pairs = zip(models, tests, strict=True)
    return [test.take(rows, model.backend) for model, test in pairs]


def _test_of(dataset: Dataset) -> Samples:
    if dataset.test is None:
        raise RunError(
            f"the data {quoted(dataset.name)} have no test set: all their samples are "
            "for training, and how well a network does on those says nothing; give "
            "other data, or train with a test set"
        )
    return dataset.test


def _check_same(models: Sequence[Model], tests: Sequence[Samples]) -> None:
    """Raise RunError unless all test sets have the same rows."""
    # In float32, because runs in both dtypes may have the same data.
    first = row_sums(tests[0], models[0].backend, "float32")
    for model, test in zip(models[1:], tests[1:], strict=True):
        if not np.array_equal(row_sums(test, model.backend, "float32"), first):
            raise RunError(
                f"has another test set than {quoted(models[0].source)}: it was trained "
                "on other data, or on another split of the same; give runs with the "
                "same split, or a single one, such as a fold",
                file=model.source,
            )


def _trained_rows(model: Model, dataset: Dataset) -> np.ndarray:
    """Return the sums of the rows that a network was trained on; none if the data set
    is the one of its run.
    """
    run = run_of(model)
    if run is None or checksum(dataset, model.backend) == run.record().get(
        "data_crc32"
    ):
        return np.empty(0, np.uint64)
    return run.trained_rows()


def evaluate_pooled(
    models: Sequence[Model], logits: Sequence[np.ndarray], labels: np.ndarray
) -> tuple[Evaluation, np.ndarray]:
    """Return the figures and the logits, float64 (n, outputs), of the mean of several
    networks' predictions.

    logits: those of each model, (n, outputs), on the host. labels: as in a `Dataset`,
    on the host. Numbers are standardised as those of the first model.
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
