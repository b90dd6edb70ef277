"""Global settings of array libraries, to be restored after a run.

These are the settings of JAX, PyTorch's default dtype, device and precision of
products, and the flags of array-api-strict.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

Settings = dict[str, dict[str, Any]]
"""The settings of each loaded library, by the name of its module."""


def read() -> Settings:
    """Return the settings of all loaded libraries."""
    return {
        name: kept.read(sys.modules[name])
        for name, kept in _KEPT.items()
        if name in sys.modules
    }


def restore(before: Settings) -> None:
    """Set all settings to earlier values."""
    for name, values in before.items():
        module, kept = sys.modules[name], _KEPT[name]
        now = kept.read(module)
        for setting, value in values.items():
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
