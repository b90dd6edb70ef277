"""Bounds of operations that round in their own ways, for `_bounds.RULES`.

Each rule returns the scale of a bound, the bound in eps, and the number of terms that
may underflow. With u, gamma and the reference as in `_bounds`, one ulp is two
roundings at most:

- **prod, cumulative_prod**: gamma_n relative to the result (Higham 2002, Lemma 3.1).
- **vector_norm, matrix_norm**: all terms are positive, so n roundings and a square root
  relative to the result. An order p has n roundings and a power below its root, which
  divides their error by p, and one power more. A rounded exponent 1 / p changes the
  norm r by log(r) roundings. Orders 2, -2 and nuc of a matrix as `svdvals`.
- **var, std**: a variance is the mean of products of two deviations from a mean, or
  from a running mean (Welford). The mean errs by gamma_(n+4) of the root mean square r,
  so a variance v errs by 2 gamma_(n+4) r sqrt(v), and the standard deviation by
  gamma_(n+4) r. This is n kappa u (Chan, Golub and LeVeque 1983, Algorithms for
  computing the sample variance, table 1). The textbook's one pass has n kappa^2 u and
  is beyond it.
- **logaddexp**: the errors of exp and log1p, whose results are below 1, and a sum.
- **floor_divide, remainder**: the quotient has the error of a division. Where this
  reaches an integer, either neighbour is right, and a remainder may be off by its
  divisor. It rounds a product of abs(x) + abs(y) at most, a difference and a sum below
  abs(y).
- **linspace, arange**: a difference, a division, a product and a sum of numbers up to
  the ends.
- **cross**: 3 eps of the product of the largest elements (OpenCL C, as ULPS).
- **fft**: in the 2-norm over the transformed axes. A stage for the prime factor p sums
  p products of complex numbers, twiddle factors among them. This is gamma_(p+4) of a
  sum of p absolute values, so sqrt(p) gamma_(p+4) in the norm (Higham 2002, section
  24.1, has 1 + 4 sqrt(2) roundings for p = 2). A transform by convolutions (Bluestein
  1970) has three of length below 4 n, in stages of p = 2.
- **solve, inv, det**: Gaussian elimination with partial pivoting has a backward error
  below gamma_3n times norm(abs(L) abs(U)) (Higham 2002, theorems 9.3 and 9.4). U is
  computed, and abs(L) is at most 1. The condition number kappa times this error is the
  bound of the result (theorem 7.2), and n times as much for det.
- **cholesky**: a backward error of n gamma_(n+1) (theorem 10.3), and its effect on the
  factor, kappa / sqrt(2) (Sun 1991, Perturbation bounds for the Cholesky and QR
  factorizations).
- **svdvals, eigvalsh, svd, eigh, qr**: n reflections of length m change a matrix by at
  most (6 m - 3 n + 41) n u of its Frobenius norm (Golub and Van Loan, Matrix
  Computations, section 5.3, from Lawson and Hanson 1974, for least squares by qr).
  There are n from either side. It is assumed that the iterations that follow, which
  rotate two rows at a time, err by no more than the -3 n that is left out.
  By Weyl's theorem, no value changes by more than the matrix.

Where a bound reaches 1, it leaves no digit, and nothing is judged. In a stack of
matrices those are passed over, if not all are. Ranks, pseudo-inverses and eigenvalues
of a general matrix have no bound here.
"""

import math
from typing import Any

import numpy as np

from mlp_xp.parity._bounds import (
    RULES,
    ULPS,
    Bound,
    Unjudged,
    Widened,
    refuse_uncertain,
)

_LARGEST = 500  # the order of a matrix that is factorised here


def reflections(shape: tuple[int, ...]) -> int:
    """Return the roundings of a factorisation by reflections from both sides."""
    n, m = sorted(shape[-2:])
    return 2 * (6 * m + 41) * n


