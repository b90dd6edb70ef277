"""Array libraries by name: their namespace, device, loop and conversion to NumPy.

No other file of the core names an array library.
"""

import importlib
import importlib.util
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial, wraps
from types import ModuleType
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from mlp_xp.errors import MlpXpError, nearest, not_installed
from mlp_xp.functional import Array
from mlp_xp.loops import Scan, eager_scan

DTYPES = ("float64", "float32")
_opened: "dict[tuple[str, int, str, str], Backend]" = {}


class BackendError(MlpXpError):
    """A backend that is unknown, not installed or not usable here, or a device or dtype that it does not have."""


@dataclass(frozen=True, eq=False)
class Backend:
    """One array library, opened on one device with one floating-point dtype.

    Compared and hashed by identity, because what it holds need not be hashable: CuPy's devices are not.
    """

    name: str
    version: str
    xp: Any
    """The array API namespace, which functions take as keyword `xp`."""
    device: Any
    """A device object of the library, for the `device` argument of its creation functions."""
    dtype: Any
    """The namespace's float64 or float32."""
    from_numpy: Callable[[np.ndarray, Any], Array]
    """`from_numpy(array, dtype)` copies a contiguous host array to the device; None keeps its dtype. See `asarray`."""
    to_numpy: Callable[[Array], np.ndarray]
    """Copies a device array to the host. The only way from the device to the host."""
    scan: Scan
    """Repeats a training step; see `loops.eager_scan` for the contract."""
    jit: Callable[..., Callable[..., Any]]
    """`jit(function, donate=())` returns a function that computes the same: compiled where the library compiles, else
    run on one thread (see `threads_chosen`). The function may overwrite the arguments at the positions in `donate`."""
    threads: Callable[[Mapping[str, Any]], str] = lambda facts: ""
    """Describes the threads that the library computes on, as in "1 thread", from the number of `cpus` and the variables
    of `threads_chosen`; equal where the threads are. Empty if the host's threads do not matter."""

    def __repr__(self) -> str:
        return f"Backend({self.name!r}, {self.version}, {self.device_name or 'default device'}, {self.dtype_name})"

    @property
    def device_name(self) -> str | None:
        """The device's name as `open_backend` takes it; None for a foreign namespace, whose default device is used."""
        if self.device is None:
            return None
        name = str(self.device)
        name = re.sub(r".*Device\('(.*)'\)", r"\1", name)  # array-api-strict's
        name = re.sub(r"<CUDA Device (\d+)>", r"cuda:\1", name)  # CuPy's
        return re.sub(r"TFRT_CPU_(\d+)", r"cpu:\1", name)  # older JAX's

    @property
    def dtype_name(self) -> str:
        """float64 or float32."""
        return f"float{self.xp.finfo(self.dtype).bits}"

    @np.errstate(over="ignore")  # a value beyond float32 becomes inf without a warning, as on other libraries
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Copy a host array (NumPy, native byte order) to the device. dtype: None keeps the array's own."""
        return self.from_numpy(np.asarray(array, order="C"), dtype)


def open_backend(name: str = "numpy", device: str | None = None, dtype: str = "float64") -> Backend:
    """Open an array library.

    name: a key of `BACKENDS`, or `module:namespace` for any other module that implements the array API standard, for
    example `array_api_compat:numpy`. device: the library's own name of a device (`cuda:1`, `cpu`), or None for its
    default. dtype: "float64" or "float32", for parameters and arithmetic.

    Opening the same namespace on the same device in the same dtype again returns the same object, so that JAX compiles
    once.

    Raises BackendError, which says what to do, if the library, the device or the dtype is not available.
    """
    if dtype not in DTYPES:
        raise BackendError(
            f"{dtype!r} is not known{nearest(dtype, DTYPES)}; choose one of {', '.join(DTYPES)}", setting="dtype"
        )
    if ":" in name:
        backend = _open_namespace(name, device)
    elif name in BACKENDS:
        backend = BACKENDS[name](device)
    else:
        known = ", ".join(BACKENDS)
        raise BackendError(f"{name!r} is not known{nearest(name, BACKENDS)}; choose one of {known}", setting="backend")
    # The backend in the dictionary holds the namespace, so no other object has its id.
    key = (name, id(backend.xp), str(backend.device), dtype)
    return _opened.setdefault(key, replace(backend, dtype=getattr(backend.xp, dtype)))


