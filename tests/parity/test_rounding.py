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


@pytest.mark.parametrize(
    ("batch_size", "activation", "hidden", "dtype"),
    [
        (1, "sigmoid", (8,), "float64"),
        (16, "relu", (12, 8), "float32"),
    ],
)
def test_another_order_of_summation_agrees_and_a_fault_does_not(
    batch_size, activation, hidden, dtype
):
    """The fault is relative: 1e-9 in float64, 1e-3 in float32."""
    config = replace(ADAM, hidden=hidden, activation=activation, batch_size=batch_size)
    off = 1e-9 if dtype == "float64" else 1e-3
    name, function = ("tanh", np.tanh) if activation == "sigmoid" else ("exp", np.exp)
    wrong = faulty(dtype, **{name: lambda x: function(x) * (1 + off * (x < -0.5))})
    _, healthy, found = check(config, TINY, [reordered(dtype), wrong], 60)
    assert healthy.agrees, [
        quantity for quantity in healthy.quantities.values() if quantity.first_step
    ]
    assert min(quantity.head_room for quantity in healthy.quantities.values()) > 1
    assert not found.agrees
    assert (
        min(quantity.first_step or 99 for quantity in found.quantities.values()) <= 20
    )


@pytest.fixture
def one_run(monkeypatch) -> None:
    """One run with random rounding instead of three, which take long."""
    monkeypatch.setattr(tolerances, "ROUNDING_RUNS", 1)


def test_what_is_allowed_grows_with_what_rounding_does(one_run):
    reference = record(AMPLIFYING, TINY, open_backend(), 200)
    derived = tolerance(np.arange(1, 211), "float64", 36)
    allowed = amplification(AMPLIFYING, TINY, "float64", reference, derived)
    factors = allowed / derived
    assert (np.diff(factors) >= -1e-12 * factors[1:]).all()
    assert 1 <= factors[0] < 10
    assert factors[-1] > 1e6
    _, comparison = check(AMPLIFYING, TINY, [reordered()], 200)
    assert comparison.amplified
    np.testing.assert_array_equal(
        comparison.allowed, allowed, err_msg="it can be repeated"
    )
    assert comparison.compared_steps == 210
    said = "differ; this training amplifies rounding: allowed are 10 times the deviations of NumPy with random rounding"
    assert said in str(comparison)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_rounding_has_the_size_of_rounding(dtype):
    """Within the bounds of single operations, both ways, and not at all where an
    operation is exact.
    """
    backend, eps = RandomRounding(dtype), np.finfo(dtype).eps
    values = np.random.default_rng(1).uniform(0.5, 2, (300, 50))
    x = backend.asarray(values, backend.dtype)
    plain = np.asarray(x).view(np.ndarray)
    for ufunc in (np.tanh, np.exp, np.sqrt):
        errors = (
            ufunc(x).view(np.ndarray).astype(np.float64)
            / ufunc(plain.astype(np.float64))
            - 1
        ) / eps
        assert 1 < np.abs(errors).max() <= BOUNDS[ufunc] + 2  # and NumPy's own
        # NumPy's own errors included, of which those of exp in float32 have a mean of
        # -0.06.
        assert abs(errors.mean()) < 0.1
    product = (x @ x.T).view(np.ndarray).astype(np.float64) / (
        plain.astype(np.float64) @ plain.T.astype(np.float64)
    ) - 1
    assert 0.1 < np.abs(product / eps).max() < 50
    for result, exact in (
        (np.maximum(x, 1), np.maximum(plain, 1)),
        (-x, -plain),
        (x > 1, plain > 1),
        (x.T, plain.T),
    ):
        np.testing.assert_array_equal(result.view(np.ndarray), exact)
    np.testing.assert_array_equal(
        x.view(np.ndarray), plain, "arguments are not changed"
    )
    y = x
    x -= x
    assert x is y
    assert not np.asarray(x).any(), "0 is exact"


def test_a_run_that_rounding_alone_ends_is_refused(monkeypatch):
    def diverging(dtype: str, seed: int) -> Backend:
        return faulty(dtype, tanh=lambda x: x * np.inf)

    monkeypatch.setattr(tolerances, "RandomRounding", diverging)
    with pytest.raises(
        ConfigError,
        match="dtype: rounding alone makes this training diverge in float32",
    ):
        [*check(AMPLIFYING, TINY, [open_backend(dtype="float32")], 200)]


def test_a_comparison_that_proves_nothing_after_the_warm_up_is_refused(
    monkeypatch, one_run
):
    """With a larger margin a short run is as bad as one with a far higher rate."""
    monkeypatch.setattr(tolerances, "MARGIN", 1e9)
    with pytest.raises(
        ConfigError,
        match=r"^dtype: rounding alone changes this training so much that in float32 ",
    ):
        [*check(AMPLIFYING, TINY, [reordered("float32")], 100)]
