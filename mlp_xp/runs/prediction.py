"""Predict with a network, or with several together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.backend import Backend
from mlp_xp.core.model import Model
from mlp_xp.core.signature import described
from mlp_xp.data.columns import Columns
from mlp_xp.data.options import DataOptions
from mlp_xp.data.pictures import Pictures, read_pictures
from mlp_xp.data.samples import Part, RawSamples
from mlp_xp.data.table_files import is_table, read_tables
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.printing import as_html, as_text
from mlp_xp.runs.ensembles import Models, open_models, paths_of


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

    An unreadable picture does not stop the others. See `Pictures.faults`.

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
        DatasetError: A table does not fit.
        MlpXpError: The networks do not fit together, take other inputs, or have
            non-finite outputs.
        BackendError: The array library or the device is not available.

    Examples:
        >>> predict("runs/digits", images[:3]).values
        array(['7', '2', '1'], dtype='<U1')
    """
    found = open_models(models, backend, device)
    samples, pictures = _read(found, inputs)
    signature = found[0].signature
    runs = np.empty((len(found), 0, len(signature.outputs)))
    if pictures is None or pictures.paths:
        with samples.naming(samples.train):
            runs = np.stack([_outputs(each, samples.train.inputs) for each in found])
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
    if models[0].signature.form != "columns":
        raise _other_inputs(models[0], path, "a table")
    known = [model.signature.columns for model in models]
    by_name = {each.name: each for columns in known for each in columns.columns}
    commas = any(columns.decimal_commas for columns in known)
    columns = Columns(tuple(by_name.values()), decimal_commas=commas)
    return read_tables(path, DataOptions(), columns)


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
    signature = model.signature
    takes = described(signature.input_shape)
    if len(signature.input_shape) > 1 and not signature.preparation.takes_bytes:
        takes += " floats"
    fault = f"the network of {quoted(model.source)} takes {takes}"
    remedy = f"use a run that was trained on {wanted}"
    return MlpXpError(fault, remedy=remedy, file=path)


def _outputs(model: Model, inputs: Any) -> np.ndarray:
    """Return the outputs of a network, float64 (n, outputs).

    The network computes on the device of the inputs, or on its own for host inputs.
    """
    place = model.backend.like(inputs)
    if place is not open_backend(dtype=model.backend.dtype_name):
        model = model.on(place)
    predictions = model.predictions(model.read(inputs))
    return model.backend.to_numpy(predictions).astype(np.float64)
