"""PaddlePaddle: its functions under the names and with the keywords of the standard."""

import numpy as np
import paddle

from mlp_xp.backends.hooks import adapted


def asarray(x, *, dtype=None, copy=None):
    """Make a tensor from a NumPy array, or copy a tensor."""
    if isinstance(x, np.ndarray):
        return paddle.to_tensor(x, dtype=dtype)
    return x.clone()


def arange(stop, *, dtype=None):
    """Count from 0, in int64, because PaddlePaddle cannot count in bytes."""
    if dtype is None:
        return paddle.arange(stop)
    return paddle.arange(stop, dtype="int64").astype(dtype)


def take(x, indices, *, axis):
    """Take rows by number. PaddlePaddle takes bytes only as int32."""
    if x.dtype == paddle.uint8:
        rows = paddle.index_select(x.astype("int32"), indices, axis=axis)
        return rows.astype("uint8")
    return paddle.index_select(x, indices, axis=axis)


def maximum(x, *, axis=None, keepdims=False):
    """Return the maximum. The keyword of PaddlePaddle is `keepdim`."""
    return paddle.max(x, axis=axis, keepdim=keepdims)


def total(x, *, axis=None, keepdims=False):
    """Return the sum. The keyword of PaddlePaddle is `keepdim`."""
    return paddle.sum(x, axis=axis, keepdim=keepdims)


xp = adapted(
    paddle,
    asarray=asarray,
    arange=arange,
    take=take,
    max=maximum,
    sum=total,
    astype=lambda x, dtype: x.astype(dtype),
    concat=lambda arrays, *, axis=0: paddle.concat(list(arrays), axis=axis),
    permute_dims=lambda x, axes: paddle.transpose(x, perm=list(axes)),
)
