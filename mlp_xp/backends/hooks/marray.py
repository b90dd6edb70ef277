"""marray: arrays with a mask, made from another library's namespace.

Training masks nothing, so the data are the whole array.
"""

import array_api_compat.numpy
import marray
import numpy as np

xp = marray.masked_namespace(array_api_compat.numpy)


def to_numpy(x):
    """Return the data as a NumPy array."""
    return np.array(x.data)
