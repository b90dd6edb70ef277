"""NumPy with random rounding errors, to measure how much rounding changes a run.

The derived tolerance (see `tolerances.tolerance`) holds where training neither
amplifies nor damps deviations. But training may amplify them. A step multiplies a
deviation of the weights by I - learning_rate * (second derivative of the loss). With a
high rate, this factor amplifies. ReLU decides by the sign of a number, even if the
number is a rounding error. Adam divides a gradient by its own size. Where a unit is
saturated, rounding alone then decides about a whole step. Depending on the data, two
right libraries may differ in the first digit or in the last.

No formula of a few terms predicts this, but an experiment measures it. Stochastic
arithmetic (Vignes, 1993, A stochastic arithmetic for reliable scientific computation;
Parker, 1997, Monte Carlo arithmetic) repeats a computation with random rounding errors.
The deviation of the repeated run is the effect of rounding on this training. The errors
are relative and uniform:

- Results of + - * / sqrt exp and so on err within ULPS, and by one eps
  more for the result of NumPy.
- The elements of both factors of a matrix product, and the terms of a sum, err within
  sqrt(n) u for n terms. If all terms have the same size, the sum then changes by about
  sqrt(n) u times sqrt(n) terms. This is u times the sum of absolute values. It assumes
  sums in blocks: the probable error of adding one term after another is up to sqrt(n)
  times as large (Higham and Mary, 2019).
- All other operations, which select, compare, convert or move, stay exact.

`tolerances.amplification` says how much more than the derived tolerance is then
allowed. Nothing here depends on the library under test, or on its result.
"""

from typing import Any

import numpy as np

from mlp_xp.backends.numpy_backend import NumpyBackend

ULPS: dict[Any, float] = {
    **{np.add: 0.5, np.subtract: 0.5, np.multiply: 0.5, np.divide: 2.5},
    **{np.sqrt: 3.0, np.exp: 3.0, np.log: 3.0, np.log1p: 2.0, np.tanh: 5.0},
}
"""The largest errors of a conforming device, in ulps.

They stand in the OpenCL C specification (3.0, section 7.4, "Relative Error as ULPs",
full profile).
"""
BOUNDS = {ufunc: ulps + 1 for ufunc, ulps in ULPS.items()}
"""The largest errors of elementwise operations and of NumPy's result, in eps."""


class RandomRounding(NumpyBackend):
    """NumPy with random rounding errors.

    Args:
        dtype: `float64` or `float32`.
        seed: The seed of the errors.
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
        # Not x * (1 + error): numbers are denser below 1 than above, so that one sign
        # would prevail.
        return np.asarray(x + x * errors, x.dtype)

    def perturb_terms(x: np.ndarray, terms: float) -> np.ndarray:
        return perturb(x, float(np.sqrt(terms)) / 2) if is_real(x) else x

    class Perturbed(np.ndarray):
        def __array_ufunc__(
            self, ufunc: Any, method: str, *args: Any, out: Any = None, **kwargs: Any
        ) -> Any:
            plain = [_plain_array(x) for x in args]
            compute = getattr(ufunc, method)
            if ufunc is np.matmul:
                terms = plain[0].shape[-1]
                plain = [perturb_terms(x, terms) for x in plain]
            elif ufunc is np.add and method == "reduce":
                sums = np.size(compute(*plain, **kwargs))
                terms = plain[0].size / max(1, sums)
                plain = [perturb_terms(x, terms) for x in plain]
            result = np.asarray(compute(*plain, **kwargs))
            bound = BOUNDS.get(ufunc, 0) if method == "__call__" else 0
            if bound and is_real(result):
                result = perturb(result, bound)
            if out:
                out[0].view(np.ndarray)[...] = result
                return out[0]
            return result.view(Perturbed)

    return Perturbed


def is_real(x: Any) -> bool:
    """Return whether x is an array of floats."""
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _plain_array(x: Any) -> Any:
    """Return an array of any subclass as an array of NumPy's own class."""
    return x.view(np.ndarray) if isinstance(x, np.ndarray) else x
