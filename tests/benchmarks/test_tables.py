"""The benchmark of tables: the recipe takes part, and results are kept in a file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import tables
from benchmarks.tables import Contestant, Rows

FIRST, SECOND = "diabetes", "friedman1"


def constant(rows: Rows) -> np.ndarray:
    """Predict the mean of the training rows."""
    return np.full(len(rows.test_labels), rows.y.mean())


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the means take part with linear regression. Returns the calls of the mean."""
    calls = []

    def counted(rows: Rows) -> np.ndarray:
        calls.append(rows.task)
        return constant(rows)

    contestants = (
        Contestant("mean", counted, "numpy"),
        Contestant("linear", tables.linear, "scikit-learn"),
    )
    monkeypatch.setattr(tables, "CONTESTANTS", contestants)
    return calls


def test_what_is_measured_is_kept_and_not_measured_again(
    models: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "new" / "results.jsonl"
    found = tables.measure_all(path, [FIRST], 2, ["mean", "linear"])
    assert len(models) == 2
    again = tables.measure_all(path, [FIRST, SECOND], 2, ["mean", "linear"])
    assert len(models) == 4
    assert again.items() > found.items()

    # of another version
    lines = path.read_text("utf-8").splitlines()
    old = json.loads(lines[0]) | {"settings": "numpy 0.1"}
    path.write_text("\n".join([json.dumps(old), *lines[1:]]) + "\n", "utf-8")
    assert tables.measure_all(path, [FIRST, SECOND], 2, ["mean", "linear"]).keys() == (
        again.keys()
    )
    assert len(models) == 5


@pytest.mark.slow
def test_the_recipe_takes_part() -> None:
    """It learns a table of text and numbers, with its classes in order."""
    random = np.random.default_rng(0)
    letters = random.choice(["a", "b", "c"], 300)
    numbers = random.normal(size=300)
    kinds = np.where(numbers > 0, letters, "d")
    X = pd.DataFrame({"letter": letters, "number": numbers})
    rows = Rows(X[:200], kinds[:200], X[200:], kinds[200:], "classes")
    assert rows.score(tables.own(rows)) > 0.98
    assert rows.score(tables.linear(rows)) > 0.9
