"""Keras: the functions of keras.ops under the names of the standard, on JAX."""

import os

import numpy as np

os.environ |= {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}  # before the first import

from keras import ops


class Namespace:
    """keras.ops under the names of the standard."""

    __name__ = "keras.ops"
    float32, float64, int64, uint8 = "float32", "float64", "int64", "uint8"
    finfo = staticmethod(np.finfo)
    astype = staticmethod(ops.cast)
    concat = staticmethod(ops.concatenate)
    permute_dims = staticmethod(ops.transpose)

    def __getattr__(self, name):
        """Return what keras.ops has."""
        return getattr(ops, name)

    def asarray(self, x, *, dtype=None, copy=None):
        """Make a tensor, which nothing changes in place; of a copy, because JAX may use a NumPy array's memory."""
        return ops.convert_to_tensor(np.array(x) if isinstance(x, np.ndarray) else x, dtype=dtype)


xp = Namespace()
