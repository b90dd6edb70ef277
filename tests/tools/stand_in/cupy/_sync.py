"""A switch that allows or forbids the host to read the device's values.

CuPy has the same switch: with `cupyx.allow_synchronize(False)`, `ndarray.get` and everything else that copies a value
to the host raise `DeviceSynchronized` (cupy/_core/syncdetect.py; `ndarray.get` in cupy/_core/core.pyx declares it;
tests/cupy_tests/core_tests/test_syncdetect.py). CuPy deprecated it because it does not detect what other libraries do.
The stand-in detects every access, because its arrays are the only way to the values.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_thread = threading.local()


class DeviceSynchronized(RuntimeError):  # noqa: N818
    """The host read a device value while that is forbidden (cupy/_core/syncdetect.py, `DeviceSynchronized`)."""


@contextmanager
def allow_synchronize(allow: bool) -> Iterator[None]:
    """Allow or forbid the host to read device values in this thread (syncdetect.py, `allow_synchronize`)."""
    before = getattr(_thread, "allowed", True)
    _thread.allowed = allow
    try:
        yield
    finally:
        _thread.allowed = before


def declare_synchronize(what: str) -> None:
    """Raise DeviceSynchronized if reading is forbidden (cupy/_core/syncdetect.py, `_declare_synchronize`)."""
    if not getattr(_thread, "allowed", True):
        raise DeviceSynchronized(f"{what}: the host reads a value on the device while that is forbidden")
