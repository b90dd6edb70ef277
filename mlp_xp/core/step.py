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
    """The arrays that a step changes."""

    network: Network
    slots: tuple[Slots, ...]
    """The slots of the optimiser for each layer."""


class Batch(NamedTuple):
    """The samples that a step learns from."""

    x: Array
    """Features, (B, n_0)."""
    targets: Array
    """(B, n_L)."""
    kept: Array
    """The hidden units that dropout keeps, uint8 (B, units) from `draw_masks`. (B, 0)
    without dropout.
    """
    weights: Array
    """Factors of the samples' errors, (B, 1). (B, 0) if all are 1.

    For a stack of K networks, all four have an axis of length K in front.
    """


Step = Callable[[State, Batch, Rates], tuple[State, Array]]


def make_step(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return `step(state, batch, rates) -> state, logits`, one step on a batch.

    The logits, (B, n_L), are from before the update. The state is donated. It may be of
    a stack of networks. Then the batch and the logits are of a stack, too.
    """
    xp = backend.xp
    activation = backend.activation(config.activation)
    optimizer = OPTIMIZERS[config.optimizer]

    def step(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        layers, slots = list(state.network), list(state.slots)
        activations: list[Any] = [activation] * (len(layers) - 1)
        if config.dropout:
            activations = with_dropout(
                activations, batch.kept, config, batch.x.dtype, xp=xp
            )

        logits, tape = forward(layers, batch.x, activations, xp=xp)
        error = task.link(logits, xp=xp) - batch.targets
        # The factor contains 1 / B, and for gradient descent the learning rate.
        error *= rates.error
        if batch.weights.shape[-1]:
            error *= batch.weights

        # `backward` computes the error of a layer when the loop below asks for it. By
        # then the loop has updated the layer above, so the error comes down through new
        # weights, as in the notebook. In textbooks, all errors come before any update.
        errors: Iterable[tuple[int, Array, Array]] = backward(
            layers, tape, error, activations, xp=xp
        )
        if config.update_order == "simultaneous":
            errors = list(errors)
        gradients: Iterable[tuple[int, Layer]] = (
            (i, gradient(a, e, xp=xp)) for i, a, e in errors
        )
        if config.clip_norm:
            # The gradients are r times the mean gradients, with the r of `Rates.error`.
            # So the limit needs this factor too: r is B times rates.error.
            limit = config.clip_norm * batch.x.shape[-2] * rates.error
            gradients = clip_by_norm(gradients, limit, xp=xp)
        for i, g in gradients:
            layers[i], slots[i] = optimizer.update(
                layers[i], g, slots[i], rates, config, xp=xp
            )
        return State(tuple(layers), tuple(slots)), logits

    return step


def make_block(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return `block(state, batch, rates) -> state, logits`, K steps one after another.

    The arrays of the batch and the rates, and the logits, have an additional first axis
    of length K. The state is donated.
    """
    step = make_step(config, task, backend)

    def step_on_row(state: State, row: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, kept, weights, *rates = row
        return step(state, Batch(x, targets, kept, weights), Rates(*rates))

    def block(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        return backend.scan(step_on_row, state, (*batch, *rates))

    return block


def to_device(network: Network, backend: Backend) -> Network:
    """Copy a network on the host to the device, in the dtype of the backend."""
    return tuple(
        Layer(*(backend.asarray(array, backend.dtype) for array in layer))
        for layer in network
    )


def initial_state(config: TrainConfig, network: Network, backend: Backend) -> State:
    """Return the state before the first step, for a network on the host.

    All arrays are copied to the device. The slots are zeros.
    """
    slot_count = OPTIMIZERS[config.optimizer].slot_count
    slots = []
    for layer in network:
        # Made on the host, because JAX would compile a function for each shape.
        zeros = Layer(np.zeros_like(layer.weights), np.zeros_like(layer.bias))
        slots.append(to_device((zeros,) * slot_count, backend))
    return State(to_device(network, backend), tuple(slots))
