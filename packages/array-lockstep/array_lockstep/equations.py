"""Judge solutions and factorisations by the equations they must fulfil.

The elements of two right results may differ, because of the signs of singular vectors
or the condition of the matrix. The equations hold up to rounding for any condition. The
residual of an equation is the difference of its sides. It has a bound, in the notation
of `bounds`:

- **solve, inv**: each element of abs(A X - B) is at most gamma_3n times the same
  element of abs(L) abs(U) abs(X), by Gaussian elimination with partial pivoting (Higham
  2002, theorems 9.3 and 9.4). An inverse solves A X = I with this bound. Or it solves
  X A = I, from the inverse of U (method B in section 14.3). The bound is then
  gamma_3n abs(X) abs(L) abs(U).
- **cholesky**: each element of abs(L L* - A) is at most gamma_(n+1) times the same
  element of abs(L) abs(L*) (theorem 10.3).
- **qr**: the product of the factors is A, up to the reflections of `svdvals` (see
  `rules`) times the norm of each column (theorem 19.4). The products of two columns of
  Q are 0 or 1, up to the reflections.
- **svd, eigh**: the product of the factors is A, up to the reflections times the
  Frobenius norm of A. The columns of the factors are orthogonal.
- **det, slogdet**: the determinant is the product of the diagonal of U, which is a
  factor of A + E with abs(E) at most gamma_n abs(L) abs(U) (Higham 2002, section 14.6
  and theorem 9.3). With X = abs(inverse of A) abs(L) abs(U), the relative error is at
  most exp(s) - 1, where s = gamma_n sqrt(n) times the Frobenius norm of X, because the
  eigenvalues of a matrix sum up to no more than its singular values. For orders up to
  3, a library may sum the products of elements, with n! + n roundings of the permanent
  of abs(A). A determinant that is the exponential of a sum of logarithms errs by
  gamma_(n+6) times their absolute values. An element of the diagonal of U is at most
  the largest of abs(L) abs(U), and at least 1 over n times the norm of the inverse.
- **pinv**: the four equations of Moore and Penrose. The factors of an svd err by its
  reflections times the norm of A, so A X A - A has this error times the condition,
  which is the product of the norms of A and X. Singular values below the tolerance
  count as zero. The same holds for X A X - X, times the norm of X, and for A X and X A,
  which are symmetric. Each residual has up to four such terms.

Each bound is doubled, because two factors err, and the residual itself is computed in
float64. A product of complex numbers has three roundings. Each rounding may underflow.
The factor of `cholesky` has an empty upper triangle and a positive diagonal, without
any rounding. A norm of a matrix of n columns is up to sqrt(n) times its largest
singular value. A bound that may exceed LARGEST_ERROR times this value leaves no digit,
and nothing is judged. A library may read either triangle of a symmetric matrix, or the
mean of both, so the difference of the triangles is allowed too.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from array_lockstep.bounds import (
    Unjudged,
    Verdict,
    adjoint,
    gamma,
    norm,
    refuse_uncertain,
)
from array_lockstep.operations import Operation
from array_lockstep.rules import elimination, reflections

_MATRIX = (-2, -1)
_FLOATS = (np.float16, np.float32, np.float64)
_LARGEST_FORMULA = 3
"""The largest order for which a library may sum the products of elements."""
_PRODUCT = "the product of the factors"
_ORTHOGONALITY = "the orthogonality of a factor"


class Equation(NamedTuple):
    """An equation of matrices, or of stacks of them."""

    about: str
    residual: np.ndarray
    """The difference of the two sides, or its norm."""
    size: Any
    """The size by which the residual is divided."""
    roundings: float
    underflow: Any = 1.0
    """How much an underflow of one rounding changes the residual."""
    spread: float = 1.0
    """How much larger the size may be than the largest singular value."""


def check_equations(operation: Operation) -> Verdict:
    """Check the results of an operation of EQUATIONS. Raises Unjudged."""
    args, results = operation.args, operation.results
    if not all(isinstance(x, np.ndarray) and np.isfinite(x).all() for x in args):
        raise Unjudged("its operands are not finite matrices")
    limits = np.finfo(results[0].dtype)
    eps, tiny = float(limits.eps), float(limits.smallest_normal)
    wide = [x.astype(np.result_type(x.dtype, np.float64)) for x in (*args, *results)]
    factor = 3 if any(map(np.iscomplexobj, wide)) else 1
    for equation in EQUATIONS[operation.name](eps, *wide, **operation.kwargs):
        about, residual, size, roundings, underflow, spread = equation
        bound = 2 * gamma(factor * roundings, eps / 2) / eps
        refuse_uncertain(bound * eps * spread)
        beyond = np.abs(residual) - factor * roundings * tiny * underflow
        relative = _share(beyond, size)
        deviation = float(np.max(relative, initial=0)) / eps
        if not deviation <= bound:
            problem = f"{about} is off by {deviation:.3g} eps, allowed are {bound:.3g}"
            return Verdict(deviation, bound, problem=problem)
    return Verdict()


def _share(residual: np.ndarray, size: Any) -> np.ndarray:
    return np.where(residual <= 0, 0, residual / size)


def _solve(
    eps: float, a: np.ndarray, b: np.ndarray, x: np.ndarray
) -> Iterator[Equation]:
    if b.ndim == 1:
        b, x = b[:, None], x[..., None]
    yield _solution(elimination(a, eps), a, b, x)


def _solution(
    product: np.ndarray, a: np.ndarray, b: np.ndarray, x: np.ndarray
) -> Equation:
    """Return the equation of a solution. `product` is abs(L) abs(U)."""
    residual, roundings = a @ x - b, 3 * a.shape[-1]
    sums = np.sum(product, axis=-1, keepdims=True)
    underflow = sums + np.sum(np.abs(x), axis=-2, keepdims=True) + 1
    about = "the matrix times the result"
    return Equation(about, residual, product @ np.abs(x), roundings, underflow)


def _inverse(eps: float, a: np.ndarray, x: np.ndarray) -> Iterator[Equation]:
    one, product = np.eye(a.shape[-1]), elimination(a, eps)
    right = _solution(product, a, one, x)
    left = _solution(*(np.swapaxes(each, -1, -2) for each in (product, a, one, x)))
    yield _better(right, left)


def _better(right: Equation, left: Equation) -> Equation:
    """Choose the equation that holds better, for each matrix of a stack."""
    worst = [
        np.max(
            _share(np.abs(each.residual), each.size),
            axis=_MATRIX,
            keepdims=True,
            initial=0,
        )
        for each in (right, left)
    ]
    is_left = worst[1] < worst[0]
    residual = np.where(is_left, left.residual, right.residual)
    size = np.where(is_left, left.size, right.size)
    underflow = np.where(is_left, left.underflow, right.underflow)
    return right._replace(residual=residual, size=size, underflow=underflow)


def _cholesky(
    _: float, a: np.ndarray, factor: np.ndarray, *, upper: bool = False
) -> Iterator[Equation]:
    lower = adjoint(factor) if upper else factor
    negative = np.minimum(np.diagonal(lower, axis1=-2, axis2=-1).real, 0)
    yield Equation("the other triangle", np.triu(lower, 1), 1.0, 0)
    yield Equation("the sign of the diagonal", negative, 1.0, 0)
    residual = np.abs(lower @ adjoint(lower) - _symmetric(a))
    residual = np.maximum(residual - np.abs(a - adjoint(a)), 0)
    size = np.abs(lower) @ np.abs(adjoint(lower))
    underflow = 1 + np.max(np.abs(lower), axis=(-2, -1), keepdims=True, initial=0)
    yield Equation(_PRODUCT, residual, size, a.shape[-1] + 1, underflow)


def _qr(
    _: float, a: np.ndarray, q: np.ndarray, r: np.ndarray, **__: Any
) -> Iterator[Equation]:
    roundings, columns = reflections(a.shape), norm(a, (-2,))
    below = norm(np.tril(r, -1), (-2,))
    yield Equation("the triangle below result 1", below, columns, roundings)
    yield Equation(_PRODUCT, norm(q @ r - a, (-2,)), columns, roundings)
    yield Equation(_ORTHOGONALITY, _gram(q), 1.0, roundings)


def _eigh(
    _: float, a: np.ndarray, values: np.ndarray, vectors: np.ndarray, **__: Any
) -> Iterator[Equation]:
    roundings = reflections(a.shape)
    product = vectors * values[..., None, :] @ adjoint(vectors)
    equation = _product(product - _symmetric(a), a, roundings)
    residual = equation.residual - norm(a - adjoint(a), _MATRIX)
    yield equation._replace(residual=np.maximum(residual, 0))
    yield _orthogonal(vectors, roundings)


def _svd(
    _: float,
    a: np.ndarray,
    u: np.ndarray,
    values: np.ndarray,
    vh: np.ndarray,
    **__: Any,
) -> Iterator[Equation]:
    roundings, n = reflections(a.shape), values.shape[-1]
    product = u[..., :n] * values[..., None, :] @ vh[..., :n, :]
    yield _product(product - a, a, roundings)
    yield _orthogonal(u, roundings)
    yield _orthogonal(adjoint(vh), roundings)
    ordered = np.sort(np.abs(values), axis=-1)[..., ::-1]
    residual = norm((values - ordered)[..., None], _MATRIX)
    yield Equation(
        "the order of the singular values", residual, norm(a, _MATRIX), roundings
    )


def _det(eps: float, a: np.ndarray, result: np.ndarray) -> Iterator[Equation]:
    error = _determinant_error(eps, a)
    limits = next(x for x in _FLOATS if float(np.finfo(x).eps) == eps)
    largest = float(np.finfo(limits).max)
    if np.max(error.logarithms, initial=0) > math.log(largest):
        raise Unjudged("a product of the diagonal may leave the range of the dtype")
    wanted = np.linalg.det(a)
    size = np.abs(wanted) * (error.relative + error.logarithms) + error.permanent
    equation = Equation("the determinant", result - wanted, size, a.shape[-1] + 6)
    yield equation._replace(spread=error.spread(error.permanent / np.abs(wanted)))


def _slogdet(
    eps: float, a: np.ndarray, sign: np.ndarray, logarithm: np.ndarray
) -> Iterator[Equation]:
    error, roundings = _determinant_error(eps, a), a.shape[-1] + 6
    wanted_sign, wanted = np.linalg.slogdet(a)
    permanent = error.permanent / np.exp(wanted)
    relative, spread = error.relative + permanent, error.spread(permanent)
    equation = Equation("the sign", sign - wanted_sign, relative, roundings)
    yield equation._replace(spread=spread)
    size = relative + error.logarithms
    equation = Equation("the logarithm", logarithm - wanted, size, roundings)
    yield equation._replace(spread=spread)


class _DeterminantError(NamedTuple):
    """The errors of determinants, in units of gamma_(n+6)."""

    relative: np.ndarray
    """The error by elimination, relative to the determinant."""
    permanent: np.ndarray
    """The absolute error of a sum of products."""
    logarithms: np.ndarray
    """The largest possible sum of absolute logarithms of the diagonal of U."""

    def spread(self, permanent: np.ndarray) -> float:
        """Return the largest relative error."""
        total = self.relative + self.logarithms + permanent
        return float(np.max(total, initial=0))


def _determinant_error(eps: float, a: np.ndarray) -> _DeterminantError:
    n, product = a.shape[-1], elimination(a, eps)
    try:
        inverse = np.abs(np.linalg.inv(a))
    except np.linalg.LinAlgError as error:
        raise Unjudged("the matrix is singular") from error
    # exp(s) - 1 is at most 1.02 s, because s is below LARGEST_ERROR
    relative = 1.02 * math.sqrt(n) * norm(inverse @ product, _MATRIX)[..., 0, 0] + 1
    permanent = np.zeros(relative.shape)
    if n <= _LARGEST_FORMULA:
        for columns in itertools.permutations(range(n)):
            permanent += np.prod(np.abs(a[..., range(n), columns]), axis=-1)
    largest = np.max(product, axis=_MATRIX, initial=1)
    least = np.maximum(1, n * norm(inverse, _MATRIX)[..., 0, 0])
    logarithms = n * (np.log(largest) + np.log(least))
    return _DeterminantError(relative, permanent, logarithms)


def _pinv(
    _: float, a: np.ndarray, x: np.ndarray, *, rtol: Any = None
) -> Iterator[Equation]:
    roundings, sizes = 4 * reflections(a.shape), (norm(a, _MATRIX), norm(x, _MATRIX))
    condition = sizes[0] * sizes[1]
    spread = float(np.max(condition, initial=0))
    cut = 0.0 if rtol is None else np.max(rtol) * sizes[0]
    residuals = {
        "A X A - A": (np.maximum(norm(a @ x @ a - a, _MATRIX) - cut, 0), sizes[0]),
        "X A X - X": (norm(x @ a @ x - x, _MATRIX), sizes[1]),
        "the symmetry of A X": (norm(a @ x - adjoint(a @ x), _MATRIX), 1.0),
        "the symmetry of X A": (norm(x @ a - adjoint(x @ a), _MATRIX), 1.0),
    }
    for about, (residual, size) in residuals.items():
        yield Equation(about, residual, size * condition, roundings, spread=spread)


def _product(residual: np.ndarray, a: np.ndarray, roundings: float) -> Equation:
    spread = math.sqrt(min(a.shape[-2:]))
    sizes = norm(residual, _MATRIX), norm(a, _MATRIX)
    return Equation(_PRODUCT, *sizes, roundings, spread=spread)


def _orthogonal(q: np.ndarray, roundings: float) -> Equation:
    size = math.sqrt(q.shape[-1])
    residual = norm(_gram(q), _MATRIX)
    return Equation(_ORTHOGONALITY, residual, size, roundings, spread=size)


def _gram(q: np.ndarray) -> np.ndarray:
    """Return the products of all columns, less the identity matrix."""
    return adjoint(q) @ q - np.eye(q.shape[-1])


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix with its lower triangle mirrored in the upper triangle."""
    return np.tril(matrix) + adjoint(np.tril(matrix, -1))


EQUATIONS: dict[str, Callable[..., Iterator[Equation]]] = {
    "linalg.solve": _solve,
    "linalg.inv": _inverse,
    "linalg.cholesky": _cholesky,
    "linalg.qr": _qr,
    "linalg.eigh": _eigh,
    "linalg.svd": _svd,
    "linalg.det": _det,
    "linalg.slogdet": _slogdet,
    "linalg.pinv": _pinv,
}
"""The equations of matrices and results, in float64."""
