"""The training step: forward pass, backpropagation and update for one batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mlp_xp.config import TrainConfig
from mlp_xp.functional import ACTIVATIONS, Array
from mlp_xp.losses import LOSSES, Loss
from mlp_xp.network import Layer, Network, error_below, forward, gradient
from mlp_xp.optimizers import OPTIMIZERS, Slots


class State(NamedTuple):
    """What a step changes."""

    network: Network
    slots: tuple[Slots, ...]
    """The optimiser's arrays for each layer."""


Step = Callable[[State, tuple[Array, ...]], tuple[State, Array]]


def make_step(config: TrainConfig, loss: Loss = LOSSES["classes"], *, xp: Any) -> Step:
    """Return `step(state, (x, targets, scale, *coefficients)) -> state, logits`.

    x: inputs (B, n_0). targets: (B, n_L), for classes one-hot labels. scale: the error at the output is multiplied by
    it; it includes 1 / B. coefficients: see `optimizers`. logits: (B, n_L), from before the update. The state is
    donated.
    """
    activation = ACTIVATIONS[config.activation]
    update = OPTIMIZERS[config.optimizer].make_update(weight_decay=config.weight_decay, xp=xp)
    update_and_descend = make_update_and_descend(config, xp=xp)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, scale, *coefficients = batch
        layers, slots = list(state.network), list(state.slots)
        *inputs, logits = forward(layers, x, activation=activation, xp=xp)
        error = scale * loss.derivative(logits, targets, xp=xp)
        for i in reversed(range(1, len(layers))):
            layers[i], slots[i], error = update_and_descend(layers[i], slots[i], inputs[i], error, coefficients)
        layers[0], slots[0] = update(layers[0], gradient(x, error, xp=xp), slots[0], *coefficients)
        return State(tuple(layers), tuple(slots)), logits

    return step


def make_update_and_descend(config: TrainConfig, *, xp: Any) -> Callable[..., tuple[Layer, Slots, Array]]:
    """Return `update_and_descend(layer, slots, a, error, coefficients) -> layer, slots, error of the layer below`.

    It updates a layer above the first from its input a (B, n_l) and its error (B, n_{l+1}). The notebook ("layerwise")
    sends the error down through the *updated* weights, textbooks ("simultaneous") through those of the forward pass.
    Only the latter is gradient descent in the strict sense.
    """
    activation = ACTIVATIONS[config.activation]
    update = OPTIMIZERS[config.optimizer].make_update(weight_decay=config.weight_decay, xp=xp)

    def layerwise(
        layer: Layer, slots: Slots, a: Array, error: Array, coefficients: list[Array]
    ) -> tuple[Layer, Slots, Array]:
        layer, slots = update(layer, gradient(a, error, xp=xp), slots, *coefficients)
        return layer, slots, error_below(layer, a, error, activation=activation, xp=xp)

    def simultaneous(
        layer: Layer, slots: Slots, a: Array, error: Array, coefficients: list[Array]
    ) -> tuple[Layer, Slots, Array]:
        below = error_below(layer, a, error, activation=activation, xp=xp)
        layer, slots = update(layer, gradient(a, error, xp=xp), slots, *coefficients)
        return layer, slots, below

    return {"layerwise": layerwise, "simultaneous": simultaneous}[config.update_order]
