"""The stand-in for CuPy (tests/stand_in/cupy) as a backend of the tests, in sys.modules while a test needs it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_compat
from threadpoolctl import threadpool_limits

from mlp_xp.backend import BACKENDS, Backend

NAME = "cupy-stand-in"
"""Its parameter of the fixture `backend`. The backend's own name is cupy."""
FOLDER = Path(__file__).resolve().parent / "stand_in"
"""For PYTHONPATH: a process started with it takes the stand-in for CuPy."""

_modules: dict[str, ModuleType] = {}
_open_cupy = BACKENDS["cupy"]


def _taken_out() -> dict[str, ModuleType]:
    """Every module of CuPy's and of array-api-compat's wrapper of it, no longer in sys.modules."""
    names = [name for name in sys.modules if f"{name}.".startswith(("cupy.", "array_api_compat.cupy."))]
    return {name: sys.modules.pop(name) for name in names}


def _put_in(modules: dict[str, ModuleType]) -> None:
    """`import array_api_compat.cupy as xp` reads the package's attribute, so that it must change with sys.modules."""
    sys.modules.update(modules)
    vars(array_api_compat).pop("cupy", None)
    if "array_api_compat.cupy" in modules:
        array_api_compat.cupy = modules["array_api_compat.cupy"]


def _open_stand_in(device: str | None) -> Backend:
    """What `open_backend` opens for cupy: the real `_open_cupy`, and no look at a value inside a compiled function."""
    from cupy._sync import allow_synchronize

    backend = _open_cupy(device)

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        compiled = backend.jit(function, donate)

        @wraps(function)
        def on_device(*args: Any) -> Any:
            # On one thread, as on the other NumPy backends: two on a busy machine take many times longer.
            with allow_synchronize(False), threadpool_limits(limits=1):
                return compiled(*args)

        return on_device

    return replace(backend, jit=jit)


@contextmanager
def installed() -> Iterator[None]:
    """Take the stand-in for CuPy, and put the real one back, or nothing where it is not installed or imported.

    A backend that was opened here holds its namespace and works on afterwards. May be nested.
    """
    before, opener = _taken_out(), BACKENDS["cupy"]
    _put_in(_modules)
    BACKENDS["cupy"] = _open_stand_in
    sys.path.insert(0, str(FOLDER))
    try:
        import array_api_compat.cupy  # noqa: F401

        if not _modules:
            _modules.update(_taken_out())
            _put_in(_modules)
        yield
    finally:
        sys.path.remove(str(FOLDER))
        BACKENDS["cupy"] = opener
        _taken_out()
        _put_in(before)
