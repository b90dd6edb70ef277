"""Verdicts on any operation of the standard, with right and wrong results by hand."""

import operator
from math import inf, nan
from typing import Any

import array_api_compat.numpy as xp
import array_api_strict as strict
import numpy as np
import pytest
from array_api_strict import _fft, _linalg

from array_lockstep.bounds import OF_COMPLEX, Verdict
from array_lockstep.judge import (
    STANDARD,
    inspection_fault,
    judge,
    numpy_result,
    reference_of,
)
from array_lockstep.operations import Operation
from array_lockstep.rules import RULES

pytestmark = pytest.mark.needs("array_api_strict")
TIES = np.array([1.0, 1.0, 2.0])
GAP = np.array([[1.0, nan], [1.0, 2.0]])
F2, F4 = np.float16, np.float32
ONE = np.array([1])
S, TINY = 1e-310, 2.2250738585072014e-308
SKEW = np.array([[2.0, 1.0], [0.0, 2.0]])
LARGE = np.eye(700, dtype=F4)
Z = np.zeros_like(LARGE)
INFINITE = np.array([complex(inf, 0), 1j])
PARTLY = np.array([complex(nan, 1), 1j])


def half(values: list[float]) -> np.ndarray:
    return np.array(values, F2)


def single(values: list[float]) -> np.ndarray:
    return np.array(values, F4)


def function_of(name: str) -> Any:
    return operator.attrgetter(name)(xp)


def verdict_of(name: str, result: Any, *args: Any, **kwargs: Any) -> Verdict:
    return judge(Operation(name, function_of(name), args, kwargs, result))


def test_the_standards_functions_are_those_of_its_own_library():
    """An alias, such as xp.mod, or a function in another place is outside."""
    own = {name: getattr(strict, name, None) for name in strict.__all__}
    names = {name for name, x in own.items() if callable(x) and "flags" not in name}
    names -= {name for name, x in own.items() if isinstance(x, type)}
    names |= {f"linalg.{name}" for name in _linalg.__all__}
    names |= {f"fft.{name}" for name in _fft.__all__}
    assert names | {"linalg.eig", "linalg.eigvals"} == STANDARD


@pytest.mark.parametrize(
    ("name", "result", "args", "kwargs", "is_wrong"),
    [
        # The indices of a sort are a permutation.
        ("argsort", [0, 1], (-TIES[1:],), {"stable": False}, True),
        ("argsort", [1, 0], (-TIES[1:],), {"stable": False}, False),
        ("argsort", [1, 0, 2], (TIES,), {"stable": False}, False),
        ("argsort", [0, 0, 2], (TIES,), {"stable": False}, True),
        ("argsort", [0, 2, 1], (TIES,), {"stable": False}, True),
        ("sort", [0.0, 0.0], (GAP[0],), {}, True),
        ("unique_values", [2.0, 1.0], (TIES,), {}, False),
        ("unique_values", [14.0, 7.0], (TIES,), {}, True),
        # A complex number that is not finite, moved and rounded.
        ("take", INFINITE, (INFINITE, np.arange(2)), {}, False),
        ("take", [0, 1j], (INFINITE, np.arange(2)), {}, True),
        ("take", [complex(nan, 2), 1j], (PARTLY, np.arange(2)), {}, True),
        ("multiply", [complex(inf, inf), 1j], (INFINITE, 1 + 0j), {}, False),
        ("multiply", [0, 1j], (INFINITE, 1 + 0j), {}, True),
        # The condition is no operand of another kind.
        ("where", [1.0, 1.0, 9.0], (TIES > 1, TIES, TIES), {}, True),
        # The maximum of a NaN is NaN, and its place is left to the library.
        ("max", 2.0, (GAP,), {}, True),
        ("max", [nan, 2.0], (GAP, 1), {}, False),
        ("max", [2.0, 2.0], (GAP, 1), {}, True),
        ("argmax", [0, 1], (GAP, 1), {}, False),
        ("argmax", [1, 0], (GAP, 1), {}, True),
        ("arange", np.arange(0, 0.3, 0.1, F4), (0, 0.3, 0.1), {"dtype": F4}, False),
        ("arange", single([0, 0.1, 0.20000002]), (0, 0.3, 0.1), {"dtype": F4}, False),
        ("linalg.eigvalsh", np.array([2.0, 1.0]), (np.diag([1.0, 2.0]),), {}, False),
        ("linalg.eigvalsh", np.array([2.0, 1.1]), (np.diag([1.0, 2.0]),), {}, True),
        # Below a root, an underflow is larger. An exponent is rounded.
        ("linalg.vector_norm", np.asarray(F4(0)), (single([1e-20, 1e-20]),), {}, False),
        ("linalg.vector_norm", np.asarray(F4(0)), (single([1e-18, 1e-18]),), {}, True),
        (
            "linalg.matrix_norm",
            np.asarray(F4(0)),
            (single([[1e-20, 1e-20]]),),
            {},
            False,
        ),
        ("std", np.asarray(F4(0)), (single([1e-21, -1e-21]),), {}, False),
        ("linalg.vector_norm", 5.0 * (1 + 1e-14), (np.array([3.0, 4.0]),), {}, True),
        ("std", 0.5 * (1 + 1e-13), (np.array([3.0, 4.0]),), {}, True),
        ("diff", [0.0, 1.0], (TIES, 1), {}, False),
        ("diff", [0.0, 1.1], (TIES, 1), {}, True),
    ],
)
def test_a_result_is_right_or_wrong(name, result, args, kwargs, is_wrong):
    verdict = verdict_of(name, np.asarray(result), *args, **kwargs)
    assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")


