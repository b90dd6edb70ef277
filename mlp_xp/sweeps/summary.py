"""The results of a sweep: its combinations of values, ranked over seeds and folds.

The runs of a combination differ only in their seeds and folds. Combinations are ranked
by their mean accuracy, or R² for regression, on the held-out samples. They are never
ranked by the test set: the best of many on the test set looks better there than it is
on new data. Therefore only the best combination has test results. Without held-out
samples, nothing is ranked, because the loss on the training samples would prefer
overfitting. Then all combinations have test results.
"""

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mlp_xp.files import write_whole
from mlp_xp.runs.records import HELD_OUT, METRIC_COLUMNS
from mlp_xp.runs.settings import described, shown
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, SweepFolder
from mlp_xp.runs.table import DATA, Row, as_record, differing, sweep_rows
from mlp_xp.sweeps.plan import REPEATS

CSV, JSON = "summary.csv", "summary.json"
# Settings of the outputs, and of the samples to measure them by.
_PREDICTED = {*DATA, "label", "task"}
_MEASURED_ON = {"validation", "test_fraction", "split_seed", "stratify", "cv"}
_SUMMARISED = tuple(name for name in METRIC_COLUMNS if name != "seconds")


class Spread(NamedTuple):
    """The mean of a metric over runs, and its standard deviation."""

    mean: float
    sd: float | None
    """With divisor n - 1. None for one run."""


class Group(NamedTuple):
    """The runs of one combination of values, with different seeds and folds."""

    settings: dict[str, Any]
    """The varied values, without seed and fold."""
    members: tuple[Row, ...]
    metrics: dict[str, Spread]
    """The metrics that all finished members have, by their names in METRIC_COLUMNS."""
    rank: int | None = None
    """From 1. None if nothing is ranked, or no member has finished."""

    @property
    def name(self) -> str:
        """The combination in words, as in `learning rate 0.1, hidden 64`."""
        return described(self.settings) or "all runs"

    @property
    def finished(self) -> int:
        """The number of finished members."""
        return sum(row.state == FINISHED for row in self.members)


class Summary(NamedTuple):
    """Several runs, grouped by their combinations of values.

    If the groups are ranked, only the best one has test results.
    """

    varied: tuple[str, ...]
    """The names of the varied settings, with seed and fold."""
    rows: tuple[Row, ...]
    """The runs, in the given order."""
    groups: tuple[Group, ...]
    """The combinations. If they are ranked, the best comes first."""
    ranked: bool
    note: str
    """How they are ranked, or why they are not."""
    score: str
    """The metric that ranks them if possible: one of HELD_OUT."""

    @property
    def test_score(self) -> str:
        """The same metric on the test set."""
        return self.score.replace("validation", "test")


def summarise(rows: Sequence[Row], names: Sequence[str] | None = None) -> Summary:
    """Summarise runs by their combinations of values.

    A combination with failed members comes after all combinations without, because its
    other members, the lucky ones, are not a fair sample. Members without a run are only
    missing. Runs whose settings cannot be read belong to no combination.

    Args:
        rows: The runs.
        names: The varied settings, by default all in which the runs differ.
    """
    names = differing(rows) if names is None else names
    keys = [name for name in names if name not in REPEATS]
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.settings:
            key = json.dumps([row.settings.get(name) for name in keys])
            members.setdefault(key, []).append(row)
    groups = [_group(keys, same) for same in members.values()]
    of_classes, of_numbers = HELD_OUT
    score = of_classes
    if any({of_numbers, "test_r2"} & row.metrics.keys() for row in rows):
        score = of_numbers
    why = _why_not_ranked(groups, keys, score)
    note = f"not ranked: {why}"
    if not why:
        groups = _ranked(groups, score)
        best = groups[0].members
        rows = [
            row if row in best else row._replace(metrics=_untested(row.metrics))
            for row in rows
        ]
        name = "R²" if score == of_numbers else "accuracy"
        note = (
            f"ranked by the mean {name} on the held-out samples, never by the test set"
        )
    return Summary(
        tuple(names), tuple(rows), tuple(groups), ranked=not why, note=note, score=score
    )


