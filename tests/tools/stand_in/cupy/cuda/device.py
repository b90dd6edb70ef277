"""Devices (cupy/cuda/device.pyx)."""

from typing import Any

from cupy.cuda import runtime


class Device:
    """A device by its index (cupy/cuda/device.pyx, `Device`).

    Devices are compared by index, only with other devices, and are not hashable: CuPy's class defines comparisons but
    no hash (`Device.__richcmp__`; tests/cupy_tests/cuda_tests/test_device.py, `TestDeviceComparison`). So a device
    cannot be a dictionary key or an argument of a function with `functools.lru_cache`.
    """

    def __init__(self, device: Any = None) -> None:
        """Create from an index or a device; None is the current device. An invalid index raises at first use."""
        self.id = runtime.getDevice() if device is None else int(device)
        self._entered: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, Device) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        return self.id < other.id if isinstance(other, Device) else NotImplemented

    def use(self) -> None:
        """Make this the current device."""
        runtime.setDevice(self.id)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total memory in bytes (cupy/cuda/device.pyx, `Device.mem_info`)."""
        return runtime.memGetInfo()

    def synchronize(self) -> None:
        """Wait for the device; here it has always finished."""

    def __enter__(self) -> "Device":
        self._entered.append(runtime.getDevice())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        runtime.setDevice(self._entered.pop())
