"""Activations, losses and scaled bytes against exact arithmetic."""

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.core import losses
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.signature import flatten_and_scale
from mlp_xp.core.task import TASKS

SIZES = np.array(
    [0, 1e-300, 1e-9, 0.3, 1, 1.5, 37, 40, 710, 800, 1e30, 1e308], np.float64
)
LOGITS = np.array(
    [
        [0, 0, 0, 0],
        [1, 2, 3, -4],
        [1000, 0, -1000, 999],
        [-1e6, -1e6, -1e6 + 2, -1e6],
        [1e-12, -1e-12, 0, 5e-13],
        [1e300, -1e300, 0, 1e299],
    ]
)
TARGETS = np.eye(4)[[0, 3, 2, 1, 1, 2]]
GELU_SCALE = Decimal((2 / math.pi) ** 0.5)
EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: 1 - 2 / (1 + np.exp(2 * x)),
    "relu": lambda x: np.maximum(x, 0),
    "identity": lambda x: x,
    # (1 + tanh u) / 2 is the sigmoid of 2 u.
    "gelu": lambda x: (
        x / (1 + np.exp(-2 * GELU_SCALE * (x + Decimal("0.044715") * x**3)))
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_right_to_rounding(name, backend_of_each_dtype):
    """Warnings are errors in this suite, so no input overflows either."""
    backend = backend_of_each_dtype
    largest = np.finfo(backend.dtype_name).max
    # relu doubles its input on the way, and gelu takes the third power.
    limit = {"relu": largest / 2, "gelu": 50}.get(name, largest)
    x = as_given(SIZES[limit > SIZES], backend)
    x = np.concatenate([-x, x])
    y, _ = ACTIVATIONS[name].function(device(backend, x), xp=backend.xp)
    # Values in [-1, 1] are right to a few eps absolutely: (1 + tanh) / 2 gives no more
    # for a sigmoid near 0.
    atol = {"relu": 0, "gelu": 40}.get(name, 4) * eps(backend)
    expected = exactly(EXACT[name], x)
    assert_close(y, expected, backend, rtol=4 * eps(backend), atol=atol)


@pytest.mark.parametrize("times", [1, losses.MANY])
def test_the_loss_of_classes_is_right_to_rounding(times, backend_of_each_dtype):
    """For few samples, and for so many that a transposed copy is made of them."""
    backend = backend_of_each_dtype
    fits = np.abs(LOGITS).max(axis=1) < np.finfo(backend.dtype_name).max
    rows = np.tile(as_given(LOGITS[fits], backend), (times, 1))
    targets = np.tile(TARGETS[fits], (times, 1))
    logarithms = exactly(exact_log_softmax, rows)
    z, xp, tolerance = device(backend, rows), backend.xp, 4 * eps(backend)

    p = losses.softmax(z, xp=xp)
    # Four exponentials and a quotient: a handful of roundings, each relative, so small
    # values count as well.
    tiny = float(np.finfo(backend.dtype_name).tiny)
    shares = exactly(exact_softmax, rows)
    assert_close(p, shares, backend, rtol=2 * tolerance, atol=tiny)
    sums = backend.to_numpy(p).sum(axis=-1)
    np.testing.assert_allclose(sums, 1.0, rtol=tolerance)

    log_p = losses.log_softmax(z, xp=xp)
    assert_close(log_p, logarithms, backend, rtol=2 * tolerance, atol=tolerance)

    loss = losses.cross_entropy(z, device(backend, targets), xp=xp)
    expected = -(logarithms * targets).sum(axis=-1)
    assert_close(loss, expected, backend, rtol=2 * tolerance, atol=tolerance)
    assert (backend.to_numpy(loss) >= 0).all()


def test_bytes_are_scaled_by_one_division(backend_of_each_dtype):
    """Half an eps. Where it is a product with 1 / 255 rounded, one and a half."""
    backend = backend_of_each_dtype
    given = np.arange(256, dtype=np.uint8).reshape(2, 4, 8, 4)  # with channels
    images = backend.asarray(given)
    rows = flatten_and_scale(images, dtype=backend.dtype, xp=backend.xp)
    expected = given.reshape(2, 128) / 255
    assert_close(rows, expected, backend, rtol=1.5 * eps(backend))
    assert backend.to_numpy(rows).max() <= 1
    np.testing.assert_array_equal(backend.to_numpy(images), given)


def test_the_loss_of_labels_neither_overflows_nor_rounds_small_losses_to_0(backend):
    z = [1000, -1000, 40, -40, 0, 1.5e308, -1.5e308, 1.5e308]
    t = [1, 1, 1, 1, 1, 1, 1, 0]
    expected = [0, 1000, np.log1p(np.exp(-40)), 40, np.log(2), 0, 1.5e308, 1.5e308]
    columns = device(backend, np.transpose([z])), device(backend, np.transpose([t]))
    actual = backend.to_numpy(TASKS["labels"].loss(*columns, xp=backend.xp))
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


# Infinities and NaN.


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(name, backend):
    """Else a diverged network could go on with a loss like any other."""
    y, _ = activated(name, [math.nan, 1.0], backend)
    assert np.isnan(y).tolist() == [True, False]


@pytest.mark.parametrize(("name", "lowest"), [("sigmoid", 0.0), ("tanh", -1.0)])
def test_infinities_saturate(name, lowest, backend):
    y, slopes = activated(name, [-math.inf, math.inf], backend)
    assert (y.tolist(), slopes.tolist()) == ([lowest, 1.0], [0.0, 0.0])


def test_relu_is_exact_and_flat_at_0(backend):
    y, slopes = activated("relu", [-2.0, -0.0, 0.0, 1e-300, 2.0, math.inf], backend)
    assert y.tolist() == [0.0, 0.0, 0.0, 1e-300, 2.0, math.inf]
    assert slopes.tolist() == [0, 0, 0, 1, 1, 1]


def eps(backend: Backend) -> float:
    return float(backend.xp.finfo(backend.dtype).eps)


def device(backend: Backend, values: Any) -> Any:
    """Copy numbers to the device, as floats of the backend."""
    return backend.asarray(np.asarray(values, np.float64), backend.dtype)


def as_given(values: np.ndarray, backend: Backend) -> np.ndarray:
    """Return values as the backend has them, in float64."""
    return values.astype(backend.dtype_name).astype(np.float64)


def activated(
    name: str, values: list[float], backend: Backend
) -> tuple[np.ndarray, np.ndarray]:
    """Return an activation of some values, and its derivatives there."""
    activation = ACTIVATIONS[name]
    y, saved = activation.function(device(backend, values), xp=backend.xp)
    slopes = activation.derivative(saved, xp=backend.xp)
    return backend.to_numpy(y), backend.to_numpy(slopes)


def exactly(
    function: Callable[[np.ndarray], np.ndarray], values: np.ndarray
) -> np.ndarray:
    """Return a function of floats, computed with 40 digits.

    exp(-1e308) is 0, and no error.
    """
    with decimal.localcontext(decimal.Context(prec=40, traps=[])):
        return function(np.vectorize(Decimal, otypes=[object])(values)).astype(float)


def exact_softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def exact_log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=1, keepdims=True)
    totals = np.exp(shifted).sum(axis=1, keepdims=True)
    return shifted - np.vectorize(Decimal.ln, otypes=[object])(totals)
