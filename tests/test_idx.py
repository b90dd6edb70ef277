"""IDX files: what is valid comes back exactly, and anything else is one line of `IdxError`, in bounded memory."""

import errno
import functools
import gzip
import io
import os
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlp_xp.data.idx import IdxError, read_idx
from mlp_xp.data.reading import open_file
from mlp_xp.errors import MlpXpError

MIB = 1 << 20
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([7, 2, 1, 0, 4], dtype=np.uint8)

ci = functools.partial(settings, deadline=None, derandomize=True, database=None)
fast = ci(max_examples=300)


def header(*shape: int, code: int = 8) -> bytes:
    return bytes([0, 0, code, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def encode(array: npt.NDArray[np.uint8]) -> bytes:
    return header(*array.shape) + bytes(array.ravel().tolist())


def decode(data: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """What a plain file means, by the letter of the format: its shape and values, or None where it is not valid."""
    if data[:3] != b"\0\0\x08" or len(data) < 4 or data[3] == 0 or len(data) < 4 + 4 * data[3]:
        return None
    rank = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    values = data[4 + 4 * rank :]
    return (shape, values) if prod(shape) == len(values) else None


def write(directory: Path, data: bytes, name: str = "file") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def message(path: Path | str, *, ndim: int | None = None) -> str:
    """The message of the refusal, held to what each one owes: one line that starts with the path."""
    with pytest.raises(IdxError) as caught:
        read_idx(path, ndim=ndim)
    text = str(caught.value)
    assert text.isprintable()
    assert text.startswith(f"{str(path)!r}: ")
    return text


def outcome(path: Path) -> tuple[tuple[int, ...], bytes] | None:
    """What `read_idx` makes of a file: the shape and values, or None for a refusal; nothing else may be raised."""
    try:
        array = read_idx(path)
    except IdxError:
        return None
    assert array.dtype == np.uint8
    return array.shape, array.tobytes()


def zeros_gzipped(head: bytes, mebibytes: int) -> bytes:
    """A gzip stream of `head` and then that many MiB of zeros, made without compressing each of them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(head)
    for _ in range(mebibytes):
        crc = zlib.crc32(bytes(MIB), crc)
    trailer = crc.to_bytes(4, "little") + ((len(head) + mebibytes * MIB) % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(7) + first + block * mebibytes + compressor.flush() + trailer


def peak_memory(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples of a property, since Hypothesis refuses fixtures of function scope."""
    return tmp_path_factory.mktemp("idx")


@st.composite
def arrays(draw: st.DrawFn, min_side: int = 0) -> npt.NDArray[np.uint8]:
    shape = draw(st.lists(st.integers(min_side, 5), min_size=1, max_size=4))
    values = draw(st.binary(min_size=prod(shape), max_size=prod(shape)))
    return np.array(list(values), dtype=np.uint8).reshape(shape)


levels = st.sampled_from([None, 0, 1, 6, 9])


def pack(data: bytes, level: int | None) -> bytes:
    return data if level is None else gzip.compress(data, level, mtime=0)


# What is valid comes back.


@fast
@given(arrays(), levels, st.booleans())
def test_round_trip(directory: Path, array: npt.NDArray[np.uint8], level: int | None, insist: bool) -> None:
    read = read_idx(write(directory, pack(encode(array), level)), ndim=array.ndim if insist else None)
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.flags.c_contiguous
    assert read.flags.writeable


def test_known_bytes(tmp_path: Path) -> None:
    """The start of the format's own description, spelled out, so that reader and writer cannot be wrong together."""
    data = b"\x00\x00\x08\x03\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x01\x02\xfd\xfe\xff"
    array = read_idx(str(write(tmp_path, data)), ndim=3)
    assert array.tolist() == [[[0, 1, 2], [253, 254, 255]]]


@pytest.mark.parametrize("level", [None, 1])
def test_more_than_one_piece(tmp_path: Path, level: int | None) -> None:
    array = np.random.default_rng(0).integers(0, 256, (3001, 28, 28), dtype=np.uint8)
    path = write(tmp_path, pack(header(*array.shape) + array.tobytes(), level))
    np.testing.assert_array_equal(read_idx(path), array, strict=True)
    # A bytearray grows by an eighth, and gzip holds a piece or two besides.
    assert peak_memory(lambda: read_idx(path)) < 1.25 * array.nbytes + 3 * MIB


def test_the_array_is_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, encode(IMAGES))
    read_idx(path)[:] = 0
    np.testing.assert_array_equal(read_idx(path), IMAGES)


def test_gzip_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_idx(write(tmp_path, encode(LABELS), "plain.gz")), LABELS)
    np.testing.assert_array_equal(read_idx(write(tmp_path, gzip.compress(encode(LABELS)), "gzipped")), LABELS)


@pytest.mark.parametrize("cut", range(len(encode(IMAGES)) + 1))
def test_gzip_members_are_joined_and_zero_padding_is_skipped(tmp_path: Path, cut: int) -> None:
    data = encode(IMAGES)
    members = gzip.compress(data[:cut]) + gzip.compress(data[cut:])
    np.testing.assert_array_equal(read_idx(write(tmp_path, members + bytes(512))), IMAGES)


def test_gzip_with_a_file_name_as_the_tool_writes_it(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with gzip.GzipFile(filename="train-labels-idx1-ubyte", fileobj=packed, mode="wb") as stream:
        stream.write(encode(LABELS))
    np.testing.assert_array_equal(read_idx(write(tmp_path, packed.getvalue())), LABELS)


# Mutations: the right data or an IdxError.


@fast
@given(arrays(), levels, st.data())
def test_truncated_anywhere(
    directory: Path, array: npt.NDArray[np.uint8], level: int | None, data: st.DataObject
) -> None:
    whole = pack(encode(array), level)
    path = write(directory, whole[: data.draw(st.integers(0, len(whole) - 1))])
    message(path)


@pytest.mark.parametrize("level", [None, 0, 9])
def test_truncated_everywhere(tmp_path: Path, level: int | None) -> None:
    whole = pack(encode(IMAGES), level)
    for length in range(len(whole)):
        message(write(tmp_path, whole[:length]))
        # A gzip stream that is sound in itself, of data cut short.
        message(write(tmp_path, gzip.compress(encode(IMAGES)[: min(length, len(encode(IMAGES)) - 1)])))


@pytest.mark.parametrize("array", [LABELS, IMAGES, IMAGES[:0]], ids=["labels", "images", "no images"])
def test_every_value_of_every_header_byte_of_a_plain_file(tmp_path: Path, array: npt.NDArray[np.uint8]) -> None:
    data = encode(array)
    valid = 0
    for place in range(4 + 4 * array.ndim):
        for value in range(256):
            mutant = data[:place] + bytes([value]) + data[place + 1 :]
            expected = decode(mutant)
            assert outcome(write(tmp_path, mutant)) == expected
            valid += expected is not None
    # The unchanged file once per byte of the header; where the data are none, any other sizes beside the zero as well.
    assert valid == 4 + 4 * array.ndim or (array.size == 0 and valid > 1000)


@fast
@given(arrays(), arrays())
def test_header_of_another_file(directory: Path, array: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> None:
    """Sizes in another order are another valid file, which nothing can notice; any other product is refused."""
    mutant = header(*other.shape) + array.tobytes()
    expected = (other.shape, array.tobytes()) if other.size == array.size else None
    for level in (None, 6):
        assert outcome(write(directory, pack(mutant, level))) == expected


@pytest.mark.parametrize("array", [LABELS, IMAGES], ids=["labels", "images"])
@pytest.mark.parametrize("level", [0, 6])
def test_every_bit_of_a_gzip_file(tmp_path: Path, array: npt.NDArray[np.uint8], level: int) -> None:
    whole = pack(encode(array), level)
    right = array.shape, array.tobytes()
    for place in range(len(whole)):
        for bit in range(8):
            mutant = bytearray(whole)
            mutant[place] ^= 1 << bit
            result = outcome(write(tmp_path, bytes(mutant)))
            if place < 3 or place >= len(whole) - 8:  # magic number and method; CRC and length
                assert result is None
            elif 4 <= place < 10 or (place == 3 and bit not in (1, 2, 3, 4)):  # time, level, system; text and reserved
                assert result == right
            else:  # the other flags put fields before the data; the last byte of the data has bits that mean nothing
                assert result in (None, right)


@fast
@given(arrays(min_side=1), levels.filter(lambda level: level is not None), st.data())
def test_several_bytes_of_a_gzip_file(
    directory: Path, array: npt.NDArray[np.uint8], level: int, data: st.DataObject
) -> None:
    mutant = bytearray(pack(encode(array), level))
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(2, len(mutant) - 1), st.integers(0, 255)), min_size=1)
    ):
        mutant[place] = value
    assert outcome(write(directory, bytes(mutant))) in (None, (array.shape, array.tobytes()))


