"""Record a training run on a library or in the notebook, and its deviations."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.numpy_backend import NumpyBackend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.declared import ConfigError
from mlp_xp.parity import notebook
from mlp_xp.parity._steps import start

_TAKEN_BY_NOTEBOOK = (
    "hidden",
    "learning_rate",
    "seed",
    "batch_size",
    "update_order",
    "warm_up_steps",
    "report_every",
)


class Trajectory(NamedTuple):
    """The results of one run, on the host."""

    backend: Backend
    losses: np.ndarray
    """The loss of every step, warm-up included, float64 (steps,)."""
    weights: Sequence[np.ndarray]
    """The final weights and bias of each layer, in order."""
    report_steps: np.ndarray
    """The number of steps done at every report, int64 (reports,)."""
    logits: np.ndarray
    """The logits of all test images at every report and at the end.

    Their shape is (reports + 1, n, classes).
    """
    predictions: np.ndarray
    """The final predictions for all test images by the library's own argmax.

    They are whole numbers (n,).
    """
    labels: np.ndarray
    """The true classes of the test images, (n,)."""

    def __repr__(self) -> str:
        return f"Trajectory({self.backend.name!r}, {len(self.losses)} steps)"

    @property
    def accuracies(self) -> np.ndarray:
        """The test accuracy at every report and at the end, float64 (reports + 1,)."""
        return np.mean(np.argmax(self.logits, axis=2) == self.labels, axis=1)


def record(
    config: TrainConfig, dataset: Dataset, backend: Backend, steps: int
) -> Trajectory:
    """Train for some steps after the warm-up, and record the run.

    Arguments and errors are as for `start`.
    """
    job, events = start(config, dataset, backend, steps)
    test = job.dataset.test
    assert test is not None
    assert dataset.test is not None
    losses, report_steps, logits = [], [], []
    for event in events:
        losses.append(event.losses)
        network = event.position.state.network
        if event.report:
            report_steps.append(event.position.step)
            logits.append(backend.to_numpy(event.report.model.logits(test.inputs)))
    final_logits = job.model(network).logits(test.inputs)
    predictions = backend.to_numpy(backend.xp.argmax(final_logits, axis=1))
    logits.append(backend.to_numpy(final_logits))
    return Trajectory(
        backend,
        np.concatenate(losses),
        [backend.to_numpy(array) for layer in network for array in layer],
        np.array(report_steps, np.int64),
        np.stack(logits),
        predictions,
        dataset.test.labels,
    )


def record_notebook(config: TrainConfig, dataset: Dataset, steps: int) -> Trajectory:
    """Record the same run with the plain NumPy code of `parity.notebook`.

    Raises ConfigError for a setting unknown to the notebook.
    """
    if len(config.hidden) != 1:
        fault = f"the notebook has one hidden layer, not {len(config.hidden)}"
        raise ConfigError(fault, setting="hidden")
    defaults = TrainConfig()
    for name, value in vars(config).items():
        own = getattr(defaults, name)
        if value != own and name not in _TAKEN_BY_NOTEBOOK:
            raise ConfigError(f"the notebook has {own!r}, not {value!r}", setting=name)
    assert dataset.test is not None
    train, test = notebook.prepared(dataset.train), notebook.prepared(dataset.test)
    network = notebook.Notebook(
        input_size=train.inputs.shape[1],
        hidden_size=config.hidden[0],
        output_size=len(dataset.signature.outputs),
        learning_rate=config.learning_rate,
        seed=config.seed,
        textbook=config.update_order == "simultaneous",
    )
    report_steps, logits = [], []
    epoch_steps = math.ceil(len(train) / config.batch_size)

    def report(epoch: int, sample: int, loss: float) -> None:
        step_of_epoch = sample // config.batch_size + 1
        report_steps.append(config.warm_up_steps + epoch * epoch_steps + step_of_epoch)
        logits.append(network.forward(test.inputs).output_input)

    losses = notebook.trajectory(
        network,
        train.inputs,
        train.labels,
        steps,
        batch_size=config.batch_size,
        warm_up=config.warm_up_steps,
        report_every=config.report_every,
        on_report=report,
    )
    logits.append(network.forward(test.inputs).output_input)
    backend = NumpyBackend("cpu", "float64")
    backend.name = "notebook"  # in reports
    return Trajectory(
        backend=backend,
        losses=np.concatenate(losses),
        weights=(
            network.weights_input_hidden,
            network.bias_input_hidden,
            network.weights_hidden_output,
            network.bias_hidden_output,
        ),
        report_steps=np.array(report_steps, np.int64),
        logits=np.stack(logits),
        predictions=np.argmax(logits[-1], axis=1),
        labels=dataset.test.labels,
    )


class Deviations(NamedTuple):
    """The relative deviations of one quantity from the reference, after some steps."""

    steps: np.ndarray
    """The numbers of the steps, from 1, (n,)."""
    values: np.ndarray
    """The deviations, float64 (n,). Infinity stands for NaN."""


def measure(run: Trajectory, reference: Trajectory) -> dict[str, Deviations]:
    """Return the deviations of each quantity of a run from the reference.

    The deviation of a loss is relative to the reference's loss, or to 1 if this loss is
    below 1. A loss is -log p of the logits, and the rounding errors of the logits do
    not shrink with the loss. The deviations of logits and weights are relative to the
    largest element. A prediction changes only if the logits deviate by half the
    difference between the largest logit and the logit of the predicted class. This half
    is the deviation of the predictions.
    """
    steps = np.arange(1, len(reference.losses) + 1)
    end = steps[-1:]
    differences = np.abs(run.losses - reference.losses)
    losses = differences / np.maximum(1, np.abs(reference.losses))
    logits = list(map(_deviation, run.logits, reference.logits))
    weights = list(map(_deviation, run.weights, reference.weights))

    final_logits = reference.logits[-1]
    is_chosen = run.predictions[:, None] == np.arange(final_logits.shape[1])
    chosen = np.max(final_logits, axis=1, where=is_chosen, initial=-np.inf)
    below = np.max(np.max(final_logits, axis=1) - chosen)
    predictions = below / 2 / _size(final_logits)
    return {
        "loss": _deviations(steps, losses),
        "logits": _deviations(np.append(reference.report_steps, end), logits),
        "weights": _deviations(end, [np.max(weights)]),
        "predictions": _deviations(end, [predictions]),
    }


def _deviation(array: np.ndarray, expected: np.ndarray) -> Any:
    """Return the largest deviation, relative to the largest element."""
    if array.shape != expected.shape:
        return np.inf
    return np.max(np.abs(array - expected)) / _size(expected)


def _size(array: np.ndarray) -> Any:
    """Return the largest absolute value, or 1 if all are zero."""
    return np.max(np.abs(array)) or 1


def _deviations(steps: np.ndarray, values: Any) -> Deviations:
    """Return deviations with infinity in place of NaN."""
    return Deviations(steps, np.where(np.isnan(values), np.inf, values))
