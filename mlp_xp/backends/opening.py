"""Open array libraries by name, or by an array."""

import importlib
from types import ModuleType
from typing import Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from mlp_xp.backends import BACKENDS, DTYPES, hooks
from mlp_xp.backends._foreign import exists, import_hook, open_hook, read_hook
from mlp_xp.backends._jax import compile_afresh, processes_share_devices, starting_on
from mlp_xp.backends._library import BackendError, BackendFailure, BackendOutOfMemory, reported, with_reports
from mlp_xp.backends.threads import LIMITS, check_threads, on_threads
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend, name_of
from mlp_xp.errors import nearest

__all__ = [
    "BackendError",
    "BackendFailure",
    "BackendOutOfMemory",
    "compile_afresh",
    "open_backend",
    "open_backend_of",
    "open_namespace",
    "processes_share_devices",
    "reported",
    "starting_on",
]

_opened: dict[tuple[str, int, str, str], Backend] = {}
"""By name, id of the namespace (which the backend holds, so that no other object has it), device and dtype."""


def open_backend(
    name: str = "numpy", device: str | None = None, dtype: str = "float64", threads: int | None = None
) -> Backend:
    """Open an array library.

    name: one of `BACKENDS`, `module:namespace` for any other module that implements the array API standard, such as
    `array_api_compat:numpy`, or an entry point of the group `mlp_xp.backends`; the last two are a namespace or a hook
    (see docs/libraries.md). device: the library's own name of a device, such as `cuda:1`; None for its default.
    dtype: "float64" or "float32", for parameters and arithmetic. threads: how many CPU threads to compute on, 1 to
    1024; by default a rule chooses for each run (see docs/performance.md). JAX takes its threads when it starts, so
    the number must be given at its first use; by default it takes all CPUs.

    Opening the same library again, with the same arguments, returns the same object, so that JAX compiles once.

    Opening JAX switches on 64-bit floats in the whole process and, unless you have set them, full precision of products
    on a GPU, and a compilation cache: JAX then keeps all that it compiles in this process, also for other code, in a
    folder that `compile_cache` describes. The environment variable JAX_ENABLE_COMPILATION_CACHE=false switches the
    cache off; JAX_COMPILATION_CACHE_DIR names another folder.

    Several Python threads may train at once. A process that has used PyTorch or JAX must not be forked: their threads
    do not exist in the child, which waits for them forever. Start worker processes with
    `multiprocessing.get_context("spawn")`. An unknown flag in XLA_FLAGS makes JAX end the process, with a line that
    names the flag; no exception is raised.

    Raises BackendError, which says what to do, if the library, the device or the dtype is not available, and
    ThreadsError for an invalid thread count.
    """
    _check_dtype(dtype)
    if threads is not None:
        check_threads(threads)
    if name in BACKENDS:
        with starting_on(threads):
            backend = _module_of(name).open_library(device)
        key = (name, id(backend.xp), str(backend.device), dtype)
        if key not in _opened:
            LIMITS.look()
            _opened.setdefault(key, with_reports(backend, dtype))
    elif ":" in name or name in hooks():
        hook = import_hook(name, device)
        key = (name, id(hook.xp), "None", dtype)
        if key not in _opened:
            LIMITS.look()
            _opened.setdefault(key, with_reports(open_hook(name, hook, dtype), dtype))
    else:
        known, module = [*BACKENDS, *hooks()], name.partition(".")[0]
        hint = f" (did you mean '{name}:'?)" if module and exists(module) else nearest(name, known)
        raise BackendError(f"{name!r} is not known{hint}; choose one of {', '.join(known)}", setting="backend")
    return _opened[key] if threads is None else on_threads(_opened[key], threads, "as given")


def open_backend_of(array: Array, dtype: str = "float64") -> Backend:
    """Open the library that an array belongs to, on the array's device. dtype: as in `open_backend`.

    A namespace that is not in `BACKENDS` is opened as by `open_namespace`. Opening the same library again returns the
    same object. Raises BackendError as these two do, and TypeError for what is not an array of the standard.
    """
    # The array's own first: array_api_compat takes a subclass of NumPy's array for NumPy's.
    own = getattr(array, "__array_namespace__", None)
    namespace = array_namespace(array) if own is None else own()
    module = str(getattr(namespace, "__name__", "")).removeprefix("array_api_compat.").partition(".")[0]
    if (name := module.replace("_", "-")) in BACKENDS:
        return open_backend(name, name_of(device_of(array)), dtype)
    key = (module, id(namespace), "", dtype)
    if key not in _opened:
        _opened.setdefault(key, open_namespace(namespace, dtype, module or None))
    return _opened[key]


def open_namespace(namespace: Any, dtype: str = "float64", name: str | None = None) -> Backend:
    """Open an array namespace, or a hook for one (see docs/libraries.md), that is not known by a name.

    dtype: as in `open_backend`. name: what messages call it; by default its own. Raises BackendError for a namespace
    that lacks something, or that does not return a NumPy array as it was given.
    """
    _check_dtype(dtype)
    # Not the `__name__` of any other object: one that passes on what it lacks would have another's.
    own = namespace.__name__ if isinstance(namespace, ModuleType | type) else type(namespace).__name__
    name = name or own
    LIMITS.look()
    return with_reports(open_hook(name, read_hook(name, namespace), dtype), dtype)


def _module_of(name: str) -> ModuleType:
    return importlib.import_module(f"mlp_xp.backends._{name.replace('-', '_')}")


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        near = nearest(dtype, DTYPES) if isinstance(dtype, str) else ""
        raise BackendError(f"{dtype!r} is not known{near}; choose one of {', '.join(DTYPES)}", setting="dtype")
