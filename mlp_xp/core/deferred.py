"""Faster steps of plain gradient descent on a few samples.

The first layer is written once per block of steps. The results match `step.py` up to
rounding. `TrainConfig.defer_updates` switches this off.

A step on B samples changes the weights of the first layer, by far the largest array, by
a matrix of rank B, x^T e. Instead of writing all of W_0 at each step, keep the errors
e, which contain the learning rate, and write W_0 once per block of K steps. Let W be
W_0 at the start of the block, X all inputs of the block, and x_i, e_i the B rows of
step i. Then

    W_0 before step i = W - sum_{j<i} x_j^T e_j
    x_i W_0           = [X W]_i - sum_{j<i} [X X^T]_ij e_j

The products X W and X X^T of all K B samples, and X^T E at the end, are fast matrix
products. A step is left with arrays of K B rows. The bias is the weight of a further
input that is always 1: it adds b_0 to each row of X W, and 1 to each element of X X^T.
In quantum Monte Carlo this is known as delayed updates (McDaniel et al., 2017).
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.network import Layer, Network, affine, backward, forward_from, gradient
from mlp_xp.core.optimizers import Rates
from mlp_xp.core.step import Batch, State, Step
from mlp_xp.core.task import Task
from mlp_xp.declared import declared

# Samples per block. On NumPy any number from 10 to 50 takes the same time within 5 %.
BLOCK_SAMPLES = 25
# The largest batches for which deferring is faster. Without compilation, its small
# operations soon cost more than they save.
LARGEST_BATCH = 8
LARGEST_EAGER_BATCH = 2

_KNOWN = frozenset(
    (
        "batch_size",
        "hidden",
        "update_order",
        "activation",
        "optimizer",
        "decay_bias",
        "momentum",
        "nesterov",
        "beta_1",
        "beta_2",
        "deform",
        "deform_pixels",
        "deform_smoothness",
        "defer_updates",
    )
)
"""The settings of a step that a deferred step follows, or that do not concern it."""

_Carry = tuple[Network, Array]
"""The layers above the first, and the errors of the first layer for all samples of the
block, (K B, n_1). They are 0 for the steps still to come.
"""


def can_defer(config: TrainConfig, *, compiles: bool = False) -> bool:
    """Return whether updates can be deferred, and the settings allow it.

    They can for plain gradient descent on a few samples. Every setting of a step that
    is not in _KNOWN must have its default.
    """
    is_plain = config.optimizer == "sgd"
    for name, each in declared(TrainConfig).items():
        if each.compiled_in and name not in _KNOWN:
            is_plain = is_plain and getattr(config, name) == each.default
    largest = LARGEST_BATCH if compiles else LARGEST_EAGER_BATCH
    return config.defer_updates and config.batch_size <= largest and is_plain


def make_deferred_block(config: TrainConfig, task: Task, backend: Backend) -> Step:
    """Return a block like `make_block`, for at most BLOCK_SAMPLES samples."""
    xp = backend.xp
    step = _make_deferred_step(config, task, backend)
    identity = backend.asarray(np.eye(BLOCK_SAMPLES), backend.dtype)

    def block(state: State, batch: Batch, rates: Rates) -> tuple[State, Array]:
        first, *above = state.network
        steps, batch_size, features = batch.x.shape
        samples = steps * batch_size
        x = xp.reshape(batch.x, (samples, features))
        products = affine(first, x)
        errors = xp.zeros_like(products)
        overlaps = x @ x.T + 1
        places = xp.reshape(identity[:samples, :samples], (samples, steps, batch_size))
        factors = rates.error
        if batch.weights.shape[-1]:
            factors = xp.reshape(factors, (steps, 1, 1)) * batch.weights
        rows = (
            xp.reshape(products, (steps, batch_size, products.shape[1])),
            xp.reshape(overlaps, (steps, batch_size, samples)),
            xp.permute_dims(places, (1, 0, 2)),
            batch.targets,
            factors,
        )
        (layers, errors), logits = backend.scan(step, (tuple(above), errors), rows)
        first = _descend(first, Layer(x.T @ errors, xp.sum(errors, axis=0)))
        return State((first, *layers), state.slots), logits

    return block


def _make_deferred_step(
    config: TrainConfig, task: Task, backend: Backend
) -> Callable[[_Carry, tuple[Array, ...]], tuple[_Carry, Array]]:
    """Return `step(carry, row) -> carry, logits`, with a row of five arrays.

    - `product`, (B, n_1): x W_0 + b_0, with W_0 and b_0 from the start of the block.
    - `overlap`, (B, K B): the row of X X^T + 1 for x.
    - `place`, (K B, B): columns i B to (i + 1) B of the identity for step i. So place @
      e has e in these rows, and 0 in all others.
    - `targets`, (B, n_L).
    - `factor`: the learning rate / B, a scalar, or (B, 1) with the weights of samples.
    """
    xp = backend.xp
    activation = backend.activation(config.activation)

    def step(carry: _Carry, row: tuple[Array, ...]) -> tuple[_Carry, Array]:
        above, all_errors = carry
        product, overlap, place, targets, factor = row
        activations = [activation] * len(above)
        z = product - overlap @ all_errors
        logits, tape = forward_from(z, above, activations, xp=xp)
        error = task.link(logits, xp=xp) - targets
        error *= factor

        # The first layer changes only at the end of the block.
        layers: list[Any] = [None, *above]
        errors: Iterable[tuple[int, Array, Array]] = backward(
            layers, [(None, None), *tape], error, activations, xp=xp
        )
        if config.update_order == "simultaneous":
            errors = list(errors)
        for i, a, e in errors:
            if i > 0:
                layers[i] = _descend(layers[i], gradient(a, e, xp=xp))
            else:
                # These rows were 0, so adding sets them. JAX has no assignment by
                # index. For one sample, * is faster than @.
                all_errors += place * e if e.shape[0] == 1 else place @ e
        return (tuple(layers[1:]), all_errors), logits

    return step


def _descend(layer: Layer, gradient: Layer) -> Layer:
    """Return the layer, which is donated, minus a gradient with the learning rate."""
    weights, bias = layer
    weights -= gradient.weights
    bias -= gradient.bias
    return Layer(weights, bias)
