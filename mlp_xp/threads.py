"""The threads on which array libraries compute: how many, why, and a context in which they use that many.

For a small network, passing work between threads costs more than it saves: on a busy machine a step takes over ten
times longer. For wide layers and large batches on idle CPUs, all of them together are faster. `threads_by_work` draws
the line, from measurements; see docs/performance.md.
"""

import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from threadpoolctl import ThreadpoolController

from mlp_xp.control_groups import control_groups
from mlp_xp.errors import MlpXpError

# Samples x parameters, the multiply-adds of a forward pass, from which on a run uses all CPUs that are idle when it
# starts. They may have other work later, and then threads wait for each other: the shorter a step, the more it loses
# against one thread, up to 16 times. From here on it loses a factor of 1.2 to 2.4; see docs/performance.md.
LARGE_STEP = 4 * 10**9
# OpenMP ends the process if it cannot start a thread.
MOST_THREADS = 1024
# Seconds for which the CPUs are watched, and how much of a CPU may be missing when their idle time is rounded down.
WATCHED, SLACK = 0.2, 0.3
ROOT = Path("/")
VARIABLES = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "GOTO", "MKL", "BLIS"))
NUMBERS = re.compile(r"\s*0*[1-9][0-9]*\s*(,\s*[0-9]+\s*)*")


class ThreadsError(MlpXpError):
    """A number of threads that cannot be."""


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


def threads_chosen() -> dict[str, str]:
    """Return the environment variables that set the number of threads of BLAS and OpenMP, such as OMP_NUM_THREADS.

    A value is a number, or a list such as `4,2`, whose first number counts here. The libraries ignore others.
    Where there are any, only a number that the user gives, or that of a run to resume, overrides them.
    """
    return {name: os.environ[name] for name in VARIABLES if NUMBERS.fullmatch(os.environ.get(name, ""))}


