"""How good a network is: probabilities, loss, accuracy, confusion matrix, precision and recall."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.checks import check_images
from mlp_xp.config import check_choice
from mlp_xp.dataset import Prepare, flatten_and_scale, one_hot
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import ACTIVATIONS, Array
from mlp_xp.losses import cross_entropy, softmax
from mlp_xp.network import Network, forward
from mlp_xp.plan import ceil_divide

# Maximum bytes of inputs per forward pass.
PART_BYTES = 6 * 2**20


class Evaluation(NamedTuple):
    """The result of a network on a labelled set of images."""

    loss: float
    """Mean cross-entropy, natural logarithm."""
    accuracy: float
    """Share of the images whose most probable class is their label, in [0, 1]."""


@lru_cache(maxsize=8)
def _compiled_forward(activation: str, backend: Backend, prepare: Prepare) -> Callable[[Network, Array], Array]:
    def evaluation(network: Network, images: Array) -> Array:
        x = prepare(images, dtype=network[0].weights.dtype, xp=backend.xp)
        return forward(network, x, activation=ACTIVATIONS[activation], xp=backend.xp)[-1]

    return backend.jit(evaluation)


def images_per_part(samples: int, features: int) -> int:
    """Return the number of images that go through the network at once, of `samples` images."""
    capacity = max(1, PART_BYTES // (features * np.dtype(np.float64).itemsize))
    # Parts of equal size, so that a compiled forward pass is compiled for at most two sizes.
    return ceil_divide(samples, ceil_divide(samples, capacity))


def predict_logits(
    network: Network, images: Array, *, activation: str, backend: Backend, prepare: Prepare = flatten_and_scale
) -> Array:
    """Return the logits (n, classes), on the device, of images of bytes (n, rows, columns) on the device.

    Works in parts of bounded memory. prepare: the data set's (see `Dataset.prepare`). Raises MlpXpError for an unknown
    activation, for images that are not uint8 or not on the backend's device, and for images of another size than the
    network takes.
    """
    check_choice("activation", activation, ACTIVATIONS)
    check_images(images, backend)
    samples, rows, columns = images.shape
    features = network[0].weights.shape[0]
    if rows * columns != features:
        raise MlpXpError(
            f"{rows} x {columns} = {rows * columns} pixels do not match the network, which takes {features}; "
            "give images of the size it was trained on",
            setting="images",
        )
    if not samples:
        raise MlpXpError("there are none; give at least one", setting="images")
    size = images_per_part(samples, features)
    forward_images = _compiled_forward(activation, backend, prepare)
    parts = [forward_images(network, images[i : min(i + size, samples), ...]) for i in range(0, samples, size)]
    return backend.xp.concat(parts, axis=0)


def predict(
    network: Network, images: Array, *, activation: str, backend: Backend, prepare: Prepare = flatten_and_scale
) -> Array:
    """Return class probabilities (n, classes), each row with sum 1, for images of bytes (n, rows, columns).

    The images are on the device, and so is the result. activation: the one that the network was trained with. Raises
    as `predict_logits` does.
    """
    logits = predict_logits(network, images, activation=activation, backend=backend, prepare=prepare)
    return softmax(logits, xp=backend.xp)


@np.errstate(over="ignore", invalid="ignore")  # the loss shows when a network is not finite
def evaluate(
    network: Network,
    images: Array,
    labels: Array,
    *,
    activation: str,
    backend: Backend,
    prepare: Prepare = flatten_and_scale,
) -> Evaluation:
    """Return loss and accuracy on images of bytes (n, rows, columns) and labels (n,), both on the device.

    The labels must lie in 0, ..., classes - 1; `checks` checks this before training. Raises as `predict_logits` does,
    and MlpXpError for labels of another shape.
    """
    if tuple(labels.shape) != (images.shape[0],):
        raise MlpXpError(
            f"their shape is {tuple(labels.shape)}, but there are {images.shape[0]} images; give one label per image",
            setting="labels",
        )
    logits = predict_logits(network, images, activation=activation, backend=backend, prepare=prepare)
    return backend.reported(_score, "an evaluation")(logits, labels, backend)


def _score(logits: Array, labels: Array, backend: Backend) -> Evaluation:
    xp = backend.xp
    targets = one_hot(labels, logits.shape[1], dtype=logits.dtype, device=backend.device, xp=xp)
    loss = xp.mean(cross_entropy(logits, targets, xp=xp))
    correct = xp.astype(xp.argmax(logits, axis=1), xp.int64) == xp.astype(labels, xp.int64)
    return Evaluation(float(loss), int(xp.sum(xp.astype(correct, xp.int64))) / labels.shape[0])


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Return the confusion matrix, int64 (classes, classes), of host arrays (n,).

    Rows: true class; columns: predicted class.
    """
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def precision_and_recall(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall of each class, float64 (n,) each, from a confusion matrix (n, n).

    Precision: of the images predicted as the class, the share that belongs to it. Recall: of the images that belong to
    the class, the share predicted as it. NaN where there are no such images.
    """
    correct = np.diagonal(matrix).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return correct / matrix.sum(axis=0), correct / matrix.sum(axis=1)


def percent(share: float) -> str:
    """Format a share in [0, 1] as in `99.9 %`, rounded down: 100.0 % means all."""
    return f"{math.floor(1000 * share) / 10:.1f} %"
