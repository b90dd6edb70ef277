"""NumPy's own files: .npz archives, as Keras publishes MNIST, and folders of .npy files. Never a pickle."""

import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from mlp_xp.arrays import DatasetWarning
from mlp_xp.data.reading import EXPANSION, MODEST, fault, open_file
from mlp_xp.errors import MlpXpError, printable

PIECE = 1 << 20
# The names of the arrays of each part, features before labels, in small letters; an archive may use any case.
NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
GIVE = "name the arrays x_train, y_train and, if there is a test set, x_test and y_test; or X and y"
GIVE_PLAIN = "save it as a plain array of numbers or strings"
LONGEST_LABEL = 1000
# What NumPy's functions for the header raise for a damaged one.
HEADER_FAULTS = (ValueError, TypeError, SyntaxError, RecursionError, OverflowError, tokenize.TokenError)
KINDS = {"features": "biuf", "labels": "biufUS"}


class ArrayFileError(MlpXpError):
    """A file that does not hold NumPy arrays of features and labels."""


class Arrays(NamedTuple):
    """Features, and a label for each."""

    features: npt.NDArray[Any]
    """(n, features), (n, rows, columns) or (n, rows, columns, channels): integers or floats, finite."""
    labels: npt.NDArray[Any]
    """(n,), or (n, k) for k labels or targets each: integers, finite floats or strings."""


class Parts(NamedTuple):
    """A training set, and a test set if there is one."""

    train: Arrays
    test: Arrays | None


Pairs = dict[str, tuple[str, str]]


def read_npz(path: str | os.PathLike[str]) -> Parts:
    """Read a .npz archive, compressed or not, with the arrays x_train, y_train, and x_test and y_test or neither.

    train_images, train_labels, test_images and test_labels are known too, and X and y for a training set alone, all in
    any case. Features are integers, floats or booleans, which become float64, in a shape that `Arrays` describes.
    Labels are integers, floats, strings, UTF-8 bytes or booleans; the last two become strings.

    Nothing is unpickled. The arrays may expand to `reading.MODEST` bytes, or else to `reading.EXPANSION` times the size
    of the file. Gives one DatasetWarning that names the arrays that are not used.

    Raises ArrayFileError, which names the file, the array, and the place of a faulty value, counted from 0.
    """
    with open_file(path, ArrayFileError) as (stream, length):
        if length is None:
            raise ArrayFileError("is a gzip stream, not a .npz archive; decompress it with gunzip")
        try:
            with zipfile.ZipFile(cast(IO[bytes], stream)) as archive:
                return _read_archive(archive, length, path)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            reason = printable(str(error)) or type(error).__name__
            raise ArrayFileError(f"is no .npz archive, or a damaged one: {reason}; save it again") from error


def read_npy_folder(folder: str | os.PathLike[str]) -> Parts:
    """Read a folder of .npy files with the names that `read_npz` documents, such as x_train.npy.

    Raises ArrayFileError, and gives a DatasetWarning, as `read_npz` does.
    """
    folder = Path(folder)
    try:
        files = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".npy"}
    except (OSError, ValueError) as error:
        raise ArrayFileError(f"{str(folder)!r}: {fault(error)}") from error

    with _naming(folder):
        pairs = _choose(files, folder)
    arrays = {}
    for name in _used(pairs):
        with open_file(files[name], ArrayFileError) as (stream, length):
            arrays[name] = _read_npy(stream, length)
    with _naming(folder):
        return _parts(pairs, arrays)


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    try:
        yield
    except ArrayFileError as error:
        raise ArrayFileError(f"{str(folder)!r}: {error}") from error


def _read_archive(archive: zipfile.ZipFile, length: int, path: str | os.PathLike[str]) -> Parts:
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise ArrayFileError(f"has two arrays named {name!r}; save it again")
        members[name] = info
    pairs = _choose(members, path)
    if sum(members[name].file_size for name in _used(pairs)) > max(MODEST, EXPANSION * length):
        raise ArrayFileError(
            f"its arrays expand to more than {EXPANSION} times the size of the file, and to more than "
            f"{MODEST >> 20} MiB; check the file, and if it is sound, save it with numpy.savez"
        )
    return _parts(pairs, {name: _read_member(archive, members[name], name) for name in _used(pairs)})


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> npt.NDArray[Any]:
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArrayFileError(f"{name} is encrypted, or compressed as NumPy does not; save it with numpy.savez")
    try:
        with archive.open(info) as stream:
            return _read_npy(cast(BufferedIOBase, stream), info.file_size)
    except ArrayFileError as error:
        raise ArrayFileError(f"{name}: {error}") from error


def _choose(names: Iterable[str], path: str | os.PathLike[str]) -> Pairs:
    """Choose arrays by their names. Gives a DatasetWarning for those that are not used."""
    names = [*names]
    known: dict[str, str] = {}
    for name in names:
        if name.lower() in known:
            raise ArrayFileError(f"has both {known[name.lower()]!r} and {name!r}; keep one of them")
        known[name.lower()] = name
    pairs = {part: pair for part in NAMES if (pair := _pair(known, part))}
    if "train" not in pairs:
        some = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ArrayFileError(f"has no training set, but {some or 'no arrays at all'}; {GIVE}")
    if unused := [repr(name) for name in names if name not in _used(pairs)]:
        text = f"{os.fspath(path)!r}: these arrays are not used: {', '.join(unused[:5])}"
        warnings.warn(text, DatasetWarning, stacklevel=4)
    return pairs


def _used(pairs: Pairs) -> list[str]:
    return [name for pair in pairs.values() for name in pair]


