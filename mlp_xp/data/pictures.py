"""Picture files: each as it is, or as MNIST's images were made; and folders with a
subfolder for each class.
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
from mlp_xp.errors import Argument, DatasetError, MlpXpWarning, quoted, some

GIVE = (
    "a table (such as CSV) and its label, a .npz archive, or a folder of pictures for each class, of .npy files, or of "
    "IDX or CSV files like MNIST's"
)


# Folders of pictures as a data set.


def read_picture_folder(
    folder: Path, how: DataOptions, known: object = None
) -> RawSamples:
    """Read a folder with a subfolder of pictures for each class, or with `train` and
    `test` that each are like that.

    The classes are the names of the subfolders (of `train`), by number if all are
    numbers, else by name; pictures are in the order of their names, and each is read by
    `read_image`. An MlpXpWarning names files that Pillow does not read. All pictures
    must have one size, unless how.picture_size gives the side of a square to resize
    them to.

    The images are uint8 (n, rows, columns) if all pictures of both parts are grey, else
    (n, rows, columns, 3); the labels are the names of the classes, (n,). Raises
    DatasetError, which names the picture or folder.
    """
    places = [folder / "train", folder / "test"]
    places = places if all(place.is_dir() for place in places) else [folder]
    parts = [_pictures_by_class(place) for place in places]
    if not parts[0]:
        raise DatasetError(
            "has no data that are known here", remedy=f"give {GIVE}", file=folder
        )
    for name, pictures in parts[0].items():
        if not pictures:
            raise DatasetError(
                "has no pictures",
                remedy="add some, or remove this folder",
                file=places[0] / name,
            )
    images = _read_alike(
        [path for part in parts for pictures in part.values() for path in pictures],
        how.picture_size,
    )
    labels = [
        np.array([name for name, pictures in part.items() for _ in pictures])
        for part in parts
    ]
    train, *test = (
        Part(*each)
        for each in zip(
            np.split(images, [len(labels[0])]), labels, places, strict=False
        )
    )
    form = "resized pictures" if how.picture_size else "pictures"
    return RawSamples(
        train, test[0] if test else None, form, class_names=tuple(parts[0])
    )


def _pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures in each subfolder, by its name. Gives an MlpXpWarning if
    there are other files in one.
    """
    names = in_order(name for name in visible_names(folder) if (folder / name).is_dir())
    files = {
        name: [folder / name / each for each in visible_names(folder / name)]
        for name in names
    }
    every = [path for paths in files.values() for path in paths if path.is_file()]
    if others := [
        path.relative_to(folder).as_posix()
        for path in every
        if not is_picture(path.name)
    ]:
        text = f"files that Pillow does not read are left out: {some(others, 3)}"
        warnings.warn(MlpXpWarning(text, file=folder), stacklevel=2)
    return {
        name: [path for path in paths if is_picture(path.name)]
        for name, paths in files.items()
    }


def _read_alike(paths: list[Path], side: int | None) -> Bytes:
    """Return all pictures as one array, uint8 (n, rows, columns) or (n, rows, columns,
    3).
    """
    images: list[Bytes] = []
    for path in paths:
        images.append(read_image(path, None if side is None else (side, side)))
        if images[-1].shape[:2] != images[0].shape[:2]:
            fault = f"has {_size(images[-1].shape[:2])}, {quoted(paths[0])} has {_size(images[0].shape[:2])}"
            remedy = (
                "resize the pictures to one size, as ",
                Argument("picture_size"),
                " does",
            )
            raise DatasetError(fault, remedy=remedy, file=path)
    if any(image.ndim == 3 for image in images):
        images = [
            np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3))
            for image in images
        ]
    return np.stack(images)


FORMAT = Format(
    "pictures",
    lambda path, names, how: path.is_dir(),
    read_picture_folder,
    options=("picture_size",),
)


# Pictures to predict from.


class Pictures(NamedTuple):
    """Pictures as a network sees them, and the files that they come from."""

    paths: tuple[Path, ...]
    images: Bytes
    """uint8 (n, ...), a row for each of the paths."""
    faults: tuple[DatasetError, ...]
    """The errors of the files and folders that were skipped."""


