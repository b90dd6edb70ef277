"""How each kind of operation is bounded: see `bounds` for the notation.

One ulp is two roundings at most:

- **sum, mean, matmul** and similar functions of n terms: n + 1 roundings of the same
  operation on absolute values.
- **prod, cumulative_prod**: gamma_n relative to the result (Higham 2002, Lemma 3.1).
  In any order, a partial product is at most the product g of max(abs(x), 1). So what
  underflows is multiplied by at most g. Where g is beyond the range, a partial product
  may be infinite in one order and not in another, and nothing is judged.
- **vector_norm, matrix_norm**: all terms are positive. So the bound is n roundings
  relative to the result, and for the Euclidean norm a square root more. Of the other
  orders, only 1, inf, -inf, 0 of vectors and -1 of matrices are judged.
- **var, std**: a variance is the mean of products of two deviations from a mean, or
  from a running mean (Welford). The mean errs by gamma_(n+4) of the root mean square r,
  so a variance v errs by 2 gamma_(n+4) r sqrt(v), and the standard deviation by
  gamma_(n+4) r. This is n kappa u (Chan, Golub and LeVeque 1983, Algorithms for
  computing the sample variance, table 1). The textbook's formula with one pass errs by
  n kappa^2 u, which is beyond this bound.
- **logaddexp**: the errors of exp and log1p, whose results are below 1, and a sum.
- **floor_divide, remainder**: the quotient q has the error e of a division. Where e is
  below a half, floor(q - e) and floor(q + e) are both right, and a remainder may be off
  by its divisor. Where q is an integer without rounding, only one floor is right. A
  remainder rounds a product of at most abs(x) + abs(y), a difference, and a sum below
  abs(y).
- **linspace, arange**: a difference, a division, a product and a sum of numbers up to
  the ends.
- **fft**: the bound is for the 2-norm over the transformed axes. A stage for the prime
  factor p sums p products of complex numbers, twiddle factors among them. It errs by
  gamma_(p+4) times a sum of p absolute values, hence by sqrt(p) gamma_(p+4) in the norm
  (Higham 2002, section 24.1, has 1 + 4 sqrt(2) roundings for p = 2). A transform by
  convolutions (Bluestein 1970) consists of three transforms of length below 4 n, in
  stages of p = 2. It pays only where n has a large prime factor. Where all are at most
  7, libraries transform in stages (pocketfft compares the costs; cuFFT has kernels for
  2, 3, 5 and 7), and no convolution is allowed for. For n = 32 the bound is 30 eps.
- **complex elementary functions**: the bound is for the modulus. The parts of sin, cos,
  sinh and cosh are products of two real functions, so each has the ulps of both and a
  rounding. tan and tanh are a quotient of two of these. A logarithm has the parts
  log(hypot(x, y)) and atan2(y, x). Where hypot is near 1, its ulps are an absolute
  error, so the scale is abs(result) + 1, or + 2 for other bases. expm1 has the same
  scale, because 1 is subtracted. sqrt halves the ulps of hypot, has a square root, and
  divides. A power is exp(y log(x)), whose exponent errs absolutely, by the ulps of a
  logarithm and a product times abs(y) (abs(log(x)) + 1). The inverse functions of
  sin, cos, tan, sinh, cosh and tanh have no bound for complex numbers.
- **cross**: two products and their difference, on absolute values.
- **matrix_power**: n products of matrices of order m, in any association, err by
  gamma_(m n) times the power of absolute values (Higham 2002, section 3.5). Negative
  powers are not judged.
- **svdvals, eigvalsh**: n reflections of length m change a matrix by at most
  (6 m - 3 n + 41) n u of its Frobenius norm (Golub and Van Loan, Matrix Computations,
  section 5.3, from Lawson and Hanson 1974, for least squares by qr). A factorisation
  has n reflections from either side. The iterations after them rotate two rows at a
  time. They are assumed to err by no more than the term -3 n, which is left out here.
  In the norm, the values change by no more than the matrix changes (Hoffman and
  Wielandt 1953; Mirsky 1960).

Where a bound exceeds LARGEST_ERROR times the terms or the largest value, it leaves no
digit, and nothing is judged. Ranks and eigenvalues of a general matrix have no bound.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from array_lockstep.bounds import (
    ULPS,
    Bound,
    Unjudged,
    Widened,
    adjoint,
    gamma,
    norm,
    refuse_uncertain,
    words_of,
)

_LARGEST_ORDER = 500  # the order of a matrix that is factorised here
_LARGEST_KERNEL = 7  # the largest prime factor of a transform without convolutions
Rule = Callable[[Widened], Bound]


_PRODUCT = 2 * ULPS["sin"] + ULPS["multiply"]
_LOGARITHM = ULPS["hypot"] + ULPS["log"] + ULPS["atan2"]
_COMPLEX = {
    **dict.fromkeys(("sin", "cos", "sinh", "cosh"), (_PRODUCT, 0)),
    **dict.fromkeys(("tan", "tanh"), (2 * _PRODUCT + 3 * ULPS["divide"], 0)),
    **dict.fromkeys(("log", "log1p"), (_LOGARITHM, 1)),
    **dict.fromkeys(("log2", "log10"), (_LOGARITHM + ULPS["divide"], 2)),
    "expm1": (3 * ULPS["exp"] + ULPS["subtract"], 1),
    "sqrt": (ULPS["hypot"] / 2 + ULPS["sqrt"] + ULPS["divide"], 0),
}
"""The ulps of functions of complex numbers, and what is added to their scale."""


def _of_complex(name: str, operation: Widened) -> Bound:
    size = np.abs(operation.value)
    both = 1 + operation.wide_eps / operation.eps
    if name == "pow":
        base, exponent = operation.args
        logarithm = np.abs(np.log(base + 0j)) + 1
        ulps = 3 * ULPS["exp"] + 3 * ULPS["multiply"] + _LOGARITHM
        return Bound(size * (1 + np.abs(exponent) * logarithm), ulps * both)
    ulps, more = _COMPLEX[name]
    return Bound(np.maximum(size + more, operation.tiny), ulps * both)


def _of_ulps(name: str) -> Rule:
    has_terms = name not in words_of("""
        add subtract multiply square divide reciprocal exp sqrt
    """)

    def rule(operation: Widened) -> Bound:
        if operation.is_complex and name in _COMPLEX.keys() | {"pow"}:
            return _of_complex(name, operation)
        # Below the smallest normal number, the spacing of numbers stays the same.
        scale = np.maximum(np.abs(operation.value), operation.tiny)
        # The products in a complex number and the terms of a function may underflow.
        terms = int(operation.is_complex or has_terms)
        return Bound(scale, operation.ulps(ULPS[name]), terms)

    return rule


def _of_modulus(operation: Widened) -> Bound:
    if not operation.is_complex:
        return Bound(np.abs(operation.value), 0.0, underflows=0)
    both = 1 + operation.wide_eps / operation.eps
    return Bound(np.abs(operation.value), ULPS["hypot"] * both)


def _sum_of(terms: Callable[[Widened], int]) -> Rule:
    def rule(operation: Widened) -> Bound:
        positive = [
            np.abs(x) if isinstance(x, np.ndarray) else x for x in operation.args
        ]
        scale = np.abs(operation.function(*positive, **operation.kwargs))
        n = terms(operation)
        return Bound(scale, operation.roundings(n + 1), max(1, n))

    return rule


def _along_axis(operation: Widened) -> int:
    axis = operation.kwargs.get("axis")
    return operation.args[0].shape[-1 if axis is None else axis]


def _of_tensordot(operation: Widened) -> int:
    x, y = operation.args[:2]
    return math.isqrt(x.size * y.size // max(1, operation.value.size))


def _relative(operation: Widened, roundings: float, terms: Any = 1) -> Bound:
    return Bound(np.abs(operation.value), operation.roundings(roundings), terms)


def _of_product(operation: Widened, terms: int) -> Bound:
    size = np.maximum(np.abs(operation.args[0]), 1)
    grown = operation.function(size, **operation.kwargs)
    if np.any(grown > 1 / operation.tiny):  # a quarter of the largest number
        raise Unjudged("a product of some of the numbers is beyond the range")
    return _relative(operation, terms, terms * grown)


def _in_norm(operation: Widened, bound: float, axes: tuple[int, ...]) -> Bound:
    """Return a bound relative to the 2-norm of the result over some axes."""
    value = operation.value
    scale = np.broadcast_to(norm(value, axes), value.shape)
    return Bound(scale, bound, value.size, axes=axes)


def _of_norm(euclidean: Any, other: int) -> Rule:
    """Return the rule for a norm, given its Euclidean order and another order."""

    def rule(operation: Widened) -> Bound:
        order, terms = operation.kwargs.get("ord", euclidean), operation.terms()
        if order == euclidean:
            roundings = terms + 2 * ULPS["sqrt"]
            return _relative(operation, roundings, operation.below_root(terms))
        if order not in (1, math.inf, -math.inf, other):
            raise Unjudged(f"no bound is known for the order {order}")
        return _relative(operation, terms, terms)

    return rule


def reflections(shape: tuple[int, ...]) -> int:
    """Return the roundings of a factorisation by reflections from both sides."""
    n, m = sorted(shape[-2:])
    return 2 * (6 * m + 41) * n


def _of_singular_values(operation: Widened) -> Bound:
    # their 2-norm is the Frobenius norm of the matrix
    n = reflections(operation.args[0].shape)
    bound = _in_norm(operation, operation.roundings(n), (-1,))
    largest = np.max(np.abs(operation.value), axis=-1, keepdims=True, initial=0)
    share = bound.scale / np.where(largest == 0, 1, largest)
    refuse_uncertain(float(np.max(share, initial=0)) * bound.factor * operation.eps)
    return bound


def _of_eigenvalues(operation: Widened) -> Bound:
    bound, matrix = _of_singular_values(operation), operation.args[0]
    # A library may read either triangle.
    asymmetry = norm(matrix - adjoint(matrix), (-2, -1))[..., 0]
    scale = bound.scale + asymmetry / (bound.factor * operation.eps)
    return bound._replace(scale=scale)


def _root_mean_square(operation: Widened) -> np.ndarray:
    """Return the root mean square of the elements, with a variance's correction."""
    x, kwargs = operation.args[0], operation.kwargs
    terms, correction = operation.terms(), kwargs.get("correction", 0.0)
    share = terms / (terms - correction) if terms > correction else math.inf
    keepdims = kwargs.get("keepdims", False)
    square = np.mean(np.abs(x) ** 2, axis=kwargs.get("axis"), keepdims=keepdims)
    return np.sqrt(share * square)


