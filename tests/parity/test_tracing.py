"""Trace: a healthy library gives no report, and every planted fault is named with its
operation and its step.
"""

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from data_sets import TINY
from helpers import changed

import mlp_xp
from mlp_xp.backends.failures import BackendFailure
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.training import DivergenceError
from mlp_xp.parity._trajectory import record
from mlp_xp.parity.tracer import Tracer
from mlp_xp.parity.tracing import TracingBackend, trace, train_and_predict

CONFIG = TrainConfig(hidden=(8,), report_every=50)
PACKAGE = Path(mlp_xp.__file__).parent


def assert_healthy(run: Tracer) -> None:
    found = [
        (str(each), str(each.verdict), each.place) for each in run.deviating.values()
    ]
    assert (found, run.failure) == ([], None)
    assert not any(
        each.deviates for verdicts in run.verdicts.values() for each in verdicts
    )


# A healthy library.


def test_every_backend_is_healthy(backend):
    run = trace(replace(CONFIG, warm_up_steps=1), TINY, backend, 6)
    assert_healthy(run)
    assert run.steps == 7
    assert sum(map(len, run.verdicts.values())) == run.calls
    assert {
        "tanh",
        "matmul",
        "isub",
        "getitem",
        "argmax",
        "mean",
        "take",
        "from_numpy",
    } <= run.verdicts.keys()


def test_a_traced_run_has_the_same_bits():
    config, backend = replace(CONFIG, warm_up_steps=2), open_backend()
    traced = record(config, TINY, TracingBackend(backend), 12)
    np.testing.assert_array_equal(
        traced.losses, record(config, TINY, backend, 12).losses
    )


def test_arrays_leave_the_library_only_by_to_numpy():
    traced = TracingBackend(open_backend())
    x = traced.asarray(np.ones(2))
    for convert in (np.asarray, np.sum):
        with pytest.raises(TypeError):
            convert(x)
    with pytest.raises(AttributeError, match="use a function of xp"):
        x.sum()
    np.testing.assert_array_equal(traced.to_numpy(np.float64(2) * x), [2, 2])


# Planted faults. docs/parity.md has a table of them.


class Array(np.ndarray):
    """An array of the library below."""

    library: "Library"

    def __matmul__(self, other):
        return type(self).library.operator("matmul", np.ndarray.__matmul__, self, other)

    def __isub__(self, other):
        return type(self).library.operator("isub", np.ndarray.__isub__, self, other)


