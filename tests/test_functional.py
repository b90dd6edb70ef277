"""Each function against an oracle of forty digits, each derivative against central differences and JAX's autograd."""

import decimal
import math
import warnings
from collections.abc import Callable
from decimal import Decimal

import jax
import numpy as np
import pytest
from numerics import assert_close

from mlp_xp import functional, losses
from mlp_xp.backend import Backend, open_backend
from mlp_xp.functional import ACTIVATIONS

EDGES = [-1e308, -1e30, -800.0, -710.0, -40.0, -1.5, -1e-9, 0.0, 1e-300, 0.3, 1.0, 37.0, 710.0, 800.0, 1e30, 1e308]
LOGITS = [
    [0.0, 0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0, -4.0],
    [1000.0, 0.0, -1000.0, 999.0],
    [-1e6, -1e6, -1e6 + 2, -1e6],
    [1e300, -1e300, 0.0, 1e299],
    [1e-12, -1e-12, 0.0, 5e-13],
]

# 40 digits, and exponents wide enough that exp(-1e308) is 0 and not an error.
CONTEXT = decimal.Context(prec=40, traps=[decimal.InvalidOperation, decimal.DivisionByZero])


def exp(x: Decimal) -> Decimal:
    return CONTEXT.exp(max(x, Decimal(-(10**7))))  # below that it is 0 to any digit that counts


def exact_sigmoid(x: float) -> float:
    """Of forty digits, then rounded once; by symmetry only exponentials of negative numbers are needed."""
    e = exp(-abs(Decimal(x)))
    return float(CONTEXT.divide(e if x < 0 else Decimal(1), 1 + e))


def exact_tanh(x: float) -> float:
    e = exp(-2 * abs(Decimal(x)))
    return math.copysign(float(CONTEXT.divide(1 - e, 1 + e)), x)


def exact_softmax(row: list[float]) -> list[float]:
    e = [exp(Decimal(x) - max(map(Decimal, row))) for x in row]
    return [float(CONTEXT.divide(x, sum(e, Decimal(0)))) for x in e]


def exact_log_softmax(row: list[float]) -> list[float]:
    with decimal.localcontext(decimal.Context(prec=400)):  # 1e300 - log(4) needs all of them
        top = max(map(Decimal, row))
        total = sum((exp(Decimal(x) - top) for x in row), Decimal(0))
        return [float(Decimal(x) - top - total.ln()) for x in row]


EXACT: dict[str, Callable[[float], float]] = {
    "sigmoid": exact_sigmoid,
    "tanh": exact_tanh,
    "relu": lambda x: max(x, 0.0),
    "identity": lambda x: x,
}  # gelu is compared with other libraries' in test_losses_and_activations.py


def eps(backend: Backend) -> float:
    return float(backend.xp.finfo(backend.dtype).eps)


def device(backend: Backend, values) -> object:
    return backend.asarray(np.asarray(values, dtype=np.float64), backend.dtype)


def rows_in(dtype: str, values) -> list:
    """The values as the dtype stores them: the oracle's input must be the function's."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=dtype).astype(np.float64).tolist()


@pytest.mark.parametrize("name", EXACT)
def test_activations_are_right_to_rounding(name, backend):
    # relu doubles its input on the way, so beyond half the largest number it may be infinite.
    values = [x for x in EDGES if name != "relu" or abs(x) < np.finfo(np.float64).max / 2]
    x = device(backend, values)
    expected = np.array([EXACT[name](v) for v in values])
    # Values in [-1, 1] are asked for to a few eps absolutely: (1 + tanh) / 2 gives no more for a sigmoid near 0.
    atol = 0.0 if name == "relu" else 4 * eps(backend)
    assert_close(ACTIVATIONS[name].function(x, xp=backend.xp), expected, backend, rtol=4 * eps(backend), atol=atol)


@pytest.mark.parametrize("name", EXACT)
def test_activations_are_right_to_rounding_in_float32(name, backend32):
    values = rows_in("float32", [x for x in EDGES if abs(x) < 1e38])
    expected = np.array([EXACT[name](v) for v in values])
    atol = 0.0 if name == "relu" else 4 * eps(backend32)
    actual = ACTIVATIONS[name].function(device(backend32, values), xp=backend32.xp)
    assert_close(actual, expected, backend32, rtol=4 * eps(backend32), atol=atol)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_what_is_float32_stays_float32(name, backend32):
    y = ACTIVATIONS[name].function(device(backend32, [-1.0, 0.0, 2.0]), xp=backend32.xp)
    assert y.dtype == ACTIVATIONS[name].derivative(y, xp=backend32.xp).dtype == backend32.dtype


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_no_input_overflows(name, backend):
    """Warnings are errors in this suite; said again here, so that the test means it by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = backend.to_numpy(ACTIVATIONS[name].function(device(backend, [*EDGES, -math.inf, math.inf]), xp=backend.xp))
        derivative = ACTIVATIONS[name].derivative(device(backend, y), xp=backend.xp)
    assert np.isfinite(y).all()
    lowest = {"sigmoid": 0.0, "tanh": -1.0}[name]
    assert y[-2:].tolist() == [lowest, 1.0]
    assert (y >= lowest).all()
    assert (y <= 1).all()
    assert backend.to_numpy(derivative)[-2:].tolist() == [0.0, 0.0]


