"""The conditions of `mlp-xp runs --where`."""

import os

import pytest
from run_folders import write_run

from mlp_xp.errors import MlpXpError
from mlp_xp.runs.table import find_runs, select_rows

NOON = 1_767_873_600  # 2026-01-08 12:00 UTC


@pytest.fixture
def rows(tmp_path):
    write_run(
        tmp_path / "a",
        {"beta_1": 0.9, "decay_bias": True},
        result={"validation_r2": 0.7},
    )
    write_run(
        tmp_path / "b",
        {"beta_1": 0.8, "decay_bias": False},
        result={"validation_r2": 0.4},
    )
    for folder in (tmp_path / "a", tmp_path / "b"):
        os.utime(folder / "result.json", (NOON, NOON))
    return find_runs([tmp_path])


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("beta_1=0.9", "a"),
        ("validation_r2>0.5", "a"),
        ("decay_bias=True", "a"),
        ("decay_bias!=true", "b"),
        ("optimizer=sgd", "ab"),
        ("seed=none", ""),
        ("date=2026-01-08", "ab"),
        ("date<=2026-01-08", "ab"),
        ("date<2026-01-08", ""),
        ("date>2026-01-07", "ab"),
    ],
)
def test_a_condition_selects_runs(condition, names, rows):
    assert "".join(row.name for row in select_rows(rows, [condition])) == names


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("date>banana", "not a date"),
        ("optimizer=SGD", "sgd"),
        ("decay_bias=yes", "true"),
        ("beta_1=high", "not a number"),
        ("hidden<3", "compare it by"),
    ],
)
def test_a_condition_that_no_run_can_meet_is_refused(condition, words):
    with pytest.raises(MlpXpError, match=words):
        select_rows([], [condition])
