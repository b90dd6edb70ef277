"""Sparse: it lacks `arange`, and NumPy may not read its arrays without being asked."""

import numpy as np
import sparse


class Namespace:
    """Sparse, and what it lacks of the standard."""

    __name__ = "sparse"

    def __getattr__(self, name):
        """Return what sparse has."""
        return getattr(sparse, name)

    def arange(self, stop, *, dtype=None):
        """Count from 0."""
        return sparse.asarray(np.arange(stop, dtype=dtype))


xp = Namespace()


def to_numpy(x):
    """Return all elements of an array, also those that it does not store."""
    return np.array(x.todense() if isinstance(x, sparse.SparseArray) else x)
