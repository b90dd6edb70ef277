"""Data that would train to nonsense without a word: refused in one line, or warned of where they can be trained on."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from backends import open_or_skip
from data_sets import csv_text, on_device, synthetic
from helpers import call, finish, options, small_settings, start

from mlp_xp import TrainConfig, load_dataset, open_backend, predict, train
from mlp_xp.backend import Backend, BackendOutOfMemory
from mlp_xp.checks import DatasetError, DatasetWarning, check_dataset, check_images, library_of
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.network import Layer

HOST = synthetic(60, 20, 6)
CONFIG = TrainConfig(epochs=1, hidden=(4,), report_every=20)
FIELDS = ("train_images", "train_labels", "test_images", "test_labels")


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


FAULTS = {
    "label above": (with_label("train_labels", 10, np.uint8), "train_labels: they range from 0 to 10, outside the 10 "),
    "test label": (with_label("test_labels", 255, np.uint8), "test_labels: they range from 0 to 255, outside the 10 "),
    "label below": (with_label("train_labels", -1, np.int64), "train_labels: they range from -1 to 9, outside the 10 "),
    "test below": (with_label("test_labels", -128, np.int8), "test_labels: they range from -128 to 9, outside the 10 "),
    "fewer classes": (
        {"class_names": ("a", "b")},
        "train_labels: they range from 0 to 9, outside the 2 classes, 0 to ",
    ),
    "no classes": ({"class_names": ()}, "class_names: there are 0; give 1 to 65536"),
    "many classes": ({"class_names": ("a",) * 65537}, "class_names: there are 65537; give 1 to 65536"),
    "float labels": ({"train_labels": HOST.train_labels.astype(float)}, "train_labels: their dtype is float64; give "),
    "float32 labels": ({"test_labels": HOST.test_labels.astype(np.float32)}, "test_labels: their dtype is float32; "),
    "truth labels": ({"train_labels": HOST.train_labels > 4}, "train_labels: their dtype is bool; give class numbers"),
    "one-hot labels": ({"train_labels": np.eye(10, dtype=np.uint8)[HOST.train_labels]}, "shape is (60, 10); give (n,)"),
    "labels in a column": ({"test_labels": HOST.test_labels[:, None]}, "test_labels: their shape is (20, 1); give (n,"),
    "fewer labels": ({"train_labels": HOST.train_labels[1:]}, "train_labels: there are 59 for 60 images; give one"),
    "more labels": ({"test_images": HOST.test_images[2:]}, "test_labels: there are 20 for 18 images; give one"),
    "flat images": (
        {"train_images": HOST.train_images.reshape(60, 36)},
        "train_images: their shape is (60, 36); give ",
    ),
    "coloured images": (
        {"test_images": HOST.test_images[..., None]},
        "test_images: they are 6 x 6 x 1 pixels, the training images 6 x 6; give images that all have the same size",
    ),
    "more dimensions": (
        {"test_images": HOST.test_images[..., None, None]},
        "test_images: their shape is (20, 6, 6, 1, 1); give (n, rows, columns)",
    ),
    "narrow labels": (
        {"class_names": ("a",) * 257},
        "train_labels: 257 classes do not fit into uint8; give wider integers",
    ),
    "test labels alone": ({"test_images": None}, "test_images, test_labels: one of them is None; give both, or None"),
    "unknown task": ({"task": "label"}, "task: 'label' is not known; choose one of classes, labels, regression"),
    "scaled images": ({"train_images": HOST.train_images / 255}, "train_images: their dtype is float64; give bytes"),
    "float images": ({"train_images": HOST.train_images * 1.0}, "train_images: their dtype is float64; give bytes"),
    "wide images": (
        {"test_images": HOST.test_images.astype(np.int64)},
        "test_images: their dtype is int64; give bytes",
    ),
    "other size": ({"test_images": HOST.test_images[:, 1:]}, "test_images: they are 5 x 6 pixels, the training images"),
    "no images": ({"test_images": HOST.test_images[:0], "test_labels": HOST.test_labels[:0]}, "there are none"),
    "no pixels": (
        {"train_images": HOST.train_images[:, :0]},
        "train_images: there are none (their shape is (60, 0, 6)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_would_train_to_nonsense_is_refused(fault, backend):
    """By the check, and so at the start of a run."""
    changes, part = FAULTS[fault]
    dataset = on_device(HOST._replace(**changes), backend)
    message = refusal(check_dataset, dataset, backend)
    assert part in message
    assert refusal(next, train(CONFIG, dataset, backend)) == message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "label above",
            "train_labels: they range from 0 to 10, outside the 10 classes, 0 to 9; number the classes from 0, and "
            "give each a name in class_names",
        ),
        ("no classes", "class_names: there are 0; give 1 to 65536"),
        ("float labels", "train_labels: their dtype is float64; give class numbers as integers, such as uint8"),
        ("one-hot labels", "train_labels: their shape is (60, 10); give (n,), one number per image"),
        ("fewer labels", "train_labels: there are 59 for 60 images; give one label per image"),
        ("flat images", "train_images: their shape is (60, 36); give (n, rows, columns), one as image[None]"),
        (
            "scaled images",
            "train_images: their dtype is float64; give bytes (uint8) from 0 to 255, which are scaled to [0, 1] here",
        ),
        (
            "other size",
            "test_images: they are 5 x 6 pixels, the training images 6 x 6; give images that all have the same size",
        ),
        ("no images", "test_images: there are none (their shape is (0, 6, 6)); give some"),
    ],
)
def test_what_is_told_is_what_is_wrong_where_and_what_to_do(fault, message):
    assert refusal(check_dataset, HOST._replace(**FAULTS[fault][0]), open_backend("numpy")) == message


def test_what_is_told_of_other_arrays():
    backend, images = open_backend("numpy"), HOST.train_images.tolist()
    assert refusal(check_dataset, HOST._replace(train_images=images), backend) == (
        "the data set's arrays are list arrays (train_images), the backend is numpy: load it with "
        "load_dataset(..., backend), or copy each array with backend.asarray"
    )
    assert refusal(check_images, images, backend) == (
        "images: they are list arrays, the backend is numpy: copy them with backend.asarray(images)"
    )


def test_what_load_dataset_gives_passes(mnist, backend):
    """MNIST's brightest pixel is 255: no warning either, since warnings are errors here."""
    check_dataset(mnist, backend)