def _of_variance(operation: Widened) -> Bound:
    size, terms = _root_mean_square(operation), operation.terms()
    bound = operation.roundings(terms + 4)
    scale = 2 * np.sqrt(operation.value) * size + bound * operation.eps * size**2
    return Bound(scale, bound, terms)


def _of_standard_deviation(operation: Widened) -> Bound:
    terms = operation.terms()
    bound = operation.roundings(terms + 4 + 2 * ULPS["sqrt"])
    return Bound(_root_mean_square(operation), bound, operation.below_root(terms))


def _of_logaddexp(operation: Widened) -> Bound:
    size = np.abs(operation.value) + 1
    return Bound(size, operation.roundings(2 * (ULPS["exp"] + ULPS["log1p"])))


class _Floor(NamedTuple):
    """The floor of a quotient with the error of a division."""

    is_close: np.ndarray
    """Whether the error is below a half, so that at most two floors are right."""
    is_exact: np.ndarray
    """Whether the quotient is also an integer, so that one floor is right."""
    other: np.ndarray
    """The difference of the other right floor from the first, or 0."""


def _floor_of(operation: Widened) -> _Floor:
    x, y = operation.args
    quotient = x / y
    error = ULPS["divide"] * operation.eps * np.abs(quotient)
    is_close = error < 0.5
    is_exact = is_close & (np.fmod(x, y) == 0)
    floor = np.floor_divide(x, y)
    low, high = np.floor(quotient - error), np.floor(quotient + error)
    other = np.where(low == floor, high, low) - floor
    return _Floor(is_close, is_exact, np.where(is_close & ~is_exact, other, 0))


