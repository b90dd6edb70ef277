"""The training step: forward pass, backpropagation and update for one batch."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dropout import with_dropout
from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer, Network, backward, forward, gradient
from mlp_xp.core.optimizers import OPTIMIZERS, Rates, Slots, clip_by_norm
from mlp_xp.core.task import Task


class State(NamedTuple):
    """What a step changes."""

    network: Network
    slots: tuple[Slots, ...]
    """What the optimiser keeps for each layer."""


class Batch(NamedTuple):
    """What a step learns from."""

    x: Array
    """Features, (B, n_0)."""
    targets: Array
    """(B, n_L)."""
    kept: Array
    """Which hidden units dropout keeps, uint8 (B, units) from `draw_masks`; (B, 0)
    without dropout.
    """
    weights: Array
    """Factors of the samples' errors, (B, 1); (B, 0) where all are 1."""


Step = Callable[[State, Batch, Rates], tuple[State, Array]]


def make_step(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return `step(state, batch, rates) -> state, logits`, which trains the network on
    a batch.

    logits: (B, n_L), from before the update. The state is donated.
    """
    xp, activation = backend.xp, backend.activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config, xp=xp)

    def step(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        layers, slots = list(state.network), list(state.slots)
        activations: list[Any] = [activation] * (len(layers) - 1)
        if config.dropout:
            activations = with_dropout(
                activations, batch.kept, config, batch.x.dtype, xp=xp
            )

        logits, tape = forward(layers, batch.x, activations, xp=xp)
        error = task.link(logits, xp=xp) - batch.targets
        # it holds 1 / B, and for gradient descent the learning rate
        error *= rates.error
        if batch.weights.shape[1]:
            error *= batch.weights

        # `backward` computes the error of a layer when it is asked for. The notebook
        # has updated the layer above by then, so that the error comes down through new
        # weights. In textbooks all errors come before any update.
        errors: Iterable[tuple[int, Array, Array]] = backward(
            layers, tape, error, activations, xp=xp
        )
        if config.update_order == "simultaneous":
            errors = list(errors)
        gradients: Iterable[tuple[int, Layer]] = (
            (i, gradient(a, e, xp=xp)) for i, a, e in errors
        )
        # g is r times the mean gradient, see `Rates.error`, so the limit is r times
        # clip_norm
        if config.clip_norm:
            gradients = clip_by_norm(
                gradients, config.clip_norm * batch.x.shape[0] * rates.error, xp=xp
            )
        for i, g in gradients:
            layers[i], slots[i] = update(layers[i], g, slots[i], rates)
        return State(tuple(layers), tuple(slots)), logits

    return step


def make_block(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return `block(state, batch, rates) -> state, logits`, which takes K steps, one
    after the other.

    The arrays of batch and rates, and the logits, have an additional first axis, of
    length K. The state is donated.
    """
    step = make_step(config, task, backend)

    def take(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, kept, weights, *rates = row
        return step(state, Batch(x, targets, kept, weights), Rates(*rates))

    return lambda state, batch, rates: backend.scan(take, state, (*batch, *rates))


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to the backend's device, in the backend's dtype."""
    return tuple(
        Layer(*(backend.asarray(array, backend.dtype) for array in layer))
        for layer in network
    )


def initial_state(config: TrainConfig, network: Network, backend: Backend) -> State:
    """Return the state before the first step on the device: a network, given on the
    host, and slots of zeros.
    """
    count = OPTIMIZERS[config.optimizer].slot_count
    # JAX would compile something for each shape
    zeros = (Layer(*map(np.zeros_like, each)) for each in network)
    return State(
        to_device(network, backend),
        tuple(to_device((each,) * count, backend) for each in zeros),
    )
