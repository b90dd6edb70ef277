"""The array libraries. This is the only package with code that depends on which library it is.

`opening` opens them, `threads` chooses on how many threads they compute, `memory` estimates what training needs. To add
a library, add its name to BACKENDS, and write its module with a function `open_library(device)`, as in `_torch.py`.
"""

from typing import Any

BACKENDS = ("numpy", "cupy", "jax", "torch", "array-api-strict")
"""The module of `array-api-strict` is `_array_api_strict`, and so on."""
DTYPES = ("float64", "float32")


def hooks() -> dict[str, Any]:
    """Return the entry points that installed packages have for this package, by name."""
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group="mlp_xp.backends")}
