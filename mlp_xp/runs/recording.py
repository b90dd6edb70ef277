"""Train in the folder of a run: its files are written while events are drawn."""

import importlib.metadata
import json
import platform
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import numpy as np

from mlp_xp.backends.threads import cpus, threads_chosen
from mlp_xp.core.dataset import UNNAMED
from mlp_xp.core.job import WARM_UP_EPOCH
from mlp_xp.core.training import Event, Position, Report, check_state
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import declared
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.files import FileError, append_line, file_errors, remove, write_whole
from mlp_xp.runs import _replacing, records
from mlp_xp.runs._checkpoints import write_model, write_position
from mlp_xp.runs.experiment import Experiment, Source
from mlp_xp.runs.fingerprints import row_fingerprints, write_fingerprints
from mlp_xp.runs.metrics import finite_or_none
from mlp_xp.runs.names import (
    CHECKPOINT,
    CONFIG,
    FINGERPRINTS,
    METRICS,
    MODEL,
    PICTURES,
    REPLACED,
    RESULT,
)
from mlp_xp.runs.resuming import find_position, kept_lines
from mlp_xp.runs.run_folder import Existing, RunFolder
from mlp_xp.runs.settings import flatten, with_absolute_paths
from mlp_xp.version import __version__


@contextmanager
def open_training(
    run: RunFolder,
    make: Callable[[], Experiment],
    *,
    existing: Existing = Existing.RESUME,
    wait: float = 0.0,
    save_now: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Experiment, Iterator[Event]]]:
    """Hold the lock of a run's folder, and train in it while events are drawn.

    An existing run is locked before the experiment is made, because loading data may
    take long. A new folder is created after all checks, so that a run that cannot begin
    leaves no folder.

    Args:
        run: The folder.
        make: Returns the experiment to train.
        existing: What becomes of a run that is there already. An old run is kept until
            the first checkpoint of the new run.
        wait: Seconds in which another process may give up the folder.
        save_now: Called after every chunk of steps, and returns whether to save a
            checkpoint there. It is not called in the warm-up, nor while a new run is
            replacing an old one.

    Yields:
        The experiment, on its threads, and the events of `trajectory`. Reports and
        checkpoints are on disk before their event comes.

    Raises:
        RunError: The folder is in use, has another purpose, or its run cannot be
            resumed.
        MlpXpError: The experiment cannot be made, or cannot begin.
        FileError: The folder cannot be written.

    Examples:
        >>> experiment = Experiment.from_data(TrainConfig(), dataset, open_backend())
        >>> run = RunFolder("runs/longer")
        >>> with open_training(run, lambda: experiment) as (running, events):
        ...     first = next(events)
        >>> run.exists(), run.has_ended()
        (True, False)
    """
    with ExitStack() as held:
        # The caller may be inside `opened` already: `locked` goes on holding.
        if run.exists():
            held.enter_context(run.opened(existing, wait))
            experiment, source = _prepare(run, make(), existing)
        else:
            experiment, source = _prepare(run, make(), existing)
            held.enter_context(run.opened(existing, wait))
        events = _train(run, experiment, source, existing, save_now)
        yield experiment, held.enter_context(closing(events))


def _prepare(
    run: RunFolder, experiment: Experiment, existing: Existing
) -> tuple[Experiment, Source]:
    """Check that an experiment can begin or resume, and choose its threads.

    Returns the experiment on its threads, and the network to start from.
    """
    experiment.check()
    source, before = Source(), None
    if existing is Existing.RESUME and run.has_checkpoint():
        before = run.threads(experiment.backend.name)
    else:
        source = experiment.source()
    return experiment.on_threads(before), source


def _train(
    run: RunFolder,
    experiment: Experiment,
    source: Source,
    existing: Existing,
    save_now: Callable[[], bool],
) -> Generator[Event, None, None]:
    """Begin or resume the run, and yield each event once it is on disk."""
    position, writer = None, RunWriter(run, experiment)
    if existing is Existing.RESUME:
        position = find_position(run, experiment, source)
    try:
        if position is None:
            writer.begin(source, overwrite=existing is Existing.OVERWRITE)
        else:
            writer.resume(position)
        if run.has_ended():
            # The only event is the closing event, whose files are written already.
            yield from experiment.events(position)
            return
        for event in experiment.events(position, trained=source.layers):
            if event.report is not None and not event.closing:
                writer.append(event.report)
            may_save = _may_save_early(run, event, is_new=position is None)
            if event.checkpoint or (may_save and save_now()):
                writer.save(event)
                event = event._replace(checkpoint=True)
            if event.report is not None and event.closing:
                records.write_json(run.path / RESULT, metrics_record(event.report))
            yield event
    except MlpXpError as error:
        error.notes.append(end_replacement(run))
        raise
    finally:
        # The caller may close the events before the first checkpoint.
        _settle(run)


def _may_save_early(run: RunFolder, event: Event, *, is_new: bool) -> bool:
    """Return whether a checkpoint may be saved before it is due.

    The warm-up has no checkpoints. A new run over an old one may be a mistake. It is
    not saved early, so that stopping it brings the old run back. A longer run is no
    mistake: its checkpoint has all steps of the old run.
    """
    if event.position.epoch == WARM_UP_EPOCH:
        return False
    return not (is_new and run.is_being_replaced())


