"""One device, which is the CPU (cupy/cuda/__init__.py)."""

from cupy.cuda import device, runtime
from cupy.cuda.device import Device

__all__ = ["Device", "device", "is_available", "runtime"]


def is_available() -> bool:
    """Whether there is a device: there is the stand-in's (cupy/cuda/__init__.py, `is_available`)."""
    return runtime.getDeviceCount() > 0
