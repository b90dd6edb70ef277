"""Runs as the rows of a table: settings, results, states, and how the runs differ."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.declared import check_choice, parse
from mlp_xp.errors import Argument, MlpXpError, nearest
from mlp_xp.files import file_errors
from mlp_xp.runs.names import CONFIG, METRICS, RESULT
from mlp_xp.runs.records import HELD_OUT, METRIC_COLUMNS, RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import SETTINGS, described, flatten
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED, SweepFolder

IN_USE, NOT_RUN, UNREADABLE = "in use", "not run", "unreadable"
COLUMNS = ("name", "state", *METRIC_COLUMNS, "date")
STATES = (FINISHED, INTERRUPTED, IN_USE, FAILED, NOT_RUN, UNREADABLE)
DATA = ("dataset", "data_dir")


class Row(NamedTuple):
    """A run as a row of a table."""

    name: str
    """The folder's name."""
    folder: Path
    settings: Mapping[str, Any]
    """All settings, flat, as in config.json; empty if they cannot be read. The dataset
    of your own data is the name of their file or folder.
    """
    state: str
    """finished: with a result. interrupted: without a result, but perhaps with reports,
    or stopped while it was being replaced. in use: a process trains or replaces it.
    failed or not run: a member of a sweep. unreadable: with missing or damaged files.
    """
    reason: str = ""
    """The error of a failed or unreadable run, the user of a run in use, or how to
    bring back a run that was being replaced.
    """
    metrics: Mapping[str, float] = {}
    """The results and the duration of the training, by the names in METRIC_COLUMNS. An
    unfinished run has the results of its last report, of those with results on held-out
    samples if there are any. Several outputs have different units, and no common error.
    """
    date: dt.datetime | None = None
    """The time when the last record was written."""


def as_record(row: Row) -> dict[str, Any]:
    """Return a row as JSON data."""
    date = None
    if row.date:
        date = row.date.isoformat(timespec="seconds")
    return {
        "name": row.name,
        "folder": str(row.folder),
        "settings": dict(row.settings),
        "state": row.state,
        "reason": row.reason,
        **{name: row.metrics.get(name) for name in METRIC_COLUMNS},
        "date": date,
    }


def find_runs(folders: Sequence[Path]) -> list[Row]:
    """Return a row for each run in some folders.

    Each folder is a run, a sweep, or a folder with runs and sweeps. A folder given
    twice counts once. A damaged run has a row with its reason.

    Raises:
        RunError: A folder has no run.
        FileError: A folder cannot be read.
    """
    rows: dict[Path, Row] = {}
    for folder in folders:
        found = _rows_of(folder)
        if not found and folder.is_dir():
            with file_errors(folder, "read"):
                inside = sorted(folder.iterdir())
            found = [row for each in inside for row in _rows_of(each)]
        if not found:
            fault = "contains no runs" if folder.exists() else "no such folder"
            remedy = "give a training run, or a folder of runs"
            raise RunError(fault, file=folder, remedy=remedy)
        rows |= {row.folder.resolve(): row for row in found}
    return list(rows.values())


def _rows_of(folder: Path) -> list[Row]:
    """Return the rows of a sweep or of a run, or none for another folder."""
    sweep, run = SweepFolder(folder), RunFolder(folder)
    if sweep.exists():
        try:
            rows, _ = sweep_rows(sweep)
        except MlpXpError as error:
            return [Row(folder.name, folder, {}, UNREADABLE, str(error))]
        return rows
    if run.exists():
        row = read_row(run)
        if row.state != UNREADABLE or run.exists():  # else it was deleted meanwhile
            return [row]
    return []


def read_row(run: RunFolder) -> Row:
    """Return a run's row. A missing or damaged run has the error as its reason.

    Another process may write, replace or delete the run meanwhile.
    """
    folder = run.path
    row = Row(folder.resolve().name, folder, {}, INTERRUPTED)
    # The holder is read before the result. If the run ends in between, the holder is
    # out of date, but the result is there and decides.
    user = run.holder()
    if user:
        row = row._replace(state=IN_USE, reason=f"in use by {user}")
    try:
        row = row._replace(settings=_plain(flatten(run.settings())))
        result = run.result()
        reports = [result] if result else run.reports()
        outputs = run.record()["signature"]["outputs"]
    except MlpXpError as error:
        if user:  # which replaces the run
            return row
        if run.is_being_replaced():
            error.file = None  # the row has the folder
            return row._replace(reason=str(error))
        return row._replace(state=UNREADABLE, reason=str(error))
    row = row._replace(metrics=_metrics_of(reports, outputs), date=_date_of(folder))
    if result:
        # Even if somebody seems to hold the folder: perhaps a killed process elsewhere.
        return row._replace(state=FINISHED, reason="")
    return row


