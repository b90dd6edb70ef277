"""The bounds of single operations: rounding stays within them, and little more does
not.
"""

import operator
from math import inf, nan
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from array_lockstep.bounds import Verdict, gamma
from array_lockstep.judge import judge_array, numpy_result
from array_lockstep.operations import Operation

every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def function_of(name: str) -> Any:
    return getattr(numpy_xp, name, None) or getattr(operator, name)


def verdict_of(name: str, result: Any, *args: Any, **kwargs: Any) -> Verdict:
    operation = Operation(name, function_of(name), args, kwargs, np.asarray(result))
    return judge_array(operation, numpy_result(operation))


def deviates(name: str, result: Any, *args: Any, **kwargs: Any) -> bool:
    return verdict_of(name, result, *args, **kwargs).deviates


@every_dtype
@pytest.mark.parametrize(
    ("name", "operands", "is_exact"),
    [
        ("add", 2, True),
        ("iadd", 2, True),
        ("truediv", 2, False),
        ("pow", 2, False),
        ("exp", 1, False),
        ("tanh", 1, False),
    ],
)
def test_an_elementwise_operation_may_deviate_by_its_ulps_and_no_more(
    name, operands, is_exact, dtype
):
    """A correctly rounded operation may not be off by two."""
    values = np.array([[0.3, 1.7, 2.9], [0.9, 0.2, 1.1]], dtype)[:operands]
    args = values.copy()
    right = function_of(name)(*values.copy())
    assert not deviates(name, right, *args)
    for ulps, expected in ((0 if is_exact else 1, False), (2, is_exact), (40, True)):
        result = right.copy()
        result[1] += ulps * np.spacing(right[1])
        verdict = verdict_of(name, result, *args)
        assert verdict.deviates is expected
    assert verdict.at == (1,)
    np.testing.assert_array_equal(args, values, "the inputs are not changed")


def test_the_reference_may_err_as_much_where_long_double_is_no_wider(monkeypatch):
    """As on Windows and on Apple's processors: both results are then within their
    bounds of the true result.
    """
    x = np.array([0.3, 1.7, 2.9])
    right, ulp = np.tanh(x), np.spacing(np.tanh(x))
    monkeypatch.setattr(np, "longdouble", np.float64)
    verdict = verdict_of("tanh", right + 8 * ulp, x)
    assert (verdict.bound, verdict.deviates) == (10, False)
    assert deviates("tanh", right + 12 * ulp, x)


@every_dtype
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_a_sum_in_any_order_is_within_its_bound(dtype, seed, n):
    """The error bound is Higham's: a sum in the worst of orders stays below it, a sum
    with half of the digits does not.
    """
    random = np.random.default_rng(seed)
    x = (random.normal(size=(2, n)) * 10 ** random.uniform(-6, 6, (2, n))).astype(dtype)
    total, ones = np.zeros(2, dtype), np.ones(n, dtype)
    for i in np.argsort(random.random(n)):
        total += x[:, i]
    assert not deviates("sum", total, x, axis=1)
    assert not deviates("matmul", total, x, ones)
    assert not deviates("mean", total / ones.dtype.type(n), x, axis=1)
    scale = np.abs(x.astype(np.float64)).sum(axis=1)
    far = (total + 4 * gamma(n + 1, np.finfo(dtype).eps) * scale).astype(dtype)
    for verdict in (
        verdict_of("sum", far, x, axis=1),
        verdict_of("matmul", far, x, ones),
    ):
        assert verdict.deviates
        assert verdict.bound >= n / 2


X = np.array([1.0, 2.0, 3.0])
TINY = np.finfo(np.float64).smallest_normal
SMALL, NORMAL = np.array([TINY / 8, 1.0]), np.array([TINY * 8, 1.0])
LARGE = np.array([100, 1], np.float32)


@pytest.mark.parametrize(
    ("name", "result", "args", "expected"),
    [
        # Operations without rounding are exact.
        ("concat", [1.0, 2, 3, 1, 2, 3], ([X, X],), False),
        ("lt", [True, True, False], (X, 2.0), True),
        ("lt", [True, False, False], (X, 2.0), False),
        ("sum", 7, (np.array([1, 2, 3]),), True),
        # These differ in no digit of float64.
        ("sum", 2**60 + 1, (np.array([2**60, 0]),), True),
        ("add", [2**60 + 1], (np.array([2**60]), np.array([0])), True),
        (
            "bitwise_or",
            np.array([2**64 - 1], "u8"),
            (np.array([2**64 - 2], "u8"), 0),
            True,
        ),
        # Infinity and NaN must be right.
        ("sum", nan, (np.ones(3),), True),
        ("sum", inf, (np.ones(3),), True),
        # beyond the largest float32, but not beyond the reference
        ("exp", np.array([inf, 2.7182825], np.float32), (LARGE,), False),
        # Subnormal numbers may be zero, normal ones not.
        ("gt", [False, True], (SMALL, 0.0), False),
        ("gt", [False, True], (NORMAL, 0.0), True),
        ("mul", [0.0, 1e10], (SMALL, 1e10), False),
        ("mul", [0.0, 1e10], (NORMAL, 1e10), True),
    ],
)
def test_a_result_deviates_or_not(name, result, args, expected):
    assert deviates(name, result, *args) is expected


def test_a_python_float_becomes_a_number_of_the_arrays_dtype_first():
    x = np.array([1.7, 2.3], np.float32)
    assert verdict_of("mul", np.float32(0.9) * x, 0.9, x) == Verdict()
    off = (0.9 * x.astype(np.float64) * (1 + 3e-7)).astype(np.float32)
    verdict = verdict_of("mul", off, 0.9, x)
    assert verdict.deviates
    assert verdict.values[1] == float(np.float32(0.9)) * float(x[verdict.at])


PLACES = np.array([[1.0, 3, 3], [5, 2, 1]])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_the_integer_dtype_of_argmax_is_free(dtype):
    assert not deviates("argmax", np.array([1, 0], dtype), PLACES, axis=1)


def test_other_dtypes_are_not_free():
    verdict = verdict_of("argmax", np.array([1.0, 0.0]), PLACES, axis=1)
    assert verdict.problem == "is float64 instead of int64"
    verdict = verdict_of("eq", np.array([1, 0, 0]), PLACES[0], 1.0)
    assert verdict.problem == "is int64 instead of bool"
