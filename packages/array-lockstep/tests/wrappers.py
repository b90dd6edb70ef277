"""Wrappers of NumPy with one fault each.

Each breaks the standard where training never goes: layouts, dtypes, copies, signs of
zeros, sizes, overlaps and axes.
"""

import array_api_compat.numpy as numpy
import numpy as np
from own_namespaces import Namespace

BIG = 65_536
LONG = 1000


def spoilt(name, strikes):
    """A library whose function is wrong for arguments with `strikes(x)`."""
    right = getattr(numpy, name)

    def function(x, /, *args, **kwargs):
        found = right(x, *args, **kwargs)
        if not strikes(x):
            return found
        return ~found if found.dtype.kind == "b" else np.asarray(found + 1, found.dtype)

    return Namespace(**{name: function})


def overriding(**methods):
    """A library whose arrays have other operators.

    A method gets NumPy's method, the array and the other arguments.
    """
    body = {}
    for name, method in methods.items():
        right = getattr(np.ndarray, name)

        def call(self, *args, method=method, right=right):
            result = method(right, self, *args)
            return result if result is self else np.asarray(result).view(type(self))

        body[name] = call
    kind = type("Array", (np.ndarray,), body)

    def asarray(x, /, *, dtype=None, copy=None):
        return numpy.asarray(x, dtype=dtype, copy=copy).view(kind)

    def reshape(x, /, shape, *, copy=None):
        return numpy.reshape(x, shape, copy=copy).view(kind)

    return Namespace(asarray=asarray, reshape=reshape)


def plain(x):
    return np.asarray(x)


# Layouts in memory.


def is_strided(x):
    contiguous = x.flags.c_contiguous or x.flags.f_contiguous
    return x.size > 1 and not contiguous and min(x.strides) > 0


def is_transposed(x):
    ordered = sorted(x.strides, reverse=True)
    return (
        x.ndim > 1
        and min(x.shape) > 1
        and min(x.strides) > 0
        and list(x.strides) != ordered
    )


def is_backwards(x):
    return x.size > 1 and min(x.strides, default=1) < 0


def is_empty(x):
    return x.size == 0


def has_strided(arrays):
    return any(map(is_strided, arrays))


def as_in_memory(x, shape, *, copy=None):
    return numpy.reshape(x.ravel(order="K"), shape, copy=copy)


def short_step(right, x, key):
    """Every second element, but the last one is the element before it."""
    found = right(x, key)
    keys = key if isinstance(key, tuple) else ()
    if 2 in [getattr(each, "step", 1) for each in keys] and found.shape[-1] > 1:
        found = found.copy()
        found[..., -1] = found[..., -2]
    return found


def add_in_memory_order(right, x, y):
    """A transposed operand is read as it lies in memory."""
    if isinstance(y, np.ndarray) and is_transposed(y):
        y = y.ravel(order="K").reshape(y.shape)
    return right(x, y)


def product_of_backwards(right, x, y):
    if is_backwards(x) or is_backwards(y):
        return right(abs(x), y)
    return right(x, y)


def write_to_strided(right, x, y):
    """The last element of a strided array is not written."""
    if not is_strided(x):
        return right(x, y)
    last = plain(x)[-1].copy()
    right(x, y)
    plain(x)[-1] = last
    return x


def divide_transposed_in_place(right, x, y):
    """The divisor is read in the order of the array's memory."""
    if isinstance(y, np.ndarray) and is_transposed(x) and x.shape == y.shape:
        y = plain(y).ravel(order="F").reshape(x.shape)
    return right(x, y)


# Empty arrays.


def product_of_nothing(right, x, y):
    return right(x, y) + (x.shape[-1] == 0)


def joined_without_empty(arrays, /, *, axis=0):
    """Empty arrays do not count in the dtype."""
    full = [x for x in arrays if x.size] or arrays
    return numpy.concat(full, axis=axis)


def flat_where_empty(x, shape, *, copy=None):
    return numpy.reshape(x, shape if x.size else (0,), copy=copy)


# Integers of 32 bits.


def of_short_indices(x, indices, /, *, axis):
    if indices.dtype == "int32":
        indices = numpy.flip(indices)
    return numpy.take(x, indices, axis=axis)


def short_sum(x, /, *, axis=None, dtype=None, keepdims=False):
    if x.dtype == "int32" and dtype is None:
        dtype = numpy.int32
    return numpy.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


