"""How far the result of a single operation may be from NumPy's, and why.

NumPy repeats an operation on host copies of the same inputs, so errors do not
accumulate. Let eps be the spacing of the dtype's numbers at 1, and u = eps / 2 its unit
roundoff. A deviation is |result - reference| / (eps * scale):

| operations (`x -= y` counts as `x - y`) | scale | bound in eps |
| --- | --- | --- |
| + - * / sqrt exp log tanh and so on | abs(reference) | ULPS of the operation, times 1 + eps' / eps |
| sum, mean, matmul of n terms | the same operation on absolute values | (gamma_(n+1) + gamma'_(n+1)) / eps |
| all others: they select, compare, convert or move | abs(reference) | 0 |

- ULPS are the largest errors of a conforming device in the OpenCL C specification
  (section "Relative Error as ULPs"). Independent vendors of processors and GPUs agreed
  on them. Where single and double precision differ, ULPS has the larger error. One ulp
  of a number x is at most eps * x.
- The reference is computed in the next wider dtype, with eps': float64 for float32,
  long double for float64. It may err by as many of its own ulps. Where long double is
  not wider, as on Windows and on Apple's processors, eps' / eps is 1, and the bound is
  twice as large.
- gamma_n = n u / (1 - n u) bounds the error of a sum of n rounded terms in any order
  (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.2 and 3.13). One
  more rounding is the division of a mean. gamma' is the same for the reference. Only a
  matrix product in float64 has a reference in float64, because NumPy has no fast wider
  product.
- A library may treat subnormal numbers as zero, as XLA does on a CPU. Deviations below
  the smallest normal number, per term, do not count. A deviation beyond its bound is
  judged again with subnormal inputs set to zero.
- Shape and dtype must be NumPy's. The standard leaves the integer dtype of `argmax` to
  the library, and its result for a NaN. The `max` of a NaN is NaN in the standard, but
  XLA on a CPU returns another number (JAX 0.10.2). This is not judged, because nothing
  in the package depends on it.
- Integers and booleans have eps = scale = 1. They must be equal, and a deviation is
  their difference.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ULPS = {
    "add": 0.5,
    "sub": 0.5,
    "mul": 0.5,
    "truediv": 2.5,
    "pow": 16.0,
    "square": 0.5,
    "sqrt": 3.0,
    "exp": 3.0,
    "expm1": 3.0,
    "log": 3.0,
    "log1p": 2.0,
    "tanh": 5.0,
}
SUMS = {"sum", "mean", "matmul"}
INPLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}


class Verdict(NamedTuple):
    """The result of an operation, compared with NumPy's."""

    deviation: float = 0.0
    """The deviation of the worst element, in eps."""
    bound: float = 0.0
    """Its bound, in eps."""
    at: tuple[int, ...] = ()
    """The index of the worst element."""
    values: tuple[float, float] = (0.0, 0.0)
    """The result and the reference there."""
    problem: str = ""
    """A fault other than a value, such as a wrong shape, in words; empty if none."""
    changed: int = 0
    """The number of the argument changed by the operation, from 1; 0 if none."""

    @property
    def deviates(self) -> bool:
        """Whether the operation is beyond its bound."""
        return bool(self.problem) or not self.deviation <= self.bound

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        got, expected = self.values
        return (
            f"deviates by {self.deviation:.3g} eps at {list(self.at)}, "
            f"where {self.bound:.3g} are allowed: {got!r} instead of {expected!r}"
        )


class Reference(NamedTuple):
    """NumPy's result and its bound: see the docstring of this module."""

    value: np.ndarray
    scale: np.ndarray
    eps: float
    bound: float
    floor: float
    """Deviations below this are due to subnormal numbers."""

    @property
    def allowed(self) -> np.ndarray:
        """The allowed absolute deviation of each element, float64."""
        with np.errstate(all="ignore"):
            return (self.eps * self.bound * self.scale + self.floor).astype(np.float64)

    def deviations(self, result: np.ndarray) -> np.ndarray:
        """Return the deviation of each element in eps.

        It is infinite where one of result and reference is not finite and the other
        differs.
        """
        same = (result == self.value) | (np.isnan(result) & np.isnan(self.value))
        # A result beyond the largest number of the narrower dtype is inf, but the wider
        # reference is finite.
        same |= result == self.value.astype(result.dtype)
        beyond = np.abs(result - self.value) - self.floor
        in_eps = np.where(beyond <= 0, 0, beyond / (self.eps * self.scale))
        in_eps = np.where(np.isnan(in_eps), np.inf, in_eps)
        return np.where(same, 0, in_eps)


