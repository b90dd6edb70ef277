"""Load a trained network and predict from arrays of any library, against plain NumPy."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import TINY
from helpers import Namespace, changed

from mlp_xp import Model, TrainConfig, load_run, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.task import CLASSES, REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import DatasetError, MlpXpError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(3, 2, (60, 3))
NAMES = ("ash", "beech", "cedar")
TARGETS: dict[str, np.ndarray] = {
    "classes": np.array(NAMES)[np.arange(60) % 3],
    "labels": (X[:, :2] > 3).astype(int),
    "regression": X @ RANDOM.normal(size=(3, 2)),
}
CONFIG = TrainConfig(
    epochs=2, hidden=(4,), learning_rate=0.05, init="glorot", report_every=60
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, no_pictures):
    """A run for each task, and one on images of bytes."""
    folder = tmp_path_factory.mktemp("models")
    data = {task: from_arrays(X, y) for task, y in TARGETS.items()} | {"bytes": TINY}
    for name, dataset in data.items():
        list(train(CONFIG, dataset, open_backend(), run_dir=folder / name))
    return folder


def formula(model: Model, x: np.ndarray) -> np.ndarray:
    first, second = (
        [np.asarray(a, np.float64) for a in layer] for layer in model.network
    )
    z = 1 / (1 + np.exp(-(x @ first[0] + first[1]))) @ second[0] + second[1]
    if model.signature.task is CLASSES:
        z = np.exp(z)
        return z / z.sum(axis=1, keepdims=True)
    if model.signature.task is REGRESSION:
        return z * TARGETS["regression"].std(axis=0) + TARGETS["regression"].mean(
            axis=0
        )
    return 1 / (1 + np.exp(-z))


def standard(x: np.ndarray) -> np.ndarray:
    return (x - X.mean(axis=0)) / X.std(axis=0)


def assert_kind(actual: Any, given: Any, backend: Backend) -> np.ndarray:
    """Assert that an array is of the library and on the device of another one, and
    return it on the host.
    """
    assert (
        type(actual).__module__.partition(".")[0]
        == type(given).__module__.partition(".")[0]
    )
    if hasattr(given, "device"):
        assert actual.device == given.device
    return backend.to_numpy(actual)


@pytest.mark.parametrize("task", TARGETS)
def test_the_result_is_an_array_of_the_same_kind(task, backend: Backend, runs):
    transferred = []

    def counting(array: Any) -> np.ndarray:
        host = backend.to_numpy(array)
        transferred.append(host.size)
        return host

    model, inputs = load_run(runs / task), backend.asarray(X)
    assert model.backend.like(inputs) is backend
    watched = changed(backend, to_numpy=counting)
    model = replace(model, backend=changed(model.backend, like=lambda _: watched))
    expected = formula(model, standard(X))
    predicted = model.predict(inputs)
    on_host = assert_kind(predicted, inputs, backend)
    if task == "regression":
        np.testing.assert_allclose(on_host, expected, rtol=1e-9, atol=1e-9)
        with pytest.raises(
            MlpXpError, match="a regression has no probabilities; call predict"
        ):
            model.predict_proba(inputs)
    else:
        p = assert_kind(model.predict_proba(inputs), inputs, backend)
        np.testing.assert_allclose(p, expected, rtol=1e-9, atol=1e-9)
    if task == "labels":
        assert on_host.tolist() == (expected > 0.5).astype(int).tolist()
    if task == "classes":
        numbers = expected.argmax(axis=1)
        assert (
            on_host.tolist()
            == (
                np.array(NAMES)[numbers] if backend.name == "numpy" else numbers
            ).tolist()
        )
    assert max(transferred) == 1, "single values alone are copied to the host"


def test_images_are_bytes_in_any_integer_dtype(runs, backend: Backend):
    model = load_run(runs / "bytes")
    expected = formula(model, TINY.test.inputs.reshape(60, 36) / 255)
    for dtype in ("uint8", "int64"):
        inputs = backend.asarray(TINY.test.inputs.astype(dtype))
        np.testing.assert_allclose(
            assert_kind(model.predict_proba(inputs), inputs, backend),
            expected,
            rtol=1e-9,
        )
    wrong = np.array(TINY.test.inputs, dtype="int64")
    wrong[3, 2, 1] = 300
    with pytest.raises(
        DatasetError,
        match="X: there are values outside 0 to 255, but the network was trained on byt",
    ):
        model.predict(backend.asarray(wrong))
    images = backend.xp.astype(backend.asarray(TINY.test.inputs), backend.dtype) / 255
    with pytest.raises(
        DatasetError,
        match=r"the dtype is float64, but the network was trained on bytes; give whole",
    ):
        model.predict(images)


def test_what_does_not_fit_is_refused_in_one_line(runs, backend: Backend):
    bad = np.array(X)
    bad[7, 2] = np.inf
    for inputs, message in (
        (
            X[0],
            "X: the shape is (3,), but the network was trained on (n, 3); give that; one sample is X[None",
        ),
        (X[:, :2], "X: the shape is (60, 2), but the network was trained on (n, 3)"),
        (bad, "inf is not a finite number"),
    ):
        with pytest.raises(DatasetError, match=re.escape(message)):
            load_run(runs / "classes").predict(backend.asarray(inputs))


class Foreign(np.ndarray):
    """An array of a library that no backend names."""

    __module__ = "elsewhere"

    def __array_namespace__(self, api_version: Any = None) -> Any:
        return NAMESPACE


NAMESPACE = Namespace(__name__="elsewhere")


def test_arrays_of_a_library_that_no_backend_names(runs):
    model = load_run(runs / "regression")
    opened = model.backend.like(X.view(Foreign))
    assert (opened.name, opened.xp) == ("elsewhere", NAMESPACE)
    assert model.backend.like(X.view(Foreign)) is opened, (
        "so that nothing is compiled again"
    )
    np.testing.assert_allclose(
        model.predict(X.view(Foreign)), formula(model, standard(X)), rtol=1e-9
    )