def _metrics_of(
    reports: Sequence[dict[str, Any]], outputs: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of a row from the reports of a run with these outputs."""
    # A report soon after the end of an epoch has the training loss of few samples.
    at_ends = [each for each in reports if each.get("validation_loss") is not None]
    last = (at_ends or reports or [{}])[-1]
    metrics = {}
    for column, metric in METRIC_COLUMNS.items():
        if last.get(metric.name) is not None:
            metrics[column] = last[metric.name]
    if len(outputs) > 1:
        metrics.pop("test_rmse", None)
    return metrics


def _date_of(folder: Path) -> dt.datetime | None:
    """Return the time of the last record, or None if the run was deleted meanwhile."""
    for name in (RESULT, METRICS, CONFIG):
        with suppress(FileNotFoundError):
            seconds = (folder / name).stat().st_mtime
            return dt.datetime.fromtimestamp(seconds).astimezone()
    return None


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings, with the name of your own data as dataset.

    The test set of a cross-validation is a fold, not a fraction.
    """
    if settings["cv"]:
        settings = {**settings, "test_fraction": None}
    if settings["data_dir"]:
        return {**settings, "dataset": Path(settings["data_dir"]).name}
    return settings


def sweep_rows(sweep: SweepFolder) -> tuple[list[Row], list[str]]:
    """Return a row for each member of a sweep, and the names of varying settings.

    Members without a run have a row too. The rows are in the order of the sweep, the
    settings in the order of the command line.

    Raises:
        MlpXpError: The index of the sweep is missing or damaged.
    """
    index = sweep.read()
    common = flatten(index.base)
    failures = sweep.failures()
    rows = []
    for member in index.members:
        name, settings = member
        run = sweep.run(name)
        row = Row(name, run.path, {}, NOT_RUN)
        if run.exists():
            row = read_row(run)
        if row.state == FINISHED:
            try:
                sweep.check_member(member)
            except RunError as error:
                row = row._replace(state=UNREADABLE, reason=str(error), metrics={})
        if not row.settings:
            row = row._replace(settings=_plain({**common, **settings}))
        if name in failures and row.state not in (FINISHED, IN_USE):
            row = row._replace(state=FAILED, reason=failures[name]["reason"])
        rows.append(row)
    varied = {name for _, settings in index.members for name in settings}
    return rows, [name for name in SETTINGS if name in varied]


def differing(rows: Sequence[Row]) -> list[str]:
    """Return the settings in which rows differ, in the order of the command line.

    The path of the data is left out if the names tell the data apart.
    """
    known = [row.settings for row in rows]
    found = []
    for name in SETTINGS:
        values = {json.dumps(each[name]) for each in known if name in each}
        if len(values) > 1:
            found.append(name)
    names = {each.get("dataset") for each in known}
    data = {tuple(map(each.get, DATA)) for each in known}
    if "data_dir" in found and len(names) == len(data):
        found.remove("data_dir")
    return found


def labels(rows: Sequence[Row]) -> list[str]:
    """Return a label for each row, such as `learning rate 0.1, seed 3`.

    A label has the settings in which the rows differ. If a label is empty or not
    unique, the path of the folder is added.
    """
    names = differing(rows)
    found = [
        described({name: row.settings[name] for name in names if name in row.settings})
        for row in rows
    ]
    unique = []
    for label, row in zip(found, rows, strict=True):
        if not label:
            label = str(row.folder)
        elif found.count(label) > 1:
            label = f"{label} ({row.folder})"
        unique.append(label)
    return unique


def value_of(row: Row, column: str) -> Any:
    """Return the value of a setting, or of one of COLUMNS. None if the row has none."""
    return _fields(row).get(column)


def _fields(row: Row) -> dict[str, Any]:
    fields = {"name": row.name, "state": row.state, "date": row.date}
    return {**row.settings, **row.metrics, **fields}


def check_column(name: str, option: str) -> str:
    """Return the name of a setting or column, with `_` for `-`.

    Messages name the option.

    Raises:
        MlpXpError: The name is unknown, or is a metric of the test set, because no run
            should be chosen by it.
    """
    column = name.replace("-", "_")
    of_test_set: set[str] = set()
    for metric in METRIC_COLUMNS.values():
        if metric.part == "test":
            of_test_set |= {metric.column, metric.name}
    if column in of_test_set:
        raise MlpXpError(
            f"{column}: chosen as the best on the test set, "
            "a run looks better there than on new data",
            remedy=(
                "hold out samples with ",
                Argument("validation"),
                f" and use {' or '.join(HELD_OUT)}",
            ),
            setting=option,
        )
    known = [each for each in (*COLUMNS, *SETTINGS) if each not in of_test_set]
    if column not in known:
        fault = f"{name!r:.80} is not a column{nearest(column, known)}"
        remedy = f"choose one of {', '.join(known)}"
        raise MlpXpError(fault, remedy=remedy, setting=option)
    return column


def sort_rows(rows: Sequence[Row], column: str) -> list[Row]:
    """Return rows sorted by a column, from the highest score or the lowest other value.

    Rows without a value come last. Rows with equal values keep their order.

    Raises:
        MlpXpError: As for `check_column`.
    """
    column = check_column(column, "sort")
    present = [row for row in rows if value_of(row, column) is not None]
    missing = [row for row in rows if value_of(row, column) is None]
    is_score = column in METRIC_COLUMNS and METRIC_COLUMNS[column].high
    present.sort(key=lambda row: value_of(row, column), reverse=is_score)
    return present + missing


def select_rows(rows: Sequence[Row], filters: Iterable[str]) -> list[Row]:
    """Return the rows that pass all filters.

    A filter is a setting with its value, as on the command line, or a state:
    `optimizer=adam`, `hidden=512,256`, `state=finished`. The word `none` stands for no
    value.

    Raises:
        MlpXpError: A filter is invalid.
    """
    wanted = dict(map(_filter, filters))
    return [row for row in rows if wanted.items() <= _fields(row).items()]


def _filter(text: str) -> tuple[str, Any]:
    """Return the name and the value of a filter."""
    name, _, word = text.partition("=")
    name = name.strip().replace("-", "_")
    word = word.strip()
    if not word:
        fault = f"{text!r:.80} is not a setting with its value"
        remedy = "give one such as optimizer=adam"
        raise MlpXpError(fault, remedy=remedy, setting="where")
    if name == "state":
        check_choice("where", word, STATES)
        return name, word
    check_choice("where", name, SETTINGS)
    if word == "none":
        return name, None
    return name, parse(SETTINGS[name], word)
