"""Several networks as one, whose predictions are the mean of theirs. A single run is an
ensemble of one.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation, in_units
from mlp_xp.errors import MlpXpWarning, quoted
from mlp_xp.runs.fingerprints import checksum, row_sums, seen
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import FINISHED, SweepFolder
from mlp_xp.runs.table import sweep_rows


def members_of(folder: Path) -> list[Path]:
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


def held_out(
    models: Sequence[Model], datasets: Sequence[Dataset], *, same: bool = False
) -> list[Dataset]:
    """Return data sets without the test rows that one of the networks was trained on,
    with an MlpXpWarning if any is.

    datasets: one for each model, on its backend. same: whether all are of the same
    rows, which are other features if the columns were fitted to other training sets.
    Raises RunError if the test sets differ, or no row is left.
    """
    pairs = [*zip(models, datasets, strict=True)]
    if not same and any(dataset is not datasets[0] for dataset in datasets):
        # In float32, because runs in both dtypes may have the same data.
        first, *others = (
            row_sums(*dataset[2:4], model.backend, "float32")
            for model, dataset in pairs
        )
        for model, sums in zip(models[1:], others, strict=True):
            if not np.array_equal(sums, first):
                raise RunError(
                    f"has another test set than {quoted(models[0].source)}: it was trained on other data, or on "
                    "another split of the same; give runs with the same split, or a single one, such as a fold",
                    file=model.source,
                )
    count = datasets[0].test_labels.shape[0]
    marks, unsure = np.zeros(count, np.bool_), 0
    for model, dataset in pairs:
        if len(trained := _trained_rows(model, dataset)):
            found, more = seen(row_sums(*dataset[2:4], model.backend), trained)
            marks, unsure = marks | found, max(unsure, more)
    if marks.all():
        raise RunError(
            "there are no rows but those that the network was trained on; give other data"
        )
    if unsure:
        text = f"{unsure} of {count} rows count, and may be of the training set, which has such rows several times"
        warnings.warn(text, MlpXpWarning, stacklevel=3)
    if not marks.any():
        return [*datasets]
    left_out = (
        f"{marks.sum()} of {count} rows are left out: the network was trained on them"
    )
    warnings.warn(left_out, MlpXpWarning, stacklevel=3)
    rows, left = np.flatnonzero(~marks).astype(np.int64), []
    for model, dataset in pairs:
        take, numbers = model.backend.xp.take, model.backend.asarray(rows)
        inputs, labels = (take(array, numbers, axis=0) for array in dataset[2:4])
        left.append(dataset._replace(test_inputs=inputs, test_labels=labels))
    return left


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
    task, xp = models[0].task, open_backend().xp
    first, *_ = scalings = [
        tuple(map(model.backend.to_numpy, model.scaling)) for model in models
    ]
    stacked = [each.astype(np.float64) for each in logits]
    if task.floats:
        stacked = [
            task.encode(
                in_units(z, scaling), z.shape[1], first, dtype=np.float64, xp=xp
            )
            for z, scaling in zip(stacked, scalings, strict=True)
        ]
    pooled = task.pool(np.stack(stacked))
    return task.evaluate(pooled, labels, first), pooled
