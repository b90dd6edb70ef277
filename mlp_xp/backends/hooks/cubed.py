"""Cubed: lazy, and made for arrays that fill many computers.

Every operation of a step is a task with a stored result. Here results are in memory,
not compressed, and tasks run one after the other.
"""

import cubed
import cubed.array_api
import numpy as np
from zarr.storage import MemoryStore

from mlp_xp.backends.hooks import adapted

STORE = {"intermediate_store": MemoryStore(), "zarr_compressor": None}
SPEC = cubed.Spec(allowed_mem="1GB", executor_name="single-threaded", **STORE)


def asarray(x, *, dtype=None, copy=None):
    """Make an array of a copy. An array of Cubed never changes and needs no copy."""
    if isinstance(x, cubed.Array):
        return x
    return cubed.array_api.asarray(np.array(x, dtype=dtype), spec=SPEC)


def reshape(x, shape):
    """Reshape an array as one chunk. Cubed refuses chunks of several sizes."""
    return cubed.array_api.reshape(cubed.rechunk(x, x.shape), shape)


def arange(stop, *, dtype=None):
    """Count from 0."""
    return cubed.array_api.arange(stop, dtype=dtype, spec=SPEC)


def materialise(*arrays):
    """Compute arrays, and make new arrays of the values."""
    return [
        asarray(value) for value in cubed.compute(*arrays, _return_in_memory_array=True)
    ]


xp = adapted(cubed.array_api, asarray=asarray, reshape=reshape, arange=arange)
