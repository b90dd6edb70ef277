"""TensorFlow's NumPy: tf.experimental.numpy with the names of the standard that it
lacks.
"""

import tensorflow as tf
import tensorflow.experimental.numpy as tnp

from mlp_xp.backends.hooks import adapted

# operators and attributes of tensors like NumPy's
tnp.experimental_enable_numpy_behavior()
xp = adapted(
    tnp, uint8=tf.uint8, astype=tf.cast, concat=tnp.concatenate, permute_dims=tnp.transpose,
    # which shares no memory
    asarray=lambda x, *, dtype=None, copy=None: tnp.array(x, dtype=dtype, copy=True),
)  # fmt: skip
