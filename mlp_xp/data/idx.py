"""Read IDX files, the format of MNIST: arrays of unsigned bytes, gzipped or plain."""

import io
import math
import os
import struct

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import GZIP_MAGIC, open_file
from mlp_xp.errors import MlpXpError

UNSIGNED_BYTE = 0x08
TYPES = {
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
# The format allows 255 dimensions, NumPy only 64.
MAX_RANK = 64
PIECE = 1 << 20


class IdxError(MlpXpError):
    """A file that cannot be read as IDX."""


def read_idx(path: str | os.PathLike[str], *, ndim: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or plain (detected by content, not by name).

    The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the type byte 0x08, the rank as one byte, the size
    of each dimension as a big-endian uint32, then the values in row-major order, and nothing after them. A gzip file
    may have several members and trailing zero bytes, as `gzip.open` allows; its checksums must be right.

    Memory use is proportional to the actual data or to the size in the header, whichever is smaller.

    Args:
        path: the file.
        ndim: the required rank: 1 for labels, 3 for images (n, rows, columns); None accepts any.

    Returns:
        A writable, C-contiguous uint8 array in [0, 255] of the header's shape; empty if a dimension is zero.

    Raises:
        IdxError: the file cannot be read, or is not exactly one IDX array of `ndim` dimensions; one line, path first.
    """
    with open_file(path, IdxError) as (stream, length):
        return _read_array(stream, ndim, length)


def _content(rank: int) -> str:
    content = {1: "labels", 3: "images"}.get(rank, f"values of rank {rank}")
    return f"{content} (magic number {UNSIGNED_BYTE << 8 | rank})"


def _read_array(stream: io.BufferedIOBase, ndim: int | None, length: int | None) -> npt.NDArray[np.uint8]:
    """Read a whole stream; `length` is its number of bytes if known (None for a gzip stream)."""
    shape = _read_shape(stream, ndim)
    count = math.prod(shape)
    promised = f"the header promises {' x '.join(map(str, shape))} = {count} bytes of data"
    body = bytearray()
    if length is not None:
        found = length - 4 - 4 * len(shape)
    if length is None or found == count:
        while len(body) < count and (piece := stream.read(min(PIECE, count - len(body)))):
            body += piece
        # Reading one more byte also brings a gzip stream to its end, where it checks its CRC and length.
        found = len(body) + len(stream.read(1))
    if found < count:
        raise IdxError(f"truncated: {promised}, {found} were found; fetch the file again")
    if found > count:
        at_least = "at least " if length is None else ""
        raise IdxError(f"trailing bytes: {promised}, {at_least}{found} were found; fetch the file again")
    try:
        return np.frombuffer(body, dtype=np.uint8).reshape(shape)
    except ValueError as error:
        # With a size of zero there are no bytes to read, but NumPy also limits the product of the other sizes.
        raise IdxError(f"{promised}, a shape that NumPy cannot hold ({error}); check how the file was made") from error


def _read_shape(stream: io.BufferedIOBase, ndim: int | None) -> tuple[int, ...]:
    magic = stream.read(4)
    if not magic:
        raise IdxError("empty: no IDX header was found; fetch the file again")
    if magic.startswith(GZIP_MAGIC):
        raise IdxError("gzipped twice; decompress it once with gunzip")
    if any(magic[:2]):
        raise IdxError(f"wrong magic number {magic!r}: an IDX file starts with two zero bytes; check the file")
    if len(magic) < 4:
        raise IdxError(f"truncated in the header: {len(magic)} of 4 bytes of magic number; fetch the file again")
    code, rank = magic[2:]
    if code != UNSIGNED_BYTE:
        kind = TYPES.get(code, "no known IDX type")
        raise IdxError(f"wrong magic number {magic!r}: type 0x{code:02x} is {kind}; convert to unsigned bytes (0x08)")
    if not 1 <= rank <= MAX_RANK:
        raise IdxError(f"wrong magic number {magic!r}: rank {rank} is not in 1 to {MAX_RANK}; check the file")
    if ndim is not None and rank != ndim:
        raise IdxError(f"has {_content(rank)}, not {_content(ndim)} as expected; check that the files are not swapped")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise IdxError(f"truncated in the header: {len(sizes)} of {4 * rank} bytes of sizes; fetch the file again")
    return struct.unpack(f">{rank}I", sizes)
