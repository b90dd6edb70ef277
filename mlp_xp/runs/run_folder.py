"""The folder of a run: config.json, metrics.jsonl, model.safetensors, checkpoint.safetensors, and pictures."""

import datetime as dt
import importlib.metadata
import itertools
import json
import os
import platform
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp import __version__
from mlp_xp.backends.threads import cpus, threads_chosen
from mlp_xp.core.dataset import PREPARATIONS, Dataset, Preparation
from mlp_xp.core.job import Job
from mlp_xp.core.library import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.training import Position, Report
from mlp_xp.files import ASIDE, append_line, file_errors, make_folder, remove, write_whole
from mlp_xp.runs import records
from mlp_xp.runs.records import REPORT_FIELDS, RESULTS, TARGETS, first_difference, parse_settings
from mlp_xp.runs.records import RunError as RunError  # noqa: PLC0414  (part of this module too)
from mlp_xp.runs.rows import row_sums, write_rows
from mlp_xp.runs.settings import Settings, flatten, with_absolute_paths

PAGE = "page.html"
NAMES = ("curves", "deformed", "confusion", "probabilities", "mistakes", "weights", "predictions", "labels")
PICTURES = (*(f"{name}.png" for name in NAMES), PAGE)
CONFIG, METRICS, RESULT = "config.json", "metrics.jsonl", "result.json"
MODEL, CHECKPOINT, ROWS = "model.safetensors", "checkpoint.safetensors", "rows.safetensors"
# All files but config.json, in the order in which they are removed or moved aside.
RUN_FILES = (CHECKPOINT, MODEL, RESULT, METRICS, ROWS, *PICTURES)
# The lock and who holds it, see `lock`; a run that is being replaced, see `replacing`.
LOCK, HOLDER, OLD = ".lock", ".holder", ".replaced"


def claim_folder(settings: Settings, recipe: str | Path, now: dt.datetime) -> Path:
    """Create the folder `runs/<dataset>-<recipe>-<backend>-<date-time>` and return it. Raises FileError.

    recipe: its name, or the file with the settings.
    If it exists, -2, -3, ... is appended to its name: two runs that start in the same second get two folders.
    """
    data = Path(settings.data).resolve().name  # a data set's name may be the path of a folder
    backend = settings.backend.replace(":", "-")
    wanted = folder = Path("runs") / f"{data}-{Path(recipe).stem}-{backend}-{now:%Y%m%d-%H%M%S}"
    with file_errors(wanted, "create"):
        make_folder(wanted.parent)
        for number in itertools.count(2):
            with suppress(FileExistsError):
                make_folder(folder, exist_ok=False)
                break
            folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def check_folder(folder: Path, what: str, file: str) -> None:
    """Raise RunError unless a folder is empty or missing, or has this file. Raises FileError.

    Files that a killed process has left do not count. what: the folder's content, for the message.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError("is not a folder", file=folder, remedy="choose another")
    # One look, because a run that starts there at the same time changes what is there.
    with file_errors(folder, "read"):
        names = {path.name for path in folder.iterdir()}
    if file not in names and {name for name in names if not name.endswith(ASIDE)} - {LOCK, HOLDER}:
        raise RunError(f"is neither empty nor a {what}", file=folder, remedy="choose another folder")


def create_run(folder: Path, settings: Settings, job: Job) -> None:
    """Write config.json of a new run, and the rows of your own data. Raises FileError.

    The files of a run without a checkpoint are removed. The folder must exist, and its lock must be held.
    """
    backend = job.backend
    number, reason = backend.threads[:2]
    record = {
        "format": records.FORMAT,
        "settings": flatten(with_absolute_paths(settings)),
        "device": backend.device_name,
        "versions": {
            "mlp_xp": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "array-api-compat": importlib.metadata.version("array-api-compat"),
            backend.name: backend.version,
        },
        "threads": {"number": number, "reason": reason, "cpus": cpus(), **threads_chosen()},
        "machine": f"{platform.system()} {platform.machine()}",
        **data_facts(job),
    }
    clear(folder)
    if job.dataset.hold_out is not None:
        write_rows(folder / ROWS, row_sums(*job.dataset[:2], backend))
    write_json(folder / CONFIG, record)


def threads_of(folder: Path, backend: str) -> int | None:
    """Return the number of threads on which a run began: the last bits of its numbers depend on it. Raises MlpXpError.

    None if it began with another library, whose last bits differ anyway.
    """
    settings, record = read_config(folder)
    return record["threads"].get("number") if settings.backend == backend else None


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a file with one JSON value. Raises FileError."""
    write_whole(path, (json.dumps(record, indent=2) + "\n").encode())


def data_facts(job: Job) -> dict[str, Any]:
    """Return the facts about the data that config.json records. A resumed run must have the same."""
    facts = {"train_samples": len(job.rows), **facts_of(job.dataset, job.input_shape)}
    return facts | {"data_crc32": checksum(job.dataset, job.backend)}


