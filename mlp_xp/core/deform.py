"""Deformations: training rotates, scales, shears and bends images at random.

Pixel p of a deformed image is pixel p + d(p) of the image, by bilinear interpolation.
Beyond an edge, the pixels of the edge are repeated. With the centre c of the image, a
matrix A, and a field e(p) of random displacements (Simard, Steinkraus and Platt, 2003,
Best practices for convolutional neural networks applied to visual document analysis),

    d(p) = (A - 1) (p - c) + e(p)

The field is R N C^T, once down and once across: uniform random numbers N, smoothed by a
Gaussian. The numbers are drawn on a grid. Its points are one standard deviation of the
Gaussian apart, or one pixel if that is more. R_ij is the Gaussian at row i around point
j, and C is the same for columns. The grid extends beyond the edges, and each row of R
and C is scaled to a sum of squares of 1. Displacements therefore have the same standard
deviation at every pixel.

The displacements are correlated as if numbers were drawn for each pixel, up to 8
exp(-pi^2) = 4e-4. By Poisson's formula, the sum of products of two unscaled rows varies
by 2 exp(-pi^2) of its mean. So do the two sums of squares, and the sum of products is
divided by their roots. That makes 4 exp(-pi^2) for rows, and as much for columns.

The default strengths follow Cireşan, Meier, Gambardella and Schmidhuber, 2010, Deep,
big, simple neural nets for handwritten digit recognition, Neural Computation 22. Their
kernel has a sum of 1 and a deviation of 5 to 6 pixels. It smooths uniform numbers in
[-1, 1], times 36 to 38. The standard deviation is 37 / sqrt(3) / (2 sqrt(pi) 5.5) = 1.1
pixels. (With 4 and 34, Simard's is 1.4 pixels.) They scale by up to 15 to 20 %, and
either rotate or shear by up to 15 degrees, 7.5 for the digits 1 and 7. Here images are
both rotated and sheared, each by less.

NumPy draws on the host, one byte for each number of N, so that the images are the same
on every backend. As for dropout, the numbers of a step depend only on the settings and
the number of the step. Weights, shuffles and the units that dropout keeps are the same
as without deformations. Pixels are not rounded to bytes again, because interpolation is
continuous: a small rounding error of a position changes a pixel only a little.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dropout import random_bytes
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import Signature, described
from mlp_xp.declared import ConfigError

# The key of Philox has two words. The first is the seed. Here the second is 1, where
# dropout has 0.
_STREAM = 2**64
_BEYOND = 3  # Points of the grid beyond each edge.
MEAN, DEVIATION = 127.5, ((256**2 - 1) / 12) ** 0.5  # Of a uniform byte.
_MATRIX_BYTES = 16  # Four numbers of 32 bits for the matrix A of an image.


def check_deformable(config: TrainConfig, signature: Signature) -> None:
    """Check that images can be deformed, if they are to be.

    Images of bytes can. Floats are standardised pixel by pixel, so they would be of any
    size where a stroke moves to an empty place.

    Raises:
        ConfigError: The inputs are not grey images of bytes, (n, rows, columns).
    """
    shape = signature.input_shape
    takes_bytes = signature.preparation.takes_bytes
    if not config.deform or (takes_bytes and len(shape) == 2):
        return
    given = described(shape) if takes_bytes else f"float {described(shape)}"
    fault = f"needs images in shades of grey, uint8 (n, rows, columns), not {given}"
    raise ConfigError(fault, remedy="leave it out", setting="deform")


def draw_deformations(
    config: TrainConfig,
    dtype: str,
    shape: tuple[int, ...],
    steps: int,
    batch_size: int,
    first_step: int,
) -> tuple[np.ndarray, ...]:
    """Return the noise and the matrices for images (rows, columns), or () without them.

    With k = `steps` and B = `batch_size`, the noise is N^T of each image for
    displacements down and across, uint8 (k, B, 2, points across, points down). The
    matrices are A - 1 of each image, (k, B, 2, 2) of the dtype. B is at most the batch
    size in the settings. `first_step` is the number of the first step, from 0 at the
    start of training.
    """
    if not config.deform:
        return ()
    rows, columns = shape
    points_down = len(smoothing(rows, config.deform_smoothness))
    points_across = len(smoothing(columns, config.deform_smoothness))
    image_bytes = _MATRIX_BYTES + 2 * points_across * points_down
    # The bytes are the same for a smaller last batch.
    full_bytes = config.batch_size * image_bytes
    drawn = random_bytes(config.seed + _STREAM, first_step, steps, full_bytes)
    drawn = drawn[:, : batch_size * image_bytes]
    drawn = drawn.reshape(steps, batch_size, image_bytes)

    words = np.ascontiguousarray(drawn[..., :_MATRIX_BYTES]).view("<u4")
    shares = words / 2.0**31 - 1  # In [-1, 1).
    changes = matrices(config, shares) - np.eye(2)
    noise = np.ascontiguousarray(drawn[..., _MATRIX_BYTES:])
    noise = noise.reshape(steps, batch_size, 2, points_across, points_down)
    return noise, changes.astype(dtype)


def matrices(config: TrainConfig, shares: np.ndarray) -> np.ndarray:
    """Return the matrices A, float64 (..., 2, 2), for shares (..., 4) from -1 to 1.

    The shares multiply the largest angle (clockwise), change of scale down and across,
    and shear.

    An image is first sheared, then scaled, then rotated. A maps a place in the result,
    (down, across) from the centre, to the place in the image that is seen there. So it
    undoes these changes in reverse order.
    """
    largest = np.array(
        [
            np.radians(config.deform_degrees),
            config.deform_scaling,
            config.deform_scaling,
            config.deform_shear,
        ]
    )
    angle, down, across, shear = np.moveaxis(shares * largest, -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    y = np.stack([cos, -sin], axis=-1) / (1 + down)[..., None]
    x = np.stack([sin, cos], axis=-1) / (1 + across)[..., None] - shear[..., None] * y
    return np.stack([y, x], axis=-2)


def smoothing(size: int, deviation: float) -> np.ndarray:
    """Return R^T, float64 (points, size): the Gaussian around each point of the grid.

    The columns have unit norm.
    """
    step = max(1.0, deviation)  # A grid finer than pixels would be of no use.
    points = step * np.arange(-_BEYOND, np.ceil((size - 1) / step) + _BEYOND + 1)
    g = np.exp(-0.5 * ((np.arange(size) - points[:, None]) / deviation) ** 2)
    return g / np.linalg.norm(g, axis=0)


class _Grid(NamedTuple):
    """The constants of deformations of images (rows, columns), on the device."""

    smooth_down: Array
    """R^T times a factor, (points down, rows), so that displacements have the standard
    deviation in the settings.
    """
    smooth_across: Array
    """C^T, (points across, columns)."""
    pixels: Array
    """The position p of each pixel, down and across, (2, rows columns)."""
    from_centre: Array
    """p - c, (2, rows columns)."""
    first: Array
    """The first position, (2, 1)."""
    last: Array
    """The last position, (2, 1)."""


def _make_grid(config: TrainConfig, shape: tuple[int, ...], backend: Backend) -> _Grid:
    rows, columns = shape
    smooth_down = smoothing(rows, config.deform_smoothness)
    smooth_down *= config.deform_pixels / DEVIATION
    pixels = np.indices(shape).reshape(2, -1)
    last = np.array([[rows - 1], [columns - 1]])
    grid = _Grid(
        smooth_down=smooth_down,
        smooth_across=smoothing(columns, config.deform_smoothness),
        pixels=pixels,
        from_centre=pixels - last / 2,
        first=0 * last,
        last=last,
    )
    return _Grid(*(backend.asarray(array, backend.dtype) for array in grid))


def make_deform(
    config: TrainConfig, shape: tuple[int, ...], backend: Backend
) -> Callable[..., Array]:
    """Return `deform(images, noise, matrices)`, for images (n, rows, columns) of bytes.

    The results have the dtype of the backend. The noise and the matrices are from
    `draw_deformations`, on the device, for n images, with any further axes before. If
    nothing is displaced, the images are the same to the bit.
    """
    xp = backend.xp
    rows, columns = shape
    grid = _make_grid(config, shape, backend)
    place = {} if backend.device is None else {"device": backend.device}
    # In the last row or column, interpolation also reads the pixels after it, with a
    # weight of 0. Some must exist after the last image.
    beyond = backend.asarray(np.zeros(columns + 1, np.uint8))

    def deform(images: Array, noise: Array, matrices: Array) -> Array:
        n = images.shape[0]
        position = _displaced(n, noise, matrices, grid, xp=xp)
        whole = xp.astype(position, xp.int64)
        position -= xp.astype(whole, backend.dtype)
        y, x = position[:, 0, :], position[:, 1, :]

        pixels = xp.concat([xp.reshape(images, (-1,)), beyond])
        image = xp.reshape(xp.arange(n, dtype=xp.int64, **place), (n, 1))
        row = image * rows + whole[:, 0, :]
        corner = xp.reshape(row * columns + whole[:, 1, :], (-1,))

        def at(down: int, across: int) -> Array:
            values = xp.take(pixels, corner + (down * columns + across), axis=0)
            return xp.reshape(xp.astype(values, backend.dtype), (n, rows * columns))

        upper = at(0, 0)
        upper += x * (at(0, 1) - upper)
        lower = at(1, 0)
        lower += x * (at(1, 1) - lower)
        upper += y * (lower - upper)
        return xp.reshape(upper, (n, rows, columns))

    return deform


def _displaced(
    n: int, noise: Array, matrices: Array, grid: _Grid, /, *, xp: Any
) -> Array:
    """Return p + d(p) for n images, within the image: (n, 2, rows columns)."""
    points_down, rows = grid.smooth_down.shape
    points_across, columns = grid.smooth_across.shape
    field = xp.astype(noise, grid.pixels.dtype)
    field = xp.reshape(field, (n * 2 * points_across, points_down)) - MEAN
    field = xp.reshape(field @ grid.smooth_down, (n * 2, points_across, rows))
    field = xp.permute_dims(field, (0, 2, 1))
    field = xp.reshape(field, (n * 2 * rows, points_across)) @ grid.smooth_across

    position = xp.reshape(matrices, (n * 2, 2)) @ grid.from_centre
    position = xp.reshape(position, (n, 2, rows * columns))
    position += xp.reshape(field, (n, 2, rows * columns))
    position += grid.pixels
    # Not `clip`: in array-api-compat it reads a value on the host, for which a GPU
    # would have to wait.
    position = xp.where(position > grid.first, position, grid.first)
    return xp.where(grid.last > position, position, grid.last)
