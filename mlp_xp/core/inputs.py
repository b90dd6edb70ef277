"""What a caller gives as inputs or labels, as arrays of a backend: what is taken, and what is refused."""

import numbers
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.errors import DatasetError, Words, nearest, some

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float16", "bfloat16", "float32", "float64", "float128", "longdouble")


def read_features(what: str, X: Any, backend: Backend, names: Sequence[str] = ()) -> Array:
    """Return features (n, ...) on the device: uint8 as it is, everything else as the backend's floats.

    what: the name of X in errors. names: the columns, for errors too. Raises DatasetError unless X is an array of
    finite numbers, (n, features) or images.
    """
    if isinstance(X, np.ndarray) or not_of(X, backend):
        X = on_host(what, X, backend, names)
        check_numbers(what, X, names)
        shape, name = X.shape, X.dtype.name
        with np.errstate(over="ignore"):  # reported below
            x = backend.asarray(X if name == "uint8" else X.astype(backend.dtype_name))
    else:
        shape, name = tuple(X.shape), dtype_name(X)
        if name not in (*INTEGERS, *FLOATS, "bool"):
            raise DatasetError(f"the dtype is {name}", remedy="give integers or floats", setting=what)
        x = X if name == "uint8" else backend.xp.astype(X, backend.dtype)
    if not 2 <= len(shape) <= 4:
        one = "; one feature is X[:, None]" if len(shape) == 1 else ""
        wanted = f"give (n, features) or images (n, rows, columns[, channels]){one}"
        raise DatasetError(f"the shape is {shape}", remedy=wanted, setting=what)
    if 0 in shape:
        raise DatasetError(f"there are no values (the shape is {shape})", remedy="give some", setting=what)
    xp = backend.xp
    if name != "uint8" and not backend.to_numpy(xp.all(xp.isfinite(x))):
        place = np.argwhere(~np.isfinite(backend.to_numpy(x)))[0]
        value = on_host(what, X, backend)[tuple(place)]
        reason = f"is too large for {backend.dtype_name}" if np.isfinite(value) else "is not a finite number"
        raise error_at(what, place, f"{value} {reason}", "remove or replace it", names)
    return x


def read_inputs(X: Any, shape: tuple[int, ...], is_bytes: bool, columns: Sequence[str], backend: Backend) -> Array:
    """Return inputs for a trained network, (n, *shape) on the device, from an array there or what NumPy reads.

    is_bytes: whether the network was trained on bytes; whole numbers from 0 to 255 are taken too. Otherwise as
    `read_features`. columns: the names of the features, if they have any; those of a table are found by them, and
    others are ignored. Raises DatasetError for a shape, dtype or range that does not fit, and values that are not
    finite.
    """
    X = take_columns("X", X, columns, backend)
    if not_of(X, backend):
        X = on_host("X", X, backend, columns)
    given = tuple(X.shape)
    if given[1:] != shape or not given:
        one = "; one sample is X[None, ...]" if given == shape else ""
        wanted = f"the network was trained on ({', '.join(map(str, ('n', *shape)))})"
        raise DatasetError(f"the shape is {given}, but {wanted}", remedy=f"give that{one}", setting="X")
    if not is_bytes:
        return read_features("X", X, backend, columns)
    name, xp = dtype_name(X), np if isinstance(X, np.ndarray) else backend.xp
    remedy = "give whole numbers from 0 to 255, as uint8"
    if name not in INTEGERS:
        fault = f"the dtype is {name}, but the network was trained on bytes"
        raise DatasetError(fault, remedy=remedy, setting="X")
    if name != "uint8":
        X = X if name == "int64" else xp.astype(X, xp.int64)
        for value in (int(xp.min(X)), int(xp.max(X))) if 0 not in given else ():
            if not 0 <= value <= 255:
                fault = f"there is the value {value}, but the network was trained on bytes"
                raise DatasetError(fault, remedy=remedy, setting="X")
        X = xp.astype(X, xp.uint8)
    return read_features("X", X, backend, columns)


def columns_of(what: str, X: Any) -> tuple[str, ...]:
    """Return the names of the columns of a table of pandas, Arrow or Polars; none for an array.

    Raises DatasetError if two columns have one name.
    """
    names = tuple(map(str, getattr(X, "column_names", getattr(X, "columns", ()))))
    check_names(names, what)
    return names


def check_names(names: Sequence[str], what: str | None = None) -> None:
    """Raise DatasetError if two columns have one name; names that are empty are not compared."""
    name, count = Counter(filter(None, names)).most_common(1)[0] if any(names) else ("", 1)
    if count > 1:
        raise DatasetError(f"has {count} columns named {name!r:.60}", remedy="rename them", setting=what)


def check_columns(wanted: Sequence[str], names: Sequence[str], what: str | None = None) -> None:
    """Raise DatasetError, with the nearest name, for a column that is wanted and is not there."""
    for name in wanted:
        if name not in names:
            shown = f"its columns are {some(names)}"
            raise DatasetError(f"has no column {name!r:.60}{nearest(name, names)}", remedy=shown, setting=what)


