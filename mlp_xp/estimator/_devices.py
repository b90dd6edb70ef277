"""Where arrays live: which library and device an input belongs to, and the way from one
to another.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array

from mlp_xp.backends.opening import open_backend, open_backend_of
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.model import all_finite


def is_foreign(array: Any) -> bool:
    """Return whether this is an array of another library than NumPy. Lists and tables,
    which become NumPy, are not.
    """
    return is_array_api_obj(array) and not is_numpy_array(array)


def to_host(array: Any) -> Any:
    """Return an array of another library as a NumPy array, and anything else as it is.

    Raises ValueError for masked values, because scikit-learn's checks take what is
    below the mask.
    """
    if np.ma.is_masked(array):
        raise ValueError(
            "an array has masked values; impute them, or leave out their rows"
        )
    return open_backend_of(array).to_numpy(array) if is_foreign(array) else array


def choose_backend(
    X: Array,
    name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Backend:
    """Open the backend that computes with X: X's own library, device and dtype, unless
    they are given.

    Everything but float32 becomes float64. Raises BackendError as `open_backend` does.
    """
    dtype = dtype or ("float32" if str(X.dtype).endswith("float32") else "float64")
    if name is None and device is None:
        return open_backend_of(X, dtype)
    return open_backend(name or open_backend_of(X, dtype).name, device, dtype)


# a value beyond float32 becomes inf without a warning, as on other libraries
@np.errstate(over="ignore")
def transfer(array: Array, backend: Backend, dtype: Any = None) -> Array:
    """Return an array of any library on the backend's device; not a copy if it is
    there. None keeps its dtype.
    """
    source = open_backend_of(array)
    if (source.name, source.device_name) == (backend.name, backend.device_name):
        return backend.xp.astype(array, dtype or array.dtype, copy=False)
    return backend.asarray(
        array if is_numpy_array(array) else source.to_numpy(array), dtype
    )


def stand_in(X: Any) -> Any:
    """Return what scikit-learn's checks read: X, or for another library zeros of X's
    shape, which take no memory.

    Raises ValueError for masked values, and for numbers of another library that are not
    finite.
    """
    if not is_foreign(X):
        return to_host(X)
    xp = array_namespace(X)
    if xp.isdtype(X.dtype, "real floating") and not all_finite([X], open_backend_of(X)):
        raise ValueError("X contains NaN or infinity; remove or impute them")
    kind = complex if xp.isdtype(X.dtype, "complex floating") else float
    return np.broadcast_to(np.zeros((), kind), tuple(X.shape))
