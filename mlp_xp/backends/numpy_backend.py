"""NumPy."""

import array_api_compat.numpy as xp
import numpy as np

from mlp_xp.backends.failures import no_device
from mlp_xp.backends.library import LibraryBackend


class NumpyBackend(LibraryBackend):
    """NumPy, which has one device, the CPU."""

    imports = "import numpy as xp"

    def __init__(self, device: str, dtype: str) -> None:
        super().__init__("numpy", np.__version__, xp, device, dtype)

    @staticmethod
    def find_device(device: str | None) -> str:
        """Return the device of this name.

        Raises:
            BackendError: The name is not `cpu`.
        """
        if device not in (None, "cpu"):
            raise no_device("numpy", device, ["cpu"])
        return "cpu"


LIBRARY = NumpyBackend
