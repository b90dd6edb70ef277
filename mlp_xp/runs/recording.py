"""Training that writes a run folder, exact resume from it, and the weights of another run to begin with."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from mlp_xp.backends.common import BackendFailure
from mlp_xp.backends.memory import check_memory
from mlp_xp.backends.threads import choose_threads
from mlp_xp.core.job import WARM_UP_EPOCH, Job
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, Network
from mlp_xp.core.training import Event, Position, check_state, trajectory
from mlp_xp.errors import Argument, MlpXpError, quoted
from mlp_xp.files import ASIDE, FileError, file_errors, make_folder, remove
from mlp_xp.runs import checkpoints, replacing, run_folder
from mlp_xp.runs.lock import locked
from mlp_xp.runs.records import RunError, first_difference
from mlp_xp.runs.settings import Settings, check_unchanged
from mlp_xp.runs.tensors import read_sha256


def check_run(settings: Settings, job: Job, folder: Path | None = None) -> None:
    """Check that a run can begin, before its folder is created, and choose the number of its job's threads.

    folder: the folder of a run to resume, if it exists. A run with a checkpoint does not need the run that it started
    from. It computes on as many threads as before, unless the backend was opened with others. Raises MlpXpError.
    """
    run_folder.preparation_of(job.dataset.prepare)
    if not isinstance(settings.train.activation, str):
        raise RunError("the activation is a pair of functions, which a run folder cannot store; name one")
    check_memory(job.config, job.sizes, job.backend)
    threads = None
    if folder is None or not (folder / run_folder.CHECKPOINT).exists():
        read_source(settings.start_from, job)
    else:
        threads = run_folder.threads_of(folder, job.backend.name)
    job.backend = choose_threads(job.backend, job.work, threads)


def read_source(start_from: str | Path | None, job: Job) -> Network:
    """Return the layers of another run for a new run with this job, on the host; none for None.

    The output layer is left out if the task or the names of the outputs differ. If the numbers to predict are
    standardised differently, the output layer is changed so that its predictions stay the same. Features of a table are
    found by their names. Raises RunError if the folder has no model, or if its inputs, hidden layers or activation
    differ.
    """
    if start_from is None:
        return ()
    try:
        model = checkpoints.load_run(start_from)
    except RunError as error:
        error.setting = "start_from"
        raise
    config, dataset = job.config, job.dataset
    same = (model.task, model.class_names) == (dataset.task, dataset.class_names)
    names, wanted = (each.columns.feature_names if each.columns else () for each in (model, dataset))
    facts = (
        ("inputs", model.network[0].weights.shape[0], job.sizes[0]),
        ("columns", sorted(names or wanted), sorted(wanted or names)),
        ("hidden layers", tuple(layer.bias.size for layer in model.network[:-1]), config.hidden),
        ("activation", model.activation, config.activation),
    )
    if difference := first_difference(facts):
        raise RunError(
            f"the network of {quoted(start_from)} does not fit the new run: {difference}", setting="start_from"
        )
    first, *others = _with_units_of(model, job) if same else model.network[:-1]
    if names and wanted:
        first = first._replace(weights=first.weights[[names.index(name) for name in wanted]])
    return (first, *others)


def _with_units_of(model: Model, job: Job) -> Network:
    """Return the model's network with outputs that are standardised as those of a job with the same names."""
    *before, last = model.network
    scalings = (model.scaling, model.backend), (job.dataset.scaling, job.backend)
    (mean, deviation), (new_mean, new_deviation) = (
        [backend.to_numpy(each).astype(np.float64) for each in scaling] or (0.0, 1.0) for scaling, backend in scalings
    )
    ratio = deviation / new_deviation
    bias = last.bias * ratio + (mean - new_mean) / new_deviation
    return (*before, Layer((last.weights * ratio).astype(last.weights.dtype), bias.astype(last.bias.dtype)))


@contextlib.contextmanager
def open_folder(folder: Path, *, existing: bool, wait: float = 0.0) -> Iterator[None]:
    """Create the folder of a run if needed, and hold its lock. existing: whether it may contain a run already.

    wait: the seconds in which another process may give up the folder. What a killed process left in the folder is
    completed or undone. Raises FileError, and RunError if the folder is in use or contains something else.
    """
    run_folder.check_folder(folder, "run", run_folder.CONFIG)  # before the lock writes to it
    with file_errors(folder, "create"):
        make_folder(folder)
    with locked(folder, wait):
        replacing.settle(folder)
        with file_errors(folder, "remove temporary files in"):
            for old in folder.glob(f".*{ASIDE}"):  # of a killed process
                remove(old)
        if (folder / run_folder.CONFIG).exists():
            run_folder.read_config(folder)  # refuses that of another program
            if not existing:
                raise RunError(
                    "already contains a run",
                    file=folder,
                    remedy=(
                        *("resume it with ", Argument("resume"), ", choose another folder, or replace it with "),
                        Argument("overwrite"),
                    ),
                    setting="run_dir",
                )
        yield


