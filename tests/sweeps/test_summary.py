"""The summary of a sweep: figures by `statistics`, and an order by the rules."""

import csv
import io
import itertools
import json
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import call, output_of
from run_folders import a_report, write_run, write_sweep

from mlp_xp.runs.sweep_folder import SweepFolder
from mlp_xp.sweeps.summary import summary_of, write_summary

# On held-out samples, of two seeds for each learning rate. The best there is the worst
# on the test set.
SCORES = {0.01: (0.2, 0.24), 0.1: (0.6, 0.66), 0.3: (0.4, 0.42)}


def test_each_combination_and_each_member_has_its_metrics(tmp_path):
    """The best combination alone has metrics of the test set."""
    folder = a_sweep(tmp_path / "s")
    assert write_summary(SweepFolder(folder)) == [
        folder / "summary.csv",
        folder / "summary.json",
    ]
    settings, runs = lines_of(folder), runs_of(folder)
    record = json.loads((folder / "summary.json").read_text())
    assert [line["rank"] for line in settings] == ["1", "2", "3"]
    for rate, line, of_json in zip(
        (0.1, 0.3, 0.01), settings, record["settings"], strict=True
    ):
        assert (line["learning_rate"], line["runs"], line["finished"]) == (
            str(rate),
            "2",
            "2",
        )
        assert of_json["settings"] == {"learning_rate": rate}
        mean, sd = statistics.fmean(SCORES[rate]), statistics.stdev(SCORES[rate])
        assert of_json["validation_accuracy"] == {"mean": mean, "sd": sd}
        for column, value in (("validation_accuracy", mean), ("train_loss", 3 - mean)):
            assert [float(line[column]), float(line[f"{column}_sd"])] == pytest.approx(
                [value, sd], rel=1e-9
            )
        assert (
            ("test_accuracy" in of_json)
            == bool(line["test_accuracy"])
            == bool(line["test_loss"])
            == (rate == 0.1)
        )
    for score, run in zip(itertools.chain(*SCORES.values()), runs, strict=True):
        assert run["validation_accuracy"] == score
        assert run["test_accuracy"] == (1 - score if score >= 0.6 else None)
    out = call("runs", folder, "--summary").out
    assert "best: learning rate 0.1: test % 37.00 ± 4.24, test loss " in out
    assert out.count(": test % ") == 1
    assert "never by the test set" in out


@pytest.mark.parametrize(
    ("members", "results", "note"),
    [
        (
            [{"dataset": "mnist"}, {"dataset": "kmnist"}],
            [0.5, 0.5],
            "results on different data",
        ),
        ([{"label": "a"}, {"label": "b"}], [0.5, 0.5], "results on different data"),
        (
            [{"validation": 100}, {"validation": 5000}],
            [0.5, 0.6],
            "different held-out samples",
        ),
        (
            [{"split_seed": 0}, {"split_seed": 1}],
            [0.5, 0.6],
            "different held-out samples",
        ),
        (
            [{"validation": 0}, {"validation": 100}],
            [None, 0.5],
            "ranks need held-out samples in all combinations, because the best on",
        ),
        (
            [{"learning_rate": 0.1}, {"learning_rate": 0.2}],
            [None, None],
            "ranks need held-out samples in all combinations, because the best on",
        ),
        ([{"seed": 1}, {"seed": 2}], [0.5, 0.5], "only one combination"),
    ],
)
def test_settings_that_do_not_compare_are_not_ranked(members, results, note, tmp_path):
    results = [
        {} if each is None else {"validation_accuracy": each} for each in results
    ]
    folder = write_sweep(tmp_path / "s", members, results)
    write_summary(SweepFolder(folder))
    summary, lines = summary_of(SweepFolder(folder)), lines_of(folder)
    assert not summary.ranked
    assert note in summary.note
    assert (summary.groups[0].name == "all runs") == ("seed" in members[0])
    assert [line["rank"] for line in lines] == [""] * len(summary.groups)
    assert all(line["test_accuracy"] for line in lines), (
        "of the best alone, if there is a best"
    )
    out = " ".join(call("runs", folder, "--summary").out.split())
    assert summary.note in out
    assert "best:" not in out


