"""Keras: the functions of keras.ops under the names of the standard, on JAX."""

import os

import numpy as np

from mlp_xp.backends.hooks import adapted

os.environ |= {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}  # before the first import

from keras import ops


def asarray(x, *, dtype=None, copy=None):
    """Make a tensor, which nothing changes in place; of a copy, because JAX may use a
    NumPy array's memory.
    """
    return ops.convert_to_tensor(
        np.array(x) if isinstance(x, np.ndarray) else x, dtype=dtype
    )


xp = adapted(
    ops, asarray=asarray, astype=ops.cast, concat=ops.concatenate, permute_dims=ops.transpose,
    **{name: name for name in ("float32", "float64", "int64", "uint8")},
)  # fmt: skip