@pytest.mark.parametrize(
    ("name", "x", "y", "result", "is_wrong"),
    [
        # A quotient is an integer, and a remainder a multiple of the divisor away.
        ("floor_divide", 6, 2, 3, False),
        ("floor_divide", 6, 2, 2, True),
        ("floor_divide", 6, 2, 4, True),
        ("floor_divide", 6, 0.1, 60, False),
        ("floor_divide", 6, 0.1, 58, True),
        ("floor_divide", 2e6 + 1, 2, 1e6 + 0.5, True),
        ("floor_divide", 6, 2, 2.5, True),
        ("floor_divide", 7, 2, 4, True),
        ("floor_divide", 1.6e7, 2, 8e6, False),
        ("remainder", 6, 2, 0, False),
        ("remainder", 6, 2, -2, True),
        ("remainder", 6, 0.1, 0, False),
        ("remainder", 6, 2, 2, True),
        ("remainder", 6, 2, 1.3, True),
        ("remainder", 7, 2, 0, True),
        ("remainder", 1e6, 3.1, -2.5, True),
    ],
)
def test_a_quotient_of_float32_is_right_or_wrong(name, x, y, result, is_wrong):
    verdict = verdict_of(name, single([result]), single([x]), single([y]))
    assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")


@pytest.mark.parametrize(
    ("name", "result", "args", "is_wrong"),
    [
        # Zero is right for a subnormal number, and nothing else is.
        ("add", 1e-5, (6e-5, -5e-5), False),
        ("add", 0, (6e-5, -5e-5), False),
        ("add", 2e-5, (6e-5, -5e-5), True),
        ("add", 2.4e-4, (1e-4, 1e-4), True),
        ("negative", -5e-5, (6e-5,), True),
    ],
)
def test_a_result_of_float16_is_right_or_wrong(name, result, args, is_wrong):
    verdict = verdict_of(name, half([result]), *(half([x]) for x in args))
    assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")


def test_a_complex_factorisation_has_three_roundings_where_a_real_one_has_one():
    bounds = []
    for dtype in (np.float64, np.complex128):
        one = np.eye(3, dtype=dtype)
        bounds.append(verdict_of("linalg.qr", (one, 2 * one), one).bound)
    np.testing.assert_allclose(bounds[1], 3 * bounds[0], rtol=1e-6)


