"""Global settings of array libraries, to be restored after a run."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mlp_xp.backends.hooks import known_hooks


@contextlib.contextmanager
def restored(library: Any) -> Iterator[None]:
    """Restore the global settings of all loaded libraries at the end.

    These are the settings of JAX, PyTorch's default dtype, device and precision of
    products, and the flags of array-api-strict.

    Args:
        library: A library to load first, if it is a name.
    """
    if isinstance(library, str) and ":" not in library:
        with contextlib.suppress(Exception):  # opening it reports the fault
            hook = known_hooks().get(library)
            if hook:  # it may choose settings before the import of its library
                hook.load()
            else:
                importlib.import_module(library.replace("-", "_"))
    before = {
        name: kept.read(sys.modules[name])
        for name, kept in _KEPT.items()
        if name in sys.modules
    }
    try:
        yield
    finally:
        for name, settings in before.items():
            module, kept = sys.modules[name], _KEPT[name]
            now = kept.read(module)
            for setting, value in settings.items():
                if now[setting] != value:
                    kept.write(module, setting, value)


class _Kept(NamedTuple):
    """How the settings of a library are read and written."""

    read: Callable[[Any], dict[str, Any]]
    write: Callable[[Any, str, Any], None]


_OF_TORCH = ("default_dtype", "float32_matmul_precision", "default_device")
_KEPT = {
    "jax": _Kept(
        lambda jax: dict(jax.config.values),
        lambda jax, name, value: jax.config.update(name, value),
    ),
    "torch": _Kept(
        lambda torch: {name: getattr(torch, f"get_{name}")() for name in _OF_TORCH},
        lambda torch, name, value: getattr(torch, f"set_{name}")(value),
    ),
    "array_api_strict": _Kept(
        lambda strict: strict.get_array_api_strict_flags(),
        lambda strict, name, value: strict.set_array_api_strict_flags(**{name: value}),
    ),
}
