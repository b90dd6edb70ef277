"""A data set on a device, and what the network sees of it: images flattened and scaled, labels one-hot encoded."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.loops import Array

# Labels are compared with uint8 class numbers.
MOST_CLASSES = 256
# Below it no pixel has its highest bit set, so the images have at most 7 bits. Whatever has fewer than 8 bits stays
# below it (4 bits: 15, scikit-learn's digits: 16), and images of 8 bits reach it with any bright stroke.
DIM = 128
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


class DatasetError(MlpXpError):
    """Files or arrays that do not make up a data set."""


class DatasetWarning(MlpXpWarning):
    """A data set that can be trained on, but that probably does not hold what it should."""


class Dataset(NamedTuple):
    """A training and a test set. Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB."""

    train_images: Array
    """uint8 (n, rows, columns) on the device, 0 to 255."""
    train_labels: Array
    """Integers (n,) on the device, uint8 from `load_dataset`; each below the number of classes."""
    test_images: Array
    test_labels: Array
    class_names: tuple[str, ...]
    name: str = "unnamed"
    """In DATASETS, or the path of its folder."""


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless a data set can be trained on; warn if its images are too dark to be on a scale to 255.

    Whatever is refused here would otherwise fail inside the array library, or train to a wrong result without a word:
    a label outside the classes has an all-zero target, and scaled images would be divided by 255 once more. Beyond what
    `check_arrays` asks for, labels must lie in 0, ..., classes - 1. Gives a DatasetWarning when the largest pixel of
    the training set is below 128. Takes one pass over the training images and all labels, on the device; six numbers
    come to the host.
    """
    check_arrays(dataset, backend)
    extremes = _compiled_extremes(backend)(dataset.train_images, dataset.train_labels, dataset.test_labels)
    darkest, brightest, *labels = map(int, extremes)
    classes = len(dataset.class_names)
    for name, (lowest, highest) in zip(("train_labels", "test_labels"), (labels[:2], labels[2:]), strict=True):
        if lowest < 0 or highest >= classes:
            raise DatasetError(
                f"{name}: they range from {lowest} to {highest}, outside the {classes} classes, 0 to {classes - 1}; "
                "number the classes from 0, and give each a name in class_names"
            )
    if brightest < DIM:
        warnings.warn(
            f"train_images: the pixels range from {darkest} to {brightest}, where 0 to 255 is expected: the network "
            f"sees values of at most {brightest / 255:.2g} and learns slowly or badly; rescale all images so that the "
            "largest pixel is 255",
            DatasetWarning,
            stacklevel=2,
        )


