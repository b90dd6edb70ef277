"""A stand-in for CuPy: NumPy behind an array class with CuPy's rules. For tests only; it shows nothing about a GPU.

It exists because array-api-strict and JAX's compiler reject only some of what CuPy rejects. The rules come from CuPy's
sources and tests, which the docstrings name: a device that cannot be hashed, no implicit conversion to NumPy, no
operations with NumPy arrays, 0-dimensional arrays where NumPy returns scalars, index arrays that wrap around, no
floating-point warnings, and a switch that forbids the host to read values (`cupy._sync.allow_synchronize`).

It has only what `array_api_compat.cupy` uses from CuPy and what is in the array API standard; any other name raises
AttributeError. It cannot show a GPU's rounding, speed, kernels, libraries, asynchrony, or several devices.
"""

import numpy as np

from cupy import cuda, fft, linalg
from cupy._array import (
    array,
    asarray,
    asnumpy,
    creator,
    elementwise,
    ndarray,
    of_array,
    of_arrays,
    operand,
    register,
    unwrap,
    wrap,
)

__version__ = "14.2.0+stand-in"

# cupy/_core/_ufuncs.py, cupy/_math, cupy/_logic, cupy/_binary.
_ELEMENTWISE = """
abs absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor ceil conj
conjugate copysign cos cosh divide equal exp expm1 floor floor_divide fmax fmin fmod greater greater_equal hypot
invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not
logical_or logical_xor matmul maximum minimum mod multiply negative nextafter not_equal positive power reciprocal
remainder right_shift rint sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc
"""
# cupy/_math, cupy/_statistics, cupy/_sorting, cupy/_manipulation, cupy/_indexing, cupy/_creation.
_OF_ARRAY = """
all amax amin any argmax argmin argsort broadcast_to clip count_nonzero cross cumprod cumsum diagonal diff dot
empty_like expand_dims flip full_like imag isin max mean median min moveaxis ones_like outer prod ravel real repeat
reshape roll round searchsorted sort squeeze std sum swapaxes take_along_axis tensordot tile trace transpose tril triu
var zeros_like
"""
_OF_ARRAYS = "column_stack concatenate hstack stack vstack"
_CREATORS = "arange empty eye full identity linspace ones tri zeros"
# What cupy/__init__.py imports from NumPy unchanged.
_NUMPYS = """
bool_ broadcast_shapes can_cast complex64 complex128 complexfloating dtype e finfo float16 float32 float64 floating
iinfo inf int8 int16 int32 int64 integer intp isdtype issubdtype nan newaxis number pi promote_types signedinteger
uint8 uint16 uint32 uint64 unsignedinteger
"""
__all__ = [
    "array",
    "asarray",
    "asnumpy",
    "broadcast_arrays",
    "cuda",
    "fft",
    "is_available",
    "linalg",
    "meshgrid",
    "ndarray",
    "nonzero",
    "result_type",
    "shares_memory",
    "take",
    "unique",
    "where",
]
for _names in (_ELEMENTWISE, _OF_ARRAY, _OF_ARRAYS, _CREATORS, _NUMPYS):
    __all__.extend(_names.split())

for _name in _ELEMENTWISE.split():
    globals()[_name] = elementwise(getattr(np, _name))
for _name in _OF_ARRAY.split():
    globals()[_name] = of_array(getattr(np, _name))
for _name in _OF_ARRAYS.split():
    globals()[_name] = of_arrays(getattr(np, _name))
for _name in _CREATORS.split():
    globals()[_name] = creator(getattr(np, _name))
for _name in _NUMPYS.split():
    globals()[_name] = getattr(np, _name)
nonzero = of_array(np.nonzero, synchronizes=True)
unique = of_array(np.unique, synchronizes=True)


@register
def take(a, indices, axis=None):
    """Return elements along an axis; indices out of range wrap around (cupy/_core/_routines_indexing.pyx, `_take`)."""
    host = unwrap(a)
    if type(a) is not ndarray:
        raise TypeError(f"Unsupported type {type(a)}")
    return wrap(np.take(host, unwrap(indices), axis=axis, mode="wrap"))


@register
def where(condition, x=None, y=None):
    """Return elements of x where the condition is true, else of y (cupy/_sorting/search.py, `where`).

    The condition must be an array; x and y may be scalars.
    """
    if type(condition) is not ndarray:
        raise TypeError(f"Unsupported type {type(condition)}")
    if x is None or y is None:
        return nonzero(condition)
    return wrap(np.where(operand(condition), operand(x), operand(y)))


@register
def broadcast_arrays(*arrays):
    """Return views with a common shape (cupy/_manipulation/dims.py, `broadcast_arrays`)."""
    return list(map(wrap, np.broadcast_arrays(*map(unwrap, arrays))))


@register
def meshgrid(*arrays, **kwargs):
    """Return coordinate arrays from coordinate vectors (cupy/_creation/ranges.py, `meshgrid`)."""
    return list(map(wrap, np.meshgrid(*map(unwrap, arrays), **kwargs)))


def result_type(*arrays_and_dtypes):
    """Return the dtype of an operation (cupy/__init__.py, `result_type`)."""
    return np.result_type(*map(unwrap, arrays_and_dtypes))


def shares_memory(a, b):
    """Return whether two arrays share an element (cupy/_misc/memory_ranges.py, `shares_memory`)."""
    return np.shares_memory(unwrap(a), unwrap(b))


class MemoryPool:
    """Memory that CuPy keeps after an array is freed (cupy/cuda/memory.pyx, `MemoryPool`); here there is none."""

    def free_bytes(self):
        """Return the bytes that are kept and not in use."""
        return 0


def get_default_memory_pool():
    """Return the memory pool (cupy/__init__.py, `get_default_memory_pool`)."""
    return MemoryPool()


def is_available():
    """Return whether there is a device (cupy/__init__.py, `is_available`)."""
    return cuda.is_available()
