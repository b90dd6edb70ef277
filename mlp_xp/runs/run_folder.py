"""The folder of a run: its content, and how a run is trained in it.

The module `names` lists the files. Each file but metrics.jsonl is replaced whole. A
half line at the end of metrics.jsonl is ignored. The checkpoint decides where a run
resumes.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import itertools
import json
import os
import platform
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.threads import cpus, threads_chosen
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import UNNAMED
from mlp_xp.core.job import WARM_UP_EPOCH
from mlp_xp.core.model import Model
from mlp_xp.core.training import Event, Position, Report, check_state
from mlp_xp.data.options import DataOptions
from mlp_xp.declared import declared
from mlp_xp.errors import Argument, MlpXpError, first_difference, quoted
from mlp_xp.files import (
    FileError,
    append_line,
    file_errors,
    make_folder,
    remove,
    write_whole,
)
from mlp_xp.runs import _replacing, records
from mlp_xp.runs._checkpoints import (
    read_position,
    read_settings,
    write_model,
    write_position,
)
from mlp_xp.runs._tensors import read_tensors
from mlp_xp.runs.averaging import average
from mlp_xp.runs.experiment import Experiment, Source
from mlp_xp.runs.fingerprints import (
    read_fingerprints,
    row_fingerprints,
    write_fingerprints,
)
from mlp_xp.runs.loading import is_being_replaced, load_run, read_config, read_record
from mlp_xp.runs.locked_folder import LockedFolder
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
    default_folder,
    in_folder_name,
)
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings, check_unchanged, flatten, with_absolute_paths
from mlp_xp.version import __version__

CHECKSUMS = ("data_crc32", "rows_crc32")  # of the facts about data
RESUME, REFUSE, OVERWRITE = "resume", "refuse", "overwrite"
"""How `RunFolder.training` treats a run already in the folder."""


class RunFolder(LockedFolder):
    """A folder that holds one run, or will hold one.

    Args:
        path: The folder. It need not exist.

    Examples:
        >>> experiment = Experiment.from_data(TrainConfig(), dataset, open_backend())
        >>> run = RunFolder("runs/longer")
        >>> with run.training(lambda: experiment) as (running, events):
        ...     first = next(events)
        >>> run.exists(), run.has_ended()
        (True, False)
        >>> run = RunFolder("runs/digits")
        >>> run.has_ended()
        True
        >>> run.model().predict(images[:1])
        array(['7'], dtype='<U1')
    """

    purpose = "run"
    index = CONFIG

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._may_be_renamed = False

    @classmethod
    def named(
        cls, settings: Settings, recipe: str | Path, now: dt.datetime
    ) -> RunFolder:
        """Return a new folder `runs/<data>-<label>-<recipe>-<backend>-<date-time>`.

        If the name is taken when the folder is created, -2, -3, ... is appended. So two
        runs started in the same second get two folders.

        Args:
            settings: The settings of the run.
            recipe: The name of a recipe, or the file with the settings.
            now: The time in the name.
        """
        # The name of a data set may be the path of a folder.
        data = Path(settings.data).resolve().name
        label = in_folder_name(settings.data_options.label)
        backend = settings.backend.replace(":", "-")
        time = f"{now:%Y%m%d-%H%M%S}"
        folder = cls(default_folder(data, label, Path(recipe).stem, backend, time))
        folder._may_be_renamed = True
        return folder

    # The state and the content of the folder.

    def has_checkpoint(self) -> bool:
        """Return whether the run has saved a checkpoint."""
        return self._has(CHECKPOINT)

    def has_ended(self) -> bool:
        """Return whether the run has ended, so that a resume would do nothing.

        A run with a result but no checkpoint has lost it, and cannot be resumed. A
        resume of a run that has lost its model writes the model again.
        """
        return all(map(self._has, (RESULT, CHECKPOINT, MODEL)))

    def is_being_replaced(self) -> bool:
        """Return whether a new or longer run, without a checkpoint yet, replaces it."""
        return is_being_replaced(self.path)

    def settings(self) -> Settings:
        """Return the settings of the run.

        Raises:
            RunError: The folder has no run, or config.json is damaged.
        """
        settings, _ = read_config(self.path)
        return settings

    def record(self) -> dict[str, Any]:
        """Return the content of config.json: settings, data, versions and machine.

        Raises:
            RunError: The folder has no run, or config.json is damaged.
        """
        _, record = read_config(self.path)
        return record

    def reports(self) -> list[dict[str, Any]]:
        """Return the reports of the run, oldest first, without the closing report.

        An incomplete last line, which a kill may leave, is ignored.

        Raises:
            RunError: A line is not a report. The error names the line and the field.
        """
        path, kinds = self.path / METRICS, records.REPORT_FIELDS
        reports = []
        for number, line in enumerate(self._lines(), 1):
            report = records.parse(line, path, number)
            reports.append(records.check_fields(report, kinds, path, number))
        return reports

    def result(self) -> dict[str, Any] | None:
        """Return the closing report of the run, or None if it has not ended.

        Raises:
            RunError: result.json is damaged.
        """
        path = self.path / RESULT
        if not os.path.lexists(path):
            return None
        return records.read_json(path, records.REPORT_FIELDS)

    def model(self, backend: Backend | None = None) -> Model:
        """Return the network saved last.

        Args:
            backend: The backend of its arrays. By default NumPy, in the model's dtype.

        Raises:
            RunError: The folder has no run, or the run has no model yet, or a damaged
                one.
        """
        return load_run(self.path, backend)

    def trained_rows(self) -> np.ndarray:
        """Return the fingerprints of the model's training rows, uint64 (n,).

        They are empty for a published data set. Raises RunError if a file is missing or
        damaged.
        """
        _, facts = read_tensors(self.path / MODEL)
        return read_fingerprints(self.path / FINGERPRINTS, facts["rows"])

    def threads(self, backend: str) -> int | None:
        """Return the number of threads on which the run began.

        The last bits of its numbers depend on it. None if the run has no checkpoint, or
        began with another array library than `backend`, whose last bits differ anyway.

        Raises:
            RunError: The folder has no run, or config.json is damaged.
        """
        if not self.has_checkpoint():
            return None
        settings, record = read_config(self.path)
        if settings.backend != backend:
            return None
        number: int | None = record["threads"].get("number")
        return number

    def check_data(self, facts: dict[str, Any]) -> None:
        """Raise RunError if facts about data differ from the data of the run.

        Args:
            facts: All or some of `Experiment.data_facts`.
        """
        then, now = _flat(self.record()), _flat(facts)
        changed = [name for name, value in now.items() if value != then.get(name)]
        if not changed:
            return
        name = changed[0]
        difference = first_difference([(name, then.get(name), now[name])])
        if name in CHECKSUMS:
            difference = "values, weights, rows or their order have changed since"
        fault = f"the run started with other data: {difference}"
        raise RunError(fault, file=self.path / CONFIG, remedy="give the run's own data")

    def check_ended(self) -> None:
        """Raise RunError if a file of a run that has ended is damaged.

        The files with checksums are read, and the settings in config.json are compared
        with the settings in the checkpoint.
        """
        saved = read_settings(self.path / CHECKPOINT)
        check_unchanged(saved, self.settings(), self.path / CONFIG)
        self.result()
        self.model()
        self.trained_rows()

    def end_replacement(self) -> str:
        """Undo or complete a replacement of the run, if training ended within it.

        Returns a note for the message of a training that ends early. The note says
        which run the folder has.
        """
        was_replacing = self.is_being_replaced()
        self._settle()
        if self.is_being_replaced():
            aside = quoted(self.path / REPLACED)
            return f"the old run is in {aside}; resuming brings it back"
        if was_replacing:
            return f"the old run in {quoted(self.path)} is as it was"
        if self.has_checkpoint():
            return "the last checkpoint is kept"
        said = "no checkpoint was saved yet"
        if self.exists():
            said += "; resuming starts the run from its beginning"
        return said

    # Training.

    @contextmanager
    def training(
        self,
        make: Callable[[], Experiment],
        *,
        existing: str = RESUME,
        wait: float = 0.0,
        save_now: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[Experiment, Iterator[Event]]]:
        """Hold the folder's lock, and train in the folder while events are drawn.

        An existing run is locked before the experiment is made, because loading data
        may take long. A new folder is created after all checks, so that a run that
        cannot begin leaves no folder.

        Args:
            make: Returns the experiment to train.
            existing: RESUME an existing run, REFUSE to train, or OVERWRITE the run. An
                old run is kept until the first checkpoint of the new run.
            wait: Seconds in which another process may give up the folder.
            save_now: Called after every chunk of steps, and returns whether to save a
                checkpoint there. It is not called in the warm-up, nor while a new run
                is replacing an old one.

        Yields:
            The experiment, on its threads, and the events of `trajectory`. Reports and
            checkpoints are on disk before their event comes.

        Raises:
            RunError: The folder is in use, has another purpose, or its run cannot be
                resumed.
            MlpXpError: The experiment cannot be made, or cannot begin.
            FileError: The folder cannot be written.
        """
        with ExitStack() as held:
            # The caller may be inside `opened` already: `locked` goes on holding.
            if self.exists():
                held.enter_context(self.opened(existing, wait))
                experiment, source = self._checked(make(), existing)
            else:
                experiment, source = self._checked(make(), existing)
                held.enter_context(self.opened(existing, wait))
            events = self._train(experiment, source, existing, save_now)
            yield experiment, held.enter_context(closing(events))

    @contextmanager
    def opened(self, existing: str = RESUME, wait: float = 0.0) -> Iterator[None]:
        """Hold the folder's lock, and complete or undo an interrupted replacement.

        Args:
            existing: REFUSE refuses a folder that already has a run. OVERWRITE accepts
                a run that this version cannot read.
            wait: Seconds in which another process may give up the folder.

        Raises:
            RunError: The folder is in use, has another purpose, or has a run.
            FileError: The folder cannot be created or changed.
        """
        with self.locked(wait):
            _replacing.settle(self.path)
            if self.exists():
                if existing == OVERWRITE:
                    read_record(self.path)  # refuses the record of another program
                else:
                    read_config(self.path)
                if existing == REFUSE:
                    remedy = (
                        "resume it with ",
                        Argument("resume"),
                        ", choose another folder, or replace it with ",
                        Argument("overwrite"),
                    )
                    raise RunError(
                        "already contains a run",
                        file=self.path,
                        remedy=remedy,
                        setting="run_dir",
                    )
            yield

    def _checked(
        self, experiment: Experiment, existing: str
    ) -> tuple[Experiment, Source]:
        """Check that an experiment can begin or resume, and choose its threads.

        Returns the experiment on its threads, and the network to start from.
        """
        experiment.check()
        source, before = Source(), None
        if existing == RESUME and self.has_checkpoint():
            before = self.threads(experiment.backend.name)
        else:
            source = experiment.source()
        return experiment.on_threads(before), source

    def _train(
        self,
        experiment: Experiment,
        source: Source,
        existing: str,
        save_now: Callable[[], bool],
    ) -> Generator[Event, None, None]:
        """Begin or resume the run, and yield each event once it is on disk."""
        resumed_from = None
        if existing == RESUME:
            resumed_from = self._position(experiment, source)
        try:
            if resumed_from is None:
                rows_sha256 = self._begin(experiment, source, existing)
            else:
                rows_sha256 = self._continue(experiment, resumed_from)
            if self.has_ended():
                # The only event is the closing event, whose files are written already.
                yield from experiment.events(resumed_from)
                return
            for event in experiment.events(resumed_from, trained=source.layers):
                if event.report is not None and not event.closing:
                    self._append(event.report)
                may_save = self._may_save_early(event, is_new=resumed_from is None)
                if event.checkpoint or (may_save and save_now()):
                    self._save(event, experiment, rows_sha256)
                    event = event._replace(checkpoint=True)
                if event.report is not None and event.closing:
                    records.write_json(self.path / RESULT, metrics_record(event.report))
                yield event
        except MlpXpError as error:
            error.notes.append(self.end_replacement())
            raise
        finally:
            # The caller may close the events before the first checkpoint.
            self._settle()

    def _may_save_early(self, event: Event, *, is_new: bool) -> bool:
        """Return whether a checkpoint may be saved before it is due.

        The warm-up has no checkpoints. A new run over an old one may be a mistake. It
        is not saved early, so that stopping it brings the old run back. A longer run is
        no mistake: its checkpoint has all steps of the old run.
        """
        if event.position.epoch == WARM_UP_EPOCH:
            return False
        return not (is_new and self.is_being_replaced())

    def _settle(self) -> None:
        """Complete or undo a replacement. If this fails, the next command does it."""
        with suppress(FileError):
            _replacing.settle(self.path)

    # Resuming a run.

    def _position(self, experiment: Experiment, source: Source) -> Position | None:
        """Return the position to resume from, or None if the run is to begin.

        A run begins if the folder has none, or if its run has no checkpoint yet.

        Raises:
            ConfigError: The run has other settings.
            RunError: The run has other data, or a file is damaged or lost.
        """
        if not self.exists():
            return None
        settings = experiment.settings
        check_unchanged(self.settings(), settings, self.path / CONFIG)
        self.check_data(experiment.data_facts())
        self.result()  # refuses a damaged result
        if self.has_ended():
            self.model()  # refuses a damaged model
        if self.has_checkpoint():
            return self._checkpoint(settings, experiment.backend)
        self._check_start_over(experiment, source)
        return None

    def _check_start_over(self, experiment: Experiment, source: Source) -> None:
        """Raise RunError unless a run without a checkpoint can begin again."""
        if self.record().get("start_from_sha256") != source.sha256:
            path = quoted(experiment.settings.start_from)
            fault = f"{path} has another network now than when this run began"
            raise RunError(fault, file=self.path, remedy="begin a new run")
        for name in (RESULT, MODEL):
            if self._has(name):
                fault = (
                    f"the run has {name} but no {CHECKPOINT}, so it cannot be resumed, "
                    "and starting it over would destroy it"
                )
                remedy = f"restore {CHECKPOINT}, or train in another folder"
                raise RunError(fault, file=self.path, remedy=remedy)

    def _checkpoint(self, settings: Settings, backend: Backend) -> Position:
        """Return the position in the checkpoint of a run with these settings."""
        path = self.path / CHECKPOINT
        position, saved = read_position(path, backend)
        check_unchanged(saved, settings, path)
        epochs = settings.train.epochs
        if position.epoch >= epochs:
            fault = (
                f"{epochs} is too few: the run in {quoted(self.path)} has already "
                f"begun {position.epoch + 1} epochs"
            )
            remedy = "give at least as many, or start a new run"
            raise RunError(fault, remedy=remedy, setting="epochs")
        return position

    def _continue(self, experiment: Experiment, position: Position) -> str | None:
        """Make the files fit the checkpoint and the number of epochs.

        An unfinished run loses its old result and pictures. A finished run that is
        trained longer is moved aside, and stays whole until the longer run has a
        checkpoint. A finished run that is not trained longer keeps its model, its
        result and its pictures, which the caller may draw again. Returns the result of
        `_write_rows`.
        """
        record, lines = self.record(), self._kept_lines(position.reports)
        before = record["settings"]
        now = flatten(with_absolute_paths(experiment.settings))
        settings = {**before, "epochs": now["epochs"]}
        if now["dataset"] != UNNAMED:  # data in memory cannot be found again
            for name in ("dataset", "data_dir", *declared(DataOptions)):
                settings[name] = now[name]
        is_longer = settings["epochs"] > before["epochs"]
        if not self.has_ended():
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
        return self._write_rows(experiment)

    def _kept_lines(self, count: int) -> list[bytes]:
        """Return the first lines of metrics.jsonl, as many as the checkpoint counts."""
        lines = self._lines()
        if len(lines) < count:
            fault = f"has {len(lines)} reports, the checkpoint expects {count}"
            raise RunError(fault, file=self.path / METRICS, remedy=records.REMEDY)
        return lines[:count]

    # Writing a run.

    def _begin(
        self, experiment: Experiment, source: Source, existing: str
    ) -> str | None:
        """Write the record of a new run, and return the result of `_write_rows`."""
        record = _new_record(experiment, source)
        if existing == OVERWRITE and self.exists():
            _replacing.begin(self.path)
        _replacing.clear(self.path)
        # First, because a folder with other files and without it is not a run.
        records.write_json(self.path / CONFIG, record)
        return self._write_rows(experiment)

    def _write_rows(self, experiment: Experiment) -> str | None:
        """Write the fingerprints of the training rows. Return the sum of their file.

        The rows of a published data set are not recorded. Returns None for them.
        """
        if experiment.dataset.published:
            return None
        rows = row_fingerprints(experiment.dataset.train, experiment.backend)
        return write_fingerprints(self.path / FINGERPRINTS, rows)

    def _append(self, report: Report) -> None:
        """Append a report to metrics.jsonl, and wait until it is on disk.

        The name of a new file is on disk too. Otherwise a checkpoint could outlast its
        reports.
        """
        line = json.dumps(metrics_record(report))
        append_line(self.path / METRICS, line.encode())

    def _save(
        self, event: Event, experiment: Experiment, rows_sha256: str | None
    ) -> None:
        """Write a checkpoint, and the model with the sum of its file of fingerprints.

        The model is the best network on the held-out samples, or else the current
        network. In a run of several networks, it is the average of the finished ones,
        if there are any. The first checkpoint completes the replacement of an old run.
        """
        position = event.position
        backend, settings = experiment.backend, experiment.settings
        check_state(position, backend)
        if event.closing and event.report:
            network = event.report.model.network
        elif position.finished:
            network = average(position.finished, backend)
        else:
            network = position.best.network if position.best else position.state.network
        # The checkpoint first, so a run with a model but no checkpoint has lost it.
        write_position(self.path / CHECKPOINT, position, settings, backend)
        write_model(self.path / MODEL, experiment.job.model(network), rows_sha256)
        _replacing.settle(self.path)

    # Files.

    def _has(self, name: str) -> bool:
        return (self.path / name).exists()

    def _lines(self) -> list[bytes]:
        """Return the complete lines of metrics.jsonl, or none if it is missing."""
        path = self.path / METRICS
        with file_errors(path, "read"):
            if not path.exists():
                return []
            *lines, _ = path.read_bytes().split(b"\n")
        return lines

    def _create(self) -> bool:
        if not self._may_be_renamed:
            return super()._create()
        wanted = self.path
        with file_errors(wanted, "create"):
            make_folder(wanted.parent)
            for number in itertools.count(2):
                try:
                    make_folder(self.path, exist_ok=False)
                    break
                except FileExistsError:
                    self.path = wanted.with_name(f"{wanted.name}-{number}")
        self._may_be_renamed = False
        return True


def metrics_record(report: Report) -> dict[str, Any]:
    """Return a report as a record for metrics.jsonl.

    The record has the metrics of REPORTED that the report has. An undefined metric is
    None.
    """
    parts = {"": report, "test": report.test, "validation": report.validation}
    record: dict[str, Any] = {"epoch": report.epoch, "sample": report.sample}
    if report.network is not None:
        record = {"network": report.network, **record}
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


def _flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Return facts about data, with the facts of the signature at the same level."""
    flat = {**facts, **facts.get("signature", {})}
    flat.pop("signature", None)
    if flat.get("columns"):
        # Without `decimal_commas`, because other files may write the same numbers with
        # other decimal points, and without `seen`, because it describes the rows, which
        # have checksums.
        flat["columns"] = flat["columns"]["columns"]
    return flat
