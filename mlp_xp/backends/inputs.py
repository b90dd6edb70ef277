"""Inputs and labels as a caller gives them: conversion to arrays, and checks."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from mlp_xp.core.backend import Backend
from mlp_xp.core.functional import Array
from mlp_xp.core.signature import Signature
from mlp_xp.errors import DatasetError, Words, more, nearest, some

NUMBERS = Real | Decimal | np.bool_
# With a mean and a standard deviation of at most 1, no feature is larger than this.
_MOST_STANDARDISED = 100


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, such as float64."""
    # Libraries also write it as `library.uint8` or `<dtype: 'uint8'>`.
    name = str(array.dtype).rpartition(".")[-1]
    return name.removeprefix("<dtype: '").removesuffix("'>")


def read_features(what: str, X: Any, backend: Backend) -> Array:
    """Return features (n, ...) on the device: uint8 or the backend's floats.

    Bytes stay bytes, and all other numbers become floats.

    Args:
        what: The name of X in errors.
        X: An array of any library, or anything that NumPy reads.
        backend: The backend of the result.

    Raises:
        DatasetError: X is not an array of finite numbers, (n, features) or images. The
            error has the row and the column, counted from 0.
    """
    if isinstance(X, np.ndarray) or not_of(X, backend):
        X = check_numbers(what, on_host(what, X, backend))
    x = _as_bytes_or_floats(what, X, backend)
    shape = tuple(x.shape)
    if not 2 <= len(shape) <= 4 or 0 in shape:
        remedy = (
            "give samples, (n, features), or images, (n, rows, columns[, channels])"
        )
        raise DatasetError(f"the shape is {shape}", remedy=remedy, setting=what)
    xp = backend.xp
    if x.dtype != xp.uint8 and not backend.to_numpy(xp.all(xp.isfinite(x))):
        index = np.argwhere(~np.isfinite(backend.to_numpy(x)))[0]
        value = on_host(what, X, backend)[tuple(index)]
        reason = "is not a finite number"
        if np.isfinite(value):
            reason = f"is too large for {backend.dtype_name}"
        raise error_at(what, index, f"{value} {reason}", "remove or replace it")
    return x


def _as_bytes_or_floats(what: str, X: Array, backend: Backend) -> Array:
    """Return numbers on the device, given as an array of NumPy or the backend."""
    if isinstance(X, np.ndarray):
        # A number too large for float32 becomes infinite, which the caller reports.
        with np.errstate(over="ignore"):
            host = X
            if X.dtype != np.uint8:
                host = X.astype(backend.dtype_name, copy=False)
            return backend.asarray(host)
    dtype = dtype_name(X)
    if "complex" in dtype:
        raise DatasetError(
            f"the dtype is {dtype}", remedy="give integers or floats", setting=what
        )
    return X if dtype == "uint8" else backend.xp.astype(X, backend.dtype)


def _as_bytes(X: Array, backend: Backend) -> Array:
    """Return whole numbers from 0 to 255 as uint8, where the array is."""
    dtype = dtype_name(X)
    if dtype == "uint8":
        return X
    fault = f"the dtype is {dtype}"
    if dtype.startswith(("int", "uint")):
        xp = np if isinstance(X, np.ndarray) else backend.xp
        values = xp.astype(X, xp.int64)
        x = xp.astype(values, xp.uint8)
        if bool(xp.all(x == values)):
            return x
        fault = "there are values outside 0 to 255"
    raise DatasetError(
        f"{fault}, but the network was trained on bytes",
        remedy="give whole numbers from 0 to 255, as uint8",
        setting="X",
    )


def find_columns(
    wanted: Sequence[str], names: Sequence[str], what: str | None = None
) -> list[int]:
    """Return the positions of the wanted names among the names of columns.

    Raises:
        DatasetError: Names are missing, or several columns have the same name. The
            error lists these names.
    """
    positions = {name: i for i, name in enumerate(names)}
    counts = Counter(names)
    repeated = [name for name in wanted if counts[name] > 1]
    if repeated:
        count = counts[repeated[0]]
        fault = f"has {count} columns named {some([*dict.fromkeys(repeated)])}"
        raise DatasetError(fault, remedy="rename them", setting=what)
    missing = [name for name in wanted if name not in counts]
    if missing:
        shown = [f"{name!r:.60}{nearest(name, names)}" for name in missing[:12]]
        raise DatasetError(
            f"has no column {', '.join(shown)}{more(missing, 12)}",
            remedy=f"its columns are {some(names)}",
            setting=what,
        )
    return [positions[name] for name in wanted]


