"""Activation functions, each followed by its derivative.

This file introduces the conventions of the whole package:

- `Array` is an array of any library that implements the Python array API standard:
  NumPy, CuPy, JAX, PyTorch, ...
- `xp` is the namespace of the array's library, such as `numpy`. The call `xp.exp(x)`
  then works on every library. Callers pass `xp` as a keyword, because looking it up
  from `x` takes a microsecond or more. Operators (`+`, `*`, `@`) need no `xp`.
- An in-place operator such as `y *= 0.5` changes the array on NumPy, CuPy and PyTorch.
  On JAX, whose arrays cannot change, it makes a new array. A function works in place
  only on arrays that it made itself, or that its caller donates. After a donation,
  callers must use the returned arrays, not the originals.

An activation takes an array z of any shape. It returns its value, with the shape and
dtype of z, and the arrays that its derivative is computed from. Often the derivative is
computed from the value, which backpropagation has at hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any  # The standard has no published static type for arrays yet.


def sigmoid(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return y = 1 / (1 + exp(-z)), in [0, 1], and y again for the derivative.

    y is computed as (1 + tanh(z / 2)) / 2, which does not overflow for any z. The
    absolute error is a few eps, so small values have a large relative error. In float64
    the value is 0 below about z = -38.
    """
    y = xp.tanh(0.5 * z)
    y *= 0.5
    y += 0.5
    return y, y


def sigmoid_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return dy / dz = y (1 - y)."""
    d = 1 - y
    d *= y
    return d


def tanh(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return the hyperbolic tangent y, in [-1, 1], and y again for the derivative."""
    y = xp.tanh(z)
    return y, y


def tanh_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return dy / dz = 1 - y^2."""
    return 1 - y * y


def relu(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return y = max(z, 0), and y again for the derivative.

    NaN and -inf become NaN, so that a diverged network does not pass for a good one.

    y is computed as (|z| + z) / 2, which is exact, and infinite where 2 z is. NumPy's
    `where` takes several times as long for large arrays, because a processor cannot
    predict the signs.
    """
    y = xp.abs(z)
    y += z
    y *= 0.5
    return y, y


def relu_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return dy / dz: 1 where y is above 0, else 0.

    At z = 0, where the derivative does not exist, 0 is also PyTorch's and JAX's choice.
    """
    return xp.astype(y > 0, y.dtype)


GELU_SCALE = (2 / 3.141592653589793) ** 0.5


def gelu(z: Array, /, *, xp: Any) -> tuple[Array, tuple[Array, Array]]:
    """Return y = z (1 + t) / 2, and (z, t) for the derivative.

    Here t = tanh(sqrt(2 / pi) (z + 0.044715 z^3)), and y approximates z Phi(z) within
    5e-4 (Hendrycks and Gimpel, 2016). The array API standard has no error function for
    the exact value. Because gelu is not monotonic, y does not determine the derivative.
    """
    t = xp.tanh(GELU_SCALE * (z + 0.044715 * (z * z * z)))
    return 0.5 * z * (1 + t), (z, t)


def gelu_derivative(saved: tuple[Array, Array], /, *, xp: Any) -> Array:
    """Return dy / dz from z and t."""
    z, t = saved
    inner = GELU_SCALE * (1 + 3 * 0.044715 * (z * z))
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * inner


def identity(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return z, and z again for the derivative."""
    return z, z


def identity_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return 1 everywhere."""
    return xp.zeros_like(y) + 1


class Activation(NamedTuple):
    """An activation function and its derivative.

    Examples:
        >>> def cube(z, /, *, xp):
        ...     return z**3, z
        >>> def cube_derivative(z, /, *, xp):
        ...     return 3 * z * z
        >>> TrainConfig(activation=Activation(cube, cube_derivative)).hidden
        (64,)
    """

    function: Callable[..., tuple[Array, Any]]
    """`function(z, xp=)` returns its value y, and any arrays `saved`."""
    derivative: Callable[..., Array]
    """`derivative(saved, xp=)` returns dy / dz."""

    def chain(self, error: Array, saved: Any, /, *, xp: Any) -> Array:
        """Return dL / dz by the chain rule, for any loss L.

        `error` is dL / dy, and is donated.
        """
        error *= self.derivative(saved, xp=xp)
        return error


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "gelu": Activation(gelu, gelu_derivative),
    "identity": Activation(identity, identity_derivative),
}
