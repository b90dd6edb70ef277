"""Usual mistakes in backpropagation, recomputed and compared with somebody's numbers.

Each mistake is a wrong term in one of the four formulas of backpropagation (see
`core/network.py`). The layers are judged from the last to the first. The errors of a
layer are computed from the error found for the layer above, right or with a mistake. A
mistake is named only if its numbers are the program's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Array
from mlp_xp.core.network import gradient
from mlp_xp.gradients._layers import Twin

Words = tuple[str, ...]
"""Mistakes, () if there is none."""
Variant = tuple[Words, Array]
"""Mistakes, and the array that they lead to."""
Same = Callable[[Array, Array], bool]
_UNEXPLAINED = 10  # mistakes
_SIGN = ("the sign is wrong",)
_FACTORS: list[tuple[Words, float]] = [
    ((), 1.0),
    (("the factor 2 of the derivative of a square is missing",), 0.5),
    (("a factor 2 too much, of the derivative of a square",), 2.0),
]


class Finding(NamedTuple):
    """A mistake that explains the numbers of some parameters."""

    names: tuple[str, ...]
    """The parameters with these numbers."""
    mistakes: tuple[str, ...]
    """The mistake, or several that give the same numbers."""


class _Option(NamedTuple):
    """What a layer's gradients would mean if its error were this one."""

    cost: int
    """The number of mistakes."""
    words: Words
    error: Array
    parts: list[list[Words]]
    """For the weights and the bias, all mistakes that explain them."""

    def mistakes(self) -> list[str]:
        """Return all mistakes, wherever they are."""
        words = list(self.words)
        for part in self.parts:
            words += part[0] if part else ()
        return sorted(words)


def _scaled(twin: Twin, forms: Iterable[Variant]) -> Iterator[Variant]:
    """Yield arrays, also with a wrong sign and a wrong number of samples."""
    samples = len(twin.targets)
    numbers: list[tuple[Words, float]] = [((), 1.0)]
    if twin.factor * samples > 2.5:
        numbers.append((("a mean over the batch that should be a sum",), 1 / samples))
    else:
        numbers.append((("a sum over the batch that should be a mean",), samples))
        numbers.append((("divided by the number of samples twice",), 1 / samples))
    signs: list[tuple[Words, float]] = [((), 1.0), (_SIGN, -1.0)]
    for (words, array), sign, number in product(forms, signs, numbers):
        yield words + sign[0] + number[0], array * sign[1] * number[1]


def _slopes(name: str, z: Array) -> Iterator[Variant]:
    """Yield the derivative of an activation at z, first the right one."""
    function, derivative = ACTIVATIONS[name]
    a, saved = function(z, xp=np)
    yield (), derivative(saved, xp=np)
    if name == "identity":
        return
    yield (f"the derivative of {name} is missing",), np.ones_like(z)
    if saved is a:
        at_z = derivative(z, xp=np)
        yield (f"the derivative of {name} is taken at z instead of a",), at_z
    at_a = derivative(function(a, xp=np)[1], xp=np)
    yield (f"the derivative of {name} is taken at a instead of z",), at_a
    for other in ("sigmoid", "tanh", "relu"):
        if other != name:
            words = (f"the derivative of {other} instead of {name}",)
            other_function, other_derivative = ACTIVATIONS[other]
            yield words, other_derivative(other_function(z, xp=np)[1], xp=np)
            if other != "relu":  # 1 at most a
                yield words, other_derivative(a, xp=np)


def _last_errors(twin: Twin, labels: Array) -> Iterator[Variant]:
    """Yield the error of the last layer, first the right one."""
    head, t, z = twin.head, twin.targets, twin.z[-1]
    outer = twin.factor * head.outer(z, t)
    if head.activation:
        factors: list[tuple[Words, float]] = []
        if head.is_squared:
            outputs = ("a sum over the outputs that should be a mean",)
            for words, factor in _FACTORS:
                factors.append((words, factor))
                factors.append((words + outputs, factor * t.shape[1]))
            if abs(twin.factor * len(t) - 1) > 0.01:  # else it is a sum
                words = ("p - t, as if the loss were half the sum of the squares",)
                factors.append((words, 1 / twin.factor))
        slopes = _slopes(head.activation, z)
        for (first, slope), (second, factor) in product(
            slopes, factors or _FACTORS[:1]
        ):
            yield first + second, outer * slope * factor
        return
    yield (), outer
    p = head.outer(z, t) + t
    link = head.name.partition(" ")[0]
    twice = outer * p * (1 - p)
    yield (f"the derivative of {link} twice, as p - t contains it",), twice
    yield (f"z - t, without {link}",), twin.factor * (z - t)
    yield (f"-t / p, without the derivative of {link}",), -twin.factor * t / p
    if labels.size == len(t) < t.size:
        column = twin.factor * (p - labels.reshape(-1, 1))
        yield ("the labels are not one-hot",), column
        if len(t) == t.shape[1]:
            row = twin.factor * (p - labels.reshape(1, -1))
            yield ("the labels are not one-hot",), row


