"""Train one member of a sweep, in a process of its own on this machine or on another one."""

import contextlib
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.memory import NotEnoughMemoryError
from mlp_xp.backends.threads import on_threads, threads_chosen
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.lock import InUseError
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings, with_fitting_batches
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INDEX, INTERRUPTED, read_result
from mlp_xp.sweeps.data import load
from mlp_xp.sweeps.folder import run_of

# Seconds that a process of a killed sweep may still hold a member's folder; it stops at its next chunk.
HANDOVER = 60.0


class WorkerError(MlpXpError):
    """Something that this worker lacks. The member has not failed: another worker can train it."""


class Work(NamedTuple):
    """What a worker has to do."""

    name: str
    """The member."""
    settings: Settings
    fit_batches: bool
    """See `Plan`."""
    sweep_dir: Path
    """The folder of the sweep, absolute."""
    crc32: str
    """The checksum of the data set."""
    stop_file: Path
    """While this file exists, members save and stop."""
    cache_dir: str | None = None
    parent: int | None = None
    """The process of the sweep, whose end ends the member too; None on a cluster."""


class Ending(NamedTuple):
    """How a member ended."""

    name: str
    state: str
    """FINISHED, FAILED, or INTERRUPTED, in which case the same command resumes it."""
    result: dict[str, Any] | None = None
    """The record in result.json of a finished member."""
    error: str = ""
    """The class of the error of a failed member."""
    reason: str = ""
    """Why it failed, or what its worker lacked, as one line."""
    seconds: float = 0.0
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    """The settings that vary; filled in by the process that runs the sweep."""
    earlier: bool = False
    """Whether it had ended before this call."""


def train_member(work: Work) -> Ending:
    """Train or resume one member, and say how it ended. Exceptions that are not MlpXpError are bugs, and pass."""
    began, folder = time.perf_counter(), run_of(work.sweep_dir, work.name)
    try:
        with warnings.catch_warnings(action="ignore", category=MlpXpWarning):  # the process of the sweep has given them
            ending = _train(work, folder)
    except (MlpXpError, MemoryError) as error:
        if isinstance(error, MlpXpError):
            error.notes.clear()  # they say how to resume a single run
        reason = str(error) if isinstance(error, MlpXpError) else f"out of memory: {error}"
        if type(error) is RunError:  # what is damaged fails again
            reason += f"; to train it anew, remove {str(folder)!r} and give --retry-failed"
        state = INTERRUPTED if _may_pass(error, work) else FAILED
        ending = Ending(work.name, state, error=type(error).__name__, reason=reason)
    if _is_alone(work):
        os._exit(1)  # loky's worker would wait for another task
    return ending._replace(seconds=time.perf_counter() - began)


def _may_pass(error: Exception, work: Work) -> bool:
    """Return whether the member might do without this error on another machine, or when the disk has space."""
    if isinstance(error, NotEnoughMemoryError | MemoryError):
        return work.parent is None
    return isinstance(error, FileError | InUseError | WorkerError)


def _is_alone(work: Work) -> bool:
    return work.parent is not None and os.getppid() != work.parent


def _train(work: Work, folder: Path) -> Ending:
    def stopped() -> bool:
        return _is_alone(work) or work.stop_file.exists()

    if stopped():
        return Ending(work.name, INTERRUPTED)
    settings, job = _prepare(work)
    job = recording.check_run(settings, job, folder)
    with contextlib.ExitStack() as held:
        _claim(held, folder, stopped)
        if not (folder / run_folder.RESULT).exists():  # else a process of a killed sweep has just ended it
            events = recording.train_in_folder(folder, settings, job, save_now=stopped)
            held.enter_context(contextlib.closing(events))
            for event in events:
                can_stop = event.checkpoint or event.position.epoch == WARM_UP_EPOCH
                if can_stop and not event.closing and stopped():
                    return Ending(work.name, INTERRUPTED)
        return Ending(work.name, FINISHED, read_result(folder))


def _prepare(work: Work) -> tuple[Settings, Job]:
    """Return the settings and the job of a member. Raises WorkerError for what this worker lacks."""
    settings, here = work.settings, platform.node()
    if not (work.sweep_dir / INDEX).exists():
        raise WorkerError(
            f"{here} does not see the sweep's folder {str(work.sweep_dir)!r}; give a --sweep-dir that all workers share"
        )
    try:
        backend = settings.open_backend()
        if backend.threads.adjustable and not threads_chosen():  # on a cluster; in a process here these are chosen
            backend = on_threads(backend, 1, "a member of a sweep")
        dataset, crc32 = load(settings, work.cache_dir)
    except MlpXpError as error:  # the process of the sweep has loaded the same data
        raise WorkerError(f"on {here}: {error}") from error
    if crc32 != work.crc32:
        raise WorkerError(f"the data have changed since the sweep's command began, or {here} has others")
    if work.fit_batches:
        settings = with_fitting_batches(settings, dataset.train_inputs.shape[0])
    return settings, Job(settings.train, dataset, backend)


def _claim(held: contextlib.ExitStack, folder: Path, stopped: Callable[[], bool]) -> None:
    """Hold a member's folder; wait if a process of a killed sweep still holds it. Raises InUseError."""
    end = time.monotonic() + HANDOVER
    while True:
        try:
            held.enter_context(recording.open_folder(folder, existing=True))
            return
        except InUseError:
            if time.monotonic() > end or stopped():
                raise
            time.sleep(0.1)
