"""Optimisers and learning-rate schedules: pure functions on the layers of a network.

An optimiser is three functions.

- `init(layer)` returns the arrays that it keeps for a layer: none, a velocity, or two moments.
- `coefficients(rates, steps)` computes on the host, once for many steps, the numbers that change from step to step. The
  first is the scale of the error at the output. Backpropagation is linear in that error, so plain gradient descent puts
  its learning rate there: this multiplies 10 numbers per sample instead of a gradient of 50 000.
- `make_update(...)` returns `update(layer, gradient, slots, *coefficients) -> layer, slots`, which changes one layer;
  `slots` are the arrays from `init`.

Donation: `update` may change the arrays of `layer` and `slots` in place, so the caller must not use them again. An
in-place operator such as `weights -= g` changes the array on NumPy, CuPy and PyTorch, and makes a new one on JAX; the
code is right either way because it returns what it computed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.functional import Array
from mlp_xp.network import Layer

MOMENTUM = 0.9
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba, 2015, algorithm 1

Slots = tuple[Layer, ...]
Update = Callable[..., tuple[Layer, Slots]]


class Optimizer(NamedTuple):
    """An optimiser; see the module's docstring. rates: float64 (n,). steps: int64 (n,), counted from 0."""

    init: Callable[..., Slots]
    coefficients: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]]
    make_update: Callable[..., Update]
    slots: int
    """The number of arrays that `init` makes for each array of a layer."""


def _zeros(layer: Layer, /, *, count: int, xp: Any) -> Slots:
    return tuple(Layer(xp.zeros_like(layer.weights), xp.zeros_like(layer.bias)) for _ in range(count))


def _sgd_coefficients(rates: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    return rates, rates  # the scale of the error, and the rate for weight decay


def sgd(*, weight_decay: float, xp: Any) -> Update:
    """Make the update of gradient descent, w - rate (g + weight_decay w).

    The gradient arrives already multiplied by the rate.
    """

    def update(layer: Layer, gradient: Layer, slots: Slots, rate: Array, /) -> tuple[Layer, Slots]:
        weights, bias = layer
        if weight_decay:
            weights *= 1 - rate * weight_decay
            bias *= 1 - rate * weight_decay
        weights -= gradient.weights
        bias -= gradient.bias
        return Layer(weights, bias), slots

    return update


def _momentum_coefficients(rates: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ones_like(rates), rates


def momentum(*, weight_decay: float, xp: Any) -> Update:
    """Make the update of gradient descent with momentum: v = 0.9 v + g, then w - rate v.

    Sutskever et al., 2013, in the form that PyTorch uses.
    """

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
    """Make the update of Adam (Kingma and Ba, 2015, algorithm 1).

    The update's `rate` is alpha / (1 - beta_1^t) and its `correction` 1 / sqrt(1 - beta_2^t).
    """

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
    """Apply the update of an array to a layer's weights and to its bias."""

    def update(layer: Layer, gradient: Layer, slots: Slots, /, *coefficients: Array) -> tuple[Layer, Slots]:
        weights = update_array(layer.weights, gradient.weights, *(slot.weights for slot in slots), *coefficients)
        bias = update_array(layer.bias, gradient.bias, *(slot.bias for slot in slots), *coefficients)
        new_layer, *new_slots = map(Layer, weights, bias)
        return new_layer, tuple(new_slots)

    return update


OPTIMIZERS = {
    "sgd": Optimizer(partial(_zeros, count=0), _sgd_coefficients, sgd, slots=0),
    "momentum": Optimizer(partial(_zeros, count=1), _momentum_coefficients, momentum, slots=1),
    "adam": Optimizer(partial(_zeros, count=2), _adam_coefficients, adam, slots=2),
}


def constant(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """Return the same rate for every step: float64 (n,) for steps (n,)."""
    return np.full(steps.shape, rate)


def cosine(rate: float, steps: np.ndarray, total: int) -> np.ndarray:
    """Return rate (1 + cos(pi step / total)) / 2, float64 (n,) for steps (n,) of a run of `total` steps.

    Loshchilov and Hutter, 2017, eq. 5, without restarts.
    """
    return rate * (1 + np.cos(np.pi * steps / total)) / 2


SCHEDULES = {"constant": constant, "cosine": cosine}
