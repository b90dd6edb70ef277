"""Folders of pictures with a subfolder for each class, as many image data sets are published."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mlp_xp.arrays import DatasetWarning
from mlp_xp.data.pictures import PictureError, Pictures, decode, find_pictures, picture_suffixes
from mlp_xp.data.reading import fault
from mlp_xp.errors import nearest

if TYPE_CHECKING:
    from PIL import Image

Bytes = npt.NDArray[np.uint8]

PARTS = ("train", "test")
# What file managers leave behind, besides hidden files.
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
# Limits: values of a picture, as a network sees it, and of all pictures, which are bytes in memory.
LARGEST_IMAGE, LARGEST_SET = 1 << 22, 1 << 34
# How many names a message lists.
LISTED = 5


class LabelledPictures(NamedTuple):
    """Pictures of one part, and the class of each."""

    images: Bytes
    """uint8 (n, rows, columns) if all pictures of all parts are grey, else (n, rows, columns, 3)."""
    labels: npt.NDArray[np.int64]
    """int64 (n,): the number of the class."""
    paths: tuple[Path, ...]


class PictureParts(NamedTuple):
    """The parts of a folder of pictures."""

    train: LabelledPictures
    test: LabelledPictures | None
    class_names: tuple[str, ...]


def read_picture_folder(
    folder: str | os.PathLike[str], *, size: tuple[int, int] | None = None, least: int = 2
) -> PictureParts:
    """Read a folder with a subfolder of pictures for each class, or with `train` and `test` that each are like that.

    The classes are the names of the subfolders (of `train`), by number if all are whole numbers, else by name; pictures
    are in the order of their names. Any format that Pillow reads will do, but EPS. The EXIF orientation is applied, of
    an animation the first frame is taken, 16 bits become 8, and transparency is shown on white. If every pixel of every
    picture is grey, the images are grey, else in colour.

    size: rows and columns, to which each picture is resized, whatever its shape. By default all pictures must have
    one size. A picture has at most LARGEST_IMAGE values and all together LARGEST_SET; memory use is at most twice what
    is returned. least: the number of classes that there must be. Links are followed. Hidden files, Thumbs.db and
    desktop.ini are ignored. One DatasetWarning names other files that are no pictures, and folders that are not used.

    Raises PictureError, which names the picture or folder, and the fault.
    """
    folder = Path(folder)
    suffixes = picture_suffixes()
    parts, unused = _find_parts(folder)
    class_names = _class_names(folder, [*parts["train"]], least)
    samples: dict[str, list[tuple[Path, int]]] = {}
    for part, classes in parts.items():
        samples[part] = []
        for name, place in classes.items():
            if name not in class_names:
                raise PictureError(
                    f"{str(place)!r}: is no class of the training pictures{nearest(name, class_names)}; rename or "
                    "remove this folder"
                )
            pictures, others = _pictures(place, suffixes)
            unused += others
            if not pictures and part == "train":
                raise PictureError(f"{str(place)!r}: has no pictures; add some, or remove this folder")
            samples[part] += [(path, class_names.index(name)) for path in pictures]
        samples[part].sort(key=lambda sample: sample[1])
        if not samples[part]:
            raise PictureError(f"{str(folder / part)!r}: has no pictures; add a folder of them for each class")
    if unused:
        _warn(folder, unused)
    images = _read([path for found in samples.values() for path, _ in found], size)
    read = []
    for found in samples.values():
        paths, labels = zip(*found, strict=True)
        read.append(LabelledPictures(images[: len(found)], np.array(labels, np.int64), paths))
        images = images[len(found) :]
    return PictureParts(read[0], read[1] if len(read) > 1 else None, class_names)


def _find_parts(folder: Path) -> tuple[dict[str, dict[str, Path]], list[Path]]:
    """Return the folders of the classes of each part, by name, and the paths that are not used."""
    top, others = _split(folder)
    if "train" not in top or not ("test" in top or _split(top["train"])[0]):
        return {"train": top}, others
    if "test" not in top:
        raise PictureError(
            f"{str(folder)!r}: has a folder 'train', but no 'test'; add it, or give {str(folder / 'train')!r} alone"
        )
    others += [path for name, path in top.items() if name not in PARTS]
    inside = {part: _split(top[part]) for part in PARTS}
    return {part: inside[part][0] for part in PARTS}, [*others, *inside["train"][1], *inside["test"][1]]


def _split(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Return the folders in a folder, by name, and the other files."""
    paths = _list(folder)
    folders = {path.name: path for path in paths if path.is_dir()}
    return folders, [path for path in paths if path.name not in folders]