@fast
@given(arrays(), levels, st.binary(min_size=1, max_size=20))
def test_bytes_appended(directory: Path, array: npt.NDArray[np.uint8], level: int | None, more: bytes) -> None:
    if level is not None:
        assume(more.strip(b"\0"))
    message(write(directory, pack(encode(array), level) + more))
    message(write(directory, pack(encode(array) + more, level)))


@ci(max_examples=400)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\0\0\x08", b"\x1f\x8b\x08", b"\x1f\x8b\x08\x00"]), levels)
def test_any_bytes(directory: Path, rest: bytes, start: bytes, level: int | None) -> None:
    path = write(directory, pack(start + rest, level))
    expected = decode(start + rest)
    if expected is not None and len(expected[0]) <= 64 and expected[1]:
        assert outcome(path) == expected
    elif expected is None and not start.startswith(b"\x1f"):
        message(path)
    else:
        outcome(path)


# Memory and time.


def test_the_bomb_is_a_sound_gzip_stream() -> None:
    assert gzip.decompress(zeros_gzipped(b"head", 3)) == b"head" + bytes(3 * MIB)


def refused_cheaply(path: Path) -> str:
    start = time.process_time()
    texts: list[str] = []
    assert peak_memory(lambda: texts.append(message(path))) < 3 * MIB
    assert time.process_time() - start < 1
    return texts[0]


