"""Usual mistakes in backpropagation, compared with the gradients of a program.

A mistake is a wrong term in one of the four formulas of backpropagation (see
`core/network.py`). Layers are compared from the last to the first. The error of a layer
is computed from the error found for the layer above, with its mistakes. A mistake is
named only if it leads to the program's numbers.
"""

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from mlp_xp.core.functional import ACTIVATIONS, Array
from mlp_xp.core.network import gradient
from mlp_xp.gradients._layers import Twin, flattened, slope

Words = tuple[str, ...]
"""Mistakes, or () if there is none."""
Table = dict[str, list[Array]]
"""Terms of a formula by their mistakes. The right term has an empty text."""
Same = Callable[[Array, Array], bool]
# It counts as more mistakes than there are usual ones.
_UNEXPLAINED = ("an unusual mistake",) * 10
_SIGNS: Table = {"": [1], "the sign is wrong": [-1]}


class Finding(NamedTuple):
    """A mistake that explains the gradients of some parameters."""

    names: tuple[str, ...]
    """The parameters."""
    mistakes: tuple[str, ...]
    """The mistake, or several with the same numbers."""


class _Explanation(NamedTuple):
    """An explanation of a layer's gradients."""

    words: Words
    """The mistakes in the error of the layer."""
    error: Array
    gradients: dict[str, list[Words]]
    """The mistakes in each gradient: equally good explanations, or none."""

    def mistakes(self) -> list[str]:
        """Return all mistakes, without their places."""
        words = [*self.words]
        for options in self.gradients.values():
            words += options[0] if options else _UNEXPLAINED
        return sorted(words)


def _products(*tables: Table) -> Iterator[tuple[Words, Array]]:
    """Yield the products of one term from each table, with their mistakes."""
    for entries in product(*(table.items() for table in tables)):
        words = tuple(word for word, _ in entries if word)
        for factors in product(*(terms for _, terms in entries)):
            yield words, math.prod(factors)


def _numbers(twin: Twin, steps: Mapping[str, Array]) -> Table:
    """Return factors of a gradient: numbers of samples, and of updates."""
    samples = len(twin.network.x)
    table: Table = {"": [1]}
    if steps:
        table["the update is made twice"] = [2]
    if samples == 1:
        return table
    # At most 2 is a mean, as np.mean((p - t) ** 2) is twice the mean of half squares.
    if twin.factor * samples > 2.5:
        return table | {"a mean over the batch that should be a sum": [1 / samples]}
    return table | {
        "a sum over the batch that should be a mean": [samples],
        "divided by the number of samples twice": [1 / samples],
    }


def _slopes(name: str, z: Array) -> Table:
    """Return the derivative of an activation at z."""
    function, derivative = ACTIVATIONS[name]
    a, saved = function(z, xp=np)
    table: Table = {"": [slope(name, z)]}
    if name == "identity":
        return table
    table[f"the derivative of {name} is missing"] = [np.ones_like(z)]
    if saved is a:
        at_z = derivative(z, xp=np)
        table[f"the derivative of {name} is taken at z instead of a"] = [at_z]
        words = f"{name} is applied twice: a is already its output"
    else:
        words = f"the derivative of {name} is taken at a instead of z"
    table[words] = [slope(name, a)]
    if name == "tanh":
        table["the square is missing in 1 - a**2, the derivative of tanh"] = [1 - a]
    for other in ("sigmoid", "tanh", "relu"):
        if other != name:
            terms = [slope(other, z)]
            if other != "relu":  # whose derivative at a > 0 is 1
                terms.append(ACTIVATIONS[other].derivative(a, xp=np))
            table[f"the derivative of {other} instead of {name}"] = terms
    return table


