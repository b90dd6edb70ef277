"""Train one member of a sweep, in a process of its own on this machine or on another one."""

import contextlib
import os
import platform
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.backends.threads import on_threads, threads_chosen
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.library import Backend
from mlp_xp.core.training import WARM_UP_EPOCH
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.lock import InUseError
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INDEX, INTERRUPTED, PRUNED, held_out, read_result
from mlp_xp.sweeps.data import load
from mlp_xp.sweeps.folder import run_of

# Seconds that a member's folder may be in use by a process of a sweep that was killed, which stops at its next chunk.
PATIENCE = 60.0


class WorkerError(MlpXpError):
    """Something that this worker lacks; the member itself has not failed."""


class Task(NamedTuple):
    """What a worker is to do."""

    name: str
    settings: Settings
    sweep_dir: Path
    """The folder of the sweep, absolute."""
    crc32: str
    """The checksum of the data set."""
    stop_file: Path
    """While this file exists, members save and stop."""
    cache_dir: Path | None = None
    parent: int | None = None
    """The process of the sweep, whose end ends the member too; None on a cluster."""
    pictures: bool = False
    trial: Any = None
    """Optuna's trial, which may prune the run."""
    pruned: bool = False
    """Whether the run of the trial's first seed was pruned, so that there is nothing to train."""


class Ending(NamedTuple):
    """How a member ended."""

    name: str
    state: str
    """FINISHED, FAILED, PRUNED, or INTERRUPTED after a request to stop."""
    result: dict[str, Any] | None = None
    """The record in result.json of a finished member."""
    error: str = ""
    """The class of the error of a failed member."""
    reason: str = ""
    """Why it failed or was pruned, as one line."""
    notes: tuple[str, ...] = ()
    """Warnings."""
    seconds: float = 0.0
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    """The settings that vary; filled in by the process that runs the sweep."""
    earlier: bool = False
    """Whether it had ended before this call."""


def train_member(task: Task) -> Ending:
    """Train, or resume, one member.

    An error of the input, of the array library or of the memory is an ending; any other exception is a bug.
    """
    began, folder = time.perf_counter(), run_of(task.sweep_dir, task.name)
    notes: list[warnings.WarningMessage] = []
    with contextlib.ExitStack() as held:
        # The filters belong to all threads of a process, and a worker of Dask trains in another than the main one.
        if threading.current_thread() is threading.main_thread():
            notes = held.enter_context(warnings.catch_warnings(record=True)) or []
            warnings.simplefilter("always", MlpXpWarning)
        try:
            ending = _train(task, folder)
        except (MlpXpError, MemoryError) as error:
            reason = str(error) if isinstance(error, MlpXpError) else f"out of memory: {error}"
            reason = reason.removesuffix(f"; {recording.what_is_kept(folder)}")
            # These would not happen to the member elsewhere, or when the disk has space: the same command goes on.
            passing = isinstance(error, FileError | InUseError | WorkerError)
            if type(error) is RunError:  # what is damaged fails again
                reason += f"; to train it anew, remove {str(folder)!r} and give --retry-failed"
            ending = Ending(task.name, INTERRUPTED if passing else FAILED, error=type(error).__name__, reason=reason)
    if _is_alone(task):
        os._exit(1)  # loky's worker would wait for another task
    texts = tuple(str(note.message) for note in notes if issubclass(note.category, MlpXpWarning))
    return ending._replace(notes=texts, seconds=time.perf_counter() - began)


def _is_alone(task: Task) -> bool:
    return task.parent is not None and os.getppid() != task.parent


def _stopped(task: Task) -> bool:
    return _is_alone(task) or task.stop_file.exists()


def _train(task: Task, folder: Path) -> Ending:
    settings, config = task.settings, task.settings.train
    if _stopped(task):
        return Ending(task.name, INTERRUPTED)
    if task.pruned:
        return Ending(task.name, PRUNED, error="Pruned", reason="its setting was pruned by the run of its first seed")
    backend, dataset = _prepare(task)
    recording.check_run(settings, dataset, backend, folder)
    with contextlib.ExitStack() as held:
        _claim(held, folder, lambda: _stopped(task))
        if (folder / run_folder.RESULT).exists():  # a process of a killed sweep has just ended it
            return Ending(task.name, FINISHED, read_result(folder))
        events = recording.train_in_folder(folder, settings, dataset, backend, save_now=lambda: _stopped(task))
        held.enter_context(contextlib.closing(events))
        for event in events:
            report, epoch = event.report, event.position.epoch
            if event.closing:
                if task.pictures:
                    _draw(folder, dataset, backend)
                return Ending(task.name, FINISHED, read_result(folder))
            if (event.checkpoint or epoch == WARM_UP_EPOCH) and _stopped(task):
                return Ending(task.name, INTERRUPTED)
            score = held_out(report._asdict()) if report is not None else None
            if task.trial and score is not None and epoch < config.epochs - 1 and _prune(task.trial, epoch, score):
                return Ending(task.name, PRUNED, error="Pruned", reason=f"pruned after epoch {epoch}")
    raise AssertionError("a run ends with a closing event")


def _prepare(task: Task) -> tuple[Backend, Dataset]:
    """Return the library and the data set of a member. Raises WorkerError for what this worker lacks."""
    if not (task.sweep_dir / INDEX).exists():
        raise WorkerError(
            f"{platform.node()} does not see the sweep's folder {str(task.sweep_dir)!r}; give a --sweep-dir that all "
            "workers share"
        )
    backend = task.settings.open_backend()
    if backend.threads.adjustable and not threads_chosen():  # as on a cluster; the processes of a sweep here have these
        backend = on_threads(backend, 1, "a member of a sweep")
    dataset, crc32 = load(task.settings, task.cache_dir)
    if crc32 != task.crc32:
        raise WorkerError(f"the data have changed since the sweep's command began, or {platform.node()} has others")
    return backend, dataset


def _claim(held: contextlib.ExitStack, folder: Path, stopped: Callable[[], bool]) -> None:
    """Hold a member's folder, for which a process of a sweep that was killed may keep us waiting. Raises InUseError."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            held.enter_context(recording.open_folder(folder, existing=True))
        except InUseError:
            if time.monotonic() > end or stopped():
                raise
            time.sleep(0.1)
        else:
            return


def _prune(trial: Any, epoch: int, score: float) -> bool:
    with warnings.catch_warnings(action="ignore"):  # a resumed run reports some epochs again
        trial.report(score, epoch)
    return bool(trial.should_prune())


def _draw(folder: Path, dataset: Dataset, backend: Backend) -> None:
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    with contextlib.suppress(PlotError):  # a run without pictures is complete
        draw_run(folder, dataset, backend)
