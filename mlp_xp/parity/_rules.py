"""Bounds of operations that round in their own ways, for `_bounds.RULES`.

Each rule returns the scale of a bound, the bound in eps, and the number of terms that
may underflow. With u, gamma and the reference as in `_bounds`:

- **prod, cumulative_prod**: gamma_n relative to the result (Higham 2002, Lemma 3.1).
- **vector_norm, matrix_norm**: all terms are positive, so gamma_(n+2) relative to the
  result, and two powers of an unusual order. Orders 2, -2 and nuc as `svdvals`.
- **var, std**: n kappa u relative to the variance, where kappa^2 is the mean square
  divided by the variance, holds for two passes and for Welford's updates (Chan, Golub
  and LeVeque 1983, Algorithms for computing the sample variance, table 1). The
  textbook's one pass has n kappa^2 u and is beyond it.
- **logaddexp**: the rounding of the larger operand, of the difference, exp and log1p.
- **floor_divide, remainder**: the quotient has the error of a division. Where this
  reaches an integer, either neighbour is right.
- **linspace, arange**: a product and a sum of numbers up to the ends.
- **cross**: the difference of two products, relative to the largest elements.
- **fft**: in the 2-norm over the transformed axes. A stage for the prime factor p is p
  products and sums, sqrt(p) gamma_(p+4) (Higham 2002, section 24.1, with its eta for p
  = 2). A transform by convolutions (Bluestein 1970) has three of length below 4 n.
- **solve, inv, det**: Gaussian elimination with partial pivoting has a backward error
  below gamma_3n times norm(abs(L) abs(U)) (Higham 2002, theorems 9.3 and 9.4). L and U
  are computed. The condition number kappa times this error is the bound of the result
  (theorem 7.2), and n times as much for det.
- **cholesky**: a backward error of n gamma_(n+1) (theorem 10.3), and its effect on the
  factor, kappa / sqrt(2) (Sun 1991, Perturbation bounds for the Cholesky and QR
  factorizations).
- **svdvals, eigvalsh**: a backward error of ORTHOGONAL m n u (Higham 2002, lemma 19.3,
  for 2 n reflections and 2 n sweeps of n rotations). By Weyl's theorem, no value
  changes by more than its 2-norm.

Where kappa times the backward error reaches 1, no digit is certain, and nothing is
judged. Ranks, pseudo-inverses and eigenvalues of a general matrix have no bound here.
"""

import math
from itertools import product

import numpy as np

from mlp_xp.parity._bounds import RULES, Unjudged, Widened

Bound = tuple[np.ndarray, float, int]
ORTHOGONAL = 20
"""The constant of an orthogonal transformation, times m n u."""
_LARGEST = 500  # the order of a matrix that is factorised here


def _of_product(operation: Widened) -> Bound:
    (x, *_), value = operation.args, operation.value
    axis = operation.kwargs.get("axis")
    cumulative = value.shape == x.shape and axis is not None
    terms = x.shape[axis] if cumulative else x.size // max(1, value.size)
    return np.abs(value), operation.bound(terms), 1


def _of_vector_norm(operation: Widened) -> Bound:
    terms = operation.args[0].size // max(1, operation.value.size)
    order = operation.kwargs.get("ord", 2)
    powers = 0 if order in (0, 1, 2, math.inf, -math.inf) else 64
    return np.abs(operation.value), operation.bound(terms + 4 + powers), terms


def _of_matrix_norm(operation: Widened) -> Bound:
    order = operation.kwargs.get("ord", "fro")
    m, n = operation.args[0].shape[-2:]
    if order in (2, -2, "nuc"):
        values = np.linalg.svdvals(operation.args[0])
        largest = values.max(axis=-1)
        if operation.kwargs.get("keepdims"):
            largest = largest[..., None, None]
        count = min(m, n) if order == "nuc" else 1
        return largest, operation.bound(ORTHOGONAL * m * n * count), m * n
    return np.abs(operation.value), operation.bound(m * n + 4), m * n