SQUARE = np.array([[4.0, 2.0], [2.0, 3.0]])
LOWER = np.linalg.cholesky(SQUARE)
U, VALUES, VH = np.linalg.svd(SQUARE)


@pytest.mark.parametrize(
    ("name", "result", "args", "said"),
    [
        ("cholesky", LOWER, (), ""),
        ("cholesky", LOWER.T, (), "the other triangle"),
        ("cholesky", -LOWER, (), "the sign of the diagonal"),
        ("cholesky", LOWER * (1 + 1e-12), (), "the product of the factors"),
        ("svd", (-U, VALUES, -VH), (), ""),
        ("svd", (-U, -VALUES, VH), (), "the order of the singular values"),
        ("svd", (U[:, ::-1], VALUES[::-1], VH[::-1]), (), "the order of the"),
        ("svd", (U * 2, VALUES / 2, VH), (), "the orthogonality of a factor"),
        ("eigh", (VALUES, VH.T), (), ""),
        ("eigh", (VALUES, VH.T[:, ::-1]), (), "the product of the factors"),
        ("solve", np.linalg.inv(SQUARE), (np.eye(2),), ""),
        ("solve", np.linalg.inv(SQUARE)[0], (np.eye(2)[0],), ""),
        ("solve", np.ones(2), (np.ones(2),), "the matrix times the result"),
        ("inv", np.linalg.inv(SQUARE) * nan, (), "the matrix times the result"),
    ],
)
def test_equations_of_matrices_decide_and_not_their_elements(name, result, args, said):
    verdict = verdict_of(f"linalg.{name}", result, SQUARE, *args)
    assert verdict.deviates == bool(said)
    assert verdict.problem.startswith(said)
    assert not verdict.unjudged


OF_TWO = {"add", "subtract", "multiply", "divide", "pow"}
THREE = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, -1.0], [4.0, -2.0, 1.5]])
TALL, Z2 = THREE[:, :2], np.array([1.2 + 0.7j, -0.3 + 2.0j])


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("linalg.cross", (THREE, THREE[::-1])),
        ("linalg.det", (THREE,)),
        ("linalg.det", (THREE + 1j * THREE.T,)),
        ("linalg.matrix_power", (THREE, 5)),
        ("linalg.pinv", (TALL,)),
        ("linalg.pinv", (TALL + 1j * TALL[::-1],)),
        *((name, (Z2,)) for name in sorted(OF_COMPLEX - OF_TWO)),
        ("pow", (Z2, Z2[::-1])),
        ("fft.fft", (Z2.repeat(16),)),
    ],
)
def test_a_result_has_a_bound_of_few_digits(name, args):
    """One ulp is right, and a tenth of the digits more than the bound is not."""
    right = np.asarray(numpy_result(Operation(name, function_of(name), args, {})))
    for ulps, is_wrong in ((0, False), (1, False), (1e6, True)):
        verdict = verdict_of(name, right * (1 + ulps * 2.0**-52), *args)
        assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")


def test_a_logarithm_of_a_determinant_and_its_sign_are_judged():
    sign, logarithm = np.linalg.slogdet(THREE)
    for result, is_wrong in (
        ((sign, logarithm * (1 + 2.0**-52)), False),
        ((-sign, logarithm), True),
        ((sign, logarithm * (1 + 1e-12)), True),
    ):
        verdict = verdict_of("linalg.slogdet", tuple(map(np.asarray, result)), THREE)
        assert (verdict.deviates, verdict.unjudged) == (is_wrong, "")
    singular = np.ones((3, 3))
    assert verdict_of("linalg.det", np.asarray(1e-16), singular).unjudged
    scales = np.diag([1e-300, 1e-300, 1e300, 1e300])
    assert verdict_of("linalg.det", np.asarray(0.0), scales).unjudged