def train_in_folder(
    folder: Path,
    settings: Settings,
    job: Job,
    *,
    overwrite: bool = False,
    save_now: Callable[[], bool] = lambda: False,
    resume_hint: str = "",
) -> Generator[Event, None, None]:
    """Resume the run in the folder, or start a new one, and yield the events of `trajectory`.

    job: as `check_run` returns it. The caller holds the folder by `open_folder`. Reports and checkpoints are on disk
    before they are yielded; the closing report has its own file. overwrite: start a new run. Its first checkpoint
    replaces the run in the folder, which comes back if there is none. save_now: asked after every chunk whether to save
    a checkpoint there; the event then says that one was saved. It is not asked in the warm-up, nor before a new run
    replaces an old one. resume_hint: ends the message of an error after which the run can be resumed.

    Raises the same errors as `mlp_xp.train`. The message says whether a checkpoint is kept.
    """
    is_run = (folder / run_folder.CONFIG).exists()
    start = find_start(folder, settings, job) if is_run and not overwrite else None
    trained: Network = ()
    try:
        if start is None:
            trained = read_source(settings.start_from, job)
            if is_run and overwrite:
                replacing.begin(folder)
            run_folder.create_run(folder, settings, job)
        else:
            run_folder.truncate_metrics(folder, start.reports)
            run_folder.begin_segment(folder, settings, start)
        for event in trajectory(job, start, trained=trained):
            position = event.position
            if event.report is not None and not event.closing:
                run_folder.append_metrics(folder, event.report)
            # A run that is to replace another may have been started by mistake, and is stopped for that reason.
            may_save = position.epoch != WARM_UP_EPOCH and not run_folder.is_replaced(folder)
            if event.checkpoint or (may_save and save_now()):
                save(folder, position, settings, job)
                event = event._replace(checkpoint=True)
            if event.report is not None and event.closing:
                kept = {"kept_epoch": position.best.epoch} if position.best else {}
                run_folder.write_json(folder / run_folder.RESULT, run_folder.metrics_record(event.report) | kept)
            yield event
    except MlpXpError as error:
        can_resume = isinstance(error, FileError | BackendFailure) and (folder / run_folder.CHECKPOINT).exists()
        error.notes.append(what_is_kept(folder) + resume_hint * can_resume)
        raise
    finally:
        with contextlib.suppress(FileError):  # the next command does it, and the first error is the cause
            replacing.settle(folder)


def find_start(folder: Path, settings: Settings, job: Job) -> Position | None:
    """Return the position of the run in the folder, with its state on the device, or None if it has no checkpoint yet.

    Raises ConfigError if the run has other settings, and RunError if it has other data, or its checkpoint is damaged or
    lost.
    """
    check_unchanged(run_folder.read_config(folder)[0], settings, folder / run_folder.CONFIG)
    run_folder.check_data(folder, run_folder.data_facts(job))
    run_folder.read_result(folder)  # refuses a damaged one
    if (folder / run_folder.CHECKPOINT).exists():
        return checkpoints.load_checkpoint(folder, settings, job.backend)
    for name in (run_folder.RESULT, run_folder.MODEL):
        if (folder / name).exists():
            raise RunError(
                f"the run has {name} but no {run_folder.CHECKPOINT}, so it cannot be resumed, and starting it over "
                "would destroy it",
                file=folder,
                remedy=f"restore {run_folder.CHECKPOINT}, or train in another folder",
            )
    return None


def save(folder: Path, position: Position, settings: Settings, job: Job) -> None:
    """Write a checkpoint and the model: the best network on the held-out samples, or else the current network.

    With the first checkpoint, the run that this one replaces is gone. Raises FileError, and DivergenceError if the
    state is not finite, and RunError if the rows of your own data are missing.
    """
    check_state(position, job.backend)
    network = position.best.network if position.best else position.state.network
    # The checkpoint first: so a run that has a model but no checkpoint has lost it.
    checkpoints.save_checkpoint(folder, position, settings, job.backend)
    rows = None if job.dataset.hold_out is None else read_sha256(folder / run_folder.ROWS)
    checkpoints.save_model(folder, job.model(network), rows)
    replacing.settle(folder)


def what_is_kept(folder: Path) -> str:
    """Say what is in a run's folder after an error."""
    if run_folder.is_replaced(folder):
        return f"the old run in {quoted(folder)} is as it was"
    if not (folder / run_folder.CHECKPOINT).exists():
        is_run = (folder / run_folder.CONFIG).exists()
        return f"no checkpoint was saved yet{'; --resume starts the run from its beginning' * is_run}"
    return "the last checkpoint is kept"
