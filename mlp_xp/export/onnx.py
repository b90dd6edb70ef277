"""A trained network as an ONNX file: the package's own forward pass, called with arrays
that record a graph.

The graph takes what `predict` takes, and holds the preparation, the network and the
units. See docs/export.md.
"""

from collections.abc import Sequence
from itertools import chain, product
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlp_xp import __version__
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

ROWS = "n"  # the name of the first axis, whose length is free
_MATRIX = "X"  # the name of the input, unless there is one for each column of a table


class _Weights(NamedTuple):
    """Weights in a graph. Their product is a single node; that of ndonnx is a graph of
    38 kB.
    """

    array: Array
    """ndonnx's, (inputs, outputs)."""
    dtype: Any
    shape: tuple[int, ...]

    def __rmatmul__(self, a: Array) -> Array:
        from ndonnx import asarray
        from spox.opset.ai.onnx.v17 import matmul

        return asarray(matmul(a.unwrap_spox(), self.array.unwrap_spox()))


def write_onnx(models: Sequence[Model], path: Path, dtype: str | None = None) -> None:
    """Write networks, whose predictions are the mean of theirs, to an ONNX file,
    completely or not at all.

    models: one or more that fit together, as `runs.ensembles.check_fit` says. dtype:
    "float64" or "float32", for the computation; None for that of each model. Warns of
    columns whose values the dtype rounds away. Raises MlpXpError for a path without
    `.onnx`, a missing library, numbers that the dtype does not hold, or a graph that
    cannot be made; ConfigError for another dtype, and FileError.
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
    models = [*map(_in_dtype, models, names)]
    first, wide = models[0], xp.float64 if "float64" in names else xp.float32
    inputs, values = _inputs(models, wide, xp)
    try:
        wrong = "its activation or preparation may only call the functions of `xp`, and not read values"
        features = [_features(model, inputs, values, wide, xp) for model in models]
        each = [
            xp.astype(_predictions(*pair, xp), wide)
            for pair in zip(models, features, strict=True)
        ]
        predictions = sum(each[1:], each[0]) / len(each)
        outputs = {} if first.signature.task.floats else {"probabilities": predictions}
        outputs[first.signature.task.outputs_name] = first.signature.task.decide(
            predictions, first.signature.outputs, xp=xp
        )
        wrong = "the name of a column is empty, or that of another part of the graph; rename it, and train again"
        graph = xp.build(inputs, outputs)
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # functions of one's own may do anything
        raise MlpXpError(
            f"{quoted(first.source)}: {wrong}; ndonnx says: {one_line(error)[:300]}"
        ) from error
    onnx.helper.set_model_props(graph, _metadata(models))
    graph.producer_name, graph.producer_version = "mlp_xp", __version__
    write_whole(path, graph.SerializeToString())


def _in_dtype(model: Model, name: str) -> Model:
    """Return a model on NumPy in a dtype. Raises MlpXpError if the dtype does not hold
    its numbers, and warns.
    """
    with np.errstate(all="ignore"):
        moved = model.on(open_backend("numpy", dtype=name))
        preparation = moved.signature.preparation
        fitted = moved.fitted if preparation.function is standardize else ()
        pairs = [pair for pair in (fitted, moved.units) if pair]
        numbers = [*chain(*moved.network)]
        for shift, scale in pairs:
            numbers += [shift, scale, 1 / scale]
    if name != model.backend.dtype_name:
        if not all(np.isfinite(each).all() for each in numbers):
            raise MlpXpError(
                f"{quoted(model.source)}: {name} does not hold its numbers",
                remedy="export it in float64",
            )
        signature, source = model.signature, model.source
        if fitted:
            shift, scale = fitted
            names = signature.feature_names
            warn_if_rounded(shift, scale, name, names, file=source)
        if moved.units:
            mean, deviation = moved.units
            names = signature.outputs
            warn_if_rounded(mean, deviation, name, names, file=source)
    return moved


def _inputs(
    models: Sequence[Model], dtype: Any, xp: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs of the graph by name, and the columns among them that models
    read by name, (n,) each.

    There is one input, (n, ...). Only a table with text has an input for each column,
    because an array has one dtype.
    """
    kinds = _kinds(models)
    if "category" in kinds.values():
        dtypes = {
            name: xp.utf8 if kind == "category" else dtype
            for name, kind in kinds.items()
        }
        inputs = {
            name: xp.argument(shape=(ROWS,), dtype=each)
            for name, each in dtypes.items()
        }
        return inputs, inputs
    shape = (len(kinds),) if kinds else models[0].signature.input_shape
    takes_bytes = any(model.signature.preparation.takes_bytes for model in models)
    matrix = xp.argument(shape=(ROWS, *shape), dtype=xp.uint8 if takes_bytes else dtype)
    return {_MATRIX: matrix}, {name: matrix[:, i] for i, name in enumerate(kinds)}


