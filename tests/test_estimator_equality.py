"""The estimators' weights against those of scikit-learn's own MLP, from the same initial weights and batches."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import neural_network
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression

from mlp_xp.estimator import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

EPOCHS = 20
TOLERANCE = 1e-8
SHAPE = {"hidden_layer_sizes": (12, 7), "batch_size": 16, "max_iter": EPOCHS, "alpha": 0.3, "random_state": 5}
SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "adam-large-epsilon": {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 0.1, "beta_1": 0.7, "beta_2": 0.9},
    **{
        f"sgd-{schedule}-{nesterov}": {
            "solver": "sgd",
            "learning_rate": schedule,
            "learning_rate_init": 0.05,
            "nesterovs_momentum": nesterov == "nesterov",
            # A tolerance that no epoch meets makes the adaptive rate fall several times.
            "tol": 0.5 if schedule == "adaptive" else 1e-4,
            "n_iter_no_change": 2 if schedule == "adaptive" else 50,
        }
        for schedule in ("constant", "invscaling", "adaptive")
        for nesterov in ("nesterov", "plain")
    },
}


def data(task: str):
    """60 samples and a rest: the last batch of 16 has 7 samples."""
    if task == "multilabel":
        return make_multilabel_classification(71, 6, n_classes=3, random_state=1)
    if task == "regression":
        X, y = make_regression(71, 6, n_targets=2, random_state=1)
        return X, y / 50
    classes = {"binary": 2, "multiclass": 3}[task]
    return make_classification(71, 6, n_informative=4, n_classes=classes, random_state=1)


def pair(task: str, **settings):
    settings = {**SHAPE, **settings}
    if task == "regression":
        return MLPRegressor(**settings), neural_network.MLPRegressor(**settings)
    return MLPClassifier(**settings), neural_network.MLPClassifier(**settings)


def assert_equal(ours, theirs, tolerance: float = TOLERANCE) -> None:
    for name in ("coefs_", "intercepts_"):
        for actual, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(np.asarray(actual), expected, rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=tolerance, atol=tolerance)
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_", "best_loss_", "best_validation_score_", "validation_scores_"):
        actual, expected = getattr(ours, name), getattr(theirs, name)
        assert actual is expected or actual == pytest.approx(expected, rel=tolerance, abs=tolerance), name


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "regression"])
def test_weights_after_20_epochs(task: str, solver: str) -> None:
    X, y = data(task)
    ours, theirs = pair(task, **SOLVERS[solver])
    assert_equal(ours.fit(X, y), theirs.fit(X, y))
    assert ours.n_iter_ == EPOCHS
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-6)
    if task != "regression":
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
