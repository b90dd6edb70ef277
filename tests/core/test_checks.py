"""Data that would train to nonsense are refused in one line."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backends import open_for_test
from data_sets import ARRAYS, array_of, on_device, synthetic, varied

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.backends.failures import BackendOutOfMemory
from mlp_xp.backends.inputs import dtype_name
from mlp_xp.core.dataset import Dataset, check_dataset
from mlp_xp.core.signature import Preparation, unchanged
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION
from mlp_xp.errors import DatasetError

CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20)
HOST = synthetic(60, 20, 6)
IMAGES, KINDS = HOST.train.inputs, HOST.train.labels
NUMBERS = varied(
    HOST,
    train_inputs=IMAGES / 255,
    train_labels=np.stack([KINDS, KINDS], axis=1) / 2,
    test=None,
    outputs=("a", "b"),
    task=REGRESSION,
    preparation=Preparation(unchanged),
)
TARGETS = NUMBERS.train.labels

# The start of each message: a data set, and another value for one of its fields.
REFUSALS: dict[str, tuple[Dataset, str, Any]] = {
    "train.labels: they range from 0 to 10; give 0 to 9,": (
        HOST,
        "train_labels",
        np.uint8([*KINDS[1:], 10]),
    ),
    "test.labels: they range from -1 to 9; give 0 to 9,": (
        HOST,
        "test_labels",
        np.int8([*HOST.test.labels[1:], -1]),
    ),
    "train.labels: they range from 0 to 9; give 0 to -1,": (HOST, "outputs", ()),
    "train.labels: their dtype is float64; give integers": (
        HOST,
        "train_labels",
        KINDS / 1,
    ),
    "train.labels: their shape is (60, 10), where (60,) is": (
        HOST,
        "train_labels",
        np.eye(10, dtype=np.uint8)[KINDS],
    ),
    "train.labels: their shape is (60, 1), where (60, 2) is": (
        NUMBERS,
        "train_labels",
        TARGETS[:, :1],
    ),
    "train.labels: they range from nan to nan; give finite": (
        NUMBERS,
        "train_labels",
        TARGETS * [1, np.nan],
    ),
    "train.labels: they range from 2 to 2; give 0 or 1": (
        varied(NUMBERS, task=LABELS),
        "train_labels",
        np.full((60, 2), 2),
    ),
    "train.inputs: their dtype is float64; give uint8, which is scaled": (
        HOST,
        "train_inputs",
        IMAGES / 255,
    ),
    "train.inputs: their dtype is int64; give uint8, which is scaled": (
        HOST,
        "train_inputs",
        IMAGES.astype(int),
    ),
    "train.inputs: their dtype is float32; give uint8 or float64": (
        NUMBERS,
        "train_inputs",
        np.float32(IMAGES),
    ),
    "test.inputs: their shape is (20, 6, 6, 1); give one or more, (n, 6, 6)": (
        HOST,
        "test_inputs",
        HOST.test.inputs[..., None],
    ),
    "test.inputs: their shape is (0, 6, 6); give one or more, (n, 6, 6)": (
        HOST,
        "test_inputs",
        IMAGES[:0],
    ),
    "test.inputs: they are builtins.NoneType, the backend is ": (
        HOST,
        "test_inputs",
        None,
    ),
}


@pytest.mark.parametrize(("words", "given"), REFUSALS.items(), ids=REFUSALS)
def test_data_that_would_train_to_nonsense_are_refused(words, given, backend):
    """By the check, and so at the start of a run."""
    dataset, field, value = given
    dataset = on_device(varied(dataset, **{field: value}), backend)
    message = refusal(check_dataset, dataset, backend)
    assert message.startswith(words)
    assert refusal(next, train(CONFIG, dataset, backend)) == message


def test_a_list_is_no_data_set():
    message = refusal(next, train(CONFIG, [HOST], open_backend()))
    assert (
        message == "dataset: is a list; make a Dataset by load_dataset or from_arrays"
    )


@pytest.mark.every_backend
def test_mnist_passes_without_a_warning(mnist, backend):
    check_dataset(mnist, backend)


def test_floats_and_labels_of_every_integer_dtype_pass():
    check_dataset(NUMBERS, open_backend())
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


def test_a_library_that_fails_when_a_number_is_read_is_reported():
    """As on a GPU, which computes after the call has returned."""

    class Failing:
        def __array__(self, *args, **kwargs):
            raise MemoryError("the device is full")

    words = "in a transfer to the host: MemoryError: the device is full"
    with pytest.raises(BackendOutOfMemory, match=words):
        open_backend().to_numpy(Failing())


def refusal(function: Callable[..., Any], *args: Any) -> str:
    """Return the message of a refusal: one line, with the exit code of bad input."""
    with pytest.raises(DatasetError) as caught:
        function(*args)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.isprintable()
    return message