def _parts(pairs: Pairs, arrays: dict[str, npt.NDArray[Any]]) -> Parts:
    """Return the arrays by part, after checks."""
    train, test = (_checked_pair(pairs[part], arrays) if part in pairs else None for part in NAMES)
    assert train is not None
    if test is not None:
        for one, other, of_train, of_test in zip(train, test, pairs["train"], pairs["test"], strict=True):
            if one.shape[1:] != other.shape[1:]:
                raise ArrayFileError(
                    f"{of_test} has the shape {other.shape}, {of_train} {one.shape}; they must agree but in n"
                )
    return Parts(train, test)


def _pair(known: dict[str, str], part: str) -> tuple[str, str] | None:
    """Return the names of a part's features and labels, as they are in the file; None if there are none."""
    found = [pair for pair in NAMES[part] if known.keys() & {*pair}]
    if not found:
        return None
    if len(found) > 1:
        both = " and ".join(known[next(name for name in pair if name in known)] for pair in found[:2])
        raise ArrayFileError(f"has two {part} sets, {both}; keep one of them")
    for name in found[0]:
        if name not in known:
            other = known[next(each for each in found[0] if each in known)]
            raise ArrayFileError(f"has {other!r} but no {name!r}; {GIVE}")
    features, labels = found[0]
    return known[features], known[labels]


def _checked_pair(names: tuple[str, str], arrays: dict[str, npt.NDArray[Any]]) -> Arrays:
    features, labels = (_checked(arrays[name], name, role) for name, role in zip(names, KINDS, strict=True))
    if features.ndim not in (2, 3, 4) or 0 in features.shape:
        raise ArrayFileError(
            f"{names[0]} has the shape {features.shape}; give (n, features), (n, rows, columns) or (n, rows, columns, "
            "channels), with n of 1 or more"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or len(labels) != len(features):
        raise ArrayFileError(
            f"{names[1]} has the shape {labels.shape}, {names[0]} {features.shape}; give one label for each of the "
            f"{len(features)}"
        )
    return Arrays(features, labels)


def _checked(array: npt.NDArray[Any], name: str, role: str) -> npt.NDArray[Any]:
    """Return features or labels in a dtype that `Arrays` allows."""
    if array.dtype.kind not in KINDS[role]:
        wanted = "integers or floats" if role == "features" else "integers, floats or strings"
        raise ArrayFileError(f"{name} has the dtype {array.dtype}; give {wanted}")
    match array.dtype.kind:
        case "b":
            return array.astype(np.float64) if role == "features" else array.astype(np.str_)
        case "f":
            if array.dtype.itemsize > 8:
                array = array.astype(np.float64)
            if not (finite := np.isfinite(array)).all():
                place = np.unravel_index(int(np.argmin(finite)), array.shape)
                raise ArrayFileError(
                    f"{name}[{', '.join(map(str, place))}] is {array[place]}; give finite values, or leave the row out"
                )
        case "S" | "U":
            try:
                array = np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
            except UnicodeDecodeError as error:
                raise ArrayFileError(f"{name} has bytes that are not UTF-8 ({error.reason}); give strings") from error
            longest = int(np.strings.str_len(array).max(initial=0))
            if longest > LONGEST_LABEL:
                raise ArrayFileError(
                    f"{name} has a label of {longest} characters, more than {LONGEST_LABEL}; check which are the labels"
                )
            if not np.strings.str_len(np.strings.strip(array)).all():
                raise ArrayFileError(f"{name} has an empty label; fill it in, or leave the row out")
    return array


def _read_npy(stream: BufferedIOBase, length: int | None) -> npt.NDArray[Any]:
    """Read a whole .npy stream of `length` bytes. Not by numpy.load, which reserves what the header promises."""
    if length is None:
        raise ArrayFileError("is a gzip stream, not a .npy file; decompress it with gunzip")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers that Python 2 wrote
            version = np.lib.format.read_magic(stream)
            if version not in ((1, 0), (2, 0)):
                raise ArrayFileError(
                    f"has the version {version} of the format, for other than plain arrays; {GIVE_PLAIN}"
                )
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, in_columns, dtype = read(stream)
    except HEADER_FAULTS as error:
        reason = printable(" ".join(str(error).split())[:100]) or type(error).__name__
        raise ArrayFileError(f"is no .npy data, or damaged: {reason}; save it again with numpy.save") from error
    if dtype.hasobject:
        raise ArrayFileError(
            f"holds Python objects, which can only be unpickled, and a pickle can run any code; {GIVE_PLAIN}"
        )
    if dtype.names or dtype.subdtype or not dtype.itemsize:
        raise ArrayFileError(f"has the dtype {dtype!s:.60}; {GIVE_PLAIN}")
    if len(shape) > 4:
        raise ArrayFileError(f"has {len(shape)} dimensions; give at most 4")
    wanted, found = prod(shape) * dtype.itemsize, length - stream.tell()
    if min(shape, default=0) < 0 or wanted != found:
        raise ArrayFileError(
            f"the header promises {' x '.join(map(str, shape)) or 1} values of {dtype}, {wanted} bytes, but {found} "
            "were found; fetch or save it again"
        )
    body = bytearray()
    while len(body) < wanted and (piece := stream.read(min(PIECE, wanted - len(body)))):
        body += piece
    if len(body) < wanted or stream.read(1):  # which also checks the CRC of a member of an archive
        raise ArrayFileError("is truncated, or goes on after its end; fetch or save it again")
    array = np.frombuffer(body, dtype).reshape(shape, order="F" if in_columns else "C")
    return np.asarray(array, dtype.newbyteorder("="), order="C")