def end_replacement(run: RunFolder) -> str:
    """Undo or complete a replacement of a run, if training ended within it.

    Returns a note for the message of a training that ends early. The note says which
    run the folder has.
    """
    was_replacing = run.is_being_replaced()
    _settle(run)
    if run.is_being_replaced():
        aside = quoted(run.path / REPLACED)
        return f"the old run is in {aside}; resuming brings it back"
    if was_replacing:
        return f"the old run in {quoted(run.path)} is as it was"
    if run.has_checkpoint():
        return "the last checkpoint is kept"
    said = "no checkpoint was saved yet"
    if run.exists():
        said += "; resuming starts the run from its beginning"
    return said


def _settle(run: RunFolder) -> None:
    """Complete or undo a replacement. If this fails, the next command does it."""
    with suppress(FileError):
        _replacing.settle(run.path)


class RunWriter:
    """Writes the files of a run.

    Args:
        run: The folder. Its lock is held.
        experiment: The experiment, on its threads.
    """

    def __init__(self, run: RunFolder, experiment: Experiment) -> None:
        self.path = run.path
        self._run = run
        self._experiment = experiment
        # The checksum of the file with the fingerprints of the training rows. The rows
        # of a published data set are not recorded.
        self._rows_sha256: str | None = None

    def begin(self, source: Source, *, overwrite: bool) -> None:
        """Write the record of a new run."""
        record = _new_record(self._experiment, source)
        if overwrite and self._run.exists():
            _replacing.begin(self.path)
        _replacing.clear(self.path)
        # First, because a folder with other files and without it is not a run.
        records.write_json(self.path / CONFIG, record)
        self._write_rows()

    def resume(self, position: Position) -> None:
        """Make the files fit the checkpoint and the number of epochs.

        An unfinished run loses its old result and pictures. A finished run that is
        trained longer is moved aside, and stays whole until the longer run has a
        checkpoint. A finished run that is not trained longer keeps its model, its
        result and its pictures, which the caller may draw again.
        """
        run = self._run
        record, lines = run.record(), kept_lines(run, position.reports)
        before = record["settings"]
        now = flatten(with_absolute_paths(self._experiment.settings))
        settings = {**before, "epochs": now["epochs"]}
        if now["dataset"] != UNNAMED:  # data in memory cannot be found again
            for name in ("dataset", "data_dir", *declared(DataOptions)):
                settings[name] = now[name]
        is_longer = settings["epochs"] > before["epochs"]
        if not run.has_ended():
            with file_errors(self.path, "remove the old result and pictures in"):
                # A finished run that has lost its model still has its result.
                for name in (RESULT, *PICTURES):
                    remove(self.path / name)
        elif is_longer:
            _replacing.begin(self.path)
        if settings != before:
            records.write_json(self.path / CONFIG, {**record, "settings": settings})
        write_whole(self.path / METRICS, b"".join(line + b"\n" for line in lines))
        # Written again, because the file may be lost, or come from another run.
        self._write_rows()

    def append(self, report: Report) -> None:
        """Append a report to metrics.jsonl, and wait until it is on disk.

        The name of a new file is on disk too. Otherwise a checkpoint could outlast its
        reports.
        """
        line = json.dumps(metrics_record(report))
        append_line(self.path / METRICS, line.encode())

    def save(self, event: Event) -> None:
        """Write a checkpoint, and the model with the checksum of its training rows.

        The model is the best network on the held-out samples, or else the current
        network. The first checkpoint completes the replacement of an old run.
        """
        position, experiment = event.position, self._experiment
        check_state(experiment.job, position)
        network = position.best.network if position.best else position.state.network
        # The checkpoint first, so a run with a model but no checkpoint has lost it.
        path = self.path / CHECKPOINT
        write_position(path, position, experiment.settings, experiment.backend)
        model = experiment.job.model(network)
        write_model(self.path / MODEL, model, self._rows_sha256)
        _replacing.settle(self.path)

    def _write_rows(self) -> None:
        """Write the fingerprints of the training rows, and keep their checksum."""
        dataset = self._experiment.dataset
        if not dataset.published:
            rows = row_fingerprints(dataset.train, self._experiment.backend)
            path = self.path / FINGERPRINTS
            self._rows_sha256 = write_fingerprints(path, rows)


def metrics_record(report: Report) -> dict[str, Any]:
    """Return a report as a record for metrics.jsonl.

    The record has the metrics of REPORTED that the report has. An undefined metric is
    None.
    """
    parts = {"": report, "test": report.test, "validation": report.validation}
    record: dict[str, Any] = {"epoch": report.epoch, "sample": report.sample}
    for metric in records.REPORTED:
        part = parts[metric.part]
        if part is None:
            continue
        value = getattr(part, metric.name.removeprefix(f"{metric.part}_"))
        if value is not None:
            record[metric.name] = finite_or_none(value)
    if report.kept_epoch is not None:
        record["kept_epoch"] = report.kept_epoch
    return record


def _new_record(experiment: Experiment, source: Source) -> dict[str, Any]:
    """Return the content of config.json for a new run."""
    backend = experiment.backend
    versions = {
        "mlp_xp": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "array-api-compat": importlib.metadata.version("array-api-compat"),
        backend.name: backend.version,
    }
    threads = {
        "number": backend.threads.number,
        "reason": backend.threads.reason,
        "cpus": cpus(),
        **threads_chosen(),
    }
    return {
        "format": records.FORMAT,
        "settings": flatten(with_absolute_paths(experiment.settings)),
        "auto": list(experiment.job.auto),
        "device": backend.device_name,
        "versions": versions,
        "threads": threads,
        "machine": f"{platform.system()} {platform.machine()}",
        "start_from_sha256": source.sha256,
        **experiment.data_facts(),
    }
