"""Pairs of our estimators and scikit-learn's with equal settings.

With small data sets for them, and their comparison.
"""

from functools import cache

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.datasets import (
    make_classification,
    make_multilabel_classification,
    make_regression,
)

from mlp_xp.estimator import MLPClassifier, MLPRegressor

TOLERANCE = 1e-8
SHAPE = {
    "hidden_layer_sizes": (12, 7),
    "batch_size": 16,
    "max_iter": 8,
    "alpha": 0.3,
    "random_state": 5,
}


@cache
def data(task: str):
    """60 samples and a rest: the last batch of 16 has 7 samples."""
    if task == "multilabel":
        return make_multilabel_classification(71, 6, n_classes=3, random_state=1)
    if task == "regression":
        X, y = make_regression(71, 6, n_targets=2, random_state=1)
        return X, y / 50
    classes = {"binary": 2, "multiclass": 3}[task]
    return make_classification(
        71, 6, n_informative=4, n_classes=classes, random_state=1
    )


def pair(task: str, **settings):
    settings = {**SHAPE, **settings}
    if task == "regression":
        return MLPRegressor(**settings), neural_network.MLPRegressor(**settings)
    return MLPClassifier(**settings), neural_network.MLPClassifier(**settings)


def assert_equal(ours, theirs, tolerance: float = TOLERANCE) -> None:
    """Compare everything learned by a fit."""
    near = {"rtol": tolerance, "atol": tolerance}
    for name in ("coefs_", "intercepts_"):
        arrays = zip(getattr(ours, name), getattr(theirs, name), strict=True)
        for actual, expected in arrays:
            actual = np.asarray(actual)
            np.testing.assert_allclose(actual, expected, **near, err_msg=name)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, **near)
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("loss_", "best_loss_", "best_validation_score_", "validation_scores_"):
        actual, expected = getattr(ours, name), getattr(theirs, name)
        if expected is None:
            assert actual is None, name
        else:
            wanted = pytest.approx(expected, rel=tolerance, abs=tolerance)
            assert actual == wanted, name
