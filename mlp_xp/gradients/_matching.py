"""The gradient of each parameter, by names and shapes."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._program import Outcome, Search, role_of

_MARK = r"d|dl|dj|grads?|gradients?|nabla|delta"
_PREFIX = r"^(d|grad|nabla)"
_GROUPS = {"params", "parameters", "param", "self"}
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


def gradients_of(
    outcome: Outcome, parameters: Mapping[str, Array], rate: float | None
) -> tuple[dict[str, Array], float | None]:
    """Return the gradient of each parameter, and the rate if it is read from an update.

    A program that updates its parameters has the gradient (before - after) / rate.
    """
    for name, value in {**outcome.variables, **outcome.state}.items():
        is_rate = role_of(name.rpartition(".")[2]) == "rate"
        if rate is None and is_rate and isinstance(value, float | int):
            rate = float(value)
    variables = Search().visit(dict(outcome.variables))
    names = {id(array): name for name, array in variables.items()}
    returned = {}
    for name, array in Search().visit(outcome.returned).items():
        returned[names.get(id(array), name)] = np.asarray(array)
    after = {name: outcome.state.get(name, x) for name, x in parameters.items()}
    if "rate" in map(role_of, outcome.variables):
        # The new parameters may be returned.
        by_key = {key_of(name): array for name, array in returned.items()}
        after = {name: by_key.get(key_of(name), x) for name, x in after.items()}
    updates = any(not np.array_equal(after[name], parameters[name]) for name in after)
    if updates and rate is not None:
        found = {name: (parameters[name] - after[name]) / rate for name in after}
        found.pop("x", None)
        return found, rate
    found = _matched(outcome, returned, parameters)
    if updates and len(found) < len(parameters):
        raise MlpXpError(
            "backward changes the parameters",
            remedy="give the learning rate it uses",
            setting="learning_rate",
        )
    return found, None


def _matched(
    outcome: Outcome, returned: Mapping[str, Array], parameters: Mapping[str, Array]
) -> dict[str, Array]:
    """Return gradients by their names, else by their shapes, else by their order."""
    names = {key_of(name): name for name in parameters}
    known = {word for key in names for word in key}
    arrays: dict[Key, Any] = {}
    for name, array in outcome.state.items():
        arrays[gradient_key(name, known)] = array
    for name, array in returned.items():
        # In a returned dictionary, "W1" is the gradient.
        arrays[gradient_key(name, known) or key_of(name)] = array
    found: dict[str, Array] = {}
    for key, name in names.items():
        if key in arrays:
            found[name] = np.asarray(arrays[key])
    used = {id(array) for array in found.values()}
    left = [x for x in returned.values() if id(x) not in used and x.ndim > 0]
    missing = [name for name in parameters if name not in found]
    in_order = len(left) == len(missing)
    for name in missing:
        alike = [x for x in left if x.shape == parameters[name].shape]
        if alike or in_order:
            found[name] = (alike or left)[0]
            left = [x for x in left if x is not found[name]]
    return found
