"""The gradient of each parameter, by names and shapes."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, permutations, product
from math import prod
from operator import eq, itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._program import (
    UNCLEAR_RATES,
    Outcome,
    Program,
    Search,
    role_of,
)

_GRADIENT = r"d|dl|dj|grads?|gradients?|nabla|delta|梯度"  # a word, as in grad_W1
_GRADIENTS = r"grads?|gradients?|nabla|deltas?|梯度"  # an object that has them
_AFFIX = r"^(d[ljce]d|d|grad|nabla)|梯度$"  # of a word, as in dW1 and dLdW1
_OPTIMIZER = r"v|m|s|velocit\w*|moment\w*"
_GROUPS = {"params", "parameters", "param", "self", "data", "value"}
_SAME = {
    "weights": "w",
    "weight": "w",
    "权重": "w",
    "biases": "b",
    "bias": "b",
    "偏置": "b",
    "input": "x",
    "inputs": "x",
    "coef": "w",
    "intercept": "b",
}
_PARAMETER = {"w", "b"}
Key = tuple[str, ...]
"""The words and numbers of a name."""
Shape = tuple[int, ...]


class Returned(NamedTuple):
    """An array that `backward` returns."""

    name: str  # in the returned object: `W1`, or the place `[0]`
    variable: str  # in `backward`: `g.dW1`, or the name if there is no variable
    array: Array


def key_of(name: str, *, fold: bool = True) -> Key:
    """Return the key of a name: `("w", "1")` for `params.W1` and `weights_1`.

    Without `fold`, capital letters differ from small ones.
    """
    words = re.findall(r"[^\W\d_]+|\d+", name.lower() if fold else name)
    return tuple(_SAME.get(word, word) for word in words if word not in _GROUPS)


def gradient_key(name: str, known: set[str], *, fold: bool = True) -> Key:
    """Return the key of the parameter of a gradient: `("w", "1")` for `dW1`.

    The result is empty for any other name. `known` are the words in the names of the
    parameters. Without `fold`, capital letters differ from small ones.
    """
    words, is_gradient = [], False
    # In a path such as `d1.W`, `d1` is a layer, but `grads.W` has gradients.
    last = name.rpartition(".")[2]
    length = len(key_of(name)) - len(key_of(last))
    for i, word in enumerate(key_of(name, fold=fold)):
        is_in_path = i < length
        pattern = _GRADIENTS if is_in_path else _GRADIENT
        if re.fullmatch(pattern, word, re.IGNORECASE):
            is_gradient = True
            continue
        rest = re.sub(_AFFIX, "", word, flags=re.IGNORECASE)
        rest = _SAME.get(rest, rest)
        if not is_in_path and rest in known and word not in known:
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


def _rates(outcome: Outcome, program: Program) -> dict[str, float]:
    """Return the numbers that may be the learning rate, by their names.

    Clear names go before unclear ones, and then variables of `backward` before the
    numbers outside of it.
    """
    if program.rate is not None:
        return {"learning_rate": program.rate}
    places = outcome.variables, program.numbers
    for is_unclear, values in product((False, True), places):
        rates = {}
        for name, value in values.items():
            last = name.rpartition(".")[2].lower()
            is_rate = role_of(last) == "rate" and isinstance(value, float | int)
            if is_rate and (last in UNCLEAR_RATES) == is_unclear:
                rates[name] = float(value)
        if rates:
            return rates
    return {}


class Reading(NamedTuple):
    """The gradients of a run, as one way of reading its arrays gives them."""

    gradients: dict[str, Array]
    rate: float | None = None
    """The learning rate, if there are new parameters."""
    steps: Mapping[str, Array] = MappingProxyType({})
    """Before - after, if the run changes parameters."""
    is_named: bool = False
    """Whether the gradients have names, and are not read from the steps."""


def readings(
    outcome: Outcome,
    program: Program,
    parameters: Mapping[str, Array],
    ignored: Collection[str],
) -> list[Reading]:
    """Return the ways to read the gradients of a run, the most likely one first.

    Arrays with the names of gradients are the gradients, whatever the update does with
    them. Without such names, an update has the gradients (before - after) / rate, and
    returned arrays may be gradients or new parameters. The names of other numbers do
    not decide between these two. An update of some parameters only is less likely than
    returned arrays. Right gradients are right in one reading only, so all are tried.

    The loss does not depend on the `ignored` parameters. They may have no gradient.
    """
    own = {name: array for name, array in parameters.items() if name != "x"}
    needed = own.keys() - {*ignored}
    after = {name: outcome.state.get(name, array) for name, array in own.items()}
    changed = {name for name in own if not np.array_equal(after[name], own[name])}
    rates = _rates(outcome, program)
    found, named = _found(outcome, program, parameters, ignored, changed)
    if changed:
        _ask_for_rate(rates, is_needed=not needed <= found.keys())
    elif needed <= named or not _are_like(found, own):
        return [Reading(found)]
    new = after if changed else found
    steps = {name: own[name] - new[name] for name in own}
    updates = []
    for rate_name, before in rates.items():
        # A rate may change before the update.
        for rate in dict.fromkeys((before, outcome.state.get(rate_name, before))):
            changes = {name: steps[name] / rate for name in own}
            updates.append(Reading(found | changes, rate, steps))
    plain = Reading(found, None, steps if changed else {}, needed <= named)
    if plain.is_named:
        named_first = plain
        if len(updates) == 1:
            named_first = plain._replace(rate=updates[0].rate)
        # A stored `delta_W` may be the step that is added to W.
        if changed and any(_is_added(steps[x], found[x], own[x]) for x in named):
            return [*updates, named_first]
        return [named_first]
    if not needed <= found.keys():
        return updates
    clear = {name for name in outcome.variables if name.lower() not in UNCLEAR_RATES}
    is_likely = program.rate is not None or "rate" in map(role_of, clear)
    if changed:
        is_likely = needed <= changed
    return [*updates, plain] if is_likely else [plain, *updates]


def _are_like(found: Mapping[str, Array], parameters: Mapping[str, Array]) -> bool:
    """Return whether the arrays found for parameters have their shapes."""
    return all(
        name in found and np.shape(found[name]) == array.shape
        for name, array in parameters.items()
    )


def _found(
    outcome: Outcome,
    program: Program,
    parameters: Mapping[str, Array],
    ignored: Collection[str],
    changed: Collection[str],
) -> tuple[dict[str, Array], set[str]]:
    """Return the arrays that may be gradients, by their names or their order.

    The second result has the parameters whose gradient is named. The `changed`
    parameters are those of an update.
    """
    returned, stored = _returned(outcome), dict(outcome.state)
    for name, array in program.arrays.items():
        if changed and np.array_equal(stored.get(name, ()), array):
            del stored[name]  # not the gradient of this update
    found, named = _named(stored, returned, parameters)
    used = {id(array) for array in found.values()}
    left = [each.array for each in returned if id(each.array) not in used]
    missing = [name for name in parameters if name not in found]
    if changed:
        # Beside an update, other arrays are returned, too.
        shapes = [array.shape for array in left if array.ndim > 0]
        orders = _orders(missing, parameters)
        if shapes not in ([parameters[x].shape for x in order] for order in orders):
            missing = [name for name in missing if name == "x"]
    if named:  # the other arrays are results, and not gradients of variables
        missing = [x for x in missing if _is_expected(x, program)]
    return found | _unnamed(left, missing, parameters, ignored), named


def _is_added(step: Array, array: Array, parameter: Array) -> bool:
    """Return whether an array was added to a parameter, up to rounding."""
    rounding = 4 * np.finfo(float).eps * np.max(np.abs(parameter))
    is_like = np.shape(array) == step.shape
    return is_like and np.allclose(-step, array, rtol=0, atol=rounding)


def _is_expected(name: str, program: Program) -> bool:
    return name == "x" or name in program.given_names or is_parameter(name)


def _ask_for_rate(rates: Mapping[str, float], *, is_needed: bool) -> None:
    """Raise an error unless an update has one learning rate."""
    words, remedy = "backward changes the parameters", "give the learning rate it uses"
    if rates:
        words = f"the learning rate may be {' or '.join(rates)}"
        remedy = "give it, as in learning_rate=0.01"
    if is_needed and len({*rates.values()}) != 1:
        raise MlpXpError(words, remedy=remedy, setting="learning_rate")


class _Keys(NamedTuple):
    """The keys of parameters, and how the names of their gradients are read."""

    names: dict[Key, str]
    """The parameters by their keys. A parameter may have several."""
    fold: bool
    """Whether capital letters are as good as small ones."""
    shift: int = 0
    """1 if gradients count from 1, and the parameters from 0."""

    def of_gradient(self, path: str) -> Key:
        """Return the key of the parameter of a gradient, or () for another array."""
        known = {word for key in self.names for word in key}
        return _shifted(gradient_key(path, known, fold=self.fold), self.shift)

    def of(self, path: str) -> Key:
        """Return the key of an array that has the name of its parameter, or `dW`."""
        return self.of_gradient(path) or key_of(path, fold=self.fold)


def _keys(parameters: Iterable[str], paths: Iterable[str]) -> _Keys:
    """Return the keys of parameters, for arrays with these paths."""
    keys = {name: key_of(name) for name in parameters}
    fold = len({*keys.values()}) == len(keys)  # not for `W` beside `w`
    names = {key_of(name, fold=fold): name for name in keys}
    # The gradient of `P.W1` may be called `dW1`, of `layers[1].W` `dW2`, and of `out.W`
    # `dW_out`.
    for other_key in (_last, _last_and_rest, _last_and_numbers):
        others = {other_key(name, fold): name for name in keys}
        if len(others) == len(keys):
            names = others | names
    names.pop((), None)  # an argument `params`
    if "x" in keys:
        names["a", "prev"] = "x"  # its gradient is often called dA_prev
    unshifted = _Keys(names, fold)
    return unshifted._replace(shift=_shift(map(unshifted.of_gradient, paths), names))


def _last(name: str, fold: bool) -> Key:
    """Return the key of the last part of a path."""
    return key_of(name.rpartition(".")[2], fold=fold)


def _last_and_rest(name: str, fold: bool) -> Key:
    """Return the key of a path with its last part first."""
    return (*_last(name, fold), *key_of(name.rpartition(".")[0], fold=fold))


def _last_and_numbers(name: str, fold: bool) -> Key:
    """Return the key of the last part of a path, and the numbers before it."""
    numbers = re.findall(r"\d+", name.rpartition(".")[0])
    return (*_last(name, fold), *numbers)


def _named(
    stored: Mapping[str, Any],
    returned: list[Returned],
    parameters: Mapping[str, Array],
) -> tuple[dict[str, Array], set[str]]:
    """Return gradients by their names, which end with the name of the parameter.

    The second result has the parameters whose gradient is named `dW1`, not `W1`.

    Of several names for a parameter, a name in the returned object goes before a
    variable, then `dW1` before `W1`, and then a short name before a long one. Arrays
    that are stored, and not returned, come last.
    """
    of_optimizer = set()
    for path, array in stored.items():
        if _is_of_optimizer(path, parameters):
            of_optimizer.add(id(array))
    both = [path for name, variable, _ in returned for path in (name, variable)]
    keys = _keys(parameters, [*stored, *both])
    ranked = []
    for own, variable, array in returned:
        if id(array) in of_optimizer or _is_of_optimizer(variable, parameters):
            continue
        is_gradient = keys.of_gradient(own) or keys.of_gradient(variable)
        for is_variable, path in enumerate((own, variable)):
            words = keys.of(path)
            # A place such as `[0]` is no name, nor one in a list in another order.
            if _has_letters(path) and own.endswith("".join(_places(path))):
                rank = is_variable, not is_gradient, len(words)
                ranked.append((rank, words, array))
    ranked.sort(key=itemgetter(0))
    found: dict[str, Array] = {}
    named = set()
    for key, name in keys.names.items():
        for (_, is_other, _), words, array in ranked:
            is_same = words == key or (words[-len(key) :] == key and _has_letters(key))
            if is_same and name not in found:
                found[name] = array
                if not is_other:
                    named.add(name)
    for path, array in stored.items():
        key = keys.of_gradient(path)
        is_new = key in keys.names and keys.names[key] not in found
        if is_new and id(array) not in of_optimizer:
            found[keys.names[key]] = np.asarray(array)
            named.add(keys.names[key])
    return found, named


def _is_of_optimizer(path: str, parameters: Iterable[str]) -> bool:
    """Return whether a path is in a container of an optimizer, such as `v.dW1`.

    A container of parameters is none, whatever its name.
    """
    container, _, _ = path.rpartition(".")
    is_named = re.search(rf"(^|\.)({_OPTIMIZER})$", container)
    return bool(is_named) and container not in {
        x.rpartition(".")[0] for x in parameters
    }


def _places(path: str) -> list[str]:
    """Return the places at the end of a path: `["[0]", "[1]"]` for `dW[0][1]`."""
    return re.findall(r"\[\d+\](?=[\[\]\d]*$)", path)


def _shift(gradients: Iterable[Key], parameters: Collection[Key]) -> int:
    """Return 1 if gradients count from 1, and the parameters from 0."""
    stems = {key[:-1] for key in parameters if key[-1] == "0"}
    numbered = {key for key in gradients if key and key[-1].isdigit()}
    numbered = {key for key in numbered if key[:-1] in stems}
    are_lower = all(_shifted(key, 1) in parameters for key in numbered)
    return int(bool(numbered) and are_lower and not numbered <= {*parameters})


def _shifted(key: Key, shift: int) -> Key:
    """Return a key with a lower number, such as `("w", "0")` for `("w", "1")`."""
    if not key or not key[-1].isdigit():
        return key
    return (*key[:-1], str(int(key[-1]) - shift))


def _unnamed(
    left: list[Array],
    missing: list[str],
    parameters: Mapping[str, Array],
    ignored: Collection[str],
) -> dict[str, Array]:
    """Return gradients by their order, or by shapes if other arrays are among them."""
    needed = [name for name in missing if name not in ignored]
    plain = [name for name in needed if name == "x" or is_parameter(name)]
    candidates: list[tuple[str, ...]] = []
    for names in (plain, missing, needed):
        candidates += _orders(names, parameters)
    # A number is the loss, or the gradient of a number.
    arrays = [array for array in left if array.ndim > 0]
    for values in (arrays, left, left[:-1], left[1:]):
        shapes = [array.shape for array in values]
        orders = {}
        for order in candidates:
            wanted = [parameters[name].shape for name in order]
            pairs = [*zip(wanted, shapes, strict=False)]
            may_fit = all(shape or prod(want) == 1 for want, shape in pairs)
            # Beside arrays of the right shapes, a number is a wrong gradient.
            are_right = all(shape in ((), want) for want, shape in pairs)
            if len(order) == len(values) > 0 and (may_fit or are_right):
                orders[order] = wanted
        if orders:
            return dict(zip(_order(orders, shapes), values, strict=True))
    found: dict[str, Array] = {}
    for shape in {parameters[name].shape for name in needed}:
        names = [name for name in needed if parameters[name].shape == shape]
        same = [array for array in arrays if array.shape == shape]
        if len(names) == len(same):
            found |= dict(zip(names, same, strict=True))
    return found


def _order(
    orders: Mapping[tuple[str, ...], list[Shape]], shapes: list[Shape]
) -> tuple[str, ...]:
    """Return the order of the parameters that has the most of the shapes."""
    order = max(orders, key=lambda names: sum(map(eq, orders[names], shapes)))
    fitting = [names for names in orders if orders[names] == shapes]
    if len({names.index("x") for names in fitting if "x" in names}) > 1:
        raise MlpXpError(
            "the gradient of x may be the first array that is returned, or the last",
            remedy="give another number of samples, or return a dictionary",
            setting="code",
        )
    if orders[order] != shapes and sorted(orders[order]) == sorted(shapes):
        raise MlpXpError(
            "the shapes of the gradients are not in the order of the parameters",
            remedy=f"return {', '.join(order)} in this order, or a dictionary",
            setting="code",
        )
    return order


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
