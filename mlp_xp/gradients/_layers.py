"""The same network in this package's layers, if it has such a network.

The network is found by its numbers. A combination of shapes, activations and loss is
the program's own if its loss is the program's loss times a constant, for three choices
of the parameters. The constant tells a mean from a sum.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Activation, Array, sigmoid
from mlp_xp.core.losses import binary_cross_entropy, cross_entropy, softmax
from mlp_xp.core.network import Layer, affine, backward, forward, gradient
from mlp_xp.gradients._matching import Parameter

_ALIKE = 1e-4  # log(1 - p) may lose all but four digits
_MOST_MIXED = 3  # With more hidden layers, all have the same activation.


class Head(NamedTuple):
    """What follows the last z: an activation and a loss."""

    name: str
    loss: Callable[[Array, Array], Any]
    """`loss(z, targets)`, the sum over the samples."""
    error: Callable[[Array, Array], Array]
    """Its derivative by z."""
    activation: str
    """The activation, if the derivative has its slope as a factor."""
    outer: Callable[[Array, Array], Array]
    """The derivative of the loss by the output of the activation."""
    is_squared: bool = False


def _head(name: str, activation: Activation, *, squared: bool) -> Head:
    """Return a head with an activation, and a squared error or a given error."""

    def outer(z: Array, t: Array) -> Array:
        return activation.function(z, xp=np)[0] - t if squared else np.array(t)

    def loss(z: Array, t: Array) -> Any:
        if squared:
            return 0.5 * np.sum(outer(z, t) ** 2)
        return np.sum(activation.function(z, xp=np)[0] * t)

    def error(z: Array, t: Array) -> Array:
        return activation.chain(outer(z, t), activation.function(z, xp=np)[1], xp=np)

    words = f"{name} and squared error" if squared else name
    return Head(words, loss, error, name, outer, squared)


def _probable(
    name: str, losses: Callable[..., Array], link: Callable[[Array], Array]
) -> Head:
    def outer(z: Array, t: Array) -> Array:
        return link(z) - t

    def loss(z: Array, t: Array) -> Any:
        return np.sum(losses(z, t, xp=np))

    return Head(f"{name} and cross-entropy", loss, outer, "", outer)


_ERROR_HEADS = [_head(*each, squared=False) for each in ACTIVATIONS.items()]
_HEADS = [
    _probable("softmax", cross_entropy, lambda z: softmax(z, xp=np)),
    _probable("sigmoid", binary_cross_entropy, lambda z: sigmoid(z, xp=np)[0]),
    *(_head(*each, squared=True) for each in ACTIVATIONS.items()),
]


class Plan(NamedTuple):
    """How the arrays of a program become the layers of a network."""

    weights: Sequence[Parameter]
    biases: Sequence[Parameter]
    flipped: Sequence[bool]
    """Whether the weights of a layer are (outputs, inputs)."""
    columns: bool
    """Whether samples are columns."""

    def layers(self, values: Mapping[int, Array]) -> list[Layer]:
        """Return the layers, with weights (inputs, outputs)."""
        layers = []
        for i, weights in enumerate(self.weights):
            matrix = values[weights.identity]
            if self.flipped[i]:
                matrix = matrix.T
            bias = np.zeros(matrix.shape[1])
            if self.biases:
                bias = values[self.biases[i].identity].reshape(-1)
            layers.append(Layer(matrix, bias))
        return layers

    def names(self, layer: int) -> list[str]:
        """Return the names of a layer's weights and bias, if it has one."""
        parameters = [self.weights[layer], *self.biases[layer : layer + 1]]
        return [each.name for each in parameters]

    def gradients(
        self, layer: int, found: Mapping[str, Array]
    ) -> tuple[Array, Array | None]:
        """Return a program's gradients of a layer as this package has them."""
        weights = found[self.weights[layer].name]
        if self.flipped[layer]:
            weights = weights.T
        if not self.biases:
            return weights, None
        bias = found[self.biases[layer].name]
        if bias.size == self.biases[layer].value.size:
            return weights, bias.reshape(-1)
        return weights, self.rows(bias) if bias.ndim == 2 else bias

    def own(self, layers: Sequence[Layer]) -> dict[str, Array]:
        """Return arrays of layers by the program's names, in its shapes."""
        arrays: dict[str, Array] = {}
        for i, (weights, bias) in enumerate(layers):
            arrays[self.weights[i].name] = weights.T if self.flipped[i] else weights
            for each in self.biases[i : i + 1]:
                arrays[each.name] = bias.reshape(each.value.shape)
        return arrays

    def rows(self, samples: Array) -> Array:
        """Return samples as rows."""
        return np.atleast_2d(samples).T if self.columns else np.atleast_2d(samples)


class Twin(NamedTuple):
    """The program's network in this package's layers."""

    plan: Plan
    layers: list[Layer]
    activations: tuple[str, ...]
    """The activations of the hidden layers."""
    head: Head
    factor: float
    """The program's loss is this times `head.loss`."""
    targets: Array
    inputs: list[Array]
    """The inputs of each layer, (B, n_l)."""
    z: list[Array]
    """The outputs of each layer before its activation, (B, n_{l+1})."""
    gradients: list[Layer]

    def __str__(self) -> str:
        sizes = [str(layer.weights.shape[0]) for layer in self.layers]
        sizes.append(str(self.z[-1].shape[1]))
        return ", ".join(["-".join(sizes), *self.activations, self.head.name])


