"""Whether the host may look at the device's values now.

CuPy has such a switch of its own: `cupyx.allow_synchronize(False)` makes `ndarray.get`, and with it whatever copies a
value to the host, raise `DeviceSynchronized` (cupy/_core/syncdetect.py; `ndarray.get` in cupy/_core/core.pyx declares
it; tests/cupy_tests/core_tests/test_syncdetect.py). It is deprecated there, because it cannot see what other libraries
do. NumPy does nothing behind the stand-in's back, so here it sees everything.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


class DeviceSynchronized(RuntimeError):  # noqa: N818
    """A look at the device's values while that is forbidden (cupy/_core/syncdetect.py, `DeviceSynchronized`)."""


@contextmanager
def allow_synchronize(allow: bool) -> Iterator[None]:
    """Allow or forbid the host to look at the device's values, in this thread (syncdetect.py, `allow_synchronize`)."""
    before = getattr(_thread, "allowed", True)
    _thread.allowed = allow
    try:
        yield
    finally:
        _thread.allowed = before


def declare_synchronize(what: str) -> None:
    """Raise DeviceSynchronized where it is forbidden (cupy/_core/syncdetect.py, `_declare_synchronize`)."""
    if not getattr(_thread, "allowed", True):
        raise DeviceSynchronized(f"{what}: the host looks at a value on the device while that is forbidden")
