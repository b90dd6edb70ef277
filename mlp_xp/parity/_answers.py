"""Answer questions about the type of a traced array as for the library's own array.

Programs ask these questions, and branch by the answers:

| question | answered by |
| --- | --- |
| `isinstance(x, torch.Tensor)` | the built-in `isinstance`, replaced meanwhile |
| `x.__class__`, `match`, `singledispatch` | the attribute `__class__` |
| `issubclass(type(x), torch.Tensor)` | the built-in `issubclass`, replaced meanwhile |
| `type(x).__name__`, `type(x).__module__` | the class, which has these names |
| `type(x) is type(y)` | one class for each class of the library |
| `hash(x)` | the class, as the library's class: by identity, or an error |
| `is_torch_array(x)`, `is_lazy_array(x)`, ... of any array_api_compat | `issubclass` |
| `array_namespace(x)` of any array_api_compat | the same function, with other code |
| `is_torch_namespace(xp)`, `xp.__name__` | the namespace, which has the same name |
| `x.device`, `x.dtype`, `hasattr(x, ...)` | the library's array |
| `torch.sin(x)` of PyTorch's own | `__torch_function__`; noted as `outside` |

Comparisons such as `type(x) is C`, pickling, and functions of JAX outside the namespace
are noted as `escaped`. These functions get the library's own array.
"""

import builtins
import contextlib
import dis
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache, reduce
from types import FrameType, FunctionType, ModuleType
from typing import Any

from mlp_xp.backends.library import LibraryBackend
from mlp_xp.parity.tracer import LibraryCall, Namespace, Traced, Tracer

_HELPERS = "array_api_compat.common._helpers"
_QUESTION = re.compile(
    r"(?<!\w)type\(([\w.]+)\)\s*(?:is|in|not|==|!=)"
    r"(?!\s*(?:not\s)?\s*(?:bool|complex|dict|float|int|list|str|tuple)\b)"
    r"(?![^\n]*\btype\()"
    r"|(?<!\))(?<!\) )(?:\bis not|\bis|==|!=)\s*type\(([\w.]+)\)"
)
"""A comparison of a type, such as `type(x) is C`.

Two comparisons are not matched, because their answers are right. One compares the types
of two arrays. The other compares with a type of Python, which no array has.
"""
_OF_PYTHON = ("LOAD_ATTR", "LOAD_METHOD", "MATCH_CLASS")
"""The instructions of Python code that asks for `__class__`. C code has none."""
_SPECIAL = ("__divmod__", "__rdivmod__", "__round__", "__trunc__")
"""Methods that Python looks up in the class. Not every library has them."""
_owners: dict[type, type] = {}
"""The library's class for each class of traced arrays."""
_originals: dict[str, Callable[..., Any]] = {}
"""The `array_namespace` of each copy of array_api_compat, by its module."""
_active: list[Tracer] = []


class SeenThrough(Traced):
    """A traced array that answers as the library's own array."""

    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """The library's class for Python code, and the true class for C code.

        If C code took a traced array for the library's own, it would read the memory.
        """
        frame = sys._getframe(1)
        instruction = frame.f_code.co_code[frame.f_lasti]
        is_python = dis.opname[instruction] in _OF_PYTHON
        return _owners[type(self)] if is_python else type(self)

    @property
    def __array_namespace__(self) -> Any:
        if not (self._tracer.names_another or is_over(self._tracer)):
            _ = self.array.__array_namespace__  # not every library has it
        return super().__array_namespace__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return escape(self).__reduce_ex__(protocol)


def active() -> Tracer | None:
    """Return the tracer of the program that runs now, if any."""
    return _active[-1] if _active else None


def is_over(tracer: Tracer) -> bool:
    """Return whether the run of a tracer is over. Its arrays may still exist."""
    return all(each is not tracer for each in _active)


def escape(array: Traced) -> Any:
    """Return the library's array for a function that is called without the tracer."""
    array._tracer.notice("escaped", "function_of_the_library(array)")
    return array.array


@cache
def class_of(own: type, backend: LibraryBackend) -> type[SeenThrough]:
    """Return the class of traced arrays for a class of the library."""
    names: dict[str, Any] = {"__slots__": (), "__module__": own.__module__}
    if own.__hash__ is not None:
        names["__hash__"] = object.__hash__
    for name in _SPECIAL:
        if hasattr(own, name):
            names[name] = _method(name)
    if hasattr(own, "__torch_function__"):
        names["__torch_function__"] = classmethod(_torch_function)
    made = type(own.__name__, (SeenThrough,), names)
    _owners[made] = own
    backend.adopt(made, escape)
    return made


