"""Folders of pictures with a subfolder for each class, as many image data sets are published."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlp_xp.data.origin import Origin
from mlp_xp.data.pictures import Paths, Pictures, decode, picture_suffixes, read_each
from mlp_xp.data.reading import visible_names
from mlp_xp.data.samples import Format, Part, Samples
from mlp_xp.errors import Argument, DatasetError, DatasetWarning, nearest, some

if TYPE_CHECKING:
    from PIL import Image

Bytes = npt.NDArray[np.uint8]

# What file managers leave behind, besides hidden files.
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
GIVE = (
    "a table (CSV, Parquet) and its label, a .npz archive, or a folder of pictures for each class, of .npy files, or "
    "of IDX or CSV files like MNIST's"
)


def read_picture_folder(folder: Path, how: Origin, features: Sequence[str] | None = None) -> Samples:
    """Read a folder with a subfolder of pictures for each class, or with `train` and `test` that each are like that.

    The classes are the names of the subfolders (of `train`), by number if all are whole numbers, else by name; pictures
    are in the order of their names. Any format that Pillow reads will do, except EPS. The EXIF orientation is applied;
    an animation gives its first frame; 16 bits become 8, and transparency is shown on white. If every pixel of every
    picture is grey, the images are grey, else in colour.

    how: with `picture_size`, each picture is resized to such a square, whatever its shape; by default all must have one
    size. Links are followed; hidden files, Thumbs.db and desktop.ini are ignored. One DatasetWarning names other files
    that are not pictures, and folders that are not used.

    The images are uint8 (n, rows, columns) if all pictures of both parts are grey, else (n, rows, columns, 3); a label
    is the number of a class, int64 (n,). Raises DatasetError, which names the picture or folder.
    """
    suffixes, train, test = picture_suffixes(), folder / "train", folder / "test"
    places, unused = [folder], list[Path]()
    if train.is_dir() and (test.is_dir() or any(path.is_dir() for path in _list(train))):
        places, unused = [train, test], [path for path in _list(folder) if path not in (train, test)]
        if not test.is_dir():
            raise DatasetError(
                "has a folder 'train', but no 'test'", remedy=f"add it, or give {str(train)!r}", file=folder
            )
    class_names: tuple[str, ...] = ()
    pictures, labels = list[Path](), list[list[int]]()
    for place in places:
        classes = {path.name: path for path in _list(place) if path.is_dir()}
        unused += [path for path in _list(place) if not path.is_dir()]
        class_names = class_names or _in_order(classes)
        if not class_names:
            raise DatasetError("has no data that are known here", remedy=f"give {GIVE}", file=folder)
        labels.append([])
        for name in _in_order(classes):
            inside = _list(classes[name])
            found = [path for path in inside if path.suffix.lower() in suffixes and not path.is_dir()]
            unused += [path for path in inside if path.suffix.lower() not in suffixes or path.is_dir()]
            if name not in class_names:
                fault = f"is not a class of the training pictures{nearest(name, class_names)}"
                raise DatasetError(fault, remedy="rename or remove this folder", file=classes[name])
            if not found and place is not test:
                raise DatasetError("has no pictures", remedy="add some, or remove this folder", file=classes[name])
            pictures += found
            labels[-1] += [class_names.index(name)] * len(found)
    if not labels[-1]:
        raise DatasetError("has no pictures", remedy="add a folder of them for each class", file=places[-1])
    if unused:
        names = some([str(path.relative_to(folder)) for path in unused], 5)
        text = f"these are not pictures in the folder of a class: {names}"
        warnings.warn(DatasetWarning(text, file=folder), stacklevel=2)
    images, count = _read(pictures, how.picture_size), len(labels[0])
    numbers = [np.array(each, np.int64) for each in labels]
    held = Part(images[count:], numbers[1], test) if len(places) > 1 else None
    kind = "resized pictures" if how.picture_size else "pictures"
    return Samples(Part(images[:count], numbers[0], places[0]), held, kind, class_names=class_names)


def _list(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden files and litter."""
    return [folder / name for name in visible_names(folder) if name.lower() not in LITTER]


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names by number if all are whole numbers, else by name."""
    numbered = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbered else None))


def read_pictures_like(paths: Paths, shape: tuple[int, ...], *, resize: bool) -> Pictures:
    """Read picture files, and those in folders, as images uint8 of a shape, (rows, columns) or (rows, columns, 3).

    resize: whether pictures of another size are resized; otherwise they are faults, and so are pictures in colour where
    the shape is that of grey ones. See `pictures.read_each`.
    """

    def read(path: Path) -> Bytes:
        image = read_image(path, (shape[0], shape[1]) if resize else None)
        if image.shape[:2] != shape[:2]:
            fault = f"has {_size(image)} pixels, not {shape[1]} x {shape[0]}"
            raise DatasetError(fault, remedy="resize it", file=path)
        if image.ndim > len(shape):
            fault = "is in colour, and the training pictures are grey"
            raise DatasetError(fault, remedy="make it grey", file=path)
        return np.broadcast_to(image[..., None], shape) if image.ndim < len(shape) else image

    return read_each(paths, shape, read)


def _read(paths: list[Path], side: int | None) -> Bytes:
    """Return all pictures as one array, uint8 (n, rows, columns) or (n, rows, columns, 3)."""
    images: list[Bytes] = []
    for path in paths:
        images.append(read_image(path, None if side is None else (side, side)))
        if images[-1].shape[:2] != images[0].shape[:2]:
            raise DatasetError(
                f"has {_size(images[-1])} pixels, {str(paths[0])!r} has {_size(images[0])}",
                remedy=("resize the pictures to one size, as ", Argument("picture_size"), " does"),
                file=path,
            )
    if any(image.ndim == 3 for image in images):
        images = [np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3)) for image in images]
    return np.stack(images)


def _size(image: Bytes) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def read_image(path: Path, size: tuple[int, int] | None = None) -> Bytes:
    """Read a picture as `read_picture_folder` does: uint8 (rows, columns) if every pixel is grey, else with 3 channels.

    size: rows and columns, to resize it to. Raises DatasetError.
    """
    from PIL import Image

    image = _as_bytes(decode(path), path)
    return np.asarray(image if size is None else image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _as_bytes(image: "Image.Image", path: Path) -> "Image.Image":
    """Convert an image to grey levels or to colours of 8 bits, without transparency."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 1 << 16:
            fault = "has values of 32 bits, whose white is not known"
            raise DatasetError(fault, remedy="save it with 8 or 16 bits", file=path)
        return Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
    elif image.mode in ("1", "L"):
        return image.convert("L")
    image = image.convert("RGB")
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


FORMAT = Format("pictures", lambda path, names, how: path.is_dir(), read_picture_folder, options=("picture_size",))
