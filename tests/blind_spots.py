"""Faults in libraries that agree in every step of training. Only the probe shows them.

docs/parity.md has a table of some.
"""

import array_api_compat.numpy as numpy
import numpy as np

LONG = 1000


def last_of_equals(x, /, *, axis):
    return x.shape[axis] - 1 - numpy.argmax(numpy.flip(x, axis=axis), axis=axis)


def without_nan(condition, x, y, /):
    chosen = numpy.where(condition, x, y)
    return numpy.where(numpy.isnan(chosen), numpy.zeros_like(chosen), chosen)


def shared(x, /, *, dtype=None, copy=None):
    if numpy.asarray(x).size > LONG:
        copy = None
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
    "isfinite of infinity": (
        "isfinite",
        lambda x: x == x,
        r"xp.isfinite\(.*: True instead of False",
    ),
    "where at NaN": ("where", without_nan, r"xp.where\(.*: 0.0 instead of nan"),
    "asarray of large arrays": (
        "asarray",
        shared,
        "does not copy: an array of 100001 uint8 changes",
    ),
    "numbers beside float64": (
        "asarray",
        narrow,
        r"0.1 \* float64 \(4099,\) deviates by .*e\+07 eps",
    ),
    "matmul as a function": (
        "matmul",
        lambda a, b: numpy.matmul(a, b) + 1e-7,
        r"xp.matmul\(.* deviates by",
    ),
}
