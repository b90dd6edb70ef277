"""An opened array library: what the rest of the package may ask of it, and how its failures are reported."""

import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.backends.threads import (
    LIMITS,
    ON_GPU,
    UNDECIDED,
    Threads,
    check_threads,
    in_words,
    threads_by_work,
    threads_chosen,
)
from mlp_xp.core.functional import Activation, Array, find_activation
from mlp_xp.core.loop import Scan
from mlp_xp.errors import MlpXpError, described, with_colon, without_comment

# Parts of the messages of XLA and PyTorch, in lower case; other libraries have an exception for it.
OUT_OF_MEMORY = ("resource_exhausted", "out of memory", "not enough memory", "can't allocate memory")
ADVICE = "; try another backend or device, or see more with --debug"
ON_BEHALF_OF_OTHERS = ("library", "opening", "foreign")  # modules that call a library
LONGEST_LINE = 200  # characters of a library's message that are shown


class BackendError(MlpXpError):
    """A backend that is unknown, not installed or not usable here, or a device or dtype that it does not have."""


class BackendFailure(MlpXpError):  # noqa: N818
    """An array library that failed while it computed or copied: its own error, in one line."""

    exit_code = 3


class BackendOutOfMemory(BackendFailure):
    """An array library that could not allocate memory."""

    exit_code = 2


@dataclass(frozen=True, eq=False)
class Backend:
    """One array library, opened on one device with one floating-point dtype.

    Compared and hashed by identity, because what it holds need not be hashable: CuPy's devices are not.
    """

    name: str
    version: str
    xp: Any
    """The array API namespace, which functions take as keyword `xp`."""
    device: Any
    """A device object of the library, for the `device` argument of its creation functions."""
    dtype: Any
    """The namespace's float64 or float32."""
    from_numpy: Callable[[np.ndarray, Any], Array]
    """`from_numpy(array, dtype)` copies a contiguous host array to the device; None keeps its dtype. See `asarray`."""
    to_numpy: Callable[[Array], np.ndarray]
    """Copies a device array to the host. Single numbers are also read with float() and int()."""
    scan: Scan
    """Repeats a step, or a block of them; see `loops.eager_scan` for the contract. With `counts_steps`, a fourth
    argument may say how many steps to take, an integer array () from 1 to n; the y of the others are 0."""
    jit: Callable[..., Callable[..., Any]]
    """`jit(function, donate=())` returns a function that computes the same: compiled where the library compiles, else
    run on `threads`. The function may overwrite the arguments at the positions in `donate`. A function without such
    arguments is assumed to be called seldom: it may be compiled in half the time to code that takes a tenth longer."""
    threads: Threads = UNDECIDED
    """On how many threads functions from `jit` compute. As long as no number is chosen, on one, or as many as variables
    say; see `choose_threads`."""
    thread_count: Callable[[], int | None] = lambda: None
    """Returns the number of threads of the library outside such functions; None if it is unknown."""
    thread_libraries: tuple[Any, ...] = ()
    """What has `get_num_threads()` and `set_num_threads(number)` of its own, besides what threadpoolctl finds."""
    errors: tuple[type[BaseException], ...] = (MemoryError,)
    """What the library raises if it fails through no fault of the caller. See `reported`."""
    imports: tuple[str, ...] = ()
    """Lines of Python that import the namespace as `xp` in a script of its own, with the device and the settings made
    here: first the library's own namespace, which has most functions, then the one used here. Empty for others."""
    dtype_name: str = "float64"
    """float64 or float32: the one that was asked for, not what `finfo` of a foreign namespace says."""
    copy_source: str = "np.asarray"
    """The function, as Python source, with which such a script copies an array to the host."""
    compiles: bool = False
    """Whether `jit` compiles a function as a whole, so that operations on small arrays cost little."""
    functions: tuple[tuple[Callable[..., Array], Callable[..., Array]], ...] = ()
    """Functions of activations, each with the library's own that computes the same faster. (Links of losses stay.)"""
    counts_steps: bool = False
    """Whether one compiled function is to serve chunks of all lengths, because `scan` can count the steps to take."""

    def __repr__(self) -> str:
        return f"Backend({self.name!r}, {self.version}, {self.device_name or 'default device'}, {self.dtype_name})"

    @property
    def device_name(self) -> str | None:
        """The device's name as `open_backend` takes it; None for a foreign namespace, whose default device is used."""
        return None if self.device is None else name_of(self.device)

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU, which has its own memory."""
        return self.threads == ON_GPU

    @property
    def itemsize(self) -> int:
        """Bytes of a number of the dtype."""
        return int(self.xp.finfo(self.dtype).bits) // 8

    def reported(self, function: Callable[..., Any], doing: str = "") -> Callable[..., Any]:
        """Return the function, with `errors` of the library turned into BackendFailure or BackendOutOfMemory.

        doing: what the function does, for the message; by default its name. `open_backend` applies this to `from_numpy`
        and `to_numpy`, and to all functions from `jit`.
        """
        doing = doing or getattr(function, "__name__", "a function").replace("_", " ")

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except self.errors as error:
                if isinstance(error, MlpXpError):  # a foreign namespace may raise anything, so all is caught
                    raise
                raise _failure(self.name, doing, error) from error

        return call

    @np.errstate(over="ignore")  # a value beyond float32 becomes inf without a warning, as on other libraries
    def asarray(self, array: Any, dtype: Any = None) -> Array:
        """Copy a host array (NumPy, native byte order) to the device. dtype: None keeps the array's own."""
        return self.from_numpy(np.asarray(array, order="C"), dtype)

    def choose_threads(self, work: int, before: int | None = None) -> "Backend":
        """Return this backend with its number of threads chosen for steps of so much work, if it is not.

        A number that `open_backend` was given comes first, then `before`, that of a run to resume, then environment
        variables (`threads_chosen`), and then a rule (`threads_by_work`). Where no number can be chosen, as with JAX,
        this backend itself is returned. work: samples x parameters, the multiply-adds of a forward pass.
        """
        if self.threads.number is not None or not self.threads.adjustable:
            return self
        if before is not None:
            return self.on_threads(before, "as when the run began")
        if variables := threads_chosen():
            names = ", ".join(f"{name}={value}" for name, value in variables.items())
            return replace(self, threads=self.threads._replace(number=self.thread_count(), reason=names))
        number, reason = threads_by_work(work)
        return self.on_threads(number, reason)

    def on_threads(self, number: int, reason: str) -> "Backend":
        """Return this backend with so many threads: the same object for the same ones.

        Python threads that compute on different numbers of threads at once wait for each other, because the numbers
        are the process's. Raises ThreadsError, and BackendError where no number can be chosen.
        """
        check_threads(number)
        if not self.threads.adjustable:
            if self.threads.number == number:
                return self
            why = f"{self.threads.reason}; leave the number out"
            raise BackendError(f"backend {self.name} cannot compute on {in_words(number)}: {why}", setting="threads")
        return _on_threads(self, self.threads._replace(number=number, reason=reason))

    def activation(self, activation: str | Activation) -> Activation:
        """Return an activation, given by its name or as it is, with the library's own function where it has one."""
        found = find_activation(activation)
        return found._replace(function=dict(self.functions).get(found.function, found.function))


