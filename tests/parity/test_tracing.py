"""Trace: a healthy library gives no report, and every planted fault is named with its
operation and its step.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as numpy
import numpy as np
import pytest
from data_sets import TINY
from helpers import Namespace, changed
from wrappers import overriding

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.training import DivergenceError
from mlp_xp.parity._trajectory import record
from mlp_xp.parity.tracer import LibraryCall, Tracer, _dtypes_of
from mlp_xp.parity.tracing import TracingBackend, trace, train_and_predict

CONFIG = TrainConfig(hidden=(8,), report_every=50)
SHORT = replace(CONFIG, warm_up_steps=2)

# A healthy library.


def assert_healthy(run: Tracer) -> None:
    found = [(str(x), str(x.verdict), x.place) for x in run.deviating.values()]
    assert (found, run.failure) == ([], None)
    assert not any(each.deviates for all_of in run.verdicts.values() for each in all_of)


def test_every_backend_is_healthy(backend):
    run = trace(replace(CONFIG, warm_up_steps=1), TINY, backend, 6)
    assert_healthy(run)
    assert run.steps == 7
    assert sum(map(len, run.verdicts.values())) == run.calls
    names = {"tanh", "matmul", "isub", "getitem", "argmax", "mean", "take"}
    assert run.verdicts.keys() >= names | {"from_numpy"}


def test_an_operator_in_place_may_return_a_new_object_for_the_same_memory():
    backend, _ = faulty("isub", lambda f, x, y: f(x, y)[...])
    run = trace(CONFIG, TINY, backend, 5)
    assert_healthy(run)
    assert run.verdicts["isub"]


def test_a_traced_run_has_the_same_bits():
    expected = record(SHORT, TINY, open_backend(), 12)
    traced = record(SHORT, TINY, TracingBackend(open_backend()), 12)
    np.testing.assert_array_equal(traced.losses, expected.losses)


def test_arrays_leave_the_library_only_by_to_numpy():
    traced = TracingBackend(open_backend())
    x = traced.asarray(np.ones(2))
    for convert in (np.asarray, np.sum):
        with pytest.raises(TypeError):
            convert(x)
    np.testing.assert_array_equal(traced.to_numpy(np.float64(2) * x), [2, 2])


# Planted faults.


def off(function, *args, **kwargs):
    return function(*args, **kwargs) + 1e-9


def rounded(function, *args, **kwargs):
    return function(*args, **kwargs).astype(np.float32).astype(np.float64)


def in_float32(function, *args, **kwargs):
    return np.asarray(function(*args, **kwargs), dtype=np.float32)


def without_keepdims(function, x, /, axis, keepdims=False):
    return function(x, axis=axis)


def scribbling(function, x):
    y = function(x)
    x += 1
    return y


# The function or operator, its change, the changed call, and the words of the
# trace on the fault and on its place.
FAULTS = {
    "tanh off by 1e-9": ("tanh", off, 29, "deviates by", "functional.py"),
    "matmul rounded once": ("matmul", rounded, 5000, "deviates by", ".py"),
    "max ignores keepdims": (
        "max",
        without_keepdims,
        5,
        "has shape (1,) instead of (1, 1)",
        "losses",
    ),
    "sum in float32": (
        "sum",
        in_float32,
        30,
        "is float32 instead of float64",
        "losses.py",
    ),
    "-= does not write": ("isub", lambda f, x, y: x, 77, "deviates by", "deferred.py"),
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
LONG = pytest.param("matmul rounded once", 1700, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("fault", "steps"),
    [LONG, *((fault, 60) for fault in FAULTS if fault != "matmul rounded once")],
)
def test_a_fault_is_named_with_its_operation_and_its_step(fault, steps):
    """The faulty library itself counts the steps until the fault strikes, in a run
    without the tracer.
    """
    name, change, call, said, file = FAULTS[fault]
    backend, struck = faulty(name, change, call)
    # of the steps after the fault
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        train_and_predict(SHORT, TINY, backend, steps)
    run = trace(SHORT, TINY, faulty(name, change, call)[0], steps)
    (found,) = run.deviating.values()
    assert found.name == name
    assert [found.when] == struck
    assert said in str(found.verdict)
    assert file in found.place


@pytest.mark.parametrize(
    ("name", "change", "error"),
    [
        ("max", without_keepdims, BackendFailure),
        ("exp", lambda f, x: f(x) * math.nan, DivergenceError),
    ],
)
def test_a_failure_after_a_deviation_does_not_hide_it(name, change, error):
    config = replace(CONFIG, batch_size=7)
    run = trace(config, TINY, faulty(name, change, 41)[0], 60)
    assert next(iter(run.deviating)) == name
    assert isinstance(run.failure, error)


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

    config = replace(
        CONFIG, hidden=(8, 8), activation="tanh", init="glorot", defer_updates=False
    )
    run = trace(config, TINY, faulty("tanh", reused)[0], 5)
    found = next(iter(run.deviating.values()))
    said = r"changes its array \d, unless an earlier operation did"
    assert re.fullmatch(said, str(found.verdict))


def test_arguments_with_names_are_numbered_after_the_others():
    def add(x: Any, *, other: Any) -> Any:
        return x + other

    def scribbling_add(x: Any, *, other: Any) -> Any:
        result = x + other
        x += 1
        return result

    traced = TracingBackend(open_backend())
    x, y = traced.asarray(np.ones(2)), traced.asarray(np.ones(2))
    traced.tracer.call(LibraryCall("add", scribbling_add, (x,), {"other": y}, add))
    assert traced.tracer.deviating["add"].verdict.changed == 1


# A faulty library.

OPERATORS = {"matmul": "__matmul__", "isub": "__isub__"}


def faulty(
    name: str, change: Callable[..., Any], at: int | None = None
) -> tuple[Backend, list[str]]:
    """Return NumPy with a changed operation, and a list for the steps of the changes.

    name: a function or an operator. change: called with the right function and its
    arguments. at: the only call that is changed, counted from 1.
    """
    calls, struck, when = itertools.count(1), [], "after step 0"

    def operation(right: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if at not in (None, next(calls)):
            return right(*args, **kwargs)
        struck.append(when)
        return change(right, *args, **kwargs)

    if name in OPERATORS:
        library = overriding(**{OPERATORS[name]: operation})
    else:
        library = Namespace(**{name: partial(operation, getattr(numpy, name))})
    backend = open_backend()
    steps = itertools.count(1)

    def scan(step: Callable[..., Any], carry: Any, xs: Any) -> Any:
        def counted(carry: Any, x: Any) -> Any:
            nonlocal when
            number = next(steps)
            when = f"in step {number}"
            result = step(carry, x)
            when = f"after step {number}"
            return result

        return backend.scan(counted, carry, xs)

    def copy_to_device(array: np.ndarray, dtype: Any) -> np.ndarray:
        return library.asarray(array, dtype=dtype, copy=True)

    opened = changed(
        backend,
        xp=library,
        scan=scan,
        like=lambda array: opened,
        _copy_to_device=copy_to_device,
    )
    return opened, struck


def test_the_dtype_of_arrays_may_differ_from_the_namespaces():
    """In TensorFlow, the namespace has np.float64, and arrays have tf.float64."""
    own = object()
    xp = SimpleNamespace(
        float64=np.float64, asarray=lambda x: SimpleNamespace(dtype=own)
    )
    assert (np.dtype("float64"), own) in [*_dtypes_of(xp)]
