"""Predictions and figures of a model against plain NumPy, for any number of inputs."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from data_sets import synthetic, varied
from helpers import arrays_of
from numerics import assert_all_equal, assert_close, assert_near, trajectory_tolerance

import mlp_xp.core.model
from mlp_xp.backends.inputs import not_of
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer
from mlp_xp.core.signature import (
    Preparation,
    Signature,
    flatten_and_scale,
    standardize,
)
from mlp_xp.core.step import to_device
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS, Units
from mlp_xp.errors import MlpXpError

SIZE = 12
PIXELS = SIZE * SIZE
TEST = synthetic(20, 103, size=SIZE).test
ARRAYS = TEST.inputs, TEST.labels
RANDOM = np.random.default_rng(9)
FIRST = Layer(RANDOM.normal(size=(PIXELS, 8)) / 4, RANDOM.normal(size=8))
LAST = Layer(RANDOM.normal(size=(8, 10)) / 4, RANDOM.normal(size=10))


@pytest.mark.every_backend
@pytest.mark.parametrize("inputs_at_once", [50, 10**6])
def test_predictions_are_those_of_plain_numpy(inputs_at_once, backend, monkeypatch):
    set_inputs_at_once(inputs_at_once, monkeypatch)
    model, inputs = model_on(backend), backend.asarray(TEST.inputs)
    logits = plain_logits(TEST.inputs)
    p = reference.softmax(logits)
    assert_same(model.logits(inputs), logits, backend)
    assert_same(model.predictions(inputs), p, backend)
    assert_same(model.predictions(inputs[:1, ...]), p[:1], backend)
    # Neither images nor network have changed.
    np.testing.assert_array_equal(backend.to_numpy(inputs), TEST.inputs)
    assert_all_equal(arrays_of(model.network, backend.to_numpy), [*FIRST, *LAST])


def test_predictions_are_in_float32_too(backend32):
    logits = model_on(backend32).logits(backend32.asarray(TEST.inputs))
    assert_same(logits, plain_logits(TEST.inputs), backend32)


@pytest.mark.every_backend
def test_logits_can_be_compiled(backend):
    """Nothing is read from the device.

    Inside a compiled function there is nothing to read yet.
    """
    model = model_on(backend)
    compiled = backend.jit(
        lambda network, inputs: replace(model, network=network).logits(inputs)
    )
    logits = compiled(model.network, backend.asarray(TEST.inputs))
    assert_same(logits, plain_logits(TEST.inputs), backend)


@pytest.mark.parametrize("inputs_at_once", [1, 7, 50, 103, 10**6])
def test_memory_is_bounded_and_parts_are_even(inputs_at_once, monkeypatch):
    """At most two sizes, each of which is a compilation.

    Images are seen through the data set's own preparation.
    """
    set_inputs_at_once(inputs_at_once, monkeypatch)
    sizes, predictions = parts_of_inverted(FIRST, LAST)
    p = reference.softmax(plain_logits(255 - TEST.inputs))
    assert_near(predictions, p, tolerance_on(open_backend()))
    assert sum(sizes) == 103
    assert sizes[0] == max(sizes) <= inputs_at_once
    assert len(sizes) == -(-103 // inputs_at_once)
    assert len(set(sizes[:-1])) <= 1
    assert max(sizes) - min(sizes) < len(sizes)


@pytest.mark.parametrize("inputs_at_once", [1, 50])
def test_the_widest_layer_counts(inputs_at_once, monkeypatch):
    set_inputs_at_once(inputs_at_once, monkeypatch)
    sizes, _ = parts_of_inverted(full(PIXELS, 2 * PIXELS), full(2 * PIXELS, 10))
    assert max(sizes) <= max(1, inputs_at_once // 2)


@pytest.mark.every_backend
def test_a_model_moves_to_another_backend_with_all_its_arrays(backend):
    there = model_on(
        open_backend(),
        preparation=Preparation(
            standardize, (np.full(PIXELS, 3.0), np.full(PIXELS, 2.0))
        ),
        task=REGRESSION,
        units=Units(np.full(10, 5.0), np.full(10, 7.0)),
    )
    x = np.random.default_rng(1).normal(size=(5, SIZE, SIZE))
    here = there.on(backend)
    for array in (*here.network[0], *here.fitted, *here.units):
        assert not_of(array, backend) is None
    # The outputs are 5 + 7 z, so errors of z, a sum of terms of order 1, are seven
    # times as large.
    predictions = here.predictions(backend.asarray(x))
    assert_same(predictions, there.predictions(x), backend, terms=7)
    assert there.on(open_backend()) is there
    single = there.on(open_backend(dtype="float32"))
    assert (single.units.mean.dtype, single.fitted[0].dtype) == (np.float32, np.float32)


# Numbers that are not finite. Warnings are errors here.


def test_an_evaluation_that_is_not_finite_gives_no_warning(backend):
    """Training looks at the loss."""
    broken = model_on(backend, full(PIXELS, 8, np.inf), LAST)
    assert np.isnan(broken.evaluate(*map(backend.asarray, ARRAYS)).loss)


@pytest.mark.parametrize("inputs_at_once", [52, 103])
def test_predictions_that_are_not_finite_are_refused(inputs_at_once, monkeypatch):
    """In parts of one size or of two."""
    set_inputs_at_once(inputs_at_once, monkeypatch)
    layers = full(PIXELS, 2, 1e308), full(2, 3, 1e308)
    large = model_on(open_backend(), *layers, activation="relu")
    assert not np.isfinite(large.logits(TEST.inputs)).any()
    with pytest.raises(MlpXpError, match="not finite"):
        large.predictions(TEST.inputs)


# Tasks.


@pytest.mark.parametrize("samples", [7, 1000])
def test_r2_of_constant_numbers_is_one_if_all_are_hit_and_else_zero(samples):
    """A share of the rounding error of a mean means nothing.

    The mean of 0.1 is not always 0.1.
    """
    z, labels = np.tile([0.1, 0.3], (samples, 1)), np.full((samples, 2), 0.1)
    assert REGRESSION.evaluate(z, labels).r2s == (1, 0)


def test_r2_does_not_depend_on_the_unit():
    labels = np.array([[0.0], [0.1], [0.2]])
    expected = 1 - 3 * 0.05**2 / 0.02
    assert REGRESSION.evaluate(labels + 0.05, labels).r2 == pytest.approx(expected)


def test_the_loss_of_huge_errors_is_infinite_without_a_warning():
    assert REGRESSION.evaluate(np.full((2, 1), 1e200), np.zeros((2, 1))).loss == np.inf


def test_figures_of_many_float32_numbers_are_those_of_float64():
    random = np.random.default_rng(0)
    z, targets = random.normal(size=(2, 10**6, 2)).astype(np.float32)
    rmses = np.sqrt(np.mean((z.astype(np.float64) - targets) ** 2, axis=0))
    found = REGRESSION.evaluate(z, targets)
    np.testing.assert_allclose(found.rmses, rmses, rtol=1e-12)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_predictions_of_an_ensemble_are_the_mean_of_its_members(task):
    z = np.random.RandomState(0).normal(size=(3, 5, 4)) * 20
    members = [task.link(each, xp=np) for each in z]
    pooled = task.link(task.pool(z), xp=np)
    np.testing.assert_allclose(pooled, np.mean(members, axis=0), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("task", [CLASSES, LABELS], ids=repr)
def test_the_loss_of_an_ensemble_is_finite_where_probabilities_underflow(task):
    """Both members are sure of a wrong answer."""
    z = np.array([[[3000.0, 0, 0]], [[4000.0, 0, 0]]])
    targets = np.array([[0.0, 1.0, 0.0]])
    assert 2000 < task.loss(task.pool(z), targets, xp=np)[0] < 4001


def test_a_probability_of_one_half_says_no_in_the_answer_and_in_the_figures():
    z = np.zeros((1, 2))
    assert LABELS.decide(LABELS.link(z, xp=np), ("a", "b"), xp=np).tolist() == [[0, 0]]
    assert LABELS.evaluate(z, np.array([[0, 1]])).label_accuracies == (1.0, 0.0)


def test_a_task_survives_a_pickle_and_can_be_a_key():
    tasks = {*TASKS.values()}
    assert pickle.loads(pickle.dumps(tasks)) == tasks == {CLASSES, LABELS, REGRESSION}


# Models, and the same in plain NumPy.


def model_on(backend: Backend, *layers: Layer, **changes: Any) -> Model:
    """Return a network on the backend, by default of FIRST and LAST."""
    network = to_device(layers or (FIRST, LAST), backend)
    names = tuple(map(str, range(network[-1].bias.shape[0])))
    model = Model(network, "tanh", Signature((SIZE, SIZE), names), backend)
    return varied(model, **changes)


def full(inputs: int, outputs: int, value: float = 0.0) -> Layer:
    """Return a layer whose weights all have a value."""
    return Layer(np.full((inputs, outputs), value), np.zeros(outputs))


def plain_logits(images: np.ndarray) -> np.ndarray:
    x = images.reshape(len(images), -1) / 255
    return reference.outputs((FIRST, LAST), x, "tanh")


def tolerance_on(backend: Backend) -> float:
    return trajectory_tolerance(1, PIXELS, backend.dtype_name)


def assert_same(
    actual: Any, expected: np.ndarray, backend: Backend, terms: float = 1
) -> None:
    """Compare outputs with those of NumPy, for sums of terms up to this size."""
    rounding = tolerance_on(backend)
    assert_close(actual, expected, backend, rtol=rounding, atol=terms * rounding)


def set_inputs_at_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp_xp.core.model, "PART_BYTES", count * PIXELS * 8)
    # The size of a part is compiled in.
    mlp_xp.core.model.make_logits.cache_clear()


def parts_of_inverted(*layers: Layer) -> tuple[list[int], np.ndarray]:
    """Return the sizes of the parts in which inverted images are prepared.

    Return also the predictions of a network of these layers.
    """
    sizes = []

    def inverted(images: np.ndarray, **others: Any) -> np.ndarray:
        sizes.append(len(images))
        return 1 - flatten_and_scale(images, **others)

    model = model_on(open_backend(), *layers, preparation=Preparation(inverted))
    return sizes, model.predictions(TEST.inputs)
