"""What a caller gives as inputs or labels, as arrays: what is taken, and what is
refused.
"""

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


def dtype_name(array: Array) -> str:
    """Return the name of an array's dtype, such as float64."""
    # Libraries write it as `library.uint8` or `<dtype: 'uint8'>` too.
    return (
        str(array.dtype).rpartition(".")[2].removeprefix("<dtype: '").removesuffix("'>")
    )


def read_features(what: str, X: Any, backend: Backend) -> Array:
    """Return features (n, ...) on the device: uint8 as it is, everything else as the
    backend's floats.

    what: the name of X in errors. Raises DatasetError, with the row and column, counted
    from 0, unless X is an array of finite numbers, (n, features) or images.
    """
    if isinstance(X, np.ndarray) or not_of(X, backend):
        X = check_numbers(what, on_host(what, X, backend))
        with np.errstate(over="ignore"):  # reported below
            x = backend.asarray(
                X if X.dtype == np.uint8 else X.astype(backend.dtype_name, copy=False)
            )
    elif "complex" in dtype_name(X):
        raise DatasetError(
            f"the dtype is {dtype_name(X)}",
            remedy="give integers or floats",
            setting=what,
        )
    else:
        x = X if dtype_name(X) == "uint8" else backend.xp.astype(X, backend.dtype)
    shape, xp = tuple(x.shape), backend.xp
    if not 2 <= len(shape) <= 4 or 0 in shape:
        wanted = (
            "give samples, (n, features), or images, (n, rows, columns[, channels])"
        )
        raise DatasetError(f"the shape is {shape}", remedy=wanted, setting=what)
    if x.dtype != xp.uint8 and not backend.to_numpy(xp.all(xp.isfinite(x))):
        place = np.argwhere(~np.isfinite(backend.to_numpy(x)))[0]
        value = on_host(what, X, backend)[tuple(place)]
        reason = (
            f"is too large for {backend.dtype_name}"
            if np.isfinite(value)
            else "is not a finite number"
        )
        raise error_at(what, place, f"{value} {reason}", "remove or replace it")
    return x


def _as_bytes(X: Array, backend: Backend) -> Array:
    name, xp = dtype_name(X), np if isinstance(X, np.ndarray) else backend.xp
    if name == "uint8":
        return X
    fault = f"the dtype is {name}"
    if name.startswith(("int", "uint")):
        values = xp.astype(X, xp.int64)
        x = xp.astype(values, xp.uint8)
        if bool(xp.all(x == values)):
            return x
        fault = "there are values outside 0 to 255"
    remedy = "give whole numbers from 0 to 255, as uint8"
    raise DatasetError(
        f"{fault}, but the network was trained on bytes", remedy=remedy, setting="X"
    )


def find_columns(
    wanted: Sequence[str], names: Sequence[str], what: str | None = None
) -> list[int]:
    """Return the places of the wanted names among names of columns.

    Raises DatasetError, which names all that are missing, or there twice.
    """
    places, counts = {name: i for i, name in enumerate(names)}, Counter(names)
    if twice := [name for name in wanted if counts[name] > 1]:
        fault = f"has {counts[twice[0]]} columns named {some([*dict.fromkeys(twice)])}"
        raise DatasetError(fault, remedy="rename them", setting=what)
    if missing := [name for name in wanted if not counts[name]]:
        fault = f"has no column {', '.join(f'{name!r:.60}{nearest(name, names)}' for name in missing[:12])}"
        raise DatasetError(
            f"{fault}{more(missing, 12)}",
            remedy=f"its columns are {some(names)}",
            setting=what,
        )
    return [places[name] for name in wanted]


def on_host(what: str, values: Any, backend: Backend) -> np.ndarray:
    """Return a host array of a list, a table, a NumPy array without masked values, or
    an array of the backend.
    """
    if (
        isinstance(values, np.ma.MaskedArray)
        and (masked := np.ma.getmaskarray(values)).any()
    ):
        raise error_at(
            what,
            np.argwhere(masked)[0],
            "the value is masked",
            "fill it in, or leave out the row",
        )
    try:
        is_host = isinstance(values, np.ndarray) or not_of(values, backend)
        array = np.asarray(values) if is_host else backend.to_numpy(values)
        if not array.ndim:
            raise ValueError("it is a single value")
        return np.strings.decode(array, "utf-8") if array.dtype.kind == "S" else array
    # rows of several lengths, or another library's array
    except (ValueError, TypeError, RuntimeError) as error:
        fault = f"cannot be read as an array ({' '.join(str(error).split())[:200]})"
        remedy = "give a value or a row for each sample, rows of one length, and text in UTF-8"
        raise DatasetError(fault, remedy=remedy, setting=what) from error


def check_numbers(what: str, array: np.ndarray) -> np.ndarray:
    """Return a host array of integers, floats or booleans; objects that all are such,
    as pandas has them, as floats.

    Raises DatasetError for other values.
    """
    if array.dtype.kind in "biuf":
        return array
    for place, value in np.ndenumerate(array):
        if not isinstance(value, NUMBERS):
            shown = str(value) if isinstance(value, str) else value
            raise error_at(
                what,
                place,
                f"{shown!r:.60} is not a number",
                "encode text as numbers first",
            )
    return array.astype(np.float64)


