"""The training step: forward pass, backpropagation and update for one batch."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dropout import scaled_masks
from mlp_xp.core.functional import Array, find_activation
from mlp_xp.core.network import Layer, Network, backward, error_below, forward_pass, gradient
from mlp_xp.core.optimizers import OPTIMIZERS, Slots, clip_by_norm
from mlp_xp.core.task import CLASSES, Task


class State(NamedTuple):
    """What a step changes."""

    network: Network
    slots: tuple[Slots, ...]
    """The optimiser's arrays for each layer."""


Step = Callable[[State, tuple[Array, ...]], tuple[State, Array]]


def make_step(config: TrainConfig, task: Task = CLASSES, *, xp: Any) -> Step:
    """Return `step(state, (x, ones, targets, scale, *coefficients)) -> state, logits`.

    x: inputs (B, n_0). ones: (B,), see `network.gradient`. targets: (B, n_L), for classes one-hot labels. scale: the
    error at the output is multiplied by it; it includes 1 / B, and is (B, 1) for samples with weights, without
    clip_norm. coefficients: see `optimizers`. With dropout, the bytes of `dropout.draw_masks` for this step come before
    the scale. logits: (B, n_L), from before the update. The state is donated.
    """
    activation = find_activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config.hyperparameters, xp=xp)
    update_and_descend = make_update_and_descend(config, xp=xp)
    dropout, clip_norm = config.dropout, config.clip_norm

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        masks: list[Array] = []
        if dropout:
            x, ones, targets, kept, scale, *coefficients = batch
            masks = scaled_masks(kept, config, x.dtype, xp=xp)
        else:
            x, ones, targets, scale, *coefficients = batch
        layers, slots = list(state.network), list(state.slots)
        inputs, seen, logits = forward_pass(layers, x, activation=activation, masks=masks, xp=xp)
        error = task.error(logits, targets, xp=xp)
        error *= scale
        if clip_norm:
            gradients = backward(layers, inputs, seen, error, ones, activation=activation, masks=masks, xp=xp)
            # The scale includes what the optimiser multiplies the error by, and so does the norm.
            gradients = clip_by_norm(gradients, clip_norm * x.shape[0] * scale, xp=xp)
            pairs = [update(*each, *coefficients) for each in zip(layers, gradients, slots, strict=True)]
            return State(tuple(layer for layer, _ in pairs), tuple(slot for _, slot in pairs)), logits
        for i in reversed(range(1, len(layers))):
            layers[i], slots[i], error = update_and_descend(
                layers[i], slots[i], inputs[i], seen[i - 1], error, ones, coefficients
            )
            if masks:
                error = error * masks[i - 1]
        layers[0], slots[0] = update(layers[0], gradient(x, error, ones), slots[0], *coefficients)
        return State(tuple(layers), tuple(slots)), logits

    return step


def make_update_and_descend(config: TrainConfig, *, xp: Any) -> Callable[..., tuple[Layer, Slots, Array]]:
    """Return `update_and_descend(layer, slots, a, seen, error, ones, coefficients) -> layer, slots, error below`.

    It updates a layer above the first from its input a (B, n_l) and its error (B, n_{l+1}); `seen` is of the layer
    below, see `forward_pass`. The notebook ("layerwise") sends the error down through the *updated* weights, textbooks
    ("simultaneous") through those of the forward pass. Only the latter is gradient descent in the strict sense.
    """
    activation = find_activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config.hyperparameters, xp=xp)

    layerwise = config.update_order == "layerwise"

    def update_and_descend(
        layer: Layer, slots: Slots, a: Array, seen: Array, error: Array, ones: Array, coefficients: Sequence[Array]
    ) -> tuple[Layer, Slots, Array]:
        if not layerwise:  # before the update, which may change the weights in place
            below = error_below(layer, seen, error, activation=activation, xp=xp)
        layer, slots = update(layer, gradient(a, error, ones), slots, *coefficients)
        if layerwise:
            below = error_below(layer, seen, error, activation=activation, xp=xp)
        return layer, slots, below

    return update_and_descend
