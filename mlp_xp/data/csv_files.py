"""CSV files with one sample per line and the label first, a common form of MNIST-like data sets."""

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

PIECE = 1 << 20
# Limits on a file: characters in a line (an image of 1000 x 1000 pixels has 4 million), and all its characters
# (EMNIST by class, the largest of its kind, has 1.7 thousand million).
LONGEST_LINE, LARGEST_FILE = 1 << 23, 1 << 34


class CsvError(MlpXpError):
    """A file that cannot be read as CSV of labels and images."""


class Lines(NamedTuple):
    """Consecutive lines of a file."""

    first: int
    """The number of the first line, counted from 1."""
    lines: list[str]


def read_csv(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read a CSV file of labelled images, gzipped or plain.

    Each line holds one sample: the label, then the pixels of a square image, row by row. All values are whole numbers
    from 0 to 255, separated by commas, and may be quoted. A header line and empty lines are skipped. A line has at most
    LONGEST_LINE characters and a file LARGEST_FILE; for gzip streams see `reading.open_file`. Memory use is about half
    the size of the text, and at most 20 times PIECE more.

    Returns the images, uint8 (n, side, side), and the labels, uint8 (n,); n may be 0 if there is a header line.
    Raises CsvError, which names the file, the line and the column.
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
    """Return the side of an image, from the first non-empty line, and the samples' lines in non-empty pieces."""
    pieces = _pieces(text)
    piece = next(pieces, None)
    if piece is None:
        raise CsvError("empty: no sample was found; fetch the file again")
    skipped = next(i for i, line in enumerate(piece.lines) if _is_filled(line))
    number = piece.first + skipped
    fields = [field.strip() for field in _fields(piece.lines[skipped])]
    side, named = _side(fields, number), _are_names(fields, number)
    start = Lines(number + named, piece.lines[skipped + named :])

    def samples() -> Iterator[Lines]:
        if _filled(start):
            yield start
        yield from pieces

    return side, samples()


def _pieces(text: TextIO) -> Iterator[Lines]:
    """Yield the lines of a text, without their line breaks, in pieces that are not all empty."""
    number, rest, total = 1, "", 0
    while piece := text.read(PIECE):
        total += len(piece)
        if total > LARGEST_FILE:
            raise CsvError(f"has more than {LARGEST_FILE} characters, the limit; divide the file")
        whole = rest + piece
        if whole.isspace():
            number, rest = number + whole.count("\n"), whole.rpartition("\n")[2]
            _check_length(rest, number)
            continue
        # Not splitlines, which also breaks lines at characters that are no line breaks in a file.
        *lines, rest = whole.split("\n")
        del piece, whole  # or they would be kept until the samples in them are parsed
        if lines and len(longest := max(lines, key=len)) > LONGEST_LINE:
            _check_length(longest, number + lines.index(longest))
        number += len(lines)
        _check_length(rest, number)
        if any(map(_is_filled, lines)):
            yield Lines(number - len(lines), lines)
    if _is_filled(rest):
        yield Lines(number, [rest])


def _check_length(line: str, number: int) -> None:
    if len(line) > LONGEST_LINE:
        raise CsvError(
            f"line {number}: has more than {LONGEST_LINE} characters, the limit; check how the file was made"
        )


def _is_filled(line: str) -> bool:
    return bool(line) and not line.isspace()


def _filled(piece: Lines) -> list[str]:
    return [*filter(_is_filled, piece.lines)]


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error:
        return line.split(",")


def _are_names(fields: list[str], number: int) -> bool:
    if "label" in (field.lower() for field in fields[1:]):
        raise CsvError(f"line {number}: the column 'label' is not the first; move it there")
    if fields == [str(i) for i in range(len(fields))] and len(fields) > 2:  # column numbers, as pandas writes them
        return True
    # The names in a header all differ. The fields of a faulty first sample do not: it has more pixels than grey levels.
    return fields[0][:1].isalpha() and len(set(fields)) == len(fields)


def _is_number(field: str) -> bool:
    try:
        return not math.isnan(float(field))
    except ValueError:
        return False


def _side(fields: list[str], number: int) -> int:
    """Return the side of the square image in a line's fields, label first."""
    columns = len(fields)
    side = math.isqrt(columns - 1)
    if side == 0 or side * side != columns - 1:
        hint = "the labels seem to be missing" if math.isqrt(columns) ** 2 == columns > 1 else "check the file"
        raise CsvError(
            f"line {number}: {columns} columns, separated by commas, are a label and {columns - 1} pixels, which do "
            f"not make a square image; {hint}"
        )
    return side


def _parse(piece: Lines, columns: int) -> np.ndarray:
    """Return the samples, label first, uint8 (n, columns)."""
    lines = _filled(piece)
    try:
        with warnings.catch_warnings():
            # Older NumPy versions only warn when they truncate a fraction.
            warnings.simplefilter("error", DeprecationWarning)
            # Not uint8: older NumPy versions read 256 as 0.
            samples = np.loadtxt(lines, dtype=np.int16, delimiter=",", comments=None, quotechar='"', ndmin=2)
    except (ValueError, DeprecationWarning) as error:
        _blame(piece, columns)
        raise CsvError(f"from line {piece.first} on: {error}; check how the file was made") from error
    if samples.shape != (len(lines), columns) or samples.min() < 0 or samples.max() > 255:
        _blame(piece, columns)
        raise CsvError(f"from line {piece.first} on: unclosed quotes; check how the file was made")
    return samples.astype(np.uint8)


def _blame(piece: Lines, columns: int) -> None:
    """Raise CsvError for the first fault in lines that are known to have one."""
    for number, line in enumerate(piece.lines, piece.first):
        if not _is_filled(line):
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
