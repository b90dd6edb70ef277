"""A stand-in for CuPy: NumPy behind an array class with CuPy's rules. For tests only; it shows nothing about a GPU.

It exists because array-api-strict and JAX's compiler reject only some of what CuPy rejects: a device that cannot be
hashed, no implicit conversion to NumPy, no operations with NumPy arrays, 0-dimensional arrays where NumPy returns
scalars, index arrays that wrap around, no floating-point warnings, and a switch that forbids the host to read values.

It has only what `array_api_compat.cupy` takes from CuPy; any other name raises AttributeError. It cannot show a GPU's
rounding, speed, kernels, libraries, asynchrony, or several devices.
"""

import numpy as np

from cupy import cuda
from cupy._array import array, asarray, asnumpy, functions, ndarray, on_device

__version__ = "14.2.0+stand-in"

# cupy/__init__.py, names whose function computes on the device, or creates an array from numbers and shapes.
_FUNCTIONS = """
abs absolute add all any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort
bitwise_and bitwise_or bitwise_xor broadcast_arrays broadcast_to ceil clip concatenate conj copysign cos cosh
count_nonzero cumsum divide dot empty empty_like equal exp expand_dims expm1 eye flip floor floor_divide full full_like
greater greater_equal hypot imag invert isfinite isin isinf isnan left_shift less less_equal linspace log log10 log1p
log2 logaddexp logical_and logical_not logical_or logical_xor matmul max maximum mean meshgrid min minimum moveaxis
multiply negative nextafter not_equal ones ones_like outer positive power prod real reciprocal remainder repeat
reshape result_type right_shift roll round searchsorted shares_memory sign signbit sin sinh sort sqrt square squeeze
stack std subtract sum take_along_axis tan tanh tensordot tile transpose tril triu true_divide trunc var where zeros
zeros_like
"""
# What cupy/__init__.py imports from NumPy unchanged.
_NUMPYS = """
bool_ can_cast complex64 complex128 dtype e finfo float16 float32 float64 floating iinfo inf int8 int16 int32 int64
integer intp isdtype issubdtype nan newaxis number pi promote_types uint8 uint16 uint32 uint64
"""
__all__ = ["array", "asarray", "asnumpy", "cuda", "fft", "linalg", "ndarray", "nonzero", "take", "unique"]
__all__.extend(_FUNCTIONS.split() + _NUMPYS.split())

for _name in _FUNCTIONS.split():
    globals()[_name] = functions[_name] = on_device(getattr(np, _name))
for _name in _NUMPYS.split():
    globals()[_name] = getattr(np, _name)
for _name in ("nonzero", "unique"):  # the shape of the result depends on values
    globals()[_name] = functions[_name] = on_device(getattr(np, _name), reads=True)


def take(a, indices, axis=None):
    """Return elements along an axis; indices out of range wrap around (cupy/_core/_routines_indexing.pyx, `_take`)."""
    return on_device(np.take)(a, indices, axis=axis, mode="wrap")


functions["take"] = take

from cupy import fft, linalg  # noqa: E402 - they need the functions
