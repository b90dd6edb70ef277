"""The number of threads for array libraries.

For a small network, one thread is best. Passing work between threads costs more than it
saves, and on a busy machine a step takes over ten times longer. For wide layers and
large batches, all CPUs are faster. See docs/performance.md.
"""

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import NoneType
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

from mlp_xp.core.backend import Backend
from mlp_xp.declared import Setting
from mlp_xp.system import control_groups

# A run uses all CPUs from this many multiply-adds of a forward pass. If the CPUs have
# other work, threads wait for each other. Short steps are then many times slower than
# on one thread: see "Threads" in docs/performance.md.
LARGE_STEP = 4 * 10**9
# Up to this many multiply-adds of a forward pass, a step takes longer on a GPU than on
# one CPU core. A step has about 25 launches, and each takes CuPy 10 µs (pull request
# 3298 of CuPy). Meanwhile a core finishes a step of 5 million: docs/performance.md has
# 319 µs for 6.5 million. No GPU was measured.
LAUNCH_BOUND = 5 * 10**6
# There may be more threads than CPUs, but OpenMP ends the process if it cannot start a
# thread.
THREADS = Setting("threads", int, (NoneType,), None, least=1, most=1024)
VARIABLES = tuple(
    f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "GOTO", "MKL", "BLIS")
)


class Threads(NamedTuple):
    """The CPU threads of a backend."""

    number: int | None = None
    """None if it is not chosen yet, unknown, or irrelevant, as on a GPU."""
    reason: str = ""
    """The source of the number, in words."""
    adjustable: bool = True
    """Whether the number can be chosen, and changed while the library runs."""


UNDECIDED = Threads()
ON_GPU = Threads(None, "it computes on a GPU", adjustable=False)
# Apple's Accelerate, which NumPy's wheels for macOS use, cannot be asked.
UNKNOWN = Threads(
    None,
    "the BLAS library decides, and cannot be asked; for Apple's, set "
    "VECLIB_MAXIMUM_THREADS before the start",
    adjustable=False,
)


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set the threads of BLAS and OpenMP."""
    return {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}


def available_cpus() -> int:
    """Return the number of CPUs whose time this process may use.

    In a container, this is the container's share.
    """
    number = cpus()
    for group in control_groups():
        # The group may have no limit, or be invisible.
        with suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text("utf-8").split()
            number = min(number, math.ceil(int(quota) / int(period)))
    return max(1, number)


def cpus() -> int:
    """Return the number of CPUs on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(backend: Backend, work: int, before: int | None = None) -> Backend:
    """Choose the number of threads for steps of this size.

    A number given to `open_backend` has priority, then `before`, then environment
    variables. Otherwise a rule applies: all CPUs for large steps, else one thread.

    Args:
        backend: The backend.
        work: The multiply-adds of a forward pass: samples of a step x parameters.
        before: The number of threads of the run to resume.

    Returns:
        The backend on the chosen number of threads.
    """
    if backend.threads.number is not None or not backend.threads.adjustable:
        return backend
    if before is not None:
        return backend.on_threads(before, "as when the run began")
    variables = threads_chosen()
    if variables:
        reason = ", ".join(f"{name}={value}" for name, value in variables.items())
        return backend.on_threads(None, reason)
    size = f"{work:,} multiply-adds".replace(",", " ")
    if work < LARGE_STEP:
        reason = f"a forward pass of {size} is too small for more"
        return backend.on_threads(1, reason)
    number = available_cpus()
    reason = f"a forward pass has {size}, and this process may use {number} CPUs"
    return backend.on_threads(number, reason)


@contextmanager
def starting_on(threads: int | None) -> Iterator[None]:
    """Let JAX start on this many threads, if it starts in this context.

    For None, JAX decides.
    """
    before = os.environ.get("NPROC")
    if threads is not None and "jax" not in sys.modules:
        # XLA reads NPROC when it makes its pool of threads.
        os.environ["NPROC"] = str(threads)
    try:
        yield
    finally:
        os.environ.pop("NPROC", None)
        if before is not None:
            os.environ["NPROC"] = before


class Limits:
    """The numbers of threads of the libraries in this process.

    BLAS libraries and PyTorch have one number for the whole process, so only one Python
    thread at a time is inside the context `at`. Otherwise a second thread might restore
    the old number while the first still computes. The last bits of the first thread's
    results would then change.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_inside = False
        self._found: list[Any] = []
        self.others: list[Any] = []
        """Other libraries with `get_num_threads` and `set_num_threads`: PyTorch."""

    def look(self) -> None:
        """Find the BLAS libraries loaded now. This takes milliseconds."""
        with self._lock:
            self._found = ThreadpoolController().lib_controllers

    def count(self) -> int | None:
        """Return the largest number of threads of a BLAS library, or None."""
        return max(
            (each.get_num_threads() for each in self._found if each.user_api == "blas"),
            default=None,
        )

    @contextmanager
    def at(self, number: int | None = None) -> Iterator[None]:
        """Let the libraries compute on this many threads in this context.

        The default is one thread, unless environment variables set a number (see
        `threads_chosen`). Inside another context, the outer number holds. This is also
        a decorator.
        """
        if number is None and threads_chosen():
            yield
            return
        with self._lock:
            if self._is_inside:
                yield
                return
            libraries = [*self.others, *self._found]
            before = [library.get_num_threads() for library in libraries]
            self._is_inside = True
            try:
                _set_threads(libraries, [number or 1] * len(libraries))
                yield
            finally:
                _set_threads(libraries, before)
                self._is_inside = False


def _set_threads(libraries: Sequence[Any], numbers: Sequence[int]) -> None:
    for library, number in zip(libraries, numbers, strict=True):
        # In newer versions of threadpoolctl, only one Python thread controls the number
        # of OpenBLAS until it gives up the control. Other threads are ignored. Here the
        # lock of Limits orders the threads.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(number)
        release(force=True)


LIMITS = Limits()
"""The only instance, because all backends share the libraries."""