def short_add(right, x, y):
    found = right(x, y)
    kinds = {x.dtype.name, getattr(y, "dtype", x.dtype).name}
    return found.astype("int32") if kinds == {"int32", "int64"} else found


def equal_as_int32(right, x, y):
    if isinstance(y, np.ndarray) and x.dtype != y.dtype and x.dtype.kind == "i":
        return right(plain(x).astype("int32"), plain(y).astype("int32"))
    return right(x, y)


def equal_in_the_low_bytes(right, x, y):
    if x.dtype == "int64":
        return right(plain(x) % 256, y % 256)
    return right(x, y)


# Floats of two sizes.


def lower(right, x, y):
    found = right(x, y)
    is_mixed = found.dtype.kind == "f" and getattr(y, "dtype", x.dtype) != x.dtype
    return found.astype("float32") if is_mixed else found


def by_float32(right, x, y):
    """The result has the right dtype, and the digits of float32."""
    found = right(x, y)
    if isinstance(y, np.ndarray) and x.dtype != y.dtype and found.dtype == "float64":
        return found.astype("float32").astype("float64")
    return found


def as_the_first(arrays, /, *, axis=0):
    return numpy.concat([x.astype(arrays[0].dtype) for x in arrays], axis=axis)


def sum_then_convert(x, /, *, axis=None, dtype=None, keepdims=False):
    found = numpy.sum(x, axis=axis, keepdims=keepdims)
    return found if dtype is None else numpy.astype(found, dtype)


def where_as_the_first(condition, x, y, /):
    return numpy.where(condition, x, numpy.astype(y, x.dtype))


# Copies.


def astype_itself(x, dtype, /, *, copy=True):
    return x if x.dtype == dtype else numpy.astype(x, dtype)


def astype_always_copies(x, dtype, /, *, copy=True):
    return numpy.astype(x, dtype, copy=True)


def reshape_shares(x, shape, *, copy=None):
    return numpy.reshape(x, shape)


def reshape_copies(x, shape, *, copy=None):
    return numpy.reshape(x, shape, copy=None if copy is None else True)


def asarray_copies(x, /, *, dtype=None, copy=None):
    return numpy.asarray(x, dtype=dtype, copy=True if copy is False else copy)


def asarray_shares_megabytes(x, /, *, dtype=None, copy=None):
    x = numpy.asarray(x)
    return numpy.asarray(x, dtype=dtype, copy=None if x.nbytes > 2**20 else copy)


def asarray_loses_the_last(x, /, *, dtype=None, copy=None):
    found = numpy.asarray(x, dtype=dtype, copy=copy)
    if found.nbytes > 2**20:
        found = found.copy()
        found.reshape(-1)[-1] = 0
    return found


# Zeros with a sign, and the smallest numbers.


def without_signed_zeros(name):
    right = getattr(numpy, name)
    return Namespace(**{name: lambda x, /: right(x) + 0.0})


def subtracted_from_0(right, x):
    return 0 - plain(x)


def product_without_signed_zeros(right, x, y):
    return right(x, y) + 0


def where_without_signed_zeros(condition, x, y, /):
    chosen = numpy.where(condition, x, y)
    return chosen + numpy.zeros_like(chosen) if chosen.dtype.kind == "f" else chosen


def tiny_of(x):
    return np.finfo(x.dtype).smallest_normal if x.dtype.kind == "f" else 0


def root_of_tiny(x, /):
    return numpy.where(numpy.abs(x) < tiny_of(x), np.abs(numpy.sign(x)), numpy.sqrt(x))


def finite_if_normal(x, /):
    return numpy.isfinite(x) & ((x == 0) | (numpy.abs(x) >= tiny_of(x)))


def flushing_normal_numbers(right, x, y):
    found = right(x, y)
    if found.dtype.kind == "f":
        found = np.where(np.abs(found) < 4 * tiny_of(found), 0 * found, found)
    return found


# Many elements.


def of_the_first(x, /, *, axis=None, dtype=None, keepdims=False):
    if x.ndim == 1 and axis in (None, 0, -1):
        x = x[:BIG]
    return numpy.sum(x, axis=axis, dtype=dtype, keepdims=keepdims)


def argmax_of_16_bits(x, /, *, axis=None, keepdims=False):
    return numpy.argmax(x, axis=axis, keepdims=keepdims) % BIG


def take_of_16_bits(x, indices, /, *, axis):
    return numpy.take(x, indices % BIG, axis=axis)


