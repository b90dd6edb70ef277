"""The libraries and devices of arrays, and copies from one to another."""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj, is_numpy_array
from scipy.sparse import issparse

from mlp_xp.backends.opening import open_backend, open_backend_of
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.model import all_finite


def is_foreign(array: Any) -> bool:
    """Return whether an object is an array of another library than NumPy.

    Lists and tables, which become NumPy arrays, are not foreign.
    """
    return is_array_api_obj(array) and not is_numpy_array(array)


def to_host(array: Any) -> Any:
    """Return a foreign array as a NumPy array, and any other object unchanged.

    Raises:
        ValueError: There are masked values. scikit-learn's checks would use the values
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
    """Open the backend that computes with X.

    By default this is X's own library, on its device and in its dtype. All dtypes but
    float32 become float64.

    Raises:
        BackendError: The library, the device or the dtype is not available.
    """
    if dtype is None:
        dtype = "float32" if str(X.dtype).endswith("float32") else "float64"
    if name is None and device is None:
        return open_backend_of(X, dtype)
    return open_backend(name or open_backend_of(X, dtype).name, device, dtype)


def place_of(array: Array) -> str:
    """Return the library and the device of an array, in words."""
    backend = choose_backend(array)
    return f"{backend.name} on {backend.device_name}"


# NumPy would warn of a number that is too large for float32. Other libraries do not.
@np.errstate(over="ignore")
def transfer(array: Array, backend: Backend, dtype: Any = None) -> Array:
    """Return an array of any library on the backend's device.

    An array that is there already is not copied. Without a dtype, it keeps its own.
    """
    source = open_backend_of(array)
    if (source.name, source.device_name) == (backend.name, backend.device_name):
        return backend.xp.astype(array, dtype or array.dtype, copy=False)
    host = array if is_numpy_array(array) else source.to_numpy(array)
    return backend.asarray(host, dtype)


def stand_in(X: Any) -> Any:
    """Return an object for scikit-learn's checks to read in place of X.

    For a foreign array, these are zeros of the same shape, which take no memory.

    Raises:
        TypeError: X is sparse.
        ValueError: There are masked values, or numbers of a foreign array that are not
            finite.
    """
    foreign = is_foreign(X)
    # Sparse arrays of other libraries than SciPy name their layout.
    if issparse(X) or (foreign and "sparse" in str(getattr(X, "layout", ""))):
        raise TypeError("sparse X is not supported; give a dense array")
    if not foreign:
        return to_host(X)
    xp = array_namespace(X)
    if xp.isdtype(X.dtype, "real floating") and not all_finite([X], open_backend_of(X)):
        raise ValueError("X contains NaN or infinity; remove or impute them")
    kind = complex if xp.isdtype(X.dtype, "complex floating") else float
    return np.broadcast_to(np.zeros((), kind), tuple(X.shape))
