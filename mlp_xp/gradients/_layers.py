"""The network of a program in this package's layers.

The network is found by its numbers. The package's network is the program's if the two
losses differ by a constant factor only, for three values of the parameters. The factor
shows whether a loss is a mean or a sum. If they differ by more than rounding, the
program's loss has a small term more, such as a penalty on the weights. A guard is no
such term. It keeps a logarithm finite where a probability is 0, as in log(p + 1e-8).
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Array
from mlp_xp.core.losses import (
    binary_cross_entropy,
    cross_entropy,
    half_squared_error,
    softmax,
)
from mlp_xp.core.network import Layer, affine, backward, forward, gradient
from mlp_xp.gradients._batch import Batch
from mlp_xp.gradients._differences import moved

# The factor between two losses, if the program's has a small term more:
_ALIKE = 1e-4  # its largest relative spread at three values of the parameters
_NEAR = 0.01  # its largest relative distance from a usual factor
_MOST_MIXED = 3  # with more hidden layers, all have the same activation


class Head(NamedTuple):
    """The activation of the last layer, and the loss."""

    activation: str
    loss: str = ""
    """The loss. Without one, it is the sum of the outputs times a given error."""

    def __str__(self) -> str:
        return " and ".join(filter(None, self))

    def outputs(self, z: Array) -> Array:
        """Return the outputs of the network."""
        if self.activation == "softmax":
            return softmax(z, xp=np)
        return ACTIVATIONS[self.activation].function(z, xp=np)[0]

    def total(self, z: Array, t: Array) -> Any:
        """Return the loss, summed over the samples."""
        if self == _CLASSES:
            return np.sum(cross_entropy(z, t, xp=np))
        if self == _LABELS:
            return np.sum(binary_cross_entropy(z, t, xp=np))
        if self.loss:
            return np.sum(half_squared_error(self.outputs(z), t, xp=np))
        return np.sum(self.outputs(z) * t)

    def guarded(self, z: Array, t: Array) -> Array:
        """Return cross-entropies with guarded logarithms, summed over the samples."""
        # A sigmoid that keeps the digits of small probabilities, as programs write it.
        p = 1 / (1 + np.exp(-z)) if self == _LABELS else self.outputs(z)
        small = 10.0 ** -np.arange(5.0, 17.0).reshape(-1, 1, 1)
        pair = np.stack([p, 1 - p])[:, None]
        logs = np.log([pair + small, np.clip(pair, small, 1 - small)])
        terms = t * logs[:, 0] + (self == _LABELS) * (1 - t) * logs[:, 1]
        return -np.sum(terms, axis=(2, 3)).reshape(-1)

    def outer(self, z: Array, t: Array) -> Array:
        """Return the derivative by the outputs, or by z for a cross-entropy."""
        return self.outputs(z) - t if self.loss else t

    def error(self, z: Array, t: Array) -> Array:
        """Return the derivative of the loss by z."""
        if self.loss == "cross-entropy":
            return self.outer(z, t)
        return self.outer(z, t) * slope(self.activation, z)


_CLASSES = Head("softmax", "cross-entropy")
_LABELS = Head("sigmoid", "cross-entropy")
# The identity is the first, so that positive outputs are not called those of a relu.
_LINKS = sorted(ACTIVATIONS, key=lambda name: name != "identity")
_SQUARES = [Head(name, "squared error") for name in _LINKS]
_OUTPUTS = [Head(name) for name in _LINKS]


def slope(name: str, z: Array) -> Array:
    """Return the derivative of an activation at z."""
    function, derivative = ACTIVATIONS[name]
    return derivative(function(z, xp=np)[1], xp=np)


def flattened(x: Array) -> Array:
    """Return inputs with two axes. Programs flatten images."""
    x = np.atleast_2d(x)
    return x.reshape(len(x), -1)


class Plan(NamedTuple):
    """The parameters of a program as the layers of a network."""

    weights: list[str]
    biases: list[str]
    """The names of the biases, or an empty list."""
    flipped: bool
    """Whether weights are (outputs, inputs)."""
    columns: bool
    """Whether samples are columns."""

    def names(self, i: int) -> list[str]:
        """Return the names of the weights and the bias of a layer."""
        return [*self.weights[i : i + 1], *self.biases[i : i + 1]]

    def rows(self, array: Array) -> Array:
        """Return an array with the samples as rows."""
        return array.T if self.columns else array

    def turned(self, weights: Array) -> Array:
        """Return weights as (inputs, outputs)."""
        return weights.T if self.flipped else weights

    def layers(self, values: Mapping[str, Array], inputs: int) -> list[Layer]:
        """Return the layers of a network, or the identity if there are no weights."""
        layers = []
        for name in self.weights:
            weights = self.turned(values[name])
            layers.append(Layer(weights, np.zeros(weights.shape[1])))
        for i, name in enumerate(self.biases):
            layers[i] = layers[i]._replace(bias=values[name].reshape(-1))
        return layers or [Layer(np.eye(inputs), np.zeros(inputs))]

    def fits(self, values: Mapping[str, Array], inputs: int) -> bool:
        """Return whether the shapes form a network with this number of inputs."""
        for weights, bias in self.layers(values, inputs):
            if weights.shape != (inputs, bias.size):
                return False
            inputs = bias.size
        return True


class Ratio(NamedTuple):
    """The ratio of two losses."""

    factor: float
    spread: float
    """The relative spread of the factor at several points."""
    is_guarded: bool = False
    """Whether it is the ratio to a loss with guarded logarithms."""


class Network(NamedTuple):
    """A network of this package, in which a program's parameters fit."""

    plan: Plan
    activations: tuple[str, ...]
    """The activations of the hidden layers."""
    head: Head
    x: Array
    """The inputs, (B, n_0)."""
    targets: Array
    """The targets, or the error of a layer, (B, n_L)."""

    def layers(self, values: Mapping[str, Array]) -> list[Layer]:
        """Return the layers with some values of the parameters."""
        return self.plan.layers(values, self.x.shape[1])

    def logits(self, values: Mapping[str, Array]) -> Array:
        """Return the outputs before the activation of the last layer."""
        activations = [ACTIVATIONS[name] for name in self.activations]
        z, _ = forward(self.layers(values), self.x, activations, xp=np)
        return z

    def ratio(self, logits: list[Array], losses: Array, noise: float) -> "Ratio":
        """Return the ratio of two losses.

        A program has the `losses` where the network has the `logits`.
        """
        totals = [[self.head.total(z, self.targets)] for z in logits]
        best = _ratio(losses, totals)
        if not self.head.loss:  # the same loss, not a multiple
            return Ratio(1.0, best.spread + abs(best.factor - 1))
        # The spread of a program with a guarded logarithm is not small, or is NaN.
        if self.head.loss == "cross-entropy" and not best.spread <= noise:
            guarded = [self.head.guarded(z, self.targets) for z in logits]
            other = _ratio(losses, guarded)._replace(is_guarded=True)
            if other.spread <= noise:
                best = other
        return best


