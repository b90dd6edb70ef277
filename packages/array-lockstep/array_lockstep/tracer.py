"""Run array code on a library, and repeat each of its operations on NumPy.

A `Tracer` puts a `Namespace` in place of the library's namespace, and a `Traced` around
each array of the library. Functions of the namespace and operators of arrays both go
through `Tracer.call`: the library computes, NumPy repeats the operation from copies of
the same inputs, and the results are compared (see `bounds`). The code under trace
needs no change.
"""

import contextlib
import copy
import functools
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType, ModuleType
from typing import Any, ClassVar, NamedTuple

import array_api_compat.numpy as numpy_xp
import numpy as np

from array_lockstep.bounds import Verdict, words_of
from array_lockstep.errors import kind_of, one_line
from array_lockstep.judge import INSPECTION, STANDARD, inspection_fault, judge
from array_lockstep.libraries import Array, Library
from array_lockstep.operations import Operation
from array_lockstep.operators import BINARY, FUNCTIONS, INPLACE, SYMBOLS, UNARY
from array_lockstep.places import Place, place_in

PACKAGE = f"{Path(__file__).resolve().parent}{os.sep}"
ATTRIBUTES = ("shape", "dtype", "device", "ndim", "size")
DTYPES = words_of("""
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64
    float16 float32 float64 complex64 complex128
""")
EXTENSIONS = ("linalg", "fft")
METHOD_KINDS = {
    **dict.fromkeys(("tolist", "numpy", "cpu", "get"), "transfers"),
    **dict.fromkeys(("item", "block_until_ready"), "syncs"),
}
"""Methods with a kind of notice other than `outside`."""
calls_library: ContextVar[bool] = ContextVar("calls_library", default=False)
"""Whether code of the library runs in this thread now, not of the program."""


def sources(module: ModuleType) -> tuple[str, ...]:
    """Return the file of a module, or the folders of a package, with a separator."""
    if hasattr(module, "__path__"):
        return tuple(f"{folder}{os.sep}" for folder in module.__path__)
    file = getattr(module, "__file__", None)
    return (file,) if file else ()