@pytest.mark.parametrize("dtype", [*np.typecodes["AllInteger"]])
def test_labels_of_every_integer_dtype_pass(dtype):
    labels = {name: getattr(HOST, name).astype(dtype) for name in ("train_labels", "test_labels")}
    check_dataset(HOST._replace(**labels), open_backend("numpy"))


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
def test_labels_may_be_integers_of_any_width(dtype, backend):
    wide = HOST._replace(train_labels=HOST.train_labels.astype(dtype), test_labels=HOST.test_labels.astype(dtype))
    one, other = ([*train(CONFIG, on_device(host, backend), backend)] for host in (HOST, wide))
    assert [r.loss for r in one] == [r.loss for r in other]
    assert [(r.test_loss, r.accuracy) for r in one] == [(r.test_loss, r.accuracy) for r in other]


@pytest.mark.parametrize("classes", [1, 256])
def test_the_fewest_and_the_most_classes_pass(classes):
    labels = np.arange(60) % classes
    labels[-1] = classes - 1
    host = HOST._replace(
        train_labels=labels.astype(np.uint8), test_labels=labels[-20:].astype(np.uint8), class_names=("a",) * classes
    )
    check_dataset(host, open_backend("numpy"))


def test_a_run_folder_is_not_made_for_data_that_are_refused(tmp_path):
    backend = open_or_skip("torch")
    message = refusal(next, train(CONFIG, HOST, backend, run_dir=tmp_path / "run"))
    assert message.startswith("the data set's arrays are numpy arrays (train_images), the backend is torch: load it")
    assert not (tmp_path / "run").exists()


def test_data_are_checked_once_a_run(monkeypatch):
    checked = []
    monkeypatch.setattr("mlp_xp.training.check_dataset", lambda *args: checked.append(args))
    backend = open_backend("numpy")
    assert len([*train(TrainConfig(epochs=3, hidden=(4,), report_every=20), HOST, backend)]) > 3
    assert [(dataset, used.name) for dataset, used in checked] == [(HOST, backend.name)]


def test_a_check_compiles_once_and_brings_a_few_numbers_to_the_host(backend):
    """All reductions are one function for `jit`, which is kept for the next run; `to_numpy` is not called."""
    compiled, ran = [], []

    def jit(function, donate=()):
        compiled.append(function)

        def counted(*args):
            ran.append(len(args))
            return function(*args)

        return backend.jit(counted, donate)

    def to_numpy(array):
        raise AssertionError("an array was copied to the host")

    watched, dataset = replace(backend, jit=jit, to_numpy=to_numpy), on_device(HOST, backend)
    for _ in range(3):
        check_dataset(dataset, watched)
    assert len(compiled) == 1
    assert len(ran) in (1, 3)  # once where it compiles


