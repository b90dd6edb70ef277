"""A data set on a device, and what the network sees of it: images flattened and scaled, labels one-hot encoded."""

from typing import Any, NamedTuple

from mlp_xp.loops import Array


class Dataset(NamedTuple):
    """A training and a test set. Images stay bytes on the device: 47 MB for MNIST, where float64 takes 376 MB."""

    train_images: Array
    """uint8 (n, rows, columns) on the device, 0 to 255."""
    train_labels: Array
    """uint8 (n,) on the device, each below the number of classes."""
    test_images: Array
    test_labels: Array
    class_names: tuple[str, ...]
    name: str = "unnamed"
    """In DATASETS, or the path of its folder."""

    def __repr__(self) -> str:
        """Its name and sizes: the images would fill pages."""
        train, *size = self.train_images.shape
        return (
            f"Dataset({self.name!r}, {train} training and {self.test_images.shape[0]} test images of "
            f"{' x '.join(map(str, size))}, {len(self.class_names)} classes)"
        )


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
