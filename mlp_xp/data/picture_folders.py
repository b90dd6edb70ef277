"""Folders of pictures with a subfolder for each class, as many image data sets are published."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlp_xp.data.pictures import Pictures, decode, picture_suffixes, read_each
from mlp_xp.data.reading import some, visible_names
from mlp_xp.errors import DatasetError, DatasetWarning, nearest

if TYPE_CHECKING:
    from PIL import Image

Bytes = npt.NDArray[np.uint8]
Labelled = tuple[Bytes, npt.NDArray[np.int64]]

# What file managers leave behind, besides hidden files.
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}


def read_picture_folder(
    folder: str | os.PathLike[str], *, size: tuple[int, int] | None = None, least: int = 2
) -> tuple[Labelled, Labelled | None, tuple[str, ...]]:
    """Read a folder with a subfolder of pictures for each class, or with `train` and `test` that each are like that.

    The classes are the names of the subfolders (of `train`), by number if all are whole numbers, else by name; pictures
    are in the order of their names. Any format that Pillow reads will do, but EPS. The EXIF orientation is applied, of
    an animation the first frame is taken, 16 bits become 8, and transparency is shown on white. If every pixel of every
    picture is grey, the images are grey, else in colour.

    size: rows and columns, to which each picture is resized, whatever its shape. By default all pictures must have
    one size. least: the number of classes that there must be. Links are followed; hidden files, Thumbs.db and
    desktop.ini are ignored. One DatasetWarning names other files that are not pictures, and folders that are not used.

    Returns images and labels of the training set, those of the test set or None, and the names of the classes. The
    images are uint8 (n, rows, columns) if all pictures of both parts are grey, else (n, rows, columns, 3); a label is
    the number of a class, int64 (n,). Raises DatasetError, which names the picture or folder, and the fault.
    """
    folder, suffixes = Path(folder), picture_suffixes()
    train, test = folder / "train", folder / "test"
    places, unused = [folder], list[Path]()
    if train.is_dir() and (test.is_dir() or any(path.is_dir() for path in _list(train))):
        places, unused = [train, test], [path for path in _list(folder) if path not in (train, test)]
        if not test.is_dir():
            raise DatasetError(f"{str(folder)!r}: has a folder 'train', but no 'test'; add it, or give {str(train)!r}")
    class_names: tuple[str, ...] = ()
    pictures: list[Path] = []
    labels: list[list[int]] = []
    for place in places:
        classes = {path.name: path for path in _list(place) if path.is_dir()}
        unused += [path for path in _list(place) if not path.is_dir()]
        class_names = class_names or _class_names(folder, classes, least)
        labels.append([])
        for name in sorted(classes, key=lambda name: class_names.index(name) if name in class_names else -1):
            if name not in class_names:
                raise DatasetError(
                    f"{str(classes[name])!r}: is not a class of the training pictures{nearest(name, class_names)}; "
                    "rename or remove this folder"
                )
            inside = _list(classes[name])
            found = [path for path in inside if path.suffix.lower() in suffixes and not path.is_dir()]
            unused += [path for path in inside if path.suffix.lower() not in suffixes or path.is_dir()]
            if not found and place is not test:
                raise DatasetError(f"{str(classes[name])!r}: has no pictures; add some, or remove this folder")
            pictures += found
            labels[-1] += [class_names.index(name)] * len(found)
    if not labels[-1]:
        raise DatasetError(f"{str(test)!r}: has no pictures; add a folder of them for each class")
    if unused:
        names = some([str(path.relative_to(folder)) for path in unused], 5)
        text = f"{str(folder)!r}: these are not pictures in the folder of a class: {names}"
        warnings.warn(text, DatasetWarning, stacklevel=2)
    images, count = _read(pictures, size), len(labels[0])
    parts = (images[:count], np.array(labels[0], np.int64)), (images[count:], np.array(labels[-1], np.int64))
    return parts[0], parts[1] if len(places) > 1 else None, class_names


def _list(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden files and litter."""
    return [folder / name for name in visible_names(folder) if name.lower() not in LITTER]


def _class_names(folder: Path, names: Iterable[str], least: int) -> tuple[str, ...]:
    names = [*names]
    if len(names) < least:
        raise DatasetError(
            f"{str(folder)!r}: has {len(names) or 'no'} folders of pictures, but needs one for each of two or more "
            "classes, and no other data set was found in it; add them, or give another file or folder"
        )
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def read_pictures_like(paths: Iterable[str | os.PathLike[str]], shape: tuple[int, ...], *, resize: bool) -> Pictures:
    """Read picture files, and those in folders, as images uint8 of a shape, (rows, columns) or (rows, columns, 3).

    resize: whether pictures of another size are resized; else they are faults, and so are pictures in colour where the
    shape is of grey ones. See `pictures.read_each`.
    """

    def read(path: Path) -> Bytes:
        image = read_image(path, (shape[0], shape[1]) if resize else None)
        if image.shape[:2] != shape[:2]:
            raise DatasetError(f"{str(path)!r}: has {_size(image)} pixels, not {shape[1]} x {shape[0]}; resize it")
        if image.ndim > len(shape):
            raise DatasetError(f"{str(path)!r}: is in colour, and the training pictures are grey; make it grey")
        return np.broadcast_to(image[..., None], shape) if image.ndim < len(shape) else image

    return read_each(paths, shape, read)


def _read(paths: list[Path], size: tuple[int, int] | None) -> Bytes:
    """Return all pictures as one array, uint8 (n, rows, columns) or (n, rows, columns, 3)."""
    images: list[Bytes] = []
    for path in paths:
        images.append(read_image(path, size))
        if images[-1].shape[:2] != images[0].shape[:2]:
            raise DatasetError(
                f"{str(path)!r}: has {_size(images[-1])} pixels, {str(paths[0])!r} has {_size(images[0])}; resize the "
                "pictures to one size, as --picture-size does"
            )
    if any(image.ndim == 3 for image in images):
        images = [np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3)) for image in images]
    return np.stack(images)


def _size(image: Bytes) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def read_image(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Bytes:
    """Read a picture as `read_picture_folder` does: uint8 (rows, columns) if every pixel is grey, else with 3 channels.

    Raises DatasetError.
    """
    from PIL import Image

    image = _as_bytes(decode(path), repr(os.fspath(path)))
    return np.asarray(image if size is None else image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _as_bytes(image: "Image.Image", name: str) -> "Image.Image":
    """Convert an image to grey levels or to colours of 8 bits, without transparency."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 1 << 16:
            raise DatasetError(f"{name}: has values of 32 bits, whose white is not known; save it with 8 or 16 bits")
        return Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
    elif image.mode in ("1", "L"):
        return image.convert("L")
    image = image.convert("RGB")
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image
