"""One HTML file with a trained network: a square to draw in, or the fields of a table,
and what the network says.

The file needs no server and no network connection. `page.html` is its template, which
reads all numbers from a block of JSON.
"""

import base64
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlp_xp.core.dataset import UNNAMED, Dataset, Samples
from mlp_xp.core.model import Model
from mlp_xp.core.network import Layer, count_parameters
from mlp_xp.core.signature import Signature, described
from mlp_xp.data.columns import Column
from mlp_xp.errors import MlpXpError, quoted
from mlp_xp.files import write_whole

TEMPLATE, PLACE = Path(__file__).with_name("page.html"), "NETWORK"
LARGEST = 20_000_000  # bytes of a page
FLOAT32_UP_TO = 2_000_000  # bytes of weights; float16 is tried for more
_MOST_FIELDS = 200
_EXAMPLES = 10  # test pictures that are right, and as many mistakes


def check_page(signature: Signature, sizes: Sequence[int]) -> None:
    """Check that there can be a page for a network.

    A page is for grey pictures where `predict` takes pictures, and for at most
    _MOST_FIELDS columns.

    Args:
        signature: The signature of the network.
        sizes: The sizes of its layers, which must fit into LARGEST bytes.

    Raises:
        MlpXpError: There can be no page.
    """
    shape = signature.input_shape
    fields = len(signature.columns.columns) if signature.columns else shape[0]
    if not _is_drawn(signature) and (len(shape) > 1 or fields > _MOST_FIELDS):
        raise MlpXpError(
            "a page is for grey pictures, in arrays square ones of bytes, or at most "
            f"{_MOST_FIELDS} columns; this network takes {described(shape)}",
            remedy="use predict instead",
        )
    _check_size(count_parameters(sizes) * 2 * 4 // 3)  # as float16, in base64


def _is_drawn(signature: Signature) -> bool:
    """Return whether the inputs are pictures that can be drawn in a square."""
    shape = signature.input_shape
    if len(shape) != 2 or not signature.preparation.takes_bytes:
        return False
    is_picture = "pictures" in signature.form or shape[0] == shape[1]
    return is_picture and signature.task.exclusive


def write_page(path: Path, model: Model, dataset: Dataset) -> None:
    """Write the page of a model.

    dataset: the data that it was trained on, on its backend. The ranges of the fields
    of a table are those of the training set; the pictures to click are from the test
    set, if there is one.

    Weights are float32. Those of more than FLOAT32_UP_TO bytes are float16 if this
    changes no prediction of the test set. Raises MlpXpError as `check_page` does, for a
    path without `.html`, for a page of more than LARGEST bytes, and for an activation
    or a preparation of your own, and FileError.
    """
    if path.suffix.lower() != ".html":
        raise MlpXpError(
            f"{quoted(path)} is not the name of an HTML file",
            remedy="give one that ends in .html",
        )
    to_numpy, signature = model.backend.to_numpy, model.signature
    shape, task = signature.input_shape, signature.task
    sizes = [model.network[0].weights.shape[0]]
    sizes += [layer.bias.shape[0] for layer in model.network]
    check_page(signature, sizes)
    if not isinstance(model.activation, str):
        raise MlpXpError(
            "its activation is a function of your own, which a page cannot have; use "
            "predict instead"
        )
    if signature.preparation.name is None:
        raise MlpXpError(
            "its preparation is a function of your own, which a page cannot have; use "
            "predict instead"
        )
    # Features are (inputs - shift) / scale, and numbers in their units are z *
    # scaling[1] + scaling[0].
    fitted = signature.preparation.fitted
    if not fitted:
        divisor = 255 if signature.preparation.takes_bytes else 1
        fitted = np.zeros(sizes[0]), np.full(sizes[0], divisor)
    shift, scale = fitted
    scaling = signature.units or (np.zeros(sizes[-1]), np.ones(sizes[-1]))
    test, outputs = dataset.test, None
    if test is not None:
        outputs = to_numpy(model.predictions(test.inputs))
    weights = _weights(model, test, outputs)
    record: dict[str, Any] = {
        "title": "mlp_xp" if dataset.name == UNNAMED else Path(dataset.name).name,
        "names": signature.outputs,
        "exclusive": task.exclusive,
        "floats": task.floats,
        "sizes": sizes,
        "activation": model.activation,
        "dtype": weights.dtype.name,
        "weights": base64.b64encode(weights.tobytes()).decode(),
        "shift": shift,
        "scale": scale,
        "scaling": [*scaling],
    }
    if test is not None:
        result = model.evaluate(test.inputs, test.labels)
        record |= {"score": result.score, "samples": result.samples}
    if task.floats:
        truth = to_numpy(dataset.train.labels)
        record["ranges"] = np.stack([truth.min(axis=0), truth.max(axis=0)], axis=1)
    inputs = to_numpy(dataset.train.inputs)
    # what most of the upper and lower edges show is taken for paper
    if len(shape) == 2:
        is_light = bool(np.median(inputs[:1000, [0, -1]]) > 127)
        record |= {
            "shape": shape,
            "is_ink": "pictures" not in model.signature.form,
            "is_light": is_light,
        }
        if test is not None and outputs is not None:
            images, labels = to_numpy(test.inputs), to_numpy(test.labels)
            record |= _examples(images, labels, outputs)
    else:
        record["fields"] = _fields(
            model.signature.columns.columns
            if model.signature.columns
            else [Column("")] * shape[0],
            inputs,
        )
    text = json.dumps(
        record, separators=(",", ":"), allow_nan=False, default=np.ndarray.tolist
    )
    # A name such as </script> must not end the block, nor <!-- hide its end.
    page = (
        TEMPLATE.read_text(encoding="utf-8")
        .replace(PLACE, text.replace("<", r"\u003c"), 1)
        .encode()
    )
    _check_size(len(page))
    write_whole(path, page)


def _check_size(size: int) -> None:
    if size > LARGEST:
        fault = f"a page would have {size / 1e6:.1f} MB, more than the {LARGEST / 1e6:.0f} that a browser opens at once"
        raise MlpXpError(fault, remedy="train a network with fewer units")


def _weights(
    model: Model, test: Samples | None, outputs: np.ndarray | None
) -> np.ndarray:
    """Return all weights and biases in order, float32 or float16.

    Args:
        model: The network.
        test: The test set, or None.
        outputs: The predictions of the test set, or None.
    """
    backend, decide = model.backend, model.signature.task.decide
    arrays = [backend.to_numpy(array) for layer in model.network for array in layer]
    with np.errstate(over="ignore"):
        single = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
        half = single.astype("<f2")
    if not np.isfinite(single).all():
        raise MlpXpError(
            "its weights are too large for float32, in which a page has them; train it again"
        )
    if single.nbytes > FLOAT32_UP_TO and test is not None and np.isfinite(half).all():
        parts = np.split(half, np.cumsum([array.size for array in arrays])[:-1])
        pairs = zip(parts, arrays, strict=True)
        rounded = iter(
            backend.asarray(part.reshape(array.shape), backend.dtype)
            for part, array in pairs
        )
        coarse = replace(
            model,
            network=tuple(Layer(*pair) for pair in zip(rounded, rounded, strict=True)),
        )
        found = backend.to_numpy(coarse.predictions(test.inputs))
        if np.array_equal(
            *(decide(each, model.signature.outputs, xp=np) for each in (found, outputs))
        ):
            return half
    return single


def _examples(
    images: np.ndarray, labels: np.ndarray, outputs: np.ndarray
) -> dict[str, Any]:
    """Return right pictures, of each class in turn, and the most confident mistakes: as
    bytes, and as [class, said].
    """
    said, sureness = np.argmax(outputs, axis=1), np.max(outputs, axis=1)
    classes = [
        np.flatnonzero((said == label) & (labels == label))
        for label in range(outputs.shape[1])
    ]
    in_turn = (
        row
        for rows in itertools.zip_longest(*classes)
        for row in rows
        if row is not None
    )
    wrong = np.flatnonzero(said != labels)
    rows = [
        *itertools.islice(in_turn, _EXAMPLES),
        *wrong[np.argsort(-sureness[wrong], kind="stable")][:_EXAMPLES],
    ]
    return {
        "examples": [[int(labels[row]), int(said[row])] for row in rows],
        "pictures": base64.b64encode(images[rows].tobytes()).decode(),
    }


def _fields(columns: Sequence[Column], inputs: np.ndarray) -> list[dict[str, Any]]:
    """Return each column with its range in the features of the training set, and its
    median or most frequent value.
    """
    found, ends = [], np.cumsum([len(column.feature_names) for column in columns])
    for column, values in zip(
        columns, np.split(inputs.astype(np.float64), ends[:-1], axis=1), strict=True
    ):
        first, is_category = values[:, 0], column.kind == "category"
        start = float(
            np.argmax(np.mean(values, axis=0)) if is_category else np.median(first)
        )
        facts = {
            "low": float(first.min()),
            "high": float(first.max()),
            "is_whole": bool(np.all(first % 1 == 0)),
        }
        found.append({**column._asdict(), **facts, "start": start})
    return found
