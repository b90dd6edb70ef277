"""JAX, which compiles, on the CPU or a GPU."""

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlp_xp.backends.failures import BackendError, import_library, line_of, no_device
from mlp_xp.backends.library import LibraryBackend
from mlp_xp.backends.threads import ON_GPU, Threads, cpus
from mlp_xp.core.backend import Carry
from mlp_xp.core.functional import Array
from mlp_xp.system import cache_folder

# The limit of the folder for compiled functions. A network takes about 0.1 MB.
MOST_BYTES = 2**26
# XLA's older code for elementwise operations, not split for many compiling threads.
_QUICK_TO_COMPILE = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_Loop = Callable[..., tuple[Carry, Array]]
"""A step or a block. See `Backend.scan` and `Backend.scan_blocks`."""

_count: ContextVar[Array | None] = ContextVar("_count", default=None)
"""The number of rows to take in the loops that JAX traces; None for all rows.

A chunk is compiled once, for the longest chunk, so shorter chunks must stop earlier.
"""


@contextmanager
def _taking(count: Array) -> Iterator[None]:
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


class JaxBackend(LibraryBackend):
    """JAX on a device."""

    compiles = True
    block_bytes = 2**19

    def __init__(self, device: Any, dtype: str) -> None:
        import jax

        self._jax = jax
        on_gpu = device.platform != "cpu"
        super().__init__(
            "jax", jax.__version__, jax.numpy, device, dtype, on_gpu=on_gpu
        )
        self.errors = (jax.errors.JaxRuntimeError, MemoryError)
        self.imports = "import jax; jax.config.update('jax_enable_x64', True)"
        if device != jax.devices()[0]:
            platform = device.platform
            number = jax.devices(platform).index(device)
            place = f"jax.devices({platform!r})[{number}]"
            self.imports += f"; jax.config.update('jax_default_device', {place})"
        self.imports += "; import jax.numpy as xp"

    @staticmethod
    def find_device(device: str | None) -> Any:
        """Return JAX's object for a device, such as cpu or cuda:1, and set JAX up.

        Raises:
            BackendError: JAX cannot start, or has no such device.
        """
        jax = import_library("jax", "jax")
        # Otherwise JAX turns every float64 into float32. This must come before the
        # first array.
        jax.config.update("jax_enable_x64", True)
        if jax.config.jax_default_matmul_precision is None:
            # On a GPU the default may be TF32, which multiplies float32 with 10 bits.
            jax.config.update("jax_default_matmul_precision", "highest")
        _set_compile_cache(jax)
        try:
            known = [f"{each.platform}:{each.id}" for each in jax.devices()]
        # Usually a RuntimeError; an AssertionError for a platform without its plugin.
        except Exception as error:
            fault = f"backend jax: JAX {jax.__version__} is installed but cannot start"
            raise BackendError(f"{fault}: {line_of(error)}") from error
        platform, _, number = (device or "").partition(":")
        try:
            # A list would accept negative numbers.
            devices = dict(enumerate(jax.devices(platform or None)))
            return devices[int(number or 0)]
        except (RuntimeError, ValueError, KeyError, AssertionError) as error:
            raise no_device("jax", device, known) from error

    def scan(
        self, step: _Loop, carry: Carry, xs: tuple[Array, ...]
    ) -> tuple[Carry, Array]:
        """See `Backend.scan`."""
        if _count.get() is None:
            carry, ys = self._jax.lax.scan(step, carry, xs)
            return carry, ys

        def block(carry: Carry, rows: tuple[Array, ...]) -> tuple[Carry, Array]:
            row = tuple(x[0] for x in rows)
            carry, y = step(carry, row)
            return carry, y[None]

        return self.scan_blocks(block, carry, xs, 1)

    def scan_blocks(
        self, block: _Loop, carry: Carry, xs: tuple[Array, ...], size: int
    ) -> tuple[Carry, Array]:
        """See `Backend.scan_blocks`."""
        size = min(size, xs[0].shape[0])
        count = _count.get()
        if count is None:
            return self._scan_all_blocks(block, carry, xs, size)
        return self._scan_some_blocks(block, carry, xs, size, count)

    def _scan_all_blocks(
        self, block: _Loop, carry: Carry, xs: tuple[Array, ...], size: int
    ) -> tuple[Carry, Array]:
        """Take all whole blocks in one compiled loop, and then the remaining rows."""
        jnp = self._jax.numpy
        n = xs[0].shape[0]
        block_count, rest = divmod(n, size)
        whole = n - rest
        blocks = tuple(
            jnp.reshape(x[:whole], (block_count, size, *x.shape[1:])) for x in xs
        )
        carry, ys = self._jax.lax.scan(block, carry, blocks)
        _, _, *y_shape = ys.shape
        ys = jnp.reshape(ys, (whole, *y_shape))
        if rest:
            carry, y = block(carry, tuple(x[whole:] for x in xs))
            ys = jnp.concatenate([ys, y])
        return carry, ys

    def _scan_some_blocks(
        self, block: _Loop, carry: Carry, xs: tuple[Array, ...], size: int, count: Array
    ) -> tuple[Carry, Array]:
        """Take the blocks of `count` rows, a number known only at run time."""
        lax, jnp = self._jax.lax, self._jax.numpy
        n = xs[0].shape[0]
        missing = -n % size  # rows to make the last block whole
        arrays = []
        for x in xs:
            padding = [(0, missing), *[(0, 0)] * (x.ndim - 1)]
            padded = jnp.pad(x, padding)
            arrays.append(jnp.reshape(padded, (n + missing, *_squeezed(x))))

        def take(first: Array, carry: Carry) -> tuple[Carry, Array]:
            """Take the block beginning with the row `first`."""
            rows = []
            for array, x in zip(arrays, xs, strict=True):
                piece = lax.dynamic_slice_in_dim(array, first, size)
                rows.append(jnp.reshape(piece, (size, *x.shape[1:])))
            with _taking(jnp.minimum(count - first, size)):
                return block(carry, tuple(rows))

        def take_next(i: Array, results: tuple[Carry, Array]) -> tuple[Carry, Array]:
            carry, ys = results
            carry, y = take(i * size, carry)
            y = jnp.reshape(y, (size, *_squeezed(y)))
            return carry, lax.dynamic_update_slice_in_dim(ys, y, i * size, 0)

        # Unsigned, because JAX would check for each array whether the number of a row
        # is negative.
        zero = jnp.uint32(0)
        _, y = self._jax.eval_shape(take, zero, carry)
        ys = jnp.zeros((n + missing, *_squeezed(y)), y.dtype)
        block_count = (count + (size - 1)) // size
        carry, ys = lax.fori_loop(zero, block_count, take_next, (carry, ys))
        return carry, jnp.reshape(ys[:n], (n, *y.shape[1:]))

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> Array:
        # JAX may keep using the memory of its argument, hence the copy.
        return self._jax.device_put(np.array(array, dtype), self.device)

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        # On a GPU, the host might have to wait after each step to know whether this was
        # the last step.
        if most_steps and not self.on_gpu:
            return _filling_up(self._jax, function, donate, most_steps)
        compiled: Callable[..., Any] = self._jax.jit(function, donate_argnums=donate)
        if donate or self.on_gpu:
            return compiled
        quickly = self._jax.jit(function, compiler_options=_QUICK_TO_COMPILE)

        @wraps(function)
        def call(*args: Any) -> Any:
            # This fails if XLA lacks one of the options, or inside another compiled
            # function, which allows no options. Any other failure is repeated below.
            with suppress(self._jax.errors.JaxRuntimeError, ValueError):
                return quickly(*args)
            return compiled(*args)

        return call

    def _threads_at_first(self) -> Threads:
        return ON_GPU if self.on_gpu else _threads()


