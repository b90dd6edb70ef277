"""Predictions and figures of a network as compiled functions, and confusion matrices."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.dataset import Prepare
from mlp_xp.core.functional import Activation, Array
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Network, forward
from mlp_xp.core.plan import ceil_divide
from mlp_xp.core.task import Scaling, Task, in_units

# Maximum bytes of inputs per forward pass.
PART_BYTES = 6 * 2**20


class Functions(NamedTuple):
    """What is asked of a trained network, compiled where the library compiles."""

    logits: Callable[..., Array]
    """`logits(network, inputs, fitted)`: the outputs of the last layer, (n, outputs)."""
    outputs: Callable[..., Array]
    """`outputs(network, inputs, fitted, scaling)`: predictions in the units of the labels, (n, outputs)."""
    evaluation: Callable[..., tuple[Array, ...]]
    """`evaluation(network, inputs, fitted, scaling, labels)`: see `loss_and_sums`."""


@lru_cache(maxsize=8)
def functions_of(activation: str | Activation, backend: Backend, prepare: Prepare, task: Task) -> Functions:
    """Return the functions for networks with an activation, for a preparation (see `Preparation`) and a task."""
    logits_of, xp = _make_logits(activation, backend, prepare), backend.xp

    def outputs(network: Network, inputs: Array, fitted: tuple[Array, ...], scaling: Scaling) -> Array:
        return in_units(task.link(logits_of(network, inputs, fitted), xp=xp), scaling)

    def evaluation(
        network: Network, inputs: Array, fitted: tuple[Array, ...], scaling: Scaling, labels: Array
    ) -> tuple[Array, ...]:
        return loss_and_sums(logits_of(network, inputs, fitted), labels, task, scaling, device=backend.device, xp=xp)

    return Functions(backend.jit(logits_of), backend.jit(outputs), backend.jit(evaluation))


def loss_and_sums(
    logits: Array, labels: Array, task: Task, scaling: Scaling, /, *, device: Any = None, xp: Any
) -> tuple[Array, ...]:
    """Return the mean loss of logits (n, outputs), (), and the sums from which the task computes its figures."""
    targets = task.encode(labels, logits.shape[1], scaling, dtype=logits.dtype, device=device, xp=xp)
    return xp.mean(task.loss(logits, targets, xp=xp)), *task.sums(logits, labels, targets, xp=xp)


def _make_logits(activation: str | Activation, backend: Backend, prepare: Prepare) -> Callable[..., Array]:
    """Return `logits(network, inputs, fitted)`, which works in parts of bounded memory."""
    xp, pair = backend.xp, backend.activation(activation)

    @np.errstate(over="ignore", invalid="ignore")  # the result shows it
    def logits(network: Network, inputs: Array, fitted: tuple[Array, ...]) -> Array:
        features = network[0].weights.shape[0]

        def part(carry: tuple[()], xs: tuple[Array, ...]) -> tuple[tuple[()], Array]:
            x = prepare(xs[0], *fitted, dtype=network[0].weights.dtype, xp=xp)
            x = xp.reshape(x, (xs[0].shape[0], features))
            return carry, forward(network, x, [pair] * (len(network) - 1), xp=xp)[0]

        samples, *shape = inputs.shape
        size = inputs_per_part(samples, features)
        whole = samples - samples % size
        # All whole parts in one loop, which a compiler sees once.
        _, rows = backend.scan(part, (), (xp.reshape(inputs[:whole, ...], (-1, size, *shape)),))
        rows = xp.reshape(rows, (whole, -1))
        if whole == samples:
            return rows
        return xp.concat([rows, part((), (inputs[whole:, ...],))[1]], axis=0)

    return logits


def inputs_per_part(samples: int, features: int) -> int:
    """Return the number of inputs that go through the network at once, of `samples` inputs."""
    capacity = max(1, PART_BYTES // (features * np.dtype(np.float64).itemsize))
    # As equal as possible; only the last may be smaller, so that a forward pass is compiled for at most two sizes.
    return ceil_divide(samples, ceil_divide(samples, capacity))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return the confusion matrix, int64 (classes, classes), of host arrays (n,).

    Rows: true class; columns: predicted class.
    """
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
