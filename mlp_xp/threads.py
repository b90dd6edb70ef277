"""The threads on which array libraries compute: what was chosen, and a context in which they use one."""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set a number of threads, such as OMP_NUM_THREADS.

    Without any, eager libraries compute on one thread. For a small network, passing work between threads costs more
    than it saves, on a busy machine tens of times more; and one thread gives the same bits on any number of cores.
    """
    return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}


def by_variables(facts: Mapping[str, Any]) -> str:
    """Describe the threads of a library that uses one, or as many as OMP_NUM_THREADS and the like in `facts` say."""
    chosen = {name: value for name, value in facts.items() if name.endswith("_NUM_THREADS")}
    if {*chosen.values()} <= {"1"}:
        return "1 thread"
    return ", ".join(f"{name}={value}" for name, value in sorted(chosen.items()))


def by_cpus(facts: Mapping[str, Any]) -> str:
    """Describe the threads of a library that uses all CPUs, whose number is in `facts`."""
    return f"{facts.get('cpus', 'an unknown number of')} CPUs"


class OneThread:
    """A context in which libraries compute on one thread. Several Python threads may be in it at once.

    BLAS libraries and PyTorch have one number for the whole process, so only the last Python thread that leaves
    restores it. OpenMP has a number for each Python thread, so each sets and restores its own. The numbers restored are
    those from before the first entered.

    shared, own: objects with `get_num_threads()` and `set_num_threads(number)`, such as threadpoolctl's controllers.
    """

    def __init__(self, shared: Sequence[Any], own: Sequence[Any]) -> None:
        self._libraries = [*shared, *own]
        self._shared = len(shared)
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [library.get_num_threads() for library in self._libraries]
            self._inside += 1
            for library in self._libraries:
                _set_threads(library, 1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            first = self._shared if self._inside else 0
            for library, number in zip(self._libraries[first:], self._before[first:], strict=True):
                _set_threads(library, number)


def _set_threads(library: Any, number: int) -> None:
    # Newer versions of threadpoolctl let only one Python thread set the number of OpenBLAS, until that is cleared, and
    # ignore the others. Here the lock of OneThread sees to the order.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(number)
    release(force=True)


def openmp() -> Sequence[Any]:
    """Return the controllers of the OpenMP libraries that are loaded."""
    return ThreadpoolController().select(user_api="openmp").lib_controllers


def one_thread() -> OneThread:
    """Return a context in which the BLAS and OpenMP libraries that are loaded now compute on one thread."""
    return OneThread(ThreadpoolController().select(user_api="blas").lib_controllers, openmp())


@lru_cache(maxsize=1)  # of all backends together, because they share the libraries
def one_blas_thread() -> OneThread:
    """Return the same context at each call, with the libraries that were loaded at the first."""
    return one_thread()
