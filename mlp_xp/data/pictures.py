"""Picture files: each as it is, or as MNIST's images were made; and folders with a subfolder for each class."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlp_xp.data.ink import SIZE, Bytes, prepare_image
from mlp_xp.data.origin import Origin
from mlp_xp.data.reading import fault, visible_names
from mlp_xp.data.samples import Format, Part, Samples
from mlp_xp.errors import Argument, DatasetError, DatasetWarning, escaped, nearest, not_installed, some

if TYPE_CHECKING:
    from PIL import Image

Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]
"""One path, or several."""

# What file managers leave behind, besides hidden files.
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}
GIVE = (
    "a table (CSV, Parquet) and its label, a .npz archive, or a folder of pictures for each class, of .npy files, or "
    "of IDX or CSV files like MNIST's"
)


# Folders of pictures as a data set.


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
            fault, remedy = "has a folder 'train', but no 'test'", f"add it, or give {str(train)!r}"
            raise DatasetError(fault, remedy=remedy, file=folder)
    class_names: tuple[str, ...] = ()
    pictures, labels = list[Path](), list[list[int]]()
    for place in places:
        classes = {path.name: path for path in _list(place) if path.is_dir()}
        unused += [path for path in _list(place) if not path.is_dir()]
        numbered = all(name.isascii() and name.isdigit() for name in classes)
        in_order = sorted(classes, key=(lambda name: (int(name), name)) if numbered else None)
        class_names = class_names or tuple(in_order)
        if not class_names:
            raise DatasetError("has no data that are known here", remedy=f"give {GIVE}", file=folder)
        labels.append([])
        for name in in_order:
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
    images, count = _read_alike(pictures, how.picture_size), len(labels[0])
    numbers = [np.array(each, np.int64) for each in labels]
    held = Part(images[count:], numbers[1], test) if len(places) > 1 else None
    kind = "resized pictures" if how.picture_size else "pictures"
    return Samples(Part(images[:count], numbers[0], places[0]), held, kind, class_names=class_names)


def _list(folder: Path) -> list[Path]:
    """Return what is in a folder, by name, without hidden files and litter."""
    return [folder / name for name in visible_names(folder) if name.lower() not in LITTER]


def _read_alike(paths: list[Path], side: int | None) -> Bytes:
    """Return all pictures as one array, uint8 (n, rows, columns) or (n, rows, columns, 3)."""
    images: list[Bytes] = []
    for path in paths:
        images.append(read_image(path, None if side is None else (side, side)))
        if images[-1].shape[:2] != images[0].shape[:2]:
            fault = f"has {_size(images[-1].shape)} pixels, {str(paths[0])!r} has {_size(images[0].shape)}"
            remedy = ("resize the pictures to one size, as ", Argument("picture_size"), " does")
            raise DatasetError(fault, remedy=remedy, file=path)
    if any(image.ndim == 3 for image in images):
        images = [np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], 3)) for image in images]
    return np.stack(images)


FORMAT = Format("pictures", lambda path, names, how: path.is_dir(), read_picture_folder, options=("picture_size",))


# Pictures to predict from.


class Pictures(NamedTuple):
    """Pictures as a network sees them, and the files that they come from."""

    paths: tuple[Path, ...]
    images: Bytes
    """uint8 (n, ...), a row for each of the paths."""
    faults: tuple[DatasetError, ...]
    """The errors of the files and folders that were skipped."""


def read_pictures(paths: Paths, *, size: int = SIZE) -> Pictures:
    """Read picture files, and those in folders, as images of MNIST, uint8 (n, size, size); see `ink.prepare_image`.

    A picture without ink is a fault. See `read_each`.
    """

    def read(path: Path) -> Bytes:
        prepared = prepare_image(decode(path), size=size)
        if prepared is None:
            remedy = "give a picture of one digit or letter"
            raise DatasetError("has no ink that stands out from the paper", remedy=remedy, file=path)
        return prepared

    return read_each(paths, (size, size), read)


def read_pictures_like(paths: Paths, shape: tuple[int, ...], *, resize: bool) -> Pictures:
    """Read picture files, and those in folders, as images uint8 of a shape, (rows, columns) or (rows, columns, 3).

    resize: whether pictures of another size are resized; otherwise they are faults, and so are pictures in colour where
    the shape is that of grey ones. See `read_each`.
    """

    def read(path: Path) -> Bytes:
        image = read_image(path, (shape[0], shape[1]) if resize else None)
        if image.shape[:2] != shape[:2]:
            fault = f"has {_size(image.shape)} pixels, not {_size(shape)}"
            raise DatasetError(fault, remedy="resize it", file=path)
        if image.ndim > len(shape):
            fault = "is in colour, and the training pictures are grey"
            raise DatasetError(fault, remedy="make it grey", file=path)
        return np.broadcast_to(image[..., None], shape) if image.ndim < len(shape) else image

    return read_each(paths, shape, read)


def read_each(paths: Paths, shape: tuple[int, ...], read: Callable[[Path], Bytes]) -> Pictures:
    """Read picture files, and all picture files in folders, by a function that returns uint8 of a shape.

    Those of a folder are in the order of their names, then those of each folder in it. Links are followed, hidden files
    and folders are ignored. What cannot be read, and a folder without pictures, is skipped and reported in `faults`.
    Raises DatasetError without Pillow.
    """
    suffixes = picture_suffixes()
    files, images, faults = list[Path](), list[Bytes](), list[DatasetError]()
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


def _pictures_in(folder: Path, suffixes: set[str], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the pictures in a folder, then those of each folder in it, but not of a link to one that it is in."""
    above = (*above, folder.resolve())
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    yield from (path for path in inside if path.suffix.lower() in suffixes and path.is_file())
    for path in inside:
        if path.is_dir() and path.resolve() not in above:
            yield from _pictures_in(path, suffixes, above)


