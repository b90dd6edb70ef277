"""Convert a user's pictures of digits or letters to the form of MNIST's images.

The authors of MNIST scaled black and white scans to fit into 20 x 20 pixels, keeping the aspect ratio, which left grey
edges, and put the centre of mass of the ink in the middle of 28 x 28 pixels (LeCun, Bottou, Bengio and Haffner, 1998,
section III.A). This module first separates ink from paper and then does the same. A picture may have any size and mode;
it may be dark on light or light on dark, transparent, or a photo under uneven light.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import fault
from mlp_xp.errors import DatasetError, not_installed, printable

if TYPE_CHECKING:
    from PIL import Image

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]
"""One path, or several."""

SIZE = 28
FITTED = 20

# More pixels do not improve a digit, unless it fills less than 1/25 of the picture's side.
LARGEST_SIDE = 500
# On the scale from black (0) to white (1): border pixels this close to the median show paper under even light.
EVEN = 0.03
# Ink must differ from the paper by more than this, on the same scale, and by more than NOISE times the paper's noise.
FAINTEST = 0.05
NOISE = 4.0
# A piece with less than this share of all ink is dirt; the dot on an i has several times more.
DIRT = 0.02
# Pillow runs Ghostscript, a program, to draw EPS.
EXECUTED = ("EPS",)
# Fainter ink does not count for a digit's extent: JPEG leaves such traces around it.
EDGE = 0.02


class Pictures(NamedTuple):
    """Pictures as a network sees them, and the files that they come from."""

    paths: tuple[Path, ...]
    images: Bytes
    """uint8 (n, ...), a row for each of the paths."""
    faults: tuple[DatasetError, ...]
    """The errors of the files and folders that were skipped."""


def read_pictures(paths: Paths, *, size: int = SIZE) -> Pictures:
    """Prepare picture files as `prepare_picture` does, and all those in folders; see `read_each`."""
    return read_each(paths, (size, size), lambda path: prepare_picture(path, size=size))


def read_each(paths: Paths, shape: tuple[int, ...], read: Callable[[Path], Bytes]) -> Pictures:
    """Read picture files, and all picture files in folders, by a function that returns uint8 of a shape.

    Those of a folder are in the order of their names, then those of each folder in it. Links are followed, hidden files
    and folders are ignored. What cannot be read, and a folder without pictures, is skipped and reported in `faults`.
    Raises DatasetError without Pillow.
    """
    suffixes = picture_suffixes()
    files: list[Path] = []
    images: list[Bytes] = []
    faults: list[DatasetError] = []
    for path in map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths):
        try:
            found = [*_pictures_in(path, suffixes)] if path.is_dir() else [path]
        except OSError as error:
            faults.append(fault(error, path))
            continue
        if not found:
            remedy = "give a folder of PNG or JPEG files"
            faults.append(DatasetError("contains no picture files", remedy=remedy, file=path))
        for file in found:
            try:
                images.append(read(file))
                files.append(file)
            except DatasetError as error:
                faults.append(error)
    return Pictures(tuple(files), np.array(images, np.uint8).reshape(-1, *shape), tuple(faults))


def prepare_picture(path: str | os.PathLike[str], *, size: int = SIZE) -> Bytes:
    """Convert a picture file to the form of MNIST's images; see `prepare_image`.

    Returns uint8 (size, size): paper 0, ink up to 255. Raises DatasetError, which names the file and the fault, if the
    file is missing, not readable by Pillow, damaged, or without ink.
    """
    prepared = prepare_image(decode(path), size=size)
    if prepared is None:
        remedy = "give a picture of one digit or letter"
        raise DatasetError("has no ink that stands out from the paper", remedy=remedy, file=path)
    return prepared


def prepare_image(image: "Image.Image", *, size: int = SIZE) -> Bytes | None:
    """Convert an upright image to the form of MNIST's images: uint8 (size, size), or None if it has no ink.

    Ink is what differs from paper, and the border of the picture is mostly paper. The ink is scaled with antialiasing
    so that its longer side has 20 pixels, or the same share of another `size`. It is then moved by whole pixels so that
    its centre of mass is within half a pixel of pixel (size / 2, size / 2), as in every image of MNIST, or as close as
    the picture's edges allow.
    """
    ink = find_ink(grey(image))
    return None if ink is None else _centre(_fit(_crop(_without_dirt(ink)), round(size * FITTED / SIZE)), size)


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise DatasetError(f"pictures need Pillow, which {not_installed('pillow')}") from error
    return Image


def _pictures_in(folder: Path, suffixes: set[str], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the pictures in a folder, then those of each folder in it, but not of a link to one that it is in."""
    above = (*above, folder.resolve())
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    yield from (path for path in inside if path.suffix.lower() in suffixes and path.is_file())
    for path in inside:
        if path.is_dir() and path.resolve() not in above:
            yield from _pictures_in(path, suffixes, above)


