"""Compare runs in a table: `mlp-xp runs FOLDER ...`.

The table has the settings in which the runs differ, their results, times and dates.
With --summary it has one row per combination, over all seeds and folds.
"""

from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.commands._summary import head, show_summary
from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import print_errors
from mlp_xp.errors import escaped
from mlp_xp.runs.records import METRIC_COLUMNS
from mlp_xp.runs.settings import shown
from mlp_xp.runs.sweep_folder import FINISHED
from mlp_xp.runs.table import (
    UNREADABLE,
    Row,
    as_record,
    check_column,
    differing,
    find_runs,
    select_rows,
    sort_rows,
    value_of,
)
from mlp_xp.show.console import plain_console, print_csv, print_table, say
from mlp_xp.show.numbers import metric_text
from mlp_xp.sweeps.plan import REPEATS
from mlp_xp.sweeps.summary import Summary, as_csv, as_json, summarise
from mlp_xp.system import command_line

_DEFAULT = Path("runs")


def runs(
    *folders: Path,
    sort: str | None = None,
    where: tuple[str, ...] = (),
    summary: bool = False,
    json: bool = False,
    csv: bool = False,
) -> int:
    """Compare runs in a table.

    The table has the settings in which the runs differ, their results, times and dates.
    If a run cannot be read, the others are shown, and the exit code is 1.

        mlp-xp runs
        mlp-xp runs sweeps/one --sort validation_accuracy
        mlp-xp runs --where optimizer=adam state=finished --summary

    Args:
        folders: Training runs, sweeps, or folders of them. By default runs.
        sort: Sort by this column or setting, such as validation_accuracy, train_loss,
            seconds, date or learning_rate. Results on the test set are refused, because
            no run should be chosen by them.
        where: Show only runs with all these settings, such as optimizer=adam, or with
            a state, such as state=finished.
        summary: Show one row for each combination of settings: the mean and the
            standard deviation over its seeds and folds.
        json: Print JSON, with all settings.
        csv: Print CSV.
    """
    only_one(json=json, csv=csv)
    # combinations are ranked by their held-out samples
    only_one(summary=summary, sort=sort)
    column = check_column(sort, "sort") if sort else ""
    select_rows([], where)  # a wrong filter is found before any run is read
    found = find_runs(folders or (_DEFAULT,))
    faults = [row.reason for row in found if row.state == UNREADABLE]
    rows = select_rows(found, where)
    if summary:
        _print_summary(summarise(rows), json=json, csv=csv)
    else:
        if column:
            rows = sort_rows(rows, column)
        _print_runs(rows, json=json, csv=csv)
    return print_errors(faults)


def _print_runs(rows: Sequence[Row], *, json: bool, csv: bool) -> None:
    if json:
        print(dumps([as_record(row) for row in rows], indent=2))
    elif csv:
        print_csv(_csv_lines(rows))
    elif rows:
        _show_runs(rows, plain_console())
    else:
        say(plain_console(), "no runs")


def _print_summary(summary: Summary, *, json: bool, csv: bool) -> None:
    if json:
        print(dumps(as_json(summary), indent=2))
    elif csv:
        print(as_csv(summary), end="")
    elif summary.groups:
        show_summary(summary, plain_console())
    else:
        say(plain_console(), "no runs")


def _csv_lines(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield a header, then a line for each run with its numbers in full precision."""
    names = [
        "name",
        "folder",
        "state",
        *differing(rows),
        *METRIC_COLUMNS,
        "date",
        "reason",
    ]
    yield names
    for row in rows:
        settings = {name: shown(value) for name, value in row.settings.items()}
        record = settings | as_record(row)
        cells = []
        for name in names:
            value = record.get(name)
            cells.append("" if value is None else escaped(str(value)))
        yield cells


def _show_runs(rows: Sequence[Row], console: Console) -> None:
    """Print runs as a table, the most important columns first."""
    metrics = [
        name for name in METRIC_COLUMNS if any(name in row.metrics for row in rows)
    ]
    columns = ["name"]
    if any(row.state != FINISHED for row in rows):
        columns.append("state")
    scores = [name for name in metrics if METRIC_COLUMNS[name].high]
    varied = differing(rows)
    if "fold" in varied and set(varied) <= set(REPEATS):
        # folds are not chosen by their held-out samples
        scores.sort(key=lambda name: METRIC_COLUMNS[name].part != "test")
    columns += scores + varied
    columns += [name for name in metrics if not METRIC_COLUMNS[name].high]
    columns.append("date")
    heads = [head(column) for column in columns]
    cells = [[_cell(row, column) for column in columns] for row in rows]
    print_table(heads, cells, console)
    if any(row.state != FINISHED and row.metrics for row in rows):
        say(
            console,
            "unfinished runs: results of the last report; evaluate uses the checkpoint",
        )
    for row in rows:
        if row.reason and row.state != UNREADABLE:  # these are printed as errors
            say(console, f"{row.folder}: {row.reason}")


def _cell(row: Row, column: str) -> str:
    if column == "name":
        return command_line([str(row.folder)])  # to be pasted
    value = value_of(row, column)
    if column in row.settings:
        return shown(value)
    if column in METRIC_COLUMNS:
        return metric_text(column, value)
    if value is None:
        return ""
    if column == "date":
        return f"{value:%Y-%m-%d %H:%M}"
    return str(value)
