"""Compare runs in a table: `python scripts/runs.py [FOLDER ...]`.

The table has the settings in which the runs differ, their results, times and dates. With --summary it has one row per
setting, over all seeds.
"""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from mlp_xp.commands.command_line import Condition, Positional, UsageError, parse, print_error
from mlp_xp.errors import printable
from mlp_xp.runs.sweep_index import FINISHED
from mlp_xp.runs.table import (
    RESULTS,
    UNREADABLE,
    Row,
    check_column,
    differing,
    find_runs,
    select_rows,
    shown,
    sort_rows,
    words,
)
from mlp_xp.show.terminal import GLUE, plain_console, say
from mlp_xp.sweeps.intervals import FEWEST, LEVEL, Spread
from mlp_xp.sweeps.summary import ENDED_EARLY, RANKED_BY, Group, Summary, as_csv, as_json, summarise

DEFAULT = Path("runs")
HEADS = {
    "name": "run",
    "validation_accuracy": "held out %",
    "test_accuracy": "test %",
    "train_loss": "train loss",
    "test_loss": "test loss",
    "seconds": "time (s)",
}
SPARED = ("train_loss", "test_loss")  # where the terminal is too narrow for them
INTERVAL = f"{100 * LEVEL:g} % interval"
LEFT = ("name", "state", "date")


@dataclass(frozen=True)
class Arguments:
    """Compare runs in a table: the settings in which they differ, their results, times and dates."""

    folders: Annotated[tuple[Path, ...], Positional("FOLDER")]
    """Training runs, sweeps, or folders of runs. By default runs."""
    sort: str | None = None
    """Sort by this column or setting, such as validation_accuracy, train_loss, seconds, date, learning_rate. Not by
    results on the test set."""
    where: tuple[Condition, ...] = ()
    """Only runs that meet these conditions, such as optimizer=adam 'learning_rate<0.1' state=finished."""
    summary: bool = False
    """One row per setting: mean, standard deviation and interval over its seeds."""
    json: bool = False
    """Print JSON, with all settings."""
    csv: bool = False
    """Print CSV."""


def main() -> int:
    """Print the table. Return 1 if a run cannot be read; the others are in the table."""
    arguments: Arguments = parse(Arguments)
    if arguments.json and arguments.csv:
        raise UsageError("--json and --csv: give only one of these options")
    if arguments.summary and arguments.sort:
        raise UsageError("--sort: settings are ranked by their held-out samples; leave it out, or leave out --summary")
    if arguments.sort:
        check_column(arguments.sort, "sort")
    select_rows([], arguments.where)  # a wrong condition is found before any run is read
    rows, without_runs = find_runs(arguments.folders or (DEFAULT,))
    faults = [*map(str, without_runs)]
    faults += [row.reason for row in rows if row.state == UNREADABLE]
    found, rows = len(rows), select_rows(rows, arguments.where)
    rows = sort_rows(rows, arguments.sort) if arguments.sort else rows
    if arguments.summary:
        print_summary(summarise(rows), arguments)
    elif arguments.json:
        print(json.dumps([as_record(row) for row in rows], indent=2))
    elif arguments.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(csv_lines(rows))
    elif rows:
        show_runs(rows, plain_console())
    else:
        say(plain_console(), f"none of {found} runs meets the conditions" if found else "no runs")
    sys.stdout.flush()  # the errors, on stderr, must come last
    for fault in faults:
        print_error(fault)
    return 1 if faults else 0


def print_summary(summary: Summary, arguments: Arguments) -> None:
    """Print a summary in the form that the command line names."""
    if arguments.json:
        print(json.dumps(as_json(summary), indent=2))
    elif arguments.csv:
        print(as_csv(summary), end="")
    else:
        show_summary(summary, plain_console())


def as_record(row: Row) -> dict[str, Any]:
    """Return a row as JSON data."""
    record = {**row._asdict(), "folder": str(row.folder), "settings": dict(row.settings)}
    return {**record, "date": row.date and row.date.isoformat(timespec="seconds")}


def csv_lines(rows: Sequence[Row]) -> Iterator[list[Any]]:
    """Yield the lines of a table as CSV: a header, then one for each run, its numbers in full precision."""
    names = differing(rows)
    yield ["name", "folder", "state", *names, *RESULTS, "seconds", "date", "reason"]
    for row in rows:
        settings = [printable(shown(row.settings[name])) if name in row.settings else "" for name in names]
        results = ["" if value is None else repr(value) for value in (*(getattr(row, q) for q in RESULTS), row.seconds)]
        date = row.date.isoformat(timespec="seconds") if row.date else ""
        texts = map(printable, (row.name, str(row.folder), row.state))
        yield [*texts, *settings, *results, date, printable(row.reason)]


