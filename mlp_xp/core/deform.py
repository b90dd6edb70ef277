"""Deformations: whenever an image is trained on, it is rotated, scaled, sheared and
bent at random.

The pixel at p of a deformed image is that of the image at p + d(p), by bilinear
interpolation. Beyond an edge the pixels of the edge are repeated. With the image's
centre c, a matrix A, and a field e(p) of random displacements (Simard, Steinkraus and
Platt, 2003, Best practices for convolutional neural networks applied to visual document
analysis):

    d(p) = (A - 1) (p - c) + e(p)

The field is made of uniform random numbers N, which a Gaussian smooths: it is R N C^T,
once down and once across. The numbers are drawn on a grid, whose points are one
standard deviation of the Gaussian apart, or one pixel if that is more. R_ij is the
Gaussian at row i around point j, and C the same for columns. The grid extends beyond
the edges, and each row of R and C is scaled to a sum of squares of 1, so that
displacements have the same standard deviation at every pixel. They are correlated as if
numbers were drawn for each pixel, up to 8 exp(-pi^2) = 4e-4. By Poisson's formula, the
sum of products of two unscaled rows varies by 2 exp(-pi^2) of its mean, and so do the
two sums of squares by whose roots it is divided. That makes 4 exp(-pi^2) for rows, and
as much for columns.

The default strengths follow Cireşan, Meier, Gambardella and Schmidhuber, 2010, Deep,
big, simple neural nets for handwritten digit recognition, Neural Computation 22. They
smooth by 5 to 6 pixels, and multiply by 36 to 38, uniform numbers in [-1, 1] with a
kernel whose sum is 1: 37 / sqrt(3) / (2 sqrt(pi) 5.5) is a standard deviation of 1.1
pixels. (Simard's 4 and 34 are 1.4 pixels.) They scale by up to 15 to 20 %, and either
rotate or shear by up to 15 degrees, 7.5 for the digits 1 and 7. Here both are done,
each by less.

NumPy draws on the host, one byte for each number of N, so that the images are the same
on every backend. As for dropout, what is drawn for a step is a function of the settings
and the step's number alone. Weights, shuffles and the units that dropout keeps are
those of a run without deformations. Pixels are not rounded to bytes again:
interpolation is continuous, so a rounding error of a position changes them as little.
"""

from collections.abc import Callable

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.config import TrainConfig
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import Signature, described
from mlp_xp.declared import ConfigError

# adds 1 to the second word of Philox's key, where dropout has 0. The first word is the
# seed
_STREAM = 2**64
PER_COUNT = 32  # random bytes that one value of its counter gives
_BEYOND = 3  # points of the grid beyond each edge
MEAN, DEVIATION = 127.5, ((256**2 - 1) / 12) ** 0.5  # of a uniform byte
_ANGLE_BYTES = 16  # for the four numbers of an image's matrix, of 32 bits each


