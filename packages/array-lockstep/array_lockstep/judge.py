"""Compare any operation of the standard with NumPy's, also with several results.

The standard leaves these results to the library, so they are not deviations:

- the default dtypes of functions that create arrays;
- the order of unique values. The results of `unique_all`, `unique_counts` and
  `unique_inverse` are judged only if the values are in NumPy's order;
- the order of NaN in `sort` and `argsort`. With NaN, a result need only be a
  permutation;
- the order of equal elements in an `argsort` with `stable=False`;
- the content of `empty`;
- the result of operands that the standard does not define, such as integers and floats
  together, or integers in a function of floats;
- numbers beyond the range of the dtype in `astype`, and indices beyond an array;
- integers divided by zero, or with a negative power;
- the order of eigenvalues, and the triangle to read of a symmetric matrix;
- the signs of singular vectors, eigenvectors, and of the factors of `qr` (see
  `equations`).
"""

import itertools
import operator
from typing import Any

import array_api_compat.numpy
import numpy as np

from array_lockstep.bounds import (
    EXACT,
    OF_COMPLEX,
    SELECTIONS,
    ULPS,
    Bound,
    Reference,
    Unjudged,
    Verdict,
    Widened,
    adjoint,
    equal,
    is_real,
    norm,
    refuse_uncertain,
    words_of,
)
from array_lockstep.equations import EQUATIONS, check_equations
from array_lockstep.errors import one_line
from array_lockstep.operations import Operation
from array_lockstep.operators import INPLACE, kind_of
from array_lockstep.quiet import quiet
from array_lockstep.rules import RULES, SUMS

CREATION = words_of("""
    arange asarray empty eye fft.fftfreq fft.rfftfreq full linspace ones zeros
""")
"""Functions with a default dtype."""
_QUOTIENTS = {"floor_divide", "remainder"}
UNIQUE = words_of("unique_all unique_counts unique_inverse unique_values")
ANY_INTEGER = words_of("argmax argmin argsort searchsorted count_nonzero")
"""Functions whose integer dtype is left to the library."""
_OF_OPERANDS = words_of("clip max maximum min minimum nextafter sort")
"""Functions that return operands. Of equal operands, they may return any."""
_SEVERAL_KINDS = words_of("""
    asarray astype bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift
    bitwise_xor full_like getitem repeat searchsorted setitem take
    take_along_axis
""")
"""Kinds of operations with operands of several kinds, or with numbers as settings."""
_NUMERIC = SUMS.keys() - {"mean"} | words_of("add subtract multiply pow square")
_FLOATING = (ULPS.keys() | SUMS) - _NUMERIC
_FLOATING |= words_of("var std copysign logaddexp nextafter signbit")
_FLOATING |= words_of("vector_norm matrix_norm")
_TRANSFORMS = {name for name in RULES if name.startswith("fft.")} - CREATION
_FLOATING |= _TRANSFORMS
"""Kinds of operations that the standard defines only for floats."""
_LEAST_AXES = {
    **dict.fromkeys(words_of("mT matrix_transpose"), 2),
    **dict.fromkeys(words_of("argsort sort cumulative_sum cumulative_prod"), 1),
    **dict.fromkeys(_TRANSFORMS, 1),
}
"""The fewest axes for which the standard defines a function."""
INSPECTION = words_of("""
    broadcast_shapes can_cast finfo iinfo isdtype result_type __array_namespace_info__
""")
_IN_LINALG = words_of("""
    cross det diagonal eig eigvals eigvalsh matrix_norm matrix_power matrix_rank outer
    pinv slogdet svdvals trace vector_norm
""")
_IN_BOTH = words_of("matmul matrix_transpose tensordot vecdot")
STANDARD = SELECTIONS | RULES.keys() | CREATION | UNIQUE | INSPECTION
STANDARD = (STANDARD | EQUATIONS.keys()) - _IN_LINALG
STANDARD |= {f"linalg.{name}" for name in _IN_LINALG | _IN_BOTH}
"""The standard's functions, by their full names."""


