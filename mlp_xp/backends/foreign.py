"""Array namespaces that are known only by a name which the user gives, and hooks for
them (see docs/libraries.md).
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends import BACKENDS, requirements
from mlp_xp.backends.common import BackendError, Details, eager, line_of
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.errors import one_line, with_colon


def find(name: str) -> Any:
    """Import what `module:attributes`, or the entry point of that name, stands for.

    Modules of the current folder are found too, after all others.
    """
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    if ":" not in name:
        return known_hooks()[name].load()
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in attributes.split(".") if attributes else []:
        if not hasattr(found, attribute):
            importlib.import_module(f"{found.__name__}.{attribute}")
        found = getattr(found, attribute)
    return found


def import_foreign(name: str, device: str | None) -> Any:
    """Import `module:namespace` or the entry point of that name. Raises BackendError."""
    start = f"backend {with_colon(name)}"
    try:
        found = find(name)
    # a foreign module may raise anything while it is imported
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"{start} no such array namespace can be imported: {line_of(error)}"
        ) from error
    if device is not None:
        raise BackendError(
            f"{start} a device can be chosen only for {', '.join(BACKENDS)}, not {device!r}",
            remedy="give a hook whose namespace makes arrays there (see docs/libraries.md)",
        )
    return found


def version_of(name: str, xp: Any) -> str:
    """Return the version of the package that holds a foreign namespace, which may
    itself name another's.
    """
    from importlib.metadata import packages_distributions, version

    module = str(getattr(xp, "__name__", "") or name.partition(":")[0]).partition(".")[
        0
    ]
    # The package first: a module that imports all of NumPy's names has NumPy's
    # `__version__` too.
    for package in packages_distributions().get(module, []):
        return version(package)
    return str(getattr(xp, "__version__", "unknown"))


def open_foreign(name: str, found: Any, dtype: str) -> Backend:
    """Open a namespace, or a hook, which has one as `xp`.

    Raises BackendError if it lacks something, or does not return a NumPy array as it
    was given.
    """
    try:
        # which may have the library's functions too
        hook = found if hasattr(found, "xp") else None
        xp = found if hook is None else hook.xp
        own, materialise, version = (
            getattr(hook, each, None) for each in ("to_numpy", "materialise", "version")
        )
        # A hook may return the array's own memory, which an operation in place would
        # change.
        to_numpy = copy_to_host if own is None else lambda x: np.array(own(x))
        version = " ".join(str(version or version_of(name, xp)).split())
        # SystemExit too: a library that ends the process must not look like success.
        backend = eager(
            name,
            version,
            xp,
            None,
            to_numpy,
            Details((Exception, SystemExit), materialise=materialise),
        )
        if materialise:
            backend = replace(backend, jit=materialising(backend.jit, materialise))
        wanted = (*requirements.FUNCTIONS, *requirements.DTYPES, dtype)
        lacking = ", ".join(each for each in wanted if not hasattr(xp, each))
        standard = "it does not implement the array API standard: it lacks"
        fault = f"{standard} {lacking}" if lacking else find_fault(backend, dtype)
    # a foreign object may raise anything when it is asked what it has
    except Exception as error:
        raise BackendError(
            f"backend {with_colon(name)} it cannot be opened: {line_of(error)}"
        ) from error
    if fault:
        raise BackendError(f"backend {with_colon(name)} {fault}")
    return backend


def find_fault(backend: Backend, dtype: str) -> str:
    """Return what is wrong with copies to a namespace and back; empty if nothing is."""
    # Large arrays too, which a library may treat in another way; Cubed takes no more
    # than a megabyte.
    for (kind, values), count in product(
        (("uint8", [255, 0]), (dtype, [0.5, -1.5])), (2, 100_001)
    ):
        sample = np.resize(np.array(values, kind), count)
        wanted, host = getattr(backend.xp, kind), sample.copy()
        try:
            with warnings.catch_warnings(action="ignore"):
                array = backend.asarray(host, wanted if kind == dtype else None)
                made, back = array.dtype, backend.to_numpy(array)
                host[...] = 1
                later = backend.to_numpy(array)
        except Exception as error:  # a foreign library may raise anything
            fault = f"a NumPy array of {kind} cannot be copied to it and back: {line_of(error)}"
            return f"{fault}; a hook with to_numpy may help (see docs/libraries.md)"
        if (made, back.dtype) != (wanted, sample.dtype) or not np.array_equal(
            back, sample
        ):
            fault = f"{values}{f', {count} numbers,' * (count > 2)} of {kind} becomes a {made} array there"
            fault += f", and {back!r:.80} back on the host"
            return (
                f"{fault}; set it up for {kind} first, or give it a hook with to_numpy"
            )
        if not np.array_equal(later, back):
            return f"its asarray(x, copy=True) does not copy: an array of {count} {kind} changes with the NumPy array x"
    return ""


def materialising(
    own: Callable[..., Callable[..., Any]], materialise: Callable[..., Sequence[Array]]
) -> Callable[..., Callable[..., Any]]:
    """Return `Backend.jit`, given `own`, but with functions that have all arrays that
    they return computed at once.

    Without that, a lazy library's graph would never end. These functions raise
    ValueError if `materialise` does not return as many arrays.
    """

    def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        eager_function = own(function, **options)

        @wraps(function)
        def computed(*args: Any) -> Any:
            result = eager_function(*args)
            arrays: list[Array] = []
            rebuild(result, arrays.append)
            found = list(materialise(*arrays))
            if len(found) != len(arrays):
                raise ValueError(
                    f"materialise returns {len(found)} arrays instead of {len(arrays)}"
                )
            remaining = iter(found)
            return rebuild(result, lambda _: next(remaining))

        return computed

    return jit


def rebuild(tree: Any, change: Callable[[Array], Any]) -> Any:
    """Return nested (named) tuples of arrays with every array changed, in order."""
    if not isinstance(tree, tuple):
        return change(tree)
    parts = [rebuild(each, change) for each in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def copy_to_host(x: Array) -> np.ndarray:
    """Copy an array of an unknown library to the host. Raises TypeError if NumPy cannot
    read it.
    """
    refusals = []
    for device in (None, "cpu"):  # "cpu" asks for a copy
        try:
            return np.array(np.from_dlpack(x, device=device))
        # What the standard allows it to raise, and what libraries of older versions of
        # the standard do.
        except (
            AttributeError,
            TypeError,
            ValueError,
            BufferError,
            RuntimeError,
        ) as error:
            refusals.append(one_line(error))
    array = np.array(x)
    if array.dtype == object:  # NumPy's answer for what it does not know
        reason = f": {refusals[0]}" if hasattr(x, "__dlpack__") else ""
        raise TypeError(
            f"NumPy cannot read a {type(x).__module__}.{type(x).__name__}{reason}"
        )
    return array