def _relative(operation: Widened, roundings: float, terms: float = 1) -> Bound:
    return Bound(np.abs(operation.value), operation.bound(roundings), terms)


def _in_norm(operation: Widened, relative: float, axes: tuple[int, ...]) -> Bound:
    """Return a bound relative to the 2-norm of the result over some axes."""
    value = operation.value
    norm = np.sqrt(np.sum(np.abs(value) ** 2, axis=axes, keepdims=True))
    return Bound(
        np.broadcast_to(norm, value.shape), relative / operation.eps, value.size
    )


def _of_each_matrix(relative: np.ndarray, bound: Bound) -> Bound:
    """Return a bound with the relative error of each matrix instead of one."""
    largest = float(np.max(relative, where=np.isfinite(relative), initial=0))
    of_vectors = max(0, bound.scale.ndim - relative.ndim)
    share = (relative / largest).reshape(relative.shape + (1,) * of_vectors)
    # It is infinite for a matrix that is too ill-conditioned to be judged.
    scale = np.where(np.isinf(share), math.inf, bound.scale * share)
    return bound._replace(scale=scale, eps=largest * bound.eps)


def _of_product(operation: Widened) -> Bound:
    return _relative(operation, operation.terms)


def _of_running_product(operation: Widened) -> Bound:
    axis = operation.kwargs.get("axis") or 0
    return _relative(operation, operation.args[0].shape[axis])


def _of_vector_norm(operation: Widened) -> Bound:
    terms, order = operation.terms, operation.kwargs.get("ord", 2)
    if order in (0, 1, math.inf, -math.inf):
        return _relative(operation, terms, terms)
    if order == 2:
        roundings = terms + 2 * ULPS["sqrt"]
        return _relative(operation, roundings, operation.below_root(terms))
    logs = np.abs(np.log(operation.value))
    exponent = float(np.max(logs, where=np.isfinite(logs), initial=0))
    of_sum = (terms + 2 * ULPS["pow"]) / abs(order)
    roundings = of_sum + exponent + 2 * ULPS["pow"]
    return _relative(operation, roundings, operation.below_root(terms, abs(order)))


def _of_matrix_norm(operation: Widened) -> Bound:
    order, matrix = operation.kwargs.get("ord", "fro"), operation.args[0]
    m, n = matrix.shape[-2:]
    if order not in (2, -2, "nuc"):
        roundings = m * n + 2 * ULPS["sqrt"]
        return _relative(operation, roundings, operation.below_root(m * n))
    keepdims = operation.kwargs.get("keepdims", False)
    size = np.linalg.norm(matrix, axis=(-2, -1), keepdims=keepdims)
    values = min(m, n) if order == "nuc" else 1
    return Bound(size, operation.bound(values * reflections(matrix.shape)), m * n)


def _root_mean_square(operation: Widened) -> tuple[np.ndarray, int]:
    """Return it with the correction of a variance, and the number of terms."""
    x, kwargs = operation.args[0], operation.kwargs
    terms, correction = operation.terms, kwargs.get("correction", 0.0)
    share = terms / (terms - correction) if terms > correction else math.inf
    keepdims = kwargs.get("keepdims", False)
    square = np.mean(np.abs(x) ** 2, axis=kwargs.get("axis"), keepdims=keepdims)
    return np.sqrt(share * square), terms


def _of_variance(operation: Widened) -> Bound:
    size, terms = _root_mean_square(operation)
    bound = operation.bound(terms + 4)
    scale = 2 * np.sqrt(operation.value) * size + bound * operation.eps * size**2
    return Bound(scale, bound, terms)


def _of_deviation(operation: Widened) -> Bound:
    size, terms = _root_mean_square(operation)
    bound = operation.bound(terms + 4 + 2 * ULPS["sqrt"])
    return Bound(size, bound, operation.below_root(terms))


def _of_logaddexp(operation: Widened) -> Bound:
    size = np.abs(operation.value) + 1
    return Bound(size, operation.bound(2 * (ULPS["exp"] + ULPS["log1p"])), 1)