def read_pictures(
    paths: Sequence[Path], shape: tuple[int, ...], form: str = "arrays"
) -> Pictures:
    """Read picture files, and those in folders, as images uint8 of a shape, (rows,
    columns) or (rows, columns, 3).

    form: how the network's own were read, as in `Signature.form`. "pictures": as they
    are; another size is a fault, and so is a picture in colour where the shape is that
    of grey ones. "resized pictures": resized. Else as images of MNIST, see
    `ink.prepare_image`; a picture without ink is then a fault.

    The pictures of a folder are in the order of their names, then those of each folder
    in it; hidden files and folders are ignored. What cannot be read, and a folder
    without pictures, is skipped and reported in `faults`. Needs Pillow, and SciPy for
    images like MNIST's.
    """

    def read(path: Path) -> Bytes:
        if "pictures" not in form:
            # white ink with nothing behind it shows on black alone
            for paper in ("white", "black"):
                image = prepare_image(read_image(path, paper=paper), size=shape[0])
                if image is not None:
                    return image
            fault = "has no ink that stands out from the paper"
            raise DatasetError(fault, remedy="give one digit or letter", file=path)
        image = read_image(
            path, (shape[0], shape[1]) if form == "resized pictures" else None
        )
        if image.ndim < len(shape):
            image = np.broadcast_to(image[..., None], (*image.shape, 3))
        if image.shape != shape:
            fault = f"has {_size(image.shape)}, and the network was trained on {_size(shape)}"
            raise DatasetError(fault, remedy="convert it", file=path)
        return image

    files, images, faults = list[Path](), list[Bytes](), list[DatasetError]()
    for path in paths:
        found = [*_pictures_below(path)] if next(os.walk(path), None) else [path]
        if not found:
            remedy = "give a folder of PNG or JPEG files"
            faults.append(
                DatasetError("contains no picture files", remedy=remedy, file=path)
            )
        for file in found:
            try:
                images.append(read(file))
                files.append(file)
            except DatasetError as error:
                faults.append(error)
    return Pictures(
        tuple(files), np.array(images, np.uint8).reshape(-1, *shape), tuple(faults)
    )


def _pictures_below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(place, name)
            for name in sorted(files)
            if is_picture(name) and not name.startswith(".")
        )


# Files.


def is_picture(name: str) -> bool:
    """Return whether a file is a picture by the end of its name, such as .png."""
    from PIL import Image

    formats = _formats()
    return Image.registered_extensions().get(Path(name).suffix.lower()) in formats


def _formats() -> list[str]:
    """Return Pillow's formats, the common ones first, but not EPS, for which it runs a
    program, Ghostscript.
    """
    from PIL import Image

    Image.preinit()
    Image.init()
    return [form for form in Image.ID if form != "EPS"]


def read_image(
    path: Path, size: tuple[int, int] | None = None, *, paper: str = "white"
) -> Bytes:
    """Read a picture: uint8 (rows, columns) if every pixel is grey, else with 3
    channels.

    Any format that Pillow reads will do, except EPS. The EXIF orientation is applied;
    an animation gives its first frame; 16 bits become 8. size: rows and columns, to
    resize it to. paper: the colour behind transparent pixels. Raises DatasetError.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # about oddities in a file that can still be read
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_formats()) as opened:
                image = ImageOps.exif_transpose(opened)
    except Exception as error:  # the decoders raise many types for a damaged file
        raise fault(error, path) from error
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 1 << 16:
            wrong = "has values of 32 bits, whose white is not known"
            raise DatasetError(wrong, remedy="save it with 8 or 16 bits", file=path)
        image = Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(
            Image.new("RGBA", image.size, paper), image.convert("RGBA")
        )
    image = image.convert("RGB")
    red, green, blue = image.split()
    image = red if red.tobytes() == green.tobytes() == blue.tobytes() else image
    # Rows first: which comes first depends on Pillow's version otherwise, and each
    # rounds to whole bytes.
    for shape in () if size is None else ((size[1], image.height), (size[1], size[0])):
        image = image.resize(shape, Image.Resampling.LANCZOS)
    return np.asarray(image)


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]} pixels{' in colour' * (len(shape) > 2)}"