class Library:
    """NumPy with one function or operator changed at some of its calls, counted from 1."""

    def __init__(
        self, name: str, change: Callable[..., Any], when: Callable[[int], bool]
    ) -> None:
        self.name, self.change, self.when, self.calls = name, change, when, 0
        self.step, self.in_step, self.struck = 0, False, ""
        self.array = type("Array", (Array,), {"library": self})

    def __getattr__(self, name: str) -> Any:
        function = getattr(numpy_xp, name)
        return partial(self.operator, name, function) if name == self.name else function

    def asarray(self, x: Any, /, **kwargs: Any) -> Any:
        return numpy_xp.asarray(x, **kwargs).view(self.array)

    def operator(
        self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if name != self.name:
            return function(*args, **kwargs)
        self.calls += 1
        if self.when(self.calls):
            before = args[0].copy()
            result = self.change(function, *args, **kwargs)
            right = function(before, *args[1:], **kwargs)
            same = np.shape(result) == right.shape and np.array_equal(result, right)
            if not self.struck and not (
                same and (np.array_equal(args[0], before) or args[0] is result)
            ):
                self.struck = f"{'in' if self.in_step else 'after'} step {self.step}"
            return result
        return function(*args, **kwargs)

    def scan(self, step: Callable[..., Any], carry: Any, xs: Any) -> Any:
        """Count the steps."""

        def counted(carry: Any, x: Any) -> Any:
            self.in_step = True
            self.step += 1
            result = step(carry, x)
            self.in_step = False
            return result

        return LibraryBackend.scan(self.opened, counted, carry, xs)

    def backend(self, dtype: str = "float64") -> Backend:
        def copy_to_device(array: np.ndarray, dtype: Any) -> np.ndarray:
            return self.asarray(array, dtype=dtype, copy=True)

        self.opened = changed(
            open_backend(dtype=dtype),
            name="faulty",
            xp=self,
            scan=self.scan,
            like=lambda array: self.opened,
            _copy_to_device=copy_to_device,
        )
        return self.opened


def off_by(function, *args, **kwargs):
    return function(*args, **kwargs) + 1e-9


def without_keepdims(function, x, /, axis, keepdims=False):
    return function(x, axis=axis)


def rounded(function, *args, **kwargs):
    return function(*args, **kwargs).astype(np.float32).astype(np.float64)


def scribbling(function, x):
    y = function(x)
    x += 1
    return y


# By name: the function or operator, its change, at which calls, the steps to trace, and
# what the trace says and where.
FAULTS = {
    "tanh off by 1e-9": (
        "tanh",
        off_by,
        lambda n: n == 29,
        60,
        "deviates by",
        "functional.py",
    ),
    "matmul rounded to float32 once in 5000 calls": (
        *("matmul", rounded, lambda n: n == 5000, 1700, "deviates by", ".py"),
    ),
    "argmax wrong": (
        *(
            "argmax",
            lambda f, *args, **kwargs: numpy_xp.argmin(*args, **kwargs),
            lambda n: n == 1,
            60,
        ),
        *("instead of", "task.py"),
    ),
    "max ignores keepdims": (
        *(
            "max",
            without_keepdims,
            lambda n: n > 3,
            20,
            "has shape (1,) instead of (1, 1)",
            "losses",
        ),
    ),
    "sum returns float32": (
        *(
            "sum",
            lambda f, *args, **kwargs: np.asarray(f(*args, **kwargs), dtype=np.float32),
            lambda n: n == 30,
            60,
        ),
        *("is float32 instead of float64", "losses.py"),
    ),
    "-= does not write": (
        "isub",
        lambda f, x, y: x,
        lambda n: n == 77,
        60,
        "deviates by",
        "deferred.py",
    ),
    "exp changes its input": (
        "exp",
        scribbling,
        lambda n: n == 12,
        60,
        "changes its argument 1",
        "losses.py",
    ),
    "exp returns a float": (
        *("exp", lambda f, *args: float(np.max(f(*args))), lambda n: n == 12, 60),
        *("is a float, not an array", "losses.py"),
    ),
}


LONG = "matmul rounded to float32 once in 5000 calls"


@pytest.mark.parametrize(
    "fault",
    [pytest.param(each, marks=[pytest.mark.slow] * (each == LONG)) for each in FAULTS],
)
def test_a_fault_is_named_with_its_operation_and_its_step(fault):
    """In which step it strikes is counted by the faulty library itself, in a run
    without the tracer.
    """
    name, change, when, steps, what, file = FAULTS[fault]
    config, untraced = replace(CONFIG, warm_up_steps=2), Library(name, change, when)
    # of what follows the fault
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        train_and_predict(config, TINY, untraced.backend(), steps)
    assert untraced.struck, "the fault changes nothing"
    run = trace(config, TINY, Library(name, change, when).backend(), steps)
    (found,) = run.deviating.values()
    assert found.name == name
    assert found.when == untraced.struck
    assert what in str(found.verdict)
    assert file in found.place


def test_a_library_that_raises_is_one_line_with_code_3():
    def lost(function, x):
        raise RuntimeError("device lost\n  badly")

    run = trace(
        replace(CONFIG, warm_up_steps=2),
        TINY,
        Library("exp", lost, lambda n: n == 1).backend(),
        20,
    )
    assert not run.deviating
    assert isinstance(run.failure, BackendFailure)
    assert run.failure.exit_code == 3
    assert re.fullmatch(
        r"backend faulty: operation \d+, in step 1, xp\.exp\(float64 \(1, 10\)\) at "
        r"mlp_xp/core/losses\.py:\d+ \(.*\) raised RuntimeError: device lost badly",
        str(run.failure),
    )


def test_what_fails_after_a_deviation_does_not_hide_it():
    run = trace(
        replace(CONFIG, batch_size=7),
        TINY,
        Library("max", without_keepdims, lambda n: n > 3).backend(),
        20,
    )
    assert next(iter(run.deviating)) == "max"
    assert isinstance(run.failure, BackendFailure)
    run = trace(
        CONFIG,
        TINY,
        Library("exp", lambda f, x: f(x) * math.nan, lambda n: n > 40).backend(),
        60,
    )
    assert next(iter(run.deviating)) == "exp"
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

    config = replace(
        CONFIG, hidden=(8, 8), activation="tanh", init="glorot", defer_updates=False
    )
    run = trace(config, TINY, Library("tanh", reused, lambda n: True).backend(), 5)
    found = next(iter(run.deviating.values()))
    assert re.fullmatch(
        r"changes its argument \d, unless an earlier operation did", str(found.verdict)
    )


def test_arguments_with_names_are_numbered_after_the_others():
    def add(x: Any, *, other: Any) -> Any:
        return x + other

    def scribbling_add(x: Any, *, other: Any) -> Any:
        result = x + other
        x += 1
        return result

    traced = TracingBackend(open_backend())
    x, y = traced.asarray(np.ones(2)), traced.asarray(np.ones(2))
    traced.tracer.call("add", scribbling_add, add, (x,), {"other": y})
    assert traced.tracer.deviating["add"].verdict.changed == 1


def test_an_operator_in_place_may_return_a_new_object_for_the_same_memory():
    run = trace(
        CONFIG,
        TINY,
        Library("isub", lambda f, x, y: f(x, y)[...], lambda n: True).backend(),
        5,
    )
    assert_healthy(run)
    assert run.verdicts["isub"]
