"""Sparse: it lacks `arange`, and NumPy may not read its arrays without being asked."""

import numpy as np
import sparse

from mlp_xp.backends.hooks import adapted

xp = adapted(
    sparse,
    arange=lambda stop, *, dtype=None: sparse.asarray(np.arange(stop, dtype=dtype)),
)


def to_numpy(x):
    """Return all elements of an array, also those that it does not store."""
    return np.array(x.todense() if isinstance(x, sparse.SparseArray) else x)
