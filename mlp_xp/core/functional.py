"""Activation functions, each with its derivative beside it.

Conventions of the whole package, used here for the first time:

- `Array` is an array of any library that implements the Python array API standard: NumPy, CuPy, JAX, PyTorch, ...
- `xp` is that library's namespace, such as `numpy`: `xp.exp(x)` works on whichever library `x` belongs to. The caller
  passes it as a keyword, because looking it up from `x` takes a microsecond or more at each call. Operators (`+`, `*`,
  `@`) need no `xp`.

A function takes an array of any shape and returns one of the same shape and dtype. A derivative takes the *output* y of
its function instead of the input x, because backpropagation has the output at hand; where the output does not determine
it, as for GELU, it takes the input. Some functions do not need `xp`; they take it so that all have the same signature.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any  # The standard has no published static type for arrays yet.


def sigmoid(x: Array, /, *, xp: Any) -> Array:
    """Return 1 / (1 + exp(-x)), in [0, 1].

    Computed as (1 + tanh(x / 2)) / 2, which does not overflow for any x. The absolute error is a few eps, so small
    results have a large relative error; in float64 the result is 0 below about x = -38.
    """
    y = xp.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y


def sigmoid_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return d sigmoid / dx = y (1 - y), where y = sigmoid(x)."""
    d = 1 - y
    d *= y
    return d


def tanh(x: Array, /, *, xp: Any) -> Array:
    """Return the hyperbolic tangent, in [-1, 1]."""
    return xp.tanh(x)


def tanh_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return d tanh / dx = 1 - y^2, where y = tanh(x)."""
    return 1 - y * y


def relu(x: Array, /, *, xp: Any) -> Array:
    """Return max(x, 0). NaN and -inf become NaN, so that a diverged network does not pass for a good one.

    Computed as (|x| + x) / 2, which is exact, and infinite where 2 x is. NumPy's `where` takes several times as long
    for large arrays, because a processor cannot predict the signs.
    """
    y = xp.abs(x)
    y += x
    y *= 0.5
    return y


def relu_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return 1 where y = relu(x) is above 0, else 0. At x = 0 the derivative is taken as 0, as in PyTorch and JAX."""
    return xp.astype(y > 0, y.dtype)


GELU_SCALE = (2 / 3.141592653589793) ** 0.5


def gelu(x: Array, /, *, xp: Any) -> Array:
    """Return x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 (Hendrycks and Gimpel, 2016).

    This is their approximation of x Phi(x), within 5e-4, because the array API standard has no error function.
    """
    return 0.5 * x * (1 + xp.tanh(GELU_SCALE * (x + 0.044715 * (x * x * x))))


def gelu_derivative(x: Array, /, *, xp: Any) -> Array:
    """Return d gelu / dx from the *input* x: gelu is not monotonic, so its output does not determine it."""
    t = xp.tanh(GELU_SCALE * (x + 0.044715 * (x * x * x)))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (GELU_SCALE * (1 + 3 * 0.044715 * (x * x)))


def identity(x: Array, /, *, xp: Any) -> Array:
    """Return x."""
    return x


def identity_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return 1 everywhere."""
    return xp.zeros_like(y) + 1


class Activation(NamedTuple):
    """An activation function and its derivative."""

    function: Callable[..., Array]
    derivative: Callable[..., Array]
    of: str = "output"
    """What the derivative takes: the function's "output", or its "input", which must then be kept in memory too."""


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "gelu": Activation(gelu, gelu_derivative, of="input"),
    "identity": Activation(identity, identity_derivative),
}


def find_activation(activation: str | Activation) -> Activation:
    """Return an activation, given by its name in ACTIVATIONS or as it is."""
    return activation if isinstance(activation, Activation) else ACTIVATIONS[activation]
