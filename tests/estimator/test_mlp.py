"""The estimators in use: on every backend, in scikit-learn's tools, and what their
weights alone do not show.
"""

import importlib
import pickle
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
from estimators import assert_equal, data, pair
from joblib.externals.loky import get_reusable_executor
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from mlp_xp.backends.failures import BackendError
from mlp_xp.core.backend import Backend
from mlp_xp.estimator import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_layer_sizes": (6,),
    "batch_size": "auto",
    "max_iter": 3,
    "random_state": 0,
}


def same_place(array, like) -> bool:
    return type(array) is type(like) and getattr(array, "device", None) == getattr(
        like, "device", None
    )


@pytest.mark.every_backend
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_where_the_input_lives(task: str, backend: Backend) -> None:
    """Training and predictions happen on the library and device of X, with the numbers
    of NumPy.
    """
    X, y = data(task)
    expected, estimator = pair(task, **SMALL)[0].fit(X, y), pair(task, **SMALL)[0]
    there = backend.asarray(X), backend.asarray(y)
    estimator.fit(*there, sample_weight=backend.asarray(np.ones(len(y))))
    outputs = {"predict": estimator.predict(there[0])}
    if task != "regression":
        outputs |= {
            name: getattr(estimator, name)(there[0])
            for name in ("predict_proba", "predict_log_proba")
        }
    for name, actual in outputs.items():
        assert same_place(actual, there[0])
        wanted = getattr(expected, name)(X)
        assert backend.to_numpy(actual).dtype == wanted.dtype
        np.testing.assert_allclose(
            backend.to_numpy(actual), wanted, rtol=1e-9, atol=1e-12
        )
    assert all(
        same_place(array, there[0])
        for array in [*estimator.coefs_, *estimator.intercepts_]
    )
    assert estimator.score(*there) == pytest.approx(expected.score(X, y))
    # where X is
    np.testing.assert_allclose(
        estimator.predict(X), backend.to_numpy(outputs["predict"]), rtol=1e-9
    )
    estimator.partial_fit(*there)
    np.testing.assert_allclose(
        backend.to_numpy(estimator.coefs_[0]),
        expected.partial_fit(X, y).coefs_[0],
        rtol=1e-9,
    )


def test_a_model_is_kept_as_numpy_arrays(backend: Backend, tmp_path: Path) -> None:
    X, y = data("multiclass")
    there = backend.asarray(X)
    estimator = MLPClassifier(**SMALL, early_stopping=True, n_iter_no_change=1).fit(
        there, y
    )
    joblib.dump(estimator, tmp_path / "model")
    expected = backend.to_numpy(estimator.predict_proba(there))
    for kept in (
        pickle.loads(pickle.dumps(estimator)),
        joblib.load(tmp_path / "model"),
    ):
        assert {type(array) for array in [*kept.coefs_, *kept.intercepts_]} == {
            np.ndarray
        }
        np.testing.assert_allclose(kept.predict_proba(X), expected, rtol=1e-9)
        assert same_place(kept.predict_proba(there), there)
    assert not hasattr(clone(estimator), "coefs_")


