"""Keras: the functions of keras.ops under the names of the standard, on JAX."""

import os

import numpy as np

from mlp_xp.backends.hooks import adapted

# before the first import
os.environ |= {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}

from keras import ops


def asarray(x, *, dtype=None, copy=None):
    """Make a tensor from a copy, because JAX may use a NumPy array's memory."""
    if isinstance(x, np.ndarray):
        x = np.array(x)
    return ops.convert_to_tensor(x, dtype=dtype)


xp = adapted(
    ops,
    asarray=asarray,
    astype=ops.cast,
    concat=ops.concatenate,
    permute_dims=ops.transpose,
    **{name: name for name in ("float32", "float64", "int64", "uint8")},
)