def _squeezed(x: Array) -> tuple[int, ...]:
    """Return the shape of a row without axes of length 1.

    With these axes, XLA would copy arrays to another layout.
    """
    return tuple(length for length in x.shape[1:] if length != 1)


def _filling_up(
    jax: ModuleType, chunk: Callable[..., Any], donate: tuple[int, ...], most_steps: int
) -> Callable[..., Any]:
    """Compile a chunk once for all numbers of steps.

    Each call fills up the arrays of its steps to the longest length, and passes the
    true number of steps.
    """

    @wraps(chunk)
    def counted(*args: Any) -> Any:
        *others, (steps, count) = args
        with _taking(count):
            return chunk(*others, steps)

    compiled = jax.jit(counted, donate_argnums=donate)

    @wraps(compiled)
    def call(*args: Any) -> Any:
        *others, steps = args
        count = len(steps[0])
        filled = tuple(_filled(x, max(count, most_steps)) for x in steps)
        carry, ys = compiled(*others, (filled, np.uint32(count)))
        return carry, np.asarray(ys)[:count]

    return call


def _filled(x: np.ndarray, length: int) -> np.ndarray:
    """Return an array with zeros appended along the first axis."""
    array = np.zeros((length, *x.shape[1:]), x.dtype)  # np.pad would take 0.1 ms
    array[: len(x)] = x
    return array


