"""Evaluation and prediction against plain NumPy, whatever the number of images."""

import numpy as np
import pytest
from data_sets import on_device, synthetic
from numerics import assert_close, assert_near, trajectory_tolerance

import mlp_xp.metrics
from mlp_xp.backend import Backend, open_backend
from mlp_xp.dataset import Preparation, flatten_and_scale, unchanged
from mlp_xp.device import all_finite
from mlp_xp.errors import MlpXpError
from mlp_xp.metrics import Evaluation, confusion_matrix, evaluate, percent, predict, predict_logits
from mlp_xp.network import Layer, Network

SIZE = 12
PIXELS = SIZE * SIZE
HOST = synthetic(20, 103, size=SIZE)
PLAIN = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}


def host_layers() -> list[Layer]:
    random = np.random.default_rng(9)
    return [Layer(random.normal(size=s) / 4, random.normal(size=s[1])) for s in ((PIXELS, 8), (8, 10))]


def network_on(backend: Backend) -> Network:
    return tuple(Layer(*(backend.asarray(array, backend.dtype) for array in layer)) for layer in host_layers())


def plain_logits(images: np.ndarray, activation: str = "sigmoid") -> np.ndarray:
    first, second = host_layers()
    x = images.reshape(len(images), -1) / 255
    return PLAIN[activation](x @ first.weights + first.bias) @ second.weights + second.bias


