"""Dask: its lazy arrays are computed together when a chunk of steps ends.

Without `materialise`, the graph would grow from the first step to the last, and every
loss would be computed from the beginning.
"""

import array_api_compat.dask.array as xp  # noqa: F401
import dask

materialise = dask.persist