# Arrays of another library or on another device.

OTHERS = ["array_api_compat:numpy", "array_api_strict:", "numpy:"]


def same_arrays(name: str, other: str) -> bool:
    """Whether two namespaces have the same type of arrays on the same device."""
    return name == other or {name, other} <= {"numpy", "array_api_compat:numpy", "numpy:"}


@pytest.mark.parametrize("other", ["numpy", "jax", "torch", "array-api-strict", *OTHERS])
@pytest.mark.parametrize("name", ["numpy", "jax", "torch", "array-api-strict", *OTHERS])
def test_arrays_of_every_library_for_every_backend(name, other):
    """Accepted for their own and for namespaces that share them, else refused with both names."""
    backend, foreign = open_or_skip(name), open_or_skip(other)
    dataset = on_device(HOST, foreign)
    if same_arrays(name, other):
        check_dataset(dataset, backend)
        return
    message = refusal(check_dataset, dataset, backend)
    library = other.replace("-", "_").partition(":")[0].replace("array_api_compat", "numpy")
    if {name, other} == {"array-api-strict", "array_api_strict:"}:  # one library, two devices
        assert "the data set's arrays are on array_api_strict.Device(" in message
        assert ", the backend is on array_api_strict.Device(" in message
    else:
        assert f"the data set's arrays are {library} arrays (train_images), the backend is {name}: load it" in message
    assert "load_dataset(..., backend)" in message
    message = refusal(check_images, dataset.test_images, backend)
    assert message.startswith("images: they are ")
    assert message.endswith("copy them with backend.asarray(images)")


@pytest.mark.parametrize("field", FIELDS)
def test_one_array_elsewhere_is_named(field):
    backend = open_backend("array-api-strict", device="device1")
    elsewhere = open_backend("array-api-strict", device="device2")
    dataset = on_device(HOST, backend)
    wrong = dataset._replace(**{field: elsewhere.asarray(getattr(HOST, field))})
    message = refusal(check_dataset, wrong, backend)
    assert f"arrays are on array_api_strict.Device('device2') ({field}), the backend is on " in message
    wrong = dataset._replace(**{field: getattr(HOST, field).tolist()})
    assert f"arrays are list arrays ({field}), the backend is array-api-strict: " in refusal(
        check_dataset, wrong, backend
    )


def test_an_array_of_a_subclass_is_of_the_library(tmp_path):
    """A memory-mapped file, as large sets are kept in."""
    mapped = np.memmap(tmp_path / "images", np.uint8, "w+", shape=HOST.train_images.shape)
    mapped[...] = HOST.train_images
    check_dataset(HOST._replace(train_images=mapped), open_backend("numpy"))


