"""Write a trained network as one HTML file, to draw in or to fill in.

The file needs no server and no network connection. Its template, `page.html`, reads all
numbers from a block of JSON.
"""

import base64
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.core.dataset import UNNAMED, Dataset, Samples
from mlp_xp.core.functional import Array
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, count_parameters
from mlp_xp.core.signature import Signature, described
from mlp_xp.data.columns import Column, Columns, Seen
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.files import write_whole
from mlp_xp.runs.ensembles import initial_weights

TEMPLATE, PLACE = Path(__file__).with_name("page.html"), "NETWORK"
LARGEST = 20_000_000  # bytes of a page
FLOAT32_UP_TO = 2_000_000  # bytes of weights; float16 is tried for more
_MOST_FIELDS = 200
_EXAMPLES = 10  # test pictures with a right answer, and as many mistakes


def check_page(signature: Signature, sizes: Sequence[int]) -> None:
    """Raise MlpXpError if there can be no page for a network.

    A page is for grey pictures where `predict` takes pictures, and for at most
    _MOST_FIELDS columns. The weights of layers of these sizes must fit into LARGEST
    bytes.
    """
    shape = signature.input_shape
    fields = shape[0]
    if signature.columns:
        fields = len(signature.columns.columns)
    if not _is_drawn(signature) and (len(shape) > 1 or fields > _MOST_FIELDS):
        raise MlpXpError(
            "a page is for grey pictures, for arrays of square images of bytes, or for "
            f"at most {_MOST_FIELDS} columns; this network takes {described(shape)}",
            remedy="use predict instead",
        )
    _check_size(count_parameters(sizes) * 2 * 4 // 3)  # as float16, in base64


def _is_drawn(signature: Signature) -> bool:
    """Return whether the inputs are pictures to draw in a square."""
    shape = signature.input_shape
    if len(shape) != 2 or not signature.preparation.takes_bytes:
        return False
    is_picture = "pictures" in signature.form or shape[0] == shape[1]
    return is_picture and signature.task.exclusive


def _check_size(size: int) -> None:
    if size > LARGEST:
        fault = (
            f"a page would have {size / 1e6:.1f} MB, more than the "
            f"{LARGEST / 1e6:.0f} that a browser opens at once"
        )
        raise MlpXpError(fault, remedy="train fewer networks, or fewer units")


def write_page(
    path: Path, model: Model, dataset: Dataset, title: str | None = None
) -> None:
    """Write the page of a model.

    Weights are float32. If they have more than FLOAT32_UP_TO bytes, they are float16,
    unless there is no test set, or float16 changes a prediction for it.

    Args:
        path: The file to write, which ends in .html.
        model: The network.
        dataset: The data of the training, on the backend of the model. The fields of a
            table have the ranges of the training set. Pictures to click are from the
            test set, if there is one.
        title: The title. By default the name of the data.

    Raises:
        MlpXpError: There can be no page, as in `check_page`, or the page is larger than
            LARGEST, or the activation or the preparation is a function of the user.
        FileError: The file cannot be written.
    """
    if path.suffix.lower() != ".html":
        raise MlpXpError(
            f"{quoted(path)} is not the name of an HTML file",
            remedy="give one that ends in .html",
        )
    model = model.joined()
    first, *_ = model.network
    sizes = [first.weights.shape[0]]
    sizes += [layer.bias.shape[0] for layer in model.network]
    check_page(model.signature, sizes)
    preparation = model.signature.preparation
    if not isinstance(model.activation, str) or preparation.name is None:
        raise MlpXpError(
            "its activation or its preparation is a function of your own, which a page "
            "cannot have; use predict instead"
        )
    record = _record(model, dataset, sizes)
    if title is not None:
        record["title"] = title
    page = _filled(record)
    if len(page) > LARGEST and record.pop("changes", None):
        page = _filled(record)
    _check_size(len(page))
    write_whole(path, page)


def _filled(record: dict[str, Any]) -> bytes:
    """Return the template with a record."""
    text = json.dumps(
        record,
        separators=(",", ":"),
        allow_nan=False,
        default=np.ndarray.tolist,
    )
    # A name such as </script> must not end the block, nor <!-- hide its end.
    text = text.replace("<", r"\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACE, text, 1).encode()


def _record(model: Model, dataset: Dataset, sizes: Sequence[int]) -> dict[str, Any]:
    """Return the numbers and names of the page, as JSON values and arrays."""
    to_numpy, signature = model.backend.to_numpy, model.signature
    task, test = signature.task, dataset.test
    outputs = None
    if test is not None:
        outputs = to_numpy(model.predictions(test.inputs))
    weights = _weights(model, test, outputs)
    # Features are (inputs - shift) / scale.
    fitted = signature.preparation.fitted
    if not fitted:
        divisor = 255 if signature.preparation.takes_bytes else 1
        fitted = np.zeros(sizes[0]), np.full(sizes[0], divisor)
    shift, scale = fitted
    record: dict[str, Any] = {
        "title": "mlp_xp" if dataset.name == UNNAMED else Path(dataset.name).name,
        "names": signature.outputs,
        "task": task.name,
        "exclusive": task.exclusive,
        "floats": task.floats,
        "sizes": sizes,
        "activation": model.activation,
        "dtype": weights.dtype.name,
        "weights": _base64(weights),
        "shift": shift,
        "scale": scale,
        # Numbers in their units are z * scaling[1] + scaling[0].
        "scaling": signature.units or (np.zeros(sizes[-1]), np.ones(sizes[-1])),
    }
    if test is not None:
        result = model.evaluate(test.inputs, test.labels)
        if not math.isnan(result.score):  # R² of a single sample
            record |= {"score": result.score, "samples": result.samples}
    if task.floats:
        truth = to_numpy(dataset.train.labels)
        record["ranges"] = np.stack([truth.min(axis=0), truth.max(axis=0)], axis=1)
    inputs = to_numpy(dataset.train.inputs)
    if len(signature.input_shape) == 2:
        # What most of the upper and lower edges show is taken for paper.
        edges = inputs[:1000, [0, -1]]
        record["shape"] = signature.input_shape
        record["is_ink"] = "pictures" not in signature.form
        record["is_light"] = bool(np.median(edges) > 127)
        changes = _changes(model)
        if changes is not None:
            record["changes"] = _base64(changes)
        if test is not None and outputs is not None:
            images, labels = to_numpy(test.inputs), to_numpy(test.labels)
            record |= _examples(images, labels, outputs)
    else:
        columns = signature.columns or Columns((Column(""),) * sizes[0])
        record["fields"] = _fields(columns, inputs)
    return record


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _weights(
    model: Model, test: Samples | None, outputs: np.ndarray | None
) -> np.ndarray:
    """Return all weights and biases in order, float32 or float16.

    `outputs` are the predictions for the test set.
    """
    backend, signature = model.backend, model.signature
    arrays = [backend.to_numpy(array) for layer in model.network for array in layer]
    with np.errstate(over="ignore"):
        single = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
        half = single.astype("<f2")
    if not np.isfinite(single).all():
        raise MlpXpError(
            "its weights are too large for float32, in which a page has them; train it "
            "again"
        )
    is_large = single.nbytes > FLOAT32_UP_TO
    if is_large and test is not None and np.isfinite(half).all():
        found = backend.to_numpy(_in_float16(model).predictions(test.inputs))
        names, decide = signature.outputs, signature.task.decide
        if np.array_equal(decide(found, names, xp=np), decide(outputs, names, xp=np)):
            return half
    return single


def _changes(model: Model) -> np.ndarray | None:
    """Return what training added to the weights of the first layer, float16.

    None if the weights before training are not known.
    """
    initial = initial_weights(model)
    if initial is None:
        return None
    weights = model.backend.to_numpy(model.network[0].weights)
    # In the dtype of the weights, as in `draw_weights`. A page draws infinity as a
    # large change.
    with np.errstate(over="ignore"):
        return (weights - initial.astype(weights.dtype)).astype("<f2")


def _in_float16(model: Model) -> Model:
    """Return a model with its weights and biases rounded to float16."""
    backend = model.backend

    def rounded(array: Array) -> Array:
        half = backend.to_numpy(array).astype("<f4").astype("<f2")
        return backend.asarray(half, backend.dtype)

    layers = [Layer(rounded(weights), rounded(bias)) for weights, bias in model.network]
    return replace(model, network=tuple(layers))


def _examples(
    images: np.ndarray, labels: np.ndarray, outputs: np.ndarray
) -> dict[str, Any]:
    """Return pictures with a right answer, and the most confident mistakes.

    The pictures are bytes. Each of the examples is a pair of its class and the answer.
    """
    answers, confidences = np.argmax(outputs, axis=1), np.max(outputs, axis=1)
    is_right = answers == labels
    of_class = [
        np.flatnonzero(is_right & (labels == label))
        for label in range(outputs.shape[1])
    ]
    # One of each class, then another one of each class.
    turns = itertools.chain.from_iterable(itertools.zip_longest(*of_class))
    right = [row for row in turns if row is not None]
    wrong = np.flatnonzero(~is_right)
    mistakes = wrong[np.argsort(-confidences[wrong], kind="stable")]
    rows = [*right[:_EXAMPLES], *mistakes[:_EXAMPLES]]
    return {
        "examples": [[int(labels[row]), int(answers[row])] for row in rows],
        "pictures": _base64(images[rows]),
    }


def _fields(columns: Columns, inputs: np.ndarray) -> list[dict[str, Any]]:
    """Return each column with the range and a typical value of its training features.

    The range of a column of a table is that of which `predict` warns. The typical value
    is the median, or the most frequent value of a category.
    """
    ends = np.cumsum([len(column.feature_names) for column in columns.columns])
    features = np.split(inputs.astype(np.float64), ends[:-1], axis=1)
    seen = columns.seen or [Seen()] * len(features)
    fields = []
    for column, its_seen, values in zip(columns.columns, seen, features, strict=True):
        first = values[:, 0]
        known = first[values[:, -1] == 0] if column.flagged else first
        low, high = its_seen.low, its_seen.high
        if low is None or high is None:
            low, high = float(first.min()), float(first.max())
        if column.kind == "category":
            # The last choice in the page sets no feature.
            counts = values.sum(axis=0)
            start = float(np.argmax([*counts, len(values) - counts.sum()]))
        else:
            start = float(np.median(first))
        fields.append(
            {
                **column._asdict(),
                "low": low,
                "high": high,
                "is_whole": bool(np.all(known % 1 == 0)),
                "start": start,
            }
        )
    return fields
