"""What a model says and how good it is, against plain NumPy, whatever the number of
inputs.
"""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from data_sets import on_device, synthetic, varied
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
    unchanged,
)
from mlp_xp.core.step import to_device
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION, TASKS, Evaluation, Units
from mlp_xp.errors import MlpXpError

SIZE = 12
PIXELS = SIZE * SIZE
HOST = synthetic(20, 103, size=SIZE)
ROUNDING = trajectory_tolerance(1, PIXELS)


def host_layers() -> list[Layer]:
    random = np.random.default_rng(9)
    return [
        Layer(random.normal(size=s) / 4, random.normal(size=s[1]))
        for s in ((PIXELS, 8), (8, 10))
    ]


def model_on(
    backend: Backend, layers: list[Layer] | None = None, **changes: Any
) -> Model:
    """A network on the backend; with `layers`, of these."""
    network = to_device(host_layers() if layers is None else layers, backend)
    names = tuple(map(str, range(network[-1].bias.shape[0])))
    model = Model(network, "tanh", Signature((SIZE, SIZE), names), backend)
    return varied(model, **changes)


def plain_logits(images: np.ndarray) -> np.ndarray:
    first, second = host_layers()
    x = images.reshape(len(images), -1) / 255
    return np.tanh(x @ first.weights + first.bias) @ second.weights + second.bias


def plain_probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def set_inputs_at_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp_xp.core.model, "PART_BYTES", count * PIXELS * 8)
    # the size of a part is a part of what is compiled
    mlp_xp.core.model.make_logits.cache_clear()


@pytest.mark.every_backend
@pytest.mark.parametrize("inputs_at_once", [50, 10**6])
def test_figures_and_predictions_are_plain_numpy(inputs_at_once, backend, monkeypatch):
    set_inputs_at_once(inputs_at_once, monkeypatch)
    dataset, model = on_device(HOST, backend), model_on(backend)
    logits, p = (
        plain_logits(HOST.test.inputs),
        plain_probabilities(plain_logits(HOST.test.inputs)),
    )
    assert_close(
        model.logits(dataset.test.inputs), logits, backend, rtol=ROUNDING, atol=ROUNDING
    )
    assert_close(
        model.predictions(dataset.test.inputs), p, backend, rtol=ROUNDING, atol=ROUNDING
    )
    assert_close(
        model.predictions(dataset.test.inputs[:1, ...]),
        p[:1],
        backend,
        rtol=ROUNDING,
        atol=ROUNDING,
    )
    result = model.evaluate(dataset.test.inputs, dataset.test.labels)
    loss, accuracy = result[:2]
    assert result == Evaluation(loss, accuracy, samples=103)
    assert_near(loss, -np.log(p[np.arange(103), HOST.test.labels]).mean(), ROUNDING)
    assert (
        accuracy == result.score == (p.argmax(axis=1) == HOST.test.labels).sum() / 103
    )
    assert type(loss) is type(accuracy) is float
    # Neither images nor network have changed.
    np.testing.assert_array_equal(
        backend.to_numpy(dataset.test.inputs), HOST.test.inputs
    )
    assert_all_equal(
        arrays_of(model.network, backend.to_numpy), arrays_of(host_layers(), np.asarray)
    )