def _errors_below(
    twin: Twin, layer: int, error: Array, updated: Array | None
) -> Iterator[Variant]:
    """Yield the error below a layer from the layer's own, first the right one.

    `updated` are the weights of the layer after its own update.
    """
    weights = twin.layers[layer].weights
    matrices: list[Variant] = [((), weights.T)]
    if updated is not None:
        words = "the layer above was updated before the error passed through it"
        matrices.append(((words,), updated.T))
    if weights.shape[0] == weights.shape[1]:
        matrices.append((("a transpose of the weights is missing",), weights))
    slopes: list[Variant] = [((), np.ones(()))]
    if layer > 0:
        slopes = list(_slopes(twin.activations[layer - 1], twin.z[layer - 1]))
    for (first, matrix), (second, slope) in product(matrices, slopes):
        below = error @ matrix * slope
        yield first + second, below
        yield first + second + _SIGN, -below


def _weights(twin: Twin, layer: int, error: Array) -> Iterator[Variant]:
    """Yield the gradient of a layer's weights, first the right one."""
    a = twin.inputs[layer]
    right = gradient(a, error, xp=np).weights
    yield (), right
    yield ("a transpose is missing",), right.T
    if a.shape[0] == a.shape[1]:
        yield ("a transpose is missing",), a @ error
    if layer > 0:
        yield ("the input of the layer is z instead of a",), twin.z[layer - 1].T @ error


def _biases(error: Array) -> Iterator[Variant]:
    """Yield the gradient of a layer's bias, first the right one."""
    right = error.sum(axis=0)
    yield (), right
    for wrong in (error, error[0], error[-1]):
        yield ("the sum over the samples is missing",), wrong
    for wrong in (error.sum(axis=1), error.sum(), np.full_like(right, error.sum())):
        yield ("the sum is over the wrong axis",), wrong


def _explained(
    variants: Iterable[Variant], array: Array | None, same: Same
) -> list[Words]:
    """Return the fewest mistakes that lead to an array, [()] if it is right."""
    if array is None:
        return [()]
    found = []
    for words, variant in variants:
        if same(array, variant) and words not in found:
            found.append(words)
    fewest = min(map(len, found), default=0)
    return [words for words in found if len(words) == fewest]


def _option(words: Words, error: Array, parts: list[list[Words]]) -> _Option:
    cost = len(words)
    for part in parts:
        cost += len(part[0]) if part else _UNEXPLAINED
    return _Option(cost, words, error, parts)


def explain(
    twin: Twin,
    found: Mapping[str, Array],
    labels: Array,
    rate: float | None,
    same: Same,
) -> list[Finding]:
    """Return the mistakes that explain a program's gradients.

    Args:
        twin: The network in this package's layers.
        found: The program's gradients by the names of the parameters.
        labels: The targets as they were given.
        rate: The learning rate, if the program updates its parameters.
        same: Whether two arrays are equal but for rounding.
    """
    findings: list[Finding] = []
    unexplained: set[str] = set()
    errors = list(_scaled(twin, _last_errors(twin, labels)))
    for layer in reversed(range(len(twin.layers))):
        weights, bias = twin.plan.gradients(layer, found)
        options = []
        for words, error in errors:
            parts = []
            for forms, array in (
                (_weights(twin, layer, error), weights),
                (_biases(error), bias),
            ):
                parts.append(_explained(_scaled(twin, forms), array, same))
            options.append(_option(words, error, parts))
        best = min(options, key=lambda option: option.cost)
        alike = [each for each in options if each.cost == best.cost]
        same_place = [each.words for each in alike if each.parts == best.parts]
        # Without a bias, a sign may be of the error or of the gradient.
        if all(
            each.parts == best.parts or each.mistakes() == best.mistakes()
            for each in alike
        ):
            below = [name for i in range(layer + 1) for name in twin.plan.names(i)]
            below += found.keys() & {"x"}
            findings += _findings(below, same_place)
            for name, part in zip(twin.plan.names(layer), best.parts, strict=False):
                findings += _findings([name], part)
                if not part:
                    unexplained.add(name)
        updated = None
        own = twin.layers[layer].weights
        if rate is not None and weights.shape == own.shape:
            updated = own - rate * weights
        errors = list(_errors_below(twin, layer, best.error, updated))
    if "x" in found:
        x = twin.plan.rows(found["x"])
        part = _explained(errors, x, same)
        findings += _findings(["x"], part)
        if not part:
            unexplained.add("x")
    for i, finding in enumerate(findings):
        names = tuple(name for name in finding.names if name not in unexplained)
        findings[i] = finding._replace(names=names)
    return [finding for finding in findings if finding.names]


def _findings(names: Sequence[str], alike: list[Words]) -> Iterator[Finding]:
    """Yield a finding for each mistake, or one with mistakes to choose from."""
    alike = list(dict.fromkeys(alike))
    if len(alike) > 1:
        yield Finding(tuple(names), tuple(" and ".join(words) for words in alike))
    elif alike:
        for word in alike[0]:
            yield Finding(tuple(names), (word,))


def input_error(twin: Twin) -> Array:
    """Return the derivative of the loss by the inputs, in the program's shape."""
    error = twin.factor * twin.head.error(twin.z[-1], twin.targets)
    for layer in reversed(range(len(twin.layers))):
        _, error = next(_errors_below(twin, layer, error, None))
    return error.T if twin.plan.columns else error
