"""Trace: a healthy library gives no report, and every planted fault is named with its operation and its step."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import TINY
from planted import FAULTS, Library, planted, without_keepdims

import mlp_xp
from mlp_xp.backends import requirements
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.training import DivergenceError
from mlp_xp.parity.compare import record
from mlp_xp.parity.trace import LibraryError, Tracer, small_runs, trace, tracing

CONFIG = TrainConfig(hidden=(8,), report_every=50)
PACKAGE = Path(mlp_xp.__file__).parent


def assert_healthy(run: Tracer) -> None:
    first = run.first and (str(run.first), run.first.what, run.first.place)
    assert (first, run.failure) == (None, None)
    assert sum(totals.deviating for totals in run.totals.values()) == 0
    assert all(totals.used <= 1 for totals in run.totals.values())


# A healthy library.


def test_every_backend_is_healthy(backend):
    run = trace(replace(CONFIG, warm_up_steps=1), TINY, backend, 6)
    assert_healthy(run)
    assert run.steps == 7
    assert sum(totals.calls for totals in run.totals.values()) == run.calls
    assert {"tanh", "matmul", "isub", "getitem", "argmax", "mean", "take", "from_numpy"} <= run.totals.keys()


def test_small_runs_use_what_a_usual_run_does_not():
    backend = open_backend("array-api-strict")
    runs = [*dict(small_runs(backend)).values(), trace(CONFIG, TINY, backend, 2)]
    for run in runs:
        assert_healthy(run)
    used = {name for run in runs for name in (*run.totals, *vars(run.xp))}
    assert {*requirements.FUNCTIONS} - used == set()


def test_a_traced_run_has_the_same_bits():
    config, backend = replace(CONFIG, warm_up_steps=2), open_backend()
    traced = record(config, TINY, tracing(backend)[0], 12)
    np.testing.assert_array_equal(traced.losses, record(config, TINY, replace(backend, functions=()), 12).losses)


def test_a_step_is_listed_with_all_its_operations():
    """Of a network without hidden layers, in batches of 2, with the operations counted by hand in the source."""
    run = trace(TrainConfig(hidden=(), batch_size=2, defer_updates=False), TINY, open_backend(), 3)
    names = [operation.name for operation in run.last_step]
    # forward; softmax; error; gradient; update
    assert names == [
        *("matmul", "iadd", "max", "sub", "exp", "sum", "itruediv", "sub", "imul", "getitem"),
        *("ones_like", "T", "matmul", "matmul", "isub", "isub"),
    ]
    assert str(run.last_step[0]) == "float64 (2, 36) @ float64 (36, 10)"
    assert str(run.last_step[2]) == "xp.max(float64 (2, 10), axis=-1, keepdims=True)"
    numbers = [operation.number for operation in run.last_step]
    assert numbers == [*range(numbers[0], numbers[0] + len(names))]
    for operation in run.last_step:
        file, _, line = operation.place.partition(":")
        text = (PACKAGE.parent / file).read_text().splitlines()[int(line) - 1].strip()
        assert text.startswith(operation.source), "without its comment"
    assert "xp.max(" in run.last_step[2].source
    assert run.totals["exp"].calls >= 13


def test_a_function_without_a_bound_is_refused():
    traced, _ = tracing(open_backend())
    with pytest.raises(mlp_xp.errors.MlpXpError, match=r"xp\.cos, called at .*test_trace.py:\d+, has no bound"):
        traced.xp.cos(traced.asarray(np.ones(2)))


def test_arrays_leave_the_library_only_by_to_numpy():
    traced, _ = tracing(open_backend())
    x = traced.asarray(np.ones(2))
    for convert in (np.asarray, np.sum):
        with pytest.raises(TypeError):
            convert(x)
    with pytest.raises(AttributeError, match="use a function of xp"):
        x.sum()
    np.testing.assert_array_equal(traced.to_numpy(np.float64(2) * x), [2, 2])


# Planted faults.


LONG = "matmul rounded to float32 once in 5000 calls"


@pytest.mark.parametrize("fault", [pytest.param(each, marks=[pytest.mark.slow] * (each == LONG)) for each in FAULTS])
def test_a_fault_is_named_with_its_operation_and_its_step(fault):
    """In which step it strikes is counted by the faulty library itself, in a run without the tracer."""
    name, _, _, _, what, file = FAULTS[fault]
    struck, run = planted(fault)
    assert struck, "the fault changes nothing"
    assert run.first is not None
    assert run.first.name == name
    assert run.first.when.startswith(f"{struck} ")
    assert what in run.first.what
    assert file in run.first.place
    assert run.first.devices[0] == "cpu"
    assert run.totals[name].deviating >= 1
    assert all(totals.deviating == 0 for other, totals in run.totals.items() if other != name)


def test_a_library_that_raises_is_one_line_with_code_3():
    def lost(function, x):
        raise RuntimeError("device lost\n  badly")

    run = trace(replace(CONFIG, warm_up_steps=2), TINY, Library("exp", lost, lambda n: n == 1).backend(), 20)
    assert run.first is None
    assert isinstance(run.failure, LibraryError)
    assert run.failure.exit_code == 3
    assert re.fullmatch(
        r"backend faulty: operation \d+, in step 1 \(of the warm-up\), xp\.exp\(float64 \(1, 10\)\) at "
        r"mlp_xp/core/losses\.py:\d+ raised RuntimeError: device lost badly",
        str(run.failure),
    )


def test_what_fails_after_a_deviation_does_not_hide_it():
    run = trace(replace(CONFIG, batch_size=7), TINY, Library("max", without_keepdims, lambda n: n > 3).backend(), 20)
    assert run.first.name == "max"
    assert isinstance(run.failure, LibraryError)
    run = trace(CONFIG, TINY, Library("exp", lambda f, x: f(x) * math.nan, lambda n: n > 40).backend(), 60)
    assert run.first.name == "exp"
    assert isinstance(run.failure, DivergenceError)


def test_a_run_that_diverges_by_itself_raises():
    with pytest.raises(DivergenceError):
        trace(replace(CONFIG, learning_rate=1e300), TINY, open_backend(), 20)


def test_an_array_that_another_operation_overwrites_is_found():
    """The library returns the same buffer for all results of a shape."""
    buffers: dict[Any, np.ndarray] = {}

    def reused(function, x):
        buffer = buffers.setdefault(x.shape, np.empty(x.shape).view(type(x)))
        buffer[...] = function(x)
        return buffer

    config = replace(CONFIG, hidden=(8, 8), activation="tanh", init="glorot", defer_updates=False)
    run = trace(config, TINY, Library("tanh", reused, lambda n: True).backend(), 5)
    assert run.first is not None
    assert "changed since its last use" in run.first.what or "changes its argument" in run.first.what


def test_an_operator_in_place_may_return_a_new_object_for_the_same_memory():
    run = trace(CONFIG, TINY, Library("isub", lambda f, x, y: f(x, y)[...], lambda n: True).backend(), 5)
    assert_healthy(run)
    assert run.totals["isub"].calls
