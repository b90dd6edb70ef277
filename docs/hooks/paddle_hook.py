"""PaddlePaddle: its functions under the names and with the keywords of the standard."""

import numpy as np
import paddle


class Namespace:
    """Paddle under the names of the standard."""

    __name__ = "paddle"

    def __getattr__(self, name):
        """Return what paddle has."""
        return getattr(paddle, name)

    def asarray(self, x, *, dtype=None, copy=None):
        """Make a tensor from a NumPy array, or copy one."""
        return paddle.to_tensor(x, dtype=dtype) if isinstance(x, np.ndarray) else x.clone()

    def arange(self, stop, *, dtype=None):
        """Count from 0; in bytes by way of int64."""
        return paddle.arange(stop, dtype="int64").astype(dtype) if dtype is not None else paddle.arange(stop)

    def astype(self, x, dtype):
        """Convert a tensor."""
        return x.astype(dtype)

    def take(self, x, indices, *, axis):
        """Take rows by number; of bytes by way of int32."""
        if x.dtype == paddle.uint8:
            return paddle.index_select(x.astype("int32"), indices, axis=axis).astype("uint8")
        return paddle.index_select(x, indices, axis=axis)

    def permute_dims(self, x, axes):
        """Change the order of the axes."""
        return paddle.transpose(x, perm=list(axes))

    def concat(self, arrays, *, axis=0):
        """Join tensors."""
        return paddle.concat(list(arrays), axis=axis)

    def sum(self, x, *, axis=None, keepdims=False):
        """Add along an axis."""
        return paddle.sum(x, axis=axis, keepdim=keepdims)

    def max(self, x, *, axis=None, keepdims=False):
        """Return the largest; of bytes by way of int32."""
        if x.dtype == paddle.uint8:
            return paddle.max(x.astype("int32"), axis=axis, keepdim=keepdims).astype("uint8")
        return paddle.max(x, axis=axis, keepdim=keepdims)

    def min(self, x):
        """Return the smallest; of bytes by way of int32."""
        return paddle.min(x.astype("int32")).astype("uint8") if x.dtype == paddle.uint8 else paddle.min(x)


xp = Namespace()
