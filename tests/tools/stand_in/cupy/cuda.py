"""A single device, which is the CPU.

Sources: cupy/cuda/device.pyx, cupy_backends/cuda/api/runtime.pyx.
"""

import sys
from typing import Any

# CuPy's module of the class
device = sys.modules["cupy.cuda.device"] = sys.modules[__name__]


def is_available() -> bool:
    """Return whether there is a device."""
    return True


class Device:
    """A device by its index.

    Devices are compared by index, only with other devices, and have no hash: CuPy's
    class defines comparisons alone (`Device.__richcmp__`). So a device cannot be a key
    of a dictionary, or an argument of a cached function.
    """

    def __init__(self, device: Any = None) -> None:
        self.id = 0 if device is None else int(device)

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Device) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def use(self) -> None:
        """Make this the current device.

        Raises CUDARuntimeError, a RuntimeError, for any other than device 0.
        """
        if self.id:
            raise runtime.CUDARuntimeError(
                "cudaErrorInvalidDevice: invalid device ordinal"
            )

    def __enter__(self) -> "Device":
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        pass


class runtime:  # noqa: N801
    """The part of the CUDA runtime that is used."""

    class CUDARuntimeError(RuntimeError):
        """An error of the CUDA runtime."""

    @staticmethod
    def getDeviceCount() -> int:  # noqa: N802
        """Return the number of devices."""
        return 1
