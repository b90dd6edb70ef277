"""Train one member of a sweep, in a process of its own on this machine or on another
one.
"""

import functools
import os
import platform
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp import __version__
from mlp_xp.backends.memory import NotEnoughMemoryError
from mlp_xp.backends.opening import open_backend
from mlp_xp.backends.threads import threads_chosen
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.job import WARM_UP_EPOCH
from mlp_xp.data.datasets import load_dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning, quoted
from mlp_xp.files import FileError
from mlp_xp.runs.experiment import Experiment
from mlp_xp.runs.fingerprints import checksum
from mlp_xp.runs.locked_folder import InUseError
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED, SweepFolder
from mlp_xp.system import has_lost

# Seconds that a process of a killed sweep may still hold a member's folder; it stops at
# its next chunk.
_HANDOVER = 60.0


class WorkerError(MlpXpError):
    """Something that this worker lacks. The member has not failed: another worker can
    train it.
    """


class Work(NamedTuple):
    """What a worker has to do."""

    name: str
    """The member."""
    settings: Settings
    fit_batches: bool
    """See `Plan`."""
    sweep_dir: Path
    """The path of the sweep's folder, absolute."""
    crc32: str | None
    """The checksum of the data set; None if it has not been loaded before."""
    stop_file: Path
    """While this file exists, members save and stop."""
    cache_dir: str | None = None
    parent: int | None = None
    """The process of the sweep, whose end ends the member too; None on a cluster."""
    version: str = __version__

    def stopped(self) -> bool:
        """Return whether to save and stop."""
        return self.is_alone() or self.stop_file.exists()

    def is_alone(self) -> bool:
        """Return whether the process of the sweep has gone."""
        return self.parent is not None and has_lost(self.parent)


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
    """The settings that vary."""
    earlier: bool = False
    """Whether it had ended before this call."""


def train_member(work: Work) -> Ending:
    """Train or resume one member, and say how it ended. Exceptions that are not
    MlpXpError are bugs, and pass.
    """
    began = time.perf_counter()
    try:
        # the process of the sweep has given them
        with warnings.catch_warnings(action="ignore", category=MlpXpWarning):
            ending = _train(work)
    except (MlpXpError, MemoryError) as error:
        if isinstance(error, MlpXpError):
            error.notes.clear()  # they say how to resume a single run
        # Another machine may have the memory.
        passing = (
            FileError,
            InUseError,
            WorkerError,
            *(() if work.parent else (NotEnoughMemoryError, MemoryError)),
        )
        state = INTERRUPTED if isinstance(error, passing) else FAILED
        ending = Ending(
            work.name,
            state,
            error=type(error).__name__,
            reason=str(error) or "out of memory",
        )
    if work.is_alone():
        os._exit(1)  # loky's worker would wait for another task
    return ending._replace(seconds=time.perf_counter() - began)


def _train(work: Work) -> Ending:
    if work.stopped():
        return Ending(work.name, INTERRUPTED)
    run = SweepFolder(work.sweep_dir).run(work.name)
    with run.training(
        lambda: _prepare(work), wait=_HANDOVER, save_now=work.stopped
    ) as (
        _,
        events,
    ):
        if run.result() is None:  # else a process of a killed sweep has just ended it
            for event in events:
                can_stop = event.checkpoint or event.position.epoch == WARM_UP_EPOCH
                if can_stop and not event.closing and work.stopped():
                    return Ending(work.name, INTERRUPTED)
        return Ending(work.name, FINISHED, run.result())


def _prepare(work: Work) -> Experiment:
    """Return the experiment of a member. Raises WorkerError for what this worker lacks."""
    settings, here = work.settings, platform.node()
    if work.version != __version__:
        raise WorkerError(
            f"{here} has mlp_xp {__version__}, and the sweep {work.version}; install the same version"
        )
    if not SweepFolder(work.sweep_dir).exists():
        raise WorkerError(
            f"{here} does not see the sweep's folder {quoted(work.sweep_dir)}",
            remedy="give a --sweep-dir that all workers share",
        )
    try:
        backend = open_backend(settings.backend, settings.device, settings.dtype)
        # on a cluster; in a process here these are chosen
        if backend.threads.adjustable and not threads_chosen():
            backend = backend.on_threads(1, "a member of a sweep")
        dataset, crc32 = load(of_data(settings), work.cache_dir)
    # the process of the sweep has loaded the same data
    except (MlpXpError, ModuleNotFoundError) as error:
        raise WorkerError(f"on {here}: {error}") from error
    if work.crc32 not in (None, crc32):
        raise WorkerError(
            f"the data have changed since the sweep's command began, or {here} has others"
        )
    return Experiment.from_settings(
        settings, backend=backend, dataset=dataset, fit_batches=work.fit_batches
    )


def key_of(settings: Settings) -> str:
    """Return a text that names the data set of a member."""
    if not settings.data_dir:
        return str(settings.data)
    # The floats of your own files have the member's dtype from the start, as in
    # `train`.
    options = (
        f"{name} {value}"
        for name, value in vars(settings.data_options).items()
        if value is not None
    )
    return ", ".join([settings.data_dir, settings.dtype, *options])


def of_data(settings: Settings) -> Settings:
    """Return settings that are the same for all members on the same data."""
    return replace(settings, train=TrainConfig(), start_from=None)


@functools.lru_cache(maxsize=1)
def load(settings: Settings, cache_dir: str | None) -> tuple[Dataset, str]:
    """Return a data set with its checksum; the one that this process used last is
    loaded already.

    settings: see `of_data`.
    """
    backend = open_backend(settings.backend, settings.device, settings.dtype)
    dataset = load_dataset(
        settings.data, backend, cache_dir=cache_dir, **vars(settings.data_options)
    )
    return dataset, checksum(dataset, backend)
