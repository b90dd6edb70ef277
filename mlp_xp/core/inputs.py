"""What a caller gives as inputs or labels, as arrays of a backend: what is taken, and what is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.core.library import Backend
from mlp_xp.errors import DatasetError

INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
FLOATS = ("float16", "bfloat16", "float32", "float64", "float128", "longdouble")


def read_features(what: str, X: Any, backend: Backend, names: Sequence[str] = ()) -> Array:
    """Return features (n, ...) on the device: uint8 as it is, everything else as the backend's floats.

    what: the name in errors. names: of the columns, for errors too. Raises DatasetError unless X is an array of
    finite numbers, (n, features) or images.
    """
    if isinstance(X, np.ndarray) or not_of(X, backend):
        X = on_host(what, X, backend)
        check_numbers(what, X)
        shape, name = X.shape, X.dtype.name
        with np.errstate(over="ignore"):  # reported below
            x = backend.asarray(X if name == "uint8" else X.astype(backend.dtype_name))
    else:
        shape, name = tuple(X.shape), dtype_name(X)
        if name not in (*INTEGERS, *FLOATS, "bool"):
            raise DatasetError(f"{what}: its dtype is {name}; give integers or floats")
        x = X if name == "uint8" else backend.xp.astype(X, backend.dtype)
    if not 2 <= len(shape) <= 4:
        one = "; one feature is X[:, None]" if len(shape) == 1 else ""
        raise DatasetError(
            f"{what}: its shape is {shape}; give (n, features) or images (n, rows, columns[, channels]){one}"
        )
    if 0 in shape:
        raise DatasetError(f"{what}: it has no values (its shape is {shape}); give some")
    xp = backend.xp
    if name != "uint8" and not backend.to_numpy(xp.all(xp.isfinite(x))):
        bad = np.argwhere(~np.isfinite(backend.to_numpy(x)))[0]
        given = on_host(what, X, backend)[tuple(bad)]
        reason = f"too large for {backend.dtype_name}" if np.isfinite(given) else "no finite number"
        where = f"{what}: row {bad[0]}, {column_at(bad[1:], names)}"
        raise DatasetError(f"{where} is {given}, {reason}; remove or replace it")
    return x


def read_inputs(X: Any, shape: tuple[int, ...], is_bytes: bool, columns: Sequence[str], backend: Backend) -> Array:
    """Return inputs for a trained network, (n, *shape) on the device, of an array there, or of what NumPy reads.

    is_bytes: whether the network was trained on bytes; whole numbers from 0 to 255 are taken too. Else as
    `read_features`. columns: the names of the features, or none. Raises DatasetError for a shape, dtype or range that
    does not fit, for what is not finite, and for a table whose columns have other names or another order.
    """
    names = [str(name) for name in getattr(X, "columns", ())]
    if names and columns and names != [*columns]:
        wrong = next((pair for pair in zip(names, columns, strict=False) if pair[0] != pair[1]), None)
        reason = f"{wrong[0]!r:.60} is where {wrong[1]!r:.60} was" if wrong else f"{len(names)} are not {len(columns)}"
        raise DatasetError(f"X: its columns are not those of the training data: {reason}; give the same, in that order")
    if not_of(X, backend):
        X = on_host("X", X, backend)
    given = tuple(X.shape)
    if given[1:] != shape or not given:
        one = "; one sample is X[None, ...]" if given == shape else ""
        wanted = ", ".join(map(str, ("n", *shape)))
        raise DatasetError(f"X: its shape is {given}, but the network was trained on ({wanted}); give that{one}")
    if not is_bytes:
        return read_features("X", X, backend, columns)
    name, xp = dtype_name(X), np if isinstance(X, np.ndarray) else backend.xp
    if name not in INTEGERS:
        raise DatasetError(
            f"X: its dtype is {name}, but the network was trained on bytes; give whole numbers from 0 to 255, as uint8"
        )
    if name != "uint8":
        X = X if name == "int64" else xp.astype(X, xp.int64)
        for value in (int(xp.min(X)), int(xp.max(X))) if 0 not in given else ():
            if not 0 <= value <= 255:
                raise DatasetError(f"X: it has the value {value}, but the network was trained on bytes, 0 to 255")
        X = xp.astype(X, xp.uint8)
    return read_features("X", X, backend, columns)


def on_host(what: str, values: Any, backend: Backend) -> np.ndarray:
    """Return a host array of lists, a NumPy array, or an array of the backend. Raises DatasetError.

    A masked array is taken if none of its values is masked.
    """
    if isinstance(values, np.ma.MaskedArray) and (masked := np.ma.getmaskarray(values)).any():
        row, *column = np.argwhere(masked)[0]
        where = f"row {row}, {column_at(column)}" if column else f"row {row}"
        raise DatasetError(f"{what}: {where} is masked: there is no value; fill it in, or leave out the row")
    try:
        is_host = isinstance(values, np.ndarray) or not_of(values, backend)
        array = np.asarray(values) if is_host else backend.to_numpy(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, or another library's array
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(f"{what}: cannot be read as an array ({reason}); give rows of one length") from error
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.reshape(-1)):
        return array.astype(np.str_)  # as pandas has strings
    return array


def check_numbers(what: str, X: np.ndarray) -> None:
    """Raise DatasetError unless a host array holds integers, floats or booleans. what: its name in the error."""
    if X.dtype.kind not in "biuf":
        reason = "; encode text as numbers first" if X.dtype.kind in "OUS" else ""
        raise DatasetError(f"{what}: its dtype is {X.dtype}; give integers or floats{reason}")


def column_at(index: Sequence[int], names: Sequence[str] = ()) -> str:
    """Name a column of a table, by its name if it has one, or a pixel of an image, from its index in a row."""
    if len(index) > 1:
        return f"pixel ({', '.join(map(str, index))})"
    return f"column {names[index[0]]!r:.60}" if index[0] < len(names) else f"column {index[0]}"


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
