"""How far the result of a single operation may be from NumPy's, and why.

NumPy repeats an operation on host copies of the same inputs, so errors do not
accumulate. Let eps be the spacing of the dtype's numbers at 1, and u = eps / 2 its unit
roundoff. A deviation is |result - reference| / (eps * scale):

| operations (`x -= y` counts as `x - y`) | scale | bound in eps |
| --- | --- | --- |
| + - * / sqrt exp log and so on | abs(reference) | ULPS, times 1 + eps' / eps |
| sum, mean, matmul of n terms | the same operation on absolute values | (gamma_(n+1) + gamma'_(n+1)) / eps |
| prod, cumulative_prod of n terms | abs(reference) | (gamma_n + gamma'_n) / eps |
| EXACT: they select, compare or move | abs(reference) | 0 |
| all others | see `_rules` |  |

- ULPS are the largest errors of a conforming device in the OpenCL C specification
  (3.0, section 7.4, "Relative Error as ULPs", full profile). Independent vendors of
  processors and GPUs agreed on them. Where single and double precision differ, ULPS has
  the larger error. One ulp of a number x is at most eps * x.
- The standard demands more of / sqrt and reciprocal: correct rounding ("Accuracy"). Not
  even float64 on a CPU has it: sqrt of PyTorch 2.13.0 errs by 0.55 eps, and a division
  by a Python number of JAX 0.10.2, which multiplies by the reciprocal, by 0.67. ULPS
  allow both, because no program needs the difference.
- A complex number has a bound for its modulus: of a
  product sqrt(2) gamma_2 and of a quotient sqrt(2) gamma_7 (Higham, Lemma 3.5), of
  abs the error of hypot, of exp the errors of exp, sin, cos and a product.
- The reference is computed in the next wider dtype, with eps': float64 for float32,
  long double for float64. It may err by as many of its own ulps. Where long double is
  not wider, as on Windows and on Apple's processors, eps' / eps is 1, and the bound is
  twice as large.
- gamma_n = n u / (1 - n u) bounds the error of a sum of n rounded terms in any order
  (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.2 and 3.13). One
  more rounding is the division of a mean. gamma' is the same for the reference. A
  matrix product and linear algebra in float64 have a reference in float64, because
  NumPy has no wider ones.
- An operation without a bound is not judged: `Unjudged` has the reason.
- A library may treat subnormal numbers as zero, as XLA does on a CPU. So a result may
  be zero where the reference is subnormal. Of sums and linear algebra, deviations below
  the smallest normal number, per term, do not count. A deviation beyond its bound is
  judged again with subnormal inputs set to zero.
- Shape and dtype must be NumPy's. The standard leaves the integer dtype of `argmax` to
  the library, and its result for a NaN.
- Integers and booleans have eps = scale = 1. They must be equal, and a deviation is
  their difference.
"""

import math
import operator
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
    "subtract": 0.5,
    "multiply": 0.5,
    "divide": 2.5,
    "reciprocal": 2.5,
    "log2": 3.0,
    "log10": 3.0,
    "hypot": 4.0,
    "sin": 4.0,
    "cos": 4.0,
    "tan": 5.0,
    "asin": 4.0,
    "acos": 4.0,
    "atan": 5.0,
    "atan2": 6.0,
    "sinh": 4.0,
    "cosh": 4.0,
    "asinh": 4.0,
    "acosh": 4.0,
    "atanh": 5.0,
}
COMPLEX_ULPS = {
    "add": 0.5,
    "sub": 0.5,
    "subtract": 0.5,
    "mul": 1.5,
    "multiply": 1.5,
    "square": 1.5,
    "truediv": 5.0,
    "divide": 5.0,
    "reciprocal": 5.0,
    "abs": 4.0,
    "exp": 8.5,
}
SUMS = {
    "sum",
    "mean",
    "matmul",
    "cumulative_sum",
    "tensordot",
    "vecdot",
    "trace",
    "matrix_power",
}
_EXACT_NAMES = """
    T all any argmax argmin argsort asarray astype abs and_ bitwise_and
    bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
    broadcast_arrays broadcast_to ceil clip concat conj copysign count_nonzero diagonal
    empty empty_like eq equal expand_dims eye fft.fftshift fft.ifftshift flip floor
    from_dlpack from_numpy full full_like ge getitem greater greater_equal gt imag
    invert isfinite isin isinf isnan le less less_equal logical_and logical_not
    logical_or logical_xor lshift lt mT materialise matrix_transpose max maximum
    meshgrid min minimum moveaxis ne neg negative nextafter nonzero not_equal ones
    ones_like or_ permute_dims pos positive real repeat reshape roll round rshift
    searchsorted setitem sign signbit sort squeeze stack take take_along_axis tile
    to_device tril triu trunc unique_all unique_counts unique_inverse unique_values
    unstack where xor zeros zeros_like
"""
EXACT = set(_EXACT_NAMES.split())
"""They select, compare, convert or move, and so do not round."""
INPLACE = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "truediv",
    "ifloordiv": "floordiv",
    "imod": "mod",
    "ipow": "pow",
    "imatmul": "matmul",
    "iand": "and_",
    "ior": "or_",
    "ixor": "xor",
    "ilshift": "lshift",
    "irshift": "rshift",
}
ANY_INTEGER = {"argmax", "argmin", "argsort", "searchsorted", "count_nonzero"}
"""Their integer dtype is left to the library."""