def take_columns(what: str, X: Any, wanted: Sequence[str], backend: Backend) -> Any:
    """Return the columns with these names of a table, in this order; an array, and all if none are wanted, as it is.

    Raises DatasetError if one is missing, or there twice.
    """
    names = columns_of(what, X)
    if not names or not wanted or names == (*wanted,):
        return X
    check_columns(wanted, names, what)
    values = np.asarray(X)
    return on_host(what, values[:, [names.index(name) for name in wanted]], backend, wanted)


def on_host(what: str, values: Any, backend: Backend, names: Sequence[str] = ()) -> np.ndarray:
    """Return a host array of lists, a NumPy array, a table, or an array of the backend. Raises DatasetError.

    Objects that all are numbers, as in pandas' columns with nullable or Arrow numbers, become such numbers, and those
    that all are text become strings. A masked array is taken if none of its values is masked.
    """
    remedy = "fill it in, or leave out the row"
    if isinstance(values, np.ma.MaskedArray) and (masked := np.ma.getmaskarray(values)).any():
        raise error_at(what, np.argwhere(masked)[0], "the value is masked, so there is no value", remedy, names)
    try:
        is_host = isinstance(values, np.ndarray) or not_of(values, backend)
        array = np.asarray(values) if is_host else backend.to_numpy(values)
        array = np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, or another library's array
        fault = f"cannot be read as an array ({' '.join(str(error).split())[:200]})"
        raise DatasetError(fault, remedy="give rows of one length, and text in UTF-8", setting=what) from error
    if array.dtype.kind != "O":
        return array
    kinds = {*map(type, array.flat)}
    for dtype, known in (
        (np.str_, str),
        (np.bool_, bool | np.bool_),
        (np.int64, numbers.Integral | np.bool_),
        (np.float64, numbers.Real | Decimal | np.bool_),
    ):
        if all(issubclass(kind, known) for kind in kinds):
            with suppress(OverflowError):  # of an integer, which becomes a float
                return array.astype(dtype)
    known = numbers.Real | Decimal | np.bool_ | str
    for place, value in np.ndenumerate(array):
        if not isinstance(value, known):
            raise error_at(what, place, f"{value!r:.60} is neither a number nor text", remedy, names)
    return array


def check_numbers(what: str, X: np.ndarray, names: Sequence[str] = ()) -> None:
    """Raise DatasetError unless a host array holds integers, floats or booleans."""
    if X.dtype.kind in "biuf":
        return
    if X.dtype.kind in "OU" and X.size:
        texts = (index for index, value in np.ndenumerate(X) if isinstance(value, str))
        place = next(texts, (0,) * X.ndim)
        value = str(X[place]) if isinstance(X[place], str) else X[place]
        raise error_at(what, place, f"{value!r:.60} is not a number", "encode text as numbers first", names)
    raise DatasetError(f"the dtype is {X.dtype}", remedy="give integers or floats", setting=what)


def error_at(what: str, index: Sequence[int], fault: str, remedy: Words, names: Sequence[str] = ()) -> DatasetError:
    """Return an error about a value of an array, by its index. names: the columns of the array, if they have any."""
    row, *place = map(int, index)
    column: str | int | None = None
    if len(place) == 1:
        column = names[place[0]] if place[0] < len(names) else place[0]
    elif place:
        fault = f"pixel ({', '.join(map(str, place))}): {fault}"
    return DatasetError(fault, remedy=remedy, setting=what, row=row, column=column)


def library_of(array: Any) -> str:
    """Return the name of an array's library, such as numpy: from its namespace, or else from the module of its type.

    For a built-in type, such as list, return the name of the type.
    """
    module = type(array).__module__.partition(".")[0]
    return _namespace_name(array) or (type(array).__name__ if module == "builtins" else module)


def _namespace_name(array: Any) -> str:
    namespace = getattr(array, "__array_namespace__", None)
    return getattr(namespace(), "__name__", "").partition(".")[0] if namespace else ""


def not_of(array: Any, backend: Backend) -> tuple[str, str] | None:
    """Return a description of the array and one of the backend if they do not match; None if they match.

    The array is compared with one that the backend creates, because a namespace or a device object alone does not show
    which arrays belong to it: two namespaces may share an array type, and `cuda` means `cuda:0`. In a compiled function
    arrays have another type with the same namespace, and their device may be unknown.
    """
    own = backend.asarray(np.zeros(1, np.uint8))
    name = _namespace_name(own)
    if not isinstance(array, type(own)) and not (name and _namespace_name(array) == name):
        return f"{library_of(array)} arrays", backend.name
    place, wanted = getattr(array, "device", None), getattr(own, "device", None)
    if place is not None and wanted is not None and place != wanted:
        return f"on {place}", f"on {wanted}"
    return None


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, such as float64."""
    # Libraries write it as `library.uint8` or `<dtype: 'uint8'>` too.
    return str(array.dtype).rpartition(".")[2].removeprefix("<dtype: '").removesuffix("'>")
