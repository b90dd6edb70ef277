"""Train one member of a sweep, in a process of its own on this machine or on another one."""

import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.files import FileError, file_errors
from mlp_xp.runs import recording, run_folder
from mlp_xp.runs.lock import InUseError
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings
from mlp_xp.runs.sweep_index import FAILED, FINISHED, INTERRUPTED, PRUNED, held_out, read_result
from mlp_xp.sweeps.data import ARRAYS
from mlp_xp.threads import threads_chosen
from mlp_xp.training import WARM_UP_EPOCH

# Seconds that a member's folder may be in use by a process of a sweep that was killed, which stops at its next chunk.
PATIENCE = 60.0


class Task(NamedTuple):
    """What a process is to do."""

    name: str
    settings: Settings
    folder: Path | None
    """The run folder; None on another machine, where it is a temporary one whose files are returned."""
    data: Dataset
    """Without its arrays."""
    stop_file: Path | None = None
    """Where this file exists, a member saves and stops."""
    gone: Callable[[], bool] = bool  # False
    """Whether the process that runs the sweep is gone: then a member saves and stops, too."""
    pictures: bool = False
    trial: Any = None
    """Optuna's trial, which may prune the run."""
    pruned: bool = False
    """Whether the trial has been pruned by the run of another seed, so that there is nothing to train."""
    files: dict[str, bytes] = {}  # noqa: RUF012  (never changed)
    """Of an interrupted run that is resumed on another machine."""


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
    files: dict[str, bytes] = {}  # noqa: RUF012  (never changed)
    """By name, from another machine."""
    notes: tuple[str, ...] = ()
    """Warnings."""
    seconds: float = 0.0
    settings: dict[str, Any] = {}  # noqa: RUF012  (never changed)
    """The settings that vary; filled in by the process that runs the sweep."""
    earlier: bool = False
    """Whether it had ended before this call."""


def train_member(task: Task, *arrays: np.ndarray | None) -> Ending:
    """Train, or resume, one member. arrays: the four of its data set, on the host.

    An error of the input, of the array library or of the memory is an ending; any other exception is a bug.
    """
    began = time.perf_counter()
    with contextlib.ExitStack() as held:
        notes: list[warnings.WarningMessage] = []
        if task.folder is not None:  # elsewhere several threads may be here, and the filters belong to all of them
            notes = held.enter_context(warnings.catch_warnings(record=True)) or []
            warnings.simplefilter("always", MlpXpWarning)
        folder, files = task.folder, {}
        try:
            if folder is None:
                folder = _unpack(task, held)
            ending = _train(task, folder, arrays)
        except (MlpXpError, MemoryError) as error:
            reason = str(error) if isinstance(error, MlpXpError) else f"out of memory: {error}"
            if folder is not None:
                reason = reason.removesuffix(f"; {recording.what_is_kept(folder)}")
            # A disk that is full is no property of the member: the same command goes on when there is space.
            passing = isinstance(error, FileError | InUseError)
            if type(error) is RunError and task.folder is not None:  # what is damaged fails again
                reason += f"; to train it anew, remove {str(folder)!r} and give --retry-failed"
            ending = Ending(task.name, INTERRUPTED if passing else FAILED, error=type(error).__name__, reason=reason)
        if task.folder is None and folder is not None:
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
    texts = tuple(str(note.message) for note in notes if issubclass(note.category, MlpXpWarning))
    return ending._replace(files=files, notes=texts, seconds=time.perf_counter() - began)


def _unpack(task: Task, held: contextlib.ExitStack) -> Path:
    """Return the run folder of a member on another machine. Raises FileError."""
    with file_errors(Path(tempfile.gettempdir()), "write"):
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="mlp-xp-"))) / task.name
        folder.mkdir()
        for name, content in task.files.items():
            (folder / name).write_bytes(content)
    return folder


def _train(task: Task, folder: Path, arrays: tuple[np.ndarray | None, ...]) -> Ending:
    settings, config = task.settings, task.settings.train
    if _stopped(task):
        return Ending(task.name, INTERRUPTED)
    if task.pruned:
        return Ending(task.name, PRUNED, error="Pruned", reason="its setting was pruned by the run of its first seed")
    backend = settings.open_backend()
    if backend.threads.adjustable and not threads_chosen():  # as on a cluster; the processes of a sweep here have these
        backend = backend.on_threads(1, "a member of a sweep")
    dataset = _dataset(task, arrays, backend)
    recording.check_run(settings, dataset, backend)
    with contextlib.ExitStack() as held:
        claim(held, lambda: recording.open_folder(folder, existing=True), lambda: _stopped(task))
        if (folder / run_folder.RESULT).exists():  # a process of a killed sweep has just ended it
            return Ending(task.name, FINISHED, read_result(folder))
        events = recording.train_in_folder(folder, settings, dataset, backend, save_now=lambda: _stopped(task))
        held.enter_context(contextlib.closing(events))
        prune = _pruner(task.trial)
        for event in events:
            report, epoch = event.report, event.position.epoch
            if event.closing:
                if task.pictures:
                    _draw(folder, dataset, backend)
                return Ending(task.name, FINISHED, read_result(folder))
            if (event.checkpoint or epoch == WARM_UP_EPOCH) and _stopped(task):
                return Ending(task.name, INTERRUPTED)
            score = held_out(report._asdict()) if report is not None else None
            if score is not None and epoch < config.epochs - 1 and prune(epoch, score):
                return Ending(task.name, PRUNED, error="Pruned", reason=f"pruned after epoch {epoch}")
    raise AssertionError("a run ends with a closing event")


def _stopped(task: Task) -> bool:
    return task.gone() or (task.stop_file is not None and task.stop_file.exists())


def _dataset(task: Task, arrays: tuple[np.ndarray | None, ...], backend: Backend) -> Dataset:
    # Arrays from another process may be read-only, and are not shared with others anyway.
    copy: Callable[[np.ndarray], Any] = backend.asarray if task.folder is None else backend.shared
    placed = [None if array is None else copy(np.asarray(array)) for array in arrays]
    on_device: dict[str, Any] = dict(zip(ARRAYS, placed, strict=True))
    fitted = tuple(map(backend.asarray, task.data.prepare.fitted))
    return task.data._replace(**on_device, prepare=task.data.prepare._replace(fitted=fitted))


def claim(
    held: contextlib.ExitStack,
    lock: Callable[[], contextlib.AbstractContextManager[Any]],
    stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Hold the lock of a member's folder, for which a process of a sweep that was killed may keep us waiting.

    Raises InUseError.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            held.enter_context(lock())
        except InUseError:
            if time.monotonic() > end or stopped():
                raise
            time.sleep(0.1)
        else:
            return


def _pruner(trial: Any) -> Callable[[int, float], bool]:
    if trial is None:
        return lambda epoch, score: False

    def prune(epoch: int, score: float) -> bool:
        with warnings.catch_warnings(action="ignore"):  # a resumed run reports some epochs again
            trial.report(score, epoch)
        return bool(trial.should_prune())

    return prune


def _draw(folder: Path, dataset: Dataset, backend: Backend) -> None:
    from mlp_xp.show.gallery import draw_run
    from mlp_xp.show.plots import PlotError

    with contextlib.suppress(PlotError):  # a run without pictures is complete
        draw_run(folder, dataset, backend)
