"""From stored bytes to what the network sees: images flattened and scaled, labels one-hot encoded."""

from typing import Any

from mlp_xp.loops import Array


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
