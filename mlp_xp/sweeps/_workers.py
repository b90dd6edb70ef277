"""Where members are trained: in processes of this machine, started by joblib's loky, or
on a cluster of Dask or Ray.

A killed process breaks loky's whole pool, so each pool here has one process, and its
end costs only its own member.
"""

import contextlib
import itertools
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.threads import VARIABLES, threads_chosen
from mlp_xp.errors import MlpXpError
from mlp_xp.runs.sweep_folder import FAILED
from mlp_xp.sweeps.member import Ending, Work, train_member
from mlp_xp.system import WINDOWS, starting_without_signals

# Seconds: to wait for a scheduler and its first worker; between two looks at whether to
# stop; for members of a cluster to save, after which those that no worker has begun are
# given up; until a process without work ends.
TIMEOUT, LOOK_EVERY, SAVING, IDLE = 10, 0.1, 30, 60
KILLED = "its process was killed; probably it needs more memory than there is"


class ClusterError(MlpXpError):
    """A cluster that cannot be used."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault, setting="cluster")


class Place(NamedTuple):
    """Where members are trained."""

    submit: Callable[[Work], "Future[Ending]"]
    """Begins to train a member."""
    lost: tuple[type[BaseException], ...]
    """The errors of the future of a member whose process was killed."""
    width: int | None = None
    """How many members are trained at once. None for a cluster, whose workers come and
    go: it gets all of them.
    """
    shutdown: Callable[[], object] = lambda: None
    """Ends all processes at once; `submit` starts new ones. A cluster starts and ends
    its processes itself.
    """


def train_all(
    works: Iterable[Work],
    place: Place,
    stop_file: Path,
    asked: Callable[[], bool] = lambda: False,
) -> Generator[Ending, None, None]:
    """Train members, and yield how each one ends. One whose process is killed has
    failed, with the reason KILLED.

    The next one is taken from `works` when there is room, after the ending before it
    was yielded. asked: called several times a second; returns whether the members are
    to save and stop, which `stop_file` tells them. If the generator is closed while
    members are trained, it tells them too, and waits for them; a KeyboardInterrupt
    after that request ends them at once. Raises MlpXpError if no process starts,
    ClusterError, and the error of a bug.
    """
    works, running, waits = iter(works), dict[Future[Ending], Work](), True

    def request() -> None:
        with contextlib.suppress(OSError):
            stop_file.touch()

    try:
        while True:
            for work in itertools.islice(
                works, place.width and place.width - len(running)
            ):
                running[place.submit(work)] = work
            if not running:
                return
            wait(running, LOOK_EVERY, FIRST_COMPLETED)
            if asked():
                request()
            for future in [each for each in running if each.done()]:
                work = running.pop(future)
                try:
                    ending = future.result()
                except place.lost:
                    ending = Ending(work.name, FAILED, error="Killed", reason=KILLED)
                except ModuleNotFoundError as error:  # of what it was sent
                    lacks = f"a worker has no module {error.name}; install the same version of mlp_xp there"
                    raise ClusterError(lacks) from error
                except CancelledError as error:
                    lost = "the cluster's scheduler is gone; when it is well, the same command goes on"
                    raise ClusterError(lost) from error
                yield ending
    except KeyboardInterrupt:
        waits = not stop_file.exists()
        raise
    finally:
        try:
            if running and waits:
                request()
                end = math.inf if place.width else time.monotonic() + SAVING
                # In short pieces: on Windows, Ctrl-C does not end a wait.
                while wait(running, LOOK_EVERY).not_done and time.monotonic() < end:
                    pass
        finally:
            place.shutdown()


def this_machine(width: int) -> Place:
    """Return processes of this machine, in pools of joblib's loky with one process
    each.

    Their libraries have one thread unless variables say otherwise. A process without
    work ends after a while.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    number = next(iter(threads_chosen().values()), "1").partition(",")[0]
    env = {
        name: os.environ.get(name, number)
        for name in (*VARIABLES, "VECLIB_MAXIMUM_THREADS", "NPROC")
    }
    if not WINDOWS:
        from multiprocessing import resource_tracker

        # when it starts, it unblocks the signals that `submit` blocks
        resource_tracker.ensure_running()
    pools: dict[Any, Future[Ending]] = {}  # with the member that each has trained last

    def submit(work: Work) -> "Future[Ending]":
        idle = (
            pool for pool, last in pools.items() if last.done() and not last.exception()
        )
        pool = next(idle, None) or ProcessPoolExecutor(
            max_workers=1, timeout=IDLE, env=env
        )
        try:
            # This process handles Ctrl-C. The others look for the file that tells them.
            with starting_without_signals():
                pools[pool] = pool.submit(train_member, work)
        except OSError as error:
            fault = f"cannot start a process for a member: {error.strerror}"
            raise MlpXpError(
                fault, remedy="try again when there is room, or with fewer jobs"
            ) from error
        return pools[pool]

    def shutdown() -> None:
        while pools:
            pools.popitem()[0].shutdown(kill_workers=True)

    return Place(submit, (BrokenProcessPool,), width, shutdown)


def connect(address: str) -> contextlib.AbstractContextManager[Place]:
    """Connect to a cluster, such as `dask://host:8786`. Raises ClusterError if it
    cannot be used.
    """
    scheme, _, place = address.partition("://")
    opened = {"dask": _dask, "ray": _ray}.get(scheme)
    if opened is None or not place:
        raise ClusterError(
            f"{address!r:.80} is not an address such as dask://host:8786 or ray://host:10001"
        )
    return opened(place)


@contextlib.contextmanager
def _dask(place: str) -> Iterator[Place]:
    import distributed

    library: Any = distributed
    with contextlib.ExitStack() as held:
        for name in ("distributed.client", "tornado.application"):
            log = logging.getLogger(name)
            held.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)  # our own line says that a scheduler is gone
        try:
            client = held.enter_context(
                library.Client(f"tcp://{place}", timeout=TIMEOUT, set_as_default=False)
            )
            client.wait_for_workers(1, timeout=TIMEOUT)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Dask scheduler with a worker answers at {place!r:.80} within {TIMEOUT} s; check the address, that "
                f"`dask scheduler` runs there, and start `dask worker --nthreads 1 {place:.80}`"
            ) from error
        executor = client.get_executor(pure=False)
        yield Place(
            partial(executor.submit, train_member), (library.scheduler.KilledWorker,)
        )


@contextlib.contextmanager
def _ray(place: str) -> Iterator[Place]:
    import ray as library

    ray: Any = library
    try:
        with warnings.catch_warnings(action="ignore"):  # the line below says it
            ray.init(f"ray://{place}", logging_level="ERROR")
    except (ConnectionError, OSError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {place!r:.80}; check the address"
        ) from error
    function, errors = ray.remote(train_member), ray.exceptions
    try:
        lost = errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError
        yield Place(lambda work: function.remote(work).future(), lost)
    finally:
        ray.shutdown()
