"""CSV files with one image per line and the label first, a common form of MNIST-like data sets."""

import io
import itertools
import math
import os
import warnings

import numpy as np
import numpy.typing as npt

from mlp_xp.data.reading import open_file, read_rows
from mlp_xp.errors import DatasetError

Bytes = npt.NDArray[np.uint8]
BYTES = {str(value): value for value in range(256)}  # three times as fast as int()


def read_csv(path: str | os.PathLike[str]) -> tuple[Bytes, Bytes]:
    """Read a CSV file of labelled images, gzipped or plain.

    Each row holds one sample: the label, then the pixels of a square image, row by row, all whole numbers from 0 to
    255. The first row may contain names of columns.

    Returns the images, uint8 (n, side, side), and the labels, uint8 (n,). Raises DatasetError, which names the file,
    the line and the column.
    """
    try:
        samples = _read_plain(path)
    except (ValueError, Warning):  # which `_read_rows` explains
        samples = _read_rows(path)
    side = math.isqrt(samples.shape[1] - 1)
    return samples[:, 1:].copy().reshape(-1, side, side), samples[:, 0].copy()


def _read_plain(path: str | os.PathLike[str]) -> Bytes:
    """Return the rows, uint8 (n, columns), in a third of the time of `_read_rows`. Raises ValueError or Warning."""
    with open_file(path) as stream, io.TextIOWrapper(stream, "utf-8-sig") as text, warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy warns where it makes 1.5 a whole number, and of a file without rows
        line = text.readline()
        if not line.strip() or '"' in line:
            raise ValueError
        row = line.split(",")
        _check_columns(len(row), 1)
        lines = text if _are_names(row, 1) else itertools.chain([line], text)
        return np.loadtxt(lines, np.uint8, delimiter=",", quotechar='"', comments=None, ndmin=2)


def _read_rows(path: str | os.PathLike[str]) -> Bytes:
    """Return the rows of any sound CSV, uint8 (n, columns). Raises DatasetError as `read_csv` does."""
    values, columns = bytearray(), 0
    with open_file(path) as stream:
        for line, row in read_rows(stream):
            if not columns:
                columns = len(row)
                _check_columns(columns, line)
                if _are_names(row, line):
                    continue
            try:
                values += bytes(map(BYTES.__getitem__, row))
            except KeyError as error:
                column = next(i for i, field in enumerate(row) if field not in BYTES)
                raise DatasetError(
                    f"line {line}, column {column + 1}: {row[column]!r:.30} is not a whole number from 0 to 255, as "
                    "labels and pixels are; or name the column of the labels, if this is a table with a header"
                ) from error
        if not values:
            raise DatasetError("has no samples; give a file with some")
    return np.frombuffer(values, np.uint8).reshape(-1, columns)


def _check_columns(columns: int, line: int) -> None:
    if columns < 2 or math.isqrt(columns - 1) ** 2 != columns - 1:
        raise DatasetError(
            f"line {line}: {columns} columns, separated by commas, are not a label and the pixels of a square image; "
            "or name the column of the labels, if this is a table with a header"
        )


def _are_names(row: list[str], line: int) -> bool:
    names = [name.strip().lower() for name in row]
    if "label" in names[1:]:
        raise DatasetError(f"line {line}: the column 'label' is not the first; move it there")
    if len(names) > 2 and names == [str(i) for i in range(len(names))]:  # column numbers, as pandas writes them
        return True
    # Names all differ. A faulty first sample has more pixels than grey levels, or zeros.
    return names[0][:1].isalpha() and len({*names}) == len(names)
