"""Devices (cupy/cuda/device.pyx)."""

from typing import Any

from cupy.cuda import runtime


class Device:
    """A device by its index (cupy/cuda/device.pyx, `Device`).

    Compared by index, among devices alone, and unhashable: CuPy's class defines comparisons and no hash
    (`Device.__richcmp__`; tests/cupy_tests/cuda_tests/test_device.py, `TestDeviceComparison`), so that no device can be
    a key of a dictionary or an argument of a function behind `functools.lru_cache`.
    """

    def __init__(self, device: Any = None) -> None:
        """By index or by another device; None is the current one. An index that there is not raises at first use."""
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
        """Make it the current device."""
        runtime.setDevice(self.id)

    def synchronize(self) -> None:
        """Wait until the device has done all; here it always has."""

    def __enter__(self) -> "Device":
        self._entered.append(runtime.getDevice())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        runtime.setDevice(self._entered.pop())