def test_an_fft_of_stages_may_not_be_off_by_100_ulp():
    """The bound of a transform by convolutions is larger."""
    x = np.random.default_rng(0).normal(size=97) + 0j
    for n, is_wrong in ((32, True), (96, True), (97, False)):
        wrong = np.fft.fft(x[:n]) * (1 + 100 * 2.0**-52)
        assert verdict_of("fft.fft", wrong, x[:n]).deviates is is_wrong


def test_an_empty_matrix_is_judged():
    empty = np.empty((0, 0))
    assert verdict_of("linalg.inv", empty, empty) == Verdict()


def test_an_ill_conditioned_matrix_is_judged_too():
    hilbert = 1 / (np.arange(14)[:, None] + np.arange(1, 15))
    right = np.linalg.solve(hilbert, np.ones(14))
    assert not verdict_of("linalg.solve", right, hilbert, np.ones(14)).deviates
    assert not verdict_of("linalg.solve", right, hilbert, np.ones(14)).unjudged
    wrong = right * (1 + 1e-3)
    assert verdict_of("linalg.solve", wrong, hilbert, np.ones(14)).deviates


GRADED = np.diag([1e-16, 1.0])
COLUMNS = np.array([[1e16, 1.0], [2e16, -3.0]])
Q, R = np.linalg.qr(COLUMNS)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "args"),
    [
        ("inv", np.diag([1e16, 1.0]), np.diag([1e16, 2.0]), (GRADED,)),
        ("solve", np.ones(2), np.array([1.0, 2.0]), (GRADED, np.diag(GRADED))),
        ("solve", COLUMNS / 2, COLUMNS * [0.5, 0], (2 * np.eye(2), COLUMNS)),
        ("cholesky", GRADED**0.5, GRADED**0.5 * [[2, 0], [0, 1]], (GRADED,)),
        ("qr", (Q, R), (Q, R * [1, 0]), (COLUMNS,)),
        # below the square root of the smallest number, and above that of the largest
        ("qr", (Q, 1e-190 * R), (Q, 2e-190 * R), (1e-190 * COLUMNS,)),
        ("qr", (Q, 1e190 * R), (Q, 2e190 * R), (1e190 * COLUMNS,)),
        ("svd", (U, 1e-170 * VALUES, VH), (U, 0 * VALUES, VH), (1e-170 * SQUARE,)),
        ("svd", (U, 1e200 * VALUES, VH), (U, 0 * VALUES, VH), (1e200 * SQUARE,)),
        ("eigh", (1e200 * VALUES, VH.T), (VALUES, VH.T), (1e200 * SQUARE,)),
        ("svdvals", 1e200 * VALUES, 0 * VALUES, (1e200 * SQUARE,)),
        ("svdvals", 1e-170 * VALUES, 0 * VALUES, (1e-170 * SQUARE,)),
    ],
)
def test_each_element_or_column_of_any_size_counts(name, right, wrong, args):
    verdict = verdict_of(f"linalg.{name}", right, *args)
    assert (verdict.deviates, verdict.unjudged) == (False, "")
    assert verdict_of(f"linalg.{name}", wrong, *args).deviates


def test_each_matrix_of_a_stack_has_its_own_bound():
    """A large or a singular one hides no fault of another."""
    large = np.stack([1e14 * np.eye(2), np.eye(2)])
    wrong = (np.stack([np.eye(2)] * 2), large * [[[1]], [[1.5]]])
    assert verdict_of("linalg.qr", wrong, large).deviates

    skewed = np.array([[[1, 1], [1, 1 + 1e-16]], [[2, 1], [1, 2]]]) + 1e-15
    skewed[0] += np.diag([0, 4e-16])
    right = np.linalg.inv(skewed)
    off = right * [[[2]], [[1 + 1e-9]]]
    assert verdict_of("linalg.inv", off, skewed).deviates
    off = right * [[[1.5]], [[1]]]
    assert not verdict_of("linalg.inv", off, skewed).deviates
    vectors = np.ones((2, 2))
    solved = np.linalg.solve(skewed, vectors[..., None])
    assert verdict_of(
        "linalg.solve", solved * 1.001, skewed, vectors[..., None]
    ).deviates


