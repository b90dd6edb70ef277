"""Compare any operation of the standard with NumPy's: also several results at once.

What the standard leaves to a library is no deviation:

- the default dtypes of functions that create arrays;
- the order of unique values, of NaN in `sort`, and of equal elements in an `argsort`
  with `stable=False`;
- the content of `empty`;
- the result of operands that the standard does not define, such as integers and floats
  together, or integers in a function of floats;
- numbers beyond the range of the dtype in `astype`;
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
    is_real,
    kind_of,
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
FACTORISATIONS = {"linalg.eigh", "linalg.qr", "linalg.svd"}
_WITHOUT_BOUND = """
    einsum linalg.eig linalg.eigvals linalg.matrix_rank linalg.pinv linalg.slogdet
"""
_ARITHMETIC = {"add", "sub", "subtract", "mul", "multiply"}
_INTEGERS_TOO = {"pow", "square", "sum", "matmul", "tensordot", "vecdot", "trace"}
_INTEGERS_TOO |= {"cumulative_sum", "matrix_power"}
FLOATING = (ULPS.keys() | SUMS) - _ARITHMETIC - _INTEGERS_TOO | {"var", "std"}
FLOATING |= {"copysign", "logaddexp", "nextafter", "signbit"}
"""Kinds of operations that the standard defines for floats alone."""
BOTH_KINDS = {"and_", "or_", "xor", "take", "take_along_axis", "repeat"}
BOTH_KINDS |= {"searchsorted", "getitem", "setitem", "full_like", "lshift", "rshift"}
BOTH_KINDS |= {"astype", "from_numpy", "asarray"}
INSPECTION = {"broadcast_shapes", "can_cast", "finfo", "iinfo", "isdtype"}
INSPECTION |= {"result_type", "__array_namespace_info__"}
STANDARD = frozenset(
    EXACT
    | ULPS.keys()
    | SUMS
    | RULES.keys()
    | CREATION
    | UNIQUE
    | INSPECTION
    | FACTORISATIONS
    | {*_WITHOUT_BOUND.split()}
)
"""The names of the standard's functions, by their kinds."""
numpy_xp: Any = array_api_compat.numpy
_KINDS = "biufc"  # of NumPy's dtypes, from the lowest


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
        kwargs: Further arguments by name.
        result: A host array, or a tuple of them.
    """
    kwargs = {key: value for key, value in kwargs.items() if key != "device"}
    try:
        if name in ("empty", "empty_like"):
            return _check_empty(function, args, kwargs, result)
        if isinstance(result, tuple):
            return _judge_several(name, function, args, kwargs, result)
        return _judge_one(name, function, args, kwargs, result)
    except Unjudged as error:
        return Verdict(unjudged=str(error))
    except np.linalg.LinAlgError as error:
        return Verdict(unjudged=f"NumPy's own raises {error}")
    except (AttributeError, NotImplementedError) as error:
        return Verdict(unjudged=f"NumPy has none: {error}")
    except TypeError as error:  # such as a keyword of the library's own
        return Verdict(unjudged=f"NumPy raises {one_line(error)}", outside=True)
    except (ValueError, IndexError) as error:
        problem = f"returns something where NumPy raises {one_line(error)}"
        return Verdict(problem=problem)


def _judge_one(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    verdict = _compare_one(name, function, args, kwargs, result)
    undefined = _undefined(name, args) if verdict.deviates else ""
    if undefined:
        return Verdict(unjudged=undefined, outside=True)
    return verdict


def _compare_one(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    expected = expect(name, function, args, kwargs)
    given = kwargs.get("dtype")
    if name in CREATION and given is None and not _has_array(args):
        pair = expected.dtype.kind + result.dtype.kind
        if pair in ("ff", "ii", "cc"):
            kwargs = {**kwargs, "dtype": result.dtype}
    match name:
        case "argsort" if not kwargs.get("stable", True):
            return _check_order(args[0], kwargs, result)
        case "unique_values":
            return check("sort", np.sort, (expected,), {}, np.sort(result))
        case "sort" | "argsort" | "searchsorted" if _has_nan(args):
            raise Unjudged("the standard leaves the order of NaN to the library")
        case "astype":
            return _check_conversion(function, args, kwargs, result)
    return check(name, function, args, kwargs, result)


def _judge_several(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: tuple[np.ndarray, ...],
) -> Verdict:
    if name in FACTORISATIONS:
        return _check_factors(name, args, kwargs, result)
    if name not in EXACT:
        raise Unjudged("no bound is known")
    expected = tuple(map(np.asarray, function(*args, **kwargs)))
    if len(result) != len(expected):
        return Verdict(problem=f"has {len(result)} results instead of {len(expected)}")
    if name in UNIQUE:
        if _has_nan(args):  # each is a value of its own
            raise Unjudged("the standard leaves the order of NaN to the library")
        result = _in_order(name, result)
        expected = _in_order(name, expected)
    for part, (got, wanted) in enumerate(zip(result, expected, strict=True)):
        is_index = name in UNIQUE or name == "nonzero"
        if is_index and got.dtype.kind in "iu" and wanted.dtype.kind in "iu":
            got = got.astype(wanted.dtype)
        verdict = check(name, np.asarray, (wanted,), {}, got)
        if verdict.deviates:
            return verdict._replace(part=part)
    return Verdict()


def _undefined(name: str, args: tuple[Any, ...]) -> str:
    """Say why the standard does not define an operation of these operands.

    Return an empty string if it does.
    """
    kind = kind_of(name)
    operands = args[1:] if kind == "where" else args
    arrays = [x for x in operands if isinstance(x, np.ndarray | np.generic)]
    if kind in ("concat", "stack") and isinstance(args[0], list | tuple):
        arrays = list(args[0])
    kinds = {"i" if x.dtype.kind == "u" else x.dtype.kind for x in arrays}
    if not kinds or kind in BOTH_KINDS:
        return ""
    if kind in FLOATING and not kinds & {"f", "c"}:
        return f"{kind} is defined for floats alone"
    if len(kinds) > 1 and not kinds <= {"f", "c"}:
        return "the standard does not define operands of several kinds"
    highest = max(_KINDS.index(each) for each in kinds)
    for x in args:
        if isinstance(x, bool | int | float | complex) and not _is_index(kind, x):
            rank = {bool: 0, int: 1, float: 3, complex: 4}.get(type(x), 0)
            if rank > highest:
                return f"the standard does not define {x!r} with such an array"
    if kinds == {"b"} and kind in _ARITHMETIC | _INTEGERS_TOO | {"neg", "prod"}:
        return f"{kind} is not defined for booleans"
    return ""


def _is_index(kind: str, x: Any) -> bool:
    """Return whether a Python number is an index or a count, not an operand."""
    operators = ULPS.keys() | _ARITHMETIC | {"floordiv", "mod", "floor_divide"}
    operators |= {"lt", "le", "gt", "ge", "eq", "ne", "maximum", "minimum", "clip"}
    return kind not in operators | {"remainder", "hypot", "atan2", "logaddexp"}


def _has_array(args: tuple[Any, ...]) -> bool:
    return any(isinstance(x, np.ndarray | np.generic) for x in args)


def _has_nan(args: tuple[Any, ...]) -> bool:
    return any(is_real(x) and bool(np.isnan(x).any()) for x in args)


def _check_empty(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    """Check the shape of an array, and its dtype if one was asked for."""
    expected = function(*args, **kwargs)
    if result.shape != expected.shape:
        return Verdict(problem=f"has shape {result.shape} instead of {expected.shape}")
    has_dtype = kwargs.get("dtype") is not None or _has_array(args)
    if has_dtype and result.dtype != expected.dtype:
        return Verdict(problem=f"is {result.dtype} instead of {expected.dtype}")
    return Verdict()


def _check_conversion(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    """Check a conversion, except for numbers beyond the range of an integer dtype."""
    x = args[0]
    if x.dtype.kind in "f" and result.dtype.kind in "iu":
        limits = np.iinfo(result.dtype)
        within = np.isfinite(x) & (x > limits.min - 1.0) & (x < limits.max + 1.0)
        if not within.all():
            raise Unjudged("numbers are beyond the range of the dtype")
    return check("astype", function, args, kwargs, result)


def _check_order(x: np.ndarray, kwargs: dict[str, Any], result: np.ndarray) -> Verdict:
    """Check the indices of an `argsort` in which equal elements have no order."""
    axis, descending = kwargs.get("axis", -1), kwargs.get("descending", False)
    if _has_nan((x,)):
        raise Unjudged("the standard leaves the order of NaN to the library")
    if result.shape != x.shape or result.dtype.kind not in "iu":
        return Verdict(problem=f"is {result.dtype} {result.shape}")
    found = np.take_along_axis(x, result, axis)
    kwargs = {"axis": axis, "descending": descending}
    return check("sort", numpy_xp.sort, (x,), kwargs, found)


def _in_order(name: str, parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Return the results of a function of UNIQUE with their values in order."""
    values = parts[0]
    order = np.argsort(values, stable=True)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ordered = [values[order]]
    names = {
        "unique_all": ("indices", "inverse", "counts"),
        "unique_counts": ("counts",),
        "unique_inverse": ("inverse",),
    }[name]
    for each, part in zip(names, parts[1:], strict=True):
        ordered.append(rank[part] if each == "inverse" else part[order])
    return tuple(ordered)


