"""The bounds of single operations: what rounding may do is within them, and little more
is not.
"""

import math
import operator
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_xp.parity import _bounds as bounds
from mlp_xp.parity._bounds import check, gamma


def verdict_of(name: str, result: Any, *args: Any, **kwargs: Any) -> bounds.Verdict:
    function = getattr(numpy_xp, name, None) or getattr(operator, name)
    return check(name, function, args, kwargs, np.asarray(result))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["add", "truediv", "pow", "exp", "tanh", "iadd"])
def test_an_elementwise_operation_may_deviate_by_its_ulps_and_no_more(name, dtype):
    x, y = np.array([0.3, 1.7, 2.9], dtype), np.array([0.9, 0.2, 1.1], dtype)
    args = (x, y) if name in ("add", "sub", "mul", "truediv", "pow", "iadd") else (x,)
    function = getattr(np, name, None) or getattr(operator, name)
    right = np.asarray(function(*(each.copy() for each in args)))
    assert not verdict_of(name, right, *args).deviates
    # What is rounded correctly may not be off by two.
    exact = name in ("add", "sub", "mul", "square", "iadd")
    for ulps, deviates in ((0 if exact else 1, False), (2, exact), (40, True)):
        result = right.copy()
        result[1] += ulps * np.spacing(right[1])
        verdict = verdict_of(name, result, *args)
        assert verdict.deviates is deviates
        if ulps == 40:
            assert verdict.at == (1,)
    np.testing.assert_array_equal(
        x, np.array([0.3, 1.7, 2.9], dtype), err_msg="the inputs are not changed"
    )


def test_the_reference_may_err_as_much_where_long_double_is_no_wider(monkeypatch):
    """As on Windows and on Apple's processors: both results are then within their
    bounds of the true one.
    """
    x = np.array([0.3, 1.7, 2.9])
    right, ulp = np.tanh(x), np.spacing(np.tanh(x))
    monkeypatch.setattr(np, "longdouble", np.float64)
    verdict = verdict_of("tanh", right + 8 * ulp, x)
    assert (verdict.bound, verdict.deviates) == (10, False)
    assert verdict_of("tanh", right + 12 * ulp, x).deviates


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 400))
def test_a_sum_in_any_order_is_within_its_bound(dtype, seed, n):
    """The error bound is Higham's: a sum in the worst of orders stays below it, one of
    half the digits does not.
    """
    random = np.random.default_rng(seed)
    x = (random.normal(size=(2, n)) * 10 ** random.uniform(-6, 6, (2, n))).astype(dtype)
    one_by_one = np.zeros(2, dtype)
    for i in np.argsort(random.random(n)):
        one_by_one += x[:, i]
    assert not verdict_of("sum", one_by_one, x, axis=1).deviates
    assert not verdict_of("matmul", one_by_one, x, np.ones(n, dtype)).deviates
    assert not verdict_of(
        "mean", one_by_one / np.dtype(dtype).type(n), x, axis=1
    ).deviates
    scale = np.abs(x.astype(np.float64)).sum(axis=1)
    far = (one_by_one + 4 * gamma(n + 1, np.finfo(dtype).eps) * scale).astype(dtype)
    for name, args in (("sum", (x,)), ("matmul", (x, np.ones(n, dtype)))):
        verdict = verdict_of(name, far, *args, **({"axis": 1} if name == "sum" else {}))
        assert verdict.deviates
        assert verdict.bound >= n / 2


def test_all_other_operations_are_exact():
    x = np.array([1.0, 2.0, 3.0])
    assert not verdict_of("concat", [1.0, 2, 3, 1, 2, 3], [x, x]).deviates
    assert verdict_of("concat", [1.0, 2, 3, 1, 2, np.nextafter(3, 4)], [x, x]).at == (
        5,
    )
    assert verdict_of("take", x, x, np.array([0, 1, 1]), axis=0).deviates
    assert verdict_of(
        "astype", x.astype(np.float32).astype(np.float64), x + 0.1, np.dtype("float64")
    ).deviates
    assert verdict_of("lt", [True, True, False], x, 2.0).deviates
    assert not verdict_of("lt", [True, False, False], x, 2.0).deviates
    assert verdict_of("sum", 7, np.array([1, 2, 3]), axis=0).deviates


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_beyond_every_bound(value):
    for name in ("tanh", "exp", "sqrt"):
        verdict = verdict_of(name, [value, math.nan], np.array([0.5, math.nan]))
        assert verdict.deviates
        assert (verdict.deviation, verdict.at) == (math.inf, (0,))
    assert verdict_of("sum", value, np.ones(3), axis=0).deviates
    assert not verdict_of("exp", [math.inf], np.array([1e5])).deviates
    assert not verdict_of(
        "exp", np.array([math.inf], np.float32), np.array([100], np.float32)
    ).deviates


def test_a_python_float_becomes_a_number_of_the_arrays_dtype_first():
    x = np.array([1.7, 2.3], np.float32)
    assert verdict_of("mul", np.float32(0.9) * x, 0.9, x) == bounds.Verdict()
    verdict = verdict_of(
        "mul", (0.9 * x.astype(np.float64) * (1 + 3e-7)).astype(np.float32), 0.9, x
    )
    assert verdict.deviates
    assert verdict.values[1] == float(np.float32(0.9)) * float(x[verdict.at])


def test_subnormal_numbers_may_be_zero_and_normal_ones_not():
    tiny = np.finfo(np.float64).smallest_normal
    small, normal = np.array([tiny / 8, 1.0]), np.array([tiny * 8, 1.0])
    assert not verdict_of("gt", [False, True], small, 0.0).deviates
    assert verdict_of("gt", [False, True], normal, 0.0).deviates
    assert not verdict_of("sqrt", [0.0, 1.0], small).deviates
    assert verdict_of("sqrt", [0.0, 1.0], normal).deviates
    assert not verdict_of("mul", [0.0, 1e10], small, 1e10).deviates
    assert verdict_of("mul", [0.0, 1e10], normal, 1e10).deviates


def test_only_the_integer_dtype_of_argmax_is_free():
    x = np.array([[1.0, 3, 3], [5, 2, 1]])
    for dtype in (np.int32, np.int64, np.uint32):
        assert not verdict_of("argmax", np.array([1, 0], dtype), x, axis=1).deviates
    assert verdict_of("argmax", np.array([2, 0]), x, axis=1).deviates, (
        "the first of equals, says the standard"
    )
    assert (
        verdict_of("argmax", np.array([1.0, 0.0]), x, axis=1).problem
        == "is float64 instead of int64"
    )
    assert (
        verdict_of("eq", np.array([1, 0, 0]), x[0], 1.0).problem
        == "is int64 instead of bool"
    )
