"""Predict with a network, or with several together."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.signature import described
from mlp_xp.data.columns import Columns, Reading
from mlp_xp.data.frames import columns_of, table_of
from mlp_xp.data.options import DataOptions
from mlp_xp.data.pictures import Pictures, read_pictures
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table_files import is_table, read_tables, split_names
from mlp_xp.errors import DatasetError, MlpXpError, MlpXpWarning, quoted, some, warn
from mlp_xp.printing import as_html, as_text
from mlp_xp.runs.ensembles import Models, open_models, paths_of
from mlp_xp.runs.run_folder import RunFolder

_MOST_WARNED = 12  # columns with a warning of their own
_MOST_NEW = 3  # new categories in a warning


class PictureWarning(MlpXpWarning):
    """Pictures that cannot be read."""


class Predicted(NamedTuple):
    """The predictions of networks, together and for each network, as NumPy arrays."""

    values: np.ndarray
    """For classes, their names, (n,). For labels, 0 or 1, int64 (n, labels). For
    regression, numbers (n, outputs), or (n,) for a single output.
    """
    outputs: np.ndarray
    """float64 (n, outputs): probabilities of the classes or labels, or numbers. For
    several networks, their mean.
    """
    models: tuple[Model, ...]
    """The networks."""
    runs: np.ndarray
    """The outputs of each network, float64 (models, n, outputs)."""
    pictures: Pictures | None = None
    """The pictures as the networks see them, and the faults of unreadable pictures. The
    outputs have one row for each of `pictures.paths`. None for other inputs.
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str | None:
        return as_html(self)

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self.outputs.shape)
        return f"Predicted({shape} outputs, networks={len(self.models)})"


def predict(
    models: Models,
    inputs: Any,
    *,
    backend: Backend | str = "numpy",
    device: str | None = None,
) -> Predicted:
    """Predict with a network, or with several whose outputs are averaged.

    An unreadable picture does not stop the others. An MlpXpWarning names the first
    one, and `pictures.faults` of the result has all of them.

    For a table, an MlpXpWarning names each column with numbers outside the range of the
    training rows, with categories that they did not have, or with gaps where they had
    none, and the number of rows. An ensemble knows the training rows of all its
    networks. Another warning says that an array has no names of columns, or that the
    column of the label is ignored.

    Args:
        models: A model, the folder of a run or of a sweep, or a list of these. All need
            the same task, inputs and outputs.
        inputs: Arrays, as `Model.predict` takes them. Arrays of another library than
            NumPy are used where they are. Or a table with the columns of the training
            data, in any order and among others: the path of a file, or a data frame. Or
            the path of a picture, of a folder of pictures, or several of these in a
            list. If the run was trained on a folder of pictures, pictures are read like
            its own. Otherwise they are prepared like MNIST's.
        backend: The array library to compute with: a backend, or the name of a library.
        device: Device of the library. By default the library's own default device.

    Returns:
        The predictions.

    Raises:
        DatasetError: A table does not fit, or an array has the features of only some of
            the networks. Or only some of the networks know the columns of a table.
        MlpXpError: The networks do not fit together, take other inputs, or have
            non-finite outputs.
        BackendError: The array library or the device is not available.

    Examples:
        >>> predict("runs/digits", images[:3]).values
        array(['7', '2', '1'], dtype='<U1')
    """
    found = open_models(models, backend, device)
    samples, pictures = _read(found, inputs)
    if pictures is not None and pictures.faults:
        count, first = len(pictures.faults), pictures.faults[0]
        fault = f"pictures or folders without a prediction: {count}, such as {first}"
        warn(PictureWarning(fault))
    signature = found[0].signature
    runs = np.empty((len(found), 0, len(signature.outputs)))
    if pictures is None or pictures.paths:
        with samples.naming(samples.train):
            inputs_of, remarks = _inputs_of(found, samples)
            runs = np.stack(list(map(_outputs, found, inputs_of)))
        for remark in remarks:
            warn(remark)
    outputs = runs[0] if len(found) == 1 else np.mean(runs, axis=0)
    xp = open_backend().xp
    values = signature.task.decide(outputs, signature.outputs, xp=xp)
    return Predicted(values, outputs, tuple(found), runs, pictures)