def _group(names: Sequence[str], members: Sequence[Row]) -> Group:
    spreads = {}
    finished = [row.metrics for row in members if row.state == FINISHED]
    for name in _SUMMARISED:
        if finished and all(name in metrics for metrics in finished):
            values = [metrics[name] for metrics in finished]
            deviation = stdev(values) if len(values) > 1 else None
            spreads[name] = Spread(fmean(values), deviation)
    settings = {name: members[0].settings.get(name) for name in names}
    return Group(settings, tuple(members), spreads)


def _ranked(groups: Sequence[Group], score: str) -> list[Group]:
    """Return combinations by their ranks. Only the first one keeps its test results."""

    def order(group: Group) -> tuple[float, float]:
        if not group.metrics:
            return math.inf, 0.0
        has_failed = any(row.state == FAILED for row in group.members)
        return has_failed, -group.metrics[score].mean

    best, *others = sorted(groups, key=order)
    ranked = [best._replace(rank=1)]
    for rank, group in enumerate(others, 2):
        metrics = _untested(group.metrics)
        ranked.append(group._replace(metrics=metrics, rank=rank if metrics else None))
    return ranked


def _untested(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: each
        for name, each in metrics.items()
        if METRIC_COLUMNS[name].part != "test"
    }


def _why_not_ranked(groups: Sequence[Group], names: Sequence[str], score: str) -> str:
    """Return why combinations cannot be ranked, or an empty string."""
    finished = [group for group in groups if group.metrics]
    if not finished:
        return "no run has finished"
    if len(groups) == 1:
        return "there is only one combination"
    if _PREDICTED.intersection(names):
        return "results on different data do not compare"
    if any(score not in group.metrics for group in finished):
        return (
            "ranks need held-out samples in all combinations, because the best on the "
            "test set would look better there than on new data; use --validation"
        )
    if _MEASURED_ON.intersection(names):
        return "results on different held-out samples do not compare"
    return ""


def summary_of(sweep: SweepFolder) -> Summary:
    """Return the summary of a sweep.

    Raises:
        MlpXpError: The index of the sweep is missing or damaged.
    """
    rows, names = sweep_rows(sweep)
    return summarise(rows, names)


def write_summary(sweep: SweepFolder) -> list[Path]:
    """Write summary.csv and summary.json into a sweep's folder, and return their paths.

    summary.csv depends only on the results of the members, wherever and in whatever
    order they ran. summary.json also has the members themselves, with times, dates and
    reasons of failures.

    Raises:
        RunError: The index of the sweep is missing or damaged.
        FileError: A file cannot be written.
    """
    summary = summary_of(sweep)
    texts = {CSV: as_csv(summary), JSON: json.dumps(as_json(summary), indent=2) + "\n"}
    for name, text in texts.items():
        write_whole(sweep.path / name, text.encode("utf-8", "backslashreplace"))
    return [sweep.path / name for name in texts]


def as_csv(summary: Summary) -> str:
    """Return a line of CSV per combination, with means and deviations (`_sd`)."""
    names = [name for name in summary.varied if name not in REPEATS]
    known = [each for group in summary.groups for each in group.metrics]
    metrics = [name for name in _SUMMARISED if name in known]
    heads = ["rank", "name", *names, "runs", "finished"]
    for name in metrics:
        heads += [name, f"{name}_sd"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(heads)
    for group in summary.groups:
        cells: list[Any] = [group.rank, group.name]
        cells += [shown(group.settings[name]) for name in names]
        cells += [len(group.members), group.finished]
        for name in metrics:
            cells += group.metrics.get(name, (None, None))
        # `csv` writes all digits of a number, and None as an empty cell.
        writer.writerow(cells)
    return file.getvalue()


def as_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as a JSON object."""
    groups = []
    for group in summary.groups:
        record = {
            "rank": group.rank,
            "name": group.name,
            "settings": group.settings,
            "runs": len(group.members),
            "finished": group.finished,
        }
        record |= {name: each._asdict() for name, each in group.metrics.items()}
        groups.append(record)
    return {
        "format": 1,
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "ranked_by": summary.score if summary.ranked else None,
        "note": summary.note,
        "varied": list(summary.varied),
        "settings": groups,
        "runs": [as_record(row) for row in summary.rows],
    }
