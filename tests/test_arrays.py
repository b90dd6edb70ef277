"""Data sets of your own arrays: what is taken, what is refused, and what a model of them predicts."""

import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import arrays_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import assert_near

from mlp_xp import TrainConfig, evaluate_run, open_backend, plot_run, predict, train
from mlp_xp.arrays import dtype_name
from mlp_xp.backend import Backend
from mlp_xp.checks import DatasetError, DatasetWarning, check_dataset
from mlp_xp.dataset import BYTES, Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.runs.checkpoints import load_model
from mlp_xp.runs.run_folder import RunError, read_metrics

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((60, 3)) * [1, 10, 0.1] + [5, -2, 0]
CLASSES = np.array(["b", "a", "c"])[np.argmax(X @ RANDOM.standard_normal((3, 3)), axis=1)]
CLASSES[:3] = ["a", "b", "c"]
LABELS = (X @ RANDOM.standard_normal((3, 2)) > 0).astype(int)
NUMBERS = X @ RANDOM.standard_normal((3, 2))
TARGETS = {"classes": CLASSES, "labels": LABELS, "regression": NUMBERS}
CONFIG = TrainConfig(
    epochs=3, batch_size=7, warm_up_steps=0, hidden=(5,), learning_rate=0.1, init="glorot", report_every=60
)
every_task = pytest.mark.parametrize("task", TARGETS)


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        Dataset.from_arrays(*args, **kwargs)
    message = str(caught.value)
    assert message.isprintable()
    return message


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = np.array(array)
    array[index] = value
    return array