def test_a_regression_is_ranked_by_r2_on_held_out_samples(tmp_path):
    members = [
        {"learning_rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in (0, 1)
    ]
    scores = [0.5, 0.6, 0.7, 0.9]
    results = [
        {"accuracy": None, "validation_r2": score, "r2": 1 - score, "rmse": 2 * score}
        for score in scores
    ]
    common = {"task": "regression"}
    write_sweep(tmp_path / "s", members, results, common=common)
    write_summary(SweepFolder(tmp_path / "s"))
    best, other = lines_of(tmp_path / "s")
    assert (best["learning_rate"], other["learning_rate"]) == ("0.2", "0.1")
    assert [float(line["validation_r2"]) for line in (best, other)] == pytest.approx(
        [0.8, 0.55]
    )
    assert (float(best["test_rmse"]), other["test_rmse"]) == (pytest.approx(1.6), "")
    out = call("runs", tmp_path / "s", "--summary").out
    assert "ranked by the mean R² on the held-out samples, never by the test set" in out
    assert ", test rmse 1.6 ± 0.3, test loss " in out


def test_a_setting_with_failed_members_comes_after_those_without(tmp_path):
    """What remains of it is not a fair sample.

    An unfinished run does not count, whatever its last report says.
    """
    failures = {"0002": {"error": "DivergenceError", "reason": "the loss is nan"}}
    folder = a_sweep(tmp_path / "s", without=[2, 0], failures=failures)
    reports = [a_report(0, 500, validation_accuracy=1.0)]
    write_run(folder / "members" / "0000", {"learning_rate": 0.01, "seed": 0}, reports)
    groups = summary_of(SweepFolder(folder)).groups
    assert [(each.settings["learning_rate"], each.finished) for each in groups] == [
        (0.3, 2),
        (0.01, 1),
        (0.1, 1),
    ]
    assert groups[1].metrics["validation_accuracy"] == (0.24, None), (
        "one value has no deviation"
    )
    write_summary(SweepFolder(folder))
    states = ["interrupted", "finished", "failed", "finished", "finished", "finished"]
    assert [run["state"] for run in runs_of(folder)] == states
    assert runs_of(folder)[2]["reason"] == "the loss is nan"
    out = call("runs", folder, "--summary").out
    assert "1 interrupted, 4 finished, 1 failed; only finished runs count" in out


def test_the_same_results_give_the_same_bytes(tmp_path, monkeypatch):
    """Wherever and whenever the members ran.

    So a cluster that lost a worker ends in the same summary.csv.
    """
    one, other = a_sweep(tmp_path / "one"), a_sweep(tmp_path / "other")
    write_summary(SweepFolder(one))
    for i, path in enumerate(sorted(other.glob("members/*/result.json"), reverse=True)):
        record = json.loads(path.read_text())
        path.write_text(
            json.dumps({**record, "seconds": 100.0 + i, "samples_per_second": 3.0})
        )
        os.utime(path, (1e9 + i, 1e9 + i))
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    write_summary(SweepFolder(other))
    assert (one / "summary.csv").read_bytes() == (other / "summary.csv").read_bytes()
    assert runs_of(other)[-1]["seconds"] == 100.0


def test_any_runs_can_be_summarised(tmp_path):
    for i in range(4):
        result = {"accuracy": 0.9, "validation_accuracy": 0.9 + i / 100}
        write_run(tmp_path / f"r{i}", {"seed": i, "hidden": [4 + i % 2]}, [], result)
    out = output_of("runs", tmp_path, "--summary", "--csv")
    listed = [*csv.DictReader(io.StringIO(out))]
    assert [(line["name"], line["finished"]) for line in listed] == [
        ("hidden 5", "2"),
        ("hidden 4", "2"),
    ]
    record = json.loads(output_of("runs", tmp_path, "--summary", "--json"))
    assert record["ranked_by"] == "validation_accuracy"


# A sweep, and its summary.


def a_sweep(folder: Path, *, without: Sequence[int] = (), **changes) -> Path:
    members = [
        {"learning_rate": rate, "seed": seed} for rate in SCORES for seed in range(2)
    ]
    results: list = []
    for score in itertools.chain(*SCORES.values()):
        result = {"accuracy": 1 - score, "train_loss": 3 - score, "test_loss": score}
        results.append({**result, "validation_accuracy": score})
    for index in without:
        results[index] = None
    return write_sweep(folder, members, results, **changes)


def lines_of(folder: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO((folder / "summary.csv").read_text()))]


def runs_of(folder: Path) -> list[dict]:
    return json.loads((folder / "summary.json").read_text())["runs"]