def check_arrays(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless the arrays of a data set are of the form that `Dataset` documents.

    They must belong to the backend's library and be on its device; images are uint8 (n, rows, columns) with n >= 1, of
    one size in both parts; labels are integers (n,), as many as images; there are 1 to 256 classes. Nothing is read
    from the device.
    """
    for name, array in zip(Dataset._fields[:4], dataset[:4], strict=True):
        if wrong := _not_of(array, backend):
            raise DatasetError(
                f"the data set's arrays are {wrong[0]} ({name}), the backend is {wrong[1]}: load it with "
                "load_dataset(..., backend), or copy each array with backend.asarray"
            )
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        _check_images(f"{part}_images", images, backend)
        if 0 in images.shape:
            raise DatasetError(f"{part}_images: there are none (their shape is {tuple(images.shape)}); give some")
        if len(labels.shape) != 1:
            raise DatasetError(f"{part}_labels: their shape is {tuple(labels.shape)}; give (n,), one number per image")
        if not any(labels.dtype == getattr(backend.xp, name, None) for name in INTEGERS):
            raise DatasetError(
                f"{part}_labels: their dtype is {_dtype_name(labels)}; give class numbers as integers, such as uint8"
            )
        if labels.shape[0] != images.shape[0]:
            raise DatasetError(
                f"{part}_labels: there are {labels.shape[0]} for {images.shape[0]} images; give one label per image"
            )
    sizes = [" x ".join(map(str, images.shape[1:])) for images in (dataset.train_images, dataset.test_images)]
    if sizes[0] != sizes[1]:
        raise DatasetError(
            f"test_images: they are {sizes[1]} pixels, the training images {sizes[0]}; one network takes one size"
        )
    if not 1 <= len(dataset.class_names) <= MOST_CLASSES:
        raise DatasetError(f"class_names: there are {len(dataset.class_names)}; give 1 to {MOST_CLASSES}")


def check_images(images: Array, backend: Backend) -> None:
    """Raise DatasetError unless images are uint8 (n, rows, columns), of the backend's library and on its device.

    Only the dtype is judged, never the values: floating-point images may be scaled to [0, 1] already, or not. Nothing
    is read from the device, so this may run inside a compiled function.
    """
    if wrong := _not_of(images, backend):
        raise DatasetError(
            f"images: they are {wrong[0]}, the backend is {wrong[1]}: copy them with backend.asarray(images)"
        )
    _check_images("images", images, backend)


def library_of(array: Any) -> str:
    """The name of the library that an array belongs to, such as numpy: its namespace's, else its type's module's.

    For a type of Python's own, such as list, it is the name of the type.
    """
    module = type(array).__module__.partition(".")[0]
    return _namespace_name(array) or (type(array).__name__ if module == "builtins" else module)


def _namespace_name(array: Any) -> str:
    namespace = getattr(array, "__array_namespace__", None)
    return getattr(namespace(), "__name__", "").partition(".")[0] if namespace else ""


def _not_of(array: Any, backend: Backend) -> tuple[str, str] | None:
    """What an array is and what the backend is, where they do not match; None where the backend can use the array.

    Compared with an array that the backend makes, since neither a namespace nor a device object tells what arrays
    belong to it: a foreign namespace may share its arrays with another, `cuda` stands for `cuda:0`. In a compiled
    function arrays are of another type, which has the same namespace, and their device may be unknown.
    """
    own = backend.asarray(np.zeros(1, np.uint8))
    name = _namespace_name(own)
    if not isinstance(array, type(own)) and not (name and _namespace_name(array) == name):
        return f"{library_of(array)} arrays", backend.name
    place, wanted = getattr(array, "device", None), getattr(own, "device", None)
    if place is not None and wanted is not None and place != wanted:
        return f"on {place}", f"on {wanted}"
    return None


def _check_images(name: str, images: Array, backend: Backend) -> None:
    if len(images.shape) != 3:
        raise DatasetError(f"{name}: their shape is {tuple(images.shape)}; give (n, rows, columns), one as image[None]")
    if images.dtype != backend.xp.uint8:
        raise DatasetError(
            f"{name}: their dtype is {_dtype_name(images)}; give bytes (uint8) from 0 to 255, which are scaled to "
            "[0, 1] here"
        )


def _dtype_name(array: Array) -> str:
    return str(array.dtype).rpartition(".")[2]


@lru_cache(maxsize=8)
def _compiled_extremes(backend: Backend) -> Callable[..., tuple[Array, ...]]:
    """The smallest and largest element of images and of any number of arrays of labels, as arrays () on the device."""
    xp = backend.xp

    def extremes(images: Array, *labels: Array) -> tuple[Array, ...]:
        # Some libraries store wider unsigned integers but have no reductions for them. Bytes stay what they are: with
        # the conversion JAX takes 0.3 s to compile this, without it 0.01 s.
        arrays = (images, *(each if each.dtype == xp.uint8 else xp.astype(each, xp.int64) for each in labels))
        return tuple(find(array) for array in arrays for find in (xp.min, xp.max))

    return backend.jit(extremes)


def flatten_and_scale(images: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Images of bytes, shape (..., rows, columns), to rows of features in [0, 1], shape (..., rows * columns)."""
    *leading, rows, columns = images.shape
    x = xp.astype(xp.reshape(images, (*leading, rows * columns)), dtype)
    x /= 255  # in place: a second array of this size makes a training step on NumPy take 2 to 4 % longer
    return x


def one_hot(labels: Array, classes: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Labels, shape (...), to rows that are 1 at the label's place in `classes`, shape (n,), and 0 elsewhere: (..., n).

    Comparison instead of assignment by index: the standard has no such assignment, and JAX arrays no assignment at all.
    """
    return xp.astype(labels[..., None] == classes, dtype)
