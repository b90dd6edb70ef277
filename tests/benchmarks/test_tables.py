"""The benchmark of tables: its scores, ranks, and results that are kept in a file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks import tables
from benchmarks.tables import Contestant, Key, Result, Rows

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


def test_a_model_has_its_score_on_the_test_rows(
    models: list[str], tmp_path: Path
) -> None:
    found = tables.measure_all(tmp_path / "a.jsonl", [FIRST], 1, ["linear"])
    X, y = load_diabetes(return_X_y=True)
    X, test_X, y, test_y = train_test_split(X, y, test_size=0.2, random_state=0)
    scaler = StandardScaler().fit(X)
    model = Ridge().fit(scaler.transform(X), y)
    expected = model.score(scaler.transform(test_X), test_y)
    assert found[Key(FIRST, 0, "linear")].score == pytest.approx(expected)
    assert models == []


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


def test_ranks_and_scores_of_planted_results() -> None:
    """The best has 1, a constant 0; equal ones share a rank."""
    planted = {
        ("a", FIRST): 0.8,
        ("b", FIRST): 0.2,
        ("c", FIRST): -3.0,
        ("a", "wdbc"): 0.7,
        ("b", "wdbc"): 0.9,
        ("c", "wdbc"): 0.9,
    }
    results = {}
    for (title, table), score in planted.items():
        for seed, difference in enumerate((-0.1, 0.1)):
            results[Key(table, seed, title)] = Result(score + difference, 1.0 + seed)
    results[Key("pima", 0, "a")] = Result(1.0, 1.0)  # of a single model
    found = tables.compared(results, "abc", ["pima", "wdbc", FIRST], 3)
    assert found.tables == ("wdbc", FIRST)
    np.testing.assert_allclose(found.normalised, [[0.5, 1], [1, 0.25], [1, 0]])
    np.testing.assert_array_equal(found.ranks, [[3, 1], [1.5, 2], [1.5, 3]])
    lines = found.table("All").splitlines()
    assert lines[0].startswith("| All (2) |")
    assert lines[2] == "| a | 2.00 | 0.750 | 0.7000 | 0.8000 | 1.50 |"


@pytest.mark.needs("matplotlib")
def test_the_comparison_is_drawn(tmp_path: Path) -> None:
    results = {Key(FIRST, 0, title): Result(0.5, 1.0) for title in ("a", "b")}
    path = tmp_path / "a.png"
    tables.draw(tables.compared(results, ["a", "b"], [FIRST], 1), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_difference_beyond_chance_is_that_of_a_corrected_t_test():
    """For 2, 2, 3 t is 5.3, and for 2, 3, 4 it is 3.9. The limit is 4.3."""
    scores = {"a": (0.2, 0.3, 0.4), "b": (0.2, 0.2, 0.3), "c": (-0.2, -0.2, -0.3)}
    results = {}
    for name, differences in scores.items():
        for i, each in enumerate(differences):
            results[Key(name, i, "one")] = Result(0.5 + each, 1.0)
            results[Key(name, i, "other")] = Result(0.5, 1.0)
    found = tables.beyond_chance(results, "one", "other", "abc", 3)
    assert found == (["b"], ["c"])
