"""Data that can be trained on pass, and arrays from elsewhere are refused."""

from functools import partial
from types import SimpleNamespace

import helpers
import numpy as np
import pytest
from backends import open_for_test
from data_sets import ARRAYS, array_of, on_device, synthetic, varied

from mlp_xp import TrainConfig, from_arrays, open_backend, train
from mlp_xp.backends.inputs import dtype_name
from mlp_xp.core.dataset import check_dataset
from mlp_xp.core.task import CLASSES
from mlp_xp.errors import DatasetError

CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20)
HOST = synthetic(60, 20, 6)
IMAGES, KINDS = HOST.train.inputs, HOST.train.labels

refusal = partial(helpers.refusal, DatasetError)


def test_mnist_passes_without_a_warning(mnist, backend):
    check_dataset(mnist, backend)


def test_floats_and_labels_of_every_integer_dtype_pass():
    check_dataset(from_arrays(IMAGES / 255, KINDS / 2), open_backend())
    for dtype in np.typecodes["AllInteger"]:
        dataset = varied(HOST, train_labels=KINDS.astype(dtype))
        check_dataset(dataset, open_backend())


@pytest.mark.parametrize("count", [256, 257])
def test_there_may_be_more_classes_than_a_byte_counts(count):
    """With the numbers of the classes as bytes, one label would be two classes."""
    labels = np.arange(60, dtype=np.uint8)
    dataset = varied(HOST, train_labels=labels, outputs=tuple(map(str, range(count))))
    check_dataset(dataset, open_backend())
    targets = CLASSES.encode(labels, count, dtype=np.float64, xp=open_backend().xp)
    np.testing.assert_array_equal(targets, np.eye(60, count))


# Arrays of another library or on another device.


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("numpy", "jax", "they are jaxlib.ArrayImpl, the backend is numpy; copy them "),
        ("array-api-strict", "torch", "they are torch.Tensor, the backend is array-ap"),
        ("array-api-strict", "array_api_strict:", "they are on array_api_strict.Dev"),
    ],
)
def test_arrays_from_elsewhere_are_refused_before_a_folder_is_made(
    name, other, words, tmp_path
):
    """The last two have the same library, but other devices."""
    backend, dataset = open_for_test(name), on_device(HOST, open_for_test(other))
    events = train(CONFIG, dataset, backend, run_dir=tmp_path / "run")
    assert refusal(next, events).startswith(f"train.inputs: {words}")
    assert not (tmp_path / "run").exists()
    message = refusal(backend.check_inputs, dataset.test.inputs, HOST.signature)
    assert message.startswith(f"inputs: {words}")


def test_arrays_of_another_namespace_with_the_same_arrays_pass():
    check_dataset(
        on_device(HOST, open_backend("array_api_compat:numpy")), open_backend()
    )


@pytest.mark.parametrize("field", ARRAYS)
def test_an_array_on_another_device_is_named(field):
    backend = open_backend("array-api-strict", device="device1")
    elsewhere = open_backend("array-api-strict", device="device2")
    array = elsewhere.asarray(array_of(HOST, field))
    message = refusal(
        check_dataset, varied(on_device(HOST, backend), **{field: array}), backend
    )
    place = "they are on array_api_strict.Device('device2'), the backend is on "
    assert message.startswith(f"{field.replace('_', '.')}: {place}")


def test_a_memory_mapped_file_is_an_array_of_numpy(tmp_path):
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=IMAGES.shape)
    check_dataset(varied(HOST, train_inputs=mapped), open_backend())


def test_a_dtype_has_its_name_in_every_library(backend):
    assert dtype_name(backend.asarray(np.ones(2))) == "float64"
    for written in ("uint8", "library.uint8", "<dtype: 'uint8'>", "<class 'x.uint8'>"):
        assert dtype_name(SimpleNamespace(dtype=written)) == "uint8"
