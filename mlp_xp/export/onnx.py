"""Write a trained network as an ONNX file.

The forward pass of the package is called with arrays that record a graph. The graph
takes the inputs of `predict`, and holds the preparation, the network and the units. See
docs/export.md.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.backends.opening import open_backend
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model, logits_of
from mlp_xp.core.network import Layer
from mlp_xp.core.signature import Preparation, standardize
from mlp_xp.core.task import Units, in_units
from mlp_xp.data.arrays import warn_if_rounded
from mlp_xp.data.reading import FLAGS, MISSING
from mlp_xp.errors import MlpXpError, not_installed, one_line, quoted
from mlp_xp.files import write_whole
from mlp_xp.version import __version__

ROWS = "n"  # the name of the first axis, whose length is free
_MATRIX = "X"  # the name of the input, unless there is one for each column of a table


class _Weights(NamedTuple):
    """Weights in a graph, whose product is a single node.

    The product of ndonnx is a graph of 38 kB.
    """

    array: Array
    """An array of ndonnx, (inputs, outputs)."""
    dtype: Any
    shape: tuple[int, ...]

    def __rmatmul__(self, a: Array) -> Array:
        from ndonnx import asarray
        from spox.opset.ai.onnx.v17 import matmul

        return asarray(matmul(a.unwrap_spox(), self.array.unwrap_spox()))


def write_onnx(models: Sequence[Model], path: Path, dtype: str | None = None) -> None:
    """Write networks as one to an ONNX file, completely or not at all.

    The predictions of the file are the mean of the networks' predictions. Warns of
    columns whose values the dtype rounds away.

    Args:
        models: One or more, checked by `runs.ensembles.check_fit`.
        path: The file to write, which ends in .onnx.
        dtype: "float64" or "float32", for the computation. By default the dtype of each
            model.

    Raises:
        MlpXpError: A library is missing, numbers are too large for the dtype, or a
            function cannot be recorded.
        ConfigError: There is no such dtype.
        FileError: The file cannot be written.
    """
    if path.suffix.lower() != ".onnx":
        raise MlpXpError(
            f"{quoted(path)} is not the name of an ONNX file",
            remedy="give one that ends in .onnx",
        )
    try:
        import ndonnx as xp
        import onnx
    except ModuleNotFoundError as error:
        raise MlpXpError(
            f"ONNX files need {error.name}, which {not_installed('ndonnx onnx')}"
        ) from error

    names = [dtype or model.backend.dtype_name for model in models]
    # Python 3.11 calls a comprehension, and a warning would count the call.
    models = list(map(_in_dtype, models, names))
    wide = xp.float64 if "float64" in names else xp.float32
    inputs, columns = _inputs(models, wide, xp)
    source = models[0].source
    with _recording(
        source,
        "its activation or preparation may only call the functions of `xp`, and not "
        "read values",
    ):
        outputs = _outputs(models, inputs, columns, wide, xp)
    with _recording(
        source,
        "the name of a column is empty, or that of another part of the graph; rename "
        "it, and train again",
    ):
        graph = xp.build(inputs, outputs)
        onnx.checker.check_model(graph, full_check=True)
    onnx.helper.set_model_props(graph, _metadata(models))
    graph.producer_name, graph.producer_version = "mlp_xp", __version__
    write_whole(path, graph.SerializeToString())


@contextmanager
def _recording(source: str, fault: str) -> Iterator[None]:
    """Raise MlpXpError with a probable fault if recording or building a graph fails."""
    try:
        yield
    except Exception as error:  # functions of one's own may do anything
        reason = one_line(error)[:300]
        raise MlpXpError(f"{quoted(source)}: {fault}; ndonnx says: {reason}") from error


def _in_dtype(model: Model, name: str) -> Model:
    """Return a model on NumPy in a dtype, and warn of columns lost by rounding.

    Raises:
        MlpXpError: The dtype does not hold the numbers of the model.
    """
    with np.errstate(all="ignore"):
        moved = model.on(open_backend("numpy", dtype=name))
        preparation = moved.signature.preparation
        fitted = moved.fitted if preparation.function is standardize else ()
        pairs = [pair for pair in (fitted, moved.units) if pair]
        numbers = list(chain.from_iterable(moved.network))
        for shift, scale in pairs:
            numbers += [shift, scale, 1 / scale]
    if name == model.backend.dtype_name:
        return moved
    source, signature = model.source, model.signature
    if not all(np.isfinite(each).all() for each in numbers):
        raise MlpXpError(
            f"{quoted(source)}: {name} does not hold its numbers",
            remedy="export it in float64",
        )
    if fitted:
        shift, scale = fitted
        warn_if_rounded(shift, scale, name, signature.feature_names, file=source)
    if moved.units:
        warn_if_rounded(*moved.units, name, signature.outputs, file=source)
    return moved


def _inputs(
    models: Sequence[Model], dtype: Any, xp: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs of the graph, and the columns among them, (n,) each, by name.

    There is one input, (n, ...). Only a table with text has an input for each column,
    because an array has one dtype.
    """
    kinds = _kinds(models)
    if "category" in kinds.values():
        inputs = {}
        for name, kind in kinds.items():
            column_dtype = xp.utf8 if kind == "category" else dtype
            inputs[name] = xp.argument(shape=(ROWS,), dtype=column_dtype)
        return inputs, inputs
    shape = (len(kinds),) if kinds else models[0].signature.input_shape
    preparations = [model.signature.preparation for model in models]
    if any(each.takes_bytes for each in preparations):
        if any(each.takes_small_numbers for each in preparations):
            raise MlpXpError(
                "some networks were trained on bytes, others on floats of about 0 to 1",
                remedy="export them one by one",
            )
        dtype = xp.uint8
    matrix = xp.argument(shape=(ROWS, *shape), dtype=dtype)
    return {_MATRIX: matrix}, {name: matrix[:, i] for i, name in enumerate(kinds)}


