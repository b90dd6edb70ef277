"""Compare arrays with derived tolerances."""

from collections.abc import Iterable
from typing import Any

import array_api_extra.testing as xpx_testing
import numpy as np

from mlp_xp.core.backend import Backend


def assert_close(
    actual, expected: np.ndarray, backend: Backend, rtol: float, atol: float = 0.0
) -> None:
    """Compare namespace, dtype, shape and device, then the values with those of a host
    array.
    """
    assert actual.dtype == backend.dtype
    xpx_testing.assert_close(
        actual, backend.asarray(expected, backend.dtype), rtol=rtol, atol=atol
    )


def assert_all_equal(actual: Iterable[Any], expected: Iterable[Any]) -> None:
    """Assert that there are as many arrays, and that each has the numbers of the other."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def trajectory_tolerance(steps: int, fan_in: int, dtype: Any = np.float64) -> float:
    """Return how far two correct computations of a trajectory may differ after `steps`
    steps, for `assert_near`.

    The largest error of a step is that of its longest sum, x W_0 over fan_in terms. In
    another order of summation, such a sum of terms of order 1 changes by about
    sqrt(fan_in) eps (Higham and Mary, 2019: rounding errors are practically
    independent, so their sum grows with the square root). Descent with a moderate rate
    does not amplify differences, so in the worst case those of all steps add up:

        steps * sqrt(fan_in) * eps
    """
    return steps * fan_in**0.5 * float(np.finfo(dtype).eps)


def assert_near(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Assert that |actual - expected| <= tolerance * max(1, |expected|) everywhere, and
    that both are finite.

    A purely relative tolerance would be too strict for small losses: a small loss is
    the logarithm of a probability near 1, with an absolute error of eps.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    assert np.isfinite(expected).all()
    excess = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
    where = (
        np.unravel_index(int(np.argmax(excess)), excess.shape) if excess.size else ()
    )
    assert not excess.size or excess[where] <= tolerance, (
        f"deviation {excess[where]:.3g} at {where}, tolerance {tolerance:.3g}: {actual[where]} is not {expected[where]}"
    )
