"""Compare runs in a table: `python scripts/runs.py [FOLDER ...]`.

The table has the settings in which the runs differ, their results, times and dates.
With --summary it has one row per setting, over all seeds.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import end_with
from mlp_xp.errors import escaped
from mlp_xp.runs.records import FIGURES
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
from mlp_xp.show.numbers import figure
from mlp_xp.sweeps.summary import Group, Summary, as_csv, as_json, summarise
from mlp_xp.system import command_line

_DEFAULT = Path("runs")
HEADS = {"name": "run"} | {name: each.head for name, each in FIGURES.items()}


def runs(
    *folders: Path,
    sort: str | None = None,
    where: tuple[str, ...] = (),
    summary: bool = False,
    json: bool = False,
    csv: bool = False,
) -> int:
    """Compare runs in a table: the settings in which they differ, their results, times
    and dates.

    The exit code is 1 if a run cannot be read; the others are in the table.

    Args:
        folders: Training runs, sweeps, or folders of them. By default runs.
        sort: Sort by this column or setting, such as validation_accuracy, train_loss,
            seconds, date or learning_rate. Results on the test set are refused, because
            no run should be chosen by them.
        where: Show only runs that meet all these conditions, such as optimizer=adam
            "learning_rate<0.1" state=finished.
        summary: Show one row per setting: the mean and the standard deviation over its
            seeds and folds.
        json: Print JSON, with all settings.
        csv: Print CSV.
    """
    only_one(json=json, csv=csv)
    # settings are ranked by their held-out samples
    only_one(summary=summary, sort=sort)
    column = check_column(sort, "sort") if sort else ""
    select_rows([], where)  # a wrong condition is found before any run is read
    found = find_runs(folders or (_DEFAULT,))
    faults = [row.reason for row in found if row.state == UNREADABLE]
    rows, console = select_rows(found, where), plain_console()
    rows = sort_rows(rows, column) if column else rows
    whole = summarise(rows) if summary else None
    if json:
        print(
            dumps(
                as_json(whole) if whole else [as_record(row) for row in rows], indent=2
            )
        )
    elif csv:
        print(as_csv(whole), end="") if whole else print_csv(_csv_lines(rows))
    elif not (whole.groups if whole else rows):
        say(console, "no runs")
    elif whole:
        show_summary(whole, console)
    else:
        _show_runs(rows, console)
    return end_with(faults)


def _csv_lines(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield the lines of a table as CSV: a header, then one for each run, its numbers
    in full precision.
    """
    names = ["name", "folder", "state", *differing(rows), *FIGURES, "date", "reason"]
    yield names
    for row in rows:
        record = {
            name: shown(value) for name, value in row.settings.items()
        } | as_record(row)
        yield [
            "" if record.get(name) is None else escaped(str(record[name]))
            for name in names
        ]


def _show_runs(rows: Sequence[Row], console: Console) -> None:
    """Print runs as a table, with the most important columns first: those that do not
    fit are left out.
    """
    settings = differing(rows)
    states = ["state"] if any(row.state != FINISHED for row in rows) else []
    figures = [name for name in FIGURES if any(name in row.figures for row in rows)]
    scores = [name for name in figures if FIGURES[name].high]
    names = [
        "name",
        *states,
        *scores,
        *settings,
        *(name for name in figures if name not in scores),
        "date",
    ]
    print_table(
        map(head, names),
        ([_cell(row, name) for name in names] for row in rows),
        console,
    )
    if any(row.state != FINISHED and row.figures for row in rows):
        say(
            console,
            "unfinished runs: results of the last report; evaluate uses the checkpoint",
        )
    for row in rows:
        if row.reason and row.state != UNREADABLE:  # the command prints those as errors
            say(console, f"{row.folder}: {row.reason}")


def head(column: str) -> str:
    """Return the head of a column of a table of runs."""
    return HEADS.get(column, words(column))


def _cell(row: Row, column: str) -> str:
    if column == "name":
        return command_line([str(row.folder)])  # to be pasted
    value = value_of(row, column)
    if column in row.settings:
        return shown(value)
    if column in FIGURES:
        return figure(column, value)
    return (
        ""
        if value is None
        else f"{value:%Y-%m-%d %H:%M}"
        if column == "date"
        else value
    )


def show_summary(summary: Summary, console: Console) -> None:
    """Print the settings of a summary as a table, and what the best one, or each if
    none is, does on the test set.
    """
    groups = summary.groups
    names = [*groups[0].settings]
    quantities = [summary.score, summary.test_score]
    if not summary.ranked and "fold" in summary.varied:
        quantities.reverse()  # the result of a cross-validation comes first
    elif any(summary.score in each.results for each in groups):
        quantities.pop()
    columns = {
        "rank": [str(each.rank or "-") for each in groups] if summary.ranked else [],
        **{name: [_spread(name, each) for each in groups] for name in quantities},
        "runs": [str(each.finished) for each in groups],
        **{name: [shown(each.settings[name]) for each in groups] for name in names},
        "setting": [] if names else [each.name for each in groups],
        "train_loss": [_spread("train_loss", each) for each in groups],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    print_table(map(head, columns), zip(*columns.values(), strict=True), console)
    say(console, f"\n{summary.note}")
    if quantities == [summary.test_score, summary.score] and summary.score in columns:
        say(
            console,
            "held-out samples chose the epoch of each network: their figures flatter it",
        )
    states = Counter(row.state for row in summary.rows)
    if {*states} - {FINISHED}:
        say(
            console,
            f"{', '.join(f'{number} {state}' for state, number in states.items())}; only finished runs count",
        )
    for group in groups:
        if summary.test_score in group.results:
            said = [
                f"{head(name)} {_spread(name, group)}"
                for name in group.results
                if name.startswith("test")
            ]
            say(console, f"{'best: ' * summary.ranked}{group.name}: {', '.join(said)}")


def _spread(quantity: str, group: Group) -> str:
    """Return the mean of a figure over the runs of a setting and its standard
    deviation, as in `97.37 ± 0.23`.
    """
    return " ± ".join(
        figure(quantity, each)
        for each in group.results.get(quantity, ())
        if each is not None
    )
