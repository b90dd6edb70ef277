"""The table of runs: its rows are what the files say."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from helpers import assert_one_line, call, output_of
from run_folders import a_report, write_run, write_sweep

from mlp_xp.runs import _replacing, table
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import SweepFolder

pytestmark = pytest.mark.usefixtures("eighty_columns")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Six runs: three finished, two interrupted, one damaged.

    One was interrupted after a report, one before.
    """
    folder, begun = tmp_path / "runs", [a_report(0, 0, accuracy=0.1)]
    first = {"accuracy": 0.91, "validation_accuracy": 0.92, "seconds": 7.5}
    second = {"accuracy": 0.95, "validation_accuracy": 0.90}
    write_run(folder / "a", {"learning_rate": 0.1, "seed": 3}, begun, first)
    settings = {"learning_rate": 0.01, "optimizer": "adam"}
    write_run(folder / "b", settings, begun, second)
    settings = {"learning_rate": 0.03, "hidden": [32, 16]}
    write_run(folder / "c", settings, begun, {"accuracy": 0.93})
    write_run(folder / "d", {"epochs": 9}, [*begun, a_report(0, 500, accuracy=0.4)])
    write_run(folder / "e", {})
    write_run(folder / "f", {}, [], {"accuracy": 0.5})
    (folder / "f" / "result.json").write_text('{"epoch": 3}')
    (folder / "notes").mkdir()
    (folder / "notes.txt").write_text("mine")
    return folder


def by_name(folder: Path) -> dict[str, table.Row]:
    return {row.name: row for row in table.find_runs([folder])}


def test_a_row_has_what_the_files_say(runs):
    rows = by_name(runs)
    assert [*rows] == [*"abcdef"]
    record = json.loads((runs / "a" / "config.json").read_text())
    assert rows["a"].settings == record["settings"] | {"hidden": (64,)}
    assert rows["a"].metrics == {
        "test_accuracy": 0.91,
        "validation_accuracy": 0.92,
        "train_loss": 1.0,
        "test_loss": 1.0,
        "seconds": 7.5,
    }
    written = (runs / "a" / "result.json").stat().st_mtime
    assert rows["a"].date.timestamp() == pytest.approx(written, rel=0, abs=1e-3)


def test_a_row_has_the_state_of_its_run(runs):
    rows = by_name(runs)
    states = {name: row.state for name, row in rows.items()}
    assert states == {
        **dict.fromkeys("abc", "finished"),
        **dict.fromkeys("de", "interrupted"),
        "f": "unreadable",
    }
    assert rows["d"].metrics["test_accuracy"] == 0.4
    assert rows["e"].metrics == {}
    assert "result.json': is damaged: its field 'sample' is missing" in rows["f"].reason


def test_an_unfinished_run_has_the_results_of_its_last_report_on_held_out_samples(
    tmp_path,
):
    """Soon after an epoch, a training loss is of few samples."""
    end = a_report(0, 1000, validation_loss=0.5, accuracy=0.8, train_loss=0.7)
    begun = a_report(1, 0, accuracy=0.3, train_loss=9.0)
    write_run(tmp_path / "r", {}, [a_report(0, 0), end, begun])
    metrics = by_name(tmp_path / "r")["r"].metrics
    found = [metrics[name] for name in ("validation_loss", "test_accuracy")]
    assert (*found, metrics["train_loss"]) == (0.5, 0.8, 0.7)
    out = output_of("runs", tmp_path / "r")
    assert re.search(" held-out loss +last train loss +test loss ", out)


def test_errors_of_several_outputs_have_no_mean(tmp_path):
    """Their units differ. The folders have ten outputs, but for regression one."""
    for name, task in (("one", "regression"), ("ten", "labels")):
        write_run(tmp_path / name, {"task": task}, [], {"r2": 0.5, "rmse": 2.5})
    rows = by_name(tmp_path)
    errors = {name: row.metrics.get("test_rmse") for name, row in rows.items()}
    assert errors == {"one": 2.5, "ten": None}


