"""The array class, and wrappers that apply NumPy functions to its arrays."""

import functools
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cupy._sync import declare_synchronize
from cupy.cuda.device import Device

# NumPy's protocols find functions by name (cupy/_core/core.pyx, `__array_ufunc__` and `__array_function__`).
_functions: dict[str, Callable[..., Any]] = {}
COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def wrap(result: Any) -> Any:
    """Convert NumPy arrays and scalars, also in tuples, to device arrays; a scalar becomes a 0-dimensional array."""
    if isinstance(result, np.ndarray | np.generic):
        array = ndarray.__new__(ndarray)
        array._host = np.asarray(result)
        return array
    if isinstance(result, tuple | list):
        return type(result)(map(wrap, result)) if type(result) in (tuple, list) else tuple(map(wrap, result))
    return result


def refuse_host_array(argument: Any) -> None:
    """Raise TypeError for a NumPy array.

    CuPy raises it in elementwise functions (cupy/_core/_kernel.pyx, `_preprocess_arg`, through `CScalar` in
    cupy/_core/_scalar.pyx; tests/cupy_tests/core_tests/test_ndarray_ufunc.py, `test_binary_op_mixed`) and where Cython
    declares the argument as an array, as in `stack` and `matmul`. The stand-in is stricter in two cases that it is
    meant to detect: some functions, such as `sum` and `reshape`, call the argument's own method and so compute on the
    host, and indexing with a host array copies it to the device.
    """
    if isinstance(argument, np.ndarray):
        raise TypeError(f"Unsupported type {type(argument)}")


def is_scalar(argument: Any) -> bool:
    """Return whether it is a Python or NumPy number, which CuPy accepts (cupy/_core/_scalar.pyx, `scalar_type_set`)."""
    return isinstance(argument, numbers.Number | np.number | np.bool_)


def unwrap(argument: Any) -> Any:
    """Return the host array of a device array, also in lists and tuples, and other arguments unchanged.

    Raises TypeError for a NumPy array.
    """
    if type(argument) is ndarray:
        return argument._host
    if isinstance(argument, list | tuple):
        return type(argument)(map(unwrap, argument))
    refuse_host_array(argument)
    return argument


def operand(argument: Any) -> Any:
    """Return an operand of an elementwise function, which must be an array or a scalar (`_preprocess_arg`)."""
    if type(argument) is ndarray:
        return argument._host
    if not is_scalar(argument):
        raise TypeError(f"Unsupported type {type(argument)}")
    return argument


