"""How much rounding alone changes a run: NumPy with rounding errors drawn at random.

The derived tolerance (see `compare.tolerance`) holds where training passes deviations
on as they are. It need not: a step multiplies a deviation of the weights by I -
learning_rate * (second derivative of the loss), which amplifies with a high rate; ReLU
decides by the sign of a number that may be a rounding error; and Adam divides a
gradient by its own size, so where a unit is saturated, rounding alone decides about a
whole step. Two right libraries may then differ in the first digit or in the last, which
depends on the data. No formula of a few terms can tell, but an experiment can:
stochastic arithmetic (Vignes, 1993, A stochastic arithmetic for reliable scientific
computation; Parker, 1997, Monte Carlo arithmetic) repeats a computation with random
rounding errors. The deviation of such a run is what rounding does to this run. The
errors are relative and uniform:

- of the result of + - * / sqrt exp and so on: within the bound by which `bounds` judges
  the operation;
- of the elements of both factors of a matrix product, and of the terms of a sum, of n
  terms: within sqrt(n) u. If all terms have the same size, the sum then changes by some
  sqrt(n) u times sqrt(n) terms, which is the error that Higham and Mary (2019) expect
  of pairwise summation up to that of one term after another;
- what selects, compares, converts or moves is exact, and stays so.

`compare.amplification` says how much more than the derived tolerance is allowed then.
Nothing here depends on the library under test, or on its result.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.library import Backend
from mlp_xp.parity.bounds import ULPS

UFUNCS = {"sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power}
# Bounds in eps of single operations, as in `bounds`.
BOUNDS = {
    UFUNCS.get(name) or getattr(np, name): ulps + 1 for name, ulps in ULPS.items()
}


def rounding_at_random(dtype: str, seed: int = 0) -> Backend:
    """Return NumPy as a backend whose rounding errors are random. dtype: float64 or
    float32.
    """
    random, eps = np.random.default_rng(seed), np.finfo(dtype).eps

    def perturb(x: np.ndarray, bound: float) -> np.ndarray:
        """Change each element by a relative error within `bound` eps."""
        errors = bound * eps * (2 * random.random(x.shape, np.float32) - 1)
        # Not x * (1 + error): numbers below 1 are denser than those above, which would
        # favour one sign.
        return np.asarray(x + x * errors, x.dtype)

    def is_real(x: Any) -> bool:
        return isinstance(x, np.ndarray) and x.dtype.kind == "f"

    class Perturbed(np.ndarray):
        def __array_ufunc__(
            self, ufunc: Any, method: str, *args: Any, out: Any = None, **kwargs: Any
        ) -> Any:
            plain = [
                x.view(np.ndarray) if isinstance(x, Perturbed) else x for x in args
            ]
            bound = BOUNDS.get(ufunc, 0) if method == "__call__" else 0
            if ufunc is np.matmul or (ufunc is np.add and method == "reduce"):
                exact = getattr(ufunc, method)(*plain, **kwargs)
                terms = (
                    plain[0].shape[-1]
                    if ufunc is np.matmul
                    else plain[0].size / max(1, np.size(exact))
                )
                plain = [
                    perturb(x, float(np.sqrt(terms)) / 2) if is_real(x) else x
                    for x in plain
                ]
            result = np.asarray(getattr(ufunc, method)(*plain, **kwargs))
            if bound and is_real(result):
                result = perturb(result, bound)
            if out:
                out[0].view(np.ndarray)[...] = result
                return out[0]
            return result.view(Perturbed)

    def from_numpy(array: np.ndarray, dtype: Any) -> np.ndarray:
        return np.array(array, dtype=dtype).view(Perturbed)

    return replace(
        open_backend("numpy", dtype=dtype),
        name="random rounding",
        from_numpy=from_numpy,
    )