def _kinds(models: Sequence[Model]) -> dict[str, str]:
    """Return the kinds of the columns to read by name, or {} to read by position.

    Features without names, or with the same names for all models, are read by position.

    Raises:
        MlpXpError: Models read a column in different ways.
    """
    different = {model.signature.columns for model in models}
    has_names = None not in different
    is_by_name = len(different) > 1 or models[0].signature.form == "columns"
    kinds: dict[str, str] = {}
    if not (has_names and is_by_name):
        return kinds
    for model in models:
        for column in model.signature.columns.columns:
            kind = kinds.setdefault(column.name, column.kind)
            if kind != column.kind:
                raise MlpXpError(
                    f"{quoted(model.source)}: its column {column.name!r} is a "
                    f"{column.kind}, for others a {kind}",
                    remedy="export them one by one",
                )
    return kinds


def _outputs(
    models: Sequence[Model],
    inputs: dict[str, Array],
    columns: dict[str, Array],
    dtype: Any,
    xp: Any,
) -> dict[str, Array]:
    """Return the outputs of the graph by name."""
    of_models = []
    for model in models:
        features = _features(model, inputs, columns, dtype, xp)
        of_models.append(xp.astype(_predictions(model, features, xp), dtype))
    first, *others = of_models
    predictions = sum(others, first) / len(of_models)
    signature = models[0].signature
    task = signature.task
    outputs = {} if task.floats else {"probabilities": predictions}
    outputs[task.outputs_name] = task.decide(predictions, signature.outputs, xp=xp)
    return outputs


def _features(
    model: Model,
    inputs: dict[str, Array],
    columns: dict[str, Array],
    dtype: Any,
    xp: Any,
) -> Array:
    """Return the input, or the features of a model's columns, (n, features)."""
    if not columns:
        return inputs[_MATRIX]
    parts = list[Array]()
    for column in model.signature.columns.columns:
        values = columns[column.name]
        if column.kind == "category":
            numbers, other = column.places
            spelled: dict[str, int] = {}
            for text, number in numbers.items():
                spelled |= dict.fromkeys(_spellings(text), number)
            values = xp.extensions.static_map(values, spelled, default=other)
        parts += [xp.astype(part, dtype) for part in column.encode(values, xp=xp)]
    return xp.concat(parts, axis=1)


def _spellings(text: str) -> list[str]:
    """Return the ways to write a value of a category.

    A gap, true and false have small and large letters.
    """
    words = [text] if text in FLAGS else []
    if not text:
        words = sorted(MISSING)  # a set would give other bytes in each process
    found = [text]
    for word in words:
        cases = product(*((letter, letter.upper()) for letter in word))
        found += ["".join(letters) for letters in cases]
    return found


def _predictions(model: Model, x: Array, xp: Any) -> Array:
    """Return the predictions of a model on NumPy, (n, outputs), as arrays of `xp`."""
    layers = []
    for layer in model.joined().network:
        weights = xp.asarray(layer.weights)
        wrapped = _Weights(weights, weights.dtype, weights.shape)
        layers.append(Layer(wrapped, xp.asarray(layer.bias)))
    function = model.signature.preparation.function
    prepare = Preparation(function, tuple(map(xp.asarray, model.fitted)))
    activation = model.backend.activation(model.activation)
    logits = logits_of(tuple(layers), x, prepare, activation, xp=xp)
    units = model.units and Units(*map(xp.asarray, model.units))
    return in_units(model.signature.task.link(logits, xp=xp), units)


def _metadata(models: Sequence[Model]) -> dict[str, str]:
    """Return the facts in the file about itself, with lists and objects as JSON.

    A change of their meaning changes `format`.
    """
    signatures = [model.signature for model in models]
    names: list[str] = []
    if all(signature.columns for signature in signatures):
        names = [name for each in signatures for name in each.columns.feature_names]
    first, *_ = signatures
    return {
        "class_names": json.dumps(first.outputs),
        "feature_names": json.dumps(list(dict.fromkeys(names))),
        "columns": json.dumps(_kinds(models)),
        "task": first.task.name,
        "mlp_xp": __version__,
        "format": "1",
    }


def describe(path: Path) -> str:
    """Return the names, dtypes and shapes of the inputs and outputs of a file."""
    import onnx

    def listed(values: Any) -> str:
        parts = []
        for value in values:
            tensor = value.type.tensor_type
            dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
            lengths = ", ".join(
                str(axis.dim_value or ROWS) for axis in tensor.shape.dim
            )
            parts.append(f"{value.name} {dtype} ({lengths})")
        return ", ".join(parts)

    graph = onnx.load(path).graph
    return f"{listed(graph.input)} -> {listed(graph.output)}"