def _of_floor(operation: Widened) -> Bound:
    floor = _floor_of(operation)
    bound = operation.roundings(2 * ULPS["divide"])
    scale = np.where(floor.is_close, 0, np.abs(operation.value))
    return Bound(scale, bound, alternative=floor.other)


def _of_remainder(operation: Widened) -> Bound:
    x, y = np.abs(operation.args[0]), np.abs(operation.args[1])
    floor = _floor_of(operation)
    # Otherwise the floor may be off by more than one.
    far = np.where(floor.is_close, 0, 2 * ULPS["divide"] * x)
    scale = np.where(floor.is_exact, 0, x + 3 * y + far)
    alternative = np.where(floor.other, -floor.other * operation.args[1], 0)
    return Bound(scale, operation.roundings(1), alternative=alternative)


def _of_range(operation: Widened) -> Bound:
    # The ends of `arange(n)` are its last element and 0.
    ends = [abs(x) for x in operation.args[:2] if x is not None]
    largest = max(float(np.max(np.abs(operation.value), initial=0)), *ends, 0.0)
    scale = np.full(operation.value.shape, largest)
    return Bound(scale, operation.roundings(3 + 2 * ULPS["divide"]))


def _of_cross(operation: Widened) -> Bound:
    axis = operation.kwargs.get("axis", -1)
    x, y = np.broadcast_arrays(*map(np.abs, operation.args))

    def moved(a: np.ndarray, places: int) -> np.ndarray:
        return np.roll(a, -places, axis=axis)

    scale = moved(x, 1) * moved(y, 2) + moved(x, 2) * moved(y, 1)
    return Bound(scale, operation.roundings(3), 2)


