"""The summary of a sweep: its figures against `statistics`, its order against the rules."""

import csv
import io
import json
import math
import os
import platform
import statistics
from pathlib import Path

import numpy as np
from helpers import assert_one_line, call
from run_folders import a_report, write_run, write_sweep

from mlp_xp.runs import table
from mlp_xp.sweeps.summary import spread, summarise, summary_of, write_summary

SEEDS = 6


def test_mean_and_deviation_are_those_of_statistics(random):
    for n in (1, 2, 300):
        values = random.uniform(0.9, 1, n).tolist()
        found = spread(values)
        assert found.n == n
        assert math.isclose(found.mean, statistics.fmean(values), rel_tol=1e-15)
        assert found.sd is None if n == 1 else math.isclose(found.sd, statistics.stdev(values), rel_tol=1e-11)
        assert spread(values[::-1]) == found  # the order of the runs has no effect
    assert spread([0.97] * 7) == (7, 0.97, 0.0)


def a_sweep(folder: Path, *, held_out: bool = True, **changes) -> Path:
    """A sweep of 3 learning rates by SEEDS seeds. The best on held-out samples is the worst on the test set."""
    random = np.random.default_rng(3)
    members = [{"learning_rate": rate, "seed": seed} for rate in (0.01, 0.1, 0.3) for seed in range(SEEDS)]
    results = []
    for member in members:
        good = {0.01: 0.2, 0.1: 0.6, 0.3: 0.4}[member["learning_rate"]] + random.uniform(0, 0.1)
        result = {"accuracy": 1 - good, "train_loss": 3 - good, "test_loss": good, "seconds": random.uniform(1, 9)}
        results.append({**result, "validation_accuracy": good} if held_out else result)
    for index in changes.pop("without", ()):
        results[index] = None
    return write_sweep(folder, members, results, **changes)


def lines_of(folder: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO((folder / "summary.csv").read_text()))]


def results_of(folder: Path, name: str, rate: float) -> list[float]:
    """Results as the files have them."""
    index = json.loads((folder / "sweep.json").read_text())
    found = [each["name"] for each in index["members"] if each["settings"]["learning_rate"] == rate]
    paths = [folder / "members" / each / "result.json" for each in found]
    return [json.loads(path.read_text())[name] for path in paths if path.exists()]


def test_each_setting_and_each_member_has_its_figures(tmp_path):
    folder = a_sweep(tmp_path / "s")
    assert write_summary(folder) == [folder / "summary.csv", folder / "summary.json"]
    settings = [line for line in lines_of(folder) if line["kind"] == "setting"]
    assert [(line["rank"], line["learning_rate"]) for line in settings] == [("1", "0.1"), ("2", "0.3"), ("3", "0.01")]
    for line in settings:
        assert (line["runs"], line["finished"], line["seed"]) == (str(SEEDS), str(SEEDS), "")
        for column in ("validation_accuracy", "train_loss"):
            values = results_of(folder, column, float(line["learning_rate"]))
            assert math.isclose(float(line[column]), statistics.fmean(values), rel_tol=1e-11)
            assert math.isclose(float(line[f"{column}_sd"]), np.std(values, ddof=1), rel_tol=1e-9)
    record = json.loads((folder / "summary.json").read_text())
    assert [each["settings"] for each in record["settings"]] == [{"learning_rate": rate} for rate in (0.1, 0.3, 0.01)]
    best = record["settings"][0]["validation_accuracy"]
    assert (best["n"], best["mean"]) == (SEEDS, float(settings[0]["validation_accuracy"]))
    assert record["ranked_by"] == "validation_accuracy"
    runs = [line for line in lines_of(folder) if line["kind"] == "run"]
    assert [line["name"] for line in runs] == [f"{i:04d}" for i in range(3 * SEEDS)]
    for line in runs:
        result = json.loads((folder / "members" / line["name"] / "result.json").read_text())
        assert float(line["validation_accuracy"]) == result["validation_accuracy"]
        assert float(line["train_loss"]) == result["train_loss"]
        assert line["test_accuracy"] == ("" if float(line["learning_rate"]) != 0.1 else repr(result["accuracy"]))
    # The best setting by the test set is the worst by the held-out samples; the best alone has figures of the test set.
    tested = [line for line in lines_of(folder) if line["test_accuracy"] or line["test_loss"]]
    assert {line["learning_rate"] for line in tested} == {"0.1"}
    assert ["test_accuracy" in each for each in record["settings"]] == [True, False, False]
    assert sum("test_accuracy" in each for each in record["runs"]) == SEEDS
    out = call("runs", folder, "--summary").out
    best = statistics.fmean(results_of(folder, "accuracy", 0.1))
    assert f"best: learning rate 0.1: {100 * best:.2f} % (s.d. " in out
    assert out.count("of the test samples right") == 1
    assert "never by the test set" in out


