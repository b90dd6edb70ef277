"""The stand-in for CuPy (tests/tools/stand_in/cupy) as a test backend, in sys.modules
only while a test needs it.
"""

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

from mlp_xp.backends import _cupy
from mlp_xp.core.library import Backend

NAME = "cupy-stand-in"
"""Its parameter for the fixture `backend`. The backend's own name is cupy."""
FOLDER = Path(__file__).resolve().parent / "stand_in"
"""A process with this folder on PYTHONPATH imports the stand-in as cupy."""

_modules: dict[str, ModuleType] = {}
_open_cupy = _cupy.open_library


def _taken_out() -> dict[str, ModuleType]:
    """Remove the modules of CuPy and of its array-api-compat wrapper from sys.modules,
    and return them.

    The other packages of CuPy go with them: they import parts of cupy when something
        looks at them, as `inspect` does.
    """
    packages = ("cupy.", "cupyx.", "cupy_backends.", "array_api_compat.cupy.")
    names = [name for name in sys.modules if f"{name}.".startswith(packages)]
    return {name: sys.modules.pop(name) for name in names}


def _put_in(modules: dict[str, ModuleType]) -> None:
    """Put modules into sys.modules, and set the package attribute that `import
    array_api_compat.cupy as xp` reads.
    """
    sys.modules.update(modules)
    vars(array_api_compat).pop("cupy", None)
    if "array_api_compat.cupy" in modules:
        array_api_compat.cupy = modules["array_api_compat.cupy"]


def _open_stand_in(device: str | None) -> Backend:
    """Open the backend with the real opener, but forbid reading values in compiled
    functions.
    """
    from cupy._array import reading_forbidden

    backend = _open_cupy(device)

    def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled = backend.jit(function, **options)

        @wraps(function)
        def on_device(*args: Any) -> Any:
            # On one thread, like the other NumPy backends: two threads on a busy
            # machine take many times longer.
            with reading_forbidden(), threadpool_limits(limits=1):
                return compiled(*args)

        return on_device

    return replace(backend, jit=jit)


@contextmanager
def installed() -> Iterator[None]:
    """Use the stand-in as cupy, and restore the previous modules at the end.

    A backend opened here keeps its namespace and still works afterwards. May be nested.
    """
    before, opener = _taken_out(), _cupy.open_library
    _put_in(_modules)
    _cupy.open_library = _open_stand_in
    sys.path.insert(0, str(FOLDER))
    try:
        import array_api_compat.cupy  # noqa: F401

        if not _modules:
            _modules.update(_taken_out())
            _put_in(_modules)
        yield
    finally:
        sys.path.remove(str(FOLDER))
        _cupy.open_library = opener
        _taken_out()
        _put_in(before)
