"""array-api-strict: NumPy, but everything outside the standard raises."""

import numpy as np

from mlp_xp.backends.common import Details, eager, import_library, no_device
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend


def open_library(device: str | None) -> Backend:
    """Open array-api-strict, by default on a device that refuses NumPy's functions, as
    a GPU library does.
    """
    xp = import_library("array-api-strict", "array-api-strict")
    try:
        place = xp.Device(device or "device1")
    except ValueError as error:
        raise no_device(
            "array-api-strict", device, ["CPU_DEVICE", "device1", "device2"]
        ) from error
    host = xp.Device("CPU_DEVICE")

    def to_numpy(x: Array) -> np.ndarray:
        return np.array(xp.asarray(x, device=host))

    # A script uses its CPU device, which computes the same and which NumPy can read.
    return eager(
        "array-api-strict",
        xp.__version__,
        xp,
        place,
        to_numpy,
        Details(imports="import array_api_strict as xp"),
    )
