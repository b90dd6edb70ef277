"""Array namespaces named by the user, and hooks for them.

Nothing else is known about these libraries. See docs/libraries.md.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends import BACKENDS, _requirements
from mlp_xp.backends.failures import BackendError, line_of
from mlp_xp.backends.hooks import known_hooks
from mlp_xp.backends.inputs import not_of
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.errors import one_line, with_colon


def find(name: str) -> Any:
    """Import the object named by `module:attributes` or by an entry point.

    Modules of the current folder are found too, after all others.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    if ":" not in name:
        return known_hooks()[name].load()
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    if not attributes:
        return found
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            submodule = f"{found.__name__}.{attribute}"
            try:
                importlib.import_module(submodule)
            except ModuleNotFoundError as error:
                if error.name != submodule:  # the submodule lacks a module
                    raise
                message = f"module {found.__name__} has no {attribute!r}"
                raise ImportError(message) from error
        found = getattr(found, attribute)
    return found


def import_foreign(name: str, device: str | None) -> Any:
    """Import `module:namespace`, or the entry point of this name.

    Raises:
        BackendError: The import fails, or a device is given.
    """
    start = f"backend {with_colon(name)}"
    if device is not None:
        raise BackendError(
            f"{start} a device can be chosen only for {', '.join(BACKENDS)}, "
            f"not {device!r}",
            remedy="give a hook whose namespace makes arrays there "
            "(see docs/libraries.md)",
        )
    try:
        found = find(name)
    # A foreign module may raise anything while it is imported.
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"{start} no such array namespace can be imported: {line_of(error)}"
        ) from error
    return found


def _version_of(name: str, xp: Any) -> str:
    """Return the version of the package that holds a foreign namespace.

    The package has priority over the namespace's `__version__`, because a module that
    imports all of NumPy's names has NumPy's version.
    """
    from importlib.metadata import packages_distributions, version

    module = str(getattr(xp, "__name__", "") or name.partition(":")[0])
    module = module.removeprefix("array_api_compat.")
    packages = packages_distributions().get(module.partition(".")[0])
    if packages:
        return version(packages[0])
    return str(getattr(xp, "__version__", "unknown"))


class ForeignBackend(LibraryBackend):
    """A namespace named by the user, with or without a hook.

    Args:
        name: The name the user gave.
        hook: The hook, or None.
        xp: The namespace.
        dtype: `float64` or `float32`. The namespace must have it.
    """

    # SystemExit too, because a library ending the process must not look like success.
    errors = (Exception, SystemExit)

    def __init__(self, name: str, hook: Any, xp: Any, dtype: str) -> None:
        version = getattr(hook, "version", None) or _version_of(name, xp)
        one_line_version = " ".join(str(version).split())
        super().__init__(name, one_line_version, xp, None, dtype)
        self._own_to_numpy = getattr(hook, "to_numpy", None)
        self.materialise = getattr(hook, "materialise", None)

    def like(self, array: Any) -> Backend:
        """See `Backend.like`. Only a hook may know how to open the library."""
        return self if not_of(array, self) is None else super().like(array)

    def _copy_to_host(self, array: Array) -> np.ndarray:
        if self._own_to_numpy is None:
            return copy_to_host(array)
        # A hook may return the array's own memory. An operation in place would then
        # change the result.
        return np.array(self._own_to_numpy(array))

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        eager = super()._compile(function, donate, most_steps)
        if self.materialise is None:
            return eager

        # Otherwise the graph of a lazy library would grow with every step.
        @wraps(function)
        def computed(*args: Any) -> Any:
            return self._computed(eager(*args))

        return computed

    def _computed(self, result: Any) -> Any:
        """Let the hook compute all arrays of a result at once.

        Raises:
            ValueError: The hook returns more or fewer arrays.
        """
        assert self.materialise is not None
        arrays: list[Array] = []
        rebuild(result, arrays.append)  # only collects the arrays
        found = list(self.materialise(*arrays))
        if len(found) != len(arrays):
            fault = f"materialise returns {len(found)} arrays instead of {len(arrays)}"
            raise ValueError(fault)
        remaining = iter(found)
        return rebuild(result, lambda _: next(remaining))