@np.errstate(all="ignore")
def judge(operation: Operation) -> Verdict:
    """Compare the result of an operation with NumPy's.

    A deviating result is compared again, with subnormal operands set to zero.
    """
    # NumPy's warnings must not reach the program, where they may be errors.
    with quiet:
        verdict = _judge_once(operation)
        if not verdict.deviates:
            return verdict
        flushed = operation._replace(args=tuple(map(_flush, operation.args)))
        if kind_of(operation.name) in _OF_OPERANDS:
            flushed = flushed._replace(result=_flush(operation.result))
        again = _judge_once(flushed)
        # Where zeros make a matrix singular, the library may be right.
        return verdict if again.deviates else again


def _judge_once(operation: Operation) -> Verdict:
    if operation.name in ("empty", "empty_like"):  # shape and dtype
        operation = _of_zeros(operation)
    try:
        expected = numpy_result(operation)
    except Exception as error:  # whatever NumPy raises
        reason = f"NumPy raises {one_line(error)}"
        # The standard leaves open a library's own keywords, indices beyond an array,
        # and Python numbers beyond the range of a dtype.
        outside = isinstance(error, TypeError | IndexError | OverflowError)
        is_refused = isinstance(error, ValueError) and not outside
        if not is_refused or isinstance(error, np.linalg.LinAlgError):
            return Verdict(unjudged=reason, outside=outside)
        verdict = Verdict(problem=f"returns something where {reason}")
    else:
        try:
            verdict = _judge_results(operation, expected)
        except Unjudged as error:
            return Verdict(unjudged=str(error))
    undefined = _undefined(operation) if verdict.deviates else ""
    return verdict._replace(unjudged=undefined, outside=bool(undefined))


def _of_zeros(operation: Operation) -> Operation:
    name = operation.name.replace("empty", "zeros")
    return operation._replace(
        name=name,
        reference=getattr(array_api_compat.numpy, name),
        result=np.zeros_like(operation.result),
    )


@np.errstate(all="ignore")
def numpy_result(operation: Operation) -> Any:
    """Return NumPy's result in the dtype of the inputs, without changing the inputs.

    The result is an array, or a tuple of arrays.
    """
    # NumPy may overwrite a large operand without a reference. The list holds one.
    operands = list(operation.args)
    if operation.name in INPLACE:
        operands[0] = operands[0].copy()
    found = operation.reference(*operands, **operation.kwargs)
    if isinstance(found, tuple | list):
        return tuple(map(np.asarray, found))
    return np.asarray(found)


def _judge_results(operation: Operation, expected: Any) -> Verdict:
    name, args, results = operation.name, operation.args, operation.results
    wanted = operation._replace(result=expected).results
    if len(results) != len(wanted):
        problem = f"has {len(results)} results instead of {len(wanted)}"
        return Verdict(problem=problem)
    if name in EQUATIONS:
        for part, (got, right) in enumerate(zip(results, wanted, strict=True)):
            problem = mismatch(got, right)
            if problem:
                return Verdict(problem=f"result {part} {problem}")
        if _are_finite(args) and not _are_finite(wanted):
            raise Unjudged("NumPy's result is not finite")
        return check_equations(operation)
    if name == "unique_values":  # in any order
        results = (np.sort(results[0], axis=None),)
    if name in UNIQUE:
        _refuse_unordered(args[0], results[0])
    elif not isinstance(expected, tuple):
        return _judge_single(operation, expected)
    elif name not in EXACT:
        raise Unjudged("no bound is known")
    for part, (got, right) in enumerate(zip(results, wanted, strict=True)):
        is_index = name == "nonzero" or (name in UNIQUE and part > 0)
        kind = "argsort" if is_index else name
        verdict = judge_array(Operation(kind, np.asarray, (right,), {}, got), right)
        if verdict.deviates:
            return verdict
    return Verdict()


