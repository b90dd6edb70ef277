"""Which array is the gradient of which parameter, by names and shapes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError
from mlp_xp.gradients._program import Outcome, Path, role_of

_MARKS = {"d", "dl", "dj", "grad", "grads", "gradient", "gradients", "nabla", "delta"}
_GROUPS = {"params", "parameters", "param", "self"}
_SAME = {"weights": "w", "weight": "w", "biases": "b", "bias": "b", "inputs": "x"}
_PREFIX = r"(?:grad|nabla|d)(\w+)"
Key = tuple[str, ...]


class Parameter(NamedTuple):
    """A parameter of a program, or the inputs of a layer."""

    name: str
    key: Key
    """The words of the name, in the form in which names are compared."""
    identity: int
    """The `id` of the program's own array."""
    path: Path
    value: Array


def shown(path: Path) -> str:
    """Return a place as Python writes it: `layers[0].W`."""
    text = ""
    for each in path:
        text += f"[{each}]" if isinstance(each, int) else f".{each}"
    return text.removeprefix(".")


def key_of(path: Path) -> Key:
    """Return the words of a name: `("w", "1")` for `params.W1` and `weights_1`."""
    words = re.findall(r"[^\W\d_]+|\d+", "_".join(map(str, path)).lower())
    return tuple(_SAME.get(word, word) for word in words if word not in _GROUPS)


def gradient_key(path: Path, known: set[str]) -> Key | None:
    """Return the key of the parameter of a gradient, such as `dW1`.

    The result is None for a name that is not that of a gradient. `known` are the words
    in names of parameters.
    """
    words, is_gradient = [], False
    for word in key_of(path):
        found = re.fullmatch(_PREFIX, word)
        rest = _SAME.get(found[1], found[1]) if found else ""
        if word in _MARKS:
            is_gradient = True
        elif rest in known and word not in known:
            is_gradient = True
            words.append(rest)
        else:
            words.append(word)
    return tuple(words) if is_gradient else None


def _named(
    value: Any, path: Path, names: Mapping[int, str]
) -> Iterator[tuple[Path, Any]]:
    """Yield the arrays that a function returned, with the names of its variables."""
    has_name = any(isinstance(each, str) for each in path)
    if id(value) in names and not has_name:
        path = (names[id(value)],)
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _named(each, (*path, str(name)), names)
    elif isinstance(value, tuple | list):
        for i, each in enumerate(value):
            yield from _named(each, (*path, i), names)
    elif isinstance(value, np.ndarray | np.floating | float):
        yield path, np.asarray(value)


def gradients_of(
    outcome: Outcome, parameters: list[Parameter], rate: float | None
) -> tuple[dict[str, Array], bool]:
    """Return the gradient of each parameter by its name, and whether it was updated.

    A program that updates its parameters has the gradient (before - after) / rate.
    """
    changed, after = False, {}
    for parameter in parameters:
        new: Array = outcome.state.get(parameter.path, parameter.value)
        after[parameter.name] = new
        changed |= not np.array_equal(new, parameter.value)
    names = {id(each): name for name, each in outcome.variables.items()}
    returned = list(_named(outcome.returned, (), names))
    takes_rate = any(role_of(name) == "rate" for name in outcome.variables)
    if not changed and takes_rate:
        # new parameters are returned instead
        for parameter in parameters:
            for path, array in returned:
                if key_of(path) == parameter.key:
                    after[parameter.name], changed = array, True
    if changed and rate is not None:
        found = {}
        for each in parameters:
            if each.path:
                found[each.name] = (each.value - after[each.name]) / rate
        return found, True
    found = _matched(outcome, returned, parameters)
    if changed and len(found) < len(parameters):
        raise MlpXpError(
            "backward changes the parameters",
            remedy="give the learning rate it uses",
            setting="learning_rate",
        )
    return found, False


def _matched(
    outcome: Outcome, returned: list[tuple[Path, Any]], parameters: list[Parameter]
) -> dict[str, Array]:
    """Return gradients by the names of variables and attributes, else by shape."""
    known = {word for parameter in parameters for word in parameter.key}
    found: dict[str, Array] = {}
    named = [(gradient_key(path, known), x) for path, x in outcome.state.items()]
    for path, array in returned:
        key = gradient_key(path, known)
        if key is None and isinstance(outcome.returned, dict):
            key = key_of(path)
        named.append((key, array))
    for key, array in named:
        for parameter in parameters:
            if parameter.key == key:
                found[parameter.name] = np.asarray(array)
    matched = {id(array) for array in found.values()}
    left = [array for _, array in returned if id(array) not in matched]
    left = [array for array in left if array.ndim > 0]
    missing = [each for each in parameters if each.name not in found]
    in_order = len(left) == len(missing)
    for parameter in missing:
        same = [x for x in left if x.shape == parameter.value.shape]
        if not same and in_order:
            same = left[:1]
        if same:
            found[parameter.name] = same[0]
            left = [x for x in left if x is not same[0]]
    return found
