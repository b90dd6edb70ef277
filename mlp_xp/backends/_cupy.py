"""CuPy, on one NVIDIA GPU."""

from mlp_xp.backends.common import (
    BackendError,
    Details,
    eager,
    import_library,
    line_of,
    no_device,
)
from mlp_xp.core.library import Backend


def open_library(device: str | None) -> Backend:
    """Open CuPy on a GPU, such as cuda:1. Raises BackendError."""
    cupy = import_library(
        "cupy",
        '"cupy-cuda12x[ctk]" (CUDA 12 driver) or "cupy-cuda13x[ctk]" (CUDA 13 driver)',
    )
    import array_api_compat.cupy as xp

    try:
        known = [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]
        wanted = (
            "cuda:0"
            if device is None
            else f"cuda:{device}"
            if device.isdecimal()
            else device
        )
        if known and wanted not in known:
            raise no_device("cupy", wanted, known)
        place = cupy.cuda.Device(int(wanted.partition(":")[2]))
        place.use()
        # A missing CUDA library shows only at first use, and kernels and cuBLAS come
        # from different ones.
        probe = cupy.full((2, 2), 0.5)
        cupy.matmul(probe + 0.5, probe).sum().get()
    except BackendError:
        raise
    # driver, compiler and library loader each have exceptions of their own
    except Exception as error:
        raise BackendError(
            f"backend cupy: CuPy {cupy.__version__} is installed but finds no usable GPU; tried to count the devices, "
            f"to add and to multiply two small matrices on one, and got {line_of(error)}; check that nvidia-smi shows "
            "a GPU and that its driver is new enough for this CuPy"
        ) from error
    use = f"; xp.cuda.Device({place.id}).use()" if place.id else ""
    # CuPy derives all errors of CUDA and its libraries from RuntimeError.
    details = Details(
        (RuntimeError, MemoryError), imports=f"import array_api_compat.cupy as xp{use}"
    )
    return eager(
        "cupy", cupy.__version__, xp, place, cupy.asnumpy, details, on_gpu=True
    )