class Place:
    """A device as CuPy has it: compared by number, not hashable."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<CUDA Device {self.number}>"


class Opaque:
    """An array as CuPy has it: no conversion to NumPy, no `__array_namespace__`; only a single number can be read."""

    __module__ = "like_cupy.core"

    def __init__(self, array: np.ndarray, device: Place) -> None:
        self.array, self.device, self.shape, self.dtype = array, device, array.shape, array.dtype

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("no implicit conversion")

    def __int__(self) -> int:
        assert self.shape == ()
        return int(self.array)


def like_cupy(number: int) -> Backend:
    place = Place(number)
    xp = SimpleNamespace(
        **{name: getattr(np, name) for name in ("uint8", "int8", "int64")},
        min=lambda x: Opaque(np.min(x.array), x.device),
        max=lambda x: Opaque(np.max(x.array), x.device),
        astype=lambda x, dtype: Opaque(x.array.astype(dtype), x.device),
    )
    return replace(
        open_backend("numpy"), name="like_cupy", xp=xp, device=place, from_numpy=lambda x, dtype: Opaque(x, place)
    )


def test_a_library_like_cupy_is_checked():
    backend = like_cupy(0)
    check_dataset(on_device(HOST, backend), backend)
    check_dataset(on_device(HOST, like_cupy(0)), backend)
    message = refusal(check_dataset, on_device(HOST, like_cupy(1)), backend)
    assert "arrays are on <CUDA Device 1> (train_images), the backend is on <CUDA Device 0>: " in message
    assert "arrays are numpy arrays (train_images), the backend is like_cupy: " in refusal(check_dataset, HOST, backend)
    wrong = HOST._replace(train_labels=HOST.train_labels + np.uint8(1))
    assert "train_labels: they range from 1 to 10" in refusal(check_dataset, on_device(wrong, backend), backend)
    # Compared with dtypes that this library does not have.
    wrong = HOST._replace(test_labels=HOST.test_labels.astype(np.float32))
    assert "test_labels: their dtype is float32; " in refusal(check_dataset, on_device(wrong, backend), backend)
    message = refusal(check_dataset, on_device(HOST, backend), open_backend("numpy"))
    assert "arrays are like_cupy arrays (train_images), the backend is numpy: " in message


def test_library_of_names_the_library(backend):
    names = {"numpy": "numpy", "jax": "jax", "torch": "torch", "cupy": "cupy", "array-api-strict": "array_api_strict"}
    assert library_of(backend.asarray(np.ones(2))) == names[backend.name]
    assert library_of([1, 2]) == "list"


@pytest.mark.parametrize(
    ("namespace", "library"),
    [({}, "like_cupy"), ({"__name__": "fast.arrays.xp"}, "fast"), ({"__name__": "one"}, "one")],
)
def test_library_of_names_the_package_of_the_namespace_or_else_of_the_type(namespace, library):
    class Spaced(Opaque):
        __module__ = "like_cupy.core"

        def __array_namespace__(self) -> object:
            return SimpleNamespace(**namespace)

    assert library_of(Spaced(np.ones(2), Place(0))) == library


# Images to predict.


def network_on(backend: Backend) -> tuple[Layer, ...]:
    random = np.random.default_rng(3)
    return (Layer(*(backend.asarray(random.normal(size=s), backend.dtype) for s in ((36, 10), (10,)))),)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8, np.bool_])
def test_images_to_predict_are_bytes(dtype, backend):
    """Nothing is guessed: the same pixels scaled, or as integers, are refused by their dtype."""
    images = backend.asarray(HOST.test_images.astype(dtype))
    message = refusal(predict, network_on(backend), images, activation="sigmoid", backend=backend)
    assert message.startswith(f"images: their dtype is {np.dtype(dtype)}; give bytes (uint8) from 0 to 255, which")


def test_images_of_another_library_are_refused():
    torch = open_or_skip("torch")
    message = refusal(predict, network_on(torch), HOST.test_images, activation="sigmoid", backend=torch)
    assert message.startswith("images: they are numpy arrays, the backend is torch: copy them with backend.asarray(")


def test_a_prediction_can_be_compiled(backend):
    """Nothing is read from the device: inside a compiled function there is nothing to read yet."""
    network, images = network_on(backend), backend.asarray(HOST.test_images)

    def function(images: Any) -> Any:
        return predict(network, images, activation="sigmoid", backend=backend)

    expected = backend.to_numpy(function(images))
    rtol = 8 * np.finfo(float).eps  # a compiler may fuse the few operations after the product
    np.testing.assert_allclose(backend.to_numpy(backend.jit(function)(images)), expected, rtol=rtol)
    with_images = backend.jit(lambda network: predict(network, images, activation="sigmoid", backend=backend))
    np.testing.assert_allclose(backend.to_numpy(with_images(network)), expected, rtol=rtol)
    with pytest.raises(DatasetError, match="images: their dtype is float64"):
        backend.jit(function)(backend.asarray(HOST.test_images / 255))


# Images that are too dark.


def darkened(brightest: int) -> Dataset:
    """The same with no pixel above this, as scikit-learn's digits, which go to 16."""
    images = HOST.train_images.astype(float) * brightest / HOST.train_images.max()
    return HOST._replace(train_images=np.rint(images).astype(np.uint8))


@pytest.mark.parametrize("brightest", [0, 1, 16, 127])
def test_images_that_are_too_dark_are_warned_of_once_a_run(brightest, backend):
    dataset = on_device(darkened(brightest), backend)
    with pytest.warns(DatasetWarning) as caught:
        check_dataset(dataset, backend)
    (message,) = [str(each.message) for each in caught]
    assert message.startswith(f"train_images: the pixels range from 0 to {brightest}, where 0 to 255 is expected: ")
    assert message.endswith("rescale all images so that the largest pixel is 255")
    assert message.isprintable()
    with pytest.warns(MlpXpWarning) as caught:
        assert len([*train(CONFIG, dataset, backend)]) == 4
    assert [str(each.message) for each in caught] == [message]


