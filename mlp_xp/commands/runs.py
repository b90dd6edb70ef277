"""Compare runs in a table: `python scripts/runs.py [FOLDER ...]`.

The table has the settings in which the runs differ, their results, times and dates. With --summary it has one row per
setting, over all seeds.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console

from mlp_xp.commands.options import only_one
from mlp_xp.commands.process import end_with
from mlp_xp.commands.tables import Column, print_csv, print_squeezed
from mlp_xp.errors import escaped
from mlp_xp.runs.sweep_index import FAILED, FINISHED
from mlp_xp.runs.table import (
    FIGURES,
    UNREADABLE,
    Row,
    check_column,
    differing,
    find_runs,
    select_rows,
    shown,
    sort_rows,
    value_of,
    words,
)
from mlp_xp.show.numbers import figure
from mlp_xp.show.terminal import say
from mlp_xp.show.width import plain_console
from mlp_xp.sweeps.summary import Group, Spread, Summary, as_csv, as_json, summarise

DEFAULT = Path("runs")
HEADS = {
    "name": "run",
    "validation_accuracy": "held out %",
    "validation_r2": "held out R²",
    "test_accuracy": "test %",
    "test_r2": "test R²",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "seconds": "time (s)",
}
# The columns that are left out first where the terminal is too narrow; settings come last, because they vary.
SPARED = ("date", "test_rmse", "test_loss", "train_loss", "seconds")
LEFT = ("name", "state", "date")


def runs(
    *folders: Path,
    sort: str | None = None,
    where: tuple[str, ...] = (),
    summary: bool = False,
    json: bool = False,
    csv: bool = False,
) -> int:
    """Compare runs in a table: the settings in which they differ, their results, times and dates.

    The exit code is 1 if a run cannot be read; the others are in the table.

    Args:
        folders: Training runs, sweeps, or folders of them. By default runs.
        sort: Sort by this column or setting, such as validation_accuracy, train_loss, seconds, date or learning_rate.
            Results on the test set are refused, because no run should be chosen by them.
        where: Show only runs that meet all these conditions, such as optimizer=adam 'learning_rate<0.1' state=finished.
        summary: Show one row per setting: the mean and the standard deviation over its seeds.
        json: Print JSON, with all settings.
        csv: Print CSV.
    """
    only_one(json=json, csv=csv)
    only_one(summary=summary, sort=sort)  # settings are ranked by their held-out samples
    column = check_column(sort, "sort") if sort else ""
    select_rows([], where)  # a wrong condition is found before any run is read
    found = find_runs(folders or (DEFAULT,))
    faults = [row.reason for row in found if row.state == UNREADABLE]
    rows, console = select_rows(found, where), plain_console()
    rows = sort_rows(rows, column) if column else rows
    whole = summarise(rows) if summary else None
    if json:
        print(dumps(as_json(whole) if whole else [as_record(row) for row in rows], indent=2))
    elif csv:
        print(as_csv(whole), end="") if whole else print_csv(csv_lines(rows))
    elif whole:
        show_summary(whole, console)
    elif rows:
        show_runs(rows, console, column)
        if column and all(value_of(row, column) is None for row in rows):
            say(console, f"not sorted: no run has a {words(column)}")
    else:
        say(console, f"none of {len(found)} runs meets the conditions" if found else "no runs")
    return end_with(faults)


def as_record(row: Row) -> dict[str, Any]:
    """Return a row as JSON data."""
    figures = {name: row.figures.get(name) for name in FIGURES}
    record = {"name": row.name, "folder": str(row.folder), "settings": dict(row.settings), "state": row.state}
    return {**record, "reason": row.reason, **figures, "date": row.date and row.date.isoformat(timespec="seconds")}


def csv_lines(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield the lines of a table as CSV: a header, then one for each run, its numbers in full precision."""
    names = differing(rows)
    yield ["name", "folder", "state", *names, *FIGURES, "date", "reason"]
    for row in rows:
        record = as_record(row)
        settings = [shown(row.settings[name]) if name in row.settings else "" for name in names]
        others = [record[name] for name in (*FIGURES, "date", "reason")]
        cells = [row.name, record["folder"], row.state, *settings, *others]
        yield ["" if cell is None else escaped(str(cell)) for cell in cells]


