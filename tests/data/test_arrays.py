"""Data sets of your own arrays.

What is taken, what is refused, how they are split and scaled, and what they train.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_sets import arrays_in
from numerics import assert_all_equal

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.core.backend import Backend
from mlp_xp.core.dataset import check_dataset
from mlp_xp.core.signature import BYTES
from mlp_xp.data._splitting import split
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import DatasetError, MlpXpWarning

RANDOM = np.random.default_rng(5)
X = RANDOM.standard_normal((60, 3)) * [1, 10, 0.1] + [5, -2, 0]
CLASSES = np.array(["b", "a", "c"])[
    np.argmax(X @ RANDOM.standard_normal((3, 3)), axis=1)
]
CLASSES[:3] = ["a", "b", "c"]
LABELS = (X @ RANDOM.standard_normal((3, 2)) > 0).astype(int)
NUMBERS = 200_000 + 60_000 * (X @ RANDOM.standard_normal((3, 2)))
TARGETS = {"classes": CLASSES, "labels": LABELS, "regression": NUMBERS}
CONFIG = TrainConfig(
    epochs=3,
    batch_size=7,
    warm_up_steps=0,
    hidden=(5,),
    learning_rate=0.1,
    init="glorot",
    report_every=60,
)


ONE_HOT = np.eye(3)[np.arange(60) % 3]


def test_arrays_of_the_device_give_the_same_numbers(backend: Backend):
    """To the last bit, on all libraries. A row is named all the same."""
    device = backend.asarray(X), backend.asarray(LABELS)
    dataset, expected = (
        from_arrays(*device, 0.25, backend=backend),
        from_arrays(X, LABELS, 0.25),
    )
    arrays = arrays_in(dataset)
    assert {*map(type, arrays)} == {type(device[0])}
    assert_all_equal(map(backend.to_numpy, arrays), arrays_in(expected))
    fitted = dataset.signature.preparation.fitted
    assert_all_equal(fitted, expected.signature.preparation.fitted)
    device_x = backend.asarray(changed(X, (7, 2), np.nan))
    with pytest.raises(DatasetError, match="row 7, column 2"):
        from_arrays(device_x, CLASSES, backend=backend)


@pytest.mark.parametrize(
    ("y", "options", "task", "names"),
    [
        (CLASSES, {}, "classes", ("a", "b", "c")),
        (CLASSES, {"class_names": ["c", "b", "a"]}, "classes", ("c", "b", "a")),
        (np.array(["x", "y"] * 30, object), {}, "classes", ("x", "y")),
        (ONE_HOT.astype(int), {"task": "labels"}, "labels", ("0", "1", "2")),
        ([0.5, 1.0] * 30, {"task": "classes"}, "classes", ("0.5", "1.0")),
        ([0, 1] * 30, {"task": "labels", "class_names": ["sick"]}, "labels", ("sick",)),
    ],
)
def test_labels_of_many_kinds(y, options, task, names):
    dataset = from_arrays(X.tolist(), y, **options)
    assert (dataset.signature.task.name, dataset.signature.outputs) == (task, names)
    shown = (
        dataset.train.labels
        if task != "classes"
        else np.array(names)[dataset.train.labels]
    )
    np.testing.assert_array_equal(
        shown.reshape(np.shape(y)), np.array(y).astype(shown.dtype)
    )
    check_dataset(dataset, open_backend())


@pytest.mark.parametrize("task", TARGETS)
def test_a_share_is_held_out_and_the_rest_is_fitted(
    task: str, backend: Backend
) -> None:
    dataset = from_arrays(X, TARGETS[task], 0.25, backend=backend)
    held, left = split(
        np.unique(CLASSES, return_inverse=True)[1] if task == "classes" else None,
        60,
        0.25,
        0,
    )
    np.testing.assert_array_equal(backend.to_numpy(dataset.test.inputs), X[held])
    np.testing.assert_array_equal(backend.to_numpy(dataset.train.inputs), X[left])
    pairs = [(dataset.signature.preparation.fitted, X[left])]
    if task == "regression":
        pairs.append((dataset.signature.units, NUMBERS[left]))
    for fitted, values in pairs:
        expected = [values.mean(axis=0), values.std(axis=0)]
        np.testing.assert_allclose([*fitted], expected, rtol=1e-12)


# Tables in memory.

NAMES = ("area", "age", "floor")


def test_columns_of_a_test_set_are_found_by_their_names() -> None:
    order, back = [2, 0, 1], [1, 0]
    expected = from_arrays(X[20:], NUMBERS[20:], (X[:20], NUMBERS[:20]))
    turned = (
        frame(X[:20, order], [NAMES[i] for i in order]),
        frame(NUMBERS[:20, back], ["rent", "price"]),
    )
    dataset = from_arrays(
        frame(X[20:], NAMES), frame(NUMBERS[20:], ["price", "rent"]), turned
    )
    assert_all_equal(arrays_in(dataset), arrays_in(expected))
    assert (dataset.signature.columns.feature_names, dataset.signature.outputs) == (
        NAMES,
        ("price", "rent"),
    )
    more = frame(np.c_[NUMBERS[:20], X[:20]], ["price", "rent", *NAMES]).assign(
        extra=[[1]] * 20
    )
    np.testing.assert_array_equal(
        from_arrays(frame(X, NAMES), CLASSES, (more, CLASSES[:20])).test.inputs, X[:20]
    )


def test_labels_without_an_index_belong_to_the_rows_by_their_position() -> None:
    table = frame(X)
    labels = table["age"].sample(frac=1, random_state=0).to_numpy()
    np.testing.assert_array_equal(from_arrays(table, labels).train.labels[:, 0], labels)


# Scaling.


@pytest.mark.parametrize("dtype", ["i1", ">i2", "f2", ">f8", "?"])
def test_features_of_any_dtype_have_their_values(dtype: str) -> None:
    x = (np.arange(72).reshape(24, 3)[::-1] % 5).astype(dtype)
    dataset = from_arrays(x, np.arange(24) % 2, standardize=False)
    np.testing.assert_array_equal(dataset.train.inputs, x.astype(float))
    fitted = from_arrays(x, np.arange(24) % 2).signature.preparation.fitted
    np.testing.assert_allclose(
        fitted, [x.astype(float).mean(axis=0), x.astype(float).std(axis=0)], rtol=1e-12
    )


@pytest.mark.parametrize("scale", [1.0, 1e-24, 1e23])
def test_standardisation_is_fitted_to_the_training_part_alone(
    scale, backend32: Backend
):
    """Also where the squares are no numbers of float32.

    There the deviation would be 0 or infinity.
    """
    x = (
        np.random.default_rng(1).standard_normal((10_000, 4)) * [1, 1e3, 1e-3, 1]
        + [0, 1e3, 1, 7]
    ) * scale
    dataset = from_arrays(
        x[:9000], [0, 1] * 4500, (x[9000:] * 50, [0, 1] * 500), backend=backend32
    )
    shift, deviation = (
        each.astype(float) for each in dataset.signature.preparation.fitted
    )
    kept = x[:9000].astype(np.float32).astype(float)
    np.testing.assert_allclose(deviation, kept.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(
        (shift - kept.mean(axis=0)) / kept.std(axis=0), 0, atol=1e-4
    )


def test_constant_features_are_named_and_become_exactly_zero(backend32: Backend):
    """A rounded mean would give each sample the same difference.

    It would be as large as the rounding.
    """
    values = [1.7e9, 0.1, 1e17 / 3, -1e30, 0.0]
    x = np.stack([np.arange(200.0), *(np.full(200, value) for value in values)], axis=1)
    with pytest.warns(MlpXpWarning, match="columns 1, 2, 3, 4, 5"):
        dataset = from_arrays(x, np.arange(200) % 2, backend=backend32)
    function, fitted = dataset.signature.preparation
    fitted = [*map(backend32.asarray, fitted)]
    rows = backend32.to_numpy(
        function(dataset.train.inputs, *fitted, dtype=backend32.dtype, xp=backend32.xp)
    )
    np.testing.assert_array_equal(rows[:, 1:], 0)
    np.testing.assert_allclose(rows[:, 0].std(), 1, rtol=1e-5)


def test_float64_has_the_digits_that_float32_rounds_away():
    from_arrays(1e9 + np.arange(60.0)[:, None], CLASSES)


def test_a_constant_column_of_a_frame_keeps_its_name():
    with pytest.warns(MlpXpWarning):
        dataset = from_arrays(frame(changed(X, (slice(None), 1), 3.5)), CLASSES)
    assert dataset.signature.columns.names == NAMES


def test_constant_numbers_to_predict_have_the_deviation_1():
    """60 * 0.03 / 60 is not 0.03."""
    with pytest.warns(MlpXpWarning):
        dataset = from_arrays(X, changed(NUMBERS, (slice(None), 1), 0.03))
    assert dataset.signature.units.deviation[1] == 1


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_numbers_to_predict_of_any_size_are_standardised(scale: float) -> None:
    """Also where their squares are no numbers."""
    numbers = NUMBERS / 1e5 * scale
    shift, deviation = from_arrays(X, numbers).signature.units
    np.testing.assert_allclose(shift, (NUMBERS / 1e5).mean(axis=0) * scale, rtol=1e-12)
    np.testing.assert_allclose(
        deviation, (NUMBERS / 1e5).std(axis=0) * scale, rtol=1e-12
    )
    *_, last = train(CONFIG, from_arrays(X, numbers), open_backend())
    assert np.isfinite(last.train_loss)


def test_images_of_bytes_stay_bytes_and_all_else_is_standardised():
    images = RANDOM.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    rows = images.reshape(60, -1)
    for x, options, fitted in (
        (images, {}, ()),
        (images, {"standardize": False}, ()),
        (images, {"standardize": True}, (rows.mean(axis=0), rows.std(axis=0))),
        (rows, {}, (rows.mean(axis=0), rows.std(axis=0))),
        (rows / 255, {"standardize": False}, ()),
    ):
        dataset = from_arrays(x, CLASSES, **options)
        assert dataset.train.inputs.dtype == x.dtype
        assert (dataset.signature.preparation == BYTES) == (x is images and not options)
        for one, other in zip(
            dataset.signature.preparation.fitted, fitted, strict=True
        ):
            np.testing.assert_allclose(one, other)
    assert repr(from_arrays(images, CLASSES)).endswith(
        "60 training and 0 test images of 4 x 5 x 3, 3 classes)"
    )


# Arrays with a fault, and frames.


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    array = np.array(array)
    array[index] = value
    return array


def frame(values: np.ndarray, columns: Any = ("area", "age", "floor")) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[*columns])