def show_runs(rows: Sequence[Row], console: Console) -> None:
    """Print runs as a table, or as a paragraph each where the table is wider than the terminal."""
    settings = differing(rows)
    states = ["state"] if any(row.state != FINISHED for row in rows) else []
    results = [q for q in RESULTS if any(getattr(row, q) is not None for row in rows)]
    columns = ["name", *settings, *states, *results, "seconds", "date"]
    left = {column for column in columns if column in LEFT or _is_text(rows, column)}

    def table(columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        heads = [HEADS.get(column, words(column)) for column in columns]
        return heads, [[_cell(row, column) for column in columns] for row in rows]

    narrow = [column for column in columns if column not in SPARED]
    if not fits(*table(columns), console) and fits(*table(narrow), console):
        columns = narrow
    print_table(*table(columns), [column in left for column in columns], console)
    if left_out := [HEADS[column] for column in results if column not in columns]:
        say(console, f"no room for: {', '.join(left_out)}")
    for row in rows:
        if row.reason and row.state != UNREADABLE:  # the command prints those as errors
            say(console, f"{printable(row.name)}: {printable(row.reason)}")


def _cell(row: Row, column: str) -> str:
    if column not in Row._fields:
        return printable(shown(row.settings[column])) if column in row.settings else ""
    value = getattr(row, column)
    if value is None:
        return ""
    if column in ("validation_accuracy", "test_accuracy"):
        return f"{100 * value:.2f}"
    if column in ("train_loss", "test_loss"):
        return f"{value:.4g}"
    if column == "seconds":
        return f"{value:.1f}"
    return f"{value:%Y-%m-%d %H:%M}" if column == "date" else printable(value)


def _is_text(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(row.settings.get(column), str) for row in rows)


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[bool], console: Console) -> None:
    """Print a table, or a paragraph for each row where the table is wider than the terminal.

    left: whether a column is aligned to the left; numbers are aligned to the right.
    """
    if not fits(heads, rows, console):
        for name, *cells in rows:
            pairs = [f"{head} {cell}" for head, cell in zip(heads[1:], cells, strict=True) if cell]
            say(console, f"{name}: {', '.join(pair.replace(' ', GLUE) for pair in pairs)}")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    lines = [[head] for head in heads]
    if _width(lines, rows) > console.width:
        lines = [_head_lines(head) for head in heads]
    for head, to_left in zip(lines, left, strict=True):
        blank = "\n" * (max(map(len, lines)) - len(head))  # the last lines stand over the cells
        table.add_column(blank + "\n".join(head), justify="left" if to_left else "right", no_wrap=True)
    for each in rows:
        table.add_row(*each)
    console.print(table)


def fits(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> bool:
    """Return whether a table, perhaps with heads of two lines, is not wider than the terminal."""
    return _width([_head_lines(head) for head in heads], rows) <= console.width


def _width(heads: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> int:
    widths = [max(map(cell_len, [*head, *cells])) for head, *cells in zip(heads, *rows, strict=True)]
    return sum(widths) + 2 * len(widths) - 2


def _head_lines(head: str) -> list[str]:
    """Return the head of a column as one or two lines, to keep the column narrow."""
    parts = head.split(" ")
    splits = [[" ".join(parts[:i]), " ".join(parts[i:])] for i in range(1, len(parts))]
    return min(splits, key=lambda lines: max(map(cell_len, lines)), default=parts)


def show_summary(summary: Summary, console: Console) -> None:
    """Print the settings of a summary as a table, and what the best one, or each if none is, does on the test set."""
    if not summary.groups:
        say(console, "no runs")
        return
    names = [name for name in summary.varied if name in summary.groups[0].settings]
    quantity = next((q for q in (RANKED_BY, "test_accuracy") if _has(summary, q)), None)
    heads = [*(["rank"] if summary.ranked else []), *map(words, names), "runs"]
    left = [False] * len(heads)
    for i, name in enumerate(names, int(summary.ranked)):
        left[i] = _is_text(summary.rows, name)
    accuracy = "held out %" if quantity == RANKED_BY else "test %"
    if not names:
        heads, left = ["setting", *heads], [True, *left]
    heads += [accuracy, "s.d.", INTERVAL, "train loss"]
    table = [_summary_row(summary, group, names, quantity) for group in summary.groups]
    print_table(heads, table, [*left, False, False, False, False], console)
    say(console, f"\n{summary.note}")
    if any(0 < group.finished < FEWEST for group in summary.groups):
        say(console, f"an interval needs {FEWEST} finished runs of a setting or more")
    if unfinished := [row for row in summary.rows if row.state != FINISHED]:
        say(console, f"{len(unfinished)} of {len(summary.rows)} runs are not finished, and do not count")
    if summary.ranked and any(row.state in ENDED_EARLY for row in summary.rows):
        say(console, "settings with failed or pruned runs come last, because the others are no fair sample")
    for group in summary.tested:
        if "test_accuracy" in group.results:
            loss = f", loss {group.results['test_loss'].mean:.4f}" if "test_loss" in group.results else ""
            right = f"{_percents(group.results['test_accuracy'])} of the test images right"
            say(console, f"{'best: ' if summary.ranked else ''}{printable(group.name)}: {right}{loss}")


def _has(summary: Summary, quantity: str) -> bool:
    return any(quantity in group.results for group in summary.groups)


def _summary_row(summary: Summary, group: Group, names: Sequence[str], quantity: str | None) -> list[str]:
    total, done = len(group.members), group.finished
    cells = [str(group.rank or "-")] if summary.ranked else []
    cells += [printable(shown(group.settings[name])) for name in names] or [group.name]
    cells += [str(done) if done == total else f"{done} of {total}"]
    found = group.results.get(quantity) if quantity else None
    if found is None:
        cells += ["", "", ""]
    else:
        sd = "" if found.sd is None else f"{100 * found.sd:.2f}"
        ends = "" if found.low is None or found.high is None else f"{100 * found.low:.2f} - {100 * found.high:.2f}"
        cells += [f"{100 * found.mean:.2f}", sd, ends]
    loss = group.results.get("train_loss")
    return [*cells, f"{loss.mean:.4g}" if loss else ""]


def _percents(found: Spread) -> str:
    text = f"{100 * found.mean:.2f} %"
    notes = [] if found.sd is None else [f"s.d. {100 * found.sd:.2f}"]
    if found.low is not None and found.high is not None:
        notes.append(f"{INTERVAL} {100 * found.low:.2f} to {100 * found.high:.2f}")
    return f"{text} ({', '.join(notes)})" if notes else text
