"""Ensembles: the networks of several runs as one, whose probabilities are the mean of theirs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.device import to_device
from mlp_xp.functional import Array
from mlp_xp.losses import log_softmax
from mlp_xp.metrics import Evaluation, predict_logits
from mlp_xp.runs.checkpoints import Model, load_model
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
    for folder, model in zip(folders, models, strict=True):
        if model.task != "classes":
            raise RunError(
                f"{str(folder)!r}: its network is for {model.task}, but an ensemble averages probabilities of classes; "
                "give runs with classes"
            )
        for name, one, first in (
            ("images of", *(" x ".join(map(str, each.image_shape)) for each in (model, models[0]))),
            ("the classes", *(", ".join(each.class_names) for each in (model, models[0]))),
        ):
            if one != first:
                raise RunError(
                    f"{str(folder)!r}: its network has {name} {_shown(one)}, but that of {str(folders[0])!r} has "
                    f"{name} {_shown(first)}; give runs with the same images and classes"
                )
    return models


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_same_data(folders: Sequence[Path]) -> None:
    """Raise RunError unless the runs were trained on the same data, as far as their records say."""
    sums = [read_config(folder)[1].get("data_crc32") for folder in folders]
    for folder, checksum in zip(folders, sums, strict=True):
        if checksum != sums[0]:
            raise RunError(
                f"{str(folder)!r}: was trained on other data than {str(folders[0])!r}; name the data to evaluate on "
                "(--data-dir), or give runs on the same data"
            )


def log_probabilities(model: Model, inputs: Array, backend: Backend) -> np.ndarray:
    """Return the logarithms of a network's class probabilities, float64 (n, classes), on the host.

    inputs: on the device, as the network was trained on. They are taken from the logits, so that a probability of
    1e-300 is not 0, which would make the loss infinite. Raises RunError if the outputs are not finite.
    """
    network, prepare = to_device(model.network, backend), model.prepare(backend)
    logits = predict_logits(network, inputs, activation=model.activation, backend=backend, prepare=prepare)
    on_host = backend.to_numpy(logits).astype(np.float64)
    model.check_outputs(bool(np.isfinite(on_host).all()), inputs, backend)
    return log_softmax(on_host, xp=np)


class Mean:
    """The mean of the probabilities of several networks, one after another, so that one at a time is in memory.

    Sums are kept as logarithms, log(e^a + e^b), which do not underflow.
    """

    def __init__(self) -> None:
        self.count, self._sums = 0, np.empty(0)

    def add(self, logarithms: np.ndarray) -> None:
        """Add a network's `log_probabilities`, float64 (n, classes)."""
        self._sums = np.logaddexp(self._sums, logarithms) if self.count else logarithms
        self.count += 1

    def probabilities(self) -> np.ndarray:
        """Return the mean probabilities, float64 (n, classes)."""
        return np.exp(self._sums - np.log(self.count))

    def evaluation(self, labels: np.ndarray) -> Evaluation:
        """Return loss and accuracy for labels, integers (n,)."""
        logarithms = self._sums - np.log(self.count)
        loss = -float(np.mean(logarithms[np.arange(len(labels)), labels]))
        accuracy = float(np.mean(np.argmax(logarithms, axis=1) == labels))
        return Evaluation(loss, accuracy, samples=len(labels))
