"""Read IDX files, the format of MNIST: arrays of unsigned bytes, gzipped or plain."""

import math
import os
import struct

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import open_file
from mlp_xp.errors import DatasetError

PIECE = 1 << 20
CONTENT = {1: "labels", 3: "images"}


def read_idx(path: str | os.PathLike[str], ndim: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or plain.

    The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the type byte 0x08, the number of dimensions as one
    byte, the size of each dimension as a big-endian uint32, then the values in row-major order.

    ndim: 1 for labels, 3 for images (n, rows, columns). Returns a writable uint8 array of the header's shape. Raises
    DatasetError if the file cannot be read, has another number of dimensions, or more or fewer values than its header
    says, or none.
    """
    with open_file(path) as stream:
        magic, wanted = stream.read(4), bytes([0, 0, 8, ndim])
        if magic != wanted:
            raise DatasetError(
                f"starts with {magic!r}, where an IDX file of {CONTENT[ndim]} starts with {wanted!r}; check that the "
                "files are not swapped, or fetch the file again"
            )
        sizes = stream.read(4 * ndim)
        body = bytearray()
        while piece := stream.read(PIECE):  # to the end, where a gzip stream checks its CRC
            body += piece
        shape = struct.unpack(f">{ndim}I", sizes) if len(sizes) == 4 * ndim else ()
        if not shape or len(body) != math.prod(shape):
            raise DatasetError(
                f"its header promises {' x '.join(map(str, shape))} values, and {len(body)} were found; fetch the file "
                "again"
            )
        if not body:
            raise DatasetError(f"has no {CONTENT[ndim]} (its shape is {shape}); give a file with some")
        return np.frombuffer(body, np.uint8).reshape(shape)
