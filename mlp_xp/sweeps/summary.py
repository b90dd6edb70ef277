"""The results of a sweep: its settings, each over seeds and folds, ranked by held-out
samples; summary.csv and .json.

A setting is everything that varies in the sweep except the seed and the fold of a
cross-validation. Settings are ranked by their mean accuracy, or R² for regression, on
the held-out samples, and never by the test set: the best of many on the test set looks
better there than it is on new data. Test results therefore appear only for the best
setting; they never choose it. Without held-out samples, nothing is ranked, because the
loss on the training samples would prefer what overfits. Then the test results of all
settings are given.
"""

import csv
import datetime as dt
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, TypeVar

from mlp_xp.files import write_whole
from mlp_xp.runs.records import FIGURES, HELD_OUT
from mlp_xp.runs.settings import described, shown
from mlp_xp.runs.sweep_folder import FAILED, FINISHED, SweepFolder
from mlp_xp.runs.table import DATA, Row, as_record, differing, sweep_rows
from mlp_xp.sweeps.plan import REPEATS

CSV, JSON = "summary.csv", "summary.json"
T = TypeVar("T")
# Settings that decide what is predicted, and by which samples it is measured.
_PREDICTED = {*DATA, "label", "task"}
_MEASURED_ON = {"validation", "test_fraction", "split_seed", "stratify", "cv"}
QUANTITIES = tuple(name for name in FIGURES if name != "seconds")


class Spread(NamedTuple):
    """The mean of a figure over runs, and its standard deviation with divisor n - 1;
    None for one run.
    """

    mean: float
    sd: float | None


class Group(NamedTuple):
    """The runs of one setting, which differ in their seeds and folds."""

    settings: dict[str, Any]
    """What varies, without seed and fold."""
    members: tuple[Row, ...]
    results: dict[str, Spread]
    """By quantity, over the finished members; without those that some of them lack."""
    rank: int | None = None
    """From 1, if the settings are ranked and the setting has a finished member."""

    @property
    def name(self) -> str:
        """What tells the setting from the others, such as `learning rate 0.1, hidden
        64`.
        """
        return described(self.settings) or "all runs"

    @property
    def finished(self) -> int:
        """The number of finished members."""
        return sum(row.state == FINISHED for row in self.members)


class Summary(NamedTuple):
    """The settings of several runs, each with the runs that have it. If ranked, only
    the best one has test results.
    """

    varied: tuple[str, ...]
    """The settings that vary, with seed and fold."""
    rows: tuple[Row, ...]
    """The runs, in the order in which they were given."""
    groups: tuple[Group, ...]
    """The settings; the best first if they are ranked."""
    ranked: bool
    note: str
    """What they are ranked by, or why they are not."""
    score: str
    """What they are ranked by if they can be: one of HELD_OUT."""

    @property
    def test_score(self) -> str:
        """The same figure on the test set."""
        return self.score.replace("validation", "test")


def summarise(rows: Sequence[Row], names: Sequence[str] | None = None) -> Summary:
    """Summarise runs by their settings. names: the settings that vary; by default all
    in which the runs differ.

    A setting with failed members comes after those without: its other members, which
    did not diverge, are not a fair sample. Members that have not run yet are only
    missing. Runs whose settings cannot be read are in no group.
    """
    names = differing(rows) if names is None else names
    keys = [name for name in names if name not in REPEATS]
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.settings:
            members.setdefault(
                json.dumps([row.settings.get(name) for name in keys]), []
            ).append(row)
    groups = [_group(keys, rows) for rows in members.values()]
    score = HELD_OUT[
        any({"validation_r2", "test_r2"} & row.figures.keys() for row in rows)
    ]
    why = _why_not_ranked(groups, keys, score)
    if why:
        return Summary(
            tuple(names),
            tuple(rows),
            tuple(groups),
            ranked=False,
            note=f"not ranked: {why}",
            score=score,
        )

    def order(group: Group) -> tuple[float, float]:
        if not group.results:
            return math.inf, 0.0
        return any(row.state == FAILED for row in group.members), -group.results[
            score
        ].mean

    groups.sort(key=order)
    best = groups[0].members
    rows = [
        row if row in best else row._replace(figures=_untested(row.figures))
        for row in rows
    ]
    for i, group in enumerate(groups):
        results = group.results if i == 0 else _untested(group.results)
        groups[i] = group._replace(results=results, rank=i + 1 if results else None)
    name = "R²" if score.endswith("r2") else "accuracy"
    note = f"ranked by the mean {name} on the held-out samples, never by the test set"
    return Summary(
        tuple(names), tuple(rows), tuple(groups), ranked=True, note=note, score=score
    )


