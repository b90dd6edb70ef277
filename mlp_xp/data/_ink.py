"""Convert a user's picture of a digit or letter to the form of MNIST's images.

The authors of MNIST scaled black and white scans to fit into 20 x 20 pixels, keeping
the aspect ratio. This left grey edges. They put the centre of mass of the ink in the
middle of 28 x 28 pixels (LeCun, Bottou, Bengio and Haffner, 1998, section III.A). This
module first separates ink from paper and then does the same. A picture may have any
size, be dark on light or light on dark, or be a photo under uneven light.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SIZE = 28
FITTED = 20

# More pixels do not improve a digit, unless it fills less than 1/25 of the picture's
# side.
LARGEST_SIDE = 500
# On the scale from black (0) to white (1): border pixels this close to the median show
# paper under even light.
EVEN = 0.03
# Ink must differ from the paper by more than this, on the same scale, and by more than
# NOISE times the paper's noise.
FAINTEST = 0.05
NOISE = 4.0
# A piece with less than this share of all ink is dirt; the dot on an i has several
# times more.
DIRT = 0.02
# Fainter ink does not count for a digit's extent, because JPEG leaves faint traces.
EDGE = 0.02


def prepare_image(image: Bytes, *, size: int = SIZE) -> Bytes | None:
    """Convert a picture to the form of MNIST's images, uint8 (size, size).

    Returns None if the picture has no ink. Ink differs from paper, and the border of
    the picture is mostly paper. Paper becomes 0, ink up to 255. The ink is scaled, with
    antialiasing, until its longer side has 20 pixels, or the same share of another
    `size`. It is then moved by whole pixels until its centre of mass is within half a
    pixel of pixel (size / 2, size / 2), as in every image of MNIST, or as close as the
    picture's edges allow.

    image: uint8 (rows, columns[, 3]), as `pictures.read_image` returns it.
    """
    from PIL import Image
    from scipy import ndimage

    grey = Image.fromarray(image).convert("L")
    grey.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    ink = find_ink(np.asarray(grey, np.float64) / 255)
    if ink is None:
        return None
    ink = _without_dirt(ink)
    # one label, so one object
    (extent,) = ndimage.find_objects((ink >= EDGE).astype(np.uint8))
    ink = ink[extent]
    rows, columns = ink.shape
    scale = round(size * FITTED / SIZE) / max(rows, columns)
    rows, columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    resized = Image.fromarray(ink.astype(np.float32)).resize(
        (columns, rows), Image.Resampling.LANCZOS
    )
    fitted = np.asarray(resized, np.float64)
    fitted = np.clip(fitted * (255 / fitted.max()), 0, 255)
    centre_row, centre_column = ndimage.center_of_mass(fitted)
    top = _margin(centre_row, rows, size)
    left = _margin(centre_column, columns, size)
    canvas = np.zeros((size, size), np.uint8)
    canvas[top : top + rows, left : left + columns] = np.rint(fitted)
    return canvas


def _margin(centre: float, length: int, size: int) -> int:
    """Return the pixels before the ink that move its centre of mass to the middle."""
    # Rounded to six digits first: a centre half-way between two pixels must not depend
    # on the last bits of a sum.
    margin = round(round(size / 2 - centre, 6))
    return min(max(margin, 0), size - length)


def find_ink(grey: Floats) -> Floats | None:
    """Return the amount of ink at each pixel, 0 to 1; None if there is no ink.

    grey: the brightness of the pixels, (rows, columns), 0 to 1. Most of the border
    shows paper. Ink is either darker or lighter than paper, whichever differs more.
    Otsu's threshold (1979) separates the two and gives the strength of the ink and the
    noise of the paper.
    """
    difference = grey - paper(grey)
    difference *= np.sign(np.sum(difference * difference**2))
    if difference.max() <= FAINTEST:
        return None
    is_ink = difference > otsu(difference)
    noise = NOISE * 1.4826 * float(np.median(np.abs(difference[~is_ink])))
    full = float(np.quantile(difference[is_ink], 0.9))
    if full <= max(FAINTEST, noise):
        return None
    return np.clip((difference - noise) / (full - noise), 0, 1)


def paper(grey: Floats) -> Floats:
    """Return the brightness of the paper, (rows, columns) or (1, 1), from the border.

    The brightness is one value if most of the border has it. Otherwise it is a
    polynomial of degree 2 in both coordinates, to model lamps, shadows and lenses. It
    is fitted with least absolute deviations (iteratively reweighted least squares), so
    ink at the border changes it little.
    """
    rows, columns = grey.shape
    width = max(1, round(0.05 * min(rows, columns)))
    border = np.ones((rows, columns), np.bool_)
    border[width:-width, width:-width] = False
    shade = grey[border]
    most = float(np.median(shade))
    if np.mean(np.abs(shade - most) <= EVEN) > 0.5 or min(rows, columns) < 8:
        return np.full((1, 1), most)
    y, x = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    some = np.argwhere(border)[:: 1 + shade.size // 1000]
    at_row, at_column = some.T
    shade = grey[at_row, at_column]
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    terms = np.stack([y[at_row] ** i * x[at_column] ** j for i, j in powers], axis=1)
    weights = np.ones(len(shade))
    for _ in range(15):
        solution = np.linalg.lstsq(
            terms * weights[:, None], shade * weights, rcond=None
        )[0]
        weights = np.maximum(np.abs(shade - terms @ solution), 1e-3) ** -0.5
    coefficients = np.zeros((3, 3))
    coefficients[tuple(zip(*powers, strict=True))] = solution
    return np.polynomial.polynomial.polygrid2d(y, x, coefficients).astype(np.float64)


def otsu(values: Floats) -> float:
    """Return the threshold with the largest variance between two classes (Otsu, 1979).

    The values must not all be equal. At least one value is above the threshold, and at
    least one is not.
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    between = (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2 * below * above
    return float(edges[1 + np.argmax(between)])


def _without_dirt(ink: Floats) -> Floats:
    """Return ink without very small pieces, which would change the crop."""
    from scipy import ndimage

    rows, columns = ink.shape
    # Coarse cells join pieces that are a few pixels apart, also diagonally.
    cell = -(-max(rows, columns) // 100)
    near = np.ones((3, 3))
    padded = np.pad(ink, ((0, -rows % cell), (0, -columns % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    occupied = cells.max(axis=(1, 3)) > 0.25
    pieces, _ = ndimage.label(occupied, near)
    amounts = np.bincount(pieces.ravel(), weights=cells.sum(axis=(1, 3)).ravel())
    amounts[0] = 0
    kept = amounts[pieces] >= min(DIRT * amounts.sum(), amounts.max())
    # The neighbouring cells contain the blurred edges.
    kept = ndimage.binary_dilation(kept & occupied, near)
    return ink * np.kron(kept, np.ones((cell, cell)))[:rows, :columns]