@dataclass(repr=False)
class Tracer:
    """Calls the operations of a library, and compares each with NumPy's."""

    library: Library
    """The library under test."""
    deviating: dict[str, Operation] = field(default_factory=dict)
    """The first deviating operation of each name, in the order of the program."""
    raised: Operation | None = None
    """The operation in which the library raised, if any."""
    error: BaseException | None = None
    """The exception of `raised`."""
    is_over: bool = False
    """Whether the program has ended. Its arrays may still exist."""
    writes: int = 0
    """The number of operations that may have changed arrays through a view."""
    is_shared: bool = False
    """Whether NumPy's arrays may share the memory of the library's."""
    go_betweens: ClassVar[tuple[str, ...]] = (
        PACKAGE,
        # decorators such as np.errstate
        contextlib.contextmanager.__code__.co_filename,
        functools.singledispatch.__code__.co_filename,
        *sources(np),
    )
    """The starts of the paths of code that calls operations for a program."""
    names_another: ClassVar[bool] = False
    """Whether arrays of the library name a namespace other than the one under test."""

    kinds: dict[type, Any] = field(default_factory=dict)
    """The classes of traced arrays for classes of the library."""

    def __post_init__(self) -> None:
        xp = self.library.xp
        self._namespaces: dict[int, Namespace] = {}
        self.xp = self.namespace(xp)
        self._dtypes = [*_dtypes_of(xp)]
        self.lock = threading.RLock()
        """Held during an operation, by threads of a program."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.library.name!r}, "
            f"deviating={[*self.deviating]})"
        )

    def namespace(self, xp: Any) -> "Namespace":
        """Return the traced namespace for a namespace of the library."""
        if id(xp) not in self._namespaces:
            self._namespaces[id(xp)] = Namespace(self, xp)
        return self._namespaces[id(xp)]

    def answer(self, xp: Any) -> "Namespace":
        """Return the namespace for a program whose arrays name `xp`."""
        return self.xp if self.names_another else self.namespace(xp)

    def wrap(self, array: Array) -> "Traced":
        """Return an array of the library as a traced array."""
        return Traced(array, self)

    def notice(self, kind: str, event: str, name: str = "") -> None:
        """Take note of an event that is not an operation of the standard.

        Args:
            kind: `transfers`, `syncs`, `outside` or `escaped`.
            event: The event as Python text.
            name: The name of the operation. By default it follows from the text.
        """

    def namespace_of(self, array: "Traced", api_version: str | None) -> "Namespace":
        """Return the namespace for which an array is asked."""
        return self.xp

    def attribute(self, array: "Traced", name: str) -> Any:
        """Return an attribute of an array as the library has it.

        An attribute outside the standard is noted. A method is noted when it is called.
        """
        own = getattr(array.array, name)
        if name in ATTRIBUTES:
            return own
        if name.startswith("__array_"):  # a way to the memory without the tracer
            raise AttributeError(name)
        called = f"array.{name}"
        if callable(own):

            def method(*args: Any, **kwargs: Any) -> Any:
                kind = METHOD_KINDS.get(name, "outside")
                devices = (*args[:1], kwargs.get("device"))
                if name == "to" and any(array.is_moved_to(x) for x in devices):
                    kind = "transfers"
                self.notice(kind, f"{called}()")
                function, all_args = _method_of(name), (array, *args)
                value = self.call(
                    LibraryCall(called, function, all_args, kwargs, outside=True)
                )
                if name in ("item", "tolist") and not (args or kwargs):
                    self.check_value(array, name, value)
                return value

            return method
        self.notice("outside", called)
        if is_array(own):
            function = operator.attrgetter(name)
            return self.call(LibraryCall(called, function, (array,), outside=True))
        has_items = hasattr(own, "__getitem__") and not isinstance(own, tuple | str)
        return Held(own, array, called) if has_items else own

    def call(self, call: "LibraryCall") -> Any:
        """Call a function of the library, and return its result after the comparison.

        Raises the errors of the library.
        """
        name, args, kwargs = call.name, call.args, call.kwargs
        operands = [x for x in leaves((args, kwargs)) if isinstance(x, Traced)]
        in_place = name in INPLACE or name == "setitem"
        for operand in operands:
            # another array, or an array of NumPy, may share its memory
            if operand.seen_writes != self.writes or self.is_shared:
                operand._look()
        host_kwargs = {key: value for key, value in kwargs.items() if key != "device"}
        operation = Operation(
            name,
            call.reference or call.function,
            map_tree(self._on_host, args),
            map_tree(self._on_host, host_kwargs),
            place=self.place(),
        )
        try:
            result = call.untraced()
            if in_place or call.outside:
                self.writes += 1
            traced = self._traced(result, () if kwargs.get("copy") else operands)
            changed = self._refresh(operands, in_place)
        except (Exception, SystemExit) as error:  # a library may raise anything
            problem = f"raised {one_line(error)}"
            self.raised = operation._replace(verdict=Verdict(problem=problem))
            self.error = error
            raise
        if not call.outside:
            self._judge(operation, result, traced, changed)
        return traced

    def _judge(
        self, operation: Operation, result: Any, traced: Any, changed: int
    ) -> None:
        """Compare a result, and look for a changed argument."""
        hosts = _hosts(traced)
        if operation.name in INSPECTION:
            operation = operation._replace(result=self._on_host(result))
            verdict = Verdict(problem=inspection_fault(operation))
        elif hosts is None:
            problem = f"is {kind_of(result)}, not an array"
            operation = operation._replace(result=np.asarray(result))
            verdict = Verdict(problem=problem)
            is_operator = operation.name in SYMBOLS
            if is_operator and isinstance(result, np.ndarray | np.generic):
                self.notice("transfers", str(operation), operation.name)
                reason = "the operator of NumPy computes it"
                verdict = Verdict(unjudged=reason, outside=True)
            elif is_operator and not all(map(_is_plain, operation.args)):
                reason = "an operand is of another class"  # with operators of its own
                verdict = Verdict(unjudged=reason, outside=True)
        elif changed:
            problem = f"changes its array {changed}, unless an earlier operation did"
            operation = operation._replace(result=hosts)
            verdict = Verdict(problem=problem, changed=changed)
        else:
            operation = operation._replace(result=hosts)
            verdict = self._compare(operation)
        self._add(operation._replace(verdict=verdict))

    def _traced(self, result: Any, operands: Sequence["Traced"]) -> Any:
        """Return the result of an operation with traced arrays.

        An operator in place returns one of the operands.
        """

        def trace(x: Any) -> Any:
            for operand in operands:
                if operand.array is x:
                    return operand
            return self.wrap(x) if self.owns(x) else x

        return map_tree(trace, result)

    def owns(self, x: Any) -> bool:
        """Return whether an object of the library is an array."""
        return is_array(x)

    def _on_host(self, x: Any) -> Any:
        """Convert the library's array or dtype to NumPy's. Return all else as is."""
        if isinstance(x, Traced):
            return x.host
        if isinstance(x, np.ndarray | np.generic):
            return x
        if is_array(x):
            return self.library.to_numpy(x)
        for dtype, own in self._dtypes:
            if type(own) is type(x) and own == x:
                return dtype
        return x

    def _refresh(self, operands: list["Traced"], in_place: bool) -> int:
        """Copy the operands to the host again, and look for changes.

        Return the number of the first operand changed by mistake, from 1, or 0.
        """
        first_changed = 0
        for number, operand in enumerate(operands, 1):
            is_target = in_place and operand.array is operands[0].array
            may_change = is_target or operand.seen_writes != self.writes
            before = operand.host
            operand._look()
            if not (first_changed or may_change or _equal(before, operand.host)):
                first_changed = number
        return first_changed

    def _compare(self, operation: Operation) -> Verdict:
        """Compare the result of an operation with NumPy's."""
        return judge(operation)

    def check_value(self, array: "Traced", name: str, value: Any) -> None:
        """Compare a Python value of an array, such as `float(x)`, with the host copy's.

        A right value does not count as an operation.
        """
        with self.lock:
            if array.seen_writes != self.writes:
                array._look()
        reference = functools.partial(_value_of, name)
        expected = reference(array.host)
        if np.array_equal(np.asarray(value), np.asarray(expected), equal_nan=True):
            return
        problem = f"is {value!r:.80} instead of {expected!r:.80}"
        self._add(
            Operation(
                name,
                reference,
                (array.host,),
                {},
                np.asarray(value),
                self.place(),
                Verdict(problem=problem),
            )
        )

    def _add(self, operation: Operation) -> None:
        if operation.verdict.deviates:
            self.deviating.setdefault(operation.name, operation)

    def place(self) -> Place:
        """Return the line of the program under trace."""
        return place_in(caller(self.is_go_between))

    def is_go_between(self, file: str) -> bool:
        """Return whether the code of a file is not part of the program."""
        return file.startswith(self.go_betweens)


