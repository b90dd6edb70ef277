"""Open array libraries by name, or by an array."""

import importlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

from mlp_xp.backends import BACKENDS, DTYPES
from mlp_xp.backends.common import BackendError, reported
from mlp_xp.backends.foreign import import_foreign, open_foreign
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.backends.threads import LIMITS, THREADS, on_threads, starting_on
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.declared import check_choice, checked
from mlp_xp.errors import nearest

_opened: dict[tuple[str, int, str, str], tuple[Backend, Any]] = {}


def open_backend(
    name: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> Backend:
    """Open an array library. Opening it again with the same arguments returns the same
    object.

    name: one of `BACKENDS`, `module:namespace` for any other module that implements the
    array API standard, such as `array_api_compat:numpy`, or a hook by its name, such as
    `dask` (see docs/libraries.md). device: the library's own name of a device, such as
    `cuda:1`; None for its default. dtype: "float64" or "float32", for parameters and
    arithmetic. threads: how many CPU threads to compute on, 1 to 1024; by default a
    rule chooses for each run (see docs/performance.md). JAX takes its threads when it
    starts, so the number must be given at its first use; by default it takes all CPUs.

    Opening JAX switches on 64-bit floats in the whole process and, unless you have set
    them, full precision of products on a GPU, and a compilation cache: JAX then keeps
    what it compiles in this process in a private folder below MLP_XP_CACHE, or the
    user's cache folder. JAX_ENABLE_COMPILATION_CACHE=false switches the cache off;
    JAX_COMPILATION_CACHE_DIR names another folder. An unknown flag in XLA_FLAGS makes
    JAX end the process, with a line that names the flag.

    Several Python threads may train at once. A process that has used PyTorch or JAX
    must not be forked: their threads do not exist in the child, which waits for them
    forever. Start worker processes with `multiprocessing.get_context("spawn")`.

    Raises BackendError if the library or the device is not available, and ConfigError
    for another dtype or an invalid thread count.
    """
    check_choice("dtype", dtype, DTYPES)
    threads = checked(THREADS, threads)
    if name in BACKENDS:
        with starting_on(threads):
            library = importlib.import_module(
                f"mlp_xp.backends._{name.replace('-', '_')}"
            ).open_library(device)
        backend = _once(name, library.xp, library.device, dtype, lambda: library)
    elif ":" in name or name in known_hooks():
        backend = open_namespace(import_foreign(name, device), dtype, name)
    else:
        known = [*BACKENDS, *known_hooks()]
        remedy, meant = f"choose one of {', '.join(known)}", nearest(name, known)
        if not meant:
            remedy += f", or name any other module as {name}:"
        raise BackendError(
            f"{name!r} is not known{meant}", remedy=remedy, setting="backend"
        )
    return backend if threads is None else on_threads(backend, threads, "as given")


def open_backend_of(array: Array, dtype: str = "float64") -> Backend:
    """Open the library that an array belongs to, on the array's device. Arguments and
    errors: see `open_backend`.

    A namespace that is not in `BACKENDS` is opened as by `open_namespace`. Raises
    TypeError for what is not an array of the standard.
    """
    # The array's own first: array_api_compat takes a subclass of NumPy's array for
    # NumPy's.
    own = getattr(array, "__array_namespace__", None)
    xp = array_namespace(array) if own is None else own()
    module = (
        str(getattr(xp, "__name__", ""))
        .removeprefix("array_api_compat.")
        .partition(".")[0]
    )
    if (name := module.replace("_", "-")) in BACKENDS:
        return open_backend(name, name_of(device_of(array)), dtype)
    return open_namespace(xp, dtype, module)


def open_namespace(namespace: Any, dtype: str = "float64", name: str = "") -> Backend:
    """Open an array namespace, or a hook for one (see docs/libraries.md).

    dtype: as in `open_backend`. name: what messages call it; by default its own. Raises
    BackendError for a namespace that lacks something, or that does not return a NumPy
    array as it was given, and ConfigError for another dtype.
    """
    check_choice("dtype", dtype, DTYPES)
    # Not the `__name__` of any other object: one that passes on what it lacks would
    # have another's.
    own = (
        namespace.__name__
        if isinstance(namespace, ModuleType | type)
        else type(namespace).__name__
    )
    return _once(
        name or own,
        namespace,
        None,
        dtype,
        lambda: open_foreign(name or own, namespace, dtype),
    )


def compile_afresh() -> None:
    """Have JAX neither read nor keep compiled functions, here and in processes started
    here. Call it before others.
    """
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def _once(
    name: str, found: Any, device: Any, dtype: str, make: Callable[[], Backend]
) -> Backend:
    key = (name, id(found), str(device), dtype)
    if key not in _opened:
        LIMITS.look()
        # held, so that no other object has its id
        _opened.setdefault(key, (_complete(make(), dtype), found))
    return _opened[key][0]


def _complete(backend: Backend, dtype: str) -> Backend:
    """Return the backend with its dtype, `like`, a thread count for functions from
    `jit`, and failures `reported`.
    """

    def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        made = backend.jit(function, **options)
        return reported(
            backend, LIMITS.at()(made) if backend.threads.adjustable else made
        )

    def like(array: Any) -> Backend:
        try:
            return open_backend_of(array, dtype)
        except TypeError:  # it has no namespace
            return open_backend("numpy", dtype=dtype)

    return replace(
        backend,
        dtype=getattr(backend.xp, dtype),
        dtype_name=dtype,
        device_name=None if backend.device is None else name_of(backend.device),
        from_numpy=reported(backend, backend.from_numpy, "a transfer to the device"),
        to_numpy=reported(backend, backend.to_numpy, "a transfer to the host"),
        jit=jit,
        like=like,
    )


def name_of(device: Any) -> str:
    """Return the name of a library's device object, as `open_backend` takes it."""
    name = re.sub(r".*Device\('(.*)'\)", r"\1", str(device))  # array-api-strict's
    return re.sub(r"<CUDA Device (\d+)>", r"cuda:\1", name)  # CuPy's
