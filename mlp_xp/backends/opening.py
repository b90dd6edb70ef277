"""Open an array library by name, or by one of its arrays."""

import importlib
import os
import sys
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
from mlp_xp.errors import check_type, nearest

_opened: dict[tuple[str, int, str, str], tuple[Backend, Any]] = {}


def open_backend(
    name: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> Backend:
    """Open an array library.

    Opening a library again with the same arguments returns the same object.

    Opening JAX switches on 64-bit floats in the whole process. It also switches on full
    precision of products on a GPU, and a compilation cache, unless you have set these
    yourself. The cache is a private folder below MLP_XP_CACHE or the user's cache
    folder. JAX_COMPILATION_CACHE_DIR chooses another folder, and
    JAX_ENABLE_COMPILATION_CACHE=false switches the cache off. With an unknown flag in
    XLA_FLAGS, JAX ends the process and names the flag.

    Several Python threads may train at once. Do not fork a process that has used
    PyTorch or JAX: the child would wait forever for threads it does not have. Start
    worker processes with `multiprocessing.get_context("spawn")`.

    Args:
        name: One of `BACKENDS`, or the name of a hook, such as `dask`. Any other module
            that implements the array API standard is named `module:namespace`, such as
            `array_api_compat:numpy`. See docs/libraries.md.
        device: The library's own name of a device, such as `cuda:1`. The default is the
            library's default device.
        dtype: "float64" or "float32", for parameters and arithmetic.
        threads: The number of CPU threads to compute on, 1 to 1024. By default a rule
            chooses it for each run (see docs/performance.md). JAX takes its threads
            when it starts, by default one per CPU, so it needs the number at its first
            use.

    Returns:
        The backend.

    Raises:
        BackendError: The library or the device is not available.
        ConfigError: There is no such dtype, or the thread count is invalid.

    Examples:
        >>> open_backend("numpy", dtype="float32")
        Backend('numpy', ..., cpu, float32)
    """
    check_type(name, str, "backend", "give the name of a library")
    check_choice("dtype", dtype, DTYPES)
    threads = checked(THREADS, threads)
    if name in BACKENDS:
        backend = _open_known(name, device, dtype, threads)
    elif ":" in name or name in known_hooks():
        backend = open_namespace(import_foreign(name, device), dtype, name)
    else:
        known = [*BACKENDS, *known_hooks()]
        suggestion = nearest(name, known)
        remedy = f"choose one of {', '.join(known)}"
        if not suggestion:
            remedy += f", or name any other module as {name}:"
        fault = f"{name!r} is not known{suggestion}"
        raise BackendError(fault, remedy=remedy, setting="backend")
    return backend if threads is None else backend.on_threads(threads, "as given")


def as_backend(given: Backend | str | None) -> Backend:
    """Return a given backend, or open one by its name, or NumPy for None.

    Raises:
        BackendError: The library is not available.
        MlpXpError: The argument is neither a backend nor a name.
    """
    if given is None:
        return open_backend()
    if isinstance(given, str):
        return open_backend(given)
    check_type(given, Backend, "backend", "give a backend, or the name of a library")
    return given


def open_backend_of(array: Array, dtype: str = "float64") -> Backend:
    """Open the library of an array, on the device of the array.

    A library that is not in `BACKENDS` is opened as by `open_namespace`.

    Raises:
        TypeError: The object is not an array of the standard.
        BackendError: The library cannot be opened.
    """
    # The array is asked first, because array_api_compat takes any subclass of NumPy's
    # array for NumPy's.
    own = getattr(array, "__array_namespace__", None)
    xp = array_namespace(array) if own is None else own()
    full_name = str(getattr(xp, "__name__", "")).removeprefix("array_api_compat.")
    module = full_name.partition(".")[0]
    name = module.replace("_", "-")
    if name in BACKENDS:
        return open_backend(name, name_of(device_of(array)), dtype)
    return open_namespace(xp, dtype, module)


def open_namespace(namespace: Any, dtype: str = "float64", name: str = "") -> Backend:
    """Open an array namespace, or a hook for one (see docs/libraries.md).

    Args:
        namespace: The namespace or the hook.
        dtype: "float64" or "float32".
        name: The name in messages. The default is the namespace's own name, or the
            variable of a module that holds it.

    Raises:
        BackendError: The namespace lacks something, or NumPy arrays do not come back
            unchanged from it.
        ConfigError: There is no such dtype.
    """
    check_choice("dtype", dtype, DTYPES)
    name = name or _name_of(namespace)
    key = (name, id(namespace), "", dtype)
    return _once(key, namespace, lambda: open_foreign(name, namespace, dtype))


def _name_of(namespace: Any) -> str:
    """Return a name for messages, if possible a name for `import_foreign`."""
    if isinstance(namespace, ModuleType | type):
        return namespace.__name__
    own, kind = getattr(namespace, "__dict__", None), type(namespace)
    if own is None:  # no namespace, but None or a number, which many modules hold
        return kind.__qualname__
    for module_name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType):
            for name, value in list(vars(module).items()):
                if value is namespace:
                    return f"{module_name}:{name}"
    # The object is not asked for `__name__`: a proxy would report the wrapped module's
    # name.
    if isinstance(own.get("xp"), ModuleType):
        return own["xp"].__name__
    return str(own.get("__name__", f"{kind.__module__}.{kind.__qualname__}"))


def compile_afresh() -> None:
    """Switch off JAX's compilation cache, here and in child processes.

    Call this before any other function.
    """
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def open_backend_like(array: Any, dtype: str) -> Backend:
    """Open the library of an array, or NumPy for lists and anything else."""
    try:
        return open_backend_of(array, dtype)
    except TypeError:  # it has no namespace
        return open_backend("numpy", dtype=dtype)


LibraryBackend.open_backend = staticmethod(open_backend)
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
    """Return the backend made earlier for a key, or make it.

    Args:
        key: The second part is the id of `found`.
        found: An object to keep alive, because another object might get its id.
        make: The function to make the backend.
    """
    if key not in _opened:
        LIMITS.look()
        _opened.setdefault(key, (make(), found))
    return _opened[key][0]