def _last_errors(twin: Twin, steps: Mapping[str, Array]) -> list[Table]:
    """Return the factors of the error of the last layer."""
    head, t, z = twin.network.head, twin.network.targets, twin.z[-1]
    samples, outputs = t.shape
    outer = twin.factor * head.outer(z, t)
    means: Table = {"": [1]}
    if outputs > 1:
        means["a sum over the outputs that should be a mean"] = [outputs]
    scales = [_SIGNS, _numbers(twin, steps)]
    if head.loss == "squared error":
        squares: Table = {
            "": [1],
            "the factor 2 of the derivative of a square is missing": [0.5],
            "a factor 2 too much, of the derivative of a square": [2],
        }
        # For half a mean of squares, p - t is a sum over the batch.
        if abs(twin.factor * samples - 1) > 0.01:
            half = "p - t, as if the loss were half the sum of the squares"
            squares[half] = [1 / twin.factor]
        scales += [squares, means]
    if head.loss != "cross-entropy":
        return [{"": [outer]}, _slopes(head.activation, z), *scales]
    # Otherwise the loss is no sum over the outputs.
    if twin.factor * samples > 0.99 and outputs > 1:
        means = {"": [1], "divided by the number of outputs": [1 / outputs]}
    scales.append(means)
    p = head.outputs(z)
    link = head.activation
    table: Table = {
        "": [outer],
        f"the derivative of {link} twice, as p - t contains it": [outer * p * (1 - p)],
        f"z - t, without {link}": [twin.factor * (z - t)],
        f"-t / p, without the derivative of {link}": [-twin.factor * t / p],
    }
    if link == "sigmoid":
        words = f"-t / p + (1 - t) / (1 - p), without the derivative of {link}"
        table[words] = [outer / (p * (1 - p))]
    if link == "softmax":
        labels = t.argmax(axis=1, keepdims=True)
        table["the labels are not one-hot"] = [twin.factor * (p - labels)]
        words = "each label counts for all samples: use p[np.arange(len(p)), y] -= 1"
        table[words] = [twin.factor * (p - t.max(axis=0))]
        words = "the derivative of sigmoid instead of softmax"
        table[words] = [-twin.factor * t * (1 - p)]
    return [table, *scales]


def _errors_below(
    twin: Twin, i: int, error: Array, steps: Mapping[str, Array]
) -> list[Table]:
    """Return the factors of the error below layer i."""
    weights = twin.layers[i].weights
    table: Table = {"": [error @ weights.T]}
    plan = twin.network.plan
    if plan.weights[i] in steps:
        words = "the layer above was updated before the error passed through it"
        changed = weights - plan.turned(steps[plan.weights[i]])
        table[words] = [error @ changed.T]
    if weights.shape[0] == weights.shape[1]:
        table["a transpose of the weights is missing"] = [error @ weights]
    if i == 0:
        return [table, _SIGNS]
    return [table, _slopes(twin.network.activations[i - 1], twin.z[i - 1]), _SIGNS]


def _weights(twin: Twin, i: int, error: Array) -> Table:
    """Return the gradient of the weights of layer i."""
    a = twin.inputs[i]
    right = gradient(a, error, xp=np).weights
    transposes = [right.T]
    if a.shape[0] == a.shape[1]:
        transposes.append(a @ error)
    table: Table = {"": [right], "a transpose is missing": transposes}
    if i > 0:
        wrong = twin.z[i - 1].T @ error
        table["the input of the layer is z instead of a"] = [wrong]
    return table


def _biases(error: Array) -> Table:
    """Return the gradient of a layer's bias."""
    right = error.sum(axis=0)
    return {
        "": [right],
        "the sum over the samples is missing": [error, error[0], error[-1]],
        "the sum is over the wrong axis": [
            error.sum(axis=1),
            error.sum(axis=1, keepdims=True),
        ],
        "the sum is over all entries, without axis=0": [
            error.sum(),
            np.full_like(right, error.sum()),
        ],
    }


def _explained(tables: Iterable[Table], array: Array, same: Same) -> list[Words]:
    """Return the fewest mistakes that lead to an array, [()] if it is right."""
    found = []
    for words, variant in _products(*tables):
        if same(array, variant) and words not in found:
            found.append(words)
    fewest = min(map(len, found), default=0)
    return [words for words in found if len(words) == fewest]


def _findings(names: tuple[str, ...], alike: list[Words]) -> Iterator[Finding]:
    """Yield a finding for each mistake, or one with mistakes to choose from."""
    alike = list(dict.fromkeys(alike))
    if len(alike) > 1:
        yield Finding(names, tuple(" and ".join(words) for words in alike))
    elif alike:
        for word in alike[0]:
            yield Finding(names, (word,))


