"""A trained network as an ONNX file: the package's own forward pass, called with arrays that record a graph.

The graph takes what `predict` takes, and holds the preparation, the network and the units. See docs/export.md.
"""

from collections.abc import Sequence
from itertools import product
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

from mlp_xp import __version__
from mlp_xp.backends.opening import open_backend
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model, logits_of
from mlp_xp.core.network import Layer
from mlp_xp.core.task import in_units
from mlp_xp.data.reading import FLAGS, MISSING
from mlp_xp.errors import MlpXpError, not_installed, one_line
from mlp_xp.files import write_whole

FORMAT = "1"
"""Of the metadata."""
ROWS = "n"
"""The name of the first axis, whose length is free."""
MATRIX = "X"
"""The name of the input, unless there is one for each column of a table."""
PROBABILITIES = "probabilities"


class _Weights(NamedTuple):
    """Weights in a graph, whose product is one node. ndonnx's own takes 38 kB, to cope with no columns too."""

    array: Array
    """ndonnx's, (inputs, outputs)."""

    def __rmatmul__(self, a: Array) -> Array:
        from ndonnx import asarray
        from spox.opset.ai.onnx.v17 import matmul

        return asarray(matmul(a.unwrap_spox(), self.array.unwrap_spox()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.array, name)


def write_onnx(models: Sequence[Model], path: Path, dtype: str | None = None) -> None:
    """Write networks, whose predictions are the mean of theirs, to an ONNX file, completely or not at all.

    models: one or more that fit together, as `runs.checkpoints.check_fit` says. dtype: "float64" or "float32", for the
    computation; None for that of each model. Raises MlpXpError if a library is missing, or a graph cannot be made;
    ConfigError for another dtype, and FileError.
    """
    try:
        import ndonnx as xp
        import ndonnx.extensions
        import onnx
    except ModuleNotFoundError as error:
        raise MlpXpError(f"ONNX files need {error.name}, which {not_installed('ndonnx onnx')}") from error

    names = [dtype or model.backend.dtype_name for model in models]
    models = [model.on(open_backend("numpy", dtype=name)) for model, name in zip(models, names, strict=True)]
    first, wide = models[0], getattr(xp, max(names))  # float64 if there is one
    inputs, values = _inputs(models, wide, xp)
    try:
        features = [_features(model, inputs, values, wide, xp) for model in models]
        each = [xp.astype(_predictions(*pair, xp), wide) for pair in zip(models, features, strict=True)]
        predictions = sum(each[1:], each[0]) / len(each) if each[1:] else each[0]
        outputs = {} if first.task.floats else {PROBABILITIES: predictions}
        outputs[first.task.outputs_name] = first.task.decide(predictions, first.class_names, xp=xp)
        graph = xp.build(inputs, outputs)
        onnx.helper.set_model_props(graph, _metadata(models))
        graph.producer_name, graph.producer_version = "mlp_xp", __version__
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # functions of one's own may do anything
        raise MlpXpError(
            f"{first.source!r}: cannot be exported: {one_line(error)[:300]}",
            remedy="an activation or a preparation may only call the functions of `xp`, and not read values",
        ) from error
    write_whole(path, graph.SerializeToString())


def _inputs(models: Sequence[Model], dtype: Any, xp: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the inputs of the graph, and the columns of a table among them by name; none without a table.

    A table with categories has an input for each column, (n,), because these are text. Otherwise there is one input,
    (n, ...). Raises MlpXpError for a name that is not possible.
    """
    kinds = _kinds(models)
    taken = {PROBABILITIES, models[0].task.outputs_name}
    if "category" in kinds.values():
        if wrong := taken & kinds.keys():
            fault = f"{models[0].source!r}: its column {min(wrong)!r} has the name of an output of the graph"
            raise MlpXpError(fault, remedy="rename the column, and train again")
        dtypes = {name: xp.utf8 if kind == "category" else dtype for name, kind in kinds.items()}
        inputs = {name: xp.argument(shape=(ROWS,), dtype=each) for name, each in dtypes.items()}
        return inputs, inputs
    shape = (len(kinds),) if kinds else models[0].input_shape
    takes_bytes = any(model.prepare.takes_bytes for model in models)
    matrix = xp.argument(shape=(ROWS, *shape), dtype=xp.uint8 if takes_bytes else dtype)
    return {MATRIX: matrix}, {name: matrix[:, i] for i, name in enumerate(kinds)}


def _kinds(models: Sequence[Model]) -> dict[str, str]:
    """Return the columns of the table that models read, and their kinds; none unless all read a table.

    Raises MlpXpError for a column that models read in different ways.
    """
    kinds: dict[str, str] = {}
    if all(model.columns for model in models) and any(model.kind == "columns" for model in models):
        for model in models:
            for column in model.columns.columns:
                if kinds.setdefault(column.name, column.kind) != column.kind:
                    fault = f"{model.source!r}: its column {column.name!r} is a {column.kind}"
                    raise MlpXpError(f"{fault}, for others a {kinds[column.name]}", remedy="export them one by one")
    return kinds


def _features(model: Model, inputs: dict[str, Array], values: dict[str, Array], dtype: Any, xp: Any) -> Array:
    """Return what a model's preparation takes: the input, or the features of the columns, (n, features)."""
    if not values:
        return inputs[MATRIX]
    parts = list[Array]()
    for column in model.columns.columns:
        raw = values[column.name]
        if column.kind == "category":
            places, other = column.places
            spelled = {each: place for text, place in places.items() for each in _spellings(text)}
            raw = xp.extensions.static_map(raw, spelled, default=other)
        parts += [xp.astype(part, dtype) for part in column.encode(raw, xp=xp)]
    return xp.concat(parts, axis=1)


def _spellings(text: str) -> list[str]:
    """Return how else a value of a category may be written: true, false and gaps in small and large letters."""
    words = MISSING if not text else [text] if text in FLAGS else ()
    return [text, *("".join(each) for word in words for each in product(*({c, c.upper()} for c in word)))]


def _predictions(model: Model, x: Array, xp: Any) -> Array:
    """Return the predictions of a model on NumPy, (n, outputs), as arrays of `xp`."""
    network = tuple(Layer(_Weights(xp.asarray(weights)), xp.asarray(bias)) for weights, bias in model.network)
    prepare = model.prepare._replace(fitted=tuple(map(xp.asarray, model.prepare.fitted)))
    logits = logits_of(network, x, prepare, model.backend.activation(model.activation), xp=xp)
    return in_units(model.task.link(logits, xp=xp), tuple(map(xp.asarray, model.scaling)))


def _metadata(models: Sequence[Model]) -> dict[str, str]:
    """Return what the file says about itself; lists and objects as JSON."""
    names = dict.fromkeys(name for model in models if model.columns for name in model.columns.feature_names)
    facts = {"class_names": models[0].class_names, "feature_names": [*names], "columns": _kinds(models)}
    texts = {name: dumps(fact, ensure_ascii=False) for name, fact in facts.items()}
    return {**texts, "task": models[0].task.name, "mlp_xp": __version__, "format": FORMAT}


def describe(path: Path) -> str:
    """Return what a file takes and gives: `X uint8 (n, 28, 28) -> probabilities float (n, 10), classes int64 (n)`."""
    import onnx

    def one(value: Any) -> str:
        tensor = value.type.tensor_type
        lengths = ", ".join(str(each.dim_value or ROWS) for each in tensor.shape.dim)
        return f"{value.name} {onnx.TensorProto.DataType.Name(tensor.elem_type).lower()} ({lengths})"

    graph = onnx.load(path).graph
    return " -> ".join(", ".join(map(one, values)) for values in (graph.input, graph.output))
