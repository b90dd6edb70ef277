"""Array namespaces that are known only by a name which the user gives: find them, and use them as others are used."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import described


def hooks() -> dict[str, Any]:
    """Return the entry points that installed packages have for this package, by name."""
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group="mlp_xp.backends")}


@contextmanager
def current_folder() -> Iterator[None]:
    """Find modules of the current folder too, after all others, as `python -m` does."""
    folder = str(Path.cwd())
    if folder in sys.path:
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@current_folder()
def find(name: str) -> Any:
    """Import what `module:attributes`, or the entry point of that name, stands for."""
    if ":" not in name:
        return hooks()[name].load()
    module, _, attributes = name.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in filter(None, attributes.split(".")):
        if not hasattr(found, attribute):
            importlib.import_module(f"{found.__name__}.{attribute}")
        found = getattr(found, attribute)
    return found


@current_folder()
def exists(module: str) -> bool:
    """Return whether there is a module of that name, without importing it. The name must have no dot."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # a module that is imported and has no spec
        return True


def version_of(name: str, xp: Any) -> str:
    """Return the version of the package that holds a foreign namespace, which may itself name another's."""
    from importlib.metadata import packages_distributions, version

    module = str(getattr(xp, "__name__", "") or name.partition(":")[0]).partition(".")[0]
    # The package first: a module that imports all of NumPy's names has NumPy's `__version__` too.
    for package in packages_distributions().get(module, []):
        return version(package)
    return str(getattr(sys.modules.get(module), "__version__", "") or getattr(xp, "__version__", "unknown"))


def materialised(
    jit: Callable[..., Callable[..., Any]],
    materialise: Callable[..., Sequence[Array]],
    function: Callable[..., Any],
    donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Have all arrays that a function returns computed at once; without that, a lazy library's graph never ends.

    The function that is returned raises ValueError if `materialise` does not return as many arrays.
    """
    run = jit(function, donate)

    @wraps(function)
    def computed(*args: Any) -> Any:
        result = run(*args)
        arrays: list[Array] = []
        rebuild(result, arrays.append)
        found = list(materialise(*arrays))
        if len(found) != len(arrays):
            raise ValueError(f"materialise returns {len(found)} arrays instead of {len(arrays)}")
        remaining = iter(found)
        return rebuild(result, lambda _: next(remaining))

    return computed


def rebuild(tree: Any, change: Callable[[Array], Any]) -> Any:
    """Return nested (named) tuples of arrays with every array changed, in order."""
    if not isinstance(tree, tuple):
        return change(tree)
    parts = [rebuild(each, change) for each in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)


def copy_to_host(x: Array) -> np.ndarray:
    """Copy an array of an unknown library to the host.

    Raises TypeError if NumPy cannot read it. The library's own error in DLPack, if there was one, is the cause.
    """
    devices: tuple[Literal["cpu"] | None, ...] = (None, "cpu")  # "cpu" asks for a copy
    refusals: list[Exception] = []
    for device in devices:
        try:
            return np.array(np.from_dlpack(x, device=device))
        # What the standard allows it to raise, and what libraries of older versions of the standard do.
        except (AttributeError, TypeError, ValueError, BufferError, RuntimeError) as error:
            refusals.append(error)
    try:
        array = np.array(x)
    except Exception as error:
        raise error from refusals[0]
    if array.dtype == object:  # NumPy's answer for what it does not know
        reason = f": {described(refusals[0])}" if hasattr(x, "__dlpack__") else ""
        raise TypeError(f"NumPy cannot read a {type(x).__module__}.{type(x).__name__}{reason}") from refusals[0]
    return array