def test_without_held_out_samples_nothing_is_ranked_and_the_reason_is_given(tmp_path):
    folder = a_sweep(tmp_path / "s", held_out=False)
    write_summary(folder)
    settings = [line for line in lines_of(folder) if line["kind"] == "setting"]
    assert [line["learning_rate"] for line in settings] == ["0.01", "0.1", "0.3"]  # as given
    assert {line["rank"] for line in settings} == {""}
    assert all(line["test_accuracy"] for line in settings)
    record = json.loads((folder / "summary.json").read_text())
    assert record["ranked_by"] is None
    printed = call("runs", folder, "--summary").out
    assert max(map(len, printed.partition("\n0.01:")[0].splitlines()[:-3])) <= 80
    out = " ".join(printed.split())
    assert "not ranked: no samples were held out, and the best on the test set would look better there" in out
    assert "best:" not in out
    assert "rank " not in out


def test_settings_on_different_data_are_not_ranked(tmp_path):
    members = [{"dataset": name, "seed": seed} for name in ("mnist", "kmnist") for seed in range(2)]
    folder = write_sweep(tmp_path / "s", members, [{"validation_accuracy": 0.5}] * 4)
    assert "differ in dataset" in summary_of(folder).note
    both = [{"validation": count} for count in (100, 5000)]
    folder = write_sweep(tmp_path / "v", both, [{"validation_accuracy": accuracy} for accuracy in (0.5, 0.6)])
    summary = summary_of(folder)
    assert not summary.ranked
    assert "differ in validation" in summary.note
    mixed = [{"validation": count} for count in (0, 100)]
    folder = write_sweep(tmp_path / "t", mixed, [{}, {"validation_accuracy": 0.5}])
    assert "some settings hold no samples out" in summary_of(folder).note
    folder = write_sweep(tmp_path / "u", [{"seed": 1}, {"seed": 2}], [{"validation_accuracy": 0.5}] * 2)
    assert "one setting only" in summary_of(folder).note
    assert summary_of(folder).groups[0].name == "all runs"


def test_a_setting_with_failed_members_comes_after_those_without(tmp_path):
    """What remains of it is not a fair sample."""
    folder = a_sweep(
        tmp_path / "s",
        without=[SEEDS, 0],
        failures={f"{SEEDS:04d}": {"error": "DivergenceError", "reason": "the loss is nan"}},
    )
    # An unfinished run does not count, whatever its last report says.
    reports = [a_report(0, 500, validation_accuracy=1.0)]
    write_run(folder / "members" / "0000", {"learning_rate": 0.01, "seed": 0}, reports)
    summary = summary_of(folder)
    assert summary.groups[1].results["validation_accuracy"].mean < 0.5
    assert [each.settings["learning_rate"] for each in summary.groups] == [0.3, 0.01, 0.1]
    assert [(len(each.members), each.finished) for each in summary.groups] == [(6, 6), (6, 5), (6, 5)]
    write_summary(folder)
    states = {line["name"]: line["state"] for line in lines_of(folder) if line["kind"] == "run"}
    assert (states["0000"], states[f"{SEEDS:04d}"], states["0001"]) == ("interrupted", "failed", "finished")
    runs = json.loads((folder / "summary.json").read_text())["runs"]
    assert runs[SEEDS]["reason"] == "the loss is nan"
    out = call("runs", folder, "--summary").out
    assert "1 interrupted, 16 finished, 1 failed; only finished runs count" in out
    assert "settings with failed runs come last" in out


def test_the_same_results_give_the_same_bytes(tmp_path, monkeypatch):
    """Wherever and whenever the members ran: so a cluster that lost a worker ends in the same summary.csv."""
    one, other = a_sweep(tmp_path / "one"), a_sweep(tmp_path / "other")
    write_summary(one)
    for i, path in enumerate(sorted(other.glob("members/*/result.json"), reverse=True)):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "seconds": 100.0 + i, "samples_per_second": 3.0}))
        os.utime(path, (1e9 + i, 1e9 + i))
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    write_summary(other)
    assert (one / "summary.csv").read_bytes() == (other / "summary.csv").read_bytes()
    runs = json.loads((other / "summary.json").read_text())["runs"]
    assert runs[-1]["seconds"] == 100.0
    write_summary(one)
    assert (one / "summary.csv").read_bytes() == (other / "summary.csv").read_bytes()


def test_any_runs_can_be_summarised(tmp_path):
    for i in range(4):
        result = {"accuracy": 0.9, "validation_accuracy": 0.9 + i / 100}
        write_run(tmp_path / "runs" / f"r{i}", {"seed": i, "hidden": [4 + i % 2]}, [], result)
    write_run(tmp_path / "runs" / "x", {"hidden": [7]}, [], {})
    (tmp_path / "runs" / "x" / "config.json").write_text("{")
    rows, _ = table.find_runs([tmp_path / "runs"])
    summary = summarise(rows)
    assert [(each.name, each.finished) for each in summary.groups] == [("hidden 5", 2), ("hidden 4", 2)]
    outcome = call("runs", tmp_path / "runs", "--summary")
    assert_one_line(outcome, 1, "is not JSON")
    listed = [*csv.DictReader(io.StringIO(call("runs", tmp_path / "runs", "--summary", "--csv").out))]
    assert [line["kind"] for line in listed] == ["setting"] * 2 + ["run"] * 5
    assert json.loads(call("runs", tmp_path / "runs", "--summary", "--json").out)["ranked_by"] == "validation_accuracy"
