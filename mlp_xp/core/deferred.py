"""Steps of plain gradient descent on a few samples in less time, with the first layer
written once per block.

They compute what those of `step` do up to rounding, and are the default: see
    `TrainConfig.defer_updates`.

A step on B samples changes the first layer's weights, by far the largest array, by a
matrix of rank B, x^T e. Instead of writing all of W_0 at each step, keep the errors e,
which have the learning rate in them, and write W_0 once per block of K steps. Let W be
W_0 at the start of the block, X all of its inputs, and x_i, e_i the B rows of step i:

    W_0 before step i = W - sum_{j<i} x_j^T e_j,   so   x_i W_0 = [X W]_i - sum_{j<i} [X
    X^T]_ij e_j

The products X W and X X^T of all K B samples, and X^T E at the end, are fast matrix
products; a step is left with arrays of K B rows. The bias is the weight of a further
input that is always 1: it adds b_0 to each row of X W, and 1 to each element of X X^T.
(Known as delayed updates in quantum Monte Carlo, McDaniel et al., 2017.)
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer, Network, affine, backward, forward_from, gradient
from mlp_xp.core.optimizers import OPTIMIZERS, Rates
from mlp_xp.core.step import Batch, State, Step
from mlp_xp.core.task import Task

# Samples per block. On NumPy any number from 10 to 50 takes the same time within 5 %.
BLOCK_SAMPLES = 25
# The largest batches for which it is faster. Without compilation the small operations
# soon cost more than is saved.
LARGEST_BATCH = 8
LARGEST_EAGER_BATCH = 2


def can_defer(config: TrainConfig, *, compiles: bool = False) -> bool:
    """Return whether updates can be deferred: plain gradient descent on a few samples,
    and not switched off.
    """
    plain = config.optimizer == "sgd" and not (
        config.weight_decay or config.clip_norm or config.dropout
    )
    largest = LARGEST_BATCH if compiles else LARGEST_EAGER_BATCH
    return config.defer_updates and config.batch_size <= largest and plain


def make_deferred_block(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return a block of at most BLOCK_SAMPLES samples that computes what as many steps
    of `make_step` do.
    """
    xp, activation = backend.xp, backend.activation(config.activation)
    update = OPTIMIZERS[config.optimizer].make_update(config, xp=xp)
    identity = backend.asarray(np.eye(BLOCK_SAMPLES), backend.dtype)

    def step(
        carry: tuple[Network, Array], row: tuple[Array, ...]
    ) -> tuple[tuple[Network, Array], Array]:
        # all_errors (K B, n_1): those of the first layer, 0 for the steps that are
        # still to come.
        above, all_errors = carry
        # product (B, n_1): x W_0 + b_0 at the block's start. overlap (B, K B): x times
        # all inputs of the block. place (K B, B): for step i, columns i B to (i + 1) B
        # of the identity: place @ e puts e into these rows. factors: the learning rate
        # / B, () or with the weights of samples (B, 1).
        product, overlap, place, targets, factors = row
        activations = [activation] * len(above)
        logits, tape = forward_from(
            product - overlap @ all_errors, above, activations, xp=xp
        )
        error = task.link(logits, xp=xp) - targets
        error *= factors
        # the first one changes at the end of the block
        layers: list[Any] = [None, *above]
        errors: Iterable[tuple[int, Array, Array]] = backward(
            layers, [(None, None), *tape], error, activations, xp=xp
        )
        if config.update_order == "simultaneous":
            errors = list(errors)
        for i, a, e in errors:
            if i > 0:
                # the learning rate is in the error
                layers[i], _ = update(layers[i], gradient(a, e, xp=xp), (), None)
            else:
                # These rows were 0, so adding sets them: JAX has no assignment by
                # index. For one sample, * is faster than @.
                all_errors += place * e if e.shape[0] == 1 else place @ e
        return (tuple(layers[1:]), all_errors), logits

    def block(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        (w_0, b_0), *above = state.network
        steps, batch_size, features = batch.x.shape
        samples = steps * batch_size
        x = xp.reshape(batch.x, (samples, features))
        products = affine(state.network[0], x)
        all_errors = xp.zeros_like(products)
        factors = rates.error
        if batch.weights.shape[-1]:
            factors = xp.reshape(factors, (steps, 1, 1)) * batch.weights
        xs = (
            xp.reshape(products, (steps, batch_size, products.shape[1])),
            xp.reshape(x @ x.T + 1, (steps, batch_size, samples)),
            xp.permute_dims(
                xp.reshape(identity[:samples, :samples], (samples, steps, batch_size)),
                (1, 0, 2),
            ),
            batch.targets,
            factors,
        )
        (above, all_errors), logits = backend.scan(step, (tuple(above), all_errors), xs)
        w_0 -= x.T @ all_errors
        b_0 -= xp.sum(all_errors, axis=0)
        return State((Layer(w_0, b_0), *above), state.slots), logits

    return block