def register(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register the implementation of the NumPy function of the same name for device arrays."""
    _functions[function.__name__] = function
    return function


def elementwise(ufunc: np.ufunc) -> Callable[..., Any]:
    """Return a ufunc for device arrays. CuPy has NumPy's dtype rules (NEP 50; core_tests/test_nep50_examples.py).

    A GPU gives no floating-point warnings.
    """

    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            kwargs["out"] = operand(out)
        with np.errstate(all="ignore"):
            result = ufunc(*map(operand, args), **kwargs)
        return wrap(result) if out is None else out

    call.__name__ = call.__qualname__ = ufunc.__name__
    return register(call)


def of_array(function: Callable[..., Any], synchronizes: bool = False) -> Callable[..., Any]:
    """Return a function of a device array. synchronizes: the shape of the result depends on values."""

    @functools.wraps(function)
    def call(array: Any, *args: Any, **kwargs: Any) -> Any:
        if type(array) is not ndarray:
            raise TypeError(f"Unsupported type {type(array)}")
        if synchronizes:
            declare_synchronize(function.__name__)
        with np.errstate(all="ignore"):
            return wrap(function(array._host, *map(unwrap, args), **{name: unwrap(v) for name, v in kwargs.items()}))

    return register(call)


def of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of a sequence of arrays (cupy/_manipulation/join.py: "Only cupy arrays")."""

    @functools.wraps(function)
    def call(arrays: Any, *args: Any, **kwargs: Any) -> Any:
        for array in arrays:
            if type(array) is not ndarray:
                raise TypeError(f"Only cupy arrays can be concatenated, not {type(array)}")
        return wrap(function([array._host for array in arrays], *map(unwrap, args), **kwargs))

    return register(call)


def creator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that creates an array from numbers and shapes, never from a NumPy array."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrap(function(*map(unwrap, args), **{name: unwrap(value) for name, value in kwargs.items()}))

    return call


def array(
    obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K", subok: bool = False, ndmin: int = 0
) -> "ndarray":
    """Return a device array from a device array, or a copy of host data (cupy/_core/core.pyx, `array`).

    With copy=False, a device array of the same dtype is returned itself. Raises ValueError for a dtype that CuPy does
    not support.
    """
    if type(obj) is ndarray:
        return obj.astype(obj.dtype if dtype is None else dtype, copy=bool(copy))
    if isinstance(obj, list | tuple) and any(type(item) is ndarray for item in obj):
        return _functions["stack"](obj).astype(dtype or obj[0].dtype, copy=False)
    host = np.array(obj, dtype=dtype, order=order, ndmin=ndmin)
    if host.dtype.kind not in "?biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    return wrap(host.astype(host.dtype.newbyteorder("="), copy=False))


def asarray(a: Any, dtype: Any = None, order: str | None = None) -> "ndarray":
    """Like `array`, but do not copy a device array (cupy/_creation/from_data.py, `asarray`)."""
    return array(a, dtype, copy=False, order=order or "K")


def asnumpy(a: Any) -> np.ndarray:
    """Copy an array to the host (cupy/__init__.py, `asnumpy`)."""
    return a.get() if type(a) is ndarray else np.asarray(a)


def wrapped_index(shape: tuple[int, ...], index: Any) -> tuple[Any, ...]:
    """Return an index for the host array that gives an array, never a scalar.

    Elements of an index array wrap around if they are out of range (cupy/_core/core.pyx, `ndarray.__getitem__`); a
    number out of range raises IndexError. With a boolean array, the host must know how many elements are true
    (cupy/_core/_routines_indexing.pyx, `_ndarray_argwhere`: "synchronize!").
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    used = sum(part is not None and part is not Ellipsis for part in parts)
    axis, advanced, result = 0, False, []
    for part in parts:
        refuse_host_array(part)
        if type(part) is ndarray:
            advanced = True
            if part.dtype.kind == "b":
                declare_synchronize("a boolean index")
                result.append(part._host)
                axis += part.ndim
                continue
            part = part._host % shape[axis] if part.dtype.kind in "iu" else part._host
        result.append(part)
        axis += len(shape) - used if part is Ellipsis else part is not None
    return tuple(result) if advanced or any(part is Ellipsis for part in result) else (*result, Ellipsis)


class ndarray:  # noqa: N801
    """An array on the device (cupy/_core/core.pyx, `_ndarray_base`): a NumPy array with CuPy's rules.

    Values reach the host only through `get`, `asnumpy`, `item`, `tolist`, and through `bool`, `int`, `float` and
    `complex` of one element. There is no `__index__`.
    """

    __slots__ = ("_host",)
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float) -> None:
        """Create an array of uninitialised memory."""
        self._host = np.empty(shape, dtype)

    # Attributes.

    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    device = property(lambda self: Device(0))
    T = property(lambda self: wrap(self._host.T))
    mT = property(lambda self: wrap(self._host.mT))  # noqa: N815

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes; assigning a shape reshapes the array without a copy."""
        return self._host.shape

    @shape.setter
    def shape(self, shape: tuple[int, ...]) -> None:
        reshaped = self._host.reshape(shape)
        if self.size and not np.shares_memory(reshaped, self._host):
            raise AttributeError("incompatible shape")
        self._host = reshaped

    # Copies to the host.

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> np.ndarray:
        """Return a copy on the host (`_ndarray_base.get`)."""
        declare_synchronize("ndarray.get")
        return np.array(self._host, order=order)

    def item(self) -> Any:
        """Return the only element as a Python number (`_ndarray_base.item`)."""
        return self.get().item()

    def tolist(self) -> Any:
        """Return nested lists of Python numbers (`_ndarray_base.tolist`)."""
        return self.get().tolist()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return array, (self.get(),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Reject implicit conversion (`_ndarray_base.__array__`, and core_tests/test_ndarray.py, `TestNumpyArray`)."""
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return a CUDA device (`_ndarray_base.__dlpack_device__`)."""
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        """Raise BufferError: CuPy exports device memory, which a library without a GPU cannot import."""
        raise BufferError("Unsupported device in DLTensor.")

    # NumPy's functions on device arrays.

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Call CuPy's ufunc of the same name, which rejects NumPy arrays (`_ndarray_base.__array_ufunc__`)."""
        function = _functions.get(ufunc.__name__)
        if method != "__call__" or function is None:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        if ufunc in COMPARISONS.values():
            # When a NumPy scalar is compared with an array, NumPy passes a 0-dimensional array.
            inputs = tuple(x.item() if isinstance(x, np.ndarray) and not x.ndim else x for x in inputs)
        return function(*inputs, **kwargs)

    def __array_function__(self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
        """Call CuPy's function of the same name (`_ndarray_base.__array_function__`)."""
        function = _functions.get(func.__name__)
        return NotImplemented if function is None else function(*args, **kwargs)

    # Elements.

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> "ndarray":
        """Return a view for numbers, slices, None and Ellipsis, 0-dimensional for one element (`_simple_getitem`)."""
        return wrap(self._host[wrapped_index(self.shape, index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[wrapped_index(self.shape, index)] = operand(value)

    # Copies and views.

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        """Return a copy in a dtype; with copy=False the array itself if it has the dtype (`_ndarray_base.astype`)."""
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        with np.errstate(all="ignore"):
            return wrap(self._host.astype(dtype, order=order))

    def copy(self, order: str = "C") -> "ndarray":
        """Return a copy on the device."""
        return wrap(self._host.copy(order))

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, _: Any) -> "ndarray":
        return self.copy()

    def view(self) -> "ndarray":
        """Return a view of the same memory."""
        return wrap(self._host.view())

    def reshape(self, *shape: Any) -> "ndarray":
        """Return a view if possible."""
        return wrap(self._host.reshape(*shape))

    def transpose(self, *axes: Any) -> "ndarray":
        """Return a view with permuted axes."""
        return wrap(self._host.transpose(*axes))

    def ravel(self) -> "ndarray":
        """Return a 1-dimensional array, a view if possible."""
        return wrap(self._host.ravel())

    def fill(self, value: Any) -> None:
        """Set all elements to a number."""
        self._host.fill(operand(value))


def _method(name: str) -> Callable[..., Any]:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        return _functions[name](self, *args, **kwargs)

    return method


METHODS = "all any argmax argmin argsort cumprod cumsum dot max mean min nonzero prod squeeze std sum swapaxes take var"
for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))


def _set_operators(name: str, ufunc: np.ufunc) -> None:
    """Define the three methods of an operator: x + y, the reflected y + x, and x += y.

    `_ndarray_base.__add__` and similar methods accept arrays and scalars, and leave everything else to NumPy's
    protocol, which raises TypeError for NumPy arrays.
    """
    function = elementwise(ufunc)

    def forward(self: ndarray, other: Any) -> Any:
        refuse_host_array(other)
        return function(self, other) if type(other) is ndarray or is_scalar(other) else NotImplemented

    def backward(self: ndarray, other: Any) -> Any:
        refuse_host_array(other)
        return function(other, self) if is_scalar(other) else NotImplemented

    def in_place(self: ndarray, other: Any) -> Any:
        # As in `_ndarray_base.__iadd__`, a cast that is not "same_kind", such as float to integer, raises TypeError
        # (cupy/_core/_dtype.pyx, `_raise_if_invalid_cast`).
        with np.errstate(all="ignore"):
            ufunc(self._host, operand(other), out=self._host, casting="same_kind")
        return self

    setattr(ndarray, f"__{name}__", forward)
    setattr(ndarray, f"__r{name}__", backward)
    if name not in ("matmul", "divmod"):  # CuPy's class has no in-place form of these
        setattr(ndarray, f"__i{name}__", in_place)


for _name, _ufunc in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
    "matmul": np.matmul,
    "divmod": np.divmod,
}.items():
    _set_operators(_name, _ufunc)


def _set_comparison(name: str, ufunc: np.ufunc) -> None:
    function = elementwise(ufunc)

    def compare(self: ndarray, other: Any) -> Any:
        refuse_host_array(other)
        return function(self, other) if type(other) is ndarray or is_scalar(other) else NotImplemented

    setattr(ndarray, f"__{name}__", compare)


for _name, _ufunc in COMPARISONS.items():
    _set_comparison(_name, _ufunc)
ndarray.__hash__ = None  # type: ignore[assignment]

for _name, _ufunc in {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}.items():
    setattr(ndarray, f"__{_name}__", functools.partialmethod(elementwise(_ufunc)))
