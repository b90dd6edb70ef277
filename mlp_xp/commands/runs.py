"""Compare runs in a table: `python scripts/runs.py [FOLDER ...]`.

The table has the settings in which the runs differ, their results, times and dates.
With --summary it has one row per combination, over all seeds and folds.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import print_errors
from mlp_xp.errors import escaped
from mlp_xp.runs.records import HELD_OUT, METRIC_COLUMNS
from mlp_xp.runs.settings import shown, words
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
from mlp_xp.sweeps.summary import Group, Summary, as_csv, as_json, summarise
from mlp_xp.system import command_line

_DEFAULT = Path("runs")
_HEADS = {"name": "run"} | {name: each.head for name, each in METRIC_COLUMNS.items()}


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

    ```
    mlp-xp runs
    mlp-xp runs sweeps/one --sort validation_accuracy
    mlp-xp runs --where optimizer=adam "learning_rate<0.1" --summary
    ```

    Args:
        folders: Training runs, sweeps, or folders of them. By default runs.
        sort: Sort by this column or setting, such as validation_accuracy, train_loss,
            seconds, date or learning_rate. Results on the test set are refused, because
            no run should be chosen by them.
        where: Show only runs that meet all these conditions, such as optimizer=adam
            "learning_rate<0.1" state=finished.
        summary: Show one row for each combination of settings: the mean and the
            standard deviation over its seeds and folds.
        json: Print JSON, with all settings.
        csv: Print CSV.
    """
    only_one(json=json, csv=csv)
    # combinations are ranked by their held-out samples
    only_one(summary=summary, sort=sort)
    column = check_column(sort, "sort") if sort else ""
    select_rows([], where)  # a wrong condition is found before any run is read
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
    """Print runs as a table, the most important columns first.

    The columns that do not fit are left out.
    """
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
    heads = [_head(column) for column in columns]
    cells = [[_cell(row, column) for column in columns] for row in rows]
    print_table(heads, cells, console)
    if any(row.state != FINISHED and row.metrics for row in rows):
        say(
            console,
            "unfinished runs: results of the last report; evaluate uses the checkpoint",
        )
    for row in rows:
        if row.reason and row.state != UNREADABLE:  # the command prints those as errors
            say(console, f"{row.folder}: {row.reason}")


def _head(column: str) -> str:
    """Return the head of a column of a table of runs."""
    return _HEADS.get(column, words(column))


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


def show_summary(summary: Summary, console: Console) -> None:
    """Print the settings of a summary as a table, then results on the test set.

    The results on the test set are those of the best combination, or of each
    combination if none is the best.
    """
    columns = _summary_columns(summary)
    heads = [_head(column) for column in columns]
    print_table(heads, zip(*columns.values(), strict=True), console)
    note = summary.note
    if _is_cross_validation(summary) and len(summary.groups) == 1:
        note = (
            "mean ± standard deviation over the runs, each tested on a fold that it\n"
        )
        note += "has not seen; nothing was chosen by the test results"
    say(console, f"\n{note}")
    if _is_cross_validation(summary) and columns.keys() & set(HELD_OUT):
        reason = "held-out samples chose the epoch of each network"
        say(console, f"{reason}; results on them are optimistic")
    states = Counter(row.state for row in summary.rows)
    if states.keys() != {FINISHED}:
        counted = ", ".join(f"{number} {state}" for state, number in states.items())
        say(console, f"{counted}; only finished runs count")
    for group in summary.groups:
        tested = [name for name in group.metrics if name.startswith("test")]
        if not tested:
            continue
        results = [f"{_head(name)} {_spread(name, group)}" for name in tested]
        line = f"{group.name}: {', '.join(results)}"
        if summary.ranked:
            line = f"best: {line}"
        say(console, line)


def _summary_columns(summary: Summary) -> dict[str, list[str]]:
    """Return the columns of a summary's table that have at least one entry."""
    groups = summary.groups
    settings = groups[0].settings
    known = {name for group in groups for name in group.metrics}
    tests = "test_accuracy", "test_r2"
    tested: list[str] = [name for name in tests if name in known]
    held_out = [name for name in HELD_OUT if name in known]
    if _is_cross_validation(summary):
        scores = tested + held_out  # the result of a cross-validation comes first
    else:
        scores = held_out or tested
    columns = {}
    if summary.ranked:
        columns["rank"] = [str(group.rank or "-") for group in groups]
    for score in scores:
        columns[score] = [_spread(score, group) for group in groups]
    columns["runs"] = [str(group.finished) for group in groups]
    for name in settings:
        columns[name] = [shown(group.settings[name]) for group in groups]
    if not settings:
        columns["combination"] = [group.name for group in groups]
    columns["train_loss"] = [_spread("train_loss", group) for group in groups]
    return {name: cells for name, cells in columns.items() if any(cells)}


def _is_cross_validation(summary: Summary) -> bool:
    """Return whether nothing is chosen among the runs, which are folds."""
    return not summary.ranked and "fold" in summary.varied


def _spread(metric: str, group: Group) -> str:
    """Return the mean of a metric and its standard deviation, as in `97.37 ± 0.23`.

    Both are over the runs of a combination.
    """
    spread = group.metrics.get(metric, ())
    return " ± ".join(metric_text(metric, each) for each in spread if each is not None)
