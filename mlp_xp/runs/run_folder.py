"""The folder of a run: its state and its content.

`recording` writes its files, and `resuming` checks them.

The module `names` lists the files. Each file but metrics.jsonl is replaced whole. A
half line at the end of metrics.jsonl is ignored. The checkpoint decides where a run
resumes.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.errors import Argument
from mlp_xp.files import (
    file_errors,
    make_folder,
)
from mlp_xp.runs import _replacing, records
from mlp_xp.runs._tensors import read_tensors
from mlp_xp.runs.fingerprints import (
    read_fingerprints,
)
from mlp_xp.runs.loading import is_being_replaced, load_run, read_config, read_record
from mlp_xp.runs.locked_folder import LockedFolder
from mlp_xp.runs.names import (
    CHECKPOINT,
    CONFIG,
    FINGERPRINTS,
    METRICS,
    MODEL,
    RESULT,
    default_folder,
    in_folder_name,
)
from mlp_xp.runs.records import RunError
from mlp_xp.runs.settings import Settings


class Existing(Enum):
    """What becomes of a run that is already in a folder."""

    RESUME = auto()
    REFUSE = auto()
    """It is an error."""
    OVERWRITE = auto()


class RunFolder(LockedFolder):
    """A folder that holds one run, or will hold one.

    Args:
        path: The folder. It need not exist.

    Examples:
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
        return self.has(CHECKPOINT)

    def has_ended(self) -> bool:
        """Return whether the run has ended, so that a resume would do nothing.

        A run with a result but no checkpoint has lost it, and cannot be resumed. A
        resume of a run that has lost its model writes the model again.
        """
        return all(map(self.has, (RESULT, CHECKPOINT, MODEL)))

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
        for number, line in enumerate(self.lines(), 1):
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

    @contextmanager
    def opened(
        self, existing: Existing = Existing.RESUME, wait: float = 0.0
    ) -> Iterator[None]:
        """Hold the folder's lock, and complete or undo an interrupted replacement.

        Args:
            existing: REFUSE raises an error if there is a run. OVERWRITE accepts a run
                that this version cannot read.
            wait: Seconds in which another process may give up the folder.

        Raises:
            RunError: The folder is in use, has another purpose, or has a run.
            FileError: The folder cannot be created or changed.
        """
        with self.locked(wait):
            _replacing.settle(self.path)
            if self.exists():
                if existing is Existing.OVERWRITE:
                    read_record(self.path)  # refuses the record of another program
                else:
                    read_config(self.path)
                if existing is Existing.REFUSE:
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

    # Files.

    def has(self, name: str) -> bool:
        """Return whether the folder has a file."""
        return (self.path / name).exists()

    def lines(self) -> list[bytes]:
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
