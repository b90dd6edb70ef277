"""The results of a sweep: its settings, each over all seeds, ranked by held-out samples; summary.csv and .json.

A setting is everything that varies in the sweep except the seed. Settings are ranked by their mean accuracy, or R² for
regression, on the held-out samples, and never by the test set: the best of many on the test set looks better there than
it is on new data. Test results therefore appear only for the best setting; they never choose it. Without held-out
samples, nothing is ranked, because the loss on the training samples would prefer what overfits. Then the test results
of all settings are given.
"""

import csv
import datetime as dt
import io
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mlp_xp.files import write_whole
from mlp_xp.runs.sweep_index import FAILED, FINISHED, HELD_OUT
from mlp_xp.runs.table import DATA, TEST_COLUMNS, Row, differing, shown, sweep_rows, words

CSV, JSON = "summary.csv", "summary.json"
# For each figure on the held-out samples, the same figure on the test set, and what both are called.
SCORES = dict(zip(HELD_OUT, (("test_accuracy", "accuracy"), ("test_r2", "R²")), strict=True))
SEED = "seed"
ALL = "all runs"  # the name of the setting where nothing varies but the seed


class Spread(NamedTuple):
    """The distribution of a figure over runs."""

    n: int
    mean: float
    sd: float | None
    """Standard deviation, with divisor n - 1; None for one value."""


def spread(values: Sequence[float]) -> Spread:
    """Return number, mean and standard deviation of at least one finite value; the same in any order of the values."""
    return Spread(len(values), fmean(values), stdev(values) if len(values) > 1 else None)


class Group(NamedTuple):
    """The runs of one setting, which differ in their seeds."""

    name: str
    """What tells the setting from the others, such as `learning rate 0.1, hidden 64`."""
    settings: dict[str, Any]
    """What varies, without the seed."""
    members: tuple[Row, ...]
    results: dict[str, Spread]
    """By quantity, over the finished members; without those that some of them lack."""
    rank: int | None = None
    """From 1, if the settings are ranked and the setting has a finished member."""

    @property
    def finished(self) -> int:
        """The number of finished members."""
        return sum(row.state == FINISHED for row in self.members)

    @property
    def failed(self) -> bool:
        """Whether members have failed."""
        return any(row.state == FAILED for row in self.members)


class Summary(NamedTuple):
    """The settings of several runs, each over its seeds."""

    varied: tuple[str, ...]
    """The settings that vary, with the seed."""
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
        return SCORES[self.score][0]

    @property
    def quantities(self) -> tuple[str, ...]:
        """The figures of a run that are summarised."""
        rmse = ("test_rmse",) if self.test_score == "test_r2" else ()
        return self.score, "train_loss", self.test_score, "test_loss", *rmse

    @property
    def tested(self) -> tuple[Group, ...]:
        """The settings whose results on the test set are given: the best one, or all if they are not ranked."""
        return self.groups[:1] if self.ranked else self.groups


def summarise(rows: Sequence[Row], names: Sequence[str] | None = None) -> Summary:
    """Summarise runs by their settings. names: the settings that vary; by default all in which the runs differ.

    A setting with failed members comes after those without: its other members, which did not diverge, are not a fair
    sample. Members that have not run yet are only missing. Runs whose settings cannot be read are in no group.
    """
    names = differing(rows) if names is None else names
    keys = [name for name in names if name != SEED]
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.settings:
            members.setdefault(json.dumps([row.settings.get(name) for name in keys]), []).append(row)
    score = HELD_OUT[any({"validation_r2", "test_r2"} & row.figures.keys() for row in rows)]
    summary = Summary(tuple(names), tuple(rows), (), False, "", score)
    groups = [_group(keys, rows, summary.quantities) for rows in members.values()]
    why = _why_not_ranked(groups, keys, score)
    if not why:
        last = math.inf, 0.0  # settings without results
        groups.sort(key=lambda group: (group.failed, -group.results[score].mean) if group.results else last)
        groups = [each._replace(rank=i if each.results else None) for i, each in enumerate(groups, 1)]
    by = f"ranked by the mean {SCORES[score][1]} on the held-out samples, never by the test set"
    return summary._replace(groups=tuple(groups), ranked=not why, note=f"not ranked: {why}" if why else by)