def _torch_function(
    _: type, function: Any, types: Any, args: Any = (), kwargs: Any = None
) -> Any:
    """Call a function of PyTorch that gets traced arrays: see `__torch_function__`."""
    name = f"torch.{getattr(function, '__name__', '?')}"
    call = LibraryCall(name, function, tuple(args), kwargs or {}, outside=True)
    tracer = active()
    if tracer is None:
        return call.untraced()
    tracer.notice("outside", name)
    return tracer.call(call)


def _method(name: str) -> Callable[..., Any]:
    """Return a method of traced arrays for a special method outside the standard."""

    def method(self: Traced, *args: Any) -> Any:
        return self._tracer.attribute(self, name)(*args)

    return method


@contextlib.contextmanager
def answering(tracer: Tracer) -> Iterator[None]:
    """Answer questions about types for a tracer, until the end of the block."""
    with contextlib.ExitStack() as undo:

        def replace(owner: Any, name: str, value: Any) -> None:
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

        undo.callback(_forget_namespaces)
        for helpers in _forget_namespaces():
            # Other modules have imported the function, so its code is replaced.
            function = helpers.array_namespace
            original = FunctionType(function.__code__, vars(helpers))
            original.__kwdefaults__ = function.__kwdefaults__
            _originals.setdefault(helpers.__name__, original)
            replace(function, "__code__", _array_namespace.__code__)
        replace(builtins, "issubclass", _see_through(issubclass))
        replace(builtins, "isinstance", _see_instance(isinstance))
        if sys.gettrace() is None:  # neither a debugger nor a coverage tool
            undo.callback(sys.settrace, None)
            sys.settrace(_watcher(tracer))
        _active.append(tracer)
        undo.callback(_active.pop)
        yield


def _see_through(original: Callable[..., bool]) -> Callable[..., bool]:
    """Return an `issubclass` that takes a traced class for the library's own.

    Python has no hook for this. `__subclasscheck__` belongs to the library's class,
    which is often written in C. A class of traced arrays cannot inherit from the
    library's class either: NumPy and PyTorch would then read the memory of the arrays
    without the tracer.
    """

    def owners(classes: Any) -> Any:
        if isinstance(classes, tuple):
            return tuple(map(owners, classes))
        return _owners.get(classes, classes) if isinstance(classes, type) else classes

    def issubclass(cls: Any, classes: Any, /) -> bool:
        return original(owners(cls), owners(classes))

    return issubclass


def _see_instance(original: Callable[..., bool]) -> Callable[..., bool]:
    """Return an `isinstance` that takes a traced array for the library's own."""

    def isinstance(x: Any, classes: Any, /) -> bool:
        if original(x, classes):
            return True
        return type(x) in _owners and original(x.array, classes)

    return isinstance


def _array_namespace(*xs: Any, **kwargs: Any) -> Any:
    """Replace the code of a copy of `array_namespace`, and run with its globals."""
    from mlp_xp.parity._answers import traced_namespace

    return traced_namespace(__name__, *xs, **kwargs)


def traced_namespace(helpers: str, *xs: Any, **kwargs: Any) -> Any:
    """Return the traced namespace of arrays, for a copy of array_api_compat."""
    xp, tracer = _originals[helpers](*xs, **kwargs), _active[-1]
    # A function of the library itself asks about its own arrays.
    if tracer.is_calling or isinstance(xp, Namespace):
        return xp
    # A function that escaped the trace returns the library's own arrays. Operations
    # with these are traced too.
    classes = {type(x) for x in xs}
    is_traced = classes & (_owners.keys() | set(_owners.values()))
    return tracer.answer(xp) if is_traced else xp


def _forget_namespaces() -> list[ModuleType]:
    """Clear the caches of all copies of array_api_compat, and return their modules.

    Otherwise the caches would keep a tracer alive.
    """
    copies = [x for name, x in list(sys.modules.items()) if name.endswith(_HELPERS)]
    for helpers in copies:
        for function in vars(helpers).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
    return copies


def _watcher(tracer: Tracer) -> Callable[..., Any]:
    """Return a trace function that notes comparisons of a traced array's type."""

    def watch_line(frame: FrameType, event: str, _: Any) -> Any:
        name = _questions(frame.f_code.co_filename).get(frame.f_lineno, "")
        first, *attributes = name.split(".")
        # The attributes are looked up without the code of a property.
        asked = reduce(_static, attributes, frame.f_locals.get(first))
        if event == "line" and type(asked) in _owners:
            tracer.notice("escaped", "type(array)")
        return watch_line

    def watch_call(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        asks = _questions(file) and not tracer.is_go_between(file)
        return watch_line if asks else None

    return watch_call


def _static(owner: Any, name: str) -> Any:
    return inspect.getattr_static(owner, name, None)


@cache
def _questions(file: str) -> dict[int, str]:
    """Return, by line of a file, the name whose type is compared there."""
    found = {}
    for number, line in enumerate(linecache.getlines(file), 1):
        question = _QUESTION.search(line)
        if question:
            found[number] = question[1] or question[2]
    return found
