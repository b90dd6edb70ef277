"""Somebody's own forward and backward code, run on copies of everything it changes.

A beginner's parameters are global variables, attributes of an object, entries of a
dictionary, or arguments. `Program` finds the arrays. Each run gets fresh copies, so
that it may change them, and nothing outside of the run changes.
"""

import copy
import dis
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import setitem
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from mlp_xp.core.functional import Array
from mlp_xp.errors import MlpXpError, one_line

Path = tuple[str | int, ...]
"""Where an array is: `("layers", 0, "W")` for `layers[0].W`."""

# The meaning of an argument or of a variable, by its name in small letters.
_ROLES = {
    "input": r"(x|inputs?|features?|images?|data|a_?0|a_?prev)(_?(batch|train|data))?",
    "target": r"(y|t|targets?|labels?|truth)(_?(true|batch|train|one_?hot|labels?))?"
    r"|one_?hot\w*",
    "rate": r"lr|eta|alpha|(learning_?)?rate|step_?size",
    "output": r"[yt]_?(hat|pred\w*)|pred\w*|outputs?|out|probs?|probabilities|p|al"
    r"|scores?",
    "parameters": r"param\w*|theta|weights|model|net(work)?|layers",
    "cache": r"caches?|memory|saved|tape|ctx|context|activations|intermediates?",
}


def role_of(name: str) -> str:
    """Return the role that a name stands for, or an empty string."""
    for role, pattern in _ROLES.items():
        if re.fullmatch(pattern, name.lower()):
            return role
    return ""


class Code(NamedTuple):
    """The functions of a program, and the parameters they take as arguments."""

    forward: Callable[..., Any] | None
    backward: Callable[..., Any]
    loss: Callable[..., Any] | None
    parameters: Any = None


class Outcome(NamedTuple):
    """What a run of a program made of its copies."""

    output: Any
    """What `forward` predicts, or None."""
    loss: Any
    """The loss, or None if the program computes none."""
    returned: Any
    """What `backward` returned."""
    variables: dict[str, Any]
    """The variables of `backward` at its end."""
    state: dict[Path, Any]
    """All arrays and numbers at the end."""


def _globals(code: CodeType) -> Iterator[str]:
    """Yield the names of global variables in a function, in the order of their use."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


Writer = Callable[[Any], None]
_Children = list[tuple[Path, Any]]


class _Search:
    """A search for arrays in functions, objects and containers."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.places: list[tuple[Writer, Any]] = []
        """Global variables and variables of closures, with their values."""

    def of_code(self, code: Code) -> dict[Path, Any]:
        """Return the arrays and numbers of a program. Given parameters come first."""
        given = code.parameters
        names = parameter_names(code.forward or code.backward)
        if isinstance(given, list | tuple):
            each = given if len(names) == len(given) else [given]
            given = dict(zip(names, each, strict=False))
        found: dict[Path, Any] = {}
        for root in (given, code.forward, code.backward, code.loss):
            if root is not None:
                found |= dict(self.arrays(root, ()))
        return found

    def arrays(self, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        """Yield the arrays and numbers below a value, with their places."""
        if isinstance(value, float | int):
            yield path, value
            return
        if id(value) in self.seen or isinstance(value, ModuleType | type):
            return
        self.seen[id(value)] = value
        if isinstance(value, np.ndarray):
            yield path, value
            return
        for below, child in self._children(value, path):
            yield from self.arrays(child, below)

    def _children(self, value: Any, path: Path) -> _Children:
        if isinstance(value, FunctionType):
            return self._variables(value)
        if isinstance(value, MethodType):
            return [(path, value.__self__), (path, value.__func__)]
        if isinstance(value, list | tuple):
            return [((*path, i), child) for i, child in enumerate(value)]
        own = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        children = [((*path, str(name)), child) for name, child in own.items()]
        for each in type(value).__mro__:
            for method in vars(each).values():
                if isinstance(method, FunctionType):
                    children.append((path, method))
        return children

    def _variables(self, function: FunctionType) -> _Children:
        """Return the variables that a function finds outside of itself."""
        names = function.__globals__
        if str(names.get("__name__")).partition(".")[0] in ("numpy", "scipy"):
            return []
        found: list[tuple[str, Any, Writer]] = []
        for name in dict.fromkeys(_globals(function.__code__)):
            if name in names:
                found.append((name, names[name], partial(setitem, names, name)))
        cells = zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        )
        for name, cell in cells:
            found.append(
                (name, cell.cell_contents, partial(setattr, cell, "cell_contents"))
            )
        for _, child, write in found:
            if not isinstance(child, ModuleType):
                self.places.append((write, child))
        return [((name,), child) for name, child, _ in found]


