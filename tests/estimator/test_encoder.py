"""TableEncoder: mixed tables in scikit-learn's pipelines."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_sets import FRAMES, MIXED, mixed
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import from_arrays
from mlp_xp.errors import MlpXpWarning
from mlp_xp.estimator import MLPClassifier, TableEncoder

CUT = 100  # rows to train on
ARRAY = np.array([["a", 1], ["b", np.nan], ["a", 3], ["b", 1]], object)


TABLES = [(name, "polars") for name in MIXED]
TABLES += [
    pytest.param("titanic", kind, marks=pytest.mark.slow)
    for kind in FRAMES
    if kind != "polars"
]


@pytest.mark.parametrize(("name", "kind"), TABLES)
def test_features_are_those_of_from_arrays(name: str, kind: str) -> None:
    table = mixed(name)
    frame, y = table.frame(kind), table.columns[table.label]
    first = frame.slice(0, CUT) if kind in ("polars", "pyarrow") else frame[:CUT]
    encoder, data = TableEncoder().fit(first), from_arrays(first, y[:CUT], (frame, y))
    np.testing.assert_array_equal(encoder.transform(frame), data.test.inputs)
    assert encoder.get_feature_names_out().tolist() == [*data.signature.feature_names]


def test_a_pipeline_takes_a_raw_data_frame() -> None:
    table = mixed("penguins")
    X, y = table.frame("pandas"), np.array(table.columns[table.label])
    network = MLPClassifier(
        (8,),
        learning_rate_init=0.02,
        max_iter=40,
        random_state=0,
        tol=0,
        n_iter_no_change=40,
    )
    pipeline = make_pipeline(TableEncoder(), StandardScaler(), network)
    with pytest.warns(ConvergenceWarning):
        pipeline.fit(X[:CUT], y[:CUT])
    pipeline = pickle.loads(pickle.dumps(pipeline))
    assert (pipeline.predict(X[CUT:]) == y[CUT:]).mean() > 0.9
    with pytest.warns(MlpXpWarning, match="'island'"):
        predicted = pipeline.predict(X[CUT:].assign(island="Elba"))
    assert (predicted == y[CUT:]).mean() > 0.7, "the other columns are of no use"
    with pytest.raises(ValueError, match="- island"):
        pipeline.predict(X.drop(columns="island"))


def test_an_array_may_have_text_and_gaps() -> None:
    encoder = TableEncoder().fit(ARRAY)
    expected = [[1, 0, 1, 0], [0, 1, 1, 1], [1, 0, 3, 0], [0, 1, 1, 0]]
    np.testing.assert_array_equal(encoder.transform(ARRAY), expected)
    names = encoder.get_feature_names_out()
    assert names.tolist() == ["x0=a", "x0=b", "x1", "x1 is missing"]
    names = encoder.get_feature_names_out(["k", "n"])
    assert names.tolist() == ["k=a", "k=b", "n", "n is missing"]


@pytest.mark.parametrize("gap", [np.nan, pd.NA])
def test_a_list_means_what_an_array_of_objects_means(gap: Any) -> None:
    rows = [["a", 1.0, 2.5], ["b", "x", gap]] * 5
    array = np.array(rows, object)
    encoder, of_array = TableEncoder(["x1"]), TableEncoder(["x1"])
    encoder.fit(rows), of_array.fit(array)
    names = ["x0=a", "x0=b", "x1=1", "x1=x", "x2", "x2 is missing"]
    assert [*encoder.get_feature_names_out()] == names
    assert [*of_array.get_feature_names_out()] == names
    np.testing.assert_array_equal(encoder.transform(rows), of_array.transform(array))
    np.testing.assert_array_equal(encoder.transform(rows[1:2]), [[0, 1, 0, 1, 2.5, 1]])
