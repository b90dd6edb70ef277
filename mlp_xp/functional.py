"""Activation functions, each with its derivative beside it.

Conventions of the whole package, used here for the first time:

- `Array` is an array of any library that implements the Python array API standard: NumPy, CuPy, JAX, PyTorch, ...
- `xp` is that library's namespace, such as `numpy`: `xp.exp(x)` works on whichever library `x` belongs to. The caller
  passes it as a keyword, because looking it up from `x` takes a microsecond or more at each call. Operators (`+`, `*`,
  `@`) need no `xp`.

A function takes an array of any shape and returns one of the same shape and dtype. A derivative takes the *output* y of
its function instead of the input x, because backpropagation has the output at hand. Some functions do not need `xp`;
they take it so that all have the same signature.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any  # The standard has no published static type for arrays yet.


def sigmoid(x: Array, /, *, xp: Any) -> Array:
    """Return 1 / (1 + exp(-x)), in [0, 1].

    Computed as (1 + tanh(x / 2)) / 2, which does not overflow for any x. The absolute error is a few eps, so small
    results have a large relative error; in float64 the result is 0 below about x = -38.
    """
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def sigmoid_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return d sigmoid / dx = y (1 - y), where y = sigmoid(x)."""
    return y * (1 - y)


def tanh(x: Array, /, *, xp: Any) -> Array:
    """Return the hyperbolic tangent, in [-1, 1]."""
    return xp.tanh(x)


def tanh_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return d tanh / dx = 1 - y^2, where y = tanh(x)."""
    return 1 - y * y


def relu(x: Array, /, *, xp: Any) -> Array:
    """Return max(x, 0). NaN stays NaN, so that a diverged network does not pass for a good one."""
    return xp.where(x < 0, xp.zeros_like(x), x)


def relu_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return 1 where y = relu(x) is above 0, else 0. At x = 0 the derivative is taken as 0, as in PyTorch and JAX."""
    return xp.astype(y > 0, y.dtype)


class Activation(NamedTuple):
    """An activation function and its derivative in terms of the function's output."""

    function: Callable[..., Array]
    derivative: Callable[..., Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
}
