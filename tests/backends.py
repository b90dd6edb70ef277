"""The backends that the tests run on."""

import os

import cupy_stand_in
import pytest

from mlp_xp.backend import BACKENDS, Backend, BackendError, installed, open_backend

NEEDS_GPU = {"cupy"}
# Names, separated by spaces; empty: all backends. Mutation testing sets it, since it runs the tests a thousand times.
ONLY = os.environ.get("MLP_XP_TEST_BACKENDS", "").split()


def backend_params() -> list:
    """One parameter a backend; what must be installed for the tests to mean something is never skipped.

    The stand-in for CuPy comes last and is never marked `gpu`: what runs on it has not run on a GPU.
    """
    names = [pytest.param(name, marks=[pytest.mark.gpu] if name in NEEDS_GPU else [], id=name) for name in BACKENDS]
    params = [*names, pytest.param(cupy_stand_in.NAME, id=cupy_stand_in.NAME)]
    if unknown := {*ONLY} - {param.id for param in params}:
        raise pytest.UsageError(f"MLP_XP_TEST_BACKENDS: {', '.join(sorted(unknown))}: no such backend")
    return [param for param in params if not ONLY or param.id in ONLY]


def open_or_skip(name: str, dtype: str = "float64") -> Backend:
    """Open a backend, or skip the test with the reason that a user would read."""
    if name == cupy_stand_in.NAME:
        with cupy_stand_in.installed():
            return open_backend("cupy", dtype=dtype)
    if name in ("torch", "cupy") and not installed(name):
        pytest.skip(f"{name} is not installed")
    try:
        return open_backend(name, dtype=dtype)
    except BackendError as error:
        if name in NEEDS_GPU:
            pytest.skip(str(error))
        raise
