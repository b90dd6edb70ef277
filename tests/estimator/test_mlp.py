"""The estimators on every backend and in scikit-learn's tools.

And what their weights alone do not show.
"""

import importlib
import pickle
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from estimators import assert_equal, data, pair
from joblib.externals.loky import get_reusable_executor
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from mlp_xp.core.backend import Backend
from mlp_xp.estimator import MLPClassifier, MLPRegressor, _epochs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {
    "hidden_layer_sizes": (6,),
    "batch_size": "auto",
    "max_iter": 3,
    "random_state": 0,
}


def classifier(**settings: Any) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **settings})


def regressor(**settings: Any) -> MLPRegressor:
    return MLPRegressor(**{**SMALL, **settings})


# The library, the device and the dtype.


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("task", "make", "methods"),
    [
        ("multiclass", classifier, ["predict", "predict_proba", "predict_log_proba"]),
        ("regression", regressor, ["predict"]),
    ],
)
def test_training_and_predictions_are_where_the_input_is(
    task: str, make: Callable[[], Any], methods: list[str], backend: Backend
) -> None:
    """With the numbers of NumPy."""
    X, y = data(task)
    there = backend.asarray(X), backend.asarray(y)
    weights = backend.asarray(np.ones(len(y)))
    expected, estimator = make().fit(X, y), make().fit(*there, sample_weight=weights)
    for array in (*estimator.coefs_, *estimator.intercepts_):
        assert_at(there[0], array)
    for name in methods:
        predict, wanted = getattr(estimator, name), getattr(expected, name)(X)
        actual = predict(there[0])
        assert_at(there[0], actual)
        assert backend.to_numpy(actual).dtype == wanted.dtype
        for found in (backend.to_numpy(actual), predict(X)):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert estimator.score(*there) == pytest.approx(expected.score(X, y))
    again = backend.to_numpy(estimator.partial_fit(*there).coefs_[0])
    np.testing.assert_allclose(again, expected.partial_fit(X, y).coefs_[0], rtol=1e-9)


def test_another_backend_and_dtype_than_the_input_may_be_chosen(
    backend: Backend,
) -> None:
    X, y = data("multiclass")
    settings = {"backend": backend.name, "device": backend.device_name}
    settings["batch_size"] = 16  # the last batch is smaller
    expected = classifier(batch_size=16).fit(X, y).coefs_[0]
    actual = classifier(**settings).fit(X, y)
    for array in (actual.coefs_[0], actual.predict(X), actual.predict_proba(X)):
        assert type(array) is np.ndarray
    np.testing.assert_allclose(actual.coefs_[0], expected, rtol=1e-9)
    single = classifier(**settings, dtype="float32").fit(X, y)
    assert single.coefs_[0].dtype == single.predict_proba(X).dtype == np.float32
    np.testing.assert_allclose(single.coefs_[0], expected, rtol=1e-3, atol=1e-5)


def test_a_pickle_has_numpy_arrays(backend: Backend) -> None:
    X, y = data("multiclass")
    there = backend.asarray(X)
    estimator = classifier(early_stopping=True, n_iter_no_change=1).fit(there, y)
    kept = pickle.loads(pickle.dumps(estimator))
    for array in (*kept.coefs_, *kept.intercepts_):
        assert type(array) is np.ndarray
    expected = backend.to_numpy(estimator.predict_proba(there))
    np.testing.assert_allclose(kept.predict_proba(X), expected, rtol=1e-9)
    assert_at(there, kept.predict_proba(there))


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_sparse_tensors_are_refused(layout: str) -> None:
    import torch

    X, y = data("binary")
    sparse = getattr(torch.tensor(X), layout)()
    with pytest.raises(TypeError, match="sparse"):
        classifier().fit(sparse, y)
    with pytest.raises(TypeError, match="sparse"):
        classifier().fit(X, y).predict(sparse)


@pytest.mark.needs("torch")
def test_tensors_of_short_floats_are_taken() -> None:
    import torch

    X, y = data("binary")
    short = torch.tensor(X).to(torch.bfloat16)
    estimator = classifier().fit(short, y)
    expected = classifier().fit(short.double(), y)
    assert_equal(estimator, expected, 0)
    found = estimator.predict_proba(short)
    np.testing.assert_array_equal(found, expected.predict_proba(short.double()))


# scikit-learn.


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_the_parameters_are_scikit_learns_and_more(task: str) -> None:
    ours, theirs = pair(task, hidden_layer_sizes=[3])
    added = {"dtype": None, "device": None, "backend": None}
    if task == "multiclass":
        added["class_weight"] = None
    assert ours.get_params() == theirs.get_params() | added
    assert not hasattr(clone(ours.fit(*data(task))), "coefs_")


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
        for estimator in (ours, theirs):
            estimator.fit(X, y, sample_weight=weights)
        assert_equal(ours, theirs)
    ours, theirs = pair(task, solver=solver, learning_rate="invscaling")
    for kwargs in (classes_of(task), {"sample_weight": weights}, {}):
        for estimator in (ours, theirs):
            estimator.partial_fit(X, y, **kwargs)
        assert_equal(ours, theirs)


