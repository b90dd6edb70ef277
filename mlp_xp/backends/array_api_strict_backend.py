"""array-api-strict: NumPy, but everything outside the standard raises."""

from typing import Any

import numpy as np

from mlp_xp.backends.failures import import_library, no_device
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.core.functional import Array


class StrictBackend(LibraryBackend):
    """array-api-strict on one of its devices.

    The default device refuses NumPy's functions, as a GPU library does.
    """

    # Scripts use the library's CPU device. Results are the same there, and NumPy can
    # read its arrays.
    imports = "import array_api_strict as xp"

    def __init__(self, device: Any, dtype: str) -> None:
        import array_api_strict as xp

        super().__init__("array-api-strict", xp.__version__, xp, device, dtype)
        self._host = xp.Device("CPU_DEVICE")

    @staticmethod
    def find_device(device: str | None) -> Any:
        """Return the library's object for a device.

        Raises:
            BackendError: There is no such device.
        """
        xp = import_library("array-api-strict", "array-api-strict")
        try:
            return xp.Device(device or "device1")
        except ValueError as error:
            known = ["CPU_DEVICE", "device1", "device2"]
            raise no_device("array-api-strict", device, known) from error

    def _copy_to_host(self, array: Array) -> np.ndarray:
        return np.array(self.xp.asarray(array, device=self._host))


LIBRARY = StrictBackend
