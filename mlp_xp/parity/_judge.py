"""Compare any operation of the standard with NumPy's: also several results at once.

What the standard leaves to a library is no deviation:

- the default dtypes of functions that create arrays;
- the order of unique values, of NaN in `sort`, and of equal elements in an `argsort`
  with `stable=False`;
- the content of `empty`;
- the result of operands that the standard does not define, such as integers and floats
  together, or integers in a function of floats;
- numbers beyond the range of the dtype in `astype`, and indices beyond an array;
- integers divided by zero, or with a negative power;
- the order of eigenvalues, and the triangle of a matrix that is read as symmetric;
- the signs of singular vectors, eigenvectors, and of the factors of `qr`. A
  factorisation is judged by what it must fulfil: its product is the matrix, its factors
  are orthogonal (see `_rules` for the bound), and its values are NumPy's.
"""

import math
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy
import numpy as np

from mlp_xp.errors import one_line
from mlp_xp.parity import _rules
from mlp_xp.parity._bounds import (
    EXACT,
    RULES,
    SUMS,
    ULPS,
    Unjudged,
    Verdict,
    check,
    expect,
    gamma,
    is_real,
    kind_of,
    mismatch,
    refuse_uncertain,
)

CREATION = {
    "arange",
    "asarray",
    "empty",
    "eye",
    "fft.fftfreq",
    "fft.rfftfreq",
    "full",
    "linspace",
    "ones",
    "zeros",
}
"""Functions with a default dtype."""
UNIQUE = {"unique_all", "unique_counts", "unique_inverse", "unique_values"}
_DIVISIONS = {"floordiv", "floor_divide", "mod", "remainder"}
_SYMMETRIC = {"cholesky", "eigh", "eigvalsh"}
FACTORISATIONS = {"linalg.eigh", "linalg.qr", "linalg.svd"}
_WITHOUT_BOUND = """
    linalg.eig linalg.eigvals linalg.matrix_rank linalg.pinv linalg.slogdet
"""
_OPERATORS = """
    T and_ eq floordiv from_numpy ge getitem gt invert le lshift lt mT materialise mod
    mul ne neg or_ pos rshift setitem sub to_device truediv xor
"""
_LINALG = """
    cholesky cross det diagonal eigvalsh inv matmul matrix_norm matrix_power
    matrix_transpose outer solve svdvals tensordot trace vecdot vector_norm
"""
_IN_BOTH = {"matmul", "matrix_transpose", "tensordot", "vecdot"}
_NUMERIC = {"add", "sub", "subtract", "mul", "multiply", "pow", "square", "sum"}
_NUMERIC |= {"matmul", "tensordot", "vecdot", "trace", "cumulative_sum", "matrix_power"}
_FLOATING = (ULPS.keys() | SUMS) - _NUMERIC | {"var", "std"}
_FLOATING |= {"copysign", "logaddexp", "nextafter", "signbit"}
"""Kinds of operations that the standard defines for floats alone."""
_SEVERAL_KINDS = {"and_", "or_", "xor", "take", "take_along_axis", "repeat"}
_SEVERAL_KINDS |= {"searchsorted", "getitem", "setitem", "full_like", "lshift"}
_SEVERAL_KINDS |= {"rshift", "astype", "from_numpy", "asarray"}
"""Kinds of operations with operands of several kinds, or with numbers as settings."""
INSPECTION = {"broadcast_shapes", "can_cast", "finfo", "iinfo", "isdtype"}
INSPECTION |= {"result_type", "__array_namespace_info__"}
STANDARD = (
    EXACT | ULPS.keys() | SUMS | RULES.keys() | CREATION | UNIQUE | INSPECTION
) - {*_OPERATORS.split(), *_LINALG.split()}
STANDARD |= FACTORISATIONS | _IN_BOTH | {*_WITHOUT_BOUND.split()}
STANDARD |= {f"linalg.{name}" for name in _LINALG.split()}
"""The standard's functions, by their full names."""
numpy_xp: Any = array_api_compat.numpy