class Twin(NamedTuple):
    """The network of a program in this package's layers."""

    network: Network
    factor: float
    """The program's loss is the loss of the network times this factor."""
    layers: list[Layer]
    inputs: list[Array]
    """The inputs of each layer, (B, n_l)."""
    z: list[Array]
    """The outputs of each layer before its activation, (B, n_{l+1})."""
    gradients: dict[str, Array]
    """The gradients by the program's names, also of the inputs x."""
    has_term: bool = False
    """Whether the losses differ by more than rounding."""
    is_guarded: bool = False
    """Whether the program's loss has a guarded logarithm, as in log(p + 1e-8)."""

    def __str__(self) -> str:
        sizes = [str(each.shape[1]) for each in (self.network.x, *self.z)]
        network = self.network
        words = ", ".join(["-".join(sizes), *network.activations, str(network.head)])
        if self.is_guarded:
            return f"{words}, but for a guard of your logarithm"
        return f"{words}, but for a small term of your loss" if self.has_term else words


def _networks(
    parameters: Mapping[str, Array], batch: Batch, heads: list[Head]
) -> Iterator[Network]:
    """Yield all networks in which the parameters fit."""
    try:
        x, y = np.asarray(batch.x), np.asarray(batch.y)
    except ValueError:  # lists of unequal lengths
        return
    if x.dtype.kind not in "biuf" or y.dtype.kind not in "biuf":
        return
    for weights, biases in _roles([*parameters]):
        has_matrices = all(parameters[name].ndim == 2 for name in weights)
        if not has_matrices or not all(is_bias(parameters[name]) for name in biases):
            continue
        for flipped, columns in product((False, True), repeat=2):
            plan = Plan(weights, biases, flipped, columns)
            rows = plan.rows(flattened(x))
            samples, inputs = rows.shape
            if not plan.fits(parameters, inputs):
                continue
            last = plan.layers(parameters, inputs)[-1]
            t = targets_as_rows(y, (samples, last.bias.size), columns=columns)
            if t is not None:
                for names in _hidden(len(weights) - 1):
                    for head in heads:
                        yield Network(plan, names, head, rows, t)


