"""NumPy with a fault in one operation, at one of its calls or at all."""

from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
from helpers import changed

from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend


class Array(np.ndarray):
    """An array of the library below."""

    library: "Library"

    def __matmul__(self, other):
        return self.library.operator("matmul", np.ndarray.__matmul__, self, other)

    def __isub__(self, other):
        return self.library.operator("isub", np.ndarray.__isub__, self, other)


class Library:
    """NumPy with one function or operator changed.

    name: the function, or the operator `matmul` or `isub`. change: called with the
    right function and its arguments. at: the only call that is changed, counted from 1.
    """

    def __init__(
        self, name: str, change: Callable[..., Any], at: int | None = None
    ) -> None:
        self.name, self.change, self.at = name, change, at
        self.calls, self.step, self.in_step = 0, 0, False
        self.struck = ""  # when an operation was changed
        self.array = type("Array", (Array,), {"library": self})

    def __getattr__(self, name: str) -> Any:
        function = getattr(numpy_xp, name)
        return partial(self.operator, name, function) if name == self.name else function

    def asarray(self, x: Any, /, **kwargs: Any) -> Any:
        return numpy_xp.asarray(x, **kwargs).view(self.array)

    def operator(
        self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if name != self.name:
            return function(*args, **kwargs)
        self.calls += 1
        if self.at not in (None, self.calls):
            return function(*args, **kwargs)
        self.struck = f"{'in' if self.in_step else 'after'} step {self.step}"
        return self.change(function, *args, **kwargs)

    def scan(self, step: Callable[..., Any], carry: Any, xs: Any) -> Any:
        """Count the steps."""

        def counted(carry: Any, x: Any) -> Any:
            self.in_step = True
            self.step += 1
            result = step(carry, x)
            self.in_step = False
            return result

        return LibraryBackend.scan(self.opened, counted, carry, xs)

    def backend(self) -> Backend:
        def copy_to_device(array: np.ndarray, dtype: Any) -> np.ndarray:
            return self.asarray(array, dtype=dtype, copy=True)

        self.opened = changed(
            open_backend(),
            name="faulty",
            xp=self,
            scan=self.scan,
            like=lambda array: self.opened,
            _copy_to_device=copy_to_device,
        )
        return self.opened
