"""The training step: forward pass, backpropagation and update for one batch."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dropout import with_dropout
from mlp_xp.core.functional import Array, find_activation
from mlp_xp.core.network import Network, backward, forward, gradient
from mlp_xp.core.optimizers import OPTIMIZERS, Rates, Slots, clip_by_norm
from mlp_xp.core.task import Task


class State(NamedTuple):
    """What a step changes."""

    network: Network
    slots: tuple[Slots, ...]
    """The optimiser's arrays for each layer."""


class Batch(NamedTuple):
    """What a step learns from."""

    x: Array
    """Inputs, (B, n_0)."""
    targets: Array
    """(B, n_L)."""
    kept: Array
    """Which hidden units dropout keeps, uint8 (B, units) from `draw_masks`; (B, 0) without dropout."""


Step = Callable[[State, Batch, Rates], tuple[State, Array]]


def make_step(config: TrainConfig, task: Task, *, xp: Any) -> Step:
    """Return `step(state, batch, rates) -> state, logits`, which trains the network on a batch.

    logits: (B, n_L), from before the update. The state is donated. Without clip_norm, rates.error may also be (B, 1),
    with a factor for each sample: the estimators have sample weights.
    """
    activation = find_activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config, xp=xp)

    def step(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        layers, slots = list(state.network), list(state.slots)
        activations: list[Any] = [activation] * (len(layers) - 1)
        if config.dropout:
            activations = with_dropout(activations, batch.kept, config, batch.x.dtype, xp=xp)

        logits, tape = forward(layers, batch.x, activations, xp=xp)
        error = task.error(logits, batch.targets, xp=xp)
        # Every gradient is linear in this error, so the learning rate of gradient descent is applied here.
        error *= rates.error

        # `backward` computes an error when it is asked for. The notebook updates a layer first, so that the error then
        # goes down through the new weights. Textbooks use the old ones: a list asks for all errors before any update.
        descent: Iterable[tuple[int, Array, Array]] = backward(layers, tape, error, activations, xp=xp)
        if config.update_order == "simultaneous":
            descent = list(descent)
        if config.clip_norm:  # rates.error multiplies the gradients, and so their largest norm
            limit = config.clip_norm * batch.x.shape[0] * rates.error
            for i, g in clip_by_norm(((i, gradient(a, e, xp=xp)) for i, a, e in descent), limit, xp=xp):
                layers[i], slots[i] = update(layers[i], g, slots[i], rates)
            return State(tuple(layers), tuple(slots)), logits
        for i, a, e in descent:
            layers[i], slots[i] = update(layers[i], gradient(a, e, xp=xp), slots[i], rates)
        return State(tuple(layers), tuple(slots)), logits

    return step
