"""The backends for the tests."""

import importlib.util
import os
import shutil
from functools import cache
from typing import Any

import cupy_stand_in
import pytest

from mlp_xp.backends import BACKENDS
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend

NEEDS_GPU = {"cupy"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Names, separated by spaces; empty: all backends. Mutation testing sets it, since it
# runs the tests a thousand times.
ONLY = os.environ.get("MLP_XP_TEST_BACKENDS", "").split()


def backend_params() -> list:
    """Return one parameter per backend.

    The stand-in for CuPy comes last and is never marked `gpu`, because a test on it
    does not run on a GPU.
    """
    names = [
        pytest.param(
            name, marks=[pytest.mark.gpu] if name in NEEDS_GPU else [], id=name
        )
        for name in BACKENDS
    ]
    params = [*names, pytest.param(cupy_stand_in.NAME, id=cupy_stand_in.NAME)]
    if unknown := {*ONLY} - {param.id for param in params}:
        raise pytest.UsageError(
            f"MLP_XP_TEST_BACKENDS: {', '.join(sorted(unknown))}: no such backend"
        )
    return [param for param in params if not ONLY or param.id in ONLY]


def everywhere(*case: Any) -> Any:
    """Also run a case on JAX, PyTorch and the stand-in for CuPy in the quick tests."""
    return pytest.param(*case, marks=pytest.mark.every_backend)


@cache
def is_installed(name: str) -> bool:
    """Return whether a package can be imported.

    `browser` stands for Chromium and Playwright.
    """
    if name == "browser":
        return browser() is not None and is_installed("playwright")
    return importlib.util.find_spec(name) is not None


def browser() -> str | None:
    """Return the path of Chromium or Chrome on this machine, if it has one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@cache
def has_gpu() -> bool:
    """Return whether CuPy and a GPU are usable."""
    try:
        open_backend("cupy")
    except BackendError:
        return False
    return True


def open_for_test(name: str, dtype: str = "float64") -> Backend:
    """Open a backend or the stand-in for CuPy.

    A test on PyTorch needs the mark `needs("torch")`.
    """
    if name == cupy_stand_in.NAME:
        with cupy_stand_in.installed():
            return open_backend("cupy", dtype=dtype)
    return open_backend(name, dtype=dtype)