def test_a_bomb_behind_a_modest_header(tmp_path: Path) -> None:
    bomb = write(tmp_path, zeros_gzipped(header(10), 1024))
    assert bomb.stat().st_size < 2 * MIB
    assert "trailing bytes: the header promises 10 = 10 bytes of data, at least 11 were found" in refused_cheaply(bomb)


def test_a_large_plain_file_behind_a_modest_header(tmp_path: Path) -> None:
    path = write(tmp_path, header(10))
    os.truncate(path, 8 + 2**33)
    assert f"trailing bytes: the header promises 10 = 10 bytes of data, {2**33} were found" in refused_cheaply(path)


@pytest.mark.parametrize("level", [None, 9])
@pytest.mark.parametrize("shape", [(2**32 - 1,), (2**32 - 1, 28, 28), (2**32 - 1,) * 4, (2**32 - 1,) * 64])
def test_a_boastful_header(tmp_path: Path, shape: tuple[int, ...], level: int | None) -> None:
    text = refused_cheaply(write(tmp_path, pack(header(*shape) + bytes(1000), level)))
    assert f"= {prod(shape)} bytes of data, 1000 were found" in text


def test_memory_follows_the_data_where_the_header_promises_more(tmp_path: Path) -> None:
    path = write(tmp_path, zeros_gzipped(header(2**32 - 1, 28, 28), 16))
    assert peak_memory(lambda: message(path)) < 2 * 16 * MIB


@pytest.mark.parametrize("level", [None, 6])
@pytest.mark.parametrize("rest", [(2**32 - 1,) * 3, (2**32 - 1,) * 63])
def test_no_bytes_of_a_shape_too_large_for_numpy(tmp_path: Path, rest: tuple[int, ...], level: int | None) -> None:
    assert "a shape that NumPy cannot hold" in message(write(tmp_path, pack(header(0, *rest), level)))


# Messages.


def test_an_idx_error_is_a_user_error() -> None:
    assert issubclass(IdxError, MlpXpError)


@pytest.mark.parametrize("level", [None, 6])
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "empty: no IDX header was found"),
        (b"\0", "truncated in the header: 1 of 4 bytes of magic number"),
        (b"\0\0\x08", "truncated in the header: 3 of 4 bytes of magic number"),
        (b"\0\0\x08\x03" + bytes(7), "truncated in the header: 7 of 12 bytes of sizes"),
        (header(2, 3) + b"abcde", "truncated: the header promises 2 x 3 = 6 bytes of data, 5 were found"),
        (header(2, 3), "truncated: the header promises 2 x 3 = 6 bytes of data, 0 were found"),
        (b"<!DOCTYPE html>", r"wrong magic number b'<!DO': an IDX file starts with two zero bytes"),
        (b"x\n", r"wrong magic number b'x\n': an IDX file starts with two zero bytes"),
        (b"\0\x01\x08\x01" + bytes(4), "an IDX file starts with two zero bytes"),
        (header(2, code=0x09) + bytes(2), "type 0x09 is signed bytes; convert to unsigned bytes (0x08)"),
        (header(2, code=0x0B) + bytes(4), "type 0x0b is 16-bit integers"),
        (header(2, code=0x0C) + bytes(8), "type 0x0c is 32-bit integers"),
        (header(2, code=0x0D) + bytes(8), r"wrong magic number b'\x00\x00\r\x01': type 0x0d is 32-bit floats"),
        (header(2, code=0x0E) + bytes(16), "type 0x0e is 64-bit floats"),
        (header(2, code=0x0A) + bytes(2), "type 0x0a is no known IDX type"),
        (header() + bytes(1), "rank 0 is not in 1 to 64"),
        (header(*[1] * 65) + bytes(1), "rank 65 is not in 1 to 64"),
        (header(*[1] * 255) + bytes(1), "rank 255 is not in 1 to 64"),
    ],
)
def test_faults_of_the_data(tmp_path: Path, data: bytes, fault: str, level: int | None) -> None:
    text = message(write(tmp_path, pack(data, level)))
    assert fault in text
    assert "; " in text  # and then what to do


