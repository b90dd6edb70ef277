"""PaddlePaddle: its functions under the names and with the keywords of the standard."""

import numpy as np
import paddle

from mlp_xp.backends.hooks import adapted


def asarray(x, *, dtype=None, copy=None):
    """Make a tensor from a NumPy array, or copy one."""
    return paddle.to_tensor(x, dtype=dtype) if isinstance(x, np.ndarray) else x.clone()


def arange(stop, *, dtype=None):
    """Count from 0; in bytes by way of int64."""
    return (
        paddle.arange(stop, dtype="int64").astype(dtype)
        if dtype is not None
        else paddle.arange(stop)
    )


def take(x, indices, *, axis):
    """Take rows by number; of bytes by way of int32."""
    if x.dtype == paddle.uint8:
        return paddle.index_select(x.astype("int32"), indices, axis=axis).astype(
            "uint8"
        )
    return paddle.index_select(x, indices, axis=axis)


xp = adapted(
    paddle, asarray=asarray, arange=arange, take=take,
    astype=lambda x, dtype: x.astype(dtype),
    concat=lambda arrays, *, axis=0: paddle.concat(list(arrays), axis=axis),
    max=lambda x, *, axis=None, keepdims=False: paddle.max(x, axis=axis, keepdim=keepdims),
    permute_dims=lambda x, axes: paddle.transpose(x, perm=list(axes)),
    sum=lambda x, *, axis=None, keepdims=False: paddle.sum(x, axis=axis, keepdim=keepdims),
)  # fmt: skip
