"""The threads on which array libraries compute: how many, why, and a context in which they use that many.

For a small network, passing work between threads costs more than it saves: on a busy machine a step takes over ten
times longer. For wide layers and large batches, all CPUs together are faster. `threads_by_work` draws the line, from
measurements; see docs/performance.md.
"""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

from mlp_xp.errors import MlpXpError

# Samples x parameters, the multiply-adds of a forward pass, from which on a run uses all CPUs. If they have other work,
# threads wait for each other: the shorter a step, the more it loses against one thread, up to 16 times. From here on it
# loses a factor of 1.2 to 2.4; see docs/performance.md.
LARGE_STEP = 4 * 10**9
# OpenMP ends the process if it cannot start a thread.
MOST_THREADS = 1024
VARIABLES = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "GOTO", "MKL", "BLIS"))
NUMBERS = re.compile(r"\s*0*[1-9][0-9]*\s*(,\s*[0-9]+\s*)*")


class ThreadsError(MlpXpError):
    """An invalid thread count."""


class Threads(NamedTuple):
    """The threads on which a backend computes."""

    number: int | None = None
    """None: not chosen, or of no importance, as on a GPU."""
    reason: str = ""
    """Where the number comes from."""
    adjustable: bool = True
    """Whether a number can be chosen, and changed while the library runs."""
    complete: bool = True
    """Whether these are all threads of the library. One that is known only by its name may have others."""


UNDECIDED = Threads()
ON_GPU = Threads(None, "it computes on a GPU", adjustable=False)


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set the number of threads of BLAS and OpenMP, such as OMP_NUM_THREADS.

    A value is a number, or a list such as `4,2`, whose first number counts here. The libraries ignore others.
    Where there are any, only a number that the user gives, or that of a run to resume, overrides them.
    """
    return {name: os.environ[name] for name in VARIABLES if NUMBERS.fullmatch(os.environ.get(name, ""))}


def check_threads(number: int) -> None:
    """Raise ThreadsError unless the number is whole and from 1 to MOST_THREADS. It may exceed the CPUs."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise ThreadsError(f"{number!r:.80} is not a whole number", setting="threads")
    if not 1 <= number <= MOST_THREADS:
        raise ThreadsError(f"{number} is out of range; it must be from 1 to {MOST_THREADS}", setting="threads")


def in_words(number: int | None) -> str:
    """Return a number of threads as text, such as `1 thread`."""
    return "an unknown number of threads" if number is None else "1 thread" if number == 1 else f"{number} threads"


def threads_by_work(work: int) -> tuple[int, str]:
    """Return a thread count for steps whose forward pass has `work` multiply-adds, and the reason for it.

    One, or for large steps all CPUs. work: samples of a step x parameters.
    """
    shown = f"{work:,} multiply-adds".replace(",", " ")
    if work < LARGE_STEP:
        return 1, f"a forward pass of {shown} is too small for more"
    number = available_cpus()
    return number, f"a forward pass has {shown}, and this process may use {number} CPUs"


def available_cpus() -> int:
    """Return how many CPUs' time this process may use: in a container, its share."""
    from joblib import cpu_count

    number: int = cpu_count()
    return number


def cpus() -> int:
    """Return the number of CPUs on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Limits:
    """The thread counts of the libraries in this process, and a context in which all have the same one.

    BLAS libraries and PyTorch have one number for the whole process. So one Python thread at a time is in the context:
    if another one left it earlier and restored the old number, the last bits of the first would change. In a context
    within another one, the outer number holds.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_inside = False
        self._added: list[Any] = []
        self._found: list[Any] = []

    def look(self, *libraries: Any) -> None:
        """Find the libraries that are loaded now, which takes milliseconds.

        libraries: further ones, with `get_num_threads()` and `set_num_threads(number)`, such as PyTorch.
        """
        with self._lock:
            self._added += [each for each in libraries if each not in self._added]
            self._found = ThreadpoolController().lib_controllers

    def count(self) -> int | None:
        """Return the largest number of threads of a BLAS library; None if there is none."""
        return max((each.get_num_threads() for each in self._found if each.user_api == "blas"), default=None)

    def default(self) -> AbstractContextManager[None]:
        """Return a context with one thread; without any effect where variables set a number (see `threads_chosen`)."""
        return nullcontext() if threads_chosen() else self.at(1)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Let the libraries compute on so many threads in this context."""
        with self._lock:
            if self._is_inside:
                yield
                return
            libraries = [*self._added, *self._found]
            before = [library.get_num_threads() for library in libraries]
            self._is_inside = True
            try:
                for library in libraries:
                    _set_threads(library, number)
                yield
            finally:
                for library, old in zip(libraries, before, strict=True):
                    _set_threads(library, old)
                self._is_inside = False


def _set_threads(library: Any, number: int) -> None:
    # Newer versions of threadpoolctl let only one Python thread set the number of OpenBLAS, until that is cleared, and
    # ignore the others. Here the lock of Limits sees to the order.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(number)
    release(force=True)


LIMITS = Limits()  # one, because all backends share the libraries
