"""Cubed: lazy, and made for arrays that fill many computers.

Every operation of a step is a task, whose result is stored: here in memory, not
    compressed, one task after the other.
"""

import cubed
import cubed.array_api
import numpy as np
from zarr.storage import MemoryStore

from mlp_xp.backends.hooks import adapted

STORE = {"intermediate_store": MemoryStore(), "zarr_compressor": None}
SPEC = cubed.Spec(allowed_mem="1GB", executor_name="single-threaded", **STORE)


def asarray(x, *, dtype=None, copy=None):
    """Make an array of a copy, or return the one that is given: no operation changes
    one in place.
    """
    return (
        x
        if isinstance(x, cubed.Array)
        else cubed.array_api.asarray(np.array(x, dtype=dtype), spec=SPEC)
    )


def reshape(x, shape):
    """Reshape an array that is one chunk: Cubed refuses those whose chunks have several
    sizes.
    """
    return cubed.array_api.reshape(cubed.rechunk(x, x.shape), shape)


def arange(stop, *, dtype=None):
    """Count from 0."""
    return cubed.array_api.arange(stop, dtype=dtype, spec=SPEC)


def materialise(*arrays):
    """Compute arrays, and make new ones of the values."""
    return [
        asarray(value) for value in cubed.compute(*arrays, _return_in_memory_array=True)
    ]


xp = adapted(cubed.array_api, asarray=asarray, reshape=reshape, arange=arange)
