"""The conditions of `mlp-xp runs --where`. Refusals are in test_messages.py."""

import os

import pytest
from run_folders import write_run

from mlp_xp.runs.table import find_runs, select_rows

NOON = 1_767_873_600  # 2026-01-08 12:00 UTC


@pytest.fixture
def rows(tmp_path):
    """Two runs of noon, and a damaged run."""
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    write_run(a, {"beta_1": 0.9, "decay_bias": True}, result={"validation_r2": 0.7})
    settings = {"beta_1": 0.8, "decay_bias": False, "hidden": [32, 16]}
    write_run(b, settings, result={"validation_r2": 0.4})
    write_run(c, {"optimizer": "adam"}, result={})
    for folder in (a, b):
        os.utime(folder / "result.json", (NOON, NOON))
    (c / "result.json").write_text('{"epoch": 3}')
    return find_runs([tmp_path])


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ("beta_1=0.9", "ac"),
        ("validation_r2>0.5", "a"),
        ("validation_r2=none", "c"),
        ("decay_bias=True", "ac"),
        ("decay_bias!=true", "b"),
        ("optimizer=adam", "c"),
        ("optimizer != adam", "ab"),
        ("hidden=32,16", "b"),
        ("epochs<10", "abc"),
        ("beta_1<=0.85 and state=finished", "b"),
        ("seed=none", ""),
        # a damaged run has no date
        ("date=2026-01-08", "ab"),
        ("date<=2026-01-08", "ab"),
        ("date<2026-01-08", ""),
        ("date>2026-01-07", "ab"),
    ],
)
def test_conditions_select_runs(conditions, names, rows):
    selected = select_rows(rows, conditions.split(" and "))
    assert "".join(row.name for row in selected) == names