@lru_cache(maxsize=64)
def _on_threads(backend: Backend, threads: Threads) -> Backend:
    LIMITS.look()

    def jit(function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Callable[..., Any]:
        return limited(backend.jit(function, donate), threads.number)

    assert threads.number is not None
    with LIMITS.at(threads.number):
        count = backend.thread_count()  # a library may have a limit of its own
    return replace(backend, jit=jit, threads=threads if count is None else threads._replace(number=count))


def limited(function: Callable[..., Any], number: int | None = None) -> Callable[..., Any]:
    """Return a function that computes on so many threads, or by default as `LIMITS.default` says."""

    @wraps(function)
    def call(*args: Any) -> Any:
        with LIMITS.default() if number is None else LIMITS.at(number):
            return function(*args)

    return call


def _failure(name: str, doing: str, error: BaseException) -> BackendFailure:
    said = line_of(error)
    if isinstance(error, MemoryError) or any(words in said.lower() for words in OUT_OF_MEMORY):
        return BackendOutOfMemory(f"out of memory: backend {name}, in {doing}: {said}; choose smaller sizes")
    return BackendFailure(f"backend {with_colon(name)} failed in {doing}{_place(error)}: {said}{ADVICE}")


def _place(error: BaseException) -> str:
    """Return the line of the package that called the library, as `, at file:line (source)`, if there is one."""
    package = Path(__file__).parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if package in Path(frame.filename).parents and Path(frame.filename).stem not in ON_BEHALF_OF_OTHERS:
            place = f"{Path(frame.filename).relative_to(package.parent).as_posix()}:{frame.lineno}"
            return f", at {place} ({without_comment(frame.line or '')})"
    return ""


def line_of(error: BaseException) -> str:
    """Return the type and the message of an exception as one line; of a long message its beginning."""
    line = described(error)
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 3]}..."


def name_of(device: Any) -> str:
    """Return the name of a library's device object, as `open_backend` takes it."""
    name = re.sub(r".*Device\('(.*)'\)", r"\1", str(device))  # array-api-strict's
    return re.sub(r"<CUDA Device (\d+)>", r"cuda:\1", name)  # CuPy's