def on_host(what: str, values: Any, backend: Backend) -> np.ndarray:
    """Return a list, a table, a NumPy array or an array of the backend on the host.

    Raises:
        DatasetError: The values cannot be read as an array, or some are masked.
    """
    if isinstance(values, np.ma.MaskedArray):
        masked = np.argwhere(np.ma.getmaskarray(values))
        if len(masked):
            remedy = "fill it in, or leave out the row"
            raise error_at(what, masked[0], "the value is masked", remedy)
    try:
        if isinstance(values, np.ndarray) or not_of(values, backend):
            array = np.asarray(values)
        else:
            array = backend.to_numpy(values)
        if not array.ndim:
            raise ValueError("it is a single value")
        return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
    # Rows may differ in length, and another library may refuse.
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DatasetError(
            f"cannot be read as an array ({reason})",
            remedy="give a value or a row for each sample, rows of one length, and "
            "text in UTF-8",
            setting=what,
        ) from error


def check_numbers(what: str, array: np.ndarray) -> np.ndarray:
    """Return a host array of integers, floats or booleans.

    An array of objects, as pandas has it, becomes floats if all objects are numbers.

    Raises:
        DatasetError: A value is not a number.
    """
    if array.dtype.kind in "biuf":
        return array
    for index, value in np.ndenumerate(array):
        if not isinstance(value, NUMBERS):
            # NumPy's strings have a longer repr.
            shown = str(value) if isinstance(value, str) else value
            fault = f"{shown!r:.60} is not a number"
            raise error_at(what, index, fault, "encode text as numbers first")
    return array.astype(np.float64)


def error_at(
    what: str, index: Sequence[int], fault: str, remedy: Words
) -> DatasetError:
    """Return an error about one value of an array.

    Args:
        what: The name of the array in the error.
        index: The index of the value: a row, and a column or pixel if there are any.
        fault: The fault, in words.
        remedy: The remedy, in words.
    """
    row, *place = map(int, index)
    column = None
    if len(place) == 1:
        column = place[0]
    elif place:
        fault = f"pixel ({', '.join(map(str, place))}): {fault}"
    return DatasetError(fault, remedy=remedy, setting=what, row=row, column=column)


def _namespace_name(array: Any) -> str:
    namespace = getattr(array, "__array_namespace__", None)
    if namespace is None:
        return ""
    return getattr(namespace(), "__name__", "").partition(".")[0]


def not_of(array: Any, backend: Backend) -> tuple[str, str] | None:
    """Return None if an array belongs to a backend, otherwise how the two differ.

    The array is compared with an array of the backend. A namespace or a device object
    does not show which arrays belong to it: two namespaces may share an array type, and
    `cuda` means `cuda:0`. In a compiled function, an array has another type but the
    same namespace, and its device may be unknown.

    Returns:
        Where the array is and where the backend is, in words, or None.
    """
    own = backend.asarray(np.zeros(1, np.uint8))
    if not isinstance(array, type(own)):
        name = _namespace_name(own)
        if not name or _namespace_name(array) != name:
            kind = type(array)
            package = kind.__module__.partition(".")[0]
            return f"{package}.{kind.__name__}", backend.name
    device = getattr(array, "device", None)
    own_device = getattr(own, "device", None)
    if device is not None and own_device is not None and device != own_device:
        return f"on {device}", f"on {own_device}"
    return None


def _batch_shape(shape: Sequence[int | str]) -> str:
    """Return the shape of n samples as text, such as `(n, 28, 28)`."""
    return f"({', '.join(['n', *map(str, shape)])})"


