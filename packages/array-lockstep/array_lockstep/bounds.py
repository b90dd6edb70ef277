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
| all others | see `rules` |  |

- ULPS are the largest errors of a conforming device in the OpenCL C specification
  (3.0, section 7.4, "Relative Error as ULPs", full profile). Independent vendors of
  processors and GPUs agreed on them. Where single and double precision differ, ULPS has
  the larger error. One ulp of a number x is at most eps * x.
- The standard demands more of / sqrt and reciprocal: correct rounding ("Accuracy"). Not
  even float64 on a CPU has it. The sqrt of PyTorch 2.13.0 errs by 0.55 eps. JAX 0.10.2
  divides by a Python number by multiplying with the reciprocal, and errs by 0.67 eps.
  ULPS allow both errors, because no program needs the difference.
- A complex number has a bound for its modulus. The bound of a product is sqrt(2)
  gamma_2, and the bound of a quotient is sqrt(2) gamma_7 (Higham, Lemma 3.5). The
  function abs has the error of hypot. The function exp has the errors of exp, sin, cos
  and a product.
- The reference is computed in the next wider dtype: float64 for float32, long double
  for float64. Its spacing at 1 is eps'. It may err by the same number of its own ulps.
  Where long double is not wider, as on Windows and on Apple's processors, eps' / eps is
  1, and the bound is twice as large.
- gamma_n = n u / (1 - n u) bounds the error of a sum of n rounded terms in any order
  (Higham, Accuracy and Stability of Numerical Algorithms, 2002, eq. 3.2 and 3.13). The
  division of a mean is one more rounding. gamma' is the same for the reference. For
  sums, matrix products and linear algebra in float64, the reference is in float64 too.
- An operation without a bound is not judged: `Unjudged` has the reason.
- A library may treat subnormal numbers as zero, as XLA does on a CPU. So a result may
  be zero where the reference is subnormal. Sums, linear algebra and functions such as
  asin may also deviate by the smallest normal number for each of their terms. A
  deviation beyond its bound is judged again with some or all subnormal inputs set to
  zero. Functions such as sort may return any of the inputs that are then equal.
- Shape and dtype must be NumPy's. The standard leaves two things about `argmax` to the
  library: its integer dtype, and its result for a NaN.
- Integers and booleans have eps = scale = 1. They must be equal, and a deviation is
  their difference.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_BY_ULPS = {
    0.5: "add subtract multiply square",
    2.0: "log1p",
    2.5: "divide reciprocal",
    3.0: "sqrt exp expm1 log log2 log10",
    4.0: "hypot sin cos asin acos sinh cosh asinh acosh",
    5.0: "tan tanh atan atanh",
    6.0: "atan2",
    16.0: "pow",
}
ULPS = {name: ulps for ulps, names in _BY_ULPS.items() for name in names.split()}


def words_of(text: str) -> set[str]:
    """Return the words of a text, as in `EXACT`."""
    return set(text.split())


OF_COMPLEX = words_of("""
    add subtract multiply square divide reciprocal exp expm1 log log1p log2 log10 sqrt
    sin cos tan sinh cosh tanh pow
""")
"""The functions of ULPS with a bound for complex numbers too: see `rules`."""


SELECTIONS = words_of("""
    all any argmax argmin argsort asarray astype bitwise_and bitwise_invert
    bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor broadcast_arrays
    broadcast_to ceil clip concat conj copysign count_nonzero diagonal empty empty_like
    equal expand_dims eye fft.fftshift fft.ifftshift flip floor from_dlpack full
    full_like greater greater_equal imag isfinite isin isinf isnan less less_equal
    logical_and logical_not logical_or logical_xor matrix_transpose max maximum meshgrid
    min minimum moveaxis negative nextafter nonzero not_equal ones ones_like
    permute_dims positive real repeat reshape roll round searchsorted sign signbit sort
    squeeze stack take take_along_axis tile tril triu trunc unique_all unique_counts
    unique_inverse unique_values unstack where zeros zeros_like
""")
"""Functions that do not round: they select, compare, convert or move."""
EXACT = SELECTIONS | words_of("T mT getitem setitem to_device")
"""SELECTIONS, and operations that are not functions."""

LARGEST_ERROR = 0.02
"""A bound must be smaller, relative to the largest value, to judge a result."""


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
        """Whether the operation is judged, and deviates beyond its bound."""
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


class Bound(NamedTuple):
    """How far a result may be from the reference."""

    scale: np.ndarray
    factor: float
    """The bound in eps of the scale."""
    underflows: Any = 1
    """The number of terms that may underflow, or how much they grow, of each element."""
    alternative: Any = 0.0
    """The difference of another right result from the reference, or 0."""
    axes: tuple[int, ...] = ()
    """The axes of the norm, if the bound is for the 2-norm of all deviations."""