def _plans(parameters: list[Parameter], x: Array) -> Iterator[Plan]:
    """Yield all ways in which the shapes of the parameters form layers."""
    weights: list[Parameter] = []
    biases: list[Parameter] = []
    for each in parameters:
        is_bias = each.key[-1:] == ("b",) or "b" in each.key or each.value.ndim == 1
        (biases if is_bias else weights).append(each)
    if len(biases) not in (0, len(weights)):
        return
    for columns in (False, True):
        size = np.atleast_2d(x).shape[0 if columns else 1]
        for flipped in product((False, True), repeat=len(weights)):
            plan = Plan(weights, biases, flipped, columns)
            sizes, fits = size, True
            for i, each in enumerate(weights):
                inputs, outputs = each.value.shape
                if flipped[i]:
                    inputs, outputs = outputs, inputs
                fits &= inputs == sizes
                fits &= not biases or biases[i].value.size == outputs
                sizes = outputs
            if fits:
                yield plan


def _targets(y: Any, plan: Plan, shape: tuple[int, int]) -> Array | None:
    """Return targets as rows (B, outputs), with labels made one-hot."""
    samples, outputs = shape
    y = np.asarray(y)
    if y.size == samples and outputs > 1:
        labels = y.reshape(-1)
        if y.dtype.kind in "iub" and labels.min() >= 0 and labels.max() < outputs:
            return np.eye(outputs)[labels.astype(int)]
    if y.size != samples * outputs:
        return None
    rows = plan.rows(y) if y.ndim == 2 else y.reshape(shape)
    return rows.astype(np.float64) if rows.shape == shape else None


def find_twin(
    parameters: list[Parameter],
    x: Array,
    targets: Any,
    points: Sequence[tuple[Mapping[int, Array], float]],
    eps: float,
    *,
    is_layer: bool,
) -> Twin | None:
    """Return the program's network in this package's layers, or None.

    Args:
        parameters: The parameters, from the first layer on.
        x: The inputs.
        targets: The targets, or the error that a layer is given.
        points: Values of the parameters, and the program's loss. The first are its own.
        eps: The eps of the dtype that the program computes in.
        is_layer: Whether the loss is the sum of the outputs times `targets`.
    """
    heads = _ERROR_HEADS if is_layer else _HEADS
    best: Callable[[float], Twin] | None = None
    smallest, factor = max(_ALIKE, eps**0.5), 1.0
    for plan in _plans(parameters, x):
        rows = plan.rows(x)
        networks = [plan.layers(values) for values, _ in points]
        last = networks[0][-1].bias.size if plan.weights else rows.shape[1]
        t = _targets(targets, plan, (len(rows), last))
        if t is None:
            continue
        for names in _hidden(len(plan.weights) - 1):
            activations = [ACTIVATIONS[name] for name in names]
            logits = [_logits(layers, rows, activations) for layers in networks]
            for head in heads:
                factors = [1.0] if is_layer else []
                for z, (_, loss) in zip(logits, points, strict=True):
                    factors.append(loss / head.loss(z, t))
                spread = np.ptp(factors) / abs(factors[-1])
                if spread <= smallest:
                    smallest, factor = spread, _exact(factors[-1], t.size)
                    best = partial(_twin, plan, networks[0], names, head, t, rows)
                if best and spread <= eps**0.5:
                    return best(factor)
    return best(factor) if best else None


def _exact(factor: float, numbers: int) -> float:
    """Return a factor as exactly 1, 2 or 1/2, over numbers of samples and outputs."""
    whole = round(2 * numbers * factor)
    if abs(2 * numbers * factor - whole) <= _ALIKE * whole:
        return whole / (2 * numbers)
    return factor


def _hidden(count: int) -> Iterator[tuple[str, ...]]:
    """Yield the activations of hidden layers."""
    if count <= _MOST_MIXED:
        yield from product(ACTIVATIONS, repeat=max(count, 0))
    else:
        for name in ACTIVATIONS:
            yield (name,) * count


def _logits(layers: list[Layer], x: Array, activations: list[Activation]) -> Array:
    return forward(layers, x, activations, xp=np)[0] if layers else x


def _twin(
    plan: Plan,
    layers: list[Layer],
    names: tuple[str, ...],
    head: Head,
    t: Array,
    x: Array,
    factor: float,
) -> Twin:
    """Return a network with its gradients, by this package's backpropagation."""
    activations = [ACTIVATIONS[name] for name in names]
    logits, tape = forward(layers, x, activations, xp=np) if layers else (x, [])
    error = factor * head.error(logits, t)
    inputs = [a for a, _ in tape]
    z = [affine(layer, a) for layer, a in zip(layers, inputs, strict=True)] or [x]
    gradients: list[Layer] = []
    for _, a, e in backward(layers, tape, error.copy(), activations, xp=np):
        gradients.insert(0, gradient(a, e, xp=np))
    return Twin(plan, layers, names, head, factor, t, inputs, z, gradients)