def _of_power(operation: Widened) -> Bound:
    matrix, n = operation.args
    if n < 0:
        raise Unjudged("no bound is known for negative powers")
    terms = max(1, n) * matrix.shape[-1]
    scale = np.linalg.matrix_power(np.abs(matrix), n)
    return Bound(scale, operation.roundings(terms), terms)


def _of_difference(operation: Widened) -> Bound:
    if operation.args[1:] not in ((), (1,)) or operation.kwargs.get("n", 1) != 1:
        raise Unjudged("no bound is known for repeated differences")
    return _relative(operation, 1)


def elimination(matrix: np.ndarray, eps: float) -> np.ndarray:
    """Return abs(L) abs(U) with partial pivoting, in the order of the matrix's rows.

    L and U are computed in float64. Where rounding with this eps may choose other
    pivots, each element is replaced by the largest possible value in its column. This
    is the sum of abs(U), because abs(L) is at most 1, or sqrt(2) for complex numbers.
    Raises Unjudged for a matrix that is too large.
    """
    n = matrix.shape[-1]
    if n > _LARGEST_ORDER:
        raise Unjudged(f"matrices above {_LARGEST_ORDER} rows are not factorised")
    left, total = matrix.copy(), np.zeros(matrix.shape)
    sums = np.zeros((*matrix.shape[:-2], 1, n))
    rows = np.arange(n)[:, None]
    is_remaining = np.ones((*matrix.shape[:-1], 1), bool)  # not yet the row of a pivot
    is_uncertain = np.zeros((*matrix.shape[:-2], 1, 1), bool)
    for k in range(n):
        column = left[..., k : k + 1]
        sizes = np.where(is_remaining, _modulus(column), -1)
        row = np.argmax(sizes, axis=-2, keepdims=True)
        is_pivot = rows == row
        is_remaining &= ~is_pivot
        # The first column has no rounding. Of equal pivots, libraries take the first.
        error = gamma(2 * n, eps / 2) * (total[..., k : k + 1] + sizes)
        largest = np.take_along_axis(sizes, row, axis=-2)
        least = np.take_along_axis(sizes - error, row, axis=-2)
        rivals = is_remaining & (sizes + error >= least) & (largest > 0)
        is_uncertain |= (k > 0) & rivals.any(axis=-2, keepdims=True)
        pivots = np.take_along_axis(left, row, axis=-2)
        pivots[..., :k] = 0
        pivot = pivots[..., k : k + 1]
        factors = np.where(
            is_remaining, column / np.where(pivot == 0, 1, pivot), is_pivot
        )
        total += np.abs(factors) * np.abs(pivots)
        left -= np.where(is_remaining, factors, 0) * pivots
        sums += np.abs(pivots)
    largest_factor = math.sqrt(2) if np.iscomplexobj(matrix) else 1
    return np.where(is_uncertain, largest_factor * sums, total)