class ReadingBackend(Backend):
    """A backend that reads inputs in any form, and checks inputs and labels."""

    def read(self, X: Any, signature: Signature) -> Array:
        """See `Backend.read`.

        A network trained on bytes also takes other integers from 0 to 255.
        """
        if not_of(X, self):
            X = on_host("X", X, self)
        given = tuple(X.shape)
        shape = signature.input_shape
        if given[1:] != shape or not given:
            wanted = _batch_shape(shape)
            remedy = "give that"
            if given == shape:
                remedy += "; one sample is X[None, ...]"
            raise DatasetError(
                f"the shape is {given}, but the network was trained on {wanted}",
                remedy=remedy,
                setting="X",
            )
        if signature.preparation.takes_bytes:
            X = _as_bytes(X, self)
        elif signature.preparation.takes_small_numbers:
            self._check_scaled(X)
        try:
            return read_features("X", X, self)
        except DatasetError as error:
            names = signature.feature_names
            if isinstance(error.column, int) and names:
                error.column = names[error.column]
            raise

    def _check_scaled(self, X: Any) -> None:
        """Raise DatasetError for bytes, for a network of small numbers."""
        if not dtype_name(X).startswith(("int", "uint")):
            return
        largest = on_host("X", X, self).max(initial=0)
        if largest > _MOST_STANDARDISED:
            raise DatasetError(
                f"its whole numbers go up to {largest}, but the network was trained on "
                "floats of about 0 to 1",
                remedy="scale them as in the training, such as X / 255; floats are "
                "taken as they are",
                setting="X",
            )

    def check_inputs(
        self, inputs: Any, signature: Signature, name: str = "inputs"
    ) -> None:
        """See `Backend.check_inputs`.

        Bytes must be uint8, because floats may already be scaled to [0, 1].
        """
        self._check_place(inputs, name)
        found = tuple(inputs.shape)
        shape = signature.input_shape
        if found[1:] != shape or not shape or 0 in found:
            wanted = _batch_shape(shape or ["features"])
            fault = f"{name}: their shape is {found}; give one or more, {wanted}"
            raise DatasetError(fault)
        if inputs.dtype == self.xp.uint8:
            return
        wanted = "uint8, which is scaled to [0, 1]"
        if not signature.preparation.takes_bytes:
            if inputs.dtype == self.dtype:
                return
            wanted = f"uint8 or {self.dtype_name}"
        fault = f"{name}: their dtype is {dtype_name(inputs)}; give {wanted}"
        raise DatasetError(fault)

    def check_labels(
        self, labels: Any, count: int, signature: Signature, name: str = "labels"
    ) -> np.ndarray:
        """See `Backend.check_labels`."""
        self._check_place(labels, name)
        task = signature.task
        outputs = len(signature.outputs)
        shape = tuple(labels.shape)
        wanted_shape = (count,) if task.exclusive else (count, outputs)
        if shape != wanted_shape or 0 in wanted_shape:
            raise DatasetError(
                f"{name}: their shape is {shape}, where {wanted_shape} is expected; "
                "give labels for each input"
            )
        dtype = dtype_name(labels)
        if task.floats:
            dtype_fits = labels.dtype == self.dtype
            wanted = f"the backend's, {self.dtype_name}"
        else:
            dtype_fits = dtype.startswith(("int", "uint"))
            wanted = "integers, such as uint8"
        if not dtype_fits:
            raise DatasetError(f"{name}: their dtype is {dtype}; give {wanted}")
        values = self.to_numpy(labels)
        if task.exclusive:
            allowed = (values >= 0) & (values < outputs)
            wanted = (
                f"0 to {outputs - 1}, the numbers of the classes, each with a name in "
                "the outputs of the signature"
            )
        else:
            allowed = task.allows(values)
            wanted = task.wanted
        if not allowed.all():
            low, high = values.min(), values.max()
            fault = f"{name}: they range from {low} to {high}; give {wanted}"
            raise DatasetError(fault)
        return values

    def _check_place(self, array: Any, name: str) -> None:
        difference = not_of(array, self)
        if difference:
            here, there = difference
            raise DatasetError(
                f"{name}: they are {here}, the backend is {there}; copy them with "
                "backend.asarray, or load the data set with this backend"
            )