def caller(is_go_between: Callable[[str], bool]) -> FrameType:
    """Return the nearest frame whose file is not a go-between."""
    frame = sys._getframe(1)
    while frame.f_back and is_go_between(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


class Namespace(ModuleType):
    """A namespace of a library. Its functions go through a tracer.

    Args:
        tracer: The tracer.
        xp: The namespace of the library.
        prefix: The name of an extension with a full stop, such as `linalg.`.
        outside: Whether the namespace is outside the standard.
    """

    def __init__(
        self, tracer: Tracer, xp: Any, prefix: str = "", *, outside: bool = False
    ) -> None:
        name = getattr(xp, "__name__", "") or type(xp).__name__
        super().__init__(str(name), getattr(xp, "__doc__", None))
        self._tracer = tracer
        self._own = xp
        self._prefix = prefix
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._own, name)
        found = self._traced(name, own)
        if not name.startswith("__"):
            self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return dir(self._own)

    def __eq__(self, other: object) -> bool:
        own = other._own if isinstance(other, Namespace) else other
        return self._own is own

    def __hash__(self) -> int:
        return object.__hash__(self._own)

    def _traced(self, name: str, own: Any) -> Any:
        tracer = self._tracer
        full_name = self._prefix + name
        if isinstance(own, ModuleType) or full_name in EXTENSIONS:
            outside = self._outside or name not in EXTENSIONS
            return Namespace(tracer, own, f"{full_name}.", outside=outside)
        if name in DTYPES or isinstance(own, type) or not callable(own):
            return own

        def call_outside(*args: Any, **kwargs: Any) -> Any:
            tracer.notice("outside", f"xp.{full_name}")
            return tracer.call(LibraryCall(full_name, own, args, kwargs, outside=True))

        if self._outside or full_name not in STANDARD:
            return call_outside
        # The function `matmul` is not the operator of that name.
        recorded = f"xp.{full_name}" if full_name in SYMBOLS else full_name

        def reference(*args: Any, **kwargs: Any) -> Any:
            return operator.attrgetter(full_name)(numpy_xp)(*args, **kwargs)

        def call(*args: Any, **kwargs: Any) -> Any:
            if kwargs.get("out") is not None:
                return call_outside(*args, **kwargs)
            return tracer.call(LibraryCall(recorded, own, args, kwargs, reference))

        return call