def _untested(figures: Mapping[str, T]) -> dict[str, T]:
    return {
        name: each for name, each in figures.items() if FIGURES[name].part != "test"
    }


def _group(names: Sequence[str], members: Sequence[Row]) -> Group:
    results, finished = {}, [row.figures for row in members if row.state == FINISHED]
    for name in QUANTITIES:
        if finished and all(name in figures for figures in finished):
            values = [figures[name] for figures in finished]
            results[name] = Spread(
                fmean(values), stdev(values) if len(values) > 1 else None
            )
    return Group(
        {name: members[0].settings.get(name) for name in names}, tuple(members), results
    )


def _why_not_ranked(groups: Sequence[Group], names: Sequence[str], score: str) -> str:
    """Return why settings cannot be ranked, or an empty string."""
    finished = [group for group in groups if group.results]
    faults = {
        "no run has finished": not finished,
        "there is one setting only": len(groups) == 1,
        "results on different data do not compare": bool(_PREDICTED & {*names}),
        "not all settings hold samples out, and the best on the test set would look better there than on new data; use "
        "--validation": any(score not in group.results for group in finished),
        "results on different held-out samples do not compare": bool(
            _MEASURED_ON & {*names}
        ),
    }
    return next((fault for fault, is_there in faults.items() if is_there), "")


def summary_of(sweep: SweepFolder) -> Summary:
    """Return the summary of a sweep. Raises MlpXpError if its index is missing or
    damaged.
    """
    return summarise(*sweep_rows(sweep))


def write_summary(sweep: SweepFolder) -> list[Path]:
    """Write summary.csv and summary.json into a sweep's folder, and return their paths.
    Raises RunError and FileError.

    summary.csv depends only on the results of the members, wherever and in whatever
    order they ran. The members themselves, with times, dates and reasons of failures,
    are in summary.json.
    """
    summary = summary_of(sweep)
    texts = {CSV: as_csv(summary), JSON: json.dumps(as_json(summary), indent=2) + "\n"}
    for name, text in texts.items():
        write_whole(sweep.path / name, text.encode("utf-8", "backslashreplace"))
    return [sweep.path / name for name in texts]


def as_csv(summary: Summary) -> str:
    """Return the settings of a summary as CSV, best first: their means, and their
    standard deviations (`_sd`).
    """
    file, names = (
        io.StringIO(),
        [name for name in summary.varied if name not in REPEATS],
    )
    writer = csv.writer(file, lineterminator="\n")
    figures = [
        name
        for name in QUANTITIES
        if any(name in group.results for group in summary.groups)
    ]
    heads = [head for name in figures for head in (name, f"{name}_sd")]
    writer.writerow(["rank", "name", *names, "runs", "finished", *heads])
    for group in summary.groups:
        values = [shown(group.settings[name]) for name in names]
        found = itertools.chain(
            *(group.results.get(name, (None, None)) for name in figures)
        )
        # `csv` writes all digits of a number, and None as an empty cell.
        writer.writerow(
            [
                group.rank,
                group.name,
                *values,
                len(group.members),
                group.finished,
                *found,
            ]
        )
    return file.getvalue()


def as_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as a JSON object."""
    groups = [
        {
            "rank": group.rank,
            "name": group.name,
            "settings": group.settings,
            "runs": len(group.members),
            "finished": group.finished,
            **{name: each._asdict() for name, each in group.results.items()},
        }
        for group in summary.groups
    ]
    return {
        "format": 1,
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "ranked_by": summary.score if summary.ranked else None,
        "note": summary.note,
        "varied": list(summary.varied),
        "settings": groups,
        "runs": [as_record(row) for row in summary.rows],
    }
