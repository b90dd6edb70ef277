"""Several networks as one, whose predictions are the mean of theirs. A single run is an ensemble of one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.metrics import loss_and_sums
from mlp_xp.core.model import Model
from mlp_xp.core.task import Evaluation, in_units
from mlp_xp.runs.checkpoints import check_fit, read_sha256
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import CONFIG, MODEL, ROW_SUMS, comparable_rows, read_config, row_sums
from mlp_xp.runs.sweep_index import FINISHED, is_sweep
from mlp_xp.runs.table import sweep_rows


def members_of(folders: Sequence[Path]) -> list[Path]:
    """Return the folders of runs among some folders, and of the finished members of sweeps among them.

    A run that is given twice counts once. Raises RunError for a sweep without a finished member, and MlpXpError for one
    whose index is damaged.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        members = (
            [row.folder for row in sweep_rows(folder)[0] if row.state == FINISHED] if is_sweep(folder) else [folder]
        )
        if not members:
            raise RunError(f"{str(folder)!r}: no member of this sweep has finished; start the sweep again")
        for member in members:
            found.setdefault(member.resolve(), member)
    return [*found.values()]


def check_alike(models: Sequence[Model]) -> None:
    """Raise RunError unless all models have the same task, inputs and outputs."""
    for model in models:
        check_fit(model, models[0], f"that of {models[0].source!r}")


def run_of(model: Model) -> Path | None:
    """Return the folder of the run that a model was read from; None for another model.

    Raises RunError if the run has another model by now.
    """
    path = Path(model.source)
    if path.name != MODEL or not (path.parent / CONFIG).exists():
        return None
    if read_sha256(path) != model.sha256:
        raise RunError(f"{model.source!r}: the run has been trained since this model was read; read it again")
    return path.parent


def check_held_out(models: Sequence[Model], datasets: Sequence[Dataset]) -> None:
    """Raise RunError if a network was trained on rows of its test set, or the test sets differ.

    Rows are compared by content, whatever their order and dtype. datasets: one for each model, on its backend.
    """
    sums: dict[int, list[int]] = {}
    for model, dataset in zip(models, datasets, strict=True):
        folder = run_of(model)
        if folder is None:
            continue
        if id(dataset) not in sums:
            sums[id(dataset)] = [int(each, 16) for each in row_sums(dataset, model.backend).values()]
        train, test = sums[id(dataset)]
        known, held_out = (int(each, 16) for each in read_config(folder)[1]["rows"].values())
        whole = (known + held_out) % ROW_SUMS
        if test != held_out and (test in (known, whole) or (train + test) % ROW_SUMS == whole):
            raise RunError(
                f"{str(folder)!r}: was trained on rows of this test set: these are the run's own data, in another "
                "order or split otherwise; give them in their order, with the run's split"
            )
    first = comparable_rows(datasets[0][2:4], models[0].backend)
    for model, dataset in zip(models, datasets, strict=True):
        ours = first if dataset is datasets[0] else comparable_rows(dataset[2:4], model.backend)
        if not all(map(np.array_equal, ours, first)):
            raise RunError(
                f"{model.source!r}: has another test set than {models[0].source!r}: it was trained on other data, or "
                "on another split of the same; give runs on the same data with the same split"
            )


def pooled_logits(models: Sequence[Model], logits: Sequence[np.ndarray]) -> np.ndarray:
    """Return the logits of an ensemble, float64 (n, outputs), whose predictions are the mean of those of its models.

    logits: those of each model, (n, outputs), on the host. Numbers are standardised as those of the first model.
    """
    task, xp = models[0].task, open_backend().xp
    stacked = [each.astype(np.float64) for each in logits]
    if task.floats:
        first, *_ = scalings = [tuple(map(model.backend.to_numpy, model.scaling)) for model in models]
        stacked = [
            task.encode(in_units(z, scaling), z.shape[1], first, dtype=np.float64, xp=xp)
            for z, scaling in zip(stacked, scalings, strict=True)
        ]
    return task.pool(np.stack(stacked))


def evaluate_pooled(models: Sequence[Model], logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    """Return the figures of an ensemble from its logits (n, outputs) and the labels, as in a `Dataset`, on the host."""
    model, numpy = models[0], open_backend()
    scaling = tuple(map(model.backend.to_numpy, model.scaling))
    with np.errstate(over="ignore", invalid="ignore"):
        loss, *sums = loss_and_sums(logits, labels, model.task, scaling, xp=numpy.xp)
    return model.task.figures(float(loss), sums, len(logits), scaling)
