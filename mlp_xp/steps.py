"""The update step, and the chunk of steps that a backend may compile as a whole."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import TrainConfig
from mlp_xp.dataset import flatten_and_scale, one_hot
from mlp_xp.functional import ACTIVATIONS, cross_entropy, cross_entropy_derivative
from mlp_xp.loops import Array, Step
from mlp_xp.network import (
    Layer,
    Network,
    backward,
    error_below,
    forward_above,
    gradient,
    initial_layers,
    to_device,
)
from mlp_xp.optimizers import OPTIMIZERS, Kept, Update

# A block is the steps whose inputs are made at once. Of deferred updates: on NumPy any length from 10 to 50 gives the
# same time within 5 %.
DEFERRED_STEPS = 25
# Of other steps: inputs that stay in a processor's own cache until their last use.
BLOCK_BYTES = 2**19


class State(NamedTuple):
    """What a step changes: the network, and what the optimiser keeps for each of its layers."""

    network: Network
    kept: tuple[Kept, ...]


def initial_state(config: TrainConfig, sizes: tuple[int, ...], backend: Backend) -> tuple[State, np.random.RandomState]:
    """A network of layer sizes (n_0, ..., n_L) on the device, and the random stream that the shuffles go on with."""
    random = np.random.RandomState(config.seed)
    network = to_device(initial_layers(sizes, random, config.init), backend)
    return State(network, tuple(OPTIMIZERS[config.optimizer].init(layer, xp=backend.xp) for layer in network)), random


# Walks down from the last layer to the second, updates each, and returns the error of the first, which it leaves alone:
# walk(layers, kept, activations, error, coefficients), where layers and kept are lists that it changes.
Walk = Callable[[list[Layer], list[Kept], list[Array], Array, list[Array]], Array]


def simultaneous(update: Update, *, activation: Any, xp: Any) -> Walk:
    """Every gradient at the same weights: textbook backpropagation, gradient descent in the strict sense."""

    def walk(
        layers: list[Layer], kept: list[Kept], activations: list[Array], error: Array, coefficients: list[Array]
    ) -> Array:
        errors = backward(layers, activations, error, activation=activation, xp=xp)
        for i in range(1, len(layers)):
            layer_gradient = gradient(activations[i], errors[i], xp=xp)
            layers[i], kept[i] = update(layers[i], layer_gradient, kept[i], *coefficients)
        return errors[0]

    return walk


def layerwise(update: Update, *, activation: Any, xp: Any) -> Walk:
    """A layer is updated before the error passes down through it, as in the notebook: not the gradient at one point."""

    def walk(
        layers: list[Layer], kept: list[Kept], activations: list[Array], error: Array, coefficients: list[Array]
    ) -> Array:
        for i in reversed(range(1, len(layers))):
            layer_gradient = gradient(activations[i], error, xp=xp)
            layers[i], kept[i] = update(layers[i], layer_gradient, kept[i], *coefficients)
            error = error_below(layers[i], activations[i], error, activation=activation, xp=xp)
        return error

    return walk


WALKS = {"layerwise": layerwise, "simultaneous": simultaneous}


def make_step_above(config: TrainConfig, *, xp: Any) -> Callable[..., tuple[list[Layer], list[Kept], Array, Array]]:
    """Everything in a step but the first layer's own products.

    `step_above(state, x, product, targets, scale, coefficients) -> layers, kept, error, logits`: product is x W_0 (B,
    n_1); layers and kept are new but for the first; error is the first layer's (B, n_1).
    """
    activation = ACTIVATIONS[config.activation]
    update = OPTIMIZERS[config.optimizer].make_update(weight_decay=config.weight_decay, xp=xp)
    walk = WALKS[config.update_order](update, activation=activation, xp=xp)

    def step_above(
        state: State, x: Array, product: Array, targets: Array, scale: Array, coefficients: list[Array]
    ) -> tuple[list[Layer], list[Kept], Array, Array]:
        layers, kept = list(state.network), list(state.kept)
        outputs = forward_above(layers, product, activation=activation, xp=xp)
        error = scale * cross_entropy_derivative(outputs[-1], targets, xp=xp)
        error = walk(layers, kept, [x, *outputs], error, coefficients)
        return layers, kept, error, outputs[-1]

    return step_above


def make_step(config: TrainConfig, *, xp: Any) -> Step:
    """The update step of a configuration: `step(state, (x, targets, scale, *coefficients)) -> state, logits`.

    x (B, n_0), targets (B, n_L) one-hot; the rest are numbers, see `optimizers.Optimizer`; logits (B, n_L). The state
    is donated.
    """
    step_above = make_step_above(config, xp=xp)
    update = OPTIMIZERS[config.optimizer].make_update(weight_decay=config.weight_decay, xp=xp)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        x, targets, scale, *coefficients = batch
        product = x @ state.network[0].weights
        layers, kept, error, logits = step_above(state, x, product, targets, scale, coefficients)
        layers[0], kept[0] = update(layers[0], gradient(x, error, xp=xp), kept[0], *coefficients)
        return State(tuple(layers), tuple(kept)), logits

    return step


def can_defer(config: TrainConfig) -> bool:
    """Whether `make_deferred_block` is for this configuration."""
    return config.batch_size == 1 and config.optimizer == "sgd" and not config.weight_decay


def make_deferred_block(config: TrainConfig, backend: Backend) -> Step:
    """K <= DEFERRED_STEPS steps of plain gradient descent on single samples, faster than one by one.

    `block(state, batch) -> state, logits`: batch and logits are those of `make_step`'s step with a further first axis,
    of length K. The trajectory is the same to rounding. A step on one sample changes the first weights, by far the
    largest array, by a matrix of rank one, x^T e. Instead of writing all of W_0 each time, keep the errors, and write
    once:

        W_0 after i steps = W_0 - sum_{j<i} x_j^T e_j,  hence there  x_i W_0 = [X W_0]_i - sum_{j<i} [X X^T]_ij e_j

    The products X W_0 and X X^T of all K samples, and X^T E at the end, are fast matrix products; a step is left with
    arrays of K rows. (Known as delayed updates from quantum Monte Carlo, McDaniel et al., 2017, and in spirit from
    LAPACK's blocked Householder transformations.)
    """
    xp, scan = backend.xp, backend.scan
    step_above = make_step_above(config, xp=xp)
    identity = backend.asarray(np.eye(DEFERRED_STEPS), backend.dtype)

    def step(carry: tuple[State, Array], batch: tuple[Array, ...]) -> tuple[tuple[State, Array], Array]:
        state, errors = carry
        x, product, overlap, place, targets, scale, *coefficients = batch
        product = product - overlap @ errors
        layers, kept, error, logits = step_above(state, x, product, targets, scale, coefficients)
        weights, bias = layers[0]
        bias -= error[0, ...]
        layers[0] = Layer(weights, bias)
        errors += place * error  # row i of errors is still 0: no assignment by index in JAX
        return (State(tuple(layers), tuple(kept)), errors), logits

    def block(state: State, batch: tuple[Array, ...]) -> tuple[State, Array]:
        x, *others = batch
        steps, one, features = x.shape
        rows = xp.reshape(x, (steps, features))
        products = rows @ state.network[0].weights
        overlaps = xp.reshape(rows @ rows.T, (steps, one, steps))
        places = xp.reshape(identity[:steps, :steps], (steps, steps, one))
        errors = xp.zeros_like(products)
        products = xp.reshape(products, (steps, one, products.shape[1]))
        (state, errors), logits = scan(step, (state, errors), (x, products, overlaps, places, *others))
        (weights, bias), *above = state.network
        weights -= rows.T @ errors
        return State((Layer(weights, bias), *above), state.kept), logits

    return block


@lru_cache(maxsize=8)
def make_chunk(config: TrainConfig, backend: Backend) -> Callable[..., tuple[State, Array]]:
    """A function that trains on a chunk of samples, compiled where the backend compiles.

    `chunk(state, images, labels, classes, order, numbers) -> state, losses`: images (n, rows, columns) and labels (n,)
    of the whole training set, classes (n_L,) the labels there are, order (steps, B) int64 the samples of each step,
    numbers (k, steps) their scale and coefficients, in one array because each costs a transfer; losses (steps,). The
    state is donated.
    """
    xp, scan = backend.xp, backend.scan
    deferred = can_defer(config)
    train_block = make_deferred_block(config, backend) if deferred else partial(scan, make_step(config, xp=xp))

    @np.errstate(over="ignore", invalid="ignore")  # whoever runs the chunk checks its losses
    def chunk(
        state: State, images: Array, labels: Array, classes: Array, order: Array, numbers: Array
    ) -> tuple[State, Array]:
        steps, batch_size = order.shape
        step_bytes = batch_size * math.prod(images.shape[1:]) * xp.finfo(backend.dtype).bits // 8
        block_steps = DEFERRED_STEPS if deferred else max(1, BLOCK_BYTES // step_bytes)

        def block(state: State, xs: tuple[Array, ...]) -> tuple[State, Array]:
            taken, *others = xs
            x = flatten_and_scale(xp.take(images, xp.reshape(taken, (-1,)), axis=0), dtype=backend.dtype, xp=xp)
            return train_block(state, (xp.reshape(x, (*taken.shape, x.shape[-1])), *others))

        targets = one_hot(xp.take(labels, xp.reshape(order, (-1,)), axis=0), classes, dtype=backend.dtype, xp=xp)
        targets = xp.reshape(targets, (steps, batch_size, targets.shape[-1]))
        xs = (order, targets, *(numbers[i, ...] for i in range(numbers.shape[0])))
        whole = steps - steps % block_steps
        parts = []
        for start, stop, length in ((0, whole, block_steps), (whole, steps, steps - whole)):
            if start < stop:
                blocks = [xp.reshape(x[start:stop, ...], (-1, length, *x.shape[1:])) for x in xs]
                state, logits = scan(block, state, tuple(blocks))
                parts.append(xp.reshape(logits, (stop - start, *logits.shape[2:])))
        return state, xp.mean(cross_entropy(xp.concat(parts, axis=0), targets, xp=xp), axis=-1)

    return backend.jit(chunk, donate=(0,))