class Traced:
    """An array of a library. Its operators go through a tracer.

    Args:
        array: The array of the library.
        tracer: The tracer.
    """

    __slots__ = ("__weakref__", "_tracer", "array", "host", "seen_writes")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, array: Array, tracer: Tracer) -> None:
        self.array = array
        self._tracer = tracer
        self._look()

    def _look(self) -> None:
        """Copy the content of the array to the host."""
        self.host = self._tracer.library.to_numpy(self.array)
        self.seen_writes = self._tracer.writes

    def __array_namespace__(self, api_version: str | None = None) -> Namespace:
        return self._tracer.namespace_of(self, api_version)

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        self._tracer.notice("transfers", "numpy.asarray(array)")
        return np.asarray(self.array, *args, **kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        self._tracer.notice("transfers", "array.__dlpack__()")
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    __getitem__: Callable[..., Any]

    def __setitem__(self, key: Any, value: Any) -> None:
        def assign(array: Array, key: Any, value: Any) -> Array:
            array[key] = value
            return array

        args = (self, key, value)
        self._tracer.call(LibraryCall("setitem", assign, args, reference=_assigned))

    def __iter__(self) -> Iterator[Any]:
        iter(self.array)  # not every library has it
        return (self[i] for i in range(self.array.shape[0]))

    def __len__(self) -> int:
        value = len(self.array)
        self._tracer.check_value(self, "len", value)
        return value

    def __copy__(self) -> "Traced":
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> "Traced":
        return self._tracer.xp.asarray(self, copy=True)

    def is_moved_to(self, device: Any) -> bool:
        """Return whether a device is the host, and no device taken from an array.

        A device such as `y.device` may be the array's own.
        """
        is_named = isinstance(device, str) or not _is_host(self.array.device)
        return is_named and _is_host(device)

    def to_device(self, device: Any, /, **kwargs: Any) -> Any:
        """Copy the array to another device, as the library does."""
        if self.is_moved_to(device):
            self._tracer.notice("transfers", f"array.to_device({device})")

        function, args = _method_of("to_device"), (self, device)
        return self._tracer.call(
            LibraryCall("to_device", function, args, kwargs, _itself)
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("T", "mT"):
            function = operator.attrgetter(name)
            return self._tracer.call(LibraryCall(name, function, (self,)))
        return self._tracer.attribute(self, name)


def _is_host(device: Any) -> bool:
    """Return whether a device is the processor, by its name."""
    return "cpu" in str(device).lower()


def call_ufunc(self: Traced, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function of NumPy, for a library whose arrays have `__array_ufunc__`."""
    # An operator comes here if its first operand is a scalar or array of NumPy.
    is_operator = ufunc in _UFUNCS and method == "__call__" and not kwargs
    first, *others = map(unwrapped, args)
    if is_operator and others and isinstance(first, np.generic | np.ndarray):
        name = _UFUNCS[ufunc]
        return self._tracer.call(LibraryCall(name, getattr(operator, name), args))
    name = f"numpy.{ufunc.__name__}"
    self._tracer.notice("outside", name)
    function = getattr(ufunc, method)
    return self._tracer.call(LibraryCall(name, function, args, kwargs, outside=True))


def call_wrap(self: Traced, array: np.ndarray, *args: Any) -> Any:
    """Return a result of NumPy as an array of the library: see `__array_wrap__`."""
    return self._tracer.wrap(self.array.__array_wrap__(array, *args))


def _method_of(name: str) -> Callable[..., Any]:
    """Return a function that calls the method of an array."""

    def call(array: Array, *args: Any, **kwargs: Any) -> Any:
        return getattr(array, name)(*args, **kwargs)

    return call


def _itself(array: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
    return array


def _assigned(array: np.ndarray, key: Any, value: Any) -> np.ndarray:
    copied = array.copy()
    copied[key] = value
    return copied


_UFUNCS = {getattr(np, function): name for name, function in FUNCTIONS.items()}
"""The operators for ufuncs of NumPy."""
_CONVERSIONS: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "int": int,
    "complex": complex,
    "index": operator.index,
    "contains": operator.contains,
    "str": str,
    "format": format,
    "repr": repr,
}
"""Operations of Python that need the values of an array."""
_OF_ALL_VALUES = ("str", "format", "repr")
_OF_ONE_VALUE = ("bool", "float", "int")


def _value_of(name: str, host: np.ndarray) -> Any:
    """Return Python's value of a host array."""
    if name == "len":
        return len(host)
    if name in _OF_ONE_VALUE:
        return _CONVERSIONS[name](host.item())
    return getattr(host, name)()


def _operator(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    """Return a method of `Traced` for a function of the module `operator`."""
    function = getattr(operator, name)

    def call(self: Traced, *others: Any) -> Any:
        args = (*others, self) if reflected else (self, *others)
        is_word = any(x is None or isinstance(x, str) for x in others)
        if is_word and name != "getitem":  # such as x == "auto"
            return function(*map(unwrapped, args))
        return self._tracer.call(LibraryCall(name, function, args))

    return call


def _conversion(name: str) -> Callable[..., Any]:
    """Return a method of `Traced` for one of _CONVERSIONS."""
    function = _CONVERSIONS[name]

    def convert(self: Traced, *args: Any) -> Any:
        kind = "transfers" if name in _OF_ALL_VALUES else "syncs"
        self._tracer.notice(kind, f"{name}(array)")
        value = function(self.array, *map(unwrapped, args))
        is_real = self.host.dtype.kind != "c"
        if name in _OF_ONE_VALUE and is_real and self.host.size == 1:
            self._tracer.check_value(self, name, value)
        return value

    return convert


for _name in _CONVERSIONS:
    setattr(Traced, f"__{_name}__", _conversion(_name))
for _name in (*SYMBOLS, *UNARY, "getitem", "abs"):
    setattr(Traced, f"__{_name.rstrip('_')}__", _operator(_name))
for _name in BINARY:
    _method = _operator(_name, reflected=True)
    setattr(Traced, f"__r{_name.rstrip('_')}__", _method)


class Held:
    """An object of a library that holds an array, such as `x.at` of JAX.

    Args:
        own: The object.
        array: The array.
        name: The object as Python text.
    """

    def __init__(self, own: Any, array: Traced, name: str) -> None:
        self._held = own
        self._array = array
        self._name = name

    def __getitem__(self, key: Any) -> "Held":
        part = self._held[map_tree(unwrapped, key)]
        return Held(part, self._array, f"{self._name}[...]")

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._held, name)
        if not callable(own):
            return own

        def call(_: Array, *args: Any, **kwargs: Any) -> Any:
            return own(*args, **kwargs)

        def method(*args: Any, **kwargs: Any) -> Any:
            all_args = (self._array, *args)
            full_name = f"{self._name}.{name}"
            return self._array._tracer.call(
                LibraryCall(full_name, call, all_args, kwargs, outside=True)
            )

        return method


def _dtypes_of(xp: Any) -> Iterator[tuple[np.dtype[Any], Any]]:
    """Yield the dtypes of NumPy with those of a library.

    The dtype of an array may be of another class than the dtype in the namespace, as
    tf.float64 and np.float64 in TensorFlow.
    """
    for name in DTYPES:
        if hasattr(xp, name):
            yield np.dtype(name), getattr(xp, name)
            with contextlib.suppress(Exception):  # not every library has every dtype
                yield np.dtype(name), xp.asarray(np.zeros(1, name)).dtype


def is_array(x: Any) -> bool:
    """Return whether an object of a library looks like an array."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, type)


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """Replace everything in nested tuples, lists, dictionaries and slices."""
    if isinstance(tree, dict):
        replaced = copy.copy(tree)  # of the same class
        for key, value in tree.items():
            replaced[key] = map_tree(function, value)
        return replaced
    if isinstance(tree, slice):
        return slice(*map_tree(function, _ends(tree)))
    if not isinstance(tree, tuple | list):
        return function(tree)
    parts = [map_tree(function, each) for each in tree]
    if isinstance(tree, list):
        tree = copy.copy(tree)
        tree[:] = parts
        return tree
    if all(map(operator.is_, parts, tree)):
        return tree  # it may be of any class, such as torch.Size
    with contextlib.suppress(TypeError):  # it may have more than its fields
        if hasattr(tree, "_make"):  # without the checks of its class
            return tree._make(parts)
        return type(tree)(parts)
    return tuple(parts)


def leaves(tree: Any) -> Iterator[Any]:
    """Yield everything in nested tuples, lists, dictionaries and slices."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif isinstance(tree, slice):
        tree = _ends(tree)
    elif not isinstance(tree, tuple | list):
        yield tree
        return
    for each in tree:
        yield from leaves(each)


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step


def _hosts(traced: Any) -> Any:
    """Return traced arrays on the host, one or a tuple; None for anything else."""
    if isinstance(traced, Traced):
        return traced.host
    parts = [*leaves(traced)]
    if all(isinstance(each, Traced) for each in parts):
        return tuple(each.host for each in parts)
    return None


def _is_plain(x: Any) -> bool:
    """Return whether a host operand is an array or a number."""
    return isinstance(x, np.ndarray | np.generic | int | float | complex)


def unwrapped(x: Any) -> Any:
    """Return the library's array in a traced array, and all else as it is."""
    return x.array if isinstance(x, Traced) else x


class LibraryCall(NamedTuple):
    """A call of a function of the library, with traced arrays."""

    name: str
    """The name of the operation: see `Operation`."""
    function: Callable[..., Any]
    """The function of the library."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = MappingProxyType({})
    reference: Callable[..., Any] | None = None
    """NumPy's function; None if `function` takes NumPy's arrays too."""
    outside: bool = False
    """Whether the function is outside the standard, and so is not compared."""

    def untraced(self) -> Any:
        """Call the function with the library's own arrays."""
        args, kwargs = map_tree(unwrapped, (self.args, self.kwargs))
        return self.function(*args, **kwargs)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether arrays are equal, NaN included."""
    return np.array_equal(a, b) or a.tobytes() == b.tobytes()
