"""Open array libraries by name, or by an array."""

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.backends.failures import BackendError
from mlp_xp.backends.foreign import import_foreign, open_foreign
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.backends.library import LibraryBackend, name_of
from mlp_xp.backends.threads import LIMITS, THREADS, starting_on
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.declared import check_choice, checked
from mlp_xp.errors import nearest

_opened: dict[tuple[str, int, str, str], tuple[Backend, Any]] = {}


def open_backend(
    name: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> Backend:
    """Open an array library.

    Opening it again with the same arguments returns the same object.

    Opening JAX switches on 64-bit floats in the whole process and, unless you have set
    them, full precision of products on a GPU, and a compilation cache: JAX then keeps
    what it compiles in this process in a private folder below MLP_XP_CACHE, or the
    user's cache folder. JAX_ENABLE_COMPILATION_CACHE=false switches the cache off.
    JAX_COMPILATION_CACHE_DIR names another folder. An unknown flag in XLA_FLAGS makes
    JAX end the process, with a line that names the flag.

    Several Python threads may train at once. A process that has used PyTorch or JAX
    must not be forked: their threads do not exist in the child, which waits for them
    forever. Start worker processes with `multiprocessing.get_context("spawn")`.

    Args:
        name: One of `BACKENDS`; or `module:namespace` for any other module that
            implements the array API standard, such as `array_api_compat:numpy`; or the
            name of a hook, such as `dask` (see docs/libraries.md).
        device: The library's own name of a device, such as `cuda:1`; by default its
            default device.
        dtype: "float64" or "float32", for parameters and arithmetic.
        threads: How many CPU threads to compute on, 1 to 1024; by default a rule
            chooses for each run (see docs/performance.md). JAX takes its threads when
            it starts, so the number must be given at its first use; by default it takes
            all CPUs.

    Returns:
        The backend.

    Raises:
        BackendError: The library or the device is not available.
        ConfigError: There is no such dtype, or the thread count is invalid.

    Examples:
        >>> open_backend("numpy", dtype="float32")
        Backend('numpy', ..., cpu, float32)
    """
    check_choice("dtype", dtype, DTYPES)
    threads = checked(THREADS, threads)
    if name in BACKENDS:
        backend = _open_known(name, device, dtype, threads)
    elif ":" in name or name in known_hooks():
        backend = open_namespace(import_foreign(name, device), dtype, name)
    else:
        known = [*BACKENDS, *known_hooks()]
        remedy, meant = f"choose one of {', '.join(known)}", nearest(name, known)
        if not meant:
            remedy += f", or name any other module as {name}:"
        fault = f"{name!r} is not known{meant}"
        raise BackendError(fault, remedy=remedy, setting="backend")
    return backend if threads is None else backend.on_threads(threads, "as given")


def open_backend_of(array: Array, dtype: str = "float64") -> Backend:
    """Open the library that an array belongs to, on the array's device.

    A namespace that is not in `BACKENDS` is opened as by `open_namespace`.

    Raises:
        TypeError: It is not an array of the standard.
        BackendError: The library cannot be opened.
    """
    # The array's own first: array_api_compat takes a subclass of NumPy's array for
    # NumPy's.
    own = getattr(array, "__array_namespace__", None)
    xp = array_namespace(array) if own is None else own()
    name = str(getattr(xp, "__name__", "")).removeprefix("array_api_compat.")
    module = name.partition(".")[0]
    if (name := module.replace("_", "-")) in BACKENDS:
        return open_backend(name, name_of(device_of(array)), dtype)
    return open_namespace(xp, dtype, module)


def open_namespace(namespace: Any, dtype: str = "float64", name: str = "") -> Backend:
    """Open an array namespace, or a hook for one (see docs/libraries.md).

    Args:
        namespace: The namespace or the hook.
        dtype: "float64" or "float32".
        name: Its name in messages; by default its own.

    Raises:
        BackendError: The namespace lacks something, or does not return a NumPy array as
            it was given.
        ConfigError: There is no such dtype.
    """
    check_choice("dtype", dtype, DTYPES)
    if not name:
        # Not the `__name__` of any other object: a proxy would report the wrapped
        # module's name.
        is_named = isinstance(namespace, ModuleType | type)
        name = namespace.__name__ if is_named else type(namespace).__name__
    key = (name, id(namespace), "", dtype)
    return _once(key, namespace, lambda: open_foreign(name, namespace, dtype))


def compile_afresh() -> None:
    """Have JAX neither read nor keep compiled functions, here and in processes started
    here. Call it before others.
    """
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def open_backend_like(array: Any, dtype: str) -> Backend:
    """Open the library of an array; NumPy for lists and anything else."""
    try:
        return open_backend_of(array, dtype)
    except TypeError:  # it has no namespace
        return open_backend("numpy", dtype=dtype)


LibraryBackend.open_backend_like = staticmethod(open_backend_like)


def _open_known(
    name: str, device: str | None, dtype: str, threads: int | None
) -> Backend:
    """Open one of BACKENDS."""
    module = f"mlp_xp.backends.{name.replace('-', '_')}_backend"
    library = importlib.import_module(module).LIBRARY
    with starting_on(threads):
        place = library.find_device(device)
        key = (name, id(library), str(place), dtype)
        return _once(key, library, lambda: library(place, dtype))


def _once(
    key: tuple[str, int, str, str], found: object, make: Callable[[], Backend]
) -> Backend:
    """Return what was made for a key, or make it.

    Args:
        key: Its second part is the id of `found`.
        found: Held, so that no other object has its id.
        make: Makes the backend.
    """
    if key not in _opened:
        LIMITS.look()
        _opened.setdefault(key, (make(), found))
    return _opened[key][0]