# Files.


def picture_suffixes() -> set[str]:
    """Return the ends of the names of files that may be pictures, such as .png. Raises DatasetError without Pillow."""
    pillow, known = _pillow()
    return {suffix for suffix, form in pillow.registered_extensions().items() if form in known}


def _pillow() -> tuple[ModuleType, list[str]]:
    """Return Pillow and its formats, the common ones first, but not EPS, for which it runs a program, Ghostscript."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DatasetError(f"pictures need Pillow, which {not_installed('pillow')}") from error
    Image.preinit()
    Image.init()
    return Image, [form for form in Image.ID if form != "EPS"]


def decode(path: str | os.PathLike[str]) -> "Image.Image":
    """Decode a picture file and turn it upright. Raises DatasetError.

    Only Pillow's calls are in the try block: whatever they raise for a damaged file, and its decoders raise many types,
    is the file's fault.
    """
    pillow, formats = _pillow()
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities in a file that can still be read
            with pillow.open(path, formats=formats) as opened:
                return ImageOps.exif_transpose(opened)
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
            raise fault(error, path) from error
        reason = escaped(" ".join(str(error).split())) or type(error).__name__
        if isinstance(error, pillow.UnidentifiedImageError):
            reason = "it is not a picture that Pillow can read"
        raise DatasetError(f"cannot be decoded: {reason}", remedy="save it again as PNG or JPEG", file=path) from error


def read_image(path: Path, size: tuple[int, int] | None = None) -> Bytes:
    """Read a picture as `read_picture_folder` does: uint8 (rows, columns) if every pixel is grey, else with 3 channels.

    size: rows and columns, to resize it to. Raises DatasetError.
    """
    from PIL import Image

    image = decode(path)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() >= 1 << 16:
            fault = "has values of 32 bits, whose white is not known"
            raise DatasetError(fault, remedy="save it with 8 or 16 bits", file=path)
        image = Image.fromarray((values // 256).astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), opaque)
    if image.mode in ("1", "L"):
        image = image.convert("L")
    else:
        image = image.convert("RGB")
        red, green, blue = image.split()
        image = red if red.tobytes() == green.tobytes() == blue.tobytes() else image
    return np.asarray(image if size is None else image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