@np.errstate(all="ignore")
def judge(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,
) -> Verdict:
    """Compare the result of an operation with NumPy's.

    Args:
        name: The name of the operation.
        function: NumPy's operation.
        args: Host arrays, NumPy dtypes and Python values.
        kwargs: Further arguments by name, without the device.
        result: A host array, or a tuple of them.
    """
    if name in ("empty", "empty_like"):  # shape and dtype
        name = name.replace("empty", "zeros")
        function, result = getattr(numpy_xp, name), np.zeros_like(result)
    try:
        expected = expect(name, function, args, kwargs)
    except np.linalg.LinAlgError as error:
        return Verdict(unjudged=f"NumPy's own raises {error}")
    except (AttributeError, NotImplementedError) as error:
        return Verdict(unjudged=f"NumPy has none: {error}")
    except TypeError as error:  # such as a keyword of the library's own
        return Verdict(unjudged=f"NumPy raises {one_line(error)}", outside=True)
    except IndexError as error:  # the standard leaves it to the library
        return Verdict(unjudged=f"NumPy raises {one_line(error)}", outside=True)
    except ValueError as error:
        problem = f"returns something where NumPy raises {one_line(error)}"
        undefined = _undefined(name, args)
        return Verdict(problem=problem, unjudged=undefined, outside=bool(undefined))
    try:
        if isinstance(result, tuple) or isinstance(expected, tuple):
            verdict = _check_several(name, args, result, expected)
        else:
            verdict = _check_one(name, function, args, kwargs, result, expected)
    except Unjudged as error:
        return Verdict(unjudged=str(error))
    undefined = _undefined(name, args) if verdict.deviates else ""
    return verdict._replace(unjudged=undefined, outside=bool(undefined))


def _check_one(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
    expected: np.ndarray,
) -> Verdict:
    given = kwargs.get("dtype")
    if name in CREATION and given is None and not _has_array(args):
        pair = expected.dtype.kind + result.dtype.kind
        if pair in ("ff", "ii", "cc"):
            kwargs = {**kwargs, "dtype": result.dtype}
            expected = expect(name, function, args, kwargs)
    match name:
        case "unique_values":
            result, ordered = np.sort(result), np.sort(expected)
            return check("sort", np.sort, (expected,), {}, result, ordered)
        case "linalg.eigvalsh":
            result = np.sort(result, axis=-1)
        case "sort" | "argsort" | "searchsorted":
            _refuse_nan(args)
            if name == "argsort" and not kwargs.get("stable", True):
                return _check_order(args[0], kwargs, result)
        case "astype":
            _refuse_beyond(args[0], result.dtype)
    return check(name, function, args, kwargs, result, expected)


def _check_several(
    name: str, args: tuple[Any, ...], result: Any, expected: Any
) -> Verdict:
    counts = [len(x) if isinstance(x, tuple) else 1 for x in (result, expected)]
    if counts[0] != counts[1]:
        return Verdict(problem=f"has {counts[0]} results instead of {counts[1]}")
    if name in FACTORISATIONS:
        return _check_factors(name, args[0], result, expected)
    if name not in EXACT:
        raise Unjudged("no bound is known")
    if name in UNIQUE:
        _refuse_nan(args)  # each is a value of its own
        result, expected = _in_order(name, result), _in_order(name, expected)
    for got, wanted in zip(result, expected, strict=True):
        is_index = name in UNIQUE or name == "nonzero"
        kind = "argsort" if is_index and got.dtype.kind in "iu" else name
        verdict = check(kind, np.asarray, (wanted,), {}, got, wanted)
        if verdict.deviates:
            return verdict
    return Verdict()


def _undefined(name: str, args: tuple[Any, ...]) -> str:
    """Say why the standard does not define an operation of these operands.

    Return an empty string if it does.
    """
    kind = kind_of(name)
    if kind in CREATION - {"asarray"} and _has_array(args):
        return f"{kind} is defined for Python numbers alone"
    operands = args[1:] if kind == "where" else args
    if kind in ("concat", "stack"):
        operands = args[0]
    kinds = {
        np.asarray(x).dtype.kind.replace("u", "i")
        for x in operands
        if isinstance(x, np.ndarray | np.generic | float | complex)
    }
    if not kinds or kind in _SEVERAL_KINDS:
        return ""
    is_quotient = kind in ("truediv", "divide", "reciprocal")
    if is_quotient and "c" in kinds and not all(np.isfinite(x).all() for x in args):
        return "the standard leaves quotients of complex infinities to the library"
    if kind in _FLOATING and not kinds & {"f", "c"}:
        return f"{kind} is defined for floats alone"
    if len(kinds) > 1 and not kinds <= {"f", "c"}:
        return "the standard does not define operands of several kinds"
    dtypes = {x.dtype for x in operands if isinstance(x, np.ndarray)}
    if kinds == {"i"} and "f" in {np.result_type(*dtypes).kind}:
        return "the standard does not define uint64 with signed integers"
    if kinds == {"i"} and kind in _DIVISIONS and not np.all(args[1]):
        return "the standard leaves a division by zero to the library"
    if kinds == {"i"} and kind == "pow" and np.any(np.asarray(args[1]) < 0):
        return "the standard leaves a negative power of integers to the library"
    if kind in _SYMMETRIC and not np.array_equal(args[0], _adjoint(args[0])):
        return f"{kind} is defined for symmetric matrices alone"
    if kinds == {"b"} and kind in _NUMERIC | {"neg", "prod"}:
        return f"{kind} is not defined for booleans"
    return ""


def _has_array(args: tuple[Any, ...]) -> bool:
    return any(isinstance(x, np.ndarray | np.generic) for x in args)