def _modulus(x: np.ndarray) -> np.ndarray:
    """Return the absolute values by which LAPACK chooses a pivot."""
    return np.abs(x.real) + np.abs(x.imag)


def _of_fft(operation: Widened, axes: tuple[int, ...]) -> Bound:
    x, value = operation.args[0], operation.value
    roundings = 0.0
    for axis in axes:
        n = max(x.shape[axis], value.shape[axis], 2)
        primes = _primes_of(n)
        stages = _of_stages(primes)
        if primes[-1] > _LARGEST_KERNEL:
            stages = max(stages, 3 * math.log2(4 * n) * _of_stages([2]))
        roundings += stages
    # a real transform has half of the norm's terms
    both = 1 + operation.wide_eps / operation.eps
    return _in_norm(operation, math.sqrt(2) * roundings * both / 2, axes)


def _primes_of(n: int) -> list[int]:
    """Return the prime factors of n, the largest last."""
    primes, prime = [], 2
    while n > 1:
        while n % prime == 0:
            primes.append(prime)
            n //= prime
        prime += 1
    return primes


def _of_stages(primes: list[int]) -> float:
    """Return the roundings of all stages, one for each prime factor."""
    return sum(math.sqrt(prime) * (prime + 4) for prime in primes)


def _of_one_axis(operation: Widened) -> Bound:
    return _of_fft(operation, (operation.kwargs.get("axis", -1),))


def _of_axes(operation: Widened) -> Bound:
    axes = operation.kwargs.get("axes")
    if axes is None:
        sizes = operation.kwargs.get("s") or operation.value.shape
        axes = range(-len(sizes), 0)
    return _of_fft(operation, tuple(axes))


SUMS: dict[str, Callable[[Widened], Any]] = {
    "sum": Widened.terms,
    "mean": Widened.terms,
    "matmul": _along_axis,
    "vecdot": _along_axis,
    "cumulative_sum": _along_axis,
    "tensordot": _of_tensordot,
    "trace": lambda operation: min(operation.args[0].shape[-2:]),
}
"""Sums of products, with the number of their terms."""
RULES: dict[str, Rule] = {
    **{name: _of_ulps(name) for name in ULPS},
    **{name: _sum_of(terms) for name, terms in SUMS.items()},
    **dict.fromkeys(("fft.fft", "fft.ifft", "fft.rfft", "fft.irfft"), _of_one_axis),
    **dict.fromkeys(("fft.hfft", "fft.ihfft"), _of_one_axis),
    **dict.fromkeys(("fft.fftn", "fft.ifftn", "fft.rfftn", "fft.irfftn"), _of_axes),
    "abs": _of_modulus,
    "prod": lambda operation: _of_product(operation, operation.terms()),
    "cumulative_prod": lambda operation: _of_product(operation, _along_axis(operation)),
    "outer": lambda operation: _relative(operation, 1),
    "fft.fftfreq": lambda operation: _relative(operation, 2 + 2 * ULPS["divide"]),
    "fft.rfftfreq": lambda operation: _relative(operation, 2 + 2 * ULPS["divide"]),
    "vector_norm": _of_norm(2, 0),
    "matrix_norm": _of_norm("fro", -1),
    "svdvals": _of_singular_values,
    "eigvalsh": _of_eigenvalues,
    "var": _of_variance,
    "std": _of_standard_deviation,
    "logaddexp": _of_logaddexp,
    "floor_divide": _of_floor,
    "remainder": _of_remainder,
    "linspace": _of_range,
    "arange": _of_range,
    "diff": _of_difference,
    "cross": _of_cross,
    "matrix_power": _of_power,
}
"""The rule for each kind of operation that rounds."""
