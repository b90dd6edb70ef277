"""A whole training run in plain NumPy, written from the papers.

It is the oracle for every setting of a step.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.config import TrainConfig
from mlp_xp.core.dropout import draw_masks

ACTIVATIONS = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: z * (z.real > 0),
    "gelu": lambda z: (
        0.5 * z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3)))
    ),
    "identity": lambda z: z,
}
SCALES = {
    "notebook": lambda inputs, outputs: 1.0,
    "glorot": lambda inputs, outputs: (2 / (inputs + outputs)) ** 0.5,
    "he": lambda inputs, outputs: (2 / inputs) ** 0.5,
}


class Run(NamedTuple):
    """The loss before every step, warm-up included, and all parameters at the end."""

    losses: np.ndarray
    parameters: np.ndarray


def flat(layers) -> np.ndarray:
    return np.concatenate(
        [np.asarray(array).ravel() for layer in layers for array in layer]
    )


def outputs(layers: Iterable[Any], x: np.ndarray, activation: str) -> np.ndarray:
    """The outputs of a network before the link. A layer is a matrix and a bias."""
    for i, (w, b) in enumerate(layers):
        x = ACTIVATIONS[activation](x) if i else x
        x = x @ np.asarray(w, np.float64) + np.asarray(b, np.float64)
    return x


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def slope(activation: str, z: np.ndarray) -> np.ndarray:
    """The derivative by a complex step, right to the last digit."""
    return ACTIVATIONS[activation](z + 1e-30j).imag / 1e-30


def start(
    config: TrainConfig, sizes: tuple[int, ...], samples: int
) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """The layers, and the samples of every step, as the notebook draws them.

    A layer is a matrix and a bias.
    """
    random = np.random.RandomState(config.seed)
    layers = [
        [random.standard_normal(pair) * SCALES[config.init](*pair), np.zeros(pair[1])]
        for pair in pairwise(sizes)
    ]
    samples -= config.validation
    batches, order = [np.array([1])] * config.warm_up_steps, np.arange(samples)
    for _ in range(config.epochs):
        order = order[random.permutation(samples)]
        batches += [
            order[i : i + config.batch_size]
            for i in range(0, samples, config.batch_size)
        ]
    return layers, batches


def fitted_bias(t: np.ndarray, weights: np.ndarray, task: str) -> np.ndarray:
    """The outputs that predict the mean target.

    Each class, and each value of a label, is counted half a sample more.
    """
    total = weights @ t / weights.mean()
    if task == "regression":
        return total / len(t)
    if task == "labels":
        p = (total + 0.5) / (len(t) + 1)
        return np.log(p) - np.log(1 - p)
    z = np.log((total + 0.5) / (len(t) + 0.5 * len(total)))
    return z - z.sum() / len(z)


def losses_and_predictions(
    z: np.ndarray, t: np.ndarray, task: str
) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each sample, and the prediction.

    The error at the output is the prediction minus the target.
    """
    if task == "regression":
        return 0.5 * ((z - t) ** 2).sum(axis=1), z
    if task == "labels":
        return np.logaddexp(0, (1 - 2 * t) * z).sum(axis=1), 1 / (1 + np.exp(-z))
    p = softmax(z)
    return -np.log((p * t).sum(axis=1)), p


def masks_of(config: TrainConfig, samples: int, step: int) -> list[np.ndarray]:
    """The factors of dropout for the units of each hidden layer, for each sample."""
    if not config.dropout:
        return [np.ones((samples, 1))] * len(config.hidden)
    units = draw_masks(config, 1, samples, step)[0] / (1 - config.dropout)
    return np.split(units, np.cumsum(config.hidden)[:-1], axis=1)


def update(
    config: TrainConfig, parameter: np.ndarray, g: np.ndarray, kept: np.ndarray,
    step: int, steps: int, is_bias: bool,
) -> None:  # fmt: skip
    """Change a parameter by its gradient g, and the moments kept by the optimizer.

    Kingma and Ba, 2015; Loshchilov and Hutter, 2019; momentum as in Sutskever et al.,
    2013.
    """
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate *= (1 + np.cos(np.pi * step / steps)) / 2
    decay = 0.0 if is_bias and not config.decay_bias else config.weight_decay
    if config.optimizer == "adamw":
        parameter -= rate * decay * parameter
    else:
        g = g + decay * parameter
    m, v = kept
    if config.optimizer == "sgd":
        parameter -= rate * g
    elif config.optimizer == "momentum":
        v[...] = config.momentum * v + g
        parameter -= rate * (g + config.momentum * v if config.nesterov else v)
    else:
        m[...] = config.beta_1 * m + (1 - config.beta_1) * g
        v[...] = config.beta_2 * v + (1 - config.beta_2) * g**2
        root = np.sqrt(v / (1 - config.beta_2 ** (step + 1)))
        mean = rate * m / (1 - config.beta_1 ** (step + 1))
        parameter -= mean / (root + config.epsilon)


def plain_run(
    config: TrainConfig,
    x: np.ndarray,
    t: np.ndarray,
    task: str = "classes",
    weights: np.ndarray | None = None,
) -> Run:
    """Train on features x (n, features) and targets t (n, outputs).

    For classes, the targets are one-hot.

    weights: how often each sample counts, whole numbers (n,). A step repeats it, with
    its dropout, as often, and its sums over the samples are divided by as many as a
    batch has on average.
    """
    layers, batches = start(config, (x.shape[1], *config.hidden, t.shape[1]), len(x))
    if config.fit_bias:
        rows = slice(len(x) - config.validation)
        counts = np.ones(len(x)) if weights is None else weights
        layers[-1][1] = fitted_bias(t[rows], counts[rows], task)
    kept = [[np.zeros((2, *array.shape)) for array in layer] for layer in layers]
    losses = []

    def update_layer(i: int, gradients: list[np.ndarray], step: int) -> None:
        for array, g, own, is_bias in zip(
            layers[i], gradients, kept[i], (False, True), strict=True
        ):
            update(config, array, g, own, step, len(batches), is_bias)

    for step, rows in enumerate(batches):
        masks, count = masks_of(config, len(rows), step), len(rows)
        if weights is not None:
            count *= weights[: len(x) - config.validation].mean()
            masks = [np.repeat(mask, weights[rows], axis=0) for mask in masks]
            rows = np.repeat(rows, weights[rows])
        inputs, zs = [x[rows]], []
        for i, (w, b) in enumerate(layers):
            zs.append(inputs[-1] @ w + b)
            if i < len(config.hidden):
                inputs.append(ACTIVATIONS[config.activation](zs[-1]) * masks[i])
        loss, predicted = losses_and_predictions(zs[-1], t[rows], task)
        losses.append(loss.sum() / count)
        error, gradients = (predicted - t[rows]) / count, []
        for i in reversed(range(len(layers))):
            gradients.insert(0, [inputs[i].T @ error, error.sum(axis=0)])
            # the error passes down through the new weights
            if config.update_order == "layerwise":
                update_layer(i, gradients[0], step)
            if i:
                below = slope(config.activation, zs[i - 1])
                error = error @ layers[i][0].T * masks[i - 1] * below
        if config.update_order == "simultaneous":
            norm = np.sqrt(sum((g**2).sum() for pair in gradients for g in pair))
            factor = config.clip_norm / norm if 0 < config.clip_norm < norm else 1.0
            for i, pair in enumerate(gradients):
                update_layer(i, [factor * g for g in pair], step)
    return Run(np.array(losses), flat(layers))