def picture_suffixes() -> set[str]:
    """Return the ends of the names of files that may be pictures, such as .png. Raises DatasetError without Pillow."""
    known = _formats()
    return {suffix for suffix, form in _pillow().registered_extensions().items() if form in known}


def _formats() -> list[str]:
    """Return Pillow's formats, the common ones first."""
    pillow = _pillow()
    pillow.preinit()
    pillow.init()
    return [form for form in pillow.ID if form not in EXECUTED]


def decode(path: str | os.PathLike[str]) -> "Image.Image":
    """Decode a picture file and turn it upright. Raises DatasetError.

    Only Pillow's calls are in the try block: whatever they raise for a damaged file, and its decoders raise many types,
    is the file's fault.
    """
    pillow = _pillow()
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities in a file that can still be read
            with pillow.open(path, formats=_formats()) as opened:
                return ImageOps.exif_transpose(opened)
    except pillow.UnidentifiedImageError as error:
        fault_of_file = "is not a picture that Pillow can read"
        raise DatasetError(fault_of_file, remedy="save it as PNG or JPEG", file=path) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
            raise fault(error, path) from error
        reason = printable(" ".join(str(error).split())) or type(error).__name__
        fault_of_file = f"cannot be decoded: {reason}"
        raise DatasetError(fault_of_file, remedy="save it again as PNG or JPEG", file=path) from error


def grey(image: "Image.Image") -> Floats:
    """Return grey levels from 0, black, to 1, white: float64 (rows, columns), each at most LARGEST_SIDE."""
    from PIL import Image

    if image.mode[0] in "IF":
        # Scanners use 10, 12 or 16 bits, so the value of white is known only from the picture itself.
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        values -= values.min()
        image = Image.fromarray((values * (255 / max(values.max(), 1e-300))).astype(np.uint8))
    grey = image.convert("RGB").convert("L")
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        grey = Image.composite(grey, Image.new("L", grey.size, _behind(np.asarray(grey), np.asarray(alpha))), alpha)
    grey.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    return np.asarray(grey, np.float64) / 255


def _behind(grey: Bytes, alpha: Bytes) -> int:
    """Return a background grey for a transparent picture, so that the drawing stands out."""
    # Only the most opaque pixels: edges often contain some of the background colour.
    drawn = grey[alpha == alpha.max()]
    most = int(np.median(drawn))
    # If both dark and light pixels are opaque, the paper is opaque too, and only its surroundings are transparent.
    if int(drawn.max()) - int(drawn.min()) >= 64:
        return most
    return 255 if most < 128 else 0


