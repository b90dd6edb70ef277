"""TensorFlow's NumPy: tf.experimental.numpy with the missing names of the standard."""

import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from mlp_xp.backends.hooks import adapted

# operators and attributes of tensors like NumPy's
tnp.experimental_enable_numpy_behavior()


def asarray(x, *, dtype=None, copy=None):
    """Make a tensor that shares no memory."""
    return tnp.array(x, dtype=dtype, copy=True)


xp = adapted(
    tnp,
    uint8=tf.uint8,
    asarray=asarray,
    astype=tf.cast,
    concat=tnp.concatenate,
    permute_dims=tnp.transpose,
)
