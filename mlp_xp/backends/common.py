"""What the modules of the libraries share: errors, loops without compilation, and how
failures are reported.
"""

import importlib
import math
import traceback
from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.reading import LibraryBackend
from mlp_xp.backends.threads import LIMITS, ON_GPU, UNDECIDED, UNKNOWN
from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend, Carry
from mlp_xp.errors import MlpXpError, not_installed, one_line, with_colon

# Parts of the messages of XLA and PyTorch, in lower case; other libraries have an
# exception for it.
OUT_OF_MEMORY = (
    "resource_exhausted",
    "out of memory",
    "not enough memory",
    "can't allocate memory",
)
LONGEST_LINE = 200  # characters of a library's message that are shown
PACKAGE = Path(__file__).parent.parent
KEPT_BYTES = 31 * 2**20  # glibc's largest threshold is 32 MiB


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


class Details(NamedTuple):
    """What `Backend.details` holds."""

    errors: tuple[type[BaseException], ...] = (MemoryError,)
    """What the library raises if it fails through no fault of the caller. See
    `reported`.
    """
    thread_count: Callable[[], int | None] = LIMITS.count
    """Returns the number of threads of the library now; None if it is unknown."""
    imports: str = ""
    """A line of Python that imports the namespace as `xp` in a script of its own, with
    the device and the settings made here; empty for a foreign namespace.
    """
    materialise: Callable[..., Sequence[Array]] | None = None
    """The function of a hook that computes lazy arrays."""


def import_library(name: str, requirement: str) -> ModuleType:
    """Import a library by its name in BACKENDS. Raises BackendError."""
    module = name.replace("-", "_")
    try:
        return importlib.import_module(module)
    # ValueError: JAX, for one of its variables, which it names
    except (ImportError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise BackendError(
                f"backend {name}: {module} {not_installed(requirement)}"
            ) from error
        raise BackendError(
            f"backend {name}: {module} is installed but cannot be imported: {line_of(error)}"
        ) from error


def no_device(name: str, device: str | None, known: Sequence[str]) -> BackendError:
    """Return the error for a device that the library does not have."""
    return BackendError(
        f"backend {name}: device {device!r} is not available",
        remedy=f"choose one of {', '.join(known)}",
    )


# a step or a block, and what repeats it; see `Backend.scan`
Loop = Callable[..., tuple[Carry, Array]]
Rows = Callable[[Array], Sequence[Array]]


def rows_of(x: Array) -> Sequence[Array]:
    """Return x[i, ...] for every i."""
    return [x[i, ...] for i in range(x.shape[0])]


def eager_scan(
    step: Loop, carry: Carry, xs: Sequence[Array], /, *, xp: Any, rows: Rows = rows_of
) -> tuple[Carry, Array]:
    """Do what `Backend.scan` does in a plain Python loop. rows: a faster `rows_of`,
    where a library has one.
    """
    # What is empty, such as the masks without dropout, is the same in every step.
    columns = (rows(x) if math.prod(x.shape) else [x[0, ...]] * x.shape[0] for x in xs)
    ys = []
    for row in zip(*columns, strict=True):
        carry, y = step(carry, row)
        ys.append(y)
    return carry, xp.stack(ys)


def eager_scan_blocks(
    block: Loop, carry: Carry, xs: Sequence[Array], size: int, /, *, xp: Any
) -> tuple[Carry, Array]:
    """Do what `Backend.scan_blocks` does in a plain Python loop."""
    ys, n = [], xs[0].shape[0]
    for start in range(0, n, size):
        carry, y = block(carry, tuple(x[start : min(start + size, n), ...] for x in xs))
        ys.append(y)
    return carry, ys[0] if len(ys) == 1 else xp.concat(ys, axis=0)


def eager_jit(
    function: Callable[..., Any],
    from_numpy: Callable[[np.ndarray, Any], Array],
    donate: tuple[int, ...] = (),
    most_steps: int | None = None,
) -> Callable[..., Any]:
    """Do what `Backend.jit` does without compiling. from_numpy: copies the last
    argument of a chunk.
    """

    def chunk(*args: Any) -> Any:
        *others, steps = args
        return function(*others, tuple(from_numpy(x, None) for x in steps))

    # NumPy would warn of an overflow, which the caller sees in the result.
    return np.errstate(over="ignore", invalid="ignore")(
        wraps(function)(chunk) if most_steps else function
    )


def eager(
    name: str, version: str, xp: Any, device: Any, to_numpy: Callable[[Array], np.ndarray], details: Details,
    rows: Rows = rows_of, **others: Any,
) -> Backend:  # fmt: skip
    """Make a backend that does not compile. rows: see `eager_scan`. others: fields of
    Backend that have a default.
    """
    # not every library has the keyword
    place = {} if device is None else {"device": device}
    # glibc gives freed memory back to the system, and fetches it again at every step,
    # page by page, until it has once freed a block as large as this; then it keeps up
    # to twice as much.
    np.empty(KEPT_BYTES, np.uint8)

    def from_numpy(array: np.ndarray, dtype: Any) -> Array:
        # MLX makes float32 of float64 unless it is told
        kept = getattr(xp, array.dtype.name, None)
        return xp.asarray(
            array, dtype=kept if dtype is None else dtype, copy=True, **place
        )

    loops = partial(eager_scan, xp=xp, rows=rows), partial(eager_scan_blocks, xp=xp)
    jit = partial(eager_jit, from_numpy=from_numpy)
    others["threads"] = (
        ON_GPU if others.get("on_gpu") else UNDECIDED if LIMITS.controls() else UNKNOWN
    )
    return LibraryBackend(
        name,
        version,
        xp,
        device,
        None,
        from_numpy,
        to_numpy,
        *loops,
        jit,
        details=details,
        **others,
    )


def reported(
    backend: Backend, function: Callable[..., Any], doing: str = ""
) -> Callable[..., Any]:
    """Return the function, with errors of the library turned into BackendFailure or
    BackendOutOfMemory.

    doing: what the function does, for the message; by default its name.
    """
    doing = doing or getattr(function, "__name__", "a function").replace("_", " ")

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except backend.details.errors as error:
            # a foreign namespace may raise anything, so all is caught
            if isinstance(error, MlpXpError):
                raise
            raise _failure(backend.name, doing, error) from error

    return call


def _failure(name: str, doing: str, error: BaseException) -> BackendFailure:
    said = line_of(error)
    if isinstance(error, MemoryError) or any(
        words in said.lower() for words in OUT_OF_MEMORY
    ):
        return BackendOutOfMemory(
            f"out of memory: backend {name}, in {doing}: {said}",
            remedy="choose smaller sizes",
        )
    return BackendFailure(
        f"backend {with_colon(name)} failed in {doing}{_place(error)}: {said}",
        remedy="try another backend or device, or see more with --debug",
    )


def _place(error: BaseException) -> str:
    """Return the line of the package that called the library, as `, at file:line
    (source)`, if there is one.
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if (
            PACKAGE in path.parents
            and PACKAGE / "backends" not in path.parents
            and path.stem != "library"
        ):
            place = f"{path.relative_to(PACKAGE.parent).as_posix()}:{frame.lineno}"
            return f", at {place} ({frame.line})"
    return ""


def line_of(error: BaseException) -> str:
    """Return the type and the message of an exception as one line; of a long message
    its beginning.
    """
    line = one_line(error)
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."
