"""A single device, which is the CPU."""

from cupy.cuda import device
from cupy.cuda.device import Device, runtime

__all__ = ["Device", "device", "is_available", "runtime"]


def is_available() -> bool:
    """Return whether there is a device."""
    return True
