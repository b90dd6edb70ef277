"""Run array code on a library, and repeat each of its operations on NumPy.

A `Tracer` has a `Namespace` in place of the library's, and each array of the library is
in a `Traced`. Functions of the namespace and operators of arrays both go through
`Tracer.call`: the library computes, NumPy repeats the operation from copies of the same
inputs, and the results are compared (see `_bounds`). The code under trace needs no
change.
"""

import contextlib
import linecache
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import array_api_compat.numpy as numpy_xp
import numpy as np

from mlp_xp.backends.failures import BackendFailure
from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.errors import one_line, with_colon
from mlp_xp.parity._bounds import INPLACE, Verdict, check
from mlp_xp.parity.operations import BINARY, SYMBOLS, Operation

PACKAGE = Path(__file__).resolve().parent.parent
# The standard: "calculates an implementation-dependent approximation".
APPROXIMATIONS = {"exp", "log", "log1p", "tanh"}
ATTRIBUTES = ("shape", "dtype", "device", "ndim", "size")
DTYPES = (
    "float64",
    "float32",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


@dataclass
class Tracer:
    """Calls the operations of a library, and compares each with NumPy's."""

    backend: Backend
    """The library under test."""
    when: str = ""
    """The state of the program in words, for reports."""
    least_bound: float = 0.0
    """The smallest bound of APPROXIMATIONS, in eps."""
    calls: int = 0
    """The number of operations so far."""
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)
    """The verdicts of all operations, by name."""
    deviating: dict[str, Operation] = field(default_factory=dict)
    """The first deviating operation of each name, in the order of the program."""
    raised: Operation | None = None
    """The operation in which the library raised, if any."""
    failure: Exception | None = None
    """The exception at an early end of the program, set by its caller."""
    go_betweens: ClassVar[tuple[str, ...]] = (
        __file__,
        contextlib.__file__,  # decorators such as np.errstate
        str(Path(np.__file__).parent),
    )
    """Files and folders whose code calls operations on behalf of a program."""

    def __post_init__(self) -> None:
        xp = self.backend.xp
        self.xp = Namespace(self)
        self._dtypes = [
            (np.dtype(name), getattr(xp, name)) for name in DTYPES if hasattr(xp, name)
        ]

    def call(
        self,
        name: str,
        function: Callable[..., Any],
        reference: Callable[..., Any] | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of the library, and return its result after the comparison.

        `reference` is NumPy's function. It is None if the function takes NumPy's arrays
        too. Raises BackendFailure if the library raises.
        """
        kwargs = kwargs or {}
        host_kwargs = {key: value for key, value in kwargs.items() if key != "device"}
        self.calls += 1
        operation = Operation(
            number=self.calls,
            when=self.when,
            name=name,
            args=_map(self._on_host, args),
            kwargs=_map(self._on_host, host_kwargs),
            place=self._place(),
            reference=reference or function,
        )
        operands = [x for x in _leaves((args, kwargs)) if isinstance(x, Traced)]
        try:
            result = function(*_map(_own, args), **_map(_own, kwargs))
            is_array = hasattr(result, "shape") and hasattr(result, "dtype")
            if is_array:
                host_result = self.backend.to_numpy(result)
            else:
                host_result = np.asarray(result)
            changed = self._refresh(operands, name, result, host_result)
        except (Exception, SystemExit) as error:  # a library may raise anything
            raise self._failure(operation, error) from error

        operation = operation._replace(result=host_result)
        if not is_array:
            problem = f"is a {type(result).__name__}, not an array"
            verdict = Verdict(problem=problem)
        elif changed:
            problem = f"changes its argument {changed}, unless an earlier operation did"
            verdict = Verdict(problem=problem, changed=changed)
        else:
            verdict = self._compare(operation)
        self._add(operation._replace(verdict=verdict))
        if not is_array:
            return result
        for operand in operands:
            # An operator in place returns its changed operand. A copy is another array,
            # whatever the library returns.
            if operand.array is result and not kwargs.get("copy"):
                operand.host = host_result
                return operand
        return Traced(result, self, host_result)

    def _on_host(self, x: Any) -> Any:
        """Return NumPy's array or dtype for one of the library, and all else as is."""
        if isinstance(x, Traced):
            return x.host
        plain = (bool, int, float, slice, np.ndarray)
        if x is None or x is Ellipsis or isinstance(x, plain):
            return x
        for dtype, own in self._dtypes:
            if own == x:
                return dtype
        return x

    def _refresh(
        self,
        operands: list["Traced"],
        name: str,
        result: Array,
        host_result: np.ndarray,
    ) -> int:
        """Copy the operands to the host again, and look for changes.

        Return the number of the first operand changed by mistake, from 1, or 0.
        """
        first_changed = 0
        for number, operand in enumerate(operands, 1):
            before = operand.host
            operand.host = self.backend.to_numpy(operand.array)
            # An operation in place may return a new object for the changed memory.
            in_place = name in INPLACE and (
                operand.array is result
                or (number == 1 and _equal(host_result, operand.host))
            )
            if not (first_changed or in_place or _equal(before, operand.host)):
                first_changed = number
        return first_changed

    def _failure(self, operation: Operation, error: BaseException) -> BackendFailure:
        """Keep an operation whose library raised, and return the error."""
        # The backend's own methods turn an error of the library into a BackendFailure.
        if isinstance(error, BackendFailure) and error.__cause__:
            error = error.__cause__
        problem = f"raised {one_line(error)}"
        self.raised = operation._replace(verdict=Verdict(problem=problem))
        return BackendFailure(
            f"backend {with_colon(self.backend.name)} operation {operation.number}, "
            f"{operation.when}, {operation} at {operation.place} {problem}"
        )

    def _compare(self, operation: Operation) -> Verdict:
        """Compare the result of an operation with NumPy's."""
        name, args, kwargs = operation.name, operation.args, operation.kwargs
        verdict = check(name, operation.reference, args, kwargs, operation.result)
        if name in APPROXIMATIONS:
            verdict = verdict._replace(bound=max(verdict.bound, self.least_bound))
        return verdict

    def _add(self, operation: Operation) -> None:
        self.verdicts.setdefault(operation.name, []).append(operation.verdict)
        if operation.verdict.deviates:
            self.deviating.setdefault(operation.name, operation)

    def _place(self) -> str:
        """Return the line of the program under trace, as `file:line (text)`."""
        frame = sys._getframe()
        while frame.f_code.co_filename.startswith(self.go_betweens) and frame.f_back:
            frame = frame.f_back
        file, line = frame.f_code.co_filename, frame.f_lineno
        path = Path(file)
        if PACKAGE in path.parents:
            path = path.relative_to(PACKAGE.parent)
        return f"{path.as_posix()}:{line} ({linecache.getline(file, line).strip()})"


class Namespace:
    """The namespace of a library, whose functions go through a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __getattr__(self, name: str) -> Any:
        tracer = self._tracer
        function = getattr(tracer.backend.xp, name)
        if name in DTYPES or not callable(function):
            return function
        # The function `matmul` is not the operator of that name.
        recorded = f"xp.{name}" if name in SYMBOLS else name

        def call(*args: Any, **kwargs: Any) -> Any:
            reference = getattr(numpy_xp, name)
            return tracer.call(recorded, function, reference, args, kwargs)

        self.__dict__[name] = call
        return call


class Traced:
    """An array of a library, whose operators go through a tracer.

    Args:
        array: The array of the library.
        tracer: The tracer.
        host: A copy of the last known content of the array.
    """

    __slots__ = ("_tracer", "array", "host")
    __array_ufunc__ = None  # NumPy's scalars leave operators to this class
    __hash__ = __bool__ = None  # type: ignore[assignment]

    def __init__(self, array: Array, tracer: Tracer, host: np.ndarray) -> None:
        self.array = array
        self.host = host
        self._tracer = tracer

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return self._tracer.xp

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("a traced array becomes a NumPy array only by Backend.to_numpy")

    def __getattr__(self, name: str) -> Any:
        if name == "T":
            return self._tracer.call("T", operator.attrgetter("T"), None, (self,))
        if name in ATTRIBUTES:
            return getattr(self.array, name)
        raise AttributeError(f"{name}: not every library has it; use a function of xp")


def _operator(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    """Return a method of `Traced` for a function of the module `operator`."""
    function = getattr(operator, name)

    def call(self: Traced, *others: Any) -> Any:
        args = (*others, self) if reflected else (self, *others)
        return self._tracer.call(name, function, None, args)

    return call


for _name in (*SYMBOLS, "getitem", "neg"):
    setattr(Traced, f"__{_name}__", _operator(_name))
for _name in BINARY:
    setattr(Traced, f"__r{_name}__", _operator(_name, reflected=True))


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Replace everything in nested tuples, lists and dictionaries by its result."""
    if type(tree) is dict:
        return {key: _map(function, value) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)([_map(function, each) for each in tree])
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    _map(found.append, tree)
    return found


def _own(x: Any) -> Any:
    """Return the library's array of a traced one, and all else as it is."""
    return x.array if isinstance(x, Traced) else x


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether arrays are equal, NaN included."""
    return np.array_equal(a, b) or a.tobytes() == b.tobytes()