class Reference(NamedTuple):
    """NumPy's result and its bound: see the docstring of this module."""

    value: np.ndarray
    bound: Bound
    eps: float
    tiny: float = 0.0
    """Numbers below this may count as zero."""

    @property
    def allowed(self) -> np.ndarray:
        """The allowed absolute deviation of each element, float64."""
        scale, factor, underflows, alternative, axes = self.bound
        with np.errstate(all="ignore"):
            is_small = np.abs(self.value) < self.tiny
            count = np.where(is_small, np.maximum(1, underflows), underflows)
            underflow = count * self.tiny
            within = self.eps * factor * scale
            if axes:  # if the norm is too large, one of n elements exceeds this
                elements = math.prod(self.value.shape[axis] for axis in axes)
                within = within / math.sqrt(elements)
            return (within + underflow + np.abs(alternative)).astype(np.float64)

    def deviations(self, result: np.ndarray) -> np.ndarray:
        """Return the deviation of each element in eps.

        The deviation is infinite where the result and the reference differ and one of
        them is not finite. If the bound is for the norm, the norm replaces the largest
        deviation.
        """
        if self.value.dtype.kind in "iub":
            difference = result.astype(object) - self.value.astype(object)
            return np.abs(difference).astype(np.float64)
        # A result beyond the largest number of the narrower dtype is inf, but the wider
        # reference is finite.
        narrow = self.value.astype(result.dtype)
        same = equal(result, self.value) | (result == narrow)
        if result.dtype.kind == "c" and self.bound.factor:
            # Complex arithmetic may be infinite in either part.
            same |= ~(np.isfinite(narrow) | np.isfinite(result))
        same |= (np.abs(self.value) < self.tiny) & (result == 0)
        distance = np.abs(result - self.value)
        other = np.abs(result - self.value - self.bound.alternative)
        distance = np.minimum(distance, other)
        if self.bound.axes:
            distance = np.where(same, 0, distance)
            is_largest = distance == np.max(
                distance, axis=self.bound.axes, keepdims=True, initial=0
            )
            distance = np.where(is_largest, norm(distance, self.bound.axes), distance)
        beyond = distance - self.bound.underflows * self.tiny
        in_eps = np.where(beyond <= 0, 0, beyond / (self.eps * self.bound.scale))
        in_eps = np.where(np.isnan(in_eps), np.inf, in_eps)
        return np.where(same, 0, in_eps)


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

    @property
    def is_complex(self) -> bool:
        """Whether an operand is complex."""
        return any(map(np.iscomplexobj, self.args))

    def ulps(self, ulps: float) -> float:
        """Return the bound in eps of this many ulps in the result and the reference.

        A product or quotient of complex numbers has up to three times as many ulps: see
        gamma_2 and gamma_7 in the docstring of this module.
        """
        if self.is_complex:
            ulps = 3 * ulps
        return ulps * (1 + self.wide_eps / self.eps)

    def roundings(self, n: float) -> float:
        """Return the bound in eps of n roundings in the result and the reference."""
        if self.is_complex:
            n = 3 * n
        return (gamma(n, self.eps / 2) + gamma(n, self.wide_eps / 2)) / self.eps

    def below_root(self, terms: int) -> float:
        """Return the underflow of a root of `terms` squares, in units of tiny."""
        return math.sqrt(terms) / math.sqrt(self.tiny)

    def terms(self) -> int:
        """Return the number of terms of each element of a reduction."""
        return self.args[0].size // max(1, self.value.size)


def gamma(n: float, u: float) -> float:
    """Return Higham's gamma_n = n u / (1 - n u); infinite where n u is not below 1."""
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def refuse_uncertain(error: float) -> None:
    """Refuse to judge where a relative error leaves no digit. Raises Unjudged."""
    if not error < LARGEST_ERROR:
        raise Unjudged("its bound leaves no digit, because of its size or condition")


def norm(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Return the 2-norm over axes, which are kept, without overflow or underflow."""
    largest = np.max(np.abs(x), axis=axes, keepdims=True, initial=0)
    _, exponent = np.frexp(largest)
    scaled = np.ldexp(np.abs(x), -exponent)
    root = np.sqrt(np.sum(scaled**2, axis=axes, keepdims=True))
    return np.ldexp(root, exponent)


def adjoint(matrix: np.ndarray) -> np.ndarray:
    """Return the conjugate transpose."""
    return np.conj(np.swapaxes(matrix, -1, -2))


def equal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return where arrays are equal, NaN included."""
    if np.iscomplexobj(a) and np.iscomplexobj(b):
        return equal(a.real, b.real) & equal(a.imag, b.imag)
    return (a == b) | (np.isnan(a) & np.isnan(b))


def is_real(x: Any) -> bool:
    """Return whether x is an array of floats."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
