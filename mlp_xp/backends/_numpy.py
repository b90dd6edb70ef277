"""NumPy."""

import array_api_compat.numpy as xp
import numpy as np

from mlp_xp.backends.common import Details, eager, no_device
from mlp_xp.core.library import Backend


def open_library(device: str | None) -> Backend:
    """Open NumPy. Raises BackendError for a device other than cpu."""
    if device not in (None, "cpu"):
        raise no_device("numpy", device, ["cpu"])
    return eager(
        "numpy",
        np.__version__,
        xp,
        "cpu",
        np.array,
        Details(imports="import numpy as xp"),
    )
