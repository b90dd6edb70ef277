"""Optimisers and learning-rate schedules: pure functions over the layers of a network.

An optimiser is three functions. `init(layer)` makes the arrays that it keeps for a layer. `coefficients(rates, steps)`
computes on the host, once for a chunk of steps, the numbers that change from step to step: the first of them scales the
error at the output, and with it every gradient, since backpropagation is linear (so plain gradient descent multiplies
10 numbers a sample by its rate, not a gradient of 50 000). `make_update(...)` makes `update(layer, gradient, kept,
*coefficients)`, which takes one layer a step further; layer and kept arrays are donated, and changed in place where the
library has such a thing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.loops import Array
from mlp_xp.network import Layer

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba, 2015, algorithm 1

Kept = tuple[Layer, ...]
Update = Callable[..., tuple[Layer, Kept]]


class Optimizer(NamedTuple):
    """See the module's docstring. rates: float64 (n,). steps: int64 (n,), counted from 0."""

    init: Callable[..., Kept]
    coefficients: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]
    make_update: Callable[..., Update]


def _zeros(layer: Layer, /, *, count: int, xp: Any) -> Kept:
    return tuple(Layer(xp.zeros_like(layer.weights), xp.zeros_like(layer.bias)) for _ in range(count))


def _sgd_coefficients(rates: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    return rates, rates


def sgd(*, weight_decay: float, xp: Any) -> Update:
    """Gradient descent: w - rate (g + weight_decay w); the gradient comes scaled by the rate already."""

    def update(layer: Layer, gradient: Layer, kept: Kept, rate: Array, /) -> tuple[Layer, Kept]:
        weights, bias = layer
        if weight_decay:
            weights *= 1 - rate * weight_decay
            bias *= 1 - rate * weight_decay
        weights -= gradient.weights
        bias -= gradient.bias
        return Layer(weights, bias), kept

    return update


def _momentum_coefficients(rates: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ones_like(rates), rates


def momentum(*, weight_decay: float, xp: Any) -> Update:
    """Gradient descent with a velocity: v = 0.9 v + g, w - rate v (Sutskever et al., 2013, in PyTorch's form)."""

    def update_array(w: Array, g: Array, v: Array, rate: Array) -> tuple[Array, Array]:
        if weight_decay:
            g = g + weight_decay * w
        v *= MOMENTUM
        v += g
        w -= rate * v
        return w, v

    return _for_layers(update_array)


def _adam_coefficients(rates: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    t = steps + 1
    return np.ones_like(rates), rates / (1 - BETA_1**t), 1 / np.sqrt(1 - BETA_2**t)


def adam(*, weight_decay: float, xp: Any) -> Update:
    """Adam (Kingma and Ba, 2015, algorithm 1): rate is alpha / (1 - beta_1^t), correction 1 / sqrt(1 - beta_2^t)."""

    def update_array(
        w: Array, g: Array, m: Array, v: Array, rate: Array, correction: Array
    ) -> tuple[Array, Array, Array]:
        if weight_decay:
            g = g + weight_decay * w
        m *= BETA_1
        m += (1 - BETA_1) * g
        v *= BETA_2
        v += (1 - BETA_2) * (g * g)
        w -= rate * (m / (xp.sqrt(v) * correction + EPSILON))
        return w, m, v

    return _for_layers(update_array)


def _for_layers(update_array: Callable[..., tuple[Array, ...]]) -> Update:
    def update(layer: Layer, gradient: Layer, kept: Kept, /, *coefficients: Array) -> tuple[Layer, Kept]:
        weights = update_array(layer.weights, gradient.weights, *(k.weights for k in kept), *coefficients)
        bias = update_array(layer.bias, gradient.bias, *(k.bias for k in kept), *coefficients)
        new_layer, *new_kept = map(Layer, weights, bias)
        return new_layer, tuple(new_kept)

    return update


OPTIMIZERS = {
    "sgd": Optimizer(partial(_zeros, count=0), _sgd_coefficients, sgd),
    "momentum": Optimizer(partial(_zeros, count=1), _momentum_coefficients, momentum),
    "adam": Optimizer(partial(_zeros, count=2), _adam_coefficients, adam),
}


def constant(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """The same rate at every step: shape (n,), for steps (n,)."""
    return np.full(steps.shape, rate)


def cosine(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """rate (1 + cos(pi step / total)) / 2 (Loshchilov and Hutter, 2017, eq. 5, without restarts): shape (n,)."""
    return rate * (1 + np.cos(np.pi * steps / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
