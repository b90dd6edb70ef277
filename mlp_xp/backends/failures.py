"""Failures of array libraries, in one line.

Libraries may raise exceptions of any type, with any message.
"""

import importlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mlp_xp.errors import MlpXpError, not_installed, one_line, with_colon

# Parts of the messages of XLA and PyTorch, in lower case. Other libraries raise
# MemoryError.
_OUT_OF_MEMORY = (
    "resource_exhausted",
    "out of memory",
    "not enough memory",
    "can't allocate memory",
)
_LONGEST_LINE = 200  # the most characters shown of a library's message
PACKAGE = Path(__file__).parent.parent


class BackendError(MlpXpError):
    """A backend cannot be opened, or lacks the device or dtype."""


class BackendFailure(MlpXpError):  # noqa: N818
    """An array library failed while it computed or copied.

    The message contains the library's own error.
    """

    exit_code = 3


class BackendOutOfMemory(BackendFailure):
    """An array library could not allocate memory."""

    exit_code = 2


def import_library(name: str, requirement: str) -> ModuleType:
    """Import the library of a backend.

    Args:
        name: The backend's name in BACKENDS.
        requirement: The requirement to install with pip.

    Raises:
        BackendError: The library is not installed, or cannot be imported.
    """
    module = name.replace("-", "_")
    try:
        return importlib.import_module(module)
    # JAX raises ValueError for an invalid environment variable.
    except (ImportError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            reason = not_installed(requirement)
        else:
            reason = f"is installed but cannot be imported: {line_of(error)}"
        raise BackendError(f"backend {name}: {module} {reason}") from error


def no_device(name: str, device: str | None, known: Sequence[str]) -> BackendError:
    """Return the error for a device the library does not have."""
    fault = f"backend {name}: device {device!r} is not available"
    return BackendError(fault, remedy=f"choose one of {', '.join(known)}")


def failure(name: str, doing: str, error: BaseException) -> BackendFailure:
    """Return the error for an exception raised by a library.

    Args:
        name: The name of the backend.
        doing: The failed work, such as "a transfer to the host".
        error: The library's own exception.
    """
    message = line_of(error)
    words = message.lower()
    if isinstance(error, MemoryError) or any(each in words for each in _OUT_OF_MEMORY):
        fault = f"out of memory: backend {name}, in {doing}: {message}"
        return BackendOutOfMemory(fault, remedy="choose smaller sizes")
    fault = f"backend {with_colon(name)} failed in {doing}{_place(error)}: {message}"
    remedy = "try another backend or device, or see more with --debug"
    return BackendFailure(fault, remedy=remedy)


def _place(error: BaseException) -> str:
    """Return the line of this package that called the library, or an empty string.

    The line is in the form `, at file:line (source)`.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if PACKAGE in path.parents and PACKAGE / "backends" not in path.parents:
            place = f"{path.relative_to(PACKAGE.parent).as_posix()}:{frame.lineno}"
            return f", at {place} ({frame.line})"
    return ""


def line_of(error: BaseException) -> str:
    """Return the type and message of an exception as one line, shortened if long."""
    line = one_line(error)
    if len(line) > _LONGEST_LINE:
        return f"{line[: _LONGEST_LINE - 3]}..."
    return line
