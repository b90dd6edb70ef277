"""Run tasks on a cluster, through joblib's own back ends for Dask and Ray."""

import contextlib
import itertools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mlp_xp import __version__
from mlp_xp.config import ConfigError
from mlp_xp.errors import MlpXpError, not_installed
from mlp_xp.sweeps.member import Ending, Task, train_member

# Seconds to wait for the scheduler, and then for its first worker.
TIMEOUT = 10
# How often all workers may be lost without a member that has ended in between.
MOST_LOSSES = 3
# Members for each of Ray's processes that are given to it at a time.
ROUND = 4
SCHEMES = ("dask", "ray")
Work = Iterable[tuple[Task, tuple[Any, ...]]]
Start = Callable[[Work, list[np.ndarray]], Iterator[Ending]]


class ClusterError(MlpXpError):
    """A cluster that cannot be used."""


class WorkersLostError(Exception):
    """The cluster has lost a worker, and did not give its tasks to another one."""


@contextlib.contextmanager
def connect(address: str) -> Iterator[tuple[Start, int]]:
    """Connect to a cluster, such as `dask://host:8786`, and yield a function that trains members there.

    The function takes the tasks with their arrays, and a list of all arrays, and yields the endings as they come. It
    raises WorkersLostError. Raises ClusterError where there is no such cluster, its workers cannot be used, or a
    library is missing.
    """
    scheme, _, place = address.partition("://")
    if scheme not in SCHEMES or not place:
        raise ConfigError(
            f"{address!r:.80} is not an address such as dask://host:8786 or ray://host:10001", setting="cluster"
        )
    with (_dask if scheme == "dask" else _ray)(place) as opened:
        yield opened


@contextlib.contextmanager
def _dask(place: str) -> Iterator[tuple[Start, int]]:
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise ClusterError(f"Dask {not_installed('dask[distributed]')}", setting="cluster") from error
    with contextlib.ExitStack() as held:
        for name in ("distributed.client", "tornado.application"):
            log = logging.getLogger(name)
            held.callback(log.setLevel, log.level)
            log.setLevel(logging.CRITICAL)  # a scheduler that is gone is told in a line of our own
        try:
            connection: Any = distributed.Client
            client = held.enter_context(connection(f"tcp://{place}", timeout=TIMEOUT, set_as_default=False))
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {place!r:.80} within {TIMEOUT} s; check the address, and that "
                "`dask scheduler` runs there",
                setting="cluster",
            ) from error
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError as error:
            raise ClusterError(
                f"the Dask scheduler at {place!r:.80} has no worker after {TIMEOUT} s; start one with `dask worker "
                f"--nthreads 1 {place:.80}`",
                setting="cluster",
            ) from error
        for worker, facts in client.get_versions(packages=["mlp_xp"])["workers"].items():
            found = facts["packages"].get("mlp_xp")
            if found != __version__:
                raise ClusterError(
                    f"the worker {worker} has {f'mlp_xp {found}' if found else 'no mlp_xp'}, but this is mlp_xp "
                    f"{__version__}; install the same version there",
                    setting="cluster",
                )
        lost = (distributed.scheduler.KilledWorker, distributed.CancelledError, distributed.comm.core.CommClosedError)

        def start(work: Work, arrays: list[np.ndarray]) -> Iterator[Ending]:
            # Without a worker joblib would train the members in this process.
            try:
                client.wait_for_workers(1, timeout=TIMEOUT)
            except (OSError, TimeoutError, RuntimeError, ValueError, *lost) as error:
                raise ClusterError(
                    f"the Dask scheduler at {place!r:.80} is gone, or its last worker; when the cluster is well, the "
                    "same command goes on",
                    setting="cluster",
                ) from error
            return _endings(work, lost, "dask", client=client, scatter=arrays)

        yield start, sum(client.ncores().values())


@contextlib.contextmanager
def _ray(place: str) -> Iterator[tuple[Start, int]]:
    try:
        import ray as library
        from ray.util import joblib as back_end
    except ModuleNotFoundError as error:
        raise ClusterError(f"Ray {not_installed('ray')}", setting="cluster") from error
    ray: Any = library
    register: Any = back_end.register_ray
    try:
        with warnings.catch_warnings(action="ignore"):  # the line below says it
            ray.init(f"ray://{place}", logging_level="ERROR")
    except (ConnectionError, OSError, RuntimeError) as error:
        raise ClusterError(f"no Ray cluster answers at {place!r:.80}; check the address", setting="cluster") from error
    register()
    number = int(ray.cluster_resources().get("CPU", 1))
    lost = ray_losses(ray.exceptions)

    def start(work: Work, arrays: list[np.ndarray]) -> Iterator[Ending]:
        # Ray's back end returns results only when all tasks are done: so that not all is lost by an interruption, it
        # gets few at a time.
        work = iter(work)
        while group := [*itertools.islice(work, ROUND * number)]:
            yield from _endings(group, lost, "ray", return_as="list")

    try:
        yield start, number
    finally:
        ray.shutdown()


def ray_losses(errors: Any) -> tuple[type[BaseException], ...]:
    """Return Ray's exceptions for a lost worker. Their common base class is also that of an error in a member."""
    names = ("RayActorError", "WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError")
    return tuple(getattr(errors, name) for name in (*names, "LocalRayletDiedError", "RaySystemError"))


def quiet_joblib() -> None:
    """Ignore joblib's warnings about what is meant here: processes that are replaced, and tasks that are cancelled."""
    for text in ("A worker stopped while some jobs", r"\d+ tasks (which were still|have been successfully)"):
        warnings.filterwarnings("ignore", text, UserWarning)


def _endings(
    work: Work,
    lost: tuple[type[BaseException], ...],
    backend: str,
    return_as: str = "generator_unordered",
    **options: Any,
) -> Iterator[Ending]:
    import joblib

    quiet_joblib()
    try:
        try:
            with joblib.parallel_config(backend=backend, **options):
                # All at once, for the number of workers may grow.
                parallel = joblib.Parallel(n_jobs=-1, batch_size=1, pre_dispatch="all", return_as=return_as)
                endings = parallel(joblib.delayed(train_member)(task, *arrays) for task, arrays in work)
        except OSError as error:  # of the connection, when the data are sent
            raise WorkersLostError(str(error)) from error
        with contextlib.closing(endings) if hasattr(endings, "close") else contextlib.nullcontext():
            yield from endings
    except lost as error:
        raise WorkersLostError(str(error)) from error
