"""A library that cannot be used, or that fails, is told in one line."""

from pathlib import Path
from types import SimpleNamespace

import array_api_compat.numpy
import numpy as np
import pytest
from helpers import changed, pattern

from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError, BackendFailure, BackendOutOfMemory
from mlp_xp.backends.memory import NotEnoughMemoryError, check_memory
from mlp_xp.backends.opening import open_backend, open_namespace
from mlp_xp.backends.threads import ON_GPU, UNKNOWN
from mlp_xp.core.config import TrainConfig
from mlp_xp.declared import ConfigError

NUMPY = open_backend()


def on_two_threads(threads):
    changed(NUMPY, threads=threads).on_threads(2, "as given")


def train(hidden):
    check_memory(TrainConfig(hidden=(hidden,)), (784, hidden, 10), NUMPY)


def compute(materialise):
    """Compute three arrays with a lazy library."""
    hook = SimpleNamespace(xp=array_api_compat.numpy, materialise=materialise)
    open_namespace(hook, name="lazy").jit(lambda x: (x, x, x))(np.ones(2))


def fail(error):
    """Raise an error in a foreign library."""

    def chunk():
        raise error

    changed(open_backend("array_api_compat:numpy"), name="foreign").jit(chunk)()


class Full:
    """An array on a GPU, which computes after the call has returned."""

    def __array__(self, *args, **kwargs):
        raise MemoryError("the device is full")


# The kind of the error, what is called, and how the message begins for an argument. The
# modules habits and raises_on_import are in the current folder.
REFUSED = [
    (
        BackendError,
        open_backend,
        {
            "nunpy": "backend: 'nunpy' is not known (did you mean 'numpy'?); choose "
            f"one of {', '.join(BACKENDS)}, ",
            "zzz": "backend: 'zzz' is not known; choose one of numpy, ",
            "habits": "backend: 'habits' is not known; choose one of numpy, ... , or "
            "name any other module as habits:",
            "no_such_module:xp": "backend no_such_module:xp: ... No module named "
            "'no_such_module'",
            "array_api_compat:nonsense": "backend array_api_compat:nonsense: ... "
            "module array_api_compat has no 'nonsense'",
            "array_api_strict:...": "backend array_api_strict:...: ... module "
            "array_api_strict has no ''",
            "raises_on_import:": "backend raises_on_import: ... imported: "
            "SystemExit: 3",
            "numpy:pi": "backend numpy:pi: ... does not implement the array API "
            "standard: it lacks abs, all, a",
            "habits:only_float32": "backend habits:only_float32: ... it lacks float64",
            "habits:failing": "backend habits:failing: ... copied to it and back: "
            "RuntimeError: no array today",
            "habits:widening": "backend habits:widening: ... [255, 0] of uint8 becomes "
            "a float64 array there",
            "habits:inexact": "backend habits:inexact: ... array there, and array([ "
            "1.5, -4.5]) back on the host; set",
            "habits:boxes": "backend habits:boxes: ... NumPy cannot read a habits.Boxed"
            "; a hook with to_numpy may",
            "habits:sharing": "backend habits:sharing: ... does not copy: an array of "
            "100001 uint8 changes with the",
        },
    ),
    (
        ConfigError,
        lambda dtype: open_backend(dtype=dtype),
        {"flaot32": "dtype: 'flaot32' is not known (did you mean 'float32'?)"},
    ),
    (
        ConfigError,
        lambda number: open_backend(threads=number),
        {
            0: "threads: 0 is out of range; it must be at least 1",
            1025: "threads: 1025 is out of range; it must be at most 1024",
            "2": "threads: '2' is not a whole number",
        },
    ),
    (
        ConfigError,
        on_two_threads,
        {
            ON_GPU: "threads: backend numpy cannot compute on 2 threads: it computes "
            "on a GPU",
            UNKNOWN: "threads: ... 2 threads: the BLAS library decides, and cannot be "
            "asked; for Apple's, set",
        },
    ),
    (
        NotEnoughMemoryError,
        train,
        {
            2_000_000_000: "training needs about ... GiB of memory, but ... GiB are "
            "available; choose",
        },
    ),
    (
        BackendOutOfMemory,
        fail,
        {
            MemoryError("9 TiB"): "out of memory: backend foreign, in chunk: ",
            RuntimeError("RESOURCE_EXHAUSTED"): "out of memory: backend foreign, in",
        },
    ),
    (
        BackendOutOfMemory,
        NUMPY.to_numpy,
        {
            Full(): "out of memory: backend numpy, in a transfer to the host: "
            "MemoryError: the device is full",
        },
    ),
    (
        BackendFailure,
        fail,
        {
            RuntimeError("kernel\nlaunch " + "x" * 999): "backend foreign: failed in "
            "chunk: RuntimeError: kernel launch xxx",
        },
    ),
    (
        BackendFailure,
        compute,
        {
            lambda *arrays: arrays[:-1]: "backend lazy: failed in ... materialise "
            "returns 2 arrays instead of 3",
        },
    ),
]


@pytest.mark.parametrize(
    ("kind", "use", "given", "said"),
    [(kind, use, *row) for kind, use, rows in REFUSED for row in rows.items()],
)
def test_a_library_that_cannot_be_used_or_fails_says_so(kind, use, given, said, habits):
    Path("raises_on_import.py").write_text("raise SystemExit(3)", "utf-8")
    with pytest.raises(kind, match=rf"\A{pattern(said)}.*\Z") as caught:
        use(given)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == (3 if kind is BackendFailure else 2)
    assert caught.value.__cause__ is caught.value.__context__, "the cause is not hidden"
