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

from typing import Any

import numpy as np

from mlp_xp.backends.numpy_backend import NumpyBackend
from mlp_xp.parity._bounds import ULPS

_UFUNCS = {
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "pow": np.power,
}
# Bounds in eps of single operations, as in `bounds`.
BOUNDS = {
    _UFUNCS.get(name) or getattr(np, name): ulps + 1 for name, ulps in ULPS.items()
}


class RandomRounding(NumpyBackend):
    """NumPy with rounding errors that are drawn at random.

    Args:
        dtype: `float64` or `float32`.
        seed: Of the errors.
    """

    def __init__(self, dtype: str, seed: int = 0) -> None:
        super().__init__("cpu", dtype)
        self.name = "random rounding"
        eps = float(np.finfo(dtype).eps)
        self._perturbed = _perturbed_arrays(np.random.default_rng(seed), eps)

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> np.ndarray:
        return np.array(array, dtype=dtype).view(self._perturbed)


def _perturbed_arrays(random: np.random.Generator, eps: float) -> type[np.ndarray]:
    """Return a class of arrays whose operations have rounding errors.

    Args:
        random: Draws the errors.
        eps: The unit of the errors, of the arrays' dtype.
    """

    def perturb(x: np.ndarray, bound: float) -> np.ndarray:
        """Change each element by a relative error within `bound` eps."""
        errors = bound * eps * (2 * random.random(x.shape, np.float32) - 1)
        # Not x * (1 + error): numbers below 1 are denser than those above, which would
        # favour one sign.
        return np.asarray(x + x * errors, x.dtype)

    def perturb_terms(x: np.ndarray, terms: float) -> np.ndarray:
        return perturb(x, float(np.sqrt(terms)) / 2) if _is_real(x) else x

    class Perturbed(np.ndarray):
        def __array_ufunc__(
            self, ufunc: Any, method: str, *args: Any, out: Any = None, **kwargs: Any
        ) -> Any:
            plain = [_plain_array(x) for x in args]
            compute = getattr(ufunc, method)
            if ufunc is np.matmul:
                plain = [perturb_terms(x, plain[0].shape[-1]) for x in plain]
            elif ufunc is np.add and method == "reduce":
                sums = np.size(compute(*plain, **kwargs))
                plain = [perturb_terms(x, plain[0].size / max(1, sums)) for x in plain]
            result = np.asarray(compute(*plain, **kwargs))
            bound = BOUNDS.get(ufunc, 0) if method == "__call__" else 0
            if bound and _is_real(result):
                result = perturb(result, bound)
            if out:
                out[0].view(np.ndarray)[...] = result
                return out[0]
            return result.view(Perturbed)

    return Perturbed


def _plain_array(x: Any) -> Any:
    """Return an array of a class of its own as an array of NumPy's class."""
    return x.view(np.ndarray) if isinstance(x, np.ndarray) else x


def _is_real(x: Any) -> bool:
    """Return whether x is an array of floats."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"
