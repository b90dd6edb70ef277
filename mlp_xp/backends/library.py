"""The backend of a library that computes at once. Other backends extend it."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, wraps
from typing import Any, ClassVar

import numpy as np

from mlp_xp.backends.failures import failure
from mlp_xp.backends.inputs import ReadingBackend
from mlp_xp.backends.threads import (
    LIMITS,
    ON_GPU,
    THREADS,
    UNDECIDED,
    UNKNOWN,
    Threads,
)
from mlp_xp.core.backend import Backend, Carry
from mlp_xp.core.functional import Array
from mlp_xp.declared import ConfigError, checked
from mlp_xp.errors import MlpXpError

KEPT_BYTES = 31 * 2**20  # see `LibraryBackend.__init__`; glibc's limit is 32 MiB


class LibraryBackend(ReadingBackend):
    """An array library that computes at once, such as NumPy.

    Subclasses override methods with a leading underscore. The methods of `Backend` call
    them on the chosen threads, and turn failures of the library into `BackendFailure`.
    JAX, which compiles, also overrides the loops.

    Args:
        name: The name of the backend.
        version: The version of the library.
        xp: The namespace.
        device: The library's object for the device; None for the default device.
        dtype: `float64` or `float32`.
        on_gpu: Whether the device is a GPU.
    """

    errors: tuple[type[BaseException], ...] = (MemoryError,)
    """The exceptions raised for failures of the library itself."""
    imports: str = ""
    """A line of Python with which a script imports the namespace as `xp`.

    The line also chooses the same device and settings. Empty for a foreign namespace.
    """
    materialise: Callable[..., Sequence[Array]] | None = None
    """The hook's function to compute lazy arrays."""
    open_backend: ClassVar[Callable[..., Backend]]
    """`opening.open_backend`. `opening` imports this module, and sets the method."""
    open_backend_like: ClassVar[Callable[[Any, str], Backend]]
    """`opening.open_backend_like`, set in the same way."""

    def __init__(
        self,
        name: str,
        version: str,
        xp: Any,
        device: Any,
        dtype: str,
        *,
        on_gpu: bool = False,
    ) -> None:
        self.name = name
        self.version = version
        self.xp = xp
        self.device = device
        self.device_name = None if device is None else name_of(device)
        self.dtype = getattr(xp, dtype)
        self.dtype_name = dtype
        self.on_gpu = on_gpu
        self.threads = self._threads_at_first()
        self._limit: int | None = None
        # glibc returns freed memory to the system, and each step would fetch it again,
        # page by page. Once a block of this size has been freed, glibc keeps up to
        # twice as much.
        np.empty(KEPT_BYTES, np.uint8)

    # Methods that a library may override.

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> Array:
        """Copy a contiguous host array, in its own dtype if `dtype` is None."""
        if dtype is None:
            # Without a dtype, MLX turns float64 into float32.
            dtype = getattr(self.xp, array.dtype.name, None)
        # Not every library has the keyword `device`.
        place = {} if self.device is None else {"device": self.device}
        return self.xp.asarray(array, dtype=dtype, copy=True, **place)

    def _copy_to_host(self, array: Array) -> np.ndarray:
        return np.array(array)

    def _rows(self, x: Array) -> Sequence[Array]:
        """Return x[i, ...] for every i."""
        return [x[i, ...] for i in range(x.shape[0])]

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        """Return the function of `jit`, before threads and failures are handled."""
        if most_steps:
            function = self._with_copied_steps(function)
        # The caller sees an overflow in the result, so NumPy need not warn.
        return np.errstate(over="ignore", invalid="ignore")(function)

    def _with_copied_steps(self, chunk: Callable[..., Any]) -> Callable[..., Any]:
        """Let a chunk copy the arrays of its steps to the device."""

        @wraps(chunk)
        def call(*args: Any) -> Any:
            *others, steps = args
            return chunk(*others, tuple(self._copy_to_device(x, None) for x in steps))

        return call

    def _thread_count(self) -> int | None:
        """Return the library's current number of threads, or None if unknown."""
        return LIMITS.count()

    def _threads_at_first(self) -> Threads:
        if self.on_gpu:
            return ON_GPU
        return UNKNOWN if self._thread_count() is None else UNDECIDED

    # The interface of `Backend`.

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """See `Backend.asarray`."""
        host = np.asarray(array, order="C")
        with self.reporting("a transfer to the device"), np.errstate(over="ignore"):
            return self._copy_to_device(host, dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        """See `Backend.to_numpy`."""
        with self.reporting("a transfer to the host"):
            return self._copy_to_host(array)

    def scan(
        self,
        step: Callable[..., tuple[Carry, Array]],
        carry: Carry,
        xs: tuple[Array, ...],
    ) -> tuple[Carry, Array]:
        """See `Backend.scan`."""
        columns = []
        for x in xs:
            if math.prod(x.shape):
                columns.append(self._rows(x))
            else:
                # Empty rows are all equal, as in masks without dropout.
                columns.append([x[0, ...]] * x.shape[0])
        ys = []
        for row in zip(*columns, strict=True):
            carry, y = step(carry, row)
            ys.append(y)
        return carry, self.xp.stack(ys)

    def scan_blocks(
        self,
        block: Callable[..., tuple[Carry, Array]],
        carry: Carry,
        xs: tuple[Array, ...],
        size: int,
    ) -> tuple[Carry, Array]:
        """See `Backend.scan_blocks`."""
        ys = []
        n = xs[0].shape[0]
        for start in range(0, n, size):
            end = min(start + size, n)
            carry, y = block(carry, tuple(x[start:end, ...] for x in xs))
            ys.append(y)
        return carry, ys[0] if len(ys) == 1 else self.xp.concat(ys, axis=0)

    def jit(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        most_steps: int | None = None,
    ) -> Callable[..., Any]:
        """See `Backend.jit`."""
        compiled = self._compile(function, donate, most_steps)
        doing = getattr(function, "__name__", "a function").replace("_", " ")

        @wraps(compiled)
        def call(*args: Any) -> Any:
            with self._on_its_threads(), self.reporting(doing):
                return compiled(*args)

        return call

    def on_threads(self, number: int | None, reason: str) -> Backend:
        """See `Backend.on_threads`.

        The number holds for the whole process. Python threads that need different
        numbers wait for each other.
        """
        return _on_threads(self, number, reason)

    def like(self, array: Any) -> Backend:
        """See `Backend.like`."""
        return LibraryBackend.open_backend_like(array, self.dtype_name)

    def named(self, name: str) -> Backend:
        """See `Backend.named`."""
        return LibraryBackend.open_backend(name, dtype=self.dtype_name)

    @contextmanager
    def reporting(self, doing: str) -> Iterator[None]:
        """See `Backend.reporting`."""
        try:
            yield
        except self.errors as error:
            # The errors of a foreign namespace are all exceptions, ours included.
            if isinstance(error, MlpXpError):
                raise
            raise failure(self.name, doing, error) from error

    def _on_its_threads(self) -> AbstractContextManager[None]:
        return LIMITS.at(self._limit) if self.threads.adjustable else nullcontext()


@cache
def _on_threads(
    backend: LibraryBackend, number: int | None, reason: str
) -> LibraryBackend:
    number = checked(THREADS, number)
    if not backend.threads.adjustable:
        if backend.threads.number == number:
            return backend
        why = backend.threads.reason
        fault = f"backend {backend.name} cannot compute on {number} threads: {why}"
        raise ConfigError(fault, remedy="leave the number out", setting="threads")
    LIMITS.look()
    other = copy.copy(backend)
    other._limit = number
    count = backend._thread_count() if number is None else number
    other.threads = Threads(count, reason)
    return other


def name_of(device: Any) -> str:
    """Return the name of a library's device object, as `open_backend` takes it."""
    name = re.sub(r".*Device\('(.*)'\)", r"\1", str(device))  # array-api-strict's
    return re.sub(r"<CUDA Device (\d+)>", r"cuda:\1", name)  # CuPy's