def test_the_largest_rank(tmp_path: Path) -> None:
    assert read_idx(write(tmp_path, header(*[1] * 64) + b"\x05")).shape == (1,) * 64


def test_trailing_bytes(tmp_path: Path) -> None:
    data = header(2, 3) + b"abcdefghi"
    promise = "trailing bytes: the header promises 2 x 3 = 6 bytes of data"
    assert f"{promise}, 9 were found" in message(write(tmp_path, data))
    assert f"{promise}, at least 7 were found" in message(write(tmp_path, gzip.compress(data)))


def test_another_rank(tmp_path: Path) -> None:
    labels, images = write(tmp_path, encode(LABELS), "labels"), write(tmp_path, encode(IMAGES), "images")
    assert "labels (magic number 2049), not images (magic number 2051) as expected" in message(labels, ndim=3)
    assert "images (magic number 2051), not labels (magic number 2049) as expected" in message(images, ndim=1)
    square = write(tmp_path, encode(IMAGES[0]), "square")
    assert "values of rank 2 (magic number 2050), not images (magic number 2051) as expected" in message(square, ndim=3)


def test_faults_of_the_gzip_stream(tmp_path: Path) -> None:
    whole = gzip.compress(encode(IMAGES))
    for length in (2, 9, 15, len(whole) - 9, len(whole) - 1):
        assert "truncated gzip stream: the file ends before" in message(write(tmp_path, whole[:length]))
    crc = whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:]
    assert "corrupt gzip stream, or other bytes after it (CRC check failed" in message(write(tmp_path, crc))
    size = whole[:-4] + bytes([whole[-4] ^ 1]) + whole[-3:]
    assert "(Incorrect length of data produced)" in message(write(tmp_path, size))
    method = whole[:2] + b"\x07" + whole[3:]
    assert "(Unknown compression method)" in message(write(tmp_path, method))
    block = whole[:10] + b"\xff" + whole[11:]
    assert "corrupt gzip stream, or other bytes after it (Error -3 while" in message(write(tmp_path, block))
    assert r"(Not a gzipped file (b'\n\n'))" in message(write(tmp_path, whole + b"\n\n"))


@pytest.mark.parametrize("times", [2, 3])
def test_gzipped_more_than_once(tmp_path: Path, times: int) -> None:
    data = functools.reduce(lambda packed, _: gzip.compress(packed), range(times), encode(IMAGES))
    assert "gzipped twice; decompress it once with gunzip" in message(write(tmp_path, data))


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"no such file; looked for '{tmp_path}/data/labels'" in message("data/labels")
    (tmp_path / "link").symlink_to("nowhere")
    assert "no such file" in message(tmp_path / "link")


def test_missing_in_a_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    message("labels")


def test_not_a_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is a directory; give the path of a file in it" in message(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file" in message(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)  # a socket's path may have some hundred bytes only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "is not a regular file" in message("socket")
    assert "is not a regular file" in message("/dev/zero")


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    assert "cannot be read: Not a directory" in message(write(tmp_path, b"") / "labels")
    assert "cannot be read: File name too long" in message(tmp_path / ("x" * 300))
    assert "embedded null" in message("a\0b")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read: Too many levels of symbolic links" in message(tmp_path / "loop")
    for name in ("two\nlines", os.fsdecode(b"\xff"), "\ud800"):
        message(tmp_path / name)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to read it; check the modes"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "no such file; looked for"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output error"),
        (OSError("odd"), "cannot be read: odd"),
        (MemoryError(), "too large for the memory of this machine"),
    ],
)
def test_faults_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, fault: str) -> None:
    """What the system says of a file that was there a moment ago."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    path = write(tmp_path, encode(LABELS))
    monkeypatch.setattr(os, "open", refuse)
    assert fault in message(path)


def test_no_permission(tmp_path: Path) -> None:
    path = write(tmp_path, encode(LABELS))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # whom no mode stops
        try:
            os.seteuid(65534)
        except OSError as error:
            pytest.skip(f"root, and cannot become another user: {error}")
    try:
        text = message(path)
    finally:
        os.seteuid(user)
    assert "no permission to read it; check the modes" in text


@pytest.mark.parametrize("defect", [AttributeError, TypeError, ValueError, IndexError])
def test_a_defect_while_reading_is_no_fault_of_the_file(defect: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"something")
    with pytest.raises(defect, match="planted"), open_file(tmp_path / "file", IdxError):
        raise defect("planted")


@pytest.mark.parametrize("damage", [OSError(5, "Input/output error"), EOFError(), zlib.error("invalid"), MemoryError()])
def test_damage_keeps_its_cause(damage: Exception, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"something")
    with pytest.raises(IdxError) as caught, open_file(tmp_path / "file", IdxError):
        raise damage
    assert caught.value.__cause__ is damage
    assert str(caught.value).startswith(f"{str(tmp_path / 'file')!r}: ")