def _judge_single(operation: Operation, expected: np.ndarray) -> Verdict:
    name, args, kwargs = operation.name, operation.args, operation.kwargs
    dtype = operation.result.dtype
    if (
        has_own_dtype(operation)
        and name in CREATION
        and dtype.kind == expected.dtype.kind
    ):
        operation = operation._replace(kwargs={**kwargs, "dtype": dtype})
        expected = numpy_result(operation)
    match name:
        case "linalg.eigvalsh":
            operation = operation._replace(result=np.sort(operation.result, axis=-1))
        case "searchsorted":
            _refuse_nan(args)
        case "sort" | "argsort":
            return _judge_sort(operation, expected)
        case "astype":
            _refuse_beyond(args[0], dtype)
    return judge_array(operation, expected)


def has_own_dtype(operation: Operation) -> bool:
    """Return whether the standard leaves the dtype of a result to the library."""
    name, is_given = operation.name, operation.kwargs.get("dtype") is not None
    is_default = name in CREATION and not (is_given or _has_array(operation.args))
    return is_default or name in ANY_INTEGER


def _judge_sort(operation: Operation, expected: np.ndarray) -> Verdict:
    """Compare sorted values or indices. In any case they must be a permutation."""
    args, kwargs, result = operation.args, operation.kwargs, operation.result
    axis = kwargs.get("axis", -1)
    if result.shape != expected.shape:
        return judge_array(operation, expected)
    in_any_order = operation._replace(result=np.sort(result, axis))
    verdict = judge_array(in_any_order, np.sort(expected, axis))
    if verdict.deviates:
        return verdict
    _refuse_nan(args)
    if operation.name == "argsort" and not kwargs.get("stable", True):
        # equal elements in any order
        got = np.take_along_axis(args[0], result, axis)
        wanted = np.take_along_axis(args[0], expected, axis)
        if np.array_equal(got, wanted):
            return Verdict()
    return judge_array(operation, expected)


@np.errstate(all="ignore")
def judge_array(operation: Operation, expected: np.ndarray) -> Verdict:
    """Compare the single result of an operation with `expected`, NumPy's result."""
    name, args, result = operation.name, operation.args, operation.result
    problem = mismatch(result, expected)
    any_integer = name in ANY_INTEGER and result.dtype.kind in "iu"
    if problem and not (any_integer and result.shape == expected.shape):
        return Verdict(problem=problem)
    if name in ("argmax", "argmin") and is_real(args[0]):
        # argmax finds the place of NaN where max is NaN
        has_nan = np.isnan(getattr(np, name[3:])(*args, **operation.kwargs))
        result = np.where(has_nan, expected, result)
    same = equal(result, expected)
    if same.all():
        return Verdict()

    kind = kind_of(name)
    reference = reference_of(operation, expected)
    deviations = reference.deviations(result)
    bound = reference.bound.factor
    if kind in RULES.keys() - ULPS.keys() - _QUOTIENTS and _are_finite(args):
        # such as a sum that overflows in some orders
        is_open = ~np.isfinite(expected) & (deviations > bound)
        if is_open.any() and not (deviations > bound)[~is_open].any():
            raise Unjudged("NumPy's result is not finite")
    if (deviations > bound).any():
        # A library may flush one operand and not another.
        choices = [(x, _flush(x)) if is_real(x) else (x,) for x in args]
        for flushed_args in itertools.product(*choices):
            flushed = operation._replace(args=flushed_args)
            wider = reference_of(flushed, numpy_result(flushed))
            deviations = np.minimum(deviations, wider.deviations(result))
        # The wider reference may differ, as for (-inf) ** 0.5.
        deviations = np.where(same, 0, deviations)
    worst = np.unravel_index(int(np.argmax(deviations)), result.shape)
    return Verdict(
        deviation=float(deviations[worst]),
        bound=bound,
        at=tuple(map(int, worst)),
        values=(_number(result[worst]), _number(reference.value[worst])),
    )