BAD: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "NaN": ((changed(X, (7, 2), np.nan), CLASSES), {}, "X: row 7, column 2 is nan, no finite number; remove or "),
    "infinity": ((changed(X, (0, 0), -np.inf), CLASSES), {}, "X: row 0, column 0 is -inf, no finite number; remove"),
    "NaN pixel": (
        (changed(np.zeros((60, 4, 5)), (3, 1, 2), np.nan), CLASSES),
        {},
        "X: row 3, pixel (1, 2) is nan, no finite number; remove or replace it",
    ),
    "NaN number": (
        (X, changed(NUMBERS, (9, 1), np.nan)),
        {},
        "y: row 9, column 1 is nan, no finite number; remove the",
    ),
    "NaN class": ((X, changed(X[:, 0], 4, np.inf)), {"task": "classes"}, "y: row 4 is inf, no finite number; remove"),
    "one class": ((X, ["a"] * 60), {}, "y: all 60 rows are of the class 'a'; give at least two classes"),
    "lengths": ((X, CLASSES[1:]), {}, "X: it has 60 rows, but there are 59 labels; give one for each row"),
    "ragged": (([[1, 2], [3]], [0, 1]), {}, "X: cannot be read as an array ("),
    "text": (
        (np.array([["a", "b"]] * 60), CLASSES),
        {},
        "X: its dtype is <U1; give integers or floats; encode text as",
    ),
    "objects": ((np.array([[1, None]] * 60), CLASSES), {}, "X: its dtype is object; give integers or floats; encode"),
    "complex": ((X * 1j, CLASSES), {}, "X: its dtype is complex128; give integers or floats"),
    "dates": ((X.astype("M8[s]"), CLASSES), {}, "X: its dtype is datetime64[s]; give integers or floats"),
    "empty": ((X[:0], CLASSES[:0]), {}, "X: it has no values (its shape is (0, 3)); give some"),
    "one column": ((X[:, 0], CLASSES), {}, "X: its shape is (60,); give (n, features) or images (n, rows, columns[, "),
    "object labels": ((X, np.array([None, 1] * 30)), {}, "y: its shape is (60,) and its dtype object; give the class"),
    "labels 2": ((X, LABELS + 1), {}, "y: row 0, column "),
    "names": ((X, LABELS), {"class_names": ["a"]}, "class_names: there are 1 for 2 columns of y; give one each"),
    "same names": ((X, CLASSES), {"class_names": ["a", "a"]}, "class_names: a name is there twice; give each class a "),
    "unknown class": (
        (X, CLASSES),
        {"class_names": ["a", "b"]},
        f"y: row {int(np.argmax(CLASSES == 'c'))} is 'c', which is none of the 2 classes; they are 'a', 'b'",
    ),
    "negative class": (
        (X, np.arange(60) % 3 - 1),
        {"class_names": ["a", "b"]},
        "y: row 0 is -1, which is none of the 2 classes; they are 0, 1",
    ),
    "task": ((X, CLASSES), {"task": "class"}, "task: 'class' is not known; choose one of classes, labels, regression"),
    "share": ((X, CLASSES, 1.0), {}, "test: 1.0 of 60 rows leaves one part empty; give a share above 0 and below 1"),
    "small share": ((X, CLASSES, 0.001), {}, "test: 0.001 of 60 rows leaves one part empty; give a share"),
    "no share": ((X, CLASSES, "half"), {}, "test: 'half' of 60 rows leaves one part empty; give a share"),
    "test part": ((X, CLASSES, (X,)), {}, "test: it has 1 parts; give the test set as (X, y)"),
    "test class": ((X, CLASSES, (X, ["a"] * 59 + ["d"])), {}, "y of the test set: row 59 is 'd', which is none of "),
    "test kind": (
        (X, CLASSES, (X, [1] * 60)),
        {},
        "y of the test set: its shape is (60,), its dtype int64; give class",
    ),
    "test shape": ((X, CLASSES, (X[:, 1:], CLASSES)), {}, "test: a row of the test set has shape (2,), dtype float64"),
    "test NaN": (
        (X, CLASSES, (changed(X, (1, 1), np.nan), CLASSES)),
        {},
        "X of the test set: row 1, column 1 is nan, no finite number; remove or replace it",
    ),
    "test lengths": ((X, CLASSES, (X, CLASSES[1:])), {}, "X of the test set: it has 60 rows, but there are 59 labels"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_would_train_to_nonsense_is_refused_in_one_line(fault):
    args, options, message = BAD[fault]
    assert refusal(*args, **options).startswith(message)


def test_what_is_too_large_for_float32_is_named():
    message = refusal(changed(X, (7, 2), 1e300), CLASSES, backend=open_backend(dtype="float32"))
    assert message == "X: row 7, column 2 is 1e+300, too large for float32; remove or replace it"


def test_a_row_is_named_where_the_arrays_are_on_the_device(backend: Backend):
    device_x = backend.asarray(changed(X, (7, 2), np.nan))
    assert refusal(device_x, CLASSES, backend=backend).startswith("X: row 7, column 2 is nan, no finite number")


def test_arrays_of_the_device_are_not_copied_to_the_host(backend: Backend):
    """Only sums over rows are, and the labels."""
    taken = []
    device = backend.asarray(X), backend.asarray(LABELS)

    def counting(array):
        taken.append(tuple(array.shape))
        return backend.to_numpy(array)

    dataset = Dataset.from_arrays(*device, 0.25, backend=replace(backend, to_numpy=counting))
    assert set(taken) <= {(), (3,), (60, 2)}
    host = Dataset.from_arrays(X, LABELS, 0.25, backend=backend)
    for one, other in zip(dataset[:4], host[:4], strict=True):
        assert type(one) is type(device[0])
        np.testing.assert_array_equal(backend.to_numpy(one), backend.to_numpy(other))


def split_of(task: str) -> tuple[list[int], list[int]]:
    """The samples of a test set of a quarter, and the others, in the order of a shuffle.

    Of the classes' 34, 25 and 1 samples a quarter is 8.5, 6.25 and 0.25.
    """
    order = np.random.RandomState(0).permutation(60).tolist()
    held = order[:15]
    if task == "classes":
        first = {i for name, count in (("a", 9), ("c", 6)) for i in [i for i in order if CLASSES[i] == name][:count]}
        held = [i for i in order if i in first]
    return held, [i for i in order if i not in held]


@every_task
def test_the_task_follows_from_the_labels(task, backend: Backend):
    dataset = Dataset.from_arrays(X, TARGETS[task], 0.25, backend=backend)
    assert dataset.task == task
    assert (dataset.train_images.shape[0], dataset.test_images.shape[0]) == (45, 15)
    check_dataset(dataset, backend)
    held, left = split_of(task)
    np.testing.assert_array_equal(backend.to_numpy(dataset.test_images), X[held])
    labels = backend.to_numpy(dataset.train_labels)
    if task == "classes":
        assert dataset.class_names == ("a", "b", "c")
        np.testing.assert_array_equal(np.array(["a", "b", "c"])[labels], CLASSES[left])
    else:
        assert dataset.class_names == ("0", "1")
        np.testing.assert_array_equal(labels, TARGETS[task][left])


@pytest.mark.parametrize(
    ("y", "task", "names"),
    [
        ([3, 7] * 30, "classes", ("3", "7")),
        ([True, False] * 30, "classes", ("False", "True")),
        (np.array(["x", "y"] * 30, object), "classes", ("x", "y")),
        (np.arange(60), "classes", tuple(map(str, range(60)))),
        (NUMBERS[:, 0], "regression", ("0",)),
        (LABELS[:, :1], "labels", ("0",)),
    ],
)
def test_labels_of_many_kinds(y, task, names):
    dataset = Dataset.from_arrays(X.tolist(), y)
    assert (dataset.task, dataset.class_names) == (task, names)


def test_the_guess_can_be_overridden():
    rooms = [3, 4] * 30
    assert Dataset.from_arrays(X, rooms, task="regression").train_labels.tolist() == [[3.0], [4.0]] * 30
    assert Dataset.from_arrays(X, [0, 1] * 30, task="labels").train_labels.tolist() == [[0], [1]] * 30
    assert Dataset.from_arrays(X, [0.5, 1.0] * 30, task="classes").class_names == ("0.5", "1.0")


@pytest.mark.parametrize("dtype", ["int64", "bool", "float32"])
def test_one_hot_labels_are_not_taken_for_several_labels_in_silence(dtype):
    one_hot = np.eye(3, dtype=dtype)[np.arange(60) % 3]
    with pytest.warns(DatasetWarning, match=r"^y: each row has a single 1, .* y\.argmax\(axis=1\)") as warned:
        assert Dataset.from_arrays(X, one_hot).task == ("regression" if dtype == "float32" else "labels")
    assert [each.filename for each in warned] == [__file__], "of the caller"
    for task in ("labels", "regression"):
        assert Dataset.from_arrays(X, one_hot, task=task).task == task
    one_hot[3, 2] = one_hot[3, 0] = 1
    if dtype != "float32":
        assert Dataset.from_arrays(X, one_hot).task == "labels"


def test_names_of_classes_give_their_order():
    dataset = Dataset.from_arrays(X, CLASSES, class_names=["c", "b", "a"])
    np.testing.assert_array_equal(np.array(["c", "b", "a"])[dataset.train_labels], CLASSES)
    with pytest.warns(DatasetWarning, match="no training sample is of the class 'three'"):
        numbered = Dataset.from_arrays(X, [0, 1] * 30, class_names=["one", "two", "three"])
    assert numbered.train_labels.tolist() == [0, 1] * 30


def test_more_classes_than_a_byte_holds(backend: Backend):
    y = np.repeat(np.arange(300), 2)
    dataset = Dataset.from_arrays(np.eye(600), y, backend=backend, standardize=False)
    assert backend.to_numpy(dataset.train_labels).tolist() == y.tolist()
    config = TrainConfig(epochs=1, batch_size=100, warm_up_steps=0, hidden=(), init="glorot")
    *_, last = train(config, dataset, backend)
    assert last.network[-1].bias.shape == (300,)


def test_standardisation_is_fitted_to_the_training_part_alone(backend32: Backend):
    x = np.random.default_rng(1).standard_normal((10_000, 4)) * [1, 1e3, 1e-3, 1] + [0, 1e3, 1, 7]
    dataset = Dataset.from_arrays(x[:9000], [0, 1] * 4500, (x[9000:] * 50, [0, 1] * 500), backend=backend32)
    shift, scale = map(backend32.to_numpy, dataset.prepare.fitted)
    kept = x[:9000].astype(np.float32).astype(float)
    np.testing.assert_allclose(shift, kept.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scale, kept.std(axis=0), rtol=1e-4)


def test_features_whose_squares_are_no_numbers_of_float32_are_learned(backend32: Backend):
    """They would have the deviation 0 or infinity."""
    x = np.random.default_rng(2).standard_normal((64, 2)) * [1e-24, 1e23] + [2e-24, -3e22]
    y = (x[:, 0] / 1e-24 + x[:, 1] / 1e23 > 1.7).astype(int)
    dataset = Dataset.from_arrays(x, y, (x, y), backend=backend32)
    shift, scale = (backend32.to_numpy(each).astype(float) for each in dataset.prepare.fitted)
    kept = x.astype(np.float32).astype(float)
    np.testing.assert_allclose(scale, kept.std(axis=0), rtol=1e-5)
    np.testing.assert_allclose((shift - kept.mean(axis=0)) / kept.std(axis=0), 0, atol=1e-5)
    config = TrainConfig(epochs=6, batch_size=8, warm_up_steps=0, hidden=(), learning_rate=0.5, init="glorot")
    *_, last = train(config, dataset, backend32)
    assert last.accuracy > 0.9


def test_large_values_that_differ_little_have_their_own_deviation_and_a_warning(backend32: Backend):
    """A sum of them rounds their differences away; what float32 itself rounds away is warned of."""
    x = 1.7e9 + 200 * np.random.default_rng(3).standard_normal((300, 1))
    y = np.arange(300) % 2
    with pytest.warns(DatasetWarning, match=r"^X: column 0: float32 hardly tells the values apart") as warned:
        dataset = Dataset.from_arrays(x, y, backend=backend32)
    assert len(warned) == 1
    shift, scale = (backend32.to_numpy(each).astype(float) for each in dataset.prepare.fitted)
    kept = x.astype(np.float32).astype(float)
    np.testing.assert_allclose(scale, kept.std(axis=0), rtol=1e-2)
    assert abs(shift - kept.mean(axis=0)) <= 64, "half a step between floats of this size"


@pytest.mark.parametrize("huge", [[1e308, -1e308], [1e36], [-1.7e308]])
def test_values_that_huge_ones_hide_are_warned_of(huge: list[float]) -> None:
    """As standardised numbers they would all be the same; 1e36 and such are marks of missing values."""
    x = np.array([huge + [1.0, 2.0, 3.0, 4.0] * 5, huge + [7.0] * 20, [0.5, 1.5] * 10 + [1.0] * len(huge)]).T
    labels = np.arange(len(x)) % 2
    with pytest.warns(DatasetWarning, match=r"^X: column 0: float64 does not tell half of the values apart, because"):
        Dataset.from_arrays(x, labels)
    if abs(huge[0]) < 1e300:
        with pytest.warns(DatasetWarning, match=r"^y: output '0': float64 does not tell half of the numbers apart"):
            Dataset.from_arrays(x[:, 2:], x[:, 0])


@pytest.mark.parametrize("rows", [5, 30, 2000])
def test_skewed_columns_are_no_reason_to_warn(rows: int) -> None:
    """Warnings are errors here."""
    random = np.random.default_rng(7)
    ages = np.where(np.arange(rows) == 1, 1e6, random.uniform(18, 90, rows))
    columns = [random.lognormal(0, 2, rows), random.lognormal(0, 4, rows), random.zipf(2, rows), ages]
    columns += [
        random.negative_binomial(0.5, 0.01, rows) + np.arange(rows),
        np.arange(rows) == 0,
        random.pareto(1, rows),
    ]
    x = np.stack(columns, axis=1)
    for backend in (open_backend(dtype="float32"), open_backend()):
        Dataset.from_arrays(x, np.arange(rows) % 2, backend=backend)
        Dataset.from_arrays(x, x.astype(float), backend=backend)


@pytest.mark.parametrize("value", [1.7e9, 0.1, 1e17 / 3, -1e30, 0.0])
def test_a_constant_feature_is_exactly_zero_in_float32(value, backend32: Backend):
    """A rounded mean would give each sample the same difference, as large as the rounding."""
    x = np.stack([np.full(200, value), np.arange(200.0)], axis=1)
    with pytest.warns(DatasetWarning, match=r"^X: column 0: the same value"):
        dataset = Dataset.from_arrays(x, np.arange(200) % 2, backend=backend32)
    function, fitted = dataset.prepare
    rows = backend32.to_numpy(function(dataset.train_images, *fitted, dtype=backend32.dtype, xp=backend32.xp))
    np.testing.assert_array_equal(rows[:, 0], 0)


def test_constant_features_are_named_and_become_zero(backend: Backend):
    constant = np.concatenate([X, np.full((60, 1), 0.1), np.zeros((60, 1))], axis=1)
    with pytest.warns(
        DatasetWarning, match=r"^X: column 3, column 4: the same value in all training samples, from "
    ) as warned:
        dataset = Dataset.from_arrays(constant, CLASSES, backend=backend)
    assert [each.filename for each in warned] == [__file__], "of the caller"
    function, fitted = dataset.prepare
    x = backend.to_numpy(function(dataset.train_images, *fitted, dtype=backend.dtype, xp=backend.xp))
    np.testing.assert_allclose(x[:, 3:], 0, atol=1e-15)
    np.testing.assert_allclose(x[:, :3].std(axis=0), 1)
    with pytest.warns(DatasetWarning, match="y: the output '1' is the same in all rows"):
        Dataset.from_arrays(X, changed(LABELS, (slice(None), 1), 1), backend=backend)


def test_images_of_bytes_stay_bytes_and_floats_are_standardised():
    images = RANDOM.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    dataset = Dataset.from_arrays(images, CLASSES)
    assert dataset.prepare == BYTES
    assert dataset.train_images.dtype == np.uint8
    assert repr(dataset) == "Dataset('unnamed', 60 training and 0 test images of 4 x 5 x 3, 3 classes)"
    plain = Dataset.from_arrays(images, CLASSES, standardize=False)
    assert plain.train_images.dtype == np.uint8
    fitted = Dataset.from_arrays(images, CLASSES, standardize=True)
    np.testing.assert_allclose(fitted.prepare.fitted[0], images.reshape(60, -1).mean(axis=0))
    table = Dataset.from_arrays(images.reshape(60, -1), CLASSES)
    np.testing.assert_allclose(table.prepare.fitted[1], images.reshape(60, -1).std(axis=0))
    assert repr(table) == "Dataset('unnamed', 60 training and 0 test samples of 60 features, 3 classes)"


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(["u1", "i1", ">i2", "u4", "i8", "f2", "f4", ">f8", "?"]),
    y=st.sampled_from(["u1", "i8", "U3", "f4"]),
    strided=st.booleans(),
    standardize=st.sampled_from([None, True, False]),
)
def test_any_shape_and_dtype(shape, dtype, y, strided, standardize):
    """Their features are those that NumPy computes from the same numbers."""
    values = np.random.default_rng(len(dtype) + sum(shape)).integers(0, 2, (24, *shape)) * 3
    x = values.astype(dtype)
    labels = (np.arange(24) % 3).astype(y)
    if strided:
        x, labels = x[::-2], labels[::-2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        dataset = Dataset.from_arrays(x, labels, 0.25, standardize=standardize, stratify=False)
    check = TrainConfig(epochs=1, batch_size=3, hidden=(2,), warm_up_steps=0, init="glorot")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        *_, last = train(check, dataset, open_backend())
    assert last.test_loss is not None
    order = np.random.RandomState(0).permutation(len(x))
    kept = x[order[round(0.25 * len(x)) :]].reshape(-1, int(np.prod(shape))).astype(float)
    function, fitted = dataset.prepare
    features = function(dataset.train_images, *fitted, dtype=float, xp=open_backend().xp).reshape(kept.shape)
    if standardize is None and dtype == "u1" and len(shape) > 1:
        kept = kept / 255
    elif standardize is not False:
        spread = kept.std(axis=0)
        kept = (kept - kept.mean(axis=0)) / np.where(spread == 0, 1, spread)
    np.testing.assert_allclose(features, kept, atol=1e-12)


# Runs.


def formula(network: Any, x: np.ndarray, task: str) -> np.ndarray:
    """Predictions in plain NumPy."""
    hidden = 1 / (1 + np.exp(-(x @ network[0].weights + network[0].bias)))
    z = hidden @ network[1].weights + network[1].bias
    if task == "regression":
        return z
    if task == "labels":
        return 1 / (1 + np.exp(-z))
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


@every_task
def test_a_model_file_alone_predicts(task, backend: Backend, tmp_path):
    dataset = Dataset.from_arrays(X, TARGETS[task], 0.25, backend=backend)
    *_, last = train(CONFIG, dataset, backend, run_dir=tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert (model.task, model.preparation, model.image_shape) == (task, "standardize", (3,))
    held, left = split_of(task)
    train_x, x = X[left], X[held]
    host = [type(layer)(*map(np.asarray, layer)) for layer in model.network]
    p = formula(host, (x - train_x.mean(axis=0)) / train_x.std(axis=0), task)
    deviation = 1.0
    if task == "regression":
        deviation = NUMBERS[left].std(axis=0)
        p = p * deviation + NUMBERS[left].mean(axis=0)
    actual = backend.to_numpy(model.outputs(backend.asarray(x), backend))
    np.testing.assert_allclose(actual, p, rtol=1e-9, atol=1e-9)
    direct = predict(
        *(last.network, dataset.test_images),
        activation="sigmoid",
        backend=backend,
        prepare=dataset.prepare,
        task=task,
        targets=dataset.targets,
    )
    np.testing.assert_array_equal(backend.to_numpy(direct), actual)
    t = TARGETS[task][held]
    result = evaluate_run(tmp_path / "run", data=Dataset.from_arrays(X, TARGETS[task], 0.25)).result
    assert_near(result.loss, last.test_loss, 1e-9)
    if task == "classes":
        assert last.accuracy == np.mean(np.array(["a", "b", "c"])[p.argmax(axis=1)] == t)
    if task == "labels":
        assert last.accuracy == np.mean(((p > 0.5) == t).all(axis=1))
        assert last.label_accuracy == pytest.approx(np.mean((p > 0.5) == t))
        assert last.test_loss == pytest.approx(-np.mean(np.sum(t * np.log(p) + (1 - t) * np.log(1 - p), axis=1)))
    if task == "regression":
        assert last.accuracy is None
        assert last.test_loss == pytest.approx(np.mean(np.sum(((p - t) / deviation) ** 2, axis=1)) / 2)
        residual, total = np.sum((p - t) ** 2, axis=0), np.sum((t - t.mean(axis=0)) ** 2, axis=0)
        assert last.r2 == pytest.approx(np.mean(1 - residual / total))
        assert last.rmse == pytest.approx(np.mean(np.sqrt(residual / 15)))


@every_task
def test_all_backends_train_the_same(task, backend: Backend):
    def losses(backend: Backend) -> list[float]:
        dataset = Dataset.from_arrays(X, TARGETS[task], backend=backend)
        return [report.train_loss for report in train(CONFIG, dataset, backend)]

    assert_near(np.array(losses(backend)), np.array(losses(open_backend())), 1e-10)


@every_task
@pytest.mark.parametrize("test", [None, 0.25])
def test_a_run_goes_on_to_the_same_bits_and_is_drawn(task, test, tmp_path, monkeypatch):
    backend = open_backend()
    dataset = Dataset.from_arrays(X, TARGETS[task], test)
    config = replace(CONFIG, validation=10, hidden=(5, 4))
    *_, expected = train(config, dataset, backend, run_dir=tmp_path / "whole")
    first = train(config, dataset, backend, run_dir=tmp_path / "cut")
    for report in first:
        if report.epoch == 1 and report.sample > 0:
            break
    first.close()
    *_, last = train(config, dataset, backend, run_dir=tmp_path / "cut")
    for one, other in zip(arrays_of(last.network, np.array), arrays_of(expected.network, np.array), strict=True):
        np.testing.assert_array_equal(one, other)
    names = [path.name for path in plot_run(tmp_path / "cut", data=dataset)]
    of_task = {"classes": "confusion.png", "labels": "labels.png", "regression": "predictions.png"}[task]
    assert names == ["curves.png"] + [of_task] * (test is not None)
    for record in read_metrics(tmp_path / "cut"):
        assert ("test_loss" in record) == (test is not None)
        assert ("accuracy" in record) == (test is not None and task != "regression")
        assert ("r2" in record) == (test is not None and task == "regression")
    score = "validation_r2" if task == "regression" else "validation_accuracy"
    assert score in read_metrics(tmp_path / "cut")[-1]
    with pytest.raises(MlpXpError, match=r"cut': the run's data were in memory; call evaluate_run, .* with data="):
        evaluate_run(tmp_path / "cut")
    if test is None:
        with pytest.raises(RunError, match="have no test set: all their samples are for training"):
            evaluate_run(tmp_path / "cut", data=dataset)


def test_data_of_another_task_are_refused(tmp_path):
    backend = open_backend()
    for _ in train(CONFIG, Dataset.from_arrays(X, LABELS, 0.25), backend, run_dir=tmp_path / "run"):
        pass
    with pytest.raises(RunError, match="the run's network is for labels, but the data 'unnamed' are for regression"):
        evaluate_run(tmp_path / "run", data=Dataset.from_arrays(X, NUMBERS, 0.25))
    with pytest.raises(RunError, match="the run started with "):
        next(train(CONFIG, Dataset.from_arrays(X, NUMBERS, 0.25), backend, run_dir=tmp_path / "run"))


def test_data_with_other_names_are_refused_and_pictures_of_other_data_give_a_warning(tmp_path):
    def data(names: str, columns: str = "u v w", X: Any = X) -> Dataset:
        return Dataset.from_arrays(
            X, LABELS[:, 0], 0.25, task="classes", class_names=names.split(), feature_names=columns.split()
        )

    list(train(CONFIG, data("no yes"), open_backend(), run_dir=tmp_path))
    drawn = (tmp_path / "confusion.png").read_bytes()
    for fault, other in (
        ("class_names", data("a b")),
        ("class_names", data("yes no")),
        ("feature_names", data("no yes", "v u w")),
    ):
        for use in (evaluate_run, plot_run):
            with pytest.raises(RunError, match=f"has the {fault} .* but the data 'unnamed' have .*; give data with"):
                use(tmp_path, data=other)
    assert (tmp_path / "confusion.png").read_bytes() == drawn
    for same in (data("no yes"), data("0 1")):  # and no warning
        evaluate_run(tmp_path, data=same)
    evaluate_run(tmp_path, data=data("no yes", X=-X))
    with pytest.warns(MlpXpWarning, match="was trained on other data than these"):
        plot_run(tmp_path, data=data("no yes", X=-X))
    with warnings.catch_warnings(action="error"):
        plot_run(tmp_path, data=data("no yes"))
    assert (tmp_path / "confusion.png").read_bytes() == drawn


def test_no_new_compilation_for_data_of_the_same_shape():
    """The mean and deviation are arguments of the compiled functions."""
    from mlp_xp.chunks import make_chunk
    from mlp_xp.dataset import standardize

    backend, sizes = open_backend("jax"), []
    for factor in (1, 2, 3):
        for _ in train(CONFIG, Dataset.from_arrays(X * factor, CLASSES, 0.25, backend=backend), backend):
            pass
        chunk = make_chunk(CONFIG.of_steps(), backend, standardize, "classes")
        sizes.append(chunk.__wrapped__._cache_size())
    assert sizes[0] == sizes[1] == sizes[2] > 0


def test_what_a_data_set_of_your_own_making_must_have():
    backend = open_backend()
    good = Dataset.from_arrays(X, NUMBERS)
    for change, message in (
        ({"train_labels": good.train_labels.astype(np.float32)}, "train_labels: their dtype is float32; give the back"),
        (
            {"train_labels": good.train_labels[:, :1]},
            r"train_labels: their shape is \(60, 1\); give \(n, 2\), as cla",
        ),
        ({"train_images": good.train_images.astype(np.float32)}, "train_images: their dtype is float32; give float64"),
        ({"train_images": changed(X, (1, 1), np.nan)}, "train_images: it has values that are not finite; remove the"),
        ({"train_labels": changed(NUMBERS, (1, 1), np.inf)}, "train_labels: it has values that are not finite; remove"),
        ({"task": "labels", "train_labels": LABELS * 2}, "train_labels: they range from 0 to 2; a label is 0 or 1"),
    ):
        with pytest.raises(DatasetError, match=f"^{message}"):
            check_dataset(good._replace(**change), backend)


SKLEARN = {"digits": 0.03, "iris": 0.06, "wine": 0.06, "breast_cancer": 0.04}


@pytest.mark.parametrize("name", SKLEARN)
def test_accuracies_are_those_of_scikit_learn(name):
    """Mean over seeds, each with its own split, within the spread of scikit-learn's classifier."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.neural_network import MLPClassifier

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    ours, theirs = [], []
    epochs = 15 if name == "digits" else 30
    settings = {"epochs": epochs, "batch_size": 20, "learning_rate": 0.003, "hidden": (30,)}
    config = {"optimizer": "adam", "activation": "relu", "init": "he", "update_order": "simultaneous"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant pixels, and scikit-learn's about too few epochs
        for seed in range(2 if name == "digits" else 3):
            dataset = Dataset.from_arrays(x, y, 0.3, seed=seed)
            *_, last = train(TrainConfig(seed=seed, warm_up_steps=0, **settings, **config), dataset, open_backend())
            ours.append(last.accuracy)
            shift, scale = dataset.prepare.fitted
            model = MLPClassifier((30,), batch_size=20, learning_rate_init=0.003, max_iter=epochs, random_state=seed)
            model.fit((dataset.train_images - shift) / scale, dataset.train_labels)
            theirs.append(model.score((dataset.test_images - shift) / scale, dataset.test_labels))
    assert abs(np.mean(ours) - np.mean(theirs)) <= max(2 * np.std(theirs), SKLEARN[name])
    assert np.mean(ours) > 0.85


def test_arrays_of_the_host_are_standardised_alike_for_all_libraries(backend):
    """To the last bit, so that a sweep, which reads its data with NumPy, has the bits of a run on any library."""
    X = np.random.default_rng(1).normal(3, 2, (1003, 4))
    fitted = Dataset.from_arrays(X, np.arange(1003) % 3, backend=backend).prepare.fitted
    expected = Dataset.from_arrays(X, np.arange(1003) % 3, backend=open_backend()).prepare.fitted
    assert [backend.to_numpy(x).tolist() for x in fitted] == [x.tolist() for x in expected]


@pytest.mark.parametrize("written", ["uint8", "library.core.uint8", "<dtype: 'uint8'>", "<class 'library.uint8'>"])
def test_the_name_of_a_dtype_however_a_library_writes_it(written):
    assert dtype_name(SimpleNamespace(dtype=written)) == "uint8"