def _kinds(models: Sequence[Model]) -> dict[str, str]:
    """Return the columns that models read by name, and their kinds; none if all take
    the same features as they are.

    Raises MlpXpError for a column that models read in different ways.
    """
    kinds: dict[str, str] = {}
    different = {model.signature.columns for model in models}
    if all(different) and (len(different) > 1 or models[0].signature.form == "columns"):
        for model in models:
            for column in model.signature.columns.columns:
                if kinds.setdefault(column.name, column.kind) != column.kind:
                    fault = f"{quoted(model.source)}: its column {column.name!r} is a {column.kind}"
                    raise MlpXpError(
                        f"{fault}, for others a {kinds[column.name]}",
                        remedy="export them one by one",
                    )
    return kinds


def _features(
    model: Model,
    inputs: dict[str, Array],
    values: dict[str, Array],
    dtype: Any,
    xp: Any,
) -> Array:
    """Return what a model's preparation takes: the input, or the features of the
    columns, (n, features).
    """
    if not values:
        return inputs[_MATRIX]
    parts = list[Array]()
    for column in model.signature.columns.columns:
        raw = values[column.name]
        if column.kind == "category":
            places, other = column.places
            spelled = {
                each: place
                for text, place in places.items()
                for each in _spellings(text)
            }
            raw = xp.extensions.static_map(raw, spelled, default=other)
        parts += [xp.astype(part, dtype) for part in column.encode(raw, xp=xp)]
    return xp.concat(parts, axis=1)


def _spellings(text: str) -> list[str]:
    """Return the ways to write a value of a category: those of a gap, true and false
    have small and large letters.
    """
    words = MISSING if not text else [text] if text in FLAGS else ()
    return [
        text,
        *(
            "".join(each)
            for word in words
            for each in product(*({c, c.upper()} for c in word))
        ),
    ]


def _predictions(model: Model, x: Array, xp: Any) -> Array:
    """Return the predictions of a model on NumPy, (n, outputs), as arrays of `xp`."""
    layers = [[*map(xp.asarray, layer)] for layer in model.network]
    network = tuple(
        Layer(_Weights(weights, weights.dtype, weights.shape), bias)
        for weights, bias in layers
    )
    function = model.signature.preparation.function
    prepare = Preparation(function, tuple(map(xp.asarray, model.fitted)))
    logits = logits_of(
        network, x, prepare, model.backend.activation(model.activation), xp=xp
    )
    units = model.units and Units(*map(xp.asarray, model.units))
    return in_units(model.signature.task.link(logits, xp=xp), units)


def _metadata(models: Sequence[Model]) -> dict[str, str]:
    """Return what the file says about itself; lists and objects as JSON. A change of
    their meaning changes `format`.
    """
    named = models if all(model.signature.columns for model in models) else ()
    names = dict.fromkeys(
        name for model in named for name in model.signature.columns.feature_names
    )
    facts = {
        "class_names": models[0].signature.outputs,
        "feature_names": [*names],
        "columns": _kinds(models),
    }
    texts = {name: dumps(fact) for name, fact in facts.items()}
    return {
        **texts,
        "task": models[0].signature.task.name,
        "mlp_xp": __version__,
        "format": "1",
    }


def describe(path: Path) -> str:
    """Return what a file takes and gives: `X uint8 (n, 28, 28) -> probabilities float
    (n, 10), classes int64 (n)`.
    """
    import onnx

    def one(value: Any) -> str:
        tensor = value.type.tensor_type
        lengths = ", ".join(str(each.dim_value or ROWS) for each in tensor.shape.dim)
        return f"{value.name} {onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} ({lengths})"

    graph = onnx.load(path).graph
    return " -> ".join(
        ", ".join(map(one, values)) for values in (graph.input, graph.output)
    )
