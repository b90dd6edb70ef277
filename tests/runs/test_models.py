"""A trained network predicts from arrays of any library as plain NumPy does."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from data_sets import TINY
from helpers import Namespace, changed, pattern

from mlp_xp import Model, TrainConfig, load_run, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.task import CLASSES, REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import DatasetError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(3, 2, (60, 3))
STANDARD = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["ash", "beech", "cedar"])
TARGETS: dict[str, np.ndarray] = {
    "classes": NAMES[np.arange(60) % 3],
    "labels": (X[:, :2] > 3).astype(int),
    "regression": X @ RANDOM.normal(size=(3, 2)),
}


# Predictions.


def test_classes_are_predicted_by_name_or_where_arrays_have_no_text_by_number(
    backend: Backend, runs
):
    found, p = answers(runs / "classes", "predict", backend)
    numbers = p.argmax(axis=1)
    expected = NAMES[numbers] if backend.name == "numpy" else numbers
    np.testing.assert_array_equal(found, expected)


def test_labels_are_predicted_as_0_or_1(backend: Backend, runs):
    found, p = answers(runs / "labels", "predict", backend)
    np.testing.assert_array_equal(found, p > 0.5)


def test_numbers_are_predicted_in_their_units(backend: Backend, runs):
    found, numbers = answers(runs / "regression", "predict", backend)
    np.testing.assert_allclose(found, numbers, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("task", ["classes", "labels"])
def test_probabilities_are_those_of_plain_numpy(task, backend: Backend, runs):
    found, p = answers(runs / task, "predict_proba", backend)
    np.testing.assert_allclose(found, p, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_images_are_bytes_in_any_integer_dtype(dtype, runs, backend: Backend):
    images = TINY.test.inputs
    rows = images.reshape(60, 36) / 255
    run, inputs = runs / "bytes", images.astype(dtype)
    found, p = answers(run, "predict_proba", backend, inputs, rows)
    np.testing.assert_allclose(found, p, rtol=1e-9)


@pytest.mark.parametrize("task", TARGETS)
def test_only_single_values_are_copied_to_the_host(task, backend: Backend, runs):
    sizes = []

    def counting(array: Any) -> np.ndarray:
        host = backend.to_numpy(array)
        sizes.append(host.size)
        return host

    model, inputs = load_run(runs / task), backend.asarray(X)
    assert model.backend.like(inputs) is backend
    watched = changed(backend, to_numpy=counting)
    model = replace(model, backend=changed(model.backend, like=lambda _: watched))
    model.predict(inputs)
    if task != "regression":
        model.predict_proba(inputs)
    assert max(sizes) == 1


# Other inputs.


def with_value(inputs: np.ndarray, value: float) -> np.ndarray:
    inputs = inputs.copy()
    inputs[-1, -1] = value
    return inputs


@pytest.mark.parametrize(
    ("run", "inputs", "said"),
    [
        ("classes", X[0], "X: the shape is (3,) ... (n, 3) ... one sample is X[None"),
        ("classes", X[:, :2], "X: the shape is (60, 2) ... trained on (n, 3)"),
        ("classes", with_value(X, np.inf), "inf is not a finite number"),
        (
            "bytes",
            with_value(TINY.test.inputs.astype("int64"), 300),
            "X: there are values outside 0 to 255 ... trained on bytes",
        ),
        ("bytes", TINY.test.inputs / 255, "float64 ... trained on bytes; give whole"),
    ],
)
def test_inputs_unlike_those_of_the_training_are_refused_in_one_line(
    run, inputs, said, runs, backend: Backend
):
    with pytest.raises(DatasetError, match=pattern(said)):
        load_run(runs / run).predict(backend.asarray(inputs))


class Foreign(np.ndarray):
    """An array of a library without a backend of its own."""

    __module__ = "elsewhere"

    def __array_namespace__(self, api_version: Any = None) -> Any:
        return NAMESPACE


NAMESPACE = Namespace(__name__="elsewhere")


def test_a_model_predicts_from_arrays_of_a_library_without_a_backend(runs):
    model, inputs = load_run(runs / "regression"), X.view(Foreign)
    opened = model.backend.like(inputs)
    assert (opened.name, opened.xp) == ("elsewhere", NAMESPACE)
    assert model.backend.like(inputs) is opened, "so that nothing is compiled again"
    expected = plain_outputs(model, STANDARD)
    np.testing.assert_allclose(model.predict(inputs), expected, rtol=1e-9)


# The runs, and their answers.


@pytest.fixture(scope="module")
def runs(tmp_path_factory, no_pictures) -> Path:
    """A run for each task, and a run on images of bytes."""
    folder = tmp_path_factory.mktemp("models")
    config = TrainConfig(
        epochs=2, hidden=(4,), learning_rate=0.05, init="glorot", report_every=60
    )
    data = {task: from_arrays(X, y) for task, y in TARGETS.items()} | {"bytes": TINY}
    for name, dataset in data.items():
        list(train(config, dataset, open_backend(), run_dir=folder / name))
    return folder


def plain_outputs(model: Model, x: np.ndarray) -> np.ndarray:
    """Return probabilities, or numbers in their units, by plain NumPy."""
    z = reference.outputs(model.network, x, "sigmoid")
    if model.signature.task is CLASSES:
        return reference.softmax(z)
    if model.signature.task is REGRESSION:
        numbers = TARGETS["regression"]
        return z * numbers.std(axis=0) + numbers.mean(axis=0)
    return 1 / (1 + np.exp(-z))


def answers(
    run: Path, method: str, backend: Backend, inputs: Any = X, x: np.ndarray = STANDARD
) -> tuple[np.ndarray, np.ndarray]:
    """Return the answer of a run to inputs on a backend, and `plain_outputs` of x.

    The answer must be of the library of the inputs, and on their device.
    """
    model, given = load_run(run), backend.asarray(inputs)
    found = getattr(model, method)(given)
    packages = [type(array).__module__.partition(".")[0] for array in (found, given)]
    assert packages[0] == packages[1]
    if hasattr(given, "device"):
        assert found.device == given.device
    return backend.to_numpy(found), plain_outputs(model, x)