@pytest.mark.parametrize("inputs_at_once", [1, 7, 50, 103, 10**6])
def test_memory_is_bounded_and_parts_are_even(inputs_at_once, monkeypatch):
    """At most two sizes, each of which is a compilation. Images are seen through the
    data set's own preparation.
    """
    sizes = []

    def inverted(images, **others):
        sizes.append(len(images))
        return 1 - flatten_and_scale(images, **others)

    set_inputs_at_once(inputs_at_once, monkeypatch)
    model = model_on(open_backend(), preparation=Preparation(inverted))
    p = plain_probabilities(plain_logits(255 - HOST.test.inputs))
    assert_near(model.predictions(HOST.test.inputs), p, ROUNDING)
    assert sum(sizes) == 103
    assert sizes[0] == max(sizes) <= inputs_at_once
    assert len(sizes) == -(-103 // inputs_at_once)
    assert len(set(sizes[:-1])) <= 1
    assert max(sizes) - min(sizes) < len(sizes)
    sizes.clear()
    wide = [
        Layer(np.zeros(shape), np.zeros(shape[1]))
        for shape in ((PIXELS, 2 * PIXELS), (2 * PIXELS, 10))
    ]
    model_on(open_backend(), wide, preparation=Preparation(inverted)).predictions(
        HOST.test.inputs
    )
    assert max(sizes) <= max(1, inputs_at_once // 2)


def test_float32_figures_of_many_samples_are_those_of_float64():
    random = np.random.default_rng(0)
    z, targets = random.normal(size=(2, 10**6, 2)).astype(np.float32)
    found = REGRESSION.evaluate(z, targets)
    expected = np.sqrt(np.mean((z.astype(np.float64) - targets) ** 2, axis=0))
    np.testing.assert_allclose(found.rmses, expected, rtol=1e-12)


def test_float32_predicts_in_float32(backend32):
    rounding = trajectory_tolerance(1, PIXELS, np.float32)
    logits = model_on(backend32).logits(backend32.asarray(HOST.test.inputs))
    assert_close(
        logits, plain_logits(HOST.test.inputs), backend32, rtol=rounding, atol=rounding
    )


@pytest.mark.every_backend
def test_a_model_moves_to_another_backend(backend):
    """All its arrays do, and they take the dtype of this backend."""
    there = model_on(
        open_backend(),
        preparation=Preparation(
            standardize, (np.full(PIXELS, 3.0), np.full(PIXELS, 2.0))
        ),
        task=REGRESSION,
        units=Units(np.full(10, 5.0), np.full(10, 7.0)),
    )
    here, x = there.on(backend), np.random.default_rng(1).normal(size=(5, SIZE, SIZE))
    for array in (*here.network[0], *here.fitted, *here.units):
        assert not_of(array, backend) is None
    # The outputs are 5 + 7 z, so errors of z, a sum of terms of order 1, are seven
    # times as large.
    assert_close(
        here.predictions(backend.asarray(x)),
        there.predictions(x),
        backend,
        rtol=ROUNDING,
        atol=7 * ROUNDING,
    )
    assert there.on(open_backend()) is there
    single = there.on(open_backend(dtype="float32"))
    assert (single.units.mean.dtype, single.fitted[0].dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        (
            (3, 10, 11),
            "uint8",
            r"inputs: their shape is \(3, 10, 11\); give one or more, \(n, 12, 12\)",
        ),
        (
            (0, 12, 12),
            "uint8",
            r"inputs: their shape is \(0, 12, 12\); give one or more, \(n, 12, 12\)",
        ),
        (
            (12, 12),
            "uint8",
            r"inputs: their shape is \(12, 12\); give one or more, \(n, 12, 12\)",
        ),
        # Nothing is guessed: the same pixels scaled, or as integers, are refused by
        # their dtype.
        (
            (3, 12, 12),
            "float64",
            r"inputs: their dtype is float64; give uint8, which is scaled",
        ),
        (
            (3, 12, 12),
            "int64",
            r"inputs: their dtype is int64; give uint8, which is scaled",
        ),
    ],
)
def test_what_does_not_fit_the_network_is_refused(shape, dtype, message, backend):
    model, inputs = model_on(backend), backend.asarray(np.zeros(shape, dtype))
    labels = backend.asarray(np.zeros(shape[0], np.uint8))
    for call in (
        model.logits,
        model.predictions,
        lambda inputs: model.evaluate(inputs, labels),
    ):
        with pytest.raises(MlpXpError, match=f"^{message}"):
            call(inputs)


@pytest.mark.parametrize(
    "change", [lambda labels: labels[:1], lambda labels: labels[:, None]]
)
def test_labels_of_another_shape_are_refused(change, backend):
    """They would broadcast: an accuracy of 7 is possible."""
    inputs, labels = (
        backend.asarray(HOST.test.inputs),
        backend.asarray(change(HOST.test.labels)),
    )
    with pytest.raises(
        MlpXpError, match=r"labels: their shape is .*, where \(103,\) is expected"
    ):
        model_on(backend).evaluate(inputs, labels)


@pytest.mark.every_backend
def test_logits_can_be_compiled(backend):
    """Nothing is read from the device: inside a compiled function there is nothing to
    read yet.
    """
    model, inputs = model_on(backend), backend.asarray(HOST.test.inputs)
    compiled = backend.jit(
        lambda network, inputs: replace(model, network=network).logits(inputs)
    )
    expected = plain_logits(HOST.test.inputs)
    assert_close(
        compiled(model.network, inputs), expected, backend, rtol=ROUNDING, atol=ROUNDING
    )


def test_what_is_not_finite_gives_no_warning(backend):
    """Training looks at the loss; warnings are errors here. In whole parts, and in a
    part that is left.
    """
    first, second = host_layers()
    dataset, broken = (
        on_device(HOST, backend),
        model_on(backend, [Layer(first.weights * np.inf, first.bias), second]),
    )
    assert np.isnan(broken.evaluate(dataset.test.inputs, dataset.test.labels).loss)
    layers = [
        Layer(np.full((784, 2), 1e308), np.zeros(2)),
        Layer(np.full((2, 3), 1e308), np.zeros(3)),
    ]
    large = model_on(open_backend(), layers, activation="relu", input_shape=(28, 28))
    for samples in (1004, 1005):
        images = np.full((samples, 28, 28), 255, np.uint8)
        assert not np.isfinite(large.logits(images)).any()
        with pytest.raises(
            MlpXpError, match="its outputs, or its loss, are not finite"
        ):
            large.predictions(images)
    assert REGRESSION.evaluate(np.full((2, 1), 1e200), np.zeros((2, 1))).loss == np.inf


@pytest.mark.parametrize("samples", [7, 1000])
def test_r2_of_constant_numbers_is_one_if_all_are_hit_and_else_zero(samples, backend):
    """The mean of 0.1 is not always 0.1, and a share of its rounding error means
    nothing.
    """
    x, y = (backend.asarray(np.full((samples, columns), 0.1)) for columns in (1, 2))
    layers = [Layer(np.zeros((1, 2)), np.array([0.1, 0.3]))]
    model = model_on(
        backend,
        layers,
        preparation=Preparation(unchanged),
        task=REGRESSION,
        input_shape=(1,),
    )
    assert model.evaluate(x, y).r2s == (1, 0)


# Tasks.


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_predictions_of_an_ensemble_are_the_mean_of_its_members(task):
    z = np.random.RandomState(0).normal(size=(3, 5, 4)) * 20
    members = [task.link(each, xp=np) for each in z]
    np.testing.assert_allclose(
        task.link(task.pool(z), xp=np), np.mean(members, axis=0), rtol=1e-13, atol=1e-15
    )


@pytest.mark.parametrize("task", [CLASSES, LABELS], ids=repr)
def test_the_loss_of_an_ensemble_is_finite_where_probabilities_underflow(task):
    z = np.zeros((2, 1, 3))
    z[:, 0, 0] = 3000.0, 4000.0  # so sure of what is wrong
    targets = np.array([[0.0, 1.0, 0.0]])
    assert 2000 < task.loss(task.pool(z), targets, xp=np)[0] < 4001


def test_decisions():
    p = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert CLASSES.decide(p, ("a", "b", "c"), xp=np).tolist() == ["b", "a"]
    assert LABELS.decide(p, ("a", "b", "c"), xp=np).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert REGRESSION.decide(p, ("a", "b", "c"), xp=np).tolist() == p.tolist()
    assert REGRESSION.decide(p[:, :1], ("a",), xp=np).tolist() == [0.2, 0.6]
    # a probability of 1/2 says no, in the answer and in the figures
    z = np.zeros((1, 2))
    assert LABELS.decide(LABELS.link(z, xp=np), ("a", "b"), xp=np).tolist() == [[0, 0]]
    assert LABELS.evaluate(z, np.array([[0, 1]])).label_accuracies == (1.0, 0.0)


def test_r2_does_not_depend_on_the_unit():
    labels = np.array([[0.0], [0.1], [0.2]])
    assert REGRESSION.evaluate(labels + 0.05, labels).r2 == pytest.approx(
        1 - 3 * 0.05**2 / 0.02
    )


def test_a_task_survives_a_pickle_and_can_be_a_key():
    assert [pickle.loads(pickle.dumps(task)) for task in TASKS.values()] == [
        *TASKS.values()
    ]
    assert {*TASKS.values()} == {CLASSES, LABELS, REGRESSION}
