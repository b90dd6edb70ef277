"""The estimators' weights against those of scikit-learn's own MLP, from the same initial weights and batches."""

import numpy as np
import pytest
from estimators import EPOCHS, TOLERANCE, assert_equal, data, pair
from scipy.special import logsumexp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


@pytest.mark.parametrize(
    ("task", "solver"),
    [
        ("binary", "adam"),
        ("multilabel", "adam-large-epsilon"),
        ("regression", "sgd-constant-nesterov"),
        ("multiclass", "sgd-invscaling-plain"),
        ("multilabel", "sgd-adaptive-nesterov"),
        *(
            pytest.param(task, solver, marks=pytest.mark.slow)
            for task in ("binary", "multiclass", "multilabel", "regression")
            for solver in SOLVERS
        ),
    ],
)
def test_weights_after_some_epochs(task: str, solver: str) -> None:
    X, y = data(task)
    ours, theirs = pair(task, **SOLVERS[solver])
    assert_equal(ours.fit(X, y), theirs.fit(X, y))
    assert ours.n_iter_ == EPOCHS
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-6)
    if task != "regression":
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def random_case(seed: int):
    """Estimators with random settings, the samples, and the calls of `fit` and `partial_fit` to make."""
    random = np.random.RandomState(seed)

    def choose(*values):
        return values[random.randint(len(values))]

    kind = choose("binary", "names", "multilabel", "one class", "regression", "several outputs")
    samples, scale = random.randint(20, 90), choose(1, 1, 1e-3, 100)
    X = scale * random.standard_normal((samples, random.randint(1, 9)))
    y = {
        "binary": np.arange(samples) % 2 * 3,
        "names": np.array(["a", "bb", "c"])[random.randint(3, size=samples)],
        "multilabel": random.randint(2, size=(samples, 3)),
        "one class": np.full(samples, 5),
        "regression": 3 * random.standard_normal(samples),
        "several outputs": random.standard_normal((samples, 2)),
    }[kind]
    settings = {
        "hidden_layer_sizes": choose((5,), (), (7, 3), 4),
        "activation": choose("identity", "logistic", "tanh", "relu"),
        "solver": choose("adam", "sgd"),
        "alpha": choose(0, 1e-4, 0.1),
        "batch_size": choose("auto", 7, 13),
        "learning_rate": choose("constant", "invscaling", "adaptive"),
        "learning_rate_init": choose(1e-3, 1e-2) / max(scale, 1),
        "power_t": choose(0.5, 0.0),
        "max_iter": random.randint(1, 7),
        "shuffle": choose(True, False),
        "random_state": random.randint(1000),
        "warm_start": choose(False, True),
        "momentum": choose(0, 0.9),
        "nesterovs_momentum": choose(True, False),
        "early_stopping": choose(False, False, True),
        "validation_fraction": choose(0.2, 0.3),
        "beta_1": choose(0.9, 0.0),
        "beta_2": choose(0.999, 0.5),
        "epsilon": choose(1e-6, 0.1),
        # Where scikit-learn clips losses, see below, they do not decide when to stop.
        **(
            {"tol": 0, "n_iter_no_change": np.inf}
            if scale > 1
            else {"tol": choose(0, 1e-4, 0.1), "n_iter_no_change": 2}
        ),
    }
    weights = choose(None, random.uniform(0.1, 1, samples), random.randint(1, 3, samples))
    calls = [choose("fit", "fit", "partial_fit") for _ in range(3)]
    if settings["early_stopping"]:
        calls = ["fit"] * 3
    return pair("regression" if y.dtype.kind == "f" else "classes", **settings), (X, y, weights), calls, scale > 1


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(i, marks=pytest.mark.slow) for i in range(3, 12))])
def test_random_settings_and_calls(seed: int) -> None:
    estimators, (X, y, weights), calls, is_clipped = random_case(seed)
    first = {} if y.dtype.kind == "f" else {"classes": np.arange(3) if y.ndim == 2 else np.unique(y)}
    for call in calls:
        for estimator in estimators:
            kwargs = first if call == "partial_fit" else {}
            getattr(estimator, call)(X, y, sample_weight=weights, **kwargs)
        ours, theirs = estimators
        if is_clipped and first:
            assert ours.loss_ >= 0.99 * theirs.loss_
            theirs.loss_, theirs.best_loss_, theirs.loss_curve_ = ours.loss_, ours.best_loss_, ours.loss_curve_
        assert_equal(ours, theirs)
        outputs = [each.predict_proba(X) if first else each.predict(X) for each in estimators]
        np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-9)
        assert ours.score(X, y, weights) == pytest.approx(theirs.score(X, y, weights), rel=1e-6)
        # With early stopping, its next call would change the arrays in which it keeps the best network so far.
        theirs.coefs_, theirs.intercepts_ = (
            [each.copy() for each in part] for part in (theirs.coefs_, theirs.intercepts_)
        )


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_losses_are_exact_where_scikit_learn_clips_them(task: str) -> None:
    """By the formulas with logits, for a network that does not change."""
    X, y = data(task)
    X = 300 * X
    settings = {"hidden_layer_sizes": (), "batch_size": len(X), "alpha": 0, "learning_rate_init": 1e-30, "max_iter": 1}
    ours, theirs = (estimator.fit(X, y) for estimator in pair(task, **settings))
    logits = X @ theirs.coefs_[0] + theirs.intercepts_[0]
    if task == "multiclass":
        log_probabilities = logits - logsumexp(logits, axis=1, keepdims=True)
        losses = -log_probabilities[np.arange(len(y)), y, None]
    else:
        losses = np.logaddexp(0, np.where(y.reshape(logits.shape) == 1, -logits, logits))
        log_probabilities = -np.logaddexp(0, -logits if task == "multilabel" else np.hstack([logits, -logits]))
    assert losses.max() > 100
    assert ours.loss_ == pytest.approx(losses.sum(axis=1).mean(), rel=TOLERANCE)
    np.testing.assert_allclose(ours.predict_log_proba(X), log_probabilities, rtol=TOLERANCE, atol=1e-12)
    largest = -np.log(np.finfo(float).eps)
    assert theirs.loss_ == pytest.approx(np.minimum(losses, largest).sum(axis=1).mean(), rel=0.02)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_warm_start_that_finds_no_better_network_keeps_the_best(task: str) -> None:
    X, y = data(task)
    ours, _ = pair(task, warm_start=True, early_stopping=True, max_iter=60, learning_rate_init=0.03)
    best = [each.copy() for each in [*ours.fit(X, y).coefs_, *ours.intercepts_]]
    score = ours.best_validation_score_
    ours.set_params(solver="sgd", learning_rate_init=0.5, max_iter=3)
    ours.fit(X, np.flip(y, axis=0))
    assert ours.best_validation_score_ == score
    for before, after in zip(best, [*ours.coefs_, *ours.intercepts_], strict=True):
        np.testing.assert_array_equal(before, after)
