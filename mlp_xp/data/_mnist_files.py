"""Data in the form of MNIST: four IDX files, or two CSV files with an image per line
and the label first.
"""

import io
import itertools
import math
import struct
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mlp_xp.data.options import DataOptions
from mlp_xp.data.reading import fault, open_file, visible_names
from mlp_xp.data.registry import DATASETS, IDX_FILES, Source
from mlp_xp.data.samples import Format, Part, RawSamples, has_suffix
from mlp_xp.data.table_files import WORDS, find_table
from mlp_xp.errors import DatasetError

# NumPy counts rows, where tables.py counts lines.
NOT_A_TABLE = "rows are counted without names and empty lines; name the labels' column if this table has a header"

Bytes = npt.NDArray[np.uint8]
File = Path | zipfile.Path


def read_files(files: Sequence[File], source: Source) -> RawSamples:
    """Read four IDX files, or two CSV files, the training set first. Raises
    DatasetError, which names the file.
    """
    half = len(files) // 2
    train, test = (_read_part(part, source) for part in (files[:half], files[half:]))
    return RawSamples(train, test, class_names=source.class_names)


def _read_part(files: Sequence[File], source: Source) -> Part:
    images, labels = (
        read_csv(files[0])
        if len(files) == 1
        else (read_idx(files[0], 3), read_idx(files[1], 1))
    )
    labels -= np.uint8(source.first_label)
    return Part(
        np.ascontiguousarray(images.swapaxes(1, 2)) if source.transposed else images,
        labels,
        files[-1],
    )


def read_idx(path: File, ndim: int) -> Bytes:
    """Read an IDX file of unsigned bytes, gzipped or plain.

    The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the type byte 0x08,
    the number of dimensions as one byte, the size of each dimension as a big-endian
    uint32, then the values in row-major order.

    ndim: 1 for labels, 3 for images (n, rows, columns). Returns a writable uint8 array
    of the header's shape. Raises DatasetError if the file cannot be read, has another
    number of dimensions, or not as many values as its header says.
    """
    with open_file(path) as stream:
        magic, wanted = stream.read(4), bytes([0, 0, 8, ndim])
        if magic != wanted:
            content = "images" if ndim == 3 else "labels"
            fault = f"starts with {magic!r}, where an IDX file of {content} starts with {wanted!r}"
            raise DatasetError(
                fault,
                remedy="check that the files are not swapped, or fetch the file again",
            )
        sizes, body = stream.read(4 * ndim), bytearray()
        # a read of the whole file would copy it twice
        while piece := stream.read(1 << 20):
            body += piece
        shape = struct.unpack(f">{ndim}I", sizes) if len(sizes) == 4 * ndim else ()
        if not shape or len(body) != math.prod(shape):
            fault = f"its header promises {' x '.join(map(str, shape))} values, and {len(body)} were found"
            raise DatasetError(fault, remedy="fetch the file again")
        return np.frombuffer(body, np.uint8).reshape(shape)


def read_csv(path: File) -> tuple[Bytes, Bytes]:
    """Read a CSV file of labelled images, gzipped or plain.

    Each row holds one sample: the label, then the pixels of a square image, row by row,
        all whole numbers from 0 to
    255. The first row may contain names of columns.

    Returns the images, uint8 (n, side, side), and the labels, uint8 (n,). Raises
    DatasetError, which names the file, the row and the column.
    """
    with open_file(path) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a file without rows
        # 1.5 as a whole number, in older versions of NumPy
        warnings.simplefilter("error", DeprecationWarning)
        text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        names = next(filter(str.strip, text), "").replace('"', "").strip().split(",")
        # pandas numbers columns that have no names.
        has_names = names[0][:1].isalpha() or names == [*map(str, range(len(names)))]
        rows = text if has_names else itertools.chain([",".join(names)], text)
        try:
            values = np.loadtxt(
                rows, np.uint8, delimiter=",", quotechar='"', comments=None, ndmin=2
            )
        except ValueError as error:
            raise fault(error, remedy=NOT_A_TABLE) from error
        side = math.isqrt(max(values.shape[1] - 1, 0))
        if not values.size or not side or side * side != values.shape[1] - 1:
            wrong = f"its {len(values)} rows of {values.shape[1]} numbers are not labels and pixels of square images"
            raise DatasetError(wrong, remedy=NOT_A_TABLE)
    return values[:, 1:].copy().reshape(-1, side, side), values[:, 0].copy()


def _are_idx(names: Sequence[str]) -> bool:
    return any(f"{name.removesuffix('.gz')}.gz" in IDX_FILES for name in names)


def _read_folder(folder: Path, how: DataOptions, known: object) -> RawSamples:
    if _are_idx(visible_names(folder)):
        files = [
            file if file.exists() else file.with_suffix("")
            for file in map(folder.joinpath, IDX_FILES)
        ]
    else:
        files = [find_table(folder, part) for part in WORDS]
    return read_files(files, DATASETS["mnist"])


FORMAT = Format(
    "images like MNIST's",
    lambda path, names, how: (
        path.is_dir()
        and (
            _are_idx(names)
            or (how.label is None and has_suffix(names, (".csv", ".csv.gz")))
        )
    ),
    _read_folder,
    is_own=False,
)
