"""The stand-in for CuPy (tests/tools/stand_in/cupy) as a test backend.

It is in sys.modules only while a test needs it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import array_api_compat
from threadpoolctl import threadpool_limits

from mlp_xp.backends import cupy_backend
from mlp_xp.backends.cupy_backend import CupyBackend

NAME = "cupy-stand-in"
"""Its parameter for the fixture `backend`. The backend's own name is cupy."""
FOLDER = Path(__file__).resolve().parent / "stand_in"
"""A process with this folder on PYTHONPATH imports the stand-in as cupy."""

_modules: dict[str, ModuleType] = {}


def _taken_out() -> dict[str, ModuleType]:
    """Remove CuPy and its array-api-compat wrapper from sys.modules.

    Return the removed modules.

    The other packages of CuPy go with them: they import parts of cupy when something
        looks at them, as `inspect` does.
    """
    packages = ("cupy.", "cupyx.", "cupy_backends.", "array_api_compat.cupy.")
    names = [name for name in sys.modules if f"{name}.".startswith(packages)]
    return {name: sys.modules.pop(name) for name in names}


def _put_in(modules: dict[str, ModuleType]) -> None:
    """Put modules into sys.modules.

    Also set the attribute of the package that belongs to `import array_api_compat.cupy
    as xp`.
    """
    sys.modules.update(modules)
    vars(array_api_compat).pop("cupy", None)
    if "array_api_compat.cupy" in modules:
        array_api_compat.cupy = modules["array_api_compat.cupy"]


class StandInBackend(CupyBackend):
    """CuPy's backend, without reading of values in compiled functions."""

    def __init__(self, device: Any, dtype: str) -> None:
        super().__init__(device, dtype)
        from cupy._array import reading_forbidden

        self._reading_forbidden = reading_forbidden

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        compiled = super()._compile(function, donate, most_steps)

        @wraps(function)
        def on_device(*args: Any) -> Any:
            # On one thread, like the other NumPy backends: two threads on a busy
            # machine take many times longer.
            with self._reading_forbidden(), threadpool_limits(limits=1):
                return compiled(*args)

        return on_device


@contextmanager
def installed() -> Iterator[None]:
    """Use the stand-in as cupy, and restore the previous modules at the end.

    A backend opened here keeps its namespace and still works afterwards. May be nested.
    """
    before, library = _taken_out(), cupy_backend.LIBRARY
    _put_in(_modules)
    cupy_backend.LIBRARY = StandInBackend
    sys.path.insert(0, str(FOLDER))
    try:
        import array_api_compat.cupy  # noqa: F401

        if not _modules:
            _modules.update(_taken_out())
            _put_in(_modules)
        yield
    finally:
        sys.path.remove(str(FOLDER))
        cupy_backend.LIBRARY = library
        _taken_out()
        _put_in(before)
