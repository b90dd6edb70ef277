"""How much rounding alone changes a run: NumPy with its rounding errors drawn at random.

An optimiser whose update is linear in the gradient passes rounding errors on as they are, and a bound for them can be
derived (see `compare.tolerance`). Adam divides a gradient by its own size. Where a unit is saturated, the gradient is
itself a rounding error, and Adam turns it into a step of full length: two right libraries may then differ in the first
digit, or in the last, and which of the two depends on the data. No formula of a few terms can tell, but an experiment
can: stochastic arithmetic (Vignes, 1993, A stochastic arithmetic for reliable scientific computation; Parker, 1997,
Monte Carlo arithmetic) repeats a computation with each rounding error replaced by a random one of the same size. The
deviation of such a run is what rounding does to this run.

The derivation, from the bounds by which `bounds` judges single operations:

- the result of + - * / sqrt exp and so on is changed by a relative error, uniform within the bound of the operation;
- each term of a sum of n terms, or of a matrix product, by one within sqrt(n) u: their sum is then changed by what
  Higham and Mary (2019) expect of n independent rounding errors;
- what selects, compares, converts or moves is exact, and stays so.

`compare.amplification` takes the largest deviation of a few such runs so far, in any quantity and in units of the
derived tolerance, and a library is allowed SAFETY times as much, if that is more than the derived tolerance. So the
allowance is small before the optimiser has amplified anything: a library that computes another function is found in the
first steps, by the derived tolerance. A fault that first strikes when the allowance has grown must be larger than the
allowance to be found. Nothing here depends on the library under test, or on its result.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from mlp_xp.backend import Backend, open_backend
from mlp_xp.config import TrainConfig
from mlp_xp.network import Layer
from mlp_xp.optimizers import OPTIMIZERS
from mlp_xp.parity.bounds import ULPS

SYMBOLS = {"sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power}
# Bounds in eps of single operations, as in `bounds`.
BOUNDS = {SYMBOLS.get(name) or getattr(np, name): ulps + 1 for name, ulps in ULPS.items()}
# Random numbers are drawn once, and used from a random place on, which takes a tenth of the time.
DRAWN = 2**18


def amplifies(config: TrainConfig) -> bool:
    """Return whether the optimiser may amplify rounding errors: unless its update is linear in the gradient.

    Twice the gradient must give twice the update. Multiplication by two is exact, so a linear update passes exactly.
    """
    optimizer = OPTIMIZERS[config.optimizer]
    update = optimizer.make_update(weight_decay=0.0, xp=np)
    _, *coefficients = optimizer.coefficients(np.ones(1), np.zeros(1))

    def change(gradient: float) -> Any:
        start = Layer(np.zeros(1), np.zeros(1))
        slots = optimizer.init(start, xp=np)
        (weights, _), _ = update(start, Layer(np.full(1, gradient), np.zeros(1)), slots, *(c[0] for c in coefficients))
        return weights[0]

    return bool(change(2.0) != 2 * change(1.0))


def rounding_at_random(dtype: str, seed: int = 0) -> Backend:
    """Return NumPy as a backend whose rounding errors are random. dtype: float64 or float32."""
    random = np.random.default_rng(seed)
    drawn = random.uniform(-1, 1, DRAWN)

    @cache
    def factors(bound: float) -> np.ndarray:
        return np.asarray(1 + bound * np.finfo(dtype).eps * drawn, dtype=dtype)

    def perturb(x: np.ndarray, bound: float) -> np.ndarray:
        """Change each element by a relative error within `bound` eps."""
        start = int(random.integers(DRAWN - min(x.size, DRAWN) + 1))
        part = factors(bound)[start : start + x.size]
        return np.asarray(x * (part if part.size == x.size else np.resize(part, x.size)).reshape(x.shape), x.dtype)

    def is_real(x: Any) -> bool:
        return isinstance(x, np.ndarray) and x.dtype.kind == "f"

    class Perturbed(np.ndarray):
        def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, out: Any = None, **kwargs: Any) -> Any:
            plain = [x.view(np.ndarray) if isinstance(x, Perturbed) else x for x in args]
            bound = BOUNDS.get(ufunc, 0) if method == "__call__" else 0
            if ufunc is np.matmul or (ufunc is np.add and method == "reduce"):
                exact = getattr(ufunc, method)(*plain, **kwargs)
                terms = plain[0].shape[-1] if ufunc is np.matmul else plain[0].size / max(1, np.size(exact))
                plain = [perturb(x, float(np.sqrt(terms)) / 2) if is_real(x) else x for x in plain]
            result = np.asarray(getattr(ufunc, method)(*plain, **kwargs))
            if bound and is_real(result):
                result = perturb(result, bound)
            if out:
                out[0].view(np.ndarray)[...] = result
                return out[0]
            return result.view(Perturbed)

    def from_numpy(array: np.ndarray, dtype: Any) -> np.ndarray:
        return np.array(array, dtype=dtype).view(Perturbed)

    return replace(open_backend("numpy", dtype=dtype), name="random rounding", from_numpy=from_numpy)
