"""TableEncoder: mixed tables in scikit-learn's pipelines."""

import pickle

import numpy as np
import pytest
from data_sets import FRAMES, MIXED, mixed
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlp_xp import from_arrays
from mlp_xp.errors import DatasetError, MlpXpWarning
from mlp_xp.estimator import MLPClassifier, TableEncoder

CUT = 100  # rows to train on


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("name", MIXED)
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
    with pytest.warns(match="Maximum iterations"):
        pipeline.fit(X[:CUT], y[:CUT])
    assert (
        pickle.loads(pickle.dumps(pipeline)).predict(X[CUT:]) == y[CUT:]
    ).mean() > 0.9
    new = X[CUT:].assign(island="Elba")
    with pytest.warns(MlpXpWarning, match="'island'"):
        assert (pipeline.predict(new) == y[CUT:]).mean() > 0.7  # by the other columns
    with pytest.raises(
        ValueError, match="Feature names seen at fit time, yet now missing:\n- island"
    ):
        pipeline.predict(X.drop(columns="island"))


def test_arrays_with_text_and_gaps() -> None:
    X = np.array([["a", 1], ["b", np.nan], ["a", 3], ["b", 1]], object)
    encoder = TableEncoder().fit(X)
    expected = [[1, 0, 1, 0], [0, 1, 1, 1], [1, 0, 3, 0], [0, 1, 1, 0]]
    np.testing.assert_array_equal(encoder.transform(X), expected)
    assert encoder.get_feature_names_out().tolist() == [
        "x0=a",
        "x0=b",
        "x1",
        "x1 is missing",
    ]
    assert encoder.get_feature_names_out(["k", "n"]).tolist() == [
        "k=a",
        "k=b",
        "n",
        "n is missing",
    ]
    for wrong, message in (
        (
            np.array([[{}, 1]], object),
            "X: columns 'x0' hold bytes, lists, durations or the like",
        ),
        (X[:, :1], "X has 1 features, but TableEncoder is expecting 2 features"),
    ):
        with pytest.raises((ValueError, DatasetError), match=message):
            encoder.transform(wrong)