def _list(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden files and litter."""
    try:
        return sorted(
            path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in LITTER
        )
    except (OSError, ValueError) as error:  # ValueError: the name has characters that a path cannot have
        raise PictureError(f"{str(folder)!r}: {fault(error)}; give a folder of pictures") from error


def _class_names(folder: Path, names: list[str], least: int) -> tuple[str, ...]:
    if len(names) < least:
        some = f"only {names[0]!r}" if names else "none"
        raise PictureError(
            f"{str(folder)!r}: has {some} of the folders of pictures, one for each of two or more classes; add them"
        )
    for name in names:
        if not _is_text(name):
            raise PictureError(f"{str(folder / name)!r}: the name of a class is not UTF-8; rename this folder")
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pictures(folder: Path, suffixes: set[str]) -> tuple[list[Path], list[Path]]:
    """Return the pictures in the folder of a class, and the other files."""
    folders, files = _split(folder)
    for path in folders.values():
        raise PictureError(f"{str(path)!r}: is a folder in the folder of a class; move its pictures up, or remove it")
    found = [path for path in files if path.suffix.lower() in suffixes]
    return found, [path for path in files if path.suffix.lower() not in suffixes]


def _warn(folder: Path, unused: list[Path]) -> None:
    names = [repr(str(path.relative_to(folder))) for path in unused]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    text = f"{str(folder)!r}: not used, because they are in no class or no pictures: {', '.join(names[:LISTED])}{more}"
    warnings.warn(text, DatasetWarning, stacklevel=3)


def read_pictures_like(paths: Iterable[str | os.PathLike[str]], shape: tuple[int, ...], *, resize: bool) -> Pictures:
    """Read picture files, and those in folders, as images uint8 of a shape, (rows, columns) or (rows, columns, 3).

    resize: whether pictures of another size are resized; else they are faults, and so are pictures in colour where the
    shape is of grey ones. A picture that cannot be read is skipped and reported in `faults`.
    """
    found, faults = find_pictures(paths)
    files, images = [], []
    for path in found:
        try:
            image = read_image(path, (shape[0], shape[1]) if resize else None)
            if image.shape[:2] != shape[:2]:
                wanted = f"{shape[1]} x {shape[0]}"
                raise PictureError(f"{str(path)!r}: has {_size(image)} pixels, not {wanted}; resize it")
            if image.ndim > len(shape):
                raise PictureError(f"{str(path)!r}: is in colour, and the training pictures are grey; make it grey")
        except PictureError as error:
            faults.append(error)
            continue
        files.append(path)
        images.append(np.broadcast_to(image[..., None], shape) if image.ndim < len(shape) else image)
    return Pictures(tuple(files), np.array(images, np.uint8).reshape(-1, *shape), tuple(faults))


def _read(paths: list[Path], size: tuple[int, int] | None) -> Bytes:
    """Return all pictures as one array, uint8 (n, rows, columns) or (n, rows, columns, 3)."""
    images: list[Bytes] = []
    total = 0
    try:
        for path in paths:
            image = read_image(path, size)
            if images and image.shape[:2] != images[0].shape[:2]:
                raise PictureError(
                    f"{str(path)!r}: has {_size(image)} pixels, {str(paths[0])!r} has {_size(images[0])}; resize the "
                    "pictures to one size, as --picture-size does"
                )
            total += image.size
            if total > LARGEST_SET:
                raise PictureError(
                    f"{str(path)!r}: up to this one, the pictures have more than {LARGEST_SET} values; resize them"
                )
            images.append(image)
        colour = any(image.ndim == 3 for image in images)
        result = np.empty((len(images), *images[0].shape[:2], *([3] if colour else [])), np.uint8)
        for target, image in zip(result, images, strict=True):
            target[...] = image[..., None] if colour and image.ndim == 2 else image
    except MemoryError as error:
        raise PictureError(
            f"{str(path)!r}: up to this one, the pictures are too large for the memory of this machine; make them "
            "smaller"
        ) from error
    return result


def _size(image: Bytes) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def read_image(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> Bytes:
    """Read a picture as `read_picture_folder` does: uint8 (rows, columns) if every pixel is grey, else with 3 channels.

    Raises PictureError.
    """
    name = repr(os.fspath(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities in a file that can still be read
        image = _as_bytes(decode(path, name), name)
    if size is not None:
        from PIL import Image

        image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    values = np.asarray(image)
    if values.size > LARGEST_IMAGE:
        raise PictureError(f"{name}: has {_size(values)} pixels, which are too many for a network; make it smaller")
    return values


def _as_bytes(image: "Image.Image", name: str) -> "Image.Image":
    """Convert an image to grey levels or to colours of 8 bits, without transparency."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 1 << 16:
            raise PictureError(f"{name}: has values of 32 bits, whose white is not known; save it with 8 or 16 bits")
        return Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
    elif image.mode in ("1", "L"):
        return image.convert("L")
    image = image.convert("RGB")
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image
