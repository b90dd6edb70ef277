"""Libraries of the tests' own."""

import inspect

import array_api_compat.numpy as numpy


class Namespace:
    """A library of a test's own: NumPy, but for some functions."""

    def __init__(self, **functions):
        self.__dict__.update(functions)

    def __getattr__(self, name):
        return getattr(numpy, name)


# The start of a module with such libraries.
NAMESPACE = (
    f"import array_api_compat.numpy as numpy\n\n\n{inspect.getsource(Namespace)}"
)
