"""The array libraries.

Only this package has code for particular libraries. `opening` opens a library,
`threads` chooses the number of threads it computes on, and `memory` estimates the
memory for training.

To add a library, add its name to BACKENDS and write a module for it, with a subclass of
`LibraryBackend`, as in `torch_backend.py`.
"""

BACKENDS = ("numpy", "cupy", "jax", "torch", "array-api-strict")
"""The names of the libraries.

For example, the module of `array-api-strict` is `array_api_strict_backend`.
"""
DTYPES = ("float64", "float32")
