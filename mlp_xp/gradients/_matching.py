"""The gradient of each parameter, by names and shapes."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, permutations
from operator import eq, itemgetter
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._program import Outcome, Search, role_of

_MARK = r"d|dl|dj|grads?|gradients?|nabla|delta"
_PREFIX = r"^(d|grad|nabla)"
_GROUPS = {"params", "parameters", "param", "self"}
_UNCLEAR = {"alpha", "rate"}  # also the slope of a leaky relu, or dropout
_SAME = {"weights": "w", "weight": "w", "biases": "b", "bias": "b", "inputs": "x"}
Key = tuple[str, ...]


def key_of(name: str) -> Key:
    """Return the words of a name: `("w", "1")` for `params.W1` and `weights_1`."""
    words = re.findall(r"[^\W\d_]+|\d+", name.lower())
    return tuple(_SAME.get(word, word) for word in words if word not in _GROUPS)


def gradient_key(name: str, known: set[str]) -> Key:
    """Return the key of the parameter of a gradient: `("w", "1")` for `dW1`.

    The result is empty for any other name. `known` are the words in the names of the
    parameters.
    """
    words, is_gradient = [], False
    for word in key_of(name):
        if re.fullmatch(_MARK, word):
            is_gradient = True
            continue
        rest = re.sub(_PREFIX, "", word)
        rest = _SAME.get(rest, rest)
        if rest in known and word not in known:
            is_gradient, word = True, rest
        words.append(word)
    return tuple(words) if is_gradient else ()


def is_parameter(name: str) -> bool:
    """Return whether weights or biases have this name."""
    known = {"w", "b"}
    return not gradient_key(name, known) and not known.isdisjoint(key_of(name))


def is_only_parameter(name: str) -> bool:
    """Return whether a name is `W`, `b1` or alike, unlike `weight_decay`."""
    words = filter(str.isalpha, key_of(name.rpartition(".")[2]))
    return {*words} in ({"w"}, {"b"})


def extended_names(names: Collection[str]) -> set[str]:
    """Return names with all words of another and more, such as `velocity.W1`."""
    keys = {name: key_of(name) for name in names}
    extended = set()
    for name, other in permutations(names, 2):
        words = {*keys[name]} - {*keys[other]}
        if {*keys[other]} < {*keys[name]} and any(map(str.isalpha, words)):
            extended.add(name)
    return extended


def names_with_gradients(outcome: Outcome, names: Collection[str]) -> set[str]:
    """Return the names whose gradient is returned or stored, such as `dgamma`."""
    returned, paths = _returned(outcome)
    gradients = {*returned, *paths.values(), *outcome.state}
    with_gradients = set()
    for name in names:
        key = key_of(name)
        if key and any(gradient_key(path, {*key}) == key for path in gradients):
            with_gradients.add(name)
    return with_gradients


def _returned(outcome: Outcome) -> tuple[dict[str, Array], dict[str, str]]:
    """Return all that `backward` returns, and the names of its variables for each."""
    variables = Search().visit(dict(outcome.variables))
    names = {id(array): name for name, array in variables.items()}
    returned, paths = {}, {}
    for name, array in Search().visit(outcome.returned).items():
        returned[name] = np.asarray(array)
        paths[name] = names.get(id(array), name)
    return returned, paths


def _rate_of(outcome: Outcome, numbers: Mapping[str, Any]) -> float | None:
    """Return the learning rate, or None if no number has the name of one.

    The variables of `backward` go before the `numbers` outside of it.
    """
    ranked: dict[tuple[bool, int], dict[str, float]] = {}
    for place, values in enumerate((outcome.variables, numbers)):
        for name, value in values.items():
            last = name.rpartition(".")[2]
            if role_of(last) == "rate" and isinstance(value, float | int):
                rank = last.lower() in _UNCLEAR, place
                ranked.setdefault(rank, {})[name] = float(value)
    if not ranked:
        return None
    rates = ranked[min(ranked)]
    if len({*rates.values()}) > 1:
        raise MlpXpError(
            f"the learning rate may be {' or '.join(rates)}",
            remedy="give it, as in learning_rate=0.01",
            setting="learning_rate",
        )
    return next(iter(rates.values()))


def gradients_of(
    outcome: Outcome,
    numbers: Mapping[str, Any],
    parameters: Mapping[str, Array],
    ignored: Collection[str],
    rate: float | None,
) -> tuple[dict[str, Array], float | None]:
    """Return the gradient of each parameter, and the rate if it is read from an update.

    A program that updates its parameters has the gradient (before - after) / rate.
    The loss does not depend on the `ignored` parameters. They may have no gradient.
    The `numbers` are those of the program before the update.
    """
    returned, paths = _returned(outcome)
    after = {name: outcome.state.get(name, x) for name, x in parameters.items()}
    if "rate" in map(role_of, outcome.variables):
        # The new parameters may be returned.
        by_key = {key_of(paths[name]): array for name, array in returned.items()}
        after = {name: by_key.get(key_of(name), x) for name, x in after.items()}
    updates = any(not np.array_equal(after[name], parameters[name]) for name in after)
    if updates and rate is None:
        rate = _rate_of(outcome, numbers)
    if updates and rate is not None:
        found = {name: (parameters[name] - after[name]) / rate for name in after}
        found.pop("x", None)
        return found, rate
    found = _named(outcome, returned, paths, parameters)
    used = {id(array) for array in found.values()}
    left = [x for x in returned.values() if id(x) not in used and x.ndim > 0]
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
    outcome: Outcome,
    returned: Mapping[str, Array],
    paths: Mapping[str, str],
    parameters: Mapping[str, Array],
) -> dict[str, Array]:
    """Return gradients by their names in the returned object, then by their variables.

    `paths` are the names of the variables of `backward`, such as `g.dW1`.
    """
    names = {key_of(name): name for name in parameters}
    known = {word for key in names for word in key}
    candidates = []
    for own, array in returned.items():
        both = [own, paths[own]] if any(map(str.isalpha, own)) else [paths[own]]
        is_gradient = any(gradient_key(path, known) for path in both)
        for from_variable, path in enumerate(both):
            # In a returned dictionary, "W1" is the gradient.
            key = gradient_key(path, known) or key_of(path)
            for words_left_out in range(len(key)):
                words = key[words_left_out:]
                has_letters = any(map(str.isalpha, words))
                if words in names and (has_letters or words_left_out == 0):
                    rank = from_variable, not is_gradient, words_left_out
                    candidates.append((rank, names[words], array))
    for name, array in outcome.state.items():
        key = gradient_key(name, known)
        if key in names:
            candidates.append(((2, False, 0), names[key], np.asarray(array)))
    found: dict[str, Array] = {}
    for _, name, array in sorted(candidates, key=itemgetter(0)):
        found.setdefault(name, array)
    return found


def _unnamed(
    left: list[Array],
    missing: list[str],
    parameters: Mapping[str, Array],
    ignored: Collection[str],
) -> dict[str, Array]:
    """Return gradients by their order, or by their shapes if there are more or less."""
    shapes = [x.shape for x in left]

    def expected(order: list[str]) -> list[tuple[int, ...]]:
        return [parameters[name].shape for name in order]

    def alike(order: list[str]) -> int:
        return sum(map(eq, expected(order), shapes))

    needed = [name for name in missing if name not in ignored]
    all_orders = [*_orders(missing, parameters), *_orders(needed, parameters)]
    orders = [order for order in all_orders if len(order) == len(left)]
    if orders:
        order = max(orders, key=alike)
        in_order = alike(order) == len(left)
        if not in_order and sorted(expected(order)) == sorted(shapes):
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


def _orders(names: list[str], parameters: Mapping[str, Array]) -> Iterator[list[str]]:
    """Yield usual orders: of the search, by layers, weights first, or with x first."""
    own = [name for name in names if name != "x"]
    biases = [x for x in own if "b" in key_of(x) or parameters[x].ndim == 1]
    weights = [name for name in own if name not in biases]
    by_layers = [*chain.from_iterable(zip(weights, biases, strict=False))]
    for order in (own, by_layers, weights + biases):
        if len(order) == len(own):
            yield order
            if "x" in names:
                yield ["x", *order]
                yield [*order, "x"]