def _read(models: Sequence[Model], inputs: Any) -> tuple[RawSamples, Pictures | None]:
    """Read the inputs of `predict`, with their pictures if they are pictures.

    Raises:
        DatasetError: A table cannot be read.
        MlpXpError: The networks take other inputs.
    """
    given = inputs if isinstance(inputs, list | tuple) else [inputs]
    if not given or not all(isinstance(each, str | os.PathLike) for each in given):
        return RawSamples(Part(inputs, None)), None
    model, paths = models[0], paths_of(inputs)
    tables = [path for path in paths if _is_table_for(path, model)]
    if tables:
        if len(paths) > 1:
            raise MlpXpError("is a table; give it alone", file=tables[0])
        return _read_table(models, tables[0]), None
    if not _takes_pictures(model):
        wanted = "pictures, or square images of bytes"
        raise _other_inputs(model, paths[0], wanted)
    signature = model.signature
    pictures = read_pictures(paths, signature.input_shape, signature.form)
    return RawSamples(Part(pictures.images, None)), pictures


def _is_table_for(path: Path, model: Model) -> bool:
    """Return whether a file is a table. As in training, it may have any name."""
    takes_table = model.signature.form == "columns"
    return is_table(path.name) or (takes_table and path.is_file())


def _read_table(models: Sequence[Model], path: Path) -> RawSamples:
    """Read the columns that any of the networks needs."""
    for model in models:
        if model.signature.form != "columns":
            raise _other_inputs(model, path, "a table")
    known = [model.signature.columns for model in models]
    by_name = {each.name: each for columns in known for each in columns.columns}
    columns = Columns(tuple(by_name.values()), writing=known[0].writing)
    return read_tables(path, DataOptions(), columns)


def _inputs_of(
    models: Sequence[Model], samples: RawSamples
) -> tuple[Sequence[Any], list[MlpXpWarning]]:
    """Return the inputs of each network, and remarks about them.

    The inputs are the features of a table, or else the array. Raises DatasetError.
    """
    X = samples.train.inputs
    unchanged = [X] * len(models)
    known = list(filter(None, (model.signature.columns for model in models)))
    if not known:
        return unchanged, []
    wanted = dict.fromkeys(name for columns in known for name in columns.names)
    table = table_of(X, "X", [*wanted])
    if table is None:
        forms = {model.signature.form for model in models}
        orders = {columns.feature_names for columns in known}
        if "columns" in forms or len(orders) > 1:
            return unchanged, [_order_of(X, known)]
        return unchanged, []
    if len(known) < len(models):
        raise DatasetError(
            "some of the networks have features without names",
            remedy="give an array, or only networks whose features have names",
            setting="X",
        )
    read = [columns.read(table) for columns in known]
    readings = [reading for _, of_model in read for reading in of_model]
    names = samples.other_names or columns_of(X)[0]
    others = [name for name in names if name not in wanted]
    faults = [*_label_faults(models, others), *_new_faults(readings)]
    file = samples.train.file
    remarks = [MlpXpWarning(fault, file=file, column=name) for name, fault in faults]
    return [features for features, _ in read], remarks


def _takes_pictures(model: Model) -> bool:
    """Return whether pictures can be inputs, like the run's own or like MNIST's."""
    signature = model.signature
    if "pictures" in signature.form:
        return True
    rows, *others = signature.input_shape
    is_square_image = others == [rows] and signature.preparation.takes_bytes
    return is_square_image and signature.task.exclusive


def _other_inputs(model: Model, path: Path, wanted: str) -> MlpXpError:
    """Return the error for inputs of another kind than the network takes."""
    if not path.exists():
        return MlpXpError("no such file or folder", file=path)
    signature = model.signature
    takes = described(signature.input_shape)
    if len(signature.input_shape) > 1 and not signature.preparation.takes_bytes:
        takes += " floats"
    fault = f"the network of {quoted(model.source)} takes {takes}"
    remedy = f"use a run that was trained on {wanted}"
    return MlpXpError(fault, remedy=remedy, file=path)


