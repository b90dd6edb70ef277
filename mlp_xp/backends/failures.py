"""Failures of array libraries, which may have any type and any message, in one line."""

import importlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mlp_xp.errors import MlpXpError, not_installed, one_line, with_colon

# Parts of the messages of XLA and PyTorch, in lower case. Other libraries have an
# exception for it.
_OUT_OF_MEMORY = (
    "resource_exhausted",
    "out of memory",
    "not enough memory",
    "can't allocate memory",
)
_LONGEST_LINE = 200  # characters of a library's message that are shown
PACKAGE = Path(__file__).parent.parent


class BackendError(MlpXpError):
    """A backend that is unknown, not installed or not usable here, or a device or dtype
    that it does not have.
    """


class BackendFailure(MlpXpError):  # noqa: N818
    """An array library failed while it computed or copied. The message has its own
    error, in one line.
    """

    exit_code = 3


class BackendOutOfMemory(BackendFailure):
    """An array library could not allocate memory."""

    exit_code = 2


def import_library(name: str, requirement: str) -> ModuleType:
    """Import a library.

    Args:
        name: Its name in BACKENDS.
        requirement: What pip installs.

    Raises:
        BackendError: It is not installed, or cannot be imported.
    """
    module = name.replace("-", "_")
    try:
        return importlib.import_module(module)
    # ValueError: JAX, for one of its variables, which it names
    except (ImportError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            reason = not_installed(requirement)
        else:
            reason = f"is installed but cannot be imported: {line_of(error)}"
        raise BackendError(f"backend {name}: {module} {reason}") from error


def no_device(name: str, device: str | None, known: Sequence[str]) -> BackendError:
    """Return the error for a device that the library does not have."""
    fault = f"backend {name}: device {device!r} is not available"
    return BackendError(fault, remedy=f"choose one of {', '.join(known)}")


def failure(name: str, doing: str, error: BaseException) -> BackendFailure:
    """Return the error for a failure of a library.

    Args:
        name: The name of the backend.
        doing: The work in which it failed, such as "a transfer to the host".
        error: The library's own exception.
    """
    said = line_of(error)
    is_memory = isinstance(error, MemoryError)
    if is_memory or any(words in said.lower() for words in _OUT_OF_MEMORY):
        fault = f"out of memory: backend {name}, in {doing}: {said}"
        return BackendOutOfMemory(fault, remedy="choose smaller sizes")
    fault = f"backend {with_colon(name)} failed in {doing}{_place(error)}: {said}"
    remedy = "try another backend or device, or see more with --debug"
    return BackendFailure(fault, remedy=remedy)


def _place(error: BaseException) -> str:
    """Return the line of the package that called the library, as `, at file:line
    (source)`, if there is one.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if PACKAGE in path.parents and PACKAGE / "backends" not in path.parents:
            place = f"{path.relative_to(PACKAGE.parent).as_posix()}:{frame.lineno}"
            return f", at {place} ({frame.line})"
    return ""


def line_of(error: BaseException) -> str:
    """Return the type and the message of an exception as one line; of a long message
    its beginning.
    """
    line = one_line(error)
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..."
