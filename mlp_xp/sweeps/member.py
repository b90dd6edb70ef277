"""Train one member of a sweep, in a process of this machine or of a cluster."""

import functools
import os
import platform
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.failures import BackendOutOfMemory
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
from mlp_xp.runs.fingerprints import data_crc32
from mlp_xp.runs.locked_folder import InUseError
from mlp_xp.runs.recording import open_training
from mlp_xp.runs.records import HELD_OUT, TESTED
from mlp_xp.runs.settings import Settings, described
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED, SweepFolder
from mlp_xp.show.numbers import score_text
from mlp_xp.system import has_lost
from mlp_xp.version import __version__

# The errors of a process that finds too little memory. Another process may have more.
OUT_OF_MEMORY = (MemoryError, NotEnoughMemoryError, BackendOutOfMemory)
# Seconds in which a process of a killed sweep gives up the folder of a member. It stops
# at its next chunk.
_HANDOVER = 60.0


class WorkerError(MlpXpError):
    """A fault of this worker. The member has not failed: another one can train it."""


class Work(NamedTuple):
    """A member to train, and where its data and its folder are."""

    name: str
    """The name of the member."""
    settings: Settings
    sweep_dir: Path
    """The absolute path of the folder of the sweep."""
    crc32: str | None
    """The checksum of the data set. None if it has not been loaded before."""
    stop_file: Path
    """While this file exists, members save and stop."""
    cache_dir: str | None = None
    parent: int | None = None
    """The process of the sweep, whose end ends the member too. None on a cluster."""
    version: str = __version__

    def must_stop(self) -> bool:
        """Return whether to save and stop.

        A share that cannot be asked for the moment does not stop a member.
        """
        # Before Python 3.14, `Path.exists` raises most errors of a share.
        return self.is_alone() or os.path.exists(self.stop_file)  # noqa: PTH110

    def is_alone(self) -> bool:
        """Return whether the process of the sweep has gone."""
        return self.parent is not None and has_lost(self.parent)


class Ending(NamedTuple):
    """How a member ended."""

    name: str
    state: str
    """FINISHED, FAILED, or INTERRUPTED. The same command resumes an interrupted one."""
    result: dict[str, Any] | None = None
    """The record in result.json of a finished member."""
    error: str = ""
    """The class of the error of a failed member."""
    reason: str = ""
    """Why it failed, or the fault of its worker, as one line."""
    seconds: float = 0.0
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    """The varied settings."""
    earlier: bool = False
    """Whether it had ended before this call."""

    def __str__(self) -> str:
        """Describe the member in a line: its settings, then its results, test first."""
        parts = [f"{self.name} {self.state}", described(self.settings), self.reason]
        for part, names in (("test", TESTED), ("held out", HELD_OUT)):
            for name in names:
                value = (self.result or {}).get(name)
                if value is not None:
                    parts.append(f"{part} {score_text(name, value)}")
        return ", ".join(filter(None, parts))


def train_member(work: Work) -> Ending:
    """Train or resume one member, and return how it ended.

    Exceptions other than MlpXpError are bugs, and pass.
    """
    began = time.perf_counter()
    try:
        # The process of the sweep has given the warnings.
        with warnings.catch_warnings(action="ignore", category=MlpXpWarning):
            ending = _train(work)
    except (MlpXpError, MemoryError) as error:
        if isinstance(error, MlpXpError):
            error.notes.clear()  # they say how to resume a single run
        is_of_worker = isinstance(error, FileError | InUseError | WorkerError)
        # Another machine may have the memory.
        if not work.parent and isinstance(error, OUT_OF_MEMORY):
            is_of_worker = True
        ending = Ending(
            work.name,
            INTERRUPTED if is_of_worker else FAILED,
            error=type(error).__name__,
            reason=str(error) or "out of memory",
        )
    if work.is_alone():
        os._exit(1)  # the worker of loky would wait for another task
    return ending._replace(seconds=time.perf_counter() - began)


def _train(work: Work) -> Ending:
    if work.must_stop():
        return Ending(work.name, INTERRUPTED)
    run = SweepFolder(work.sweep_dir).run(work.name)
    training = open_training(
        run, lambda: _prepare(work), wait=_HANDOVER, save_now=work.must_stop
    )
    with training as (_, events):
        if run.result() is None:  # else a process of a killed sweep has just ended it
            for event in events:
                can_stop = event.checkpoint or event.position.epoch == WARM_UP_EPOCH
                if can_stop and not event.closing and work.must_stop():
                    return Ending(work.name, INTERRUPTED)
        return Ending(work.name, FINISHED, run.result())


def _prepare(work: Work) -> Experiment:
    """Return the experiment of a member. Raises WorkerError if this worker cannot."""
    settings, here = work.settings, platform.node()
    if work.version != __version__:
        raise WorkerError(
            f"{here} has mlp_xp {__version__}, and the sweep {work.version}",
            remedy="install the same version",
        )
    if not SweepFolder(work.sweep_dir).exists():
        raise WorkerError(
            f"{here} does not see the sweep's folder {quoted(work.sweep_dir)}",
            remedy="give a --sweep-dir that all workers share",
        )
    try:
        backend = open_backend(settings.backend, settings.device, settings.dtype)
        # In a process of this machine, the threads are chosen already.
        if backend.threads.adjustable and not threads_chosen():
            backend = backend.on_threads(1, "a member of a sweep")
        dataset, crc32 = load(of_data(settings), work.cache_dir)
    except OUT_OF_MEMORY:
        raise
    # The process of the sweep has loaded the same data, so the fault is here.
    except (MlpXpError, ModuleNotFoundError) as error:
        raise WorkerError(f"on {here}: {error}") from error
    if work.crc32 not in (None, crc32):
        raise WorkerError(
            "the data have changed since the command of the sweep began, or "
            f"{here} has other data"
        )
    return Experiment.from_settings(settings, backend=backend, dataset=dataset)


def key_of(settings: Settings) -> str:
    """Return a name for the data set of a member."""
    if not settings.data_dir:
        return str(settings.data)
    # The floats of your own files have the dtype of the member from the start, as in
    # `train`.
    parts = [settings.data_dir, settings.dtype]
    for name, value in vars(settings.data_options).items():
        if value is not None:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def of_data(settings: Settings) -> Settings:
    """Return settings without training. They are equal for members on the same data."""
    return replace(settings, train=TrainConfig(), start_from=None, networks=1)


@functools.lru_cache(maxsize=1)
def load(settings: Settings, cache_dir: str | None) -> tuple[Dataset, str]:
    """Return the data set of some settings of `of_data`, with its checksum.

    The last data set of this process is kept.
    """
    backend = open_backend(settings.backend, settings.device, settings.dtype)
    options = vars(settings.data_options)
    dataset = load_dataset(settings.data, backend, cache_dir=cache_dir, **options)
    return dataset, data_crc32(dataset, backend)