class Unjudged(Exception):  # noqa: N818
    """An operation has no bound; the message says why."""


class Verdict(NamedTuple):
    """The result of an operation, compared with NumPy's."""

    deviation: float = 0.0
    """The deviation of the worst element, in eps."""
    bound: float = 0.0
    """Its bound, in eps."""
    at: tuple[int, ...] = ()
    """The index of the worst element."""
    values: tuple[complex, complex] = (0.0, 0.0)
    """The result and the reference there."""
    problem: str = ""
    """A fault other than a value, such as a wrong shape, in words; empty if none."""
    changed: int = 0
    """The number of the argument changed by the operation, from 1; 0 if none."""
    unjudged: str = ""
    """Why the operation is not judged; empty if it is."""
    outside: bool = False
    """Whether the standard leaves the result of these operands to the library."""

    @property
    def deviates(self) -> bool:
        """Whether the operation is judged, and beyond its bound."""
        is_beyond = bool(self.problem) or not self.deviation <= self.bound
        return is_beyond and not self.unjudged

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
    tiny: float = 0.0
    """Where the reference is below this, the result may be zero."""
    period: Any = 0.0
    """How far another right result is from the value, where there is one."""

    @property
    def allowed(self) -> np.ndarray:
        """The allowed absolute deviation of each element, float64."""
        with np.errstate(all="ignore"):
            small = np.where(np.abs(self.value) < self.tiny, self.tiny, self.floor)
            return (self.eps * self.bound * self.scale + small).astype(np.float64)

    def deviations(self, result: np.ndarray) -> np.ndarray:
        """Return the deviation of each element in eps.

        It is infinite where one of result and reference is not finite and the other
        differs.
        """
        if self.value.dtype.kind in "iub":
            difference = result.astype(object) - self.value.astype(object)
            return np.abs(difference).astype(np.float64)
        # A result beyond the largest number of the narrower dtype is inf, but the wider
        # reference is finite.
        narrow = self.value.astype(result.dtype)
        same = _same(result, self.value) | (result == narrow)
        if result.dtype.kind == "c" and self.bound:
            # Arithmetic may be infinite in either part.
            same |= ~(np.isfinite(narrow) | np.isfinite(result))
        same |= (np.abs(self.value) < self.tiny) & (result == 0)
        distance = np.abs(result - self.value)
        distance = np.minimum(distance, np.abs(distance - self.period))
        beyond = distance - self.floor
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
    expected: np.ndarray,
) -> Verdict:
    """Compare the result of an operation with `expected` of NumPy's function.

    The result is a host array. The arguments are host arrays, NumPy dtypes and Python
    values, and are not changed.
    """
    problem = mismatch(result, expected)
    any_integer = name in ANY_INTEGER and result.dtype.kind in "iu"
    if problem and not (any_integer and result.shape == expected.shape):
        return Verdict(problem=problem)
    if name in ("argmax", "argmin") and is_real(args[0]):
        has_nan = np.isnan(getattr(np, name[3:])(*args, **kwargs))
        result = np.where(has_nan, expected, result)
    same = _same(result, expected)
    if same.all():
        return Verdict()

    reference = refer(name, function, args, kwargs, expected)
    deviations = reference.deviations(result)
    if (deviations > reference.bound).any():
        flushed_args = tuple(_flush(each) for each in args)
        flushed_expected = expect(name, function, flushed_args, kwargs)
        flushed = refer(name, function, flushed_args, kwargs, flushed_expected)
        deviations = np.minimum(deviations, flushed.deviations(result))
        # The wider reference may differ, as for (-inf) ** 0.5.
        deviations = np.where(same, 0, deviations)
    worst = np.unravel_index(int(np.argmax(deviations)), result.shape)
    return Verdict(
        deviation=float(deviations[worst]),
        bound=reference.bound,
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
def expect(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return NumPy's result in the dtype of the inputs, without changing the inputs.

    It is an array, or a tuple of them.
    """
    # The list holds the operands: NumPy may overwrite a large one that nobody holds.
    operands = list(args)
    if name in INPLACE:
        operands[0] = operands[0].copy()
    found = function(*operands, **kwargs)
    if isinstance(found, tuple | list):
        return tuple(map(np.asarray, found))
    return np.asarray(found)


@np.errstate(all="ignore")
def refer(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    expected: np.ndarray,
) -> Reference:
    """Return the reference for an operation, whose arguments are as for `check`.

    Raises Unjudged if it has no bound.
    """
    kind = kind_of(name)
    dtype = expected.dtype
    has_rule = kind in RULES
    if dtype.kind not in "fc":
        if not (has_rule or kind in EXACT or kind in ULPS or kind in SUMS):
            raise Unjudged("no bound is known")
        one = np.ones(expected.shape)
        return Reference(expected, one, eps=1.0, bound=0.0, floor=0.0)
    is_complex = any(isinstance(x, np.ndarray) and x.dtype.kind == "c" for x in args)
    ulps: float | None = ULPS.get(kind)
    if is_complex:
        ulps = COMPLEX_ULPS.get(kind)
        if ulps is None and (kind in ULPS or kind == "sign"):
            raise Unjudged("no bound is known for complex numbers")
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).smallest_normal)
    if kind in EXACT and ulps is None:
        return Reference(expected, np.abs(expected), eps, 0.0, 0.0, tiny)
    if not (has_rule or kind in SUMS or ulps is not None):
        raise Unjudged("no bound is known")

    is_linear = kind in ("matmul", "tensordot", "vecdot", "matrix_power")
    in_double = is_linear or (name.startswith("linalg.") and kind != "vector_norm")
    wide: Any = np.longdouble
    # NumPy's power of float64 has NaN where the standard has infinity.
    if in_double or (eps > np.finfo(np.float64).eps and kind != "pow"):
        wide = np.float64
    wide_eps = float(np.finfo(wide).eps)
    if function is operator.pow:  # which takes the square root for ** 0.5
        function = np.power
    dtype = expected.real.dtype
    # The standard makes a Python float a number of the array's dtype first.
    of_floats = np.dtype(wide) if kind in ("arange", "linspace") else dtype
    wide_args = tuple(_widen(each, of_floats, wide) for each in args)
    if "dtype" in kwargs:  # the result is wider
        kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}
    try:
        value = np.asarray(function(*wide_args, **kwargs))
    except np.linalg.LinAlgError as error:
        raise Unjudged(f"NumPy's own raises {error}") from error
    if value.shape != expected.shape:  # a range, of which rounding decides the length
        value, wide_eps = expected, eps
    if ulps is not None:
        bound = ulps * (1 + wide_eps / eps)
        # Below the smallest normal number, the spacing of numbers stays the same.
        scale = np.maximum(np.abs(value), tiny)
        # The products in a complex number may underflow.
        floor = tiny if is_complex else 0.0
        return Reference(value, scale, eps, bound, floor, tiny)
    operation = Widened(function, wide_args, kwargs, value, eps, wide_eps, tiny)
    rule = RULES.get(kind, _sum_of(kind))
    found = rule(operation)
    refuse_uncertain(found.eps * eps)
    floor = found.terms * tiny
    return Reference(value, found.scale, eps, found.eps, floor, tiny, found.period)


def refuse_uncertain(error: float) -> None:
    """Refuse to judge where a relative error leaves no digit. Raises Unjudged."""
    if not error < 1:
        raise Unjudged("its bound leaves no digit, because of its size or condition")


class Widened(NamedTuple):
    """An operation in a wider dtype, for the rules of bounds."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: np.ndarray
    """NumPy's result."""
    eps: float
    """The eps of the library's result."""
    wide_eps: float
    """The eps of the reference."""
    tiny: float
    """The smallest normal number of the library's result."""

    def bound(self, n: float) -> float:
        """Return the bound, in eps, of n roundings in the result and the reference."""
        if any(map(np.iscomplexobj, self.args)):  # a product rounds sqrt(2) gamma_2
            n = 3 * n
        u, wide_u = self.eps / 2, self.wide_eps / 2
        return (gamma(n, u) + gamma(n, wide_u)) / self.eps

    def below_root(self, terms: int, order: float = 2.0) -> float:
        """Return as many terms as underflow by the root of a sum of others."""
        return (terms * self.tiny) ** (1 / order) / self.tiny

    @property
    def terms(self) -> int:
        """The number of terms of each element of a reduction."""
        return self.args[0].size // max(1, self.value.size)

    def on_absolute_values(self) -> np.ndarray:
        """Return the result of the operation on absolute values."""
        positive = [np.abs(x) if isinstance(x, np.ndarray) else x for x in self.args]
        return np.abs(self.function(*positive, **self.kwargs))


class Bound(NamedTuple):
    """The bound of an operation by one of the rules."""

    scale: np.ndarray
    eps: float
    """The bound in eps of the scale."""
    terms: float = 1
    """The number of terms that may underflow."""
    period: Any = 0.0
    """How far another right result is from the reference, where there is one."""


Rule = Callable[[Widened], Bound]
RULES: dict[str, Rule] = {}
"""The rules of `_rules`, which fills it in."""


def _sum_of(kind: str) -> Rule:
    """Return the rule for one of SUMS."""

    def rule(operation: Widened) -> Bound:
        args, result = operation.args, operation.value
        size = max(1, result.size)
        match kind:
            case "matmul":
                terms = args[0].shape[-1]
            case "cumulative_sum":
                axis = operation.kwargs.get("axis")
                terms = args[0].shape[axis or 0]
            case "tensordot":
                terms = math.isqrt(args[0].size * args[1].size // size)
            case "vecdot":
                terms = args[0].shape[operation.kwargs.get("axis", -1)]
            case "trace":
                terms = min(args[0].shape[-2:])
            case "matrix_power":
                terms = args[0].shape[-1] * abs(args[1])
                if args[1] < 0:
                    raise Unjudged("no bound is known for negative powers")
            case _:
                terms = operation.terms
        scale, bound = operation.on_absolute_values(), operation.bound(terms + 1)
        return Bound(scale, bound, max(1, terms))

    return rule


def kind_of(name: str) -> str:
    """Return the name of an operation without the place of its function."""
    return INPLACE.get(name, name).removeprefix("xp.").removeprefix("linalg.")


def gamma(n: float, u: float) -> float:
    """Return Higham's gamma_n = n u / (1 - n u); infinite where n u is not below 1."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def _widen(x: Any, dtype: np.dtype, wide: Any) -> Any:
    """Convert floats to a wider dtype."""
    if isinstance(x, float):
        return wide(dtype.type(x))
    if isinstance(x, list | tuple):
        return type(x)([_widen(each, dtype, wide) for each in x])
    if isinstance(x, np.ndarray) and x.dtype.kind == "c":
        return x.astype(np.result_type(wide, np.complex64))
    return x.astype(wide) if is_real(x) else x


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return where arrays are equal, NaN included."""
    if np.iscomplexobj(a) and np.iscomplexobj(b):
        return _same(a.real, b.real) & _same(a.imag, b.imag)
    return (a == b) | (np.isnan(a) & np.isnan(b))


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


def is_real(x: Any) -> bool:
    """Return whether x is an array of floats."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
