"""Activations, losses and scaled bytes against exact arithmetic, and derivatives
against central differences.
"""

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from numerics import assert_close

from mlp_xp.core import functional, losses
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import ACTIVATIONS
from mlp_xp.core.signature import flatten_and_scale
from mlp_xp.core.task import TASKS

EDGES = [
    -1e308,
    -1e30,
    -800.0,
    -710.0,
    -40.0,
    -1.5,
    -1e-9,
    0.0,
    1e-300,
    0.3,
    1.0,
    37.0,
    710.0,
    800.0,
    1e30,
    1e308,
]
LOGITS = [
    [0.0, 0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0, -4.0],
    [1000.0, 0.0, -1000.0, 999.0],
    [-1e6, -1e6, -1e6 + 2, -1e6],
    [1e-12, -1e-12, 0.0, 5e-13],
    [1e300, -1e300, 0.0, 1e299],
]
TARGETS = np.eye(4)[[0, 3, 2, 1, 1, 2]]
# 40 digits, and exponents wide enough that exp(-1e308) is 0 and not an error.
CONTEXT = decimal.Context(
    prec=40, traps=[decimal.InvalidOperation, decimal.DivisionByZero]
)


def exp(x: Decimal) -> Decimal:
    # below that it is 0 to any digit that counts
    return CONTEXT.exp(max(x, Decimal(-(10**7))))


def exact_sigmoid(x: float) -> float:
    e = exp(-abs(Decimal(x)))
    return float(CONTEXT.divide(e if x < 0 else Decimal(1), 1 + e))


def exact_tanh(x: float) -> float:
    e = exp(-2 * abs(Decimal(x)))
    return math.copysign(float(CONTEXT.divide(1 - e, 1 + e)), x)


def exact_softmax(row: list[float]) -> list[float]:
    e = [exp(Decimal(x) - max(map(Decimal, row))) for x in row]
    return [float(CONTEXT.divide(x, sum(e, Decimal(0)))) for x in e]


def exact_log_softmax(row: list[float]) -> list[float]:
    # 1e300 - log(4) needs all of them
    with decimal.localcontext(decimal.Context(prec=400)):
        top = max(map(Decimal, row))
        total = sum((exp(Decimal(x) - top) for x in row), Decimal(0))
        return [float(Decimal(x) - top - total.ln()) for x in row]


EXACT: dict[str, Callable[[float], float]] = {
    "sigmoid": exact_sigmoid,
    "tanh": exact_tanh,
    "relu": lambda x: max(x, 0.0),
    "identity": lambda x: x,
    # Of floats: the formula itself is the definition.
    "gelu": lambda x: (
        0.5 * x * (1 + math.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))
    ),
}


def eps(backend: Backend) -> float:
    return float(backend.xp.finfo(backend.dtype).eps)


def device(backend: Backend, values) -> object:
    return backend.asarray(np.asarray(values, dtype=np.float64), backend.dtype)


def check_activation_values(backend: Backend) -> None:
    """Warnings are errors in this suite, so no input overflows either."""
    for name, exact in EXACT.items():
        # relu doubles its input on the way, and gelu takes the third power.
        largest = {"relu": float(np.finfo(backend.dtype_name).max) / 2, "gelu": 50}.get(
            name, math.inf
        )
        values = np.array(
            [
                x
                for x in EDGES
                if abs(x) < min(largest, float(np.finfo(backend.dtype_name).max))
            ]
        )
        # the oracle's input must be the function's
        values = values.astype(backend.dtype_name).astype(np.float64)
        actual, _ = ACTIVATIONS[name].function(device(backend, values), xp=backend.xp)
        # Values in [-1, 1] are right to a few eps absolutely: (1 + tanh) / 2 gives no
        # more for a sigmoid near 0.
        atol = 0.0 if name == "relu" else (40 if name == "gelu" else 4) * eps(backend)
        assert_close(
            actual,
            np.array([*map(exact, values)]),
            backend,
            rtol=4 * eps(backend),
            atol=atol,
        )


def check_softmax(backend: Backend) -> None:
    """Few samples, and so many that they are computed from a transposed copy."""
    rows = np.array(
        [
            row
            for row in LOGITS
            if max(map(abs, row)) < float(np.finfo(backend.dtype_name).max)
        ]
    )
    rows = rows.astype(backend.dtype_name).astype(np.float64)
    exact = [
        np.array([function(row) for row in rows.tolist()])
        for function in (exact_softmax, exact_log_softmax)
    ]
    for times in (1, losses.MANY):
        z, shares, expected = (np.tile(each, (times, 1)) for each in (rows, *exact))
        probabilities = losses.softmax(device(backend, z), xp=backend.xp)
        # Four exponentials and a quotient: a handful of roundings, each relative, so
        # small values count as well.
        tiny = float(np.finfo(backend.dtype_name).tiny)
        assert_close(probabilities, shares, backend, rtol=8 * eps(backend), atol=tiny)
        np.testing.assert_allclose(
            backend.to_numpy(probabilities).sum(axis=-1), 1.0, rtol=4 * eps(backend)
        )
        assert_close(losses.log_softmax(device(backend, z), xp=backend.xp), expected, backend,
                     rtol=8 * eps(backend), atol=4 * eps(backend))  # fmt: skip
        targets = np.tile(TARGETS[: len(rows)], (times, 1))
        loss = losses.cross_entropy(
            device(backend, z), device(backend, targets), xp=backend.xp
        )
        wanted = -(expected * targets).sum(axis=-1)
        assert_close(
            loss, wanted, backend, rtol=8 * eps(backend), atol=4 * eps(backend)
        )
        assert (backend.to_numpy(loss) >= 0).all()