def _order_of(X: Any, known: Sequence[Columns]) -> MlpXpWarning:
    """Return the remark that columns of an array are taken in the order of features.

    Raises DatasetError if the array cannot have the features of all networks.
    """
    names, fault = known[0].feature_names, ""
    shape = tuple(getattr(X, "shape", (0, len(names))))
    if shape[1:] != (len(names),):
        fault = f"the shape is {shape}, and a table has {len(names)} features"
    if any(columns.feature_names != names for columns in known):
        fault = "an array has no names, and the networks have different features"
    if fault:
        remedy = f"give a data frame with the columns {some(known[0].names)}"
        raise DatasetError(fault, remedy=remedy, setting="X")
    remedy = "give a data frame, whose columns are found by their names"
    fault = f"an array has no names; its columns are taken as {some(names)}"
    return MlpXpWarning(fault, remedy=remedy, setting="X")


def _label_faults(
    models: Sequence[Model], names: Sequence[str]
) -> Iterator[tuple[None, str]]:
    """Yield the fault that labels are among the columns, in the form of `_new_faults`.

    Args:
        models: The networks.
        names: The names of the columns that are not features.
    """
    labels = dict[str, None]()
    for model in models:
        run = RunFolder(Path(model.file).parent)
        if not model.signature.task.exclusive:
            labels |= dict.fromkeys(model.signature.outputs)
        elif model.file:
            with suppress(MlpXpError):
                label = run.settings().data_options.label or ""
                labels |= dict.fromkeys(split_names(label, names))
    there = [label for label in labels if label in names]
    if there:
        fault = f"labels among the columns are ignored: {some(there)}"
        yield None, f"{fault}; evaluate compares them with the predictions"


def _new_faults(readings: Sequence[Reading]) -> Iterator[tuple[str | None, str]]:
    """Yield each column with values that no network has seen, and a remark.

    Args:
        readings: The columns, as each network reads them.
    """
    columns: dict[str, list[Reading]] = {}
    for reading in readings:
        columns.setdefault(reading.column.name, []).append(reading)
    found = []
    for name, same in columns.items():
        remarks = "; ".join(filter(None, (_new_values(same), _new_gaps(same))))
        if remarks:
            found.append((name, remarks))
    yield from found[:_MOST_WARNED]
    others = [name for name, _ in found[_MOST_WARNED:]]
    if others:
        yield None, f"there are such values in {some(others)} too"


def _new_values(same: Sequence[Reading]) -> str:
    """Return how many rows have a new value in a column, or an empty text."""
    rows = np.flatnonzero(np.all([each.new_values for each in same], axis=0))
    if not len(rows):
        return ""
    count, column = _rows(len(rows), len(same[0].found)), same[0].column
    if column.is_category:
        new = some(same[0].categories(rows), _MOST_NEW)
        return f"{count} a value that training did not have: {new}"
    low = min(each.seen.low for each in same if each.seen.low is not None)
    high = max(each.seen.high for each in same if each.seen.high is not None)
    span = f"{column.shown(low)} to {column.shown(high)}"
    first = column.shown(same[0].found[rows[0]])
    return f"{count} a value outside the training range, {span}, such as {first}"


def _new_gaps(same: Sequence[Reading]) -> str:
    """Return how many rows have a gap in a column without gaps in training, or ""."""
    count = int(np.all([each.new_gaps for each in same], axis=0).sum())
    if not count:
        return ""
    column = same[0].column
    text = f"{_rows(count, len(same[0].found))} no value, unlike the training rows"
    if column.fill is None:
        return f"{text}; this counts as a new value"
    return f"{text}; the median {column.shown(column.fill)} is used"


def _rows(count: int, total: int) -> str:
    """Return the beginning of a remark about rows."""
    return f"{count} of {total} rows {'has' if count == 1 else 'have'}"


def _outputs(model: Model, inputs: Any) -> np.ndarray:
    """Return the outputs of a network, float64 (n, outputs).

    The network computes on the device of the inputs, or on its own for host inputs.
    """
    backend = model.backend.like(inputs)
    is_on_host = backend is open_backend(dtype=model.backend.dtype_name)
    if not is_on_host:
        model = model.on(backend)
    predictions = model.predictions(model.read(inputs))
    return model.backend.to_numpy(predictions).astype(np.float64)