@pytest.mark.parametrize(("solver", "other"), [("sgd", "adam"), ("adam", "sgd")])
@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_partial_fit_stays_with_the_optimizer_of_its_first_call(
    task: str, solver: str, other: str
) -> None:
    """A fit takes the new one."""
    X, y = data(task)
    ours, theirs = pair(task, solver=solver)
    for estimator in (ours, theirs):
        estimator.partial_fit(X, y, **classes_of(task))
        estimator.set_params(
            solver=other,
            learning_rate_init=0.3,
            momentum=0.1,
            beta_1=0.1,
            epsilon=0.1,
            learning_rate="invscaling",
        )
        estimator.partial_fit(X, y).partial_fit(X, y)
    assert_equal(ours, theirs)
    for estimator in (ours, theirs):
        estimator.set_params(warm_start=True).fit(X, y)
    assert_equal(ours, theirs)


# joblib's thread gives this warning, and would end if it were an error: then the test
# would wait forever.
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:A worker stopped while some jobs were given to the executor"
)
@pytest.mark.usefixtures("own_workers")
@pytest.mark.parametrize(("library", "jobs"), [("numpy", 2), ("torch", 1), ("jax", 1)])
def test_scikit_learns_tools_take_arrays_of_every_library(
    library: str, jobs: int
) -> None:
    """Also in other processes, which take seconds to import PyTorch or JAX."""
    xp = importlib.import_module({"jax": "jax.numpy"}.get(library, library))
    X, y = data("multiclass")
    # Two halves of one size: JAX compiles for each size anew.
    X, y = xp.asarray(X[:70]), xp.asarray(y[:70])
    search = GridSearchCV(classifier(), {"max_iter": [1, 2]}, cv=2, n_jobs=jobs)
    assert_at(y, search.fit(X, y).predict(X))
    scores = cross_val_score(regressor(), X, X[:, 0], cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


@pytest.fixture
def own_workers() -> Iterator[None]:
    """New worker processes.

    Those of another library would grow, and joblib stops workers that do.
    """
    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.mark.slow
def test_a_fit_compiles_its_steps_once_and_the_next_fit_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where the last batch is smaller.

    The next has another seed, rate, regularisation and order of the samples.
    """
    import jax

    def compiled(**settings: Any) -> str:
        caplog.clear()
        # beta_1: compiled nowhere else
        estimator = classifier(batch_size=16, beta_1=0.87, backend="jax", **settings)
        with caplog.at_level("WARNING", logger="jax"), jax.log_compiles():
            estimator.fit(*data("multiclass"))
        return "\n".join(m for m in caplog.messages if m.startswith("Compiling"))

    assert compiled().count("jit(chunk)") == 1
    others = {"random_state": 1, "learning_rate_init": 0.02}
    assert not compiled(**others, alpha=0.01, epsilon=1e-7)


# Class weights.


@pytest.mark.parametrize(
    ("task", "class_weight"),
    [("multiclass", {0: 5}), ("multilabel", [{1: 5}, {0: 2}, {1: 3}])],
)
def test_partial_fit_takes_class_weights_of_classes_that_a_batch_lacks(
    task: str, class_weight: Any
) -> None:
    """The weights belong to all classes, as in scikit-learn's SGDClassifier.

    Classes without one have weight 1.
    """
    X, y = data(task)
    rows, classes = y.reshape(len(y), -1)[:, 0] == 0, np.arange(3)
    weights = compute_sample_weight(class_weight, y)
    weighted, expected = classifier(class_weight=class_weight), classifier()
    for chosen in (rows, ~rows):
        weighted.partial_fit(X[chosen], y[chosen], classes=classes)
        expected.partial_fit(X[chosen], y[chosen], weights[chosen], classes=classes)
    assert_equal(weighted, expected)


def test_sparse_labels_may_have_class_weights() -> None:
    X, y = data("multilabel")
    settings = {"class_weight": [{1: 5}, {0: 2}, {1: 3}]}
    expected = classifier(**settings).fit(X, y)
    assert_equal(classifier(**settings).fit(X, csr_array(y)), expected, 0)


# Ctrl-C.


@pytest.mark.every_backend
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ctrl_c_keeps_the_finished_epochs(
    early_stopping: bool, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it comes when the third epoch has been computed, but not assigned.

    Without early stopping, only a compiled epoch leaves the weights before it: other
    libraries have updated them in place, and keep the loss curve alone.
    """
    X, y = data("multiclass")
    there = backend.asarray(X)
    settings = {"early_stopping": early_stopping, "n_iter_no_change": 9}
    expected = classifier(**settings, max_iter=2).fit(there, y)
    make_chunk = _epochs.make_chunk

    def interrupted(*args: Any) -> Callable[..., Any]:
        chunk, calls = make_chunk(*args), count(1)

        def call(*arrays: Any) -> Any:
            result = chunk(*arrays)
            if next(calls) == 3:
                raise KeyboardInterrupt
            return result

        return call

    monkeypatch.setattr(_epochs, "make_chunk", interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        found = classifier(**settings, max_iter=9).fit(there, y)
    assert found.loss_curve_ == expected.loss_curve_
    answers = pickle.loads(pickle.dumps(found)).predict_proba(X)
    if early_stopping or backend.compiles:
        np.testing.assert_array_equal(answers, expected.predict_proba(X))


@pytest.mark.parametrize("place", ["_backprop", "_score"])
def test_ctrl_c_before_a_result_stays_ctrl_c(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`_score` computes the first score on the held-out samples."""

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    X, y = data("binary")
    estimator = classifier(early_stopping=True)
    with monkeypatch.context() as patch:
        patch.setattr(MLPClassifier, place, interrupted)
        with pytest.warns(match="interrupted"), pytest.raises(KeyboardInterrupt):
            estimator.fit(X, y)
    assert not hasattr(estimator, "coefs_")
    estimator.set_params(warm_start=True).fit(X, y)
    expected = estimator.predict_proba(X)
    monkeypatch.setattr(MLPClassifier, "_score", interrupted)
    with pytest.warns(match="interrupted"):
        estimator.fit(X, y)
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)


# A failed fit leaves the earlier model, or none.


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_training_that_diverges_changes_nothing(method: str, warm_start: bool) -> None:
    X, _ = data("binary")
    y = X[:, 0]
    estimator = regressor(
        warm_start=warm_start, batch_size=10, learning_rate_init=1e300
    )
    assert_fails(estimator, method, X, y, "diverged")
    # A warm start would keep the network of the first fit, which is better.
    stops = method == "fit" and not warm_start
    estimator.set_params(learning_rate_init=0.01, early_stopping=stops).fit(X, y)
    estimator.set_params(solver="sgd", learning_rate_init=1e300)
    assert_fails(estimator, method, X * 1e300, y, "diverged")


def test_a_batch_without_weight_changes_nothing() -> None:
    X, y = data("binary")
    weights = np.arange(len(y)) // 10
    estimator = classifier(batch_size=10, shuffle=False)
    assert_fails(estimator, "fit", X, y, "sum to 0", sample_weight=weights)
    names = np.array(["a", "b"])[y]
    estimator.fit(X, y)
    assert_fails(estimator, "fit", X[:, :4], names, "sum to 0", sample_weight=weights)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("setting", "outputs", "words"),
    [
        ({}, 0, "'outputs': 2, .*, not .*'outputs': 1,"),
        ({"activation": "tanh"}, [0, 1], "'activation': 'relu', .*, not .*'tanh'"),
        ({"hidden_layer_sizes": (6, 2)}, [0, 1], r"\[6\], .*, not .*\[6, 2\]"),
        ({"early_stopping": True}, [0, 1], "'early_stopping': False}, not .*True}"),
    ],
)
def test_further_training_of_another_network_is_refused(
    setting: dict[str, Any], outputs: Any, words: str, method: str
) -> None:
    """It can still be used."""
    X, y = data("regression")
    estimator = regressor(warm_start=True).fit(X, y)
    predicted = estimator.predict(X)
    estimator.set_params(**setting)
    assert_fails(estimator, method, X, y[:, outputs], words)
    np.testing.assert_array_equal(estimator.predict(X), predicted)


def assert_fails(
    estimator: Any, method: str, X: Any, y: Any, words: str, **kwargs: Any
) -> None:
    """Assert that training fails, and leaves the estimator as it was."""
    before = pickle.dumps(vars(estimator))
    with pytest.raises(ValueError, match=words):
        getattr(estimator, method)(X, y, **kwargs)
    assert pickle.dumps(vars(estimator)) == before


def assert_at(place: Any, array: Any) -> None:
    """Assert that an array has the library and the device of another."""
    assert type(array) is type(place)
    assert getattr(array, "device", None) == getattr(place, "device", None)


def classes_of(task: str) -> dict[str, Any]:
    """Return all classes, as an argument for the first call of `partial_fit`."""
    if task == "regression":
        return {}
    return {"classes": np.arange(3)}
