"""The threads on which array libraries compute: how many, why, and a context in which
they use that many.

For a small network, passing work between threads costs more than it saves: on a busy
machine a step takes over ten times longer. For wide layers and large batches, all CPUs
together are faster. See docs/performance.md.
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

# Multiply-adds of a forward pass from which on a run uses all CPUs. If they have other
# work, threads wait for each other: the shorter a step, the more it loses against one
# thread, up to 16 times. From here on it loses a factor of 1.2 to 2.4; see
# docs/performance.md.
LARGE_STEP = 4 * 10**9
# Multiply-adds of a forward pass up to which a step takes longer on a GPU than on one
# CPU core. A step is a chain of some 25 launches, each of which takes CuPy 10 µs (its
# pull request 3298). In that time a core does a step of 5 million: docs/performance.md
# has 319 µs for 6.5 million. No GPU was measured.
LAUNCH_BOUND = 5 * 10**6
# The number may exceed the CPUs, but OpenMP ends the process if it cannot start a
# thread.
THREADS = Setting("threads", int, (NoneType,), None, least=1, most=1024)
VARIABLES = tuple(
    f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "GOTO", "MKL", "BLIS")
)


class Threads(NamedTuple):
    """The CPU threads on which a backend computes."""

    number: int | None = None
    """None: not chosen yet, unknown, or of no importance, as on a GPU."""
    reason: str = ""
    """Where the number comes from."""
    adjustable: bool = True
    """Whether a number can be chosen, and changed while the library runs."""


UNDECIDED = Threads()
ON_GPU = Threads(None, "it computes on a GPU", adjustable=False)
# Apple's Accelerate, which NumPy's wheels for macOS use, is one that cannot be asked.
UNKNOWN = Threads(
    None,
    "the BLAS library decides, and cannot be asked; for Apple's, set VECLIB_MAXIMUM_THREADS before the start",
    adjustable=False,
)


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set the thread count of BLAS and OpenMP,
    such as OMP_NUM_THREADS.
    """
    return {name: value for name in VARIABLES if (value := os.environ.get(name))}


def available_cpus() -> int:
    """Return how many CPUs' time this process may use: in a container, its share."""
    number = cpus()
    for group in control_groups():
        with suppress(OSError, ValueError):  # it has no limit, or cannot be seen
            quota, period = (group / "cpu.max").read_text("utf-8").split()
            number = min(number, math.ceil(int(quota) / int(period)))
    return max(1, number)


def cpus() -> int:
    """Return the number of CPUs on which this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(backend: Backend, work: int, before: int | None = None) -> Backend:
    """Choose a thread count for steps of this size; return the backend unchanged if one
    is already chosen.

    The number with which `open_backend` was called comes first, then `before`, that of
    a run to resume, then environment variables, and then a rule: one thread, or for
    large steps all CPUs. work: samples of a step x parameters, the multiply-adds of a
    forward pass.
    """
    if backend.threads.number is not None or not backend.threads.adjustable:
        return backend
    if before is not None:
        return backend.on_threads(before, "as when the run began")
    if variables := threads_chosen():
        reason = ", ".join(f"{name}={value}" for name, value in variables.items())
        return backend.on_threads(None, reason)
    shown = f"{work:,} multiply-adds".replace(",", " ")
    if work < LARGE_STEP:
        reason = f"a forward pass of {shown} is too small for more"
        return backend.on_threads(1, reason)
    number = available_cpus()
    reason = f"a forward pass has {shown}, and this process may use {number} CPUs"
    return backend.on_threads(number, reason)


@contextmanager
def starting_on(threads: int | None) -> Iterator[None]:
    """Let JAX start on this many threads in this context, unless it has started before.
    None: as it does anyway.
    """
    before = os.environ.get("NPROC")
    if threads is not None and "jax" not in sys.modules:
        # XLA reads it when it makes its pool of threads
        os.environ["NPROC"] = str(threads)
    try:
        yield
    finally:
        os.environ.pop("NPROC", None)
        if before is not None:
            os.environ["NPROC"] = before


class Limits:
    """The thread counts of the libraries in this process, and a context in which all
    have the same one.

    BLAS libraries and PyTorch have one number for the whole process. So one Python
    thread at a time is in the context: if another one left it earlier and restored the
    old number, the last bits of the first would change. In a context within another
    one, the outer number holds.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_inside = False
        self._found: list[Any] = []
        self.others: list[Any] = []
        """What has `get_num_threads()` and `set_num_threads(number)` of its own, such
        as PyTorch.
        """

    def look(self) -> None:
        """Find the libraries that are loaded now, which takes milliseconds."""
        with self._lock:
            self._found = ThreadpoolController().lib_controllers

    def count(self) -> int | None:
        """Return the largest thread count of a BLAS library; None if there is none."""
        return max(
            (each.get_num_threads() for each in self._found if each.user_api == "blas"),
            default=None,
        )

    @contextmanager
    def at(self, number: int | None = None) -> Iterator[None]:
        """Let the libraries compute on this many threads in this context, or in a
        function that this decorates.

        By default that is one, or what environment variables say (see
        `threads_chosen`).
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
        # Newer versions of threadpoolctl let only one Python thread set the number of
        # OpenBLAS, until that is cleared, and ignore the others. Here the lock of
        # Limits sees to the order.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(number)
        release(force=True)


LIMITS = Limits()  # one, because all backends share the libraries
