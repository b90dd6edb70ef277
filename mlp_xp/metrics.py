"""What a network is worth: its probabilities, loss and accuracy on a set of images, and who is taken for whom."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from mlp_xp.backend import Backend
from mlp_xp.config import check_choice
from mlp_xp.dataset import check_images, flatten_and_scale, one_hot
from mlp_xp.errors import MlpXpError
from mlp_xp.functional import ACTIVATIONS, cross_entropy, softmax
from mlp_xp.loops import Array
from mlp_xp.network import Network, forward

# Of inputs at once.
PART_BYTES = 6 * 2**20


class Evaluation(NamedTuple):
    """A network on a labelled set of images."""

    loss: float
    """Mean cross-entropy, natural logarithm."""
    accuracy: float
    """The share of images whose likeliest class is their label, in [0, 1]."""


@lru_cache(maxsize=8)
def _compiled_forward(activation: str, backend: Backend) -> Callable[[Network, Array], Array]:
    def forward_images(network: Network, images: Array) -> Array:
        x = flatten_and_scale(images, dtype=network[0].weights.dtype, xp=backend.xp)
        return forward(network, x, activation=ACTIVATIONS[activation], xp=backend.xp)[-1]

    return backend.jit(forward_images)


def predict_logits(network: Network, images: Array, *, activation: str, backend: Backend) -> Array:
    """Logits (n, classes) on the device for images of bytes (n, rows, columns) on the device, in bounded memory.

    Raises MlpXpError for an unknown activation, for images that are not uint8 or not on the backend's device, and for
    images of another size than the network was trained on.
    """
    check_choice("activation", activation, ACTIVATIONS)
    check_images(images, backend)
    samples, rows, columns = images.shape
    features = network[0].weights.shape[0]
    if rows * columns != features:
        raise MlpXpError(
            f"images: {rows} x {columns} = {rows * columns} pixels do not match the network, which takes {features}; "
            "give images of the size it was trained on"
        )
    if not samples:
        raise MlpXpError("images: there are none; give at least one")
    capacity = max(1, PART_BYTES // (features * np.dtype(np.float64).itemsize))
    size = -(-samples // -(-samples // capacity))  # equal parts, so that a compiled forward pass is compiled once
    forward_images = _compiled_forward(activation, backend)
    parts = [forward_images(network, images[i : min(i + size, samples), ...]) for i in range(0, samples, size)]
    return backend.xp.concat(parts, axis=0)


def predict(network: Network, images: Array, *, activation: str, backend: Backend) -> Array:
    """Class probabilities (n, classes), each row with sum 1, for images of bytes (n, rows, columns) on the device.

    activation: the one that the network was trained with. Raises as `predict_logits` does.
    """
    return softmax(predict_logits(network, images, activation=activation, backend=backend), xp=backend.xp)


@np.errstate(over="ignore", invalid="ignore")  # the loss says it when a network is not finite
def evaluate(network: Network, images: Array, labels: Array, *, activation: str, backend: Backend) -> Evaluation:
    """Loss and accuracy on images of bytes (n, rows, columns) and labels (n,), both on the device."""
    xp = backend.xp
    logits = predict_logits(network, images, activation=activation, backend=backend)
    classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=backend.device)
    targets = one_hot(labels, classes, dtype=logits.dtype, xp=xp)
    loss = xp.mean(cross_entropy(logits, targets, xp=xp))
    right = xp.astype(xp.argmax(logits, axis=1), xp.int64) == xp.astype(labels, xp.int64)
    return Evaluation(float(loss), int(xp.sum(xp.astype(right, xp.int64))) / labels.shape[0])


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often a class (row) was taken for another (column): int64 (classes, classes), from host arrays (n,)."""
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def precision_and_recall(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each class, float64 (n,) each, from a confusion matrix (n, n).

    Precision: the share of the images taken for the class that are of it. Recall: the share of its images that are
    taken for it. NaN where there are no such images.
    """
    right = np.diagonal(matrix).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return right / matrix.sum(axis=0), right / matrix.sum(axis=1)


def percent(share: float) -> str:
    """A share in [0, 1] as in `99.9 %`, rounded down: only all of it reads 100.0 %."""
    return f"{math.floor(1000 * share) / 10:.1f} %"
