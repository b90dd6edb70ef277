"""The gradient of each parameter, by names and shapes."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, permutations, product
from operator import eq, itemgetter
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._program import Outcome, Program, Search, role_of

_GRADIENT = r"d|dl|dj|grads?|gradients?|nabla|delta"  # a word, as in grad_W1
_PREFIX = r"^(d|grad|nabla)"  # of a word, as in dW1
_GROUPS = {"params", "parameters", "param", "self"}
_UNCLEAR = {"alpha", "rate"}  # also the slope of a leaky relu, or dropout
_SAME = {"weights": "w", "weight": "w", "biases": "b", "bias": "b", "inputs": "x"}
_PARAMETER = {"w", "b"}
Key = tuple[str, ...]
"""The words and numbers of a name."""


class Returned(NamedTuple):
    """An array that `backward` returns."""

    name: str  # in the returned object: `W1`, or the place `[0]`
    variable: str  # in `backward`: `g.dW1`, or the name if there is no variable
    array: Array


def key_of(name: str) -> Key:
    """Return the key of a name: `("w", "1")` for `params.W1` and `weights_1`."""
    words = re.findall(r"[^\W\d_]+|\d+", name.lower())
    return tuple(_SAME.get(word, word) for word in words if word not in _GROUPS)


def gradient_key(name: str, known: set[str]) -> Key:
    """Return the key of the parameter of a gradient: `("w", "1")` for `dW1`.

    The result is empty for any other name. `known` are the words in the names of the
    parameters.
    """
    words, is_gradient = [], False
    for word in key_of(name):
        if re.fullmatch(_GRADIENT, word):
            is_gradient = True
            continue
        rest = re.sub(_PREFIX, "", word)
        rest = _SAME.get(rest, rest)
        if rest in known and word not in known:
            is_gradient, word = True, rest
        words.append(word)
    return tuple(words) if is_gradient else ()


def _has_letters(words: Iterable[str]) -> bool:
    return any(map(str.isalpha, words))


def is_parameter(name: str) -> bool:
    """Return whether a name says weights or bias, as `hidden_weights` does."""
    words = {*key_of(name)}
    return not gradient_key(name, _PARAMETER) and not words.isdisjoint(_PARAMETER)


def is_only_parameter(name: str) -> bool:
    """Return whether a name says only weights or bias: `b1`, not `weight_decay`."""
    words = filter(str.isalpha, key_of(name.rpartition(".")[2]))
    return {*words} in ({"w"}, {"b"})


def extended_names(names: Collection[str]) -> set[str]:
    """Return names such as `velocity.W1`, if the others have `W1`."""
    keys = {name: {*key_of(name)} for name in names}
    extended = set()
    for name, other in permutations(names, 2):
        if keys[other] < keys[name] and _has_letters(keys[name] - keys[other]):
            extended.add(name)
    return extended


def names_with_gradients(outcome: Outcome, names: Collection[str]) -> set[str]:
    """Return the names whose gradient is returned or stored, such as `dgamma`."""
    gradients = {*outcome.state}
    for each in _returned(outcome):
        gradients |= {each.name, each.variable}
    with_gradients = set()
    for name in names:
        key = key_of(name)
        if key and any(gradient_key(path, {*key}) == key for path in gradients):
            with_gradients.add(name)
    return with_gradients


def _returned(outcome: Outcome) -> list[Returned]:
    """Return all arrays and numbers that `backward` returns."""
    variables = Search().visit(dict(outcome.variables))
    names = {id(value): name for name, value in variables.items()}
    returned = []
    for name, value in Search().visit(outcome.returned).items():
        variable = names.get(id(value), name)
        returned.append(Returned(name, variable, np.asarray(value)))
    return returned


def _rate_of(outcome: Outcome, numbers: Mapping[str, Any]) -> float | None:
    """Return the learning rate, or None if no number has the name of one.

    Clear names go before unclear ones, and then variables of `backward` before the
    `numbers` outside of it.
    """
    for is_unclear, values in product((False, True), (outcome.variables, numbers)):
        rates = {}
        for name, value in values.items():
            last = name.rpartition(".")[2].lower()
            is_rate = role_of(last) == "rate" and isinstance(value, float | int)
            if is_rate and (last in _UNCLEAR) == is_unclear:
                rates[name] = float(value)
        if len({*rates.values()}) > 1:
            raise MlpXpError(
                f"the learning rate may be {' or '.join(rates)}",
                remedy="give it, as in learning_rate=0.01",
                setting="learning_rate",
            )
        if rates:
            return next(iter(rates.values()))
    return None


def gradients_of(
    outcome: Outcome,
    program: Program,
    parameters: Mapping[str, Array],
    ignored: Collection[str],
) -> tuple[dict[str, Array], float | None]:
    """Return the gradient of each parameter, and the rate if it is read from an update.

    A program that updates its parameters has the gradient (before - after) / rate.
    The loss does not depend on the `ignored` parameters. They may have no gradient.
    """
    returned = _returned(outcome)
    after = {name: outcome.state.get(name, x) for name, x in parameters.items()}
    if "rate" in map(role_of, outcome.variables):
        # The new parameters may be returned.
        by_key = {key_of(each.variable): each.array for each in returned}
        after = {name: by_key.get(key_of(name), x) for name, x in after.items()}
    updates = any(not np.array_equal(after[name], parameters[name]) for name in after)
    rate = program.rate
    if updates and rate is None:
        rate = _rate_of(outcome, program.numbers)
    if updates and rate is not None:
        found = {name: (parameters[name] - after[name]) / rate for name in after}
        found.pop("x", None)
        return found, rate
    found = _named(outcome, returned, parameters)
    used = {id(array) for array in found.values()}
    arrays = [each.array for each in returned]
    left = [x for x in arrays if id(x) not in used and x.ndim > 0]
    missing = [name for name in parameters if name not in found]
    found |= _unnamed(left, missing, parameters, ignored)
    if updates and not found.keys() >= parameters.keys() - {*ignored}:
        raise MlpXpError(
            "backward changes the parameters",
            remedy="give the learning rate it uses",
            setting="learning_rate",
        )
    return found, None


def _named(
    outcome: Outcome, returned: list[Returned], parameters: Mapping[str, Array]
) -> dict[str, Array]:
    """Return gradients by their names, which end with the name of the parameter.

    Of several names for a parameter, a name in the returned object goes before a
    variable, then `dW1` before `W1`, and then a short name before a long one. Arrays
    that are stored, and not returned, come last.
    """
    names = {key_of(name): name for name in parameters}
    names.pop((), None)  # an argument `params`
    known = {word for key in names for word in key}
    ranked = []
    for own, variable, array in returned:
        is_gradient = gradient_key(own, known) or gradient_key(variable, known)
        for is_variable, path in enumerate((own, variable)):
            words = gradient_key(path, known) or key_of(path)
            if is_variable or _has_letters(own):
                rank = is_variable, not is_gradient, len(words)
                ranked.append((rank, words, array))
    ranked.sort(key=itemgetter(0))
    found: dict[str, Array] = {}
    for key, name in names.items():
        for _, words, array in ranked:
            if words == key or (words[-len(key) :] == key and _has_letters(key)):
                found.setdefault(name, array)
    for path, array in outcome.state.items():
        key = gradient_key(path, known)
        if key in names:
            found.setdefault(names[key], np.asarray(array))
    return found


def _unnamed(
    left: list[Array],
    missing: list[str],
    parameters: Mapping[str, Array],
    ignored: Collection[str],
) -> dict[str, Array]:
    """Return gradients by their order, or by their shapes if there are more or less."""
    shapes = [x.shape for x in left]
    needed = [name for name in missing if name not in ignored]
    orders = {}
    for names in chain(_orders(missing, parameters), _orders(needed, parameters)):
        if len(names) == len(left):
            orders[names] = [parameters[name].shape for name in names]
    if orders:
        order = max(orders, key=lambda names: sum(map(eq, orders[names], shapes)))
        if orders[order] != shapes and sorted(orders[order]) == sorted(shapes):
            raise MlpXpError(
                "the shapes of the gradients are not in the order of the parameters",
                remedy=f"return {', '.join(missing)} in this order, or a dictionary",
                setting="code",
            )
        return dict(zip(order, left, strict=True))
    found = {}
    for name in needed:
        same = [x for x in left if x.shape == parameters[name].shape]
        if same:
            found[name] = same[0]
            left = [x for x in left if x is not same[0]]
    return found


def _orders(
    names: list[str], parameters: Mapping[str, Array]
) -> Iterator[tuple[str, ...]]:
    """Yield the usual orders of gradients. The inputs x are the first or the last."""
    own = [name for name in names if name != "x"]
    biases = [x for x in own if "b" in key_of(x) or parameters[x].ndim == 1]
    weights = [name for name in own if name not in biases]
    by_layers = chain.from_iterable(zip(weights, biases, strict=False))
    for order in (tuple(own), tuple(by_layers), (*weights, *biases)):
        if len(order) == len(own):
            yield order
            if "x" in names:
                yield ("x", *order)
                yield (*order, "x")
