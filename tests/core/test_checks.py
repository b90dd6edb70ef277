"""Data that would train to nonsense without a word: refused in one line, or warned of where they can be trained on."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backends import open_for_test
from data_sets import on_device, synthetic

from mlp_xp import TrainConfig, open_backend, train
from mlp_xp.backends.opening import BackendOutOfMemory
from mlp_xp.core.checks import check_dataset, check_inputs
from mlp_xp.core.dataset import Dataset
from mlp_xp.core.inputs import dtype_name, library_of
from mlp_xp.core.task import LABELS, REGRESSION
from mlp_xp.data.arrays import from_arrays
from mlp_xp.errors import DatasetError, DatasetWarning, MlpXpError

HOST = synthetic(60, 20, 6)
CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20)


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The message, held to what each one owes: one line, and the exit code of bad input."""
    with pytest.raises(DatasetError) as caught:
        function(*args, **kwargs)
    assert isinstance(caught.value, MlpXpError)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.isprintable()
    return message


def with_label(name: str, label: int, dtype: type) -> dict[str, Any]:
    labels = getattr(HOST, name).astype(dtype)
    labels[-1] = label
    return {name: labels}


NUMBERS = HOST._replace(
    train_inputs=HOST.train_inputs / 255,
    train_labels=np.stack([HOST.train_labels, HOST.train_labels], axis=1) / 2,
    test_inputs=None,
    test_labels=None,
    class_names=("a", "b"),
    task=REGRESSION,
    prepare=from_arrays(np.eye(4), [0, 1, 0, 1], standardize=False).prepare,
)


