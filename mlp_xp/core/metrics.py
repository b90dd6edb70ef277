"""How good a network is: predictions, loss, accuracy or R², confusion matrix, precision and recall."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from mlp_xp.core.checks import check_images
from mlp_xp.core.config import check_activation
from mlp_xp.core.dataset import BYTES, Preparation, Prepare
from mlp_xp.core.functional import Activation, Array
from mlp_xp.core.library import Backend
from mlp_xp.core.network import Network, forward
from mlp_xp.core.plan import ceil_divide
from mlp_xp.core.task import TASKS, Evaluation, Scaling
from mlp_xp.errors import MlpXpError

# Maximum bytes of inputs per forward pass.
PART_BYTES = 6 * 2**20


@lru_cache(maxsize=8)
def _compiled_logits(activation: str | Activation, backend: Backend, prepare: Prepare) -> Callable[..., Array]:
    return backend.jit(_make_logits(activation, backend, prepare))


@lru_cache(maxsize=8)
def _compiled_predictions(
    activation: str | Activation, backend: Backend, prepare: Prepare, task: str
) -> Callable[..., Array]:
    logits_of, kind = _make_logits(activation, backend, prepare), TASKS[task]

    def prediction(network: Network, images: Array, fitted: tuple[Array, ...], scaling: Scaling) -> Array:
        return kind.decode(kind.link(logits_of(network, images, fitted), xp=backend.xp), scaling)

    return backend.jit(prediction)


@lru_cache(maxsize=8)
def _compiled_sums(
    activation: str | Activation, backend: Backend, prepare: Prepare, task: str
) -> Callable[..., tuple[Array, ...]]:
    logits_of, kind, xp = _make_logits(activation, backend, prepare), TASKS[task], backend.xp

    def evaluation(
        network: Network, images: Array, labels: Array, fitted: tuple[Array, ...], scaling: Scaling
    ) -> tuple[Array, ...]:
        logits = logits_of(network, images, fitted)
        outputs, place = logits.shape[1], {"dtype": logits.dtype, "device": backend.device}
        targets = kind.encode(labels, outputs, scaling, **place, xp=xp)
        return xp.mean(kind.loss(logits, targets, xp=xp)), *kind.sums(logits, labels, targets, xp=xp)

    return backend.jit(evaluation)


def _make_logits(activation: str | Activation, backend: Backend, prepare: Prepare) -> Callable[..., Array]:
    """Return `evaluation(network, images, fitted) -> logits`, which works in parts of bounded memory."""
    xp, pair = backend.xp, backend.activation(activation)

    @np.errstate(over="ignore", invalid="ignore")  # the result shows it
    def evaluation(network: Network, images: Array, fitted: tuple[Array, ...]) -> Array:
        features = network[0].weights.shape[0]

        def part(carry: tuple[()], xs: tuple[Array, ...]) -> tuple[tuple[()], Array]:
            x = prepare(xs[0], *fitted, dtype=network[0].weights.dtype, xp=xp)
            x = xp.reshape(x, (xs[0].shape[0], features))
            return carry, forward(network, x, activation=pair, xp=xp)[-1]

        samples, *shape = images.shape
        size = images_per_part(samples, features)
        whole = samples - samples % size
        # All whole parts in one loop, which a compiler sees once.
        _, rows = backend.scan(part, (), (xp.reshape(images[:whole, ...], (-1, size, *shape)),))
        rows = xp.reshape(rows, (whole, -1))
        if whole == samples:
            return rows
        return xp.concat([rows, part((), (images[whole:, ...],))[1]], axis=0)

    return evaluation


def images_per_part(samples: int, features: int) -> int:
    """Return the number of images that go through the network at once, of `samples` images."""
    capacity = max(1, PART_BYTES // (features * np.dtype(np.float64).itemsize))
    # As equal as possible; only the last may be smaller, so that a forward pass is compiled for at most two sizes.
    return ceil_divide(samples, ceil_divide(samples, capacity))


def predict_logits(
    network: Network, images: Array, *, activation: str | Activation, backend: Backend, prepare: Preparation = BYTES
) -> Array:
    """Return the outputs (n, outputs) of the last layer, on the device: for classes the logits.

    images: bytes (n, rows, columns), or what else `prepare`, the data set's, takes; on the device. Works in parts of
    bounded memory. Raises MlpXpError for an unknown activation, for images of another dtype or not on the backend's
    device, and for images of another size than the network takes.
    """
    _check_inputs(network, images, activation, backend, prepare)
    return _compiled_logits(activation, backend, prepare.function)(network, images, prepare.fitted)


def _check_inputs(
    network: Network, images: Array, activation: str | Activation, backend: Backend, prepare: Preparation
) -> None:
    check_activation(activation)
    check_images(images, backend, prepare)
    samples, *shape = images.shape
    features = network[0].weights.shape[0]
    if math.prod(shape) != features:
        product = " x ".join(map(str, shape)) + f" = {math.prod(shape)} pixels" if len(shape) > 1 else f"{shape[0]}"
        raise MlpXpError(
            f"{product} do not match the network, which takes {features}; give images of the size it was trained on",
            setting="images",
        )
    if not samples:
        raise MlpXpError("there are none; give at least one", setting="images")


def predict(
    network: Network,
    images: Array,
    *,
    activation: str | Activation,
    backend: Backend,
    prepare: Preparation = BYTES,
    task: str = "classes",
    targets: tuple[Array, ...] = (),
) -> Array:
    """Return predictions (n, outputs) on the device, for images (or other inputs, see `predict_logits`) on it.

    classes: probabilities, each row with sum 1. labels: the probability of each label. regression: numbers, in the
    units of the labels. activation, prepare, task, targets: those that the network was trained with, the last three as
    in its `Dataset`. JAX can differentiate it; PyTorch's autograd cannot, because it works in place. Raises as
    `predict_logits` does.
    """
    _check_inputs(network, images, activation, backend, prepare)
    return _compiled_predictions(activation, backend, prepare.function, task)(network, images, prepare.fitted, targets)


@np.errstate(over="ignore", invalid="ignore")  # the loss shows when a network is not finite
def evaluate(
    network: Network,
    images: Array,
    labels: Array,
    *,
    activation: str | Activation,
    backend: Backend,
    prepare: Preparation = BYTES,
    task: str = "classes",
    targets: tuple[Array, ...] = (),
) -> Evaluation:
    """Return loss and figures on images (n, ...), see `predict_logits`, and labels, see `Dataset`; on the device.

    Class labels must lie in 0, ..., classes - 1; `checks` checks this before training. The last arguments are as for
    `predict`. Raises as `predict_logits` does, and MlpXpError for labels of another shape.
    """
    wanted = (images.shape[0],) if TASKS[task].exclusive else (images.shape[0], network[-1].bias.shape[0])
    if tuple(labels.shape) != wanted:
        raise MlpXpError(
            f"their shape is {tuple(labels.shape)}, where {wanted} is expected; give labels for each image",
            setting="labels",
        )
    _check_inputs(network, images, activation, backend, prepare)
    run = _compiled_sums(activation, backend, prepare.function, task)
    loss, *sums = map(backend.to_numpy, run(network, images, labels, prepare.fitted, targets))
    samples, outputs = images.shape[0], network[-1].bias.shape[0]
    return TASKS[task].figures(float(loss), sums, samples, outputs, tuple(map(backend.to_numpy, targets)))


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
