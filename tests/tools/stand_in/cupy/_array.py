"""The array class, and the wrapper that applies NumPy's functions to its arrays.

The rules come from CuPy's sources, which the docstrings name.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from cupy._signatures import SIGNATURES
from cupy.cuda import Device

# NumPy's protocols find functions by name (cupy/_core/core.pyx, `__array_ufunc__` and
# `__array_function__`).
functions: dict[str, Callable[..., Any]] = {}
_thread = threading.local()


class DeviceSynchronized(RuntimeError):  # noqa: N818
    """The host read a device value while that is forbidden.

    Source: cupy/_core/syncdetect.py, `DeviceSynchronized`.
    """


@contextmanager
def reading_forbidden() -> Iterator[None]:
    """Forbid the host to read device values in this thread.

    CuPy's `cupyx.allow_synchronize(False)` does the same.
    """
    before = getattr(_thread, "forbidden", False)
    _thread.forbidden = True
    try:
        yield
    finally:
        _thread.forbidden = before


def host_reads(what: str) -> None:
    """Raise DeviceSynchronized if reading is forbidden.

    Source: cupy/_core/syncdetect.py, `_declare_synchronize`.
    """
    if getattr(_thread, "forbidden", False):
        raise DeviceSynchronized(
            f"{what}: the host reads a value on the device while that is forbidden"
        )


def wrap(result: Any) -> Any:
    """Convert NumPy arrays and scalars, also in tuples, to device arrays.

    A scalar becomes a 0-dimensional array.
    """
    if isinstance(result, np.ndarray | np.generic):
        array = ndarray.__new__(ndarray)
        array._host = np.asarray(result)
        return array
    return type(result)(map(wrap, result)) if type(result) in (tuple, list) else result


def unwrap(argument: Any) -> Any:
    """Return the host array of a device array, and other arguments unchanged.

    Device arrays may be in lists and tuples.

    Raises TypeError for a NumPy array, as CuPy does in elementwise functions
    (cupy/_core/_kernel.pyx, `_preprocess_arg`) and where Cython declares the argument
    as an array, as in `stack` and `matmul`. The stand-in is stricter: some functions,
    such as `sum`, call the argument's own method and so compute on the host, and
    indexing with a host array copies it to the device.
    """
    if type(argument) is ndarray:
        return argument._host
    if isinstance(argument, list | tuple):
        return type(argument)(map(unwrap, argument))
    if isinstance(argument, np.ndarray):
        raise TypeError(f"Unsupported type {type(argument)}")
    return argument


def on_device(
    function: Callable[..., Any], name: str, reads: bool = False
) -> Callable[..., Any]:
    """Return a function of NumPy for device arrays, with CuPy's parameters.

    A GPU gives no floating-point warnings.

    CuPy has NumPy's dtype rules (NEP 50; core_tests/test_nep50_examples.py). name: its
    name in CuPy, such as "ndarray.sum". reads: whether the host must read values.
    Raises TypeError for arguments that only NumPy's function takes.
    """
    signature = SIGNATURES[name]

    def call(*args: Any, **kwargs: Any) -> Any:
        out = signature.bind(*args, **kwargs).arguments.get("out")
        if reads:
            host_reads(name)
        with np.errstate(all="ignore"):
            result = function(
                *map(unwrap, args),
                **{name: unwrap(value) for name, value in kwargs.items()},
            )
        return wrap(result) if out is None else out

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    return call


def array(
    obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K"
) -> "ndarray":
    """Return a device array from a device array, or a copy of host data.

    Source: cupy/_core/core.pyx, `array`.

    With copy=False, a device array of the same dtype is returned itself. Raises
    ValueError for a dtype that CuPy does not support.
    """
    if type(obj) is ndarray:
        return obj.astype(obj.dtype if dtype is None else dtype, copy=bool(copy))
    if isinstance(obj, list | tuple) and any(type(item) is ndarray for item in obj):
        return functions["stack"](obj).astype(dtype or obj[0].dtype, copy=False)
    host = np.array(obj, dtype=dtype, order=order)
    if host.dtype.kind not in "?biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return wrap(host.astype(host.dtype.newbyteorder("="), copy=False))


def asarray(a: Any, dtype: Any = None, order: str | None = None) -> "ndarray":
    """Like `array`, but do not copy a device array.

    Source: cupy/_creation/from_data.py, `asarray`.
    """
    return array(a, dtype, copy=False, order=order or "K")


def asnumpy(a: Any) -> np.ndarray:
    """Copy an array to the host (cupy/__init__.py, `asnumpy`)."""
    return a.get() if type(a) is ndarray else np.asarray(a)


def wrapped_index(shape: tuple[int, ...], index: Any) -> tuple[Any, ...]:
    """Return an index for the host array that gives an array, never a scalar.

    Elements of an index array wrap around if they are out of range
    (cupy/_core/core.pyx, `ndarray.__getitem__`). With a boolean array, the host must
    know how many elements are true (cupy/_core/_routines_indexing.pyx,
    `_ndarray_argwhere`: "synchronize!").
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    axis, advanced, result = 0, False, []
    for part in parts:
        host = unwrap(part)
        if type(part) is ndarray:
            advanced = True
            if part.dtype.kind == "b":
                host_reads("a boolean index")
            elif part.dtype.kind in "iu":
                host = host % shape[axis]
        result.append(host)
        axis += len(shape) - used if part is Ellipsis else part is not None
    return (
        tuple(result)
        if advanced or any(part is Ellipsis for part in result)
        else (*result, Ellipsis)
    )