def test_what_is_told_of_dark_images():
    with pytest.warns(DatasetWarning) as caught:
        check_dataset(darkened(16), open_backend("numpy"))
    assert str(caught[0].message) == (
        "train_images: the pixels range from 0 to 16, where 0 to 255 is expected: the network sees values of at most "
        "0.063 and learns slowly or badly; rescale all images so that the largest pixel is 255"
    )


def test_a_warning_of_dark_images_points_at_the_caller():
    with pytest.warns(DatasetWarning) as caught:
        check_dataset(darkened(16), open_backend("numpy"))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("brightest", [128, 200, 255])
def test_images_with_any_bright_pixel_are_not_warned_of(brightest, backend):
    """The highest bit is in use. Dark test images are no matter: the training set says what the scale is."""
    host = darkened(brightest)
    check_dataset(on_device(host._replace(test_images=host.test_images // 16), backend), backend)


@pytest.fixture(scope="module")
def dark_folder(tmp_path_factory):
    """As scikit-learn's digits are written as CSV by whoever tries them: pixels from 0 to 16."""
    folder, host = tmp_path_factory.mktemp("digits"), darkened(16)
    (folder / "train.csv").write_text(csv_text(host.train_images, host.train_labels))
    (folder / "test.csv").write_text(csv_text(host.test_images // 16, host.test_labels))
    return folder


def test_the_train_command_prints_one_line_for_dark_images(dark_folder, no_pictures, tmp_path):
    arguments = ["--data-dir", dark_folder, *options(small_settings())]
    for i in range(2):  # once for each command
        outcome = call("train", "--run-dir", tmp_path / str(i), *arguments)
        assert outcome.code == 0
        assert outcome.err.startswith("warning: train_images: the pixels range from 0 to 16, where 0 to 255 is ")
        assert outcome.err.count("\n") == 1


def test_other_warnings_are_left_to_python(monkeypatch):
    def warn(*args: Any) -> None:
        warnings.warn("another", UserWarning, stacklevel=1)
        raise MlpXpError("enough")

    monkeypatch.setattr("mlp_xp.commands.plot.is_sweep", warn)
    with pytest.warns(UserWarning, match="another"):
        outcome = call("plot", "run")
    assert outcome.err == "error: enough\n"


def test_a_process_prints_the_line_too(dark_folder, tmp_path, no_pictures_elsewhere):
    outcome = finish(start("train", "--data-dir", dark_folder, "--epochs", 1, "--run-dir", tmp_path / "run"))
    assert outcome.code == 0
    assert outcome.err.startswith("warning: train_images: the pixels range from 0 to 16, ")
    assert outcome.err.count("\n") == 1


def test_the_library_warns_of_dark_files(dark_folder, backend):
    dataset = load_dataset(dark_folder, backend)
    with pytest.warns(DatasetWarning, match="from 0 to 16"):
        next(train(CONFIG, dataset, backend))


def test_labels_that_are_all_equal_are_warned_of(backend):
    """As of a file whose labels are in another column. A few samples may well be of one class."""
    host = synthetic(120, 20, 6)
    dataset = on_device(host._replace(train_labels=np.full_like(host.train_labels, 3)), backend)
    with pytest.warns(DatasetWarning, match="train_labels: all are 3, of 10 classes"):
        check_dataset(dataset, backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = {"train_images": dataset.train_images[:99, ...], "train_labels": dataset.train_labels[:99, ...]}
        check_dataset(dataset._replace(**few), backend)


def test_float_labels_are_refused_where_a_library_lacks_an_integer_dtype():
    """NumPy's float64 dtype is equal to None, the usual stand-in for what is missing."""
    backend = open_backend()
    poor = SimpleNamespace(**{name: getattr(backend.xp, name) for name in dir(backend.xp) if name != "uint16"})
    floats = HOST._replace(train_labels=HOST.train_labels.astype(np.float64))
    with pytest.raises(DatasetError, match="train_labels: their dtype is float64"):
        check_dataset(floats, replace(backend, xp=poor))


def test_a_library_that_fails_when_a_number_is_read_is_reported(monkeypatch):
    """As a GPU's does, which computes after the call that asked for it has returned."""
    backend = open_backend()

    class Failing:
        def __int__(self):
            raise MemoryError("the device is full")

    monkeypatch.setattr("mlp_xp.checks._compiled_extremes", lambda backend: lambda *arrays: [Failing()] * 8)
    with pytest.raises(BackendOutOfMemory, match=r"in a transfer to the host: MemoryError: the device is full"):
        check_dataset(HOST, backend)
