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

# of the folder for compiled functions; those of one network take about 0.1 MB
MOST_BYTES = 2**26
# XLA's older code for elementwise operations, not cut into parts for many compiling
# threads.
_QUICK_TO_COMPILE = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
_Loop = Callable[..., tuple[Carry, Array]]
"""A step or a block; see `Backend.scan` and `Backend.scan_blocks`."""


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
        # Without this JAX turns every float64 into float32. It must be set before the
        # first array is made.
        jax.config.update("jax_enable_x64", True)
        if jax.config.jax_default_matmul_precision is None:
            # On a GPU the default may be TF32, whose products have 10 bits: less than
            # float32 promises.
            jax.config.update("jax_default_matmul_precision", "highest")
        _set_compile_cache(jax)
        try:
            known = [f"{each.platform}:{each.id}" for each in jax.devices()]
        # a RuntimeError, or an AssertionError for a platform without its plugin
        except Exception as error:
            said = line_of(error)
            fault = f"backend jax: JAX {jax.__version__} is installed but cannot start"
            raise BackendError(f"{fault}: {said}") from error
        platform, _, index = (device or "").partition(":")
        try:
            return dict(enumerate(jax.devices(platform or None)))[int(index or 0)]
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
            carry, y = step(carry, tuple(x[0] for x in rows))
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
        """Take all whole blocks in one loop, which is compiled once, and then the rest."""
        jnp = self._jax.numpy
        n = xs[0].shape[0]
        rest = n % size
        whole = n - rest
        blocks = tuple(
            jnp.reshape(x[:whole], (n // size, size, *x.shape[1:])) for x in xs
        )
        carry, ys = self._jax.lax.scan(block, carry, blocks)
        ys = jnp.reshape(ys, (whole, *ys.shape[2:]))
        if rest:
            carry, y = block(carry, tuple(x[whole:] for x in xs))
            ys = jnp.concatenate([ys, y])
        return carry, ys

    def _scan_some_blocks(
        self, block: _Loop, carry: Carry, xs: tuple[Array, ...], size: int, count: Array
    ) -> tuple[Carry, Array]:
        """Take blocks until `count` rows are taken, which is known only at run time."""
        lax, jnp = self._jax.lax, self._jax.numpy
        n = xs[0].shape[0]
        missing = -n % size
        arrays = [jnp.pad(x, [(0, missing), *[(0, 0)] * (x.ndim - 1)]) for x in xs]
        arrays = [jnp.reshape(x, (n + missing, *_squeezed(x))) for x in arrays]

        def take(first: Array, carry: Carry) -> tuple[Carry, Array]:
            rows = []
            for array, x in zip(arrays, xs, strict=True):
                piece = lax.dynamic_slice_in_dim(array, first, size)
                rows.append(jnp.reshape(piece, (size, *x.shape[1:])))
            with _taking(jnp.minimum(count - first, size)):
                return block(carry, tuple(rows))

        def take_next(i: Array, both: tuple[Carry, Array]) -> tuple[Carry, Array]:
            carry, ys = both
            carry, y = take(i * size, carry)
            y = jnp.reshape(y, (size, *_squeezed(y)))
            return carry, lax.dynamic_update_slice_in_dim(ys, y, i * size, 0)

        # The number of a step is unsigned, because JAX would look for each array
        # whether it is negative.
        zero = jnp.uint32(0)
        y = self._jax.eval_shape(take, zero, carry)[1]
        ys = jnp.zeros((n + missing, *_squeezed(y)), y.dtype)
        blocks = (count + (size - 1)) // size
        carry, ys = lax.fori_loop(zero, blocks, take_next, (carry, ys))
        return carry, jnp.reshape(ys[:n], (n, *y.shape[1:]))

    def _copy_to_device(self, array: np.ndarray, dtype: Any) -> Array:
        # JAX may use the memory of the copy.
        return self._jax.device_put(np.array(array, dtype), self.device)

    def _compile(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...],
        most_steps: int | None,
    ) -> Callable[..., Any]:
        # Not on a GPU, where the host may have to wait for each step to see whether it
        # is the last one.
        if most_steps and not self.on_gpu:
            return _filling_up(self._jax, function, donate, most_steps)
        compiled: Callable[..., Any] = self._jax.jit(function, donate_argnums=donate)
        if donate or self.on_gpu:
            return compiled
        quickly = self._jax.jit(function, compiler_options=_QUICK_TO_COMPILE)

        @wraps(function)
        def call(*args: Any) -> Any:
            with suppress(self._jax.errors.JaxRuntimeError, ValueError):
                return quickly(*args)
            # This XLA lacks one of the options, or the call is in another compiled
            # function, which allows none. Any other failure comes again.
            return compiled(*args)

        return call

    def _threads_at_first(self) -> Threads:
        return ON_GPU if self.on_gpu else _threads()


_count: ContextVar[Array | None] = ContextVar("_count", default=None)
"""How many rows the loops take that JAX traces now, in a function from `_filling_up`.
"""


@contextmanager
def _taking(count: Array) -> Iterator[None]:
    token = _count.set(count)
    try:
        yield
    finally:
        _count.reset(token)


def _squeezed(x: Array) -> tuple[int, ...]:
    """Return the shape of a row without axes of length 1, for which XLA would copy
    arrays to another layout.
    """
    return tuple(length for length in x.shape[1:] if length != 1)


def _filling_up(
    jax: ModuleType, chunk: Callable[..., Any], donate: tuple[int, ...], most_steps: int
) -> Callable[..., Any]:
    """Compile a chunk once for all numbers of steps. A call fills its arrays up with
    zeros, and counts its steps.
    """

    @wraps(chunk)
    def counted(*args: Any) -> Any:
        *others, (steps, count) = args
        with _taking(count):
            return chunk(*others, steps)

    compiled = jax.jit(counted, donate_argnums=donate)

    def filled(x: np.ndarray) -> np.ndarray:  # np.pad takes 0.1 ms
        array = np.zeros((max(len(x), most_steps), *x.shape[1:]), x.dtype)
        array[: len(x)] = x
        return array

    @wraps(compiled)
    def call(*args: Any) -> Any:
        *others, steps = args
        k = len(steps[0])
        carry, ys = compiled(*others, (tuple(map(filled, steps)), np.uint32(k)))
        return carry, np.asarray(ys)[:k]

    return call


@lru_cache(maxsize=1)  # it cannot change
def _threads() -> Threads:
    word = os.environ.get("NPROC", "")
    number = int(word) if word.isdecimal() and int(word) else cpus()
    return Threads(
        number, f"JAX took {number} when it started, and keeps that", adjustable=False
    )


def _set_compile_cache(jax: ModuleType) -> None:
    """Let JAX keep what it compiles, unless the user has chosen a folder or switched
    its cache off.
    """
    # Any failure to read or write an entry is a warning, and JAX compiles. Added in
    # front again at each call, because `catch_warnings` of a caller may have removed
    # it.
    warnings.filterwarnings(
        "ignore",
        "Error (reading|writing) persistent compilation cache entry",
        UserWarning,
    )
    config = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    # A folder for each number of threads, on which the compiled code and its last bits
    # depend: JAX's keys leave it out. Older versions may not keep entries of different
    # processors apart.
    name = f"jax-{_threads().number}"
    if jax.version.__version_info__ >= (0, 10) and (folder := compile_cache(name)):
        # By default only what takes a second to compile is kept. XLA's own caches may
        # stop a process that cannot write them.
        for name, value in (
            ("jax_persistent_cache_min_compile_time_secs", 0.0),
            ("jax_persistent_cache_min_entry_size_bytes", -1),
            ("jax_compilation_cache_max_size", MOST_BYTES),
            ("jax_persistent_cache_enable_xla_caches", "none"),
            ("jax_compilation_cache_dir", str(folder)),
        ):
            config.update(name, value)


def compile_cache(name: str) -> Path | None:
    """Return the folder of this name for compiled functions in the user's cache folder,
    or None if it cannot be used.

    The cache folder is MLP_XP_CACHE, else the system's. Missing folders are made.
    Whoever can write to this one, or put another one in its place, can run code in the
    processes that read it: this user and root alone may. Nothing is raised.
    """
    try:
        folder = cache_folder() / name
        for each in (*reversed(folder.parents), folder):
            each.mkdir(mode=0o700, exist_ok=True)
        usable = os.access(folder, os.R_OK | os.X_OK)
        if hasattr(os, "getuid"):
            status = folder.stat()
            usable &= (
                status.st_uid == os.getuid()
                and not status.st_mode & 0o022
                and _is_private(folder)
            )
    # RuntimeError: no home; ValueError: a null character in the name
    except (OSError, RuntimeError, ValueError):
        return None
    return folder if usable else None


def _is_private(path: Path) -> bool:
    """Return whether this user and root alone decide what an absolute path leads to:
    all its folders and links count.

    In a folder with the sticky bit, such as /tmp, others can add names, but not replace
    those of this user.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        safe = _is_private(path.parent / path.readlink())
    else:
        safe = bool(status.st_mode & stat.S_ISVTX) or not status.st_mode & 0o022
    owned = status.st_uid in (0, os.getuid())
    return owned and safe and (path == path.parent or _is_private(path.parent))


LIBRARY = JaxBackend