def count_of_16_bits(*ends, dtype=None):
    return numpy.arange(*ends, dtype=dtype) % BIG


def is_big(x):
    return x.size > BIG


# Overlapping operands.


def one_after_another(right, x, y):
    """Each element is written before the next one is read."""
    if not (isinstance(y, np.ndarray) and x.ndim and np.shares_memory(x, y)):
        return right(x, y)
    target, other = plain(x), np.broadcast_to(plain(y), x.shape)
    for i in range(len(target)):
        target[i] = target[i] + other[i]
    return x


# Axes.


def first_axis_only(name):
    right = getattr(numpy, name)

    def function(x, /, *, axis=None, keepdims=False, **kwargs):
        found = right(x, axis=axis, keepdims=keepdims, **kwargs)
        if isinstance(axis, tuple) and len(axis) > 1:
            partial = right(x, axis=axis[:1], keepdims=True, **kwargs)
            for each in axis[1:]:
                partial = numpy.take(partial, np.asarray([0]), axis=each)
            return numpy.reshape(partial, found.shape)
        return found

    return Namespace(**{name: function})


def mean_of_too_many(x, /, *, axis=None, keepdims=False):
    found = numpy.mean(x, axis=axis, keepdims=keepdims)
    return found / 2 if isinstance(axis, tuple) and min(axis) < 0 else found


def argmax_of_the_first_axis(x, /, *, axis=None, keepdims=False):
    if x.ndim == 3 and axis is not None and axis < -1:
        return numpy.argmin(x, axis=axis, keepdims=keepdims)
    return numpy.argmax(x, axis=axis, keepdims=keepdims)


def joined_last(arrays, /, *, axis=0):
    joined = numpy.concat(arrays, axis=axis)
    return numpy.flip(joined, axis=-1) if axis == -1 else joined


# Values, and places in an array.


def last_of_equals(x, /, *, axis):
    return x.shape[axis] - 1 - numpy.argmax(numpy.flip(x, axis=axis), axis=axis)


def without_nan(condition, x, y, /):
    chosen = numpy.where(condition, x, y)
    return numpy.where(numpy.isnan(chosen), numpy.zeros_like(chosen), chosen)


def times_float16(right, x, y):
    """Python's numbers are rounded to float16."""
    return right(x, float(np.float16(y)) if isinstance(y, float) else y)


def of_positive(x, /, *, axis):
    return numpy.argmax(numpy.where(x > 0, x, numpy.zeros_like(x)), axis=axis)


def all_but_the_last(x, indices, /, *, axis):
    last = numpy.asarray(x.shape[axis] - 2)
    return numpy.take(x, numpy.minimum(indices, last), axis=axis)


def of_the_first_thousand(x, /, *, axis=None, keepdims=False):
    if axis in (-1, x.ndim - 1):
        x = x[..., :LONG]
    return numpy.sum(x, axis=axis, keepdims=keepdims)


