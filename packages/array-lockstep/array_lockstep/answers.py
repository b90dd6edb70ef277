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

Pickling, and functions of JAX outside the namespace, are noted as `escaped`. They get
the library's own array. Comparisons such as `type(x) is C` are not noticed.
"""

import builtins
import dis
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

from array_lockstep.running import Replacement, active
from array_lockstep.tracer import (
    LibraryCall,
    Namespace,
    Traced,
    Tracer,
    call_ufunc,
    call_wrap,
    calls_library,
)

_HELPERS = "array_api_compat.common._helpers"
_OF_PYTHON = ("LOAD_ATTR", "LOAD_METHOD", "MATCH_CLASS")
"""The instructions of Python code that asks for `__class__`. C code has none."""
_SPECIAL = ("__divmod__", "__rdivmod__", "__round__", "__trunc__")
"""Methods that Python looks up in the class. Not every library has them."""
_kinds: WeakValueDictionary[type, "Kind"] = WeakValueDictionary()
"""The class of traced arrays for each class of a library."""
_originals: dict[str, Callable[..., Any]] = {}
"""The `array_namespace` of each copy of array_api_compat, by its module."""


class Kind(type):
    """The class of the classes of traced arrays."""

    own: type
    """The library's class."""


class SeenThrough(Traced, metaclass=Kind):
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
        return type(self).own if is_python else type(self)

    @property
    def __array_namespace__(self) -> Any:
        if not (self._tracer.names_another or self._tracer.is_over):
            _ = self.array.__array_namespace__  # not every library has it
        return super().__array_namespace__

    def __reduce_ex__(self, protocol: Any) -> Any:
        return escape(self).__reduce_ex__(protocol)


def escape(array: Traced) -> Any:
    """Return the library's array for a function that is called without the tracer."""
    array._tracer.notice("escaped", "function_of_the_library(array)")
    return array.array


def class_of(own: type) -> Kind:
    """Return the class of traced arrays for a class of a library."""
    return _kinds.get(own) or _kinds.setdefault(own, _made(own))


def _made(own: type) -> Kind:
    names: dict[str, Any] = {"__slots__": (), "__module__": own.__module__, "own": own}
    if own.__hash__ is not None:
        names["__hash__"] = object.__hash__
    for name in _SPECIAL:
        if hasattr(own, name):
            names[name] = _method(name)
    # NumPy asks for these when it shares an operation with another library.
    if hasattr(own, "__array_priority__"):
        names["__array_priority__"] = own.__array_priority__
    for name, function in (("ufunc", call_ufunc), ("wrap", call_wrap)):
        if getattr(own, f"__array_{name}__", None) is not None:
            names[f"__array_{name}__"] = function
    if hasattr(own, "__torch_function__"):
        names["__torch_function__"] = classmethod(_torch_function)
    made = Kind(own.__name__, (SeenThrough,), names)
    jax = sys.modules.get("jax")
    if jax is not None and issubclass(own, jax.Array):
        _adopt(jax, made)
    return made


def _adopt(jax: Any, made: Kind) -> None:
    """Let JAX's functions take traced arrays. Compiled functions get JAX's own."""
    made.__jax_array__ = escape  # type: ignore[attr-defined]
    jax.tree_util.register_pytree_node(
        made, lambda held: ((escape(held),), None), lambda _, arrays: arrays[0]
    )


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


def replacements() -> Iterator[Replacement]:
    """Yield what is replaced while programs run: see `running.enter`."""
    for helpers in copies_of_compat():
        # Other modules have imported the function, so its code is replaced.
        function = helpers.array_namespace
        original = FunctionType(function.__code__, vars(helpers))
        original.__kwdefaults__ = function.__kwdefaults__
        _originals.setdefault(helpers.__name__, original)
        yield function, "__code__", _array_namespace.__code__
    yield builtins, "issubclass", _see_through(issubclass)
    yield builtins, "isinstance", _see_instance(isinstance)


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
        return classes.own if type(classes) is Kind else classes

    def issubclass(cls: Any, classes: Any, /) -> bool:
        return original(owners(cls), owners(classes))

    return issubclass


def _see_instance(original: Callable[..., bool]) -> Callable[..., bool]:
    """Return an `isinstance` that takes a traced array for the library's own."""

    def isinstance(x: Any, classes: Any, /) -> bool:
        if original(x, classes):
            return True
        return type(type(x)) is Kind and original(x.array, classes)

    return isinstance


def _array_namespace(*xs: Any, **kwargs: Any) -> Any:
    """Replace the code of a copy of `array_namespace`, and run with its globals."""
    from array_lockstep.answers import traced_namespace

    return traced_namespace(__name__, *xs, **kwargs)


def traced_namespace(helpers: str, *xs: Any, **kwargs: Any) -> Any:
    """Return the traced namespace of arrays, for a copy of array_api_compat."""
    xp = _originals[helpers](*xs, **kwargs)
    # A function of the library itself asks about its own arrays.
    if calls_library.get() or type(xp) is Namespace:
        return xp
    # An array knows its tracer, also in a thread that the program did not start, and
    # beside the arrays of another library.
    of_arrays = [x._tracer for x in xs if type(type(x)) is Kind]
    running = [tracer for tracer in of_arrays if not tracer.is_over]
    if running:
        return running[0].answer(xp)
    tracer = active()
    # A function that escaped the trace returns the library's own arrays, and an array
    # of an earlier run is traced. Operations with these are traced too.
    if tracer is None:
        return xp
    of_library = [x for x in xs if _is_of(x, tracer)]
    return tracer.answer(xp) if of_library else xp


def _is_of(x: Any, tracer: Tracer) -> bool:
    """Return whether an array is of the library under trace."""
    return (type(x).own if type(type(x)) is Kind else type(x)) in tracer.kinds


def copies_of_compat() -> list[ModuleType]:
    """Clear the caches of all copies of array_api_compat, and return their modules.

    Otherwise the caches would keep a tracer alive.
    """
    copies = [x for name, x in list(sys.modules.items()) if name.endswith(_HELPERS)]
    for helpers in copies:
        for function in vars(helpers).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()
    return copies
