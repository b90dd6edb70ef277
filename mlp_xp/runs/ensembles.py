"""Ensembles: the networks of several runs as one, whose probabilities, or numbers, are the mean of theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.opening import Backend
from mlp_xp.core.device import to_device
from mlp_xp.core.functional import Array
from mlp_xp.core.losses import log_softmax
from mlp_xp.core.metrics import predict_logits
from mlp_xp.core.task import Evaluation
from mlp_xp.runs.checkpoints import Model, check_fit, load_model
from mlp_xp.runs.records import RunError
from mlp_xp.runs.run_folder import read_config
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


def load_models(folders: Sequence[Path]) -> list[Model]:
    """Read the networks of several runs. Raises RunError if one cannot be read, or they do not fit together."""
    models = [load_model(folder) for folder in folders]
    for model in models:
        check_fit(model, models[0], f"that of {str(folders[0])!r}")
    return models


def check_same_data(folders: Sequence[Path]) -> None:
    """Raise RunError unless the runs were trained on the same data."""
    sums = [read_config(folder)[1]["data_crc32"] for folder in folders]
    for folder, checksum in zip(folders, sums, strict=True):
        if checksum != sums[0]:
            raise RunError(
                f"{str(folder)!r}: was trained on other data than {str(folders[0])!r}, or on another part of them; "
                "give runs on the same data with the same split"
            )


def outputs_of(model: Model, inputs: Array, backend: Backend) -> np.ndarray:
    """Return what `Mean` takes of a network, float64, on the host.

    classes: logarithms of the probabilities (n, classes). labels: (n, labels, 2), of the probabilities of 0 and 1.
    They are taken from the logits, so that a probability of 1e-300 is not 0, which would make the loss infinite.
    regression: the predicted numbers (n, outputs). inputs: on the device, as the network was trained on. Raises
    RunError if the outputs are not finite.
    """
    if model.task == "regression":
        return backend.to_numpy(model.outputs(inputs, backend)).astype(np.float64)
    network, prepare = to_device(model.network, backend), model.meaning(backend)["prepare"]
    logits = predict_logits(network, inputs, activation=model.activation, backend=backend, prepare=prepare)
    on_host = backend.to_numpy(logits).astype(np.float64)
    model.check_finite(bool(np.isfinite(on_host).all()))
    if model.task == "labels":
        on_host = np.stack([np.zeros_like(on_host), on_host], axis=-1)
    return log_softmax(on_host, xp=np)


class Mean:
    """The mean of the outputs of several networks, one after another, so that one at a time is in memory.

    Sums of probabilities are kept as logarithms, log(e^a + e^b), which do not underflow.
    """

    def __init__(self, task: str = "classes") -> None:
        self.task, self.count, self._sums = task, 0, np.empty(0)

    def add(self, outputs: np.ndarray) -> None:
        """Add a network's `outputs_of`."""
        join = np.add if self.task == "regression" else np.logaddexp
        self._sums = join(self._sums, outputs) if self.count else outputs
        self.count += 1

    def outputs(self) -> np.ndarray:
        """Return the mean probabilities of classes or labels, or the mean numbers, float64 (n, outputs)."""
        return predictions(self.task, self._mean())

    def _mean(self) -> np.ndarray:
        return self._sums / self.count if self.task == "regression" else self._sums - np.log(self.count)

    def evaluation(self, labels: np.ndarray, deviation: np.ndarray | float = 1.0) -> Evaluation:
        """Return loss and figures for labels on the host, as in a `Dataset`: (n,) for classes, else (n, outputs).

        deviation: by which numbers to predict are divided in the loss, (outputs,) or one for all.
        """
        mean, samples = self._mean(), len(labels)
        if self.task == "regression":
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                error, apart = mean - labels, labels - labels[:1]  # equal labels have exactly no distance
                residual, total = np.sum(error**2, axis=0), np.sum((apart - np.mean(apart, axis=0)) ** 2, axis=0)
                r2s, rmses = np.where(total > 0, 1 - residual / total, residual == 0), np.sqrt(residual / samples)
                loss = float(np.mean(np.sum((error / deviation) ** 2, axis=1)) / 2)
            each: dict[str, Any] = {"r2s": tuple(r2s.tolist()), "rmses": tuple(rmses.tolist())}
            return Evaluation(loss, r2=float(np.mean(r2s)), rmse=float(np.mean(rmses)), samples=samples, **each)
        labels = labels.astype(np.int64)
        of_labels = np.take_along_axis(mean, labels[..., None], axis=-1).reshape(samples, -1)
        right = (np.argmax(mean, axis=-1) == labels).reshape(samples, -1)
        loss, accuracy = -float(np.mean(np.sum(of_labels, axis=1))), float(np.mean(np.all(right, axis=1)))
        if self.task == "classes":
            return Evaluation(loss, accuracy, samples=samples)
        shares = np.mean(right, axis=0)
        return Evaluation(
            loss, accuracy, float(np.mean(shares)), label_accuracies=tuple(shares.tolist()), samples=samples
        )


def predictions(task: str, outputs: np.ndarray) -> np.ndarray:
    """Return what a network predicts, float64 (n, outputs), from its `outputs_of`."""
    return outputs if task == "regression" else np.exp(outputs if task == "classes" else outputs[..., 1])
