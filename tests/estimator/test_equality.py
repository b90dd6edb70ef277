"""The estimators' weights are those of scikit-learn's own MLP.

Both have the same initial weights and batches.
"""

from typing import Any

import numpy as np
import pytest
from estimators import TOLERANCE, assert_equal, data, pair
from numerics import assert_all_equal
from scipy.special import logsumexp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ADAM = {"solver": "adam", "learning_rate_init": 0.01}
SGD = {"solver": "sgd", "learning_rate_init": 0.05, "tol": 1e-4, "n_iter_no_change": 50}
PLAIN = {**SGD, "nesterovs_momentum": False}
# A tolerance that no epoch meets makes the adaptive rate fall several times.
ADAPTIVE = {"learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 2}


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("binary", ADAM),
        ("regression", ADAM),
        ("multilabel", {**ADAM, "epsilon": 0.1, "beta_1": 0.7, "beta_2": 0.9}),
        ("regression", SGD),
        ("multiclass", PLAIN),
        ("regression", {**SGD, "learning_rate": "invscaling"}),
        ("multilabel", {**SGD, **ADAPTIVE}),
        (
            "binary",
            {
                "early_stopping": True,
                "n_iter_no_change": 2,
                "max_iter": 30,
                "learning_rate_init": 0.03,
            },
        ),
        (
            "regression",
            {
                "early_stopping": True,
                "solver": "sgd",
                "learning_rate": "adaptive",
                "tol": 0.01,
            },
        ),
        (
            "multiclass",
            {
                "tol": 0.05,
                "n_iter_no_change": 2,
                "max_iter": 100,
                "learning_rate_init": 0.02,
            },
        ),
        ("multilabel", {"activation": "logistic", "shuffle": False, "alpha": 0}),
        (
            "regression",
            {"activation": "tanh", "hidden_layer_sizes": [5], "batch_size": 71},
        ),
        (
            "multiclass",
            {
                "activation": "identity",
                "hidden_layer_sizes": [],
                "batch_size": 1,
                "max_iter": 2,
            },
        ),
    ],
)
def test_a_fit_is_scikit_learns(task: str, settings: dict[str, Any]) -> None:
    X, y = data(task)
    ours, theirs = pair(task, **settings)
    assert_equal(ours.fit(X, y), theirs.fit(X, y))
    methods = ["predict"] if task == "regression" else ["predict", "predict_proba"]
    for name in methods:
        actual, expected = getattr(ours, name)(X), getattr(theirs, name)(X)
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_losses_are_exact_where_scikit_learn_clips_them(task: str) -> None:
    """By the formulas with logits, for a network that does not change."""
    X, y = data(task)
    X = 300 * X
    ours, theirs = pair(
        task,
        hidden_layer_sizes=(),
        batch_size=len(X),
        alpha=0,
        learning_rate_init=1e-30,
        max_iter=1,
    )
    ours.fit(X, y)
    theirs.fit(X, y)
    logits = X @ theirs.coefs_[0] + theirs.intercepts_[0]
    if task == "multiclass":
        expected = logits - logsumexp(logits, axis=1, keepdims=True)
        losses = -expected[np.arange(len(y)), y, None]
    else:
        losses = np.logaddexp(0, logits * (1 - 2 * y.reshape(logits.shape)))
        both = logits if task == "multilabel" else np.hstack([-logits, logits])
        expected = -np.logaddexp(0, -both)
    assert losses.max() > 100
    assert ours.loss_ == pytest.approx(losses.sum(axis=1).mean(), rel=TOLERANCE)
    actual = ours.predict_log_proba(X)
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE, atol=1e-12)
    clipped = np.minimum(losses, -np.log(np.finfo(float).eps))
    assert theirs.loss_ == pytest.approx(clipped.sum(axis=1).mean(), rel=0.02)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_warm_start_that_finds_no_better_network_keeps_the_best(task: str) -> None:
    X, y = data(task)
    estimator, _ = pair(
        task, warm_start=True, early_stopping=True, max_iter=60, learning_rate_init=0.03
    )
    estimator.fit(X, y)
    score = estimator.best_validation_score_
    best = [each.copy() for each in (*estimator.coefs_, *estimator.intercepts_)]
    estimator.set_params(solver="sgd", learning_rate_init=0.5, max_iter=3)
    estimator.fit(X, np.flip(y, axis=0))
    assert estimator.best_validation_score_ == score
    assert_all_equal([*estimator.coefs_, *estimator.intercepts_], best)