def plain_probabilities(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture(params=[1, 7, 50, 103, 10**6])
def images_at_once(request, monkeypatch) -> int:
    """Memory for so many images at a time: one, several that do not divide 103, all."""
    monkeypatch.setattr(mlp_xp.metrics, "PART_BYTES", request.param * PIXELS * 8)
    for compiled in (mlp_xp.metrics._compiled_logits, mlp_xp.metrics._compiled_sums):
        compiled.cache_clear()  # the size of a part is a part of what is compiled
    return request.param


@pytest.mark.parametrize("activation", PLAIN)
def test_logits_and_probabilities_are_plain_numpy(activation, backend):
    images = on_device(HOST, backend).test_images
    logits = plain_logits(HOST.test_images, activation)
    rounding = trajectory_tolerance(1, PIXELS)
    actual = predict_logits(network_on(backend), images, activation=activation, backend=backend)
    assert_close(actual, logits, backend, rtol=rounding, atol=rounding)
    probabilities = predict(network_on(backend), images, activation=activation, backend=backend)
    assert_close(probabilities, plain_probabilities(logits), backend, rtol=rounding, atol=rounding)
    np.testing.assert_allclose(backend.to_numpy(probabilities).sum(axis=1), 1, rtol=rounding)


def test_any_number_of_images_at_once_gives_the_same(images_at_once, backend):
    dataset, network = on_device(HOST, backend), network_on(backend)
    rounding = trajectory_tolerance(1, PIXELS)
    logits = predict_logits(network, dataset.test_images, activation="sigmoid", backend=backend)
    expected = plain_logits(HOST.test_images)
    assert_close(logits, expected, backend, rtol=rounding, atol=rounding)
    result = evaluate(network, dataset.test_images, dataset.test_labels, activation="sigmoid", backend=backend)
    loss, accuracy = result[:2]
    assert result == Evaluation(loss, accuracy, samples=103)
    assert result.score == accuracy
    p = plain_probabilities(expected)
    assert_near(loss, -np.log(p[np.arange(103), HOST.test_labels]).mean(), rounding)
    assert accuracy == (p.argmax(axis=1) == HOST.test_labels).sum() / 103
    assert type(loss) is type(accuracy) is float


def test_memory_is_bounded(images_at_once):
    """No part is above the limit, and the parts are as even as may be."""
    sizes = []

    def counted(images, **others):
        sizes.append(len(images))
        return flatten_and_scale(images, **others)

    backend = open_backend("numpy")
    predict_logits(
        network_on(backend), HOST.test_images, activation="sigmoid", backend=backend, prepare=Preparation(counted)
    )
    assert sum(sizes) == 103
    assert max(sizes) <= images_at_once
    assert len(sizes) == -(-103 // images_at_once)
    assert len(set(sizes)) <= 2


def test_float32_predicts_in_float32(backend32):
    images = backend32.asarray(HOST.test_images)
    rounding = trajectory_tolerance(1, PIXELS, np.float32)
    logits = predict_logits(network_on(backend32), images, activation="sigmoid", backend=backend32)
    assert_close(logits, plain_logits(HOST.test_images), backend32, rtol=rounding, atol=rounding)


def test_a_data_set_of_its_own_preparation_is_seen_through_it(backend):
    """Dark on light: the network sees what it would of the images the other way round."""

    def inverted(images, **others):
        return 1 - flatten_and_scale(images, **others)

    network, dataset, rounding = network_on(backend), on_device(HOST, backend), trajectory_tolerance(1, PIXELS)
    settings = {"activation": "sigmoid", "backend": backend, "prepare": Preparation(inverted)}
    p = plain_probabilities(plain_logits(255 - HOST.test_images))
    assert_close(predict(network, dataset.test_images, **settings), p, backend, rtol=rounding, atol=rounding)
    loss, accuracy, *_ = evaluate(network, dataset.test_images, dataset.test_labels, **settings)
    assert_near(loss, -np.log(p[np.arange(103), HOST.test_labels]).mean(), rounding)
    assert accuracy == (p.argmax(axis=1) == HOST.test_labels).sum() / 103


def test_one_image_is_a_batch(backend):
    image = backend.asarray(HOST.test_images[:1])
    rounding = trajectory_tolerance(1, PIXELS)
    expected = plain_probabilities(plain_logits(HOST.test_images[:1]))
    probabilities = predict(network_on(backend), image, activation="sigmoid", backend=backend)
    assert_close(probabilities, expected, backend, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("function", [predict, predict_logits, evaluate])
def test_images_of_another_size_are_refused(function, backend):
    images, labels = backend.asarray(np.zeros((3, 10, 11), np.uint8)), backend.asarray(np.zeros(3, np.uint8))
    arguments = (network_on(backend), images, labels)[: 3 if function is evaluate else 2]
    with pytest.raises(MlpXpError) as caught:
        function(*arguments, activation="sigmoid", backend=backend)
    assert str(caught.value) == (
        "images: 10 x 11 = 110 pixels do not match the network, which takes 144; "
        "give images of the size it was trained on"
    )
    assert caught.value.exit_code == 2


def test_no_images_are_refused(backend):
    images = backend.asarray(np.zeros((0, SIZE, SIZE), np.uint8))
    with pytest.raises(MlpXpError, match=r"^images: there are none; give at least one$"):
        predict(network_on(backend), images, activation="sigmoid", backend=backend)


def test_an_activation_that_is_not_known_is_refused(backend):
    images = backend.asarray(HOST.test_images)
    with pytest.raises(MlpXpError, match=r"activation: 'rleu' is not known \(did you mean 'relu'\?\)"):
        predict(network_on(backend), images, activation="rleu", backend=backend)


def test_a_single_image_without_its_axis_is_refused(backend):
    image = backend.asarray(HOST.test_images[0])
    with pytest.raises(MlpXpError, match=r"images: their shape is \(12, 12\); give \(n, rows, columns\)"):
        predict(network_on(backend), image, activation="sigmoid", backend=backend)


def test_prediction_changes_neither_images_nor_network(backend):
    network, images = network_on(backend), backend.asarray(HOST.test_images)
    predict(network, images, activation="sigmoid", backend=backend)
    np.testing.assert_array_equal(backend.to_numpy(images), HOST.test_images)
    for layer, original in zip(network, host_layers(), strict=True):
        for array, expected in zip(layer, original, strict=True):
            np.testing.assert_array_equal(backend.to_numpy(array), expected)


def test_a_network_that_is_not_finite_is_evaluated_without_a_warning(backend):
    """Training looks at the loss; a warning on top would come from within NumPy and help nobody."""
    first, second = network_on(backend)
    dataset = on_device(HOST, backend)
    broken = (Layer(first.weights * np.inf, first.bias), second)
    labelled = dataset.test_images, dataset.test_labels
    assert np.isnan(evaluate(broken, *labelled, activation="sigmoid", backend=backend).loss)


@pytest.mark.parametrize("samples", [7, 1000])
def test_r2_of_constant_numbers_is_one_if_all_are_hit_and_else_zero(samples, backend):
    """The mean of 0.1 is not always 0.1, and a share of its rounding error means nothing."""
    bias = np.array([0.1, 0.3])
    network = (Layer(backend.asarray(np.zeros((1, 2))), backend.asarray(bias)),)
    result = evaluate(
        network,
        *(backend.asarray(np.full((samples, columns), 0.1)) for columns in (1, 2)),
        activation="identity",
        backend=backend,
        prepare=Preparation(unchanged),
        task="regression",
    )
    assert result.r2s == (1, 0)


def test_confusion_matrix_counts_who_is_taken_for_whom():
    labels, predictions = np.array([0, 0, 1, 3, 3, 3], np.uint8), np.array([0, 1, 1, 0, 0, 3])
    expected = [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 1]]
    matrix = confusion_matrix(labels, predictions, 4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == expected


def test_confusion_matrix_of_many_is_that_of_a_loop(random):
    """200 classes: the pairs do not fit into the bytes that the labels are."""
    labels, predictions = random.integers(0, 200, (2, 5000), dtype=np.uint8)
    expected = np.zeros((200, 200), np.int64)
    for label, prediction in zip(labels, predictions, strict=True):
        expected[label, prediction] += 1
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 200), expected)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (0.9999999, "99.9 %"), (1, "100.0 %"), (0.12999, "12.9 %"), (1 / 3, "33.3 %")]
)
def test_only_all_is_a_hundred_percent(share, text):
    assert percent(share) == text


