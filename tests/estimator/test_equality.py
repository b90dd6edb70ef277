"""The estimators' weights against those of scikit-learn's own MLP, from the same
initial weights and batches.
"""

import numpy as np
import pytest
from estimators import TOLERANCE, assert_equal, data, pair
from numerics import assert_all_equal
from scipy.special import logsumexp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def sgd(schedule: str, *, nesterov: bool) -> dict:
    # A tolerance that no epoch meets makes the adaptive rate fall several times.
    stops = (
        {"tol": 0.5, "n_iter_no_change": 2}
        if schedule == "adaptive"
        else {"tol": 1e-4, "n_iter_no_change": 50}
    )
    rate = {"learning_rate": schedule, "learning_rate_init": 0.05}
    return {"solver": "sgd", "nesterovs_momentum": nesterov, **rate, **stops}


ADAM = {"solver": "adam", "learning_rate_init": 0.01}
STOPS = {"early_stopping": True, "n_iter_no_change": 2}


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("binary", ADAM),
        ("regression", ADAM),
        ("multilabel", {**ADAM, "epsilon": 0.1, "beta_1": 0.7, "beta_2": 0.9}),
        ("regression", sgd("constant", nesterov=True)),
        ("multiclass", sgd("constant", nesterov=False)),
        ("regression", sgd("invscaling", nesterov=True)),
        ("multiclass", sgd("invscaling", nesterov=False)),
        ("multilabel", sgd("adaptive", nesterov=True)),
        ("binary", sgd("adaptive", nesterov=False)),
        ("binary", {**STOPS, "max_iter": 30, "learning_rate_init": 0.03}),
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
def test_a_fit_is_scikit_learns(task: str, settings: dict) -> None:
    X, y = data(task)
    ours, theirs = pair(task, **settings)
    assert_equal(ours.fit(X, y), theirs.fit(X, y))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-6)
    if task != "regression":
        np.testing.assert_allclose(
            ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6
        )


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_losses_are_exact_where_scikit_learn_clips_them(task: str) -> None:
    """By the formulas with logits, for a network that does not change."""
    X, y = data(task)
    X = 300 * X
    settings = {
        "hidden_layer_sizes": (),
        "batch_size": len(X),
        "alpha": 0,
        "learning_rate_init": 1e-30,
        "max_iter": 1,
    }
    ours, theirs = (estimator.fit(X, y) for estimator in pair(task, **settings))
    logits = X @ theirs.coefs_[0] + theirs.intercepts_[0]
    if task == "multiclass":
        log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
        losses = -log_probabilities[np.arange(len(y)), y, None]
    else:
        losses = np.logaddexp(
            0, np.where(y.reshape(logits.shape) == 1, -logits, logits)
        )
        log_probabilities = -np.logaddexp(
            0, -logits if task == "multilabel" else np.hstack([logits, -logits])
        )
    assert losses.max() > 100
    assert ours.loss_ == pytest.approx(losses.sum(axis=1).mean(), rel=TOLERANCE)
    np.testing.assert_allclose(
        ours.predict_log_proba(X), log_probabilities, rtol=TOLERANCE, atol=1e-12
    )
    largest = -np.log(np.finfo(float).eps)
    assert theirs.loss_ == pytest.approx(
        np.minimum(losses, largest).sum(axis=1).mean(), rel=0.02
    )


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_warm_start_that_finds_no_better_network_keeps_the_best(task: str) -> None:
    X, y = data(task)
    ours, _ = pair(
        task, warm_start=True, early_stopping=True, max_iter=60, learning_rate_init=0.03
    )
    best = [each.copy() for each in [*ours.fit(X, y).coefs_, *ours.intercepts_]]
    score = ours.best_validation_score_
    ours.set_params(solver="sgd", learning_rate_init=0.5, max_iter=3)
    ours.fit(X, np.flip(y, axis=0))
    assert ours.best_validation_score_ == score
    assert_all_equal([*ours.coefs_, *ours.intercepts_], best)