def _group(names: Sequence[str], members: Sequence[Row], quantities: Sequence[str]) -> Group:
    settings = {name: members[0].settings.get(name) for name in names}
    results = {}
    for quantity in quantities:
        finished = [row.figures for row in members if row.state == FINISHED]
        if finished and all(quantity in figures for figures in finished):
            results[quantity] = spread([figures[quantity] for figures in finished])
    name = ", ".join(f"{words(name)} {shown(value)}" for name, value in settings.items())
    return Group(name or ALL, settings, tuple(members), results)


def _why_not_ranked(groups: Sequence[Group], names: Sequence[str], score: str) -> str:
    """Return why settings cannot be ranked, or an empty string."""
    finished = [group for group in groups if group.results]
    if not finished:
        return "no run has finished"
    if len(groups) == 1:
        return "there is one setting only"
    if other := [name for name in DATA if name in names]:
        return f"the settings differ in {words(other[0])}, and results on different data do not compare"
    if missing := [group for group in finished if score not in group.results]:
        none = "no samples were held out" if missing == finished else "some settings hold no samples out"
        return f"{none}, and the best on the test set would look better there than on new data; use --validation"
    if "validation" in names:
        return "the settings differ in validation, and results on different held-out samples do not compare"
    return ""


def summary_of(sweep_dir: Path) -> Summary:
    """Return the summary of a sweep. Raises MlpXpError if its index is missing or damaged."""
    return summarise(*sweep_rows(sweep_dir))


def write_summary(sweep_dir: Path) -> list[Path]:
    """Write summary.csv and summary.json into a sweep's folder, and return their paths. Raises RunError and FileError.

    summary.csv depends only on the results of the members, wherever and in whatever order they ran. Times, dates and
    reasons of failures, which name folders, are in summary.json.
    """
    summary = summary_of(sweep_dir)
    texts = {CSV: as_csv(summary), JSON: json.dumps(as_json(summary), indent=2) + "\n"}
    for name, text in texts.items():
        write_whole(sweep_dir / name, text.encode("utf-8", "backslashreplace"))
    return [sweep_dir / name for name in texts]


def as_csv(summary: Summary) -> str:
    """Return a summary as CSV: a line for each setting, best first, then one for each run.

    The results of a setting are means, with their standard deviations (`_sd`). Test results appear only for the
    settings in `Summary.tested`.
    """
    file, record = io.StringIO(), as_json(summary)
    writer = csv.writer(file, lineterminator="\n")
    heads = [head for name in summary.quantities for head in (name, f"{name}_sd")]
    writer.writerow(["kind", "rank", "name", *summary.varied, "state", "runs", "finished", *heads])
    for kind in ("setting", "run"):
        for each in record[f"{kind}s"]:
            values = [shown(each["settings"][name]) if name in each["settings"] else "" for name in summary.varied]
            facts = [each.get(name) for name in ("state", "runs", "finished")]
            found = [each.get(name) for name in summary.quantities]
            pairs = [(x and x["mean"], x and x["sd"]) if kind == "setting" else (x, None) for x in found]
            # `csv` writes all digits of a number, and None as an empty cell.
            writer.writerow([kind, each.get("rank"), each["name"], *values, *facts, *itertools.chain(*pairs)])
    return file.getvalue()


def as_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as a JSON object, with times, dates and reasons of failures."""
    tested = {id(each) for group in summary.tested for each in (group, *group.members)}

    def names(each: Group | Row) -> list[str]:
        return [name for name in summary.quantities if name not in TEST_COLUMNS or id(each) in tested]

    groups = [
        {
            "rank": group.rank,
            "name": group.name,
            "settings": group.settings,
            "runs": len(group.members),
            "finished": group.finished,
            **{name: group.results[name]._asdict() for name in names(group) if name in group.results},
        }
        for group in summary.groups
    ]
    runs = [
        {
            "name": row.name,
            "settings": {name: row.settings[name] for name in summary.varied if name in row.settings},
            "state": row.state,
            "reason": row.reason or None,
            **{name: row.figures.get(name) for name in names(row) if row.state == FINISHED},
            "seconds": row.figures.get("seconds"),
            "date": row.date and row.date.isoformat(timespec="seconds"),
        }
        for row in summary.rows
    ]
    return {
        "format": 1,
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "ranked_by": summary.score if summary.ranked else None,
        "note": summary.note,
        "varied": list(summary.varied),
        "settings": groups,
        "runs": runs,
    }
