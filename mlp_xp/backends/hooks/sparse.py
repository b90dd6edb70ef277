"""Sparse: it lacks `arange`, and NumPy cannot read its arrays directly."""

import numpy as np
import sparse

from mlp_xp.backends.hooks import adapted

xp = adapted(
    sparse,
    arange=lambda stop, *, dtype=None: sparse.asarray(np.arange(stop, dtype=dtype)),
)


def to_numpy(x):
    """Return all elements of an array, including elements that are not stored."""
    return np.array(x.todense() if isinstance(x, sparse.SparseArray) else x)