class ndarray(NDArrayOperatorsMixin):  # noqa: N801
    """An array on the device: a NumPy array with CuPy's rules.

    Source: cupy/_core/core.pyx, `_ndarray_base`.

    Operators are ufuncs, by `__array_ufunc__`. Values reach the host only through
    `get`, `asnumpy`, `item`, `tolist`, and through `bool`, `int` and `float` of one
    element. There is no `__index__`.
    """

    __slots__ = ("_host",)
    __hash__ = None  # type: ignore[assignment]

    device = property(lambda self: Device(0))

    def get(self, order: str = "C") -> np.ndarray:
        """Return a copy on the host (`_ndarray_base.get`)."""
        host_reads("ndarray.get")
        return np.array(self._host, order=order)

    def tolist(self) -> Any:
        """Return nested lists of Python numbers."""
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Reject implicit conversion (`_ndarray_base.__array__`)."""
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` instead."
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return a CUDA device (`_ndarray_base.__dlpack_device__`)."""
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        """Raise BufferError.

        CuPy exports device memory, which a library without a GPU cannot import.
        """
        raise BufferError("Unsupported device in DLTensor.")

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        """Call CuPy's ufunc of the same name, which rejects NumPy arrays.

        Source: `_ndarray_base.__array_ufunc__`.
        """
        if method != "__call__" or ufunc.__name__ not in functions:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        # When a NumPy scalar is compared with an array, NumPy passes a 0-dimensional
        # array.
        scalars = ufunc in (
            np.equal,
            np.not_equal,
            np.less,
            np.less_equal,
            np.greater,
            np.greater_equal,
        )
        inputs = tuple(
            x[()] if scalars and isinstance(x, np.ndarray) and not x.ndim else x
            for x in inputs
        )
        return functions[ufunc.__name__](*inputs, **kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Call CuPy's function of this name (`_ndarray_base.__array_function__`)."""
        function = functions.get(func.__name__)
        return NotImplemented if function is None else function(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        if not self._host.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> "ndarray":
        """Return a view for numbers, slices, None and Ellipsis.

        It is 0-dimensional for one element. Source: `_simple_getitem`.
        """
        return wrap(self._host[wrapped_index(self._host.shape, index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[wrapped_index(self._host.shape, index)] = unwrap(value)

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> "ndarray":
        """Return a copy in a dtype.

        With copy=False, an array of this dtype is returned itself. Source:
        `_ndarray_base.astype`.
        """
        if not copy and np.dtype(dtype) == self._host.dtype:
            return self
        with np.errstate(all="ignore"):
            return wrap(self._host.astype(dtype, order=order))


_ATTRIBUTES = "dtype flags itemsize mT nbytes ndim shape size strides T"
_METHODS = (
    "all any argmax argmin argsort copy dot max mean min prod ravel reshape squeeze "
    "std sum transpose var view"
)
for _name in _ATTRIBUTES.split():
    setattr(
        ndarray,
        _name,
        property(lambda self, name=_name: wrap(getattr(self._host, name))),
    )
for _name in _METHODS.split():
    setattr(ndarray, _name, on_device(getattr(np.ndarray, _name), f"ndarray.{_name}"))
