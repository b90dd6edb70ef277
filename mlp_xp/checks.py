"""Checks of a data set before the first training step. Each error is reported in one line.

What is rejected here would otherwise fail inside the array library, or give a wrong result silently: a label outside
the classes gives an all-zero target, and images that are already scaled would be divided by 255 again.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.dataset import Dataset
from mlp_xp.errors import MlpXpError, MlpXpWarning
from mlp_xp.functional import Array

# A label is one byte in the files.
MOST_CLASSES = 256
# If all pixels are below this value, no pixel uses the highest bit. Images with fewer than 8 bits always stay below it
# (4 bits: 15, scikit-learn's digits: 16); 8-bit images reach it with any bright stroke.
DIM = 128
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


class DatasetError(MlpXpError):
    """Files or arrays that do not form a valid data set."""


class DatasetWarning(MlpXpWarning):
    """A data set that can be used for training, but is probably not what was intended."""


def check_dataset(dataset: Dataset, backend: Backend) -> None:
    """Raise DatasetError unless a data set can be used for training; warn if its images are too dark.

    In addition to the requirements of `check_arrays`, labels must be in 0, ..., classes - 1. Gives a DatasetWarning if
    the largest pixel of the training set is below 128, or if all labels of a large training set are equal. Makes one
    pass over the training images and all labels on the device, and copies six numbers to the host.
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
    if classes > 1 and labels[0] == labels[1] and dataset.train_labels.shape[0] >= 10 * classes:
        warnings.warn(
            f"train_labels: all are {labels[0]}, of {classes} classes; check where the labels are read from",
            DatasetWarning,
            stacklevel=2,
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
    """Raise DatasetError unless the arrays of a data set have the form that `Dataset` documents.

    The arrays must belong to the backend's library and be on its device. Images are uint8 (n, rows, columns) with
    n >= 1 and the same size in both parts; labels are integers (n,), one per image; there are 1 to 256 classes. Nothing
    is read from the device.
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
        known = [getattr(backend.xp, name) for name in INTEGERS if hasattr(backend.xp, name)]
        if not any(labels.dtype == dtype for dtype in known):  # NumPy's float64 equals None, so no default
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
            f"test_images: they are {sizes[1]} pixels, the training images {sizes[0]}; "
            "give images that all have the same size"
        )
    if not 1 <= len(dataset.class_names) <= MOST_CLASSES:
        raise DatasetError(f"class_names: there are {len(dataset.class_names)}; give 1 to {MOST_CLASSES}")


def check_images(images: Array, backend: Backend) -> None:
    """Raise DatasetError unless images are uint8 (n, rows, columns), of the backend's library and on its device.

    Checks only the dtype, never the values: the values of floating-point images do not show whether they are scaled to
    [0, 1]. Nothing is read from the device, so this may run inside a compiled function.
    """
    if wrong := _not_of(images, backend):
        raise DatasetError(
            f"images: they are {wrong[0]}, the backend is {wrong[1]}: copy them with backend.asarray(images)"
        )
    _check_images("images", images, backend)


def library_of(array: Any) -> str:
    """Return the name of an array's library, such as numpy: from its namespace, or else from the module of its type.

    For a built-in type, such as list, return the name of the type.
    """
    module = type(array).__module__.partition(".")[0]
    return _namespace_name(array) or (type(array).__name__ if module == "builtins" else module)


def _namespace_name(array: Any) -> str:
    namespace = getattr(array, "__array_namespace__", None)
    return getattr(namespace(), "__name__", "").partition(".")[0] if namespace else ""


def _not_of(array: Any, backend: Backend) -> tuple[str, str] | None:
    """Return a description of the array and one of the backend if they do not match; None if they match.

    The array is compared with one that the backend creates, because a namespace or a device object alone does not show
    which arrays belong to it: two namespaces may share an array type, and `cuda` means `cuda:0`. In a compiled function
    arrays have another type with the same namespace, and their device may be unknown.
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
    """Return a function that finds the minimum and maximum of images and labels, as arrays () on the device."""
    xp = backend.xp

    def extremes(images: Array, *labels: Array) -> tuple[Array, ...]:
        # Some libraries have unsigned integers wider than a byte, but no reductions for them. Bytes are not converted:
        # with the conversion JAX takes 0.3 s to compile this, without it 0.01 s.
        arrays = (images, *(each if each.dtype == xp.uint8 else xp.astype(each, xp.int64) for each in labels))
        return tuple(find(array) for array in arrays for find in (xp.min, xp.max))

    return backend.jit(extremes)