def mismatch(result: np.ndarray, expected: np.ndarray) -> str:
    """Say how shape or dtype differ. Return an empty string if they do not."""
    if result.shape != expected.shape:
        return f"has shape {result.shape} instead of {expected.shape}"
    if result.dtype != expected.dtype:
        return f"is {result.dtype} instead of {expected.dtype}"
    return ""


@np.errstate(all="ignore")
def reference_of(operation: Operation, expected: np.ndarray) -> Reference:
    """Return the reference for an operation. `expected` is NumPy's result.

    Raises Unjudged if the operation has no bound.
    """
    name, function, args = operation.name, operation.reference, operation.args
    kind, dtype = kind_of(name), expected.dtype
    rule = RULES.get(kind)
    if rule is None and kind not in EXACT:
        raise Unjudged("no bound is known")
    if dtype.kind not in "fc":
        return Reference(expected, Bound(np.ones(expected.shape), 0.0, 0), 1.0)
    is_of_reals = kind in (ULPS.keys() | {"sign"}) - OF_COMPLEX
    if is_of_reals and any(map(np.iscomplexobj, args)):
        raise Unjudged("no bound is known for complex numbers")
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    if rule is None:
        return Reference(expected, Bound(np.abs(expected), 0.0, 0), eps, tiny)

    of_matrices = kind in SUMS or (name.startswith("linalg.") and kind != "vector_norm")
    wide: Any = np.longdouble
    # NumPy's power of float64 has NaN where the standard has infinity.
    if of_matrices or (eps > np.finfo(np.float64).eps and kind != "pow"):
        wide = np.float64
    wide_eps = float(np.finfo(wide).eps)
    if function is operator.pow:  # `**` takes the square root for an exponent of 0.5
        function = np.power
    # The standard makes a Python float a number of the array's dtype first.
    of_floats = np.dtype(wide) if kind in CREATION else expected.real.dtype
    wide_args = tuple(_widen(each, of_floats, wide) for each in args)
    # The result is wider than a given dtype.
    kwargs = {key: x for key, x in operation.kwargs.items() if key != "dtype"}
    try:
        value = np.asarray(function(*wide_args, **kwargs))
    except Exception as error:
        raise Unjudged(f"NumPy raises {one_line(error)}") from error
    if value.shape != expected.shape:  # rounding decides the length of a range
        value, wide_eps = expected, eps
    bound = rule(Widened(function, wide_args, kwargs, value, eps, wide_eps, tiny))
    refuse_uncertain(bound.factor * eps)
    return Reference(value, bound, eps, tiny)


def _widen(x: Any, dtype: np.dtype, wide: Any) -> Any:
    """Convert floats to a wider dtype."""
    if isinstance(x, float):
        return wide(dtype.type(x))
    if isinstance(x, list | tuple):
        return type(x)([_widen(each, dtype, wide) for each in x])
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        return x.astype(np.result_type(wide, np.complex64))
    return x.astype(wide) if is_real(x) else x


def _number(x: Any) -> complex:
    if x.dtype.kind in "iub":
        return x.item()
    return complex(x) if np.iscomplexobj(x) else float(x)


def _flush(x: Any) -> Any:
    """Set subnormal numbers to zeros of the same sign."""
    if not is_real(x):
        return x
    is_small = np.abs(x) < np.finfo(x.dtype).smallest_normal
    return np.where(is_small, np.copysign(0, x), x).astype(x.dtype)


