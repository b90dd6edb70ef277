"""Optional speed-up: steps of plain gradient descent on a few samples, with the first layer written once per block.

Only `chunks` and `memory` import it; `TrainConfig(defer_updates=False)` trains without it, and the
trajectories agree to rounding.

A step on B samples changes the first layer's weights, by far the largest array, by a matrix of rank B, x^T e. Instead
of writing all of W_0 at each step, keep the errors e and write W_0 once per block of K steps. In the block,

    W_0 before step i = W_0 - sum_{j<i} x_j^T e_j,   so   x_i W_0 becomes [X W_0]_i - sum_{j<i} [X X^T]_ij e_j

The products X W_0 and X X^T of all K B samples, and X^T E at the end, are fast matrix products; a step is left with
arrays of K B rows. The bias is the weight of a further input that is always 1: it adds b_0 to each row of X W_0, and 1
to each element of X X^T. (Known as delayed updates in quantum Monte Carlo, McDaniel et al., 2017; LAPACK's blocked
Householder transformations use the same idea.)
"""

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array, find_activation
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Layer, forward_pass
from mlp_xp.core.step import State, Step, make_update_and_descend
from mlp_xp.core.task import CLASSES, Task

# Samples per block. On NumPy any number from 10 to 50 takes the same time within 5 %.
BLOCK_SAMPLES = 25
# The largest batches for which it is faster. Without compilation the small operations soon cost more than is saved.
LARGEST_BATCH = 8
LARGEST_EAGER_BATCH = 2


def can_defer(config: TrainConfig, *, compiles: bool = False) -> bool:
    """Return whether updates can be deferred: plain gradient descent on a few samples, and not switched off.

    compiles: whether the backend compiles.
    """
    plain = config.optimizer == "sgd" and not (config.weight_decay or config.clip_norm or config.dropout)
    largest = LARGEST_BATCH if compiles else LARGEST_EAGER_BATCH
    return config.defer_updates and config.batch_size <= largest and plain


def make_deferred_block(config: TrainConfig, backend: Backend, task: Task = CLASSES) -> Step:
    """Return `block(state, batch, *count) -> state, logits`, which takes K steps on B samples, K B <= BLOCK_SAMPLES.

    batch and logits are those of the step from `steps.make_step` with a further first axis of length K. count: as
    `Backend.scan` takes it. The state is donated.
    """
    xp, scan = backend.xp, backend.scan
    activation = find_activation(config.activation)
    update_and_descend = make_update_and_descend(config, xp=xp)
    of_input = activation.of == "input"
    identity = backend.asarray(np.eye(BLOCK_SAMPLES), backend.dtype)

    def step(carry: tuple[State, Array], batch: tuple[Array, ...]) -> tuple[tuple[State, Array], Array]:
        # The layers above the first are a network of their own, whose input is the first layer's output.
        # errors (K B, n_1): one row for each sample of the block, 0 for those of steps that are still to come.
        (above, above_slots), errors = carry
        # product (B, n_1): x W_0 + b_0 at the block's start. overlap (B, K B): x times all inputs of the block.
        # place (K B, B): 1 at the row and the column of each sample of the step.
        product, overlap, place, ones, targets, scale, *coefficients = batch
        layers, slots = list(above), list(above_slots)
        z = product - overlap @ errors
        if layers:
            y = activation.function(z, xp=xp)
            inputs, seen, logits = forward_pass(layers, y, activation=activation, xp=xp)
            seen.insert(0, z if of_input else y)
        else:
            inputs, seen, logits = list[Array](), list[Array](), z
        error = task.error(logits, targets, xp=xp)
        error *= scale
        for i in reversed(range(len(layers))):
            layers[i], slots[i], error = update_and_descend(
                layers[i], slots[i], inputs[i], seen[i], error, ones, coefficients
            )
        # Sets the rows of the step, which were 0: JAX has no assignment by index. On one sample, @ takes longer.
        errors += place * error if error.shape[0] == 1 else place @ error
        return (State(tuple(layers), tuple(slots)), errors), logits

    def block(state: State, batch: tuple[Array, ...], *count: Array) -> tuple[State, Array]:
        x, *others = batch
        steps, batch_size, features = x.shape
        samples = steps * batch_size
        (weights, bias), *above = state.network
        first_slots, *above_slots = state.slots
        rows = xp.reshape(x, (samples, features))
        products = rows @ weights + bias
        overlaps = xp.reshape(rows @ rows.T + 1, (steps, batch_size, samples))
        places = xp.reshape(identity[:samples, :samples], (samples, steps, batch_size))
        errors = xp.zeros_like(products)
        products = xp.reshape(products, (steps, batch_size, products.shape[1]))
        xs = (products, overlaps, xp.permute_dims(places, (1, 0, 2)), *others)
        (new, errors), logits = scan(step, (State(tuple(above), tuple(above_slots)), errors), xs, *count)
        weights -= rows.T @ errors
        bias -= xp.sum(errors, axis=0)
        return State((Layer(weights, bias), *new.network), (first_slots, *new.slots)), logits

    return block
