"""Planted faults, for the tests of the trace and for the table in docs/parity.md, which this program prints."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
from data_sets import TINY

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.library import Backend, eager_scan
from mlp_xp.parity.trace import Tracer, trace, train_and_evaluate

CONFIG = TrainConfig(hidden=(8,), report_every=50, warm_up_steps=2)
HEADER = (
    "| fault | planted | operation that the trace names | in | how it deviates | |",
    "| --- | --- | --- | --- | --- | --- |",
)


class Array(np.ndarray):
    """An array of the library below."""

    library: "Library"

    def __matmul__(self, other):
        return type(self).library.operator("matmul", np.ndarray.__matmul__, self, other)

    def __isub__(self, other):
        return type(self).library.operator("isub", np.ndarray.__isub__, self, other)


class Library:
    """NumPy with one function or operator changed at some of its calls, counted from 1."""

    def __init__(self, name: str, change: Callable[..., Any], when: Callable[[int], bool]) -> None:
        self.name, self.change, self.when, self.calls = name, change, when, 0
        self.step, self.in_step, self.struck = 0, False, ""
        self.array = type("Array", (Array,), {"library": self})

    def __getattr__(self, name: str) -> Any:
        function = getattr(numpy_xp, name)
        return partial(self.operator, name, function) if name == self.name else function

    def asarray(self, x: Any, /, **kwargs: Any) -> Any:
        return numpy_xp.asarray(x, **kwargs).view(self.array)

    def operator(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name != self.name:
            return function(*args, **kwargs)
        self.calls += 1
        if self.when(self.calls):
            before = args[0].copy()
            result = self.change(function, *args, **kwargs)
            right = function(before, *args[1:], **kwargs)
            same = np.shape(result) == right.shape and np.array_equal(result, right)
            if not self.struck and not (same and (np.array_equal(args[0], before) or args[0] is result)):
                self.struck = f"{'in' if self.in_step else 'after'} step {self.step} "
            return result
        return function(*args, **kwargs)

    def scan(self, step: Callable[..., Any], carry: Any, xs: Any, count: None = None) -> Any:
        """Count the steps: only they take features, which are floats; blocks of steps take the order, integers."""

        def counted(carry: Any, x: Any) -> Any:
            self.in_step = xs[0].dtype.kind == "f"
            self.step += self.in_step
            result = step(carry, x)
            self.in_step = False
            return result

        return eager_scan(counted, carry, xs, xp=self)

    def backend(self, dtype: str = "float64") -> Backend:
        return replace(
            open_backend(dtype=dtype), name="faulty", xp=self, scan=self.scan,
            from_numpy=lambda array, dtype: self.asarray(array, dtype=dtype, copy=True),
        )  # fmt: skip


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


# By name: the function or operator, its change, at which calls, the steps to trace, and what the trace says and where.
FAULTS = {
    "tanh off by 1e-9": ("tanh", off_by, lambda n: n == 29, 60, "deviates by", "functional.py"),
    "tanh always off": ("tanh", off_by, lambda n: True, 20, "deviates by", "functional.py"),
    "matmul rounded to float32 once in 5000 calls": (
        *("matmul", rounded, lambda n: n == 5000, 1700, "deviates by", ".py"),
    ),
    "argmax wrong": (
        *("argmax", lambda f, *args, **kwargs: numpy_xp.argmin(*args, **kwargs), lambda n: n == 1, 60),
        *("instead of", "task.py"),
    ),
    "max ignores keepdims": (
        *("max", without_keepdims, lambda n: n > 3, 20, "has shape (1,) instead of (1, 1)", "losses"),
    ),
    "sum returns float32": (
        *("sum", lambda f, *args, **kwargs: np.asarray(f(*args, **kwargs), dtype=np.float32), lambda n: n == 30, 60),
        *("is float32 instead of float64", "losses.py"),
    ),
    "-= does not write": ("isub", lambda f, x, y: x, lambda n: n == 77, 60, "deviates by", "optimizers.py"),
    "exp changes its input": ("exp", scribbling, lambda n: n == 12, 60, "changes its argument 1", "losses.py"),
    "exp returns a float": (
        *("exp", lambda f, *args: float(np.max(f(*args))), lambda n: n == 12, 60),
        *("is a float, not an array", "losses.py"),
    ),
}


def planted(fault: str) -> tuple[str, Tracer]:
    """Return where a fault strikes first, such as "in step 3", and the trace of another run with the same fault.

    The faulty library itself counts the steps, in a run without the tracer; empty if nothing is changed.
    """
    name, change, when, steps, *_ = FAULTS[fault]
    untraced = Library(name, change, when)
    try:
        train_and_evaluate(CONFIG, TINY, untraced.backend(), steps)
    except (ValueError, TypeError, AttributeError):
        assert untraced.struck, "only after the fault"
    return untraced.struck.strip(), trace(CONFIG, TINY, Library(name, change, when).backend(), steps)


def table() -> str:
    """Return the table in Markdown, with a row for each fault."""
    rows = []
    for fault, (name, *_) in FAULTS.items():
        struck, run = planted(fault)
        first = run.first
        where = first.when.partition(" (")[0] if first else ""
        found = "found" if first and (first.name, where) == (name, struck) else "NOT FOUND"
        cells = (fault, struck, f"`{first.name}`" if first else "", where, first.what if first else "", found)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*HEADER, *rows])


if __name__ == "__main__":
    print(table())