@lru_cache(maxsize=1)  # the number cannot change
def _threads() -> Threads:
    chosen = os.environ.get("NPROC", "")
    number = int(chosen) if chosen.isdecimal() else 0
    number = number or cpus()
    reason = f"JAX took {number} when it started, and keeps that"
    return Threads(number, reason, adjustable=False)


def _set_compile_cache(jax: ModuleType) -> None:
    """Switch on JAX's compilation cache, unless the user has configured it."""
    # If an entry cannot be read or written, JAX warns and compiles. The filter is added
    # at each call, because `catch_warnings` of a caller may have removed it.
    warnings.filterwarnings(
        "ignore",
        "Error (reading|writing) persistent compilation cache entry",
        UserWarning,
    )
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    # Older versions may confuse entries of different processors.
    if jax.version.__version_info__ < (0, 10):
        return
    # Compiled code and the last bits of its results depend on the number of threads,
    # which is not part of JAX's keys.
    folder = compile_cache(f"jax-{_threads().number}")
    if folder is None:
        return
    settings = {
        # By default, only functions that take a second to compile are kept.
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_compilation_cache_max_size": MOST_BYTES,
        # XLA's own caches may stop a process without permission to write them.
        "jax_persistent_cache_enable_xla_caches": "none",
        "jax_compilation_cache_dir": str(folder),
    }
    for name, value in settings.items():
        config.update(name, value)


def compile_cache(name: str) -> Path | None:
    """Return a folder for compiled functions, or None if it cannot be used.

    The folder has this name, and is in MLP_XP_CACHE or the user's cache folder. Missing
    folders are made. Anyone who can write to the folder, or replace it, can run code in
    the processes that read it. So the folder is used only if nobody but this user and
    root can.
    """
    try:
        folder = cache_folder() / name
        for each in (*reversed(folder.parents), folder):
            each.mkdir(mode=0o700, exist_ok=True)
        usable = os.access(folder, os.R_OK | os.X_OK)
        if hasattr(os, "getuid"):
            status = folder.stat()
            is_own = status.st_uid == os.getuid()
            is_open = status.st_mode & _WRITABLE_BY_OTHERS
            usable = usable and is_own and not is_open and _is_private(folder)
    # RuntimeError: the user has no home. ValueError: the name has a null character.
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if usable else None


def _is_private(path: Path) -> bool:
    """Return whether only this user and root decide where an absolute path leads.

    All folders and links of the path count. In a folder with the sticky bit, such as
    /tmp, others can add names, but not replace the names of this user.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        safe = _is_private(path.parent / path.readlink())
    else:
        is_sticky = bool(status.st_mode & stat.S_ISVTX)
        safe = is_sticky or not status.st_mode & _WRITABLE_BY_OTHERS
    owned = status.st_uid in (0, os.getuid())
    return owned and safe and (path == path.parent or _is_private(path.parent))


LIBRARY = JaxBackend
