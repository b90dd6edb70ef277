"""Data that would train to nonsense without a word: refused in one line, or warned of
where they can be trained on.
"""

from collections.abc import Callable
from dataclasses import replace
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
from mlp_xp.core.job import Job
from mlp_xp.core.task import CLASSES, LABELS, REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import DatasetError, MlpXpError

HOST = synthetic(60, 20, 6)
CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20)


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The message, held to what each one owes: one line, and the exit code of bad
    input.
    """
    with pytest.raises(DatasetError) as caught:
        function(*args, **kwargs)
    assert isinstance(caught.value, MlpXpError)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.isprintable()
    return message


def with_label(name: str, label: int, dtype: type) -> dict[str, Any]:
    labels = array_of(HOST, name).astype(dtype)
    labels[-1] = label
    return {name: labels}


NUMBERS = varied(
    HOST,
    train_inputs=HOST.train.inputs / 255,
    train_labels=np.stack([HOST.train.labels, HOST.train.labels], axis=1) / 2,
    test=None,
    outputs=("a", "b"),
    task=REGRESSION,
    preparation=from_arrays(
        np.eye(4), [0, 1, 0, 1], standardize=False
    ).signature.preparation,
)


def changed(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[1, 1] = value
    return array


FAULTS: dict[str, tuple[Dataset, dict[str, Any], str]] = {
    "label above": (HOST, with_label("train_labels", 10, np.uint8), "train.labels: they range from 0 to 10; give 0 to"),
    "test label": (HOST, with_label("test_labels", -1, np.int8), "test.labels: they range from -1 to 9; give 0 to 9"),
    "no classes": (HOST, {"outputs": ()}, "train.labels: they range from 0 to 9; give 0 to -1,"),
    "float labels": (HOST, {"train_labels": HOST.train.labels.astype(float)}, "train.labels: their dtype is float64; "),
    "one-hot labels": (HOST, {"train_labels": np.eye(10, dtype=np.uint8)[HOST.train.labels]}, "train.labels: their sh"),
    "channels": (HOST, {"test_inputs": HOST.test.inputs[..., None]}, "test.inputs: their shape is (20, 6, 6, 1); give"),
    "test labels alone": (HOST, {"test_inputs": None}, "test.inputs: they are builtins.NoneType, the backend is "),
    "scaled images": (HOST, {"train_inputs": HOST.train.inputs / 255}, "train.inputs: their dtype is float64; give ui"),
    "no images": (HOST, {"test_inputs": HOST.test.inputs[:0], "test_labels": HOST.test.labels[:0]}, "test.inputs: the"),
    "float32": (NUMBERS, {"train_inputs": NUMBERS.train.inputs.astype(np.float32)}, "train.inputs: their dtype is flo"),
    "one column": (NUMBERS, {"train_labels": NUMBERS.train.labels[:, :1]}, "train.labels: their shape is (60, 1)"),
    "NaN": (NUMBERS, {"train_labels": changed(NUMBERS.train.labels, np.nan)}, "train.labels: they range from nan to n"),
    "label 2": (NUMBERS, {"task": LABELS, "train_labels": np.full((60, 2), 2)}, "train.labels: they range from 2 to"),
}  # fmt: skip


@pytest.mark.every_backend
def test_what_can_be_trained_on_passes(mnist, backend):
    """MNIST's brightest pixel is 255: no warning either, since warnings are errors
    here.
    """
    check_dataset(mnist, backend)
    check_dataset(NUMBERS, open_backend())
    for dtype in np.typecodes["AllInteger"]:
        labels = {
            name: array_of(HOST, name).astype(dtype)
            for name in ("train_labels", "test_labels")
        }
        check_dataset(varied(HOST, **labels), open_backend())


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_train_to_nonsense_is_refused(fault, backend):
    """By the check, and so at the start of a run."""
    dataset, changes, part = FAULTS[fault]
    dataset = on_device(varied(dataset, **changes), backend)
    message = refusal(check_dataset, dataset, backend)
    assert message.startswith(part)
    assert refusal(next, train(CONFIG, dataset, backend)) == message


@pytest.mark.parametrize("count", [256, 257, 300])
def test_more_classes_than_a_byte_counts(count):
    """Labels of bytes in many classes: with the numbers of the classes as bytes, one
    label would be two classes.
    """
    labels = np.arange(60, dtype=np.uint8)
    dataset = varied(HOST, train_labels=labels, outputs=tuple(map(str, range(count))))
    job = Job(replace(CONFIG, batch_size=60), dataset, open_backend())
    targets = CLASSES.encode(labels, count, (), dtype=np.float64, xp=open_backend().xp)
    np.testing.assert_array_equal(targets, np.eye(60, count))
    assert job.sizes[-1] == count


# Arrays of another library or on another device.


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("numpy", "array_api_compat:numpy", ""),
        (
            "numpy",
            "jax",
            "inputs: they are jaxlib.ArrayImpl, the backend is numpy; copy them with backend.asarray, or",
        ),
        (
            "array-api-strict",
            "torch",
            "inputs: they are torch.Tensor, the backend is array-api-strict; copy them with",
        ),
        # two devices
        (
            "array-api-strict",
            "array_api_strict:",
            "inputs: they are on array_api_strict.Device(",
        ),
    ],
)
def test_arrays_of_every_library_for_every_backend(name, other, message, tmp_path):
    """Accepted for their own and for namespaces that share them, else refused before a
    run folder is made.
    """
    backend, foreign = open_for_test(name), open_for_test(other)
    dataset = on_device(HOST, foreign)
    if not message:
        check_dataset(dataset, backend)
        return
    assert refusal(check_dataset, dataset, backend).startswith(f"train.{message}")
    assert message in refusal(
        next, train(CONFIG, dataset, backend, run_dir=tmp_path / "run")
    )
    assert not (tmp_path / "run").exists()
    assert refusal(
        backend.check_inputs, dataset.test.inputs, HOST.signature
    ).startswith(message)


@pytest.mark.parametrize("field", ARRAYS)
def test_one_array_elsewhere_is_named(field):
    backend = open_backend("array-api-strict", device="device1")
    elsewhere = open_backend("array-api-strict", device="device2")
    array = elsewhere.asarray(array_of(HOST, field))
    wrong = varied(on_device(HOST, backend), **{field: array})
    message = refusal(check_dataset, wrong, backend)
    assert message.startswith(
        f"{field.replace('_', '.')}: they are on array_api_strict.Device('device2'), the backend is on "
    )


def test_an_array_of_a_subclass_is_of_the_library(tmp_path):
    """A memory-mapped file, as large sets are kept in."""
    mapped = np.memmap(
        tmp_path / "images", np.uint8, "w+", shape=HOST.train.inputs.shape
    )
    mapped[...] = HOST.train.inputs
    check_dataset(varied(HOST, train_inputs=mapped), open_backend())
    message = refusal(
        open_backend().check_inputs, HOST.train.inputs.tolist(), HOST.signature
    )
    assert message.startswith("inputs: they are builtins.list, the backend is numpy; ")


def test_names_of_dtypes(backend):
    assert dtype_name(backend.asarray(np.ones(2))) == "float64"
    for written in (
        "uint8",
        "library.core.uint8",
        "<dtype: 'uint8'>",
        "<class 'library.uint8'>",
    ):
        assert dtype_name(SimpleNamespace(dtype=written)) == "uint8"


def test_a_library_that_fails_when_a_number_is_read_is_reported():
    """As a GPU's does, which computes after the call that asked for it has returned."""

    class Failing:
        def __array__(self, *args, **kwargs):
            raise MemoryError("the device is full")

    with pytest.raises(
        BackendOutOfMemory,
        match=r"in a transfer to the host: MemoryError: the device is full",
    ):
        open_backend().to_numpy(Failing())
