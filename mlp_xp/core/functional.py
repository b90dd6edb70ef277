"""Activation functions, each with its derivative beside it.

Conventions of the whole package, used here for the first time:

- `Array` is an array of any library that implements the Python array API standard:
  NumPy, CuPy, JAX, PyTorch, ...
- `xp` is that library's namespace, such as `numpy`: `xp.exp(x)` works on whichever
  library `x` belongs to. The caller passes it as a keyword, because looking it up from
  `x` takes a microsecond or more at each call. Operators (`+`, `*`, `@`) need no `xp`.
- An in-place operator such as `y *= 0.5` changes the array on NumPy, CuPy and PyTorch,
  and makes a new one on JAX, whose arrays cannot change. A function works in place only
  on arrays that it made, or that are donated to it: its caller must not use those
  again, but what the function returns.

An activation takes an array z of any shape. It returns its value, with the shape and
dtype of z, and what its derivative is computed from: often the value itself, which
backpropagation has at hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

Array = Any  # The standard has no published static type for arrays yet.


def sigmoid(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return y = 1 / (1 + exp(-z)), in [0, 1], twice: the derivative is computed from
    it.

    Computed as (1 + tanh(z / 2)) / 2, which does not overflow for any z. The absolute
    error is a few eps, so small results have a large relative error; in float64 the
    result is 0 below about z = -38.
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
    """Return the hyperbolic tangent y, in [-1, 1], twice."""
    y = xp.tanh(z)
    return y, y


def tanh_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return dy / dz = 1 - y^2."""
    return 1 - y * y


def relu(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return y = max(z, 0), twice. NaN and -inf become NaN, so that a diverged network
    does not pass for a good one.

    Computed as (|z| + z) / 2, which is exact, and infinite where 2 z is. NumPy's
    `where` takes several times as long for large arrays, because a processor cannot
    predict the signs.
    """
    y = xp.abs(z)
    y += z
    y *= 0.5
    return y, y


def relu_derivative(y: Array, /, *, xp: Any) -> Array:
    """Return dy / dz, 1 where y is above 0, else 0. At z = 0 it is taken as 0, as in
    PyTorch and JAX.
    """
    return xp.astype(y > 0, y.dtype)


GELU_SCALE = (2 / 3.141592653589793) ** 0.5


def gelu(z: Array, /, *, xp: Any) -> tuple[Array, tuple[Array, Array]]:
    """Return z (1 + t) / 2, t = tanh(sqrt(2 / pi) (z + 0.044715 z^3)) (Hendrycks and
    Gimpel, 2016), and (z, t).

    This is their approximation of z Phi(z), within 5e-4, because the array API standard
    has no error function. The value does not determine the derivative, since gelu is
    not monotonic.
    """
    t = xp.tanh(GELU_SCALE * (z + 0.044715 * (z * z * z)))
    return 0.5 * z * (1 + t), (z, t)


def gelu_derivative(saved: tuple[Array, Array], /, *, xp: Any) -> Array:
    """Return d gelu / dz from z and t."""
    z, t = saved
    return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * (
        GELU_SCALE * (1 + 3 * 0.044715 * (z * z))
    )


def identity(z: Array, /, *, xp: Any) -> tuple[Array, Array]:
    """Return z, twice."""
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
    """`function(z, xp=)`: its value y, and `saved`, any arrays."""
    derivative: Callable[..., Array]
    """`derivative(saved, xp=)`: dy / dz."""

    def chain(self, error: Array, saved: Any, /, *, xp: Any) -> Array:
        """Return dL / dz, given `error` = dL / dy of any loss L, which this may
        overwrite: the chain rule.
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