def show_runs(rows: Sequence[Row], console: Console, kept: str = "") -> None:
    """Print runs as a table. On a narrow terminal, texts are cut and columns left out, but not the one named `kept`."""
    settings = differing(rows)
    states = ["state"] if any(row.state != FINISHED for row in rows) else []
    results = [q for q in FIGURES if any(q in row.figures for row in rows)]
    columns = {
        name: Column(
            HEADS.get(name, words(name)), [_cell(row, name) for row in rows], name in LEFT or _is_text(rows, name)
        )
        for name in ("name", *settings, *states, *results, "date")
    }
    spared = [name for name in (*SPARED, *reversed(settings)) if name != kept]
    print_squeezed(columns, console, ("name", *settings), spared)
    if any(row.state != FINISHED and row.figures for row in rows):
        say(console, "unfinished runs: results of the last report; evaluate uses the checkpoint", wrap=True)
    for row in rows:
        if row.reason and row.state != UNREADABLE:  # the command prints those as errors
            say(console, f"{row.name}: {row.reason}")


def _cell(row: Row, column: str) -> str:
    value = value_of(row, column)
    if column in row.settings:
        return shown(value)
    if column in FIGURES:
        return figure(column, value)
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}" if column == "date" else value


def _is_text(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(row.settings.get(column), str) for row in rows)


def show_summary(summary: Summary, console: Console) -> None:
    """Print the settings of a summary as a table, and what the best one, or each if none is, does on the test set."""
    if not summary.groups:
        say(console, "no runs")
        return
    groups = summary.groups
    names = [name for name in summary.varied if name in groups[0].settings]
    quantity = summary.score if any(summary.score in each.results for each in groups) else summary.test_score
    figures = [each.results.get(quantity) for each in groups]
    losses = [each.results.get("train_loss") for each in groups]
    cells = {"rank": [str(each.rank or "-") for each in groups]} if summary.ranked else {}
    cells |= {name: [shown(each.settings[name]) for each in groups] for name in names}
    if not names:
        cells["setting"] = [each.name for each in groups]
    cells["runs"] = [_count(each) for each in groups]
    cells[quantity] = [figure(quantity, each and each.mean) for each in figures]
    cells["s.d."] = [figure(quantity, each and each.sd) for each in figures]
    cells["train loss"] = [figure("train_loss", each and each.mean) for each in losses]
    columns = {
        head: Column(HEADS.get(head, words(head)), each, head == "setting" or _is_text(summary.rows, head))
        for head, each in cells.items()
        if any(each)
    }
    print_squeezed(columns, console, names, ["train loss", "s.d."])
    say(console, f"\n{summary.note}", wrap=True)
    states = Counter(row.state for row in summary.rows)
    if {*states} - {FINISHED}:
        say(console, f"{', '.join(f'{number} {state}' for state, number in states.items())}; only finished runs count")
    if summary.ranked and any(row.state == FAILED for row in summary.rows):
        text = "settings with failed runs come last, because the others are not a fair sample"
        say(console, text, wrap=True)
    for group in summary.tested:
        if summary.test_score in group.results:
            loss = f", loss {group.results['test_loss'].mean:.4f}" if "test_loss" in group.results else ""
            found = _spread(summary.test_score, group.results[summary.test_score])
            if "test_rmse" in group.results:
                loss = f", root mean squared error {group.results['test_rmse'].mean:.4g}{loss}"
            best = "best: " if summary.ranked else ""
            say(console, f"{best}{group.name}: {found}{loss}")


def _count(group: Group) -> str:
    total = len(group.members)
    return str(total) if group.finished == total else f"{group.finished} of {total}"


def _spread(quantity: str, found: Spread) -> str:
    more = "" if found.sd is None else f" (s.d. {figure(quantity, found.sd)})"
    mean = figure(quantity, found.mean)
    return f"R² {mean}{more} on the test set" if quantity == "test_r2" else f"{mean} %{more} of the test samples right"
