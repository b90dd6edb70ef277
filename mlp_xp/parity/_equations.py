"""Judge solutions and factorisations by the equations they must fulfil.

Their elements may differ between right libraries, by the signs of singular vectors or
by the condition of the matrix. Their equations hold up to rounding for any condition.
The rest of an equation is the difference of its sides. Its Frobenius norm has a bound,
in the notation of `_bounds`:

- **solve, inv**: A X = B up to gamma_3n times norm(abs(L) abs(U)) norm(X), by Gaussian
  elimination with partial pivoting (Higham 2002, theorems 9.3 and 9.4). It is assumed
  that an inverse is the solution for B = I. U is computed, and abs(L) is at most 1.
- **cholesky**: L L* = A up to gamma_(n+1) norm(L)^2 (theorem 10.3).
- **qr, svd, eigh**: the product of the factors is A, up to the reflections of
  `svdvals` (see `_rules`) times norm(A), and their columns are orthogonal.

Each bound counts twice, because two factors err, and the rest itself is computed in
float64. A product of complex numbers has three roundings. The upper triangle of a
factor of `cholesky` is empty, and its diagonal positive, without any rounding.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.parity._bounds import Unjudged, Verdict, gamma, refuse_uncertain
from mlp_xp.parity._rules import elimination, reflections


class Equation(NamedTuple):
    """An equation of matrices, or of stacks of them."""

    about: str
    rest: np.ndarray
    """One side less the other one."""
    size: Any
    """A norm for each matrix, to which the rest is relative."""
    roundings: float


def check_equations(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    results: tuple[np.ndarray, ...],
) -> Verdict:
    """Check the results of an operation of EQUATIONS. Raises Unjudged."""
    if not all(isinstance(x, np.ndarray) and np.isfinite(x).all() for x in args):
        raise Unjudged("its operands are no finite matrices")
    eps = float(np.finfo(results[0].dtype).eps)
    wide = [x.astype(np.result_type(x.dtype, np.float64)) for x in (*args, *results)]
    factor = 3 if any(map(np.iscomplexobj, wide)) else 1
    for about, rest, size, roundings in EQUATIONS[name](*wide, **kwargs):
        bound = 2 * gamma(factor * roundings, eps / 2) / eps
        refuse_uncertain(bound * eps)
        relative = _norm(rest) / np.where(size == 0, 1, size)
        deviation = float(np.max(relative, initial=0)) / eps
        if not deviation <= bound:
            problem = f"{about} is off by {deviation:.3g} eps, allowed are {bound:.3g}"
            return Verdict(deviation, bound, problem=problem)
    return Verdict()


def _solve(a: np.ndarray, b: np.ndarray, x: np.ndarray) -> Iterator[Equation]:
    if b.ndim == 1:
        b, x = b[:, None], x[..., None]
    size = elimination(a) * _norm(x)
    yield Equation("the matrix times the result", a @ x - b, size, 3 * a.shape[-1])


def _inverse(a: np.ndarray, x: np.ndarray) -> Iterator[Equation]:
    return _solve(a, np.eye(a.shape[-1]), x)


def _cholesky(
    a: np.ndarray, factor: np.ndarray, *, upper: bool = False
) -> Iterator[Equation]:
    lower = adjoint(factor) if upper else factor
    size = _norm(lower)
    negative = np.minimum(np.diagonal(lower, axis1=-2, axis2=-1).real, 0)
    yield Equation("the other triangle", np.triu(lower, 1), size, 0)
    yield Equation("the sign of the diagonal", negative[..., None], size, 0)
    product = lower @ adjoint(lower)
    yield _product(product - _symmetric(a), size**2, a.shape[-1] + 1)


def _qr(a: np.ndarray, q: np.ndarray, r: np.ndarray, **_: Any) -> Iterator[Equation]:
    roundings = reflections(a.shape)
    yield Equation("the triangle below result 1", np.tril(r, -1), _norm(a), roundings)
    yield _product(q @ r - a, _norm(a), roundings)
    yield _orthogonal(q, roundings)


def _eigh(
    a: np.ndarray, values: np.ndarray, vectors: np.ndarray, **_: Any
) -> Iterator[Equation]:
    roundings = reflections(a.shape)
    product = vectors * values[..., None, :] @ adjoint(vectors)
    yield _product(product - _symmetric(a), _norm(a), roundings)
    yield _orthogonal(vectors, roundings)


def _svd(
    a: np.ndarray, u: np.ndarray, values: np.ndarray, vh: np.ndarray, **_: Any
) -> Iterator[Equation]:
    roundings, n = reflections(a.shape), values.shape[-1]
    product = u[..., :n] * values[..., None, :] @ vh[..., :n, :]
    yield _product(product - a, _norm(a), roundings)
    yield _orthogonal(u, roundings)
    yield _orthogonal(adjoint(vh), roundings)
    ordered = np.sort(np.abs(values), axis=-1)[..., ::-1]
    rest = (values - ordered)[..., None]
    yield Equation("the order of the singular values", rest, _norm(a), roundings)


def _product(rest: np.ndarray, size: np.ndarray, roundings: float) -> Equation:
    return Equation("the product of the factors", rest, size, roundings)


def _orthogonal(q: np.ndarray, roundings: float) -> Equation:
    n = q.shape[-1]
    rest = adjoint(q) @ q - np.eye(n)
    return Equation("the orthogonality of a factor", rest, math.sqrt(n), roundings)


def adjoint(matrix: np.ndarray) -> np.ndarray:
    """Return the conjugate transpose."""
    return np.conj(np.swapaxes(matrix, -1, -2))


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix with its lower triangle in the upper one, too."""
    return np.tril(matrix) + adjoint(np.tril(matrix, -1))


def _norm(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.norm(matrix, axis=(-2, -1))


EQUATIONS: dict[str, Callable[..., Iterator[Equation]]] = {
    "linalg.solve": _solve,
    "linalg.inv": _inverse,
    "linalg.cholesky": _cholesky,
    "linalg.qr": _qr,
    "linalg.eigh": _eigh,
    "linalg.svd": _svd,
}
"""The equations of matrices and results, in float64."""
