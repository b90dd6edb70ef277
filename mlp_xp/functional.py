"""Activations, softmax and cross-entropy, each with its derivative beside it.

All take and return arrays of any shape (..., n); softmax and cross-entropy run along the last axis. A derivative of an
activation is written in terms of the activation's *output*, which backpropagation has at hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mlp_xp.loops import Array


def sigmoid(x: Array, /, *, xp: Any) -> Array:
    """1 / (1 + exp(-x)), in [0, 1], written as (1 + tanh(x / 2)) / 2, so that no x overflows.

    The error is within eps of 1, not of the result: below x = -37 the result in float64 is 0.
    """
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def sigmoid_derivative(y: Array, /, *, xp: Any) -> Array:
    """d sigmoid / dx = y (1 - y), where y = sigmoid(x)."""
    return y * (1 - y)


def tanh(x: Array, /, *, xp: Any) -> Array:
    """The hyperbolic tangent, in [-1, 1]."""
    return xp.tanh(x)


def tanh_derivative(y: Array, /, *, xp: Any) -> Array:
    """d tanh / dx = 1 - y^2, where y = tanh(x)."""
    return 1 - y * y


def relu(x: Array, /, *, xp: Any) -> Array:
    """max(x, 0), and NaN for NaN: a network that diverged is to show it."""
    return xp.where(x < 0, xp.zeros_like(x), x)


def relu_derivative(y: Array, /, *, xp: Any) -> Array:
    """1 where y = relu(x) is above 0, else 0: at x = 0 the subgradient 0, as PyTorch and JAX take it."""
    return xp.astype(y > 0, y.dtype)


def softmax(x: Array, /, *, xp: Any) -> Array:
    """exp(x_i) / sum_j exp(x_j), in [0, 1] with sum 1; the largest x is subtracted first, so that nothing overflows."""
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def softmax_derivative(y: Array, gradient: Array, /, *, xp: Any) -> Array:
    """The gradient with respect to x, given y = softmax(x) and the gradient g with respect to y: y (g - sum_j y_j g_j).

    From the Jacobian dy_i / dx_j = y_i (1[i = j] - y_j).
    """
    return y * (gradient - xp.sum(y * gradient, axis=-1, keepdims=True))


def log_softmax(x: Array, /, *, xp: Any) -> Array:
    """log(softmax(x)) = x_i - log sum_j exp(x_j), at most 0; finite where softmax itself underflows to 0."""
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def log_softmax_derivative(y: Array, gradient: Array, /, *, xp: Any) -> Array:
    """The gradient with respect to x, given y = log_softmax(x) and the gradient g to y: g - exp(y) sum_j g_j."""
    return gradient - xp.exp(y) * xp.sum(gradient, axis=-1, keepdims=True)


def cross_entropy(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """-sum_i t_i log softmax(logits)_i, at least 0: logits and one-hot targets (..., n) to losses (...).

    From the logits, not from probabilities: t log p is NaN once a probability underflows to 0.
    """
    return -xp.sum(targets * log_softmax(logits, xp=xp), axis=-1)


def cross_entropy_derivative(logits: Array, targets: Array, /, *, xp: Any) -> Array:
    """d cross_entropy / d logits = softmax(logits) - targets, for targets that sum to 1 (Bishop, PRML, eq. 4.109)."""
    return softmax(logits, xp=xp) - targets


class Activation(NamedTuple):
    """A function of the hidden layers, and its derivative in terms of the function's output."""

    function: Callable[..., Array]
    derivative: Callable[..., Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
}
