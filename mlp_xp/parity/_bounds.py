"""How far the result of a single operation may be from NumPy's: all bounds, and where
they come from.

NumPy repeats an operation on host copies of the same inputs, so that errors do not
accumulate. Let eps be the spacing of the dtype's numbers at 1 and u = eps / 2 its unit
roundoff. A deviation is |result - reference| / (eps * scale):

| operations (`x -= y` counts as `x - y`) | scale | bound in eps |
| --- | --- | --- |
| + - * / sqrt exp log tanh and so on | abs(reference) | ULPS of the operation, times 1 + eps' / eps |
| sum, mean, matmul of n terms | the same operation on absolute values | (gamma_(n+1) + gamma'_(n+1)) / eps |
| all others: they select, compare, convert or move | abs(reference) | 0 |

- ULPS are the largest errors that the OpenCL C specification allows a conforming device
  (section "Relative Error as ULPs"). They are what independent vendors of processors
  and GPUs agreed on. Where single and double precision differ, it is the larger one.
  One ulp of a number x is at most eps * x.
- The reference is computed in the next wider dtype, with eps': float64 for float32,
  long double for float64. It may err by as many of its own ulps. Where long double is
  not wider, as on Windows and on Apple's processors, eps' / eps is 1, and the bound is
  twice as large.
- gamma_n = n u / (1 - n u) bounds the error of a sum of n rounded terms in any order
  (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.2 and 3.13). One
  more rounding is the division of a mean. gamma' is the same for the reference. Only a
  matrix product in float64 has a reference in float64, because NumPy has no fast wider
  one.
- A library may treat subnormal numbers as zero, as XLA does on a CPU. Below the
  smallest normal number, per term, no deviation counts; a deviation beyond its bound is
  judged again with subnormal inputs set to zero.
- Shape and dtype must be NumPy's. The standard leaves only the integer dtype of argmax
  to the library, and what it makes of a NaN. Where the standard has NaN for `max`, XLA
  on a CPU returns another number (JAX 0.10.2). This is not judged, because nothing in
  the package depends on it.
- Integers and booleans have eps = scale = 1: they must be equal, and a deviation is
  their difference.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ULPS = {
    **{
        "add": 0.5,
        "sub": 0.5,
        "mul": 0.5,
        "truediv": 2.5,
        "pow": 16.0,
        "square": 0.5,
        "sqrt": 3.0,
    },
    **{"exp": 3.0, "expm1": 3.0, "log": 3.0, "log1p": 2.0, "tanh": 5.0},
}
SUMS = {"sum", "mean", "matmul"}
INPLACE = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}


class Verdict(NamedTuple):
    """The result of an operation compared with NumPy's."""

    deviation: float = 0.0
    """In eps, at the element that is furthest beyond its bound or nearest to it."""
    bound: float = 0.0
    """In eps."""
    at: tuple[int, ...] = ()
    """Index of that element."""
    values: tuple[float, float] = (0.0, 0.0)
    """The result and the reference at that element."""
    problem: str = ""
    """What is wrong besides values, such as the shape, in words; empty if nothing is.
    """
    changed: int = 0
    """The number of the argument that the operation changes, from 1; 0 if none."""

    @property
    def deviates(self) -> bool:
        """Whether the operation is beyond its bound."""
        return bool(self.problem) or not self.deviation <= self.bound


class Reference(NamedTuple):
    """NumPy's result; arrays of one shape, and the rest as in the module's docstring."""

    value: np.ndarray
    scale: np.ndarray
    eps: float
    bound: float
    floor: float
    """Deviations below this are those of subnormal numbers."""

    @property
    def allowed(self) -> np.ndarray:
        """The absolute deviation that is allowed for each element, float64."""
        with np.errstate(all="ignore"):
            return (self.eps * self.bound * self.scale + self.floor).astype(np.float64)

    def deviations(self, result: np.ndarray) -> np.ndarray:
        """Return the deviation of each element in eps; infinite where one is not finite
        and the other differs.
        """
        same = (result == self.value) | (np.isnan(result) & np.isnan(self.value))
        # A result beyond the largest number of the narrower dtype is inf, which the
        # wider reference is not.
        same |= result == self.value.astype(result.dtype)
        beyond = np.abs(result - self.value) - self.floor
        in_eps = np.where(
            beyond > 0,
            beyond / (self.eps * self.scale),
            np.where(np.isnan(beyond), np.inf, 0),
        )
        return np.where(same, 0, np.where(np.isnan(in_eps), np.inf, in_eps))


