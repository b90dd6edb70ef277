"""Dask: its arrays are lazy, so the arrays of a chunk of steps are computed together
when the chunk ends.

Without `materialise` the graph grows from the first step to the last, and every loss is
computed from the beginning.
"""

import array_api_compat.dask.array as xp  # noqa: F401
import dask

materialise = dask.persist