def test_a_fold_is_no_fraction(tmp_path):
    write_run(tmp_path / "a", {"cv": 3, "fold": 0, "data_dir": "/a.csv"}, [], {})
    write_run(tmp_path / "b", {"data_dir": "/a.csv"}, [], {})
    rows = by_name(tmp_path)
    fractions = {name: row.settings["test_fraction"] for name, row in rows.items()}
    assert fractions == {"a": None, "b": 0.2}


def test_a_run_in_use_is_shown_as_that_and_its_lock_is_not_touched(runs):
    with RunFolder(runs / "d").locked():
        row = by_name(runs)["d"]
        assert row.state == "in use"
        assert row.reason.startswith(f"in use by process {os.getpid()} on ")
        assert (runs / "d" / ".lock").exists()


def test_a_run_that_is_being_replaced_is_in_use_or_interrupted(runs):
    folder = runs / "d"
    _replacing.begin(folder)
    with RunFolder(folder).locked():
        assert by_name(runs)["d"].state == "in use"
    row = by_name(runs)["d"]
    assert row.state == "interrupted"
    assert row.reason.startswith("is being replaced by a run that has no checkpoint")
    assert f"{folder}: {row.reason}" in output_of("runs", folder)


def test_a_run_that_ends_while_it_is_read_is_finished(runs, monkeypatch):
    holder = RunFolder.holder

    def ends(run):
        user = holder(run)
        shutil.copy(runs / "a" / "result.json", run.path / "result.json")
        return user

    with RunFolder(runs / "d").locked():
        monkeypatch.setattr(RunFolder, "holder", ends)
        row = table.read_row(RunFolder(runs / "d"))
    assert (row.state, row.reason) == ("finished", "")


@pytest.mark.parametrize("reads", ["settings", "result", "reports"])
def test_a_run_that_is_deleted_while_it_is_read_is_left_out(reads, runs, monkeypatch):
    read = getattr(RunFolder, reads)

    def deleted(run):
        if run.path.name == "d":
            shutil.rmtree(run.path)
        return read(run)

    monkeypatch.setattr(RunFolder, reads, deleted)
    row = by_name(runs).get("d")
    # after its settings and its result were read, it is a run without reports
    assert row is None or (row.state, row.date) == ("interrupted", None)


def test_members_of_a_sweep_have_the_states_of_the_sweep(tmp_path):
    members = [{"seed": i, "learning_rate": 0.5} for i in range(5)]
    results = [{"accuracy": 0.5}, None, None, None, None]
    failures = {
        "0001": {"error": "DivergenceError", "reason": "the loss is nan"},
        "0002": {"error": "Killed", "reason": "out of memory"},
    }
    folder = write_sweep(tmp_path / "s", members, results, failures=failures)
    write_run(folder / "members" / "0004", {"seed": 4}, [a_report(0, 0)])
    rows = by_name(folder)
    assert [*rows] == ["0000", "0001", "0002", "0003", "0004"]
    assert [(row.state, row.reason) for row in rows.values()] == [
        ("finished", ""),
        ("failed", "the loss is nan"),
        ("failed", "out of memory"),
        ("not run", ""),
        ("interrupted", ""),
    ]
    assert [row.settings["seed"] for row in rows.values()] == [0, 1, 2, 3, 4]
    assert table.sweep_rows(SweepFolder(folder))[1] == ["learning_rate", "seed"]


def test_a_member_of_a_sweep_is_shown_by_a_name_that_can_be_pasted(tmp_path):
    expected = []
    for name in "st":
        write_sweep(tmp_path / name, [{"seed": 0}], [{}])
        expected.append(str(tmp_path / name / "members" / "0000"))
    lines = call("runs", tmp_path).out.splitlines()
    assert [line.split()[0] for line in lines if "0000 " in line] == expected


# How runs differ.


def test_settings_that_differ_are_found(runs):
    rows = [*by_name(runs).values()]
    expected = ["epochs", "learning_rate", "hidden", "seed", "optimizer"]
    assert table.differing(rows) == expected
    assert table.differing(rows[4:]) == []