def find_ink(grey: Floats) -> Floats | None:
    """Return the amount of ink, 0 to 1, at each of the grey values (rows, columns), 0 to 1; None if there is no ink.

    Paper is what most of the border shows. Ink is either darker or lighter than paper: whichever differs more. Otsu's
    threshold (1979) separates the two and gives the strength of the ink and the noise of the paper.
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
    """Return the brightness of the paper, (rows, columns) or (1, 1), from the border of grey values (rows, columns).

    It is one value if most of the border has it. Otherwise it is a polynomial of degree 2 in both coordinates, to model
    lamps, shadows and lenses. It is fitted with least absolute deviations (iteratively reweighted least squares), which
    ink at the border changes little.
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
    at_row, at_column = (indices[:: 1 + shade.size // 1000] for indices in np.nonzero(border))
    shade = grey[at_row, at_column]
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    terms = np.stack([y[at_row] ** i * x[at_column] ** j for i, j in powers], axis=1)
    weights = np.ones(len(shade))
    for _ in range(15):
        solution = np.linalg.lstsq(terms * weights[:, None], shade * weights, rcond=None)[0]
        weights = np.maximum(np.abs(shade - terms @ solution), 1e-3) ** -0.5
    coefficients = np.zeros((3, 3))
    coefficients[tuple(zip(*powers, strict=True))] = solution
    return np.polynomial.polynomial.polygrid2d(y, x, coefficients).astype(np.float64)


def otsu(values: Floats) -> float:
    """Return the threshold between the two classes with the largest variance between their means (Otsu, 1979).

    The values must not all be equal. At least one value is above the threshold, and one is not.
    """
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * centres)
    between = (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2 * below * above
    return float(edges[1 + np.argmax(between)])


def _without_dirt(ink: Floats) -> Floats:
    """Return ink (rows, columns) without pieces that have very little of it, which would change the crop."""
    rows, columns = ink.shape
    # Coarse cells make it fast to find pieces, and join pieces that are a few pixels apart.
    cell = -(-max(rows, columns) // 100)
    padded = np.pad(ink, ((0, -rows % cell), (0, -columns % cell)))
    cells = padded.reshape(padded.shape[0] // cell, cell, padded.shape[1] // cell, cell)
    occupied = cells.max(axis=(1, 3)) > 0.25
    pieces = label(occupied)
    amounts = np.bincount(pieces.ravel(), weights=cells.sum(axis=(1, 3)).ravel())
    amounts[0] = 0
    kept = amounts[pieces] >= min(DIRT * amounts.sum(), amounts.max())
    # The neighbouring cells contain the blurred edges.
    kept = _spread(kept & occupied)
    return ink * np.repeat(np.repeat(kept, cell, axis=0), cell, axis=1)[:rows, :columns]


def label(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Number the connected pieces (8 neighbours) of a mask (rows, columns), from above 0; 0 outside the mask."""
    numbers = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.where(mask, _spread(numbers), 0)
        if np.array_equal(spread, numbers):
            return numbers
        numbers = spread


def _spread(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the maximum over each pixel and its 8 neighbours."""
    padded = np.pad(values, 1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _crop(ink: Floats) -> Floats:
    rows, columns = np.nonzero(ink >= EDGE)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _fit(ink: Floats, side: int) -> Floats:
    """Scale ink to `side` pixels along its longer side, and stretch it to the full range, 0 to 255."""
    from PIL import Image

    rows, columns = ink.shape
    scale = side / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    fitted = np.asarray(Image.fromarray(ink.astype(np.float32)).resize(size, Image.Resampling.LANCZOS), np.float64)
    return np.clip(fitted * (255 / fitted.max()), 0, 255)


def _centre(ink: Floats, size: int) -> Bytes:
    """Put ink (rows, columns), 0 to 255, into size x size pixels, with its centre of mass in the middle."""
    canvas = np.zeros((size, size), np.uint8)
    places = []
    for axis in (0, 1):
        amounts = ink.sum(axis=1 - axis)
        centre = float(amounts @ np.arange(len(amounts)) / amounts.sum())
        places.append(min(max(round(size / 2 - centre), 0), size - len(amounts)))
    row, column = places
    canvas[row : row + ink.shape[0], column : column + ink.shape[1]] = np.rint(ink)
    return canvas