def test_relu_and_its_derivative_at_zero(backend):
    x = device(backend, [-2.0, -0.0, 0.0, 1e-300, 2.0, math.inf])
    y = functional.relu(x, xp=backend.xp)
    assert_close(y, np.array([0.0, 0.0, 0.0, 1e-300, 2.0, math.inf]), backend, rtol=0.0)
    derivative = functional.relu_derivative(y, xp=backend.xp)
    assert_close(derivative, np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), backend, rtol=0.0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_value_that_is_not_a_number_stays_one(name, backend):
    """Else a network that diverged could go on with a loss that looks like any other."""
    y = backend.to_numpy(ACTIVATIONS[name].function(device(backend, [math.nan, 1.0]), xp=backend.xp))
    assert np.isnan(y).tolist() == [True, False]


@pytest.mark.parametrize("samples", [len(LOGITS), losses.MANY - 1, losses.MANY, losses.MANY + 1])
def test_softmax_is_right_to_rounding(samples, backend):
    """Of few samples, and of many, which are computed from a transposed copy."""
    logits = [LOGITS[i % len(LOGITS)] for i in range(samples)]
    y = losses.softmax(device(backend, logits), xp=backend.xp)
    # The four exponentials and the quotient: a handful of roundings, each relative, so small values count as well.
    exact = [exact_softmax(row) for row in LOGITS]
    expected = np.array([exact[i % len(LOGITS)] for i in range(samples)])
    assert_close(y, expected, backend, rtol=8 * eps(backend), atol=np.finfo(np.float64).tiny)
    np.testing.assert_allclose(backend.to_numpy(y).sum(axis=-1), 1.0, rtol=4 * eps(backend))


def test_log_softmax_is_right_to_rounding(backend):
    y = losses.log_softmax(device(backend, LOGITS), xp=backend.xp)
    expected = np.array([exact_log_softmax(row) for row in LOGITS])
    assert_close(y, expected, backend, rtol=8 * eps(backend), atol=4 * eps(backend))
    assert (backend.to_numpy(y) <= 0).all()


@pytest.mark.parametrize("times", [1, losses.MANY])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy"])
def test_float32_is_right_to_rounding(name, times, backend32):
    rows = rows_in("float32", [row for row in LOGITS if max(map(abs, row)) < 1e30]) * times
    targets = np.eye(4)[[0, 3, 2, 1, 0] * times]
    if name == "softmax":
        expected = np.array([exact_softmax(row) for row in rows])
        actual = losses.softmax(device(backend32, rows), xp=backend32.xp)
    else:
        expected = np.array([exact_log_softmax(row) for row in rows])
        actual = losses.log_softmax(device(backend32, rows), xp=backend32.xp)
        if name == "cross_entropy":
            expected = -(expected * targets).sum(axis=-1)
            actual = losses.cross_entropy(device(backend32, rows), device(backend32, targets), xp=backend32.xp)
    assert_close(actual, expected, backend32, rtol=8 * eps(backend32), atol=4 * eps(backend32))


