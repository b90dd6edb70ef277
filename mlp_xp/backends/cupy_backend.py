"""CuPy, on one NVIDIA GPU."""

from types import ModuleType
from typing import Any

import numpy as np

from mlp_xp.backends.failures import BackendError, import_library, line_of, no_device
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.core.functional import Array

_REQUIREMENT = (
    '"cupy-cuda12x[ctk]" (CUDA 12 driver) or "cupy-cuda13x[ctk]" (CUDA 13 driver)'
)


class CupyBackend(LibraryBackend):
    """CuPy on a GPU."""

    # All errors of CUDA and its libraries are RuntimeErrors in CuPy.
    errors = (RuntimeError, MemoryError)

    def __init__(self, device: Any, dtype: str) -> None:
        import array_api_compat.cupy as xp
        import cupy

        super().__init__("cupy", cupy.__version__, xp, device, dtype, on_gpu=True)
        self._cupy = cupy
        self.imports = "import array_api_compat.cupy as xp"
        if device.id:
            self.imports += f"; xp.cuda.Device({device.id}).use()"

    @staticmethod
    def find_device(device: str | None) -> Any:
        """Return CuPy's object for a GPU, such as cuda:1, and make the GPU current.

        Raises:
            BackendError: There is no such GPU, or the GPU cannot be used.
        """
        cupy = import_library("cupy", _REQUIREMENT)
        try:
            return _use_device(cupy, device)
        except BackendError:
            raise
        # The driver, the compiler and the library loader raise different exceptions.
        except Exception as error:
            raise BackendError(
                f"backend cupy: CuPy {cupy.__version__} is installed but finds no "
                "usable GPU; tried to count the devices, to add and to multiply two "
                f"small matrices on one, and got {line_of(error)}; check that "
                "nvidia-smi shows a GPU and that its driver is new enough for this CuPy"
            ) from error

    def _copy_to_host(self, array: Array) -> np.ndarray:
        return self._cupy.asnumpy(array)


def _use_device(cupy: ModuleType, device: str | None) -> Any:
    known = [f"cuda:{i}" for i in range(cupy.cuda.runtime.getDeviceCount())]
    wanted = device or "cuda:0"
    if wanted.isdecimal():
        wanted = f"cuda:{wanted}"
    if known and wanted not in known:
        raise no_device("cupy", wanted, known)
    place = cupy.cuda.Device(int(wanted.partition(":")[2]))
    place.use()
    # A missing CUDA library is noticed only at first use. Kernels and matrix products
    # need different libraries.
    probe = cupy.full((2, 2), 0.5)
    cupy.matmul(probe + 0.5, probe).sum().get()
    return place


LIBRARY = CupyBackend
