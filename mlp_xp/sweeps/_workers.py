"""Train members in processes of this machine, or on a cluster of Dask.

The processes are started by loky, a part of joblib. A killed process breaks its whole
pool, so each pool here has one process, and its end costs only its own member.
"""

import contextlib
import itertools
import logging
import math
import os
import time
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
from mlp_xp.system import WINDOWS, ignore_ctrl_break, starting_without_signals

# Seconds.
TIMEOUT = 10  # to wait for a scheduler and its first worker
LOOK_EVERY = 0.1  # between two looks at whether to stop
SAVING = 30  # for members of a cluster to save; some may not have begun, and never end
IDLE = 60  # until a process without work ends
KILLED = "its process was killed; probably it needs more memory than there is"


class ClusterError(MlpXpError):
    """A cluster cannot be used."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault, setting="cluster")


class Workers(NamedTuple):
    """The processes that train members, on this machine or on a cluster."""

    submit: Callable[[Work], "Future[Ending]"]
    """Begins to train a member."""
    lost: tuple[type[BaseException], ...]
    """The errors in the future of a member whose process was killed."""
    width: int | None = None
    """The number of members at once. None for a cluster: it gets all members, because
    its workers come and go.
    """
    shutdown: Callable[[], object] = lambda: None
    """Ends all processes at once. Then `submit` starts new ones. A cluster starts and
    ends its processes itself.
    """


def train_all(
    works: Iterable[Work],
    workers: Workers,
    stop_file: Path,
    asked: Callable[[], bool] = lambda: False,
) -> Generator[Ending, None, None]:
    """Train members, and yield how each one ends.

    The next member is taken from `works` when there is room, after the last ending was
    yielded. A member whose process is killed has failed, with the reason KILLED. If the
    generator is closed while members are trained, it asks them to save and stop, and
    waits for them. A KeyboardInterrupt after this request ends them at once.

    Args:
        works: The members.
        workers: The processes.
        stop_file: Its existence asks the members to save and stop.
        asked: Called several times a second. Returns whether to ask the members.

    Raises:
        MlpXpError: No process starts.
        ClusterError: The cluster cannot be used.
    """
    works, running = iter(works), dict[Future[Ending], Work]()
    must_wait = True
    try:
        while True:
            room = None if workers.width is None else workers.width - len(running)
            for work in itertools.islice(works, room):
                running[workers.submit(work)] = work
            if not running:
                return
            wait(running, LOOK_EVERY, FIRST_COMPLETED)
            if asked():
                _request_stop(stop_file)
            for future in [each for each in running if each.done()]:
                work = running.pop(future)
                yield _ending_of(work, future, workers)
    except KeyboardInterrupt:
        must_wait = not stop_file.exists()
        raise
    finally:
        try:
            if running and must_wait:
                _request_stop(stop_file)
                end = math.inf if workers.width else time.monotonic() + SAVING
                # In short pieces: on Windows, Ctrl-C does not end a wait.
                while wait(running, LOOK_EVERY).not_done and time.monotonic() < end:
                    pass
        finally:
            workers.shutdown()


def _request_stop(stop_file: Path) -> None:
    with contextlib.suppress(OSError):
        stop_file.touch()


def _ending_of(work: Work, future: "Future[Ending]", workers: Workers) -> Ending:
    """Return how a member has ended. Raises ClusterError, or the exception of a bug."""
    try:
        return future.result()
    except workers.lost:
        return Ending(work.name, FAILED, error="Killed", reason=KILLED)
    except ModuleNotFoundError as error:  # the worker cannot read its work
        raise ClusterError(
            f"a worker has no module {error.name}; install the same version of mlp_xp "
            "there"
        ) from error
    except CancelledError as error:
        raise ClusterError(
            "the cluster's scheduler is gone; when it is back, run the same command "
            "again to continue"
        ) from error


def this_machine(width: int) -> Workers:
    """Return processes of this machine, each in a pool of loky.

    Their libraries have one thread unless variables say otherwise. A process without
    work ends after a while.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    number = next(iter(threads_chosen().values()), "1").partition(",")[0]
    names = (*VARIABLES, "VECLIB_MAXIMUM_THREADS", "NPROC")
    env = {name: os.environ.get(name, number) for name in names}
    if not WINDOWS:
        from multiprocessing import resource_tracker

        # Its start would unblock the signals blocked by `submit`.
        resource_tracker.ensure_running()
    pools: dict[Any, Future[Ending]] = {}  # with the last member of each

    def idle_pool() -> Any:
        for pool, last in pools.items():
            if last.done() and not last.exception():
                return pool
        return ProcessPoolExecutor(
            max_workers=1, timeout=IDLE, env=env, initializer=ignore_ctrl_break
        )

    def submit(work: Work) -> "Future[Ending]":
        pool = idle_pool()
        try:
            # This process handles Ctrl-C. The others look at the stop file.
            with starting_without_signals():
                pools[pool] = pool.submit(train_member, work)
        except OSError as error:
            raise MlpXpError(
                f"cannot start a process for a member: {error.strerror}",
                remedy="try again when there is room, or with fewer jobs",
            ) from error
        return pools[pool]

    def shutdown() -> None:
        while pools:
            pool, _ = pools.popitem()
            pool.shutdown(kill_workers=True)

    return Workers(submit, (BrokenProcessPool,), width, shutdown)


@contextlib.contextmanager
def connect(address: str) -> Iterator[Workers]:
    """Connect to a cluster of Dask, such as `dask://host:8786`.

    Raises:
        ClusterError: The cluster cannot be used.
    """
    scheme, _, host = address.partition("://")
    if scheme != "dask" or not host:
        raise ClusterError(
            f"{address!r:.80} is not an address such as dask://host:8786"
        )
    import distributed

    library: Any = distributed
    with contextlib.ExitStack() as held:
        for name in ("distributed.client", "tornado.application"):
            log = logging.getLogger(name)
            held.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)  # our own line reports a lost scheduler
        try:
            client = held.enter_context(
                library.Client(f"tcp://{host}", timeout=TIMEOUT, set_as_default=False)
            )
            client.wait_for_workers(1, timeout=TIMEOUT)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Dask scheduler with a worker answers at {host!r:.80} within "
                f"{TIMEOUT} s; check the address, that `dask scheduler` runs there, "
                f"and start `dask worker --nthreads 1 {host:.80}`"
            ) from error
        submit = partial(client.get_executor(pure=False).submit, train_member)
        yield Workers(submit, lost=(library.scheduler.KilledWorker,))
