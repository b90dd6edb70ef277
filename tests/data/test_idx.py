"""IDX files: what is valid comes back exactly, and anything else is one line with the path."""

import gzip
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mlp_xp.data import mnist_files
from mlp_xp.data.mnist_files import read_idx
from mlp_xp.errors import DatasetError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([7, 2, 1, 0, 4], dtype=np.uint8)


def header(*shape: int, code: int = 8) -> bytes:
    return bytes([0, 0, code, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def encode(array: npt.NDArray[np.uint8]) -> bytes:
    return header(*array.shape) + bytes(array.ravel().tolist())


def write(folder: Path, data: bytes) -> Path:
    (folder / "file").write_bytes(data)
    return folder / "file"


def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_files, "PIECE", 7)
    for array in (IMAGES, LABELS):
        for content in (encode(array), gzip.compress(encode(array), mtime=0)):
            read = read_idx(write(tmp_path, content), array.ndim)
            np.testing.assert_array_equal(read, array, strict=True)
            assert read.flags.c_contiguous
            assert read.flags.writeable


def test_known_bytes(tmp_path: Path) -> None:
    """The start of the format's own description, spelled out, so that reader and writer cannot be wrong together."""
    data = b"\x00\x00\x08\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x01\x02\xfd\xfe\xff"
    assert read_idx(write(tmp_path, data), 3).tolist() == [[[0, 1, 2], [253, 254, 255]]]


def test_truncated_everywhere(tmp_path: Path) -> None:
    whole = encode(IMAGES)
    for length in range(len(whole)):
        with pytest.raises(DatasetError, match="fetch the file again"):
            read_idx(write(tmp_path, whole[:length]), 3)


@pytest.mark.parametrize(
    ("data", "ndim", "fault"),
    [
        (b"", 1, "starts with b'', where an IDX file of labels starts with b'\\x00\\x00\\x08\\x01'"),
        (header(2, code=0x0D) + bytes(8), 1, r"starts with b'\x00\x00\r\x01'"),
        (encode(LABELS), 3, "starts with b'\\x00\\x00\\x08\\x01', where an IDX file of images"),
        (encode(IMAGES), 1, "check that the files are not swapped, or fetch the file again"),
        (header(5) + b"abcd", 1, "its header promises 5 values, and 4 were found; fetch the file again"),
        (header(2**32 - 1, 28, 28), 3, "its header promises 4294967295 x 28 x 28 values, and 0 were found"),
        (header(0, 28, 28), 3, "has no images (its shape is (0, 28, 28)); give a file with some"),
    ],
)
def test_faults(tmp_path: Path, data: bytes, ndim: int, fault: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(DatasetError, match=re.escape(fault)) as caught:
        read_idx(path, ndim)
    assert str(caught.value).startswith(f"{str(path)!r}: ")
    assert str(caught.value).isprintable()
