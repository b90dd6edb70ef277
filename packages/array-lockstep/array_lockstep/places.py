"""Lines of a program, as findings name them."""

import functools
import linecache
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

_FOLDER = Path(__file__).resolve().parents[1]


class Place(NamedTuple):
    """A line of a program."""

    path: str = ""
    """The file."""
    line: int = 0
    function: str = ""
    """The qualified name of the function, such as `Scaler.fit`."""

    @property
    def file(self) -> str:
        """The file as imports find it, such as `package/module.py`."""
        return _file_of(self.path)

    @property
    def text(self) -> str:
        """The source of the line."""
        return linecache.getline(self.path, self.line).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.text})"


def place_of(code: CodeType, line: int | None = None) -> Place:
    """Return a line of a function, by default its first."""
    return Place(code.co_filename, line or code.co_firstlineno, code.co_qualname)


def place_in(frame: FrameType) -> Place:
    """Return the line that a frame executes."""
    return place_of(frame.f_code, frame.f_lineno)


@functools.cache
def _file_of(file: str) -> str:
    path = Path(file)
    if path.exists():  # unlike "<string>"
        path = path.resolve()
    folders = [_FOLDER, *(Path(each).resolve() for each in sys.path)]
    parents = [folder for folder in folders if folder in path.parents]
    if parents:
        # the folder of the packages, not of a virtual environment
        path = path.relative_to(max(parents, key=lambda folder: len(folder.parts)))
    return path.as_posix()
