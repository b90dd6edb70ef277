"""The table of runs: its rows are what the files say, read here with json alone."""

import csv
import io
import json
import os
import platform
import uuid
from pathlib import Path

import pytest
from helpers import assert_one_line, call, native
from run_folders import a_report, write_run, write_sweep

from mlp_xp.runs import table
from mlp_xp.runs.run_folder import RunFolder
from mlp_xp.runs.sweep_folder import SweepFolder

NAMES = ("test_accuracy", "train_loss", "test_loss", "seconds")
pytestmark = pytest.mark.usefixtures("eighty_columns")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Six runs: three finished, one interrupted after a report, one without reports,
    one damaged.
    """
    folder = tmp_path / "runs"
    for name, settings, result in (
        (
            "a",
            {"learning_rate": 0.1, "seed": 3},
            {"accuracy": 0.91, "validation_accuracy": 0.92, "seconds": 7.5},
        ),
        (
            "b",
            {"learning_rate": 0.01, "optimizer": "adam"},
            {"accuracy": 0.95, "validation_accuracy": 0.90},
        ),
        ("c", {"learning_rate": 0.03, "hidden": [32, 16]}, {"accuracy": 0.93}),
    ):
        write_run(folder / name, settings, [a_report(0, 0)], result)
    write_run(
        folder / "d",
        {"epochs": 9},
        [a_report(0, 0, accuracy=0.1), a_report(0, 500, accuracy=0.4)],
    )
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
    assert [*rows] == ["a", "b", "c", "d", "e", "f"]
    for name in "abc":
        settings = json.loads((runs / name / "config.json").read_text())["settings"]
        result = json.loads((runs / name / "result.json").read_text())
        row = rows[name]
        assert row.settings == settings
        assert row.state == "finished"
        assert [
            *map(row.figures.get, NAMES),
            row.figures.get("validation_accuracy"),
        ] == [
            *(
                result[key]
                for key in ("accuracy", "train_loss", "test_loss", "seconds")
            ),
            result.get("validation_accuracy"),
        ]
        assert (
            abs(row.date.timestamp() - (runs / name / "result.json").stat().st_mtime)
            < 1e-3
        )
    assert (rows["d"].state, rows["d"].figures["test_accuracy"]) == ("interrupted", 0.4)
    assert (rows["e"].state, rows["e"].figures) == ("interrupted", {})
    assert rows["f"].state == "unreadable"
    assert "result.json': is damaged: its field 'sample' is missing" in rows["f"].reason


def test_a_run_in_use_is_shown_as_that_and_its_lock_is_not_touched(runs):
    with RunFolder(runs / "d").locked():
        row = by_name(runs)["d"]
        assert (
            row.state,
            row.reason.startswith(f"in use by process {os.getpid()} on "),
        ) == ("in use", True)
        assert (runs / "d" / ".lock").exists()
    # of a killed process
    (runs / "d" / ".holder").write_text(
        f"{2**22 + 1} {uuid.getnode()} {platform.node()}\n"
    )
    assert by_name(runs)["d"].state == "interrupted"


def test_members_of_a_sweep_have_the_states_of_the_sweep(tmp_path):
    members = [{"seed": i, "learning_rate": 0.5} for i in range(5)]
    failures = {
        "0001": {"error": "DivergenceError", "reason": "the loss is nan"},
        "0002": {"error": "Killed", "reason": "out of memory"},
    }
    folder = write_sweep(
        tmp_path / "s",
        members,
        [{"accuracy": 0.5}, None, None, None, None],
        failures=failures,
    )
    write_run(folder / "members" / "0004", {"seed": 4}, [a_report(0, 0)])
    rows = by_name(folder)
    assert [*rows] == ["0000", "0001", "0002", "0003", "0004"]
    assert [row.state for row in rows.values()] == [
        "finished",
        "failed",
        "failed",
        "not run",
        "interrupted",
    ]
    assert [row.reason for row in rows.values()] == [
        "",
        "the loss is nan",
        "out of memory",
        "",
        "",
    ]
    assert [row.settings["seed"] for row in rows.values()] == [0, 1, 2, 3, 4]
    assert table.sweep_rows(SweepFolder(folder))[1] == ["learning_rate", "seed"]
    # Their names in the table can be pasted.
    write_sweep(tmp_path / "t", members[:1], [{}])
    lines = call("runs", tmp_path).out.splitlines()
    assert [line.split()[0] for line in lines if "0000 " in line] == [
        str(tmp_path / name / "members" / "0000") for name in "st"
    ]


def test_what_differs_is_found_from_the_settings(runs):
    rows = [*by_name(runs).values()]
    assert table.differing(rows) == [
        "epochs",
        "learning_rate",
        "hidden",
        "seed",
        "optimizer",
    ]
    assert table.differing(rows[4:]) == []
    assert table.labels(rows[:2]) == [
        "learning rate 0.1, seed 3, optimizer sgd",
        "learning rate 0.01, seed 0, optimizer adam",
    ]
    other = Path("elsewhere/b")
    assert table.labels([rows[0], rows[0]._replace(folder=other)]) == [
        str(runs / "a"),
        str(other),
    ]
    assert table.labels([rows[0], rows[1], rows[1]._replace(folder=other)])[1:] == [
        f"learning rate 0.01, seed 0, optimizer adam ({folder})"
        for folder in (runs / "b", other)
    ]


def test_your_own_data_are_named_by_their_file(tmp_path):
    """Not as mnist, which config.json has as the default, nor by their whole path,
    unless they have one name.
    """
    for name, path in (
        ("one", "/a/prices.csv"),
        ("two", "/a/iris.csv"),
        ("three", "/b/iris.csv"),
        ("four", None),
    ):
        write_run(tmp_path / "r" / name, {"data_dir": path}, [], {})
    rows = by_name(tmp_path / "r")
    assert [rows[name].settings["dataset"] for name in ("one", "two", "four")] == [
        "prices.csv",
        "iris.csv",
        "mnist",
    ]
    for names, expected in (
        (("one", "two", "four"), ["dataset"]),
        (("two", "three"), ["data_dir"]),
        (rows, ["dataset", "data_dir"]),
    ):
        assert table.differing([rows[name] for name in names]) == expected
    assert (
        call("runs", tmp_path / "r", "--where", "dataset=iris.csv", "--csv").out.count(
            "\n"
        )
        == 3
    )
    write_sweep(
        tmp_path / "s", [{"data_dir": "/a/x.csv"}, {"data_dir": "/a/y.csv"}], [{}, None]
    )
    assert [
        row.settings["dataset"]
        for row in table.sweep_rows(SweepFolder(tmp_path / "s"))[0]
    ] == ["x.csv", "y.csv"]


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
    rows = [*by_name(runs).values()]
    assert "".join(row.name for row in table.sort_rows(rows, column)) == order


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["optimizer=adam"], "b"),
        (["optimizer != adam"], "acdef"),
        (["learning_rate<=0.03", "state=finished"], "bc"),
        (["hidden=32,16"], "c"),
        (["epochs<10"], "abcdef"),
        (["validation_accuracy>0.9"], "a"),
        (["validation_accuracy=none"], "cdef"),
        (["defer_updates=true"], "abcdef"),
        (["date>2000-01-01"], "abcde"),  # there is none where a record is damaged
    ],
)
def test_rows_are_selected(conditions, left, runs):
    assert (
        "".join(
            row.name for row in table.select_rows([*by_name(runs).values()], conditions)
        )
        == left
    )


@pytest.mark.parametrize(
    "words",
    [["--sort", "test_accuracy"], ["--where", "test-loss<1"], ["--sort", "test-loss"]],
)
def test_no_run_is_chosen_by_the_test_set(words, runs):
    outcome = call("runs", runs, *words)
    assert_one_line(
        outcome,
        2,
        words[0],
        "looks better there than on new data",
        "validation_accuracy",
    )
    assert outcome.out == ""


def test_the_table_shows_what_differs(runs):
    outcome = call("runs", *(runs / name for name in "abcde"))
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split("  ")[0] == "run"
    assert lines[4].split()[:8] == [
        str(runs / "d"),
        "interrupted",
        "40.00",
        "9",
        "0.01",
        "64",
        "0",
        "sgd",
    ]
    assert (
        lines[-1]
        == "unfinished runs: results of the last report; evaluate uses the checkpoint"
    )


def test_on_few_columns_settings_that_vary_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    for i in range(3):
        name = f"fashion-mnist-array-api-strict-20261127-10301{i}"
        write_run(
            tmp_path / "runs" / name,
            {"learning_rate": 0.1 * (i + 1)},
            [],
            {"validation_accuracy": 0.9},
        )
    lines = call("runs").out.splitlines()
    assert max(map(len, lines[-4:-1])) <= 80
    rows = [line.split() for line in lines if "90.00" in line]
    names = [
        native(f"runs/fashion-mnist-array-api-strict-20261127-10301{i}")
        for i in range(3)
    ]
    assert rows == [
        [name, "90.00", "50.00", f"0.{i}"] for i, name in enumerate(names, 1)
    ]
    assert "no room for: " in lines[-1]
    assert lines[-1].endswith(", date")


def test_csv_and_json_have_all_numbers_in_full(runs):
    rows = by_name(runs)
    outcome = call("runs", runs, "--csv", "--where", "state=finished")
    assert_one_line(outcome, 1, "its field 'sample' is missing")
    lines = [*csv.DictReader(io.StringIO(outcome.out))]
    assert [line["name"] for line in lines] == ["a", "b", "c"]
    for line in lines:
        row = rows[line["name"]]
        assert [
            float(line[name])
            for name in ("learning_rate", "test_accuracy", "train_loss", "seconds")
        ] == [
            *(
                row.settings["learning_rate"],
                *(
                    row.figures[name]
                    for name in ("test_accuracy", "train_loss", "seconds")
                ),
            )
        ]
    records = json.loads(call("runs", runs, "--json", "--sort", "learning_rate").out)
    assert [record["name"] for record in records] == list("bdefca")
    assert records[-1]["settings"] == rows["a"].settings
    assert records[-1]["validation_accuracy"] == 0.92


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "'nowhere': no such folder"),
        (["empty"], "'empty': contains no runs"),
        (
            ["good", "--sort", "speed"],
            "--sort: 'speed' is not a column (did you mean 'seed'?)",
        ),
        (["good", "--where", "seed=x"], "'x' is not a number"),
        (["good", "--where", "hidden"], "'hidden' is not a condition"),
        (
            ["good", "--where", "hidden<64"],
            "hidden is not a number; compare it by = or !=",
        ),
        (["good", "--json", "--csv"], "--json and --csv"),
        (
            ["good", "--summary", "--sort", "seed"],
            "--summary and --sort: give only one",
        ),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(Path("good"), {}, [], {})
    Path("empty").mkdir()
    outcome = call("runs", *words)
    assert_one_line(outcome, 2, message)
    # which would be refused too
    assert not any(column in outcome.err for column in ("test_accuracy", "test_loss"))