def test_another_backend_and_dtype_than_those_of_the_input(backend: Backend) -> None:
    X, y = data("multiclass")
    settings = {**SMALL, "batch_size": 16}  # the last batch is smaller
    expected = MLPClassifier(**settings).fit(X, y)
    actual = MLPClassifier(
        **settings, backend=backend.name, device=backend.device_name
    ).fit(X, y)
    assert type(actual.coefs_[0]) is np.ndarray
    np.testing.assert_allclose(actual.coefs_[0], expected.coefs_[0], rtol=1e-9)
    assert type(actual.predict(X)) is type(actual.predict_proba(X)) is np.ndarray
    single = MLPClassifier(
        **settings, backend=backend.name, device=backend.device_name, dtype="float32"
    ).fit(X, y)
    assert single.coefs_[0].dtype == single.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(
        single.coefs_[0], expected.coefs_[0], rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_features_on_a_device(bad: float, backend: Backend) -> None:
    X, y = data("binary")
    estimator = MLPClassifier(**SMALL).fit(backend.asarray(X), y)
    wrong = X.copy()
    wrong[3, 2] = bad
    with pytest.raises(ValueError, match=r"X contains (NaN|infinity)"):
        estimator.predict(backend.asarray(wrong))
    wrong[3] = 1.7e308 * np.sign(backend.to_numpy(estimator.coefs_[0])[:, 0])
    with pytest.raises(
        ValueError, match="X: the outputs for row 3 are not finite in float64"
    ):
        estimator.predict_log_proba(backend.asarray(wrong))
    with pytest.raises(
        ValueError, match=r"X has 5 features, but MLPClassifier is expecting 6"
    ):
        estimator.predict(backend.asarray(X[:, :5]))
    with pytest.raises(ValueError, match=r"two axes|2D array"):
        estimator.fit(backend.asarray(X[:, 0]), y)


@pytest.mark.parametrize(
    ("task", "solver"),
    [("multiclass", "adam"), ("multilabel", "sgd"), ("regression", "sgd")],
)
def test_sample_weights_warm_start_and_partial_fit_are_scikit_learns(
    task: str, solver: str
) -> None:
    X, y = data(task)
    weights = np.random.default_rng(0).uniform(0.1, 3, len(X))
    ours, theirs = pair(task, solver=solver, max_iter=4, warm_start=True)
    for _ in range(2):
        assert_equal(
            ours.fit(X, y, sample_weight=weights),
            theirs.fit(X, y, sample_weight=weights),
        )
    first = (
        {}
        if task == "regression"
        else {"classes": np.arange(3) if y.ndim == 2 else np.unique(y)}
    )
    ours, theirs = pair(task, solver=solver, learning_rate="invscaling")
    for kwargs in (first, {"sample_weight": weights}, {}):
        assert_equal(
            ours.partial_fit(X, y, **kwargs), theirs.partial_fit(X, y, **kwargs)
        )


@pytest.mark.slow
def test_a_fit_compiles_its_steps_once_and_the_next_fit_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where the last batch is smaller, and with another seed, rate, regularisation
    and order of the samples.
    """
    import jax

    X, y = data("multiclass")
    # beta_1: compiled nowhere else
    settings = {**SMALL, "batch_size": 16, "beta_1": 0.87, "backend": "jax"}
    lines = []
    for another in (
        {},
        {"random_state": 1, "learning_rate_init": 0.02, "alpha": 0.01, "epsilon": 1e-7},
    ):
        caplog.clear()
        with caplog.at_level("WARNING", logger="jax"), jax.log_compiles():
            MLPClassifier(**{**settings, **another}).fit(X, y)
        lines.append([line for line in caplog.messages if line.startswith("Compiling")])
    assert sum("jit(chunk)" in line for line in lines[0]) == 1, lines[0]
    assert not lines[1]


@pytest.fixture
def own_workers() -> Iterator[None]:
    """New worker processes: those of another library would grow, and joblib stops
    workers that do.
    """
    yield
    get_reusable_executor().shutdown(wait=True)


# joblib's thread gives this warning, and would end if it were an error: then the test
# would wait forever.
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:A worker stopped while some jobs were given to the executor"
)
@pytest.mark.usefixtures("own_workers")
@pytest.mark.parametrize(("library", "jobs"), [("numpy", 2), ("torch", 1), ("jax", 1)])
def test_scikit_learns_tools(library: str, jobs: int) -> None:
    """Also in other processes, which take seconds to import PyTorch or JAX."""
    xp = importlib.import_module({"jax": "jax.numpy"}.get(library, library))
    X, y = data("multiclass")
    # two halves of one size: JAX compiles for each size anew
    X, y = xp.asarray(X[:70]), xp.asarray(y[:70])
    settings = {**SMALL, "hidden_layer_sizes": (4,)}
    search = GridSearchCV(
        MLPClassifier(**settings), {"max_iter": [1, 2]}, cv=2, n_jobs=jobs
    ).fit(X, y)
    assert same_place(search.predict(X), y)
    scores = cross_val_score(MLPRegressor(**settings), X, X[:, 0], cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_parameters_are_scikit_learns_and_more(task: str) -> None:
    ours, theirs = (each.get_params() for each in pair(task, hidden_layer_sizes=[3]))
    added = {"dtype": None, "device": None, "backend": None}
    assert ours == theirs | added | (
        {} if task == "regression" else {"class_weight": None}
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        MLPClassifier(size=3)


def test_says_what_is_wrong() -> None:
    X, y = data("binary")
    with pytest.raises(
        ValueError, match=r"'solver' parameter .* must be a str among .*'lbfgs'"
    ):
        MLPClassifier(solver="lbfgs").fit(X, y)
    with pytest.raises(BackendError, match="did you mean 'torch'"):
        MLPClassifier(backend="troch").fit(X, y)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping"):
        MLPClassifier(early_stopping=True).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1])
    with pytest.raises(
        ValueError, match="Negative values in data passed to `sample_weight`"
    ):
        MLPClassifier(**SMALL, class_weight={0: 1, 1: -2}).fit(X, y)
    with pytest.raises(
        ValueError, match="Negative values in data passed to `sample_weight`"
    ):
        MLPClassifier(**SMALL).fit(X, y, sample_weight=-X[:, 0])
    with pytest.raises(ValueError, match="has masked values"):
        MLPClassifier(**SMALL).fit(np.ma.masked_greater(X, 1), y)
    with pytest.raises(ValueError, match="could not convert string to float: "):
        MLPRegressor(**SMALL).fit(X[:2], np.array(["1.5", "a"]))
    with pytest.raises(TypeError, match="sparse X is not supported"):
        MLPRegressor(**SMALL).fit(csr_array(X), y)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        MLPClassifier(max_iter=2).fit(X, y)


def fails(
    estimator, X, y, message: str, *, incremental: bool = False, **kwargs
) -> None:
    """Training fails, and the estimator is afterwards what it was before."""
    before = pickle.dumps(vars(estimator))
    with pytest.raises(ValueError, match=message):
        (estimator.partial_fit if incremental else estimator.fit)(X, y, **kwargs)
    assert pickle.dumps(vars(estimator)) == before


@pytest.mark.parametrize("incremental", [False, True])
@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_leaves_the_earlier_model_or_none(
    incremental: bool, warm_start: bool
) -> None:
    X, y = data("binary")
    settings = {**SMALL, "warm_start": warm_start}
    regressor = MLPRegressor(**{**settings, "batch_size": 10}, learning_rate_init=1e300)
    fails(regressor, X, X[:, 0], "training diverged", incremental=incremental)
    with pytest.raises(NotFittedError):
        regressor.predict(X)
    # a warm start would keep the network of the first fit, which is better
    stops = not (incremental or warm_start)
    regressor.set_params(learning_rate_init=0.01, early_stopping=stops).fit(X, X[:, 0])
    regressor.set_params(solver="sgd", learning_rate_init=1e300)
    fails(regressor, X * 1e300, X[:, 0], "training diverged", incremental=incremental)
    classifier = MLPClassifier(**{**settings, "batch_size": 10}, shuffle=False)
    first = {"classes": ["a", "b"]} if incremental else {}
    names, weights = np.array(["a", "b"])[y], np.arange(len(y)) // 10
    fails(
        classifier,
        X,
        names,
        "sum to 0",
        incremental=incremental,
        sample_weight=weights,
        **first,
    )
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    classifier.fit(X, y)
    fails(
        classifier,
        X[:, :4],
        names,
        "sum to 0|classes|features",
        incremental=incremental,
        sample_weight=weights,
    )


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_partial_fit_stays_with_the_optimizer_of_its_first_call(task: str) -> None:
    X, y = data(task)
    first = {} if task == "regression" else {"classes": np.unique(y)}
    others = {
        "learning_rate_init": 0.3,
        "momentum": 0.1,
        "beta_1": 0.1,
        "epsilon": 0.1,
        "learning_rate": "invscaling",
    }
    for solver, other in (("sgd", "adam"), ("adam", "sgd")):
        ours, theirs = pair(task, solver=solver)
        assert_equal(ours.partial_fit(X, y, **first), theirs.partial_fit(X, y, **first))
        for estimator in (ours, theirs):
            estimator.set_params(solver=other, **others)
            for _ in range(2):
                estimator.partial_fit(X, y)
        assert_equal(ours, theirs)
        ours, theirs = (
            estimator.set_params(warm_start=True).fit(X, y)
            for estimator in (ours, theirs)
        )
        assert_equal(ours, theirs)


def test_another_network_than_that_in_training_is_refused() -> None:
    X, y = data("regression")
    for incremental in (False, True):
        estimator = MLPRegressor(**SMALL, warm_start=True).fit(X, y)
        predicted = estimator.predict(X)
        fails(
            estimator,
            X,
            y[:, 0],
            "in training has .*'outputs': 2, .*, not .*'outputs': 1,",
            incremental=incremental,
        )
        estimator.set_params(activation="tanh")
        np.testing.assert_array_equal(estimator.predict(X), predicted)
        fails(
            estimator,
            X,
            y,
            "in training has .*'activation': 'relu', .*, not .*'tanh'",
            incremental=incremental,
        )
        estimator.set_params(activation="relu", hidden_layer_sizes=(6, 2))
        fails(
            estimator,
            X,
            y,
            r"in training has .*\[6\], .*, not .*\[6, 2\]",
            incremental=incremental,
        )
        estimator.set_params(hidden_layer_sizes=(6,), early_stopping=True)
        fails(
            estimator,
            X,
            y,
            "in training has .*'early_stopping': False}, not .*True}",
            incremental=incremental,
        )


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_partial_fit_takes_class_weights_of_classes_that_a_batch_lacks(
    task: str,
) -> None:
    """The weights belong to all classes, as in scikit-learn's SGDClassifier; classes
    without one have weight 1.
    """
    X, y = data(task)
    class_weight = {0: 5} if task == "multiclass" else [{1: 5}, {0: 2}, {1: 3}]
    rows, classes = y.reshape(len(y), -1)[:, 0] == 0, np.arange(3)
    weights = compute_sample_weight(class_weight, y)
    weighted, expected = (
        MLPClassifier(**SMALL, class_weight=class_weight),
        MLPClassifier(**SMALL),
    )
    for chosen in (rows, ~rows):
        weighted.partial_fit(X[chosen], y[chosen], classes=classes)
        expected.partial_fit(X[chosen], y[chosen], weights[chosen], classes=classes)
    assert_equal(weighted, expected)
    if task == "multiclass":
        wrong = MLPClassifier(**SMALL, class_weight={0: 1, 5: 2})
        fails(
            wrong,
            X[rows],
            y[rows],
            "are not in class_weight",
            incremental=True,
            classes=classes,
        )
        fails(
            weighted,
            X[rows],
            y[rows] + 3,
            "has classes not in `self.classes_`",
            incremental=True,
        )