def installed(name: str) -> bool:
    """Return whether the library of a known backend is installed. This says nothing about a GPU."""
    return importlib.util.find_spec(_MODULES[name]) is not None


def _import(name: str, requirement: str) -> ModuleType:
    module = _MODULES[name]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise BackendError(f"backend {name}: {module} {not_installed(requirement)}") from error
        raise BackendError(f"backend {name}: {module} is installed but cannot be imported: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set a number of threads, such as OMP_NUM_THREADS.

    Without any, eager libraries compute on one thread. For a small network, passing work between threads costs more
    than it saves, on a busy machine tens of times more; and one thread gives the same bits on any number of cores.
    """
    return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}


def _by_variables(facts: Mapping[str, Any]) -> str:
    chosen = {name: value for name, value in facts.items() if name.endswith("_NUM_THREADS")}
    if {*chosen.values()} <= {"1"}:
        return "1 thread"
    return ", ".join(f"{name}={value}" for name, value in sorted(chosen.items()))


def _by_cpus(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('cpus', 'an unknown number of')} CPUs"


def _eager(
    name: str,
    library: ModuleType,
    xp: Any,
    device: Any,
    to_numpy: Callable[[Array], np.ndarray],
    one_thread: Callable[[], AbstractContextManager[Any]] = nullcontext,
    threads: Callable[[Mapping[str, Any]], str] = _by_variables,
) -> Backend:
    """Make a backend that does not compile. one_thread: a context in which the library uses one thread."""

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        @wraps(function)
        def limited(*args: Any) -> Any:
            with nullcontext() if threads_chosen() else one_thread():
                return function(*args)

        return limited

    def from_numpy(array: np.ndarray, dtype: Any) -> Array:
        return xp.asarray(array, dtype=dtype, device=device, copy=True)

    version = str(getattr(library, "__version__", "unknown"))
    return Backend(name, version, xp, device, None, from_numpy, to_numpy, partial(eager_scan, xp=xp), jit, threads)


def _one_blas_thread() -> Callable[[], AbstractContextManager[Any]]:
    return partial(ThreadpoolController().limit, limits=1)


def _no_device(name: str, device: str, known: Sequence[str]) -> BackendError:
    return BackendError(f"backend {name}: device {device!r} is not available; choose one of {', '.join(known)}")


def _open_numpy(device: str | None) -> Backend:
    import array_api_compat.numpy as xp

    if device not in (None, "cpu"):
        raise _no_device("numpy", device, ["cpu"])
    return _eager("numpy", np, xp, "cpu", np.array, _one_blas_thread())


def _open_cupy(device: str | None) -> Backend:
    cupy = _import("cupy", '"cupy-cuda12x[ctk]" (CUDA 12 driver) or "cupy-cuda13x[ctk]" (CUDA 13 driver)')
    import array_api_compat.cupy as xp

    def unusable(error: Exception) -> BackendError:
        return BackendError(
            f"backend cupy: CuPy {cupy.__version__} is installed but finds no usable GPU; tried to count the devices, "
            f"to add and to multiply two small matrices on one, and got {_line(error)}; check that nvidia-smi shows a "
            "GPU and that its driver is new enough for this CuPy"
        )

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:  # CuPy derives its CUDA errors from it
        raise unusable(error) from error
    known = [f"cuda:{i}" for i in range(count)]
    wanted = "cuda:0" if device is None else f"cuda:{device}" if device.isdecimal() else device
    if count and wanted not in known:
        raise _no_device("cupy", wanted, known)
    try:
        place = cupy.cuda.Device(int(wanted.partition(":")[2]))
        place.use()
        # A missing CUDA library shows only at first use, and kernels and cuBLAS come from different ones.
        probe = cupy.full((2, 2), 0.5)
        cupy.matmul(probe + 0.5, probe).sum().get()
    except Exception as error:  # driver, compiler and library loader each have exceptions of their own
        raise unusable(error) from error
    return _eager("cupy", cupy, xp, place, cupy.asnumpy, threads=lambda facts: "")


def _open_torch(device: str | None) -> Backend:
    torch = _import("torch", "torch")
    import array_api_compat.torch as xp

    try:
        place = torch.device("cpu" if device is None else device)
        torch.ones(2, device=place).sum().item()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a build without CUDA
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise BackendError(f"{_no_device('torch', str(device), known)} ({_line(error)[:200]})") from error

    @contextmanager
    def one_thread() -> Iterator[None]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    return _eager("torch", torch, xp, place, lambda x: np.array(x.detach().cpu().numpy()), one_thread)


def _open_jax(device: str | None) -> Backend:
    jax = _import("jax", "jax")
    # Without this JAX turns every float64 into float32; it must be set before the first array is made.
    jax.config.update("jax_enable_x64", True)
    if jax.config.jax_default_matmul_precision is None:
        # On a GPU the default may be TF32, whose products have 10 bits: less than float32 promises.
        jax.config.update("jax_default_matmul_precision", "highest")
    platform, _, index = (device or "").partition(":")
    try:
        place = dict(enumerate(jax.devices(platform or None)))[int(index or 0)]
    except (RuntimeError, ValueError, KeyError) as error:
        raise _no_device("jax", str(device), [f"{d.platform}:{d.id}" for d in jax.devices()]) from error

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return jax.jit(function, donate_argnums=donate)

    def from_numpy(array: np.ndarray, dtype: Any) -> Array:
        # jax.numpy.asarray takes four times as long, which is noticeable in a short chunk.
        return jax.device_put(np.array(array, dtype=dtype), place)

    threads = _by_cpus if place.platform == "cpu" else lambda facts: ""
    return Backend("jax", jax.__version__, jax.numpy, place, None, from_numpy, np.array, jax.lax.scan, jit, threads)


def _open_strict(device: str | None) -> Backend:
    xp = _import("array-api-strict", "array-api-strict")
    # Its CPU device lets NumPy functions through. Any other refuses them, as a GPU library does.
    try:
        place = xp.Device(device or "device1")
    except ValueError as error:
        raise _no_device("array-api-strict", str(device), ["CPU_DEVICE", "device1", "device2"]) from error
    host = xp.Device("CPU_DEVICE")

    def to_numpy(x: Array) -> np.ndarray:
        return np.array(xp.asarray(x, device=host))

    return _eager("array-api-strict", xp, xp, place, to_numpy, _one_blas_thread())


def _open_namespace(name: str, device: str | None) -> Backend:
    module, _, attributes = name.partition(":")
    try:
        xp: Any = importlib.import_module(module)
        library = xp
        for attribute in filter(None, attributes.split(".")):
            if not hasattr(xp, attribute):
                importlib.import_module(f"{xp.__name__}.{attribute}")
            xp = getattr(xp, attribute)
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise BackendError(f"backend {name}: no such array namespace can be imported: {_line(error)}") from error
    missing = [f for f in ("asarray", "astype", "concat", "stack", "take", "float64") if not hasattr(xp, f)]
    if missing:
        raise BackendError(
            f"backend {name}: it does not implement the array API standard: it lacks {', '.join(missing)}"
        )
    if device is not None:
        raise BackendError(f"backend {name}: a device can be chosen only for {', '.join(BACKENDS)}, not {device!r}")
    with warnings.catch_warnings(action="ignore"):
        made = xp.asarray(np.zeros(1), dtype=xp.float64).dtype
    if made != xp.float64:  # as JAX, unless it is told otherwise before its first array
        raise BackendError(
            f"backend {name}: it makes {made} arrays when asked for float64; set it up for float64 first"
        )
    return _eager(
        name, library, xp, None, _copy_to_host, threads=lambda facts: f"{_by_cpus(facts)}, {_by_variables(facts)}"
    )


def _copy_to_host(x: Array) -> np.ndarray:
    try:
        return np.array(np.from_dlpack(x))
    except (AttributeError, TypeError, BufferError, RuntimeError):
        return np.array(x)


BACKENDS: dict[str, Callable[[str | None], Backend]] = {
    "numpy": _open_numpy,
    "cupy": _open_cupy,
    "jax": _open_jax,
    "torch": _open_torch,
    "array-api-strict": _open_strict,
}
_MODULES = {name: name.replace("-", "_") for name in BACKENDS}
