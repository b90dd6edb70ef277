"""TensorFlow's NumPy: tf.experimental.numpy with the names of the standard that it lacks."""

import numpy as np
import tensorflow as tf
import tensorflow.experimental.numpy as tnp

tnp.experimental_enable_numpy_behavior()  # operators and attributes of tensors like NumPy's


class Namespace:
    """tensorflow.experimental.numpy, and the rest of the standard."""

    __name__ = "tensorflow.experimental.numpy"
    uint8 = tf.uint8
    astype = staticmethod(tf.cast)
    concat = staticmethod(tnp.concatenate)
    permute_dims = staticmethod(tnp.transpose)

    def __getattr__(self, name):
        """Return what tensorflow.experimental.numpy has."""
        return getattr(tnp, name)

    def finfo(self, dtype):
        """Return NumPy's description of a dtype."""
        return np.finfo(tf.as_dtype(dtype).as_numpy_dtype)

    def asarray(self, x, *, dtype=None, copy=None):
        """Make a tensor that shares no memory."""
        return tnp.array(x, dtype=dtype, copy=True)


xp = Namespace()
