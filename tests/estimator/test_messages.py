"""Data and parameters that the estimators refuse, on every backend.

Some messages are scikit-learn's.
"""

import numpy as np
import pandas as pd
import pytest
from estimators import data
from helpers import pattern
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from mlp_xp.backends.failures import BackendError
from mlp_xp.errors import DatasetError
from mlp_xp.estimator import MLPClassifier, MLPRegressor, TableEncoder

X, Y = data("binary")
MASKED = np.ma.masked_greater(X, 1)
ARRAY = np.array([["a", 1], ["b", np.nan], ["a", 3], ["b", 1]], object)
FRAME = pd.DataFrame(ARRAY, columns=["k", "n"])
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}


def fit(X=X, sample_weight=None, **settings):
    return lambda _: MLPClassifier(**settings).fit(X, Y, sample_weight)


def predict(row):
    """Return a prediction on a backend, for three rows of zeros and this one."""
    rows = np.pad([row], ((3, 0), (0, 0)))
    return lambda backend: (
        MLPClassifier(**SMALL)
        .fit(backend.asarray(X), Y)
        .predict_log_proba(backend.asarray(rows))
    )


def encode(first, then):
    return lambda _: TableEncoder().fit(first).transform(then)


WEIGHTS = "Negative values in data passed to `sample_weight`"
GAPS = "an array has masked values; impute them"

# By the kind of the error: what is done on a backend, and words of the message.
REFUSED = {
    ValueError: [
        (predict([1.0] * 5), "X has 5 features, but MLPClassifier is expecting 6"),
        (predict([np.nan] * 6), "X contains NaN"),
        (predict([np.inf] * 6), "X contains ... infinity"),
        (
            predict([1.7e308] * 6),
            "X: the outputs for row 3 are not finite in float64; scale X as in",
        ),
        (
            lambda backend: MLPClassifier().fit(backend.asarray(X[:, 0]), Y),
            "Expected 2D array",
        ),
        (
            fit(solver="lbfgs"),
            "'solver' parameter ... must be a str among ... 'lbfgs'",
        ),
        (
            lambda _: MLPClassifier(class_weight="balanced").partial_fit(X, Y),
            "class_weight='balanced' is not supported for partial_fit; weigh each",
        ),
        (
            lambda _: MLPClassifier(class_weight={0: 1, 5: 2}).partial_fit(
                X, Y, classes=[0, 1, 2]
            ),
            "are not in class_weight",
        ),
        (fit(sample_weight=-X[:, 0]), WEIGHTS),
        (fit(class_weight={0: 1, 1: -2}), WEIGHTS),
        (
            fit(sample_weight=np.eye(len(Y))[0], batch_size=10),
            "the sample weights of a batch sum to 0; drop samples of weight 0, or use",
        ),
        (
            lambda _: MLPRegressor(learning_rate_init=1e300, **SMALL).fit(X, X[:, 0]),
            "training diverged: the loss, the weights or the optimizer's state are not "
            "finite; scale the features and targets, or lower",
        ),
        (
            lambda _: MLPRegressor(**SMALL).partial_fit(X, X).partial_fit(X, Y),
            "the network in training has ... 'outputs': 6 ... , not ... 'outputs': 1 "
            "... ; set the parameters back",
        ),
        (fit(MASKED), GAPS),
        (encode(MASKED, X), GAPS),
        (encode(X, MASKED), GAPS),
        (
            encode(ARRAY, ARRAY[:, :1]),
            "X has 1 features, but TableEncoder is expecting 2 features",
        ),
        (
            encode(FRAME, FRAME[["n"]]),
            "Feature names seen at fit time, yet now missing:\n- k",
        ),
        (
            encode(FRAME, ARRAY),
            "an array has no names of columns; give a data frame with the columns 'k'",
        ),
    ],
    TypeError: [(fit(csr_array(X)), "sparse X is not supported; give a dense array")],
    BackendError: [(fit(backend="troch"), "did you mean 'torch'")],
    DatasetError: [
        (
            encode(ARRAY, np.array([[{}, 1]], object)),
            "X: columns 'x0' hold bytes, lists, durations or the like",
        ),
    ],
    # A warning, which is an error here.
    ConvergenceWarning: [(fit(max_iter=2), "Maximum iterations (2) reached")],
}


@pytest.mark.parametrize(
    ("use", "kind", "said"),
    [(use, kind, said) for kind, rows in REFUSED.items() for use, said in rows],
)
@pytest.mark.filterwarnings(
    "ignore:.*iterations .3. reached", "ignore:X does not have valid feature names"
)
def test_what_the_estimators_refuse(use, kind, said, backend) -> None:
    with pytest.raises(kind, match=pattern(said)):
        use(backend)