@np.errstate(all="ignore")
def check(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: np.ndarray,
) -> Verdict:
    """Compare the result of an operation, a host array, with `function(*args,
    **kwargs)` of NumPy.

    args, kwargs: host arrays, NumPy dtypes and Python values. The arguments are not
        changed.
    """
    try:
        expected = expect(name, function, args, kwargs)
    except (TypeError, ValueError, IndexError) as error:
        return Verdict(
            problem=f"returns something where NumPy raises {type(error).__name__}: {error}"
        )
    if result.shape != expected.shape:
        return Verdict(problem=f"has shape {result.shape} instead of {expected.shape}")
    any_integer = name == "argmax" and result.dtype.kind in "iu"
    if result.dtype != expected.dtype and not any_integer:
        return Verdict(problem=f"is {result.dtype} instead of {expected.dtype}")
    if name in ("max", "argmax"):
        unspecified = np.isnan(args[0]).any(
            axis=kwargs.get("axis"), keepdims=kwargs.get("keepdims", False)
        )
        result = np.where(unspecified, expected, result)
    if np.array_equal(result, expected, equal_nan=True):
        return Verdict()
    reference = refer(name, function, args, kwargs)
    deviations = reference.deviations(result)
    if (deviations > reference.bound).any():
        flushed = refer(name, function, tuple(map(_flush, args)), kwargs)
        deviations = np.minimum(deviations, flushed.deviations(result))
    worst = int(np.argmax(deviations))
    deviation, got, wanted = (
        float(x.ravel()[worst]) for x in (deviations, result, reference.value)
    )
    index = tuple(map(int, np.unravel_index(worst, result.shape)))
    return Verdict(deviation, reference.bound, index, (got, wanted))


@np.errstate(all="ignore")
def expect(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> np.ndarray:
    """Return NumPy's result in the dtype of the inputs, which are not changed."""
    # NumPy takes a large operand that nothing else refers to for a temporary, and
    # computes into it.
    held = [*args]
    return np.asarray(
        function(*((args[0].copy(), *args[1:]) if name in INPLACE else held), **kwargs)
    )


@np.errstate(all="ignore")
def refer(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Reference:
    """Return the reference for an operation. Arguments: see `check`."""
    expected = expect(name, function, args, kwargs)
    kind, dtype = INPLACE.get(name, name).removeprefix("xp."), expected.dtype
    if dtype.kind != "f":
        value = expected.astype(np.float64)
        return Reference(value, np.ones_like(value), 1.0, 0.0, 0.0)
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    if kind not in ULPS and kind not in SUMS:
        return Reference(expected, np.abs(expected), eps, 0.0, tiny)
    wide = np.float64 if dtype == np.float32 or kind == "matmul" else np.longdouble

    def widened(x: Any) -> Any:
        # becomes a number of the array's dtype first, as the standard says
        if isinstance(x, float):
            return wide(dtype.type(x))
        return (
            x.astype(wide) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        )

    wider = tuple(map(widened, args))
    value = np.asarray(function(*wider, **kwargs))
    if kind in ULPS:
        return Reference(
            value,
            np.abs(value),
            eps,
            ULPS[kind] * (1 + float(np.finfo(wide).eps) / eps),
            tiny,
        )
    terms = (
        args[0].shape[-1] if kind == "matmul" else args[0].size // max(1, expected.size)
    )
    scale = np.asarray(function(*map(np.abs, wider), **kwargs))
    bound = (
        gamma(terms + 1, eps / 2) + gamma(terms + 1, float(np.finfo(wide).eps) / 2)
    ) / eps
    return Reference(value, scale, eps, bound, terms * tiny)


def gamma(n: int, u: float) -> float:
    """Return Higham's gamma_n = n u / (1 - n u); infinite where n u is not below 1."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def _flush(x: Any) -> Any:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        return x
    return np.where(np.abs(x) < np.finfo(x.dtype).smallest_normal, 0, x).astype(x.dtype)
