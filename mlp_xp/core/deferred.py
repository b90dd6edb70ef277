"""Optional speed-up: steps of plain gradient descent on a few samples, with the first layer written once per block.

`TrainConfig(defer_updates=False)` trains without it, and the trajectories agree to rounding.

A step on B samples changes the first layer's weights, by far the largest array, by a matrix of rank B, x^T e. Instead
of writing all of W_0 at each step, keep the errors e and write W_0 once per block of K steps. In the block,

    W_0 before step i = W_0 - sum_{j<i} x_j^T e_j,   so   x_i W_0 becomes [X W_0]_i - sum_{j<i} [X X^T]_ij e_j

The products X W_0 and X X^T of all K B samples, and X^T E at the end, are fast matrix products; a step is left with
arrays of K B rows. The bias is the weight of a further input that is always 1: it adds b_0 to each row of X W_0, and 1
to each element of X X^T. (Known as delayed updates in quantum Monte Carlo, McDaniel et al., 2017; LAPACK's blocked
Householder transformations use the same idea.)
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array, find_activation
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Layer, Network, affine, backward, forward_from, gradient
from mlp_xp.core.optimizers import OPTIMIZERS, Rates
from mlp_xp.core.step import Batch, State
from mlp_xp.core.task import Task

Block = Callable[[State, Batch, Rates, Array | None], tuple[State, Array]]
"""`block(state, batch, rates, count) -> state, logits` takes K steps. Batch, rates and logits have a first axis of K
more than those of a step; count: see `Backend.scan`. The state is donated."""

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


def make_deferred_block(config: TrainConfig, task: Task, backend: Backend) -> Block:
    """Return a block of at most BLOCK_SAMPLES samples that computes what as many steps of `make_step` do."""
    xp, scan = backend.xp, backend.scan
    activation = find_activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config, xp=xp)
    identity = backend.asarray(np.eye(BLOCK_SAMPLES), backend.dtype)

    def step(carry: tuple[Network, Array], row: tuple[Array, ...]) -> tuple[tuple[Network, Array], Array]:
        # errors (K B, n_1): one row for each sample of the block, 0 for those of steps that are still to come.
        above, errors = carry
        # product (B, n_1): x W_0 + b_0 at the block's start. overlap (B, K B): x times all inputs of the block.
        # place (K B, B): 1 at the row and the column of each sample of the step.
        product, overlap, place, targets, *numbers = row
        rates, activations = Rates(*numbers), [activation] * len(above)
        logits, tape = forward_from(product - overlap @ errors, above, activations, xp=xp)
        error = task.error(logits, targets, xp=xp)
        error *= rates.error
        layers: list[Any] = [None, *above]  # the first one changes at the end of the block
        descent: Iterable[tuple[int, Array, Array]] = backward(layers, [(None, None), *tape], error, activations, xp=xp)
        if config.update_order == "simultaneous":
            descent = list(descent)
        for i, a, e in descent:
            if i > 0:
                layers[i], _ = update(layers[i], gradient(a, e, xp=xp), (), rates)
            else:
                # These rows of errors were 0, so adding sets them: JAX has no assignment by index. For one sample, * is
                # faster than @.
                errors += place * e if e.shape[0] == 1 else place @ e
        return (tuple(layers[1:]), errors), logits

    def block(state: State, batch: Batch, rates: Rates, count: Array | None) -> tuple[State, Array]:
        first, *above = state.network
        steps, batch_size, features = batch.x.shape
        samples = steps * batch_size
        rows = xp.reshape(batch.x, (samples, features))
        products = affine(first, rows)
        overlaps = xp.reshape(rows @ rows.T + 1, (steps, batch_size, samples))
        places = xp.reshape(identity[:samples, :samples], (samples, steps, batch_size))
        errors = xp.zeros_like(products)
        products = xp.reshape(products, (steps, batch_size, products.shape[1]))
        xs = (products, overlaps, xp.permute_dims(places, (1, 0, 2)), batch.targets, *rates.used())
        (layers, errors), logits = scan(step, (tuple(above), errors), xs, count)
        weights, bias = first
        weights -= rows.T @ errors
        bias -= xp.sum(errors, axis=0)
        return State((Layer(weights, bias), *layers), state.slots), logits

    return block