@pytest.mark.parametrize("change", [lambda labels: labels[:1], lambda labels: labels[:, None]])
def test_labels_of_another_shape_are_refused(change, backend):
    """They would broadcast: an accuracy of 7 is possible."""
    dataset = on_device(HOST, backend)
    labels = backend.asarray(change(HOST.test_labels))
    with pytest.raises(MlpXpError, match=r"labels: their shape is .*, where \(103,\) is expected"):
        evaluate(network_on(backend), dataset.test_images, labels, activation="sigmoid", backend=backend)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_number_that_is_not_finite_is_found_in_any_array(value, place, backend):
    arrays = [np.array([[1.0, -2.0], [3.0, 4.0]]), np.array([-5.0, 6.0, 7.0])]
    assert all_finite([backend.asarray(each) for each in arrays], backend)
    arrays[place].flat[1] = value
    assert not all_finite([backend.asarray(each) for each in arrays], backend)


def test_large_numbers_whose_sum_overflows_are_finite(backend):
    large = float(np.finfo(np.float64).max)
    assert all_finite([backend.asarray(np.array(each)) for each in ([large, large], [-large, 1.0])], backend)


def test_samples_that_are_right_are_counted_without_rounding(monkeypatch):
    """More than float32 can count are counted as integers: the same number."""
    backend32 = open_backend("numpy", dtype="float32")
    dataset, network = on_device(HOST, backend32), network_on(backend32)
    images, labels = dataset.test_images, dataset.test_labels
    results = []
    for limit in (mlp_xp.metrics.FLOAT32_INTEGERS, 0):
        monkeypatch.setattr(mlp_xp.metrics, "FLOAT32_INTEGERS", limit)
        mlp_xp.metrics._compiled_sums.cache_clear()
        results.append(evaluate(network, images, labels, activation="sigmoid", backend=backend32).accuracy)
    mlp_xp.metrics._compiled_sums.cache_clear()
    assert results[0] == results[1]
    assert float(np.float32(mlp_xp.metrics.FLOAT32_INTEGERS - 1)) == mlp_xp.metrics.FLOAT32_INTEGERS - 1


@pytest.mark.parametrize("samples", [1004, 1005])
def test_predictions_that_overflow_are_not_finite_and_give_no_warning(samples):
    """In whole parts, and in a part that is left."""
    network = (Layer(np.full((784, 2), 1e308), np.zeros(2)), Layer(np.full((2, 3), 1e308), np.zeros(3)))
    images = np.full((samples, 28, 28), 255, np.uint8)
    logits = predict_logits(network, images, activation="relu", backend=open_backend())
    assert not np.isfinite(logits).any()