def _check_factors(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: tuple[np.ndarray, ...],
) -> Verdict:
    """Check a factorisation by what its factors must fulfil."""
    matrix = args[0]
    wide = np.complex128 if matrix.dtype.kind == "c" else np.float64
    x, eps = matrix.astype(wide), float(np.finfo(matrix.dtype).eps)
    if not np.isfinite(x).all():
        raise Unjudged("the matrix is not finite")
    m, n = x.shape[-2:]
    bound = float(_rules.ORTHOGONAL * max(m, n) ** 2)
    reference = getattr(numpy_xp.linalg, name.removeprefix("linalg."))
    expected = reference(*args, **kwargs)
    for part, (got, wanted) in enumerate(zip(result, expected, strict=True)):
        problem = ""
        if got.shape != wanted.shape:
            problem = f"has shape {got.shape} instead of {wanted.shape}"
        elif got.dtype != wanted.dtype:
            problem = f"is {got.dtype} instead of {wanted.dtype}"
        if problem:
            return Verdict(problem=f"result {part} {problem}", part=part)
    factors = [each.astype(wide) for each in result]
    match name:
        case "linalg.qr":
            q, r = factors
            made, orthogonal, values = q @ r, [q], None
            if np.tril(r, -1).any():
                return Verdict(problem="result 1 is not upper triangular", part=1)
        case "linalg.eigh":
            values, q = result
            lower = np.tril(x)
            above = np.conj(np.swapaxes(np.tril(x, -1), -1, -2))
            x = lower + above
            made = q.astype(wide) * values[..., None, :] @ _adjoint(q.astype(wide))
            orthogonal = [q.astype(wide)]
        case _:
            u, values, v = result
            u, v = factors[0], factors[2]
            k = min(m, n)
            made = u[..., :k] * values[..., None, :] @ v[..., :k, :]
            orthogonal = [u, _adjoint(v)]
    size = float(np.max(_norm(x), initial=0)) or 1.0
    faults = [("the product of the factors", _norm(made - x) / size)]
    for factor in orthogonal:
        identity = np.eye(factor.shape[-1])
        rest = _norm(_adjoint(factor) @ factor - identity)
        faults.append(("an orthogonal factor", rest / math.sqrt(len(identity) or 1)))
    if values is not None:
        wanted = expected[1] if name == "linalg.svd" else expected[0]
        distance = np.max(np.abs(values - wanted), axis=-1, initial=0)
        faults.append(("a singular value or eigenvalue", distance / size))
    for what, distances in faults:
        deviation = float(np.max(distances, initial=0)) / eps
        if not deviation <= bound:
            problem = f"{what} is off by {deviation:.3g} eps, allowed are {bound:.3g}"
            return Verdict(deviation, bound, problem=problem, part=0)
    return Verdict(max(float(np.max(d, initial=0)) for _, d in faults) / eps, bound)


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
    if result != expected and _undefined("add", args):
        return ""
    if isinstance(result, bool | np.dtype | tuple):
        if result == expected:
            return ""
        return f"is {result!r} instead of {expected!r}"
    for name in ("bits", "eps", "max", "min", "smallest_normal"):
        got, wanted = getattr(result, name, 0), getattr(expected, name, 0)
        if float(got) != float(wanted):
            return f"has {name} {got!r} instead of {wanted!r}"
    return ""
