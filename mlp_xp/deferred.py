"""Optional speed-up: steps of plain gradient descent on single samples, with the first layer written once per block.

Nothing else in the package depends on how this works; `TrainConfig(defer_updates=False)` trains without it, and the
trajectories agree to rounding.

A step on one sample changes the first layer's weights, by far the largest array, by a matrix of rank one, x^T e.
Instead of writing all of W_0 at each step, keep the errors e and write W_0 once per block of K steps. In the block,

    W_0 before step i = W_0 - sum_{j<i} x_j^T e_j,   so   x_i W_0 becomes [X W_0]_i - sum_{j<i} [X X^T]_ij e_j

The products X W_0 and X X^T of all K samples, and X^T E at the end, are fast matrix products; a step is left with
arrays of K rows. (Known as delayed updates in quantum Monte Carlo, McDaniel et al., 2017; LAPACK's blocked Householder
transformations use the same idea.)
"""

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.functional import Array, find_activation
from mlp_xp.losses import LOSSES, Loss
from mlp_xp.network import Layer, forward_pass
from mlp_xp.steps import State, Step, make_update_and_descend

# Steps per block. On NumPy any length from 10 to 50 takes the same time within 5 %.
BLOCK_STEPS = 25


def can_defer(config: TrainConfig) -> bool:
    """Return whether updates can be deferred: plain gradient descent on single samples, and not switched off."""
    plain = config.optimizer == "sgd" and not (config.weight_decay or config.clip_norm or config.dropout)
    return config.defer_updates and config.batch_size == 1 and plain


def make_deferred_block(config: TrainConfig, backend: Backend, loss: Loss = LOSSES["classes"]) -> Step:
    """Return `block(state, batch) -> state, logits`, which takes K <= BLOCK_STEPS steps.

    batch and logits are those of the step from `steps.make_step` with a further first axis of length K. The state is
    donated.
    """
    xp, scan = backend.xp, backend.scan
    activation = find_activation(config.activation)
    update_and_descend = make_update_and_descend(config, xp=xp)
    of_input, derivative = activation.of == "input", loss.derivative
    identity = backend.asarray(np.eye(BLOCK_STEPS), backend.dtype)

    def step(carry: tuple[State, Array], batch: tuple[Array, ...]) -> tuple[tuple[State, Array], Array]:
        state, errors = carry  # row j of errors (K, n_1) is e_j, or 0 for a step that is still to come
        # product (1, n_1): x W_0 at the block's start. overlap (1, K): x times all K inputs. place (K, 1): 1 at row i.
        product, overlap, place, targets, scale, *coefficients = batch
        layers, slots = list(state.network), list(state.slots)
        (weights, bias), *above = layers
        z = product - overlap @ errors + bias
        if above:
            # The layers above the first are a network of their own, whose input is the first layer's output.
            y = activation.function(z, xp=xp)
            inputs, seen, logits = forward_pass(above, y, activation=activation, xp=xp)
            seen.insert(0, z if of_input else y)
        else:
            inputs, seen, logits = list[Array](), list[Array](), z
        error = scale * derivative(logits, targets, xp=xp)
        for i in reversed(range(1, len(layers))):
            layers[i], slots[i], error = update_and_descend(
                layers[i], slots[i], inputs[i - 1], seen[i - 1], error, coefficients
            )
        bias -= error[0, ...]
        layers[0] = Layer(weights, bias)
        errors += place * error  # sets row i, which was 0: JAX has no assignment by index
        return (State(tuple(layers), tuple(slots)), errors), logits

    def block(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        x, *others = batch
        steps, one, features = x.shape
        rows = xp.reshape(x, (steps, features))
        products = rows @ state.network[0].weights
        overlaps = xp.reshape(rows @ rows.T, (steps, one, steps))
        places = xp.reshape(identity[:steps, :steps], (steps, steps, one))
        errors = xp.zeros_like(products)
        products = xp.reshape(products, (steps, one, products.shape[1]))
        (state, errors), logits = scan(step, (state, errors), (products, overlaps, places, *others))
        (weights, bias), *above = state.network
        weights -= rows.T @ errors
        return State((Layer(weights, bias), *above), state.slots), logits

    return block