class Program:
    """A program with its inputs and targets.

    Arrays of floats are made float64, so that the check itself rounds little.
    """

    def __init__(self, code: Code, x: Array, y: Any, rate: float | None) -> None:
        self.code, self.x, self.y = code, x, y
        search = _Search()
        self.state = search.of_code(code)
        self.rate = rate or self._known_rate()
        self.places = search.places
        self.originals: dict[int, Array] = {}
        self.paths: dict[int, Path] = {}
        for path, array in self.state.items():
            if isinstance(array, np.ndarray):
                self.originals[id(array)] = _widened(array)
                self.paths[id(array)] = path

    def _known_rate(self) -> float | None:
        """Return the learning rate: a default of an argument, or a variable."""
        for name, each in inspect.signature(self.code.backward).parameters.items():
            if role_of(name) == "rate" and isinstance(each.default, float | int):
                return float(each.default)
        for path, value in self.state.items():
            if path and role_of(str(path[-1])) == "rate" and np.ndim(value) == 0:
                return float(value)
        return None

    def run(
        self,
        values: Mapping[int, Array],
        *,
        error: Array | None = None,
        backward: bool = True,
    ) -> Outcome:
        """Run the program on copies, with other values of some arrays.

        Args:
            values: The values, by the `id` of the program's own array.
            error: The derivative of the loss by the output, to check a layer.
            backward: Whether to run `backward`, too.
        """
        copies = {**self.originals, **values}
        memo: dict[int, Any] = {key: np.array(each) for key, each in copies.items()}
        x = np.array(copies.get(id(self.x), _widened(self.x)))
        call = _Call(x, _widened(self.y), self.rate)
        written = []
        try:
            code = copy.deepcopy(self.code, memo)
            for write, value in self.places:
                written.append((write, value))
                write(copy.deepcopy(value, memo))
            call.take_parameters(code)
            output, loss, returned = None, None, None
            if code.forward:
                output, loss = call.forward(code.forward)
            if code.loss:
                loss, _ = call.result(code.loss)
            if error is not None:
                call.values = [error]
            variables: dict[str, Any] = {}
            if backward:
                returned, variables = call.result(code.backward)
                if code.loss is None and loss is None:
                    first = returned[:1] if isinstance(returned, tuple) else returned
                    loss = _scalar(first)
            state = _Search().of_code(code) if backward else {}
        finally:
            for write, value in reversed(written):
                write(value)
        return Outcome(output, loss, returned, variables, state)


def _widened(array: Any) -> Any:
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return array.astype(np.float64)
    return copy.deepcopy(array)


def _scalar(value: Any) -> Any:
    """Return a number, or the first in a tuple, or None."""
    for each in value if isinstance(value, tuple | list) else [value]:
        if isinstance(each, float | np.floating | np.ndarray) and np.ndim(each) == 0:
            return each
    return None


class _Call:
    """The values at hand for the arguments of functions in one run."""

    def __init__(self, x: Array, y: Any, rate: float | None) -> None:
        self.roles: dict[str, Any] = {"input": x}
        if y is not None:
            self.roles["target"] = y
        if rate is not None:
            self.roles["rate"] = rate
        self.named: dict[str, Any] = {}
        """The parameters that were given."""
        self.variables: dict[str, Any] = {}
        """The variables of `forward` at its end."""
        self.values: list[Any] = [x]
        """The values for arguments whose names say nothing."""

    def take_parameters(self, code: Code) -> None:
        """Name the parameters that were given."""
        given = code.parameters
        if given is None:
            return
        self.roles["parameters"] = given
        names = parameter_names(code.forward or code.backward)
        if isinstance(given, dict):
            self.named.update(given)
        elif len(names) == len(given):
            self.named.update(zip(names, given, strict=True))

    def forward(self, function: Callable[..., Any]) -> tuple[Any, Any]:
        """Return the output and the loss, or None for each, of a forward function."""
        result, self.variables = self.result(function)
        self.values = [*result] if isinstance(result, tuple | list) else [result]
        self.roles["cache"] = result
        if isinstance(self.values[-1], tuple | list | dict):
            self.roles["cache"] = self.values[-1]
        each = result.values() if isinstance(result, dict) else self.values
        outputs = [x for x in each if isinstance(x, np.ndarray) and x.ndim > 0]
        if outputs:
            self.roles["output"] = self._best(outputs)
        return self.roles.get("output"), _scalar(result)

    def _best(self, outputs: list[Array]) -> Array:
        """Return the last of the outputs shaped like the targets, but not a z."""
        shape = np.shape(self.roles.get("target", ()))
        outputs = [x for x in outputs if x.shape == shape] or outputs
        names = {id(each): name.lower() for name, each in self.variables.items()}
        activated = [x for x in outputs if names.get(id(x), "")[:1] != "z"]
        return (activated or outputs)[-1]

    def result(self, function: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
        """Return what a function returns, and its variables at the end.

        Each argument gets what its name stands for.
        """
        arguments = self._arguments(function)
        variables: dict[str, Any] = {}
        code = getattr(function, "__code__", None)

        def watch(frame: Any, event: str, _: Any) -> None:
            if event == "return" and frame.f_code is code:
                variables.update(frame.f_locals)

        previous = sys.getprofile()
        sys.setprofile(watch)
        try:
            return function(*arguments.args, **arguments.kwargs), variables
        except Exception as error:
            words = f"{_name(function)} raised {one_line(error)}"
            raise MlpXpError(words, setting="code") from error
        finally:
            sys.setprofile(previous)

    def _arguments(self, function: Callable[..., Any]) -> inspect.BoundArguments:
        signature = inspect.signature(function)
        bound, unknown = signature.bind_partial(), []
        for name, parameter in signature.parameters.items():
            role = role_of(name)
            if role in ("input", "target", "rate") and role in self.roles:
                bound.arguments[name] = self.roles[role]
            elif name in self.named:
                bound.arguments[name] = self.named[name]
            elif name in self.variables:
                bound.arguments[name] = self.variables[name]
            elif role in self.roles:
                bound.arguments[name] = self.roles[role]
            elif parameter.default is parameter.empty:
                unknown.append(name)
        if len(unknown) > len(self.values):
            raise MlpXpError(
                f"{_name(function)}: nothing is known for {unknown[-1]!r}",
                remedy="write a function of x and y around it, lambda x, y: ...",
                setting="code",
            )
        bound.arguments.update(zip(unknown, self.values, strict=False))
        return bound


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def parameter_names(function: Callable[..., Any]) -> list[str]:
    """Return the arguments of a function without a role of their own."""
    roles = ("input", "target", "rate", "cache", "output")
    names = inspect.signature(function).parameters
    return [name for name in names if role_of(name) not in roles]