def check_scaling(backend: Backend) -> None:
    """One division: half an eps; or, where it is a product with 1 / 255 rounded, one
    and a half.
    """
    given = np.arange(256, dtype=np.uint8).reshape(2, 4, 8, 4)  # with channels
    images = backend.asarray(given)
    rows = flatten_and_scale(images, dtype=backend.dtype, xp=backend.xp)
    expected = np.array([float(Fraction(i, 255)) for i in range(256)]).reshape(2, 128)
    assert_close(rows, expected, backend, rtol=1.5 * eps(backend))
    assert backend.to_numpy(rows).max() <= 1
    np.testing.assert_array_equal(backend.to_numpy(images), given)


def check_values(backend: Backend) -> None:
    check_activation_values(backend)
    check_softmax(backend)
    check_scaling(backend)


def test_values_are_right_to_rounding(backend):
    check_values(backend)


def test_values_are_right_to_rounding_in_float32(backend32):
    check_values(backend32)
    for activation in ACTIVATIONS.values():
        y, saved = activation.function(
            device(backend32, [-1.0, 0.0, 2.0]), xp=backend32.xp
        )
        assert (
            y.dtype
            == activation.derivative(saved, xp=backend32.xp).dtype
            == backend32.dtype
        )


def test_binary_cross_entropy_of_extreme_outputs(backend):
    """It neither overflows nor rounds small losses to 0."""
    z = np.array(
        [[1000.0], [-1000.0], [40.0], [-40.0], [0.0], [1.5e308], [-1.5e308], [1.5e308]]
    )
    t = np.array([[1.0]] * 7 + [[0.0]])
    expected = [0, 1000, np.log1p(np.exp(-40)), 40, np.log(2), 0, 1.5e308, 1.5e308]
    actual = TASKS["labels"].loss(device(backend, z), device(backend, t), xp=backend.xp)
    np.testing.assert_allclose(backend.to_numpy(actual), expected, rtol=1e-14)


def test_infinities_and_nan(backend):
    """A value that is not a number stays one: else a diverged network could go on with
    a loss like any other.
    """
    for name, activation in ACTIVATIONS.items():
        y = backend.to_numpy(
            activation.function(device(backend, [math.nan, 1.0]), xp=backend.xp)[0]
        )
        assert np.isnan(y).tolist() == [True, False], name
    for name, lowest in (("sigmoid", 0.0), ("tanh", -1.0)):
        y, saved = ACTIVATIONS[name].function(
            device(backend, [-math.inf, math.inf]), xp=backend.xp
        )
        assert backend.to_numpy(y).tolist() == [lowest, 1.0]
        assert backend.to_numpy(
            ACTIVATIONS[name].derivative(saved, xp=backend.xp)
        ).tolist() == [0.0, 0.0]
    y, _ = functional.relu(
        device(backend, [-2.0, -0.0, 0.0, 1e-300, 2.0, math.inf]), xp=backend.xp
    )
    assert backend.to_numpy(y).tolist() == [0.0, 0.0, 0.0, 1e-300, 2.0, math.inf]
    assert backend.to_numpy(functional.relu_derivative(y, xp=backend.xp)).tolist() == [
        0,
        0,
        0,
        1,
        1,
        1,
    ]


def test_losses_take_any_leading_shape(backend, random):
    z, t = random.normal(size=(2, 3, 5)), np.eye(5)[random.integers(0, 5, (2, 3))]
    for function in (losses.softmax, losses.log_softmax):
        whole = backend.to_numpy(function(device(backend, z), xp=backend.xp))
        rows = backend.to_numpy(
            function(device(backend, z.reshape(6, 5)), xp=backend.xp)
        )
        np.testing.assert_array_equal(whole.reshape(6, 5), rows)
    for task in TASKS.values():
        assert task.loss(
            device(backend, z), device(backend, t), xp=backend.xp
        ).shape == (2, 3)


@pytest.mark.parametrize("name", [*ACTIVATIONS, *TASKS])
def test_derivatives_are_those_of_central_differences(name, backend, random):
    x = random.normal(size=(3, 4)) * 2
    # off the bend of relu, where a difference quotient is of no use
    x += np.copysign(0.01, x)
    weights, targets, xp = (
        device(backend, random.normal(size=(3, 4))),
        device(backend, TARGETS[:3]),
        backend.xp,
    )

    def f(x) -> float:
        y = device(backend, x)
        if name in TASKS:
            return float(xp.sum(TASKS[name].loss(y, targets, xp=xp)))
        return float(xp.sum(weights * ACTIVATIONS[name].function(y, xp=xp)[0]))

    if name in TASKS:
        actual = TASKS[name].link(device(backend, x), xp=xp) - targets
    else:
        _, saved = ACTIVATIONS[name].function(device(backend, x), xp=xp)
        actual = ACTIVATIONS[name].chain(weights + 0, saved, xp=xp)
    # where truncation, step^2, and rounding, eps / step, are equal
    step = eps(backend) ** (1 / 3)
    expected = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        expected[i] = (f(up) - f(down)) / (up[i] - down[i])
    # f is a sum of x.size terms, none above 10 here, whose rounding the quotient
    # divides by the step.
    assert_close(
        actual, expected, backend, rtol=0.0, atol=x.size * 10 * eps(backend) / step
    )
