"""Faults in libraries that agree in every step of training. Only the probe shows them.

docs/parity.md has a table of some.
"""

import array_api_compat.numpy as numpy
import numpy as np

LONG = 1000


def last_of_equals(x, /, *, axis):
    return x.shape[axis] - 1 - numpy.argmax(numpy.flip(x, axis=axis), axis=axis)


def of_positive(x, /, *, axis):
    return numpy.argmax(numpy.where(x > 0, x, numpy.zeros_like(x)), axis=axis)


def without_nan(condition, x, y, /):
    chosen = numpy.where(condition, x, y)
    return numpy.where(numpy.isnan(chosen), numpy.zeros_like(chosen), chosen)


def all_but_the_last(x, indices, /, *, axis):
    last = numpy.asarray(x.shape[axis] - 2)
    return numpy.take(x, numpy.minimum(indices, last), axis=axis)


def of_the_first_thousand(x, /, *, axis=None, keepdims=False):
    if axis in (-1, x.ndim - 1):
        x = x[..., :LONG]
    return numpy.sum(x, axis=axis, keepdims=keepdims)


def finite_max(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    return numpy.where(numpy.isinf(found), numpy.zeros_like(found), found)


def at_least_0_in_long_rows(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    if axis == -1 and x.shape[-1] > LONG:
        return numpy.maximum(found, numpy.zeros_like(found))
    return found


def shared(x, /, *, dtype=None, copy=None):
    if numpy.asarray(x).size > LONG:
        copy = None
    return numpy.asarray(x, dtype=dtype, copy=copy)


def itself(x, /, *, dtype=None, copy=None):
    if x.shape == (4099,) and dtype is None:
        return x
    return numpy.asarray(x, dtype=dtype, copy=copy)


class Narrow(np.ndarray):
    """An array that rounds Python's numbers to float32."""

    def __rmul__(self, other):
        if isinstance(other, float):
            other = float(np.float32(other))
        return np.ndarray.__rmul__(self, other)


def narrow(x, /, *, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=copy).view(Narrow)


# The faulty function, its replacement, and the words of the report.
BLIND_SPOTS = {
    "argmax with ties": (
        "argmax",
        last_of_equals,
        r"xp.argmax\(float64 \(4099, 10\), axis=1\) deviates by",
    ),
    "argmax of negative numbers": (
        "argmax",
        of_positive,
        r"xp.argmax\(float64 \(5, 4099\), axis=1\) deviates by",
    ),
    "isfinite of infinity": (
        "isfinite",
        lambda x: x == x,
        r"xp.isfinite\(.*: True instead of False",
    ),
    "where at NaN": ("where", without_nan, r"xp.where\(.*: 0.0 instead of nan"),
    "maximum at NaN": ("maximum", numpy.fmax, r"xp.maximum\(.* instead of nan"),
    "the last index": (
        "take",
        all_but_the_last,
        r"xp.take\(uint8 \(4099, 10\), int64 \(4,\), axis=0\) deviates",
    ),
    "lengths above 1000": (
        "sum",
        of_the_first_thousand,
        r"xp.sum\(float64 \(5, 4099\), axis=-1",
    ),
    "max of infinity": (
        "max",
        finite_max,
        r"xp.max\(float64 \(3, 4099\)\) deviates by inf.* 0.0 instead of inf",
    ),
    "max of negative numbers": (
        "max",
        at_least_0_in_long_rows,
        r"xp.max\(float64 \(5, 4099\), axis=-1.* 0.0 instead of -9",
    ),
    "asarray of large arrays": (
        "asarray",
        shared,
        "does not copy: an array of 100001 uint8 changes",
    ),
    "a copy of its own array": (
        "asarray",
        itself,
        r"xp.asarray\(.*copy=True\) changes its argument 1",
    ),
    "numbers beside float64": (
        "asarray",
        narrow,
        r"0.1 \* float64 \(4099,\) deviates by .*e\+07 eps",
    ),
    "all at the first index": (
        "all",
        lambda x: numpy.all(x.reshape(-1)[1:]),
        r"xp.all\(bool \(4099,\)\) deviates by",
    ),
    "all at the last index": (
        "all",
        lambda x: numpy.all(x.reshape(-1)[:-1]),
        r"xp.all\(bool \(4099,\)\) deviates by",
    ),
    "matmul as a function": (
        "matmul",
        lambda a, b: numpy.matmul(a, b) + 1e-7,
        r"xp.matmul\(.* deviates by",
    ),
}
