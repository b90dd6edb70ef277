"""A data set on a device, and what the network sees of it: images flattened and scaled, labels one-hot encoded."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mlp_xp.functional import Array


def flatten_and_scale(images: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn images of bytes, shape (..., rows, columns), into features in [0, 1], shape (..., rows * columns)."""
    *leading, rows, columns = images.shape
    x = xp.astype(xp.reshape(images, (*leading, rows * columns)), dtype)
    x /= 255  # in place: a second array of this size makes a training step on NumPy take 2 to 4 % longer
    return x


def one_hot(labels: Array, classes: int, /, *, dtype: Any, device: Any, xp: Any) -> Array:
    """Turn labels 0 to classes - 1, shape (...), into rows that are 1 at the label and 0 elsewhere, (..., classes).

    By comparison, because assignment by index is not in the standard for integer arrays, and JAX has none at all.
    """
    place = {} if device is None else {"device": device}  # not every library has the keyword
    return xp.astype(labels[..., None] == xp.arange(classes, dtype=labels.dtype, **place), dtype)


Prepare = Callable[..., Array]


UNNAMED = "unnamed"


class Dataset(NamedTuple):
    """A training set and a test set. Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB."""

    train_images: Array
    """uint8 (n, rows, columns) on the device, 0 to 255."""
    train_labels: Array
    """Integers (n,) on the device, uint8 from `load_dataset`; each below the number of classes."""
    test_images: Array
    test_labels: Array
    class_names: tuple[str, ...]
    name: str = UNNAMED
    """A key of DATASETS, or the path of the data set's folder; UNNAMED for data in memory."""
    prepare: Prepare = flatten_and_scale
    """`prepare(images, dtype=..., xp=...)` turns images (..., rows, columns) into features (..., rows * columns).
    Not stored in run folders, which accept only the default."""

    def __repr__(self) -> str:
        train, *size = self.train_images.shape
        return (
            f"Dataset({self.name!r}, {train} training and {self.test_images.shape[0]} test images of "
            f"{' x '.join(map(str, size))}, {len(self.class_names)} classes)"
        )
