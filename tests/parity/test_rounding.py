"""Optimisers that amplify rounding: healthy libraries agree, and faults of the size of
1e-9 are found all the same.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import TINY
from helpers import Namespace, changed

from mlp_xp.backends.numpy_backend import NumpyBackend
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.declared import ConfigError
from mlp_xp.parity import tolerances
from mlp_xp.parity._trajectory import record
from mlp_xp.parity.compare import check
from mlp_xp.parity.rounding import BOUNDS, RandomRounding
from mlp_xp.parity.tolerances import amplification, tolerance

AMPLIFYING = TrainConfig(
    hidden=(8,),
    learning_rate=0.3,
    optimizer="momentum",
    activation="tanh",
    batch_size=16,
    report_every=50,
)
ADAM = TrainConfig(hidden=(8,), optimizer="adam", learning_rate=0.01, report_every=50)
IN_BATCHES = replace(ADAM, hidden=(12, 8), activation="relu", batch_size=16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "dtype", "name", "off"),
    [(ADAM, "float64", "tanh", 1e-9), (IN_BATCHES, "float32", "exp", 1e-3)],
)
def test_another_order_of_summation_agrees_and_a_fault_does_not(
    config, dtype, name, off
):
    right = getattr(np, name)
    wrong = faulty(dtype, **{name: lambda x: right(x) * (1 + off * (x < -0.5))})
    _, healthy, found = check(config, TINY, [reordered(dtype), wrong], 60)
    assert healthy.agrees
    assert min(quantity.head_room for quantity in healthy.quantities.values()) > 1
    assert not found.agrees
    steps = [quantity.first_step or 99 for quantity in found.quantities.values()]
    assert min(steps) <= 20


class Reordered(np.ndarray):
    """An array whose matrix products are summed from the last term to the first."""

    def __matmul__(self, other: Any) -> Any:
        return (np.asarray(self)[..., ::-1] @ np.asarray(other)[::-1]).view(Reordered)


class ReorderedBackend(NumpyBackend):
    """NumPy with such arrays."""

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> np.ndarray:
        return np.array(array, dtype=dtype).view(Reordered)


def reordered(dtype: str = "float64") -> Backend:
    return ReorderedBackend("cpu", dtype)


def faulty(dtype: str = "float64", **functions: Any) -> Backend:
    return changed(open_backend(dtype=dtype), name="faulty", xp=Namespace(**functions))


@pytest.fixture
def one_run(monkeypatch) -> None:
    """One run with random rounding instead of three, to save time."""
    monkeypatch.setattr(tolerances, "ROUNDING_RUNS", 1)


def test_the_tolerance_grows_with_the_effect_of_rounding(one_run):
    reference = record(AMPLIFYING, TINY, open_backend(), 200)
    derived = tolerance(np.arange(1, 211), "float64", 36)
    allowed = amplification(AMPLIFYING, TINY, "float64", reference, derived)
    factors = allowed / derived
    assert (np.diff(factors) >= -1e-12 * factors[1:]).all()
    assert 1 <= factors[0] < 10
    assert factors[-1] > 1e6
    _, comparison = check(AMPLIFYING, TINY, [reordered()], 200)
    assert comparison.amplified
    np.testing.assert_array_equal(comparison.allowed, allowed, "it can be repeated")
    assert comparison.compared_steps == 210
    said = "this training amplifies rounding: allowed are 10 times the deviations"
    assert said in str(comparison)


every_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def random_numbers(dtype: str) -> tuple[Any, np.ndarray]:
    """Return an array with random rounding, and the same numbers without."""
    backend = RandomRounding(dtype)
    values = np.random.default_rng(1).uniform(0.5, 2, (300, 50))
    x = backend.asarray(values, backend.dtype)
    return x, np.array(x.view(np.ndarray))


def plain(x: Any) -> np.ndarray:
    """Return an array in float64, as NumPy's."""
    return x.view(np.ndarray).astype(np.float64)


@every_dtype
@pytest.mark.parametrize("ufunc", [np.tanh, np.exp, np.sqrt])
def test_random_rounding_is_within_the_bound_of_an_operation_and_goes_both_ways(
    ufunc, dtype
):
    x, numbers = random_numbers(dtype)
    errors = (plain(ufunc(x)) / ufunc(plain(numbers)) - 1) / np.finfo(dtype).eps
    # NumPy's own errors are included. In float32, those of exp have a mean of -0.06.
    assert 1 < np.abs(errors).max() <= BOUNDS[ufunc] + 2
    assert abs(errors.mean()) < 0.1


@every_dtype
@pytest.mark.parametrize("function", [lambda x: x @ x.T, lambda x: np.sum(x, axis=1)])
def test_random_rounding_of_a_sum_has_the_size_of_rounding(function, dtype):
    x, numbers = random_numbers(dtype)
    errors = plain(function(x)) / function(plain(numbers)) - 1
    assert 0.1 < np.abs(errors / np.finfo(dtype).eps).max() < 50
    assert (function(x) != function(x)).any(), "the errors are drawn anew"


@every_dtype
def test_an_exact_operation_has_no_random_rounding(dtype):
    x, numbers = random_numbers(dtype)
    for function in (
        lambda x: np.maximum(x, 1),
        lambda x: -x,
        lambda x: x > 1,
        lambda x: x.T,
        lambda x: x - x,
    ):
        found = function(x).view(np.ndarray)
        np.testing.assert_array_equal(found, function(numbers))


def test_random_rounding_changes_an_array_only_in_place():
    x, numbers = random_numbers("float64")
    for function in (np.exp, np.sum, lambda x: x @ x.T):
        function(x)
    np.testing.assert_array_equal(x.view(np.ndarray), numbers)
    y = x
    x -= x
    assert x is y
    assert not x.view(np.ndarray).any()


@pytest.mark.parametrize(
    ("name", "value", "steps", "said"),
    [
        (
            "RandomRounding",
            lambda dtype, seed: faulty(dtype, tanh=lambda x: x * np.inf),
            200,
            "dtype: rounding alone makes this training diverge in float32",
        ),
        # A large margin makes a short run as bad as a run with a far higher rate.
        (
            "MARGIN",
            1e9,
            100,
            "^dtype: rounding alone changes this training so much that in float32 ",
        ),
    ],
)
def test_a_comparison_that_proves_nothing_after_the_warm_up_is_refused(
    name, value, steps, said, monkeypatch, one_run
):
    monkeypatch.setattr(tolerances, name, value)
    with pytest.raises(ConfigError, match=said):
        list(check(AMPLIFYING, TINY, [reordered("float32")], steps))
