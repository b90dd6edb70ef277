"""Several runs as the rows of a table: their settings, results and states, and what
tells them apart.
"""

import datetime as dt
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp.errors import Argument, MlpXpError, nearest
from mlp_xp.files import file_errors
from mlp_xp.runs.names import CONFIG, METRICS, RESULT
from mlp_xp.runs.records import FIGURES, HELD_OUT, RunError
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.settings import SETTINGS, described, flatten, shown
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, INTERRUPTED, SweepFolder

IN_USE, NOT_RUN, UNREADABLE = "in use", "not run", "unreadable"
COLUMNS = ("name", "state", *FIGURES, "date")
DATA = ("dataset", "data_dir")
COMPARISONS = {
    "!=": "ne",
    "<=": "le",
    ">=": "ge",
    "==": "eq",
    "=": "eq",
    "<": "lt",
    ">": "gt",
}
_CONDITION = re.compile(
    rf"\s*([A-Za-z_-]+)\s*({'|'.join(COMPARISONS)})\s*(.*?)\s*", re.DOTALL
)


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
    """finished: with a result; interrupted: without a result, but perhaps with reports;
    in use: a process trains it; failed or not run: a member of a sweep; unreadable:
    missing or damaged files.
    """
    reason: str = ""
    """The error of a failed or unreadable run, or who uses a run in use."""
    figures: Mapping[str, float] = {}
    """The results, by the names in FIGURES, and how long the training took. An
    unfinished run has those of its last report.
    """
    date: dt.datetime | None = None
    """When the last record was written."""


def as_record(row: Row) -> dict[str, Any]:
    """Return a row as JSON data."""
    figures = {name: row.figures.get(name) for name in FIGURES}
    record = {
        "name": row.name,
        "folder": str(row.folder),
        "settings": dict(row.settings),
        "state": row.state,
    }
    return {
        **record,
        "reason": row.reason,
        **figures,
        "date": row.date and row.date.isoformat(timespec="seconds"),
    }


def find_runs(folders: Sequence[Path]) -> list[Row]:
    """Return a row for each run in some folders, each a run, a sweep, or a folder that
    contains such folders.

    A folder that is given twice counts once. A damaged run is a row with its reason.
    Raises RunError for a folder without a run, and FileError.
    """
    rows: dict[Path, Row] = {}
    for folder in folders:
        is_one = (
            RunFolder(folder).exists()
            or SweepFolder(folder).exists()
            or not folder.is_dir()
        )
        with file_errors(folder, "read"):
            inside = [folder] if is_one else sorted(folder.iterdir())
        found = [row for each in inside for row in _rows_of(each)]
        if not found:
            fault = "contains no runs" if folder.exists() else "no such folder"
            raise RunError(
                fault, file=folder, remedy="give a training run, or a folder of runs"
            )
        rows |= {row.folder.resolve(): row for row in found}
    return [*rows.values()]


def _rows_of(folder: Path) -> list[Row]:
    sweep, run = SweepFolder(folder), RunFolder(folder)
    if sweep.exists():
        try:
            return sweep_rows(sweep)[0]
        except MlpXpError as error:
            return [Row(folder.name, folder, {}, UNREADABLE, str(error))]
    return [read_row(run)] if run.exists() else []


