"""From bytes to rows and from labels to targets: against exact fractions and the identity matrix."""

from fractions import Fraction

import numpy as np
from numerics import assert_close

from mlp_xp.core.features import flatten_and_scale
from mlp_xp.core.task import one_hot

BYTES = np.arange(256, dtype=np.uint8).reshape(2, 4, 8, 4)  # with channels


def check_scaling(backend) -> None:
    """One division: half an eps; or, where it is a product with 1 / 255 rounded, one and a half."""
    images = backend.asarray(BYTES)
    rows = flatten_and_scale(images, dtype=backend.dtype, xp=backend.xp)
    expected = np.array([float(Fraction(i, 255)) for i in range(256)]).reshape(2, 128)
    assert_close(rows, expected, backend, rtol=1.5 * float(backend.xp.finfo(backend.dtype).eps))
    assert backend.to_numpy(rows).max() <= 1
    np.testing.assert_array_equal(backend.to_numpy(images), BYTES)


def test_every_byte_is_scaled_to_rounding(backend):
    check_scaling(backend)


def test_every_byte_is_scaled_to_rounding_in_float32(backend32):
    check_scaling(backend32)


def test_one_hot_is_a_row_of_the_identity(backend):
    labels = np.array([[3, 0], [9, 3], [1, 8]], dtype=np.uint8)
    rows = one_hot(backend.asarray(labels), 10, dtype=backend.dtype, device=backend.device, xp=backend.xp)
    assert_close(rows, np.eye(10)[labels], backend, rtol=0.0)
