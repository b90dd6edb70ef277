"""The array libraries. This is the only package with code that depends on which library
it is.

`opening` opens them, `threads` chooses on how many threads they compute, `memory`
estimates what training needs. To add a library, add its name to BACKENDS, and write its
module with a subclass of `LibraryBackend`, as in `torch_backend.py`.
"""

BACKENDS = ("numpy", "cupy", "jax", "torch", "array-api-strict")
"""The module of `array-api-strict` is `array_api_strict_backend`, and so on."""
DTYPES = ("float64", "float32")
