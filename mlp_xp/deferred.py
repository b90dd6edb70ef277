"""Optional speed-up: steps of plain gradient descent on a few samples, with the first layer written once per block.

Nothing else in the package depends on how this works; `TrainConfig(defer_updates=False)` trains without it, and the
trajectories agree to rounding.

A step on B samples changes the first layer's weights, by far the largest array, by a matrix of rank B, x^T e. Instead
of writing all of W_0 at each step, keep the errors e and write W_0 once per block of K steps. In the block,

    W_0 before step i = W_0 - sum_{j<i} x_j^T e_j,   so   x_i W_0 becomes [X W_0]_i - sum_{j<i} [X X^T]_ij e_j

The products X W_0 and X X^T of all K B samples, and X^T E at the end, are fast matrix products; a step is left with
arrays of K B rows. (Known as delayed updates in quantum Monte Carlo, McDaniel et al., 2017; LAPACK's blocked
Householder transformations use the same idea.)
"""

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.functional import Array, find_activation
from mlp_xp.losses import LOSSES, Loss
from mlp_xp.network import Layer, forward_pass, gradient
from mlp_xp.steps import State, Step, make_update_and_descend

# Samples per block. On NumPy any number from 10 to 50 takes the same time within 5 %.
BLOCK_SAMPLES = 25
# The largest batch for which it is faster, compiled. Without compilation the small operations cost more than is saved.
LARGEST_BATCH = 8


def can_defer(config: TrainConfig, *, compiles: bool = False) -> bool:
    """Return whether updates can be deferred: plain gradient descent on a few samples, and not switched off.

    compiles: whether the backend compiles. Without, only steps on single samples are deferred.
    """
    plain = config.optimizer == "sgd" and not (config.weight_decay or config.clip_norm or config.dropout)
    return config.defer_updates and config.batch_size <= (LARGEST_BATCH if compiles else 1) and plain


def make_deferred_block(config: TrainConfig, backend: Backend, loss: Loss = LOSSES["classes"]) -> Step:
    """Return `block(state, batch) -> state, logits`, which takes K steps on B samples, K B <= BLOCK_SAMPLES.

    batch and logits are those of the step from `steps.make_step` with a further first axis of length K. The state is
    donated.
    """
    xp, scan = backend.xp, backend.scan
    activation = find_activation(config.activation)
    update_and_descend = make_update_and_descend(config, xp=xp)
    of_input, derivative = activation.of == "input", loss.derivative
    identity = backend.asarray(np.eye(BLOCK_SAMPLES), backend.dtype)

    def step(carry: tuple[State, Array], batch: tuple[Array, ...]) -> tuple[tuple[State, Array], Array]:
        state, errors = carry  # errors (K B, n_1): one row for each sample, 0 for those of steps that are still to come
        # product (B, n_1): x W_0 at the block's start. overlap (B, K B): x times all inputs of the block.
        # place (B, K B): for each sample of the step 1 at its row of errors.
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
        change = gradient(place, error, xp=xp)
        errors += change.weights  # sets the rows of the step, which were 0: JAX has no assignment by index
        bias -= change.bias
        layers[0] = Layer(weights, bias)
        return (State(tuple(layers), tuple(slots)), errors), logits

    def block(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        x, *others = batch
        steps, batch_size, features = x.shape
        samples = steps * batch_size
        rows = xp.reshape(x, (samples, features))
        products = rows @ state.network[0].weights
        overlaps = xp.reshape(rows @ rows.T, (steps, batch_size, samples))
        places = xp.reshape(identity[:samples, :samples], (steps, batch_size, samples))
        errors = xp.zeros_like(products)
        products = xp.reshape(products, (steps, batch_size, products.shape[1]))
        (state, errors), logits = scan(step, (state, errors), (products, overlaps, places, *others))
        (weights, bias), *above = state.network
        weights -= rows.T @ errors
        return State((Layer(weights, bias), *above), state.slots), logits

    return block