def changed(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[1, 1] = value
    return array


FAULTS: dict[str, tuple[Dataset, dict[str, Any], str]] = {
    "label above": (HOST, with_label("train_labels", 10, np.uint8), "train_labels: they range from 0 to 10, outside t"),
    "no classes": (HOST, {"class_names": ()}, "class_names: there are 0; give 1 to 65536"),
    "many classes": (HOST, {"class_names": ("a",) * 65537}, "class_names: there are 65537; give 1 to 65536"),
    "float labels": (HOST, {"train_labels": HOST.train_labels.astype(float)}, "train_labels: their dtype is float64; "),
    "one-hot labels": (HOST, {"train_labels": np.eye(10, dtype=np.uint8)[HOST.train_labels]}, "train_labels: their sh"),
    "channels": (HOST, {"test_inputs": HOST.test_inputs[..., None]}, "test_inputs: they are 6 x 6 x 1 pixels, the tra"),
    "test labels alone": (HOST, {"test_inputs": None}, "test_inputs, test_labels: one of them is None; give both, or "),
    "unknown task": (HOST, {"task": "label"}, "task: 'label' is not a Task; give one of TASKS: classes"),
    "scaled images": (HOST, {"train_inputs": HOST.train_inputs / 255}, "train_inputs: their dtype is float64; give by"),
    "no images": (HOST, {"test_inputs": HOST.test_inputs[:0], "test_labels": HOST.test_labels[:0]}, "test_inputs: the"),
    "float32": (NUMBERS, {"train_inputs": NUMBERS.train_inputs.astype(np.float32)}, "train_inputs: their dtype is flo"),
    "one column": (NUMBERS, {"train_labels": NUMBERS.train_labels[:, :1]}, "train_labels: their shape is (60, 1); giv"),
    "NaN": (NUMBERS, {"train_inputs": changed(NUMBERS.train_inputs, np.nan)}, "train_inputs: it has values that are n"),
    "label 2": (NUMBERS, {"task": LABELS, "train_labels": np.full((60, 2), 2)}, "train_labels: they range from 2 to"),
}  # fmt: skip


@pytest.mark.every_backend
def test_what_can_be_trained_on_passes(mnist, backend):
    """MNIST's brightest pixel is 255: no warning either, since warnings are errors here."""
    check_dataset(mnist, backend)
    check_dataset(NUMBERS, open_backend())
    for dtype in np.typecodes["AllInteger"]:
        labels = {name: getattr(HOST, name).astype(dtype) for name in ("train_labels", "test_labels")}
        check_dataset(HOST._replace(**labels), open_backend())


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_train_to_nonsense_is_refused(fault, backend):
    """By the check, and so at the start of a run."""
    dataset, changes, part = FAULTS[fault]
    dataset = on_device(dataset._replace(**changes), backend)
    message = refusal(check_dataset, dataset, backend)
    assert message.startswith(part)
    assert refusal(next, train(CONFIG, dataset, backend)) == message


def test_data_are_checked_once_a_run_by_one_compiled_function(backend, monkeypatch):
    """A few numbers go to the host, one by one."""
    compiled = []

    def jit(function, donate=()):
        compiled.append(function)
        return backend.jit(function, donate)

    def to_numpy(array):
        assert array.shape == (), "an array was copied to the host"
        return backend.to_numpy(array)

    watched, dataset = replace(backend, jit=jit, to_numpy=to_numpy), on_device(HOST, backend)
    for _ in range(3):
        check_dataset(dataset, watched)
    assert len(compiled) == 1
    checked = []
    monkeypatch.setattr("mlp_xp.core.job.check_dataset", lambda *args: checked.append(args))
    assert len([*train(CONFIG, dataset, backend)]) > 3
    assert len(checked) == 1


# Arrays of another library or on another device.


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("numpy", "array_api_compat:numpy", ""),
        ("numpy", "jax", "arrays are jax arrays (train_inputs), the backend is numpy: load it with load_dataset(...,"),
        ("array-api-strict", "torch", "arrays are torch arrays (train_inputs), the backend is array-api-strict: load"),
        ("array-api-strict", "array_api_strict:", "arrays are on array_api_strict.Device("),  # two devices
    ],
)
def test_arrays_of_every_library_for_every_backend(name, other, message, tmp_path):
    """Accepted for their own and for namespaces that share them, else refused before a run folder is made."""
    backend, foreign = open_for_test(name), open_for_test(other)
    dataset = on_device(HOST, foreign)
    if not message:
        check_dataset(dataset, backend)
        return
    assert message in refusal(check_dataset, dataset, backend)
    assert message in refusal(next, train(CONFIG, dataset, backend, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    message = refusal(check_inputs, dataset.test_inputs, backend, dataset.prepare)
    assert message.startswith("inputs: they are ")
    assert message.endswith("copy them with backend.asarray(inputs)")


@pytest.mark.parametrize("field", Dataset._fields[:4])
def test_one_array_elsewhere_is_named(field):
    backend = open_backend("array-api-strict", device="device1")
    elsewhere = open_backend("array-api-strict", device="device2")
    wrong = on_device(HOST, backend)._replace(**{field: elsewhere.asarray(getattr(HOST, field))})
    message = refusal(check_dataset, wrong, backend)
    assert f"arrays are on array_api_strict.Device('device2') ({field}), the backend is on " in message


def test_an_array_of_a_subclass_is_of_the_library(tmp_path):
    """A memory-mapped file, as large sets are kept in."""
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=HOST.train_inputs.shape)
    mapped[...] = HOST.train_inputs
    check_dataset(HOST._replace(train_inputs=mapped), open_backend())
    assert "arrays are list arrays (train_inputs), the backend is numpy: " in refusal(
        check_dataset, HOST._replace(train_inputs=HOST.train_inputs.tolist()), open_backend()
    )


def test_names_of_libraries_and_dtypes(backend):
    names = {"array-api-strict": "array_api_strict"}
    assert library_of(backend.asarray(np.ones(2))) == names.get(backend.name, backend.name)
    assert library_of([1, 2]) == "list"
    for written in ("uint8", "library.core.uint8", "<dtype: 'uint8'>", "<class 'library.uint8'>"):
        assert dtype_name(SimpleNamespace(dtype=written)) == "uint8"


# Warnings.


def darkened(brightest: int) -> Dataset:
    """The same with no pixel above this, as scikit-learn's digits, which go to 16."""
    images = HOST.train_inputs.astype(float) * brightest / HOST.train_inputs.max()
    return HOST._replace(train_inputs=np.rint(images).astype(np.uint8))


@pytest.mark.parametrize("brightest", [16, 127])
def test_images_that_are_too_dark_are_warned_of_once_a_run(brightest, backend):
    dataset = on_device(darkened(brightest), backend)
    with pytest.warns(DatasetWarning) as caught:
        assert len([*train(CONFIG, dataset, backend)]) == 4
    (message,) = [str(each.message) for each in caught]
    assert message.startswith(f"train_inputs: the pixels range from 0 to {brightest}, where 0 to 255 is expected: ")
    assert message.endswith("rescale all images so that the largest pixel is 255")
    # Dark test images are no matter: the training set says what the scale is.
    bright = darkened(128)
    check_dataset(on_device(bright._replace(test_inputs=bright.test_inputs // 16), backend), backend)


def test_a_library_that_fails_when_a_number_is_read_is_reported(monkeypatch):
    """As a GPU's does, which computes after the call that asked for it has returned."""

    class Failing:
        def __array__(self, *args, **kwargs):
            raise MemoryError("the device is full")

    monkeypatch.setattr("mlp_xp.core.checks._compiled_extremes", lambda backend: lambda *arrays: [Failing()] * 8)
    with pytest.raises(BackendOutOfMemory, match=r"in a transfer to the host: MemoryError: the device is full"):
        check_dataset(HOST, open_backend())
