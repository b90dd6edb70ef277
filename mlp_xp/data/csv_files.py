"""CSV files with the label first, as many MNIST-like sets are spread: a sample a line, parsed in pieces to bytes."""

import csv
import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TextIO, cast

import numpy as np

from mlp_xp.data.reading import open_file
from mlp_xp.errors import MlpXpError

PIECE = 1 << 22


class CsvError(MlpXpError):
    """A file that cannot be read as CSV of labels and images."""


class Lines(NamedTuple):
    """Consecutive lines of a file."""

    first: int
    """The number of the first of them, from 1."""
    lines: list[str]


def read_csv(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV file, gzipped or plain: a line a sample, its label and then the pixels of a square image, row by row.

    All values are whole numbers from 0 to 255, separated by commas, and may be quoted. A first line of names is left
    out; so are empty lines.

    Returns the images, uint8 (n, side, side), and the labels, uint8 (n,); n may be 0 if there is a line of names.
    Raises CsvError, with the file, the line and the column.
    """
    pixels, labels = bytearray(), bytearray()
    with open_file(path, CsvError) as (stream, _), _as_text(stream) as text:
        side, pieces = _split(text)
        for piece in pieces:
            samples = _parse(piece, 1 + side * side)
            labels += samples[:, 0].tobytes()
            pixels += samples[:, 1:].tobytes()
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, side, side)
    return images, np.frombuffer(labels, dtype=np.uint8)


def _as_text(stream: io.BufferedIOBase) -> TextIO:
    return io.TextIOWrapper(cast(BinaryIO, stream), encoding="utf-8-sig", errors="replace")


def _split(text: TextIO) -> tuple[int, Iterator[Lines]]:
    """The side of an image, by the first line that is not empty, and the samples' lines in pieces, none without any."""
    number, line = 1, text.readline()
    while line.isspace():
        number, line = number + 1, text.readline()
    if not line:
        raise CsvError("empty: no sample was found; fetch the file again")
    start = Lines(number, [line])
    fields = [field.strip() for field in _fields(line)]
    side, named = _side(fields, number), _are_names(fields, number)

    def pieces() -> Iterator[Lines]:
        if not named:
            yield start
        following = number + 1
        while lines := text.readlines(PIECE):
            piece = Lines(following, lines)
            if _filled(piece):
                yield piece
            following += len(lines)

    return side, pieces()


def _filled(piece: Lines) -> list[str]:
    return [line for line in piece.lines if not line.isspace()]


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return line.split(",")


def _are_names(fields: list[str], number: int) -> bool:
    if "label" in (field.lower() for field in fields[1:]):
        raise CsvError(f"line {number}: the column 'label' is not the first; move it there")
    # Names differ from one another. The pixels of a faulty first sample do not: there are more of them than levels.
    return fields[0][:1].isalpha() and len(set(fields)) == len(fields)


def _is_number(field: str) -> bool:
    try:
        return not math.isnan(float(field))
    except ValueError:
        return False


def _side(fields: list[str], number: int) -> int:
    """The side of the square image whose label and pixels are the fields of a line."""
    columns = len(fields)
    side = math.isqrt(columns - 1)
    if side == 0 or side * side != columns - 1:
        hint = "the labels seem to be missing" if math.isqrt(columns) ** 2 == columns > 1 else "check what the file is"
        raise CsvError(
            f"line {number}: {columns} columns, separated by commas, are a label and {columns - 1} pixels, which make "
            f"up no square image; {hint}"
        )
    return side


def _parse(piece: Lines, columns: int) -> np.ndarray:
    """The samples, label first, uint8 (n, columns)."""
    lines = _filled(piece)
    try:
        with warnings.catch_warnings():
            # An older NumPy only warns when it cuts a fraction off.
            warnings.simplefilter("error", DeprecationWarning)
            # Not uint8, for which an older NumPy takes 256 as 0.
            samples = np.loadtxt(lines, dtype=np.int16, delimiter=",", comments=None, quotechar='"', ndmin=2)
    except (ValueError, DeprecationWarning) as error:
        _blame(piece, columns)
        raise CsvError(f"from line {piece.first} on: {error}; check how the file was made") from error
    if samples.shape != (len(lines), columns) or samples.min() < 0 or samples.max() > 255:
        _blame(piece, columns)
        raise CsvError(f"from line {piece.first} on: quotes that do not close; check how the file was made")
    return samples.astype(np.uint8)


def _blame(piece: Lines, columns: int) -> None:
    """Raise CsvError for the first fault in lines that are known to have one."""
    for number, line in enumerate(piece.lines, piece.first):
        if line.isspace():
            continue
        fields = _fields(line)
        if len(fields) != columns:
            raise CsvError(f"line {number}: {len(fields)} columns, the first line has {columns}; fetch the file again")
        for column, field in enumerate(fields, 1):
            value = field.strip()
            if re.fullmatch(r"\+?[0-9]+|-0+", value) and float(value) <= 255:
                continue
            fault = "is not a number"
            if _is_number(value):
                fault = "is outside 0 to 255" if not 0 <= float(value) <= 255 else "is not a whole number in digits"
            raise CsvError(
                f"line {number}, column {column}: {field[:20]!r} {fault}; labels and pixels are whole numbers, 0 to 255"
            )