def error_at(
    what: str, index: Sequence[int], fault: str, remedy: Words
) -> DatasetError:
    """Return an error about a value of an array, by its index."""
    row, *place = map(int, index)
    column = place[0] if len(place) == 1 else None
    pixel = f"pixel ({', '.join(map(str, place))}): " if len(place) > 1 else ""
    return DatasetError(
        f"{pixel}{fault}", remedy=remedy, setting=what, row=row, column=column
    )


def _namespace_name(array: Any) -> str:
    namespace = getattr(array, "__array_namespace__", None)
    return getattr(namespace(), "__name__", "").partition(".")[0] if namespace else ""


def not_of(array: Any, backend: Backend) -> tuple[str, str] | None:
    """Return a description of the array and one of the backend if they do not match;
    None if they match.

    The array is compared with one that the backend creates, because a namespace or a
    device object alone does not show which arrays belong to it: two namespaces may
    share an array type, and `cuda` means `cuda:0`. In a compiled function arrays have
    another type with the same namespace, and their device may be unknown.
    """
    own = backend.asarray(np.zeros(1, np.uint8))
    name = _namespace_name(own)
    if not isinstance(array, type(own)) and not (
        name and _namespace_name(array) == name
    ):
        return (
            f"{type(array).__module__.partition('.')[0]}.{type(array).__name__}",
            backend.name,
        )
    place, wanted = getattr(array, "device", None), getattr(own, "device", None)
    if place is not None and wanted is not None and place != wanted:
        return f"on {place}", f"on {wanted}"
    return None


class ReadingBackend(Backend):
    """A backend that reads inputs in any form, and checks inputs and labels."""

    def read(self, X: Any, signature: Signature) -> Array:
        """See `Backend.read`.

        For a network that was trained on bytes, whole numbers from 0 to 255 are taken
        too.
        """
        if not_of(X, self):
            X = on_host("X", X, self)
        given = tuple(X.shape)
        shape = signature.input_shape
        if given[1:] != shape or not given:
            one = "; one sample is X[None, ...]" if given == shape else ""
            wanted = ", ".join(map(str, ("n", *shape)))
            raise DatasetError(
                f"the shape is {given}, but the network was trained on ({wanted})",
                remedy=f"give that{one}",
                setting="X",
            )
        if signature.preparation.takes_bytes:
            X = _as_bytes(X, self)
        try:
            return read_features("X", X, self)
        except DatasetError as error:
            names = signature.feature_names
            if isinstance(error.column, int) and names:
                error.column = names[error.column]
            raise

    def check_inputs(
        self, inputs: Any, signature: Signature, name: str = "inputs"
    ) -> None:
        """See `Backend.check_inputs`.

        Bytes must be uint8: floats do not show whether they are in [0, 1] already.
        """
        self._check_place(inputs, name)
        found, shape = tuple(inputs.shape), signature.input_shape
        if found[1:] != shape or not shape or 0 in found:
            wanted = ", ".join(map(str, ("n", *(shape or ("features",)))))
            fault = f"{name}: their shape is {found}; give one or more, ({wanted})"
            raise DatasetError(fault)
        is_bytes = signature.preparation.takes_bytes
        if inputs.dtype == self.xp.uint8 or (
            inputs.dtype == self.dtype and not is_bytes
        ):
            return
        wanted = f"uint8 or {self.dtype_name}"
        if is_bytes:
            wanted = "uint8, which is scaled to [0, 1]"
        fault = f"{name}: their dtype is {dtype_name(inputs)}; give {wanted}"
        raise DatasetError(fault)

    def check_labels(
        self, labels: Any, count: int, signature: Signature, name: str = "labels"
    ) -> np.ndarray:
        """See `Backend.check_labels`."""
        self._check_place(labels, name)
        task, outputs = signature.task, len(signature.outputs)
        found, dtype = tuple(labels.shape), dtype_name(labels)
        wanted = (count,) if task.exclusive else (count, outputs)
        if found != wanted or 0 in wanted:
            raise DatasetError(
                f"{name}: their shape is {found}, where {wanted} is expected; "
                "give labels for each input"
            )
        if task.floats:
            is_right = labels.dtype == self.dtype
            kind = f"the backend's, {self.dtype_name}"
        else:
            is_right = dtype.startswith(("int", "uint"))
            kind = "integers, such as uint8"
        if not is_right:
            raise DatasetError(f"{name}: their dtype is {dtype}; give {kind}")
        values = self.to_numpy(labels)
        if task.exclusive:
            allowed = (values >= 0) & (values < outputs)
            kind = (
                f"0 to {outputs - 1}, the numbers of the classes, each with a name in "
                "the outputs of the signature"
            )
        else:
            allowed, kind = task.allows(values), task.wanted
        if not allowed.all():
            low, high = values.min(), values.max()
            fault = f"{name}: they range from {low} to {high}; give {kind}"
            raise DatasetError(fault)
        return values

    def _check_place(self, array: Any, name: str) -> None:
        wrong = not_of(array, self)
        if wrong:
            raise DatasetError(
                f"{name}: they are {wrong[0]}, the backend is {wrong[1]}; copy them "
                "with backend.asarray, or load the data set with this backend"
            )