def test_a_label_has_the_settings_that_differ_and_where_needed_the_folder(runs):
    a, b, *_ = by_name(runs).values()
    first = "learning rate 0.1, seed 3, optimizer sgd"
    second = "learning rate 0.01, seed 0, optimizer adam"
    other = Path("elsewhere/b")
    copy = b._replace(folder=other)
    assert table.labels([a, b]) == [first, second]
    assert table.labels([b, copy]) == [str(runs / "b"), str(other)]
    named = [f"{second} ({folder})" for folder in (runs / "b", other)]
    assert table.labels([a, b, copy]) == [first, *named]


@pytest.fixture
def own(tmp_path) -> Path:
    """Runs on three files, two with the same name, and on a published data set."""
    files = {
        "one": "/a/prices.csv",
        "two": "/a/iris.csv",
        "three": "/b/iris.csv",
        "four": None,
    }
    for name, path in files.items():
        write_run(tmp_path / name, {"data_dir": path}, [], {})
    return tmp_path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("one two four", ["dataset"]),
        ("two three", ["data_dir"]),
        ("one two three four", ["dataset", "data_dir"]),
    ],
)
def test_your_own_data_differ_by_their_name_or_where_it_is_the_same_by_their_path(
    names, expected, own
):
    rows = by_name(own)
    assert table.differing([rows[name] for name in names.split()]) == expected


def test_your_own_data_are_named_by_their_file(own):
    """Not as mnist, the default in config.json."""
    names = {name: row.settings["dataset"] for name, row in by_name(own).items()}
    iris = dict.fromkeys(("two", "three"), "iris.csv")
    assert names == {"one": "prices.csv", **iris, "four": "mnist"}
    out = output_of("runs --csv", own, where="dataset=iris.csv")
    assert out.count("\n") == 3


def test_the_data_of_members_are_named_by_their_file(tmp_path):
    members = [{"data_dir": "/a/x.csv"}, {"data_dir": "/a/y.csv"}]
    sweep = write_sweep(tmp_path / "s", members, [{}, None])
    rows, _ = table.sweep_rows(SweepFolder(sweep))
    assert [row.settings["dataset"] for row in rows] == ["x.csv", "y.csv"]


# The command.


@pytest.mark.parametrize(
    ("column", "order"),
    [
        # the highest first; those without one keep their order
        ("validation_accuracy", "abcdef"),
        ("learning-rate", "bdefca"),
        ("hidden", "cabdef"),
    ],
)
def test_rows_are_sorted(column, order, runs):
    rows = table.sort_rows([*by_name(runs).values()], column)
    assert "".join(row.name for row in rows) == order


def test_the_table_shows_settings_that_differ(runs):
    lines = output_of("runs", *(runs / name for name in "abcde")).splitlines()
    assert lines[0].split("  ")[0] == "run"
    row = " ".join(lines[4].split())
    assert row.startswith(f"{runs / 'd'} interrupted 40.00 9 0.01 64 0 sgd ")
    said = "unfinished runs: results of the last report; evaluate uses the checkpoint"
    assert lines[-1] == said


def test_csv_has_all_numbers_in_full(runs):
    rows = by_name(runs)
    outcome = call("runs --csv", runs, where="state=finished")
    assert_one_line(outcome, 1, "its field 'sample' is missing")
    lines = [*csv.DictReader(io.StringIO(outcome.out))]
    assert [line["name"] for line in lines] == ["a", "b", "c"]
    for line in lines:
        row = rows[line["name"]]
        numbers = {"learning_rate": row.settings["learning_rate"], **row.metrics}
        assert {name: float(line[name]) for name in numbers} == numbers


def test_json_has_all_settings_and_numbers(runs):
    records = json.loads(call("runs --json --sort learning_rate", runs).out)
    assert [record["name"] for record in records] == list("bdefca")
    settings = by_name(runs)["a"].settings
    assert records[-1]["settings"] == json.loads(json.dumps(settings))
    assert records[-1]["validation_accuracy"] == 0.92