def open_foreign(name: str, found: Any, dtype: str) -> Backend:
    """Open an array namespace, or a hook with a namespace as its `xp`.

    Raises:
        BackendError: The namespace lacks something, or NumPy arrays do not come back
            unchanged from it.
    """
    start = f"backend {with_colon(name)}"
    try:
        # A hook may have the library's functions too.
        hook = found if hasattr(found, "xp") else None
        xp = found if hook is None else hook.xp
        fault = _find_lacking(xp, dtype)
        if not fault:
            backend = ForeignBackend(name, hook, xp, dtype)
            fault = _find_copying_fault(backend, dtype)
    # A foreign object may raise anything, even when it is asked for an attribute.
    except Exception as error:
        reason = f"it cannot be opened: {line_of(error)}"
        raise BackendError(f"{start} {reason}") from error
    if fault:
        raise BackendError(f"{start} {fault}")
    return backend


def _find_lacking(xp: Any, dtype: str) -> str:
    """Name everything a namespace lacks; an empty string if nothing."""
    wanted = (*_requirements.FUNCTIONS, *_requirements.DTYPES, dtype)
    lacking = [each for each in wanted if not hasattr(xp, each)]
    if not lacking:
        return ""
    names = ", ".join(lacking)
    return f"it does not implement the array API standard: it lacks {names}"


def _find_copying_fault(backend: Backend, dtype: str) -> str:
    """Describe the first sample not copied correctly to a namespace and back.

    Return an empty string if there is none. Large samples are tried too, because a
    library may treat them differently. They are below one megabyte, the limit of Cubed.
    """
    for kind, values in (("uint8", [255, 0]), (dtype, [0.5, -1.5])):
        for count in (2, 100_001):
            sample = np.resize(np.array(values, kind), count)
            fault = _copying_fault(backend, sample)
            if fault:
                return fault
    return ""


def _copying_fault(backend: Backend, sample: np.ndarray) -> str:
    kind = sample.dtype.name
    wanted = getattr(backend.xp, kind)
    host = sample.copy()
    try:
        with warnings.catch_warnings(action="ignore"):
            # Data are copied without a dtype, parameters with one.
            array = backend.asarray(host, None if kind == "uint8" else wanted)
            made = array.dtype
            back = backend.to_numpy(array)
            host[...] = 1
            later = backend.to_numpy(array)
    except Exception as error:  # a foreign library may raise anything
        reason = line_of(error.__cause__ or error)
        return (
            f"a NumPy array of {kind} cannot be copied to it and back: {reason}; "
            "a hook with to_numpy may help (see docs/libraries.md)"
        )
    count = len(sample)
    dtypes_fit = (made, back.dtype) == (wanted, sample.dtype)
    if not dtypes_fit or not np.array_equal(back, sample):
        values = f"{sample[:2].tolist()}"
        if count > 2:
            values += f", {count} numbers,"
        return (
            f"{values} of {kind} becomes a {made} array there, and {back!r:.80} back "
            f"on the host; set it up for {kind} first, or give it a hook with to_numpy"
        )
    if not np.array_equal(later, back):
        return (
            "its asarray(x, copy=True) does not copy: an array of "
            f"{count} {kind} changes with the NumPy array x"
        )
    return ""


def rebuild(tree: Any, change: Callable[[Array], Any]) -> Any:
    """Return nested (named) tuples of arrays with every array changed, in order."""
    if not isinstance(tree, tuple):
        return change(tree)
    parts = [rebuild(each, change) for each in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def copy_to_host(x: Array) -> np.ndarray:
    """Copy an array of an unknown library to the host.

    Raises:
        TypeError: NumPy cannot read the array.
    """
    refusals = []
    for device in (None, "cpu"):  # "cpu" asks for a copy
        try:
            return np.array(np.from_dlpack(x, device=device))
        # The standard allows some of these errors. Libraries of older versions of the
        # standard raise the others.
        except (
            AttributeError,
            TypeError,
            ValueError,
            BufferError,
            RuntimeError,
        ) as error:
            refusals.append(one_line(error))
    array = np.array(x)
    if array.dtype == object:  # NumPy wraps objects it does not know
        fault = f"NumPy cannot read a {type(x).__module__}.{type(x).__name__}"
        if hasattr(x, "__dlpack__"):
            fault += f": {refusals[0]}"
        raise TypeError(fault)
    return array