def test_the_errors_of_a_transform_count_together():
    """An error of each element is small beside the norm of all elements."""
    x = np.random.default_rng(0).normal(size=1024).astype(F4)
    right = np.fft.rfft(x)
    assert not verdict_of("fft.rfft", right.astype("c8"), x).deviates
    wrong = (right * (1 + 1e-4)).astype("c8")
    verdict = verdict_of("fft.rfft", wrong, x)
    assert verdict.deviates
    assert verdict.at == (np.argmax(np.abs(right)),)

    operation = Operation("fft.rfft", xp.fft.rfft, (x,), {}, wrong)
    allowed = reference_of(operation, numpy_result(operation)).allowed
    assert (np.abs(wrong - right) > allowed).any(), "a script must show it"


def test_a_matrix_that_is_symmetric_up_to_rounding_is_judged():
    """A library may read the other triangle."""
    a = np.random.default_rng(0).normal(size=(6, 6))
    near = (a * np.arange(1, 7)) @ a.T
    assert not np.array_equal(near, near.T)
    values, vectors = np.linalg.eigh(near.T)
    factor = np.linalg.cholesky(near.T)
    right = {"eigh": (values, vectors), "eigvalsh": values, "cholesky": factor}
    wrong = {
        "eigh": (values * 1.01, vectors),
        "eigvalsh": values * 1.01,
        "cholesky": factor * 1.01,
    }
    for name, result in right.items():
        verdict = verdict_of(f"linalg.{name}", result, near)
        assert (verdict.deviates, verdict.unjudged) == (False, "")
        assert verdict_of(f"linalg.{name}", wrong[name], near).deviates
        assert not verdict_of(f"linalg.{name}", wrong[name], near + np.triu(a)).deviates


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_frequencies_are_judged(name):
    right = getattr(np.fft, name)(8, 0.5)
    for result, deviates in ((right, False), (-right, True), (right / 2, True)):
        verdict = verdict_of(f"fft.{name}", result, 8, d=0.5)
        assert (verdict.deviates, verdict.unjudged) == (deviates, "")


def test_an_inspection_with_a_keyword_is_compared():
    operation = Operation("isdtype", xp.isdtype, (np.dtype("f8"),), {"kind": "bool"})
    assert (
        inspection_fault(operation._replace(result=True)) == "is True instead of False"
    )
    assert inspection_fault(operation._replace(result=False)) == ""


def test_a_range_without_a_stop_is_judged():
    right = np.arange(0, 0.1, 0.01)
    assert not verdict_of("arange", right, 0.1, None, 0.01).deviates
    assert verdict_of("arange", right * 1.1, 0.1, None, 0.01).deviates


@pytest.mark.parametrize(
    ("name", "result", "args"),
    [
        ("floor_divide", [10.0], (np.ones(1), np.array([0.1]))),
        ("sum", 50 * TINY, (np.full(100, TINY / 1e3),)),
        ("fft.fft", np.fft.fft(np.ones(4)) * (1 + 1e-15), (np.ones(4, "c16"),)),
    ],
)
def test_a_script_allows_all_that_the_judge_allows(name, result, args):
    result = np.asarray(result)
    assert not verdict_of(name, result, *args).deviates
    operation = Operation(name, operator.attrgetter(name)(xp), args, {}, result)
    expected = numpy_result(operation)
    allowed = reference_of(operation, expected).allowed
    assert np.allclose(result, expected, 0, allowed)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "args"),
    [
        ("sort", [S, -S, 1], [S, 1, -S], (np.array([S, 1.0, -S]),)),
        ("max", -2 * S, -1.0, (np.array([-1.0, -S, -2 * S]),)),
        ("nextafter", [-S], [S / 1e-300], (np.zeros(1), np.array([-S]))),
        ("nonzero", (ONE,), (ONE - 1,), (np.array([S, 1.0]),)),
        ("atan2", [-np.pi / 2], [np.pi / 2], (np.array([-S]), np.array([S]))),
        ("asin", [0.0], [4 * TINY], (np.array([TINY]),)),
        ("linalg.inv", np.diag([nan, 1]), None, (np.diag([S * 100, 1]),)),
        ("linalg.inv", np.diag([1.0, 1]), np.diag([nan, 1]), (np.diag([1.0, 1]),)),
    ],
)
def test_subnormal_numbers_may_count_as_zeros(name, right, wrong, args):
    """As on JAX 0.10.2, also in one of two operands, and in an order."""
    for result, deviates in ((right, False), (wrong, True)):
        if result is not None:
            result = result if isinstance(result, tuple) else np.asarray(result)
            assert verdict_of(name, result, *args).deviates is deviates


