"""CSV files as text, in pieces: polars splits lines that are written as usual.

Type inference would turn the label 01 into 1, so every field is read as text. Where a
piece has anything unusual, Python's csv module reads the rest of the file, row by row.
It names the line of a fault, or reads text that polars would read differently.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.data.reading import Stream
from mlp_xp.data.table import Table, import_polars, stripped
from mlp_xp.errors import DatasetError

PIECE = 8 << 20  # bytes to read at once
ROWS = 4096  # rows to read at once by the csv module

_SEPARATORS = {",": "", ";": "separated by ';'", "\t": "separated by tabs"}
_SNIFFED = 20  # lines to find the separator
_BOM = b"\xef\xbb\xbf"
_NEWLINE, _QUOTE = ord("\n"), ord('"')


class _Rows(NamedTuple):
    """Some rows of a file."""

    fields: Any
    """A DataFrame of polars, of text."""
    lines: np.ndarray
    """The line of the file where each row begins, from 1."""


class _Layout(NamedTuple):
    """How a file is written."""

    separator: str
    width: int
    """The number of columns."""
    header_line: int
    """The line where the header begins, from 1."""


def read_csv(stream: Stream) -> Table:
    """Return a CSV file as a table of text without spaces around it.

    Raises DatasetError with the line of a fault, and UnicodeDecodeError.
    """
    pl = import_polars()
    pieces = _pieces(stream)
    first = next(pieces, b"").removeprefix(_BOM)
    text = first.decode("utf-8")
    separator = _separator_of(list(islice(_lines_of(text), _SNIFFED)))
    header_line, header = next(read_rows(_lines_of(text), separator), (0, []))
    names = [name.strip() for name in header]
    if not names:
        raise DatasetError(
            "is empty",
            remedy="give a table with the names of its columns in the first line",
        )
    layout = _Layout(separator, len(names), header_line)
    texts, lines = [], []
    for rows in _all_rows(first, pieces, layout):
        texts.append(rows.fields.select(stripped(pl.all().fill_null(""))))
        lines.append(rows.lines)
    table = pl.concat(texts)
    return Table(
        tuple(names),
        tuple(table.get_columns()),
        np.concatenate(lines),
        _SEPARATORS[separator],
    )


def _lines_of(text: str) -> Iterator[str]:
    return io.StringIO(text, newline="")


def _pieces(stream: Stream) -> Iterator[bytes]:
    """Yield a file in pieces that end with a newline outside of quotes."""
    rest = b""
    while read := stream.read(max(PIECE, len(rest))):
        piece = rest + read
        ends = np.flatnonzero(_outside(piece, _NEWLINE))
        size = int(ends[-1]) + 1 if len(ends) else 0
        rest = piece[size:]
        if size:
            yield piece[:size]
    if rest:
        yield rest + b"\n"


def _outside(piece: bytes, code: int) -> np.ndarray:
    """Return where a character is outside of quotes, booleans (bytes,)."""
    codes = np.frombuffer(piece, np.uint8)
    found = codes == code
    if b'"' in piece:
        found &= ~np.logical_xor.accumulate(codes == _QUOTE)
    return found


def _all_rows(
    first: bytes, others: Iterator[bytes], layout: _Layout
) -> Iterator[_Rows]:
    """Yield the rows of a file without its header. Raises DatasetError."""
    piece, line, is_first = first, 1, True
    while piece:
        rows = _regular_rows(piece, line, layout)
        if rows is None:
            rest = piece + b"".join(others)
            width = 0 if is_first else layout.width
            yield from _irregular_rows(rest, line, width, layout)
            return
        yield rows
        line += piece.count(b"\n")
        piece, is_first = next(others, b""), False


def _regular_rows(piece: bytes, line: int, layout: _Layout) -> _Rows | None:
    """Return the rows of a piece as polars reads them, without the header.

    Returns None if the csv module might read the piece differently. line: the number of
    the first line. Raises UnicodeDecodeError.
    """
    plain = _plain(piece, layout.separator)
    if plain is None:
        return None
    plain.decode("utf-8")
    ends = np.flatnonzero(_outside(plain, _NEWLINE))
    starts = np.concatenate([[0], ends[:-1] + 1])
    separators = np.flatnonzero(_outside(plain, ord(layout.separator)))
    marks = np.sort(np.concatenate([separators, ends]))
    if np.diff(marks, prepend=-1).max() > csv.field_size_limit():
        return None
    widths = np.diff(np.searchsorted(separators, ends), prepend=0) + 1
    is_row = widths == layout.width
    for i in np.flatnonzero(~is_row):
        # A line of tabs is not an empty line where tabs separate the columns.
        if widths[i] > 1 or plain[starts[i] : ends[i]].decode("utf-8").strip():
            return None

    newlines = np.flatnonzero(np.frombuffer(plain, np.uint8) == _NEWLINE)
    lines = line + np.searchsorted(newlines, starts)
    body = int(np.searchsorted(lines, layout.header_line, side="right"))
    is_row, lines = is_row[body:], lines[body:]
    content = b""
    if body < len(starts):
        content = plain[starts[body] :]
    fields = _split(content, layout)
    if len(fields) != len(is_row):
        return None
    if not is_row.all():
        fields, lines = fields.filter(is_row), lines[is_row]
    return _Rows(fields, lines)


def _plain(piece: bytes, separator: str) -> bytes | None:
    r"""Return a piece with \n at the end of each line.

    Returns None if any other \r is in it, or a quote that is neither around a whole
    field nor doubled inside a field.
    """
    if b"\r" in piece:
        count = piece.count(b"\r")
        if piece.count(b"\r\n") != count or _outside(piece, ord("\r")).sum() != count:
            return None
        piece = piece.replace(b"\r\n", b"\n")
    codes = np.frombuffer(piece, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    if len(quotes) % 2:
        return None
    between = [ord(separator), _NEWLINE, _QUOTE]
    before, after = quotes[::2] - 1, quotes[1::2] + 1
    around = np.concatenate([before[before >= 0], after])
    return piece if np.isin(codes[around], between).all() else None


def _split(content: bytes, layout: _Layout) -> Any:
    """Return the fields of lines as a DataFrame, with a row for each line."""
    pl = import_polars()
    # polars takes some letters at the start, such as x^, for a compressed file
    start = b"0" + layout.separator.encode() * (layout.width - 1) + b"\n"
    fields = pl.read_csv(
        start + content,
        has_header=False,
        separator=layout.separator,
        quote_char='"' if b'"' in content else None,
        schema=_schema(layout),
        infer_schema=False,
    )
    return fields.slice(1)


def _schema(layout: _Layout) -> dict[str, Any]:
    return {str(i): import_polars().String for i in range(layout.width)}


def _irregular_rows(
    content: bytes, line: int, width: int, layout: _Layout
) -> Iterator[_Rows]:
    """Yield the rows of the rest of a file as the csv module reads them."""
    pl = import_polars()
    with io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="") as text:
        rows = read_rows(text, layout.separator, line, width)
        while block := list(islice(rows, ROWS)):
            block = [row for row in block if row[0] > layout.header_line]
            lines = np.array([number for number, _ in block], np.int64)
            fields = [fields for _, fields in block]
            frame = pl.DataFrame(fields, _schema(layout), orient="row")
            yield _Rows(frame, lines)


def _separator_of(lines: Sequence[str]) -> str:
    """Return the separator with the most columns, the same number in each line."""

    def fit(separator: str) -> tuple[bool, int]:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        try:
            widths = [len(row) for row in reader if row]
        except csv.Error:
            return False, 0
        if len(lines) == _SNIFFED:
            del widths[-1:]  # the last row may continue
        if not widths:
            return False, 0
        return len(set(widths)) == 1 < widths[0], widths[0]

    return max(_SEPARATORS, key=fit)


def read_rows(
    lines: Iterable[str], separator: str = ",", number: int = 1, width: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with the number of their first line.

    Empty rows are left out, but in a table of a single column they are gaps. lines:
    text with fields that may be quoted as in RFC 4180. number: the number of the first
    line. width: the number of columns; 0 for the number in the first row. Raises
    DatasetError for text in another form, and for a row with more or fewer fields.
    """
    before = number - 1
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            fields = row or [""]
            if width == 1 or len(fields) > 1 or fields[0].strip():
                width = width or len(fields)
                if len(fields) != width:
                    raise DatasetError(
                        f"has {len(fields)} columns, the first row has {width}",
                        remedy="check separators, quotes and line breaks from there on",
                        line=number,
                    )
                yield number, fields
            number = before + reader.line_num + 1
    except csv.Error as error:
        remedy = 'check the quotes from there on: within quotes, "" stands for a quote'
        raise DatasetError(str(error), remedy=remedy, line=number) from error
