"""A single device, which is the CPU (cupy/cuda/__init__.py)."""

from cupy.cuda import device, runtime
from cupy.cuda.device import Device

__all__ = ["Device", "device", "is_available", "runtime"]


def is_available() -> bool:
    """Return whether there is a device (cupy/cuda/__init__.py, `is_available`)."""
    return runtime.getDeviceCount() > 0