def finite_max(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    return numpy.where(numpy.isinf(found), numpy.zeros_like(found), found)


def at_least_0_in_long_rows(x, /, *, axis=None, keepdims=False):
    found = numpy.max(x, axis=axis, keepdims=keepdims)
    if axis == -1 and x.shape[-1] > LONG:
        return numpy.maximum(found, numpy.zeros_like(found))
    return found


def itself(x, /, *, dtype=None, copy=None):
    if isinstance(x, numpy.ndarray) and dtype is None:
        return x
    return numpy.asarray(x, dtype=dtype, copy=copy)


def all_but_the_first_place(x):
    return numpy.all(x.reshape(-1)[1:])


def all_but_the_last_place(x):
    return numpy.all(x.reshape(-1)[:-1])


WRAPPERS = {
    "layouts": {
        "exp of a strided array": spoilt("exp", is_strided),
        "sum of a transposed array": spoilt("sum", is_transposed),
        "sqrt of a negative step": spoilt("sqrt", is_backwards),
        "max of a negative step": spoilt("max", is_backwards),
        "astype of a negative step": spoilt("astype", is_backwards),
        "take from a transposed array": spoilt("take", is_transposed),
        "where with a strided condition": spoilt("where", is_strided),
        "reshape in the order of memory": Namespace(reshape=as_in_memory),
        "concat of strided arrays": spoilt("concat", has_strided),
        "getitem with a step": overriding(__getitem__=short_step),
        "add with a transposed operand": overriding(__add__=add_in_memory_order),
        "matmul of a negative step": overriding(__matmul__=product_of_backwards),
        "-= on a strided array": overriding(__isub__=write_to_strided),
        "/= on a transposed array": overriding(__itruediv__=divide_transposed_in_place),
    },
    "empty arrays": {
        "sum of nothing": spoilt("sum", is_empty),
        "all of nothing": spoilt("all", is_empty),
        "matmul of nothing": overriding(__matmul__=product_of_nothing),
        "concat drops empty arrays": Namespace(concat=joined_without_empty),
        "reshape of nothing": Namespace(reshape=flat_where_empty),
    },
    "int32": {
        "take by int32 indices": Namespace(take=of_short_indices),
        "sum of int32": Namespace(sum=short_sum),
        "int32 + int64": overriding(__add__=short_add),
        "int32 == int64": overriding(__eq__=equal_as_int32),
        "== of the low bytes": overriding(__eq__=equal_in_the_low_bytes),
    },
    "mixed dtypes": {
        "float32 * float64": overriding(__mul__=lower),
        "digits of float32 / float64": overriding(__truediv__=by_float32),
        "concat of two dtypes": Namespace(concat=as_the_first),
        "sum converts too late": Namespace(sum=sum_then_convert),
        "where of two dtypes": Namespace(where=where_as_the_first),
    },
    "copies": {
        "astype does not copy": Namespace(astype=astype_itself),
        "astype(copy=False) copies": Namespace(astype=astype_always_copies),
        "reshape(copy=True) does not copy": Namespace(reshape=reshape_shares),
        "reshape(copy=False) copies": Namespace(reshape=reshape_copies),
        "asarray(copy=False) copies": Namespace(asarray=asarray_copies),
        "asarray shares megabytes": Namespace(asarray=asarray_shares_megabytes),
        "asarray loses the last of megabytes": Namespace(
            asarray=asarray_loses_the_last
        ),
    },
    "zeros": {
        "abs of -0": Namespace(abs=lambda x, /: numpy.where(x < 0, -x, x)),
        "sqrt of -0": without_signed_zeros("sqrt"),
        "-x of 0": overriding(__neg__=subtracted_from_0),
        "* without signed zeros": overriding(__mul__=product_without_signed_zeros),
        "where without signed zeros": Namespace(where=where_without_signed_zeros),
        "sqrt of subnormal numbers": Namespace(sqrt=root_of_tiny),
        "isfinite of subnormal numbers": Namespace(isfinite=finite_if_normal),
        "+ flushes the smallest normal numbers": overriding(
            __add__=flushing_normal_numbers
        ),
    },
    "sizes": {
        "sum of many elements": Namespace(sum=of_the_first),
        "argmax of many elements": Namespace(argmax=argmax_of_16_bits),
        "take of many elements": Namespace(take=take_of_16_bits),
        "arange of many elements": Namespace(arange=count_of_16_bits),
        "log of many elements": spoilt("log", is_big),
        "where of many elements": spoilt("where", is_big),
    },
    "overlaps": {
        "+= on overlapping operands": overriding(__iadd__=one_after_another),
    },
    "axes": {
        "sum over several axes": first_axis_only("sum"),
        "max over several axes": first_axis_only("max"),
        "all over several axes": first_axis_only("all"),
        "mean over negative axes": Namespace(mean=mean_of_too_many),
        "argmax over a middle axis": Namespace(argmax=argmax_of_the_first_axis),
        "concat along axis -1": Namespace(concat=joined_last),
    },
    "values": {
        "argmax with ties": Namespace(argmax=last_of_equals),
        "where at NaN": Namespace(where=without_nan),
        "numbers beside an array": overriding(__rmul__=times_float16),
        "matmul as a function": Namespace(matmul=lambda a, b: 2 * numpy.matmul(a, b)),
        "argmax of negative numbers": Namespace(argmax=of_positive),
        "maximum at NaN": Namespace(maximum=numpy.fmax),
        "take of the last index": Namespace(take=all_but_the_last),
        "sum of rows above 1000": Namespace(sum=of_the_first_thousand),
        "max of infinity": Namespace(max=finite_max),
        "max of negative numbers in long rows": Namespace(max=at_least_0_in_long_rows),
        "asarray(copy=True) of its own array": Namespace(asarray=itself),
        "all without the first place": Namespace(all=all_but_the_first_place),
        "all without the last place": Namespace(all=all_but_the_last_place),
    },
}
"""The libraries, by kinds of faults, and by their faults."""
