"""The filters of `mlp-xp runs --where`. Refusals are in test_messages.py."""

import pytest
from run_folders import write_run

from mlp_xp.runs.table import find_runs, select_rows


@pytest.fixture
def rows(tmp_path):
    """Two runs, and a damaged run."""
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    write_run(a, {"beta_1": 0.9, "decay_bias": True}, result={"validation_r2": 0.7})
    settings = {"beta_1": 0.8, "decay_bias": False, "hidden": [32, 16]}
    write_run(b, settings, result={"validation_r2": 0.4})
    write_run(c, {"optimizer": "adam"}, result={})
    (c / "result.json").write_text('{"epoch": 3}')
    return find_runs([tmp_path])


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("beta_1=0.9", "ac"),
        ("beta-1 = 0.90", "ac"),
        ("decay_bias=true", "ac"),
        ("decay_bias=false", "b"),
        ("optimizer=adam", "c"),
        ("hidden=32,16", "b"),
        ("hidden=32", ""),
        ("beta_1=0.8 and state=finished", "b"),
        ("start_from=none", "abc"),
        ("start_from=a", ""),
        ("state=unreadable", "c"),
    ],
)
def test_filters_select_runs(filters, names, rows):
    selected = select_rows(rows, filters.split(" and "))
    assert "".join(row.name for row in selected) == names
