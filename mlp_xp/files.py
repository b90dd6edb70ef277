"""Writing files so that at any moment either the old whole one or the new whole one is there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mlp_xp.errors import MlpXpError

ASIDE = ".aside"


class FileError(MlpXpError):
    """A file or folder that cannot be written or read."""

    exit_code = 1


@contextlib.contextmanager
def file_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn the system's error about a file into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{str(path)!r}: cannot {doing}: {error.strerror or error}; what was saved before is whole: "
            "make room or mend the folder, then try again"
        ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file aside, wait until it is on the disk, then put it in place. Raises FileError."""
    aside = path.parent / f".{path.name}.{os.getpid()}{ASIDE}"
    try:
        with file_errors(path, "write"):
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # the new name too
            finally:
                os.close(folder)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def left_aside(folder: Path) -> list[Path]:
    """What `write_whole` left in a folder when its process was killed in the middle."""
    return [*folder.glob(f".*{ASIDE}")]