@np.errstate(all="ignore")
def check(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    """Compare the result of an operation with NumPy's `function(*args, **kwargs)`.

    The result is a host array. The arguments are host arrays, NumPy dtypes and Python
    values, and are not changed.
    """
    try:
        expected = expect(name, function, args, kwargs)
    except (TypeError, ValueError, IndexError) as error:
        raised = f"{type(error).__name__}: {error}"
        return Verdict(problem=f"returns something where NumPy raises {raised}")
    if result.shape != expected.shape:
        return Verdict(problem=f"has shape {result.shape} instead of {expected.shape}")
    any_integer = name == "argmax" and result.dtype.kind in "iu"
    if result.dtype != expected.dtype and not any_integer:
        return Verdict(problem=f"is {result.dtype} instead of {expected.dtype}")
    if name in ("max", "argmax"):
        axis, keepdims = kwargs.get("axis"), kwargs.get("keepdims", False)
        has_nan = np.isnan(args[0]).any(axis=axis, keepdims=keepdims)
        result = np.where(has_nan, expected, result)
    if np.array_equal(result, expected, equal_nan=True):
        return Verdict()

    reference = refer(name, function, args, kwargs)
    deviations = reference.deviations(result)
    if (deviations > reference.bound).any():
        flushed_args = tuple(_flush(each) for each in args)
        flushed = refer(name, function, flushed_args, kwargs)
        deviations = np.minimum(deviations, flushed.deviations(result))
    worst = np.unravel_index(int(np.argmax(deviations)), result.shape)
    return Verdict(
        deviation=float(deviations[worst]),
        bound=reference.bound,
        at=tuple(map(int, worst)),
        values=(float(result[worst]), float(reference.value[worst])),
    )


@np.errstate(all="ignore")
def expect(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> np.ndarray:
    """Return NumPy's result in the dtype of the inputs, without changing the inputs."""
    # The list holds the operands: NumPy may overwrite a large one that nobody holds.
    operands = list(args)
    if name in INPLACE:
        operands[0] = operands[0].copy()
    return np.asarray(function(*operands, **kwargs))


@np.errstate(all="ignore")
def refer(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Reference:
    """Return the reference for an operation, whose arguments are as for `check`."""
    expected = expect(name, function, args, kwargs)
    kind = INPLACE.get(name, name).removeprefix("xp.")
    dtype = expected.dtype
    if dtype.kind != "f":
        value = expected.astype(np.float64)
        return Reference(value, np.ones_like(value), eps=1.0, bound=0.0, floor=0.0)
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    if kind not in ULPS and kind not in SUMS:
        return Reference(expected, np.abs(expected), eps, bound=0.0, floor=tiny)

    wide = np.float64 if dtype == np.float32 or kind == "matmul" else np.longdouble
    wide_eps = float(np.finfo(wide).eps)
    wide_args = [_widen(each, dtype, wide) for each in args]
    value = np.asarray(function(*wide_args, **kwargs))
    if kind in ULPS:
        bound = ULPS[kind] * (1 + wide_eps / eps)
        return Reference(value, np.abs(value), eps, bound, floor=tiny)
    if kind == "matmul":
        terms = args[0].shape[-1]
    else:
        terms = args[0].size // max(1, expected.size)
    scale = np.asarray(function(*map(np.abs, wide_args), **kwargs))
    bound = (gamma(terms + 1, eps / 2) + gamma(terms + 1, wide_eps / 2)) / eps
    return Reference(value, scale, eps, bound, floor=terms * tiny)


def gamma(n: int, u: float) -> float:
    """Return Higham's gamma_n = n u / (1 - n u); infinite where n u is not below 1."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def _widen(x: Any, dtype: np.dtype, wide: Any) -> Any:
    """Convert floats to a wider dtype."""
    # The standard makes a Python float a number of the array's dtype first.
    if isinstance(x, float):
        return wide(dtype.type(x))
    return x.astype(wide) if is_real(x) else x


def _flush(x: Any) -> Any:
    """Set subnormal numbers to zero."""
    if not is_real(x):
        return x
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, 0, x).astype(x.dtype)


def is_real(x: Any) -> bool:
    """Return whether x is an array of floats."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
