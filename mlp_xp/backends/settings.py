"""Global settings of array libraries, which a function must leave as it found them."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

Restore = Callable[[], None]


@contextlib.contextmanager
def restored(library: Any) -> Iterator[None]:
    """Restore the global settings of all loaded libraries at the end.

    These are the settings of JAX, PyTorch's default dtype, device and precision of
    products, and the flags of array-api-strict.

    Args:
        library: A library to load first, if it is a name.
    """
    if isinstance(library, str) and ":" not in library:
        with contextlib.suppress(ImportError, ValueError):
            importlib.import_module(library.replace("-", "_"))
    restores = [
        keep(sys.modules[name]) for name, keep in _KEPT.items() if name in sys.modules
    ]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def _keep_jax(jax: Any) -> Restore:
    before = dict(jax.config.values)

    def restore() -> None:
        for name, value in before.items():
            if jax.config.values.get(name, value) != value:
                jax.config.update(name, value)

    return restore


def _keep_torch(torch: Any) -> Restore:
    names = ("default_dtype", "float32_matmul_precision", "default_device")
    before = {name: getattr(torch, f"get_{name}")() for name in names}

    def restore() -> None:
        for name, value in before.items():
            if getattr(torch, f"get_{name}")() != value:
                getattr(torch, f"set_{name}")(value)

    return restore


def _keep_strict(strict: Any) -> Restore:
    flags = strict.get_array_api_strict_flags()

    def restore() -> None:
        if strict.get_array_api_strict_flags() != flags:
            strict.set_array_api_strict_flags(**flags)

    return restore


_KEPT: dict[str, Callable[[Any], Restore]] = {
    "jax": _keep_jax,
    "torch": _keep_torch,
    "array_api_strict": _keep_strict,
}