def check_threads(number: int) -> None:
    """Raise ThreadsError for a number of threads that cannot be. There may be more than CPUs: a run can be resumed."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise ThreadsError(f"{number!r:.80} is not a whole number", setting="threads")
    if not 1 <= number <= MOST_THREADS:
        shown = number if abs(number) < 10**20 else "the number"
        bound = "at least 1" if number < 1 else f"at most {MOST_THREADS}"
        raise ThreadsError(f"{shown} is out of range; it must be {bound}", setting="threads")


def in_words(number: int | None) -> str:
    """Return a number of threads as text, such as `1 thread`."""
    return "an unknown number of threads" if number is None else "1 thread" if number == 1 else f"{number} threads"


def threads_by_work(work: int) -> tuple[int, str]:
    """Return the number of threads for steps whose forward pass has so many multiply-adds, and the reason for it.

    One, or for large steps as many as there are idle CPUs. work: samples of a step x parameters.
    """
    shown = f"{work:,} multiply-adds".replace(",", " ")
    if work < LARGE_STEP:
        return 1, f"a forward pass of {shown} is too small for more"
    idle = idle_cpus()
    return idle, f"a forward pass has {shown}, and {idle} of {cpus()} CPUs are available"


def cpus() -> int:
    """Return the number of CPUs on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_cpus(root: Path = ROOT) -> int:
    """Return on how many CPUs this process could compute now without waiting for others, at least 1.

    Watches for WATCHED seconds what the CPUs do; where the system does not tell, it goes by the load of the last
    minute. A control group's quota is a limit, too. root: where `proc` and `sys` are.
    """
    before = _idle_ticks(root)
    if before:
        began = time.monotonic()
        time.sleep(WATCHED)
        ticks = (time.monotonic() - began) * os.sysconf("SC_CLK_TCK")
        idle = sum(min(1.0, (after - before[cpu]) / ticks) for cpu, after in _idle_ticks(root).items() if cpu in before)
    else:
        idle = cpus() - (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    return max(1, int(min(idle + SLACK, _quota(root))))


def _idle_ticks(root: Path) -> dict[int, int]:
    """Return for how long each CPU of this process has been idle; empty unless the system tells of all."""
    try:
        usable = os.sched_getaffinity(0)
        lines = [line.split() for line in (root / "proc/stat").read_text().splitlines()]
        found = {int(line[0][3:]): int(line[4]) + int(line[5]) for line in lines if line[0][:3] == "cpu" != line[0]}
    except (AttributeError, OSError, ValueError, IndexError):
        return {}
    return {cpu: found[cpu] for cpu in usable} if usable <= {*found} else {}


def _quota(root: Path) -> float:
    """Return how many CPUs' time the control groups of this process grant it."""
    least = math.inf
    for folder, is_second in control_groups("cpu", root):
        names = ("cpu.max",) if is_second else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        try:
            quota, period = (float(word) for name in names for word in (folder / name).read_text().split())
        except (OSError, ValueError):  # none here, or `max`
            continue
        if quota > 0 and period > 0:
            least = min(least, quota / period)
    return least


class Limits:
    """The numbers of threads of the libraries in this process, and a context in which all have the same one.

    Several Python threads may be in the context at once, with the same number: BLAS libraries and PyTorch have one for
    the whole process, so one who wants another number waits until the others have left, and only the last who leaves
    restores it. OpenMP has a number for each Python thread, so each sets and restores its own. The numbers restored are
    those from before the first entered. In a context within another one, the outer number holds.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared: list[Any] = []
        self._own: list[Any] = []
        self._added: list[Any] = []
        self._is_stale = True
        self._queue: deque[object] = deque()
        self._inside = self._number = 0
        self._before: list[int] = []
        self._this = threading.local()

    def look(self, *libraries: Any, again: bool = True) -> None:
        """Find the libraries that are loaded now; as soon as no function computes.

        libraries: others, with `get_num_threads()` and `set_num_threads(number)`, such as PyTorch. again: whether to
        look, which takes milliseconds, also if these are known, and there was a look before.
        """
        with self._changed:
            new = [each for each in libraries if each not in self._added]
            self._added += new
            self._is_stale |= again or bool(new)
            if self._is_stale and not self._inside:
                self._find()

    def _find(self) -> None:
        found = ThreadpoolController()
        self._shared = [*self._added, *found.select(user_api="blas").lib_controllers]
        self._own = found.select(user_api="openmp").lib_controllers
        self._is_stale = False

    def count(self, library: Any = None) -> int | None:
        """Return the number of threads of a library, or the largest number of those of BLAS; None if it is unknown."""
        wanted = [each for each in self._shared if each not in self._added] if library is None else [library]
        return max((each.get_num_threads() for each in wanted), default=None)

    def default(self) -> AbstractContextManager[None]:
        """Return a context with one thread; without any effect where variables set a number (see `threads_chosen`)."""
        return nullcontext() if threads_chosen() else self.at(1)

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Let the libraries compute on so many threads in this context."""
        if getattr(self._this, "is_inside", False):
            yield
            return
        self._enter(number)
        self._this.is_inside = True
        try:
            yield
        finally:
            self._this.is_inside = False
            self._leave()

    def _enter(self, number: int) -> None:
        place = object()
        with self._changed:
            self._queue.append(place)
            try:
                # In the order in which they come, so that none waits forever.
                self._changed.wait_for(
                    lambda: (
                        self._queue[0] is place
                        and (not self._inside or (self._number == number and not self._is_stale))
                    )
                )
            finally:
                self._queue.remove(place)
                self._changed.notify_all()
            if self._is_stale:
                self._find()
            libraries = [*self._shared, *self._own]
            if not self._inside:
                self._before = [library.get_num_threads() for library in libraries]
            self._inside, self._number = self._inside + 1, number
            for library in libraries:
                _set_threads(library, number)

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            libraries, first = [*self._shared, *self._own], len(self._shared) if self._inside else 0
            for library, number in zip(libraries[first:], self._before[first:], strict=True):
                _set_threads(library, number)
            self._changed.notify_all()


def _set_threads(library: Any, number: int) -> None:
    # Newer versions of threadpoolctl let only one Python thread set the number of OpenBLAS, until that is cleared, and
    # ignore the others. Here the lock of Limits sees to the order.
    release = getattr(library, "clear_controlling_thread", lambda force: None)
    release(force=True)
    library.set_num_threads(number)
    release(force=True)


LIMITS = Limits()  # one, because all backends share the libraries
