"""Read picture files, as they are or prepared like MNIST's images.

A folder with a subfolder of pictures for each class is a data set.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlp_xp.data._ink import Bytes, prepare_image
from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import fault, in_order, visible_names
from mlp_xp.data.samples import Format, Part, RawSamples
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, quoted, some, warn

GIVE = (
    "a table (such as CSV) and its label, a .npz archive, or a folder of pictures for "
    "each class, of .npy files, or of IDX or CSV files like MNIST's"
)


# Folders of pictures as a data set.


def read_picture_folder(
    folder: Path, how: DataOptions, known: object = None
) -> RawSamples:
    """Read a folder with a subfolder of pictures for each class.

    It may have two folders `train` and `test` instead, both with a subfolder for each
    class. The classes are the names of the subfolders (of `train`), sorted by number if
    all are numbers, else by name. Pictures are in the order of their names, and read by
    `read_image`. An MlpXpWarning names files that Pillow does not read. All pictures
    must have the same size, unless they are resized to squares of how.picture_size.

    The images are uint8 (n, rows, columns) if all pictures of both parts are grey, else
    (n, rows, columns, 3). The labels are the names of the classes, (n,). Raises
    DatasetError with the name of the picture or folder.
    """
    folders = [folder / "train", folder / "test"]
    if not all(each.is_dir() for each in folders):
        folders = [folder]
    by_class = list(map(_pictures_by_class, folders))
    classes = by_class[0]
    if not classes:
        raise DatasetError(
            "has no data that are known here", remedy=f"give {GIVE}", file=folder
        )
    for name, paths in classes.items():
        if not paths:
            raise DatasetError(
                "has no pictures",
                remedy="add some, or remove this folder",
                file=folders[0] / name,
            )
    # All together, because a picture in colour makes all images three-dimensional.
    every = [path for each in by_class for paths in each.values() for path in paths]
    images = _read_alike(every, how.picture_size)
    labels = _class_of_each(classes)
    train_size = len(labels)
    train, test = Part(images[:train_size], labels, folders[0]), None
    if len(folders) > 1:
        test_labels = _class_of_each(by_class[1])
        test = Part(images[train_size:], test_labels, folders[1])
    form = "resized pictures" if how.picture_size else "pictures"
    return RawSamples(train, test, form, class_names=tuple(classes))


def _class_of_each(pictures: dict[str, list[Path]]) -> np.ndarray:
    return np.array([name for name, paths in pictures.items() for _ in paths])


def _pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures in each subfolder, by its name; warn of other files."""
    names = in_order(name for name in visible_names(folder) if (folder / name).is_dir())
    pictures: dict[str, list[Path]] = {name: [] for name in names}
    others = []
    for name in names:
        for file_name in visible_names(folder / name):
            path = folder / name / file_name
            if is_picture(file_name):
                pictures[name].append(path)
            elif path.is_file():
                others.append(f"{name}/{file_name}")
    if others:
        text = f"files that Pillow does not read are left out: {some(others, 3)}"
        warn(MlpXpWarning(text, file=folder))
    return pictures


def _read_alike(paths: Sequence[Path], side: int | None) -> Bytes:
    """Return pictures as one array, uint8 (n, rows, columns[, 3])."""
    size = None if side is None else (side, side)
    images: list[Bytes] = []
    for path in paths:
        image = read_image(path, size)
        images.append(image)
        here, there = image.shape[:2], images[0].shape[:2]
        if here != there:
            option = Argument("picture_size")
            raise DatasetError(
                f"has {_in_words(here)}, {quoted(paths[0])} has {_in_words(there)}",
                remedy=("resize the pictures to one size, as ", option, " does"),
                file=path,
            )
    if any(image.ndim == 3 for image in images):
        images = [_in_colour(image) for image in images]
    return np.stack(images)


FORMAT = Format(
    "pictures",
    lambda path, names, how: path.is_dir(),
    read_picture_folder,
    options=("picture_size",),
)


# Pictures to predict from.


class Pictures(NamedTuple):
    """Pictures as a network sees them, and their files."""

    paths: tuple[Path, ...]
    images: Bytes
    """uint8 (n, ...), a row for each of the paths."""
    faults: tuple[DatasetError, ...]
    """The errors of the files and folders that were skipped."""