def test_cross_entropy_is_finite_where_the_logarithm_of_softmax_is_not(backend):
    logits, targets = np.array(LOGITS), np.eye(4)[[0, 3, 2, 1, 1, 2]]
    with np.errstate(divide="ignore", invalid="ignore"):
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        naive = -np.sum(targets * np.log(e / e.sum(axis=-1, keepdims=True)), axis=-1)
    assert np.isnan(naive).any(), "the test's logits are meant to break the naive formula"
    loss = losses.cross_entropy(device(backend, logits), device(backend, targets), xp=backend.xp)
    expected = -(np.array([exact_log_softmax(row) for row in LOGITS]) * targets).sum(axis=-1)
    assert_close(loss, expected, backend, rtol=8 * eps(backend), atol=4 * eps(backend))
    assert (backend.to_numpy(loss) >= 0).all()
    derivative = losses.LOSSES["classes"].derivative(device(backend, logits), device(backend, targets), xp=backend.xp)
    assert np.isfinite(backend.to_numpy(derivative)).all()


def test_softmax_and_cross_entropy_take_any_leading_shape(backend, random):
    logits, targets = random.normal(size=(2, 3, 5)), np.eye(5)[random.integers(0, 5, (2, 3))]
    for function in (losses.softmax, losses.log_softmax):
        whole = backend.to_numpy(function(device(backend, logits), xp=backend.xp))
        rows = backend.to_numpy(function(device(backend, logits.reshape(6, 5)), xp=backend.xp))
        np.testing.assert_array_equal(whole.reshape(6, 5), rows)
    assert losses.cross_entropy(device(backend, logits), device(backend, targets), xp=backend.xp).shape == (2, 3)


# Derivatives: each case is a scalar function of an array x, and its gradient as the package computes it.

CASES = [*ACTIVATIONS, "cross_entropy"]


def scalar_and_gradient(name: str, weights, targets, xp) -> tuple[Callable, Callable]:
    """f(x) = sum(weights * function(x)), so that the gradient with respect to the function's output is `weights`."""
    if name == "cross_entropy":
        return (
            lambda x: xp.sum(losses.cross_entropy(x, targets, xp=xp)),
            lambda x: losses.LOSSES["classes"].derivative(x, targets, xp=xp),
        )
    function, derivative, of = ACTIVATIONS[name]
    return (
        lambda x: xp.sum(weights * function(x, xp=xp)),
        lambda x: weights * derivative(x if of == "input" else function(x, xp=xp), xp=xp),
    )


def case_inputs(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = random.normal(size=(3, 4)) * 2
    x += np.copysign(0.01, x)  # off the bend of relu, where a difference quotient is of no use
    return x, random.normal(size=(3, 4)), np.eye(4)[[2, 0, 3]]


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_central_differences(name, backend, random):
    x, weights, targets = case_inputs(random)
    f, gradient = scalar_and_gradient(name, device(backend, weights), device(backend, targets), backend.xp)
    step = eps(backend) ** (1 / 3)  # where truncation, step^2, and rounding, eps / step, are equal
    expected = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        expected[i] = (float(f(device(backend, up))) - float(f(device(backend, down)))) / (up[i] - down[i])
    # f is a sum of x.size terms, none above 10 here, whose rounding the quotient divides by the step.
    assert_close(gradient(device(backend, x)), expected, backend, rtol=0.0, atol=x.size * 10 * eps(backend) / step)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_autograd(name, random):
    backend = open_backend("jax")
    x, weights, targets = case_inputs(random)
    f, gradient = scalar_and_gradient(name, device(backend, weights), device(backend, targets), backend.xp)
    expected = backend.to_numpy(jax.grad(f)(device(backend, x)))
    assert_close(gradient(device(backend, x)), expected, backend, rtol=16 * eps(backend), atol=16 * eps(backend))


def test_derivative_of_relu_at_zero_is_that_of_autograd():
    backend = open_backend("jax")
    assert float(jax.grad(jax.nn.relu)(0.0)) == 0.0
    assert float(functional.relu_derivative(functional.relu(device(backend, 0.0), xp=backend.xp), xp=backend.xp)) == 0.0