def _refuse_nan(args: tuple[Any, ...]) -> None:
    if any(is_real(x) and bool(np.isnan(x).any()) for x in args):
        raise Unjudged("the standard leaves the order of NaN to the library")


def _refuse_beyond(x: np.ndarray, dtype: np.dtype) -> None:
    """Refuse to judge floats beyond the range of an integer dtype."""
    if x.dtype.kind == "f" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        within = np.isfinite(x) & (x > limits.min - 1.0) & (x < limits.max + 1.0)
        if not within.all():
            raise Unjudged("numbers are beyond the range of the dtype")


def _check_order(x: np.ndarray, kwargs: dict[str, Any], result: np.ndarray) -> Verdict:
    """Check the indices of an `argsort` in which equal elements have no order."""
    if result.shape != x.shape or result.dtype.kind not in "iu":
        return Verdict(problem=f"is {result.dtype} {result.shape}")
    axis = kwargs.get("axis", -1)
    places = np.argsort(np.argsort(result, axis), axis)
    if not np.array_equal(places, result):
        return Verdict(problem="is no permutation of the indices")
    found = np.take_along_axis(x, result, axis)
    return check("sort", numpy_xp.sort, (x,), kwargs, found, numpy_xp.sort(x, **kwargs))


def _in_order(name: str, parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return the results of a function of UNIQUE with their values in order."""
    order = np.argsort(parts[0], stable=True)
    rank = np.argsort(order)
    ordered = [parts[0][order]]
    for number, part in enumerate(parts[1:], 1):
        is_inverse = number == 2 or name == "unique_inverse"
        ordered.append(rank[part] if is_inverse else part[order])
    return tuple(ordered)


def _check_factors(
    name: str,
    x: np.ndarray,
    result: tuple[np.ndarray, ...],
    expected: tuple[np.ndarray, ...],
) -> Verdict:
    """Check a factorisation by what its factors must fulfil."""
    for part, (got, wanted) in enumerate(zip(result, expected, strict=True)):
        problem = mismatch(got, wanted)
        if problem:
            return Verdict(problem=f"result {part} {problem}")
    if not np.isfinite(x).all():
        raise Unjudged("the matrix is not finite")
    eps = float(np.finfo(x.dtype).eps)
    wide = np.complex128 if x.dtype.kind == "c" else np.float64
    x, first, *others = (each.astype(wide) for each in (x, *result))
    second = others[0]
    match name:
        case "linalg.qr":
            orthogonal, product = [first], first @ second
            faults = {"the triangle below result 1": np.tril(second, -1)}
        case "linalg.eigh":
            orthogonal, faults = [second], {}
            product = second * first[..., None, :] @ _adjoint(second)
            x = np.tril(x) + _adjoint(np.tril(x, -1))
        case _:
            last, k = others[1], second.shape[-1]
            orthogonal = [first, _adjoint(last)]
            product = first[..., :k] * second[..., None, :] @ last[..., :k, :]
            faults = {"a singular value": (second - expected[1])[..., None]}
    faults["the product of the factors"] = product - x
    size = _norm(x)
    size = np.where(size == 0, 1, size)
    deviations = {fault: _norm(rest) / size for fault, rest in faults.items()}
    for number, q in enumerate(orthogonal):
        n = q.shape[-1]
        rest = _norm(_adjoint(q) @ q - np.eye(n)) / math.sqrt(n or 1)
        deviations[f"orthogonal factor {number}"] = rest
    # of each factor, and of the product of two
    roundings = _rules.reflections(x.shape)
    if x.dtype.kind == "c":  # a product rounds sqrt(2) gamma_2
        roundings *= 3
    bound = 2 * gamma(roundings, eps / 2) / eps
    refuse_uncertain(bound * eps)
    for fault, found in deviations.items():
        deviation = float(np.max(found, initial=0)) / eps
        if not deviation <= bound:
            problem = f"{fault} is off by {deviation:.3g} eps, allowed are {bound:.3g}"
            return Verdict(deviation, bound, problem=problem)
    return Verdict()


def _adjoint(matrix: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(matrix, -1, -2))


def _norm(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.norm(matrix, axis=(-2, -1))


def inspect(function: Callable[..., Any], args: tuple[Any, ...], result: Any) -> str:
    """Compare the result of an inspection function with NumPy's.

    Return the fault, or an empty string. Arguments and result are NumPy's.
    """
    try:
        expected = function(*args)
    except Exception:  # whatever NumPy raises
        return ""
    if not isinstance(result, bool | np.dtype | tuple):
        names = ("bits", "eps", "max", "min", "smallest_normal")
        result = {name: float(getattr(result, name, 0)) for name in names}
        expected = {name: float(getattr(expected, name, 0)) for name in names}
    if result == expected or _undefined("add", args):
        return ""
    return f"is {result!r} instead of {expected!r}"