@pytest.mark.parametrize(
    ("name", "result", "args", "kwargs", "reason"),
    [
        ("linalg.vector_norm", 9.0, (TIES,), {"ord": 3}, "known for the order 3"),
        (
            "sort",
            [1.0, 2.0, nan],
            (GAP[[0, 1, 1], [0, 1, 1]] * [1, 1, nan],),
            {},
            "of NaN",
        ),
        ("unique_values", [0.0], (TIES * 1e-310,), {}, "subnormal numbers may count"),
        ("diff", [1.1], (TIES, 2), {}, "repeated differences"),
        ("diff", [1.1], (TIES,), {"n": 2}, "repeated differences"),
        ("floor_divide", [7], (ONE, ONE - 1), {}, "division by zero"),
        ("remainder", [7], (ONE, ONE - 1), {}, "division by zero"),
        ("pow", [7], (ONE, -ONE), {}, "negative power"),
        ("take", [1.0], (TIES, np.array([3])), {}, "NumPy raises IndexError"),
        ("add", [44], (ONE.astype("uint8"), 299), {}, "NumPy raises OverflowError"),
        ("fft.fft", np.ones(1, "c8"), (ONE,), {}, "defined only for floats"),
        ("linalg.vector_norm", ONE, (ONE,), {"axis": ()}, "defined only for floats"),
        ("where", single([1]), (ONE > 0, 1.0, ONE > 0), {}, "operands of several"),
        ("conj", ONE > 0, (ONE > 0,), {}, "not defined for booleans"),
        ("argsort", 0, (np.asarray(1.0),), {"axis": 0}, "1 or more axes"),
        ("matrix_transpose", 1.0, (np.asarray(1.0),), {}, "2 or more axes"),
        (
            "sum",
            1 + 1e-15,
            (ONE + 1j,),
            {"dtype": np.dtype("f8")},
            "complex numbers to real",
        ),
        ("fft.fftfreq", np.empty(0), (0,), {}, "NumPy raises ZeroDivisionError"),
        ("add", [2], (ONE, ONE.astype("uint64")), {}, "uint64 with signed"),
        ("linalg.cholesky", np.eye(2), (SKEW,), {}, "only for symmetric matrices"),
        ("linalg.qr", (Z, Z), (LARGE,), {}, "its bound leaves no digit"),
        ("linalg.svdvals", Z[0], (LARGE,), {}, "its bound leaves no digit"),
        ("linalg.eigvalsh", Z[0], (LARGE,), {}, "its bound leaves no digit"),
        ("linalg.svd", (Z, Z[0], Z), (LARGE,), {}, "its bound leaves no digit"),
        ("linalg.inv", Z, (LARGE,), {}, "not factorised"),
        ("linalg.det", np.float32(2), (LARGE,), {}, "not factorised"),
        ("linalg.eigvals", Z[0] + 1j, (LARGE,), {}, "no bound is known"),
    ],
)
def test_a_result_is_not_judged(name, result, args, kwargs, reason):
    if not isinstance(result, tuple):
        result = np.asarray(result)
    verdict = verdict_of(name, result, *args, **kwargs)
    assert verdict.unjudged
    assert reason in verdict.unjudged