def _quotient_error(operation: Widened) -> tuple[np.ndarray, np.ndarray]:
    """Return the error of a quotient, and whether it decides the quotient's floor."""
    x, y = operation.args
    quotient = x / y
    error = ULPS["divide"] * operation.eps * np.abs(quotient)
    return error, np.floor(quotient - error) != np.floor(quotient + error)


def _of_floor(operation: Widened) -> Bound:
    _, is_near = _quotient_error(operation)
    bound = operation.bound(2 * ULPS["divide"])
    return Bound(np.abs(operation.value), bound, period=np.where(is_near, 1, 0))


def _of_remainder(operation: Widened) -> Bound:
    x, y = np.abs(operation.args[0]), np.abs(operation.args[1])
    error, is_near = _quotient_error(operation)
    # Above one, the floor is wrong by more than its neighbours.
    far = np.where(error >= 1, 2 * ULPS["divide"] * x, 0)
    period = np.where(is_near, y, 0)
    return Bound(x + 3 * y + far, operation.bound(1), period=period)


def _of_range(operation: Widened) -> Bound:
    # The ends of `arange(n)` are its last element and 0.
    ends = [abs(x) for x in operation.args[:2] if not isinstance(x, np.dtype)]
    largest = max(float(np.max(np.abs(operation.value), initial=0)), *ends, 0.0)
    scale = np.full(operation.value.shape, largest)
    return Bound(scale, operation.bound(3 + 2 * ULPS["divide"]), 1)


def _of_frequencies(operation: Widened) -> Bound:
    return _relative(operation, 2 + 2 * ULPS["divide"])


def _of_cross(operation: Widened) -> Bound:
    axis = operation.kwargs.get("axis", -1)
    x, y = (np.max(np.abs(x), axis, keepdims=True) for x in operation.args)
    return Bound(np.broadcast_to(x * y, operation.value.shape), operation.bound(6), 2)


def _of_outer(operation: Widened) -> Bound:
    return _relative(operation, 1)


def _of_difference(operation: Widened) -> Bound:
    if operation.args[1:] not in ((), (1,)) or operation.kwargs.get("n", 1) != 1:
        raise Unjudged("no bound is known for repeated differences")
    return _relative(operation, 1)


def _of_fft(operation: Widened, axes: tuple[int, ...]) -> Bound:
    x, value = operation.args[0], operation.value
    roundings = 0.0
    for axis in axes:
        n = max(x.shape[axis], value.shape[axis], 2)
        by_stages = sum(map(_stage, _prime_factors(n)))
        roundings += max(by_stages, 3 * math.log2(4 * n) * _stage(2))
    # a real transform has half of the norm's terms
    relative = math.sqrt(2) * roundings * (operation.eps + operation.wide_eps) / 2
    return _in_norm(operation, relative, axes)


def _stage(prime: int) -> float:
    return math.sqrt(prime) * (prime + 4)


def _prime_factors(n: int) -> list[int]:
    factors, prime = [], 2
    while prime * prime <= n:
        while n % prime == 0:
            factors.append(prime)
            n //= prime
        prime += 1
    return [*factors, n] if n > 1 else factors


def _of_one_axis(operation: Widened) -> Bound:
    return _of_fft(operation, (operation.kwargs.get("axis", -1),))


def _of_axes(operation: Widened) -> Bound:
    axes = operation.kwargs.get("axes")
    if axes is None:
        sizes = operation.kwargs.get("s") or operation.value.shape
        axes = range(-len(sizes), 0)
    return _of_fft(operation, tuple(axes))


def _conditioned(operation: Widened, backward: Any) -> np.ndarray:
    """Return the relative error of a result from the backward error of each matrix.

    It is infinite where no digit is certain.
    """
    error = backward * np.linalg.cond(operation.args[0])
    error = np.where(np.isnan(error), math.inf, error)
    refuse_uncertain(2 * float(np.min(error)))
    return np.where(error < 1 / 2, error / (1 - error), math.inf)