def _gradients(
    twin: Twin, name: str, error: Array, steps: Mapping[str, Array]
) -> list[Table]:
    """Return the factors of a gradient, for an error of its layer.

    The gradient of the inputs x is the error below the first layer.
    """
    weights = twin.network.plan.weights
    if name == "x":
        return [{"": [error]}, _numbers(twin, {})]
    table = _biases(error)
    if name in weights:
        table = _weights(twin, weights.index(name), error)
    return [table, _SIGNS, _numbers(twin, steps)]


def _shaped(twin: Twin, name: str, array: Array) -> Array:
    """Return a gradient of the program in the shape of this package."""
    plan = twin.network.plan
    if name in plan.weights:
        return plan.turned(array)
    if name in plan.biases and array.size == twin.gradients[name].size:
        return array.reshape(-1)
    return plan.rows(flattened(array) if name == "x" else array)


def _best_explanations(
    twin: Twin,
    errors: list[Table],
    arrays: Mapping[str, Array],
    steps: Mapping[str, Array],
    same: Same,
    zeros: Container[str],
    right: Container[str],
) -> list[_Explanation]:
    """Return the explanations of a layer's gradients with the fewest mistakes."""
    explanations = []
    has_right = any(name in right and np.any(arrays[name]) for name in arrays)
    for words, error in _products(*errors):
        if words and has_right:
            continue  # with a mistake in the error, no gradient would be right
        gradients: dict[str, list[Words]] = {}
        for name, array in arrays.items():
            tables = _gradients(twin, name, error, steps)
            gradients[name] = []
            if name not in zeros:
                gradients[name] = _explained(tables, array, same)
        explanations.append(_Explanation(words, error, gradients))
    fewest = min(len(each.mistakes()) for each in explanations)
    return [each for each in explanations if len(each.mistakes()) == fewest]


def _with_own_error(
    twin: Twin, errors: list[Table], name: str, array: Array, same: Same
) -> list[Words]:
    """Return the mistakes in the error of one gradient.

    The other gradients of the layer may be of another error.
    """
    table: Table = {}
    for words, error in _products(*errors):
        terms, *_ = _gradients(twin, name, error, {})
        table.setdefault(" and ".join(words), []).extend(terms[""])
    return _explained([table], array, same)


def explain(
    twin: Twin,
    found: Mapping[str, Array],
    steps: Mapping[str, Array],
    same: Same,
    zeros: Container[str],
    right: Container[str],
) -> list[Finding]:
    """Return the mistakes that explain the gradients of a program.

    `steps` are the changes of the parameters in an update. `same` tells whether two
    arrays are equal up to rounding. Gradients in `zeros` are wrongly 0, which says
    enough. Gradients in `right` are right.
    """
    # For example, y - p in place of p - y turns all signs. This is said once, of all
    # names that are left at the last layer. The layers below are compared with the
    # error that has this mistake, and have no mistake of their own.
    plan = twin.network.plan
    left = {name: _shaped(twin, name, array) for name, array in found.items()}
    statements: list[tuple[list[str], list[Words]]] = []
    explained: set[str] = set()
    errors = _last_errors(twin, steps)
    for i in reversed(range(-1, len(plan.weights))):
        affected = list(left)  # by a mistake in the error of this layer
        names = plan.names(i) if i >= 0 else affected
        arrays = {name: left.pop(name) for name in names}
        best = _best_explanations(twin, errors, arrays, steps, same, zeros, right)
        chosen = best[0]
        in_error = [each.words for each in best if each.gradients == chosen.gradients]
        # Without a bias, a sign may be wrong in the error or in the gradient.
        is_clear = all(each.mistakes() == chosen.mistakes() for each in best)
        if is_clear or len(in_error) == len(best):
            statements.append((affected, in_error))
            for name, options in chosen.gradients.items():
                if not (options or chosen.words):
                    options = _with_own_error(twin, errors, name, arrays[name], same)
                statements.append(([name], options))
                if options:
                    explained.add(name)
        if i >= 0:
            errors = _errors_below(twin, i, chosen.error, steps)
    findings: list[Finding] = []
    for affected, options in statements:
        kept = tuple(name for name in affected if name in explained)
        if kept:
            findings += _findings(kept, options)
    return findings
