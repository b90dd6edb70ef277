"""The part of the CUDA runtime that is used (cupy_backends/cuda/api/runtime.pyx)."""

COUNT = 1
FREE = 2**33
_current = 0


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime (runtime.pyx, `CUDARuntimeError`)."""


def getDeviceCount() -> int:  # noqa: N802
    """Return the number of devices."""
    return COUNT


def getDevice() -> int:  # noqa: N802
    """Return the index of the current device."""
    return _current


def setDevice(index: int) -> None:  # noqa: N802
    """Make a device the current one. Raises CUDARuntimeError if it does not exist."""
    global _current  # noqa: PLW0603
    if not 0 <= index < COUNT:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    _current = index


def memGetInfo() -> tuple[int, int]:  # noqa: N802
    """Return the free and the total memory of the current device in bytes."""
    return FREE, FREE


def getDeviceProperties(index: int) -> dict[str, bytes]:  # noqa: N802
    """Return the name of a device as bytes; CuPy returns all of cudaDeviceProp."""
    if not 0 <= index < COUNT:
        raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
    return {"name": b"stand-in: NumPy on the CPU"}
