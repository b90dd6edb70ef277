"""From bytes to rows: against plain NumPy and exact fractions."""

from fractions import Fraction

import numpy as np
from numerics import assert_close

from mlp_xp.dataset import one_hot
from mlp_xp.features import flatten_and_scale

BYTES = np.arange(256, dtype=np.uint8).reshape(2, 8, 16)


def rounding(backend) -> float:
    """One division: half an eps; or, where a library makes it a product with 1 / 255 rounded, one and a half."""
    return 1.5 * float(backend.xp.finfo(backend.dtype).eps)


def test_every_byte_is_scaled_to_rounding(backend):
    rows = flatten_and_scale(backend.asarray(BYTES), dtype=backend.dtype, xp=backend.xp)
    expected = np.array([float(Fraction(i, 255)) for i in range(256)]).reshape(2, 128)
    assert_close(rows, expected, backend, rtol=rounding(backend))
    assert backend.to_numpy(rows).max() <= 1


def test_every_byte_is_scaled_to_rounding_in_float32(backend32):
    rows = flatten_and_scale(backend32.asarray(BYTES), dtype=backend32.dtype, xp=backend32.xp)
    expected = np.array([float(Fraction(i, 255)) for i in range(256)]).reshape(2, 128)
    assert_close(rows, expected, backend32, rtol=rounding(backend32))
    assert backend32.to_numpy(rows).max() <= 1


def test_images_of_several_channels(backend):
    images = BYTES.reshape(2, 8, 4, 4)
    rows = flatten_and_scale(backend.asarray(images), dtype=backend.dtype, xp=backend.xp)
    assert_close(rows, images.reshape(2, 128) / 255, backend, rtol=rounding(backend))


def test_images_are_flattened_row_by_row_and_stay_as_they_were(backend):
    image = backend.asarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    rows = flatten_and_scale(image, dtype=backend.dtype, xp=backend.xp)
    assert backend.to_numpy(rows * 255).round().tolist() == [[1, 2, 3, 4, 5, 6]]
    assert backend.to_numpy(image).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_one_hot_is_a_row_of_the_identity(backend):
    labels = np.array([[3, 0], [9, 3], [1, 8]], dtype=np.uint8)
    rows = one_hot(backend.asarray(labels), 10, dtype=backend.dtype, device=backend.device, xp=backend.xp)
    assert_close(rows, np.eye(10)[labels], backend, rtol=0.0)