@pytest.mark.parametrize(
    ("name", "result", "args", "kwargs"),
    [
        ("std", nan, (TIES,), {"correction": 5}),
        ("sum", 0.0, (np.tile([1e308, -1e308], 64),), {}),
        (
            "linalg.inv",
            np.eye(2) * 1e38,
            (single([1e-39, 1e-39]) * np.eye(2, dtype=F4),),
            {},
        ),
    ],
)
def test_what_numpy_does_not_make_finite_is_not_judged(name, result, args, kwargs):
    result = np.asarray(result, args[0].dtype)
    verdict = verdict_of(name, result, *args, **kwargs)
    assert verdict.unjudged == "NumPy's result is not finite"


def test_a_result_that_should_be_finite_or_infinite_is_judged():
    """A division by zero is infinite, and another result finite."""
    assert verdict_of("divide", np.array([1.0]), np.ones(1), np.zeros(1)).deviates
    infinite = np.array([inf, 2.0])
    sums = np.array([[1e308, 1e308], [1.0, 0.0]])
    assert verdict_of("sum", infinite, sums, axis=1).deviates


def test_the_absolute_value_of_a_complex_number_has_4_ulp():
    x, eps = np.array([3 + 4j]), np.finfo(np.float64).eps
    assert not verdict_of("abs", np.array([5 * (1 + 3 * eps)]), x).deviates
    # Where a long double has no more digits, as on Windows, the reference may be as far
    # off as the result.
    digits = np.finfo(np.longdouble).eps
    off = 6 if digits < eps else 10
    assert verdict_of("abs", np.array([5 * (1 + off * eps)]), x).deviates


def test_a_bug_of_a_rule_is_no_verdict(monkeypatch):
    def broken(_: Any) -> Any:
        raise ValueError("a bug")

    monkeypatch.setitem(RULES, "prod", broken)
    with pytest.raises(ValueError, match="a bug"):
        verdict_of("prod", np.asarray(1.0), TIES)


def test_numpy_computes_a_right_result_once():
    calls = []

    def function(x: np.ndarray) -> np.ndarray:
        calls.append(x)
        return np.sum(x)

    operation = Operation("sum", function, (TIES,), {}, np.asarray(4.0))
    assert judge(operation) == Verdict()
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["prod", "cumulative_prod"])
@pytest.mark.parametrize(
    ("values", "last"),
    [
        ([1e200, 1e-200, 1e200, 1e-200], nan),  # inf times 0, in pairs
        ([1e200, 1e-200, 1e200, 1e-200], inf),
        ([1e-200, 1e200, 1e200, 1e-200], 0.0),
        ([1e-300, 1e300, 1e300, 0.0], nan),
    ],
)
@np.errstate(all="ignore")
def test_a_product_beyond_the_range_in_another_order_is_not_judged(name, values, last):
    result = np.asarray(last)
    if name == "cumulative_prod":
        result = np.cumprod(values)
        result[-1] = last
    assert verdict_of(name, result, np.array(values)).unjudged


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ([1e-200, 1e-200, 0.5], 1e-300),
        ([1e100, 1e100, 1e-100], 1e100 * (1 + 1e-14)),
        ([1e100, 0.0, 2.0], nan),
    ],
)
@np.errstate(all="ignore")
def test_a_product_with_one_result_in_any_order_is_judged(values, result):
    assert verdict_of("prod", np.asarray(result), np.array(values)).deviates


@np.errstate(all="ignore")
def test_what_underflows_in_a_product_may_grow():
    x = np.array([1e-300, 1e-20, 1e100])  # 1e-320 has three digits
    in_order = np.asarray(x[0] * x[1] * x[2])
    assert in_order != x[0] * (x[1] * x[2])
    assert not verdict_of("prod", in_order, x[::-1]).deviates