def _undefined(operation: Operation) -> str:
    """Say why the standard does not define an operation of these operands.

    Return an empty string if it defines the operation.
    """
    kind, args = kind_of(operation.name), operation.args
    if kind in CREATION - {"asarray"} and _has_array(args):
        return f"{kind} is defined only for Python numbers"
    least = _LEAST_AXES.get(kind, 0)
    if least and np.ndim(args[0]) < least:
        return f"{kind} is defined for {least} or more axes"
    operands = args[0] if kind in ("concat", "stack") else args
    if kind == "where":  # the condition is no operand
        operands = args[1:]
        if not _has_array(operands):
            return "where is defined only for an array among its operands"
    kinds = {
        np.asarray(x).dtype.kind.replace("u", "i")
        for x in operands
        if isinstance(x, np.ndarray | np.generic | float | complex)
    }
    if not kinds or kind in _SEVERAL_KINDS:
        return ""
    given = operation.kwargs.get("dtype")
    if "c" in kinds and given is not None and np.dtype(given).kind != "c":
        return "the standard does not convert complex numbers to real ones"
    is_quotient = kind in ("divide", "reciprocal")
    if is_quotient and "c" in kinds and not all(np.isfinite(x).all() for x in args):
        return "the standard leaves quotients of complex infinities to the library"
    if kind in _FLOATING and not kinds & {"f", "c"}:
        return f"{kind} is defined only for floats"
    if len(kinds) > 1 and not kinds <= {"f", "c"}:
        return "the standard does not define operands of several kinds"
    if kinds == {"i"}:
        dtypes = [x.dtype for x in operands if isinstance(x, np.ndarray)]
        if np.result_type(*dtypes).kind == "f":
            return "the standard does not define uint64 with signed integers"
        if kind in _QUOTIENTS and not np.all(args[1]):
            return "the standard leaves a division by zero to the library"
        if kind == "pow" and np.any(np.asarray(args[1]) < 0):
            return "the standard leaves a negative power of integers to the library"
    if kind in ("cholesky", "eigh", "eigvalsh"):
        # Rounding may leave a product slightly unsymmetric.
        asymmetry = norm(args[0] - adjoint(args[0]), (-2, -1))
        limit = np.finfo(args[0].dtype).eps ** 0.5 * norm(args[0], (-2, -1))
        if (asymmetry > limit).any():
            return f"{kind} is defined only for symmetric matrices"
    if kinds == {"b"} and kind in _NUMERIC | words_of("conj negative prod"):
        return f"{kind} is not defined for booleans"
    return ""


def _are_finite(args: tuple[Any, ...]) -> bool:
    return all(np.isfinite(x).all() for x in args if isinstance(x, np.ndarray))


def _has_array(args: tuple[Any, ...]) -> bool:
    return any(isinstance(x, np.ndarray | np.generic) for x in args)


def _refuse_nan(args: tuple[Any, ...]) -> None:
    if any(is_real(x) and bool(np.isnan(x).any()) for x in args):
        raise Unjudged("the standard leaves the order of NaN to the library")


def _refuse_unordered(x: np.ndarray, values: np.ndarray) -> None:
    """Refuse to judge unique values in another order, of NaN or subnormal numbers."""
    _refuse_nan((x,))
    if not np.array_equal(values, np.sort(values)):
        raise Unjudged("the standard leaves the order of the values to the library")
    if not np.array_equal(x, _flush(x)):
        raise Unjudged("subnormal numbers may count as zero")


def _refuse_beyond(x: np.ndarray, dtype: np.dtype) -> None:
    """Refuse to judge floats beyond the range of an integer dtype."""
    if x.dtype.kind == "f" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not ((x > limits.min - 1.0) & (x < limits.max + 1.0)).all():
            raise Unjudged("numbers are beyond the range of the dtype")


def inspection_fault(operation: Operation) -> str:
    """Say how the result of an inspection function differs from NumPy's.

    Return an empty string if it does not differ. Objects, such as the result of
    `finfo`, are not compared.
    """
    if not isinstance(operation.result, bool | np.dtype | tuple):
        return ""
    try:
        expected = operation.reference(*operation.args, **operation.kwargs)
    except Exception:  # whatever NumPy raises
        return ""
    if operation.result == expected or _undefined(operation):
        return ""
    return f"is {operation.result!r} instead of {expected!r}"