def read_row(run: RunFolder, name: str | None = None) -> Row:
    """Return a run's row. A run that is missing or damaged is a row too, with the error
    as its reason.
    """
    folder = run.path
    row = Row(folder.resolve().name if name is None else name, folder, {}, UNREADABLE)
    try:
        row = row._replace(settings=_plain(flatten(run.settings())))
        result = run.result()
        report = result or next(iter(run.reports()[-1:]), {})
    except MlpXpError as error:
        return row._replace(reason=str(error))
    figures = {
        name: report[each.name]
        for name, each in FIGURES.items()
        if report.get(each.name) is not None
    }
    written = next(
        path
        for path in (folder / RESULT, folder / METRICS, folder / CONFIG)
        if path.exists()
    )
    date = dt.datetime.fromtimestamp(written.stat().st_mtime).astimezone()
    # A run with a result is finished, whoever holds the folder: perhaps a process of
    # another host that was killed.
    user = None if result else run.holder()
    state = FINISHED if result else IN_USE if user else INTERRUPTED
    return row._replace(
        state=state,
        reason=f"in use by {user}" if user else "",
        figures=figures,
        date=date,
    )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Return flat settings as JSON has them, with the name of your own data as their
    dataset.
    """
    name = (
        {"dataset": Path(settings["data_dir"]).name} if settings.get("data_dir") else {}
    )
    return {
        name: [*value] if isinstance(value, tuple) else value
        for name, value in (settings | name).items()
    }


def sweep_rows(sweep: SweepFolder) -> tuple[list[Row], list[str]]:
    """Return a row for each member of a sweep, whether it has run or not, and the
    settings that vary.

    The rows are in the sweep's order, the settings in that of the command line. Raises
    MlpXpError.
    """
    index = sweep.read()
    common = flatten(index.base)
    failures = sweep.failures()
    rows = []
    for name, settings in index.members:
        run = sweep.run(name)
        row = read_row(run, name) if run.exists() else Row(name, run.path, {}, NOT_RUN)
        if not row.settings:
            row = row._replace(settings=_plain({**common, **settings}))
        if name in failures and row.state not in (FINISHED, IN_USE):
            row = row._replace(state=FAILED, reason=failures[name]["reason"])
        rows.append(row)
    varied = {name for _, settings in index.members for name in settings}
    return rows, [name for name in SETTINGS if name in varied]


def differing(rows: Sequence[Row]) -> list[str]:
    """Return the settings in which rows differ, in the order of the command line.

    The path of the data is not among them where the names of the data tell them apart.
    """
    known = [row.settings for row in rows]
    found = [
        name
        for name in SETTINGS
        if len({json.dumps(each[name]) for each in known if name in each}) > 1
    ]
    names, both = (
        {tuple(map(each.get, keys)) for each in known} for keys in (DATA[:1], DATA)
    )
    return [name for name in found if name != "data_dir" or len(names) < len(both)]


def labels(rows: Sequence[Row]) -> list[str]:
    """Return a name for each row: the settings in which it differs, as in `learning
    rate 0.1, seed 3`.

    Where this does not tell rows apart, the path of the folder is added.
    """
    names = differing(rows)
    found = [
        described({name: row.settings[name] for name in names if name in row.settings})
        for row in rows
    ]
    return [
        f"{label} ({row.folder})"
        if label and found.count(label) > 1
        else label or str(row.folder)
        for label, row in zip(found, rows, strict=True)
    ]


def value_of(row: Row, column: str) -> Any:
    """Return the value of a setting or of one of COLUMNS; None where the row has none."""
    fields = {
        **row.settings,
        **row.figures,
        "name": row.name,
        "state": row.state,
        "date": row.date,
    }
    return fields.get(column)


def check_column(name: str, option: str) -> str:
    """Return the name of a setting or column, with `_` for `-`. option: for errors.

    Raises MlpXpError for an unknown one, and for results on the test set, by which runs
    are never chosen.
    """
    column = name.strip().replace("-", "_").lower()
    of_test_set = {
        each
        for name, figure in FIGURES.items()
        if figure.part == "test"
        for each in (name, figure.name)
    }
    known = [each for each in (*COLUMNS, *SETTINGS) if each not in of_test_set]
    if column in of_test_set:
        raise MlpXpError(
            f"{column}: chosen as the best on the test set, a run looks better there than on new data",
            remedy=(
                "hold out samples with ",
                Argument("validation"),
                f" and use {' or '.join(HELD_OUT)}",
            ),
            setting=option,
        )
    if column not in known:
        remedy = f"choose one of {', '.join(known)}"
        raise MlpXpError(
            f"{name!r:.80} is not a column{nearest(column, known)}",
            remedy=remedy,
            setting=option,
        )
    return column


def sort_rows(rows: Sequence[Row], column: str) -> list[Row]:
    """Return rows sorted by a setting or column: accuracies from the highest, all else
    from the lowest.

    Rows without a value come last; rows with equal values keep their order. Raises what
    `check_column` raises.
    """
    column = check_column(column, "sort")
    present = [row for row in rows if value_of(row, column) is not None]
    ordered = sorted(
        present,
        key=lambda row: value_of(row, column),
        reverse=column in FIGURES and FIGURES[column].high,
    )
    return [*ordered, *(row for row in rows if value_of(row, column) is None)]


def select_rows(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """Return the rows that meet all conditions, such as `optimizer=adam`,
    `learning_rate<0.1`, `hidden=512,256`.

    A row without a value meets only `!=`. Raises MlpXpError for an invalid condition.
    """
    tests = [_condition(text) for text in conditions]
    return [row for row in rows if all(test(row) for test in tests)]


def _condition(text: str) -> Callable[[Row], bool]:
    found = _CONDITION.fullmatch(text)
    if not found or not found[3]:
        remedy = 'give one such as optimizer=adam or "learning_rate<0.1"'
        raise MlpXpError(
            f"{text!r:.80} is not a condition", remedy=remedy, setting="where"
        )
    column, comparison, word = (
        check_column(found[1], "where"),
        COMPARISONS[found[2]],
        found[3],
    )
    is_number = column in FIGURES or (
        column in SETTINGS and SETTINGS[column].kind in (int, float)
    )
    if not is_number and column != "date" and comparison not in ("eq", "ne"):
        raise MlpXpError(
            f"{text!r:.80}: {column} is not a number; compare it by = or !=",
            setting="where",
        )
    try:
        wanted: Any = float(word) if is_number and word != "none" else word
    except ValueError as error:
        raise MlpXpError(
            f"{text!r:.80}: {word!r:.60} is not a number", setting="where"
        ) from error

    def test(row: Row) -> bool:
        value = value_of(row, column)
        if value is None or word == "none":
            return comparison == ("eq" if value is None and word == "none" else "ne")
        return bool(
            getattr(operator, comparison)(value if is_number else shown(value), wanted)
        )

    return test
