"""Trace: a healthy library gives no report, and every planted fault is named with its
operation and its line.
"""

import itertools
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from data_sets import TINY
from helpers import NAMESPACE, Namespace, assert_one_line, call, changed

from array_lockstep import Run
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.training import DivergenceError
from mlp_xp.parity._trajectory import record
from mlp_xp.parity.tracing import small_runs, trace

CONFIG = TrainConfig(hidden=(8,), report_every=50)
SHORT = replace(CONFIG, warm_up_steps=2)

# A healthy library.


def assert_healthy(run: Run) -> None:
    assert (run.deviations, run.error) == ([], None)
    assert run.operations > 100


def test_every_backend_is_healthy(backend):
    assert_healthy(trace(replace(CONFIG, warm_up_steps=1), TINY, backend, 6))


@pytest.mark.slow
def test_the_small_runs_are_healthy(backend):
    for _, run in small_runs(backend):
        assert_healthy(run)


def test_a_traced_run_has_the_same_weights():
    expected = record(SHORT, TINY, open_backend(), 12)
    traced = trace(SHORT, TINY, open_backend(), 12)
    for array, right in zip(traced.result, expected.weights, strict=True):
        np.testing.assert_array_equal(array, right)
    assert traced.end == "0 eps from NumPy's whole run"


# Planted faults.


def off(function, *args, **kwargs):
    return function(*args, **kwargs) + 1e-9


def in_float32(function, *args, **kwargs):
    return np.asarray(function(*args, **kwargs), dtype=np.float32)


def without_keepdims(function, x, /, axis, keepdims=False):
    return function(x, axis=axis)


def scribbling(function, x):
    y = function(x)
    x += 1
    return y


# The function, its change, the changed call, and the words of the trace on the fault
# and on its place.
FAULTS = {
    "tanh off by 1e-9": ("tanh", off, 29, "deviates by", "functional.py"),
    "max ignores keepdims": (
        "max",
        without_keepdims,
        5,
        "has shape (1,) instead of (1, 1)",
        "losses.py",
    ),
    "sum in float32": (
        "sum",
        in_float32,
        30,
        "is float32 instead of float64",
        "losses.py",
    ),
    "exp changes its input": (
        "exp",
        scribbling,
        12,
        "changes its array 1",
        "losses.py",
    ),
    "exp returns a float": (
        "exp",
        lambda f, x: float(np.max(f(x))),
        12,
        "is a float, not an array",
        "losses.py",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_operation_and_its_line(fault):
    name, change, at, said, file = FAULTS[fault]
    run = trace(SHORT, TINY, faulty(name, change, at), 60)
    first = run.deviations[0]
    assert first.name == name
    assert said in first.detail
    assert first.place.file.endswith(file)


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("max", without_keepdims, ValueError),
        ("exp", lambda f, x: f(x) * math.nan, DivergenceError),
    ],
)
def test_a_failure_after_a_deviation_does_not_hide_it(name, change, error):
    config = replace(CONFIG, batch_size=7)
    run = trace(config, TINY, faulty(name, change, 41), 60)
    assert run.deviations[0].name == name
    assert isinstance(run.exception, error)


def test_a_run_that_diverges_by_itself_raises():
    with pytest.raises(DivergenceError):
        trace(replace(CONFIG, learning_rate=1e300), TINY, open_backend(), 20)


def faulty(name: str, change: Callable[..., Any], at: int | None = None) -> Backend:
    """Return NumPy with a changed function.

    change: called with the right function and its arguments. at: the only call that is
    changed, counted from 1.
    """
    calls = itertools.count(1)

    def operation(right: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if at not in (None, next(calls)):
            return right(*args, **kwargs)
        return change(right, *args, **kwargs)

    library = Namespace(**{name: partial(operation, getattr(numpy, name))})
    return changed(open_backend(), xp=library)


# The command.

LIBRARIES = (
    NAMESPACE
    + """

def lost(x):
    raise OSError("lost the device")


right = Namespace()
wrong = Namespace(tanh=lambda x: numpy.tanh(x) + 1e-9)
rooted = Namespace(sqrt=lambda x: numpy.sqrt(x) + 1e-9)
failing = Namespace(exp=lost)
"""
)


@pytest.fixture
def libraries(tmp_path, monkeypatch) -> None:
    """An importable module `lib` with the namespaces above."""
    (tmp_path / "lib.py").write_text(LIBRARIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lib", raising=False)
    monkeypatch.chdir(tmp_path)


def traced(data_dir: Any, words: str) -> Any:
    command = "parity --hidden 8 --steps 20 --trace --backends"
    return call(f"{command} {words}", data_dir=data_dir)


def test_a_trace_of_a_healthy_library_is_one_line(tmp_path, libraries):
    X = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(tmp_path / "reg.npz", X=X, y=np.stack([X.sum(axis=1), X[:, 0]], axis=1))
    outcome = traced(tmp_path / "reg.npz", "lib:right")
    assert (outcome.code, outcome.err) == (0, "")
    said = r"lib:right .*, float64: \d+ operations; no operation deviates\n"
    assert re.fullmatch(said, outcome.out)


def test_a_deviation_is_told_with_its_line_and_its_reproducer(data_dir, libraries):
    outcome = traced(data_dir, "lib:wrong")
    assert_one_line(
        outcome,
        1,
        "deviates: lib:wrong: xp.tanh(float64 (1, 8)) deviates by ",
        "at mlp_xp/core/functional.py:",
        "(y = xp.tanh(0.5 * z))",
    )
    assert "reproducer: python reproducers" in outcome.out


@pytest.mark.slow
def test_a_trace_of_several_libraries_returns_the_worst_code(data_dir, libraries):
    outcome = traced(data_dir, "lib:failing lib:wrong")
    assert outcome.code == 1
    raised, deviates = outcome.err.splitlines()
    assert raised.startswith("error: backend lib:failing: xp.exp(")
    assert "raised OSError: lost the device" in raised
    assert deviates.startswith("deviates: lib:wrong: xp.tanh(")


@pytest.mark.slow
def test_all_operations_add_the_other_tasks(data_dir, libraries):
    outcome = traced(data_dir, "lib:rooted --all-operations")
    assert outcome.code == 1
    assert "small run for regression: " in outcome.out
    assert "xp.sqrt(" in outcome.err


def test_without_array_lockstep_a_trace_says_how_to_install_it(
    tmp_path, monkeypatch, libraries
):
    monkeypatch.setitem(sys.modules, "array_lockstep", None)
    outcome = traced(tmp_path / "nowhere", "lib:right")
    said = "-m pip install ./packages/array-lockstep"
    assert_one_line(outcome, 2, "array_lockstep is not installed", said)
