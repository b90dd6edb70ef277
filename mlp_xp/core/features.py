"""Inputs as the network sees them: images and numbers to features, (n, ...) to (n, features)."""

import math
from typing import Any

from mlp_xp.core.functional import Array


def flatten_and_scale(images: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn images of bytes, shape (n, rows, columns[, channels]), into features in [0, 1], shape (n, features)."""
    x = xp.astype(xp.reshape(images, (images.shape[0], math.prod(images.shape[1:]))), dtype)
    x *= 1 / 255  # in place: a second array of this size makes a training step on NumPy take 2 to 4 % longer
    return x


def standardize(inputs: Array, shift: Array, scale: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn inputs (n, ...) into features (x - shift) / scale, shape (n, features); shift, scale: (features,)."""
    x = xp.astype(xp.reshape(inputs, (inputs.shape[0], shift.shape[0])), dtype)
    return (x - shift) / scale


def unchanged(inputs: Array, /, *, dtype: Any, xp: Any) -> Array:
    """Turn inputs into features of the dtype with the same values."""
    return xp.astype(inputs, dtype)