def check_deformable(config: TrainConfig, signature: Signature) -> None:
    """Raise ConfigError if inputs are to be deformed that are not grey images of bytes,
    (n, rows, columns).

    Floats are standardised pixel by pixel, so a stroke that moves to where there was
    none would be of any size.
    """
    shape = signature.input_shape
    takes_bytes = signature.preparation.takes_bytes
    if config.deform and not (len(shape) == 2 and takes_bytes):
        given = ("" if takes_bytes else "float ") + described(shape)
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
    """Return what k = `steps` steps on B = `batch_size` images each need to deform
    them; nothing if they do not.

    These are two arrays. The first has N^T of each image, for the displacements down
    and then for those across: uint8 (k, B, 2, points across, points down). The second
    has A - 1, (k, B, 2, 2) of the dtype. shape: (rows, columns). first_step: the number
    of the first of the steps, from 0 at the start of training. batch_size: at most that
    of the configuration.
    """
    if not config.deform:
        return ()
    points = [
        len(smoothing(size, config.deform_smoothness)) for size in reversed(shape)
    ]
    size = _ANGLE_BYTES + 2 * points[0] * points[1]
    # Each step has as many values of the counter as a full batch needs.
    counts = -(-config.batch_size * size // PER_COUNT)
    random = np.random.Philox(key=config.seed + _STREAM, counter=first_step * counts)
    drawn = (
        random.random_raw(steps * counts * PER_COUNT // 8)
        .astype("<u8", copy=False)
        .view(np.uint8)
    )
    drawn = drawn.reshape(steps, -1)[:, : batch_size * size].reshape(
        steps, batch_size, size
    )
    # in [-1, 1)
    numbers = np.ascontiguousarray(drawn[..., :_ANGLE_BYTES]).view("<u4") / 2.0**31 - 1
    noise = np.ascontiguousarray(drawn[..., _ANGLE_BYTES:]).reshape(
        steps, batch_size, 2, *points
    )
    return noise, (matrices(config, numbers) - np.eye(2)).astype(dtype)


def matrices(config: TrainConfig, numbers: np.ndarray) -> np.ndarray:
    """Return A, float64 (..., 2, 2), for numbers from -1 to 1, (..., 4): the share of
    each of the largest changes.

    They are those of the clockwise angle, the scale down and across, and the shear. An
    image is first sheared, then scaled, then rotated. A maps a place in the result,
    (down, across) from its centre, to the one in the image that is seen there, so it
    undoes these in the reverse order.
    """
    largest = (
        np.radians(config.deform_degrees),
        config.deform_scaling,
        config.deform_scaling,
        config.deform_shear,
    )
    angle, down, across, shear = np.moveaxis(numbers * np.array(largest), -1, 0)
    cos, sin = np.cos(angle), np.sin(angle)
    y = np.stack([cos, -sin], axis=-1) / (1 + down)[..., None]
    x = np.stack([sin, cos], axis=-1) / (1 + across)[..., None] - shear[..., None] * y
    return np.stack([y, x], axis=-2)


def smoothing(size: int, deviation: float) -> np.ndarray:
    """Return R^T, float64 (points, size): the Gaussians around all points of the grid,
    with columns of unit norm.
    """
    step = max(1.0, deviation)  # a grid finer than pixels would be of no use
    points = step * np.arange(-_BEYOND, np.ceil((size - 1) / step) + _BEYOND + 1)
    g = np.exp(-0.5 * ((np.arange(size) - points[:, None]) / deviation) ** 2)
    return g / np.linalg.norm(g, axis=0)


def make_deform(
    config: TrainConfig, shape: tuple[int, ...], backend: Backend
) -> Callable[..., Array]:
    """Return `deform(images, noise, matrices)`, the deformed images, (n, rows, columns)
    of the backend's dtype.

    shape: (rows, columns). images: bytes (n, rows, columns). noise, matrices: those of
    `draw_deformations` on the device, n each, with any further axes before. If nothing
    is to change, the images are the same to the bit. The functions used are arange,
    astype, concat, permute_dims, reshape, take and where: `clip` of array-api-compat
    reads a value on the host, for which a GPU would have to wait.
    """
    xp, dtype, (rows, columns) = backend.xp, backend.dtype, shape
    place = {} if backend.device is None else {"device": backend.device}
    smooth_down, smooth_across = (
        smoothing(size, config.deform_smoothness) for size in shape
    )
    (points_down, _), (points_across, _) = smooth_down.shape, smooth_across.shape
    smooth_down *= config.deform_pixels / DEVIATION
    grid, last = np.indices(shape).reshape(2, -1), np.array([[rows - 1], [columns - 1]])
    from_centre = grid - (np.array(shape)[:, None] - 1) / 2
    smooth_down, smooth_across, from_centre, grid, first, last = (
        backend.asarray(x, dtype)
        for x in (smooth_down, smooth_across, from_centre, grid, 0 * last, last)
    )

    # Interpolation at the last row or column reads pixels after it too, with a weight
    # of 0. So there have to be some after the last image.
    beyond = backend.asarray(np.zeros(columns + 1, np.uint8))

    def deform(images: Array, noise: Array, matrices: Array) -> Array:
        n = images.shape[0]
        field = (
            xp.reshape(xp.astype(noise, dtype), (n * 2 * points_across, points_down))
            - MEAN
        ) @ smooth_down
        field = xp.permute_dims(
            xp.reshape(field, (n * 2, points_across, rows)), (0, 2, 1)
        )
        field = xp.reshape(field, (n * 2 * rows, points_across)) @ smooth_across
        position = xp.reshape(
            xp.reshape(matrices, (n * 2, 2)) @ from_centre, (n, 2, rows * columns)
        )
        position += xp.reshape(field, (n, 2, rows * columns))
        position += grid
        position = xp.where(position > first, position, first)
        position = xp.where(last > position, position, last)
        whole = xp.astype(position, xp.int64)
        position -= xp.astype(whole, dtype)
        y, x = position[:, 0, :], position[:, 1, :]

        pixels = xp.concat([xp.reshape(images, (-1,)), beyond])
        image = xp.reshape(xp.arange(n, dtype=xp.int64, **place), (n, 1))
        corner = xp.reshape(
            (image * rows + whole[:, 0, :]) * columns + whole[:, 1, :], (-1,)
        )

        def at(down: int, across: int) -> Array:
            values = xp.take(pixels, corner + (down * columns + across), axis=0)
            return xp.reshape(xp.astype(values, dtype), (n, rows * columns))

        upper, lower = at(0, 0), at(1, 0)
        upper += x * (at(0, 1) - upper)
        lower += x * (at(1, 1) - lower)
        upper += y * (lower - upper)
        return xp.reshape(upper, (n, rows, columns))

    return deform