def _roles(names: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the usual orders of weights and biases, from the first layer on."""
    yield names, []
    half = len(names) // 2
    if names and 2 * half == len(names):
        yield names[::2], names[1::2]
        yield names[:half], names[half:]
        yield names[half:], names[:half]


def is_bias(array: Array) -> bool:
    """Return whether an array is a vector, or a row or a column."""
    return array.ndim < 2 or (array.ndim == 2 and 1 in array.shape)


def _hidden(count: int) -> Iterator[tuple[str, ...]]:
    """Yield the activations of hidden layers."""
    if count <= _MOST_MIXED:
        yield from product(ACTIVATIONS, repeat=max(count, 0))
    else:
        for name in ACTIVATIONS:
            yield (name,) * count


def targets_as_rows(y: Array, shape: tuple[int, ...], *, columns: bool) -> Array | None:
    """Return targets in the shape (samples, outputs), with labels made one-hot.

    The result is None if their shape does not fit.
    """
    samples, outputs = shape
    is_whole = np.all(y == np.round(y))
    if y.size == samples and outputs > 1 and is_whole:
        labels = y.reshape(-1).astype(int)
        known = labels.min() >= 0 and labels.max() < outputs
        return np.eye(outputs)[labels] if known else None
    rows = y.T if columns else y
    if y.ndim == 1 and y.size == samples * outputs:
        rows = y.reshape(shape)
    return rows.astype(float) if rows.shape == shape else None


def find_twin(
    parameters: dict[str, Array],
    batch: Batch,
    loss: Callable[[Mapping[str, Array]], float],
    eps: float,
    rounding: float,
    *,
    is_layer: bool,
) -> Twin | None:
    """Return the network of a program in this package's layers, or None.

    The parameters are in the order of the layers. `rounding` is eps_f of the loss. The
    targets of a layer are its error, and its loss is the sum of outputs times errors.
    """
    points = [parameters]
    for seed in range(2):
        points.append(moved(parameters, 0.1, np.random.default_rng(seed)))
    losses = np.array([loss(values) for values in points])
    noise = 8 * (rounding / np.min(np.abs(losses)) + eps)
    best, ratio = None, Ratio(1.0, max(_ALIKE, eps**0.5))
    heads = _OUTPUTS if is_layer else [_CLASSES, _LABELS, *_SQUARES]
    for network in _networks(parameters, batch, heads):
        logits = [network.logits(values) for values in points]
        candidate = network.ratio(logits, losses, noise)
        if candidate.spread <= ratio.spread:
            best, ratio = network, candidate
        if candidate.spread <= eps**0.5:
            break
    if not best:
        return None
    is_exact = ratio.spread <= noise
    share = 10 * ratio.spread if is_exact else _NEAR
    factor = _usual(ratio.factor, best.targets.shape, share)
    twin = _twin(best, parameters, factor)
    return twin._replace(has_term=not is_exact, is_guarded=ratio.is_guarded)


def _ratio(losses: Array, totals: list[list[Any]]) -> Ratio:
    """Return the ratio of two losses at some points.

    Each column of `totals` is another loss. The steadiest factor counts.
    """
    factors = losses[:, None] / totals
    spreads = np.ptp(factors, axis=0) / np.abs(factors[0])
    best = np.argmin(np.nan_to_num(spreads, nan=np.inf))
    return Ratio(float(factors[0, best]), float(spreads[best]))


def _usual(factor: float, shape: tuple[int, ...], share: float) -> float:
    """Return the usual factor of a sum over targets that is nearest, to this share."""
    samples, outputs = shape
    sizes = np.array([1, samples, outputs, samples * outputs])
    usual = np.outer((0.5, 1, 2), 1 / sizes).reshape(-1)
    nearest = usual[np.argmin(np.abs(usual - factor))]
    return nearest if abs(nearest - factor) <= share * factor else factor


def _twin(network: Network, parameters: Mapping[str, Array], factor: float) -> Twin:
    """Return a network with its gradients, by this package's backpropagation."""
    plan, names, head, x, t = network
    activations = [ACTIVATIONS[name] for name in names]
    layers = network.layers(parameters)
    logits, tape = forward(layers, x, activations, xp=np)
    inputs = [a for a, _ in tape]
    z = [affine(layer, a) for layer, a in zip(layers, inputs, strict=True)]
    gradients: dict[str, Array] = {}
    last = factor * head.error(logits, t)
    for i, a, e in backward(layers, tape, last, activations, xp=np):
        weights, bias = gradient(a, e, xp=np)
        arrays = plan.turned(weights), bias  # without biases, zip ends early
        for name, array in zip(plan.names(i), arrays, strict=False):
            gradients[name] = array.reshape(parameters[name].shape)
        if i == 0:
            gradients["x"] = plan.rows(e @ layers[0].weights.T)
    return Twin(network, factor, layers, inputs, z, gradients)
