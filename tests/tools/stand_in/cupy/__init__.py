"""A stand-in for CuPy: NumPy behind an array class with CuPy's rules.

For tests only; it shows nothing about a GPU.

It exists because array-api-strict and JAX's compiler reject only some of what CuPy
rejects: a device that cannot be hashed, no implicit conversion to NumPy, no operations
with NumPy arrays, 0-dimensional arrays where NumPy returns scalars, index arrays that
wrap around, no floating-point warnings, and a switch that forbids the host to read
values.

Its functions are NumPy's, with the names and the parameters of CuPy's. It cannot show a
GPU's rounding, speed, kernels, libraries, asynchrony, or several devices.
"""

from types import ModuleType

import numpy as np

from cupy import cuda  # noqa: F401
from cupy._array import array, asarray, asnumpy, functions, ndarray, on_device  # noqa: F401
from cupy._signatures import SIGNATURES

__version__ = "14.2.0+stand-in"
_OWN = {"array", "asarray", "asnumpy", "cuda", "fft", "linalg", "ndarray", "take"}

for _name in sorted(SIGNATURES.keys() & vars(np).keys() - _OWN):
    _value = getattr(np, _name)
    if isinstance(_value, ModuleType):
        continue
    if callable(_value) and not isinstance(_value, type):
        # The shape of the result of these depends on values.
        _reads = _name in ("nonzero", "unique")
        _value = functions[_name] = on_device(_value, _name, reads=_reads)
    globals()[_name] = _value
__all__ = [
    name
    for name in globals()
    if not name.startswith("_")
    and name not in ("functions", "np", "on_device", "ModuleType", "SIGNATURES")
]
__all__ += ["fft", "linalg", "take"]


def _take(a, indices, axis=None, out=None):
    """Return elements along an axis; indices out of range wrap around.

    Source: cupy/_core/_routines_indexing.pyx, `_take`.
    """
    return np.take(a, indices, axis, out, mode="wrap")


take = functions["take"] = on_device(_take, "take")

from cupy import fft, linalg  # noqa: E402 - they need the functions