def _spread(operation: Widened) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Return the variance, the mean square, the bound and the terms of a variance."""
    x, kwargs = operation.args[0], operation.kwargs
    axis, keepdims = kwargs.get("axis"), kwargs.get("keepdims", False)
    correction = kwargs.get("correction", 0.0)
    axis = tuple(axis) if isinstance(axis, list) else axis
    terms = x.size // max(1, operation.value.size)
    share = terms / (terms - correction) if terms > correction else math.nan
    square = share * np.mean(np.abs(x) ** 2, axis=axis, keepdims=keepdims)
    variance = np.var(x, axis=axis, keepdims=keepdims) * share
    return variance, square, 4 * operation.bound(terms + 4), terms


def _of_variance(operation: Widened) -> Bound:
    variance, square, bound, terms = _spread(operation)
    relative = bound * operation.eps
    return np.sqrt(variance * square) + relative * square, bound, terms


def _of_deviation(operation: Widened) -> Bound:
    _, square, bound, terms = _spread(operation)
    return np.sqrt(square), bound, terms


def _of_logaddexp(operation: Widened) -> Bound:
    x, y = operation.args
    scale = np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(operation.value))
    scale = np.where(np.isfinite(scale), scale + 1, 1)
    return scale, 8 * operation.bound(2), 1


def _near_integer(operation: Widened) -> np.ndarray:
    """Return where the error of a division decides the floor of a quotient."""
    x, y = operation.args
    quotient = x / y
    error = 4 * operation.eps * np.abs(quotient)
    return np.floor(quotient - error) != np.floor(quotient + error)


def _of_floor(operation: Widened) -> Bound:
    near = _near_integer(operation)
    scale = np.where(near, 1 / operation.eps, 0) + np.abs(operation.value)
    return scale, 4.0, 1


def _of_remainder(operation: Widened) -> Bound:
    x, y = operation.args
    size = np.where(_near_integer(operation), np.abs(y) / operation.eps, 0)
    return size + np.abs(x) + np.abs(y), 4.0, 1


def _of_range(operation: Widened) -> Bound:
    # The ends of `arange(n)` are its last element and 0.
    ends = [abs(x) for x in operation.args[:2] if not isinstance(x, np.dtype)]
    largest = max(float(np.max(np.abs(operation.value), initial=0)), *ends, 0.0)
    return np.full(operation.value.shape, largest), operation.bound(8), 1


def _of_cross(operation: Widened) -> Bound:
    x, y = operation.args
    axis = operation.kwargs.get("axis", -1)
    scale = np.max(np.abs(x), axis, keepdims=True)
    scale = scale * np.max(np.abs(y), axis, keepdims=True)
    bound = 4 * operation.bound(4)
    return np.broadcast_to(scale, operation.value.shape), bound, 2


def _of_fft(operation: Widened, axes: tuple[int, ...]) -> Bound:
    x, value = operation.args[0], operation.value
    u = operation.eps / 2
    relative = 0.0
    for axis in axes:
        n = max(x.shape[axis], value.shape[axis], 2)
        by_stages = sum(
            math.sqrt(prime) * (prime + 4) * u for prime in _prime_factors(n)
        )
        by_convolution = 3 * math.log2(4 * n) * 7 * u
        relative += max(by_stages, by_convolution)
    norm = np.sqrt(np.sum(np.abs(value) ** 2, axis=axes, keepdims=True))
    # a real transform has half of the norm's terms
    bound = math.sqrt(2) * relative * (1 + operation.wide_eps / operation.eps)
    return np.broadcast_to(norm, value.shape), bound / operation.eps, value.size


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
    ndim = operation.value.ndim
    axes = operation.kwargs.get("axes")
    if axes is None:
        sizes = operation.kwargs.get("s")
        axes = range(ndim if sizes is None else -len(sizes), 0)
        axes = range(-ndim, 0) if sizes is None else axes
    return _of_fft(operation, tuple(axes))


def _elimination(operation: Widened) -> tuple[np.ndarray, float, int]:
    """Return the matrix, kappa times the backward error, and the order."""
    matrix = operation.args[0]
    n = matrix.shape[-1]
    if n > _LARGEST:
        raise Unjudged(f"matrices above {_LARGEST} rows are not factorised")
    if not np.isfinite(matrix).all():
        raise Unjudged("the matrix is not finite")
    size = _row_norm(matrix)
    condition = np.max(size * _row_norm(np.linalg.inv(matrix)), initial=1)
    growth = max(
        (_growth(matrix[index]) for index in product(*map(range, matrix.shape[:-2]))),
        default=1.0,
    )
    error = float(condition) * growth * operation.bound(3 * n) * operation.eps
    if not error < 1:
        raise Unjudged("it is too ill-conditioned for any digit to be certain")
    return matrix, error / (1 - error), n


def _row_norm(matrix: np.ndarray) -> np.ndarray:
    return np.abs(matrix).sum(axis=-1).max(axis=-1, initial=0)


def _growth(matrix: np.ndarray) -> float:
    """Return norm(abs(L) abs(U)) / norm(A) of elimination with partial pivoting."""
    upper = matrix.copy()
    n = len(upper)
    lower = np.zeros_like(upper)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(upper[k:, k])))
        upper[[k, pivot]], lower[[k, pivot]] = upper[[pivot, k]], lower[[pivot, k]]
        lower[k, k] = 1
        if upper[k, k]:
            lower[k + 1 :, k] = upper[k + 1 :, k] / upper[k, k]
            upper[k + 1 :] -= lower[k + 1 :, k, None] * upper[k]
    size = float(_row_norm(matrix)) or 1.0
    return max(1.0, float(_row_norm(np.abs(lower) @ np.abs(upper))) / size)


def _of_solve(operation: Widened) -> Bound:
    _, error, n = _elimination(operation)
    value = operation.value
    is_vector = operation.args[1].ndim == 1
    size = np.max(np.abs(value), axis=-1 if is_vector else -2, keepdims=True)
    return np.broadcast_to(size, value.shape), error / operation.eps, n


def _of_inverse(operation: Widened) -> Bound:
    _, error, n = _elimination(operation)
    size = _row_norm(operation.value)[..., None, None]
    return np.broadcast_to(size, operation.value.shape), error / operation.eps, n


def _of_determinant(operation: Widened) -> Bound:
    _, error, n = _elimination(operation)
    bound = math.expm1(n * error) / operation.eps + operation.bound(n)
    return np.abs(operation.value), bound, n


def _of_cholesky(operation: Widened) -> Bound:
    matrix, value = operation.args[0], operation.value
    n = matrix.shape[-1]
    condition = float(np.max(np.linalg.cond(matrix), initial=1))
    error = condition * n * operation.bound(n + 1) * operation.eps
    if not error < 1:
        raise Unjudged("it is too ill-conditioned for any digit to be certain")
    size = np.sqrt(np.sum(np.abs(value) ** 2, axis=(-2, -1), keepdims=True))
    return np.broadcast_to(size, value.shape), error / operation.eps, n


def _of_values(operation: Widened) -> Bound:
    m, n = operation.args[0].shape[-2:]
    largest = np.max(np.abs(operation.value), axis=-1, keepdims=True, initial=0)
    bound = operation.bound(ORTHOGONAL * m * n)
    return np.broadcast_to(largest, operation.value.shape), bound, m * n


def _of_outer(operation: Widened) -> Bound:
    return np.abs(operation.value), operation.bound(3), 1


def _of_difference(operation: Widened) -> Bound:
    order = operation.kwargs.get("n", 1)
    if order != 1:
        raise Unjudged("no bound is known for repeated differences")
    return np.abs(operation.value), operation.bound(1), 1


RULES |= {
    "prod": _of_product,
    "cumulative_prod": _of_product,
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
    "fft.fftfreq": _of_outer,
    "fft.rfftfreq": _of_outer,
}
for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    RULES[f"fft.{_name}"] = _of_one_axis
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    RULES[f"fft.{_name}"] = _of_axes
