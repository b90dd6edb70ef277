"""The array libraries. This is the only package with code that depends on which library
it is.

`opening` opens them, `threads` chooses on how many threads they compute, `memory`
estimates what training needs. To add a library, add its name to BACKENDS, and write its
module with a function `open_library(device)`, as in `_torch.py`.
"""

BACKENDS = ("numpy", "cupy", "jax", "torch", "array-api-strict")
"""The module of `array-api-strict` is `_array_api_strict`, and so on."""
DTYPES = ("float64", "float32")