def _elimination(operation: Widened) -> np.ndarray:
    """Return the relative error of Gaussian elimination."""
    matrix = operation.args[0]
    n = matrix.shape[-1]
    if not np.isfinite(matrix).all():
        raise Unjudged("the matrix is not finite")
    if n > _LARGEST:
        raise Unjudged(f"matrices above {_LARGEST} rows are not factorised")
    stack = matrix.shape[:-2]
    growths = [_growth(matrix[index]) for index in np.ndindex(stack)]
    growth = np.reshape(growths, stack)
    return _conditioned(operation, growth * operation.bound(3 * n) * operation.eps)


def _growth(matrix: np.ndarray) -> float:
    """Return a bound of norm(abs(L) abs(U)) / norm(A) with partial pivoting."""
    upper = matrix.copy()
    n = len(upper)
    for k in range(n - 1):
        pivot = k + int(np.argmax(np.abs(upper[k:, k])))
        upper[[k, pivot]] = upper[[pivot, k]]
        if upper[k, k]:
            factors = upper[k + 1 :, k] / upper[k, k]
            upper[k + 1 :] -= np.outer(factors, upper[k])
    # no element of abs(L) abs(U) is larger than the sum of its column of abs(U)
    columns = np.sum(np.abs(np.triu(upper)), axis=0)
    return math.sqrt(n) * float(np.linalg.norm(columns) / np.linalg.norm(matrix, 2))


def _of_solve(operation: Widened) -> Bound:
    is_vector = operation.args[1].ndim == 1
    axes = (-1,) if is_vector else (-2,)
    return _of_each_matrix(_elimination(operation), _in_norm(operation, 1.0, axes))


def _of_inverse(operation: Widened) -> Bound:
    bound = _in_norm(operation, 1.0, (-2, -1))
    return _of_each_matrix(_elimination(operation), bound)


def _of_determinant(operation: Widened) -> Bound:
    n = operation.args[0].shape[-1]
    relative = (
        np.expm1(n * _elimination(operation)) + operation.bound(n) * operation.eps
    )
    refuse_uncertain(float(np.min(relative)))
    relative = np.where(relative < 1, relative, math.inf)
    bound = Bound(np.abs(operation.value), 1 / operation.eps, n)
    return _of_each_matrix(relative, bound)


def _of_cholesky(operation: Widened) -> Bound:
    n = operation.args[0].shape[-1]
    backward = n * operation.bound(n + 1) * operation.eps
    bound = _in_norm(operation, 1.0, (-2, -1))
    return _of_each_matrix(_conditioned(operation, backward), bound)


def _of_values(operation: Widened) -> Bound:
    # their 2-norm is the Frobenius norm of the matrix
    roundings = reflections(operation.args[0].shape)
    return _in_norm(operation, operation.bound(roundings) * operation.eps, (-1,))


RULES |= {
    "prod": _of_product,
    "cumulative_prod": _of_running_product,
    "vector_norm": _of_vector_norm,
    "matrix_norm": _of_matrix_norm,
    "var": _of_variance,
    "std": _of_deviation,
    "logaddexp": _of_logaddexp,
    "floordiv": _of_floor,
    "floor_divide": _of_floor,
    "mod": _of_remainder,
    "remainder": _of_remainder,
    "linspace": _of_range,
    "arange": _of_range,
    "cross": _of_cross,
    "outer": _of_outer,
    "diff": _of_difference,
    "solve": _of_solve,
    "inv": _of_inverse,
    "det": _of_determinant,
    "cholesky": _of_cholesky,
    "svdvals": _of_values,
    "eigvalsh": _of_values,
    "fft.fftfreq": _of_frequencies,
    "fft.rfftfreq": _of_frequencies,
}
for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    RULES[f"fft.{_name}"] = _of_one_axis
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    RULES[f"fft.{_name}"] = _of_axes