def facts_of(data: Model | Dataset, input_shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what inputs and outputs of a network mean, as config.json and the file of a model record it."""
    return {
        "inputs": data.kind,
        "image_shape": list(input_shape),
        "class_names": list(data.class_names),
        "columns": data.columns and [{**each._asdict(), "levels": [*each.levels]} for each in data.columns.columns],
        "task": data.task.name,
        "preparation": preparation_of(data.prepare),
        "targets": TARGETS[bool(data.scaling)],
    }


def checksum(dataset: Dataset, backend: Backend) -> str:
    """Return a checksum of inputs, labels and weights, in hexadecimal."""
    total = 0
    for array in (*(each if each is None else backend.to_numpy(each) for each in dataset[:4]), dataset.weights):
        if array is not None:
            total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return f"{total:08x}"


def preparation_of(prepare: Preparation) -> str:
    """Return the name of a preparation, a key of PREPARATIONS. Raises RunError for any other function."""
    for name, function in PREPARATIONS.items():
        if prepare.function is function:
            return name
    raise RunError("the data set has a prepare function of its own, which a run folder cannot store")


def has_ended(folder: Path, settings: Settings) -> bool:
    """Return whether a run is finished and has no more epochs in these settings. Raises RunError."""
    is_whole = (folder / RESULT).exists() and (folder / CHECKPOINT).exists()
    return is_whole and read_config(folder)[0].train.epochs == settings.train.epochs


def begin_segment(folder: Path, settings: Settings, position: Position) -> None:
    """Give a run the number of epochs in the settings.

    If epochs are left to do, the result and pictures of the shorter run are removed. config.json is replaced first,
    because it decides. Raises MlpXpError.
    """
    kept, record = read_config(folder)
    epochs = settings.train.epochs
    if kept.train.epochs != epochs:
        record["settings"]["epochs"] = epochs
        write_json(folder / CONFIG, record)
    if position.epoch < epochs - 1:
        with file_errors(folder, "remove the old result in"):
            for name in (RESULT, *PICTURES):
                remove(folder / name)


def check_data(folder: Path, facts: Mapping[str, Any]) -> None:
    """Raise RunError, which names the difference, if the data are not those that the run started with."""
    _, record = read_config(folder)
    if difference := first_difference((name, record.get(name), value) for name, value in facts.items()):
        if difference.startswith("data crc32"):
            difference = "values, weights, rows or their order have changed since"
        fault = f"the run started with other data: {difference}"
        raise RunError(fault, file=folder / CONFIG, remedy="give the run's own data")


def clear(folder: Path) -> None:
    """Remove all files of a run except config.json, the checkpoint first. Raises FileError.

    config.json is only replaced, never removed: a process that is killed here must not leave a folder without settings.
    """
    with file_errors(folder, "remove the old run in"):
        for name in RUN_FILES:
            remove(folder / name)


def is_replaced(folder: Path) -> bool:
    """Return whether a run is moved aside for a new one that has no checkpoint yet; see `replacing`."""
    return (folder / OLD).is_dir() and not (folder / CHECKPOINT).exists()


def read_config(folder: str | Path) -> tuple[Settings, dict[str, Any]]:
    """Return a run's settings and the whole record in its config.json. Raises MlpXpError if the folder is not a run."""
    folder = Path(folder)
    if not (folder / CONFIG).exists():
        why = f"it has no {CONFIG}" if folder.exists() else "it does not exist"
        raise RunError(f"is not a run: {why}", file=folder, remedy="give the folder of a training run")
    if is_replaced(folder):
        raise RunError(
            "is being replaced by a new run, which has no checkpoint yet",
            file=folder,
            remedy="wait for it, or, if it was interrupted, bring the old run back: resume it",
        )
    settings, record = parse_settings(folder / CONFIG)
    if "settings" not in record:
        raise RunError("is of another program, not of a run; choose another folder", file=folder / CONFIG)
    return settings, record


def metrics_record(report: Report) -> dict[str, Any]:
    """Return a report as its record in metrics.jsonl: every one of RESULTS that has a value."""
    parts = {"": report, "test": report.test, "validation": report.validation}
    found: dict[str, Any] = {"epoch": report.epoch, "sample": report.sample}
    for each in RESULTS:
        if parts[each.part] is not None:
            found[each.name] = getattr(parts[each.part], each.name.removeprefix(f"{each.part}_"))
    return {name: value for name, value in found.items() if value is not None}


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the closing report of a run, which is in its own file; None if it is unfinished. Raises RunError."""
    path = folder / RESULT
    return records.read_json(path, REPORT_FIELDS) if os.path.lexists(path) else None


def append_metrics(folder: Path, report: Report) -> None:
    """Append one line to metrics.jsonl, and wait until it is on disk. Raises FileError."""
    # The name of a new file is on disk too, or a checkpoint could outlast the reports that it counts.
    append_line(folder / METRICS, json.dumps(metrics_record(report)).encode())


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Return the reports of a run, oldest first. An incomplete last line is ignored. A missing file gives [].

    Raises RunError, which names the line and the field, for what is not a report.
    """
    path = Path(folder) / METRICS
    return [
        records.check_fields(records.parse(line, path, number), REPORT_FIELDS, path, number)
        for number, line in enumerate(_lines(path), 1)
    ]


def _lines(path: Path) -> list[bytes]:
    """Return the complete lines of a file without their ends; none if it is missing. Raises FileError."""
    with file_errors(path, "read"):
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def truncate_metrics(folder: Path, reports: int) -> None:
    """Keep the first `reports` lines of metrics.jsonl, those written before the checkpoint.

    Raises RunError if reports are missing, and FileError.
    """
    path = folder / METRICS
    lines = _lines(path)
    if len(lines) < reports:
        fault = f"has {len(lines)} reports, the checkpoint expects {reports}"
        raise RunError(fault, file=path, remedy=records.REMEDY)
    write_whole(path, b"".join(line + b"\n" for line in lines[:reports]))