def read_pictures(
    paths: Sequence[Path], shape: tuple[int, ...], form: str = "arrays"
) -> Pictures:
    """Read picture files, and all pictures in folders, as images for a network.

    The pictures of a folder are in the order of their names, then the pictures of each
    folder inside it. Hidden files and folders are ignored. Files that cannot be read,
    and folders without pictures, are skipped and reported in `faults`. Needs Pillow,
    and SciPy for images like MNIST's.

    shape: the shape of the images, (rows, columns) or (rows, columns, 3). form: how the
    network's own images were read, as in `Signature.form`. For "pictures", images are
    read as they are. A picture of another size is a fault, and so is a picture in
    colour if the shape is grey. For "resized pictures", images are resized. For any
    other form, they are prepared like MNIST's images, see `_ink.prepare_image`. A
    picture without ink is then a fault.
    """
    files, images, faults = list[Path](), list[Bytes](), list[DatasetError]()
    for path in paths:
        found = [path]
        if next(os.walk(path), None):
            found = list(_pictures_below(path))
        if not found:
            wrong = "contains no picture files"
            remedy = "give a folder of PNG or JPEG files"
            faults.append(DatasetError(wrong, remedy=remedy, file=path))
        for file in found:
            try:
                images.append(_read_in_form(file, shape, form))
                files.append(file)
            except DatasetError as error:
                faults.append(error)
    stacked = np.array(images, np.uint8).reshape(-1, *shape)
    return Pictures(tuple(files), stacked, tuple(faults))


def _read_in_form(path: Path, shape: tuple[int, ...], form: str) -> Bytes:
    if "pictures" not in form:
        return _read_like_mnist(path, shape[0])
    size = (shape[0], shape[1]) if form == "resized pictures" else None
    image = read_image(path, size)
    if image.ndim < len(shape):
        image = _in_colour(image)
    if image.shape != shape:
        raise DatasetError(
            f"has {_in_words(image.shape)}, and the network was trained on "
            f"{_in_words(shape)}",
            remedy="convert it",
            file=path,
        )
    return image


def _read_like_mnist(path: Path, side: int) -> Bytes:
    # white ink on a transparent background shows only on black
    for paper in ("white", "black"):
        image = prepare_image(read_image(path, paper=paper), size=side)
        if image is not None:
            return image
    raise DatasetError(
        "has no ink that stands out from the paper",
        remedy="give one digit or letter",
        file=path,
    )


def _pictures_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_picture(name) and not name.startswith("."):
                yield Path(place, name)


# Files.


def is_picture(name: str) -> bool:
    """Return whether a file is a picture by the end of its name, such as .png."""
    from PIL import Image

    formats = _formats()
    return Image.registered_extensions().get(Path(name).suffix.lower()) in formats


def _formats() -> list[str]:
    """Return Pillow's formats, the common ones first.

    EPS is left out, because Pillow runs a program for it, Ghostscript.
    """
    from PIL import Image

    Image.preinit()
    Image.init()
    return [form for form in Image.ID if form != "EPS"]


def read_image(
    path: Path, size: tuple[int, int] | None = None, *, paper: str = "white"
) -> Bytes:
    """Read a picture as uint8 (rows, columns), or (rows, columns, 3) if it has colours.

    Any format that Pillow reads will do, except EPS. The EXIF orientation is applied.
    An animation gives its first frame. 16 bits become 8. size: rows and columns to
    resize the picture to. paper: the colour behind transparent pixels. Raises
    DatasetError.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # warnings of oddities in a file that can still be read
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as opened:
                image = ImageOps.exif_transpose(opened)
    except Exception as error:  # the decoders raise many types for a damaged file
        raise fault(error, path) from error
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        # Pillow reads some pictures of 16 bits as 32 bits. Dark pictures of 16 bits
        # cannot be told from pictures of 8 bits stored in 32 bits.
        is_of_16_bits = (
            image.mode.startswith("I;16") or 1 << 8 <= values.max() < 1 << 16
        )
        if image.mode == "F" or values.min() < 0 or not is_of_16_bits:
            raise DatasetError(
                "has values of 32 bits, whose white is not known",
                remedy="save it with 8 or 16 bits",
                file=path,
            )
        image = Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, paper)
        image = Image.alpha_composite(behind, image.convert("RGBA"))
    image = image.convert("RGB")
    red, green, blue = image.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        image = red
    if size is not None:
        rows, columns = size
        # The width first, and then the height. Each rounds to whole bytes, and in a
        # single call their order depends on Pillow's version.
        for pixels in ((columns, image.height), (columns, rows)):
            image = image.resize(pixels, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _in_colour(image: Bytes) -> Bytes:
    return np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3))


def _in_words(shape: Sequence[int]) -> str:
    rows, columns, *channels = shape
    size = f"{columns} x {rows} pixels"
    return f"{size} in colour" if channels else size
