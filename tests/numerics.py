"""Compare arrays with derived tolerances."""

from collections.abc import Iterable
from typing import Any

import array_api_extra.testing as xpx_testing
import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import Dataset


def assert_close(
    actual, expected: np.ndarray, backend: Backend, rtol: float, atol: float = 0.0
) -> None:
    """Compare namespace, dtype, shape, device and values with a host array."""
    assert actual.dtype == backend.dtype
    xpx_testing.assert_close(
        actual, backend.asarray(expected, backend.dtype), rtol=rtol, atol=atol
    )


def assert_all_equal(actual: Iterable[Any], expected: Iterable[Any]) -> None:
    """Assert that two sequences of arrays have the same length and the same numbers."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def assert_same_data(one: Dataset, other: Dataset, backend: Backend) -> None:
    """Assert that all that a training sees is the same, bit for bit."""
    for mine, others in ((one.train, other.train), (one.test, other.test)):
        assert (mine is None) == (others is None)
        if mine is None:
            continue
        for x, y in ((mine.inputs, others.inputs), (mine.labels, others.labels)):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(backend.to_numpy(x), backend.to_numpy(y))
        np.testing.assert_array_equal(mine.weights, others.weights)
    ours, theirs = one.signature, other.signature
    assert (ours.outputs, ours.task) == (theirs.outputs, theirs.task)
    assert ours.preparation.function is theirs.preparation.function
    assert_all_equal(ours.preparation.fitted, theirs.preparation.fitted)


def trajectory_tolerance(steps: int, fan_in: int, dtype: Any = np.float64) -> float:
    """Return a bound on the difference of two correct trajectories, for `assert_near`.

    The largest error of a step is in its longest sum, x W_0 over fan_in terms. In
    another order of summation, such a sum of terms of order 1 changes by about
    sqrt(fan_in) eps (Higham and Mary, 2019: rounding errors are practically
    independent, so their sum grows with the square root). Descent with a moderate rate
    does not amplify differences, so in the worst case the errors of all steps add up:

        steps * sqrt(fan_in) * eps
    """
    return steps * fan_in**0.5 * float(np.finfo(dtype).eps)


def assert_near(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Assert that both are finite, and near one another everywhere.

    Near means |actual - expected| <= tolerance * max(1, |expected|).

    A purely relative tolerance would be too strict for small losses: a small loss is
    the logarithm of a probability near 1, with an absolute error of eps.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    assert np.isfinite(expected).all()
    if not actual.size:
        return
    excess = np.abs(actual - expected) / np.maximum(1, np.abs(expected))
    where = np.unravel_index(np.argmax(excess), excess.shape)
    assert excess[where] <= tolerance, (
        f"deviation {excess[where]:.3g} at {where}, tolerance {tolerance:.3g}: "
        f"{actual[where]} is not {expected[where]}"
    )
