"""The table of combinations, for `runs --summary` and at the end of a sweep."""

from collections import Counter

from rich.console import Console

from mlp_xp.runs.records import HELD_OUT, METRIC_COLUMNS
from mlp_xp.runs.settings import shown, words
from mlp_xp.runs.sweep_folder import FINISHED
from mlp_xp.show.console import print_table, say
from mlp_xp.show.numbers import spread_text
from mlp_xp.sweeps.summary import Group, Summary

_OF_FOLDS = """\
mean ± standard deviation over the runs, each tested on a fold that it
has not seen; nothing was chosen by the test results"""
_HEADS = {"name": "run"} | {name: each.head for name, each in METRIC_COLUMNS.items()}


def head(column: str) -> str:
    """Return the head of a column of a table of runs."""
    return _HEADS.get(column, words(column))


def show_summary(summary: Summary, console: Console) -> None:
    """Print the settings of a summary as a table, then results on the test set.

    In a ranked summary, only the best combination has results on the test set. Without
    ranks, every combination has them.
    """
    columns = _summary_columns(summary)
    heads = [head(column) for column in columns]
    print_table(heads, zip(*columns.values(), strict=True), console)
    note = summary.note
    if _is_cross_validation(summary) and len(summary.groups) == 1:
        note = _OF_FOLDS
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
        results = [f"{head(name)} {_spread(name, group)}" for name in tested]
        line = f"{group.name}: {', '.join(results)}"
        if summary.ranked:
            line = f"best: {line}"
        say(console, line)


def _summary_columns(summary: Summary) -> dict[str, list[str]]:
    """Return the columns with at least one entry, by their names."""
    groups = summary.groups
    settings = groups[0].settings
    scores: tuple[str, ...] = ("test_accuracy", "test_r2")
    if _is_cross_validation(summary):
        scores += HELD_OUT  # the result of a cross-validation comes first
    elif any(name in group.metrics for group in groups for name in HELD_OUT):
        scores = HELD_OUT
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
    """Return whether the runs are folds, and none is chosen by its results."""
    return not summary.ranked and "fold" in summary.varied


def _spread(metric: str, group: Group) -> str:
    """Return the mean of a metric and its standard deviation, as in `97.37 ± 0.23`.

    Both are computed over the runs of a combination.
    """
    spread = group.metrics.get(metric)
    return spread_text(metric, *spread) if spread else ""
