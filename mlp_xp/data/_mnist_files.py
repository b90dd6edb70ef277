"""Data in the form of MNIST: four IDX files, or two CSV files.

Each line of the CSV files has a label first, and then the pixels of an image.
"""

import io
import itertools
import math
import struct
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import fault, open_file, visible_names
from mlp_xp.data.registry import DATASETS, IDX_FILES, Source
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.data.table_files import WORDS, find_table
from mlp_xp.errors import DatasetError

# NumPy counts rows, and table_files.py counts lines.
NOT_A_TABLE = (
    "rows are counted without names and empty lines; name the labels' column if this "
    "table has a header"
)

Bytes = npt.NDArray[np.uint8]
File = Path | zipfile.Path


def read_files(files: Sequence[File], source: Source) -> RawSamples:
    """Read four IDX files, or two CSV files, the training set first.

    Raises DatasetError with the name of the file.
    """
    half = len(files) // 2
    train = _read_part(files[:half], source)
    test = _read_part(files[half:], source)
    return RawSamples(train, test, class_names=source.class_names)


def _read_part(files: Sequence[File], source: Source) -> Part:
    file = files[-1]
    if len(files) == 1:
        images, labels = read_csv(file)
    else:
        images, labels = read_idx(files[0], 3), read_idx(file, 1)
    labels -= np.uint8(source.first_label)
    if source.transposed:
        images = np.ascontiguousarray(images.swapaxes(1, 2))
    return Part(images, labels, file)


def read_idx(path: File, ndim: int) -> Bytes:
    """Read an IDX file of unsigned bytes, gzipped or plain.

    The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the type byte 0x08,
    the number of dimensions as one byte, the size of each dimension as a big-endian
    uint32, then the values in row-major order.

    ndim: 1 for labels, 3 for images (n, rows, columns). Returns a writable uint8 array
    of the header's shape. Raises DatasetError if the file cannot be read, or if its
    number of dimensions or of values is wrong.
    """
    with open_file(path) as stream:
        magic, wanted = stream.read(4), bytes([0, 0, 8, ndim])
        if magic != wanted:
            content = "images" if ndim == 3 else "labels"
            raise DatasetError(
                f"starts with {magic!r}, where an IDX file of {content} starts with "
                f"{wanted!r}",
                remedy="check that the files are not swapped, or fetch the file again",
            )
        sizes = stream.read(4 * ndim)
        body = bytearray()
        # a read of the whole file would copy it twice
        while piece := stream.read(1 << 20):
            body += piece
        shape: tuple[int, ...] = ()
        if len(sizes) == 4 * ndim:
            shape = struct.unpack(f">{ndim}I", sizes)
        if not shape or len(body) != math.prod(shape):
            promised = " x ".join(map(str, shape))
            raise DatasetError(
                f"its header promises {promised} values, and {len(body)} were found",
                remedy="fetch the file again",
            )
        return np.frombuffer(body, np.uint8).reshape(shape)


def read_csv(path: File) -> tuple[Bytes, Bytes]:
    """Read a CSV file of labelled images, gzipped or plain.

    Each row holds one sample, all whole numbers from 0 to 255: the label, then the
    pixels of a square image, row by row. The first row may contain names of columns.

    Returns the images, uint8 (n, side, side), and the labels, uint8 (n,). Raises
    DatasetError with the name of the file, the row and the column.
    """
    with open_file(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a file without rows
        # 1.5 as a whole number, in older versions of NumPy
        warnings.simplefilter("error", DeprecationWarning)
        text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        first_line = next(filter(str.strip, text), "")
        first_row = first_line.replace('"', "").strip().split(",")
        # pandas numbers columns without names
        numbers = [*map(str, range(len(first_row)))]
        has_names = first_row[0][:1].isalpha() or first_row == numbers
        rows: Iterable[str] = text
        if not has_names:
            rows = itertools.chain([",".join(first_row)], text)
        try:
            values = np.loadtxt(
                rows, np.uint8, delimiter=",", quotechar='"', comments=None, ndmin=2
            )
        except ValueError as error:
            raise fault(error, remedy=NOT_A_TABLE) from error
        count, width = values.shape
        pixels = width - 1
        side = math.isqrt(max(pixels, 0))
        if not values.size or not side or side * side != pixels:
            raise DatasetError(
                f"its {count} rows of {width} numbers are not labels and pixels of "
                "square images",
                remedy=NOT_A_TABLE,
            )
    return values[:, 1:].copy().reshape(-1, side, side), values[:, 0].copy()


def _are_idx(names: Sequence[str]) -> bool:
    return any(f"{name.removesuffix('.gz')}.gz" in IDX_FILES for name in names)


def _is_like_mnist(path: Path, names: Sequence[str], how: DataOptions) -> bool:
    if not path.is_dir():
        return False
    are_csv = how.label is None and has_suffix(names, (".csv", ".csv.gz"))
    return are_csv or _are_idx(names)


def _read_folder(folder: Path, how: DataOptions, known: object) -> RawSamples:
    if not _are_idx(visible_names(folder)):
        files = [find_table(folder, part) for part in WORDS]
        return read_files(files, DATASETS["mnist"])
    files = []
    for name in IDX_FILES:
        gzipped = folder / name
        files.append(gzipped if gzipped.exists() else gzipped.with_suffix(""))
    return read_files(files, DATASETS["mnist"])


FORMAT = Format("images like MNIST's", _is_like_mnist, _read_folder, is_own=False)
